/* SPDX-License-Identifier: MIT */
/* Huge pages in a move: whole, split, kept, busy, and the zero one. */
#include <ferry/move.h>

#include <errno.h>
#include <sys/mman.h>

#include "tests/moving.h"

#define HUGE_PAGES     ((size_t)2)
#define LEN	       (HUGE_PAGES * HUGE_SIZE)
#define SMALL_PER_HUGE (HUGE_SIZE / moving.page)

static char *src, *dst;

static void setup(void)
{
	moving_setup();
	src = map_huge(LEN);
	dst = map_huge(LEN + HUGE_SIZE);
	moving_register(dst, LEN + HUGE_SIZE);
	fill_pages(src, LEN, 1);
}

/* Fragmented memory gives no huge pages: that is no fault of ours. */
#define NEED_HUGE_PAGES()                                                      \
	do {                                                                   \
		if (huge_bytes(src, LEN) != LEN)                               \
			SKIP("thp", "the kernel gave no huge pages");          \
	} while (0)

START_TEST(aligned_huge_pages_stay_whole)
{
	NEED_HUGE_PAGES();
	ck_assert_int_eq(moving_move(dst, src, LEN), 0);
	ck_assert_uint_eq(huge_bytes(dst, LEN), LEN);
	ck_assert_uint_eq(moving.res.huge_whole, HUGE_PAGES);
	ck_assert_uint_eq(moving.res.calls, 1);
	ck_assert(!page_there(src));
	assert_pages(dst, LEN, 1);
}
END_TEST

/*
 * The kernel does not split what somebody holds for a moment, and on a busy
 * machine moments are long.
 */
static void wait_for_the_split(void)
{
	moving.params.deadline_ns = (uint64_t)(harness_patience(30) * 1e9);
}

START_TEST(unaligned_huge_pages_arrive_split)
{
	NEED_HUGE_PAGES();
	wait_for_the_split();
	ck_assert_int_eq(moving_move(dst + moving.page, src, LEN), 0);
	ck_assert_uint_eq(huge_bytes(dst, LEN), 0);
	ck_assert_uint_eq(moving.res.huge_whole, 0);
	assert_pages(dst + moving.page, LEN, 1);
}
END_TEST

START_TEST(one_page_is_taken_out_of_a_huge_page)
{
	size_t at = 100 * moving.page;

	NEED_HUGE_PAGES();
	wait_for_the_split();
	ck_assert_int_eq(moving_move(dst, src + at, moving.page), 0);
	ck_assert(page_holds(dst, 101));
	ck_assert(!page_there(src + at));
	assert_pages(src, at, 1);
	assert_pages(src + at + moving.page, LEN - at - moving.page, 102);
}
END_TEST

START_TEST(keeping_huge_pages_refuses_an_unaligned_destination)
{
	NEED_HUGE_PAGES();
	moving.params.flags = FERRY_MOVE_KEEP_HUGE;
	moving_assert_refused(dst + moving.page, src, LEN, -EXDEV,
			      FERRY_REASON_HUGE_SPLIT);
	ck_assert_uint_eq(huge_bytes(src, LEN), LEN);
}
END_TEST

START_TEST(keeping_huge_pages_refuses_a_part_of_one)
{
	NEED_HUGE_PAGES();
	moving.params.flags = FERRY_MOVE_KEEP_HUGE;
	ck_assert_int_eq(moving_move(dst, src, HUGE_SIZE + moving.page),
			 -EXDEV);
	ck_assert_uint_eq(moving.res.done, HUGE_SIZE);
	ck_assert_uint_eq(huge_bytes(dst, HUGE_SIZE), HUGE_SIZE);
	ck_assert_uint_eq(huge_bytes(src, LEN), LEN - HUGE_SIZE);
}
END_TEST

START_TEST(keeping_huge_pages_moves_small_ones_as_well)
{
	NEED_HUGE_PAGES();
	/* The first huge page falls apart, the second stays. */
	madvise(src + moving.page, moving.page, MADV_DONTNEED);
	moving.params.flags = FERRY_MOVE_KEEP_HUGE | FERRY_MOVE_HOLES;
	ck_assert_int_eq(moving_move(dst, src, LEN), 0);
	ck_assert_uint_eq(moving.res.holes, moving.page);
	ck_assert_uint_eq(huge_bytes(dst, LEN), HUGE_SIZE);
	assert_pages(dst + HUGE_SIZE, HUGE_SIZE, SMALL_PER_HUGE + 1);
}
END_TEST

START_TEST(keeping_huge_pages_stops_after_the_first_that_was_split)
{
	NEED_HUGE_PAGES();
	/* A page that came and went leaves its page table behind. */
	ck_assert_int_eq(
		ferry_uffd_zero(moving.uffd, dst, moving.page, 0, NULL), 0);
	madvise(dst, moving.page, MADV_DONTNEED);
	moving.params.flags = FERRY_MOVE_KEEP_HUGE;
	ck_assert_int_eq(moving_move(dst, src, LEN), -EXDEV);
	ck_assert_int_eq(moving.res.reason, FERRY_REASON_HUGE_SPLIT);
	ck_assert_uint_eq(moving.res.done, HUGE_SIZE);
	assert_pages(dst, HUGE_SIZE, 1);
	ck_assert_uint_eq(huge_bytes(src, LEN), LEN - HUGE_SIZE);
}
END_TEST

START_TEST(a_huge_page_at_the_destination_stops_the_move)
{
	char *other = map_huge(HUGE_SIZE);

	NEED_HUGE_PAGES();
	fill_pages(other, HUGE_SIZE, 7000);
	ck_assert_int_eq(moving_move(dst + HUGE_SIZE, other, HUGE_SIZE), 0);
	ck_assert_int_eq(moving_move(dst, src, LEN), -EEXIST);
	ck_assert_uint_eq(moving.res.done, HUGE_SIZE);
	assert_pages(dst + HUGE_SIZE, HUGE_SIZE, 7000);
	assert_pages(src + HUGE_SIZE, HUGE_SIZE, SMALL_PER_HUGE + 1);
	moving.params.flags = FERRY_MOVE_PASS_PRESENT;
	ck_assert_int_eq(
		moving_move(dst + HUGE_SIZE, src + HUGE_SIZE, HUGE_SIZE), 0);
	ck_assert_uint_eq(moving.res.present, HUGE_SIZE);
}
END_TEST

/* --- busy ---------------------------------------------------------------- */

START_TEST(a_busy_huge_page_is_one_unit)
{
	NEED_HUGE_PAGES();
	moving_fork();
	ck_assert_int_eq(moving_move(dst, src, LEN), -EBUSY);
	ck_assert_uint_eq(moving.res.done, 0);
	moving.params.busy = FERRY_BUSY_SKIP;
	ck_assert_int_eq(moving_move(dst, src, LEN), 0);
	ck_assert_uint_eq(moving.res.skipped, LEN);
	ck_assert_uint_eq(moving.res.calls, HUGE_PAGES);
	assert_pages(src, LEN, 1);
}
END_TEST

START_TEST(a_busy_huge_page_is_copied_whole)
{
	NEED_HUGE_PAGES();
	moving_fork();
	moving.params.busy = FERRY_BUSY_COPY;
	ck_assert_int_eq(moving_move(dst, src, LEN), 0);
	ck_assert_uint_eq(moving.res.copied, LEN);
	ck_assert_uint_eq(moving.res.calls, HUGE_PAGES);
	assert_pages(dst, LEN, 1);
}
END_TEST

START_TEST(a_busy_huge_page_is_made_exclusive)
{
	NEED_HUGE_PAGES();
	moving_fork();
	moving.params.busy = FERRY_BUSY_EXCLUSIVE;
	ck_assert_int_eq(moving_move(dst, src, LEN), 0);
	ck_assert_uint_eq(moving.res.moved, LEN);
	assert_pages(dst, LEN, 1);
}
END_TEST

START_TEST(a_busy_huge_page_is_taken_apart_where_asked)
{
	NEED_HUGE_PAGES();
	moving_fork();
	moving.params.busy = FERRY_BUSY_SKIP;
	moving.params.flags = FERRY_MOVE_SPLIT_BUSY;
	ck_assert_int_eq(moving_move(dst, src, LEN), 0);
	ck_assert_uint_gt(moving.res.calls, HUGE_PAGES);
	ck_assert_uint_eq(moving.res.skipped, LEN);
	assert_pages(src, LEN, 1);
}
END_TEST

/* --- zero and emulated --------------------------------------------------- */

START_TEST(a_huge_zero_page_reads_as_zero_where_it_arrives)
{
	volatile char *zero = map_huge(HUGE_SIZE);
	size_t i;

	ck_assert_int_eq(zero[0], 0);
	ck_assert_int_eq(moving_move(dst, (void *)(uintptr_t)zero, HUGE_SIZE),
			 0);
	for (i = 0; i < HUGE_SIZE; i += moving.page)
		ck_assert_int_eq(dst[i], 0);
	/* It is memory like any other now. */
	fill_pages(dst, HUGE_SIZE, 9);
	assert_pages(dst, HUGE_SIZE, 9);
}
END_TEST

START_TEST(huge_pages_survive_emulation_into_a_mapping_of_their_own)
{
	char *own = map_huge(LEN);

	NEED_HUGE_PAGES();
	moving_register(own, LEN);
	moving.params.flags = FERRY_MOVE_EMULATE;
	ck_assert_int_eq(moving_move(own, src, LEN), 0);
	if (moving.res.method != FERRY_METHOD_MREMAP)
		SKIP("dontunmap", "this kernel emulates by copying");
	ck_assert_uint_eq(huge_bytes(own, LEN), LEN);
	assert_pages(own, LEN, 1);
	/* The destination is registered as before. */
	madvise(own, LEN, MADV_DONTNEED);
	ck_assert_int_eq(
		ferry_uffd_zero(moving.uffd, own, moving.page, 0, NULL), 0);
}
END_TEST

#define HUGE(name)                                                             \
	TEST_FIXTURE(name, "userfaultfd,move,thp,pagemap_scan", setup,         \
		     moving_teardown)

static const struct test tests[] = {
	HUGE(aligned_huge_pages_stay_whole),
	HUGE(unaligned_huge_pages_arrive_split),
	HUGE(one_page_is_taken_out_of_a_huge_page),
	HUGE(keeping_huge_pages_refuses_an_unaligned_destination),
	HUGE(keeping_huge_pages_refuses_a_part_of_one),
	HUGE(keeping_huge_pages_moves_small_ones_as_well),
	HUGE(keeping_huge_pages_stops_after_the_first_that_was_split),
	HUGE(a_huge_page_at_the_destination_stops_the_move),
	HUGE(a_busy_huge_page_is_one_unit),
	HUGE(a_busy_huge_page_is_copied_whole),
	HUGE(a_busy_huge_page_is_made_exclusive),
	HUGE(a_busy_huge_page_is_taken_apart_where_asked),
	HUGE(a_huge_zero_page_reads_as_zero_where_it_arrives),
	HUGE(huge_pages_survive_emulation_into_a_mapping_of_their_own),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
