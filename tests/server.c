/* SPDX-License-Identifier: MIT */
#include "tests/server.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"

char server_dir[64], server_path[96];
int server_pid;

static void run(const char *const *options)
{
	const char *argv[40] = { "redis-server", "--port",    "0",
				 "--unixsocket", server_path, "--dir",
				 server_dir,	 "--save",    "",
				 "--appendonly", "no",	      "--logfile",
				 "/dev/null",	 NULL };
	size_t n = 13;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (*options && n < ARRAY_SIZE(argv) - 1)
		argv[n++] = *options++;
	argv[n] = NULL;
	execvp(argv[0], (char *const *)argv);
	_exit(127);
}

static bool answers(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	bool ok;

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", server_path);
	ok = connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0;
	close(fd);
	return ok;
}

void server_folder(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(server_dir, sizeof(server_dir), "%.40s/ferry-XXXXXX",
		 tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(server_dir));
	snprintf(server_path, sizeof(server_path), "%s/socket", server_dir);
}

void server_start(const char *const *options)
{
	unlink(server_path);
	server_pid = fork();
	ck_assert_int_ge(server_pid, 0);
	if (!server_pid)
		run(options);
	while (!answers()) {
		ck_assert_int_eq(waitpid(server_pid, NULL, WNOHANG), 0);
		usleep(5000);
	}
}

void server_kill(void)
{
	kill(server_pid, SIGKILL);
	waitpid(server_pid, NULL, 0);
	server_pid = 0;
}

void server_end(void)
{
	if (server_pid)
		server_kill();
	unlink(server_path);
	ck_assert_int_eq(rmdir(server_dir), 0);
}
