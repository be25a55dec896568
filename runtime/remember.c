/* SPDX-License-Identifier: MIT */
/*
 * Dirty tracking of the heap: rounds over chunks of its address space.
 *
 * A chunk is armed in the round that first sees memory in use there, and asked
 * about in every round from then on. What is in use and not armed was taken
 * since: such blocks are scanned as a whole when they are retired, and large
 * objects in the final pause, so nothing written is ever missed (M1, M2).
 */
#include "runtime/heap-internal.h"

#include <errno.h>

#define CHUNK_ARMED 0x01u
#define CHUNK_USED  0x02u
#define CHUNK_ARM   0x04u /* to be armed in this round */

#define RUNS 512u

static uintptr_t chunk_addr(const struct ferry_heap *heap, size_t chunk)
{
	return heap->base + (chunk << FERRY__CHUNK_SHIFT);
}

static size_t chunk_of(const struct ferry_heap *heap, uintptr_t addr)
{
	return (addr - heap->base) >> FERRY__CHUNK_SHIFT;
}

/* Blocks that may hold references make their chunk used. */
static void note_blocks(struct ferry_heap *heap)
{
	uint32_t i, n = ferry__space_end(&heap->space);

	for (i = 0; i < n; i++) {
		const struct ferry__block *block = &heap->blocks[i];
		enum ferry__block_state state = atomic_load_explicit(
			&block->state, memory_order_relaxed);

		if (state <= FERRY__BLOCK_FREE ||
		    atomic_load_explicit(&block->flags, memory_order_relaxed) &
			    FERRY__BLOCK_LEAF)
			continue;
		heap->remember
			.chunk[chunk_of(heap, ferry__block_addr(heap, i))] |=
			CHUNK_USED;
	}
}

static void note_large(struct ferry_heap *heap)
{
	uintptr_t addr;
	size_t bytes, page = 0, at;

	while (ferry__large_next(heap, page, &addr, &bytes)) {
		enum ferry_kind kind =
			ferry__meta_load(ferry__meta(heap, addr)) &
			FERRY_META_KIND;

		page = (ferry__offset(heap, addr) + bytes) >>
		       FERRY__LARGE_SHIFT;
		if (kind >= FERRY_KIND_LEAF)
			continue;
		for (at = chunk_of(heap, addr);
		     at <= chunk_of(heap, addr + bytes - 1); at++)
			heap->remember.chunk[at] |= CHUNK_USED;
	}
}

/* Those who cannot protect a part of the chunk by itself are asked for all. */
static bool is_by_blocks(const struct ferry_heap *heap)
{
	return ferry_dirty_provider(heap->remember.dirty) ==
	       FERRY_DIRTY_WP_ASYNC;
}

void ferry__remember_begin(struct ferry_heap *heap, bool arm)
{
	struct ferry__remember *remember = &heap->remember;
	size_t i;

	if (arm) {
		note_blocks(heap);
		note_large(heap);
		for (i = 0; i < remember->chunks; i++) {
			uint8_t *chunk = &remember->chunk[i];

			if ((*chunk & CHUNK_USED) && !(*chunk & CHUNK_ARMED))
				*chunk |= CHUNK_ARM;
		}
	}
	/* In the pause nobody writes: what was written is only looked up, and
	 * is the next collection's to find again. */
	remember->peek = !arm && is_by_blocks(heap);
	/* Relaxed: the team is started after this, under a lock. */
	atomic_store_explicit(&remember->at, 0, memory_order_relaxed);
	atomic_store_explicit(&remember->pages, 0, memory_order_relaxed);
}

/* Everything marked in a chunk whose writes are not known is traced. */
static void scan_whole(struct ferry__marker *marker, size_t chunk)
{
	ferry__mark_scan(marker, chunk_addr(marker->heap, chunk),
			 FERRY__CHUNK_SIZE);
}

/* --- what is tracked in a chunk ------------------------------------------------ */

/* The chunk's first block, if it is of the small space. */
static bool is_small(const struct ferry_heap *heap, size_t chunk,
		     uint32_t *ret_first)
{
	uintptr_t addr = chunk_addr(heap, chunk);

	*ret_first =
		(uint32_t)(ferry__offset(heap, addr) >> FERRY__BLOCK_SHIFT);
	return !ferry__is_large(heap, addr);
}

static void clean_set(struct ferry_heap *heap, uint32_t index, uint32_t n)
{
	uint32_t end = ferry__space_end(&heap->space);

	/* Relaxed: a hint; see FERRY__BLOCK_CLEAN. */
	for (; n && index < end; n--, index++)
		atomic_fetch_or_explicit(&heap->blocks[index].flags,
					 FERRY__BLOCK_CLEAN,
					 memory_order_relaxed);
}

/*
 * Is it worth knowing which of its pages were written? Not where nothing is
 * marked: what was allocated since the last collection, and has not been
 * reached yet. Its pages stay written until it is (M8).
 */
static bool is_tracked(const struct ferry_heap *heap, uint32_t index)
{
	const struct ferry__block *block = &heap->blocks[index];
	/* Acquire: pairs with B8, for live. The rest relaxed: what is passed
	 * over by mistake counts as written in the next round; in the pause all
	 * of it is exact. */
	enum ferry__block_state state =
		atomic_load_explicit(&block->state, memory_order_acquire);

	if (state <= FERRY__BLOCK_FREE || state == FERRY__BLOCK_OWNED ||
	    atomic_load_explicit(&block->flags, memory_order_relaxed) &
		    FERRY__BLOCK_LEAF)
		return false;
	return block->live ||
	       atomic_load_explicit(&block->marked, memory_order_relaxed);
}

static void arm(struct ferry__marker *marker, size_t chunk)
{
	struct ferry_heap *heap = marker->heap;
	struct ferry__remember *remember = &heap->remember;
	uint32_t first;
	int r = ferry_dirty_arm(remember->dirty,
				(void *)chunk_addr(heap, chunk),
				FERRY__CHUNK_SIZE, NULL);

	/* On failure it is tried again, and scanned as a whole, every round. */
	if (r == 0) {
		remember->chunk[chunk] = CHUNK_USED | CHUNK_ARMED;
		if (is_small(heap, chunk, &first))
			clean_set(heap, first, FERRY__CHUNK_BLOCKS);
	}
	ferry__tier_written(heap, chunk_addr(heap, chunk), FERRY__CHUNK_SIZE);
	/* Marked before it was tracked, and perhaps traced before. */
	scan_whole(marker, chunk);
}

/* Tracking failed: all counts as written, and it is armed anew next time. */
static void lost(struct ferry__marker *marker, size_t chunk)
{
	struct ferry_heap *heap = marker->heap;

	ferry_dirty_disarm(heap->remember.dirty,
			   (void *)chunk_addr(heap, chunk), FERRY__CHUNK_SIZE);
	heap->remember.chunk[chunk] = CHUNK_USED | CHUNK_ARM;
	scan_whole(marker, chunk);
}

/* Written pages: of blocks those that are tracked. */
static void scan_written(struct ferry__marker *marker, uintptr_t addr,
			 size_t len)
{
	struct ferry_heap *heap = marker->heap;
	size_t n;

	if (ferry__is_large(heap, addr)) {
		ferry__mark_scan(marker, addr, len);
		return;
	}
	for (; len; addr += n, len -= n) {
		uint32_t index = (uint32_t)(ferry__offset(heap, addr) >>
					    FERRY__BLOCK_SHIFT);

		n = FERRY__BLOCK_SIZE - (addr & (FERRY__BLOCK_SIZE - 1));
		if (n > len)
			n = len;
		if (is_tracked(heap, index))
			ferry__mark_scan(marker, addr, n);
	}
}

/* After ferry__remember_relax() all of it would seem to be written. */
static void note_written(struct ferry_heap *heap, const struct ferry_range *run)
{
	if (heap->remember.whole)
		ferry__tier_written(heap, (uintptr_t)run->addr, run->len);
}

/* Returns false if the range's tracking failed. */
static bool collect_range(struct ferry__marker *marker, uintptr_t addr,
			  size_t len, size_t *pages)
{
	struct ferry_heap *heap = marker->heap;
	char *at = (char *)addr, *end = at + len;
	struct ferry_range run[RUNS];
	__typeof__(&ferry_dirty_collect) ask =
		heap->remember.peek ? ferry_dirty_peek : ferry_dirty_collect;
	void *next;
	size_t n, i;

	for (; at < end; at = next) {
		if (ask(heap->remember.dirty, at, (size_t)(end - at), run, RUNS,
			&n, &next) < 0)
			return false;
		for (i = 0; i < n; i++) {
			*pages += run[i].len / ferry__page_size;
			note_written(heap, &run[i]);
			scan_written(marker, (uintptr_t)run[i].addr,
				     run[i].len);
		}
	}
	return true;
}

/* A block that is not tracked, between two that are, costs less than the system
 * call that would be saved without it; unless somebody writes to it. */
static bool is_bridge(const struct ferry_heap *heap, uint32_t index,
		      uint32_t end)
{
	return index + 1 < end && is_tracked(heap, index + 1) &&
	       atomic_load_explicit(&heap->blocks[index].state,
				    memory_order_relaxed) != FERRY__BLOCK_OWNED;
}

/* Runs of blocks that are tracked, from @first on. */
static bool collect_blocks(struct ferry__marker *marker, size_t chunk,
			   uint32_t first, size_t *pages)
{
	struct ferry_heap *heap = marker->heap;
	uint32_t used = ferry__space_end(&heap->space), i = first, begin;
	uint32_t end = first + FERRY__CHUNK_BLOCKS < used
			       ? first + FERRY__CHUNK_BLOCKS
			       : used;

	while (i < end) {
		for (; i < end && !is_tracked(heap, i); i++)
			;
		for (begin = i; i < end && (is_tracked(heap, i) ||
					    is_bridge(heap, i, end));
		     i++)
			;
		clean_set(heap, begin, i - begin);
		if (!collect_range(
			    marker,
			    chunk_addr(heap, chunk) + ((size_t)(begin - first)
						       << FERRY__BLOCK_SHIFT),
			    (size_t)(i - begin) << FERRY__BLOCK_SHIFT, pages))
			return false;
	}
	return true;
}

static void collect(struct ferry__marker *marker, size_t chunk)
{
	struct ferry_heap *heap = marker->heap;
	size_t pages = 0;
	uint32_t first;
	bool known;

	if (is_small(heap, chunk, &first) && is_by_blocks(heap))
		known = collect_blocks(marker, chunk, first, &pages);
	else
		known = collect_range(marker, chunk_addr(heap, chunk),
				      FERRY__CHUNK_SIZE, &pages);
	if (!known)
		lost(marker, chunk);
	atomic_fetch_add_explicit(&heap->remember.pages, pages,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&heap->events.count.dirty_pages, pages,
				  memory_order_relaxed);
}

/* --- notes --------------------------------------------------------------------- */

/* Bytes that share a bit, however large the pages are. */
#define NOTE_SIZE   ((size_t)4096)
#define CHUNK_WORDS (FERRY__CHUNK_SIZE / NOTE_SIZE / 64)

void ferry__remember_note(struct ferry_heap *heap, uintptr_t slot)
{
	struct ferry__remember *remember = &heap->remember;
	_Atomic uint64_t *noted = remember->noted[remember->filling];
	size_t at = (slot - heap->base) / NOTE_SIZE;
	uint64_t bit = (uint64_t)1 << at % 64;

	if (!noted || !ferry__in_heap(heap, slot))
		return;
	/* Relaxed: read in the next collection. */
	if (!(atomic_load_explicit(&noted[at / 64], memory_order_relaxed) &
	      bit))
		atomic_fetch_or_explicit(&noted[at / 64], bit,
					 memory_order_relaxed);
}

void ferry__remember_turn(struct ferry_heap *heap)
{
	ferry__tier_turn(heap, heap->remember.whole);
	heap->remember.filling ^= 1;
	heap->remember.first = true;
}

/* What was noted in a chunk, which is traced unless everything is. */
static void take_notes(struct ferry__marker *marker, size_t chunk)
{
	struct ferry_heap *heap = marker->heap;
	struct ferry__remember *remember = &heap->remember;
	_Atomic uint64_t *noted = remember->noted[!remember->filling];
	size_t word = chunk * CHUNK_WORDS, end = word + CHUNK_WORDS;

	for (; noted && word < end; word++) {
		uint64_t bits = atomic_load_explicit(&noted[word],
						     memory_order_relaxed);

		if (!bits)
			continue;
		atomic_store_explicit(&noted[word], 0, memory_order_relaxed);
		for (; bits && !heap->cycle.full; bits &= bits - 1)
			ferry__mark_scan(
				marker,
				heap->base + (word * 64 +
					      (size_t)__builtin_ctzll(bits)) *
						     NOTE_SIZE,
				NOTE_SIZE);
	}
}

void ferry__remember_scan(struct ferry__marker *marker)
{
	struct ferry__remember *remember = &marker->heap->remember;

	for (;;) {
		size_t chunk = atomic_fetch_add_explicit(&remember->at, 1,
							 memory_order_relaxed);

		if (chunk >= remember->chunks)
			return;
		if (remember->first)
			take_notes(marker, chunk);
		if (remember->chunk[chunk] & CHUNK_ARM)
			arm(marker, chunk);
		else if (remember->chunk[chunk] & CHUNK_ARMED)
			collect(marker, chunk);
	}
}

void ferry__remember_expect(struct ferry_heap *heap, uintptr_t addr, size_t len)
{
	/* Not armed, or tracked by other means: writing is no dearer. */
	if (heap->remember.dirty)
		(void)ferry_dirty_expect(heap->remember.dirty, (void *)addr,
					 len);
}

/* Whole chunks count as written, at the cost of a call for each instead of a
 * fault for each page. */
void ferry__remember_relax(struct ferry_heap *heap)
{
	struct ferry__remember *remember = &heap->remember;
	uint32_t end = ferry__space_end(&heap->space), index;
	size_t i;

	remember->whole = false;
	/* Before: a hint that comes back meanwhile costs a call. */
	for (index = 0; index < end; index++)
		atomic_fetch_and_explicit(&heap->blocks[index].flags,
					  (uint16_t)~FERRY__BLOCK_CLEAN,
					  memory_order_relaxed);
	for (i = 0; i < remember->chunks; i++)
		if (remember->chunk[i] & CHUNK_ARMED)
			ferry__remember_expect(heap, chunk_addr(heap, i),
					       FERRY__CHUNK_SIZE);
}

void ferry__remember_drop(struct ferry_heap *heap)
{
	struct ferry__remember *remember = &heap->remember;
	size_t i;

	remember->whole = false;
	for (i = 0; i < remember->chunks; i++) {
		if (remember->chunk[i] & CHUNK_ARMED)
			ferry_dirty_disarm(remember->dirty,
					   (void *)chunk_addr(heap, i),
					   FERRY__CHUNK_SIZE);
		remember->chunk[i] = 0;
	}
}

static size_t noted_bytes(const struct ferry_heap *heap)
{
	return FERRY__PARTS * heap->half / NOTE_SIZE / 8;
}

static int notes_init(struct ferry_heap *heap)
{
	struct ferry__remember *remember = &heap->remember;
	void *mem;
	int r;

	if (heap->params.no_minor)
		return 0;
	r = ferry__meta_alloc(2 * noted_bytes(heap), &mem);
	if (r < 0)
		return r;
	remember->noted[0] = mem;
	remember->noted[1] = remember->noted[0] +
			     noted_bytes(heap) / sizeof(**remember->noted);
	return 0;
}

static void notes_fini(struct ferry_heap *heap)
{
	if (heap->remember.noted[0])
		ferry__meta_free(heap->remember.noted[0],
				 2 * noted_bytes(heap));
}

int ferry__remember_init(struct ferry_heap *heap)
{
	struct ferry__remember *remember = &heap->remember;
	void *mem;
	int r;

	if (heap->mode == FERRY_GC_STOPPED)
		return 0;
	remember->chunks = FERRY__PARTS * heap->half >> FERRY__CHUNK_SHIFT;
	r = ferry__meta_alloc(remember->chunks, &mem);
	if (r < 0)
		return r;
	remember->chunk = mem;
	r = notes_init(heap);
	if (r < 0)
		goto err_chunks;
	r = ferry_dirty_open(NULL, &heap->why, &remember->dirty);
	if (r < 0)
		goto err_notes;
	return 0;
err_notes:
	notes_fini(heap);
err_chunks:
	ferry__meta_free(mem, remember->chunks);
	return r;
}

void ferry__remember_fini(struct ferry_heap *heap)
{
	struct ferry__remember *remember = &heap->remember;

	if (!remember->dirty)
		return;
	ferry_dirty_close(remember->dirty);
	notes_fini(heap);
	ferry__meta_free(remember->chunk, remember->chunks);
}
