/* SPDX-License-Identifier: MIT */
/*
 * Tiers of the heap: which units of 64 KiB (blocks, and as much of the large
 * space) were not written for some collections, and lie on slower memory.
 */
#ifndef FERRY_RUNTIME_TIER_H
#define FERRY_RUNTIME_TIER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct ferry_heap;

struct ferry__tier {
	/*
	 * T1: by unit, NULL until the first step. Release, acquire; the words
	 * themselves relaxed: they are hints, and who steps keeps collections
	 * away.
	 */
	_Atomic(_Atomic uint32_t *) stamps;
	/* Collections before which every write was known; relaxed. */
	_Atomic uint32_t known;
};

/* A collection begins; @known: it will find all that was written since the
 * last. World stopped. */
void ferry__tier_turn(struct ferry_heap *heap, bool known);

/* The range was written, or is about to be. Any thread. */
void ferry__tier_written(struct ferry_heap *heap, uintptr_t addr, size_t len);

void ferry__tier_fini(struct ferry_heap *heap);

#endif
