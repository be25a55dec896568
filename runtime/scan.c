/* SPDX-License-Identifier: MIT */
/*
 * Scanning what is marked: tracing again what lies on pages that were
 * written, in blocks that were retired, in chunks whose writes are not known.
 */
#include "runtime/trace.h"

/* @meta: of the block's first granule, or a copy of it. */
static void scan_granules(struct ferry__marker *marker, uint32_t index,
			  const uint8_t *meta, uint32_t g, uint32_t end)
{
	struct ferry_heap *heap = marker->heap;
	uintptr_t block = ferry__block_addr(heap, index);
	bool plain = marker->plain && !heap->params.debug;

	for (;; g++) {
		uintptr_t addr;
		uint8_t byte;

		g = ferry__meta_next(meta, g, end);
		if (g >= end)
			return;
		byte = ferry__meta_load(meta + g);
		if (!(byte & FERRY_META_KIND) || !ferry__is_kept(heap, byte))
			continue;
		addr = block + (size_t)g * FERRY_GRANULE;
		if (plain && (byte & FERRY_META_KIND) == FERRY_KIND_TYPED)
			ferry__visit_typed(&marker->visitor, (void *)addr,
					   true);
		else
			ferry__mark_trace(marker, addr, byte & FERRY_META_KIND);
	}
}

void ferry__mark_scan_block(struct ferry__marker *marker, uint32_t index)
{
	uint16_t flags = atomic_load_explicit(
		&marker->heap->blocks[index].flags, memory_order_relaxed);

	if (!(flags & FERRY__BLOCK_LEAF))
		scan_granules(marker, index,
			      ferry__block_meta(marker->heap, index), 0,
			      FERRY__BLOCK_GRANULES);
}

/* Is there something in the block that a concurrent scan may look at? What
 * a mutator allocates in is scanned as a whole when it is retired. */
static bool worth_scanning(const struct ferry_heap *heap, uint32_t index)
{
	const struct ferry__block *block = &heap->blocks[index];
	/* Acquire: pairs with B8. */
	enum ferry__block_state state =
		atomic_load_explicit(&block->state, memory_order_acquire);
	uint16_t flags =
		atomic_load_explicit(&block->flags, memory_order_relaxed);

	return state != FERRY__BLOCK_VOID && state != FERRY__BLOCK_FREE &&
	       state != FERRY__BLOCK_OWNED &&
	       !(flags & (FERRY__BLOCK_LEAF | FERRY__BLOCK_SCAN));
}

/*
 * Scans what stood in the side table while nobody allocated in the block: a
 * mutator may take it at any moment, and what it makes then may not be fit to
 * be traced. Its objects appear in the table after the block is OWNED (B9,
 * fence in block.c); so if it is not OWNED after the table was copied, there
 * are none of them in the copy.
 */
static void scan_settled(struct ferry__marker *marker, uint32_t index,
			 uint32_t g, uint32_t end)
{
	const uint8_t *meta = ferry__block_meta(marker->heap, index);
	uint64_t copy[FERRY__BLOCK_GRANULES / 8];
	uint32_t i;

	for (i = g / 8; i < (end + 7) / 8; i++)
		copy[i] = __atomic_load_n((const uint64_t *)meta + i,
					  __ATOMIC_RELAXED);
	ferry__fence();
	if (worth_scanning(marker->heap, index))
		scan_granules(marker, index, (const uint8_t *)copy, g, end);
}

static void scan_small(struct ferry__marker *marker, uintptr_t addr, size_t len)
{
	struct ferry_heap *heap = marker->heap;

	while (len) {
		size_t offset = ferry__offset(heap, addr);
		uint32_t index = (uint32_t)(offset >> FERRY__BLOCK_SHIFT);
		size_t within = offset & (FERRY__BLOCK_SIZE - 1);
		size_t n = FERRY__BLOCK_SIZE - within;
		uintptr_t first;

		if (n > len)
			n = len;
		if (worth_scanning(heap, index) &&
		    addr - ferry__block_addr(heap, index) < FERRY__BLOCK_SIZE) {
			/* The object that reaches in from before. */
			first = ferry__object_find(heap, addr);
			if (!first)
				first = addr;
			scan_settled(marker, index,
				     (uint32_t)(within - (addr - first)) /
					     FERRY_GRANULE,
				     (uint32_t)(within + n) / FERRY_GRANULE);
		}
		addr += n;
		len -= n;
	}
}

/* A large object is traced once for all of its pages in a run. */
static void scan_large(struct ferry__marker *marker, uintptr_t addr, size_t len)
{
	struct ferry_heap *heap = marker->heap;
	uintptr_t end = addr + len;

	while (addr < end) {
		uintptr_t object = ferry__large_find(heap, addr);
		uint8_t byte;

		if (!object) {
			addr += (size_t)1 << FERRY__LARGE_SHIFT;
			continue;
		}
		byte = ferry__meta_load(ferry__meta(heap, object));
		if (ferry__is_kept(heap, byte) && !(byte & FERRY__META_NEW))
			ferry__mark_retrace(marker, object);
		addr = object + ferry__large_bytes(heap, object);
	}
}

void ferry__mark_scan(struct ferry__marker *marker, uintptr_t addr, size_t len)
{
	if (ferry__is_large(marker->heap, addr))
		scan_large(marker, addr, len);
	else
		scan_small(marker, addr, len);
}
