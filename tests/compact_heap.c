/* SPDX-License-Identifier: MIT */
/* Sparse arenas for tests of compaction. */
#include "tests/compact_heap.h"

#include <check.h>
#include <stdlib.h>

#include "tests/memory.h"

struct heap heap_make(size_t pages, uint64_t first, enum ferry_thp thp)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct heap heap = { .pages = pages, .first = first };

	p.reserve = pages * page_size();
	p.thp = thp;
	ck_assert_int_eq(ferry_arena_create(&p, &heap.arena), 0);
	heap.base = ferry_arena_base(heap.arena);
	ck_assert_int_eq(ferry_arena_commit(heap.arena, 0, p.reserve, false),
			 0);
	fill_pages(heap.base, p.reserve, first);
	heap.live = malloc(pages);
	ck_assert_ptr_nonnull(heap.live);
	for (size_t i = 0; i < pages; i++)
		heap.live[i] = true;
	return heap;
}

void heap_free(struct heap *heap, size_t first, size_t n)
{
	ck_assert_int_eq(ferry_arena_decommit(heap->arena, first * page_size(),
					      n * page_size()),
			 0);
	for (size_t i = first; i < first + n; i++)
		heap->live[i] = false;
}

void heap_thin(struct heap *heap, struct random *r, size_t mean)
{
	size_t at = 0, n;

	while (at < heap->pages) {
		at += 1 + random_below(r, 2 * mean - 1);
		n = 1 + random_below(r, 6 * mean - 1);
		if (at >= heap->pages)
			break;
		if (n > heap->pages - at)
			n = heap->pages - at;
		heap_free(heap, at, n);
		at += n;
	}
}

size_t heap_live(const struct heap *heap)
{
	size_t n = 0;

	for (size_t i = 0; i < heap->pages; i++)
		n += heap->live[i];
	return n * page_size();
}

void heap_fini(struct heap *heap)
{
	ferry_arena_destroy(heap->arena);
	free(heap->live);
}

bool heap_page_right(const struct heap *heap,
		     const struct ferry_compact *compact, size_t i)
{
	char *old = heap->base + i * page_size();
	char *now = ferry_compact_map(compact, old);

	if (!heap->live[i])
		return !now;
	return page_holds(now ? now : old, heap->first + i);
}

void heap_assert_moved(const struct heap *heap,
		       const struct ferry_compact *compact)
{
	for (size_t i = 0; i < heap->pages; i++)
		ck_assert_msg(heap_page_right(heap, compact, i),
			      "page %zu is not right", i);
}

void heap_assert_unmoved(const struct heap *heap)
{
	for (size_t i = 0; i < heap->pages; i++)
		if (heap->live[i])
			ck_assert(page_holds(heap->base + i * page_size(),
					     heap->first + i));
}

struct ferry_compact *heap_plan(struct heap *heaps, size_t n,
				struct ferry_compact_params params)
{
	struct ferry_arena **arenas = calloc(n, sizeof(struct ferry_arena *));
	struct ferry_compact *compact = NULL;

	ck_assert_ptr_nonnull(arenas);
	for (size_t i = 0; i < n; i++)
		arenas[i] = heaps[i].arena;
	params.size = sizeof(params);
	params.sources = arenas;
	params.sources_len = n;
	/* Else khugepaged fills up what is there, where it is always on. */
	if (!params.thp && !params.destination)
		params.thp = FERRY_THP_NEVER;
	ck_assert_int_eq(ferry_compact_plan(&params, NULL, &compact), 0);
	ck_assert_ptr_nonnull(compact);
	free(arenas);
	return compact;
}

struct ferry_compact_result heap_result(const struct ferry_compact *c)
{
	struct ferry_compact_result res =
		FERRY_INIT(struct ferry_compact_result);

	ck_assert_int_eq(ferry_compact_progress(c, &res), 0);
	return res;
}

size_t heap_bytes_in(struct ferry_arena *arena, enum ferry_page_state state)
{
	size_t at = 0, len, sum = 0;

	for (; ferry_arena_next_run(arena, at, state, &at, &len); at += len)
		sum += len;
	return sum;
}
