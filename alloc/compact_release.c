/* SPDX-License-Identifier: MIT */
/*
 * The end of a compaction: page states settled, sources given back to the
 * system, huge pages re-made.
 *
 * What is taken for granted of the kernel: MOVE empties the page table of the
 * source but does not free it; MADV_DONTNEED over whole 2 MiB frees empty
 * tables where CONFIG_PT_RECLAIM is on (x86-64 since 6.14), and else they
 * stay until the arena is destroyed (4 KiB for 2 MiB, 0.2 %).
 */
#include "alloc/compact-internal.h"

#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* 6.1 */
#endif

/* --- sources -------------------------------------------------------------- */

static void settle_from(const struct ferry_compact *compact, uintptr_t from,
			size_t len, enum ferry_page_state to)
{
	struct ferry_arena *arena = ferry__compact_source(compact, from);

	ferry__arena_settle(arena, from - (uintptr_t)arena->base, len, to);
}

static void settle_piece_pages(const struct ferry_compact *compact,
			       const struct ferry__piece *p)
{
	size_t at, len = p->pages * ferry__page_size;

	for (at = 0; at < len; at += ferry__page_size)
		settle_from(compact, p->from + at, ferry__page_size,
			    ferry__compact_left_bit(compact, p->to + at)
				    ? FERRY_PAGE_LIVE
				    : FERRY_PAGE_ABSENT);
}

static void settle_sources(const struct ferry_compact *compact, bool left)
{
	const struct ferry__piece *p = compact->layout.pieces;
	const struct ferry__piece *end = p + compact->layout.len;

	for (; p < end; p++) {
		if (left)
			settle_piece_pages(compact, p);
		else
			settle_from(compact, p->from,
				    p->pages * ferry__page_size,
				    FERRY_PAGE_ABSENT);
	}
}

/*
 * Gives back the stretches of [@first, @end) pages in which no page is the
 * owner's. The arena's lock keeps commits out meanwhile.
 */
static size_t release_stretches(struct ferry_arena *arena, size_t first,
				size_t end)
{
	const unsigned int absent = FERRY__CODE(FERRY_PAGE_ABSENT);
	size_t stop, released = 0;

	pthread_mutex_lock(&arena->lock);
	for (; first < end; first = stop) {
		first = ferry__pages_find(&arena->pages, first, end, absent,
					  true);
		stop = ferry__pages_find(&arena->pages, first, end, absent,
					 false);
		if (first < stop &&
		    !ferry__sys->madvise(arena->base + first * ferry__page_size,
					 (stop - first) * ferry__page_size,
					 MADV_DONTNEED))
			released += (stop - first) * ferry__page_size;
	}
	pthread_mutex_unlock(&arena->lock);
	return released;
}

static void release_sources(struct ferry_compact *compact)
{
	const struct ferry__source *s;
	size_t i;

	for (i = 0; i < compact->params.sources_len; i++) {
		s = &compact->sources[i];
		compact->released += release_stretches(
			s->arena, 0, s->len / ferry__page_size);
	}
}

/* --- destination ---------------------------------------------------------- */

static void settle_destination(const struct ferry_compact *compact, bool left)
{
	size_t at = 0;

	if (!left) {
		ferry__arena_settle(compact->destination, 0, compact->bytes,
				    FERRY_PAGE_LIVE);
		return;
	}
	for (; at < compact->bytes; at += ferry__page_size)
		ferry__arena_settle(
			compact->destination, at, ferry__page_size,
			ferry__compact_left_bit(compact, compact->to + at)
				? FERRY_PAGE_ABSENT
				: FERRY_PAGE_LIVE);
}

/* Whole huge-page slots of the destination that hold small pages. */
static void collapse(struct ferry_compact *compact)
{
	size_t huge = ferry__huge_size(), at;

	if (!huge)
		return;
	for (at = compact->layout.bytes[FERRY__PIECE_HUGE];
	     at + huge <= compact->bytes; at += huge)
		if (!ferry__sys->madvise((void *)(compact->to + at), huge,
					 MADV_COLLAPSE))
			compact->collapsed += huge;
}

void ferry__compact_release(struct ferry_compact *compact)
{
	/* Relaxed: all movers have ended. */
	bool left = __atomic_load_n(&compact->counts.left, __ATOMIC_RELAXED);

	if (!compact->bytes)
		return;
	settle_sources(compact, left);
	release_sources(compact);
	settle_destination(compact, left);
	if (compact->params.flags & FERRY_COMPACT_COLLAPSE)
		collapse(compact);
}
