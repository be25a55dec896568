/* SPDX-License-Identifier: MIT */
/* What a program may say to its malloc. */
#include "tests/harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ferry/malloc.h>

/* Where the malloc is not built these are NULL, and the tests skip. */
#pragma weak ferry_hint_cold
#pragma weak ferry_hint_hot
#pragma weak ferry_hint_pin
#pragma weak ferry_hint_none
#pragma weak ferry_malloc_restore
#pragma weak ferry_malloc_resume
#pragma weak ferry_malloc_stats

#define NEEDS "malloc,move,kernel_faults"
#define MIB   ((size_t)1 << 20)
#define PAGE  ((size_t)sysconf(_SC_PAGESIZE))

static unsigned char *filled(size_t size, int byte)
{
	unsigned char *p = malloc(size);

	ck_assert_ptr_nonnull(p);
	memset(p, byte, size);
	return p;
}

static struct ferry_malloc_stats stats(void)
{
	struct ferry_malloc_stats s = FERRY_INIT(struct ferry_malloc_stats);

	ck_assert_int_eq(ferry_malloc_stats(&s), 0);
	return s;
}

/* Says that @p is cold until half of it is in a store. */
static void send_out(const unsigned char *p, size_t size)
{
	while (stats().stored < size / 2) {
		ck_assert_int_eq(ferry_hint_cold(p, size), 0);
		usleep(20000);
	}
}

static bool all_are(const unsigned char *p, int byte, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		if (p[i] != byte)
			return false;
	return true;
}

START_TEST(what_is_cold_goes_out_and_comes_back)
{
	unsigned char *p = filled(8 * MIB, 0x5a);

	send_out(p, 8 * MIB);
	ck_assert(all_are(p, 0x5a, 8 * MIB));
	ck_assert_uint_gt(stats().pages_back, 0);
	free(p);
}
END_TEST

START_TEST(restore_brings_all_back_until_resume)
{
	unsigned char *p = filled(8 * MIB, 0x11);

	send_out(p, 8 * MIB);
	ck_assert_int_eq(ferry_malloc_restore(), 0);
	ck_assert_uint_eq(stats().stored, 0);
	ck_assert_uint_eq(stats().limbo, 0);
	ferry_malloc_resume();
	send_out(p, 8 * MIB);
	ck_assert(all_are(p, 0x11, 8 * MIB));
	free(p);
}
END_TEST

START_TEST(resume_of_what_was_not_restored_is_nothing)
{
	unsigned char *p = filled(8 * MIB, 0x12);

	ferry_malloc_resume();
	send_out(p, 8 * MIB);
	ferry_malloc_resume();
	ck_assert_int_eq(ferry_malloc_restore(), 0);
	ck_assert_uint_eq(stats().stored, 0);
	ferry_malloc_resume();
	send_out(p, 8 * MIB);
	ck_assert(all_are(p, 0x12, 8 * MIB));
	free(p);
}
END_TEST

START_TEST(pages_that_are_thrown_away_while_out_read_as_zero)
{
	unsigned char *p = filled(8 * MIB, 0x33), *page;

	page = p + PAGE - (uintptr_t)p % PAGE;
	send_out(p, 8 * MIB);
	ck_assert_int_eq(madvise(page, 4 * MIB, MADV_DONTNEED), 0);
	ck_assert(all_are(page, 0, 4 * MIB));
	ck_assert(all_are(page + 4 * MIB, 0x33, 3 * MIB));
	free(p);
}
END_TEST

START_TEST(child_of_vfork_leaves_the_start_to_its_parent)
{
	unsigned char *p = filled(8 * MIB, 0x44);
	pid_t pid = vfork();

	if (!pid) {
		ferry_hint_cold(p, 8 * MIB);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	send_out(p, 8 * MIB);
	ck_assert(all_are(p, 0x44, 8 * MIB));
	free(p);
}
END_TEST

START_TEST(what_is_no_block_is_refused)
{
	int local = 0;

	ck_assert_int_eq(ferry_hint_cold(&local, sizeof(local)), -ENOENT);
	ck_assert_int_eq(ferry_hint_hot(NULL, 1), -ENOENT);
	ck_assert_int_eq(ferry_hint_pin(&local, SIZE_MAX), -EINVAL);
}
END_TEST

START_TEST(structs_of_other_sizes_are_refused)
{
	struct ferry_malloc_stats s = { .size = 0 };

	ck_assert_int_eq(ferry_malloc_stats(&s), -EINVAL);
	s.size = sizeof(s) + 8;
	ck_assert_int_eq(ferry_malloc_stats(&s), -E2BIG);
}
END_TEST

START_TEST(without_rights_it_is_a_plain_allocator_that_says_why)
{
	unsigned char *p;

	ck_assert_int_eq(setuid(65534), 0);
	p = filled(64 * MIB, 1);
	ck_assert_int_eq(ferry_hint_cold(p, 64 * MIB), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(stats().reason);
	ck_assert_uint_eq(stats().pages_out, 0);
	ck_assert(all_are(p, 1, 64 * MIB));
	free(p);
}
END_TEST

static const struct test tests[] = {
	TEST(what_is_cold_goes_out_and_comes_back, NEEDS),
	TEST(restore_brings_all_back_until_resume, NEEDS),
	TEST(resume_of_what_was_not_restored_is_nothing, NEEDS),
	TEST(pages_that_are_thrown_away_while_out_read_as_zero, NEEDS),
	TEST(child_of_vfork_leaves_the_start_to_its_parent, NEEDS),
	TEST(what_is_no_block_is_refused, "malloc"),
	TEST(structs_of_other_sizes_are_refused, "malloc"),
	TEST(without_rights_it_is_a_plain_allocator_that_says_why,
	     "malloc,root"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
