/* SPDX-License-Identifier: MIT */
/*
 * Marking: markers, their stacks, and what they share.
 */
#ifndef FERRY_RUNTIME_MARK_H
#define FERRY_RUNTIME_MARK_H

#include <ferry/object.h>

#include <pthread.h>
#include <stdatomic.h>

/* Slots that a marker gathers before it looks at any: enough that the
 * prefetches of one batch overlap, few enough to stay in the first cache. */
#define FERRY__MARK_SLOTS 128u

/* A piece of mark stack: one page, handed between markers as a whole. */
struct ferry__mark_chunk {
	struct ferry__mark_chunk *next;
	uint32_t n;
	uintptr_t object[(4096 - 16) / sizeof(uintptr_t)];
};

struct ferry__marker {
	struct ferry_visitor visitor; /* first: see ferry__marker_of() */
	struct ferry_heap *heap;
	struct ferry__mark_chunk *chunk; /* pushed to and popped from */
	uint64_t objects;		 /* traced since the cycle began */
	uint64_t bytes;			 /* of these, by callbacks */
	void *slots[FERRY__MARK_SLOTS];
};

struct ferry__mark {
	pthread_mutex_t lock; /* rank 25 */
	pthread_cond_t work;
	struct ferry__mark_chunk *full; /* chunks with work */
	struct ferry__mark_chunk *empty;
	unsigned int idle;	      /* markers without work */
	unsigned int markers;	      /* that take part in this phase */
	_Atomic bool hungry;	      /* somebody waits for work: hand over */
	struct ferry__marker *marker; /* by number; params.threads of them */
	_Atomic bool overflow;	      /* no memory for a chunk: rescan */
};

/* The marker a visitor is part of. */
static inline struct ferry__marker *ferry__marker_of(struct ferry_visitor *v)
{
	return (struct ferry__marker *)v;
}

#endif
