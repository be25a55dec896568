/* SPDX-License-Identifier: MIT */
/* The keeper is a shell: it must outlive the test and share nothing with it. */
#include "tests/system.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/*
 * The keepers' scripts say "ok", or why not, on standard output, and end
 * when standard input does. Descriptor 9 is the lock, unless the process
 * has it already and names none.
 */
#define WAIT_FOR_THE_LOCK                                                      \
	"[ -z \"$0\" ] || { exec 9>\"$0\" && flock 9; } || exit 1\n"

/* How many holds this process has; the first one has the lock. */
static unsigned int nr_holds;

static const char lock_script[] = WAIT_FOR_THE_LOCK "echo ok\nread -r end\n";

static const char value_script[] = WAIT_FOR_THE_LOCK
	"old=$(sed 's/.*\\[\\(.*\\)\\].*/\\1/' \"$1\") || exit 1\n"
	"{ echo \"$2\" >\"$1\"; } 2>/dev/null ||\n"
	"  { echo \"$1 cannot be written\"; exit 1; }\n"
	"echo ok\n"
	"read -r end\n"
	"echo \"$old\" >\"$1\"\n";

static const char swap_script[] = WAIT_FOR_THE_LOCK
	"if [ \"$(grep -c / /proc/swaps)\" -gt 0 ]; then\n"
	"  echo ok; read -r end; exit\n"
	"fi\n"
	"[ -e /sys/block/zram0 ] || modprobe zram >/dev/null 2>&1\n"
	"[ -w /sys/block/zram0/disksize ] ||\n"
	"  { echo 'no swap space, and no zram device to make it on'; exit 1; }\n"
	"undo() { swapoff /dev/zram0; echo 1 >/sys/block/zram0/reset; }\n"
	"if ! { echo 512M >/sys/block/zram0/disksize &&\n"
	"       mkswap /dev/zram0 && swapon /dev/zram0; } >/dev/null 2>&1\n"
	"then\n"
	"  undo >/dev/null 2>&1\n"
	"  echo 'zram0 refuses to become swap space'; exit 1\n"
	"fi\n"
	"echo ok\n"
	"read -r end\n"
	"undo\n";

/* Members that are killed are gone a moment later. */
static const char group_script[] = WAIT_FOR_THE_LOCK
	"top=${1%/*}\n"
	"grep -qw memory $top/cgroup.controllers 2>/dev/null ||\n"
	"  { echo 'no memory controller of cgroup version 2'; exit 1; }\n"
	"{ echo +memory >$top/cgroup.subtree_control; } 2>/dev/null ||\n"
	"  { echo 'the memory controller cannot be switched on'; exit 1; }\n"
	"mkdir \"$1\" 2>/dev/null || { echo \"cannot make $1\"; exit 1; }\n"
	"if grep -q total= \"$1/memory.pressure\" 2>/dev/null; then\n"
	"  echo ok; read -r end\n"
	"else\n"
	"  echo 'this kernel keeps no stall times (PSI)'\n"
	"fi\n"
	"until rmdir \"$1\" 2>/dev/null; do sleep 0.1; done\n";

static void lock_path(char *buf, size_t size)
{
	const char *dir = getenv("TMPDIR");

	*buf = '\0';
	if (nr_holds)
		return;
	snprintf(buf, size, "%s/ferry-tests.lock", dir ? dir : "/tmp");
}

static bool refuse(struct system_hold *hold, const char *what, int error)
{
	snprintf(hold->reason, sizeof(hold->reason), "%s: %s", what,
		 strerror(error));
	return false;
}

/* Starts the keeper with the child's ends of both pipes. */
static int spawn_keeper(struct system_hold *hold, const char **argv, int in,
			int out)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawnattr_init(&attr);
	/* Out of the group that Check kills when the time is up. */
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID);
	r = posix_spawn(&hold->pid, "/bin/sh", &actions, &attr,
			(char *const *)argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return r;
}

static bool read_answer(struct system_hold *hold)
{
	size_t have = 0;
	ssize_t n;

	do {
		n = read(hold->stdout_fd, hold->reason + have,
			 sizeof(hold->reason) - 1 - have);
		have += n > 0 ? (size_t)n : 0;
		hold->reason[have] = '\0';
	} while ((n > 0 || (n < 0 && errno == EINTR)) &&
		 !strchr(hold->reason, '\n'));
	hold->reason[strcspn(hold->reason, "\n")] = '\0';
	if (!strcmp(hold->reason, "ok"))
		return true;
	if (!have)
		snprintf(hold->reason, sizeof(hold->reason),
			 "the keeper of system state failed");
	system_release(hold);
	return false;
}

static bool hold_with(struct system_hold *hold, const char *script,
		      const char *arg1, const char *arg2)
{
	char path[256];
	const char *argv[] = { "sh", "-c", script, path, arg1, arg2, NULL };
	int in[2], out[2], r;

	memset(hold, 0, sizeof(*hold));
	lock_path(path, sizeof(path));
	if (pipe2(in, O_CLOEXEC) < 0)
		return refuse(hold, "pipe", errno);
	if (pipe2(out, O_CLOEXEC) < 0) {
		r = errno;
		goto err_close_in;
	}
	r = spawn_keeper(hold, argv, in[0], out[1]);
	if (r)
		goto err_close_out;
	close(in[0]);
	close(out[1]);
	hold->stdin_fd = in[1];
	hold->stdout_fd = out[0];
	nr_holds++;
	return read_answer(hold);

err_close_out:
	close(out[0]);
	close(out[1]);
err_close_in:
	close(in[0]);
	close(in[1]);
	return refuse(hold, "cannot start a keeper", r);
}

bool system_hold_swap(struct system_hold *hold)
{
	return hold_with(hold, swap_script, NULL, NULL);
}

bool system_hold_value(struct system_hold *hold, const char *path,
		       const char *value)
{
	return hold_with(hold, value_script, path, value);
}

bool system_hold_group(struct system_hold *hold, char *path)
{
	snprintf(path, SYSTEM_GROUP, "/sys/fs/cgroup/ferry-tests-%d",
		 (int)getpid());
	return hold_with(hold, group_script, path, NULL);
}

bool system_hold_lock(struct system_hold *hold)
{
	return hold_with(hold, lock_script, NULL, NULL);
}

void system_release(struct system_hold *hold)
{
	close(hold->stdin_fd);
	close(hold->stdout_fd);
	while (waitpid(hold->pid, NULL, 0) < 0 && errno == EINTR)
		;
	nr_holds--;
}
