/* SPDX-License-Identifier: MIT */
/*
 * A sparse arena for tests of compaction: pages that say which page they
 * were, a random part of them given back, and the check that every page
 * arrived where the relocation map says.
 *
 * Each function asserts its own success.
 */
#ifndef FERRY_TESTS_COMPACT_HEAP_H
#define FERRY_TESTS_COMPACT_HEAP_H

#include <ferry/compact.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/random.h"

struct heap {
	struct ferry_arena *arena;
	char *base;
	size_t pages;
	uint64_t first; /* number of its first page */
	bool *live;	/* by page */
};

/* An arena of @pages pages, all live; page i holds number @first + i. */
struct heap heap_make(size_t pages, uint64_t first, enum ferry_thp thp);

/* Gives back runs of pages so that runs of @mean pages on average stay, a
 * quarter of all. */
void heap_thin(struct heap *heap, struct random *r, size_t mean);

/* Gives back one stretch of pages. */
void heap_free(struct heap *heap, size_t first, size_t n);

/* Bytes of live pages. */
size_t heap_live(const struct heap *heap);

/* Frees the arena too. */
void heap_fini(struct heap *heap);

/* Asserts that each live page is where the map says, or where it was. */
void heap_assert_moved(const struct heap *heap,
		       const struct ferry_compact *compact);
/* The same for one page, as an answer. */
bool heap_page_right(const struct heap *heap,
		     const struct ferry_compact *compact, size_t i);
/* Asserts that each live page is where it was. */
void heap_assert_unmoved(const struct heap *heap);

/* A plan with these sources and otherwise @params. */
struct ferry_compact *heap_plan(struct heap *heaps, size_t n,
				struct ferry_compact_params params);

/* How far it is. */
struct ferry_compact_result heap_result(const struct ferry_compact *compact);

/* Bytes of an arena's pages in @state. */
size_t heap_bytes_in(struct ferry_arena *arena, enum ferry_page_state state);

#endif
