/* SPDX-License-Identifier: MIT */
/* Stands in for parts that are not merged yet: whoever merges one takes its
 * functions out of here. */
#include "runtime/heap-internal.h"
int ferry__weak_init(struct ferry_heap *heap)
{
	(void)heap;
	return 0;
}
void ferry__weak_fini(struct ferry_heap *heap)
{
	(void)heap;
}
void ferry__weak_mark_begin(struct ferry_heap *heap)
{
	(void)heap;
}
void ferry__weak_slot(struct ferry__marker *marker, void *slot)
{
	(void)marker;
	(void)slot;
}
void ferry__ephemeron(struct ferry__marker *marker, void *key, void *value)
{
	(void)marker;
	(void)key;
	(void)value;
}
void ferry__ephemeron_marked(struct ferry__marker *marker, uintptr_t addr)
{
	(void)marker;
	(void)addr;
}
bool ferry__weak_drained(struct ferry__marker *marker)
{
	(void)marker;
	return false;
}
void ferry__weak_clear(struct ferry_heap *heap)
{
	(void)heap;
}
void ferry__weak_purge(struct ferry_heap *heap, struct ferry__marker *marker)
{
	(void)heap;
	(void)marker;
}
void ferry__weak_roots(struct ferry_heap *heap, struct ferry_visitor *v)
{
	(void)heap;
	(void)v;
}
void ferry__weak_flip(struct ferry_heap *heap)
{
	(void)heap;
}
void ferry__weak_forward_rest(struct ferry_heap *heap)
{
	(void)heap;
}
bool ferry__hash_grows(const struct ferry_heap *heap, uintptr_t addr)
{
	(void)heap;
	(void)addr;
	return false;
}
void ferry__hash_store(struct ferry_heap *heap, uintptr_t old_addr,
		       uintptr_t new_addr, void *copy, size_t bytes)
{
	(void)heap;
	(void)old_addr;
	(void)new_addr;
	(void)copy;
	(void)bytes;
}
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
void ferry__hash_swept(struct ferry_heap *heap, uintptr_t addr, size_t bytes)
{
	(void)heap;
	(void)addr;
	(void)bytes;
}
