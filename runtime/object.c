/* SPDX-License-Identifier: MIT */
/* Words, slots and objects: what a word hits, what a slot refers to. */
#include "runtime/trace.h"

static uintptr_t find_small(const struct ferry_heap *heap, uintptr_t word)
{
	size_t offset = ferry__offset(heap, word);
	uint32_t index = (uint32_t)(offset >> FERRY__BLOCK_SHIFT);
	const uint8_t *meta = ferry__block_meta(heap, index);
	uintptr_t block = ferry__block_addr(heap, index);
	uint32_t g, at;

	if (word - block >= FERRY__BLOCK_SIZE)
		return 0; /* it lies in the other half */
	at = g = (uint32_t)((word - block) / FERRY_GRANULE);
	while (!(ferry__meta_load(meta + g) & FERRY_META_KIND)) {
		/* Past the end of an object that ended before the word. */
		if (g != at && ferry__meta_load(meta + g) & FERRY_META_END)
			return 0;
		if (g == 0 || at - g > FERRY_SMALL_MAX / FERRY_GRANULE)
			return 0;
		g--;
	}
	if (g != at && ferry__meta_load(meta + g) & FERRY_META_END)
		return 0;
	return block + (size_t)g * FERRY_GRANULE;
}

uintptr_t ferry__object_find(const struct ferry_heap *heap, uintptr_t word)
{
	if (!ferry__in_heap(heap, word))
		return 0;
	if (ferry__is_large(heap, word))
		return ferry__large_find(heap, word);
	return find_small(heap, word);
}

size_t ferry__object_bytes(const struct ferry_heap *heap, uintptr_t addr)
{
	size_t offset = ferry__offset(heap, addr);
	const uint8_t *meta;
	uint32_t g;

	if (ferry__is_large(heap, addr))
		return ferry__large_bytes(heap, addr);
	meta = ferry__block_meta(heap,
				 (uint32_t)(offset >> FERRY__BLOCK_SHIFT));
	g = (uint32_t)(offset & (FERRY__BLOCK_SIZE - 1)) / FERRY_GRANULE;
	return (size_t)(ferry__meta_end(meta, g, FERRY__BLOCK_GRANULES) + 1 -
			g) *
	       FERRY_GRANULE;
}

uintptr_t ferry__slot_load(const struct ferry_heap *heap, void *slot)
{
	uintptr_t word;

	if (heap->params.load)
		word = (uintptr_t)heap->params.load(slot);
	else
		word = ferry__load_plain(slot);
	if (!ferry__in_heap(heap, word))
		return 0;
	return word;
}

void ferry__slot_store(const struct ferry_heap *heap, void *slot,
		       uintptr_t addr)
{
	if (heap->params.store)
		heap->params.store(slot, (void *)addr);
	else
		__atomic_store_n((uintptr_t *)slot, addr, __ATOMIC_RELAXED);
}
