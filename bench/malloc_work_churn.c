/* SPDX-License-Identifier: MIT */
/*
 * malloc_work_churn.c: one thread: small blocks that come and go, large
 * buffers, arrays that grow.
 */
#include <errno.h>
#include <stdlib.h>

#include "malloc_work.h"

/* --- small blocks --------------------------------------------------------- */

#define CHURN_SLOTS 65536

static int churn_new(struct malloc_work *w, struct malloc_block *b, uint64_t r)
{
	b->size = malloc_small_size(r);
	b->id = r;
	if (r >> 60 == 0) { /* one in 16 */
		b->p = calloc(1, b->size);
		w->wrong += b->p && !malloc_all_zero(b->p, b->size);
	} else {
		b->p = malloc(b->size);
	}
	if (!b->p)
		return -ENOMEM;
	malloc_fill(b->p, b->size, b->id, malloc_ends(b->size));
	return 0;
}

static void churn_free(struct malloc_work *w, struct malloc_block *b)
{
	if (!b->p)
		return;
	w->wrong += !malloc_right(b->p, b->size, b->id, malloc_ends(b->size));
	free(b->p);
	b->p = NULL;
}

int malloc_work_churn(struct malloc_work *w)
{
	struct malloc_block *slots = bench_alloc(CHURN_SLOTS * sizeof(*slots));
	int rc = 0;

	for (uint64_t i = 0; i < w->amount && rc == 0; i++) {
		uint64_t r = bench_rng_next(&w->rng);
		struct malloc_block *b = &slots[r >> 16 & (CHURN_SLOTS - 1)];

		churn_free(w, b);
		rc = churn_new(w, b, r);
	}
	for (size_t i = 0; i < CHURN_SLOTS; i++)
		churn_free(w, &slots[i]);
	free(slots);
	return rc;
}

/* --- large buffers -------------------------------------------------------- */

#define LARGE_SLOTS 4
#define LARGE_LEAST ((size_t)8 << 20)
#define LARGE_MOST  ((size_t)64 << 20)
#define PAGE_WORDS  512

static int large_new(struct malloc_work *w, struct malloc_block *b)
{
	size_t span = (LARGE_MOST - LARGE_LEAST) / 4096;

	b->size = LARGE_LEAST + bench_rng_below(&w->rng, span + 1) * 4096;
	b->id = bench_rng_next(&w->rng);
	b->p = malloc(b->size);
	if (!b->p)
		return -ENOMEM;
	malloc_fill(b->p, b->size, b->id, PAGE_WORDS);
	return 0;
}

static void large_free(struct malloc_work *w, struct malloc_block *b)
{
	if (!b->p)
		return;
	w->wrong += !malloc_right(b->p, b->size, b->id, PAGE_WORDS);
	free(b->p);
	b->p = NULL;
}

/* A word of each page is written, and looked at before it is freed. */
int malloc_work_large(struct malloc_work *w)
{
	struct malloc_block slots[LARGE_SLOTS] = { 0 };
	int rc = 0;

	for (size_t i = 0; i < LARGE_SLOTS && rc == 0; i++)
		rc = large_new(w, &slots[i]);
	malloc_work_begin();
	for (uint64_t i = 0; i < w->amount && rc == 0; i++) {
		struct malloc_block *b =
			&slots[bench_rng_below(&w->rng, LARGE_SLOTS)];

		large_free(w, b);
		rc = large_new(w, b);
	}
	for (size_t i = 0; i < LARGE_SLOTS; i++)
		large_free(w, &slots[i]);
	return rc;
}

/* --- one buffer that grows ------------------------------------------------ */

#define GROW_LEAST ((size_t)1 << 20)
/* A block beside it at each step: programs do not only grow. */
#define GROW_BESIDE 65536
#define GROW_STEPS  32

static int grow_step(struct malloc_block *b, size_t most)
{
	size_t size = b->size + b->size / 2 / 4096 * 4096;
	char *p;

	if (size > most)
		size = most;
	p = realloc(b->p, size);
	if (!p)
		return -ENOMEM;
	malloc_fill(p + b->size, size - b->size, b->id + b->size / 8,
		    PAGE_WORDS);
	b->p = p;
	b->size = size;
	return 0;
}

int malloc_work_grow(struct malloc_work *w)
{
	struct malloc_block b = { .size = GROW_LEAST,
				  .id = bench_rng_next(&w->rng) };
	size_t most = (size_t)w->amount << 20, i;
	void *beside[GROW_STEPS] = { 0 };
	int rc = 0;

	b.p = malloc(b.size);
	if (!b.p)
		return -ENOMEM;
	malloc_fill(b.p, b.size, b.id, PAGE_WORDS);
	for (i = 0; rc == 0 && b.size < most; i++) {
		free(beside[i % GROW_STEPS]);
		beside[i % GROW_STEPS] = calloc(1, GROW_BESIDE);
		rc = grow_step(&b, most);
	}
	large_free(w, &b);
	for (i = 0; i < GROW_STEPS; i++)
		free(beside[i]);
	return rc;
}

/* --- arrays that grow ----------------------------------------------------- */

/* As many grow at the same time. */
#define ARRAYS	   8
#define LINE_WORDS 8

/* An array, the bytes it grows to, and how. */
struct array {
	struct malloc_block b;
	size_t most;
	bool steadily; /* by 64 bytes, else by half of what it has */
};

/* One in two is a text of some KiB, the others reach 64 KiB to 4 MiB. */
static int array_new(struct malloc_work *w, struct array *a)
{
	uint64_t r = bench_rng_next(&w->rng);

	a->steadily = r & 1;
	a->most = a->steadily ? 4096 : (size_t)65536 << (r >> 1) % 7;
	a->b.size = 64;
	a->b.id = r;
	a->b.p = malloc(a->b.size);
	if (!a->b.p)
		return -ENOMEM;
	malloc_fill(a->b.p, a->b.size, a->b.id, LINE_WORDS);
	return 0;
}

static int array_grow(struct array *a)
{
	size_t add = a->steadily ? 64 : (a->b.size / 2 + 63) / 64 * 64;
	char *p = realloc(a->b.p, a->b.size + add);

	if (!p)
		return -ENOMEM;
	a->b.p = p;
	malloc_fill(p + a->b.size, add, a->b.id + a->b.size / 8, LINE_WORDS);
	a->b.size += add;
	return 0;
}

static void array_free(struct malloc_work *w, struct array *a)
{
	if (!a->b.p)
		return;
	w->wrong += !malloc_right(a->b.p, a->b.size, a->b.id, LINE_WORDS);
	free(a->b.p);
	a->b.p = NULL;
}

int malloc_work_realloc(struct malloc_work *w)
{
	struct array v[ARRAYS] = { 0 };
	uint64_t done = 0;
	int rc = 0;

	for (size_t i = 0; i < ARRAYS && rc == 0; i++)
		rc = array_new(w, &v[i]);
	while (rc == 0 && done < w->amount) {
		struct array *a = &v[bench_rng_below(&w->rng, ARRAYS)];

		if (a->b.size < a->most) {
			rc = array_grow(a);
			continue;
		}
		array_free(w, a);
		done++;
		rc = array_new(w, a);
	}
	for (size_t i = 0; i < ARRAYS; i++)
		array_free(w, &v[i]);
	return rc;
}
