/* SPDX-License-Identifier: MIT */
/* Statistics of a heap, as one snapshot, and what histograms say. */
#include <string.h>

#include "runtime/heap-internal.h"

/* --- histograms -------------------------------------------------------------- */

/* Relaxed: see T1 in event.c. The count is made here, so that it agrees with
 * the buckets. */
static void histogram_read(const struct ferry_histogram *h,
			   struct ferry_histogram *ret)
{
	uint64_t count = 0;
	unsigned int i;

	for (i = 0; i < FERRY_HISTOGRAM_BUCKETS; i++) {
		ret->bucket[i] =
			__atomic_load_n(&h->bucket[i], __ATOMIC_RELAXED);
		count += ret->bucket[i];
	}
	ret->count = count;
	ret->sum_ns = __atomic_load_n(&h->sum_ns, __ATOMIC_RELAXED);
	ret->max_ns = __atomic_load_n(&h->max_ns, __ATOMIC_RELAXED);
}

/* How many of @count samples are @permille of them: upwards, at least one. */
static uint64_t rank_of(uint64_t count, unsigned int permille)
{
	uint64_t whole = count / 1000 * permille;
	uint64_t rank = whole + (count % 1000 * permille + 999) / 1000;

	return rank ? rank : 1;
}

uint64_t ferry_histogram_quantile(const struct ferry_histogram *h,
				  unsigned int permille)
{
	uint64_t rank, top, seen = 0;
	unsigned int i;

	if (!h->count)
		return 0;
	if (permille >= 1000)
		return h->max_ns;
	rank = rank_of(h->count, permille);
	for (i = 0; i < FERRY_HISTOGRAM_BUCKETS - 1; i++) {
		seen += h->bucket[i];
		if (seen >= rank)
			break;
	}
	top = ferry_histogram_floor(i + 1) - 1;
	return top < h->max_ns ? top : h->max_ns;
}

/* --- the snapshot -------------------------------------------------------------- */

/* Relaxed: gauges and sums, between which no order is promised. */
#define load(word) atomic_load_explicit(&(word), memory_order_relaxed)

static void read_now(struct ferry_heap *heap, struct ferry_heap_stats *s)
{
	size_t large = load(heap->large.bytes);
	size_t free_blocks;

	pthread_mutex_lock(&heap->space.lock);
	free_blocks = heap->space.free.len;
	pthread_mutex_unlock(&heap->space.lock);
	s->mode = ferry__mode(heap);
	s->why = heap->why;
	s->large = large;
	s->used = load(heap->space.taken) + large;
	s->committed = s->used + free_blocks * FERRY__BLOCK_SIZE +
		       load(heap->large.kept);
	s->live = load(heap->policy.live);
	s->target = load(heap->policy.target);
	s->limit = load(heap->policy.limit);
	if (heap->remember.dirty)
		s->dirty_provider = ferry_dirty_provider(heap->remember.dirty);
}

static void read_counters(struct ferry_heap *heap, struct ferry_heap_stats *s)
{
	struct ferry__counters *count = &heap->events.count;

	s->pinned = load(count->pinned);
	s->minors = load(count->minors);
	s->fulls = load(count->fulls);
	s->compactions = load(count->compactions);
	s->allocated = load(heap->space.allocated);
	s->copied = load(count->copied);
	s->moved = load(count->moved);
	s->released = load(count->released);
	s->faults = load(count->faults);
	s->dirty_pages = load(count->dirty_pages);
	s->rounds = load(count->rounds);
	s->gc_cpu_ns = load(count->gc_cpu_ns);
	s->paced_ns = load(count->paced_ns);
}

static void read_histograms(struct ferry_heap *heap, struct ferry_heap_stats *s)
{
	struct ferry__events *events = &heap->events;
	unsigned int i;

	for (i = 0; i < FERRY_PAUSES; i++)
		histogram_read(&events->pauses[i], &s->pauses[i]);
	histogram_read(&events->to_stop, &s->to_stop);
	histogram_read(&events->fault, &s->fault_ns);
	histogram_read(&events->stall, &s->stall_ns);
	s->stalls = s->stall_ns.count;
}

int ferry_heap_stats(struct ferry_heap *heap,
		     struct ferry_heap_stats *ret_stats)
{
	struct ferry_heap_stats s;
	size_t size;
	int r;

	r = ferry__params_copy(&s, sizeof(s), ret_stats, sizeof(s.size));
	if (r)
		return r;
	size = s.size;
	memset(&s, 0, sizeof(s));
	s.size = size;
	read_now(heap, &s);
	read_counters(heap, &s);
	read_histograms(heap, &s);
	memcpy(ret_stats, &s, size < sizeof(s) ? size : sizeof(s));
	return 0;
}
