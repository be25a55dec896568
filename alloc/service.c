/* SPDX-License-Identifier: MIT */
/*
 * Arenas under a fault service: committed pages appear by the arena's
 * supply, pages that are not committed are refused.
 *
 * The reservation is attached whole, and what a grow adds is attached beside
 * it as a part of its own; the supply sees one range all the same. Supplies
 * run in signal handlers: what is here reads page states, without a lock,
 * and the arena's constant fields.
 */
#include "alloc/alloc-internal.h"

#include <errno.h>

/* Pages that may be supplied: committed ones, and those kept in a store. */
#define SUPPLIED                                                               \
	(FERRY__CODE(FERRY_PAGE_LIVE) | FERRY__CODE(FERRY_PAGE_PINNED) |       \
	 FERRY__CODE(FERRY_PAGE_OUT) | FERRY__CODE(FERRY__PAGE_COMMITTING))

static bool supplied(const struct ferry_arena *arena, size_t page)
{
	return FERRY__CODE(ferry__pages_get(&arena->pages, page)) & SUPPLIED;
}

/* Cuts the window to the pages around the fault that may be supplied. */
static void trim_window(const struct ferry_arena *arena,
			struct ferry_fault *fault)
{
	size_t page = fault->offset / ferry__page_size;
	size_t first = page, end = page + 1;
	size_t low = fault->window_offset / ferry__page_size;
	size_t high =
		(fault->window_offset + fault->window_len) / ferry__page_size;

	while (first > low && supplied(arena, first - 1))
		first--;
	if (end < high)
		end = ferry__pages_find(&arena->pages, end, high, SUPPLIED,
					false);
	fault->window_offset = first * ferry__page_size;
	fault->window_len = (end - first) * ferry__page_size;
}

static void supply(void *arg, const struct ferry_fault *fault,
		   struct ferry_supply *ret)
{
	const struct ferry_arena *arena = arg;
	size_t part = (size_t)((char *)fault->range.addr - arena->base);
	struct ferry_fault f = *fault;

	f.range = (struct ferry_range){ arena->base,
					ferry_arena_reserved(arena) };
	f.offset += part;
	f.window_offset += part;
	if (!fault->protect && !supplied(arena, f.offset / ferry__page_size)) {
		ret->kind = FERRY_SUPPLY_NONE;
		return;
	}
	trim_window(arena, &f);
	ret->offset = f.window_offset;
	ret->len = f.window_len;
	arena->supply(arena->supply_arg, &f, ret);
	ret->offset -= part;
}

static int attach(struct ferry_arena *arena, char *addr, size_t len)
{
	return ferry_fault_attach(arena->service, addr, len, supply, arena,
				  NULL);
}

int ferry__service_attach(struct ferry_arena *arena, char *addr, size_t len)
{
	struct ferry__part *part;
	void *mem;
	int r;

	if (!arena->service)
		return 0;
	r = ferry__meta_alloc(sizeof(*part), &mem);
	if (r < 0)
		return r;
	part = mem;
	*part = (struct ferry__part){ arena->parts, addr, len };
	r = attach(arena, addr, len);
	if (r < 0) {
		ferry__meta_free(part, sizeof(*part));
		return r;
	}
	arena->parts = part;
	return 0;
}

void ferry__service_detach_last(struct ferry_arena *arena)
{
	struct ferry__part *part = arena->parts;

	if (!part)
		return;
	ferry_fault_detach(arena->service, part->base, part->len);
	arena->parts = part->next;
	ferry__meta_free(part, sizeof(*part));
}

void ferry__service_detach(struct ferry_arena *arena)
{
	while (arena->parts)
		ferry__service_detach_last(arena);
}

int ferry__service_populate(struct ferry_arena *arena, size_t offset,
			    size_t len)
{
	size_t end = offset + len;
	int r = 0;

	for (; r == 0 && offset < end; offset += ferry__page_size)
		r = ferry_fault_resolve(arena->service, arena->base + offset);
	return r;
}
