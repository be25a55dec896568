/* SPDX-License-Identifier: MIT */
/*
 * The policy agent beside fork(2), exec(3), the environment, and programs that
 * close what they find.
 */
#include "tests/harness.h"

#include <ferry/arena.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/agent_client.h"
#include "tests/memory.h"

#define MIB ((size_t)1 << 20)

static struct ferry_arena *make(void)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *a = NULL;

	p.reserve = 4 * MIB;
	ck_assert_int_eq(ferry_arena_create(&p, &a), 0);
	ck_assert_int_eq(ferry_arena_commit(a, 0, MIB, true), 0);
	return a;
}

static int ask(pid_t pid)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_LIST);
	struct answer a;
	int fd = ferry_agent_connect(pid);

	if (fd < 0)
		return fd;
	if (!agent_send(fd, req, NULL, NULL, NULL) || !agent_hear(fd, &a))
		return -EPIPE;
	answer_free(&a);
	close(fd);
	return a.head.error;
}

/*
 * ThreadSanitizer dies of "dup thread with used id" when a thread of the child
 * has its stack where one of the parent's was.
 */
#define NEEDS_THREADS_IN_CHILDREN()                                            \
	do {                                                                   \
		if (harness_thread_sanitized())                                \
			SKIP("threads_in_children", "ThreadSanitizer");        \
	} while (0)

static void expect_exit(pid_t pid, int code)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), code);
}

/*
 * Of a child that ends by exit(3): a leak checker looks through what it has of
 * the parent's memory then, and may end it in its own way.
 */
static void expect_not_exit(pid_t pid, int code)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_ne(WEXITSTATUS(status), code);
}

static size_t entries(void)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/ferry-agent.%d", agent_folder(),
		 getpid());
	return stat(path, &st) == 0;
}

START_TEST(child_has_no_agent_and_the_parent_keeps_its_own)
{
	struct ferry_arena *a = make();
	pid_t pid;

	agent_start(NULL);
	pid = fork();
	if (!pid) {
		/* The parent's name is not the child's to remove. */
		ferry_agent_stop();
		_exit(ask(0) == -ENOENT && ask(getppid()) == 0 ? 0 : 1);
	}
	expect_exit(pid, 0);
	ck_assert_int_eq(ask(0), 0);
	agent_stop();
	ferry_arena_destroy(a);
}
END_TEST

START_TEST(child_that_exits_leaves_the_parents_name)
{
	pid_t pid;

	agent_start(NULL);
	fflush(NULL);
	pid = fork();
	if (!pid)
		exit(0);
	expect_not_exit(pid, 1);
	ck_assert_uint_eq(entries(), 1);
	ck_assert_int_eq(ask(0), 0);
	agent_stop();
}
END_TEST

START_TEST(child_may_start_its_own)
{
	struct ferry_agent_params p = FERRY_INIT(struct ferry_agent_params);
	struct ferry_arena *a;
	pid_t pid;
	int bad;

	NEEDS_THREADS_IN_CHILDREN();
	a = make();
	agent_start(NULL);
	pid = fork();
	if (!pid) {
		p.dir = agent_folder();
		bad = ferry_agent_start(&p) || ask(0);
		ferry_agent_stop();
		_exit(bad);
	}
	expect_exit(pid, 0);
	agent_stop();
	ferry_arena_destroy(a);
}
END_TEST

START_TEST(child_has_its_own_at_once_where_that_was_asked_for)
{
	struct ferry_agent_params p = FERRY_INIT(struct ferry_agent_params);
	struct ferry_arena *a;
	pid_t pid, grandchild;
	int status = 1;

	NEEDS_THREADS_IN_CHILDREN();
	a = make();
	p.follow_fork = true;
	agent_start(&p);
	pid = fork();
	if (!pid) {
		if (ask(0))
			_exit(1);
		grandchild = fork();
		if (!grandchild) {
			status = ask(0);
			ferry_agent_stop();
			_exit(status ? 2 : 0);
		}
		waitpid(grandchild, &status, 0);
		ferry_agent_stop();
		_exit(WEXITSTATUS(status));
	}
	expect_exit(pid, 0);
	ck_assert_int_eq(ask(0), 0);
	agent_stop();
	ferry_arena_destroy(a);
}
END_TEST

static int pin_first_page(struct ferry_arena *a)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_PIN);
	struct ferry_agent_range range = { (uintptr_t)ferry_arena_base(a),
					   page_size() };
	struct answer answer;

	req.ranges_len = 1;
	answer = agent_ask(req, &range, NULL, NULL);
	answer_free(&answer);
	return answer.head.error ? answer.head.error : (int)answer.head.failed;
}

START_TEST(pins_of_the_agent_are_not_in_the_child)
{
	struct ferry_arena *a = make();
	pid_t pid;

	agent_start(NULL);
	ck_assert_int_eq(pin_first_page(a), 0);
	pid = fork();
	if (!pid)
		_exit(ferry_arena_decommit(a, 0, MIB) != 0);
	expect_exit(pid, 0);
	ck_assert_int_eq(ferry_arena_decommit(a, 0, MIB), -EBUSY);
	agent_stop();
	ck_assert_int_eq(ferry_arena_decommit(a, 0, MIB), 0);
	ferry_arena_destroy(a);
}
END_TEST

START_TEST(agent_outlives_a_program_that_closes_everything)
{
	pid_t pid;

	NEEDS_THREADS_IN_CHILDREN();
	agent_start(NULL);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		struct ferry_agent_params p =
			FERRY_INIT(struct ferry_agent_params);

		p.dir = agent_folder();
		if (ferry_agent_start(&p))
			_exit(1);
		close_range(0, ~0u, 0);
		if (ask(0))
			_exit(2);
		ferry_agent_stop();
		_exit(0);
	}
	expect_exit(pid, 0);
	agent_stop();
}
END_TEST

/* Forks of one thread meet the start and the end by another. */
static bool over;

static void *come_and_go(void *arg)
{
	struct ferry_agent_params p = FERRY_INIT(struct ferry_agent_params);

	p.dir = arg;
	/* Relaxed: an end that is seen late is late. */
	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		if (ferry_agent_start(&p) == 0)
			ask(0);
		ferry_agent_stop();
	}
	return NULL;
}

START_TEST(forks_meet_beginnings_and_ends)
{
	struct ferry_arena *a = make();
	char dir[] = "/tmp/ferry-agent-XXXXXX";
	size_t i, n = harness_scaled(100);
	pthread_t thread;
	pid_t pid;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	setenv("FERRY_AGENT_DIR", dir, 1);
	pthread_create(&thread, NULL, come_and_go, dir);
	for (i = 0; i < n; i++) {
		pid = fork();
		if (!pid)
			_exit(ferry_arena_commit(a, MIB, MIB, true) != 0);
		expect_exit(pid, 0);
	}
	__atomic_store_n(&over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	ck_assert_int_eq(rmdir(dir), 0);
	ferry_arena_destroy(a);
}
END_TEST

/* --- the environment ------------------------------------------------------------- */

/* What a child with the environment @value says of its agent. */
static void expect_agent(const char *value, int error)
{
	char dir[] = "/tmp/ferry-agent-XXXXXX";
	pid_t pid;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	fflush(NULL);
	pid = fork();
	if (!pid) {
		setenv("FERRY_AGENT_DIR", dir, 1);
		setenv("FERRY_AGENT", value, 1);
		make();
		if (ask(0) != error)
			_exit(1);
		exit(0);
	}
	expect_not_exit(pid, 1);
	/* It took its name away at the end. */
	ck_assert_int_eq(rmdir(dir), 0);
}

START_TEST(environment_asks_for_an_agent)
{
	expect_agent("1", 0);
	expect_agent("fork", 0);
	expect_agent("0", -ENOENT);
	expect_agent("", -ENOENT);
}
END_TEST

static const struct test tests[] = {
	TEST(child_has_no_agent_and_the_parent_keeps_its_own, NULL),
	TEST(child_that_exits_leaves_the_parents_name, NULL),
	TEST(child_may_start_its_own, NULL),
	TEST(child_has_its_own_at_once_where_that_was_asked_for, NULL),
	TEST(pins_of_the_agent_are_not_in_the_child, NULL),
	TEST(agent_outlives_a_program_that_closes_everything, NULL),
	TEST(forks_meet_beginnings_and_ends, NULL),
	TEST(environment_asks_for_an_agent, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
