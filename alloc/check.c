/* SPDX-License-Identifier: MIT */
/*
 * The invariants of an arena, by their numbers in alloc/DESIGN.md. A broken
 * one ends the program with file and line: it is a fault of Ferry's own, or
 * memory that somebody else wrote to.
 */
#include "alloc/alloc-internal.h"

/* I1: whole granules, as long as the table of states. */
static void check_shape(const struct ferry_arena *arena)
{
	ferry__check(arena->magic == FERRY__ARENA_MAGIC);
	ferry__check((uintptr_t)arena->base % FERRY__GRANULE == 0);
	ferry__check(arena->reserved && arena->reserved % FERRY__GRANULE == 0);
	ferry__check(arena->pages.len == arena->reserved / ferry__page_size);
}

/* I2: both ends lead to the arena, unless a fork left its memory behind. */
static void check_lookup(const struct ferry_arena *arena)
{
	const char *last = arena->base + arena->reserved - 1;

	ferry__check((ferry_lookup(arena->base) == arena) != arena->gone);
	ferry__check((ferry_lookup(last) == arena) != arena->gone);
}

/* I3: pieces begin at 0, ascend, differ from their neighbours, fit. */
static void check_pieces(const struct ferry_arena *arena)
{
	const struct ferry__stretch *v = arena->pieces;
	size_t i;

	if (!v)
		return;
	/* The one piece more can come from growing. */
	ferry__check(arena->pieces_len &&
		     arena->pieces_len <= (size_t)arena->pieces_max + 1);
	ferry__check(arena->pieces_len * sizeof(v[0]) <= arena->pieces_bytes);
	ferry__check(v[0].offset == 0);
	for (i = 1; i < arena->pieces_len; i++) {
		ferry__check(v[i].offset > v[i - 1].offset);
		ferry__check(v[i].offset < arena->reserved);
		ferry__check(v[i].thp != v[i - 1].thp ||
			     v[i].place != v[i - 1].place);
	}
}

/* I4: parts cover an arena with a service just once, from its end down. */
static void check_parts(const struct ferry_arena *arena)
{
	const char *end = arena->base + arena->reserved;
	const struct ferry__part *part;

	if (!arena->service) {
		ferry__check(!arena->parts);
		return;
	}
	for (part = arena->parts; part; part = part->next) {
		ferry__check(part->base + part->len == end);
		end = part->base;
	}
	ferry__check(end == arena->base);
}

/* I5: without a commit or decommit at work no page is between states. */
static void check_settled(const struct ferry_arena *arena)
{
	const struct ferry__pages *pages = &arena->pages;

	ferry__check(arena->unsettled ||
		     ferry__pages_find(pages, 0, pages->len,
				       FERRY__CODES_UNSETTLED,
				       true) == pages->len);
}

/* I6: counts are those of the table. I7: only pinned pages have more pins. */
static void check_counts(const struct ferry_arena *arena)
{
	const struct ferry__pages *pages = &arena->pages;
	const unsigned int absent = FERRY__CODE(FERRY_PAGE_ABSENT);
	size_t n[FERRY_PAGE_STATES] = { 0 }, page;
	const struct ferry__page_slot *s;
	unsigned int code;
	uint64_t *pins;

	page = ferry__pages_find(pages, 0, pages->len, absent, false);
	while (page < pages->len) {
		code = ferry__pages_get(pages, page);
		ferry__check(code < FERRY__PAGE_CODES);
		n[code < FERRY_PAGE_STATES ? code : FERRY_PAGE_TRANSIT]++;
		s = &pages->dir->slot[page / FERRY__SEGMENT_PAGES];
		pins = s->pins;
		ferry__check(code == FERRY_PAGE_PINNED || !pins ||
			     !pins[page % FERRY__SEGMENT_PAGES]);
		page = ferry__pages_find(pages, page + 1, pages->len, absent,
					 false);
	}
	for (code = FERRY_PAGE_ABSENT + 1; code < FERRY_PAGE_STATES; code++)
		ferry__check(n[code] == ferry__pages_count(pages, code));
}

void ferry__arena_check_locked(const struct ferry_arena *arena)
{
	check_shape(arena);
	check_lookup(arena);
	check_pieces(arena);
	check_parts(arena);
}

void ferry__arena_check(struct ferry_arena *arena)
{
	pthread_mutex_lock(&arena->lock);
	ferry__arena_check_locked(arena);
	check_settled(arena);
	check_counts(arena);
	pthread_mutex_unlock(&arena->lock);
}
