/* SPDX-License-Identifier: MIT */
/* Another process, seen from outside. */
#include "tools/ferryctl/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ferryctl/kernel.h"

int ctl_process_check(const struct ctl_process *process)
{
	int r = ctl_kernel->alive(process->pidfd);

	return r < 0 ? r : r ? 0 : -ESRCH;
}

/* What /proc answers of a process that has ended meanwhile. */
static int ended(int r)
{
	return r == -ENOENT ? -ESRCH : r;
}

/* The name is the process's to choose: it must not drive the terminal. */
static void read_name(struct ctl_process *process)
{
	char *c;

	if (ctl_process_text(process, "comm", process->name,
			     sizeof(process->name)) < 0)
		process->name[0] = '\0';
	for (c = process->name; *c; c++)
		if (*c == '\n')
			*c-- = '\0';
		else if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

int ctl_process_open(pid_t pid, struct ctl_process *ret_process)
{
	struct ctl_process process = { .pid = pid };
	char path[32];
	int r;

	process.pidfd = ctl_kernel->pidfd_open(pid);
	if (process.pidfd < 0)
		return process.pidfd;
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	process.folder = ctl_kernel->open(AT_FDCWD, path, O_DIRECTORY);
	if (process.folder < 0) {
		r = ended(process.folder);
		goto err_close_pidfd;
	}
	r = ctl_process_check(&process);
	if (r < 0)
		goto err_close_folder;
	read_name(&process);
	*ret_process = process;
	return 0;

err_close_folder:
	ctl_kernel->close(process.folder);
err_close_pidfd:
	ctl_kernel->close(process.pidfd);
	return r;
}

void ctl_process_close(struct ctl_process *process)
{
	ctl_kernel->close(process->folder);
	ctl_kernel->close(process->pidfd);
}

int ctl_process_file(const struct ctl_process *process, const char *name)
{
	int r = ctl_kernel->open(process->folder, name, 0);

	/* A file that this kernel does not have, or a process that is gone? */
	if (r == -ENOENT && ctl_process_check(process) == 0)
		return -EOPNOTSUPP;
	return ended(r);
}

ssize_t ctl_process_text(const struct ctl_process *process, const char *name,
			 char *buf, size_t size)
{
	int fd = ctl_process_file(process, name);
	size_t len = 0;
	ssize_t n = 0;

	if (fd < 0)
		return fd;
	while (len + 1 < size) {
		n = ctl_kernel->read(fd, buf + len, size - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	ctl_kernel->close(fd);
	buf[len] = '\0';
	return n < 0 ? n : (ssize_t)len;
}

uint64_t ctl_status_number(const char *status, const char *key,
			   uint64_t fallback)
{
	const char *line = status;
	size_t n = strlen(key);

	while (strncmp(line, key, n)) {
		line = strchr(line, '\n');
		if (!line)
			return fallback;
		line++;
	}
	return strtoull(line + n, NULL, 10);
}
