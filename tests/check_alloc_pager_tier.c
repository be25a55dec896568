/* SPDX-License-Identifier: MIT */
/*
 * Slower memory before stores: cold pages go there first and stay in use, and
 * come up when they are touched. On a machine made up here, and on one that
 * has such memory.
 */
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/nodes.h"
#include "tests/pager_bed.h"
#include "tests/served.h"
#include "tests/tiered.h"

#define PAGES 300
#define MS    1000000ull
#define HOUR  3600000000000ull

static struct bed bed;
static struct ferry_topology *top;

static const struct ferry_topology *topology(void *arg)
{
	(void)arg;
	return top;
}

/* All is cold at once; on slower memory it is left for @slow_for. */
static void start(uint64_t slow_for)
{
	bed_params(&bed);
	bed.params.cold_after_ns = 10 * MS;
	bed.params.idle_after_ns = 10 * MS;
	bed.params.topology = topology;
	bed.params.slow_for_ns = slow_for;
	bed_start(&bed, PAGES);
}

static void begin(unsigned int tiers, uint64_t slow_for)
{
	top = tiered_start(tiers);
	start(slow_for);
}

static void end(void)
{
	bed_end(&bed);
	tiered_end(top);
}

static size_t size(void)
{
	return PAGES * bed.page;
}

static void await_down(void)
{
	AWAIT(tiered_on(bed.addr, size(), 1) == PAGES);
}

START_TEST(cold_pages_go_to_slower_memory_and_stay_in_use)
{
	uint64_t faults;

	begin(2, HOUR);
	await_down();
	ck_assert_uint_eq(bed_here(&bed), PAGES);
	ck_assert_uint_eq(fake_count(bed.fake[0], puts), 0);
	ck_assert_uint_eq(bed_stats(&bed).demoted, PAGES);
	faults = bed_stats(&bed).faults_limbo;
	assert_pages(bed.addr, size(), 1);
	ck_assert_uint_eq(bed_stats(&bed).faults_limbo, faults);
	ck_assert_uint_eq(tiered_on(bed.addr, size(), 1), PAGES);
	end();
}
END_TEST

START_TEST(what_stays_cold_there_is_stored)
{
	begin(2, 50 * MS);
	bed_await_stored(&bed, PAGES);
	ck_assert_uint_ge(bed_stats(&bed).demoted, PAGES);
	ck_assert_uint_eq(bed_here(&bed), 0);
	assert_pages(bed.addr, size(), 1);
	end();
}
END_TEST

START_TEST(what_is_touched_when_it_is_tried_comes_up)
{
	begin(2, 20 * MS);
	/* Nothing is stored, so that it is slow memory that it comes from. */
	fake_order(bed.fake[0], put_error, -ENOSPC);
	AWAIT(bed_stats(&bed).demoted >= PAGES);
	AWAIT(page_holds(bed.addr, 1) && bed_stats(&bed).promoted);
	AWAIT(page_holds(bed.addr, 1) && tiered_on(bed.addr, bed.page, 0));
	assert_pages(bed.addr, size(), 1);
	end();
}
END_TEST

START_TEST(a_hint_brings_them_up_at_once)
{
	begin(2, HOUR);
	await_down();
	ck_assert_int_eq(ferry__pager_hint(bed.pager, bed.addr + 7 * bed.page,
					   100 * bed.page, FERRY__HINT_HOT),
			 0);
	ck_assert_uint_eq(tiered_on(bed.addr, size(), 0), 100);
	ck_assert_uint_eq(tiered_on(bed.addr + 7 * bed.page, 100 * bed.page, 0),
			  100);
	ck_assert_uint_eq(bed_stats(&bed).promoted, 100);
	end();
}
END_TEST

START_TEST(what_is_to_be_out_goes_to_a_store)
{
	begin(2, HOUR);
	await_down();
	bed_all_out(&bed);
	assert_pages(bed.addr, size(), 1);
	end();
}
END_TEST

START_TEST(several_tiers_are_gone_through_in_turn)
{
	begin(3, 20 * MS);
	bed_await_stored(&bed, PAGES);
	ck_assert_uint_ge(bed_stats(&bed).demoted, 2 * PAGES);
	assert_pages(bed.addr, size(), 1);
	end();
}
END_TEST

START_TEST(what_a_full_node_does_not_take_is_stored)
{
	tiered.error = -ENOMEM;
	begin(2, HOUR);
	bed_await_stored(&bed, PAGES);
	ck_assert_uint_eq(bed_stats(&bed).demoted, 0);
	ck_assert_int_eq(bed_stats(&bed).slow_error, 0);
	assert_pages(bed.addr, size(), 1);
	end();
}
END_TEST

START_TEST(pages_that_cannot_move_are_stored_beside_those_that_can)
{
	tiered.stuck = 3;
	begin(2, HOUR);
	AWAIT(bed_stats(&bed).demoted == PAGES - PAGES / 3);
	bed_await_stored(&bed, PAGES / 3);
	assert_pages(bed.addr, size(), 1);
	end();
}
END_TEST

START_TEST(who_may_not_move_pages_asks_once)
{
	uint64_t calls;

	tiered.error = -EPERM;
	begin(2, HOUR);
	bed_await_stored(&bed, PAGES);
	calls = __atomic_load_n(&tiered.calls, __ATOMIC_RELAXED);
	ck_assert_uint_eq(calls, 1);
	ck_assert_int_eq(bed_stats(&bed).slow_error, -EPERM);
	assert_pages(bed.addr, size(), 1);
	end();
}
END_TEST

START_TEST(one_class_of_memory_costs_no_system_call)
{
	tiered.ask_error = -EPERM;
	begin(1, HOUR);
	bed_await_stored(&bed, PAGES);
	ck_assert_int_eq(bed_stats(&bed).slow_error, 0);
	ck_assert_uint_eq(bed_stats(&bed).demoted, 0);
	ck_assert_int_eq(
		ferry__pager_hint(bed.pager, bed.addr, size(), FERRY__HINT_HOT),
		0);
	ck_assert_int_eq(bed_stats(&bed).slow_error, 0);
	end();
}
END_TEST

START_TEST(discarded_pages_are_zero_and_can_be_filled)
{
	begin(2, HOUR);
	await_down();
	ck_assert_int_eq(
		ferry__pager_discard(bed.pager, bed.addr, 64 * bed.page), 0);
	ck_assert(is_zero(bed.addr, 64 * bed.page));
	fill_pages(bed.addr, 64 * bed.page, 1001);
	bed_run(&bed);
	assert_pages(bed.addr, 64 * bed.page, 1001);
	assert_pages(bed.addr + 64 * bed.page, size() - 64 * bed.page, 65);
	end();
}
END_TEST

static bool all_hold(void)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		if (!page_holds(bed.addr + i * bed.page, i + 1))
			return false;
	return true;
}

START_TEST(a_child_has_what_its_parent_moved_down)
{
	int status;
	pid_t pid;

	begin(2, HOUR);
	bed_at_fork();
	await_down();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		_exit(!all_hold());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	assert_pages(bed.addr, size(), 1);
	end();
}
END_TEST

/* --- live ----------------------------------------------------------------- */

/* A page that the kernel has in hand just then is stored instead. */
static bool all_gone(void)
{
	struct ferry__pager_stats stats = bed_stats(&bed);

	return stats.demoted * bed.page + stats.stored >= size();
}

START_TEST(slow_memory_takes_what_is_cold)
{
	ck_assert_int_eq(ferry_topology_get(NULL, &top), 0);
	start(HOUR);
	AWAIT(all_gone());
	ck_assert_uint_gt(pages_on(bed.addr, size(), slow_node()), 0);
	assert_pages(bed.addr, size(), 1);
	do
		ck_assert_int_eq(ferry__pager_hint(bed.pager, bed.addr, size(),
						   FERRY__HINT_HOT),
				 0);
	while (pages_on(bed.addr, size(), slow_node()));
	assert_pages(bed.addr, size(), 1);
	bed_end(&bed);
	ferry_topology_free(top);
}
END_TEST

/* All is written again and again, until some of it was moved down and up. */
START_TEST(writes_go_on_while_pages_move)
{
	uint64_t round = 0;

	ck_assert_int_eq(ferry_topology_get(NULL, &top), 0);
	start(20 * MS);
	/* What comes from a store was not moved up. */
	fake_order(bed.fake[0], put_error, -ENOSPC);
	AWAIT(bed_stats(&bed).demoted >= PAGES);
	do {
		round++;
		fill_pages(bed.addr, size(), round * PAGES);
		assert_pages(bed.addr, size(), round * PAGES);
	} while (!bed_stats(&bed).promoted);
	assert_pages(bed.addr, size(), round * PAGES);
	bed_end(&bed);
	ferry_topology_free(top);
}
END_TEST

static const struct test tests[] = {
	TEST(cold_pages_go_to_slower_memory_and_stay_in_use, PAGER_NEEDS),
	TEST(what_stays_cold_there_is_stored, PAGER_NEEDS),
	TEST(what_is_touched_when_it_is_tried_comes_up, PAGER_NEEDS),
	TEST(a_hint_brings_them_up_at_once, PAGER_NEEDS),
	TEST(what_is_to_be_out_goes_to_a_store, PAGER_NEEDS),
	TEST(several_tiers_are_gone_through_in_turn, PAGER_NEEDS),
	TEST(what_a_full_node_does_not_take_is_stored, PAGER_NEEDS),
	TEST(pages_that_cannot_move_are_stored_beside_those_that_can,
	     PAGER_NEEDS),
	TEST(who_may_not_move_pages_asks_once, PAGER_NEEDS),
	TEST(one_class_of_memory_costs_no_system_call, PAGER_NEEDS),
	TEST(discarded_pages_are_zero_and_can_be_filled, PAGER_NEEDS),
	TEST(a_child_has_what_its_parent_moved_down, PAGER_NEEDS),
	TEST(slow_memory_takes_what_is_cold, PAGER_NEEDS ",slow_node"),
	TEST(writes_go_on_while_pages_move, PAGER_NEEDS ",slow_node"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
