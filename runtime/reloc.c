/* SPDX-License-Identifier: MIT */
/*
 * Compaction: by relocation while the program runs, or in a pause.
 *
 * While it runs, every block with references takes its pages to the same
 * offset of the other half of the space, each when it is first touched there
 * (or in the background), with the references in it put right on the way. So
 * the pause changes roots alone, whatever the size of the heap. Sparse blocks
 * are not taken across: their objects are copied into new blocks, made in the
 * same way. Blocks without references stay where they are unless they are
 * sparse, and so do blocks with a pinned object, which are put right in the
 * pause, as large objects with references are.
 *
 * In mode STOPPED nothing is taken across: references are put right where
 * they are, and sparse blocks are copied.
 */
#include "runtime/heap-internal.h"

#include <errno.h>
#include <string.h>

#include "alloc/demand-internal.h"

/* --- what keeps its address; world stopped ------------------------------------------ */

static uint8_t flags_of(const struct ferry_heap *heap, uint32_t index)
{
	return atomic_load_explicit(&heap->blocks[index].flags,
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

static void pin_block(struct ferry_heap *heap, uint32_t index)
{
	struct ferry__block *block = &heap->blocks[index];

	if (flags_of(heap, index) & FERRY__BLOCK_PINNED ||
	    !has_objects(heap, index))
		return;
	atomic_fetch_or_explicit(&block->flags, FERRY__BLOCK_PINNED,
				 memory_order_relaxed);
	if (block->fwd >= FERRY__FWD_FIRST)
		ferry__plan_cancel(
			heap, ferry__record(&heap->reloc,
					    block->fwd - FERRY__FWD_FIRST));
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

typedef void (*large_fn)(struct ferry_heap *heap, void *arg, uintptr_t addr,
			 size_t bytes, enum ferry_kind kind);

static void large_each(struct ferry_heap *heap, large_fn fn, void *arg)
{
	uintptr_t addr;
	size_t bytes, page = 0;

	while (ferry__large_next(heap, page, &addr, &bytes)) {
		fn(heap, arg, addr, bytes,
		   ferry__meta_load(ferry__meta(heap, addr)) & FERRY_META_KIND);
		page = (ferry__offset(heap, addr) + bytes) >>
		       FERRY__LARGE_SHIFT;
	}
}

static void pin_from_large(struct ferry_heap *heap, void *arg, uintptr_t addr,
			   size_t bytes, enum ferry_kind kind)
{
	(void)arg;
	if (kind == FERRY_KIND_AMBIGUOUS)
		pin_words_of(heap, addr, bytes);
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

static void pin_all(struct ferry_heap *heap)
{
	uint32_t i;

	pin_asked(heap);
	ferry__pins_each(heap, pin_word, heap);
	ferry__roots_ambiguous(heap, pin_word, heap);
	for (i = 0; i < ferry__space_end(&heap->space); i++)
		if (flags_of(heap, i) & FERRY__BLOCK_AMBIG &&
		    has_objects(heap, i))
			pin_from_block(heap, i);
	large_each(heap, pin_from_large, NULL);
}

static void unpin_all(struct ferry_heap *heap)
{
	uint32_t i;

	for (i = 0; i < ferry__space_end(&heap->space); i++) {
		if (!(flags_of(heap, i) &
		      (FERRY__BLOCK_PINNED | FERRY__BLOCK_ASKED)))
			continue;
		atomic_fetch_and_explicit(
			&heap->blocks[i].flags,
			(uint8_t) ~(FERRY__BLOCK_PINNED | FERRY__BLOCK_ASKED),
			memory_order_relaxed);
		ferry__plan_reset_fwd(heap, i);
	}
}

/* --- putting right in the pause -------------------------------------------------------- */

static void fix_large(struct ferry_heap *heap, void *arg, uintptr_t addr,
		      size_t bytes, enum ferry_kind kind)
{
	(void)heap;
	(void)bytes;
	ferry__fix_object(arg, (void *)addr, kind);
}

/* Roots, and what has references and stays: pinned blocks or, STOPPED, all. */
static void fix_in_pause(struct ferry_heap *heap, bool all)
{
	struct ferry__fixer fixer;
	uint32_t i;

	ferry__fixer_init(&fixer, heap);
	ferry__roots_visit(heap, &fixer.visitor);
	ferry__fixer_flush(&fixer);
	for (i = 0; i < ferry__space_end(&heap->space); i++) {
		uint8_t flags = flags_of(heap, i);

		if (flags & FERRY__BLOCK_LEAF || !has_objects(heap, i) ||
		    heap->blocks[i].fwd >= FERRY__FWD_FIRST)
			continue;
		if (all || flags & FERRY__BLOCK_PINNED)
			ferry__fix_block(&fixer, i,
					 (void *)ferry__block_addr(heap, i));
	}
	large_each(heap, fix_large, &fixer);
	ferry__fixer_flush(&fixer);
	ferry__weak_flip(heap);
}

/* --- in a pause ------------------------------------------------------------------------ */

static void copied_add(struct ferry_heap *heap)
{
	struct ferry__reloc *reloc = &heap->reloc;
	uint64_t granules = 0;
	size_t i;

	for (i = 0; i < reloc->records.len; i++)
		if (!ferry__record(reloc, i)->stays)
			granules += ferry__record(reloc, i)->live;
	atomic_fetch_add_explicit(&heap->events.count.copied,
				  granules * FERRY_GRANULE,
				  memory_order_relaxed);
}

/* Under stress a compaction may take more blocks than it frees. */
static size_t blocks_freed(const struct ferry__reloc *reloc)
{
	return reloc->records.len > reloc->targets.len
		       ? reloc->records.len - reloc->targets.len
		       : 0;
}

static size_t run_stopped(struct ferry_heap *heap)
{
	struct ferry__reloc *reloc = &heap->reloc;
	size_t i, freed = blocks_freed(reloc);

	pin_all(heap);
	fix_in_pause(heap, true);
	for (i = 0; i < reloc->targets.len; i++) {
		struct ferry__target *target = ferry__target(reloc, i);

		ferry__fix_fill(heap, target,
				(void *)ferry__block_addr(heap, target->block));
	}
	ferry__weak_forward_rest(heap);
	copied_add(heap);
	unpin_all(heap);
	ferry__plan_end(heap, false);
	return freed * FERRY__BLOCK_SIZE;
}

/* --- while the program runs ------------------------------------------------------------- */

static uintptr_t block_in(const struct ferry_heap *heap, uint32_t index,
			  size_t half)
{
	return heap->base + half * heap->half +
	       ((size_t)index << FERRY__BLOCK_SHIFT);
}

/* A part of a source was copied: after the last its pages are free. */
static void part_done(struct ferry_heap *heap, struct ferry__record *record)
{
	/* K5: acquire and release: who comes last sees that all others have
	 * read what they needed. */
	if (record->stays ||
	    atomic_fetch_sub_explicit(&record->parts, 1,
				      memory_order_acq_rel) != 1)
		return;
	ferry_demand_recycle(heap->reloc.demand,
			     (void *)ferry__block_addr(heap, record->source),
			     FERRY__BLOCK_SIZE);
}

static enum ferry_demand_answer fill_target(struct ferry_heap *heap,
					    struct ferry_demand_unit *unit,
					    uint32_t number)
{
	struct ferry__target *target = ferry__target(&heap->reloc, number);
	uint32_t i;

	ferry__fix_fill(heap, target, ferry_demand_staging(unit));
	for (i = target->first; i <= target->last; i++)
		part_done(heap, ferry__record(&heap->reloc, i));
	return FERRY_DEMAND_STAGED;
}

static enum ferry_demand_answer produce_unit(struct ferry_heap *heap,
					     struct ferry_demand_unit *unit)
{
	uint32_t index = (uint32_t)unit->number;
	struct ferry__block *block = &heap->blocks[index];
	struct ferry__fixer fixer;

	ferry__stress_delay(heap, FERRY__POINT_PAGE);
	if (state_of(heap, index) == FERRY__BLOCK_TARGET)
		return fill_target(heap, unit, block->fwd - FERRY__FWD_FIRST);
	if (block->fwd != FERRY__FWD_TOGGLE)
		return FERRY_DEMAND_NONE;
	unit->src = (void *)block_in(heap, index, !unit->range);
	ferry__fixer_init(&fixer, heap);
	ferry__fix_block(&fixer, index, unit->src);
	return FERRY_DEMAND_MOVE;
}

static enum ferry_demand_answer produce(void *arg,
					struct ferry_demand_unit *unit)
{
	struct ferry_heap *heap = arg;
	uint64_t begin = unit->fault ? ferry__sys->now_ns() : 0;
	enum ferry_demand_answer answer = produce_unit(heap, unit);

	if (unit->fault)
		ferry__event_fault(heap, ferry__sys->now_ns() - begin);
	return answer;
}

/* What becomes of each block, in either half; and the halves change. */
static void states_set(struct ferry_heap *heap, uint32_t n)
{
	unsigned char *states[2] = { heap->reloc.states,
				     heap->reloc.states + n };
	uint32_t i;

	if (n)
		memset(heap->reloc.states, FERRY_DEMAND_IDLE, 2 * (size_t)n);
	for (i = 0; i < n; i++) {
		struct ferry__block *block = &heap->blocks[i];
		unsigned int half = !!(flags_of(heap, i) & FERRY__BLOCK_HALF);

		if (state_of(heap, i) == FERRY__BLOCK_TARGET) {
			states[half][i] = FERRY_DEMAND_WAITING;
		} else if (!has_objects(heap, i) ||
			   block->fwd >= FERRY__FWD_FIRST) {
			continue;
		} else if (block->fwd == FERRY__FWD_STAY) {
			states[half][i] = FERRY_DEMAND_DONE;
		} else {
			states[!half][i] = FERRY_DEMAND_WAITING;
		}
	}
}

static void halves_toggle(struct ferry_heap *heap, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		if (has_objects(heap, i) &&
		    heap->blocks[i].fwd == FERRY__FWD_TOGGLE)
			atomic_fetch_xor_explicit(&heap->blocks[i].flags,
						  FERRY__BLOCK_HALF,
						  memory_order_relaxed);
}

static int states_room(struct ferry_heap *heap, size_t n)
{
	struct ferry__reloc *reloc = &heap->reloc;
	void *mem;
	int r;

	if (n <= reloc->states_len)
		return 0;
	r = ferry__meta_alloc(n, &mem);
	if (r < 0)
		return r;
	if (reloc->states)
		ferry__meta_free(reloc->states, reloc->states_len);
	reloc->states = mem;
	reloc->states_len = n;
	return 0;
}

static int serve(struct ferry_heap *heap, uint32_t n)
{
	struct ferry_demand_range range[2];
	unsigned int half;
	int r;

	for (half = 0; half < 2; half++)
		range[half] = (struct ferry_demand_range){
			.addr = (void *)block_in(heap, 0, half),
			.len = (size_t)n << FERRY__BLOCK_SHIFT,
			.unit_pages = (unsigned int)(FERRY__BLOCK_SIZE /
						     ferry__page_size),
			.states = heap->reloc.states + half * (size_t)n,
		};
	r = ferry_demand_prepare(heap->reloc.demand, range, 2, produce, heap);
	return r < 0 ? r : ferry_demand_begin(heap->reloc.demand, NULL);
}

/* World stopped. On failure nothing has changed. */
static int flip(struct ferry_heap *heap)
{
	uint32_t n;
	int r;

	ferry__cycle_retire_all(heap);
	n = ferry__space_end(&heap->space);
	r = states_room(heap, 2 * (size_t)n);
	if (r < 0)
		return r;
	pin_all(heap);
	states_set(heap, n);
	r = serve(heap, n);
	if (r < 0)
		return r;
	atomic_store_explicit(&heap->reloc.toggle, true, memory_order_relaxed);
	atomic_store_explicit(&heap->reloc.on, true, memory_order_relaxed);
	fix_in_pause(heap, false);
	halves_toggle(heap, n);
	ferry__cycle_phase_set(heap, FERRY__PHASE_COMPACT);
	return 0;
}

static void count_demand(struct ferry_heap *heap,
			 const struct ferry_demand_stats *before)
{
	struct ferry_demand_stats now = FERRY_INIT(struct ferry_demand_stats);

	if (ferry_demand_stats(heap->reloc.demand, &now) < 0)
		return;
	atomic_fetch_add_explicit(&heap->events.count.moved,
				  (now.pages_moved - before->pages_moved) *
					  ferry__page_size,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&heap->events.count.faults,
				  now.by_faults - before->by_faults,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&heap->events.count.released,
				  (now.dropped - before->dropped) *
					  ferry__page_size,
				  memory_order_relaxed);
}

/*
 * Produces what nobody touched. Addresses were promised: there is no way
 * back, so want of memory is waited out.
 */
static void complete(struct ferry_heap *heap)
{
	struct ferry_demand_stats before =
		FERRY_INIT(struct ferry_demand_stats);

	(void)ferry_demand_stats(heap->reloc.demand, &before);
	while (ferry_demand_run(heap->reloc.demand, NULL) < 0)
		ferry__sys->sleep_ns(1000000);
	count_demand(heap, &before);
	ferry__weak_forward_rest(heap);
	while (ferry_demand_end(heap->reloc.demand) < 0)
		ferry__sys->sleep_ns(1000000);
}

static void vacate_run(struct ferry_heap *heap, uint32_t first, uint32_t end,
		       size_t half)
{
	(void)ferry__dontneed((char *)block_in(heap, first, half),
			      (size_t)(end - first) << FERRY__BLOCK_SHIFT);
}

/*
 * Nothing lies in the half that a block is not in, nor in targets, and huge
 * pages do not grow there (keep_small()). But who reads there leaves a zero
 * page, which would be taken for the block: a debugger, a scanner of memory.
 * So all of it is emptied, while the program runs: a block changes its half in
 * a flip only. Page tables without pages go with it, where the kernel can.
 */
static void vacate(struct ferry_heap *heap)
{
	uint32_t i, first = 0, n = ferry__space_end(&heap->space);
	unsigned int half, last = 0;

	for (i = 0; i < n; i++) {
		half = !!(flags_of(heap, i) & FERRY__BLOCK_HALF);
		if (state_of(heap, i) == FERRY__BLOCK_TARGET)
			vacate_run(heap, i, i + 1, half);
		if (half == last)
			continue;
		if (first < i)
			vacate_run(heap, first, i, !last);
		first = i;
		last = half;
	}
	if (first < n)
		vacate_run(heap, first, n, !last);
}

static size_t run_concurrent(struct ferry_heap *heap)
{
	struct ferry__reloc *reloc = &heap->reloc;
	size_t freed = blocks_freed(reloc);
	int r;

	/* Free blocks would have to be taken across; they are given back. */
	ferry__space_release(heap, 0);
	ferry__remember_drop(heap);
	vacate(heap);
	ferry__stress_delay(heap, FERRY__POINT_FLIP);
	ferry__world_stop(heap, FERRY_PAUSE_FLIP);
	r = flip(heap);
	ferry__world_resume(heap, FERRY_PAUSE_FLIP);
	if (r == 0) {
		complete(heap);
		copied_add(heap);
		atomic_store_explicit(&reloc->on, false, memory_order_relaxed);
		atomic_store_explicit(&reloc->toggle, false,
				      memory_order_relaxed);
	}
	unpin_all(heap);
	ferry__plan_end(heap, r < 0);
	return r < 0 ? 0 : freed * FERRY__BLOCK_SIZE;
}

size_t ferry__reloc_run(struct ferry_heap *heap, uint32_t most)
{
	if (!ferry__plan_make(heap, most))
		return 0;
	ferry__event(heap, FERRY_EVENT_COMPACT_PLAN, heap->reloc.records.len);
	if (heap->mode == FERRY_GC_STOPPED)
		return run_stopped(heap);
	return run_concurrent(heap);
}

bool ferry__reloc_is_on(const struct ferry_heap *heap)
{
	/* Relaxed: it is set with the world stopped, and a mutator that reads
	 * it late, after the end, finds a demand that is over. */
	return atomic_load_explicit(&heap->reloc.on, memory_order_relaxed);
}

int ferry__reloc_provide(struct ferry_heap *heap, uintptr_t addr, size_t len)
{
	int r;

	/* When it is ending it takes no more, but is still registered: what is
	 * not there must not be touched until it is over. */
	for (;;) {
		r = ferry_demand_provide(heap->reloc.demand, (void *)addr, len,
					 NULL, NULL);
		if (r != -ENOTCONN || !ferry__reloc_is_on(heap))
			return r;
		ferry__sys->sched_yield();
	}
}

void ferry__reloc_tidy(struct ferry_heap *heap)
{
	ferry__demand_tidy(heap->reloc.demand);
}

void ferry__compact_prefault(struct ferry_heap *heap, uintptr_t addr,
			     size_t len)
{
	if (ferry__reloc_is_on(heap))
		ferry_demand_prefault(heap->reloc.demand, (void *)addr, len);
}

/*
 * What is to be produced must have no pages, and a huge page beside it would
 * give it some. Unless the host wants huge pages there are none of them among
 * small objects; if it does, each flip looks (and its pause is longer).
 */
static bool keep_small(struct ferry_heap *heap)
{
	switch (heap->params.thp) {
	case FERRY_THP_NEVER:
		return true;
	case FERRY_THP_ALWAYS:
		return false;
	default:
		return !ferry_arena_set_thp(heap->arena, 0, 2 * heap->half,
					    FERRY_THP_NEVER);
	}
}

int ferry__reloc_init(struct ferry_heap *heap)
{
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);

	if (heap->mode == FERRY_GC_STOPPED)
		return 0;
	p.mode = heap->params.fault_mode == FERRY_FAULT_SIGBUS
			 ? FERRY_DEMAND_SIGBUS
			 : FERRY_DEMAND_THREAD;
	if (keep_small(heap))
		p.flags = FERRY_DEMAND_VACANT;
	return ferry_demand_create(&p, &heap->why, &heap->reloc.demand);
}

void ferry__reloc_fini(struct ferry_heap *heap)
{
	struct ferry__reloc *reloc = &heap->reloc;

	ferry_demand_destroy(reloc->demand);
	if (reloc->states)
		ferry__meta_free(reloc->states, reloc->states_len);
}
