/* SPDX-License-Identifier: MIT */
/* Heaps and fork(2). */
#ifndef FERRY_RUNTIME_FORK_H
#define FERRY_RUNTIME_FORK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <urcu/list.h>

struct ferry_heap;

struct ferry__fork {
	struct cds_list_head node; /* of all heaps; list lock */
	/*
	 * In a child, until its first collection: no threads, no dirty
	 * tracking. Relaxed for a look; changes under the cycle lock.
	 */
	_Atomic bool orphan;
};

/*
 * Adds the heap to those that survive a fork, and takes it out again: after
 * all else is made, before anything is taken down. A safepoint of what other
 * heaps the thread is a mutator of. Returns 0; -ENOMEM.
 */
int ferry__survive_init(struct ferry_heap *heap);
void ferry__survive_fini(struct ferry_heap *heap);

/* Is the heap one that the child has not collected yet? */
bool ferry__is_orphan(const struct ferry_heap *heap);

/* Gives an orphan what it needs for a collection, or makes it STOPPED. Cycle
 * lock, no collection under way. */
void ferry__revive(struct ferry_heap *heap);

/*
 * A collection is wanted: revives an orphan, unless collections are excluded
 * at the moment: who waits for one sees to it then, or who looks next. It
 * must not wait: a mutator that runs would, and a pause, or another fork,
 * waits for that. Any thread; no lock held.
 */
void ferry__revive_slow(struct ferry_heap *heap);

#endif
