/* SPDX-License-Identifier: MIT */
/*
 * The space of large objects: whole pages each, never copied.
 */
#ifndef FERRY_RUNTIME_LARGE_H
#define FERRY_RUNTIME_LARGE_H

#include <ferry/object.h>

#include <pthread.h>
#include <stdatomic.h>

/*
 * Objects lie in half 0 or half 1 of the large space, at the same offset of
 * either; side-table byte of the first page: kind | colour (and END for an
 * object of one page), of the last: END, as in small blocks. The extents of
 * pages, free or used, tile [0, used_end) of the half.
 */
struct ferry__large {
	pthread_mutex_t lock; /* rank 35 */
	uint32_t *extent; /* pages of the extent, at its first and last page,
			     with flag bits: large.c */
	size_t pages;	  /* in a half */
	size_t used_end;  /* page beyond the last extent */
	_Atomic size_t bytes; /* in objects */
	_Atomic size_t kept;  /* in free extents that still have memory */
};

int ferry__large_init(struct ferry_heap *heap);
void ferry__large_fini(struct ferry_heap *heap);

/*
 * An object of @size bytes of zeros, aligned to @align (a power of two, at
 * least a page, at most 2 MiB), of the given kind and colour. The caller has
 * accounted for the limit. Returns its address, or 0: no address space, or
 * the kernel has no memory. Any mutator.
 */
uintptr_t ferry__large_alloc(struct ferry_heap *heap, size_t size, size_t align,
			     enum ferry_kind kind, uint8_t colour);

/*
 * Frees every object whose colour is not @keep, but those allocated since the
 * world was last stopped (colour young, or black): the caller says by @young
 * whether colour YOUNG is garbage, which is so only for extents that existed
 * when marking ended. Concurrent with allocation. Returns bytes freed.
 */
size_t ferry__large_sweep(struct ferry_heap *heap, uint8_t keep);

/* Called with the world stopped when marking ends: objects from here on are
 * not this sweep's. */
void ferry__large_sweep_begin(struct ferry_heap *heap);

/*
 * The next object at or after page @page of the half: its address (in the
 * half it lies in) and bytes; false at the end. Nothing is freed meanwhile
 * (markers and compaction exclude sweeping); allocation may go on.
 */
bool ferry__large_next(struct ferry_heap *heap, size_t page,
		       uintptr_t *ret_addr, size_t *ret_bytes);

/* The object that @addr points into, or 0. Any thread, without the lock. */
uintptr_t ferry__large_find(const struct ferry_heap *heap, uintptr_t addr);

/* The other half from now on (compaction took it across). World stopped. */
void ferry__large_flip(struct ferry_heap *heap, uintptr_t addr);

/* Gives memory of free extents back to the system, down to @keep bytes.
 * Returns bytes given back. */
size_t ferry__large_release(struct ferry_heap *heap, size_t keep);

#endif
