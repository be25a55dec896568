/* SPDX-License-Identifier: MIT */
/*
 * Extents of the large space: stretches of pages with boundary tags, the free
 * ones in bins by size.
 */
#ifndef FERRY_RUNTIME_EXTENT_H
#define FERRY_RUNTIME_EXTENT_H

#include "runtime/large.h"

/* A stretch of pages. */
struct ferry__extent {
	size_t first;
	size_t n;
};

/* Beyond this an object's memory is neither kept nor cleared by hand: the
 * time to write so many zeros is part of the time to a safepoint. */
#define FERRY__LARGE_KEEP (((size_t)2 << 20) >> 12)

/* Flags of a tag. The last page's has FREE alone right. */
#define FERRY__EXTENT_FREE   (1ull << 63)
#define FERRY__EXTENT_DIRTY  (1ull << 62) /* free: some may have memory */
#define FERRY__EXTENT_FRESH0 (1ull << 61) /* used: allocated since, L4 */
#define FERRY__EXTENT_FRESH1 (1ull << 60)
#define FERRY__EXTENT_FRESH  (FERRY__EXTENT_FRESH0 | FERRY__EXTENT_FRESH1)
#define FERRY__EXTENT_PAGES  (FERRY__EXTENT_FRESH1 - 1)

/*
 * The tag of the extent that begins or ends at @page. Relaxed: readers
 * without the lock look at tags of objects only, which they found published
 * (L3); all else is read under the lock.
 */
static inline uint64_t ferry__extent_tag(const struct ferry__large *large,
					 size_t page)
{
	return __atomic_load_n(&large->tag[page], __ATOMIC_RELAXED);
}

static inline void ferry__extent_set_tag(struct ferry__large *large,
					 size_t page, uint64_t tag)
{
	__atomic_store_n(&large->tag[page], tag, __ATOMIC_RELAXED);
}

/* L2: acquire, pairs with set_used_end() in extent.c. */
static inline size_t ferry__extent_end(const struct ferry__large *large)
{
	return atomic_load_explicit(&large->used_end, memory_order_acquire);
}

/*
 * Takes @n pages at a multiple of @align pages, as one that is used and
 * fresh; *@ret_dirty: some of it may have memory. False: no address space.
 * Lock.
 */
bool ferry__extent_take(struct ferry__large *large, size_t n, size_t align,
			struct ferry__extent *ret_e, bool *ret_dirty);

/*
 * Files an extent as free, one with its free neighbours. @dirty: it may have
 * memory. The end of the space draws back over what has none. Lock.
 */
void ferry__extent_put(struct ferry__large *large, struct ferry__extent e,
		       bool dirty);

/* Takes the biggest free extent that may have memory, or false. Lock. */
bool ferry__extent_take_dirty(struct ferry__large *large,
			      struct ferry__extent *ret_e);

/* The bin that a free extent of @n pages stands in. */
unsigned int ferry__extent_bin(size_t n);

#endif
