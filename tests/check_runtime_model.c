/* SPDX-License-Identifier: MIT */
/* Size, time and kind of collections, by programs that are not there. */
#include <math.h>
#include <string.h>

#include "runtime/model.h"
#include "tests/harness.h"

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* What P2 of DESIGN.md says memory costs. */
#define PRICE (1.0 / 8589934592.0)

/* A program and its collector. Speeds are bytes a nanosecond. */
struct program {
	size_t live;	 /* reachable at any time */
	double rate;	 /* allocation */
	double speed;	 /* marking of what is live */
	double survival; /* of what was allocated, at a minor */
	double dirty_ns; /* marking of a minor beside what survives */
	/* State. */
	size_t old;    /* what a minor left alive beyond what is live */
	size_t since;  /* allocated since the last began */
	size_t during; /* of that, before it ended */
	uint64_t wall_ns;
};

static struct ferry__rule rule = {
	.sizing = FERRY_SIZING_ADAPTIVE,
	.min = 8 * MIB,
	.limit = 16 * GIB,
	.growth = 200,
	.concurrent = true,
	.minors = true,
	.compacts = true,
};

static struct ferry__model model;
static struct ferry__cycle_report report; /* of the last one */

static void setup(void)
{
	ferry__model_init(&model, &rule);
}

/* Lets the program allocate until it is time for a collection. */
static uint64_t run_up(struct program *p)
{
	uint64_t ns = 0;

	do {
		if (p->since >= model.goal.trigger)
			continue;
		ns += (uint64_t)((double)(model.goal.trigger - p->since) /
				 p->rate);
		p->since = model.goal.trigger;
	} while (!ferry__model_due(&model, &rule, p->since, ns));
	return ns;
}

static void run_through(struct program *p, enum ferry_collect what, uint64_t ns)
{
	struct ferry__cycle_report r = { .what = what, .since_ns = ns };
	bool minor = what == FERRY_COLLECT_MINOR;
	size_t young = p->since;

	r.allocated = p->since;
	p->old = minor ? p->old + (size_t)((double)young * p->survival) : 0;
	r.mark_ns = minor ? (uint64_t)(p->dirty_ns +
				       (double)young * p->survival / p->speed)
			  : (uint64_t)((double)p->live / p->speed);
	r.wall_ns = r.mark_ns + r.mark_ns / 4;
	p->since = rule.concurrent ? (size_t)(p->rate * (double)r.wall_ns) : 0;
	r.allocated_during = p->during = p->since;
	/* What is allocated meanwhile is the next one's. */
	r.live = p->live + p->old;
	r.used = r.live + p->since;
	report = r;
	ferry__model_update(&model, &rule, &r, false);
}

/* Up to the next collection, and through it. */
static enum ferry_collect run_as(struct program *p, enum ferry_collect what)
{
	run_through(p, what, run_up(p));
	return what;
}

static enum ferry_collect run(struct program *p)
{
	uint64_t ns = run_up(p);
	enum ferry_collect what = ferry__model_next(&model, &rule, p->since);

	run_through(p, what, ns);
	return what;
}

static void run_many(struct program *p, unsigned int n)
{
	while (n--)
		run(p);
}

static struct program ordinary(void)
{
	return (struct program){ .live = 256 * MIB,
				 .rate = 0.2,
				 .speed = 0.5,
				 .survival = 0.05,
				 .dirty_ns = 10e6 };
}

/* --- size --------------------------------------------------------------------- */

static double extra_by_hand(const struct program *p)
{
	return sqrt((double)p->live * p->rate / (p->speed * PRICE));
}

static void ck_near(double x, double y, double share)
{
	ck_assert_msg(fabs(x - y) <= share * y, "%g is not near %g", x, y);
}

START_TEST(adaptive_extra_is_the_square_root_of_the_paper)
{
	struct program p = ordinary();

	rule.minors = false;
	run_many(&p, 20);
	ck_near((double)(model.goal.target - p.live), extra_by_hand(&p), 0.05);
}
END_TEST

START_TEST(four_times_the_rate_is_twice_the_extra)
{
	struct program slow = ordinary(), fast = ordinary();
	double one, two;

	rule.minors = false;
	slow.rate = 0.02;
	run_many(&slow, 20);
	one = (double)(model.goal.target - slow.live);
	setup();
	fast.rate = 4 * slow.rate;
	run_many(&fast, 20);
	two = (double)(model.goal.target - fast.live);
	ck_near(two, 2 * one, 0.05);
}
END_TEST

START_TEST(quicker_marking_needs_less_memory)
{
	struct program p = ordinary(), quick = ordinary();
	size_t one;

	rule.minors = false;
	run_many(&p, 20);
	one = model.goal.target;
	setup();
	quick.speed *= 4;
	run_many(&quick, 20);
	ck_assert_uint_lt(model.goal.target, one);
}
END_TEST

START_TEST(cheap_minors_need_less_memory)
{
	struct program p = ordinary(), q = ordinary();
	size_t without;

	rule.minors = false;
	run_many(&p, 40);
	without = model.extra;
	rule.minors = true;
	setup();
	run_many(&q, 200);
	ck_assert_uint_lt(model.extra, without);
}
END_TEST

START_TEST(growable_is_a_share_of_what_is_live)
{
	struct program p = ordinary();

	rule.sizing = FERRY_SIZING_GROWABLE;
	rule.growth = 150;
	rule.concurrent = false;
	setup();
	run_as(&p, FERRY_COLLECT_FULL);
	ck_assert_uint_eq(model.goal.target, p.live + p.live / 2);
}
END_TEST

START_TEST(fixed_is_the_limit_from_the_start)
{
	struct program p = ordinary();

	rule.sizing = FERRY_SIZING_FIXED;
	rule.limit = GIB;
	setup();
	ck_assert_uint_eq(model.goal.target, GIB);
	run_many(&p, 3);
	ck_assert_uint_eq(model.goal.target, GIB);
}
END_TEST

START_TEST(no_size_is_below_the_minimum_nor_above_the_limit)
{
	struct program small = ordinary(), big = ordinary();

	small.live = 4096;
	small.rate = 1e-9;
	run_many(&small, 5);
	ck_assert_uint_ge(model.goal.target, rule.min);
	rule.limit = 300 * MIB;
	setup();
	run_many(&big, 5);
	ck_assert_uint_le(model.goal.target, rule.limit);
}
END_TEST

START_TEST(pressure_shrinks_the_size_and_calm_restores_it)
{
	struct program p = ordinary();
	size_t calm;

	p.rate = 0.02;
	rule.minors = false;
	run_many(&p, 20);
	calm = model.goal.target;
	rule.pressed = true;
	run(&p);
	ck_near((double)(model.goal.target - p.live),
		(double)(calm - p.live) / 4, 0.3);
	rule.pressed = false;
	ferry__model_aim(&model, &rule);
	ck_near((double)model.goal.target, (double)calm, 0.1);
}
END_TEST

/* --- time --------------------------------------------------------------------- */

START_TEST(stopped_collections_start_at_the_target)
{
	struct program p = ordinary();

	rule.concurrent = false;
	rule.minors = false;
	setup();
	ck_assert_uint_eq(model.goal.trigger, model.goal.target);
	run_many(&p, 10);
	ck_assert_uint_eq(model.goal.trigger, model.goal.target - p.live);
}
END_TEST

START_TEST(concurrent_collections_end_before_the_target)
{
	struct program p = ordinary();
	unsigned int i;

	run_many(&p, 4); /* until it knows the program */
	for (i = 0; i < 100; i++) {
		size_t target = model.goal.target;
		size_t live = report.live;

		run(&p);
		/* All that was allocated since the last one's end; the first
		 * minor after a full one has more to do than those before. */
		ck_assert_uint_le(live + report.allocated +
					  report.allocated_during,
				  target + target / 50);
	}
}
END_TEST

START_TEST(reserve_covers_what_is_allocated_meanwhile)
{
	struct program p = ordinary();
	unsigned int i;

	rule.minors = false;
	run_many(&p, 10);
	for (i = 0; i < 20; i++) {
		size_t reserve = model.reserve;

		run(&p);
		ck_assert_uint_ge(reserve, report.allocated_during);
		/* And not many times of it. */
		ck_assert_uint_le(reserve, 3 * report.allocated_during);
	}
}
END_TEST

START_TEST(sudden_haste_is_learnt_from)
{
	struct program p = ordinary();

	p.speed = 8;
	rule.minors = false;
	run_many(&p, 30);
	p.rate *= 8;
	run_many(&p, 4);
	ck_assert_uint_ge(model.reserve, report.allocated_during);
}
END_TEST

START_TEST(sudden_haste_is_seen_before_it_is_too_late)
{
	struct program p = ordinary();
	size_t start;

	p.speed = 8;
	rule.minors = false;
	run_many(&p, 30);
	start = model.start;
	p.rate *= 8;
	run_up(&p);
	ck_assert_uint_lt(p.since, start); /* it begins earlier */
	ck_assert_uint_ge(model.reserve,
			  (size_t)(p.rate * (double)report.wall_ns));
}
END_TEST

START_TEST(first_minor_is_taken_for_a_long_one)
{
	struct program p = ordinary();

	run(&p);
	ck_assert_uint_ge(model.reserve,
			  (size_t)(p.rate * (double)report.wall_ns));
	run(&p);
	ck_assert_uint_ge((double)model.reserve, p.rate * model.wall_ns[1] / 4);
}
END_TEST

START_TEST(stall_raises_the_safety_and_calm_lowers_it)
{
	struct program p = ordinary();
	double before;
	unsigned int i;

	run_many(&p, 30);
	before = model.safety;
	ferry__model_update(&model, &rule, &report, true);
	ck_assert(model.safety > before);
	for (i = 0; i < 10; i++)
		ferry__model_update(&model, &rule, &report, true);
	ck_assert(model.safety <= 4);
	run_many(&p, 30);
	ck_assert(model.safety <= 1.5 && model.safety >= 1.25);
}
END_TEST

START_TEST(collection_that_cannot_keep_up_gets_room_but_not_any)
{
	struct program p = ordinary();

	p.rate = 2; /* allocates more than is live while it is marked */
	rule.minors = false;
	rule.sizing = FERRY_SIZING_GROWABLE;
	rule.growth = 110;
	setup();
	run_many(&p, 10);
	ck_assert_uint_ge(model.goal.target, 2 * p.live);
	ck_assert_uint_le(model.goal.target, 5 * report.live / 2);
}
END_TEST

static struct program hasty(void)
{
	struct program p = ordinary();

	p.live = 64 * MIB;
	p.rate = 6;
	p.speed = 3;
	p.dirty_ns = 1e6;
	rule.sizing = FERRY_SIZING_FIXED;
	rule.limit = 5 * p.live / 2;
	return p;
}

START_TEST(start_in_vain_is_put_off)
{
	struct program p = hasty();

	rule.minors = false;
	setup();
	run_many(&p, 10);
	ck_assert_uint_gt(report.allocated_during, rule.limit - p.live);
	ck_assert_uint_le(model.reserve, (rule.limit - p.live) / 8);
	/* One that marking keeps up with starts in time, without. */
	p.speed = 100;
	run_many(&p, 10);
	ck_assert_uint_ge(model.reserve, report.allocated_during);
}
END_TEST

/* Better to go on slowly than to wait for long. */
START_TEST(start_is_not_put_off_for_a_long_wait)
{
	struct program p = hasty();

	p.live *= 16;
	rule.limit *= 16;
	rule.minors = false;
	setup();
	run_many(&p, 10);
	ck_assert_uint_ge(model.reserve, rule.limit - p.live);
}
END_TEST

START_TEST(limit_is_met_with_collections_ahead_of_it)
{
	struct program p = ordinary();

	rule.sizing = FERRY_SIZING_FIXED;
	rule.limit = 400 * MIB;
	p.rate = 0.05;
	rule.minors = false;
	setup();
	run_many(&p, 10);
	ck_assert_uint_le(model.goal.trigger - report.allocated_during +
				  report.used + model.reserve,
			  rule.limit);
}
END_TEST

START_TEST(full_heap_still_allocates_between_collections)
{
	struct program p = ordinary();

	rule.limit = p.live;
	setup();
	run_many(&p, 5);
	ck_assert_uint_ge(model.start, report.allocated_during + p.live / 32);
}
END_TEST

/* --- kind --------------------------------------------------------------------- */

START_TEST(first_collection_is_full)
{
	struct program p = ordinary();

	ck_assert_int_eq(run(&p), FERRY_COLLECT_FULL);
	ck_assert_int_eq(run(&p), FERRY_COLLECT_MINOR);
}
END_TEST

static unsigned int minors_of(struct program *p, unsigned int n)
{
	unsigned int minors = 0;

	while (n--)
		minors += run(p) == FERRY_COLLECT_MINOR;
	return minors;
}

START_TEST(minors_that_yield_are_chosen)
{
	struct program p = ordinary();
	unsigned int minors;

	run_many(&p, 20);
	minors = minors_of(&p, 100);
	ck_assert_uint_ge(minors, 70);
	ck_assert_uint_lt(minors, 100); /* what got old is looked at, too */
}
END_TEST

/* One in haste of which that much survives, well known. */
static struct program known_hasty(double survival)
{
	struct program p = hasty();

	p.survival = survival;
	setup();
	run_many(&p, 20);
	return p;
}

/* It waits for a full one in any case, so that none comes in time. */
START_TEST(minors_are_chosen_in_haste)
{
	struct program p = known_hasty(0.01);

	ck_assert_uint_ge(minors_of(&p, 100), 70);
}
END_TEST

START_TEST(fewer_alive_than_expected_gives_minors_a_chance)
{
	struct program p = known_hasty(0.6);
	unsigned int i;

	p.survival = 0.01;
	for (i = 0; i < 16 && run(&p) != FERRY_COLLECT_MINOR; i++)
		;
	ck_assert_uint_lt(i, 16);
}
END_TEST

/* Now and then one is tried. */
static void expect_few_minors(struct program *p)
{
	run_many(p, 20);
	ck_assert_uint_le(minors_of(p, 100), 25);
}

START_TEST(minors_that_find_all_alive_are_not)
{
	struct program p = ordinary();

	p.survival = 0.95;
	expect_few_minors(&p);
}
END_TEST

START_TEST(minors_that_cost_as_much_as_full_ones_are_not)
{
	struct program p = ordinary();

	p.dirty_ns = 2 * (double)p.live / p.speed; /* all is dirty */
	expect_few_minors(&p);
}
END_TEST

START_TEST(minors_get_another_chance)
{
	struct program p = ordinary();

	p.dirty_ns = 2 * (double)p.live / p.speed;
	run_many(&p, 50);
	p.dirty_ns = 1e6;
	run_many(&p, 50);
	ck_assert_uint_ge(minors_of(&p, 100), 50);
}
END_TEST

START_TEST(full_one_comes_at_last)
{
	struct program p = ordinary();
	unsigned int i;

	p.survival = 0;
	p.dirty_ns = 0;
	run(&p);
	for (i = 0; i < 128; i++)
		ck_assert_int_eq(run(&p), FERRY_COLLECT_MINOR);
	ck_assert_int_eq(run(&p), FERRY_COLLECT_FULL);
}
END_TEST

START_TEST(no_minors_where_they_are_not_wanted_or_memory_is_short)
{
	struct program p = ordinary();

	run(&p);
	rule.minors = false;
	ck_assert_int_eq(ferry__model_next(&model, &rule, GIB),
			 FERRY_COLLECT_FULL);
	rule.minors = true;
	rule.pressed = true;
	ck_assert_int_eq(ferry__model_next(&model, &rule, GIB),
			 FERRY_COLLECT_FULL);
}
END_TEST

/* --- compaction ------------------------------------------------------------------ */

/* A full collection that found @live of @used bytes. */
static struct ferry__cycle_report found(size_t live, size_t used)
{
	return (struct ferry__cycle_report){ .what = FERRY_COLLECT_FULL,
					     .live = live,
					     .used = used,
					     .free_in_used = used - live,
					     .mark_ns = live,
					     .wall_ns = 2 * live,
					     .since_ns = 1000000000 };
}

static bool wants(size_t live, size_t used)
{
	struct ferry__cycle_report r = found(live, used);

	return ferry__model_wants_compaction(&model, &rule, &r);
}

START_TEST(heap_of_holes_is_compacted)
{
	ck_assert(wants(256 * MIB, GIB));
	ck_assert(!wants(768 * MIB, GIB));
	ck_assert(!wants(100, 64 * 1024)); /* not worth it */
	rule.compacts = false;
	ck_assert(!wants(256 * MIB, GIB));
}
END_TEST

START_TEST(heap_beyond_its_size_is_compacted_for_fewer_holes)
{
	rule.sizing = FERRY_SIZING_GROWABLE;
	rule.growth = 110;
	ck_assert(wants(768 * MIB, GIB));
	ck_assert(!wants(960 * MIB, GIB));
}
END_TEST

/* A compaction that was asked for left @used bytes in use. */
static void compacted_to(size_t live, size_t used)
{
	struct ferry__cycle_report r = found(live, used);

	ferry__model_update(&model, &rule, &r, false);
}

START_TEST(compaction_that_gave_little_is_not_tried_again_soon)
{
	unsigned int i, tried = 0;

	for (i = 0; i < 64; i++) {
		if (!wants(256 * MIB, GIB))
			continue;
		tried++;
		compacted_to(256 * MIB, GIB - 10 * MIB); /* all is pinned */
	}
	ck_assert_uint_ge(tried, 4);
	ck_assert_uint_le(tried, 6);
}
END_TEST

START_TEST(compaction_that_gave_much_is_tried_again)
{
	unsigned int i;

	ck_assert(wants(256 * MIB, GIB));
	compacted_to(256 * MIB, GIB - 10 * MIB);
	for (i = 0; !wants(256 * MIB, GIB); i++)
		ck_assert_uint_lt(i, 10);
	compacted_to(256 * MIB, 260 * MIB);
	for (i = 0; i < 10; i++) {
		ck_assert(wants(256 * MIB, GIB));
		compacted_to(256 * MIB, 260 * MIB);
	}
}
END_TEST

START_TEST(shortage_of_memory_does_not_wait)
{
	ck_assert(wants(256 * MIB, GIB));
	compacted_to(256 * MIB, GIB);
	ck_assert(!wants(256 * MIB, GIB));
	rule.pressed = true;
	ck_assert(wants(256 * MIB, GIB));
	ck_assert(wants(768 * MIB, GIB)); /* also for fewer holes */
}
END_TEST

/* --- free memory ------------------------------------------------------------------ */

START_TEST(kept_memory_is_what_a_second_allocates)
{
	struct program p = ordinary();

	p.rate = 0.05;
	rule.minors = false;
	run_many(&p, 20);
	ck_near((double)ferry__model_keep(&model, &rule), 50e6, 0.1);
}
END_TEST

START_TEST(kept_memory_stays_below_the_target)
{
	struct program p = ordinary();

	p.rate = 50;
	run_many(&p, 20);
	ck_assert_uint_le(ferry__model_keep(&model, &rule),
			  model.goal.target - report.used);
}
END_TEST

START_TEST(little_is_kept_after_compaction_and_less_under_pressure)
{
	struct program p = ordinary();

	run_many(&p, 20);
	run_as(&p, FERRY_COLLECT_COMPACT);
	ck_assert_uint_le(ferry__model_keep(&model, &rule), report.live / 32);
	rule.pressed = true;
	ck_assert_uint_le(ferry__model_keep(&model, &rule), MIB);
}
END_TEST

/* --- whatever it is told -------------------------------------------------------------- */

static uint64_t any(struct random *r)
{
	return random_next(r) >> random_below(r, 64);
}

START_TEST(no_report_makes_it_lose_its_bounds)
{
	struct random r = harness_random();
	unsigned int i;

	for (i = 0; i < 100000; i++) {
		struct ferry__cycle_report c = {
			.what = 1 + random_below(&r, 3),
			.live = any(&r),
			.used = any(&r),
			.free_in_used = any(&r),
			.allocated = any(&r),
			.allocated_during = any(&r) >> 1,
			.mark_ns = any(&r),
			.wall_ns = any(&r),
			.since_ns = any(&r),
		};

		rule.sizing = (enum ferry_sizing)random_below(&r, 3);
		rule.concurrent = random_below(&r, 2);
		rule.pressed = random_below(&r, 2);
		ferry__model_update(&model, &rule, &c, random_below(&r, 2));
		ferry__model_wants_compaction(&model, &rule, &c);
		ck_assert_uint_le(model.goal.target, rule.limit);
		ck_assert_uint_ge(model.goal.target, rule.min);
		ck_assert_uint_gt(model.goal.trigger, c.allocated_during);
		ck_assert_uint_le(ferry__model_keep(&model, &rule), rule.limit);
		ck_assert(isfinite(model.rate) && isfinite(model.speed) &&
			  isfinite(model.discount) && isfinite(model.safety));
	}
}
END_TEST

#define T(name) TEST_FIXTURE(name, NULL, setup, NULL)

static const struct test tests[] = {
	T(adaptive_extra_is_the_square_root_of_the_paper),
	T(four_times_the_rate_is_twice_the_extra),
	T(quicker_marking_needs_less_memory),
	T(cheap_minors_need_less_memory),
	T(growable_is_a_share_of_what_is_live),
	T(fixed_is_the_limit_from_the_start),
	T(no_size_is_below_the_minimum_nor_above_the_limit),
	T(pressure_shrinks_the_size_and_calm_restores_it),
	T(stopped_collections_start_at_the_target),
	T(concurrent_collections_end_before_the_target),
	T(reserve_covers_what_is_allocated_meanwhile),
	T(sudden_haste_is_learnt_from),
	T(sudden_haste_is_seen_before_it_is_too_late),
	T(first_minor_is_taken_for_a_long_one),
	T(stall_raises_the_safety_and_calm_lowers_it),
	T(collection_that_cannot_keep_up_gets_room_but_not_any),
	T(start_in_vain_is_put_off),
	T(start_is_not_put_off_for_a_long_wait),
	T(limit_is_met_with_collections_ahead_of_it),
	T(full_heap_still_allocates_between_collections),
	T(first_collection_is_full),
	T(minors_that_yield_are_chosen),
	T(minors_are_chosen_in_haste),
	T(fewer_alive_than_expected_gives_minors_a_chance),
	T(minors_that_find_all_alive_are_not),
	T(minors_that_cost_as_much_as_full_ones_are_not),
	T(minors_get_another_chance),
	T(full_one_comes_at_last),
	T(no_minors_where_they_are_not_wanted_or_memory_is_short),
	T(heap_of_holes_is_compacted),
	T(heap_beyond_its_size_is_compacted_for_fewer_holes),
	T(compaction_that_gave_little_is_not_tried_again_soon),
	T(compaction_that_gave_much_is_tried_again),
	T(shortage_of_memory_does_not_wait),
	T(kept_memory_is_what_a_second_allocates),
	T(kept_memory_stays_below_the_target),
	T(little_is_kept_after_compaction_and_less_under_pressure),
	T(no_report_makes_it_lose_its_bounds),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
