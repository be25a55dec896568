/* SPDX-License-Identifier: MIT */
/*
 * The accounts of the large space: extents, bins, side table and memory by
 * the invariants L1 to L5 of runtime/DESIGN.md.
 */
#include "runtime/heap-internal.h"

#include <errno.h>

#include "alloc/alloc-internal.h"
#include "runtime/extent.h"
#include "runtime/verify.h"

#define PAGE ((size_t)1 << FERRY__LARGE_SHIFT)

/* What the walk has added up. */
struct sums {
	size_t bytes; /* in objects */
	size_t kept;  /* in free extents with memory */
	size_t free;  /* extents */
};

static uintptr_t addr_of(const struct ferry_heap *heap, size_t page)
{
	return heap->base + 2 * heap->half + page * PAGE;
}

static int found(struct ferry_heap_fault *fault, const struct ferry_heap *heap,
		 const char *what, size_t page, uint64_t value)
{
	return ferry__found(fault, what, addr_of(heap, page), NULL,
			    (uintptr_t)value);
}

static uint8_t meta_at(const struct ferry_heap *heap, size_t page)
{
	return ferry__meta_load(heap->large_meta + page);
}

/* Bytes of an extent that the arena has memory for. */
static size_t live_bytes(const struct ferry_heap *heap, struct ferry__extent e)
{
	const struct ferry__pages *pages = &heap->arena->pages;
	size_t at = (addr_of(heap, e.first) - heap->base) / ferry__page_size;
	size_t end = at + e.n * PAGE / ferry__page_size, sum = 0;

	for (; at < end; at++)
		sum += ferry__pages_get(pages, at) == FERRY_PAGE_LIVE;
	return sum * ferry__page_size;
}

/* L1 and L5: what a free extent is. */
static int check_free(const struct ferry_heap *heap, struct ferry__extent e,
		      uint64_t tag, struct sums *sums,
		      struct ferry_heap_fault *fault)
{
	size_t kept = live_bytes(heap, e);
	size_t next = e.first + e.n, i;

	for (i = e.first; i < next; i++)
		if (meta_at(heap, i))
			return found(fault, heap,
				     "a free page has an entry in the side "
				     "table",
				     i, meta_at(heap, i));
	if (next < ferry__extent_end(&heap->large) &&
	    ferry__extent_tag(&heap->large, next) & FERRY__EXTENT_FREE)
		return found(fault, heap, "two free extents side by side",
			     e.first, next);
	if (kept && !(tag & FERRY__EXTENT_DIRTY))
		return found(fault, heap, "a clean extent has memory", e.first,
			     kept);
	sums->kept += kept;
	sums->free++;
	return 0;
}

/* L2 and L3: what an object is. */
static int check_used(const struct ferry_heap *heap, struct ferry__extent e,
		      uint64_t tag, struct sums *sums,
		      struct ferry_heap_fault *fault)
{
	size_t i, last = e.first + e.n - 1;

	if (!(meta_at(heap, e.first) & FERRY_META_KIND))
		return found(fault, heap, "a used extent without an object",
			     e.first, tag);
	if (!(meta_at(heap, last) & FERRY_META_END))
		return found(fault, heap, "a large object without an end",
			     e.first, last);
	for (i = e.first; i <= last; i++) {
		if (i > e.first && i < last && meta_at(heap, i))
			return found(fault, heap,
				     "an entry inside a large object", e.first,
				     i);
		if (heap->large.start[i] != e.first)
			return found(fault, heap, "a page with the wrong start",
				     e.first, i);
	}
	if (live_bytes(heap, e) != e.n * PAGE)
		return found(fault, heap, "a large object lacks memory",
			     e.first, live_bytes(heap, e));
	sums->bytes += e.n * PAGE;
	return 0;
}

/* L1: extents tile the space. */
static int check_extents(const struct ferry_heap *heap, struct sums *sums,
			 struct ferry_heap_fault *fault)
{
	const struct ferry__large *large = &heap->large;
	size_t end = ferry__extent_end(large);
	struct ferry__extent e = { 0, 0 };
	uint64_t tag, last;
	int r = 0;

	for (; r == 0 && e.first < end; e.first += e.n) {
		tag = ferry__extent_tag(large, e.first);
		e.n = tag & FERRY__EXTENT_PAGES;
		if (!e.n || e.n > end - e.first)
			return found(fault, heap, "an extent of a wrong length",
				     e.first, tag);
		last = ferry__extent_tag(large, e.first + e.n - 1);
		if ((last ^ tag) & (FERRY__EXTENT_PAGES | FERRY__EXTENT_FREE))
			return found(fault, heap, "an extent's tags differ",
				     e.first, last);
		if (tag & FERRY__EXTENT_FREE)
			r = check_free(heap, e, tag, sums, fault);
		else
			r = check_used(heap, e, tag, sums, fault);
	}
	return r;
}

/* L5: each entry of a bin belongs there; how many there are. */
static int check_bin(const struct ferry_heap *heap, bool dirty,
		     unsigned int bin, size_t *sum,
		     struct ferry_heap_fault *fault)
{
	const struct ferry__large *large = &heap->large;
	const struct ferry__large_bins *bins = &large->bins[dirty];
	uint32_t at, prev = 0;
	uint64_t tag;

	if (!(bins->some[bin / 64] & 1ull << bin % 64) != !bins->head[bin])
		return found(fault, heap, "a bin that is and is not empty", 0,
			     bin);
	for (at = bins->head[bin]; at; at = large->link[at - 1].next) {
		tag = ferry__extent_tag(large, at - 1);
		if (!(tag & FERRY__EXTENT_FREE) ||
		    !(tag & FERRY__EXTENT_DIRTY) != !dirty ||
		    ferry__extent_bin(tag & FERRY__EXTENT_PAGES) != bin)
			return found(fault, heap, "an extent in a wrong bin",
				     at - 1, bin);
		if (large->link[at - 1].prev != prev)
			return found(fault, heap, "a bin's links differ",
				     at - 1, bin);
		if (++*sum > large->pages)
			return found(fault, heap, "a bin goes in a circle",
				     at - 1, bin);
		prev = at;
	}
	return 0;
}

static int check_bins(const struct ferry_heap *heap, size_t expected,
		      struct ferry_heap_fault *fault)
{
	unsigned int bin;
	size_t sum = 0;
	int r = 0;

	for (bin = 0; r == 0 && bin < FERRY__LARGE_BINS; bin++) {
		r = check_bin(heap, false, bin, &sum, fault);
		if (r == 0)
			r = check_bin(heap, true, bin, &sum, fault);
	}
	if (r == 0 && sum != expected)
		return found(fault, heap, "a free extent is in no bin", 0, sum);
	return r;
}

static int check_sums(struct ferry_heap *heap, const struct sums *sums,
		      struct ferry_heap_fault *fault)
{
	/* Relaxed: the world is stopped. */
	size_t bytes =
		atomic_load_explicit(&heap->large.bytes, memory_order_relaxed);
	size_t kept =
		atomic_load_explicit(&heap->large.kept, memory_order_relaxed);

	if (bytes != sums->bytes)
		return found(fault, heap,
			     "bytes of large objects are miscounted", 0, bytes);
	if (kept != sums->kept)
		return found(fault, heap, "kept memory is miscounted", 0, kept);
	return 0;
}

int ferry__large_check(struct ferry_heap *heap,
		       struct ferry_heap_fault *ret_fault)
{
	struct sums sums = { 0, 0, 0 };
	int r;

	pthread_mutex_lock(&heap->large.lock);
	r = check_extents(heap, &sums, ret_fault);
	if (r == 0)
		r = check_bins(heap, sums.free, ret_fault);
	if (r == 0)
		r = check_sums(heap, &sums, ret_fault);
	pthread_mutex_unlock(&heap->large.lock);
	return r;
}
