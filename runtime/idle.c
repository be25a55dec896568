/* SPDX-License-Identifier: MIT */
/* What can be done ahead of its time while the program has nothing to do. */
#include "runtime/heap-internal.h"

#include <errno.h>

/* A collection is worth it when that share of the way to it is behind. */
#define IDLE_SHARE 2u

static bool out_of_time(uint64_t begin, uint64_t budget_ns)
{
	return ferry__sys->now_ns() - begin >= budget_ns;
}

static bool is_idle(const struct ferry_heap *heap)
{
	return atomic_load_explicit(&heap->cycle.phase, memory_order_relaxed) ==
	       FERRY__PHASE_IDLE;
}

/* Far enough on the way to the next collection to begin it now? */
static bool is_worth_collecting(struct ferry_heap *heap)
{
	size_t since =
		atomic_load_explicit(&heap->space.since, memory_order_relaxed);
	size_t trigger = atomic_load_explicit(&heap->policy.trigger,
					      memory_order_relaxed);

	return since >= trigger / IDLE_SHARE;
}

static bool collect_ahead(struct ferry_heap *heap,
			  struct ferry_mutator *mutator)
{
	if (ferry__mode(heap) == FERRY_GC_STOPPED) {
		ferry_heap_collect(heap, mutator, FERRY_COLLECT_FULL);
		return false;
	}
	if (!atomic_load_explicit(&heap->cycle.asked, memory_order_relaxed))
		ferry__cycle_request(heap, ferry__policy_next(heap));
	return true;
}

bool ferry_heap_idle(struct ferry_heap *heap, struct ferry_mutator *mutator,
		     uint64_t budget_ns)
{
	uint64_t begin = ferry__sys->now_ns();

	if (heap->pid != ferry__sys->getpid())
		return false;
	while (ferry__sweep_step(heap))
		if (out_of_time(begin, budget_ns))
			return true;
	if (!is_idle(heap))
		return true;
	if (is_worth_collecting(heap))
		return collect_ahead(heap, mutator);
	ferry__space_release(heap, ferry__policy_keep(heap));
	ferry__large_release(heap, ferry__policy_keep(heap));
	return false;
}
