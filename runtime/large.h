/* SPDX-License-Identifier: MIT */
/*
 * The space of large objects: whole pages each, never copied.
 */
#ifndef FERRY_RUNTIME_LARGE_H
#define FERRY_RUNTIME_LARGE_H

#include <ferry/object.h>

#include <pthread.h>
#include <stdatomic.h>

struct ferry_heap;

/* Extents by size: each number of pages up to 15, then four steps for every
 * doubling up to 2^32 pages. */
#define FERRY__LARGE_BINS  132u
#define FERRY__LARGE_WORDS ((FERRY__LARGE_BINS + 63) / 64)

/* Free extents of a kind, in doubly linked lists; large lock. */
struct ferry__large_bins {
	uint32_t head[FERRY__LARGE_BINS];  /* first page + 1; 0: none */
	uint64_t some[FERRY__LARGE_WORDS]; /* bins with extents */
};

/* Of a free extent, at its first page: its neighbours in the bin. */
struct ferry__large_link {
	uint32_t next, prev; /* first page + 1; 0: none */
};

/*
 * Side-table byte of an object's first page: kind | colour (and END for an
 * object of one page), of the last: END, as in small blocks. The extents of
 * pages, free or used, tile [0, used_end) of the space. The tables have an
 * entry for each page; what is not touched costs no memory.
 */
struct ferry__large {
	pthread_mutex_t lock; /* rank 35 */
	uint64_t *tag;	      /* of an extent, at its first and last page:
				 pages and flags, see large.c */
	uint32_t *start;      /* of used extents, at every page: the first */
	struct ferry__large_link *link;
	struct ferry__large_bins bins[2]; /* without memory; with some */
	size_t pages;			  /* of the space */
	_Atomic size_t used_end;	  /* page beyond the last extent; L2 */
	uint64_t fresh;	       /* flag of what is allocated now; L4 */
	_Atomic uint64_t made; /* objects that may have references, ever */
	_Atomic size_t bytes;  /* in objects */
	_Atomic size_t live;   /* of these in marked ones, by the last sweep */
	_Atomic size_t kept;   /* in free extents that still have memory */
};

/* Returns 0; -ENOMEM. */
int ferry__large_init(struct ferry_heap *heap);
void ferry__large_fini(struct ferry_heap *heap);

/*
 * An object of @size bytes of zeros, aligned to @align (a power of two, at
 * least a page, at most 2 MiB), of the given kind and colour. The caller has
 * accounted for the limit. Returns its address, or 0: no address space, or
 * the kernel has no memory. A running mutator: the world is not stopped
 * before it returns (L4).
 */
uintptr_t ferry__large_alloc(struct ferry_heap *heap, size_t size, size_t align,
			     enum ferry_kind kind, uint8_t colour);

/*
 * Called with the world stopped when marking ends: objects allocated from
 * here on are not the next sweep's, whatever their colour. O(1).
 */
void ferry__large_sweep_begin(struct ferry_heap *heap);

/* Was it allocated since ferry__large_sweep_begin()? */
bool ferry__large_is_fresh(const struct ferry_heap *heap, uintptr_t addr);

/*
 * Frees every object whose colour is neither @keep nor @young, but for those
 * allocated since ferry__large_sweep_begin(). Concurrent with allocation; one
 * sweep at a time, and it is over before marking begins again. Returns bytes
 * freed.
 */
size_t ferry__large_sweep(struct ferry_heap *heap, uint8_t keep, uint8_t young);

/*
 * The next object that starts at or after page @page of the space: its address
 * and bytes; false at the end. Nothing is freed meanwhile (markers and
 * compaction exclude sweeping); allocation may go on.
 */
bool ferry__large_next(struct ferry_heap *heap, size_t page,
		       uintptr_t *ret_addr, size_t *ret_bytes);

/*
 * The start of the object that @addr points to or into, or 0; its bytes, of
 * an address that starts one. Wait-free. Of a word that is not known to be a
 * reference the answer counts only while nothing is freed.
 */
uintptr_t ferry__large_find(const struct ferry_heap *heap, uintptr_t addr);
size_t ferry__large_bytes(const struct ferry_heap *heap, uintptr_t addr);

/* Gives memory of free extents back to the system, down to @keep bytes.
 * Returns bytes given back. */
size_t ferry__large_release(struct ferry_heap *heap, size_t keep);

#endif
