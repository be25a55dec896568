/* SPDX-License-Identifier: MIT */
/*
 * ferry_move() against the kernel at hand: what arrives, what is counted, what
 * stops it. Built twice: as it is, and with every move emulated.
 */
#include <ferry/move.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/moving.h"
#include "uffd/uapi.h"

START_TEST(every_page_arrives_and_leaves_a_hole)
{
	size_t i;

	ck_assert_int_eq(moving_move_all(), 0);
	ck_assert_uint_eq(moving.res.moved + moving.res.copied, moving.len);
	for (i = 0; i < moving.len; i += moving.page)
		ck_assert(!page_there(moving.src + i));
	assert_pages(moving.dst, moving.len, 1);
}
END_TEST

START_TEST(the_source_stays_mapped_and_usable)
{
	ck_assert_int_eq(moving_move_all(), 0);
	fill_pages(moving.src, moving.len, 100);
	assert_pages(moving.src, moving.len, 100);
	assert_pages(moving.dst, moving.len, 1);
}
END_TEST

START_TEST(pages_move_there_and_back)
{
	moving_register(moving.src, moving.len);
	ck_assert_int_eq(moving_move_all(), 0);
	ck_assert_int_eq(moving_move(moving.src, moving.dst, moving.len), 0);
	ck_assert_int_eq(moving_move_all(), 0);
	assert_pages(moving.dst, moving.len, 1);
}
END_TEST

START_TEST(the_result_may_be_left_out)
{
	struct ferry_move_params params = FERRY_INIT(struct ferry_move_params);

	params.flags = moving.flags;
	ck_assert_int_eq(ferry_move(moving.uffd, moving.dst, moving.src,
				    moving.page, &params, NULL),
			 0);
	ck_assert_int_eq(ferry_move(moving.uffd, moving.dst + moving.page,
				    moving.src + moving.page,
				    moving.len - moving.page, NULL, NULL),
			 0);
	assert_pages(moving.dst, moving.len, 1);
}
END_TEST

START_TEST(an_older_result_is_written_as_far_as_it_goes)
{
	struct ferry_move_result res;

	memset(&res, 0xa5, sizeof(res));
	res.size = offsetof(struct ferry_move_result, moved);
	ck_assert_int_eq(ferry_move(moving.uffd, moving.dst, moving.src,
				    moving.len, NULL, &res),
			 0);
	ck_assert_uint_eq(res.done, moving.len);
	ck_assert_uint_eq(res.moved & 0xff, 0xa5);
}
END_TEST

/* --- holes and pages that are there -------------------------------------- */

START_TEST(a_hole_stops_the_move)
{
	char *hole = moving.src + 5 * moving.page;

	ck_assert_int_eq(madvise(hole, moving.page, MADV_DONTNEED), 0);
	ck_assert_int_eq(moving_move_all(), -ENOENT);
	ck_assert_int_eq(moving.res.reason, FERRY_REASON_HOLE);
	ck_assert_uint_eq(moving.res.done, 5 * moving.page);
	ck_assert_uint_eq(moving.res.stop_offset, 5 * moving.page);
	assert_pages(moving.dst, 5 * moving.page, 1);
	assert_pages(hole + moving.page, 10 * moving.page, 7);
}
END_TEST

START_TEST(holes_stay_holes_where_allowed_and_are_counted)
{
	size_t page = moving.page;

	madvise(moving.src, page, MADV_DONTNEED);
	madvise(moving.src + 7 * page, 3 * page, MADV_DONTNEED);
	moving.params.flags = FERRY_MOVE_HOLES;
	ck_assert_int_eq(moving_move_all(), 0);
	ck_assert_uint_eq(moving.res.holes, 4 * page);
	ck_assert(!page_there(moving.dst));
	ck_assert(!page_there(moving.dst + 9 * page));
	assert_pages(moving.dst + page, 6 * page, 2);
	assert_pages(moving.dst + 10 * page, 6 * page, 11);
}
END_TEST

START_TEST(a_page_at_the_destination_stops_the_move)
{
	size_t page = moving.page;

	ck_assert_int_eq(ferry_uffd_zero(moving.uffd, moving.dst + 3 * page,
					 page, 0, NULL),
			 0);
	ck_assert_int_eq(moving_move_all(), -EEXIST);
	ck_assert_int_eq(moving.res.reason, FERRY_REASON_PRESENT);
	ck_assert_uint_eq(moving.res.done, 3 * page);
	assert_pages(moving.src + 3 * page, 13 * page, 4);
}
END_TEST

START_TEST(pages_at_the_destination_are_passed_over_where_allowed)
{
	size_t page = moving.page;

	ferry_uffd_zero(moving.uffd, moving.dst + 3 * page, page, 0, NULL);
	ferry_uffd_zero(moving.uffd, moving.dst + 15 * page, page, 0, NULL);
	moving.params.flags = FERRY_MOVE_PASS_PRESENT;
	ck_assert_int_eq(moving_move_all(), 0);
	ck_assert_uint_eq(moving.res.present, 2 * page);
	ck_assert(page_holds(moving.src + 3 * page, 4));
	ck_assert(page_holds(moving.src + 15 * page, 16));
	ck_assert_int_eq(moving.dst[3 * page], 0);
	assert_pages(moving.dst + 4 * page, 11 * page, 5);
}
END_TEST

START_TEST(an_empty_source_does_not_prove_a_move_where_holes_are_allowed)
{
	madvise(moving.src, moving.page, MADV_DONTNEED);
	ferry_uffd_zero(moving.uffd, moving.dst, moving.page, 0, NULL);
	moving.params.flags = FERRY_MOVE_HOLES;
	if (moving.flags) /* Emulation looks at the source alone. */
		return;
	ck_assert_int_eq(moving_move(moving.dst, moving.src, moving.page),
			 -EEXIST);
	ck_assert_uint_eq(moving.res.false_exist, 0);
	ck_assert_int_eq(moving.res.reason, FERRY_REASON_PRESENT);
}
END_TEST

START_TEST(random_patterns_keep_every_byte)
{
	struct random rng = harness_random();
	size_t page = moving.page, n = harness_scaled(200), i;
	bool there[MOVING_PAGES];
	size_t k;

	moving.params.flags = FERRY_MOVE_HOLES;
	for (i = 0; i < n; i++) {
		for (k = 0; k < MOVING_PAGES; k++) {
			there[k] = random_below(&rng, 2);
			madvise(moving.src + k * page, page, MADV_DONTNEED);
			madvise(moving.dst + k * page, page, MADV_DONTNEED);
			if (there[k])
				fill_pages(moving.src + k * page, page,
					   i * 100 + k);
		}
		ck_assert_int_eq(moving_move_all(), 0);
		for (k = 0; k < MOVING_PAGES; k++)
			ck_assert(there[k]
					  ? page_holds(moving.dst + k * page,
						       i * 100 + k)
					  : !page_there(moving.dst + k * page));
	}
}
END_TEST

/* --- one mapping, overlap, vectors --------------------------------------- */

START_TEST(pages_slide_down_within_one_mapping)
{
	size_t page = moving.page;
	char *arena = map_anon(2 * moving.len);

	moving_register(arena, 2 * moving.len);
	ck_assert_int_eq(moving_move(arena + 3 * page, moving.src, moving.len),
			 0);
	ck_assert_int_eq(moving_move(arena, arena + 3 * page, moving.len), 0);
	assert_pages(arena, moving.len, 1);
	ck_assert(!page_there(arena + moving.len));
}
END_TEST

START_TEST(overlap_upward_is_refused)
{
	char *src = moving.src;

	moving_assert_refused(src + moving.page, src, 2 * moving.page, -EEXIST,
			      FERRY_REASON_OVERLAP);
	moving_assert_refused(src, src, moving.page, -EEXIST,
			      FERRY_REASON_OVERLAP);
}
END_TEST

START_TEST(a_vector_moves_its_ranges_in_order)
{
	size_t page = moving.page;
	struct ferry_move_range ranges[] = {
		{ moving.dst, moving.src + 8 * page, 2 * page },
		{ moving.dst + 2 * page, moving.src, page },
		{ moving.dst + 3 * page, moving.src + 12 * page, page },
	};

	moving.res.size = sizeof(moving.res);
	moving.params.flags = moving.flags;
	ck_assert_int_eq(ferry_movev(moving.uffd, ranges, 3, &moving.params,
				     &moving.res),
			 0);
	ck_assert_uint_eq(moving.res.done, 4 * page);
	assert_pages(moving.dst, 2 * page, 9);
	assert_pages(moving.dst + 2 * page, page, 1);
	assert_pages(moving.dst + 3 * page, page, 13);
}
END_TEST

START_TEST(a_vector_says_which_range_stopped_it)
{
	size_t page = moving.page;
	struct ferry_move_range ranges[] = {
		{ moving.dst, moving.src, 2 * page },
		{ moving.dst + 2 * page, moving.src + 2 * page, 4 * page },
	};

	madvise(moving.src + 3 * page, page, MADV_DONTNEED);
	moving.res.size = sizeof(moving.res);
	moving.params.flags = moving.flags;
	ck_assert_int_eq(ferry_movev(moving.uffd, ranges, 2, &moving.params,
				     &moving.res),
			 -ENOENT);
	ck_assert_uint_eq(moving.res.done, 3 * page);
	ck_assert_uint_eq(moving.res.stop_range, 1);
	ck_assert_uint_eq(moving.res.stop_offset, page);
}
END_TEST

START_TEST(a_vector_is_checked_before_the_first_page_moves)
{
	size_t page = moving.page;
	struct ferry_move_range ranges[] = {
		{ moving.dst, moving.src, 2 * page },
		{ moving.dst + 2 * page, moving.src + 2 * page, 17 },
	};

	moving.res.size = sizeof(moving.res);
	ck_assert_int_eq(ferry_movev(moving.uffd, ranges, 2, NULL, &moving.res),
			 -EINVAL);
	ck_assert_int_eq(moving.res.reason, FERRY_REASON_UNALIGNED);
	ck_assert_uint_eq(moving.res.stop_range, 1);
	ck_assert_uint_eq(moving.res.done, 0);
	assert_pages(moving.src, moving.len, 1);
}
END_TEST

START_TEST(an_empty_vector_is_done)
{
	ck_assert_int_eq(ferry_movev(moving.uffd, NULL, 0, NULL, NULL), 0);
}
END_TEST

/* --- the request --------------------------------------------------------- */

START_TEST(bad_ranges_are_refused_by_name)
{
	char *dst = moving.dst, *src = moving.src;
	size_t len = moving.len, page = moving.page;

	moving_assert_refused(dst + 1, src, len, -EINVAL,
			      FERRY_REASON_UNALIGNED);
	moving_assert_refused(dst, src + 8, len, -EINVAL,
			      FERRY_REASON_UNALIGNED);
	moving_assert_refused(dst, src, len - 1, -EINVAL,
			      FERRY_REASON_UNALIGNED);
	moving_assert_refused(dst, src, 0, -EINVAL, FERRY_REASON_ZERO_LENGTH);
	moving_assert_refused(dst, src, 0 - page, -EINVAL,
			      FERRY_REASON_OVERFLOW);
	moving_assert_refused((void *)(0 - page), src, page, -EINVAL,
			      FERRY_REASON_OVERFLOW);
}
END_TEST

START_TEST(bad_params_are_refused_by_name)
{
	struct {
		struct ferry_move_params known;
		uint64_t unknown;
	} larger = { .known.size = sizeof(larger), .unknown = 1 };

	moving.flags = 0;
	moving.params.flags = 1u << 30;
	moving_assert_refused(moving.dst, moving.src, moving.len, -EINVAL,
			      FERRY_REASON_BAD_FLAGS);
	moving.params.flags = FERRY_MOVE_EMULATE | FERRY_MOVE_NATIVE;
	moving_assert_refused(moving.dst, moving.src, moving.len, -EINVAL,
			      FERRY_REASON_BAD_FLAGS);
	moving.params.flags = 0;
	moving.params.busy = (enum ferry_busy)77;
	moving_assert_refused(moving.dst, moving.src, moving.len, -EINVAL,
			      FERRY_REASON_BAD_FLAGS);
	ck_assert_int_eq(ferry_move(moving.uffd, moving.dst, moving.src,
				    moving.len, &larger.known, NULL),
			 -E2BIG);
	larger.unknown = 0;
	ck_assert_int_eq(ferry_move(moving.uffd, moving.dst, moving.src,
				    moving.len, &larger.known, NULL),
			 0);
}
END_TEST

START_TEST(a_closed_handle_is_refused)
{
	ferry_uffd_close(moving.uffd);
	moving_assert_refused(moving.dst, moving.src, moving.len, -EBADF,
			      FERRY_REASON_CLOSED);
	moving.uffd = NULL;
	moving_assert_refused(moving.dst, moving.src, moving.len, -EBADF,
			      FERRY_REASON_CLOSED);
}
END_TEST

START_TEST(a_forked_child_is_refused)
{
	int status;
	pid_t pid;

	moving.res.size = sizeof(moving.res);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		_exit(ferry_move(moving.uffd, moving.dst, moving.src,
				 moving.len, NULL, &moving.res) == -ECHILD
			      ? 0
			      : 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	assert_pages(moving.src, moving.len, 1);
}
END_TEST

START_TEST(a_cancelled_move_does_nothing)
{
	volatile bool cancel = true;

	moving.params.cancel = &cancel;
	moving_assert_refused(moving.dst, moving.src, moving.len, -ECANCELED,
			      FERRY_REASON_CANCELLED);
	cancel = false;
	ck_assert_int_eq(moving_move_all(), 0);
}
END_TEST

/* --- waiters ------------------------------------------------------------- */

static void *read_byte(void *addr)
{
	return (void *)(uintptr_t)(*(volatile unsigned char *)addr + 1u);
}

/* Starts a thread that reads @addr, and waits until it is stuck there. */
static pthread_t start_waiter(char *addr)
{
	struct pollfd pfd = { .events = POLLIN };
	struct ferry__uffd_msg msg;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, read_byte, addr), 0);
	pfd.fd = ferry_uffd_fd(moving.uffd);
	ck_assert_int_eq(poll(&pfd, 1, -1), 1);
	ck_assert_int_eq(read(pfd.fd, &msg, sizeof(msg)), sizeof(msg));
	ck_assert_uint_eq(msg.arg.pagefault.address & ~(moving.page - 1),
			  (uintptr_t)addr);
	return thread;
}

/* Waiters need a descriptor that poll(2) works on. */
static void setup_nonblocking(void)
{
	struct ferry_uffd_params params = FERRY_INIT(struct ferry_uffd_params);

	moving_setup();
	ferry_uffd_close(moving.uffd);
	params.flags = FERRY_UFFD_NONBLOCK;
	ck_assert_int_eq(ferry_uffd_open(&params, NULL, &moving.uffd), 0);
	moving_register(moving.dst, moving.len);
}

START_TEST(a_waiting_thread_is_woken)
{
	pthread_t thread = start_waiter(moving.dst + 2 * moving.page);
	unsigned char first = (unsigned char)moving.src[2 * moving.page];
	void *got;

	ck_assert_int_eq(moving_move_all(), 0);
	ck_assert_int_eq(pthread_join(thread, &got), 0);
	ck_assert_uint_eq((uintptr_t)got, first + 1u);
}
END_TEST

START_TEST(a_waiting_thread_sleeps_on_where_asked)
{
	pthread_t thread = start_waiter(moving.dst);
	void *got;

	moving.params.flags = FERRY_MOVE_NO_WAKE;
	ck_assert_int_eq(moving_move(moving.dst, moving.src, moving.page), 0);
	usleep(20000);
	ck_assert_int_eq(pthread_tryjoin_np(thread, &got), EBUSY);
	ck_assert_int_eq(ferry_uffd_wake(moving.uffd, moving.dst, moving.page),
			 0);
	ck_assert_int_eq(pthread_join(thread, &got), 0);
}
END_TEST

#define LIVE(name, ...)                                                        \
	TEST_FIXTURE(name, "userfaultfd" __VA_ARGS__, moving_setup,            \
		     moving_teardown)

static const struct test tests[] = {
	LIVE(every_page_arrives_and_leaves_a_hole),
	LIVE(the_source_stays_mapped_and_usable),
	LIVE(pages_move_there_and_back),
	LIVE(the_result_may_be_left_out),
	LIVE(an_older_result_is_written_as_far_as_it_goes),
	LIVE(a_hole_stops_the_move),
	LIVE(holes_stay_holes_where_allowed_and_are_counted),
	LIVE(a_page_at_the_destination_stops_the_move),
	LIVE(pages_at_the_destination_are_passed_over_where_allowed),
	LIVE(an_empty_source_does_not_prove_a_move_where_holes_are_allowed,
	     ",move"),
	LIVE(random_patterns_keep_every_byte),
	LIVE(pages_slide_down_within_one_mapping),
	LIVE(overlap_upward_is_refused),
	LIVE(a_vector_moves_its_ranges_in_order),
	LIVE(a_vector_says_which_range_stopped_it),
	LIVE(a_vector_is_checked_before_the_first_page_moves),
	LIVE(an_empty_vector_is_done),
	LIVE(bad_ranges_are_refused_by_name),
	LIVE(bad_params_are_refused_by_name),
	LIVE(a_closed_handle_is_refused),
	LIVE(a_forked_child_is_refused),
	LIVE(a_cancelled_move_does_nothing),
	TEST_FIXTURE(a_waiting_thread_is_woken, "userfaultfd",
		     setup_nonblocking, moving_teardown),
	TEST_FIXTURE(a_waiting_thread_sleeps_on_where_asked, "userfaultfd",
		     setup_nonblocking, moving_teardown),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
