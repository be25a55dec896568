/* SPDX-License-Identifier: MIT */
/*
 * Another process, seen from outside, and surely the same one all the time.
 *
 * A pid is a number that the kernel gives to another process once its own has
 * ended and was waited for. So the pidfd is opened first, then the folder in
 * /proc, and when the process is alive after that, both are of one process:
 * the number cannot have changed hands in between. Files are opened relative
 * to the folder, which answers ESRCH once the process is gone, whoever has
 * the number then.
 *
 * move_pages(2) and migrate_pages(2) take the number only. The process is
 * seen to be alive after each call: then it was the one that the call was
 * about. A call that began after its end, and met another process of the same
 * number, cannot be told from one that ended with it: both are told as "the
 * process has ended", and the window is that one call.
 */
#ifndef FERRYCTL_PROCESS_H
#define FERRYCTL_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ctl_process {
	pid_t pid;
	int pidfd;
	int folder;    /* /proc/PID */
	char name[64]; /* of the command, printable */
};

/*
 * Returns 0; -ESRCH: there is no such process, or it has ended; -EINVAL: the
 * number is a thread's; -ENOSYS: no pidfds (before 5.3); -EACCES, -EMFILE...
 */
int ctl_process_open(pid_t pid, struct ctl_process *ret_process);
void ctl_process_close(struct ctl_process *process);

/* 0, or -ESRCH once it has ended. */
int ctl_process_check(const struct ctl_process *process);

/* A descriptor of file @name of its folder; -ESRCH once it has ended. */
int ctl_process_file(const struct ctl_process *process, const char *name);

/*
 * The beginning of file @name as a string, cut to @size. Returns its length,
 * or a negative errno.
 */
ssize_t ctl_process_text(const struct ctl_process *process, const char *name,
			 char *buf, size_t size);

/*
 * The number behind @key, such as "VmRSS:", in the text of its status.
 * Returns @fallback where there is none.
 */
uint64_t ctl_status_number(const char *status, const char *key,
			   uint64_t fallback);

#endif
