/* SPDX-License-Identifier: MIT */
/*
 * Reading ahead: what a sequence of faults brings before it is touched. With
 * SIGBUS_MODE the faulting threads serve themselves.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/pager/pager-internal.h"
#include "tests/pager_bed.h"
#include "tests/served.h"

#define PAGES 4000
/* Windows double up to this; those from FROM on are not waited for. */
#define MOST 256
#define FROM 64

static struct bed bed;

static char *at(size_t page)
{
	return bed.addr + page * bed.page;
}

static void begin(void)
{
	bed_begin(&bed, PAGES);
	bed_all_out(&bed);
}

static bool is_quiet(void)
{
	size_t i;

	for (i = 0; i < FERRY__STREAMS; i++)
		if (__atomic_load_n(&bed.pager->ahead[i].range,
				    __ATOMIC_ACQUIRE) &
		    0xffff)
			return false;
	/* After the ranges: whoever takes a chunk is announced before. */
	return !__atomic_load_n(&bed.pager->aheads, __ATOMIC_SEQ_CST);
}

/* Reads a page, and waits for what that put up. */
static void read_page(size_t page)
{
	ck_assert(page_holds(at(page), page + 1));
	AWAIT(is_quiet());
}

static void read_pages(size_t from, size_t to)
{
	size_t page;

	for (page = from; page < to; page++)
		read_page(page);
}

/* --- sequences ----------------------------------------------------------- */

START_TEST(pages_read_in_order_have_one_fault_for_each_window)
{
	uint64_t grown;

	begin();
	read_pages(0, 1000);
	grown = bed_stats(&bed).faults_stored;
	/* 1, 2, 4, 8, 16, 32 and so on. */
	ck_assert_uint_le(grown, 10 + 1000 / MOST);
	read_pages(1000, PAGES);
	ck_assert_uint_le(bed_stats(&bed).faults_stored - grown,
			  2 + (PAGES - 1000) / MOST);
	bed_await_stored(&bed, 0);
	bed_end(&bed);
}
END_TEST

/* One sequence is known: the page at its mark, and that behind its end. */
static void find_mark(size_t *ret_mark, size_t *ret_end)
{
	struct ferry__pager_ahead *ahead = bed.pager->ahead;
	uint64_t range;

	while (!__atomic_load_n(&ahead->mark, __ATOMIC_RELAXED))
		ahead++;
	range = __atomic_load_n(&ahead->range, __ATOMIC_ACQUIRE);
	*ret_mark = (__atomic_load_n(&ahead->mark, __ATOMIC_RELAXED) -
		     (uintptr_t)bed.addr) /
		    bed.page;
	*ret_end = (range >> 16) - (uintptr_t)bed.addr / bed.page;
}

START_TEST(what_comes_next_is_there_before_it_is_touched)
{
	size_t i, next, end;

	begin();
	read_pages(0, FROM);
	for (i = 0; i < 10; i++) {
		find_mark(&next, &end);
		ck_assert_uint_lt(next, end);
		ck_assert(!page_there(at(next)));
		ck_assert(page_there(at(next - 1)));
		ck_assert(page_there(at(next + 1)));
		ck_assert(page_there(at(end - 1)));
		ck_assert(!page_there(at(end)));
		read_page(next);
	}
	ck_assert_uint_gt(bed_stats(&bed).read_ahead, 0);
	bed_end(&bed);
}
END_TEST

START_TEST(short_sequences_are_waited_for_and_not_read_ahead)
{
	size_t page;

	begin();
	for (page = 0; page + 2 * FROM < PAGES; page += 2 * FROM)
		read_pages(page, page + FROM - 1);
	ck_assert_uint_eq(bed_stats(&bed).read_ahead, 0);
	bed_end(&bed);
}
END_TEST

START_TEST(random_pages_bring_nothing_with_them)
{
	struct random r = harness_random();
	static bool seen[PAGES];
	size_t i, page, n = 0;

	begin();
	for (i = 0; i < 200; i++) {
		/* Never one that is beside or a little behind another. */
		page = random_below(&r, PAGES / 8) * 8;
		n += !seen[page];
		seen[page] = true;
		read_page(page);
	}
	ck_assert_uint_eq(bed_stats(&bed).read_ahead, 0);
	ck_assert_uint_eq(bed_here(&bed), n);
	bed_end(&bed);
}
END_TEST

START_TEST(one_page_around_reads_nothing_ahead)
{
	bed_params(&bed);
	bed.params.around = 1;
	bed_start(&bed, 200);
	bed_all_out(&bed);
	read_pages(0, 200);
	AWAIT(bed_stats(&bed).faults_stored == 200);
	ck_assert_uint_eq(bed_stats(&bed).read_ahead, 0);
	bed_end(&bed);
}
END_TEST

START_TEST(nothing_is_read_ahead_while_memory_is_short)
{
	begin();
	__atomic_store_n(&bed.pager->hasty, true, __ATOMIC_RELAXED);
	read_pages(0, 1000);
	ck_assert_uint_eq(bed_stats(&bed).read_ahead, 0);
	__atomic_store_n(&bed.pager->hasty, false, __ATOMIC_RELAXED);
	read_pages(1000, PAGES);
	ck_assert_uint_gt(bed_stats(&bed).read_ahead, 0);
	bed_end(&bed);
}
END_TEST

/* --- holes and ends ------------------------------------------------------ */

START_TEST(holes_are_passed_over_and_stay_holes)
{
	size_t page;

	begin();
	for (page = 100; page < PAGES; page += 100)
		ck_assert_int_eq(ferry__pager_discard(bed.pager, at(page),
						      30 * bed.page),
				 0);
	for (page = 0; page < PAGES; page++)
		if (page < 100 || page % 100 >= 30)
			read_page(page);
	ck_assert_uint_gt(bed_stats(&bed).read_ahead, 0);
	for (page = 100; page < PAGES; page += 100) {
		ck_assert(!page_there(at(page)));
		ck_assert(!page_there(at(page + 29)));
		ck_assert(is_zero(at(page), 30 * bed.page));
	}
	bed_end(&bed);
}
END_TEST

START_TEST(windows_end_where_the_region_is_in_use)
{
	bed_begin(&bed, 100);
	bed_all_out(&bed);
	read_pages(0, 100);
	ck_assert_uint_eq(bed_here(&bed), 100);
	ck_assert(!page_there(at(100)));
	/* Counted when who waits has been woken. */
	AWAIT(bed_stats(&bed).pages_back == 100);
	bed_end(&bed);
}
END_TEST

/* --- numbers ------------------------------------------------------------- */

START_TEST(what_was_read_ahead_and_used_is_counted)
{
	struct ferry__pager_stats stats;

	begin();
	read_pages(0, 1500);
	stats = bed_stats(&bed);
	ck_assert_uint_gt(stats.read_ahead_used, 0);
	ck_assert_uint_le(stats.read_ahead_used, 1500);
	/* At the most two windows are on their way to be used. */
	ck_assert_uint_le(stats.read_ahead - stats.read_ahead_used, 2 * MOST);
	/* Who answers a fault counts it when the program has gone on. */
	AWAIT(bed_stats(&bed).refaults == bed_stats(&bed).pages_back);
	bed_end(&bed);
}
END_TEST

START_TEST(a_sequence_that_ends_leaves_no_more_than_two_windows)
{
	begin();
	read_pages(0, 1500);
	ck_assert_uint_le(bed_here(&bed), 1500 + 2 * MOST);
	/* Not a page of it is brought later. */
	read_pages(3000, 3001);
	ck_assert_uint_le(bed_here(&bed), 1501 + 2 * MOST);
	bed_end(&bed);
}
END_TEST

/* --- what goes wrong ----------------------------------------------------- */

START_TEST(pages_that_cannot_be_had_ahead_come_when_they_are_touched)
{
	size_t round;

	begin();
	fake_order(bed.fake[0], get_error, -EIO);
	for (round = 0; round < 40; round++) {
		fake_order(bed.fake[0], get_fails, 3);
		read_pages(round * 100, round * 100 + 100);
	}
	fake_order(bed.fake[0], get_fails, 0);
	bed_await_stored(&bed, 0);
	bed_end(&bed);
}
END_TEST

static void *read_in_order(void *stop)
{
	size_t page;

	while (!__atomic_load_n((bool *)stop, __ATOMIC_RELAXED))
		for (page = 0; page < PAGES; page++)
			EXPECT(page_holds(at(page), page + 1));
	return NULL;
}

START_TEST(everything_is_brought_back_beside_what_is_read_ahead)
{
	size_t i, rounds = 2 + harness_scaled(20);
	bool stop = false;
	pthread_t thread;

	begin();
	pthread_create(&thread, NULL, read_in_order, &stop);
	for (i = 0; i < rounds; i++) {
		bed_run(&bed);
		ck_assert_int_eq(ferry__pager_restore_all(bed.pager), 0);
		AWAIT(bed_here(&bed) == PAGES);
		ferry__pager_resume(bed.pager);
	}
	for (i = 0; i < rounds; i++) {
		bed_run(&bed);
		ck_assert_int_eq(ferry__pager_stop(bed.pager), 0);
		ck_assert_uint_eq(bed_here(&bed), PAGES);
		ck_assert_int_eq(ferry__pager_start(bed.pager, NULL), 0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	served_assert_noted();
	bed_end(&bed);
}
END_TEST

/* --- forks --------------------------------------------------------------- */

static bool pages_hold(void)
{
	return served_pages_hold(bed.addr, bed.pages * bed.page, 1);
}

static void check_child(pid_t pid)
{
	int status;

	if (!pid)
		_exit(!pages_hold());
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

static void fork_amid(pid_t (*fork_one)(void))
{
	size_t i, rounds = 2 + harness_scaled(30);
	bool stop = false;
	pthread_t thread;

	begin();
	bed_at_fork();
	pthread_create(&thread, NULL, read_in_order, &stop);
	for (i = 0; i < rounds; i++) {
		bed_run(&bed);
		AWAIT(i == 0 || bed_stats(&bed).read_ahead);
		check_child(fork_one());
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	served_assert_noted();
	bed_end(&bed);
}

START_TEST(a_child_forked_amid_reading_ahead_finds_all)
{
	fork_amid(fork);
}
END_TEST

#if !defined(SIGBUS_MODE) && !defined(FERRY_SANITIZE)
static pid_t raw_fork(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

START_TEST(a_fork_without_handlers_amid_reading_ahead_finds_all)
{
	begin();
	if (!bed_stats(&bed).raw_forks)
		harness_skip("event_fork", "the kernel does not tell of forks");
	bed_end(&bed);
	fork_amid(raw_fork);
}
END_TEST
#endif

static const struct test tests[] = {
	TEST(pages_read_in_order_have_one_fault_for_each_window, PAGER_NEEDS),
	TEST(what_comes_next_is_there_before_it_is_touched, PAGER_NEEDS),
	TEST(short_sequences_are_waited_for_and_not_read_ahead, PAGER_NEEDS),
	TEST(random_pages_bring_nothing_with_them, PAGER_NEEDS),
	TEST(one_page_around_reads_nothing_ahead, PAGER_NEEDS),
	TEST(nothing_is_read_ahead_while_memory_is_short, PAGER_NEEDS),
	TEST(holes_are_passed_over_and_stay_holes, PAGER_NEEDS),
	TEST(windows_end_where_the_region_is_in_use, PAGER_NEEDS),
	TEST(what_was_read_ahead_and_used_is_counted, PAGER_NEEDS),
	TEST(a_sequence_that_ends_leaves_no_more_than_two_windows, PAGER_NEEDS),
	TEST(pages_that_cannot_be_had_ahead_come_when_they_are_touched,
	     PAGER_NEEDS),
	TEST(everything_is_brought_back_beside_what_is_read_ahead, PAGER_NEEDS),
	TEST(a_child_forked_amid_reading_ahead_finds_all, PAGER_NEEDS),
#if !defined(SIGBUS_MODE) && !defined(FERRY_SANITIZE)
	TEST(a_fork_without_handlers_amid_reading_ahead_finds_all, PAGER_NEEDS),
#endif
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
