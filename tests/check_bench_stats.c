/* SPDX-License-Identifier: MIT */
/* Medians, quantiles, paired ratios, interleaved rounds, random numbers. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/hist.h"
#include "tests/harness.h"

static struct bench_samples samples_of(const double *v, size_t n)
{
	struct bench_samples s = { 0 };

	for (size_t i = 0; i < n; i++)
		bench_samples_add(&s, v[i]);
	return s;
}

START_TEST(median_of_odd_and_even_counts)
{
	const double v[] = { 5, 1, 4, 2 };
	struct bench_samples odd = samples_of(v, 3);
	struct bench_samples even = samples_of(v, 4);

	ck_assert_double_eq(bench_samples_stat(&odd).value, 4);
	ck_assert_double_eq(bench_samples_stat(&even).value, 3);
	bench_samples_fini(&odd);
	bench_samples_fini(&even);
}
END_TEST

START_TEST(spread_is_least_and_greatest)
{
	const double v[] = { 7, -2, 30, 8, 9 };
	struct bench_samples s = samples_of(v, 5);
	struct bench_stat st = bench_samples_stat(&s);

	ck_assert_uint_eq(st.n, 5);
	ck_assert_double_eq(st.min, -2);
	ck_assert_double_eq(st.max, 30);
	bench_samples_fini(&s);
}
END_TEST

START_TEST(statistics_leave_the_order_of_samples)
{
	const double v[] = { 3, 1, 2 };
	struct bench_samples s = samples_of(v, 3);

	bench_samples_stat(&s);
	ck_assert_mem_eq(s.v, v, sizeof(v));
	bench_samples_fini(&s);
}
END_TEST

START_TEST(quantiles_interpolate_between_ranks)
{
	struct bench_samples s = { 0 };

	for (int i = 1; i <= 101; i++)
		bench_samples_add(&s, i);
	ck_assert_double_eq(bench_samples_quantile(&s, 0), 1);
	ck_assert_double_eq(bench_samples_quantile(&s, 1), 101);
	ck_assert_double_eq_tol(bench_samples_quantile(&s, 0.99), 100, 1e-9);
	ck_assert_double_eq_tol(bench_samples_quantile(&s, 0.995), 100.5, 1e-9);
	bench_samples_fini(&s);
}
END_TEST

START_TEST(histogram_knows_quantiles_to_three_per_cent)
{
	static struct bench_hist h;

	ck_assert_double_eq(bench_hist_quantile(&h, 0.5), 0);
	for (uint64_t v = 1; v <= 100000; v++)
		bench_hist_add(&h, v * 1000);
	for (double q = 0.01; q < 1; q += 0.01)
		ck_assert_double_eq_tol(bench_hist_quantile(&h, q), q * 1e8,
					0.032 * q * 1e8);
}
END_TEST

START_TEST(histogram_takes_any_value)
{
	static struct bench_hist h;

	bench_hist_add(&h, 0);
	ck_assert_double_eq(bench_hist_quantile(&h, 1), 0);
	bench_hist_add(&h, 63);
	ck_assert_double_eq_tol(bench_hist_quantile(&h, 1), 63, 1);
	bench_hist_add(&h, UINT64_MAX);
	ck_assert_double_eq_tol(bench_hist_quantile(&h, 1), 0x1p64, 0x1p59);
}
END_TEST

START_TEST(no_samples_is_not_measured)
{
	struct bench_samples s = { 0 };
	struct bench_stat st = bench_samples_stat(&s);
	struct bench_target t = { .sense = BENCH_AT_MOST, .limit = 1 };

	ck_assert_uint_eq(st.n, 0);
	t.got = st;
	ck_assert_str_eq(bench_target_verdict(&t), "not measured");
}
END_TEST

START_TEST(ratio_is_formed_within_a_round)
{
	/* Every round a different speed, always twice as slow. */
	const double base[] = { 1, 100, 10 };
	const double twice[] = { 2, 200, 20 };
	struct bench_samples a = samples_of(twice, 3);
	struct bench_samples b = samples_of(base, 3);
	struct bench_stat st = bench_paired_ratio(&a, &b);

	ck_assert_double_eq(st.value, 2);
	ck_assert_double_eq(st.min, 2);
	ck_assert_double_eq(st.max, 2);
	bench_samples_fini(&a);
	bench_samples_fini(&b);
}
END_TEST

START_TEST(verdict_follows_the_sense_of_the_limit)
{
	struct bench_target t = { .limit = 3, .got = bench_stat_of(4) };

	t.sense = BENCH_AT_LEAST;
	ck_assert_str_eq(bench_target_verdict(&t), "reached");
	t.sense = BENCH_AT_MOST;
	ck_assert_str_eq(bench_target_verdict(&t), "not reached");
}
END_TEST

/* A case that notes in which order it was run. */
struct noting {
	char name;
	char *log;
	size_t *n;
	int error;
};

static int run_noting(void *arg, double *ret_v)
{
	struct noting *c = arg;

	c->log[(*c->n)++] = c->name;
	*ret_v = (double)*c->n;
	return c->error;
}

START_TEST(rounds_run_every_case_once_in_shuffled_order)
{
	struct bench b = { .rng = { harness_seed() } };
	char log[3 * 33];
	size_t n = 0;
	struct noting c[3] = { { 'a', log, &n, 0 },
			       { 'b', log, &n, 0 },
			       { 'c', log, &n, 0 } };
	struct bench_case cases[3] = { 0 };
	bool shuffled = false;

	for (int i = 0; i < 3; i++)
		cases[i] =
			(struct bench_case){ .run = run_noting, .arg = &c[i] };
	bench_rounds(&b, cases, 3, 32, 60000);
	ck_assert_uint_eq(n, sizeof(log));
	for (size_t i = 0; i < n; i += 3) {
		ck_assert(memchr(log + i, 'a', 3) != NULL);
		ck_assert(memchr(log + i, 'b', 3) != NULL);
		ck_assert(memchr(log + i, 'c', 3) != NULL);
		shuffled |= memcmp(log, log + i, 3) != 0;
	}
	ck_assert(shuffled);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(cases[i].samples.n, 32);
	bench_cases_fini(cases, 3);
}
END_TEST

START_TEST(first_round_warms_up_and_is_not_kept)
{
	struct bench b = { 0 };
	char log[8];
	size_t n = 0;
	struct noting c = { 'a', log, &n, 0 };
	struct bench_case one = { .run = run_noting, .arg = &c };

	bench_rounds(&b, &one, 1, 5, 60000);
	ck_assert_uint_eq(n, 6);
	ck_assert_uint_eq(one.samples.n, 5);
	ck_assert_double_eq(one.samples.v[0], 2);
	bench_cases_fini(&one, 1);
}
END_TEST

START_TEST(case_that_fails_is_dropped_with_its_error)
{
	struct bench b = { 0 };
	char log[64];
	size_t n = 0;
	struct noting c[2] = { { 'a', log, &n, 0 }, { 'b', log, &n, -EIO } };
	struct bench_case cases[2] = { { .run = run_noting, .arg = &c[0] },
				       { .run = run_noting, .arg = &c[1] } };

	bench_rounds(&b, cases, 2, 5, 60000);
	ck_assert_int_eq(cases[1].error, -EIO);
	ck_assert_uint_eq(cases[1].samples.n, 0);
	ck_assert_uint_eq(cases[0].samples.n, 5);
	ck_assert_uint_eq(n, 7);
	bench_cases_fini(cases, 2);
}
END_TEST

START_TEST(seed_decides_the_random_numbers)
{
	struct bench_rng a = { 42 }, b = { 42 }, c = { 43 };
	uint64_t first = bench_rng_next(&a);

	ck_assert_uint_eq(first, bench_rng_next(&b));
	ck_assert_uint_ne(first, bench_rng_next(&c));
	for (int i = 0; i < 1000; i++)
		ck_assert_uint_lt(bench_rng_below(&a, 7), 7);
}
END_TEST

START_TEST(shuffle_keeps_every_number)
{
	struct bench_rng rng = { harness_seed() };
	uint32_t v[257];
	bool seen[257] = { 0 };

	for (uint32_t i = 0; i < 257; i++)
		v[i] = i;
	bench_rng_shuffle(&rng, v, 257);
	for (int i = 0; i < 257; i++) {
		ck_assert(!seen[v[i]]);
		seen[v[i]] = true;
	}
}
END_TEST

START_TEST(pool_gives_present_pages_that_can_be_verified)
{
	size_t len = 4 << 20, page = 4096;
	char *a = bench_pool_get(len, false);
	char *b;

	ck_assert_uint_eq((uintptr_t)a % (2 << 20), 0);
	bench_fill(a, len, 7);
	for (size_t i = 0; i < len; i += page)
		ck_assert(bench_page_filled(a, i, 7));
	a[page * 3] ^= 1;
	ck_assert(!bench_page_filled(a, page * 3, 7));
	bench_pool_put(a, len, false);
	b = bench_pool_get(len, false);
	ck_assert_ptr_eq(a, b);
	bench_pool_put(b, len, false);
	bench_pool_drain();
}
END_TEST

static const struct test tests[] = {
	TEST(median_of_odd_and_even_counts, NULL),
	TEST(spread_is_least_and_greatest, NULL),
	TEST(statistics_leave_the_order_of_samples, NULL),
	TEST(quantiles_interpolate_between_ranks, NULL),
	TEST(histogram_knows_quantiles_to_three_per_cent, NULL),
	TEST(histogram_takes_any_value, NULL),
	TEST(no_samples_is_not_measured, NULL),
	TEST(ratio_is_formed_within_a_round, NULL),
	TEST(verdict_follows_the_sense_of_the_limit, NULL),
	TEST(rounds_run_every_case_once_in_shuffled_order, NULL),
	TEST(first_round_warms_up_and_is_not_kept, NULL),
	TEST(case_that_fails_is_dropped_with_its_error, NULL),
	TEST(seed_decides_the_random_numbers, NULL),
	TEST(shuffle_keeps_every_number, NULL),
	TEST(pool_gives_present_pages_that_can_be_verified, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
