/* SPDX-License-Identifier: MIT */
/*
 * New addresses: computed from old ones, put into slots, and the copying of
 * what is evacuated.
 *
 * Everything here may run in a fault handler: it touches the plan, which is
 * outside the heap, the side table, and the memory it is given.
 */
#include "runtime/heap-internal.h"

#include <string.h>

/* --- addresses ----------------------------------------------------------------- */

static uintptr_t record_forward(const struct ferry_heap *heap,
				const struct ferry__record *record, uint32_t g,
				uintptr_t within)
{
	uint64_t below = ((uint64_t)1 << (g % 64)) - 1;
	uint32_t rank =
		record->rank[g / 64] +
		(uint32_t)__builtin_popcountll(record->bits[g / 64] & below);
	bool second = rank >= record->split;
	const struct ferry__target *target =
		ferry__target(&heap->reloc, record->target[second]);
	uint32_t to = second ? rank - record->split : record->begin + rank;

	return ferry__block_addr(heap, target->block) +
	       (size_t)to * FERRY_GRANULE + within;
}

uintptr_t ferry__forward(const struct ferry_heap *heap, uintptr_t addr)
{
	size_t offset = ferry__offset(heap, addr);
	uint32_t fwd;

	if (ferry__is_large(heap, addr))
		return addr;
	fwd = heap->blocks[offset >> FERRY__BLOCK_SHIFT].fwd;
	if (fwd == FERRY__FWD_STAY)
		return addr;
	if (fwd != FERRY__FWD_TOGGLE)
		return record_forward(
			heap,
			ferry__record(&heap->reloc, fwd - FERRY__FWD_FIRST),
			(uint32_t)(offset & (FERRY__BLOCK_SIZE - 1)) /
				FERRY_GRANULE,
			addr % FERRY_GRANULE);
	/* Relaxed: changes with the world stopped. */
	if (!atomic_load_explicit(&heap->reloc.toggle, memory_order_relaxed))
		return addr;
	return heap->base + ((addr - heap->base) ^ heap->half);
}

/* --- slots ----------------------------------------------------------------------- */

static void fix_slot(const struct ferry_heap *heap, void *slot)
{
	uintptr_t old = ferry__slot_load(heap, slot), addr;

	if (!old)
		return;
	addr = ferry__forward(heap, old);
	if (addr != old)
		ferry__slot_store(heap, slot, addr);
}

static void flush(struct ferry_visitor *v)
{
	const struct ferry_heap *heap = ((struct ferry__fixer *)v)->heap;
	uint32_t i;

	for (i = 0; i < v->n; i++)
		fix_slot(heap, v->slots[i]);
	v->n = 0;
}

static void fix_weak(struct ferry_visitor *v, void *slot)
{
	fix_slot(((struct ferry__fixer *)v)->heap, slot);
}

static void fix_ephemeron(struct ferry_visitor *v, void *key, void *value)
{
	fix_weak(v, key);
	fix_weak(v, value);
}

void ferry__fixer_init(struct ferry__fixer *fixer, struct ferry_heap *heap)
{
	struct ferry_visitor *v = &fixer->visitor;

	fixer->heap = heap;
	v->slots = fixer->slots;
	v->n = 0;
	v->max = sizeof(fixer->slots) / sizeof(fixer->slots[0]);
	v->flush = flush;
	v->weak = fix_weak;
	v->ephemeron = fix_ephemeron;
	v->arg = heap->params.arg;
}

void ferry__fixer_flush(struct ferry__fixer *fixer)
{
	flush(&fixer->visitor);
}

/* What an ambiguous object refers to stays where it is. */
void ferry__fix_object(struct ferry__fixer *fixer, void *object,
		       enum ferry_kind kind)
{
	if (kind == FERRY_KIND_TRACED || kind == FERRY_KIND_TYPED)
		ferry__trace(fixer->heap, &fixer->visitor, object, kind);
}

void ferry__fix_block(struct ferry__fixer *fixer, uint32_t index, void *memory)
{
	const uint8_t *meta = ferry__block_meta(fixer->heap, index);
	uint32_t g;

	for (g = 0;; g++) {
		g = ferry__meta_next(meta, g, FERRY__BLOCK_GRANULES);
		if (g == FERRY__BLOCK_GRANULES)
			break;
		ferry__fix_object(fixer,
				  (char *)memory + (size_t)g * FERRY_GRANULE,
				  ferry__meta_load(meta + g) & FERRY_META_KIND);
	}
	ferry__fixer_flush(fixer);
}

/* --- copying ---------------------------------------------------------------------- */

/*
 * The next run of live granules at or after @g that lies within one word of
 * bits; false at the end.
 */
static bool next_run(const struct ferry__record *record, uint32_t *g,
		     uint32_t *ret_len)
{
	while (*g < FERRY__BLOCK_GRANULES) {
		uint64_t word = record->bits[*g / 64] >> (*g % 64);
		unsigned int skip;

		if (!word) {
			*g = (*g | 63) + 1;
			continue;
		}
		skip = (unsigned int)__builtin_ctzll(word);
		*g += skip;
		word >>= skip;
		*ret_len = ~word ? (uint32_t)__builtin_ctzll(~word) : 64;
		return true;
	}
	return false;
}

/* Copies live granules of ranks [@first, @end) to @to, the first of them. */
static void copy_ranks(const struct ferry_heap *heap,
		       const struct ferry__record *record, uint32_t first,
		       uint32_t end, char *to)
{
	const char *from =
		(const char *)ferry__block_addr(heap, record->source);
	uint32_t g = 0, rank = 0, len;

	for (; rank < end && next_run(record, &g, &len); g += len) {
		uint32_t skip = rank < first ? first - rank : 0;

		if (skip < len) {
			uint32_t n = len - skip;

			if (n > end - rank - skip)
				n = end - rank - skip;
			memcpy(to + (size_t)(rank + skip - first) *
					       FERRY_GRANULE,
			       from + (size_t)(g + skip) * FERRY_GRANULE,
			       (size_t)n * FERRY_GRANULE);
		}
		rank += len;
	}
}

/*
 * The side table of a new block is that of the old ones, object by object;
 * and objects that carry their hash from here on get it.
 */
static void copy_meta(struct ferry_heap *heap,
		      const struct ferry__record *record,
		      const struct ferry__target *target, char *memory)
{
	const uint8_t *meta = ferry__block_meta(heap, record->source);
	uint8_t *to_meta = ferry__block_meta(heap, target->block);
	uintptr_t from = ferry__block_addr(heap, record->source);
	uintptr_t block = ferry__block_addr(heap, target->block);
	uint32_t g, end, next, n, at;

	for (g = 0;; g = next) {
		uintptr_t old, to;
		uint8_t byte;

		g = ferry__meta_next(meta, g, FERRY__BLOCK_GRANULES);
		if (g == FERRY__BLOCK_GRANULES)
			return;
		end = ferry__meta_end(meta, g, FERRY__BLOCK_GRANULES) + 1;
		next = ferry__meta_next(meta, end, FERRY__BLOCK_GRANULES);
		old = from + (size_t)g * FERRY_GRANULE;
		to = ferry__forward(heap, old);
		if (to - block >= FERRY__BLOCK_SIZE)
			continue;
		n = end - g + ferry__record_grows(record, end, next);
		at = (uint32_t)((to - block) / FERRY_GRANULE);
		byte = ferry__meta_load(meta + g) & (uint8_t)~FERRY_META_END;
		ferry__meta_store(to_meta + at + n - 1, FERRY_META_END);
		ferry__meta_store(to_meta + at,
				  byte | (n == 1 ? FERRY_META_END : 0));
		ferry__hash_store(heap, old, to, memory + (to - block),
				  (size_t)(end - g) * FERRY_GRANULE);
	}
}

static void fill_from(struct ferry_heap *heap, struct ferry__target *target,
		      struct ferry__record *record, char *memory)
{
	uint32_t number = (uint32_t)(target - ferry__target(&heap->reloc, 0));
	uint32_t begin = 0;

	if (record->stays)
		return;
	if (record->target[0] == number && record->split) {
		begin = record->begin;
		copy_ranks(heap, record, 0, record->split,
			   memory + (size_t)begin * FERRY_GRANULE);
	} else {
		copy_ranks(heap, record, record->split, record->live, memory);
	}
	copy_meta(heap, record, target, memory);
}

void ferry__fix_fill(struct ferry_heap *heap, struct ferry__target *target,
		     void *memory)
{
	struct ferry__fixer fixer;
	uint32_t i;

	for (i = target->first; i <= target->last; i++)
		fill_from(heap, target, ferry__record(&heap->reloc, i), memory);
	ferry__fixer_init(&fixer, heap);
	if (!(atomic_load_explicit(&heap->blocks[target->block].flags,
				   memory_order_relaxed) &
	      FERRY__BLOCK_LEAF))
		ferry__fix_block(&fixer, target->block, memory);
}
