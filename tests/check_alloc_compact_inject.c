/* SPDX-License-Identifier: MIT */
/*
 * Page compaction while system calls fail: whichever call it is and whatever
 * it answers, every page is where the map says or where it was, and the page
 * states tell the same.
 */
#include <errno.h>
#include <sys/mman.h>

#include "alloc/alloc-internal.h"
#include "tests/compact_heap.h"
#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "uffd/uapi.h"

#define PAGES 600

static void assert_as_before(const struct heap *heap)
{
	heap_assert_unmoved(heap);
	ck_assert_uint_eq(heap_bytes_in(heap->arena, FERRY_PAGE_LIVE),
			  heap_live(heap));
	ck_assert_uint_eq(heap_bytes_in(heap->arena, FERRY_PAGE_TRANSIT), 0);
}

/* After a finish: the list, the map, the states and the bytes agree. */
static void assert_consistent(const struct heap *heap,
			      const struct ferry_compact *c,
			      const struct ferry_compact_result *res)
{
	struct ferry_arena *dst = ferry_compact_destination(c);
	struct ferry_range left;
	size_t sum = 0;
	char *at = NULL;

	for (; ferry_compact_left(c, at, &left);
	     at = (char *)left.addr + left.len)
		sum += left.len;
	ck_assert_uint_eq(sum, res->left);
	ck_assert_uint_eq(res->planned, heap_live(heap));
	ck_assert_uint_eq(res->moved + res->copied + res->left, res->planned);
	ck_assert_uint_eq(heap_bytes_in(heap->arena, FERRY_PAGE_LIVE),
			  res->left);
	ck_assert_uint_eq(heap_bytes_in(heap->arena, FERRY_PAGE_TRANSIT), 0);
	ck_assert_uint_eq(heap_bytes_in(dst, FERRY_PAGE_LIVE),
			  res->planned - res->left);
	ck_assert_uint_eq(heap_bytes_in(dst, FERRY_PAGE_TRANSIT), 0);
	heap_assert_moved(heap, c);
}

static int plan(struct heap *heap, enum ferry_busy busy,
		struct ferry_compact **ret)
{
	struct ferry_compact_params p = FERRY_INIT(struct ferry_compact_params);

	p.sources = &heap->arena;
	p.sources_len = 1;
	p.busy = busy;
	p.flags = FERRY_COMPACT_COLLAPSE;
	p.thp = FERRY_THP_NEVER;
	return ferry_compact_plan(&p, NULL, ret);
}

/* A whole compaction under the rules in force. */
static void compact_struck(struct heap *heap, enum ferry_busy busy)
{
	struct ferry_compact_result res =
		FERRY_INIT(struct ferry_compact_result);
	struct ferry_compact *c = NULL;
	struct ferry_arena *dst;
	int r;

	if (plan(heap, busy, &c) < 0) {
		ck_assert_ptr_null(c);
		assert_as_before(heap);
		return;
	}
	if (ferry_compact_start(c) < 0) {
		ferry_compact_destroy(c);
		assert_as_before(heap);
		return;
	}
	dst = ferry_compact_destination(c);
	ferry_compact_step(c, PAGES / 8 * page_size(), NULL, NULL);
	ferry_compact_step(c, 0, NULL, NULL);
	r = ferry_compact_finish(c, &res);
	ck_assert_int_eq(r, res.left ? -EUCLEAN : 0);
	ck_assert_int_eq(res.phase,
			 res.left ? FERRY_COMPACT_PARTIAL : FERRY_COMPACT_DONE);
	assert_consistent(heap, c, &res);
	ferry_compact_destroy(c);
	ferry_arena_destroy(dst);
}

static struct heap small_heap(void)
{
	struct random r = random_seeded(harness_seed());
	struct heap heap = heap_make(PAGES, 77, FERRY_THP_NEVER);

	heap_thin(&heap, &r, 3);
	return heap;
}

/* Strikes @count calls from the nth on; was there any? */
static bool strike(enum inject_call call, unsigned long request, uint64_t nth,
		   uint64_t count, int error, enum ferry_busy busy)
{
	struct inject_rule rule = {
		.call = call,
		.request = request,
		.nth = nth,
		.count = count,
		.error = error,
	};
	struct heap heap = small_heap();
	bool hit;

	inject_start();
	inject_clock(1000000);
	inject_add(&rule);
	compact_struck(&heap, busy);
	hit = inject_hits(&rule);
	inject_stop();
	heap_fini(&heap);
	return hit;
}

/* Of slow builds not every call is struck, but each kind of it. */
static uint64_t stride(void)
{
	return harness_scaled(4) == 4 ? 1 : 5;
}

/* Each call of a kind in turn: once, and from there on for ever. */
static void strike_each(enum inject_call call, unsigned long request, int error)
{
	uint64_t n, step = stride();

	for (n = 1; strike(call, request, n, 1, error, FERRY_BUSY_REPORT);
	     n += step)
		strike(call, request, n, INJECT_ALWAYS, error,
		       FERRY_BUSY_REPORT);
	ck_assert_uint_gt(n, 1);
}

START_TEST(no_memory_at_any_mapping)
{
	strike_each(INJECT_MMAP, 0, ENOMEM);
}
END_TEST

START_TEST(no_descriptor_at_any_open)
{
	strike_each(INJECT_OPEN, 0, EMFILE);
}
END_TEST

START_TEST(any_advice_fails)
{
	strike_each(INJECT_MADVISE, 0, ENOMEM);
}
END_TEST

START_TEST(any_registration_fails)
{
	strike_each(INJECT_IOCTL, FERRY__UFFDIO_REGISTER, ENOMEM);
}
END_TEST

START_TEST(any_end_of_registration_fails)
{
	strike_each(INJECT_IOCTL, FERRY__UFFDIO_UNREGISTER, ENOMEM);
}
END_TEST

/* --- moves ---------------------------------------------------------------- */

static void strike_moves(int error, enum ferry_busy busy)
{
	uint64_t n;

	for (n = 1; strike(INJECT_IOCTL, FERRY__UFFDIO_MOVE, n, 1, error, busy);
	     n += 7 * stride())
		strike(INJECT_IOCTL, FERRY__UFFDIO_MOVE, n, INJECT_ALWAYS,
		       error, busy);
}

START_TEST(no_memory_at_any_move)
{
	strike_moves(ENOMEM, FERRY_BUSY_REPORT);
}
END_TEST

START_TEST(any_page_is_busy_and_copied)
{
	strike_moves(EBUSY, FERRY_BUSY_REPORT);
}
END_TEST

START_TEST(any_page_is_busy_and_left)
{
	strike_moves(EBUSY, FERRY_BUSY_SKIP);
}
END_TEST

START_TEST(any_page_cannot_be_read)
{
	strike_moves(EFAULT, FERRY_BUSY_REPORT);
}
END_TEST

START_TEST(any_mapping_does_not_suit)
{
	strike_moves(EINVAL, FERRY_BUSY_REPORT);
}
END_TEST

START_TEST(mappings_are_changing)
{
	strike_moves(EAGAIN, FERRY_BUSY_REPORT);
}
END_TEST

START_TEST(moves_are_denied_from_the_nth_on)
{
	uint64_t n;

	for (n = 1; n < 60; n += 9)
		strike(INJECT_IOCTL, FERRY__UFFDIO_MOVE, n, INJECT_ALWAYS,
		       EPERM, FERRY_BUSY_REPORT);
}
END_TEST

/* --- one page ------------------------------------------------------------- */

START_TEST(one_bad_page_is_left_and_no_other)
{
	struct ferry_compact_result res =
		FERRY_INIT(struct ferry_compact_result);
	struct heap heap = heap_make(PAGES, 77, FERRY_THP_NEVER);
	char *bad = heap.base + 100 * page_size();
	struct inject_rule rule = {
		.call = INJECT_IOCTL,
		.request = FERRY__UFFDIO_MOVE,
		.at = (uintptr_t)bad,
		.count = INJECT_ALWAYS,
		.error = EFAULT,
	};
	struct ferry_compact *c = NULL;
	struct ferry_arena *dst;
	struct ferry_range left;

	inject_start();
	inject_add(&rule);
	ck_assert_int_eq(plan(&heap, FERRY_BUSY_REPORT, &c), 0);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	dst = ferry_compact_destination(c);
	ck_assert_int_eq(ferry_compact_step(c, 0, NULL, NULL), 0);
	ck_assert_int_eq(ferry_compact_finish(c, &res), -EUCLEAN);
	inject_stop();
	ck_assert_uint_eq(res.left, page_size());
	ck_assert_int_eq(res.error, -EFAULT);
	ck_assert(ferry_compact_left(c, NULL, &left));
	ck_assert_ptr_eq(left.addr, bad);
	ck_assert_uint_eq(left.len, page_size());
	ck_assert(!ferry_compact_left(c, bad + page_size(), &left));
	assert_consistent(&heap, c, &res);
	ferry_compact_destroy(c);
	ferry_arena_destroy(dst);
	heap_fini(&heap);
}
END_TEST

static void set_flag(void *arg)
{
	*(volatile bool *)arg = true;
}

START_TEST(cancel_in_the_middle_keeps_what_was_moved)
{
	struct heap heap = small_heap();
	volatile bool cancel = false;
	struct inject_rule rule = {
		.call = INJECT_IOCTL,
		.request = FERRY__UFFDIO_MOVE,
		.nth = 5,
		.hook = set_flag,
		.arg = (void *)&cancel,
	};
	struct ferry_compact *c = NULL;
	struct ferry_arena *dst;
	size_t left = 0;

	inject_start();
	inject_add(&rule);
	ck_assert_int_eq(plan(&heap, FERRY_BUSY_REPORT, &c), 0);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	dst = ferry_compact_destination(c);
	ck_assert_int_eq(ferry_compact_step(c, 0, &cancel, &left), -ECANCELED);
	ck_assert_uint_gt(left, 0);
	ck_assert_uint_lt(left, heap_live(&heap));
	ck_assert_int_eq(ferry_compact_step(c, 0, NULL, &left), 0);
	ck_assert_uint_eq(left, 0);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	inject_stop();
	heap_assert_moved(&heap, c);
	ferry_compact_destroy(c);
	ferry_arena_destroy(dst);
	heap_fini(&heap);
}
END_TEST

/* A refusal of the kernel is explained from /proc, page by page: that is what
 * takes its time. */
#define SLOW_TEST(name, features)                                              \
	{                                                                      \
		.fn = &(name), .needs = (features), .seconds = 300             \
	}

static const struct test tests[] = {
	SLOW_TEST(no_memory_at_any_mapping, "sigbus"),
	SLOW_TEST(no_descriptor_at_any_open, "sigbus"),
	SLOW_TEST(any_advice_fails, "sigbus"),
	SLOW_TEST(any_registration_fails, "sigbus"),
	SLOW_TEST(any_end_of_registration_fails, "sigbus"),
	SLOW_TEST(no_memory_at_any_move, "sigbus,move"),
	SLOW_TEST(any_page_is_busy_and_copied, "sigbus,move"),
	SLOW_TEST(any_page_is_busy_and_left, "sigbus,move"),
	SLOW_TEST(any_page_cannot_be_read, "sigbus,move"),
	SLOW_TEST(any_mapping_does_not_suit, "sigbus,move"),
	SLOW_TEST(mappings_are_changing, "sigbus,move"),
	SLOW_TEST(moves_are_denied_from_the_nth_on, "sigbus,move"),
	SLOW_TEST(one_bad_page_is_left_and_no_other, "sigbus,move"),
	SLOW_TEST(cancel_in_the_middle_keeps_what_was_moved, "sigbus,move"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
