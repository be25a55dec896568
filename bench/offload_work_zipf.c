/* SPDX-License-Identifier: MIT */
/*
 * offload_work_zipf.c: a big table of which a twentieth is used, some values
 * much more often than others.
 */
#include <math.h>
#include <stdlib.h>

#include "hist.h"
#include "offload_work.h"

#define HOT   20   /* one in so many values is hot */
#define THETA 0.99 /* as in YCSB (Cooper and others, 2010) */
#define DRAWS 65536
#define BATCH 1024
#define TIMED 16 /* one access in so many is timed by itself */
#define WRITE 16 /* one access in so many changes the value */

struct zipf {
	struct offload_table table;
	uint32_t *draws; /* indices of hot values, as often as they are used */
	struct bench_hist ns;
	uint64_t done, wrong;
};

/* Ranks below @n by Zipf's law: Gray and others, 1994, "Quickly generating
 * billion-record synthetic databases". */
static size_t rank_of(struct bench_rng *rng, size_t n, double zeta)
{
	double u = (double)(bench_rng_next(rng) >> 11) * 0x1p-53;
	double alpha = 1 / (1 - THETA);
	double eta = (1 - pow(2.0 / (double)n, 1 - THETA)) /
		     (1 - (1 + pow(0.5, THETA)) / zeta);
	size_t rank;

	if (u * zeta < 1)
		return 0;
	rank = (size_t)((double)n * pow(eta * u - eta + 1, alpha));
	return rank < n ? rank : n - 1;
}

/* The hot values: the last that were made, or any. In random order of rank. */
static uint32_t *choose_hot(struct bench_rng *rng, size_t n, size_t hot,
			    bool scattered)
{
	uint32_t *v = bench_alloc(n * sizeof(*v));

	for (size_t i = 0; i < n; i++)
		v[i] = (uint32_t)(n - 1 - i);
	bench_rng_shuffle(rng, v, scattered ? n : hot);
	return v;
}

static void draw(struct zipf *z, struct bench_rng *rng, bool scattered)
{
	size_t hot = z->table.n / HOT ? z->table.n / HOT : 1;
	uint32_t *v = choose_hot(rng, z->table.n, hot, scattered);
	double zeta = 0;

	for (size_t i = 1; i <= hot; i++)
		zeta += 1 / pow((double)i, THETA);
	z->draws = bench_alloc(DRAWS * sizeof(*z->draws));
	for (size_t i = 0; i < DRAWS; i++)
		z->draws[i] = v[rank_of(rng, hot, zeta)];
	free(v);
}

static void access_one(struct zipf *z, uint64_t i)
{
	uint32_t id = z->draws[(i * 40503) % DRAWS];

	z->wrong += !offload_value_right(z->table.v[id], id);
	if (i % WRITE == 1)
		offload_value_touch(z->table.v[id], id);
}

static void work(struct zipf *z, uint64_t ms)
{
	uint64_t begin = bench_now(), end = begin + ms * 1000000, now = begin;

	while (now < end) {
		for (size_t i = 0; i < BATCH; i++, z->done++) {
			uint64_t then;

			if (z->done % TIMED) {
				access_one(z, z->done);
				continue;
			}
			then = bench_now();
			access_one(z, z->done);
			now = bench_now();
			bench_hist_add(&z->ns, now - then);
		}
	}
	offload_metric(OFFLOAD_OPS,
		       (double)z->done / ((double)(now - begin) * 1e-9));
}

static void report_latency(const struct zipf *z)
{
	offload_metric(OFFLOAD_OP_P50, bench_hist_quantile(&z->ns, 0.5) / 1e3);
	offload_metric(OFFLOAD_OP_P99, bench_hist_quantile(&z->ns, 0.99) / 1e3);
}

static int run(struct offload_work *w, bool scattered)
{
	struct zipf z = { 0 };
	int rc = offload_table_make(w->bytes, &z.table);
	uint64_t then;

	if (rc < 0)
		return rc;
	offload_metric(OFFLOAD_LIVE, (double)z.table.n * OFFLOAD_VALUE);
	offload_phase(OFFLOAD_FILLED);
	draw(&z, &w->rng, scattered);
	work(&z, w->ms);
	offload_phase(OFFLOAD_RESTED);
	report_latency(&z);
	then = bench_now();
	offload_wrong(z.wrong + offload_table_wrong(&z.table));
	offload_metric(OFFLOAD_PAGE_NS,
		       (double)(bench_now() - then) * 4096 /
			       ((double)z.table.n * OFFLOAD_VALUE));
	offload_phase(OFFLOAD_CHECKED);
	free(z.draws);
	offload_table_free(&z.table);
	return 0;
}

int offload_work_zipf(struct offload_work *w)
{
	return run(w, false);
}

int offload_work_zipf_scattered(struct offload_work *w)
{
	return run(w, true);
}
