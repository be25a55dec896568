/* SPDX-License-Identifier: MIT */
/* ferry-bench gc: lost time, minimum mutator utilisation, its options. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/gc_meter.h"
#include "bench/gc_plan.h"
#include "tests/harness.h"

/* --- gaps and utilisation ------------------------------------------------- */

#define SPAN 1000

/* Gaps that lie in [0, SPAN), from "xx..x" where x is lost. */
static struct gc_gaps gaps_of(const bool *lost)
{
	struct gc_gaps g = { 0 };

	for (uint64_t i = 0; i < SPAN; i++)
		if (lost[i])
			gc_gaps_add(&g, i + 1, 1);
	return g;
}

/* What gc_mmu() should say, by trying every window. */
static double slow_mmu(const bool *lost, uint64_t begin, uint64_t end,
		       uint64_t window)
{
	uint64_t worst = 0;

	if (window > end - begin)
		window = end - begin;
	for (uint64_t from = begin; from + window <= end; from++) {
		uint64_t sum = 0;

		for (uint64_t i = from; i < from + window; i++)
			sum += lost[i];
		worst = sum > worst ? sum : worst;
	}
	return 1 - (double)worst / (double)window;
}

START_TEST(touching_gaps_become_one)
{
	struct gc_gaps g = { 0 };

	gc_gaps_add(&g, 10, 4); /* 6..10 */
	gc_gaps_add(&g, 12, 2); /* touches */
	gc_gaps_add(&g, 20, 3);
	gc_gaps_add(&g, 22, 9); /* reaches back into the last */
	ck_assert_uint_eq(g.n, 2);
	ck_assert_uint_eq(g.v[0].start, 6);
	ck_assert_uint_eq(g.v[0].len, 6);
	ck_assert_uint_eq(g.v[1].start, 17);
	ck_assert_uint_eq(g.v[1].len, 5);
	gc_gaps_fini(&g);
}
END_TEST

START_TEST(gap_cannot_begin_before_time)
{
	struct gc_gaps g = { 0 };

	gc_gaps_add(&g, 5, 9);
	ck_assert_uint_eq(g.v[0].start, 0);
	ck_assert_uint_eq(g.v[0].len, 5);
	gc_gaps_fini(&g);
}
END_TEST

START_TEST(nothing_lost_is_full_utilisation)
{
	struct gc_gaps g = { 0 };

	ck_assert_double_eq(gc_mmu(&g, 0, 100, 10), 1);
	ck_assert_double_eq(gc_mmu(&g, 100, 100, 10), 1);
}
END_TEST

START_TEST(one_gap_takes_its_share_of_the_window)
{
	struct gc_gaps g = { 0 };

	gc_gaps_add(&g, 53, 3);
	ck_assert_double_eq_tol(gc_mmu(&g, 0, 100, 10), 0.7, 1e-12);
	ck_assert_double_eq_tol(gc_mmu(&g, 0, 100, 3), 0, 1e-12);
	ck_assert_double_eq_tol(gc_mmu(&g, 0, 100, 500), 0.97, 1e-12);
	gc_gaps_fini(&g);
}
END_TEST

START_TEST(window_need_not_be_aligned)
{
	struct gc_gaps g = { 0 };

	/* Two gaps that share no window which begins at a multiple of 10. */
	gc_gaps_add(&g, 20, 4);
	gc_gaps_add(&g, 25, 4);
	ck_assert_double_eq_tol(gc_mmu(&g, 0, 100, 10), 0.2, 1e-12);
	gc_gaps_fini(&g);
}
END_TEST

START_TEST(utilisation_is_that_of_every_window_tried)
{
	struct bench_rng rng = { harness_seed() };

	for (int round = 0; round < 60; round++) {
		uint64_t odds = 2 + bench_rng_below(&rng, 30);
		bool lost[SPAN];
		struct gc_gaps g;

		for (int i = 0; i < SPAN; i++)
			lost[i] = bench_rng_below(&rng, odds) == 0;
		g = gaps_of(lost);
		for (uint64_t window = 1; window < 2 * SPAN; window *= 3)
			ck_assert_double_eq_tol(gc_mmu(&g, 0, SPAN, window),
						slow_mmu(lost, 0, SPAN, window),
						1e-12);
		ck_assert_double_eq_tol(gc_mmu(&g, 100, 600, 40),
					slow_mmu(lost, 100, 600, 40), 1e-12);
		gc_gaps_fini(&g);
	}
}
END_TEST

/* --- the meter ------------------------------------------------------------ */

/* A meter whose operations of walking normally take @base ns. */
static void start_at(struct gc_meter *m, uint64_t base)
{
	memset(m, 0, sizeof(*m));
	gc_meter_learn(m);
	for (int i = 0; i < 100; i++)
		gc_tick_at(m, GC_OP_WALK, m->last + base);
	gc_meter_start(m);
	m->last = 0;
}

START_TEST(normal_time_is_no_loss)
{
	struct gc_meter m;

	start_at(&m, 500);
	for (int i = 1; i <= 1000; i++)
		gc_tick_at(&m, GC_OP_WALK, m.last + 500);
	gc_meter_stop(&m);
	ck_assert_uint_eq(m.base[GC_OP_WALK], 500);
	ck_assert_uint_eq(m.lost, 0);
	ck_assert_uint_eq(m.gaps.n, 0);
	ck_assert_uint_eq(gc_meter_normal(&m), 500000);
	gc_meter_fini(&m);
}
END_TEST

START_TEST(what_an_operation_takes_longer_is_lost)
{
	struct gc_meter m;

	start_at(&m, 500);
	gc_tick_at(&m, GC_OP_WALK, 500);
	gc_tick_at(&m, GC_OP_WALK, 1000500); /* 999,500 too long */
	gc_tick_at(&m, GC_OP_WALK, 1001000);
	gc_meter_stop(&m);
	ck_assert_uint_eq(m.worst, 999500);
	ck_assert_uint_eq(m.lost, 999500);
	ck_assert_uint_eq(m.gaps.n, 1);
	ck_assert_uint_eq(m.gaps.v[0].start, 1000);
	ck_assert_uint_eq(m.gaps.v[0].len, 999500);
	gc_meter_fini(&m);
}
END_TEST

START_TEST(excess_leaves_pauses_out)
{
	struct gc_meter m;

	start_at(&m, 500);
	gc_tick_at(&m, GC_OP_WALK, 1500);
	gc_tick_at(&m, GC_OP_WALK, 1900);
	gc_tick_at(&m, GC_OP_WALK, 1001900);
	ck_assert_int_eq(m.excess[GC_OP_WALK], 1000 - 100);
	gc_meter_fini(&m);
}
END_TEST

START_TEST(small_losses_add_up)
{
	struct gc_meter m;

	start_at(&m, 500);
	for (int i = 0; i < 1000; i++)
		gc_tick_at(&m, GC_OP_WALK, m.last + 1000);
	gc_meter_stop(&m);
	ck_assert_uint_eq(m.lost, 500000);
	ck_assert_double_eq_tol(gc_mmu(&m.gaps, 0, m.last, 100000), 0.5, 0.05);
	gc_meter_fini(&m);
}
END_TEST

START_TEST(quick_operations_make_up_for_slow_ones_but_not_for_pauses)
{
	struct gc_meter m;

	start_at(&m, 500);
	for (int i = 0; i < 1000; i++) {
		gc_tick_at(&m, GC_OP_WALK, m.last + 100);
		gc_tick_at(&m, GC_OP_WALK, m.last + 900);
	}
	ck_assert_uint_eq(m.lost, 0);
	for (int i = 0; i < 100000; i++)
		gc_tick_at(&m, GC_OP_WALK, m.last + 100);
	gc_tick_at(&m, GC_OP_WALK, m.last + 1000500);
	ck_assert_uint_eq(m.worst, 1000000);
	ck_assert_uint_ge(m.lost, 1000000 - GC_CREDIT_NS);
	gc_meter_fini(&m);
}
END_TEST

START_TEST(interrupts_while_learning_are_not_normal)
{
	struct gc_meter m = { 0 };

	gc_meter_learn(&m);
	for (int i = 0; i < 1000; i++)
		gc_tick_at(&m, GC_OP_WALK,
			   m.last + (i % 200 == 7 ? 5000000 : 500));
	gc_meter_start(&m);
	ck_assert_uint_eq(m.base[GC_OP_WALK], 500);
	gc_meter_fini(&m);
}
END_TEST

START_TEST(lower_of_two_lessons_is_normal)
{
	struct gc_meter m;

	start_at(&m, 500);
	gc_meter_learn(&m);
	for (int i = 0; i < 100; i++) {
		gc_tick_at(&m, GC_OP_WALK, m.last + 700);
		gc_tick_at(&m, GC_OP_BUILD, m.last + 90);
	}
	gc_meter_start(&m);
	ck_assert_uint_eq(m.base[GC_OP_WALK], 500);
	ck_assert_uint_eq(m.base[GC_OP_BUILD], 90);
	gc_meter_fini(&m);
}
END_TEST

/* --- options -------------------------------------------------------------- */

START_TEST(multiples_are_decimal)
{
	double v = 0;

	ck_assert_int_eq(gc_parse_multiple("2.5", &v), 0);
	ck_assert_double_eq(v, 2.5);
	ck_assert_int_eq(gc_parse_multiple("3", &v), 0);
	ck_assert_double_eq(v, 3);
	ck_assert_int_eq(gc_parse_multiple("", &v), -EINVAL);
	ck_assert_int_eq(gc_parse_multiple("0", &v), -EINVAL);
	ck_assert_int_eq(gc_parse_multiple("-1", &v), -EINVAL);
	ck_assert_int_eq(gc_parse_multiple("2.5x", &v), -EINVAL);
	ck_assert_int_eq(gc_parse_multiple("1e999", &v), -EINVAL);
	ck_assert_double_eq(v, 3);
}
END_TEST

START_TEST(lists_of_numbers_have_suffixes)
{
	uint64_t *v = NULL;
	size_t n = 0;

	ck_assert_int_eq(gc_parse_numbers("16M,1G,3", &v, &n), 0);
	ck_assert_uint_eq(n, 3);
	ck_assert_uint_eq(v[0], 16 << 20);
	ck_assert_uint_eq(v[1], 1 << 30);
	ck_assert_uint_eq(v[2], 3);
	free(v);
	ck_assert_int_eq(gc_parse_numbers("", &v, &n), -EINVAL);
	ck_assert_int_eq(gc_parse_numbers("1,", &v, &n), -EINVAL);
	ck_assert_int_eq(gc_parse_numbers("1,0", &v, &n), -EINVAL);
	ck_assert_int_eq(gc_parse_numbers("1,x", &v, &n), -EINVAL);
}
END_TEST

START_TEST(unknown_name_leaves_the_set_alone)
{
	bool set[GC_COLLECTORS] = { 0 };

	ck_assert_int_eq(gc_parse_names("none,ferry", gc_collector_names,
					GC_COLLECTORS, set),
			 0);
	ck_assert(set[GC_NONE] && set[GC_FERRY]);
	ck_assert(!set[GC_BDWGC] && !set[GC_FERRY_STW]);
	ck_assert_int_eq(gc_parse_names("bdwgc,mps", gc_collector_names,
					GC_COLLECTORS, set),
			 -EINVAL);
	ck_assert(!set[GC_BDWGC]);
}
END_TEST

/* Reads "--name=value"; the sentence of a refusal is left in @err. */
static char err[256];

static int read_plan(struct gc_plan *p, const char *option)
{
	char word[64], cmd[] = "gc";
	char *argv[] = { cmd, word, NULL };
	struct bench_options opt;
	int rc;

	snprintf(word, sizeof(word), "%s", option);
	ck_assert_int_eq(bench_options_parse(gc_options, false, 2, argv, &opt,
					     err, sizeof(err)),
			 0);
	rc = gc_plan_read(&opt, p, err, sizeof(err));
	bench_options_fini(&opt);
	return rc;
}

START_TEST(plan_has_everything_by_default)
{
	struct gc_plan p;

	ck_assert_int_eq(read_plan(&p, "--seed=4"), 0);
	for (int i = 0; i < GC_WORKLOADS; i++)
		ck_assert(p.workload[i]);
	for (int i = 0; i < GC_COLLECTORS; i++)
		ck_assert(p.collector[i]);
	ck_assert_uint_eq(p.nlive, 0);
	ck_assert_uint_eq(p.nmutators, 1);
	ck_assert_uint_eq(p.mutators[0], 1);
	ck_assert_double_eq(p.spec.heap, 2.5);
	ck_assert_uint_eq(p.spec.rates.mutations, 4);
	ck_assert_uint_eq(p.spec.seed, 4);
	ck_assert(!p.spec.ambiguous);
	ck_assert_uint_eq(p.spec.frames, 0);
	gc_plan_fini(&p);
}
END_TEST

START_TEST(conservative_roots_bring_a_hundred_frames)
{
	struct gc_plan p;

	ck_assert_int_eq(read_plan(&p, "--roots=conservative"), 0);
	ck_assert(p.spec.ambiguous);
	ck_assert_uint_eq(p.spec.frames, 100);
	gc_plan_fini(&p);
}
END_TEST

START_TEST(refused_option_is_named)
{
	static const char *const bad[] = {
		"--workload=oldmut,nothing",
		"--collector=mps",
		"--live=1Q",
		"--mutators=0",
		"--heap=0.5",
		"--roots=guess",
	};
	struct gc_plan p;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		size_t len = strcspn(bad[i], "=");

		ck_assert_int_eq(read_plan(&p, bad[i]), -EINVAL);
		ck_assert_msg(!strncmp(err, bad[i], len), "%s: %s", bad[i],
			      err);
		ck_assert_msg(strstr(err, bad[i] + len + 1), "%s: %s", bad[i],
			      err);
		gc_plan_fini(&p);
	}
}
END_TEST

static const struct test tests[] = {
	TEST(touching_gaps_become_one, NULL),
	TEST(gap_cannot_begin_before_time, NULL),
	TEST(nothing_lost_is_full_utilisation, NULL),
	TEST(one_gap_takes_its_share_of_the_window, NULL),
	TEST(window_need_not_be_aligned, NULL),
	TEST(utilisation_is_that_of_every_window_tried, NULL),
	TEST(normal_time_is_no_loss, NULL),
	TEST(what_an_operation_takes_longer_is_lost, NULL),
	TEST(excess_leaves_pauses_out, NULL),
	TEST(small_losses_add_up, NULL),
	TEST(quick_operations_make_up_for_slow_ones_but_not_for_pauses, NULL),
	TEST(interrupts_while_learning_are_not_normal, NULL),
	TEST(lower_of_two_lessons_is_normal, NULL),
	TEST(multiples_are_decimal, NULL),
	TEST(lists_of_numbers_have_suffixes, NULL),
	TEST(unknown_name_leaves_the_set_alone, NULL),
	TEST(plan_has_everything_by_default, NULL),
	TEST(conservative_roots_bring_a_hundred_frames, NULL),
	TEST(refused_option_is_named, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
