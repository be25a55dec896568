/* SPDX-License-Identifier: MIT */
/* A heap's beginning and end: what it takes of the process and gives back. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cells.h"
#include "tests/harness.h"
#include "tests/inject.h"

#define MIB ((size_t)1 << 20)

/* --- what the process has ---------------------------------------------------- */

static size_t entries(const char *path)
{
	DIR *dir = opendir(path);
	size_t n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static size_t descriptors(void)
{
	return entries("/proc/self/fd");
}

static size_t threads(void)
{
	return entries("/proc/self/task");
}

/* Bytes of address space that are the process's. */
static size_t mapped(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	size_t pages;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%zu", &pages), 1);
	fclose(file);
	return pages;
}

/* What a sanitizer maps, and keeps of what was freed. */
#ifdef FERRY_SANITIZE
#define SLACK 4096
#else
#define SLACK 0
#endif

/*
 * Pages mapped when no table of an arena that is gone waits: they are freed by
 * the batch, which 32 arenas fill at the latest. Then there are fewest.
 */
static size_t mapped_at_rest(void)
{
	size_t least = mapped(), now, i;

	for (i = 0; i < 40; i++) {
		struct ferry_arena_params p =
			FERRY_INIT(struct ferry_arena_params);
		struct ferry_arena *arena;

		p.reserve = MIB;
		ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
		ferry_arena_destroy(arena);
		now = mapped();
		least = now < least ? now : least;
	}
	return least;
}

static struct ferry_heap *create(enum ferry_gc_mode mode)
{
	struct ferry_heap_params p = cells_params(mode);
	struct ferry_heap *heap;

	ck_assert_int_eq(ferry_heap_create(&p, NULL, &heap), 0);
	return heap;
}

/* --- creation ---------------------------------------------------------------- */

START_TEST(heap_is_made_and_taken_down)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cells_modes); i++) {
		struct ferry_heap *heap = create(cells_modes[i]);

		ck_assert(!ferry_heap_contains(heap, &heap));
		ck_assert_int_eq(ferry_heap_destroy(heap), 0);
	}
	ck_assert_int_eq(ferry_heap_destroy(NULL), 0);
}
END_TEST

START_TEST(heap_without_params_is_made)
{
	struct ferry_heap *heap;

	ck_assert_int_eq(ferry_heap_create(NULL, NULL, &heap), 0);
	ck_assert_int_eq(ferry_heap_destroy(heap), 0);
}
END_TEST

static void *load_hook(const void *slot)
{
	return *(void *const *)slot;
}

static void expect_refused(const struct ferry_heap_params *p, int error)
{
	struct ferry_heap *heap = (void *)p;

	ck_assert_int_eq(ferry_heap_create(p, NULL, &heap), error);
	ck_assert_ptr_eq(heap, (void *)p);
}

START_TEST(params_out_of_range_are_refused)
{
	struct ferry_heap_params good = cells_params(FERRY_GC_STOPPED), p;

	p = good;
	p.mode = (enum ferry_gc_mode)3;
	expect_refused(&p, -EINVAL);
	p = good;
	p.sizing = (enum ferry_sizing)3;
	expect_refused(&p, -EINVAL);
	p = good;
	p.stacks = (enum ferry_stack_scan)2;
	expect_refused(&p, -EINVAL);
	p = good;
	p.fault_mode = (enum ferry_fault_mode)99;
	expect_refused(&p, -EINVAL);
	p = good;
	p.load = load_hook;
	expect_refused(&p, -EINVAL);
	p = good;
	p.options = "no-such-key:1";
	expect_refused(&p, -EINVAL);
	p = good;
	p.size = 4;
	expect_refused(&p, -EINVAL);
}
END_TEST

START_TEST(params_of_a_later_version_are_refused_if_used)
{
	struct {
		struct ferry_heap_params p;
		uint64_t later;
	} big = { cells_params(FERRY_GC_STOPPED), 0 };
	struct ferry_heap *heap;

	big.p.size = sizeof(big);
	ck_assert_int_eq(ferry_heap_create(&big.p, NULL, &heap), 0);
	ck_assert_int_eq(ferry_heap_destroy(heap), 0);
	big.later = 1;
	expect_refused(&big.p, -E2BIG);
}
END_TEST

/*
 * Creates a heap with the nth mmap refused, for each n; how often that was
 * the end of it. This depends on where the heap lands: the table of look-up
 * grows by 16 GiB of addresses.
 */
static size_t refuse_each_mmap(void)
{
	struct ferry_heap_params p = cells_params(FERRY_GC_AUTO);
	struct inject_rule rule = { .call = INJECT_MMAP, .error = ENOMEM };
	struct ferry_heap *heap;
	size_t refused = 0;
	int r;

	for (rule.nth = 1;; rule.nth++) {
		rule.seen = rule.hits = 0;
		inject_start();
		inject_add(&rule);
		r = ferry_heap_create(&p, NULL, &heap);
		if (r == 0)
			ck_assert_int_eq(ferry_heap_destroy(heap), 0);
		inject_stop();
		ck_assert(r == 0 || r == -ENOMEM);
		refused += r < 0;
		if (!rule.hits)
			return refused;
	}
}

START_TEST(refused_heap_leaves_nothing)
{
	size_t fds, pages, i;

	ck_assert_int_eq(ferry_heap_destroy(create(FERRY_GC_AUTO)), 0);
	/* The C library keeps stacks of threads that have ended. */
	ck_assert_uint_ge(refuse_each_mmap(), 5);
	fds = descriptors();
	pages = mapped_at_rest();
	for (i = 0; i < harness_scaled(40); i++)
		ck_assert_uint_ge(refuse_each_mmap(), 5);
	ck_assert_uint_eq(descriptors(), fds);
	ck_assert_uint_le(mapped_at_rest(), pages + SLACK);
}
END_TEST

/* --- what it takes ------------------------------------------------------------- */

START_TEST(stopped_heap_has_no_thread_and_no_descriptor)
{
	size_t fds = descriptors(), tasks = threads();
	struct cells *c = cells_make(FERRY_GC_STOPPED, 1);

	cells_list(c, 0, FERRY_KIND_TRACED, 1000, 2, 0);
	cells_collect(c, FERRY_COLLECT_COMPACT);
	ck_assert_uint_eq(descriptors(), fds);
	ck_assert_uint_eq(threads(), tasks);
	ck_assert_int_eq(cells_stats(c)->mode, FERRY_GC_STOPPED);
	ck_assert_int_eq(cells_stats(c)->why, FERRY_REASON_NONE);
	cells_close(c);
}
END_TEST

START_TEST(heaps_in_sequence_leak_nothing)
{
	size_t fds = 0, pages = 0, tasks = 0, i, n = harness_scaled(40);

	for (i = 0; i < n + 4; i++) {
		struct cells *c = cells_make(cells_modes[i % 2], 1);

		cells_list(c, 0, FERRY_KIND_TYPED, 5000, 2, 64);
		ck_assert_ptr_nonnull(ferry_alloc(c->m, MIB, FERRY_KIND_RAW));
		cells_collect(c, FERRY_COLLECT_COMPACT);
		cells_list_check(c, 0, 5000);
		cells_close(c);
		if (i == 3) {
			fds = descriptors();
			pages = mapped_at_rest();
			tasks = threads();
		}
	}
	ck_assert_uint_eq(descriptors(), fds);
	ck_assert_uint_eq(threads(), tasks);
	ck_assert_uint_le(mapped_at_rest(), pages + SLACK);
}
END_TEST

START_TEST(heaps_in_one_process_are_independent)
{
	struct cells *c[6];
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(c); i++) {
		c[i] = cells_make(cells_modes[i % 2], 1);
		cells_list(c[i], 0, FERRY_KIND_TRACED, 1000 + i, 2, 32);
	}
	for (i = 0; i < ARRAY_SIZE(c); i++) {
		ck_assert_ptr_eq(ferry_mutator_self(c[i]->heap), c[i]->m);
		ck_assert_ptr_eq(ferry_mutator_heap(c[i]->m), c[i]->heap);
		for (j = 0; j < ARRAY_SIZE(c); j++)
			ck_assert_int_eq(
				ferry_heap_contains(c[i]->heap, c[j]->root[0]),
				i == j);
	}
	for (i = 0; i < ARRAY_SIZE(c); i++) {
		cells_collect(c[i], FERRY_COLLECT_COMPACT);
		for (j = i; j < ARRAY_SIZE(c); j++) {
			cells_list_check(c[j], 0, 1000 + j);
			ck_assert_uint_eq(cells_stats(c[j])->fulls, j <= i);
		}
		cells_close(c[i]);
	}
}
END_TEST

/* --- the end --------------------------------------------------------------------- */

START_TEST(heap_with_a_mutator_is_busy)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cells_modes); i++) {
		struct cells *c = cells_make(cells_modes[i], 1);

		cells_list(c, 0, FERRY_KIND_TRACED, 100, 1, 0);
		ck_assert_int_eq(ferry_heap_destroy(c->heap), -EBUSY);
		cells_collect(c, FERRY_COLLECT_FULL);
		cells_list_check(c, 0, 100);
		cells_close(c);
	}
}
END_TEST

START_TEST(heap_is_destroyed_with_a_request_pending)
{
	size_t i, n = harness_scaled(20);

	for (i = 0; i < n; i++) {
		struct cells *c = cells_make(FERRY_GC_AUTO, 1);

		cells_list(c, 0, FERRY_KIND_TRACED, 1000, 1, 32);
		ck_assert_int_eq(
			ferry_heap_request(c->heap, FERRY_COLLECT_COMPACT), 0);
		cells_close(c);
	}
}
END_TEST

/* --- modes ----------------------------------------------------------------------- */

static struct inject_rule no_call = { .call = INJECT_USERFAULTFD,
				      .count = INJECT_ALWAYS,
				      .error = EPERM };
static struct inject_rule no_device = { .call = INJECT_OPEN,
					.path = "/dev/userfaultfd",
					.count = INJECT_ALWAYS,
					.error = EACCES };

static void deny_userfaultfd(void)
{
	inject_start();
	inject_add(&no_call);
	inject_add(&no_device);
}

START_TEST(auto_falls_back_and_says_why)
{
	struct ferry_heap_params p = cells_params(FERRY_GC_AUTO);
	enum ferry_reason reason = FERRY_REASON_MAX;
	struct ferry_heap *heap;
	struct cells *c;

	deny_userfaultfd();
	ck_assert_int_eq(ferry_heap_create(&p, &reason, &heap), 0);
	/* Where the system would allow it, a filter must have refused. */
	ck_assert_msg(reason == FERRY_REASON_NO_PERMISSION ||
			      reason == FERRY_REASON_SECCOMP,
		      "reason: %s", ferry_reason_string(reason));
	ck_assert_int_eq(ferry_heap_destroy(heap), 0);
	c = cells_open(&p, 1);
	ck_assert_int_eq(cells_stats(c)->mode, FERRY_GC_STOPPED);
	ck_assert_int_eq(cells_stats(c)->why, reason);
	cells_list(c, 0, FERRY_KIND_TRACED, 1000, 1, 64);
	cells_collect(c, FERRY_COLLECT_COMPACT);
	cells_list_check(c, 0, 1000);
	cells_close(c);
}
END_TEST

START_TEST(concurrent_is_refused_where_it_is_not_to_be_had)
{
	struct ferry_heap_params p = cells_params(FERRY_GC_CONCURRENT);
	enum ferry_reason reason = FERRY_REASON_NONE;
	struct ferry_heap *heap = NULL;
	int r;

	deny_userfaultfd();
	r = ferry_heap_create(&p, &reason, &heap);
	ck_assert_msg(r == -EPERM || r == -EOPNOTSUPP || r == -ENOSYS, "%d", r);
	ck_assert_int_ne(reason, FERRY_REASON_NONE);
	ck_assert_ptr_null(heap);
}
END_TEST

START_TEST(auto_is_concurrent_where_it_is_to_be_had)
{
	struct ferry_heap_params p = cells_params(FERRY_GC_AUTO);
	enum ferry_reason reason = FERRY_REASON_MAX;
	struct ferry_heap *heap;
	struct cells *c;

	ck_assert_int_eq(ferry_heap_create(&p, &reason, &heap), 0);
	ck_assert_int_eq(reason, FERRY_REASON_NONE);
	ck_assert_int_eq(ferry_heap_destroy(heap), 0);
	c = cells_open(&p, 1);
	ck_assert(cells_concurrent(c));
	ck_assert_int_ne(cells_stats(c)->dirty_provider, 0);
	cells_close(c);
}
END_TEST

START_TEST(collect_refuses_what_is_no_collection)
{
	struct cells *c = cells_make(FERRY_GC_AUTO, 1);

	ck_assert_int_eq(ferry_heap_collect(c->heap, c->m, 0), -EINVAL);
	ck_assert_int_eq(ferry_heap_collect(c->heap, c->m, 4), -EINVAL);
	ck_assert_int_eq(ferry_heap_request(c->heap, 4), -EINVAL);
	cells_close(c);
}
END_TEST

static const struct test tests[] = {
	TEST(heap_is_made_and_taken_down, NULL),
	TEST(heap_without_params_is_made, NULL),
	TEST(params_out_of_range_are_refused, NULL),
	TEST(params_of_a_later_version_are_refused_if_used, NULL),
	TEST(refused_heap_leaves_nothing, NULL),
	TEST(stopped_heap_has_no_thread_and_no_descriptor, NULL),
	TEST(heaps_in_sequence_leak_nothing, NULL),
	TEST(heaps_in_one_process_are_independent, NULL),
	TEST(heap_with_a_mutator_is_busy, NULL),
	TEST(heap_is_destroyed_with_a_request_pending, NULL),
	TEST(auto_falls_back_and_says_why, "userfaultfd"),
	TEST(concurrent_is_refused_where_it_is_not_to_be_had, NULL),
	TEST(auto_is_concurrent_where_it_is_to_be_had, "move"),
	TEST(collect_refuses_what_is_no_collection, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
