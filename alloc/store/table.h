/* SPDX-License-Identifier: MIT */
/*
 * A table that grows without moving: segments, each twice as long as the one
 * before, so that a few words find any element and there are few mappings.
 * Elements start as zeroes; what was never touched takes no memory.
 *
 * One thread grows a table at a time; looking up needs no lock and is
 * signal-safe.
 */
#ifndef FERRY_ALLOC_STORE_TABLE_H
#define FERRY_ALLOC_STORE_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* Enough for 2^63 elements however short the first segment is. */
#define FERRY__TABLE_SEGMENTS 64

struct ferry__table {
	size_t element;	    /* bytes of one */
	unsigned int shift; /* the first segment has 1 << shift of them */
	unsigned int n;	    /* segments that are there */
	/* T1: released by ferry__table_grow(), acquired by look-ups. */
	char *segment[FERRY__TABLE_SEGMENTS];
};

/* A segment must fill pages: @element << @shift is a multiple of them. */
void ferry__table_init(struct ferry__table *table, size_t element,
		       unsigned int shift);

void ferry__table_fini(struct ferry__table *table);

/* Makes @index valid. Returns 0 or the error of mmap(2). */
int ferry__table_grow(struct ferry__table *table, uint64_t index);

static inline void *ferry__table_at(const struct ferry__table *table,
				    uint64_t index)
{
	uint64_t i = index + ((uint64_t)1 << table->shift);
	unsigned int top = 63 - (unsigned int)__builtin_clzll(i);
	/* T1 */
	char *base = __atomic_load_n(&table->segment[top - table->shift],
				     __ATOMIC_ACQUIRE);

	return base + (i - ((uint64_t)1 << top)) * table->element;
}

#endif
