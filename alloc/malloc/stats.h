/* SPDX-License-Identifier: MIT */
/* What the malloc counts. */
#ifndef FERRY_ALLOC_MALLOC_STATS_H
#define FERRY_ALLOC_MALLOC_STATS_H

#include "alloc/malloc/engine.h"

struct ferry__stats {
	size_t allocated; /* bytes that the program has now */
	size_t active;	  /* bytes of pages that hold any of them */
	size_t mapped;	  /* bytes of address space used for the heap */
	size_t resident;  /* bytes that have memory, by jemalloc's books:
			     what is out counts as if it were in */
	size_t metadata;  /* of these, what the engine needs for itself */
	size_t dirty;	  /* freed bytes kept for reuse */
};

/* Any thread; takes locks of the engine's. */
FERRY__HIDDEN void ferry__stats_get(struct ferry__stats *ret);

/* Room enough for ferry__stats_text(). */
#define FERRY__STATS_TEXT 4096

/*
 * The counts as lines "key value". Returns the number of bytes, without a
 * final zero. Allocates nothing.
 */
FERRY__HIDDEN size_t ferry__stats_text(char *buf, size_t size);

#endif
