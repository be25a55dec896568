/* SPDX-License-Identifier: MIT */
/*
 * hist.c: buckets whose width is a fixed share of what is in them, as in
 * HdrHistogram (Tene): the leading bit and the BENCH_HIST_BITS behind it.
 */
#include <stddef.h>

#include "hist.h"

#define PER_POWER (UINT64_C(1) << BENCH_HIST_BITS)

static size_t bucket_of(uint64_t v)
{
	int shift;

	if (v < PER_POWER)
		return (size_t)v;
	shift = 63 - __builtin_clzll(v) - BENCH_HIST_BITS;
	return ((size_t)shift << BENCH_HIST_BITS) + (size_t)(v >> shift);
}

static double middle_of(size_t i)
{
	size_t shift = i >> BENCH_HIST_BITS;

	if (i < 2 * PER_POWER)
		return (double)i;
	shift--;
	return ((double)(i - (shift << BENCH_HIST_BITS)) + 0.5) *
	       (double)(UINT64_C(1) << shift);
}

void bench_hist_add(struct bench_hist *h, uint64_t v)
{
	h->count[bucket_of(v)]++;
	h->n++;
}

double bench_hist_quantile(const struct bench_hist *h, double q)
{
	double rank = q * (double)h->n;
	uint64_t below = 0;

	for (size_t i = 0; i < BENCH_HIST_BUCKETS; i++) {
		below += h->count[i];
		if (h->count[i] && (double)below >= rank)
			return middle_of(i);
	}
	return 0;
}
