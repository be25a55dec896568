/* SPDX-License-Identifier: MIT */
/* The pager when the kernel and the stores fail. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/inject.h"
#include "tests/pager_bed.h"
#include "tests/served.h"
#include "uffd/uapi.h"

#define PAGES 300

static struct bed bed;

static char *at(size_t page)
{
	return bed.addr + page * bed.page;
}

static void begin(void)
{
	inject_start();
	bed_begin(&bed, PAGES);
}

static void end(void)
{
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}

/* Out and back while @rule strikes; every page must hold. */
static void out_and_back(struct inject_rule *rule)
{
	begin();
	inject_add(rule);
	ck_assert_int_eq(ferry__pager_run(bed.pager, true), 0);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	ck_assert_int_eq(ferry__pager_run(bed.pager, true), 0);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	ck_assert_uint_gt(inject_hits(rule), 0);
	end();
}

/* --- the kernel ---------------------------------------------------------- */

#define HOLDS_DESPITE(name, ...)                                               \
	START_TEST(pages_hold_despite_##name)                                  \
	{                                                                      \
		struct inject_rule rule = { __VA_ARGS__ };                     \
		out_and_back(&rule);                                           \
	}                                                                      \
	END_TEST

HOLDS_DESPITE(short_moves, .call = INJECT_IOCTL, .request = FERRY__UFFDIO_MOVE,
	      .nth = 2, .count = 5, .error = EAGAIN, .done = 8192)
HOLDS_DESPITE(busy_pages, .call = INJECT_IOCTL, .request = FERRY__UFFDIO_MOVE,
	      .count = 3, .error = EBUSY)
HOLDS_DESPITE(moves_without_memory, .call = INJECT_IOCTL,
	      .request = FERRY__UFFDIO_MOVE, .nth = 3, .count = 4,
	      .error = ENOMEM, .done = 4096)
HOLDS_DESPITE(changing_mappings, .call = INJECT_IOCTL,
	      .request = FERRY__UFFDIO_MOVE, .count = 20, .error = EAGAIN,
	      .field = INJECT_FIELD_STALE)
HOLDS_DESPITE(refused_moves, .call = INJECT_IOCTL,
	      .request = FERRY__UFFDIO_MOVE, .count = INJECT_ALWAYS,
	      .error = EINVAL)
/* A move that succeeded and says that it did not (6.18). */
HOLDS_DESPITE(moves_that_deny_success, .call = INJECT_IOCTL,
	      .request = FERRY__UFFDIO_MOVE, .nth = 2, .count = 3,
	      .error = EEXIST, .done = INJECT_ALL)
HOLDS_DESPITE(changing_mappings_at_a_copy, .call = INJECT_IOCTL,
	      .request = FERRY__UFFDIO_COPY, .nth = 5, .count = 20,
	      .error = EAGAIN)
HOLDS_DESPITE(short_copies, .call = INJECT_IOCTL, .request = FERRY__UFFDIO_COPY,
	      .nth = 5, .count = 20, .error = EAGAIN, .done = 4096)
HOLDS_DESPITE(copies_without_memory, .call = INJECT_IOCTL,
	      .request = FERRY__UFFDIO_COPY, .nth = 5, .count = 10,
	      .error = ENOMEM)
HOLDS_DESPITE(split_mappings_at_a_copy, .call = INJECT_IOCTL,
	      .request = FERRY__UFFDIO_COPY, .nth = 6, .count = 1,
	      .error = ENOENT)
HOLDS_DESPITE(page_tables_not_to_be_read, .call = INJECT_IOCTL,
	      .request = FERRY__PAGEMAP_SCAN, .count = 3, .error = ENOMEM)
HOLDS_DESPITE(no_pagemap_scan, .call = INJECT_IOCTL,
	      .request = FERRY__PAGEMAP_SCAN, .count = INJECT_ALWAYS,
	      .error = ENOTTY)
HOLDS_DESPITE(refused_registrations, .call = INJECT_IOCTL,
	      .request = FERRY__UFFDIO_REGISTER, .nth = 2, .count = 2,
	      .error = ENOMEM)

START_TEST(pages_that_stay_busy_are_let_be)
{
	struct inject_rule busy = {
		.call = INJECT_IOCTL,
		.request = FERRY__UFFDIO_MOVE,
		.count = INJECT_ALWAYS,
		.error = EBUSY,
	};

	begin();
	inject_add(&busy);
	ck_assert_int_eq(ferry__pager_run(bed.pager, true), 0);
	ck_assert_uint_eq(bed_here(&bed), PAGES);
	ck_assert_uint_gt(bed_stats(&bed).busy, 0);
	end();
}
END_TEST

/* --- starts that fail ---------------------------------------------------- */

/* A pager whose start is refused because of @rule: it says why. */
static void refused(struct inject_rule *rule)
{
	enum ferry_reason seen = FERRY_REASON_NONE;
	struct ferry__pager *pager;
	char *addr = map_anon(HUGE_SIZE);
	struct ferry__pager_stats stats;

	bed_params(&bed);
	bed.params.n_tiers = 0;
	ck_assert_int_eq(ferry__pager_create(&bed.params, &pager), 0);
	ck_assert_int_eq(ferry__pager_add_region(pager, addr, HUGE_SIZE), 0);
	ferry__pager_grow(pager, addr, HUGE_SIZE);
	fill_pages(addr, HUGE_SIZE, 1);
	inject_add(rule);
	ck_assert_int_lt(ferry__pager_start(pager, &seen), 0);
	ck_assert_int_ne(seen, FERRY_REASON_NONE);
	ferry__pager_stats(pager, &stats);
	ck_assert(!stats.running);
	ck_assert_int_eq(stats.reason, seen);
	ck_assert_int_eq(ferry__pager_run(pager, true), 0);
	assert_pages(addr, HUGE_SIZE, 1);
	/* Asked again, it says the same without another try. */
	ck_assert_int_lt(ferry__pager_start(pager, &seen), 0);
	ck_assert_int_eq(seen, stats.reason);
	ferry__pager_destroy(pager);
}

START_TEST(without_moves_nothing_goes_out)
{
	struct inject_rule rule = {
		.call = INJECT_IOCTL,
		.request = FERRY__UFFDIO_MOVE,
		.count = INJECT_ALWAYS,
		.error = EINVAL,
	};

	inject_start();
	refused(&rule);
}
END_TEST

START_TEST(without_a_userfaultfd_nothing_goes_out)
{
	struct inject_rule device = {
		.call = INJECT_OPEN,
		.path = "/dev/userfaultfd",
		.count = INJECT_ALWAYS,
		.error = EACCES,
	};
	struct inject_rule rule = {
		.call = INJECT_USERFAULTFD,
		.count = INJECT_ALWAYS,
		.error = EPERM,
	};

	inject_start();
	inject_add(&device);
	refused(&rule);
}
END_TEST

/* --- stores -------------------------------------------------------------- */

START_TEST(a_store_that_fails_takes_no_more_and_loses_none)
{
	begin();
	bed_hint_out(&bed, at(0), 100 * bed.page, 100);
	fake_order(bed.fake[0], put_error, -EIO);
	ck_assert_int_eq(ferry__pager_run(bed.pager, true), 0);
	ck_assert_uint_eq(fake_count(bed.fake[0], pages), 100);
	/* For good, even when it would work again. */
	fake_order(bed.fake[0], put_error, 0);
	ck_assert_int_eq(ferry__pager_run(bed.pager, true), 0);
	ck_assert_uint_eq(fake_count(bed.fake[0], pages), 100);
	end();
}
END_TEST

START_TEST(a_full_store_is_asked_again_later)
{
	begin();
	fake_order(bed.fake[0], put_error, -ENOSPC);
	bed_all_in_limbo(&bed);
	fake_order(bed.fake[0], put_error, 0);
	bed_all_out(&bed);
	end();
}
END_TEST

START_TEST(a_store_that_fails_in_passing_is_asked_again)
{
	begin();
	bed_all_out(&bed);
	fake_order(bed.fake[0], get_error, -EIO);
	fake_order(bed.fake[0], get_fails, 10);
	assert_pages(bed.addr, 40 * bed.page, 1);
	fake_order(bed.fake[0], get_error, -ETIMEDOUT);
	fake_order(bed.fake[0], get_fails, 10);
	end();
}
END_TEST

START_TEST(restore_all_says_when_pages_cannot_be_had)
{
	begin();
	bed_all_out(&bed);
	fake_order(bed.fake[0], get_error, -EIO);
	fake_order(bed.fake[0], get_fails, UINT64_MAX);
	ck_assert_int_eq(ferry__pager_restore_all(bed.pager), -EIO);
	fake_order(bed.fake[0], get_fails, 0);
	ferry__pager_resume(bed.pager);
	end();
}
END_TEST

/* The program ends, and says what store and which page it is about. */
static void touch_lost(void)
{
	char text[256] = "", want[64];
	int said[2], status;
	ssize_t n;
	pid_t pid;

	ck_assert_int_eq(pipe(said), 0);
	pid = fork();
	if (!pid) {
		dup2(said[1], STDERR_FILENO);
		bed_begin(&bed, PAGES);
		bed_all_out(&bed);
		fake_order(bed.fake[0], corrupt, true);
		snprintf(want, sizeof(want), "%#lx", (unsigned long)at(9));
		ck_assert_int_eq(write(said[1], want, strlen(want)),
				 (ssize_t)strlen(want));
		touch(at(9));
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	n = read(said[0], text, sizeof(text) - 1);
	ck_assert_int_gt(n, 0);
	ck_assert_msg(strstr(text, "fake") && strstr(text, "is lost"), "%s",
		      text);
	snprintf(want, sizeof(want), "%.14s", text);
	ck_assert_msg(strstr(text + 14, want), "%s", text);
}

START_TEST(a_lost_page_ends_the_program_with_its_name)
{
	touch_lost();
}
END_TEST

START_TEST(a_lost_descriptor_ends_the_program)
{
	static struct inject_rule gone = {
		.call = INJECT_IOCTL,
		.request = FERRY__UFFDIO_COPY,
		.count = INJECT_ALWAYS,
		.error = EBADF,
	};
	int status;
	pid_t pid = fork();

	if (!pid) {
		close(STDERR_FILENO);
		begin();
		bed_all_out(&bed);
		inject_add(&gone);
		touch(at(9));
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
END_TEST

static const struct test tests[] = {
	TEST(pages_hold_despite_short_moves, PAGER_NEEDS),
	TEST(pages_hold_despite_busy_pages, PAGER_NEEDS),
	TEST(pages_hold_despite_moves_without_memory, PAGER_NEEDS),
	TEST(pages_hold_despite_changing_mappings, PAGER_NEEDS),
	TEST(pages_hold_despite_refused_moves, PAGER_NEEDS),
	TEST(pages_hold_despite_moves_that_deny_success, PAGER_NEEDS),
	TEST(pages_hold_despite_changing_mappings_at_a_copy, PAGER_NEEDS),
	TEST(pages_hold_despite_short_copies, PAGER_NEEDS),
	TEST(pages_hold_despite_copies_without_memory, PAGER_NEEDS),
	TEST(pages_hold_despite_split_mappings_at_a_copy, PAGER_NEEDS),
	TEST(pages_hold_despite_page_tables_not_to_be_read, PAGER_NEEDS),
	TEST(pages_hold_despite_no_pagemap_scan, PAGER_NEEDS),
	TEST(pages_hold_despite_refused_registrations, PAGER_NEEDS),
	TEST(pages_that_stay_busy_are_let_be, PAGER_NEEDS),
	TEST(without_moves_nothing_goes_out, PAGER_NEEDS),
	TEST(without_a_userfaultfd_nothing_goes_out, PAGER_NEEDS),
	TEST(a_store_that_fails_takes_no_more_and_loses_none, PAGER_NEEDS),
	TEST(a_full_store_is_asked_again_later, PAGER_NEEDS),
	TEST(a_store_that_fails_in_passing_is_asked_again, PAGER_NEEDS),
	TEST(restore_all_says_when_pages_cannot_be_had, PAGER_NEEDS),
	TEST(a_lost_page_ends_the_program_with_its_name, PAGER_NEEDS),
	TEST(a_lost_descriptor_ends_the_program, PAGER_NEEDS),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
