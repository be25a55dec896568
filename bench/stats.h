/* SPDX-License-Identifier: MIT */
/* stats.h: samples of a measurement and what is reported of them. */
#ifndef FERRY_BENCH_STATS_H
#define FERRY_BENCH_STATS_H

#include <stddef.h>

/* Samples in the order in which they were taken. All zero = empty. */
struct bench_samples {
	double *v;
	size_t n;
	size_t room;
};

/* What is reported: the median, and the spread from least to greatest. */
struct bench_stat {
	size_t n;     /* samples behind it; 0 = not measured */
	double value; /* median */
	double min;
	double max;
};

void bench_samples_add(struct bench_samples *s, double v);

/* Forget the samples, keep the room. */
void bench_samples_clear(struct bench_samples *s);
void bench_samples_fini(struct bench_samples *s);

/*
 * The value below which the share @q (0..1) of the samples lies, by linear
 * interpolation between the two nearest ranks (Hyndman and Fan 1996, type 7).
 * 0 for no samples.
 */
double bench_samples_quantile(const struct bench_samples *s, double q);

struct bench_stat bench_samples_stat(const struct bench_samples *s);

/* The quantiles @q[0..n) with one sort, for large sample sets. */
void bench_samples_quantiles(const struct bench_samples *s, const double *q,
			     size_t n, double *ret_v);

/*
 * The ratio of @a to @base, pair by pair: sample i of both comes from the
 * same round, so that what slows a whole round down falls out.
 */
struct bench_stat bench_paired_ratio(const struct bench_samples *a,
				     const struct bench_samples *base);

/* A figure that is not a median of samples: a count, a size, one run. */
struct bench_stat bench_stat_of(double v);

#endif
