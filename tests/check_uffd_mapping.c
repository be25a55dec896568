/* SPDX-License-Identifier: MIT */
/* Mappings are walked and asked about, of any process, while they change. */
#include <ferry/eligible.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "uffd/mapping.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

#define PAGE ferry__page_size

struct seen {
	struct ferry_mapping m[16];
	size_t n;
};

static int collect(void *arg, const struct ferry_mapping *m)
{
	struct seen *seen = arg;

	if (seen->n == ARRAY_SIZE(seen->m))
		return -ENOSPC;
	seen->m[seen->n++] = *m;
	return 0;
}

START_TEST(walk_tells_gaps_and_cuts_to_the_range)
{
	char *p = map_private(7 * PAGE);
	struct seen seen = { .n = 0 };

	ck_assert_int_eq(munmap(p + 2 * PAGE, PAGE), 0);
	ck_assert_int_eq(mprotect(p + 4 * PAGE, PAGE, PROT_READ), 0);
	ck_assert_int_eq(
		ferry_mappings_walk(0, p + PAGE, 5 * PAGE, collect, &seen), 0);
	ck_assert_uint_eq(seen.n, 5);
	ck_assert_ptr_eq(seen.m[0].range.addr, p + PAGE);
	ck_assert_uint_eq(seen.m[0].range.len, PAGE);
	ck_assert_int_eq(seen.m[1].reason, FERRY_REASON_UNMAPPED);
	ck_assert_ptr_eq(seen.m[1].range.addr, p + 2 * PAGE);
	ck_assert_uint_eq(seen.m[1].range.len, PAGE);
	ck_assert_int_eq(seen.m[3].reason, FERRY_REASON_READ_ONLY);
	ck_assert_ptr_eq(seen.m[4].range.addr, p + 5 * PAGE);
	ck_assert_uint_eq(seen.m[4].range.len, PAGE);
}
END_TEST

START_TEST(unmapped_memory_is_one_gap)
{
	char *p = map_private(3 * PAGE);
	struct seen seen = { .n = 0 };
	struct ferry__mapping m;

	munmap(p, 3 * PAGE);
	ck_assert_int_eq(range_verdict(p, 2 * PAGE), FERRY_REASON_UNMAPPED);
	ck_assert_int_eq(ferry_mappings_walk(0, p, 2 * PAGE, collect, &seen),
			 0);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_ptr_eq(seen.m[0].range.addr, p);
	ck_assert_uint_eq(seen.m[0].range.len, 2 * PAGE);
	ck_assert_int_eq(ferry__mapping_query(p, 2 * PAGE, &m), -ENOENT);
}
END_TEST

static int stop(void *arg, const struct ferry_mapping *m)
{
	(void)m;
	++*(int *)arg;
	return 42;
}

START_TEST(walk_returns_what_the_callback_said)
{
	int calls = 0;

	ck_assert_int_eq(ferry_mappings_walk(0, NULL, 0, stop, &calls), 42);
	ck_assert_int_eq(calls, 1);
}
END_TEST

START_TEST(bad_requests_are_refused)
{
	char *p = map_private(PAGE);
	int calls = 0;

	ck_assert_int_eq(range_verdict(p + 1, PAGE), FERRY_REASON_UNALIGNED);
	ck_assert_int_eq(range_verdict(p, PAGE + 1), FERRY_REASON_UNALIGNED);
	ck_assert_int_eq(range_verdict(p, 0), FERRY_REASON_ZERO_LENGTH);
	ck_assert_int_eq(range_verdict(p, (size_t)0 - PAGE),
			 FERRY_REASON_OVERFLOW);
	ck_assert_int_eq(ferry_range_eligible(p + 1, PAGE, NULL), -EINVAL);
	ck_assert_int_eq(ferry_mappings_walk(-1, NULL, 0, stop, &calls),
			 -EINVAL);
	ck_assert_int_eq(ferry_mappings_walk(0, p, PAGE + 1, stop, &calls),
			 -EINVAL);
	ck_assert_int_eq(ferry_mappings_walk(0, p, PAGE, NULL, NULL), -EINVAL);
	ck_assert_int_eq(calls, 0);
}
END_TEST

START_TEST(flags_of_a_mapping_are_told)
{
	char *p = map_private(PAGE);
	struct seen seen = { .n = 0 };

	ck_assert_int_eq(madvise(p, PAGE, MADV_DONTFORK), 0);
	madvise(p, PAGE, MADV_NOHUGEPAGE);
	ck_assert_int_eq(ferry_mappings_walk(0, p, PAGE, collect, &seen), 0);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert(seen.m[0].dont_fork);
	ck_assert(seen.m[0].readable && seen.m[0].writable);
	ck_assert(!seen.m[0].executable && !seen.m[0].shared);
	ck_assert(!seen.m[0].huge_advised);
	ck_assert_uint_eq(seen.m[0].page_size, PAGE);
}
END_TEST

/* A child that sleeps until killed, with @p mapped as the parent has it. */
static pid_t sleeping_child(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid)
		for (;;)
			pause();
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(another_process_is_read_by_pid)
{
	char *p = map_private(2 * PAGE);
	struct seen seen = { .n = 0 };
	pid_t pid;

	ck_assert_int_eq(mprotect(p, PAGE, PROT_READ), 0);
	pid = sleeping_child();
	ck_assert_int_eq(mprotect(p, PAGE, PROT_READ | PROT_WRITE), 0);
	ck_assert_int_eq(ferry_mappings_walk(pid, p, PAGE, collect, &seen), 0);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_int_eq(seen.m[0].reason, FERRY_REASON_READ_ONLY);
	end_child(pid);
	ck_assert_int_eq(ferry_mappings_walk(pid, p, PAGE, collect, &seen),
			 -ESRCH);
}
END_TEST

static int kill_it(void *arg, const struct ferry_mapping *m)
{
	pid_t *pid = arg;

	(void)m;
	if (*pid) {
		end_child(*pid);
		*pid = 0;
	}
	return 0;
}

START_TEST(process_that_dies_while_read_ends_the_walk)
{
	pid_t child = sleeping_child();
	pid_t pid = child;
	int r = ferry_mappings_walk(pid, NULL, 0, kill_it, &child);

	ck_assert_msg(!r || r == -ESRCH, "walk said %d", r);
	ck_assert_int_eq(child, 0);
}
END_TEST

START_TEST(a_forbidden_process_is_refused)
{
	int calls = 0, status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid) {
		if (geteuid() == 0 && setresuid(65534, 65534, 65534))
			_exit(2);
		_exit(ferry_mappings_walk(1, NULL, 0, stop, &calls) != -EACCES);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(one_mapping_is_queried)
{
	char *p = map_private(4 * PAGE);
	struct ferry__mapping m;

	ck_assert_int_eq(mprotect(p + 2 * PAGE, PAGE, PROT_READ), 0);
	ck_assert_int_eq(ferry__mapping_query(p + 2 * PAGE, PAGE, &m), 0);
	ck_assert_uint_eq(m.start, (uintptr_t)p + 2 * PAGE);
	ck_assert_uint_eq(m.end, (uintptr_t)p + 3 * PAGE);
	ck_assert_int_eq(m.reason, FERRY_REASON_READ_ONLY);
	munmap(p, PAGE);
	ck_assert_int_eq(ferry__mapping_query(p, 2 * PAGE, &m), 0);
	ck_assert_uint_eq(m.start, (uintptr_t)p + PAGE);
}
END_TEST

/* --- injected faults ------------------------------------------------------ */

START_TEST(queries_work_without_procmap_query)
{
	struct inject_rule none = { .call = INJECT_IOCTL,
				    .request = FERRY__PROCMAP_QUERY,
				    .count = INJECT_ALWAYS,
				    .error = ENOTTY };
	char *p = map_private(3 * PAGE);
	struct ferry__mapping m;

	inject_start();
	inject_add(&none);
	ck_assert_int_eq(ferry__mapping_query(p, PAGE, &m), 0);
	ck_assert_int_eq(m.reason, FERRY_REASON_NONE);
	munmap(p + PAGE, PAGE);
	ck_assert_int_eq(ferry__mapping_query(p + PAGE, PAGE, &m), -ENOENT);
	ck_assert_int_eq(range_verdict(p + PAGE, PAGE), FERRY_REASON_UNMAPPED);
	ck_assert_uint_gt(inject_hits(&none), 0);
}
END_TEST

/* --- mappings that change while they are read ----------------------------- */

static void *remap_until_told(void *arg)
{
	const bool *end = arg;
	char *p;

	/* A2: relaxed suffices: only the loop's end hangs on the word. */
	while (!__atomic_load_n(end, __ATOMIC_RELAXED)) {
		p = map_private(64 * PAGE);
		mprotect(p + 8 * PAGE, PAGE, PROT_READ);
		munmap(p + 16 * PAGE, PAGE);
		mprotect(p + 8 * PAGE, PAGE, PROT_READ | PROT_WRITE);
		munmap(p, 64 * PAGE);
	}
	return NULL;
}

struct ascending {
	uintptr_t floor;
	const char *want;
	bool found;
};

static int check_ascending(void *arg, const struct ferry_mapping *m)
{
	struct ascending *a = arg;
	uintptr_t start = (uintptr_t)m->range.addr;

	ck_assert_uint_ge(start, a->floor);
	a->floor = start + m->range.len;
	if (m->range.addr == a->want)
		a->found = true;
	return 0;
}

START_TEST(a_walk_through_changing_mappings_finds_what_stays)
{
	size_t i, rounds = harness_scaled(300);
	/* Between its neighbours, so that it merges with nothing. */
	char *p = map_private(3 * PAGE);
	bool end = false;
	pthread_t thread;

	mprotect(p, PAGE, PROT_NONE);
	mprotect(p + 2 * PAGE, PAGE, PROT_NONE);
	ck_assert_int_eq(pthread_create(&thread, NULL, remap_until_told, &end),
			 0);
	for (i = 0; i < rounds; i++) {
		struct ascending a = { .want = p + PAGE };

		ck_assert_int_eq(
			ferry_mappings_walk(0, NULL, 0, check_ascending, &a),
			0);
		ck_assert_msg(a.found, "round %zu lost a mapping", i);
		ck_assert_int_eq(range_verdict(p + PAGE, PAGE),
				 FERRY_REASON_NONE);
	}
	/* Pairs with nothing: see A2. */
	__atomic_store_n(&end, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
}
END_TEST

static const struct test tests[] = {
	TEST(walk_tells_gaps_and_cuts_to_the_range, NULL),
	TEST(unmapped_memory_is_one_gap, NULL),
	TEST(walk_returns_what_the_callback_said, NULL),
	TEST(bad_requests_are_refused, NULL),
	TEST(flags_of_a_mapping_are_told, NULL),
	TEST(another_process_is_read_by_pid, NULL),
	TEST(process_that_dies_while_read_ends_the_walk, NULL),
	TEST(a_forbidden_process_is_refused, "root"),
	TEST(one_mapping_is_queried, NULL),
	TEST(queries_work_without_procmap_query, NULL),
	TEST(a_walk_through_changing_mappings_finds_what_stays, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
