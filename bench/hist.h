/* SPDX-License-Identifier: MIT */
/* hist.h: quantiles of very many durations in little memory. */
#ifndef FERRY_BENCH_HIST_H
#define FERRY_BENCH_HIST_H

#include <stdint.h>

/* Each power of two has so many buckets: values are known to 3 %. */
#define BENCH_HIST_BITS	   5
#define BENCH_HIST_BUCKETS ((65 - BENCH_HIST_BITS) << BENCH_HIST_BITS)

/* All zero = empty. */
struct bench_hist {
	uint64_t count[BENCH_HIST_BUCKETS];
	uint64_t n;
};

void bench_hist_add(struct bench_hist *h, uint64_t v);

/* The middle of the bucket below which the share @q lies; 0 for none. */
double bench_hist_quantile(const struct bench_hist *h, double q);

#endif
