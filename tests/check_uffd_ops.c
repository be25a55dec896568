/* SPDX-License-Identifier: MIT */
/* Copy, zero, poison, continue and write-protect, and their retries. */
#include <ferry/uffd.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

#define PAGES  8
#define SECOND 1000000000ull

static struct ferry_uffd *uffd;
static char *src, *dst;
static size_t page, len, done;

static void setup(void)
{
	page = page_size();
	len = PAGES * page;
	done = 12345;
	ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &uffd), 0);
	src = map_anon(len);
	dst = map_anon(len);
	fill_pages(src, len, 1);
	ck_assert_int_eq(ferry_uffd_register(uffd, dst, len,
					     FERRY_REGISTER_MISSING, NULL),
			 0);
	inject_start();
}

static void teardown(void)
{
	inject_stop();
	ferry_uffd_close(uffd);
}

static struct inject_rule on(unsigned long request, int error)
{
	return (struct inject_rule){
		.call = INJECT_IOCTL,
		.request = request,
		.error = error,
	};
}

START_TEST(a_copy_leaves_the_source_as_it_is)
{
	ck_assert_int_eq(ferry_uffd_copy(uffd, dst, src, len, 0, &done), 0);
	ck_assert_uint_eq(done, len);
	assert_pages(dst, len, 1);
	assert_pages(src, len, 1);
}
END_TEST

START_TEST(a_copy_stops_at_a_page_that_is_there)
{
	ck_assert_int_eq(ferry_uffd_zero(uffd, dst + 2 * page, page, 0, NULL),
			 0);
	ck_assert_int_eq(ferry_uffd_copy(uffd, dst, src, len, 0, &done),
			 -EEXIST);
	ck_assert_uint_eq(done, 2 * page);
	assert_pages(dst, 2 * page, 1);
}
END_TEST

START_TEST(a_copy_from_unreadable_memory)
{
	mprotect(src + page, page, PROT_NONE);
	ck_assert_int_eq(ferry_uffd_copy(uffd, dst, src, len, 0, &done),
			 -EFAULT);
	ck_assert_uint_eq(done, page);
}
END_TEST

START_TEST(a_copy_to_memory_not_registered)
{
	char *p = map_anon(len);

	ck_assert_int_eq(ferry_uffd_copy(uffd, p, src, len, 0, &done), -ENOENT);
	ck_assert_uint_eq(done, 0);
}
END_TEST

START_TEST(short_copies_are_asked_again)
{
	struct inject_rule rule = on(FERRY__UFFDIO_COPY, EAGAIN);

	rule.done = page;
	rule.count = 3;
	inject_add(&rule);
	ck_assert_int_eq(ferry_uffd_copy(uffd, dst, src, len, 0, &done), 0);
	ck_assert_uint_eq(done, len);
	assert_pages(dst, len, 1);
	ck_assert_uint_eq(inject_calls(INJECT_IOCTL, FERRY__UFFDIO_COPY), 4);
}
END_TEST

START_TEST(changing_mappings_are_waited_for_a_second)
{
	static const unsigned long requests[] = {
		FERRY__UFFDIO_COPY,
		FERRY__UFFDIO_ZEROPAGE,
	};
	struct inject_rule rules[ARRAY_SIZE(requests)];
	size_t i;

	inject_clock(SECOND);
	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		rules[i] = on(requests[i], EAGAIN);
		rules[i].field = INJECT_FIELD_STALE;
		rules[i].count = INJECT_ALWAYS;
		inject_add(&rules[i]);
	}
	ck_assert_int_eq(ferry_uffd_copy(uffd, dst, src, len, 0, &done),
			 -EAGAIN);
	ck_assert_uint_eq(done, 0);
	ck_assert_int_eq(ferry_uffd_zero(uffd, dst, len, 0, &done), -EAGAIN);
	ck_assert_uint_gt(inject_hits(&rules[0]), 10);
}
END_TEST

START_TEST(bad_requests_are_refused)
{
	ck_assert_int_eq(ferry_uffd_copy(uffd, dst + 1, src, page, 0, &done),
			 -EINVAL);
	ck_assert_uint_eq(done, 0);
	ck_assert_int_eq(ferry_uffd_copy(uffd, dst, src, 0, 0, NULL), -EINVAL);
	ck_assert_int_eq(ferry_uffd_zero(uffd, dst, 0 - page, 0, NULL),
			 -EINVAL);
	ck_assert_int_eq(ferry_uffd_zero(uffd, dst, page, FERRY_OP_WP, NULL),
			 -EINVAL);
	ck_assert_int_eq(ferry_uffd_copy(uffd, dst, src, page, 1u << 9, NULL),
			 -EINVAL);
	ck_assert_int_eq(
		ferry_uffd_writeprotect(uffd, dst, page, true, FERRY_OP_WP),
		-EINVAL);
}
END_TEST

START_TEST(zero_pages_read_as_zero)
{
	size_t i;

	ck_assert_int_eq(ferry_uffd_zero(uffd, dst, len, 0, &done), 0);
	ck_assert_uint_eq(done, len);
	for (i = 0; i < len; i++)
		ck_assert_int_eq(dst[i], 0);
}
END_TEST

static sigjmp_buf back;

static void jump_back(int sig)
{
	(void)sig;
	siglongjmp(back, 1);
}

START_TEST(poison_is_fatal_to_who_touches_it)
{
	volatile bool touched = false;

	ck_assert_int_eq(ferry_uffd_poison(uffd, dst, page, 0, &done), 0);
	ck_assert_uint_eq(done, page);
	signal(SIGBUS, jump_back);
	if (!sigsetjmp(back, 1)) {
		touched = *(volatile char *)dst != 1;
		ck_abort_msg("a poisoned page was read (%d)", touched);
	}
}
END_TEST

/* A kernel that offers nothing beyond copies and zero pages. */
static int ioctl_without_features(int fd, unsigned long request, void *arg)
{
	int r = ferry__sys_linux.ioctl(fd, request, arg);
	struct ferry__uffdio_api *api = arg;

	if (request == FERRY__UFFDIO_API)
		api->features = 0;
	return r;
}

START_TEST(without_the_feature_an_operation_says_so)
{
	static struct ferry__sys table;

	inject_stop();
	ferry_uffd_close(uffd);
	table = ferry__sys_linux;
	table.ioctl = ioctl_without_features;
	ferry__sys = &table;
	ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &uffd), 0);
	ck_assert_int_eq(ferry_uffd_poison(uffd, dst, page, 0, &done),
			 -EOPNOTSUPP);
	ck_assert_uint_eq(done, 0);
	ck_assert_int_eq(ferry_uffd_continue(uffd, dst, page, 0, &done),
			 -EOPNOTSUPP);
	ck_assert_int_eq(ferry_uffd_writeprotect(uffd, dst, page, true, 0),
			 -EOPNOTSUPP);
	inject_start();
}
END_TEST

START_TEST(continue_maps_what_the_file_holds)
{
	int fd = memfd_create("ferry-test", MFD_CLOEXEC);
	char *there, *here;

	ck_assert_int_eq(ftruncate(fd, (off_t)len), 0);
	there = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	here = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	fill_pages(there, len - page, 1);
	ck_assert_int_eq(ferry_uffd_register(uffd, here, len,
					     FERRY_REGISTER_MINOR, NULL),
			 0);
	ck_assert_int_eq(ferry_uffd_continue(uffd, here, len, 0, &done),
			 -EFAULT);
	ck_assert_uint_eq(done, len - page);
	assert_pages(here, len - page, 1);
}
END_TEST

/* --- write-protection ---------------------------------------------------- */

static bool protected(const char *addr)
{
	return pagemap_word(addr) & FERRY__PM_UFFD_WP;
}

static void register_wp(void)
{
	fill_pages(src, len, 1);
	ck_assert_int_eq(
		ferry_uffd_register(uffd, src, len, FERRY_REGISTER_WP, NULL),
		0);
}

START_TEST(pages_are_protected_and_let_go)
{
	size_t i;

	register_wp();
	ck_assert_int_eq(ferry_uffd_writeprotect(uffd, src, len, true, 0), 0);
	for (i = 0; i < len; i += page)
		ck_assert(protected(src + i));
	ck_assert_int_eq(
		ferry_uffd_writeprotect(uffd, src + page, page, false, 0), 0);
	ck_assert(protected(src) && !protected(src + page));
	ck_assert_int_eq(ferry_uffd_writeprotect(uffd, src, len, false,
						 FERRY_OP_NO_WAKE),
			 0);
	fill_pages(src, len, 50);
	assert_pages(src, len, 50);
}
END_TEST

/* Or its absent pages would be zero from then on. */
START_TEST(a_mode_that_cannot_be_changed_stays)
{
	struct inject_rule none = on(FERRY__UFFDIO_REGISTER, ENOMEM);
	enum ferry_reason reason;

	/* The first two ask how the first and the last page are registered. */
	none.nth = 3;
	inject_add(&none);
	ck_assert_int_eq(
		ferry_uffd_register(uffd, dst, len,
				    FERRY_REGISTER_MISSING | FERRY_REGISTER_WP,
				    &reason),
		-ENOMEM);
	ck_assert_int_eq(reason, FERRY_REASON_NO_MEMORY);
	ck_assert_uint_eq(inject_hits(&none), 1);
	ck_assert_int_eq(ferry_uffd_copy(uffd, dst, src, len, 0, &done), 0);
	assert_pages(dst, len, 1);
}
END_TEST

START_TEST(protection_of_memory_not_registered)
{
	char *p = map_anon(len);

	ck_assert_int_eq(ferry_uffd_writeprotect(uffd, p, len, true, 0),
			 -ENOENT);
}
END_TEST

/* Kernels before 6.4 answer ENOENT for a range of several mappings. */
START_TEST(several_mappings_are_protected_one_by_one)
{
	struct inject_rule rule = on(FERRY__UFFDIO_WRITEPROTECT, ENOENT);
	size_t i;

	register_wp();
	madvise(src + 3 * page, 2 * page, MADV_DONTDUMP);
	inject_add(&rule);
	ck_assert_int_eq(ferry_uffd_writeprotect(uffd, src, len, true, 0), 0);
	for (i = 0; i < len; i += page)
		ck_assert(protected(src + i));
	ck_assert_uint_eq(
		inject_calls(INJECT_IOCTL, FERRY__UFFDIO_WRITEPROTECT), 4);
}
END_TEST

#define OP(name, ...)                                                          \
	TEST_FIXTURE(name, "userfaultfd" __VA_ARGS__, setup, teardown)

static const struct test tests[] = {
	OP(a_copy_leaves_the_source_as_it_is),
	OP(a_copy_stops_at_a_page_that_is_there),
	OP(a_copy_from_unreadable_memory),
	OP(a_copy_to_memory_not_registered),
	OP(short_copies_are_asked_again),
	OP(changing_mappings_are_waited_for_a_second),
	OP(bad_requests_are_refused),
	OP(zero_pages_read_as_zero),
	OP(poison_is_fatal_to_who_touches_it, ",poison"),
	OP(without_the_feature_an_operation_says_so),
	OP(continue_maps_what_the_file_holds, ",minor_shmem"),
	OP(pages_are_protected_and_let_go, ",wp"),
	OP(a_mode_that_cannot_be_changed_stays, ",wp"),
	OP(protection_of_memory_not_registered, ",wp"),
	OP(several_mappings_are_protected_one_by_one, ",wp"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
