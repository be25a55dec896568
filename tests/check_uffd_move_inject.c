/* SPDX-License-Identifier: MIT */
/*
 * ferry_move() against answers that a kernel gives rarely or only in some
 * releases: short counts at every position, stale counts, storms, false
 * EEXIST, filters, and failures of the calls it falls back to.
 */
#include <ferry/move.h>

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "tests/inject.h"
#include "tests/moving.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

#define SECOND 1000000000ull

static void setup(void)
{
	moving_setup();
	inject_start();
}

static void teardown(void)
{
	inject_stop();
	moving_teardown();
}

/* A rule over moves that strikes the first one. */
static struct inject_rule on_move(int error)
{
	return (struct inject_rule){
		.call = INJECT_IOCTL,
		.request = FERRY__UFFDIO_MOVE,
		.error = error,
	};
}

static void assert_all_moved(void)
{
	ck_assert_int_eq(moving_move_all(), 0);
	assert_pages(moving.dst, moving.len, 1);
}

/* Gives the source its pages back and empties the destination. */
static void refill(void)
{
	inject_stop();
	madvise(moving.dst, moving.len, MADV_DONTNEED);
	fill_pages(moving.src, moving.len, 1);
	inject_start();
}

/* --- short counts -------------------------------------------------------- */

START_TEST(a_short_move_is_asked_again_at_every_position)
{
	struct inject_rule rule;
	size_t k;

	for (k = 1; k < MOVING_PAGES; k++) {
		refill();
		rule = on_move(EAGAIN);
		rule.done = k * moving.page;
		inject_add(&rule);
		assert_all_moved();
		ck_assert_uint_eq(moving.res.short_moves, 1);
		ck_assert_uint_eq(moving.res.calls, 2);
		ck_assert_uint_eq(moving.res.moved, moving.len);
	}
}
END_TEST

START_TEST(a_short_move_learns_the_true_reason_at_every_position)
{
	struct inject_rule rule;
	size_t k;

	for (k = 0; k < MOVING_PAGES; k++) {
		refill();
		rule = on_move(ENOMEM);
		rule.at = (uintptr_t)moving.src + k * moving.page;
		inject_add(&rule);
		ck_assert_int_eq(moving_move_all(), -ENOMEM);
		ck_assert_int_eq(moving.res.reason, FERRY_REASON_NO_MEMORY);
		ck_assert_uint_eq(moving.res.done, k * moving.page);
		ck_assert_uint_eq(moving.res.stop_offset, k * moving.page);
		inject_stop();
		assert_pages(moving.dst, k * moving.page, 1);
		assert_pages(moving.src + k * moving.page,
			     moving.len - k * moving.page, k + 1);
		inject_start();
	}
}
END_TEST

START_TEST(each_page_alone_arrives_in_order)
{
	struct inject_rule rule = on_move(EAGAIN);

	rule.done = moving.page;
	rule.count = MOVING_PAGES - 1;
	inject_add(&rule);
	assert_all_moved();
	ck_assert_uint_eq(moving.res.short_moves, MOVING_PAGES - 1);
	ck_assert_uint_eq(moving.res.calls, MOVING_PAGES);
}
END_TEST

/* --- counts that are none ------------------------------------------------ */

START_TEST(a_stale_count_is_no_progress)
{
	struct inject_rule rule = on_move(EAGAIN);

	rule.field = INJECT_FIELD_STALE;
	rule.count = 3;
	inject_add(&rule);
	assert_all_moved();
	ck_assert_uint_eq(moving.res.idle_retries, 3);
	ck_assert_uint_eq(moving.res.moved, moving.len);
}
END_TEST

START_TEST(a_negative_count_is_no_progress)
{
	struct inject_rule rule = on_move(EAGAIN);

	rule.field = INJECT_FIELD_VALUE;
	rule.value = -EAGAIN;
	rule.count = 2;
	inject_add(&rule);
	assert_all_moved();
	ck_assert_uint_eq(moving.res.idle_retries, 2);
}
END_TEST

START_TEST(a_count_beside_another_error_is_not_believed)
{
	struct inject_rule rule = on_move(EBUSY);

	rule.field = INJECT_FIELD_VALUE;
	rule.value = (int64_t)moving.len;
	inject_add(&rule);
	ck_assert_int_eq(moving_move_all(), -EBUSY);
	ck_assert_uint_eq(moving.res.done, 0);
	ck_assert_uint_eq(inject_calls(INJECT_IOCTL, FERRY__UFFDIO_MOVE), 1);
}
END_TEST

START_TEST(a_count_of_more_than_was_asked_for_is_not_believed)
{
	struct inject_rule rule = on_move(EAGAIN);

	rule.field = INJECT_FIELD_VALUE;
	rule.value = (int64_t)(2 * moving.len);
	inject_add(&rule);
	assert_all_moved();
	ck_assert_uint_eq(moving.res.done, moving.len);
}
END_TEST

/* --- waiting ------------------------------------------------------------- */

START_TEST(changing_mappings_are_waited_for_until_the_deadline)
{
	struct inject_rule rule = on_move(EAGAIN);

	rule.count = INJECT_ALWAYS;
	inject_add(&rule);
	inject_clock(5 * SECOND);
	moving.params.deadline_ns = 3 * SECOND;
	ck_assert_int_eq(moving_move_all(), -EAGAIN);
	ck_assert_int_eq(moving.res.reason, FERRY_REASON_CHANGING);
	ck_assert_uint_eq(moving.res.waited_ns, 3 * SECOND);
	ck_assert_uint_gt(moving.res.idle_retries, 100);
}
END_TEST

START_TEST(without_a_deadline_a_second_is_waited)
{
	struct inject_rule rule = on_move(EAGAIN);

	rule.count = INJECT_ALWAYS;
	inject_add(&rule);
	inject_clock(SECOND);
	ck_assert_int_eq(moving_move_all(), -EAGAIN);
	ck_assert_uint_eq(moving.res.waited_ns, SECOND);
}
END_TEST

START_TEST(a_storm_that_ends_is_survived)
{
	struct inject_rule rule = on_move(EAGAIN);

	rule.at = (uintptr_t)moving.src + 4 * moving.page;
	rule.count = 200;
	inject_add(&rule);
	inject_clock(SECOND);
	assert_all_moved();
	ck_assert_uint_eq(moving.res.idle_retries, 200);
	ck_assert_uint_gt(moving.res.waited_ns, 0);
}
END_TEST

static void set_flag(void *flag)
{
	*(volatile bool *)flag = true;
}

START_TEST(a_wish_to_stop_ends_the_waiting)
{
	struct inject_rule rule = on_move(EAGAIN);
	volatile bool cancel = false;

	rule.done = 2 * moving.page;
	rule.hook = set_flag;
	rule.arg = (void *)&cancel;
	inject_add(&rule);
	moving.params.cancel = &cancel;
	ck_assert_int_eq(moving_move_all(), -ECANCELED);
	ck_assert_uint_eq(moving.res.done, 2 * moving.page);
}
END_TEST

/* --- busy pages ---------------------------------------------------------- */

START_TEST(a_busy_page_is_reported_at_every_position)
{
	struct inject_rule rule;
	size_t k;

	for (k = 0; k < MOVING_PAGES; k++) {
		refill();
		rule = on_move(EBUSY);
		rule.at = (uintptr_t)moving.src + k * moving.page;
		inject_add(&rule);
		ck_assert_int_eq(moving_move_all(), -EBUSY);
		ck_assert_int_eq(moving.res.reason, FERRY_REASON_BUSY);
		ck_assert_uint_eq(moving.res.done, k * moving.page);
	}
}
END_TEST

START_TEST(a_busy_page_is_tried_again)
{
	struct inject_rule rule = on_move(EBUSY);

	rule.at = (uintptr_t)moving.src + 7 * moving.page;
	rule.count = 50;
	inject_add(&rule);
	inject_clock(SECOND);
	moving.params.busy = FERRY_BUSY_RETRY;
	assert_all_moved();
	ck_assert_uint_eq(moving.res.busy_retries, 50);
}
END_TEST

START_TEST(a_page_busy_for_ever_is_given_up_at_the_deadline)
{
	struct inject_rule rule = on_move(EBUSY);

	rule.at = (uintptr_t)moving.src;
	rule.count = INJECT_ALWAYS;
	inject_add(&rule);
	inject_clock(SECOND);
	moving.params.busy = FERRY_BUSY_RETRY;
	moving.params.deadline_ns = SECOND / 10;
	ck_assert_int_eq(moving_move_all(), -EBUSY);
	ck_assert_uint_eq(moving.res.waited_ns, SECOND / 10);
	assert_pages(moving.src, moving.len, 1);
}
END_TEST

START_TEST(a_busy_page_is_made_exclusive_once)
{
	struct inject_rule rule = on_move(EBUSY);

	rule.at = (uintptr_t)moving.src + 3 * moving.page;
	inject_add(&rule);
	moving.params.busy = FERRY_BUSY_EXCLUSIVE;
	assert_all_moved();
	ck_assert_uint_eq(moving.res.made_exclusive, 1);
	ck_assert_uint_eq(
		inject_calls(INJECT_MADVISE, FERRY__MADV_POPULATE_WRITE), 1);
}
END_TEST

START_TEST(a_page_that_stays_busy_is_given_up_after_trying)
{
	struct inject_rule rule = on_move(EBUSY);

	rule.at = (uintptr_t)moving.src;
	rule.count = INJECT_ALWAYS;
	inject_add(&rule);
	inject_clock(SECOND);
	moving.params.busy = FERRY_BUSY_EXCLUSIVE;
	ck_assert_int_eq(moving_move_all(), -EBUSY);
	ck_assert_uint_eq(moving.res.waited_ns, SECOND);
	assert_pages(moving.src, moving.len, 1);
}
END_TEST

START_TEST(no_memory_to_make_a_page_exclusive)
{
	struct inject_rule busy = on_move(EBUSY);
	struct inject_rule rule = {
		.call = INJECT_MADVISE,
		.request = FERRY__MADV_POPULATE_WRITE,
		.error = ENOMEM,
	};

	inject_add(&busy);
	inject_add(&rule);
	moving.params.busy = FERRY_BUSY_EXCLUSIVE;
	moving_assert_refused(moving.dst, moving.src, moving.len, -ENOMEM,
			      FERRY_REASON_NO_MEMORY);
}
END_TEST

START_TEST(a_busy_page_is_copied_at_every_position)
{
	struct inject_rule rule;
	size_t k;

	moving.params.busy = FERRY_BUSY_COPY;
	for (k = 0; k < MOVING_PAGES; k++) {
		refill();
		rule = on_move(EBUSY);
		rule.at = (uintptr_t)moving.src + k * moving.page;
		inject_add(&rule);
		assert_all_moved();
		ck_assert_uint_eq(moving.res.copied, moving.page);
		ck_assert(!page_there(moving.src + k * moving.page));
	}
}
END_TEST

START_TEST(a_busy_page_is_left_behind_at_every_position)
{
	struct inject_rule rule;
	size_t k, at;

	moving.params.busy = FERRY_BUSY_SKIP;
	for (k = 0; k < MOVING_PAGES; k++) {
		at = k * moving.page;
		refill();
		rule = on_move(EBUSY);
		rule.at = (uintptr_t)moving.src + at;
		inject_add(&rule);
		ck_assert_int_eq(moving_move_all(), 0);
		ck_assert_uint_eq(moving.res.skipped, moving.page);
		ck_assert(page_holds(moving.src + at, k + 1));
		ck_assert(!page_there(moving.dst + at));
	}
}
END_TEST

/* --- EEXIST -------------------------------------------------------------- */

/* As 6.18 does it: pages move, the answer is EEXIST and nobody is woken. */
static struct inject_rule false_exist(size_t pages)
{
	struct inject_rule rule = on_move(EEXIST);

	rule.done = pages * moving.page;
	rule.field = INJECT_FIELD_VALUE;
	rule.value = -EEXIST;
	return rule;
}

START_TEST(a_false_eexist_counts_as_moved_and_wakes)
{
	struct inject_rule rule;
	size_t k;

	for (k = 1; k < MOVING_PAGES; k++) {
		refill();
		rule = false_exist(k);
		inject_add(&rule);
		assert_all_moved();
		ck_assert_uint_eq(moving.res.false_exist, k);
		ck_assert_uint_eq(moving.res.moved, moving.len);
		ck_assert_uint_eq(
			inject_calls(INJECT_IOCTL, FERRY__UFFDIO_WAKE), 1);
	}
}
END_TEST

START_TEST(a_false_eexist_wakes_nobody_where_asked)
{
	struct inject_rule rule = false_exist(2);

	inject_add(&rule);
	moving.params.flags = FERRY_MOVE_NO_WAKE;
	assert_all_moved();
	ck_assert_uint_eq(inject_calls(INJECT_IOCTL, FERRY__UFFDIO_WAKE), 0);
}
END_TEST

/* Five pages moved, two of them counted: the next call meets the third. */
START_TEST(a_false_eexist_behind_a_short_count)
{
	struct inject_rule rule = on_move(EAGAIN);

	rule.done = 5 * moving.page;
	rule.field = INJECT_FIELD_VALUE;
	rule.value = (int64_t)(2 * moving.page);
	inject_add(&rule);
	assert_all_moved();
	ck_assert_uint_eq(moving.res.short_moves, 1);
	ck_assert_uint_eq(moving.res.false_exist, 3);
	ck_assert_uint_eq(moving.res.moved, moving.len);
}
END_TEST

START_TEST(with_holes_only_the_sole_filler_knows_an_eexist_for_false)
{
	struct inject_rule rule = false_exist(2);

	inject_add(&rule);
	moving.params.flags = FERRY_MOVE_HOLES;
	ck_assert_int_eq(moving_move_all(), -EEXIST);
	ck_assert_uint_eq(moving.res.false_exist, 0);
	refill();
	rule = false_exist(2);
	inject_add(&rule);
	moving.params.flags = FERRY_MOVE_HOLES | FERRY_MOVE_SOLE;
	assert_all_moved();
	ck_assert_uint_eq(moving.res.false_exist, 2);
}
END_TEST

START_TEST(an_eexist_with_the_source_there_is_true)
{
	struct inject_rule rule;

	ck_assert_int_eq(
		ferry_uffd_zero(moving.uffd, moving.dst, moving.page, 0, NULL),
		0);
	rule = on_move(EEXIST);
	inject_add(&rule);
	moving_assert_refused(moving.dst, moving.src, moving.len, -EEXIST,
			      FERRY_REASON_PRESENT);
}
END_TEST

/* The page that was in the way has gone by the time of the look. */
START_TEST(an_eexist_with_nothing_there_is_asked_again)
{
	struct inject_rule rule = on_move(EEXIST);

	rule.count = 2;
	inject_add(&rule);
	assert_all_moved();
	ck_assert_uint_eq(moving.res.calls, 3);
}
END_TEST

START_TEST(a_false_eexist_in_a_slide_is_judged_by_what_has_moved)
{
	size_t page = moving.page;
	char *arena = map_anon(2 * moving.len);
	struct inject_rule rule = false_exist(1);

	inject_stop();
	moving_register(arena, 2 * moving.len);
	ck_assert_int_eq(moving_move(arena + 2 * page, moving.src, moving.len),
			 0);
	inject_start();
	inject_add(&rule);
	ck_assert_int_eq(moving_move(arena, arena + 2 * page, moving.len), 0);
	ck_assert_uint_eq(moving.res.false_exist, 1);
	assert_pages(arena, moving.len, 1);
}
END_TEST

START_TEST(without_pagemap_an_eexist_is_taken_for_true)
{
	struct inject_rule rule = {
		.call = INJECT_OPEN,
		.path = "/proc/self/pagemap",
		.error = EACCES,
		.count = INJECT_ALWAYS,
	};
	struct inject_rule exist = false_exist(1);

	inject_add(&rule);
	ferry_uffd_close(moving.uffd);
	ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &moving.uffd), 0);
	moving_register(moving.dst, moving.len);
	inject_add(&exist);
	ck_assert_int_eq(moving_move_all(), -EEXIST);
	ck_assert_int_eq(moving.res.reason, FERRY_REASON_PRESENT);
}
END_TEST

/* --- other errors -------------------------------------------------------- */

START_TEST(each_other_error_has_its_reason_and_loses_nothing)
{
	static const struct {
		int error;
		enum ferry_reason reason;
	} errors[] = {
		{ EFAULT, FERRY_REASON_GUARD },
		{ ENOMEM, FERRY_REASON_NO_MEMORY },
		{ EINTR, FERRY_REASON_CANCELLED },
		{ ENOENT, FERRY_REASON_HOLE },
		{ EINVAL, FERRY_REASON_NOT_SUPPORTED },
		{ ESRCH, FERRY_REASON_NOT_SUPPORTED },
	};
	struct inject_rule rule;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(errors); i++) {
		inject_stop();
		inject_start();
		rule = on_move(errors[i].error);
		inject_add(&rule);
		moving_assert_refused(moving.dst, moving.src, moving.len,
				      -errors[i].error, errors[i].reason);
	}
	inject_stop();
	inject_start();
	assert_all_moved();
}
END_TEST

/* --- closing ------------------------------------------------------------- */

struct closing {
	pthread_t thread;
	unsigned int state; /* 0, then 1 closing, then 2 closed */
	unsigned int seen;  /* state when the move came back from the kernel */
};

static void *close_handle(void *arg)
{
	struct closing *closing = arg;

	/* Relaxed: joined before it is judged by, but for a lower bound. */
	__atomic_store_n(&closing->state, 1, __ATOMIC_SEQ_CST);
	ferry_uffd_close(moving.uffd);
	__atomic_store_n(&closing->state, 2, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Inside the ioctl: lets another thread close, and gives it time to. */
static void close_meanwhile(void *arg)
{
	struct closing *closing = arg;

	ck_assert_int_eq(
		pthread_create(&closing->thread, NULL, close_handle, closing),
		0);
	while (ferry_uffd_fd(moving.uffd) >= 0)
		;
	ferry__sys_linux.sleep_ns(20000000);
	closing->seen = __atomic_load_n(&closing->state, __ATOMIC_SEQ_CST);
}

START_TEST(closing_waits_for_a_move_in_flight)
{
	struct closing closing = { 0 };
	struct inject_rule rule = on_move(0);

	rule.hook = close_meanwhile;
	rule.arg = &closing;
	inject_add(&rule);
	assert_all_moved();
	ck_assert_uint_eq(closing.seen, 1);
	ck_assert_int_eq(pthread_join(closing.thread, NULL), 0);
	ck_assert_int_eq(moving_move_all(), -EBADF);
}
END_TEST

#define INJECTED(name) TEST_FIXTURE(name, "userfaultfd,move", setup, teardown)

static const struct test tests[] = {
	INJECTED(a_short_move_is_asked_again_at_every_position),
	INJECTED(a_short_move_learns_the_true_reason_at_every_position),
	INJECTED(each_page_alone_arrives_in_order),
	INJECTED(a_stale_count_is_no_progress),
	INJECTED(a_negative_count_is_no_progress),
	INJECTED(a_count_beside_another_error_is_not_believed),
	INJECTED(a_count_of_more_than_was_asked_for_is_not_believed),
	INJECTED(changing_mappings_are_waited_for_until_the_deadline),
	INJECTED(without_a_deadline_a_second_is_waited),
	INJECTED(a_storm_that_ends_is_survived),
	INJECTED(a_wish_to_stop_ends_the_waiting),
	INJECTED(a_busy_page_is_reported_at_every_position),
	INJECTED(a_busy_page_is_tried_again),
	INJECTED(a_page_busy_for_ever_is_given_up_at_the_deadline),
	INJECTED(a_busy_page_is_made_exclusive_once),
	INJECTED(a_page_that_stays_busy_is_given_up_after_trying),
	INJECTED(no_memory_to_make_a_page_exclusive),
	INJECTED(a_busy_page_is_copied_at_every_position),
	INJECTED(a_busy_page_is_left_behind_at_every_position),
	INJECTED(a_false_eexist_counts_as_moved_and_wakes),
	INJECTED(a_false_eexist_wakes_nobody_where_asked),
	INJECTED(a_false_eexist_behind_a_short_count),
	INJECTED(with_holes_only_the_sole_filler_knows_an_eexist_for_false),
	INJECTED(an_eexist_with_the_source_there_is_true),
	INJECTED(an_eexist_with_nothing_there_is_asked_again),
	INJECTED(a_false_eexist_in_a_slide_is_judged_by_what_has_moved),
	INJECTED(without_pagemap_an_eexist_is_taken_for_true),
	INJECTED(each_other_error_has_its_reason_and_loses_nothing),
	INJECTED(closing_waits_for_a_move_in_flight),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
