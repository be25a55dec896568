/* SPDX-License-Identifier: MIT */
/*
 * Blocks and their lists: where mutators get memory, and where it goes when
 * it is free.
 */
#include "runtime/heap-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* A hole smaller than this is not worth a refill. */
#define HOLE_MIN 4u

/* Memory is cleared by so much at a time, so that it is in the first or second
 * cache when objects are made there; more at once is slower, by a third. */
#define CLEAR_STEP ((size_t)8192)

#define CACHE_LINE 64u /* of most; for prefetches alone */

/* --- lists; space lock ------------------------------------------------------ */

static void list_push(struct ferry_heap *heap, struct ferry__block_list *list,
		      uint32_t index)
{
	heap->blocks[index].next = list->head;
	list->head = index + 1;
	list->len++;
}

static bool list_pop(struct ferry_heap *heap, struct ferry__block_list *list,
		     uint32_t *ret_index)
{
	if (!list->head)
		return false;
	*ret_index = list->head - 1;
	list->head = heap->blocks[*ret_index].next;
	list->len--;
	return true;
}

static void state_set(struct ferry_heap *heap, uint32_t index,
		      enum ferry__block_state state)
{
	/* Relaxed: who acts on a state holds the lock, or the world. */
	atomic_store_explicit(&heap->blocks[index].state, state,
			      memory_order_relaxed);
}

static enum ferry__block_state state_get(const struct ferry_heap *heap,
					 uint32_t index)
{
	return atomic_load_explicit(&heap->blocks[index].state,
				    memory_order_relaxed);
}

static uint16_t flags_get(const struct ferry_heap *heap, uint32_t index)
{
	return atomic_load_explicit(&heap->blocks[index].flags,
				    memory_order_relaxed);
}

static void flags_set(struct ferry_heap *heap, uint32_t index, uint16_t flags)
{
	atomic_store_explicit(&heap->blocks[index].flags, flags,
			      memory_order_relaxed);
}

/* --- accounts ---------------------------------------------------------------- */

static bool within_limit(struct ferry_heap *heap, size_t bytes)
{
	/* Relaxed: a limit that two threads overstep by a block is fine. */
	size_t used =
		atomic_load_explicit(&heap->space.taken, memory_order_relaxed) +
		atomic_load_explicit(&heap->large.bytes, memory_order_relaxed);

	return used + bytes <=
	       atomic_load_explicit(&heap->policy.limit, memory_order_relaxed);
}

static void taken_add(struct ferry_heap *heap, size_t bytes)
{
	atomic_fetch_add_explicit(&heap->space.taken, bytes,
				  memory_order_relaxed);
}

static void taken_sub(struct ferry_heap *heap, size_t bytes)
{
	atomic_fetch_sub_explicit(&heap->space.taken, bytes,
				  memory_order_relaxed);
}

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

	if (list_pop(heap, &space->voids, ret_index))
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
	uint16_t flags = heap->space.epoch |
			 (flags_get(heap, index) & FERRY__BLOCK_HALF);

	flags |= more;
	flags_set(heap, index, flags | (leaf ? FERRY__BLOCK_LEAF : 0));
	heap->blocks[index].fwd = leaf ? FERRY__FWD_STAY : FERRY__FWD_TOGGLE;
	heap->blocks[index].live = 0;
	state_set(heap, index, FERRY__BLOCK_OWNED);
	taken_add(heap, FERRY__BLOCK_SIZE);
}

/* A whole block for a mutator. Space lock; let go meanwhile. */
static int take_whole(struct ferry_heap *heap, unsigned int leaf,
		      uint32_t *ret_index)
{
	struct ferry__space *space = &heap->space;
	uint32_t index;
	int r;

	if (!within_limit(heap, FERRY__BLOCK_SIZE))
		return -ENOSPC;
	if (list_pop(heap, &space->free, &index)) {
		own(heap, index, leaf,
		    flags_get(heap, index) & FERRY__BLOCK_CLEAN);
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
		state_set(heap, index, FERRY__BLOCK_VOID);
		taken_sub(heap, FERRY__BLOCK_SIZE);
		list_push(heap, &space->voids, index);
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
	list_pop(heap, list, ret_index);
	heap->space.in_holes -=
		(FERRY__BLOCK_GRANULES - heap->blocks[*ret_index].live) *
		FERRY_GRANULE;
	state_set(heap, *ret_index, FERRY__BLOCK_OWNED);
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
		state_set(heap, *ret_index, FERRY__BLOCK_TARGET);
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
	if (!(flags_get(heap, span->block - 1) & FERRY__BLOCK_FRESH))
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
	 * pairs with the fence in scan_settled(), mark.c. */
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

/* Pages with little room are left to faults: all that lives on pages that
 * count as written is traced once more. */
static bool is_roomy(const struct ferry_heap *heap, uint32_t index)
{
	return heap->blocks[index].live <= FERRY__BLOCK_GRANULES / 4 * 3;
}

static void clean_clear(struct ferry_heap *heap, uint32_t index)
{
	/* Relaxed: a hint. */
	atomic_fetch_and_explicit(&heap->blocks[index].flags,
				  (uint16_t)~FERRY__BLOCK_CLEAN,
				  memory_order_relaxed);
}

/* What the sweep did not see to: one call here instead of a fault for each
 * page. */
static void expect_now(struct ferry_heap *heap, uint32_t index)
{
	if (!(flags_get(heap, index) & FERRY__BLOCK_CLEAN) ||
	    !is_roomy(heap, index))
		return;
	clean_clear(heap, index);
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
	/* B8: release pairs with the acquire in worth_scanning(), mark.c: who
	 * sees it retired sees that it is to be scanned as a whole. */
	atomic_store_explicit(&heap->blocks[index].state, FERRY__BLOCK_RETIRED,
			      memory_order_release);
	list_push(heap, &space->retired, index);
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

/* --- sweeping --------------------------------------------------------------------- */

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
	else if (flags_get(heap, index) & FERRY__BLOCK_YOUNG)
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
	unsigned int leaf = flags_get(heap, index) & FERRY__BLOCK_LEAF;

	if (flags_get(heap, index) & FERRY__BLOCK_YOUNG) {
		/* B10: as if it had been retired just now. */
		space->live += (size_t)block->live * FERRY_GRANULE;
		state_set(heap, index, FERRY__BLOCK_RETIRED);
		list_push(heap, &space->retired, index);
		return;
	}
	if (!block->live) {
		state_set(heap, index, FERRY__BLOCK_FREE);
		taken_sub(heap, FERRY__BLOCK_SIZE);
		list_push(heap, &space->free, index);
		return;
	}
	space->live += (size_t)block->live * FERRY_GRANULE;
	space->in_holes +=
		(FERRY__BLOCK_GRANULES - block->live) * FERRY_GRANULE;
	if (block->hole < FERRY__HOLE_WORTH) {
		state_set(heap, index, FERRY__BLOCK_FULL);
		return;
	}
	state_set(heap, index, FERRY__BLOCK_HOLES);
	list_push(heap, &space->holes[leaf], index);
}

bool ferry__block_is_unswept(const struct ferry_heap *heap, uint32_t index)
{
	enum ferry__block_state state = state_get(heap, index);

	if (state == FERRY__BLOCK_HOLES || state == FERRY__BLOCK_FULL ||
	    state == FERRY__BLOCK_RETIRED)
		return (flags_get(heap, index) & FERRY__BLOCK_EPOCH) !=
		       heap->space.epoch;
	return state == FERRY__BLOCK_UNSWEPT;
}

/* B12. Relaxed: the block is the sweeper's. */
static void epoch_set(struct ferry_heap *heap, uint32_t index)
{
	if ((flags_get(heap, index) & FERRY__BLOCK_EPOCH) != heap->space.epoch)
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
	if (list_pop(heap, &space->unswept, ret_index))
		found = true;
	while (!found && space->sweep_at < space->sweep_end) {
		*ret_index = space->sweep_at++;
		found = ferry__block_is_unswept(heap, *ret_index);
	}
	if (found) {
		state_set(heap, *ret_index, FERRY__BLOCK_SWEEPING);
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

	while (list_pop(heap, &space->retired, &index)) {
		space->live -= (size_t)heap->blocks[index].live * FERRY_GRANULE;
		state_set(heap, index, FERRY__BLOCK_UNSWEPT);
		list_push(heap, &space->unswept, index);
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
	enum ferry__block_state state = state_get(heap, index);

	return state == FERRY__BLOCK_FREE ||
	       (state == FERRY__BLOCK_HOLES && is_roomy(heap, index));
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
		    !(flags_get(heap, i) & FERRY__BLOCK_CLEAN))
			continue;
		clean_clear(heap, i);
		for (; goes_on(heap, i); i++) {
			if (!(flags_get(heap, i + 1) & FERRY__BLOCK_CLEAN))
				continue;
			last = i + 1;
			clean_clear(heap, last);
		}
		ferry__remember_expect(heap, ferry__block_addr(heap, first),
				       (size_t)(last + 1 - first)
					       << FERRY__BLOCK_SHIFT);
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
	state_set(heap, index, FERRY__BLOCK_VOID);
	list_push(heap, gone ? &space->voids : &space->stuck, index);
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

	for (n = space->stuck.len; n && found; n--) {
		pthread_mutex_lock(&space->lock);
		found = list_pop(heap, &space->stuck, &index);
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
		found = list_pop(heap, &space->free, &index);
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
}
