/* SPDX-License-Identifier: MIT */
/*
 * malloc_work.h: what ferry-bench malloc has allocators do, in the process of
 * a run. Every block carries contents by which it is known, and these are
 * looked at before it is freed.
 */
#ifndef FERRY_BENCH_MALLOC_WORK_H
#define FERRY_BENCH_MALLOC_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "util.h"

/* One run. A workload does @amount of its units. */
struct malloc_work {
	uint64_t amount;
	struct bench_rng rng;
	uint64_t wrong;	     /* blocks without their contents */
	uint64_t misaligned; /* blocks not aligned as was asked */
};

/* Each returns 0 or a negative errno. */
typedef int malloc_work_fn(struct malloc_work *w);

malloc_work_fn malloc_work_churn;   /* steps */
malloc_work_fn malloc_work_queue;   /* blocks */
malloc_work_fn malloc_work_threads; /* steps, of all threads */
malloc_work_fn malloc_work_realloc; /* arrays */
malloc_work_fn malloc_work_large;   /* buffers */
malloc_work_fn malloc_work_grow;    /* MiB */
malloc_work_fn malloc_work_start;   /* programs */
malloc_work_fn malloc_work_fork;    /* forks */
malloc_work_fn malloc_work_heap;    /* steps */

/* What lies outside these two is not measured; a workload that calls neither
 * is measured as a whole. */
void malloc_work_begin(void);
void malloc_work_end(void);

/* The process of a run: "--malloc-work WORKLOAD AMOUNT SEED". */
#define MALLOC_WORK_ARGUMENT "--malloc-work"
int malloc_work_main(int argc, char **argv);

/* --- blocks that are known by their contents ------------------------------ */

/* Word @i of a block that is called @id. */
static inline uint64_t malloc_word(uint64_t id, size_t i)
{
	return (id + i) * UINT64_C(0x9e3779b97f4a7c15);
}

/* Writes every @step-th word of the block, whose size is a multiple of 8. */
static inline void malloc_fill(void *p, size_t size, uint64_t id, size_t step)
{
	uint64_t *words = p;

	for (size_t i = 0; i < size / 8; i += step)
		words[i] = malloc_word(id, i);
}

static inline bool malloc_right(const void *p, size_t size, uint64_t id,
				size_t step)
{
	const uint64_t *words = p;

	for (size_t i = 0; i < size / 8; i += step)
		if (words[i] != malloc_word(id, i))
			return false;
	return true;
}

/* A block and what it should contain. */
struct malloc_block {
	void *p;
	size_t size;
	uint64_t id;
};

/* --- small blocks --------------------------------------------------------- */

/* Mostly below 128 bytes, some up to 512, a few up to 4 KiB. */
static inline size_t malloc_small_size(uint64_t r)
{
	size_t step = 8;

	if (r % 16 == 0)
		step = 256;
	else if (r % 4 == 0)
		step = 32;
	return (1 + (size_t)(r >> 8) % 16) * step;
}

/* First and last word: a program does not read all of what it frees. */
static inline size_t malloc_ends(size_t size)
{
	return size > 8 ? size / 8 - 1 : 1;
}

static inline bool malloc_all_zero(const uint64_t *p, size_t size)
{
	uint64_t or = 0;

	for (size_t i = 0; i < size / 8; i++)
		or |= p[i];
	return or == 0;
}

#endif
