/* SPDX-License-Identifier: MIT */
/*
 * Statistics files and the control socket of the malloc, where processes end,
 * fork without handlers, and want to be without its threads.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/again.h"
#include "tests/harness.h"

#define KIB ((size_t)1 << 10)

/* --- what is begun ------------------------------------------------------- */

/* Of the program that is begun, from its environment. */
static const char *path(void)
{
	return getenv("FERRY_ENDS_PATH");
}

static bool answers(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	bool yes = false;
	char c;

	strncpy(name.sun_path, path(), sizeof(name.sun_path) - 1);
	if (!connect(fd, (struct sockaddr *)&name, sizeof(name)) &&
	    send(fd, "stats\n", 6, MSG_NOSIGNAL) == 6)
		yes = recv(fd, &c, 1, 0) == 1;
	close(fd);
	return yes;
}

/* What waits is done at an event of the malloc. */
static void churn(void)
{
	void *volatile block = malloc(512 * KIB);

	free(block);
}

static void await_socket(void)
{
	while (!answers()) {
		churn();
		harness_pause();
	}
}

static int exit_of(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 3;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 4;
}

static int raw_child_exits(void)
{
	pid_t pid;

	await_socket();
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		exit(0);
	return exit_of(pid) || !answers();
}

static int child_exits(void)
{
	pid_t pid;

	await_socket();
	pid = fork();
	if (!pid)
		exit(0);
	return exit_of(pid) || !answers();
}

#define THREADS 4

static void *set_rights(void *arg)
{
	size_t i;

	(void)arg;
	for (i = 0; i < harness_scaled(400); i++) {
		prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
		churn();
	}
	return NULL;
}

static int rights_of_threads(void)
{
	pthread_t threads[THREADS];
	size_t i;

	for (i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, set_rights, NULL))
			return 5;
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	await_socket();
	return 0;
}

static int nothing(void)
{
	return 0;
}

static const struct again programs[] = {
	{ "raw_child_exits", raw_child_exits },
	{ "child_exits", child_exits },
	{ "rights_of_threads", rights_of_threads },
	{ "nothing", nothing },
};

/* --- the tests ----------------------------------------------------------- */

static char folder[64], socket_path[128], file_path[128];

static void setup(void)
{
	strcpy(folder, "/tmp/ferry-ends-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(socket_path, sizeof(socket_path), "%s/socket", folder);
	snprintf(file_path, sizeof(file_path), "%s/file", folder);
	setenv("FERRY_ENDS_PATH", socket_path, 1);
}

static void teardown(void)
{
	unlink(socket_path);
	unlink(file_path);
	ck_assert_int_eq(rmdir(folder), 0);
}

/* Its name is gone when the program is. */
static void run_with_socket(const char *more, const char *name)
{
	char conf[256];

	snprintf(conf, sizeof(conf), "%scontrol:%s", more, socket_path);
	ck_assert_int_eq(again_run(conf, name), 0);
	ck_assert_str_eq(again_said, "");
	ck_assert_int_ne(access(socket_path, F_OK), 0);
}

START_TEST(a_child_that_exits_leaves_the_socket_to_its_parent)
{
	run_with_socket("", "child_exits");
}
END_TEST

START_TEST(a_child_without_handlers_may_exit)
{
	run_with_socket("", "raw_child_exits");
}
END_TEST

START_TEST(threads_may_set_their_rights_at_the_same_time)
{
	run_with_socket("", "rights_of_threads");
}
END_TEST

START_TEST(threads_may_set_their_rights_while_pages_go_out)
{
	run_with_socket("min_heap:0,cold_after:20ms,idle_after:20ms,",
			"rights_of_threads");
}
END_TEST

static size_t size_of_file(void)
{
	struct stat st;

	ck_assert_int_eq(stat(file_path, &st), 0);
	return (size_t)st.st_size;
}

/* A reader may hold on to what it has opened by any name beside it. */
START_TEST(a_report_is_written_beside_nobodys_file)
{
	char conf[256], other[256];

	snprintf(conf, sizeof(conf), "stats_file:%s", file_path);
	snprintf(other, sizeof(other), "%s.new", file_path);
	ck_assert_int_eq(mkfifo(other, 0600), 0);
	ck_assert_int_eq(again_run(conf, "nothing"), 0);
	ck_assert_uint_gt(size_of_file(), 0);
	ck_assert_int_eq(unlink(other), 0);
}
END_TEST

/* Of root's, /dev/null is one. */
START_TEST(a_report_to_a_pipe_is_read_from_it)
{
	char conf[256], text[16] = "";
	struct stat st;
	int fd;

	snprintf(conf, sizeof(conf), "stats_file:%s", file_path);
	ck_assert_int_eq(mkfifo(file_path, 0600), 0);
	fd = open(file_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ck_assert_int_eq(again_run(conf, "nothing"), 0);
	ck_assert_int_eq(lstat(file_path, &st), 0);
	ck_assert(S_ISFIFO(st.st_mode));
	ck_assert_int_gt(read(fd, text, sizeof(text) - 1), 0);
	ck_assert_int_eq(strncmp(text, "running ", 8), 0);
	close(fd);
}
END_TEST

START_TEST(a_report_leaves_links_as_they_are)
{
	char conf[256];
	struct stat st;

	snprintf(conf, sizeof(conf), "stats_file:%s", file_path);
	ck_assert_int_eq(symlink("/dev/null", file_path), 0);
	ck_assert_int_eq(again_run(conf, "nothing"), 0);
	ck_assert_int_eq(lstat(file_path, &st), 0);
	ck_assert(S_ISLNK(st.st_mode));
}
END_TEST

#define WRITERS 4

static void write_at_exit(pid_t *pid, int *fd)
{
	char conf[256];

	snprintf(conf, sizeof(conf), "stats_file:%s", file_path);
	*pid = again_begin(conf, "nothing", fd);
}

/* Processes that share one, as children share their parent's environment. */
START_TEST(a_report_of_many_processes_is_of_one_of_them)
{
	pid_t pids[WRITERS];
	int fds[WRITERS];
	size_t round, i;

	for (round = 0; round < harness_scaled(40); round++) {
		for (i = 0; i < WRITERS; i++)
			write_at_exit(&pids[i], &fds[i]);
		for (i = 0; i < WRITERS; i++) {
			ck_assert_int_eq(again_hear(pids[i], fds[i]), 0);
			ck_assert_uint_gt(size_of_file(), 0);
		}
	}
}
END_TEST

#define ENDS_TEST(name, needs) TEST_FIXTURE(name, needs, setup, teardown)

static const struct test tests[] = {
	ENDS_TEST(a_child_that_exits_leaves_the_socket_to_its_parent, "malloc"),
	ENDS_TEST(a_child_without_handlers_may_exit, "malloc"),
	ENDS_TEST(threads_may_set_their_rights_at_the_same_time, "malloc"),
	ENDS_TEST(threads_may_set_their_rights_while_pages_go_out, "malloc"),
	ENDS_TEST(a_report_is_written_beside_nobodys_file, "malloc"),
	ENDS_TEST(a_report_to_a_pipe_is_read_from_it, "malloc"),
	ENDS_TEST(a_report_leaves_links_as_they_are, "malloc"),
	ENDS_TEST(a_report_of_many_processes_is_of_one_of_them, "malloc"),
};

int main(int argc, char **argv)
{
	int status;

	if (again_main(argc, argv, programs, ARRAY_SIZE(programs), &status))
		return status;
	return HARNESS_MAIN(argc, argv, tests);
}
