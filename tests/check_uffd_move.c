/* SPDX-License-Identifier: MIT */
/* ferry_move() against the kernel at hand: pages, mappings, obstacles. */
#include <ferry/move.h>

#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/memory.h"

#define PAGES 16

static struct ferry_uffd *uffd;
static char *src, *dst;
static size_t page, len;
static struct ferry_move_result res;
static struct ferry_move_params params;

static void setup(void)
{
	page = page_size();
	len = PAGES * page;
	ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &uffd), 0);
	src = map_anon(len);
	dst = map_anon(len);
	fill_pages(src, len, 1);
	ck_assert_int_eq(ferry_uffd_register(uffd, dst, len,
					     FERRY_REGISTER_MISSING, NULL),
			 0);
	res = (struct ferry_move_result)FERRY_INIT(struct ferry_move_result);
	params = (struct ferry_move_params)FERRY_INIT(struct ferry_move_params);
}

static void teardown(void)
{
	ferry_uffd_close(uffd);
}

static int move_all(void)
{
	int r = ferry_move(uffd, dst, src, len, &params, &res);

	ck_assert_uint_eq(res.done, res.moved + res.copied + res.holes +
					    res.present + res.skipped);
	return r;
}

START_TEST(every_page_arrives_and_leaves_a_hole)
{
	size_t i;

	ck_assert_int_eq(move_all(), 0);
	ck_assert_uint_eq(res.done, len);
	ck_assert_int_eq(res.reason, FERRY_REASON_NONE);
	for (i = 0; i < len; i += page)
		ck_assert(!page_there(src + i));
	assert_pages(dst, len, 1);
}
END_TEST

START_TEST(a_hole_stops_the_move_unless_allowed)
{
	madvise(src + 5 * page, page, MADV_DONTNEED);
	ck_assert_int_eq(move_all(), -ENOENT);
	ck_assert_int_eq(res.reason, FERRY_REASON_HOLE);
	ck_assert_uint_eq(res.done, 5 * page);
	params.flags = FERRY_MOVE_HOLES;
	ck_assert_int_eq(ferry_move(uffd, dst + 5 * page, src + 5 * page,
				    len - 5 * page, &params, &res),
			 0);
	ck_assert_uint_eq(res.holes, page);
	ck_assert(!page_there(dst + 5 * page));
	assert_pages(dst, 5 * page, 1);
	assert_pages(dst + 6 * page, len - 6 * page, 7);
}
END_TEST

START_TEST(a_page_at_the_destination_stops_the_move)
{
	ck_assert_int_eq(ferry_uffd_zero(uffd, dst + 3 * page, page, 0, NULL),
			 0);
	ck_assert_int_eq(move_all(), -EEXIST);
	ck_assert_int_eq(res.reason, FERRY_REASON_PRESENT);
	ck_assert_uint_eq(res.done, 3 * page);
	assert_pages(src + 3 * page, len - 3 * page, 4);
}
END_TEST

static void fork_once(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
}

START_TEST(pages_shared_by_fork_are_busy)
{
	fork_once();
	ck_assert_int_eq(move_all(), -EBUSY);
	ck_assert_int_eq(res.reason, FERRY_REASON_BUSY);
	ck_assert_uint_eq(res.done, 0);
	assert_pages(src, len, 1);
}
END_TEST

START_TEST(pages_shared_by_fork_are_made_exclusive)
{
	fork_once();
	params.busy = FERRY_BUSY_EXCLUSIVE;
	ck_assert_int_eq(move_all(), 0);
	ck_assert_uint_eq(res.moved, len);
	ck_assert_uint_ge(res.made_exclusive, PAGES);
	assert_pages(dst, len, 1);
}
END_TEST

START_TEST(pages_shared_by_fork_are_copied)
{
	fork_once();
	params.busy = FERRY_BUSY_COPY;
	ck_assert_int_eq(move_all(), 0);
	ck_assert_uint_eq(res.copied, len);
	ck_assert(!page_there(src));
	assert_pages(dst, len, 1);
}
END_TEST

START_TEST(emulation_gives_the_same_result)
{
	params.flags = FERRY_MOVE_EMULATE;
	ck_assert_int_eq(move_all(), 0);
	ck_assert_uint_eq(res.copied, len);
	ck_assert_uint_eq(res.calls, 0);
	ck_assert(!page_there(src));
	assert_pages(dst, len, 1);
}
END_TEST

#define LIVE(name, needs) TEST_FIXTURE(name, needs, setup, teardown)

static const struct test tests[] = {
	LIVE(every_page_arrives_and_leaves_a_hole, "userfaultfd"),
	LIVE(a_hole_stops_the_move_unless_allowed, "userfaultfd"),
	LIVE(a_page_at_the_destination_stops_the_move, "userfaultfd"),
	LIVE(pages_shared_by_fork_are_busy, "move"),
	LIVE(pages_shared_by_fork_are_made_exclusive, "move"),
	LIVE(pages_shared_by_fork_are_copied, "move"),
	LIVE(emulation_gives_the_same_result, "userfaultfd"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
