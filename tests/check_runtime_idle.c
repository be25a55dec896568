/* SPDX-License-Identifier: MIT */
/* What a heap does in a moment when the program has nothing to do. */
#include <ferry/event.h>
#include <ferry/root.h>

#include "tests/harness.h"

#define BUDGET 1000000000u

static struct ferry_heap *heap;
static struct ferry_mutator *mutator;

static void open_heap(enum ferry_gc_mode mode)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);

	p.mode = mode;
	p.min_bytes = 16u << 20;
	p.max_bytes = 64u << 20;
	p.no_pressure = true;
	p.no_environment = true;
	ck_assert_int_eq(ferry_heap_create(&p, NULL, &heap), 0);
	ck_assert_int_eq(ferry_mutator_attach(heap, NULL, &mutator), 0);
}

static void close_heap(void)
{
	ferry_mutator_detach(mutator);
	ck_assert_int_eq(ferry_heap_destroy(heap), 0);
}

static void allocate(size_t bytes)
{
	for (; bytes; bytes -= 4096)
		ck_assert_ptr_nonnull(
			ferry_alloc(mutator, 4096, FERRY_KIND_RAW));
}

static uint64_t collections(void)
{
	struct ferry_heap_stats s = FERRY_INIT(struct ferry_heap_stats);

	ck_assert_int_eq(ferry_heap_stats(heap, &s), 0);
	return s.minors + s.fulls;
}

START_TEST(idle_heap_without_garbage_is_left_alone)
{
	open_heap(FERRY_GC_STOPPED);
	ck_assert(!ferry_heap_idle(heap, mutator, BUDGET));
	ck_assert_uint_eq(collections(), 0);
	close_heap();
}
END_TEST

START_TEST(stopped_heap_collects_ahead_of_its_time)
{
	open_heap(FERRY_GC_STOPPED);
	allocate(12u << 20);
	ck_assert_uint_eq(collections(), 0);
	ck_assert(!ferry_heap_idle(heap, mutator, BUDGET));
	ck_assert_uint_eq(collections(), 1);
	close_heap();
}
END_TEST

START_TEST(concurrent_heap_begins_a_collection_and_comes_to_rest)
{
	open_heap(FERRY_GC_CONCURRENT);
	allocate(6u << 20);
	while (ferry_heap_idle(heap, mutator, BUDGET) || !collections())
		ferry_safepoint(mutator);
	ck_assert_uint_ge(collections(), 1);
	ck_assert(!ferry_heap_idle(heap, mutator, BUDGET));
	close_heap();
}
END_TEST

static const struct test tests[] = {
	TEST(idle_heap_without_garbage_is_left_alone, NULL),
	TEST(stopped_heap_collects_ahead_of_its_time, NULL),
	TEST(concurrent_heap_begins_a_collection_and_comes_to_rest, "move"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
