/* SPDX-License-Identifier: MIT */
/*
 * Pages that are not the source's alone: shared by fork or KSM, pinned for a
 * device, swapped out; each policy on each kind.
 */
#include <ferry/move.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/moving.h"
#include "tests/pin.h"
#include "tests/system.h"
#include "uffd/uapi.h"

/* --- fork ---------------------------------------------------------------- */

START_TEST(pages_shared_by_fork_are_busy_even_when_the_child_is_gone)
{
	moving_fork();
	moving_assert_refused(moving.dst, moving.src, moving.len, -EBUSY,
			      FERRY_REASON_BUSY);
}
END_TEST

START_TEST(trying_again_does_not_help_against_a_fork)
{
	moving_fork();
	moving.params.busy = FERRY_BUSY_RETRY;
	moving.params.deadline_ns = 2000000;
	moving_assert_refused(moving.dst, moving.src, moving.len, -EBUSY,
			      FERRY_REASON_BUSY);
	ck_assert_uint_gt(moving.res.busy_retries, 0);
}
END_TEST

START_TEST(a_write_by_the_owner_ends_it)
{
	size_t i;

	moving_fork();
	for (i = 0; i < moving.len; i += moving.page)
		*(volatile char *)(moving.src + i) = moving.src[i];
	ck_assert_int_eq(moving_move_all(), 0);
	assert_pages(moving.dst, moving.len, 1);
}
END_TEST

START_TEST(pages_shared_by_fork_are_made_exclusive)
{
	moving_fork();
	moving.params.busy = FERRY_BUSY_EXCLUSIVE;
	ck_assert_int_eq(moving_move_all(), 0);
	ck_assert_uint_eq(moving.res.moved, moving.len);
	ck_assert_uint_ge(moving.res.made_exclusive, MOVING_PAGES);
	/* The window doubles: not one call for each page. */
	ck_assert_uint_le(moving.res.busy_retries, 6);
	assert_pages(moving.dst, moving.len, 1);
}
END_TEST

START_TEST(making_pages_exclusive_fills_no_hole)
{
	char *hole = moving.src + 3 * moving.page;

	madvise(hole, moving.page, MADV_DONTNEED);
	moving_fork();
	moving.params.busy = FERRY_BUSY_EXCLUSIVE;
	moving.params.flags = FERRY_MOVE_HOLES;
	ck_assert_int_eq(moving_move_all(), 0);
	ck_assert_uint_eq(moving.res.holes, moving.page);
	ck_assert(!page_there(hole));
	ck_assert(!page_there(moving.dst + 3 * moving.page));
}
END_TEST

START_TEST(pages_shared_by_fork_are_copied)
{
	moving_fork();
	moving.params.busy = FERRY_BUSY_COPY;
	ck_assert_int_eq(moving_move_all(), 0);
	ck_assert_uint_eq(moving.res.copied, moving.len);
	ck_assert(!page_there(moving.src));
	assert_pages(moving.dst, moving.len, 1);
}
END_TEST

START_TEST(busy_pages_are_left_behind_between_others)
{
	size_t page = moving.page, i;

	moving_fork();
	for (i = 0; i < MOVING_PAGES; i += 2)
		*(volatile char *)(moving.src + i * page) =
			moving.src[i * page];
	moving.params.busy = FERRY_BUSY_SKIP;
	ck_assert_int_eq(moving_move_all(), 0);
	ck_assert_uint_eq(moving.res.skipped, moving.len / 2);
	ck_assert_uint_eq(moving.res.moved, moving.len / 2);
	for (i = 0; i < MOVING_PAGES; i++)
		ck_assert(page_holds(
			(i % 2 ? moving.src : moving.dst) + i * page, i + 1));
}
END_TEST

START_TEST(memory_kept_from_children_is_not_busy)
{
	ck_assert_int_eq(madvise(moving.src, moving.len, MADV_DONTFORK), 0);
	moving_fork();
	ck_assert_int_eq(moving_move_all(), 0);
	assert_pages(moving.dst, moving.len, 1);
}
END_TEST

START_TEST(a_living_child_keeps_its_contents)
{
	int go[2], status;
	pid_t pid;
	char c;

	ck_assert_int_eq(pipe(go), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		close(go[1]);
		(void)!read(go[0], &c, 1);
		_exit(page_holds(moving.src, 1) ? 0 : 1);
	}
	moving.params.busy = FERRY_BUSY_EXCLUSIVE;
	ck_assert_int_eq(moving_move_all(), 0);
	memset(moving.dst, 0, moving.len);
	close(go[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* --- pins ---------------------------------------------------------------- */

START_TEST(a_pinned_page_is_busy_until_unpinned)
{
	int ring = pin_pages(moving.src, moving.page);

	moving_assert_refused(moving.dst, moving.src, moving.len, -EBUSY,
			      FERRY_REASON_BUSY);
	moving.params.busy = FERRY_BUSY_EXCLUSIVE;
	moving.params.deadline_ns = 2000000;
	moving_assert_refused(moving.dst, moving.src, moving.len, -EBUSY,
			      FERRY_REASON_PINNED);
	unpin_pages(ring);
	/* The kernel lets go a little later. */
	moving.params.busy = FERRY_BUSY_RETRY;
	moving.params.deadline_ns = 0;
	ck_assert_int_eq(moving_move_all(), 0);
	assert_pages(moving.dst, moving.len, 1);
}
END_TEST

START_TEST(a_pinned_page_is_left_behind)
{
	int ring = pin_pages(moving.src, moving.page);

	moving.params.busy = FERRY_BUSY_SKIP;
	ck_assert_int_eq(moving_move_all(), 0);
	ck_assert_uint_eq(moving.res.skipped, moving.page);
	ck_assert(page_holds(moving.src, 1));
	assert_pages(moving.dst + moving.page, moving.len - moving.page, 2);
	close(ring);
}
END_TEST

/* --- KSM ----------------------------------------------------------------- */

static long read_long(const char *path)
{
	FILE *f = fopen(path, "r");
	long n = -1;

	if (!f)
		return -1;
	if (fscanf(f, "%ld", &n) != 1)
		n = -1;
	fclose(f);
	return n;
}

#define MERGED "/proc/self/ksm_merging_pages"

START_TEST(merged_pages_are_made_exclusive)
{
	struct system_hold hold[3];
	size_t i;

	if (read_long(MERGED) < 0)
		SKIP("ksm", "the kernel does not say what was merged");
	for (i = 1; i < MOVING_PAGES; i++)
		memcpy(moving.src + i * moving.page, moving.src, moving.page);
	ck_assert_int_eq(madvise(moving.src, moving.len, MADV_MERGEABLE), 0);
	if (!system_hold_value(&hold[0], "/sys/kernel/mm/ksm/sleep_millisecs",
			       "1") ||
	    !system_hold_value(&hold[1], "/sys/kernel/mm/ksm/pages_to_scan",
			       "50000") ||
	    !system_hold_value(&hold[2], "/sys/kernel/mm/ksm/run", "1"))
		SKIP("ksm", "KSM cannot be started");
	AWAIT(read_long(MERGED) >= MOVING_PAGES);
	ck_assert_int_eq(moving_move_all(), -EBUSY);
	ck_assert_int_eq(moving.res.reason, FERRY_REASON_BUSY);
	moving.params.busy = FERRY_BUSY_EXCLUSIVE;
	ck_assert_int_eq(moving_move_all(), 0);
	ck_assert_uint_eq(moving.res.moved, moving.len);
	for (i = 0; i < MOVING_PAGES; i++)
		ck_assert(page_holds(moving.dst + i * moving.page, 1));
	for (i = 3; i-- > 0;)
		system_release(&hold[i]);
}
END_TEST

/* --- swap ---------------------------------------------------------------- */

static size_t swapped_pages(const char *addr)
{
	size_t i, n = 0;

	for (i = 0; i < MOVING_PAGES; i++)
		if (pagemap_word(addr + i * moving.page) & FERRY__PM_SWAP)
			n++;
	return n;
}

START_TEST(swapped_pages_move_without_coming_in)
{
	struct system_hold hold;

	if (!system_hold_swap(&hold))
		SKIP("swap", "%s", hold.reason);
	while (swapped_pages(moving.src) < MOVING_PAGES) {
		madvise(moving.src, moving.len, FERRY__MADV_PAGEOUT);
		harness_pause();
	}
	moving.params.busy = FERRY_BUSY_EXCLUSIVE;
	ck_assert_int_eq(moving_move_all(), 0);
	ck_assert_uint_eq(moving.res.moved, moving.len);
	ck_assert_uint_eq(swapped_pages(moving.src), 0);
	ck_assert_uint_gt(swapped_pages(moving.dst), 0);
	assert_pages(moving.dst, moving.len, 1);
	system_release(&hold);
}
END_TEST

#define LIVE(name, ...)                                                        \
	TEST_FIXTURE(name, "userfaultfd,move" __VA_ARGS__, moving_setup,       \
		     moving_teardown)

static const struct test tests[] = {
	LIVE(pages_shared_by_fork_are_busy_even_when_the_child_is_gone),
	LIVE(trying_again_does_not_help_against_a_fork),
	LIVE(a_write_by_the_owner_ends_it),
	LIVE(pages_shared_by_fork_are_made_exclusive),
	LIVE(making_pages_exclusive_fills_no_hole),
	LIVE(pages_shared_by_fork_are_copied),
	LIVE(busy_pages_are_left_behind_between_others),
	LIVE(memory_kept_from_children_is_not_busy),
	LIVE(a_living_child_keeps_its_contents),
	LIVE(a_pinned_page_is_busy_until_unpinned, ",io_uring"),
	LIVE(a_pinned_page_is_left_behind, ",io_uring"),
	LIVE(merged_pages_are_made_exclusive, ",ksm"),
	LIVE(swapped_pages_move_without_coming_in, ",swap,pageout"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
