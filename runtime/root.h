/* SPDX-License-Identifier: MIT */
/*
 * Roots as the collector sees them.
 */
#ifndef FERRY_RUNTIME_ROOT_H
#define FERRY_RUNTIME_ROOT_H

#include <ferry/root.h>

#include <pthread.h>
#include <urcu/list.h>

struct ferry__pin;

struct ferry__roots {
	pthread_mutex_t lock;	   /* rank 20 */
	struct cds_list_head list; /* struct ferry_root */
	/* Pages of handles. */
	struct cds_list_head room; /* with a free slot */
	struct cds_list_head full;
	/* Pins: open addressing by address, counted. */
	pthread_mutex_t pins_lock; /* rank 20; never with the one above */
	struct ferry__pin *pins;
	size_t pins_len; /* in use */
	size_t pins_max; /* slots, a power of two; 0: no table yet */
};

int ferry__roots_init(struct ferry_heap *heap);
void ferry__roots_fini(struct ferry_heap *heap);

/*
 * Calls @fn for every word that may be a reference: ambiguous roots and, with
 * params.stacks AMBIGUOUS, stacks and saved registers of all mutators. Most
 * words are none. World stopped; @fn may not take locks up to rank 20.
 */
void ferry__roots_ambiguous(struct ferry_heap *heap,
			    void (*fn)(void *arg, uintptr_t word), void *arg);

/*
 * Calls @fn for every pinned object. They are strong roots that
 * ferry__roots_visit() does not report: a slot of the visitor's is in the
 * host's encoding, and a pin is a plain address that is never rewritten.
 * World stopped; locks as above.
 */
void ferry__pins_each(struct ferry_heap *heap,
		      void (*fn)(void *arg, uintptr_t addr), void *arg);

#endif
