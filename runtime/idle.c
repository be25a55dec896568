/* SPDX-License-Identifier: MIT */
/* Collection work in moments in which the program has nothing to do. */
#include "runtime/heap-internal.h"

static bool is_over(uint64_t deadline_ns)
{
	return ferry__sys->now_ns() >= deadline_ns;
}

static bool is_collecting(const struct ferry_heap *heap)
{
	return atomic_load_explicit(&heap->cycle.asked, memory_order_relaxed) ||
	       atomic_load_explicit(&heap->cycle.phase, memory_order_relaxed) !=
		       FERRY__PHASE_IDLE;
}

/*
 * A collection ahead of its time. Where a thread runs it the caller need not
 * wait; where the caller has to, only if there is time for it.
 */
static bool collect_early(struct ferry_heap *heap, struct ferry_mutator *m,
			  uint64_t budget_ns)
{
	if (!ferry__policy_idle(heap))
		return false;
	if (ferry__mode(heap) == FERRY_GC_CONCURRENT) {
		ferry__cycle_request(heap, ferry__policy_next(heap));
		return true;
	}
	if (ferry__policy_expect_ns(heap) > budget_ns)
		return true;
	ferry_heap_collect(heap, m, FERRY_COLLECT_FULL);
	return false;
}

bool ferry_heap_idle(struct ferry_heap *heap, struct ferry_mutator *mutator,
		     uint64_t budget_ns)
{
	uint64_t begin = ferry__sys->now_ns();

	if (heap->pid != ferry__sys->getpid())
		return false;
	while (ferry__sweep_step(heap))
		if (is_over(begin + budget_ns))
			return true;
	if (is_collecting(heap))
		return true;
	if (collect_early(heap, mutator, budget_ns))
		return true;
	ferry__space_release(heap, ferry__policy_keep(heap));
	return false;
}
