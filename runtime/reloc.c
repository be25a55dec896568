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

#include "alloc/demand-internal.h"

/* Bytes of objects are touched here that other threads may be writing. */
#define NO_TSAN __attribute__((no_sanitize("thread")))

static enum ferry__block_state state_of(const struct ferry_heap *heap,
					uint32_t index)
{
	return atomic_load_explicit(&heap->blocks[index].state,
				    memory_order_relaxed);
}

/* --- in a pause ------------------------------------------------------------------------ */

/* Bytes of objects that go to another block. */
static uint64_t bytes_copied(const struct ferry__reloc *reloc)
{
	uint64_t granules = 0;
	size_t i;

	for (i = 0; i < reloc->records.len; i++)
		if (!ferry__record(reloc, i)->stays)
			granules += ferry__record(reloc, i)->live;
	return granules * FERRY_GRANULE;
}

/* Of blocks emptied, less those filled: under stress it may be more. */
static size_t bytes_freed(const struct ferry__reloc *reloc)
{
	size_t i, emptied = 0;

	for (i = 0; i < reloc->records.len; i++)
		emptied += !ferry__record(reloc, i)->stays;
	if (emptied <= reloc->targets.len)
		return 0;
	return (emptied - reloc->targets.len) * FERRY__BLOCK_SIZE;
}

static size_t bytes_pinned(const struct ferry_heap *heap)
{
	size_t bytes = 0;
	uint32_t i;

	for (i = 0; i < ferry__space_end(&heap->space); i++)
		if (atomic_load_explicit(&heap->blocks[i].flags,
					 memory_order_relaxed) &
		    FERRY__BLOCK_PINNED)
			bytes += FERRY__BLOCK_SIZE;
	return bytes;
}

/* It is carried out, and its plan is there still. Returns the bytes freed. */
static size_t count_work(struct ferry_heap *heap)
{
	struct ferry__counters *count = &heap->events.count;
	size_t freed = bytes_freed(&heap->reloc);

	atomic_fetch_add_explicit(&count->copied, bytes_copied(&heap->reloc),
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&count->released, freed,
				  memory_order_relaxed);
	atomic_store_explicit(&count->pinned, bytes_pinned(heap),
			      memory_order_relaxed);
	return freed;
}

static void planned(struct ferry_heap *heap)
{
	ferry__event(heap, FERRY_EVENT_COMPACT_PLAN,
		     bytes_copied(&heap->reloc));
}

static size_t run_stopped(struct ferry_heap *heap)
{
	struct ferry__reloc *reloc = &heap->reloc;
	size_t i, freed;

	planned(heap);
	ferry__flip_stopped(heap);
	for (i = 0; i < reloc->targets.len; i++) {
		struct ferry__target *target = ferry__target(reloc, i);

		ferry__fix_fill(heap, target,
				(void *)ferry__block_addr(heap, target->block));
	}
	ferry__weak_forward_rest(heap);
	freed = count_work(heap);
	ferry__flip_end(heap, false);
	ferry__plan_end(heap, false);
	ferry__guard_vacant(heap);
	return freed;
}

/* --- while the program runs ------------------------------------------------------------- */

static unsigned int half_of(const struct ferry_heap *heap, uint32_t index)
{
	return !!(atomic_load_explicit(&heap->blocks[index].flags,
				       memory_order_relaxed) &
		  FERRY__BLOCK_HALF);
}

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

enum ferry_demand_answer ferry__reloc_produce(void *arg,
					      struct ferry_demand_unit *unit)
{
	struct ferry_heap *heap = arg;
	uint64_t begin = unit->fault ? ferry__sys->now_ns() : 0;
	enum ferry_demand_answer answer = produce_unit(heap, unit);

	if (unit->fault)
		ferry__event_fault(heap, ferry__sys->now_ns() - begin);
	return answer;
}

/* What the demand has done since it was asked last, faults in the pause's
 * wake included. */
static void count_demand(struct ferry_heap *heap)
{
	struct ferry_demand_stats now = FERRY_INIT(struct ferry_demand_stats);
	struct ferry__counters *count = &heap->events.count;
	struct ferry__reloc *reloc = &heap->reloc;

	if (ferry_demand_stats(reloc->demand, &now) < 0)
		return;
	atomic_fetch_add_explicit(&count->moved,
				  (now.pages_moved - reloc->pages_moved) *
					  ferry__page_size,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&count->faults,
				  now.by_faults - reloc->by_faults,
				  memory_order_relaxed);
	reloc->pages_moved = now.pages_moved;
	reloc->by_faults = now.by_faults;
}

/*
 * Produces what nobody touched. Addresses were promised: there is no way
 * back, so want of memory is waited out.
 */
static void complete(struct ferry_heap *heap)
{
	while (ferry_demand_run(heap->reloc.demand, NULL) < 0)
		ferry__sys->sleep_ns(1000000);
	ferry__weak_forward_rest(heap);
	while (ferry_demand_end(heap->reloc.demand) < 0)
		ferry__sys->sleep_ns(1000000);
	count_demand(heap);
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
		half = half_of(heap, i);
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
	size_t freed = 0;
	int r;

	/* Free blocks would have to be taken across; they are given back. */
	ferry__space_release(heap, 0);
	ferry__remember_drop(heap);
	vacate(heap);
	r = ferry__guard_lift(heap);
	if (r == 0)
		r = ferry__flip_prepare(heap);
	if (r == 0) {
		planned(heap);
		ferry__stress_delay(heap, FERRY__POINT_FLIP);
		ferry__world_stop(heap, FERRY_PAUSE_FLIP);
		r = ferry__flip(heap);
		ferry__world_resume(heap, FERRY_PAUSE_FLIP);
	}
	if (r == 0) {
		complete(heap);
		freed = count_work(heap);
	}
	ferry__flip_end(heap, r < 0);
	ferry__plan_end(heap, r < 0);
	ferry__guard_vacant(heap);
	return freed;
}

size_t ferry__reloc_run(struct ferry_heap *heap, uint32_t most)
{
	if (!ferry__plan_make(heap, most))
		return 0;
	if (heap->mode == FERRY_GC_STOPPED)
		return run_stopped(heap);
	return run_concurrent(heap);
}

bool ferry__reloc_is_on(const struct ferry_heap *heap)
{
	/* K12, acquire: pairs with the release in ferry__flip_end(). It is set
	 * with the world stopped, and a mutator that reads it late, after the
	 * end, finds a demand that is over. */
	return atomic_load_explicit(&heap->reloc.on, memory_order_acquire);
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

NO_TSAN void ferry__reloc_bring(const struct ferry_heap *heap, uintptr_t word)
{
	uint32_t index =
		(uint32_t)(ferry__offset(heap, word) >> FERRY__BLOCK_SHIFT);

	if (!ferry__reloc_is_on(heap) || !ferry__in_heap(heap, word) ||
	    ferry__is_large(heap, word))
		return;
	/* In the other half it would be refused. */
	if (state_of(heap, index) != FERRY__BLOCK_TARGET ||
	    word - ferry__block_addr(heap, index) >= FERRY__BLOCK_SIZE)
		return;
	(void)*(volatile const uint8_t *)word;
	/* The side table was written before the page was there: it is not read
	 * before the page is seen. */
	ferry__fence();
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
	ferry_demand_destroy(heap->reloc.demand);
}
