/* SPDX-License-Identifier: MIT */
/* When the pager takes pages, and when it lets them be. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc/pager/pager-internal.h"
#include "tests/inject.h"
#include "tests/pager_bed.h"
#include "tests/served.h"

#define PAGES  640
#define SECOND 1000000000ull

static struct bed bed;

static char *at(size_t page)
{
	return bed.addr + page * bed.page;
}

/* A policy by itself, at times that the test names: no thread runs. */
static struct ferry__pager *still_pager(void)
{
	struct ferry__pager *pager;
	char *addr = map_anon(HUGE_SIZE);

	bed.params.n_tiers = 0;
	ck_assert_int_eq(ferry__pager_create(&bed.params, &pager), 0);
	ck_assert_int_eq(ferry__pager_add_region(pager, addr, HUGE_SIZE), 0);
	ferry__pager_grow(pager, addr, HUGE_SIZE);
	pager->handler.thread = pthread_self();
	return pager;
}

START_TEST(refaults_beyond_the_limit_double_the_age)
{
	struct ferry__pager *pager;
	uint64_t now = SECOND, age, i;

	bed_params(&bed);
	bed.params.cold_after_ns = bed.params.idle_after_ns = SECOND;
	bed.params.refault_limit = 2;
	pager = still_pager();
	ferry__policy_update(pager, now);
	age = pager->policy.slower;
	ck_assert_uint_eq(age, 0);
	for (i = 1; i <= 3; i++) {
		pager->counts.refaults += 1000;
		ferry__policy_update(pager, now += 11 * SECOND);
		ck_assert_uint_eq(pager->policy.slower, i);
	}
	ck_assert_uint_eq(pager->counts.backed_off, 3);
	/* A quiet minute halves it again. */
	for (i = 0; i < 6; i++)
		ferry__policy_update(pager, now += 11 * SECOND);
	ck_assert_uint_eq(pager->policy.slower, 2);
	ferry__pager_destroy(pager);
}
END_TEST

START_TEST(no_limit_of_refaults_never_backs_off)
{
	struct ferry__pager *pager;
	uint64_t now = SECOND;

	bed_params(&bed);
	bed.params.refault_limit = 0;
	pager = still_pager();
	ferry__policy_update(pager, now);
	pager->counts.refaults += 1000000;
	ferry__policy_update(pager, now += 11 * SECOND);
	ck_assert_uint_eq(pager->policy.slower, 0);
	ferry__pager_destroy(pager);
}
END_TEST

START_TEST(a_rate_lets_out_so_much_a_second)
{
	struct ferry__pager *pager;
	uint64_t sum = 0, i;

	inject_start();
	inject_clock(100 * SECOND);
	bed_params(&bed);
	bed.params.rate = 1 << 20;
	pager = still_pager();
	for (i = 0; i < 10000; i++) {
		if (ferry__policy_allows(pager, 65536))
			sum += 65536;
		inject_clock_advance(SECOND / 1000);
	}
	/* Ten seconds, and what the first one may begin with. */
	ck_assert_uint_ge(sum, 9u << 20);
	ck_assert_uint_le(sum, 12u << 20);
	inject_stop();
	ferry__pager_destroy(pager);
}
END_TEST

START_TEST(above_the_target_pages_grow_old_sooner)
{
	struct ferry__pager *pager;
	uint64_t now = SECOND, i;

	bed_params(&bed);
	bed.params.rss_target = 4096;
	pager = still_pager();
	memset((void *)pager->regions->addr, 1, HUGE_SIZE);
	for (i = 0; i < 10; i++)
		ferry__policy_update(pager, now += 2 * SECOND);
	ck_assert_uint_gt(pager->policy.haste, 1);
	madvise((void *)pager->regions->addr, HUGE_SIZE, MADV_DONTNEED);
	for (i = 0; i < 10; i++)
		ferry__policy_update(pager, now += 2 * SECOND);
	ck_assert_uint_eq(pager->policy.haste, 0);
	ferry__pager_destroy(pager);
}
END_TEST

/* --- with threads -------------------------------------------------------- */

/* A page that is touched again and again is left alone more and more. */
START_TEST(hot_pages_are_asked_about_less_and_less)
{
	const uint64_t until = 100;
	uint64_t early, late;
	size_t i;

	bed_params(&bed);
	bed.params.cold_after_ns = bed.params.idle_after_ns = 20000000;
	bed_start(&bed, PAGES);
	for (i = 0; i < until; i++) {
		touch(at(5));
		usleep(2000);
	}
	early = bed_stats(&bed).faults_limbo;
	for (i = 0; i < until * 4; i++) {
		touch(at(5));
		usleep(2000);
	}
	late = bed_stats(&bed).faults_limbo - early;
	/* By then hardly ever; without it, four times as often. */
	ck_assert_uint_le(late, early * 3 + 3);
	ck_assert(page_holds(at(5), 6));
	bed_end(&bed);
}
END_TEST

static unsigned long ticks;

static void tick(void *arg, uint64_t now_ns, bool idle)
{
	(void)arg;
	(void)now_ns;
	(void)idle;
	__atomic_fetch_add(&ticks, 1, __ATOMIC_RELAXED);
}

START_TEST(an_idle_process_with_nothing_cold_is_not_woken)
{
	unsigned long before;

	bed_params(&bed);
	bed.params.tick = tick;
	bed_start(&bed, PAGES);
	usleep(200000);
	before = __atomic_load_n(&ticks, __ATOMIC_RELAXED);
	sleep(3);
	ck_assert_uint_le(__atomic_load_n(&ticks, __ATOMIC_RELAXED) - before,
			  4);
	ck_assert_uint_gt(__atomic_load_n(&ticks, __ATOMIC_RELAXED), 0);
	bed_end(&bed);
}
END_TEST

START_TEST(threads_can_be_stopped_and_started_again)
{
	unsigned int i;

	bed_begin(&bed, PAGES);
	for (i = 0; i < 5; i++) {
		bed_all_out(&bed);
		ck_assert_int_eq(ferry__pager_stop(bed.pager), 0);
		ck_assert(!bed_stats(&bed).running);
		ck_assert_uint_eq(bed_here(&bed), PAGES);
		assert_pages(bed.addr, PAGES * bed.page, 1);
		ck_assert_int_eq(ferry__pager_start(bed.pager, NULL), 0);
	}
	bed_end(&bed);
}
END_TEST

static const struct test tests[] = {
	TEST(refaults_beyond_the_limit_double_the_age, NULL),
	TEST(no_limit_of_refaults_never_backs_off, NULL),
	TEST(a_rate_lets_out_so_much_a_second, NULL),
	TEST(above_the_target_pages_grow_old_sooner, NULL),
	TEST(hot_pages_are_asked_about_less_and_less, PAGER_NEEDS),
	TEST(an_idle_process_with_nothing_cold_is_not_woken, PAGER_NEEDS),
	TEST(threads_can_be_stopped_and_started_again, PAGER_NEEDS),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
