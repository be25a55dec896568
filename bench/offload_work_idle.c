/* SPDX-License-Identifier: MIT */
/*
 * offload_work_idle.c: small blocks, of which one in twenty survives,
 * scattered; then nothing happens. The survivors have random contents, which
 * no compressor makes smaller.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "offload_work.h"

/* 150,000 of 512 bytes, 50,000 of 1 KiB, 30,000 of 2 to 3 KiB. */
#define CYCLE	 23
#define SURVIVES 20

struct block {
	uint64_t *p;
	size_t size;
};

static size_t size_of(uint64_t i, struct bench_rng *rng)
{
	uint64_t kind = i % CYCLE;

	if (kind < 15)
		return 512;
	if (kind < 20)
		return 1024;
	return 2048 + bench_rng_below(rng, 129) * 8;
}

static void fill_random(struct block *b, uint64_t id)
{
	struct bench_rng rng = { id };

	for (size_t i = 0; i < b->size / 8; i++)
		b->p[i] = bench_rng_next(&rng);
}

static bool right(const struct block *b, uint64_t id)
{
	struct bench_rng rng = { id };

	for (size_t i = 0; i < b->size / 8; i++)
		if (b->p[i] != bench_rng_next(&rng))
			return false;
	return true;
}

/* Returns 0 or -ENOMEM; @v may have blocks in either case. */
static int fill(struct block *v, size_t n, struct bench_rng *rng)
{
	for (size_t i = 0; i < n; i++) {
		v[i].size = size_of(i, rng);
		v[i].p = malloc(v[i].size);
		if (!v[i].p)
			return -ENOMEM;
		fill_random(&v[i], i);
	}
	return 0;
}

/* Frees all but one in SURVIVES in random order; returns bytes that live, the
 * table included. */
static size_t thin_out(struct block *v, size_t n, struct bench_rng *rng)
{
	uint32_t *order = bench_alloc(n * sizeof(*order));
	size_t live = n * sizeof(*v);

	for (size_t i = 0; i < n; i++)
		order[i] = (uint32_t)i;
	bench_rng_shuffle(rng, order, n);
	for (size_t i = 0; i < n; i++) {
		struct block *b = &v[order[i]];

		if (i < n / SURVIVES) {
			live += b->size;
			continue;
		}
		free(b->p);
		b->p = NULL;
	}
	free(order);
	return live;
}

static void check(const struct block *v, size_t n)
{
	uint64_t wrong = 0;

	for (size_t i = 0; i < n; i++)
		wrong += v[i].p && !right(&v[i], i);
	offload_wrong(wrong);
}

int offload_work_idle(struct offload_work *w)
{
	/* On average 784 bytes. */
	size_t n = w->bytes / 784;
	struct block *v = bench_alloc(n * sizeof(*v));
	struct timespec rest = { (time_t)(w->ms / 1000),
				 (long)(w->ms % 1000) * 1000000 };
	int rc = fill(v, n, &w->rng);

	if (rc == 0) {
		offload_metric(OFFLOAD_LIVE, (double)thin_out(v, n, &w->rng));
		offload_phase(OFFLOAD_FILLED);
		nanosleep(&rest, NULL);
		offload_phase(OFFLOAD_RESTED);
		check(v, n);
		offload_phase(OFFLOAD_CHECKED);
	}
	for (size_t i = 0; i < n; i++)
		free(v[i].p);
	free(v);
	return rc;
}
