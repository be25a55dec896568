/* SPDX-License-Identifier: MIT */
/*
 * Blocks and their lists: where mutators get memory, and where it goes when
 * it is free.
 */
#include "runtime/block-inline.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* A hole smaller than this is not worth a refill. */
#define HOLE_MIN 4u

/* Memory is cleared by so much at a time, so that it is in the first or second
 * cache when objects are made there; more at once is slower, by a third. */
#define CLEAR_STEP ((size_t)8192)

#define CACHE_LINE 64u /* of most; for prefetches alone */

/* --- accounts ------------------------------------------------------------------ */

static void allocated_add(struct ferry_heap *heap, size_t bytes)
{
	atomic_fetch_add_explicit(&heap->space.allocated, bytes,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&heap->space.since, bytes,
				  memory_order_relaxed);
}

/* --- taking blocks ------------------------------------------------------------ */

/*
 * A block that has no memory yet gets some. Its places in both halves are
 * committed, as the arena's states do not follow it from one to the other.
 */
int ferry__block_commit(struct ferry_heap *heap, uint32_t index)
{
	size_t offset = (size_t)index << FERRY__BLOCK_SHIFT;
	int r;

	r = ferry_arena_commit(heap->arena, offset, FERRY__BLOCK_SIZE, false);
	if (r == 0)
		r = ferry_arena_commit(heap->arena, offset + heap->half,
				       FERRY__BLOCK_SIZE, false);
	return r ? r : ferry__guard_lift_block(heap, index);
}

/* Each page is made present, and stays as it is. */
static void block_touch(uintptr_t addr)
{
	uintptr_t end = addr + FERRY__BLOCK_SIZE;

	/* Relaxed: nobody else knows the block yet. */
	for (; addr < end; addr += ferry__page_size)
		__atomic_fetch_or((uint8_t *)addr, 0, __ATOMIC_RELAXED);
}

/*
 * All pages at once: cheaper than a fault for each, and a compaction never
 * meets an object on a page that is not there (K2).
 */
static int block_populate(struct ferry_heap *heap, uint32_t index)
{
	uintptr_t addr = ferry__block_addr(heap, index);

	int r = ferry__reloc_is_on(heap)
			? ferry__reloc_provide(heap, addr, FERRY__BLOCK_SIZE)
			: -ENOTCONN;

	/* Outside of what is served, or no longer served: plain memory. */
	if (r != -EINVAL && r != -ENOTCONN)
		return r;
	r = ferry_arena_commit(heap->arena, addr - heap->base,
			       FERRY__BLOCK_SIZE, true);
	/* It is registered still, for want of the kernel's memory: in SIGBUS
	 * mode no system call populates it, but who touches it does. */
	if (r != -EFAULT)
		return r;
	block_touch(addr);
	return 0;
}

static bool block_decommit(struct ferry_heap *heap, uint32_t index)
{
	size_t offset = (size_t)index << FERRY__BLOCK_SHIFT;
	int r;

	r = ferry_arena_decommit(heap->arena, offset, FERRY__BLOCK_SIZE);
	if (r == 0)
		r = ferry_arena_decommit(heap->arena, offset + heap->half,
					 FERRY__BLOCK_SIZE);
	return r == 0;
}

/* A VOID block: one that was used before, or the next. Space lock. */
static bool take_void(struct ferry_heap *heap, uint32_t *ret_index)
{
	struct ferry__space *space = &heap->space;
	uint32_t end = ferry__space_end(space);

	if (ferry__space_list_pop(heap, &space->voids, ret_index))
		return true;
	if (end == space->max)
		return false;
	*ret_index = end;
	/* Relaxed: see ferry__space_end(). */
	atomic_store_explicit(&space->used_end, end + 1, memory_order_relaxed);
	return true;
}

static void own(struct ferry_heap *heap, uint32_t index, unsigned int leaf,
		uint16_t more)
{
	uint16_t flags =
		heap->space.epoch |
		(ferry__block_flags_get(heap, index) & FERRY__BLOCK_HALF);

	flags |= more;
	ferry__block_flags_set(heap, index,
			       flags | (leaf ? FERRY__BLOCK_LEAF : 0));
	heap->blocks[index].fwd = leaf ? FERRY__FWD_STAY : FERRY__FWD_TOGGLE;
	heap->blocks[index].live = 0;
	ferry__tier_written(heap, ferry__block_addr(heap, index),
			    FERRY__BLOCK_SIZE);
	ferry__block_state_set(heap, index, FERRY__BLOCK_OWNED);
	ferry__space_taken_add(heap, FERRY__BLOCK_SIZE);
}

/* A whole block for a mutator. Space lock; let go meanwhile. */
static int take_whole(struct ferry_heap *heap, unsigned int leaf,
		      uint32_t *ret_index)
{
	struct ferry__space *space = &heap->space;
	uint32_t index;
	int r;

	if (!ferry__policy_allows(heap, FERRY__BLOCK_SIZE))
		return -ENOSPC;
	if (ferry__space_list_pop(heap, &space->free, &index)) {
		own(heap, index, leaf,
		    ferry__block_flags_get(heap, index) & FERRY__BLOCK_CLEAN);
		*ret_index = index;
		return 0;
	}
	if (!take_void(heap, &index))
		return -ENOSPC;
	own(heap, index, leaf, FERRY__BLOCK_FRESH);
	pthread_mutex_unlock(&space->lock);
	r = ferry__block_commit(heap, index);
	if (r == 0)
		r = block_populate(heap, index);
	pthread_mutex_lock(&space->lock);
	if (r < 0) {
		ferry__block_state_set(heap, index, FERRY__BLOCK_VOID);
		ferry__space_taken_sub(heap, FERRY__BLOCK_SIZE);
		ferry__space_list_push(heap, &space->voids, index);
		return r;
	}
	*ret_index = index;
	return 0;
}

/* A block with holes of the kind, the first one big enough. Space lock. */
static bool take_holes(struct ferry_heap *heap, unsigned int leaf,
		       size_t granules, uint32_t *ret_index)
{
	struct ferry__block_list *list = &heap->space.holes[leaf];
	uint32_t index = list->head - 1;

	if (!list->head || heap->blocks[index].hole < granules)
		return false;
	ferry__space_list_pop(heap, list, ret_index);
	heap->space.in_holes -=
		(FERRY__BLOCK_GRANULES - heap->blocks[*ret_index].live) *
		FERRY_GRANULE;
	ferry__tier_written(heap, ferry__block_addr(heap, *ret_index),
			    FERRY__BLOCK_SIZE);
	ferry__block_state_set(heap, *ret_index, FERRY__BLOCK_OWNED);
	return true;
}

/*
 * A block to allocate from: one with holes; else one that is swept for the
 * purpose; else a whole one. Sweeping may file blocks of either kind, so it
 * is asked again after each.
 */
static int take(struct ferry_heap *heap, unsigned int leaf, size_t granules,
		uint32_t *ret_index)
{
	struct ferry__space *space = &heap->space;
	int r = 0;

	pthread_mutex_lock(&space->lock);
	while (!take_holes(heap, leaf, granules, ret_index)) {
		pthread_mutex_unlock(&space->lock);
		if (ferry__sweep_step(heap)) {
			pthread_mutex_lock(&space->lock);
			continue;
		}
		pthread_mutex_lock(&space->lock);
		r = take_whole(heap, leaf, ret_index);
		break;
	}
	pthread_mutex_unlock(&space->lock);
	return r;
}

int ferry__space_target(struct ferry_heap *heap, unsigned int leaf,
			uint32_t *ret_index)
{
	struct ferry__space *space = &heap->space;
	bool found;

	pthread_mutex_lock(&space->lock);
	found = take_void(heap, ret_index);
	if (found) {
		own(heap, *ret_index, leaf, 0);
		ferry__block_state_set(heap, *ret_index, FERRY__BLOCK_TARGET);
	}
	pthread_mutex_unlock(&space->lock);
	return found ? 0 : -ENOSPC;
}

/* --- holes ---------------------------------------------------------------------- */

/*
 * The next hole of at least @granules at or after @g. Between objects the side
 * table is zero, and inside one too, so objects are stepped over by their end.
 */
static bool next_hole(const uint8_t *meta, uint32_t g, size_t granules,
		      uint32_t *ret_begin, uint32_t *ret_end)
{
	while (g < FERRY__BLOCK_GRANULES) {
		uint32_t start =
			ferry__meta_next(meta, g, FERRY__BLOCK_GRANULES);

		if (start - g >= granules) {
			*ret_begin = g;
			*ret_end = start;
			return true;
		}
		if (start == FERRY__BLOCK_GRANULES)
			return false;
		g = ferry__meta_end(meta, start, FERRY__BLOCK_GRANULES) + 1;
	}
	return false;
}

/* The side table of what is about to be allocated: the sweep wrote it last,
 * long ago or on another processor. */
static void meta_prefetch(const struct ferry_bump *b, uintptr_t addr,
			  size_t len)
{
	const uint8_t *meta = b->meta + addr / FERRY_GRANULE;
	size_t i;

	for (i = 0; i < len / FERRY_GRANULE; i += CACHE_LINE)
		__builtin_prefetch(meta + i, 1);
}

/* Clears more of the hole, @bytes behind the cursor at least; all of it where
 * the kernel has. False: there is less. */
static bool bump_clear(struct ferry_heap *heap, struct ferry_bump *b,
		       const struct ferry__span *span, size_t bytes)
{
	uintptr_t limit = b->limit;

	if (span->end - b->cursor < bytes)
		return false;
	if (bytes < CLEAR_STEP)
		bytes = CLEAR_STEP;
	if (bytes > span->end - b->cursor)
		bytes = span->end - b->cursor;
	b->limit = b->cursor + bytes;
	meta_prefetch(b, limit, b->limit - limit);
	if (!(ferry__block_flags_get(heap, span->block - 1) &
	      FERRY__BLOCK_FRESH))
		memset((void *)limit, 0, b->limit - limit);
	return true;
}

/* Points @b at a hole, of which @bytes are to be ready at least. */
static void bump_set(struct ferry_heap *heap, struct ferry_bump *b,
		     struct ferry__span *span, uint32_t index, uint32_t begin,
		     uint32_t end, size_t bytes)
{
	uintptr_t addr = ferry__block_addr(heap, index);
	size_t len = (size_t)(end - begin) * FERRY_GRANULE;

	b->cursor = b->limit = addr + (size_t)begin * FERRY_GRANULE;
	b->meta = ferry__block_meta(heap, index) - addr / FERRY_GRANULE;
	span->block = index + 1;
	span->next = end;
	span->end = b->cursor + len;
	bump_clear(heap, b, span, bytes);
	/* B9: the block is OWNED before its new objects are in the side table;
	 * pairs with the fence in scan_settled(), scan.c. */
	ferry__fence();
	if (ferry__cycle_is_marking(heap))
		ferry__block_marked(heap, index);
	allocated_add(heap, len);
	ferry__stress_delay(heap, FERRY__POINT_REFILL);
}

static bool span_next(struct ferry_heap *heap, struct ferry_bump *b,
		      struct ferry__span *span, size_t granules)
{
	uint32_t index = span->block - 1;
	uint32_t begin, end;

	if (!span->block)
		return false;
	if (granules < HOLE_MIN)
		granules = HOLE_MIN;
	begin = 0;
	end = FERRY__BLOCK_GRANULES;
	if ((span->next || heap->blocks[index].live) &&
	    !next_hole(ferry__block_meta(heap, index), span->next, granules,
		       &begin, &end))
		return false;
	bump_set(heap, b, span, index, begin, end, granules * FERRY_GRANULE);
	return true;
}

/* What the sweep did not see to: one call here instead of a fault for each
 * page. */
static void expect_now(struct ferry_heap *heap, uint32_t index)
{
	if (!(ferry__block_flags_get(heap, index) & FERRY__BLOCK_CLEAN) ||
	    !ferry__block_is_roomy(heap, index))
		return;
	ferry__block_clean_clear(heap, index);
	ferry__remember_expect(heap, ferry__block_addr(heap, index),
			       FERRY__BLOCK_SIZE);
}

static void span_retire(struct ferry_heap *heap, struct ferry_bump *b,
			struct ferry__span *span)
{
	struct ferry__space *space = &heap->space;
	uint32_t index = span->block - 1;
	_Atomic uint16_t *flags = &heap->blocks[index].flags;

	if (!span->block)
		return;
	pthread_mutex_lock(&space->lock);
	/* Read, changed and written as one: a flip sets MOVES and takes it off
	 * without the lock. Relaxed, as B8 says in which order. */
	atomic_fetch_and_explicit(flags, (uint16_t)~FERRY__BLOCK_FRESH,
				  memory_order_relaxed);
	if (ferry__cycle_is_marking(heap))
		atomic_fetch_or_explicit(flags, FERRY__BLOCK_SCAN,
					 memory_order_relaxed);
	/* B8: release pairs with the acquire in worth_scanning(), scan.c: who
	 * sees it retired sees that it is to be scanned as a whole. */
	atomic_store_explicit(&heap->blocks[index].state, FERRY__BLOCK_RETIRED,
			      memory_order_release);
	ferry__space_list_push(heap, &space->retired, index);
	pthread_mutex_unlock(&space->lock);
	*span = (struct ferry__span){ 0, 0, 0 };
	*b = (struct ferry_bump){ 0, 0, NULL };
}

int ferry__space_refill(struct ferry_mutator *m, unsigned int leaf,
			size_t granules)
{
	struct ferry__mutator *mutator = ferry__mutator(m);
	struct ferry_heap *heap = mutator->heap;
	struct ferry_bump *b = &m->bump[leaf];
	struct ferry__span *span = &mutator->span[leaf];
	uint32_t index;
	int r;

	if (span->block && bump_clear(heap, b, span, granules * FERRY_GRANULE))
		return 0;
	while (!span_next(heap, b, span, granules)) {
		span_retire(heap, b, span);
		r = take(heap, leaf, granules, &index);
		if (r < 0)
			return r;
		expect_now(heap, index);
		*span = (struct ferry__span){ index + 1, 0, 0 };
	}
	return 0;
}

int ferry__space_refill_spare(struct ferry_mutator *m, unsigned int leaf)
{
	struct ferry__mutator *mutator = ferry__mutator(m);
	struct ferry_heap *heap = mutator->heap;
	struct ferry_bump *b = &mutator->spare[leaf];
	struct ferry__span *span = &mutator->spare_span[leaf];
	uint32_t index;
	int r;

	span_retire(heap, b, span);
	pthread_mutex_lock(&heap->space.lock);
	r = take_whole(heap, leaf, &index);
	pthread_mutex_unlock(&heap->space.lock);
	if (r < 0)
		return r;
	expect_now(heap, index);
	bump_set(heap, b, span, index, 0, FERRY__BLOCK_GRANULES,
		 FERRY__BLOCK_SIZE);
	return 0;
}

void ferry__space_retire(struct ferry_mutator *m)
{
	struct ferry__mutator *mutator = ferry__mutator(m);
	unsigned int leaf;

	for (leaf = 0; leaf < 2; leaf++) {
		span_retire(mutator->heap, &m->bump[leaf],
			    &mutator->span[leaf]);
		span_retire(mutator->heap, &mutator->spare[leaf],
			    &mutator->spare_span[leaf]);
	}
}

/* --- giving back ------------------------------------------------------------------ */

/*
 * A block that kept its memory must not be used: who takes a VOID block finds
 * zeros in one half of the space, and nothing at all in the other.
 */
static bool void_block(struct ferry_heap *heap, uint32_t index, bool absent)
{
	struct ferry__space *space = &heap->space;
	bool gone = absent || block_decommit(heap, index);

	pthread_mutex_lock(&space->lock);
	ferry__block_state_set(heap, index, FERRY__BLOCK_VOID);
	ferry__space_list_push(heap, gone ? &space->voids : &space->stuck,
			       index);
	pthread_mutex_unlock(&space->lock);
	return gone;
}

void ferry__space_void(struct ferry_heap *heap, uint32_t index, bool absent)
{
	void_block(heap, index, absent);
}

/* All that could not be given back before. */
static size_t release_stuck(struct ferry_heap *heap)
{
	struct ferry__space *space = &heap->space;
	size_t bytes = 0;
	uint32_t index, n;
	bool found = true;

	/* Others may be at it: ferry_heap_idle(). */
	pthread_mutex_lock(&space->lock);
	n = space->stuck.len;
	pthread_mutex_unlock(&space->lock);
	for (; n && found; n--) {
		pthread_mutex_lock(&space->lock);
		found = ferry__space_list_pop(heap, &space->stuck, &index);
		pthread_mutex_unlock(&space->lock);
		if (!found || !void_block(heap, index, false))
			break;
		bytes += FERRY__BLOCK_SIZE;
	}
	return bytes;
}

/* Takes one off the list; adds to *@bytes if its memory is gone. */
static bool release_one(struct ferry_heap *heap, size_t keep, size_t *bytes)
{
	struct ferry__space *space = &heap->space;
	uint32_t index;
	bool found = false;

	pthread_mutex_lock(&space->lock);
	if ((size_t)space->free.len << FERRY__BLOCK_SHIFT > keep)
		found = ferry__space_list_pop(heap, &space->free, &index);
	pthread_mutex_unlock(&space->lock);
	if (found && void_block(heap, index, false))
		*bytes += FERRY__BLOCK_SIZE;
	return found;
}

size_t ferry__space_release(struct ferry_heap *heap, size_t keep)
{
	size_t bytes = release_stuck(heap);

	while (release_one(heap, keep, &bytes))
		;
	atomic_fetch_add_explicit(&heap->events.count.released, bytes,
				  memory_order_relaxed);
	return bytes;
}

/* --- beginning and end -------------------------------------------------------------- */

int ferry__space_init(struct ferry_heap *heap)
{
	struct ferry__space *space = &heap->space;
	void *mem;
	int r;

	space->max = (uint32_t)(heap->half >> FERRY__BLOCK_SHIFT);
	r = ferry__meta_alloc(space->max * sizeof(struct ferry__block), &mem);
	if (r < 0)
		return r;
	heap->blocks = mem;
	r = ferry__meta_alloc(heap->half / FERRY_GRANULE, &mem);
	if (r < 0)
		goto err_blocks;
	heap->small_meta = mem;
	/* Markers go to and fro in it: without huge pages each look would miss
	 * the TLB. Advice: a kernel without them goes on as it is. */
	(void)ferry__sys->madvise(mem, heap->half / FERRY_GRANULE,
				  MADV_HUGEPAGE);
	pthread_mutex_init(&space->lock, NULL);
	pthread_cond_init(&space->swept, NULL);
	return 0;
err_blocks:
	ferry__meta_free(heap->blocks,
			 space->max * sizeof(struct ferry__block));
	return r;
}

void ferry__space_fini(struct ferry_heap *heap)
{
	struct ferry__space *space = &heap->space;

	pthread_cond_destroy(&space->swept);
	pthread_mutex_destroy(&space->lock);
	ferry__meta_free(heap->small_meta, heap->half / FERRY_GRANULE);
	ferry__meta_free(heap->blocks,
			 space->max * sizeof(struct ferry__block));
	ferry__tier_fini(heap);
}
