/* SPDX-License-Identifier: MIT */
/* What block.c and sweep.c share: lists, states and accounts of blocks. */
#ifndef FERRY_RUNTIME_BLOCK_INLINE_H
#define FERRY_RUNTIME_BLOCK_INLINE_H

#include "runtime/heap-internal.h"

/* --- lists; space lock ------------------------------------------------------ */

static inline void ferry__space_list_push(struct ferry_heap *heap,
					  struct ferry__block_list *list,
					  uint32_t index)
{
	heap->blocks[index].next = list->head;
	list->head = index + 1;
	list->len++;
}

static inline bool ferry__space_list_pop(struct ferry_heap *heap,
					 struct ferry__block_list *list,
					 uint32_t *ret_index)
{
	if (!list->head)
		return false;
	*ret_index = list->head - 1;
	list->head = heap->blocks[*ret_index].next;
	list->len--;
	return true;
}

static inline void ferry__block_state_set(struct ferry_heap *heap,
					  uint32_t index,
					  enum ferry__block_state state)
{
	/* Relaxed: who acts on a state holds the lock, or the world. */
	atomic_store_explicit(&heap->blocks[index].state, state,
			      memory_order_relaxed);
}

static inline enum ferry__block_state
ferry__block_state_get(const struct ferry_heap *heap, uint32_t index)
{
	return atomic_load_explicit(&heap->blocks[index].state,
				    memory_order_relaxed);
}

static inline uint16_t ferry__block_flags_get(const struct ferry_heap *heap,
					      uint32_t index)
{
	return atomic_load_explicit(&heap->blocks[index].flags,
				    memory_order_relaxed);
}

static inline void ferry__block_flags_set(struct ferry_heap *heap,
					  uint32_t index, uint16_t flags)
{
	atomic_store_explicit(&heap->blocks[index].flags, flags,
			      memory_order_relaxed);
}

/* --- accounts ---------------------------------------------------------------- */

static inline void ferry__space_taken_add(struct ferry_heap *heap, size_t bytes)
{
	atomic_fetch_add_explicit(&heap->space.taken, bytes,
				  memory_order_relaxed);
}

static inline void ferry__space_taken_sub(struct ferry_heap *heap, size_t bytes)
{
	atomic_fetch_sub_explicit(&heap->space.taken, bytes,
				  memory_order_relaxed);
}

static inline void ferry__block_clean_clear(struct ferry_heap *heap,
					    uint32_t index)
{
	/* Relaxed: a hint. */
	atomic_fetch_and_explicit(&heap->blocks[index].flags,
				  (uint16_t)~FERRY__BLOCK_CLEAN,
				  memory_order_relaxed);
}

/* Pages with little room are left to faults: all that lives on pages that
 * count as written is traced once more. */
static inline bool ferry__block_is_roomy(const struct ferry_heap *heap,
					 uint32_t index)
{
	return heap->blocks[index].live <= FERRY__BLOCK_GRANULES / 4 * 3;
}

#endif
