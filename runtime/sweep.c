/* SPDX-License-Identifier: MIT */
/*
 * Sweeping: blocks whose marks are final lose what is not kept, by the
 * collector and by who allocates (B5).
 */
#include "runtime/block-inline.h"

#include <string.h>

void ferry__block_survey(const struct ferry_heap *heap, uint32_t index,
			 uint16_t *ret_live, uint16_t *ret_hole)
{
	const uint8_t *meta = ferry__block_meta(heap, index);
	uint32_t g = 0, live = 0, hole = 0;

	while (g < FERRY__BLOCK_GRANULES) {
		uint32_t start =
			ferry__meta_next(meta, g, FERRY__BLOCK_GRANULES);
		uint32_t end;

		if (start - g > hole)
			hole = start - g;
		if (start == FERRY__BLOCK_GRANULES)
			break;
		end = ferry__meta_end(meta, start, FERRY__BLOCK_GRANULES) + 1;
		live += end - start;
		g = end;
	}
	*ret_live = (uint16_t)live;
	*ret_hole = (uint16_t)hole;
}

/* Nothing was marked, and nothing lived before: most blocks of a program that
 * makes garbage. */
static bool is_dead(struct ferry_heap *heap, uint32_t index)
{
	struct ferry__block *block = &heap->blocks[index];
	/* Relaxed: marking is over, ordered by the pause that ended it. */
	bool marked = atomic_exchange_explicit(&block->marked, 0,
					       memory_order_relaxed);

	return !marked && (heap->cycle.full || !block->live);
}

/* An object that is not marked leaves the side table. */
static void drop(struct ferry_heap *heap, uint8_t *meta, uintptr_t addr,
		 uint32_t g, uint32_t end)
{
	ferry__meta_store(meta + g, 0);
	ferry__meta_store(meta + end - 1, 0);
	ferry__swept_range(heap, addr + (size_t)g * FERRY_GRANULE,
			   (end - g) * (size_t)FERRY_GRANULE);
}

/* B10. Relaxed: the block is the sweeper's. */
static void young_set(struct ferry_heap *heap, uint32_t index, bool young)
{
	_Atomic uint16_t *flags = &heap->blocks[index].flags;

	if (young)
		atomic_fetch_or_explicit(flags, FERRY__BLOCK_YOUNG,
					 memory_order_relaxed);
	else if (ferry__block_flags_get(heap, index) & FERRY__BLOCK_YOUNG)
		atomic_fetch_and_explicit(flags, (uint16_t)~FERRY__BLOCK_YOUNG,
					  memory_order_relaxed);
}

/* Takes what is not kept out of the side table, and counts what is marked. */
static void sweep_alive(struct ferry_heap *heap, uint32_t index)
{
	uint8_t *meta = ferry__block_meta(heap, index);
	uintptr_t addr = ferry__block_addr(heap, index);
	uint32_t g = 0, end, live = 0, hole = 0, last = 0;
	bool young = false;

	for (;; g = end) {
		uint8_t byte;

		g = ferry__meta_next(meta, g, FERRY__BLOCK_GRANULES);
		if (g == FERRY__BLOCK_GRANULES)
			break;
		end = ferry__meta_end(meta, g, FERRY__BLOCK_GRANULES) + 1;
		byte = ferry__meta_load(meta + g);
		if (!ferry__is_kept(heap, byte)) {
			drop(heap, meta, addr, g, end);
			continue;
		}
		if (ferry__is_young(heap, byte))
			young = true;
		else
			live += end - g;
		if (g - last > hole)
			hole = g - last;
		last = end;
	}
	if (FERRY__BLOCK_GRANULES - last > hole)
		hole = (uint32_t)FERRY__BLOCK_GRANULES - last;
	heap->blocks[index].live = (uint16_t)live;
	heap->blocks[index].hole = (uint16_t)hole;
	young_set(heap, index, young);
}

static void sweep_block(struct ferry_heap *heap, uint32_t index)
{
	if (!is_dead(heap, index)) {
		sweep_alive(heap, index);
		return;
	}
	ferry__swept_range(heap, ferry__block_addr(heap, index),
			   FERRY__BLOCK_SIZE);
	memset(ferry__block_meta(heap, index), 0, FERRY__BLOCK_GRANULES);
	heap->blocks[index].live = 0;
	heap->blocks[index].hole = (uint16_t)FERRY__BLOCK_GRANULES;
	young_set(heap, index, false);
}

void ferry__space_file(struct ferry_heap *heap, uint32_t index)
{
	struct ferry__space *space = &heap->space;
	struct ferry__block *block = &heap->blocks[index];
	unsigned int leaf = ferry__block_flags_get(heap, index) &
			    FERRY__BLOCK_LEAF;

	if (ferry__block_flags_get(heap, index) & FERRY__BLOCK_YOUNG) {
		/* B10: as if it had been retired just now. */
		space->live += (size_t)block->live * FERRY_GRANULE;
		ferry__block_state_set(heap, index, FERRY__BLOCK_RETIRED);
		ferry__space_list_push(heap, &space->retired, index);
		return;
	}
	if (!block->live) {
		ferry__block_state_set(heap, index, FERRY__BLOCK_FREE);
		ferry__space_taken_sub(heap, FERRY__BLOCK_SIZE);
		ferry__space_list_push(heap, &space->free, index);
		return;
	}
	space->live += (size_t)block->live * FERRY_GRANULE;
	space->in_holes +=
		(FERRY__BLOCK_GRANULES - block->live) * FERRY_GRANULE;
	if (block->hole < FERRY__HOLE_WORTH) {
		ferry__block_state_set(heap, index, FERRY__BLOCK_FULL);
		return;
	}
	ferry__block_state_set(heap, index, FERRY__BLOCK_HOLES);
	ferry__space_list_push(heap, &space->holes[leaf], index);
}

bool ferry__block_is_unswept(const struct ferry_heap *heap, uint32_t index)
{
	enum ferry__block_state state = ferry__block_state_get(heap, index);

	if (state == FERRY__BLOCK_HOLES || state == FERRY__BLOCK_FULL ||
	    state == FERRY__BLOCK_RETIRED)
		return (ferry__block_flags_get(heap, index) &
			FERRY__BLOCK_EPOCH) != heap->space.epoch;
	return state == FERRY__BLOCK_UNSWEPT;
}

/* B12. Relaxed: the block is the sweeper's. */
static void epoch_set(struct ferry_heap *heap, uint32_t index)
{
	if ((ferry__block_flags_get(heap, index) & FERRY__BLOCK_EPOCH) !=
	    heap->space.epoch)
		atomic_fetch_xor_explicit(&heap->blocks[index].flags,
					  FERRY__BLOCK_EPOCH,
					  memory_order_relaxed);
}

/* A block that waits to be swept, now SWEEPING and the caller's. */
static bool sweep_claim(struct ferry_heap *heap, uint32_t *ret_index)
{
	struct ferry__space *space = &heap->space;
	bool found = false;

	pthread_mutex_lock(&space->lock);
	if (!space->sweep_open)
		goto out;
	if (ferry__space_list_pop(heap, &space->unswept, ret_index))
		found = true;
	while (!found && space->sweep_at < space->sweep_end) {
		*ret_index = space->sweep_at++;
		found = ferry__block_is_unswept(heap, *ret_index);
	}
	if (found) {
		ferry__block_state_set(heap, *ret_index, FERRY__BLOCK_SWEEPING);
		space->sweeping++;
	}
out:
	pthread_mutex_unlock(&space->lock);
	return found;
}

bool ferry__sweep_step(struct ferry_heap *heap)
{
	struct ferry__space *space = &heap->space;
	uint32_t index;

	if (!sweep_claim(heap, &index))
		return false;
	ferry__stress_delay(heap, FERRY__POINT_SWEEP);
	sweep_block(heap, index);
	epoch_set(heap, index);
	pthread_mutex_lock(&space->lock);
	ferry__space_file(heap, index);
	if (!--space->sweeping)
		pthread_cond_broadcast(&space->swept);
	pthread_mutex_unlock(&space->lock);
	return true;
}

void ferry__sweep_finish(struct ferry_heap *heap)
{
	struct ferry__space *space = &heap->space;

	while (ferry__sweep_step(heap))
		;
	pthread_mutex_lock(&space->lock);
	while (space->sweeping)
		pthread_cond_wait(&space->swept, &space->lock);
	pthread_mutex_unlock(&space->lock);
}

/* B12: in the pause, hence no loop over the blocks. */
static void sweep_begin_full(struct ferry_heap *heap)
{
	struct ferry__space *space = &heap->space;

	space->epoch ^= FERRY__BLOCK_EPOCH;
	space->holes[0] = space->holes[1] = (struct ferry__block_list){ 0, 0 };
	space->retired = (struct ferry__block_list){ 0, 0 };
	space->sweep_at = 0;
	space->sweep_end = ferry__space_end(space);
	space->live = 0;
	space->in_holes = 0;
}

static void sweep_begin_minor(struct ferry_heap *heap)
{
	struct ferry__space *space = &heap->space;
	uint32_t index;

	while (ferry__space_list_pop(heap, &space->retired, &index)) {
		space->live -= (size_t)heap->blocks[index].live * FERRY_GRANULE;
		ferry__block_state_set(heap, index, FERRY__BLOCK_UNSWEPT);
		ferry__space_list_push(heap, &space->unswept, index);
	}
}

void ferry__sweep_begin(struct ferry_heap *heap, bool full)
{
	pthread_mutex_lock(&heap->space.lock);
	heap->space.sweep_open = false;
	if (full)
		sweep_begin_full(heap);
	else
		sweep_begin_minor(heap);
	pthread_mutex_unlock(&heap->space.lock);
}

void ferry__space_sums(struct ferry_heap *heap, size_t *ret_live,
		       size_t *ret_in_holes)
{
	pthread_mutex_lock(&heap->space.lock);
	*ret_live = heap->space.live;
	*ret_in_holes = heap->space.in_holes;
	pthread_mutex_unlock(&heap->space.lock);
}

void ferry__sweep_open(struct ferry_heap *heap)
{
	pthread_mutex_lock(&heap->space.lock);
	heap->space.sweep_open = true;
	pthread_mutex_unlock(&heap->space.lock);
}

static bool is_expected(const struct ferry_heap *heap, uint32_t index)
{
	enum ferry__block_state state = ferry__block_state_get(heap, index);

	return state == FERRY__BLOCK_FREE ||
	       (state == FERRY__BLOCK_HOLES &&
		ferry__block_is_roomy(heap, index));
}

/* Is @index + 1 one of the same chunk and half? */
static bool goes_on(const struct ferry_heap *heap, uint32_t index)
{
	return (index + 1) % FERRY__CHUNK_BLOCKS &&
	       index + 1 < ferry__space_end(&heap->space) &&
	       is_expected(heap, index + 1) &&
	       ferry__block_addr(heap, index + 1) -
			       ferry__block_addr(heap, index) ==
		       FERRY__BLOCK_SIZE;
}

void ferry__space_expect(struct ferry_heap *heap)
{
	uint32_t i, n = ferry__space_end(&heap->space), first, last;

	for (first = 0; first < n; first = i + 1) {
		i = last = first;
		if (!is_expected(heap, i) ||
		    !(ferry__block_flags_get(heap, i) & FERRY__BLOCK_CLEAN))
			continue;
		ferry__block_clean_clear(heap, i);
		for (; goes_on(heap, i); i++) {
			if (!(ferry__block_flags_get(heap, i + 1) &
			      FERRY__BLOCK_CLEAN))
				continue;
			last = i + 1;
			ferry__block_clean_clear(heap, last);
		}
		ferry__remember_expect(heap, ferry__block_addr(heap, first),
				       (size_t)(last + 1 - first)
					       << FERRY__BLOCK_SHIFT);
	}
}
