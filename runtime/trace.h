/* SPDX-License-Identifier: MIT */
/*
 * What is inlined into the loops of marking: reading slots, the bits of what
 * is marked, visiting the slots of an object with a descriptor.
 */
#ifndef FERRY_RUNTIME_TRACE_H
#define FERRY_RUNTIME_TRACE_H

#include "runtime/heap-internal.h"

#define FERRY__NO_TSAN __attribute__((no_sanitize("thread")))

/* --- slots ------------------------------------------------------------------ */

FERRY__NO_TSAN static inline uintptr_t ferry__load_plain(const void *slot)
{
	return __atomic_load_n((const uintptr_t *)slot, __ATOMIC_RELAXED);
}

/* --- bits of what is marked --------------------------------------------------- */

/*
 * M7: what a marked object refers to without having to look at the side
 * table. Plain stores of bytes: of two markers that meet in one a bit may be
 * lost, which costs a look at the side table; none is ever set for an object
 * that is not marked.
 */
static inline uint8_t *ferry__seen_at(const struct ferry_heap *heap,
				      size_t offset)
{
	return heap->mark.seen +
	       (offset & (heap->half - 1)) / FERRY_GRANULE / 8;
}

static inline uint8_t ferry__seen_bit(size_t offset)
{
	return (uint8_t)(1u << (offset / FERRY_GRANULE % 8));
}

static inline bool ferry__is_seen(const struct ferry_heap *heap, size_t offset)
{
	return ferry__meta_load(ferry__seen_at(heap, offset)) &
	       ferry__seen_bit(offset);
}

/* --- objects with a descriptor ------------------------------------------------- */

/*
 * Slots of an object that was traced before refer to what is marked, most of
 * them: the bits are looked at right here, where one miss does not hold up
 * the next, and only the rest is gathered. Plain slots.
 */
FERRY__NO_TSAN static inline void ferry__visit_again(struct ferry_visitor *v,
						     uintptr_t *slot)
{
	const struct ferry_heap *heap = ferry__marker_of(v)->heap;
	size_t offset = ferry__load_plain(slot) - heap->base;

	if (offset >= FERRY__PARTS * heap->half)
		return;
	if (offset >= 2 * heap->half || !ferry__is_seen(heap, offset))
		ferry_visit(v, slot);
}

#define FERRY__ALWAYS_INLINE static inline __attribute__((always_inline))

FERRY__ALWAYS_INLINE void ferry__visit_map(struct ferry_visitor *v,
					   uintptr_t *word, uint64_t map,
					   bool again)
{
	for (; map; map &= map - 1) {
		uintptr_t *slot = word + __builtin_ctzll(map);

		if (again)
			ferry__visit_again(v, slot);
		else
			ferry_visit(v, slot);
	}
}

FERRY__ALWAYS_INLINE void ferry__visit_elements(struct ferry_visitor *v,
						const struct ferry_type *t,
						char *object, bool again)
{
	size_t n = *(const size_t *)(object + t->count_offset);
	char *element = object + t->size;

	if (!t->element_refs)
		return;
	for (; n; n--, element += t->element_size)
		ferry__visit_map(v, (uintptr_t *)element, t->element_refs,
				 again);
}

FERRY__ALWAYS_INLINE void ferry__visit_typed(struct ferry_visitor *v,
					     void *object, bool again)
{
	const struct ferry_type *t = *(const struct ferry_type **)object;
	uintptr_t *word = object;
	size_t i;

	if (!t)
		return; /* not written yet */
	ferry__visit_map(v, word, t->refs, again);
	for (i = 64; t->more_refs && i < t->size / sizeof(*word); i += 64)
		ferry__visit_map(v, word + i, t->more_refs[i / 64 - 1], again);
	if (t->element_size)
		ferry__visit_elements(v, t, object, again);
}

#endif
