/* SPDX-License-Identifier: MIT */
/*
 * ferry_move() where the kernel's move is not to be had or not to be trusted:
 * system-call filters, emulation and its failures, the huge zero page.
 */
#include <ferry/move.h>

#include <errno.h>
#include <string.h>
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

/* --- filters ------------------------------------------------------------- */

START_TEST(a_filtered_move_is_emulated_from_then_on)
{
	static const int errors[] = { EPERM, ENOSYS, EACCES };
	struct inject_rule rule;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(errors); i++) {
		refill();
		ferry_uffd_close(moving.uffd);
		ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &moving.uffd), 0);
		moving_register(moving.dst, moving.len);
		rule = on_move(errors[i]);
		rule.count = INJECT_ALWAYS;
		inject_add(&rule);
		assert_all_moved();
		ck_assert_int_ne(moving.res.method, FERRY_METHOD_MOVE);
		moving_register(moving.src, moving.len);
		ck_assert_int_eq(
			moving_move(moving.src, moving.dst, moving.len), 0);
		ck_assert_uint_eq(inject_hits(&rule), 1);
		ferry_uffd_unregister(moving.uffd, moving.src, moving.len);
	}
}
END_TEST

START_TEST(a_filtered_move_is_refused_where_nothing_else_will_do)
{
	struct inject_rule rule = on_move(EPERM);

	inject_add(&rule);
	moving.params.flags = FERRY_MOVE_NATIVE;
	moving_assert_refused(moving.dst, moving.src, moving.len, -EOPNOTSUPP,
			      FERRY_REASON_SECCOMP);
}
END_TEST

/* --- emulation ----------------------------------------------------------- */

static struct inject_rule on_copy(int error)
{
	struct inject_rule rule = on_move(error);

	rule.request = FERRY__UFFDIO_COPY;
	return rule;
}

/* Emulation by copies: mremap is refused, as before 5.7. */
static void setup_copying(void)
{
	static struct inject_rule no_mremap = {
		.call = INJECT_MREMAP,
		.error = EINVAL,
		.count = INJECT_ALWAYS,
	};

	setup();
	inject_add(&no_mremap);
	moving.flags = FERRY_MOVE_EMULATE;
}

START_TEST(without_mremap_pages_are_copied)
{
	assert_all_moved();
	ck_assert_int_eq(moving.res.method, FERRY_METHOD_COPY);
	ck_assert_uint_eq(moving.res.copied, moving.len);
}
END_TEST

START_TEST(a_short_copy_drops_only_what_was_copied)
{
	struct inject_rule rule = on_copy(ENOMEM);
	size_t k = 5 * moving.page;

	rule.at = (uintptr_t)moving.src + k;
	inject_add(&rule);
	ck_assert_int_eq(moving_move_all(), -ENOMEM);
	ck_assert_uint_eq(moving.res.copied, k);
	assert_pages(moving.dst, k, 1);
	assert_pages(moving.src + k, moving.len - k, 6);
}
END_TEST

START_TEST(a_copy_waits_for_changing_mappings)
{
	struct inject_rule rule = on_copy(EAGAIN);

	rule.at = (uintptr_t)moving.src;
	rule.count = 20;
	inject_add(&rule);
	inject_clock(SECOND);
	assert_all_moved();
	ck_assert_uint_eq(moving.res.idle_retries, 20);
}
END_TEST

START_TEST(a_source_that_cannot_be_dropped_is_said)
{
	struct inject_rule rule = {
		.call = INJECT_MADVISE,
		.error = EINVAL,
		.count = INJECT_ALWAYS,
	};

	inject_add(&rule);
	ck_assert_int_eq(moving_move_all(), -EINVAL);
	ck_assert_uint_gt(moving.res.copied, 0);
	ck_assert_int_eq(moving.res.reason, FERRY_REASON_NOT_SUPPORTED);
}
END_TEST

START_TEST(a_locked_source_is_dropped_as_such)
{
	struct inject_rule rule = {
		.call = INJECT_MADVISE,
		.request = MADV_DONTNEED,
		.error = EINVAL,
		.count = INJECT_ALWAYS,
	};

	inject_add(&rule);
	assert_all_moved();
	ck_assert(!page_there(moving.src));
}
END_TEST

START_TEST(a_filter_on_copies_too_leaves_nothing)
{
	struct inject_rule rule = on_copy(EPERM);

	rule.at = (uintptr_t)moving.src;
	rule.count = INJECT_ALWAYS;
	inject_add(&rule);
	moving_assert_refused(moving.dst, moving.src, moving.len, -EOPNOTSUPP,
			      FERRY_REASON_SECCOMP);
}
END_TEST

START_TEST(a_destination_lost_after_mremap_is_said)
{
	struct inject_rule rule = {
		.call = INJECT_IOCTL,
		.request = FERRY__UFFDIO_REGISTER,
		.nth = 2, /* the first one asks whose it is */
		.error = ENOMEM,
	};

	inject_add(&rule);
	moving.flags = FERRY_MOVE_EMULATE;
	ck_assert_int_eq(moving_move_all(), -ENOMEM);
	ck_assert_int_eq(moving.res.method, FERRY_METHOD_MREMAP);
	ck_assert_uint_eq(moving.res.moved, moving.len);
	assert_pages(moving.dst, moving.len, 1);
}
END_TEST

/* --- the huge zero page -------------------------------------------------- */

static int unsafe_release(char *buf, size_t size)
{
	ck_assert_uint_ge(size, sizeof("6.18.5"));
	strcpy(buf, "6.18.5");
	return 0;
}

START_TEST(a_huge_zero_page_is_never_moved_whole_where_that_harms)
{
	static struct ferry__sys table;
	volatile char *src = map_huge(2 * HUGE_SIZE);
	char *dst = map_huge(2 * HUGE_SIZE);

	inject_stop();
	table = *ferry__sys;
	table.release = unsafe_release;
	ferry__sys = &table;
	ferry_uffd_close(moving.uffd);
	ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &moving.uffd), 0);
	inject_start();
	moving_register(dst, 2 * HUGE_SIZE);
	src[0] = 7;
	ck_assert_int_eq(src[HUGE_SIZE], 0); /* the huge zero page */
	if (huge_bytes((char *)(uintptr_t)src, 2 * HUGE_SIZE) != 2 * HUGE_SIZE)
		SKIP("thp", "no huge zero page came");
	ck_assert_int_eq(
		moving_move(dst, (void *)(uintptr_t)src, 2 * HUGE_SIZE), 0);
	ck_assert_uint_eq(huge_bytes(dst, 2 * HUGE_SIZE), HUGE_SIZE);
	ck_assert_uint_ge(moving.res.calls, 3);
	ck_assert_int_eq(dst[0], 7);
	ck_assert_int_eq(dst[HUGE_SIZE], 0);
}
END_TEST

#define INJECTED(name) TEST_FIXTURE(name, "userfaultfd,move", setup, teardown)
#define COPYING(name)  TEST_FIXTURE(name, "userfaultfd", setup_copying, teardown)

static const struct test tests[] = {
	INJECTED(a_filtered_move_is_emulated_from_then_on),
	INJECTED(a_filtered_move_is_refused_where_nothing_else_will_do),
	COPYING(without_mremap_pages_are_copied),
	COPYING(a_short_copy_drops_only_what_was_copied),
	COPYING(a_copy_waits_for_changing_mappings),
	COPYING(a_source_that_cannot_be_dropped_is_said),
	COPYING(a_locked_source_is_dropped_as_such),
	COPYING(a_filter_on_copies_too_leaves_nothing),
	TEST_FIXTURE(a_destination_lost_after_mremap_is_said, "userfaultfd",
		     setup, teardown),
	TEST_FIXTURE(a_huge_zero_page_is_never_moved_whole_where_that_harms,
		     "userfaultfd,move,thp", setup, teardown),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
