/* SPDX-License-Identifier: MIT */
/* Stands in for parts that are not merged yet: whoever merges one takes its
 * functions out of here. */
#include "runtime/heap-internal.h"
int ferry__policy_init(struct ferry_heap *heap)
{
	heap->policy.limit = heap->params.max_bytes;
	heap->policy.trigger = heap->params.min_bytes;
	return 0;
}
void ferry__policy_fini(struct ferry_heap *heap)
{
	(void)heap;
}
enum ferry_collect ferry__policy_next(struct ferry_heap *heap)
{
	(void)heap;
	return FERRY_COLLECT_FULL;
}
void ferry__policy_update(struct ferry_heap *heap,
			  const struct ferry__cycle_report *r)
{
	size_t t = r->live;
	if (t < heap->params.min_bytes)
		t = heap->params.min_bytes;
	heap->policy.trigger = t;
}
bool ferry__policy_wants_compaction(struct ferry_heap *heap,
				    const struct ferry__cycle_report *r)
{
	(void)heap;
	return r->free_in_used > r->live;
}
size_t ferry__policy_keep(struct ferry_heap *heap)
{
	(void)heap;
	return 16 << 20;
}
bool ferry__policy_ask(struct ferry_heap *heap, size_t size)
{
	(void)heap;
	(void)size;
	return false;
}
