/* SPDX-License-Identifier: MIT */
/*
 * The accounts of the small space: blocks, their states and lists, the side
 * table between their objects.
 */
#include "runtime/verify.h"

#include "runtime/heap-internal.h"

#include <errno.h>

/* A check under way. */
struct survey {
	struct ferry_heap *heap;
	struct ferry_heap_fault *fault;
	uint8_t *times; /* how often a block was met on lists, or is owned */
	size_t live, in_holes, taken; /* bytes */
};

static int found(const struct survey *s, const char *what, uint32_t index,
		 uintptr_t value)
{
	return ferry__found(s->fault, what, ferry__block_addr(s->heap, index),
			    NULL, value);
}

static enum ferry__block_state state_of(const struct ferry_heap *heap,
					uint32_t index)
{
	/* Relaxed: the world is stopped. */
	return atomic_load_explicit(&heap->blocks[index].state,
				    memory_order_relaxed);
}

static unsigned int leaf_of(const struct ferry_heap *heap, uint32_t index)
{
	return atomic_load_explicit(&heap->blocks[index].flags,
				    memory_order_relaxed) &
	       FERRY__BLOCK_LEAF;
}

/* --- lists ------------------------------------------------------------------- */

/* B1: a block stands on the list of its state, once, and on no other. */
static int check_list(struct survey *s, const struct ferry__block_list *list,
		      enum ferry__block_state state)
{
	struct ferry_heap *heap = s->heap;
	uint32_t at, index, n = 0;

	for (at = list->head; at; at = heap->blocks[index].next) {
		index = at - 1;
		if (index >= ferry__space_end(&heap->space))
			return found(s, "a list leads beyond the blocks", 0,
				     at);
		if (state_of(heap, index) != state)
			return found(s, "a block is on the wrong list", index,
				     state_of(heap, index));
		if (s->times[index]++)
			return found(s, "a block is on two lists", index,
				     state);
		n++;
	}
	if (n != list->len)
		return found(s, "a list's length is miscounted", 0, n);
	return 0;
}

static int check_kind(const struct survey *s, unsigned int leaf)
{
	const struct ferry_heap *heap = s->heap;
	uint32_t at = heap->space.holes[leaf].head;

	for (; at; at = heap->blocks[at - 1].next)
		if (leaf_of(heap, at - 1) != leaf)
			return found(s, "a block with holes of the other kind",
				     at - 1, leaf);
	return 0;
}

static int check_lists(struct survey *s)
{
	const struct ferry__space *space = &s->heap->space;
	int r;

	r = check_list(s, &space->voids, FERRY__BLOCK_VOID);
	if (r == 0)
		r = check_list(s, &space->stuck, FERRY__BLOCK_VOID);
	if (r == 0)
		r = check_list(s, &space->free, FERRY__BLOCK_FREE);
	if (r == 0)
		r = check_list(s, &space->holes[0], FERRY__BLOCK_HOLES);
	if (r == 0)
		r = check_list(s, &space->holes[1], FERRY__BLOCK_HOLES);
	if (r == 0)
		r = check_list(s, &space->retired, FERRY__BLOCK_RETIRED);
	if (r == 0)
		r = check_list(s, &space->unswept, FERRY__BLOCK_UNSWEPT);
	if (r == 0)
		r = check_kind(s, 0);
	return r ? r : check_kind(s, 1);
}

/* --- owners ------------------------------------------------------------------- */

static int check_span(struct survey *s, const struct ferry__span *span,
		      const struct ferry_bump *bump)
{
	struct ferry_heap *heap = s->heap;
	uint32_t index = span->block - 1;
	uintptr_t addr;

	if (!span->block)
		return 0;
	addr = ferry__block_addr(heap, index);
	if (state_of(heap, index) != FERRY__BLOCK_OWNED)
		return found(s,
			     "a mutator allocates in a block it does not own",
			     index, state_of(heap, index));
	if (s->times[index]++)
		return found(s, "a block has two owners", index, 0);
	if (bump->cursor < addr || bump->cursor > bump->limit ||
	    bump->limit > addr + FERRY__BLOCK_SIZE)
		return found(s, "a mutator allocates outside its block", index,
			     bump->cursor);
	return 0;
}

static int check_owners(struct survey *s)
{
	struct ferry__mutator *m;
	unsigned int i;
	int r = 0;

	cds_list_for_each_entry (m, &s->heap->world.mutators, node)
		for (i = 0; r == 0 && i < 2; i++) {
			r = check_span(s, &m->span[i], &m->pub.bump[i]);
			if (r == 0)
				r = check_span(s, &m->spare_span[i],
					       &m->spare[i]);
		}
	return r;
}

/* --- objects in a block --------------------------------------------------------- */

static const char *wrong_start(const struct ferry_heap *heap, uint32_t index,
			       uint8_t byte)
{
	enum ferry__block_state state = state_of(heap, index);
	unsigned int kind = byte & FERRY_META_KIND;

	if (!kind || kind >= FERRY_KINDS)
		return "an object of no kind";
	if ((kind >= FERRY_KIND_LEAF) != leaf_of(heap, index))
		return "an object in a block of the other kind";
	if (!ferry__is_kept(heap, byte))
		return "an object that was to be swept";
	if ((state == FERRY__BLOCK_HOLES || state == FERRY__BLOCK_FULL) &&
	    ferry__is_young(heap, byte))
		return "an object that is not marked in a swept block";
	return NULL;
}

/* B2: objects follow each other, each with an end; live and hole are right
 * where they were counted and nobody has allocated since. */
static int check_objects(const struct survey *s, uint32_t index,
			 size_t *ret_live, size_t *ret_hole)
{
	const struct ferry_heap *heap = s->heap;
	const uint8_t *meta = ferry__block_meta(heap, index);
	uint32_t g = 0, start, end;
	size_t live = 0, hole = 0;
	const char *wrong;

	for (; g < FERRY__BLOCK_GRANULES; g = end + 1) {
		start = ferry__meta_next(meta, g, FERRY__BLOCK_GRANULES);
		if (start - g > hole)
			hole = start - g;
		if (start == FERRY__BLOCK_GRANULES)
			break;
		wrong = wrong_start(heap, index,
				    ferry__meta_load(meta + start));
		if (wrong)
			return found(s, wrong, index, start);
		end = ferry__meta_end(meta, start, FERRY__BLOCK_GRANULES);
		if (end == FERRY__BLOCK_GRANULES ||
		    (end != start &&
		     ferry__meta_load(meta + end) != FERRY_META_END))
			return found(s, "an object without an end", index,
				     start);
		live += end + 1 - start;
	}
	*ret_live = live;
	*ret_hole = hole;
	return 0;
}

static int check_swept(struct survey *s, uint32_t index, size_t live,
		       size_t hole)
{
	const struct ferry__block *block = &s->heap->blocks[index];
	bool holes = state_of(s->heap, index) == FERRY__BLOCK_HOLES;

	if (block->live != live)
		return found(s, "a block's live granules are miscounted", index,
			     block->live);
	if (block->hole != hole)
		return found(s, "a block's largest hole is another", index,
			     block->hole);
	if ((hole >= FERRY__HOLE_WORTH) != holes)
		return found(s,
			     "a block with holes counts as full, or a full "
			     "one not",
			     index, hole);
	s->in_holes += (FERRY__BLOCK_GRANULES - live) * FERRY_GRANULE;
	return 0;
}

/* --- blocks ------------------------------------------------------------------------ */

static int check_empty(const struct survey *s, uint32_t index)
{
	const uint8_t *meta = ferry__block_meta(s->heap, index);
	uint32_t g = ferry__meta_next(meta, 0, FERRY__BLOCK_GRANULES);

	if (s->times[index] != 1)
		return found(s, "a free block is on no list", index, 0);
	if (g < FERRY__BLOCK_GRANULES)
		return found(s, "a free block has an entry in the side table",
			     index, g);
	return 0;
}

/* How often a block of the state is met on lists or at owners; -1: there is
 * no such block now. */
static int times_of(enum ferry__block_state state)
{
	switch (state) {
	case FERRY__BLOCK_FULL:
		return 0;
	case FERRY__BLOCK_VOID:
	case FERRY__BLOCK_FREE:
	case FERRY__BLOCK_OWNED:
	case FERRY__BLOCK_RETIRED:
	case FERRY__BLOCK_HOLES:
		return 1;
	default:
		return -1;
	}
}

static bool has_memory(const struct ferry_heap *heap, uint32_t index)
{
	size_t first = (ferry__block_addr(heap, index) - heap->base) /
		       ferry__page_size;
	size_t end = first + FERRY__BLOCK_SIZE / ferry__page_size;

	return ferry__pages_find(&heap->arena->pages, first, end,
				 FERRY__CODE(FERRY_PAGE_LIVE), false) >= end;
}

static int check_block(struct survey *s, uint32_t index)
{
	enum ferry__block_state state = state_of(s->heap, index);
	size_t live = 0, hole = 0;
	int r;

	if (times_of(state) < 0)
		return found(s, "a block in a state of collections", index,
			     state);
	if (s->times[index] != times_of(state))
		return found(s, "a block is on no list", index, state);
	if (atomic_load_explicit(&s->heap->blocks[index].flags,
				 memory_order_relaxed) &
	    FERRY__BLOCK_MOVES)
		return found(s, "a block that is about to move", index, state);
	if (state > FERRY__BLOCK_FREE &&
	    ferry__block_is_unswept(s->heap, index))
		return found(s, "a block that was not swept", index, state);
	if (state <= FERRY__BLOCK_FREE)
		return check_empty(s, index);
	if (!has_memory(s->heap, index))
		return found(s, "a block lacks memory", index, state);
	s->taken += FERRY__BLOCK_SIZE;
	s->live += (size_t)s->heap->blocks[index].live * FERRY_GRANULE;
	r = check_objects(s, index, &live, &hole);
	if (r == 0 &&
	    (state == FERRY__BLOCK_HOLES || state == FERRY__BLOCK_FULL))
		r = check_swept(s, index, live, hole);
	return r;
}

static int check_sums(const struct survey *s)
{
	const struct ferry__space *space = &s->heap->space;
	size_t taken =
		atomic_load_explicit(&space->taken, memory_order_relaxed);

	if (taken != s->taken)
		return found(s, "bytes in blocks are miscounted", 0, taken);
	if (space->in_holes != s->in_holes)
		return found(s, "bytes in holes are miscounted", 0,
			     space->in_holes);
	if (space->live != s->live)
		return found(s, "live bytes are miscounted", 0, space->live);
	return 0;
}

static int check(struct survey *s)
{
	uint32_t i, n = ferry__space_end(&s->heap->space);
	int r;

	r = check_lists(s);
	if (r == 0)
		r = check_owners(s);
	for (i = 0; r == 0 && i < n; i++)
		r = check_block(s, i);
	return r ? r : check_sums(s);
}

int ferry__space_check(struct ferry_heap *heap,
		       struct ferry_heap_fault *ret_fault)
{
	struct survey s = { .heap = heap, .fault = ret_fault };
	void *mem;
	int r;

	r = ferry__meta_alloc(heap->space.max, &mem);
	if (r < 0)
		return r;
	s.times = mem;
	pthread_mutex_lock(&heap->space.lock);
	r = check(&s);
	pthread_mutex_unlock(&heap->space.lock);
	ferry__meta_free(mem, heap->space.max);
	return r;
}
