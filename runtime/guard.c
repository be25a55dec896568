/* SPDX-License-Identifier: MIT */
/*
 * Debug heaps: places that a compaction has left cannot be accessed, so that
 * a pointer which the host kept without telling is fatal, instead of reading
 * zeros. A block has a place in either half; the one it is not in is vacant,
 * and both are when it is VOID.
 *
 * Rights are given back to the place of a block that is taken, and before a
 * flip to all: memory is moved between places of equal rights only.
 */
#include "runtime/heap-internal.h"

#include <errno.h>
#include <sys/mman.h>

#define OPEN (PROT_READ | PROT_WRITE)

static bool is_guarded(const struct ferry_heap *heap)
{
	if (!heap->params.debug && !heap->stress.poison)
		return false;
	/* It has rights of its own to give, range by range. */
	return !heap->remember.dirty ||
	       ferry_dirty_provider(heap->remember.dirty) !=
		       FERRY_DIRTY_MPROTECT;
}

static void *place(const struct ferry_heap *heap, uint32_t index,
		   unsigned int half)
{
	return (void *)(heap->base + half * heap->half +
			((size_t)index << FERRY__BLOCK_SHIFT));
}

static bool is_vacant(const struct ferry_heap *heap, uint32_t index,
		      unsigned int half)
{
	/* Relaxed: space lock. */
	return atomic_load_explicit(&heap->blocks[index].state,
				    memory_order_relaxed) ==
		       FERRY__BLOCK_VOID ||
	       ferry__block_half(heap, index) != half;
}

static void guard_half(struct ferry_heap *heap, uint32_t n, unsigned int half)
{
	uint32_t i, first;

	for (i = 0; i < n; i++) {
		for (first = i; i < n && is_vacant(heap, i, half); i++)
			;
		/* The limit of mappings: some are without a guard then. */
		if (i > first)
			(void)ferry__sys->mprotect(
				place(heap, first, half),
				(size_t)(i - first) << FERRY__BLOCK_SHIFT,
				PROT_NONE);
	}
}

void ferry__guard_vacant(struct ferry_heap *heap)
{
	struct ferry__space *space = &heap->space;
	unsigned int half;

	if (!is_guarded(heap))
		return;
	/* Who takes a block gives its place rights after the lock was let go:
	 * so all that is VOID here is guarded before. */
	pthread_mutex_lock(&space->lock);
	for (half = 0; half < 2; half++)
		guard_half(heap, ferry__space_end(space), half);
	pthread_mutex_unlock(&space->lock);
}

int ferry__guard_lift(struct ferry_heap *heap)
{
	size_t len = (size_t)ferry__space_end(&heap->space)
		     << FERRY__BLOCK_SHIFT;
	int r;

	if (!len || !is_guarded(heap))
		return 0;
	r = ferry__sys->mprotect(place(heap, 0, 0), len, OPEN);
	if (r == 0)
		r = ferry__sys->mprotect(place(heap, 0, 1), len, OPEN);
	return r;
}

int ferry__guard_lift_block(struct ferry_heap *heap, uint32_t index)
{
	int r;

	if (!is_guarded(heap))
		return 0;
	r = ferry__sys->mprotect((void *)ferry__block_addr(heap, index),
				 FERRY__BLOCK_SIZE, OPEN);
	/* To cut a place out takes mappings, of which guards may have used up
	 * all; to lift them all gives some back. */
	return r == -ENOMEM ? ferry__guard_lift(heap) : r;
}
