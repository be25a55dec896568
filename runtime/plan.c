/* SPDX-License-Identifier: MIT */
/*
 * The plan of a compaction: which blocks are emptied, and where each of their
 * objects goes.
 *
 * Sparse blocks are frozen (nobody allocates in them), in order of their
 * addresses, and their objects laid out one behind the other in new blocks of
 * the same kind. An object does not straddle two blocks: where the next one
 * does not fit, the rest of its block goes to the next target.
 */
#include "runtime/heap-internal.h"

#include <errno.h>
#include <string.h>

/* --- vectors ------------------------------------------------------------------- */

bool ferry__vector_reserve(struct ferry__vector *vec, size_t room, size_t size)
{
	void *mem;

	if (room <= vec->room)
		return true;
	if (ferry__meta_alloc(room * size, &mem) < 0)
		return false;
	if (vec->room) {
		memcpy(mem, vec->v, vec->len * size);
		ferry__meta_free(vec->v, vec->room * size);
	}
	vec->v = mem;
	vec->room = room;
	return true;
}

void *ferry__vector_add(struct ferry__vector *vec, size_t size)
{
	if (vec->len == vec->room &&
	    !ferry__vector_reserve(vec, vec->room ? 2 * vec->room : 64, size))
		return NULL;
	return (char *)vec->v + size * vec->len++;
}

void ferry__vector_clear(struct ferry__vector *vec, size_t size)
{
	if (vec->room)
		ferry__meta_free(vec->v, vec->room * size);
	*vec = (struct ferry__vector){ NULL, 0, 0 };
}

/* --- choosing -------------------------------------------------------------------- */

static enum ferry__block_state state_of(const struct ferry_heap *heap,
					uint32_t index)
{
	return atomic_load_explicit(&heap->blocks[index].state,
				    memory_order_relaxed);
}

static void state_set(struct ferry_heap *heap, uint32_t index,
		      enum ferry__block_state state)
{
	/* Relaxed: as in block.c, under the lock. */
	atomic_store_explicit(&heap->blocks[index].state, state,
			      memory_order_relaxed);
}

static unsigned int leaf_of(const struct ferry_heap *heap, uint32_t index)
{
	return atomic_load_explicit(&heap->blocks[index].flags,
				    memory_order_relaxed) &
	       FERRY__BLOCK_LEAF;
}

static bool is_sparse(const struct ferry_heap *heap, uint32_t index,
		      uint32_t most)
{
	const struct ferry__block *block = &heap->blocks[index];
	enum ferry__block_state state = state_of(heap, index);
	uint16_t flags =
		atomic_load_explicit(&block->flags, memory_order_relaxed);

	return (state == FERRY__BLOCK_HOLES || state == FERRY__BLOCK_FULL) &&
	       !(flags & (FERRY__BLOCK_AMBIG | FERRY__BLOCK_ALIGNED)) &&
	       block->live < most;
}

/* The bits of a block's objects; false if an object would have to grow and
 * there is no room behind it, or there is no memory. */
static bool record_bits(struct ferry_heap *heap, struct ferry__record *record)
{
	const uint8_t *meta = ferry__block_meta(heap, record->source);
	uintptr_t addr = ferry__block_addr(heap, record->source);
	uint32_t g, end, next, live = 0, i;

	for (g = ferry__meta_next(meta, 0, FERRY__BLOCK_GRANULES);
	     g < FERRY__BLOCK_GRANULES; g = next) {
		end = ferry__meta_end(meta, g, FERRY__BLOCK_GRANULES) + 1;
		next = ferry__meta_next(meta, end, FERRY__BLOCK_GRANULES);
		if (ferry__hash_grows(heap, addr + (size_t)g * FERRY_GRANULE)) {
			if (end == next)
				return false;
			end++;
			record->grows = true;
		}
		for (; g < end; g++)
			record->bits[g / 64] |= (uint64_t)1 << (g % 64);
	}
	for (i = 0; i < FERRY__RECORD_WORDS; i++) {
		record->rank[i] = (uint16_t)live;
		live += (uint32_t)__builtin_popcountll(record->bits[i]);
	}
	record->live = (uint16_t)live;
	return live < FERRY__BLOCK_GRANULES;
}

/* Takes chosen blocks off the lists of what has holes. Space lock. */
static void unlist(struct ferry_heap *heap, struct ferry__block_list *list)
{
	uint32_t at = list->head, next;

	*list = (struct ferry__block_list){ 0, 0 };
	for (; at; at = next) {
		next = heap->blocks[at - 1].next;
		if (state_of(heap, at - 1) != FERRY__BLOCK_HOLES)
			continue;
		heap->blocks[at - 1].next = list->head;
		list->head = at;
		list->len++;
	}
}

/*
 * Freezes what is sparse; returns how many. The lock is held for no more than
 * that, as mutators want it for every block.
 */
static size_t freeze(struct ferry_heap *heap, uint32_t most)
{
	struct ferry__space *space = &heap->space;
	size_t n = 0;
	uint32_t i;

	pthread_mutex_lock(&space->lock);
	for (i = 0; i < ferry__space_end(space); i++) {
		if (!is_sparse(heap, i, most))
			continue;
		/* H3, seq_cst: pairs with ask() in identity.c. Who asks for a
		 * hash that is not in the record sees the state, and leaves
		 * word of it. */
		atomic_store(&heap->blocks[i].state, FERRY__BLOCK_SPARSE);
		n++;
	}
	unlist(heap, &space->holes[0]);
	unlist(heap, &space->holes[1]);
	pthread_mutex_unlock(&space->lock);
	return n;
}

/* It is as it was before freeze(). */
static void thaw(struct ferry_heap *heap, uint32_t index)
{
	struct ferry__space *space = &heap->space;
	struct ferry__block *block = &heap->blocks[index];
	struct ferry__block_list *list = &space->holes[leaf_of(heap, index)];

	pthread_mutex_lock(&space->lock);
	if (block->hole < FERRY__HOLE_WORTH) {
		state_set(heap, index, FERRY__BLOCK_FULL);
	} else {
		state_set(heap, index, FERRY__BLOCK_HOLES);
		block->next = list->head;
		list->head = index + 1;
		list->len++;
	}
	pthread_mutex_unlock(&space->lock);
}

static void choose(struct ferry_heap *heap, uint32_t index)
{
	struct ferry__record *record =
		ferry__vector_add(&heap->reloc.records, sizeof(*record));

	if (record) {
		record->source = index;
		if (record_bits(heap, record))
			return;
		memset(record, 0, sizeof(*record));
		heap->reloc.records.len--;
	}
	thaw(heap, index);
}

static void choose_all(struct ferry_heap *heap, uint32_t most)
{
	size_t n = freeze(heap, most);
	unsigned int leaf;
	uint32_t i;

	ferry__vector_reserve(&heap->reloc.records, n,
			      sizeof(struct ferry__record));
	for (leaf = 0; leaf < 2; leaf++)
		for (i = 0; n && i < ferry__space_end(&heap->space); i++)
			if (state_of(heap, i) == FERRY__BLOCK_SPARSE &&
			    leaf_of(heap, i) == leaf)
				choose(heap, i);
}

/* --- laying out --------------------------------------------------------------------- */

static struct ferry__target *target_add(struct ferry_heap *heap,
					unsigned int leaf, uint32_t first)
{
	struct ferry__target *target;
	uint32_t block;

	if (ferry__space_target(heap, leaf, &block) < 0)
		return NULL;
	/* Committed, so that its memory goes back when it is void again. */
	target = ferry__block_commit(heap, block) < 0
			 ? NULL
			 : ferry__vector_add(&heap->reloc.targets,
					     sizeof(*target));
	if (!target) {
		atomic_fetch_sub_explicit(&heap->space.taken, FERRY__BLOCK_SIZE,
					  memory_order_relaxed);
		ferry__space_void(heap, block, true);
		return NULL;
	}
	*target = (struct ferry__target){ block, first, first };
	heap->blocks[block].fwd =
		FERRY__FWD_FIRST + (uint32_t)(heap->reloc.targets.len - 1);
	return target;
}

/* How many of the record's granules, from the first, fit in @room without an
 * object being cut in two. */
static uint32_t fitting(const struct ferry_heap *heap,
			const struct ferry__record *record, uint32_t room)
{
	const uint8_t *meta = ferry__block_meta(heap, record->source);
	uint32_t g = 0, rank = 0, end, next, n;

	if (record->live <= room)
		return record->live;
	while ((g = ferry__meta_next(meta, g, FERRY__BLOCK_GRANULES)) <
	       FERRY__BLOCK_GRANULES) {
		end = ferry__meta_end(meta, g, FERRY__BLOCK_GRANULES) + 1;
		next = ferry__meta_next(meta, end, FERRY__BLOCK_GRANULES);
		/* A granule for its hash counts with it. */
		n = end - g;
		if (ferry__record_grows(record, end, next))
			n++;
		if (rank + n > room)
			break;
		rank += n;
		g = next;
	}
	return rank;
}

/* Lays out one record from granule *@at of the last target on. */
static bool lay_out(struct ferry_heap *heap, uint32_t number, uint32_t *at)
{
	struct ferry__reloc *reloc = &heap->reloc;
	struct ferry__record *record = ferry__record(reloc, number);
	unsigned int leaf = leaf_of(heap, record->source);
	struct ferry__target *last = NULL;
	uint32_t room = 0;

	if (reloc->targets.len)
		last = ferry__target(reloc, reloc->targets.len - 1);
	if (last && leaf_of(heap, last->block) == leaf)
		room = FERRY__BLOCK_GRANULES - *at;
	record->begin = (uint16_t)*at;
	record->split = (uint16_t)fitting(heap, record, room);
	if (record->split) {
		record->target[0] = (uint32_t)reloc->targets.len - 1;
		last->last = number;
	}
	*at += record->split;
	record->parts = 1;
	if (record->split == record->live)
		return true;
	if (!target_add(heap, leaf, number))
		return false;
	record->target[1] = (uint32_t)reloc->targets.len - 1;
	record->parts = record->split ? 2 : 1;
	*at = record->live - record->split;
	return true;
}

bool ferry__plan_make(struct ferry_heap *heap, uint32_t most)
{
	struct ferry__reloc *reloc = &heap->reloc;
	uint32_t i, at = 0;

	choose_all(heap, most);
	for (i = 0; i < reloc->records.len; i++)
		if (!lay_out(heap, i, &at))
			goto err_undo;
	if (reloc->targets.len >= reloc->records.len && !heap->stress.move_all)
		goto err_undo;
	for (i = 0; i < reloc->records.len; i++)
		heap->blocks[ferry__record(reloc, i)->source].fwd =
			FERRY__FWD_FIRST + i;
	return true;
err_undo:
	ferry__plan_end(heap, true);
	return false;
}

/* --- the end -------------------------------------------------------------------------- */

void ferry__plan_cancel(struct ferry_heap *heap, struct ferry__record *record)
{
	record->stays = true;
	heap->blocks[record->source].fwd = FERRY__FWD_STAY;
}

/* A block goes back to where its live and hole say; not counted as live a
 * second time. */
static void file(struct ferry_heap *heap, uint32_t index)
{
	struct ferry__space *space = &heap->space;
	struct ferry__block *block = &heap->blocks[index];

	ferry__block_survey(heap, index, &block->live, &block->hole);
	pthread_mutex_lock(&space->lock);
	ferry__space_file(heap, index);
	pthread_mutex_unlock(&space->lock);
}

/* What a block counts for in the sums of the space, taken out of them. */
static void unfile(struct ferry_heap *heap, uint32_t index)
{
	struct ferry__space *space = &heap->space;
	size_t live = (size_t)heap->blocks[index].live * FERRY_GRANULE;

	pthread_mutex_lock(&space->lock);
	space->live -= live;
	space->in_holes -= FERRY__BLOCK_SIZE - live;
	pthread_mutex_unlock(&space->lock);
}

void ferry__plan_reset_fwd(struct ferry_heap *heap, uint32_t index)
{
	heap->blocks[index].fwd = leaf_of(heap, index) ? FERRY__FWD_STAY
						       : FERRY__FWD_TOGGLE;
}

static void empty_source(struct ferry_heap *heap, uint32_t index)
{
	memset(ferry__block_meta(heap, index), 0, FERRY__BLOCK_GRANULES);
	ferry__hash_swept(heap, ferry__block_addr(heap, index),
			  FERRY__BLOCK_SIZE);
	heap->blocks[index].live = 0;
	atomic_fetch_sub_explicit(&heap->space.taken, FERRY__BLOCK_SIZE,
				  memory_order_relaxed);
	ferry__space_void(heap, index, false);
}

static void end_source(struct ferry_heap *heap,
		       const struct ferry__record *record, bool undo)
{
	unfile(heap, record->source);
	if (undo || record->stays) {
		ferry__plan_reset_fwd(heap, record->source);
		file(heap, record->source);
	} else {
		empty_source(heap, record->source);
	}
}

static void end_target(struct ferry_heap *heap, uint32_t index, bool undo)
{
	ferry__plan_reset_fwd(heap, index);
	if (!undo) {
		file(heap, index);
		return;
	}
	/* Its side table was not written yet: K12. */
	atomic_fetch_sub_explicit(&heap->space.taken, FERRY__BLOCK_SIZE,
				  memory_order_relaxed);
	ferry__space_void(heap, index, true);
}

void ferry__plan_end(struct ferry_heap *heap, bool undo)
{
	struct ferry__reloc *reloc = &heap->reloc;
	size_t i;

	for (i = 0; i < reloc->targets.len; i++)
		end_target(heap, ferry__target(reloc, i)->block, undo);
	for (i = 0; i < reloc->records.len; i++)
		end_source(heap, ferry__record(reloc, i), undo);
	ferry__vector_clear(&reloc->targets, sizeof(struct ferry__target));
	ferry__vector_clear(&reloc->records, sizeof(struct ferry__record));
}
