/* SPDX-License-Identifier: MIT */
/*
 * compact_readers.c: threads that verify objects while a compaction runs, and
 * what each look costs them.
 */
#include <stdlib.h>
#include <string.h>

#include "compact.h"

/* --- histogram ------------------------------------------------------------ */

/* The power of two, and the three bits below its highest one. */
static size_t class_of(uint64_t ns)
{
	unsigned int top;

	if (ns < 8)
		return ns;
	top = 63 - (unsigned int)__builtin_clzll(ns);
	return (top - 2) * 8 + (ns >> (top - 3) & 7);
}

/* The middle of a class. */
static double class_value(size_t class)
{
	unsigned int top = (unsigned int)(class / 8) + 2;

	if (class < 8)
		return (double)class;
	return (double)(1ull << (top - 3)) * ((double)(8 + class % 8) + 0.5);
}

static void record(struct compact_histogram *h, uint64_t ns)
{
	h->count[class_of(ns)]++;
	h->total++;
	if (ns > h->max)
		h->max = ns;
}

double compact_histogram_quantile(const struct compact_histogram *h, double q)
{
	double want = q * (double)h->total;
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < BENCH_ARRAY_LEN(h->count); i++) {
		sum += h->count[i];
		if (sum && (double)sum >= want)
			break;
	}
	return h->total ? class_value(i) : 0;
}

void compact_histogram_add(struct compact_histogram *to,
			   const struct compact_histogram *from)
{
	for (size_t i = 0; i < BENCH_ARRAY_LEN(to->count); i++)
		to->count[i] += from->count[i];
	to->total += from->total;
	if (from->max > to->max)
		to->max = from->max;
}

/* --- threads -------------------------------------------------------------- */

struct compact_reader {
	struct compact_readers *all;
	struct bench_rng rng;
	pthread_t thread;
	struct compact_histogram latency;
	uint64_t bytes;
	size_t wrong;
};

/* The change-over: nobody is between finding an address and reading it. */
static void park(struct compact_readers *r)
{
	pthread_mutex_lock(&r->lock);
	r->parked++;
	pthread_cond_broadcast(&r->changed);
	while (atomic_load_explicit(&r->pause, memory_order_relaxed))
		pthread_cond_wait(&r->changed, &r->lock);
	r->parked--;
	pthread_mutex_unlock(&r->lock);
}

/* One object, waiting included: this is what a program would feel. */
static void look(struct compact_reader *me)
{
	struct compact_readers *r = me->all;
	bool keep = atomic_load_explicit(&r->measuring, memory_order_relaxed);
	uint64_t start = bench_now();
	size_t i;

	/* Relaxed: park() takes the lock, which orders what it waits for. */
	if (atomic_load_explicit(&r->pause, memory_order_relaxed))
		park(r);
	i = bench_rng_below(&me->rng, r->heap->pattern->n);
	if (!compact_heap_check(r->heap, i))
		me->wrong++;
	if (!keep)
		return;
	record(&me->latency, bench_now() - start);
	me->bytes += r->heap->pattern->v[i].len;
}

static void *reader_main(void *arg)
{
	struct compact_reader *me = arg;

	while (!atomic_load_explicit(&me->all->stop, memory_order_relaxed))
		look(me);
	return NULL;
}

void compact_readers_start(struct compact_readers *r,
			   const struct compact_heap *heap, size_t n,
			   struct bench_rng *rng)
{
	memset(r, 0, sizeof(*r));
	r->heap = heap;
	r->n = n;
	r->v = bench_alloc((n ? n : 1) * sizeof(*r->v));
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	for (size_t i = 0; i < n; i++) {
		memset(&r->v[i], 0, sizeof(r->v[i]));
		r->v[i].all = r;
		r->v[i].rng.state = bench_rng_next(rng);
		if (pthread_create(&r->v[i].thread, NULL, reader_main,
				   &r->v[i]))
			bench_die("no thread to be had");
	}
}

void compact_readers_pause(struct compact_readers *r)
{
	pthread_mutex_lock(&r->lock);
	atomic_store_explicit(&r->pause, true, memory_order_relaxed);
	while (r->parked < r->n)
		pthread_cond_wait(&r->changed, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

void compact_readers_resume(struct compact_readers *r)
{
	pthread_mutex_lock(&r->lock);
	atomic_store_explicit(&r->pause, false, memory_order_relaxed);
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

size_t compact_readers_stop(struct compact_readers *r,
			    struct compact_histogram *ret_latency,
			    uint64_t *ret_bytes)
{
	size_t wrong = 0;

	atomic_store_explicit(&r->stop, true, memory_order_relaxed);
	memset(ret_latency, 0, sizeof(*ret_latency));
	*ret_bytes = 0;
	for (size_t i = 0; i < r->n; i++) {
		pthread_join(r->v[i].thread, NULL);
		compact_histogram_add(ret_latency, &r->v[i].latency);
		*ret_bytes += r->v[i].bytes;
		wrong += r->v[i].wrong;
	}
	free(r->v);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	return wrong;
}
