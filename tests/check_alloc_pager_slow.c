/* SPDX-License-Identifier: MIT */
/*
 * Stores that take their time. While a put is under way, for as long as the
 * test says, its pages are touched, discarded and asked for as any others;
 * afterwards the store keeps what is still out, and nothing else.
 */
#include <pthread.h>

#include "alloc/pager/pager-internal.h"
#include "tests/pager_bed.h"
#include "tests/served.h"

#define PAGES 300
#define MS    1000000ull

static struct bed bed;

static char *at(size_t page)
{
	return bed.addr + page * bed.page;
}

static void *run_all(void *arg)
{
	(void)arg;
	ck_assert_int_eq(ferry__pager_run(bed.pager, true), 0);
	return NULL;
}

/* Returns when a page of the first block is being put, and no put ends. */
static pthread_t begin_put(void)
{
	pthread_t thread;

	fake_order(bed.fake[0], hold, true);
	ck_assert_int_eq(pthread_create(&thread, NULL, run_all, NULL), 0);
	fake_await_held(bed.fake[0]);
	return thread;
}

static void end_put(pthread_t thread)
{
	fake_order(bed.fake[0], hold, false);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	AWAIT(fake_count(bed.fake[0], pages) * bed.page ==
	      bed_stats(&bed).stored);
}

START_TEST(a_page_that_is_being_put_comes_when_it_is_touched)
{
	pthread_t thread;
	size_t page;

	bed_begin(&bed, PAGES);
	thread = begin_put();
	for (page = 0; page < 20; page++)
		ck_assert(page_holds(at(page), 1 + page));
	end_put(thread);
	ck_assert(page_there(at(0)));
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}
END_TEST

START_TEST(what_is_written_during_a_put_counts)
{
	pthread_t thread;

	bed_begin(&bed, PAGES);
	thread = begin_put();
	fill_pages(at(0), 20 * bed.page, 5000);
	end_put(thread);
	bed_all_out(&bed);
	assert_pages(at(0), 20 * bed.page, 5000);
	assert_pages(at(20), (PAGES - 20) * bed.page, 21);
	bed_end(&bed);
}
END_TEST

START_TEST(a_discard_does_not_wait_for_a_put)
{
	pthread_t thread;

	bed_begin(&bed, PAGES);
	thread = begin_put();
	ck_assert_int_eq(ferry__pager_discard(bed.pager, at(0), 20 * bed.page),
			 0);
	ck_assert(is_zero(at(0), 10 * bed.page));
	end_put(thread);
	ck_assert(is_zero(at(0), 20 * bed.page));
	assert_pages(at(20), (PAGES - 20) * bed.page, 21);
	bed_end(&bed);
}
END_TEST

START_TEST(a_pin_does_not_wait_for_a_put)
{
	pthread_t thread;

	bed_begin(&bed, PAGES);
	thread = begin_put();
	ck_assert_int_eq(ferry__pager_hint(bed.pager, at(0), 2 * bed.page,
					   FERRY__HINT_PIN),
			 0);
	end_put(thread);
	ck_assert(page_there(at(0)) && page_there(at(1)));
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}
END_TEST

/* All is in the first store, and on its way to the second. */
static void begin_older(void)
{
	bed_params(&bed);
	bed.params.n_tiers = 2;
	bed.tier[1].after_ns = 10 * MS;
	bed_start(&bed, PAGES);
	fake_order(bed.fake[1], hold, true);
	ck_assert_int_eq(ferry__pager_run(bed.pager, true), 0);
	fake_await_held(bed.fake[1]);
}

/* What was not touched meanwhile gets to the second store. */
static void end_older(void)
{
	fake_order(bed.fake[1], hold, false);
	AWAIT(!fake_count(bed.fake[0], pages));
	AWAIT(fake_count(bed.fake[1], pages) * bed.page ==
	      bed_stats(&bed).stored);
}

START_TEST(a_page_on_its_way_to_another_store_comes_when_it_is_touched)
{
	begin_older();
	assert_pages(at(0), 1 * bed.page, 1);
	end_older();
	ck_assert(page_there(at(0)));
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}
END_TEST

START_TEST(a_discard_does_not_wait_for_another_store)
{
	begin_older();
	ck_assert_int_eq(ferry__pager_discard(bed.pager, at(0), 20 * bed.page),
			 0);
	end_older();
	ck_assert(is_zero(at(0), 20 * bed.page));
	assert_pages(at(20), (PAGES - 20) * bed.page, 21);
	bed_end(&bed);
}
END_TEST

/* Pages that the program calls cold grow older as others do. */
START_TEST(what_was_called_cold_gets_to_the_second_store)
{
	bed_params(&bed);
	bed.params.n_tiers = 2;
	bed.tier[1].after_ns = 10 * MS;
	bed_start(&bed, PAGES);
	bed_hint_out(&bed, bed.addr, PAGES * bed.page, PAGES);
	AWAIT(!fake_count(bed.fake[0], pages));
	ck_assert_uint_eq(fake_count(bed.fake[1], pages), PAGES);
	bed_end(&bed);
}
END_TEST

START_TEST(a_second_store_that_is_full_is_asked_again)
{
	bed_params(&bed);
	bed.params.n_tiers = 2;
	bed.tier[1].after_ns = 10 * MS;
	bed_start(&bed, PAGES);
	fake_order(bed.fake[1], put_error, -ENOSPC);
	ck_assert_int_eq(ferry__pager_run(bed.pager, true), 0);
	AWAIT(fake_count(bed.fake[1], refused));
	fake_order(bed.fake[1], put_error, 0);
	AWAIT(!fake_count(bed.fake[0], pages));
	bed_end(&bed);
}
END_TEST

static bool is_wanted(size_t page)
{
	struct ferry__pager_region *r =
		ferry__region_find(bed.pager, (uintptr_t)bed.addr);

	return ferry__word_load(&r->words[page]) & FERRY__WORD_WANTED;
}

static void *touch_it(void *page)
{
	(void)*(volatile char *)page;
	return NULL;
}

START_TEST(a_page_that_comes_back_leaves_the_copies_of_others_alone)
{
	const size_t page = 3;
	pthread_t thread;

	bed_params(&bed);
	bed.params.n_tiers = 2;
	bed.tier[1].after_ns = 10 * MS;
	bed_start(&bed, PAGES);
	fake_order(bed.fake[0], hold_get, (uintptr_t)at(page));
	ck_assert_int_eq(ferry__pager_run(bed.pager, true), 0);
	fake_await_held(bed.fake[0]);
	ck_assert_int_eq(pthread_create(&thread, NULL, touch_it, at(page)), 0);
	AWAIT(is_wanted(page));
	fake_order(bed.fake[0], hold_get, 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	end_older();
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}
END_TEST

static const struct test tests[] = {
	TEST(a_page_that_is_being_put_comes_when_it_is_touched, PAGER_NEEDS),
	TEST(what_is_written_during_a_put_counts, PAGER_NEEDS),
	TEST(a_discard_does_not_wait_for_a_put, PAGER_NEEDS),
	TEST(a_pin_does_not_wait_for_a_put, PAGER_NEEDS),
	TEST(a_page_on_its_way_to_another_store_comes_when_it_is_touched,
	     PAGER_NEEDS),
	TEST(a_discard_does_not_wait_for_another_store, PAGER_NEEDS),
	TEST(what_was_called_cold_gets_to_the_second_store, PAGER_NEEDS),
	TEST(a_second_store_that_is_full_is_asked_again, PAGER_NEEDS),
	TEST(a_page_that_comes_back_leaves_the_copies_of_others_alone,
	     PAGER_NEEDS),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
