/* SPDX-License-Identifier: MIT */
/*
 * The flip: the moment at which all objects get their new addresses.
 *
 * Everything that takes time by the size of the heap is done before the pause,
 * while the program runs: what each block is going to do, the demand ranges
 * of both halves, lists of what is to be looked at in the pause. There, what
 * has changed since is made up for (blocks taken meanwhile, pins), the ranges
 * are served from then on, and the roots get new addresses (K10).
 */
#include "runtime/heap-internal.h"

#include <errno.h>
#include <string.h>

/* Blocks looked at before the lock of the space is let go for a moment. */
#define GROUP 512u

/* Blocks that mutators may take between the preparation and the pause, beyond
 * the end of those there: an eighth more, and so many. Else it is prepared
 * again in the pause. */
#define ROOM_MORE 256u

/* --- blocks ------------------------------------------------------------------ */

static uint16_t flags_of(const struct ferry_heap *heap, uint32_t index)
{
	return atomic_load_explicit(&heap->blocks[index].flags,
				    memory_order_relaxed);
}

/* Relaxed: the collector's own flags; the pause orders them for mutators. */
static void flag_on(struct ferry_heap *heap, uint32_t index, uint16_t flag)
{
	atomic_fetch_or_explicit(&heap->blocks[index].flags, flag,
				 memory_order_relaxed);
}

static void flags_off(struct ferry_heap *heap, uint32_t index, uint16_t flags)
{
	atomic_fetch_and_explicit(&heap->blocks[index].flags, (uint16_t)~flags,
				  memory_order_relaxed);
}

static enum ferry__block_state state_of(const struct ferry_heap *heap,
					uint32_t index)
{
	return atomic_load_explicit(&heap->blocks[index].state,
				    memory_order_relaxed);
}

static bool has_objects(const struct ferry_heap *heap, uint32_t index)
{
	enum ferry__block_state state = state_of(heap, index);

	return state != FERRY__BLOCK_VOID && state != FERRY__BLOCK_FREE &&
	       state != FERRY__BLOCK_TARGET;
}

/* One more on a list of blocks to be looked at; or all of them will be. */
static void list_add(struct ferry__reloc *reloc, struct ferry__vector *list,
		     uint32_t index)
{
	uint32_t *entry = ferry__vector_add(list, sizeof(index));

	if (entry)
		*entry = index;
	else
		reloc->blind = true;
}

static void lists_clear(struct ferry__reloc *reloc)
{
	ferry__vector_clear(&reloc->pinned, sizeof(uint32_t));
	ferry__vector_clear(&reloc->ambiguous, sizeof(uint32_t));
	ferry__vector_clear(&reloc->large, sizeof(uintptr_t));
	reloc->blind = false;
}

static void *block_in(const struct ferry_heap *heap, uint32_t index,
		      unsigned int half)
{
	return (void *)(heap->base + half * heap->half +
			((size_t)index << FERRY__BLOCK_SHIFT));
}

/*
 * What becomes of a block's unit in one half, as it was not known when the
 * ranges were prepared. It cannot fail: the unit is one of those.
 */
static void unit_set(struct ferry_heap *heap, uint32_t index, unsigned int half,
		     enum ferry_demand_state state)
{
	int r;

	if (index >= heap->reloc.units)
		return;
	r = ferry_demand_revise(heap->reloc.demand, block_in(heap, index, half),
				FERRY__BLOCK_SIZE, state);
	ferry__check(r == 0);
}

/* --- what keeps its address; world stopped ------------------------------------ */

/* A block that was to be taken across, or emptied, keeps its unit. */
static void unit_stays(struct ferry_heap *heap, uint32_t index)
{
	unsigned int half = ferry__block_half(heap, index);

	unit_set(heap, index, !half, FERRY_DEMAND_IDLE);
	unit_set(heap, index, half, FERRY_DEMAND_DONE);
}

static void pin_block(struct ferry_heap *heap, uint32_t index)
{
	struct ferry__block *block = &heap->blocks[index];

	if (flags_of(heap, index) & FERRY__BLOCK_PINNED ||
	    !has_objects(heap, index))
		return;
	flag_on(heap, index, FERRY__BLOCK_PINNED);
	flags_off(heap, index, FERRY__BLOCK_MOVES);
	list_add(&heap->reloc, &heap->reloc.pinned, index);
	if (block->fwd >= FERRY__FWD_FIRST)
		ferry__plan_cancel(
			heap, ferry__record(&heap->reloc,
					    block->fwd - FERRY__FWD_FIRST));
	if (heap->mode != FERRY_GC_STOPPED && block->fwd != FERRY__FWD_STAY)
		unit_stays(heap, index);
	block->fwd = FERRY__FWD_STAY;
}

static void pin_word(void *arg, uintptr_t word)
{
	struct ferry_heap *heap = arg;
	uintptr_t addr = ferry__object_find(heap, word);

	if (addr && !ferry__is_large(heap, addr))
		pin_block(heap, (uint32_t)(ferry__offset(heap, addr) >>
					   FERRY__BLOCK_SHIFT));
}

static void pin_words_of(struct ferry_heap *heap, uintptr_t addr, size_t bytes)
{
	const uintptr_t *word = (const uintptr_t *)addr;
	size_t n = bytes / sizeof(*word);

	for (; n; n--, word++)
		pin_word(heap, __atomic_load_n(word, __ATOMIC_RELAXED));
}

static void pin_from_block(struct ferry_heap *heap, uint32_t index)
{
	const uint8_t *meta = ferry__block_meta(heap, index);
	uintptr_t block = ferry__block_addr(heap, index);
	uint32_t g;

	for (g = 0;; g++) {
		uintptr_t addr;

		g = ferry__meta_next(meta, g, FERRY__BLOCK_GRANULES);
		if (g == FERRY__BLOCK_GRANULES)
			return;
		if ((ferry__meta_load(meta + g) & FERRY_META_KIND) !=
		    FERRY_KIND_AMBIGUOUS)
			continue;
		addr = block + (size_t)g * FERRY_GRANULE;
		pin_words_of(heap, addr, ferry__object_bytes(heap, addr));
	}
}

static enum ferry_kind large_kind(const struct ferry_heap *heap, uintptr_t addr)
{
	return ferry__meta_load(ferry__meta(heap, addr)) & FERRY_META_KIND;
}

static bool is_large_list_whole(const struct ferry_heap *heap)
{
	/* Acquire: pairs with the release in ferry__large_alloc(). */
	return !heap->reloc.blind &&
	       heap->reloc.large_made ==
		       atomic_load_explicit(&heap->large.made,
					    memory_order_acquire);
}

typedef void (*large_fn)(struct ferry_heap *heap, void *arg, uintptr_t addr);

/* Large objects that may have references: those of the list, if none was made
 * since; else whatever there is. */
static void large_each(struct ferry_heap *heap, large_fn fn, void *arg)
{
	const struct ferry__vector *list = &heap->reloc.large;
	size_t bytes, page = 0;
	uintptr_t addr;

	if (is_large_list_whole(heap)) {
		for (page = 0; page < list->len; page++)
			fn(heap, arg, ((uintptr_t *)list->v)[page]);
		return;
	}
	while (ferry__large_next(heap, page, &addr, &bytes)) {
		fn(heap, arg, addr);
		page = (ferry__offset(heap, addr) + bytes) >>
		       FERRY__LARGE_SHIFT;
	}
}

static void pin_from_large(struct ferry_heap *heap, void *arg, uintptr_t addr)
{
	(void)arg;
	if (large_kind(heap, addr) == FERRY_KIND_AMBIGUOUS)
		pin_words_of(heap, addr, ferry__large_bytes(heap, addr));
}

/* Blocks of the plan with an object that has no room for its hash. */
static void pin_asked(struct ferry_heap *heap)
{
	size_t i;

	for (i = 0; i < heap->reloc.records.len; i++) {
		uint32_t index = ferry__record(&heap->reloc, i)->source;

		if (flags_of(heap, index) & FERRY__BLOCK_ASKED)
			pin_block(heap, index);
	}
}

/* Blocks with ambiguous objects: those on the list, and those retired since it
 * was made. */
static void pin_from_blocks(struct ferry_heap *heap)
{
	struct ferry__reloc *reloc = &heap->reloc;
	uint32_t i, at;

	if (reloc->blind) {
		for (i = 0; i < ferry__space_end(&heap->space); i++)
			if (flags_of(heap, i) & FERRY__BLOCK_AMBIG &&
			    has_objects(heap, i))
				pin_from_block(heap, i);
		return;
	}
	for (i = 0; i < reloc->ambiguous.len; i++)
		pin_from_block(heap, ((uint32_t *)reloc->ambiguous.v)[i]);
	for (at = heap->space.retired.head; at != reloc->seen;
	     at = heap->blocks[at - 1].next)
		if (flags_of(heap, at - 1) & FERRY__BLOCK_AMBIG)
			pin_from_block(heap, at - 1);
}

static void pin_all(struct ferry_heap *heap)
{
	/* Relaxed: set by mutators before they stopped. */
	if (atomic_load_explicit(&heap->reloc.asked, memory_order_relaxed))
		pin_asked(heap);
	ferry__pins_each(heap, pin_word, heap);
	ferry__roots_ambiguous(heap, pin_word, heap);
	pin_from_blocks(heap);
	large_each(heap, pin_from_large, NULL);
}

void ferry__flip_asked(struct ferry_heap *heap, struct ferry__block *block)
{
	atomic_fetch_or(&block->flags, FERRY__BLOCK_ASKED); /* H3 */
	atomic_store_explicit(&heap->reloc.asked, true, memory_order_relaxed);
}

/* --- putting right in the pause -------------------------------------------------- */

static void fix_large(struct ferry_heap *heap, void *arg, uintptr_t addr)
{
	ferry__fix_object(arg, (void *)addr, large_kind(heap, addr));
}

/* Does the block have references that are put right where it lies? */
static bool is_fixed(const struct ferry_heap *heap, uint32_t index, bool all)
{
	uint16_t flags = flags_of(heap, index);

	return !(flags & FERRY__BLOCK_LEAF) && has_objects(heap, index) &&
	       heap->blocks[index].fwd < FERRY__FWD_FIRST &&
	       (all || flags & FERRY__BLOCK_PINNED);
}

static void fix_block(struct ferry__fixer *fixer, uint32_t index, bool all)
{
	if (is_fixed(fixer->heap, index, all))
		ferry__fix_block(fixer, index,
				 (void *)ferry__block_addr(fixer->heap, index));
}

/* Pinned blocks or, STOPPED, all. */
static void fix_blocks(struct ferry__fixer *fixer, bool all)
{
	struct ferry_heap *heap = fixer->heap;
	const struct ferry__vector *pinned = &heap->reloc.pinned;
	uint32_t i;

	if (!all && !heap->reloc.blind) {
		for (i = 0; i < pinned->len; i++)
			fix_block(fixer, ((uint32_t *)pinned->v)[i], false);
		return;
	}
	for (i = 0; i < ferry__space_end(&heap->space); i++)
		fix_block(fixer, i, all);
}

/* Roots, and what has references and stays. */
static void fix_in_pause(struct ferry_heap *heap, bool all)
{
	struct ferry__fixer fixer;

	ferry__fixer_init(&fixer, heap);
	ferry__roots_visit(heap, &fixer.visitor);
	ferry__fixer_flush(&fixer);
	fix_blocks(&fixer, all);
	large_each(heap, fix_large, &fixer);
	ferry__fixer_flush(&fixer);
	ferry__weak_flip(heap);
}

void ferry__flip_stopped(struct ferry_heap *heap)
{
	heap->reloc.blind = true;
	pin_all(heap);
	fix_in_pause(heap, true);
}

/* --- before the pause --------------------------------------------------------------- */

/*
 * K10: what becomes of a block, in either half. Not of one that is OWNED: it
 * is retired by the pause and seen to there, or, if there was no memory for
 * it, VOID. Space lock, or the world is stopped.
 */
static void block_prepare(struct ferry_heap *heap, uint32_t index,
			  unsigned char *states, size_t n)
{
	struct ferry__block *block = &heap->blocks[index];
	unsigned int half = ferry__block_half(heap, index);

	if (state_of(heap, index) == FERRY__BLOCK_TARGET) {
		states[half * n + index] = FERRY_DEMAND_WAITING;
		return;
	}
	if (!has_objects(heap, index) ||
	    state_of(heap, index) == FERRY__BLOCK_OWNED)
		return;
	if (flags_of(heap, index) & FERRY__BLOCK_AMBIG)
		list_add(&heap->reloc, &heap->reloc.ambiguous, index);
	if (block->fwd == FERRY__FWD_STAY) {
		states[half * n + index] = FERRY_DEMAND_DONE;
	} else if (block->fwd == FERRY__FWD_TOGGLE) {
		states[!half * n + index] = FERRY_DEMAND_WAITING;
		flag_on(heap, index, FERRY__BLOCK_MOVES);
	}
}

/*
 * What is retired from here on was owned at some time since, and is looked at
 * in the pause; so a group may change once it was seen.
 */
static void blocks_prepare(struct ferry_heap *heap, unsigned char *states,
			   uint32_t n)
{
	struct ferry__space *space = &heap->space;
	uint32_t i, end = 0;

	memset(states, FERRY_DEMAND_IDLE, 2 * (size_t)n);
	pthread_mutex_lock(&space->lock);
	heap->reloc.seen = space->retired.head;
	pthread_mutex_unlock(&space->lock);
	for (i = 0; i < n; i = end) {
		end = n - i < GROUP ? n : i + GROUP;
		pthread_mutex_lock(&space->lock);
		for (; i < end && i < ferry__space_end(space); i++)
			block_prepare(heap, i, states, n);
		pthread_mutex_unlock(&space->lock);
	}
}

/* Objects that are published later are counted later than .made was read. */
static void large_prepare(struct ferry_heap *heap)
{
	struct ferry__reloc *reloc = &heap->reloc;
	size_t bytes, page = 0;
	uintptr_t addr, *entry;

	/* Acquire: pairs with the release in ferry__large_alloc(). */
	reloc->large_made =
		atomic_load_explicit(&heap->large.made, memory_order_acquire);
	while (ferry__large_next(heap, page, &addr, &bytes)) {
		page = (ferry__offset(heap, addr) + bytes) >>
		       FERRY__LARGE_SHIFT;
		if (large_kind(heap, addr) >= FERRY_KIND_LEAF)
			continue;
		entry = ferry__vector_add(&reloc->large, sizeof(addr));
		if (entry)
			*entry = addr;
		else
			reloc->blind = true;
	}
}

static int ranges_prepare(struct ferry_heap *heap, const unsigned char *states,
			  uint32_t n)
{
	struct ferry_demand_range range[2];
	unsigned int half;

	for (half = 0; half < 2; half++)
		range[half] = (struct ferry_demand_range){
			.addr = block_in(heap, 0, half),
			.len = (size_t)n << FERRY__BLOCK_SHIFT,
			.unit_pages = (unsigned int)(FERRY__BLOCK_SIZE /
						     ferry__page_size),
			.states = states + half * (size_t)n,
		};
	return ferry_demand_prepare(heap->reloc.demand, range, 2,
				    ferry__reloc_produce, heap);
}

/* Units of either half: some more than there are blocks now. */
static uint32_t units_for(const struct ferry_heap *heap)
{
	uint32_t n = ferry__space_end(&heap->space);
	uint64_t more = (uint64_t)n + n / 8 + ROOM_MORE;

	return more < heap->space.max ? (uint32_t)more : heap->space.max;
}

int ferry__flip_prepare(struct ferry_heap *heap)
{
	uint32_t n = units_for(heap);
	void *states;
	int r;

	r = ferry__meta_alloc(2 * (size_t)n, &states);
	if (r < 0)
		return r;
	lists_clear(&heap->reloc);
	heap->reloc.units = n;
	blocks_prepare(heap, states, n);
	large_prepare(heap);
	r = ranges_prepare(heap, states, n);
	ferry__meta_free(states, 2 * (size_t)n);
	return r;
}

/* --- the pause ----------------------------------------------------------------------- */

/* A block that was taken since it was prepared. */
static void block_late(struct ferry_heap *heap, uint32_t index)
{
	unsigned int half = ferry__block_half(heap, index);

	if (flags_of(heap, index) & FERRY__BLOCK_MOVES)
		return;
	if (heap->blocks[index].fwd == FERRY__FWD_STAY) {
		unit_set(heap, index, half, FERRY_DEMAND_DONE);
		return;
	}
	flag_on(heap, index, FERRY__BLOCK_MOVES);
	unit_set(heap, index, !half, FERRY_DEMAND_WAITING);
}

static void blocks_late(struct ferry_heap *heap)
{
	uint32_t at;

	for (at = heap->space.retired.head; at != heap->reloc.seen;
	     at = heap->blocks[at - 1].next)
		block_late(heap, at - 1);
}

int ferry__flip(struct ferry_heap *heap)
{
	struct ferry__reloc *reloc = &heap->reloc;
	int r = 0;

	ferry__cycle_retire_all(heap);
	if (ferry__space_end(&heap->space) > reloc->units)
		r = ferry__flip_prepare(heap);
	if (r < 0)
		return r;
	blocks_late(heap);
	pin_all(heap);
	r = ferry_demand_begin(reloc->demand, NULL);
	if (r < 0)
		return r;
	/* Relaxed: the world is stopped. From here on blocks with the flag
	 * MOVES lie in the other half (B11). */
	atomic_store_explicit(&reloc->toggle, true, memory_order_relaxed);
	atomic_store_explicit(&reloc->on, true, memory_order_relaxed);
	fix_in_pause(heap, false);
	ferry__cycle_phase_set(heap, FERRY__PHASE_COMPACT);
	return 0;
}

/* --- after it ------------------------------------------------------------------------- */

/* B11: a block's half is the same before and after, whoever looks. */
static void block_settle(struct ferry_heap *heap, uint32_t index, bool undo)
{
	uint16_t flags = flags_of(heap, index);

	if (flags & FERRY__BLOCK_MOVES && undo)
		flags_off(heap, index, FERRY__BLOCK_MOVES);
	else if (flags & FERRY__BLOCK_MOVES)
		atomic_fetch_xor_explicit(&heap->blocks[index].flags,
					  FERRY__BLOCK_MOVES |
						  FERRY__BLOCK_HALF,
					  memory_order_relaxed);
	if (!(flags & (FERRY__BLOCK_PINNED | FERRY__BLOCK_ASKED)))
		return;
	flags_off(heap, index, FERRY__BLOCK_PINNED | FERRY__BLOCK_ASKED);
	ferry__plan_reset_fwd(heap, index);
}

void ferry__flip_end(struct ferry_heap *heap, bool undo)
{
	struct ferry__reloc *reloc = &heap->reloc;
	uint32_t i;

	/* K12, release: pairs with ferry__reloc_is_on(): who sees that it is
	 * off sees the side tables of all targets. */
	atomic_store_explicit(&reloc->on, false, memory_order_release);
	atomic_store_explicit(&reloc->asked, false, memory_order_relaxed);
	for (i = 0; i < ferry__space_end(&heap->space); i++)
		block_settle(heap, i, undo);
	/* B11, release: pairs with ferry__block_half(): who sees that it is
	 * off sees that all blocks are settled. */
	atomic_store_explicit(&reloc->toggle, false, memory_order_release);
	lists_clear(reloc);
}
