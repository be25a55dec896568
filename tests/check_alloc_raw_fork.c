/* SPDX-License-Identifier: MIT */
/*
 * Children that are made without the handlers of pthread_atfork(3), and with
 * them, of a program whose heap is cold: in both services. Each way is a
 * process of its own, which reads its settings anew.
 */
#include "tests/harness.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ferry/malloc.h>

/* Where the malloc is not built these are NULL, and the tests skip. */
#pragma weak ferry_hint_cold
#pragma weak ferry_malloc_stats

#define NEEDS "malloc,move,kernel_faults"
#define MIB   ((size_t)1 << 20)
#define SIZE  (8 * MIB)

#define BROKEN 3
#define WRONG  4

extern char **environ;

static unsigned char *heap;

static void need(bool ok)
{
	if (!ok)
		_exit(BROKEN);
}

static uint64_t stored(void)
{
	struct ferry_malloc_stats s = FERRY_INIT(struct ferry_malloc_stats);

	need(!ferry_malloc_stats(&s));
	return s.stored;
}

static void send_out(void)
{
	while (stored() < SIZE / 2) {
		need(!ferry_hint_cold(heap, SIZE));
		usleep(10000);
	}
}

static unsigned char byte_of(size_t i)
{
	return (unsigned char)(i / 4096 * 7 + i % 251 + 1);
}

static bool is_whole(void)
{
	size_t i;

	for (i = 0; i < SIZE; i++)
		if (heap[i] != byte_of(i))
			return false;
	return true;
}

/* --- ways to fork -------------------------------------------------------- */

static pid_t by_fork(void)
{
	return fork();
}

static pid_t by_Fork(void)
{
	return _Fork();
}

static pid_t by_system_call(void)
{
#ifdef SYS_fork
	return (pid_t)syscall(SYS_fork);
#else
	return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
#endif
}

static pid_t by_clone_call(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static pid_t by_clone3_call(void)
{
	struct clone_args args = { .exit_signal = SIGCHLD };

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

static int verify(void *arg)
{
	(void)arg;
	return is_whole() ? 0 : WRONG;
}

/* The child does not come back from it. */
static pid_t by_clone(void)
{
	static char stack[65536] __attribute__((aligned(16)));

	return clone(verify, stack + sizeof(stack), SIGCHLD, NULL);
}

static pid_t by_two_forks(void)
{
	pid_t pid = fork();
	int status;

	if (pid)
		return pid;
	pid = fork();
	if (!pid)
		return 0;
	need(waitpid(pid, &status, 0) == pid);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : BROKEN);
}

/* A child without handlers forks in the ordinary way. */
static pid_t by_Fork_and_fork(void)
{
	pid_t pid = _Fork();
	int status;

	if (pid)
		return pid;
	need(is_whole());
	pid = fork();
	if (!pid)
		return 0;
	need(waitpid(pid, &status, 0) == pid);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : BROKEN);
}

/* Whose pages go out again, by threads of its own. */
static pid_t by_fork_and_cold(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	need(is_whole());
	send_out();
	return 0;
}

/* Ends as badly as any of its children. */
static void end_with_children(void)
{
	int status, worst = 0;

	while (wait(&status) > 0)
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			worst = WRONG;
	_exit(worst);
}

/* The process between has the daemon for a child when its parent is gone. */
static pid_t by_daemon(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	need(!prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	pid = fork();
	need(pid >= 0);
	if (pid)
		end_with_children();
	send_out();
	need(!daemon(1, 1));
	return 0;
}

static pid_t by_setuid(void)
{
	pid_t pid = fork();

	if (!pid)
		need(geteuid() || !setuid(65534));
	return pid;
}

static const struct {
	const char *name;
	pid_t (*fork)(void);
} ways[] = {
	{ "fork", by_fork },
	{ "_Fork", by_Fork },
	{ "fork_call", by_system_call },
	{ "clone_call", by_clone_call },
	{ "clone3_call", by_clone3_call },
	{ "clone", by_clone },
	{ "two_forks", by_two_forks },
	{ "_Fork_and_fork", by_Fork_and_fork },
	{ "fork_and_cold", by_fork_and_cold },
	{ "daemon", by_daemon },
	{ "setuid", by_setuid },
};

/* --- the program --------------------------------------------------------- */

static pid_t (*way_of(const char *name))(void)
{
	size_t i;

	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (!strcmp(ways[i].name, name))
			return ways[i].fork;
	return NULL;
}

static void one_child(pid_t (*way)(void))
{
	pid_t pid;
	int status;

	send_out();
	pid = way();
	need(pid >= 0);
	if (!pid)
		_exit(verify(NULL));
	/* What the parent does with it now is not the child's. */
	need(waitpid(pid, &status, 0) == pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : WRONG);
}

static int program_main(const char *name)
{
	pid_t (*way)(void) = way_of(name);
	size_t i;

	need(way);
	heap = malloc(SIZE);
	need(heap);
	for (i = 0; i < SIZE; i++)
		heap[i] = byte_of(i);
	for (i = 0; i < 1 + harness_scaled(2); i++)
		one_child(way);
	/* And goes on as before. */
	send_out();
	return is_whole() ? 0 : WRONG;
}

/* --- the tests ----------------------------------------------------------- */

static void run(const char *service)
{
	char setting[128];
	size_t i;
	int status;
	pid_t pid;

	snprintf(setting, sizeof(setting),
		 "offload:%s,min_heap:0,cold_after:1h,idle_after:1h", service);
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		char *argv[] = { (char *)"check_alloc_raw_fork",
				 (char *)"--program", (char *)ways[i].name,
				 NULL };

		ck_assert_int_eq(setenv("FERRY_MALLOC_CONF", setting, 1), 0);
		ck_assert_int_eq(posix_spawn(&pid, "/proc/self/exe", NULL, NULL,
					     argv, environ),
				 0);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status),
			      "%s: status %#x", ways[i].name,
			      (unsigned int)status);
	}
}

START_TEST(children_of_any_kind_find_their_heap)
{
	run("on");
}
END_TEST

START_TEST(children_of_any_kind_find_their_heap_with_sigbus)
{
	run("sigbus");
}
END_TEST

static const struct test tests[] = {
	TEST(children_of_any_kind_find_their_heap, NEEDS),
	TEST(children_of_any_kind_find_their_heap_with_sigbus, NEEDS),
};

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--program"))
		return program_main(argv[2]);
	return HARNESS_MAIN(argc, argv, tests);
}
