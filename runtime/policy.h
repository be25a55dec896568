/* SPDX-License-Identifier: MIT */
/*
 * When to collect, what, and how big the heap may be (model.h says how);
 * the options string; memory pressure.
 */
#ifndef FERRY_RUNTIME_POLICY_H
#define FERRY_RUNTIME_POLICY_H

#include <ferry/heap.h>

#include <pthread.h>
#include <stdatomic.h>

#include "runtime/model.h"
#include "runtime/pressure.h"

/*
 * The model has the lock; what mutators look at is written under it and read
 * without: relaxed, as each word is a threshold of its own, and one seen late
 * starts a collection late.
 */
struct ferry__policy {
	_Atomic size_t trigger; /* bytes since the last began: ask due() */
	_Atomic size_t target;	/* total bytes at which the next one ends */
	_Atomic size_t limit;	/* max_bytes now */
	_Atomic size_t claimed; /* of it, by who could not get any for long */
	_Atomic size_t live;	/* found by the last collection */
	_Atomic bool pressed;	/* the system is short of memory */
	pthread_mutex_t lock;	/* rank 36 */
	struct ferry__model model;
	uint64_t stalls; /* seen by the last update; lock */
	uint64_t end_ns; /* of the last collection; lock */
	struct ferry__pressure pressure;
};

/* Stress and debugging, from the options string; 0: off. */
struct ferry__stress {
	uint64_t collect_every; /* n-th slow allocation collects */
	bool move_all; /* every full collection compacts, all that can move */
	bool poison;   /* what was left is overwritten (debug pattern) */
	bool verify;   /* ferry_heap_verify() after each collection */
	uint64_t delay_seed; /* random delays at marked points */
};

/* A number of bytes as in options: digits, then K, M, G, T or nothing.
 * Returns 0; -EINVAL. */
int ferry__conf_bytes(const char *text, size_t *ret_bytes);

/*
 * Resolves the options string, the environment, then defaults of what is
 * zero still, into @params; what no option sets in @stress is off.
 * Returns 0; -EINVAL, and neither is changed.
 */
int ferry__conf_resolve(struct ferry_heap_params *params,
			struct ferry__stress *stress);

int ferry__policy_init(struct ferry_heap *heap);
void ferry__policy_fini(struct ferry_heap *heap);

/* The trigger was reached, but is it time? Any mutator. */
bool ferry__policy_due(struct ferry_heap *heap);

/* What kind the next collection is to be when the trigger was reached. */
enum ferry_collect ferry__policy_next(struct ferry_heap *heap);

/* Is that going to be a full one, if the program goes on as it did? */
bool ferry__policy_next_is_full(struct ferry_heap *heap);

/* A collection is over: sets trigger and target anew. */
void ferry__policy_update(struct ferry_heap *heap,
			  const struct ferry__cycle_report *report);

/* After a full collection: is what is free so scattered that blocks are to be
 * emptied? Asked once a collection; remembers the answer. */
bool ferry__policy_wants_compaction(struct ferry_heap *heap,
				    const struct ferry__cycle_report *report);

/* Bytes of free memory (blocks, extents) worth keeping. After update. */
size_t ferry__policy_keep(struct ferry_heap *heap);

/* Was enough allocated that an idle moment is well spent on a collection? */
bool ferry__policy_idle(struct ferry_heap *heap);

/* How long the next full collection is expected to take; 0: not known. */
uint64_t ferry__policy_expect_ns(struct ferry_heap *heap);

/* Is there room for so much below the limit? Two threads may overstep it by what
 * one of them asks for. Any mutator. */
bool ferry__policy_allows(const struct ferry_heap *heap, size_t size);

/* The world is at the limit: asks the host, without a lock. True if there is
 * more now. */
bool ferry__policy_ask(struct ferry_heap *heap, size_t size);

/* The system has got short of memory, or has no longer. Any thread. */
void ferry__policy_press(struct ferry_heap *heap, bool pressed);

#endif
