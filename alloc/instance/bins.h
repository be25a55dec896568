/* SPDX-License-Identifier: MIT */
/*
 * The quick way of small blocks: the thread's cache is used where it lies.
 *
 * jemalloc's functions with flags look up arena and cache by number at each
 * call. But what they do then, nine times in ten, is to take the top of a
 * stack of pointers, or to put one there. Where the stack is and which class
 * a block has is found here without them; a stack that is empty or full is
 * left to them, who fill and empty it.
 *
 * That is the private layout of jemalloc 5.3.0 on x86-64: it is used only
 * after ferry__bins_start() has seen a cache of that kind change as expected.
 * Else each request takes the way through the flags.
 */
#ifndef FERRY_ALLOC_INSTANCE_BINS_H
#define FERRY_ALLOC_INSTANCE_BINS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alloc/malloc/engine.h"

/*
 * Cached blocks of a size class: a stack that grows down and ends where the
 * low bits of its top are .full; empty (as far as is seen here) where they
 * are .low. As jemalloc has it.
 */
struct ferry__bin {
	void **top;
	uint64_t requests;
	uint16_t low, full, empty;
};

/* Blocks up to here have classes by steps of 8 bytes. */
#define FERRY__BINS_LARGEST 4096

struct ferry__bins {
	/* What a thread without a cache has: of each class empty and full. */
	struct ferry__bin none[256];
	uint8_t class_of[FERRY__BINS_LARGEST / 8 + 1]; /* (size + 7) / 8 */
	uint32_t size_of[256];			       /* of a class; 0: none */
	bool known;
};

/* Written once, before there is an instance. */
extern FERRY__HIDDEN struct ferry__bins ferry__bins;

/* Finds out whether the layout is as is known. Once; it allocates. */
void ferry__bins_start(void);

/* The bins of the engine's cache @number; .none where they are not known. */
struct ferry__bin *ferry__bins_of(unsigned int number);

/* The top of the stack of @class, or NULL: the engine is to be asked. */
static inline void *ferry__bin_take(struct ferry__bin *bin)
{
	void **top = bin->top;

	if (__builtin_expect((uint16_t)(uintptr_t)top == bin->low, 0))
		return NULL;
	bin->top = top + 1;
	return *top;
}

/* False: the engine is to be given it. */
static inline bool ferry__bin_put(struct ferry__bin *bin, void *block)
{
	void **top = bin->top;

	if (__builtin_expect((uint16_t)(uintptr_t)top == bin->full, 0))
		return false;
	*--top = block;
	bin->top = top;
	return true;
}

static inline unsigned int ferry__bins_class(size_t size)
{
	return ferry__bins.class_of[(size + 7) / 8];
}

/* --- which class a block has ----------------------------------------------- */

/*
 * A row of the engine's map: the words of one GiB of addresses, a word for
 * each page. Rows stay for ever. Each thread remembers some.
 */
struct ferry__bins_row {
	uintptr_t key; /* address / 1 GiB + 1; 0: none */
	const uint64_t *words;
};

#define FERRY__BINS_ROWS      16
#define FERRY__BINS_ROW_SHIFT 30

#define FERRY__BINS_NO_CLASS (-1)

/* Finds the row of @addr for @row. False: the engine has none. */
bool ferry__bins_find_row(uintptr_t addr, struct ferry__bins_row *row);

static inline uintptr_t ferry__bins_key(const void *block)
{
	return ((uintptr_t)block >> FERRY__BINS_ROW_SHIFT) + 1;
}

/* Where a thread that has @rows remembers the row of @block. */
static inline struct ferry__bins_row *
ferry__bins_row_of(struct ferry__bins_row *rows, const void *block)
{
	return &rows[ferry__bins_key(block) % FERRY__BINS_ROWS];
}

/*
 * The class of a block; FERRY__BINS_NO_CLASS: not a small one, or @row is
 * another's.
 */
static inline int ferry__bins_class_in(const struct ferry__bins_row *row,
				       const void *block)
{
	uintptr_t page = (uintptr_t)block >> 12 &
			 ((1u << (FERRY__BINS_ROW_SHIFT - 12)) - 1);
	uint64_t word;

	if (__builtin_expect(row->key != ferry__bins_key(block), 0))
		return FERRY__BINS_NO_CLASS;
	/*
	 * Relaxed: of a block that the caller has; who gave it to him has
	 * ordered it. Bit 0: of a slab.
	 */
	word = __atomic_load_n(&row->words[page], __ATOMIC_RELAXED);
	return __builtin_expect(word & 1, 1) ? (int)(word >> 48)
					     : FERRY__BINS_NO_CLASS;
}

#endif
