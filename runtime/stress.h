/* SPDX-License-Identifier: MIT */
/*
 * Stress modes as the collector calls them, and faults of the host's that
 * were found in passing. What is on is in struct ferry__stress, policy.h.
 */
#ifndef FERRY_RUNTIME_STRESS_H
#define FERRY_RUNTIME_STRESS_H

#include <ferry/mutator.h>

#include <stdatomic.h>

/* Where random delays strike: between steps whose order in time matters. */
enum ferry__point {
	FERRY__POINT_ROUND,	/* between two rounds of marking */
	FERRY__POINT_FINAL,	/* before the final pause */
	FERRY__POINT_PURGE,	/* marking is over, the program runs */
	FERRY__POINT_SWEEP,	/* between two blocks, or large objects */
	FERRY__POINT_FLIP,	/* before the pause of a flip */
	FERRY__POINT_PAGE,	/* a page is claimed, and not there yet */
	FERRY__POINT_SAFEPOINT, /* a thread is about to stop, or to go on */
	FERRY__POINT_REFILL,	/* a mutator got new memory */
};

struct ferry__checks {
	_Atomic uint64_t allocs; /* slow allocations, for collect_every */
	_Atomic uint64_t draws;	 /* delays asked for: numbers of the seed's */
	_Atomic uint32_t state;	 /* enum fault_state in stress.c; D1 */
	struct ferry_heap_fault fault;
};

/* A slow allocation; it may collect. Returns at a safepoint of @m. */
void ferry__stress_alloc(struct ferry_mutator *m);

/* Waits for a while, or not. Signal-safe. */
void ferry__stress_delay(struct ferry_heap *heap, enum ferry__point point);

/* Overwrites what nobody may read any more: words that are no address. */
void ferry__stress_poison(struct ferry_heap *heap, uintptr_t addr, size_t len);

/*
 * A host's mistake was found in passing: the first is kept until
 * ferry__fault_take(), which returns -EILSEQ and the fault (@ret_fault may be
 * NULL), or 0 when there is none. ferry__fault_pending() leaves it there.
 * Any thread; signal-safe.
 */
void ferry__fault_note(struct ferry_heap *heap,
		       const struct ferry_heap_fault *fault);
int ferry__fault_take(struct ferry_heap *heap,
		      struct ferry_heap_fault *ret_fault);
bool ferry__fault_pending(const struct ferry_heap *heap);

#endif
