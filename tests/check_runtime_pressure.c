/* SPDX-License-Identifier: MIT */
/*
 * The watch for memory pressure, on files of another machine. What it asks
 * for is noted here in place of the policy's answer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/heap-internal.h"
#include "tests/files.h"
#include "tests/harness.h"

#define SYSTEM "/proc/pressure/memory"
#define GROUP  "/sys/fs/cgroup/box/memory.pressure"

#define CALM_LINE "avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
#define BUSY_LINE "avg10=12.50 avg60=4.00 avg300=0.10 total=9\n"
/* Somebody always waits: that alone is no pressure. */
#define CALM	"some " BUSY_LINE "full " CALM_LINE
#define SQUEEZE "some " BUSY_LINE "full " BUSY_LINE

static struct ferry_heap *heap;

/* Written by the watcher, read by the test: each a word of its own. */
static _Atomic unsigned int pressed, released;

/* In place of that in policy.c, so that the watch is alone. */
void ferry__policy_press(struct ferry_heap *h, bool on)
{
	ck_assert_ptr_eq(h, heap);
	atomic_fetch_add(on ? &pressed : &released, 1);
}

/* Time goes a thousand times as fast for the watcher: no test waits long. */
static uint64_t hurried_ns(void)
{
	return ferry__sys_linux.now_ns() * 1000;
}

static struct ferry__sys table;

static int (*poll_below)(struct pollfd *fds, nfds_t n, int timeout_ms);

static int hurried_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	return poll_below(fds, n, timeout_ms > 0 ? 5 : timeout_ms);
}

static void setup(void)
{
	heap = calloc(1, sizeof(*heap));
	ck_assert_ptr_nonnull(heap);
	heap->mode = FERRY_GC_CONCURRENT;
	files_start();
	table = *ferry__sys;
	poll_below = table.poll;
	table.now_ns = hurried_ns;
	table.poll = hurried_poll;
	ferry__sys = &table;
}

static void teardown(void)
{
	ferry__pressure_fini(heap);
	ck_assert_uint_eq(files_open(), 0);
	free(heap);
}

static void wait_for(_Atomic unsigned int *word, unsigned int value)
{
	while (atomic_load(word) < value)
		ferry__sys_linux.sleep_ns(1000000);
}

START_TEST(trigger_is_asked_for_and_heard)
{
	files_add(SYSTEM, CALM);
	ferry__pressure_init(heap);
	ck_assert(heap->policy.pressure.has_thread);
	ck_assert_str_eq(files_written(SYSTEM), "full 100000 2000000");
	files_raise(SYSTEM);
	wait_for(&pressed, 1);
}
END_TEST

START_TEST(own_control_group_comes_first)
{
	files_add("/proc/self/cgroup", "0::/box\n");
	files_add(SYSTEM, CALM);
	files_add(GROUP, CALM);
	ferry__pressure_init(heap);
	ck_assert_str_eq(files_written(GROUP), "full 100000 2000000");
	ck_assert_str_eq(files_written(SYSTEM), "");
	files_raise(GROUP);
	wait_for(&pressed, 1);
}
END_TEST

START_TEST(averages_are_read_where_triggers_are_refused)
{
	files_add(SYSTEM, CALM);
	files_refuse_writes(-EPERM);
	ferry__pressure_init(heap);
	ck_assert(heap->policy.pressure.has_thread);
	ck_assert(!heap->policy.pressure.has_trigger);
	ck_assert_uint_eq(atomic_load(&pressed), 0);
	files_add(SYSTEM, SQUEEZE);
	wait_for(&pressed, 1);
}
END_TEST

START_TEST(calm_is_told_once_it_lasted)
{
	files_add(SYSTEM, CALM);
	ferry__pressure_init(heap);
	files_raise(SYSTEM);
	wait_for(&pressed, 1);
	wait_for(&released, 1);
}
END_TEST

START_TEST(answers_that_give_nothing_get_rarer)
{
	unsigned int first, later;
	uint64_t begin, seconds;

	heap->space.taken = 1 << 30; /* and nothing is ever released */
	files_add(SYSTEM, SQUEEZE);
	files_refuse_writes(-EPERM);
	ferry__pressure_init(heap);
	wait_for(&pressed, 2);
	begin = hurried_ns();
	first = atomic_load(&pressed);
	/* A signal every 5 ms that are 5 s: 4 s later, then 8, 16, ... */
	ferry__sys_linux.sleep_ns(300 * 1000000ull);
	later = atomic_load(&pressed);
	seconds = (hurried_ns() - begin) / 1000000000;
	/* Who was asleep for longer lets more of them happen. */
	ck_assert_uint_le(later - first, 2 + seconds / 32);
}
END_TEST

START_TEST(heap_without_the_file_has_no_thread)
{
	ferry__pressure_init(heap);
	ck_assert(!heap->policy.pressure.has_thread);
}
END_TEST

START_TEST(file_that_says_nothing_is_not_watched)
{
	files_add(SYSTEM, ""); /* psi=0 */
	files_refuse_writes(-EOPNOTSUPP);
	ferry__pressure_init(heap);
	ck_assert(!heap->policy.pressure.has_thread);
}
END_TEST

START_TEST(stopped_heap_or_one_that_does_not_want_it_has_none)
{
	files_add(SYSTEM, CALM);
	heap->mode = FERRY_GC_STOPPED;
	ferry__pressure_init(heap);
	ck_assert(!heap->policy.pressure.has_thread);
	heap->mode = FERRY_GC_CONCURRENT;
	heap->params.no_pressure = true;
	ferry__pressure_init(heap);
	ck_assert(!heap->policy.pressure.has_thread);
}
END_TEST

START_TEST(it_ends_while_nothing_happens)
{
	files_add(SYSTEM, CALM);
	ferry__pressure_init(heap);
	ferry__pressure_fini(heap);
	ck_assert(!heap->policy.pressure.has_thread);
	ck_assert_uint_eq(files_open(), 0);
	ferry__pressure_fini(heap); /* again is fine */
}
END_TEST

#define T(name) TEST_FIXTURE(name, NULL, setup, teardown)

static const struct test tests[] = {
	T(trigger_is_asked_for_and_heard),
	T(own_control_group_comes_first),
	T(averages_are_read_where_triggers_are_refused),
	T(calm_is_told_once_it_lasted),
	T(answers_that_give_nothing_get_rarer),
	T(heap_without_the_file_has_no_thread),
	T(file_that_says_nothing_is_not_watched),
	T(stopped_heap_or_one_that_does_not_want_it_has_none),
	T(it_ends_while_nothing_happens),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
