/* SPDX-License-Identifier: MIT */
/*
 * offload_swap.c: the keeper of the swap space is a shell in a session of its
 * own: an interrupt from the terminal does not reach it, and it ends when its
 * standard input does.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "offload_swap.h"
#include "util.h"

extern char **environ;

/* Says "ok", or why not. The device is locked against others of its kind. */
static const char script[] =
	"sys=/sys/block/zram0\n"
	"no() { echo \"$1\"; exit 1; }\n"
	"[ \"$(id -u)\" -eq 0 ] || no 'that needs root'\n"
	"[ -e $sys ] || modprobe zram >/dev/null 2>&1\n"
	"[ -w $sys/disksize ] || no 'there is no zram device'\n"
	"[ \"$(grep -c / /proc/swaps)\" -eq 0 ] ||\n"
	"  no 'there is swap space already'\n"
	"exec 9>\"${TMPDIR:-/tmp}/ferry-tests.lock\" && flock -n 9 ||\n"
	"  no 'others are using it'\n"
	"[ \"$(cat $sys/disksize)\" -eq 0 ] || no 'zram0 is in use'\n"
	"undo() { swapoff /dev/zram0; echo 1 >$sys/reset; }\n"
	"if ! { echo lz4 >$sys/comp_algorithm && echo 512M >$sys/disksize &&\n"
	"       mkswap /dev/zram0 && swapon /dev/zram0; } >/dev/null 2>&1\n"
	"then\n"
	"  undo >/dev/null 2>&1\n"
	"  no 'zram0 refuses to become swap space with lz4'\n"
	"fi\n"
	"echo ok\n"
	"read -r end\n"
	"undo\n";

static int spawn(const int in[2], const int out[2], pid_t *ret_pid)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)script, NULL };
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	int rc;

	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, in[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&fa, out[1], STDOUT_FILENO);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID);
	rc = posix_spawn(ret_pid, "/bin/sh", &fa, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	return -rc;
}

/* A line; "" when it ended without one. */
static void read_line(int fd, char *buf, size_t size)
{
	size_t have = 0;
	ssize_t n;

	do {
		n = read(fd, buf + have, size - 1 - have);
		have += n > 0 ? (size_t)n : 0;
		buf[have] = '\0';
	} while ((n > 0 || (n < 0 && errno == EINTR)) && !strchr(buf, '\n'));
	buf[strcspn(buf, "\n")] = '\0';
}

static int start(struct offload_swap *s, int *ret_from)
{
	int in[2], out[2];
	int rc;

	if (pipe2(in, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(out, O_CLOEXEC) < 0) {
		rc = -errno;
		goto err_in;
	}
	rc = spawn(in, out, &s->keeper);
	close(out[1]);
	if (rc < 0)
		goto err_out;
	close(in[0]);
	s->stop = in[1];
	*ret_from = out[0];
	return 0;

err_out:
	close(out[0]);
err_in:
	close(in[0]);
	close(in[1]);
	s->keeper = 0;
	return rc;
}

bool offload_swap_begin(struct offload_swap *s, const char *refuse)
{
	int from = -1;
	int rc;

	memset(s, 0, sizeof(*s));
	if (refuse) {
		snprintf(s->why, sizeof(s->why), "%s", refuse);
		return false;
	}
	rc = start(s, &from);
	if (rc < 0) {
		snprintf(s->why, sizeof(s->why), "%s", strerror(-rc));
		return false;
	}
	read_line(from, s->why, sizeof(s->why));
	close(from);
	if (!strcmp(s->why, "ok"))
		return true;
	offload_swap_end(s);
	return false;
}

void offload_swap_end(struct offload_swap *s)
{
	if (!s->keeper)
		return;
	close(s->stop);
	while (waitpid(s->keeper, NULL, 0) < 0 && errno == EINTR)
		;
	s->keeper = 0;
}
