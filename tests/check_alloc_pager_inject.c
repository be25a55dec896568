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

#include <ferry/uffd.h>

#include "alloc/pager/pager-internal.h"
#include "tests/inject.h"
#include "tests/pager_bed.h"
#include "tests/served.h"
#include "uffd/uapi.h"

#define PAGES  300
#define SECOND UINT64_C(1000000000)

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

/* A program may serve faults of its own in memory that it has from malloc(). */
START_TEST(memory_of_anothers_userfaultfd_is_let_be)
{
	struct ferry_uffd_params params = FERRY_INIT(struct ferry_uffd_params);
	struct ferry_uffd *uffd;

	begin();
	ck_assert_int_eq(ferry_uffd_open(&params, NULL, &uffd), 0);
	ck_assert_int_eq(ferry_uffd_register(uffd, bed.addr, HUGE_SIZE,
					     FERRY_REGISTER_MISSING, NULL),
			 0);
	bed_run(&bed);
	ck_assert_uint_eq(bed_here(&bed), PAGES);
	ferry_uffd_close(uffd);
	bed_all_out(&bed);
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

static uint64_t give_up(void)
{
	struct ferry__pager_region *r = ferry__region_first(bed.pager);

	return ferry__pager_given_up(bed.pager, ferry__word_load(r->words));
}

/*
 * What nobody waited for does not count as waiting: a store that failed an
 * hour ago has as long as any to come back.
 */
START_TEST(a_failure_that_nobody_waited_for_is_forgotten)
{
	inject_start();
	inject_clock(SECOND);
	bed_begin(&bed, PAGES);
	bed_all_out(&bed);
	fake_order(bed.fake[0], get_error, -ETIMEDOUT);
	fake_order(bed.fake[0], get_fails, UINT64_MAX);
	ck_assert_int_eq(ferry__pager_restore_all(bed.pager), -ETIMEDOUT);
	fake_order(bed.fake[0], get_fails, 0);
	ferry__pager_resume(bed.pager);
	inject_clock_advance(3600 * SECOND);
	ck_assert(!give_up());
	inject_clock_advance(9 * SECOND);
	ck_assert(!give_up());
	inject_clock_advance(2 * SECOND);
	ck_assert(give_up());
	/* Who waited then is gone, and another comes. */
	inject_clock_advance(3600 * SECOND);
	ck_assert(!give_up());
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

/* --- stops --------------------------------------------------------------- */

static void *stop(void *arg)
{
	ck_assert_int_eq(ferry__pager_stop(bed.pager), 0);
	return arg;
}

/* In who discards, when a page of it is its own. */
static void stop_meanwhile(void *thread)
{
	size_t i;

	ck_assert_int_eq(pthread_create(thread, NULL, stop, NULL), 0);
	AWAIT(__atomic_load_n(&bed.pager->stop, __ATOMIC_ACQUIRE));
	/* Stores that were left too early would be left by now. */
	for (i = 0; i < 200; i++)
		harness_pause();
}

START_TEST(stores_are_left_when_what_is_discarded_is_gone)
{
	pthread_t thread;
	struct inject_rule rule = {
		.call = INJECT_MADVISE,
		.request = MADV_DONTNEED,
		.nth = 2, /* the first is the whole range's */
		.hook = stop_meanwhile,
		.arg = &thread,
	};

	begin();
	bed_all_out(&bed);
	rule.at = (uintptr_t)at(10);
	inject_add(&rule);
	ck_assert_int_eq(ferry__pager_discard(bed.pager, at(10), bed.page), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_uint_eq(inject_hits(&rule), 1);
	ck_assert_uint_eq(fake_count(bed.fake[0], pages), 0);
	ck_assert_uint_eq(fake_count(bed.fake[0], kept_when_left), 0);
	fill_pages(at(10), bed.page, 11);
	end();
}
END_TEST

/* Fresh pages of the heap, one by one. */
#define FRESH 100
static size_t touched;

static void *touch_fresh(void *page)
{
	*(volatile char *)page = 1;
	__atomic_fetch_add(&touched, 1, __ATOMIC_RELEASE);
	return NULL;
}

/*
 * While the threads end, in the home thread: somebody goes on, and has either
 * got a page or asks for it when this returns.
 */
static void touch_while_stopping(void *arg)
{
	size_t before = __atomic_load_n(&touched, __ATOMIC_ACQUIRE);
	pthread_t *threads = arg, thread;
	static size_t n;

	if (!__atomic_load_n(&bed.pager->stop, __ATOMIC_ACQUIRE) || n == FRESH)
		return;
	ck_assert_int_eq(
		pthread_create(&thread, NULL, touch_fresh, at(PAGES + n)), 0);
	threads[n++] = thread;
	AWAIT(__atomic_load_n(&touched, __ATOMIC_ACQUIRE) != before ||
	      __atomic_load_n(&bed.pager->faults, __ATOMIC_ACQUIRE));
}

START_TEST(who_needs_the_helper_gets_its_page_while_threads_end)
{
	pthread_t threads[FRESH] = { 0 };
	struct inject_rule rule = {
		.call = INJECT_CLOSE,
		.count = INJECT_ALWAYS,
		.hook = touch_while_stopping,
		.arg = threads,
	};
	size_t i;

	bed_service = FERRY__PAGER_SIGBUS;
	begin();
	bed_all_out(&bed);
	/* As a program that closes all that it does not know. */
	ck_assert_int_eq(close(ferry_uffd_fd(bed.pager->uffd)), 0);
	touch(at(0));
	inject_add(&rule);
	ck_assert_int_eq(ferry__pager_stop(bed.pager), 0);
	ck_assert_ptr_nonnull((void *)threads[0]);
	for (i = 0; i < FRESH && threads[i]; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	end();
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
	TEST(memory_of_anothers_userfaultfd_is_let_be, PAGER_NEEDS),
	TEST(without_moves_nothing_goes_out, PAGER_NEEDS),
	TEST(without_a_userfaultfd_nothing_goes_out, PAGER_NEEDS),
	TEST(a_store_that_fails_takes_no_more_and_loses_none, PAGER_NEEDS),
	TEST(a_full_store_is_asked_again_later, PAGER_NEEDS),
	TEST(a_store_that_fails_in_passing_is_asked_again, PAGER_NEEDS),
	TEST(a_failure_that_nobody_waited_for_is_forgotten, PAGER_NEEDS),
	TEST(restore_all_says_when_pages_cannot_be_had, PAGER_NEEDS),
	TEST(a_lost_page_ends_the_program_with_its_name, PAGER_NEEDS),
	TEST(a_lost_descriptor_ends_the_program, PAGER_NEEDS),
	TEST(stores_are_left_when_what_is_discarded_is_gone, PAGER_NEEDS),
	TEST(who_needs_the_helper_gets_its_page_while_threads_end, PAGER_NEEDS),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
