/* SPDX-License-Identifier: MIT */
/*
 * The node store, within: pages as they are, in memory of one NUMA node.
 *
 * Memory comes in chunks. The policy of a chunk prefers the node; binding
 * would let the kernel kill a process when the node is full. So each chunk is
 * filled at once and asked where it lies: one that is not wholly on the node
 * goes back, and the store is full until the next maintain().
 *
 * get() and drop() take no lock, as in the memory store: see slots.h.
 *
 * Locks, in the order in which they are taken:
 *	calls	shared: put and maintain; alone: around a fork
 *	grow	chunks
 */
#ifndef FERRY_ALLOC_STORE_NODE_H
#define FERRY_ALLOC_STORE_NODE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alloc/store/gate.h"
#include "alloc/store/slots.h"
#include "alloc/store/store.h"
#include "alloc/store/table.h"

#define FERRY__NODE_CHUNK 512u /* pages of a chunk */

struct ferry__node_store {
	struct ferry__store base;
	int node;
	uint64_t limit; /* bytes of pages */
	struct ferry__slots slots;
	/*
	 * NC1: char *: a chunk's memory, or NULL while its slots are all
	 * claimed. Written under .grow. Relaxed: who has a slot of it came
	 * by that through SL1 or SL5.
	 */
	struct ferry__table chunks;
	uint64_t held; /* chunks that have memory; under .grow */
	bool full;     /* no growth before the next maintain(); under .grow */
	struct ferry__gate calls;
	pthread_mutex_t grow;
	/* Statistics, relaxed: nothing hangs on them. */
	uint64_t live, puts, gets, refused, failed;
};

#endif
