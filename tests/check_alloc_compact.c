/* SPDX-License-Identifier: MIT */
/* Page compaction: what plan, start, step and finish promise. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/alloc-internal.h"
#include "tests/compact_heap.h"
#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "uffd/uapi.h"

static size_t resident(struct ferry_arena *arena)
{
	char *base = ferry_arena_base(arena);
	size_t n = 0, i;

	for (i = 0; i < ferry_arena_reserved(arena); i += page_size())
		n += page_there(base + i) ? page_size() : 0;
	return n;
}

/* Compacts @heaps whole and checks all there is to check. */
static void compact_and_check(struct heap *heaps, size_t n,
			      struct ferry_compact_params params)
{
	struct ferry_compact *c = heap_plan(heaps, n, params);
	struct ferry_arena *dst;
	struct ferry_compact_result res;
	size_t live = 0, left = 1, i;

	for (i = 0; i < n; i++)
		live += heap_live(&heaps[i]);
	ck_assert_uint_eq(heap_result(c).planned, live);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	dst = ferry_compact_destination(c);
	ck_assert_int_eq(ferry_compact_step(c, 0, NULL, &left), 0);
	ck_assert_uint_eq(left, 0);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	res = heap_result(c);
	ck_assert_int_eq(res.phase, FERRY_COMPACT_DONE);
	ck_assert_uint_eq(res.moved + res.copied, live);
	ck_assert_uint_eq(res.left, 0);
	for (i = 0; i < n; i++) {
		heap_assert_moved(&heaps[i], c);
		ck_assert_uint_eq(
			heap_bytes_in(heaps[i].arena, FERRY_PAGE_ABSENT),
			ferry_arena_reserved(heaps[i].arena));
		ck_assert_uint_eq(resident(heaps[i].arena), 0);
	}
	ck_assert_uint_eq(heap_bytes_in(dst, FERRY_PAGE_LIVE), live);
	ck_assert_uint_eq(resident(dst), live);
	ferry_compact_destroy(c);
	if (!params.destination)
		ferry_arena_destroy(dst);
}

static void sparse_arena(size_t mean, struct ferry_compact_params params)
{
	struct random r = harness_random();
	struct heap heap = heap_make(4096, 1000, FERRY_THP_NEVER);

	heap_thin(&heap, &r, mean);
	compact_and_check(&heap, 1, params);
	heap_fini(&heap);
}

START_TEST(single_pages_arrive_whole)
{
	sparse_arena(1, (struct ferry_compact_params){ 0 });
}
END_TEST

START_TEST(runs_arrive_whole)
{
	sparse_arena(8, (struct ferry_compact_params){ 0 });
}
END_TEST

START_TEST(long_runs_arrive_whole)
{
	sparse_arena(300, (struct ferry_compact_params){ 0 });
}
END_TEST

START_TEST(runs_arrive_whole_with_handler_threads)
{
	sparse_arena(
		8, (struct ferry_compact_params){ .mode = FERRY_FAULT_THREAD });
}
END_TEST

/* A filter that denies MOVE has ferry_move() fall back on copying. */
START_TEST(runs_arrive_whole_by_emulation)
{
	static struct inject_rule deny = {
		.call = INJECT_IOCTL,
		.request = FERRY__UFFDIO_MOVE,
		.count = INJECT_ALWAYS,
		.error = EPERM,
	};

	inject_start();
	inject_add(&deny);
	sparse_arena(8, (struct ferry_compact_params){ 0 });
	inject_stop();
}
END_TEST

/* Policies of ranges cut the mapping of an arena, and moves do not cross. */
START_TEST(sources_cut_by_policies_arrive_whole)
{
	struct random r = harness_random();
	struct heap heap = heap_make(4096, 1000, FERRY_THP_NEVER);
	size_t i;

	heap_thin(&heap, &r, 100);
	for (i = 0; i < 30; i++)
		ck_assert_int_eq(
			ferry_arena_set_thp(
				heap.arena,
				random_below(&r, 4000) * page_size(),
				(1 + random_below(&r, 90)) * page_size(),
				i % 2 ? FERRY_THP_ALWAYS : FERRY_THP_NEVER),
			0);
	compact_and_check(&heap, 1, (struct ferry_compact_params){ 0 });
	heap_fini(&heap);
}
END_TEST

/* The same where the arena does not know of the cut. */
START_TEST(sources_cut_behind_our_back_arrive_whole)
{
	struct heap heap = heap_make(512, 1000, FERRY_THP_NEVER);

	ck_assert_int_eq(madvise(heap.base + 100 * page_size(),
				 50 * page_size(), MADV_DONTDUMP),
			 0);
	compact_and_check(&heap, 1, (struct ferry_compact_params){ 0 });
	heap_fini(&heap);
}
END_TEST

static void supply_sevens(void *arg, const struct ferry_fault *fault,
			  struct ferry_supply *supply)
{
	(void)fault;
	supply->kind = FERRY_SUPPLY_COPY;
	supply->src = arg;
}

START_TEST(pages_that_a_service_has_yet_to_bring_are_brought)
{
	struct ferry_fault_params sp = FERRY_INIT(struct ferry_fault_params);
	struct ferry_arena_params ap = FERRY_INIT(struct ferry_arena_params);
	struct ferry_compact_params p = FERRY_INIT(struct ferry_compact_params);
	char *sevens = map_anon(page_size()), *now;
	struct ferry_arena *dst;
	struct ferry_compact *c;

	memset(sevens, 7, page_size());
	sp.mode = FERRY_FAULT_SIGBUS;
	ck_assert_int_eq(ferry_fault_service_create(&sp, NULL, &ap.service), 0);
	ap.reserve = 2 << 20;
	ap.supply = supply_sevens;
	ap.supply_arg = sevens;
	ck_assert_int_eq(ferry_arena_create(&ap, &dst), 0);
	ck_assert_int_eq(ferry_arena_commit(dst, 0, 64 * page_size(), false),
			 0);
	p.sources = &dst;
	p.sources_len = 1;
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), 0);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	ck_assert_uint_eq(heap_result(c).left, 0);
	for (size_t i = 0; i < 64; i++) {
		now = ferry_compact_map(c, (char *)ferry_arena_base(dst) +
						   i * page_size());
		ck_assert_int_eq(now[1000], 7);
	}
	ferry_arena_destroy(ferry_compact_destination(c));
	ferry_compact_destroy(c);
	/* Nor may a destination be under a service. */
	p.destination = dst;
	p.sources = &p.destination;
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), -EINVAL);
	ferry_arena_destroy(dst);
	ferry_fault_service_destroy(ap.service);
}
END_TEST

START_TEST(several_sources_become_one_arena)
{
	struct random r = harness_random();
	struct heap heaps[5];
	size_t i;

	for (i = 0; i < 5; i++) {
		heaps[i] = heap_make(512 * (i + 1), 10000 * i, FERRY_THP_NEVER);
		heap_thin(&heaps[i], &r, 1 + i * 3);
	}
	compact_and_check(heaps, 5, (struct ferry_compact_params){ 0 });
	for (i = 0; i < 5; i++)
		heap_fini(&heaps[i]);
}
END_TEST

START_TEST(an_arena_with_nothing_live_compacts_to_nothing)
{
	struct heap heap = heap_make(512, 0, FERRY_THP_NEVER);

	heap_free(&heap, 0, 512);
	compact_and_check(&heap, 1, (struct ferry_compact_params){ 0 });
	heap_fini(&heap);
}
END_TEST

/* --- destination ---------------------------------------------------------- */

static struct ferry_arena *arena_of(size_t reserve)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *arena;

	p.reserve = reserve;
	p.thp = FERRY_THP_NEVER;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	return arena;
}

START_TEST(a_destination_that_is_given_is_used)
{
	struct ferry_compact_params p = { .destination = arena_of(32 << 20) };

	sparse_arena(8, p);
	ferry_arena_destroy(p.destination);
}
END_TEST

/* As huge pages do, by a fault beside it or by khugepaged. */
START_TEST(pages_that_grow_into_the_destination_are_dropped)
{
	struct ferry_compact_params p = { .destination = arena_of(32 << 20) };
	struct random r = harness_random();
	struct heap heap = heap_make(1024, 0, FERRY_THP_NEVER);
	struct ferry_compact *c;

	heap_thin(&heap, &r, 4);
	c = heap_plan(&heap, 1, p);
	memset(ferry_arena_base(p.destination), 0x5a, 50 * page_size());
	ck_assert_int_eq(ferry_compact_start(c), 0);
	heap_assert_moved(&heap, c);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	heap_assert_moved(&heap, c);
	ck_assert_uint_eq(heap_result(c).left, 0);
	ferry_compact_destroy(c);
	heap_fini(&heap);
	ferry_arena_destroy(p.destination);
}
END_TEST

START_TEST(a_destination_too_small_or_in_use_is_refused)
{
	struct ferry_compact_params p = FERRY_INIT(struct ferry_compact_params);
	struct heap heap = heap_make(1024, 0, FERRY_THP_NEVER);
	struct ferry_compact *c = NULL;

	p.sources = &heap.arena;
	p.sources_len = 1;
	p.destination = arena_of(2 << 20);
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), -ENOSPC);
	ferry_arena_destroy(p.destination);
	p.destination = arena_of(8 << 20);
	ck_assert_int_eq(
		ferry_arena_commit(p.destination, 0, page_size(), false), 0);
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), -EBUSY);
	ck_assert_ptr_null(c);
	ck_assert_uint_eq(heap_bytes_in(heap.arena, FERRY_PAGE_LIVE), 4 << 20);
	ferry_arena_destroy(p.destination);
	heap_fini(&heap);
}
END_TEST

START_TEST(bad_parameters_are_refused)
{
	struct ferry_compact_params p = FERRY_INIT(struct ferry_compact_params);
	struct heap heap = heap_make(512, 0, FERRY_THP_NEVER);
	struct ferry_arena *twice[] = { heap.arena, heap.arena };
	struct ferry_compact *c = NULL;

	ck_assert_int_eq(ferry_compact_plan(NULL, NULL, &c), -EINVAL);
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), -EINVAL);
	p.sources = twice;
	p.sources_len = 2;
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), -EINVAL);
	p.sources_len = 1;
	p.destination = heap.arena;
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), -EINVAL);
	p.destination = NULL;
	p.flags = 1u << 30;
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), -EINVAL);
	ck_assert_ptr_null(c);
	ck_assert_uint_eq(heap_bytes_in(heap.arena, FERRY_PAGE_LIVE), 2 << 20);
	heap_fini(&heap);
}
END_TEST

/* --- the map -------------------------------------------------------------- */

START_TEST(the_map_is_known_before_anything_moves)
{
	struct random r = harness_random();
	struct heap heap = heap_make(2048, 0, FERRY_THP_NEVER);
	struct ferry_compact *c;
	struct ferry_relocation run;
	char *at = NULL;
	size_t sum = 0;

	heap_thin(&heap, &r, 5);
	c = heap_plan(&heap, 1, (struct ferry_compact_params){ 0 });
	heap_assert_unmoved(&heap);
	for (; ferry_compact_relocation(c, at, &run);
	     at = (char *)run.from + run.len) {
		ck_assert((char *)run.from >= at);
		ck_assert_ptr_eq(ferry_compact_map(c, run.from), run.to);
		ck_assert_ptr_eq(
			ferry_compact_map(c, (char *)run.from + run.len - 1),
			(char *)run.to + run.len - 1);
		sum += run.len;
	}
	ck_assert_uint_eq(sum, heap_live(&heap));
	ck_assert_ptr_null(ferry_compact_map(c, &sum));
	ferry_compact_destroy(c);
	heap_assert_unmoved(&heap);
	heap_fini(&heap);
}
END_TEST

START_TEST(a_plan_dropped_before_its_start_changes_nothing)
{
	struct heap heap = heap_make(1024, 7, FERRY_THP_NEVER);
	struct ferry_compact *c =
		heap_plan(&heap, 1, (struct ferry_compact_params){ 0 });

	ck_assert_int_eq(ferry_compact_step(c, 0, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ferry_arena_pin(heap.arena, 0, page_size()), -EBUSY);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	ck_assert_int_eq(heap_result(c).phase, FERRY_COMPACT_PLANNED);
	ck_assert_ptr_null(ferry_compact_destination(c));
	ck_assert_ptr_null(ferry_compact_map(c, heap.base));
	ck_assert_int_eq(ferry_compact_start(c), -EALREADY);
	ck_assert_uint_eq(heap_bytes_in(heap.arena, FERRY_PAGE_LIVE),
			  heap_live(&heap));
	heap_assert_unmoved(&heap);
	ferry_compact_destroy(c);
	heap_fini(&heap);
}
END_TEST

START_TEST(a_second_start_is_refused)
{
	struct heap heap = heap_make(512, 7, FERRY_THP_NEVER);
	struct ferry_compact *c =
		heap_plan(&heap, 1, (struct ferry_compact_params){ 0 });
	struct ferry_arena *dst = ferry_compact_destination(c);

	ck_assert_int_eq(ferry_compact_start(c), 0);
	ck_assert_int_eq(ferry_compact_start(c), -EALREADY);
	ferry_compact_destroy(c);
	ck_assert_uint_eq(heap_bytes_in(dst, FERRY_PAGE_LIVE),
			  heap_live(&heap));
	ferry_arena_destroy(dst);
	heap_fini(&heap);
}
END_TEST

START_TEST(pinned_pages_stay_and_are_counted)
{
	struct random r = harness_random();
	struct heap heap = heap_make(2048, 3, FERRY_THP_NEVER);
	struct ferry_compact *c;
	struct ferry_arena *dst;
	size_t pinned = 0, i;

	heap_thin(&heap, &r, 4);
	for (i = 0; i < heap.pages; i += 97)
		if (heap.live[i] &&
		    !ferry_arena_pin(heap.arena, i * page_size(), page_size()))
			pinned += page_size();
	c = heap_plan(&heap, 1, (struct ferry_compact_params){ 0 });
	dst = ferry_compact_destination(c);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	ck_assert_uint_eq(heap_result(c).pinned, pinned);
	ck_assert_uint_eq(heap_result(c).planned, heap_live(&heap) - pinned);
	for (i = 0; i < heap.pages; i += 97)
		if (heap.live[i])
			ck_assert_ptr_null(ferry_compact_map(
				c, heap.base + i * page_size()));
	heap_assert_moved(&heap, c);
	ck_assert_uint_eq(resident(heap.arena), pinned);
	ferry_compact_destroy(c);
	ferry_arena_destroy(dst);
	heap_fini(&heap);
}
END_TEST

START_TEST(live_pages_never_written_stay_zero)
{
	struct heap heap = heap_make(1024, 50, FERRY_THP_NEVER);
	struct ferry_compact *c;
	struct ferry_arena *dst;
	char *now;

	heap_free(&heap, 100, 30);
	ck_assert_int_eq(ferry_arena_commit(heap.arena, 100 * page_size(),
					    30 * page_size(), false),
			 0);
	c = heap_plan(&heap, 1, (struct ferry_compact_params){ 0 });
	dst = ferry_compact_destination(c);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	now = ferry_compact_map(c, heap.base + 110 * page_size());
	ck_assert_int_eq(*now, 0);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	for (size_t i = 100; i < 130; i++) {
		now = ferry_compact_map(c, heap.base + i * page_size());
		ck_assert_int_eq(now[17], 0);
		heap.live[i] = false;
	}
	ck_assert_uint_eq(heap_result(c).left, 0);
	ferry_compact_destroy(c);
	ferry_arena_destroy(dst);
	heap_fini(&heap);
}
END_TEST

static const struct test tests[] = {
	TEST(single_pages_arrive_whole, "sigbus"),
	TEST(runs_arrive_whole, "sigbus"),
	TEST(long_runs_arrive_whole, "sigbus"),
	TEST(runs_arrive_whole_with_handler_threads, "userfaultfd"),
	TEST(runs_arrive_whole_by_emulation, "sigbus"),
	TEST(sources_cut_by_policies_arrive_whole, "sigbus,thp"),
	TEST(sources_cut_behind_our_back_arrive_whole, "sigbus"),
	TEST(pages_that_a_service_has_yet_to_bring_are_brought, "sigbus"),
	TEST(several_sources_become_one_arena, "sigbus"),
	TEST(an_arena_with_nothing_live_compacts_to_nothing, "sigbus"),
	TEST(a_destination_that_is_given_is_used, "sigbus"),
	TEST(pages_that_grow_into_the_destination_are_dropped, "sigbus,move"),
	TEST(a_destination_too_small_or_in_use_is_refused, "sigbus"),
	TEST(bad_parameters_are_refused, "sigbus"),
	TEST(the_map_is_known_before_anything_moves, "sigbus"),
	TEST(a_plan_dropped_before_its_start_changes_nothing, "sigbus"),
	TEST(a_second_start_is_refused, "sigbus"),
	TEST(pinned_pages_stay_and_are_counted, "sigbus"),
	TEST(live_pages_never_written_stay_zero, "sigbus"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
