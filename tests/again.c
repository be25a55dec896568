/* SPDX-License-Identifier: MIT */
/* A test program that begins itself anew. */
#include "tests/again.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"

#define ARGUMENT    "--program"
#define NO_SUCH	    9
#define NOT_STARTED 99

char again_said[1 << 16];

bool again_main(int argc, char **argv, const struct again *list, size_t n,
		int *ret_status)
{
	size_t i;

	if (argc != 3 || strcmp(argv[1], ARGUMENT))
		return false;
	*ret_status = NO_SUCH;
	for (i = 0; i < n; i++)
		if (!strcmp(list[i].name, argv[2]))
			*ret_status = list[i].run();
	return true;
}

pid_t again_begin(const char *conf, const char *name, int *ret_fd)
{
	int ends[2];
	pid_t pid;

	ck_assert_int_eq(pipe(ends), 0);
	fflush(stdout);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		setenv("FERRY_MALLOC_CONF", conf, 1);
		execl("/proc/self/exe", program_invocation_short_name, ARGUMENT,
		      name, (char *)NULL);
		_exit(NOT_STARTED);
	}
	close(ends[1]);
	*ret_fd = ends[0];
	return pid;
}

int again_hear(pid_t pid, int fd)
{
	size_t len = 0;
	int status;
	ssize_t n;

	while ((n = read(fd, again_said + len, sizeof(again_said) - 1 - len)) >
	       0)
		len += (size_t)n;
	again_said[len] = '\0';
	close(fd);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

int again_run(const char *conf, const char *name)
{
	int fd;
	pid_t pid = again_begin(conf, name, &fd);

	return again_hear(pid, fd);
}
