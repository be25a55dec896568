/* SPDX-License-Identifier: MIT */
/* stats.c: medians, quantiles and paired ratios of samples. */
#include <stdlib.h>
#include <string.h>

#include "stats.h"
#include "util.h"

void bench_samples_add(struct bench_samples *s, double v)
{
	if (s->n == s->room) {
		s->room = s->room ? 2 * s->room : 64;
		s->v = bench_grow(s->v, s->room, sizeof(*s->v));
	}
	s->v[s->n++] = v;
}

void bench_samples_clear(struct bench_samples *s)
{
	s->n = 0;
}

void bench_samples_fini(struct bench_samples *s)
{
	free(s->v);
	memset(s, 0, sizeof(*s));
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return (x > y) - (x < y);
}

static double *sorted(const struct bench_samples *s)
{
	double *v = bench_grow(NULL, s->n, sizeof(*v));

	memcpy(v, s->v, s->n * sizeof(*v));
	qsort(v, s->n, sizeof(*v), compare);
	return v;
}

/* @v is sorted, @n is not 0. */
static double quantile(const double *v, size_t n, double q)
{
	double rank = q * (double)(n - 1);
	size_t below = (size_t)rank;

	if (below + 1 >= n)
		return v[n - 1];
	return v[below] + (rank - (double)below) * (v[below + 1] - v[below]);
}

void bench_samples_quantiles(const struct bench_samples *s, const double *q,
			     size_t n, double *ret_v)
{
	double *v;

	if (!s->n) {
		memset(ret_v, 0, n * sizeof(*ret_v));
		return;
	}
	v = sorted(s);
	for (size_t i = 0; i < n; i++)
		ret_v[i] = quantile(v, s->n, q[i]);
	free(v);
}

double bench_samples_quantile(const struct bench_samples *s, double q)
{
	double v;

	bench_samples_quantiles(s, &q, 1, &v);
	return v;
}

struct bench_stat bench_samples_stat(const struct bench_samples *s)
{
	static const double q[] = { 0.5, 0.0, 1.0 };
	double v[BENCH_ARRAY_LEN(q)];

	bench_samples_quantiles(s, q, BENCH_ARRAY_LEN(q), v);
	return (struct bench_stat){
		.n = s->n, .value = v[0], .min = v[1], .max = v[2]
	};
}

struct bench_stat bench_paired_ratio(const struct bench_samples *a,
				     const struct bench_samples *base)
{
	struct bench_samples ratio = { 0 };
	struct bench_stat st;

	for (size_t i = 0; i < a->n && i < base->n; i++)
		if (base->v[i] > 0)
			bench_samples_add(&ratio, a->v[i] / base->v[i]);
	st = bench_samples_stat(&ratio);
	bench_samples_fini(&ratio);
	return st;
}

struct bench_stat bench_stat_of(double v)
{
	return (struct bench_stat){ .n = 1, .value = v, .min = v, .max = v };
}
