/* SPDX-License-Identifier: MIT */
/*
 * The little of jemalloc 5.3.0's private layout that holes.c reads, as it is
 * on x86-64 with pages of 4 KiB and 48 bits of address.
 *
 * The extent map has a word for each page; those of one GiB lie in a row.
 * The word of a page leads to the descriptor of the extent
 *
 *  - from each page of a slab,
 *  - from the first and the last page of any other extent, used or free;
 *
 * the words between these two are 0, always: splits, merges and the end of a
 * slab set and clear them under jemalloc's locks, before anybody can be
 * given memory there.
 *
 * Descriptors are of 128 bytes and never become other memory while their
 * arena exists: one that is out of date describes another extent, or none.
 */
#ifndef FERRY_ALLOC_MALLOC_HOLES_LAYOUT_H
#define FERRY_ALLOC_MALLOC_HOLES_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

/* Version strings that begin like this have this layout. */
#define LAYOUT_VERSION "5.3.0-"

/* The map: a row of words stands for so many bytes of addresses. */
#define LAYOUT_ROW_SHIFT 30
/* Bits 7 to 47 of a word are those of the descriptor's address. */
#define LAYOUT_WORD_ADDR (((1ull << 48) - 1) & ~127ull)
/* What a look-up may write to: its cache of 24 pairs of words. */
#define LAYOUT_CONTEXT_WORDS 48

/* A descriptor. */
struct layout_extent {
	uint64_t bits;	     /* LAYOUT_SLAB ... */
	uint64_t addr;	     /* of its first byte */
	uint64_t size;	     /* whole pages; the low 12 bits are a serial */
	uint64_t unused[5];  /* links, serial number */
	uint64_t regions[8]; /* slabs: bit set = region free */
};

_Static_assert(sizeof(struct layout_extent) == 128, "as jemalloc has it");
_Static_assert(offsetof(struct layout_extent, regions) == 64,
	       "as jemalloc has it");

#define LAYOUT_SIZE (~4095ull)

#define LAYOUT_SLAB	   (1ull << 12)
#define LAYOUT_STATE_SHIFT 17
#define LAYOUT_STATE	   (7ull << LAYOUT_STATE_SHIFT)
#define LAYOUT_CLASS_SHIFT 20
#define LAYOUT_CLASS	   (255ull << LAYOUT_CLASS_SHIFT)
#define LAYOUT_NFREE_SHIFT 28
#define LAYOUT_NFREE	   (1023ull << LAYOUT_NFREE_SHIFT)

/* States; what is above these is on its way between two of them. */
enum layout_state {
	LAYOUT_ACTIVE = 0,
	LAYOUT_DIRTY = 1,
	LAYOUT_MUZZY = 2,
	LAYOUT_RETAINED = 3,
};

#endif
