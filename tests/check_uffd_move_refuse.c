/* SPDX-License-Identifier: MIT */
/*
 * What the kernel refuses to move, and the reason that ferry_move() gives:
 * the mappings of both sides, and pages that are no plain pages.
 */
#include <ferry/move.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/moving.h"
#include "uffd/uapi.h"

#define RW (PROT_READ | PROT_WRITE)

static char *map_some(size_t len, int prot, int flags, int fd)
{
	char *p = mmap(NULL, len, prot, flags, fd, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	return p;
}

static int memfd(size_t len)
{
	int fd = memfd_create("ferry-test", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)len), 0);
	return fd;
}

/* Asserts that @src cannot be moved, for @reason. */
static void assert_source(void *src, size_t len, enum ferry_reason reason)
{
	moving_assert_refused(moving.dst, src, len, -EINVAL, reason);
}

/* --- mappings ------------------------------------------------------------ */

START_TEST(unmapped_memory)
{
	char *gone = map_private(moving.len);

	munmap(gone, moving.len);
	moving_assert_refused(moving.dst, gone, moving.len, -ENOENT,
			      FERRY_REASON_UNMAPPED);
	moving_assert_refused(gone, moving.src, moving.len, -ENOENT,
			      FERRY_REASON_UNMAPPED);
}
END_TEST

START_TEST(shared_memory)
{
	char *p = map_some(moving.len, RW, MAP_SHARED | MAP_ANONYMOUS, -1);

	memset(p, 1, moving.len);
	assert_source(p, moving.len, FERRY_REASON_SHARED);
}
END_TEST

START_TEST(file_memory_even_if_private_and_written)
{
	char *p = map_some(moving.len, RW, MAP_PRIVATE, memfd(moving.len));

	memset(p, 1, moving.len);
	assert_source(p, moving.len, FERRY_REASON_FILE);
	ck_assert_int_eq(p[0], 1);
}
END_TEST

/* Nothing reserved, nothing touched: the mapping alone is refused. */
START_TEST(hugetlb_memory)
{
	char *p = map_some(
		HUGE_SIZE, RW,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1);

	assert_source(p, moving.len, FERRY_REASON_HUGETLB);
}
END_TEST

START_TEST(read_only_memory)
{
	char *p = map_private(moving.len);

	memset(p, 1, moving.len);
	mprotect(p, moving.len, PROT_READ);
	assert_source(p, moving.len, FERRY_REASON_READ_ONLY);
	mprotect(moving.dst, moving.len, PROT_READ);
	moving_assert_refused(moving.dst, moving.src, moving.len, -EINVAL,
			      FERRY_REASON_READ_ONLY);
}
END_TEST

/* The rings of an io_uring: pages of the kernel's own. */
START_TEST(device_memory)
{
	struct io_uring_params params = { 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 1, &params);
	char *p;

	ck_assert_int_ge(fd, 0);
	p = mmap(NULL, moving.page, RW, MAP_SHARED | MAP_POPULATE, fd,
		 IORING_OFF_SQ_RING);
	ck_assert_ptr_ne(p, MAP_FAILED);
	assert_source(p, moving.page, FERRY_REASON_DEVICE);
	close(fd);
}
END_TEST

/* The kernel's page of clock data: VM_IO, VM_PFNMAP, and not writable. */
START_TEST(the_kernels_own_pages)
{
	char line[256];
	uintptr_t start = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	ck_assert_ptr_nonnull(f);
	while (!start && fgets(line, sizeof(line), f))
		if (strstr(line, "[vvar]"))
			start = strtoul(line, NULL, 16);
	fclose(f);
	if (!start)
		SKIP("vvar", "no [vvar] in /proc/self/maps");
	ck_assert_int_eq(moving_move(moving.dst, (void *)start, moving.page),
			 -EINVAL);
	ck_assert(moving.res.reason == FERRY_REASON_DEVICE ||
		  moving.res.reason == FERRY_REASON_SPECIAL);
}
END_TEST

START_TEST(a_source_that_runs_into_a_gap)
{
	assert_source(moving.src + moving.len - moving.page, 2 * moving.page,
		      FERRY_REASON_UNMAPPED);
}
END_TEST

/* By system call: AddressSanitizer makes mlock(3) do nothing. */
static void lock_pages(char *addr, int flags)
{
	ck_assert_int_eq(syscall(SYS_mlock2, addr, moving.len, flags), 0);
}

/* --- registration -------------------------------------------------------- */

START_TEST(a_destination_not_registered)
{
	char *p = map_anon(moving.len);

	moving_assert_refused(p, moving.src, moving.len, -EINVAL,
			      FERRY_REASON_NOT_REGISTERED);
}
END_TEST

START_TEST(a_destination_half_registered)
{
	char *p = map_anon(moving.len);

	moving_register(p, moving.len / 2);
	moving_assert_refused(p, moving.src, moving.len, -EINVAL,
			      FERRY_REASON_NOT_REGISTERED);
}
END_TEST

START_TEST(a_destination_registered_for_write_protection_will_do)
{
	char *p = map_anon(moving.len);

	ck_assert_int_eq(ferry_uffd_register(moving.uffd, p, moving.len,
					     FERRY_REGISTER_WP, NULL),
			 0);
	ck_assert_int_eq(moving_move(p, moving.src, moving.len), 0);
	assert_pages(p, moving.len, 1);
}
END_TEST

/* --- pages --------------------------------------------------------------- */

START_TEST(a_guard_at_the_source)
{
	size_t page = moving.page;

	ck_assert_int_eq(
		madvise(moving.src + 2 * page, page, FERRY__MADV_GUARD_INSTALL),
		0);
	ck_assert_int_eq(moving_move_all(), -EFAULT);
	ck_assert_int_eq(moving.res.reason, FERRY_REASON_GUARD);
	ck_assert_uint_eq(moving.res.done, 2 * page);
	assert_pages(moving.dst, 2 * page, 1);
}
END_TEST

START_TEST(a_guard_at_the_destination)
{
	ck_assert_int_eq(
		madvise(moving.dst, moving.page, FERRY__MADV_GUARD_INSTALL), 0);
	moving_assert_refused(moving.dst, moving.src, moving.len, -EEXIST,
			      FERRY_REASON_PRESENT);
}
END_TEST

START_TEST(poison_at_either_side)
{
	char *p = map_anon(moving.len);

	moving_register(p, moving.len);
	ck_assert_int_eq(
		ferry_uffd_poison(moving.uffd, p, moving.page, 0, NULL), 0);
	moving_assert_refused(moving.dst, p, moving.page, -EFAULT,
			      FERRY_REASON_GUARD);
	moving_assert_refused(p, moving.src, moving.page, -EEXIST,
			      FERRY_REASON_PRESENT);
}
END_TEST

START_TEST(a_protection_marker_at_the_destination)
{
	struct ferry_uffd_params params = FERRY_INIT(struct ferry_uffd_params);
	char *p = map_anon(moving.len);

	ferry_uffd_close(moving.uffd);
	params.flags = FERRY_UFFD_WP_ASYNC;
	ck_assert_int_eq(ferry_uffd_open(&params, NULL, &moving.uffd), 0);
	ck_assert_int_eq(ferry_uffd_register(moving.uffd, p, moving.len,
					     FERRY_REGISTER_WP, NULL),
			 0);
	ck_assert_int_eq(
		ferry_uffd_writeprotect(moving.uffd, p, moving.len, true, 0),
		0);
	moving_assert_refused(p, moving.src, moving.len, -EEXIST,
			      FERRY_REASON_PRESENT);
	ck_assert_int_eq(
		ferry_uffd_writeprotect(moving.uffd, p, moving.len, false, 0),
		0);
	ck_assert_int_eq(moving_move(p, moving.src, moving.len), 0);
}
END_TEST

/* A moved page is a written one: dirty tracking must not miss it. */
START_TEST(a_moved_page_has_lost_its_write_protection)
{
	struct ferry_uffd_params params = FERRY_INIT(struct ferry_uffd_params);
	char *p = map_anon(moving.len);
	size_t i;

	ferry_uffd_close(moving.uffd);
	params.flags = FERRY_UFFD_WP_ASYNC;
	ck_assert_int_eq(ferry_uffd_open(&params, NULL, &moving.uffd), 0);
	ck_assert_int_eq(ferry_uffd_register(moving.uffd, p, moving.len,
					     FERRY_REGISTER_WP, NULL),
			 0);
	ck_assert_int_eq(ferry_uffd_register(moving.uffd, moving.src,
					     moving.len, FERRY_REGISTER_WP,
					     NULL),
			 0);
	ferry_uffd_writeprotect(moving.uffd, moving.src, moving.len, true, 0);
	ck_assert(pagemap_word(moving.src) & FERRY__PM_UFFD_WP);
	ck_assert_int_eq(moving_move(p, moving.src, moving.len), 0);
	for (i = 0; i < moving.len; i += moving.page)
		ck_assert(!(pagemap_word(p + i) & FERRY__PM_UFFD_WP));
}
END_TEST

START_TEST(advice_on_either_side_does_not_matter)
{
	madvise(moving.src, moving.len, MADV_DONTDUMP);
	madvise(moving.dst, moving.len, MADV_DONTFORK);
	ck_assert_int_eq(moving_move_all(), 0);
	assert_pages(moving.dst, moving.len, 1);
}
END_TEST

START_TEST(locked_memory_into_locked_memory)
{
	lock_pages(moving.src, 0);
	lock_pages(moving.dst, MLOCK_ONFAULT);
	ck_assert_int_eq(moving_move_all(), 0);
	assert_pages(moving.dst, moving.len, 1);
}
END_TEST

/* --- where copying does not mind ----------------------------------------- */

#ifndef EMULATED

START_TEST(memory_of_other_rights)
{
	char *p = map_some(moving.len, RW | PROT_EXEC,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1);

	memset(p, 1, moving.len);
	assert_source(p, moving.len, FERRY_REASON_PROTECTION);
}
END_TEST

START_TEST(locked_memory_into_memory_that_is_not)
{
	lock_pages(moving.src, 0);
	assert_source(moving.src, moving.len, FERRY_REASON_LOCKED);
	syscall(SYS_munlock, moving.src, moving.len);
	ck_assert_int_eq(moving_move_all(), 0);
}
END_TEST

START_TEST(a_source_of_several_mappings)
{
	char *middle = moving.src + 4 * moving.page;

	madvise(middle, 4 * moving.page, MADV_DONTDUMP);
	assert_source(moving.src, moving.len, FERRY_REASON_SPLIT);
	/* The pieces by themselves are fine: advice does not matter. */
	ck_assert_int_eq(moving_move(moving.dst, middle, 4 * moving.page), 0);
	assert_pages(moving.dst, 4 * moving.page, 5);
}
END_TEST

START_TEST(a_destination_of_another_userfaultfd)
{
	char *p = map_anon(moving.len);
	struct ferry_uffd *other;

	ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &other), 0);
	ck_assert_int_eq(ferry_uffd_register(other, p, moving.len,
					     FERRY_REGISTER_MISSING, NULL),
			 0);
	moving_assert_refused(p, moving.src, moving.len, -EINVAL,
			      FERRY_REASON_OTHER_UFFD);
	ferry_uffd_close(other);
}
END_TEST

#endif

#define LIVE(name, ...)                                                        \
	TEST_FIXTURE(name, "userfaultfd" __VA_ARGS__, moving_setup,            \
		     moving_teardown)

static const struct test tests[] = {
	LIVE(unmapped_memory),
	LIVE(shared_memory),
	LIVE(file_memory_even_if_private_and_written),
	LIVE(hugetlb_memory, ",hugetlb"),
	LIVE(read_only_memory),
	LIVE(device_memory, ",io_uring"),
	LIVE(the_kernels_own_pages),
	LIVE(a_destination_not_registered),
	LIVE(a_destination_half_registered),
	LIVE(a_destination_registered_for_write_protection_will_do, ",wp"),
	LIVE(a_guard_at_the_source, ",guard"),
	LIVE(a_guard_at_the_destination, ",guard"),
	LIVE(poison_at_either_side, ",poison"),
	LIVE(a_protection_marker_at_the_destination, ",wp_async"),
	LIVE(a_moved_page_has_lost_its_write_protection, ",wp_async"),
	LIVE(advice_on_either_side_does_not_matter),
	LIVE(locked_memory_into_locked_memory, ",root"),
	LIVE(a_source_that_runs_into_a_gap),
#ifndef EMULATED
	LIVE(a_destination_of_another_userfaultfd, ",move"),
	LIVE(memory_of_other_rights, ",move"),
	LIVE(locked_memory_into_memory_that_is_not, ",move"),
	LIVE(a_source_of_several_mappings, ",move"),
#endif
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
