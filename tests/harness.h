/* SPDX-License-Identifier: MIT */
/*
 * What every test program shares: a main around Check that knows features,
 * seeds and scale.
 *
 * A program lists its tests and hands them to harness_main():
 *
 *	START_TEST(partial_move_reports_progress)
 *	{
 *		ck_assert_int_eq(...);
 *	}
 *	END_TEST
 *
 *	static const struct test tests[] = {
 *		TEST(partial_move_reports_progress, "move"),
 *		TEST(zero_length_is_refused, NULL),
 *	};
 *
 *	int main(int argc, char **argv)
 *	{
 *		return HARNESS_MAIN(argc, argv, tests);
 *	}
 *
 * Each test runs in a process of its own. A userfaultfd acts on the process
 * that opened it, so open it in the test or in its checked fixture (the
 * setup of a struct test), never in main.
 *
 * Environment:
 *	FERRY_TEST_SEED     seed of harness_random(); printed by every run
 *	FERRY_TEST_SCALE    divides the work of a test and multiplies its time
 *	                    limit; for sanitizers and emulation (default 1,
 *	                    4 in a sanitizer build); below 1 for longer runs
 *	FERRY_REQUIRE       features, separated by commas: a skip for want of
 *	                    one of them is a failure
 *	CK_FORK=no          one process for all, for a debugger
 *
 * Arguments: names of the tests to run, all when none is given; --list.
 *
 * Output, one line each: "SEED program number", then "ok name",
 * "FAIL name: file:line: message" or "SKIP name: reason" per test, and at
 * last "RESULT program passed failed skipped".
 * Exit status: 0, 1 when a test failed, 77 when every test was skipped.
 */
#ifndef FERRY_TESTS_HARNESS_H
#define FERRY_TESTS_HARNESS_H

#include <check.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/random.h"

/*
 * Check notes each assertion that holds in a file, under a lock and with
 * memory from malloc(), to say after a crash which was the last. Here an
 * assertion that holds costs nothing, so that it can stand in the loops of
 * threads, in signal handlers and in children of fork(2). One that fails may
 * not: there, note what happened and assert it in the test.
 */
#define _mark_point(file, line) ((void)0)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

struct test {
	const TTest *const *fn; /* what START_TEST defines */
	const char *needs;	/* features, comma-separated, or NULL */
	void (*setup)(void);	/* runs in the test's own process, or NULL */
	void (*teardown)(void);
	double seconds; /* time limit before scaling; 0: 120 */
};

/* The test @name, which needs the features @needs (a string or NULL). */
#define TEST(name, ...)                                                        \
	{                                                                      \
		.fn = &(name), .needs = __VA_ARGS__                            \
	}

/* The same between @up and @down, both run in the test's own process. */
#define TEST_FIXTURE(name, features, up, down)                                 \
	{                                                                      \
		.fn = &(name), .needs = (features), .setup = (up),             \
		.teardown = (down)                                             \
	}

#define HARNESS_MAIN(argc, argv, tests)                                        \
	harness_main((argc), (argv), (tests), ARRAY_SIZE(tests))

int harness_main(int argc, char **argv, const struct test *tests, size_t n);

/*
 * Leaves the running test as skipped: @feature is what is missing (one word,
 * compared with FERRY_REQUIRE), @reason what was seen. The test must return
 * right after; SKIP() does both.
 */
void harness_skip(const char *feature, const char *reason, ...)
	__attribute__((format(printf, 2, 3)));

#define SKIP(feature, ...)                                                     \
	do {                                                                   \
		harness_skip(feature, __VA_ARGS__);                            \
		return;                                                        \
	} while (0)

/* @n pieces of work divided by FERRY_TEST_SCALE, at least 1. */
size_t harness_scaled(size_t n);

/* Is this a build with ThreadSanitizer? */
bool harness_thread_sanitized(void);

/* @seconds multiplied by FERRY_TEST_SCALE: for time limits. */
double harness_patience(double seconds);

/*
 * Waits until @cond holds: for what other threads, processes or the kernel do
 * in their own time. The time limit of the test is the only clock, so that a
 * machine may be as slow as it is.
 */
#define AWAIT(cond)                                                            \
	do {                                                                   \
		while (!(cond))                                                \
			harness_pause();                                       \
	} while (0)

/* A moment without the processor. */
void harness_pause(void);

/*
 * A sanitizer allocates memory where a thread starts, under a lock that stays
 * taken in the child of a fork just then (GCC 12's does not hold it for fork):
 * the child's next thread would wait for ever. So threads of tests have started
 * when pthread_create() returns, as the library's have.
 */
#ifdef FERRY_SANITIZE
int harness_thread_create(pthread_t *ret_thread, const pthread_attr_t *attr,
			  void *(*fn)(void *), void *arg);
#define pthread_create harness_thread_create
#endif

/* The descriptors of this process (of the calling thread's table). */
size_t harness_descriptors(void);

/* The lines of @text that have an end. */
size_t harness_lines(const char *text);

/*
 * The seed of this run (FERRY_TEST_SEED, else taken from the kernel). It is
 * the same in every test of a program.
 */
uint64_t harness_seed(void);

/* A generator for the running test, seeded from the seed and its name. */
struct random harness_random(void);

/*
 * Is @feature there? Else @ret_reason, when not NULL, says what was seen;
 * never freed.
 */
bool harness_feature(const char *feature, const char **ret_reason);

#endif
