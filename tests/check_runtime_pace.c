/* SPDX-License-Identifier: MIT */
/* Pacing: who allocates quicker than a collection gets on sleeps a little. */
#include <stdatomic.h>

#include "runtime/heap-internal.h"
#include "tests/cells.h"
#include "tests/harness.h"

#define CELLS 200000u

static uint64_t paced_ns(struct cells *c)
{
	return cells_stats(c)->paced_ns;
}

/* A collection that has begun just now, is to take so long, and had so much
 * room: none runs, this is what one would have left. */
static void pretend(struct cells *c, size_t room, uint64_t expect_ns)
{
	struct ferry__pace *pace = &c->heap->pace;

	atomic_store(&pace->begin_ns, ferry__sys->now_ns());
	atomic_store(&pace->expect_ns, expect_ns);
	atomic_store(&pace->room, room);
	atomic_store(&pace->on, true);
}

static void allocate(struct cells *c)
{
	size_t i;

	for (i = 0; i < CELLS; i++)
		cell_new(c->m, FERRY_KIND_TRACED, 4, 1);
}

/* How long a program slept that allocates beside such a collection. */
static uint64_t slept_beside(size_t room, uint64_t expect_ns, bool held)
{
	/* With a limit of 256 MiB, of which this takes 10: none begins. */
	struct cells *c = cells_make(FERRY_GC_AUTO, 1);
	uint64_t slept;

	pretend(c, room, expect_ns);
	if (held)
		ferry__pace_hold(c->heap);
	allocate(c);
	slept = paced_ns(c);
	cells_close(c);
	return slept;
}

#define LITTLE	  ((size_t)1 << 20)
#define ENOUGH	  ((size_t)64 << 20) /* for what is allocated */
#define PLENTY	  ((size_t)1 << 40)
#define LONG_TIME 60000000000u

START_TEST(who_is_far_ahead_of_a_collection_sleeps)
{
	ck_assert_uint_gt(slept_beside(LITTLE, LONG_TIME, false), 0);
}
END_TEST

START_TEST(who_is_not_ahead_does_not_sleep)
{
	ck_assert_uint_eq(slept_beside(PLENTY, LONG_TIME, false), 0);
}
END_TEST

START_TEST(who_is_held_back_sleeps_whatever_room_there_is)
{
	ck_assert_uint_gt(slept_beside(PLENTY, LONG_TIME, true), 0);
}
END_TEST

START_TEST(nobody_sleeps_before_a_collection_has_told_how_long_it_takes)
{
	ck_assert_uint_eq(slept_beside(ENOUGH, 0, false), 0);
}
END_TEST

/* Half-way through what it is expected to take. */
static double slack_at(struct cells *c, double share)
{
	struct ferry__pace *pace = &c->heap->pace;

	pretend(c, LITTLE, LONG_TIME);
	atomic_store(&c->heap->space.since, (size_t)(share * LITTLE));
	return ferry__pace_slack(c->heap, pace->begin_ns + pace->expect_ns / 2);
}

START_TEST(the_less_room_the_longer_the_sleeps)
{
	struct cells *c = cells_make(FERRY_GC_AUTO, 1);
	double share, last = -1;

	for (share = 0; share < 1.2; share += 0.01) {
		ck_assert_double_ge(slack_at(c, share), last);
		last = slack_at(c, share);
	}
	ck_assert_double_eq(slack_at(c, 0.5), 0);
	ck_assert_double_le(slack_at(c, 0.9), 1);
	ck_assert_double_ge(slack_at(c, 0.95), 4);
	ck_assert_double_ge(slack_at(c, 1), 100);
	cells_close(c);
}
END_TEST

START_TEST(last_of_the_room_is_not_given_to_who_nothing_is_known_of)
{
	ck_assert_uint_gt(slept_beside(LITTLE, 0, false), 0);
}
END_TEST

START_TEST(markers_get_the_processors_of_who_sleeps)
{
	struct cells *c = cells_make(FERRY_GC_AUTO, 1);

	ck_assert(!ferry__pace_yields(c->heap));
	slack_at(c, 0.5);
	ck_assert(!ferry__pace_yields(c->heap));
	slack_at(c, 0.99);
	ck_assert(ferry__pace_yields(c->heap));
	slack_at(c, 0.5);
	ferry__pace_hold(c->heap);
	ck_assert(!ferry__pace_yields(c->heap));
	cells_close(c);
}
END_TEST

START_TEST(nobody_sleeps_when_the_collection_has_marked)
{
	struct cells *c = cells_make(FERRY_GC_AUTO, 1);

	pretend(c, LITTLE, LONG_TIME);
	cells_collect(c, FERRY_COLLECT_FULL);
	ck_assert(!atomic_load(&c->heap->pace.on));
	allocate(c);
	ck_assert_uint_eq(paced_ns(c), 0);
	cells_close(c);
}
END_TEST

START_TEST(heap_that_is_not_to_be_paced_is_not)
{
	struct ferry_heap_params p = cells_params(FERRY_GC_AUTO);
	struct cells *c;
	size_t i;

	p.no_pace = true;
	p.max_bytes = p.min_bytes = 16 << 20;
	c = cells_open(&p, 1);
	for (i = 0; i < 10; i++)
		allocate(c);
	ck_assert_uint_ge(cells_stats(c)->minors + cells_stats(c)->fulls, 2);
	ck_assert_uint_eq(paced_ns(c), 0);
	cells_close(c);
}
END_TEST

static const struct test tests[] = {
	TEST(who_is_far_ahead_of_a_collection_sleeps, NULL),
	TEST(who_is_not_ahead_does_not_sleep, NULL),
	TEST(who_is_held_back_sleeps_whatever_room_there_is, NULL),
	TEST(nobody_sleeps_before_a_collection_has_told_how_long_it_takes,
	     NULL),
	TEST(the_less_room_the_longer_the_sleeps, NULL),
	TEST(last_of_the_room_is_not_given_to_who_nothing_is_known_of, NULL),
	TEST(markers_get_the_processors_of_who_sleeps, NULL),
	TEST(nobody_sleeps_when_the_collection_has_marked, "move"),
	TEST(heap_that_is_not_to_be_paced_is_not, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
