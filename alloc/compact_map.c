/* SPDX-License-Identifier: MIT */
/*
 * What a compaction tells: the relocation map, its runs, what was left, and
 * the counters.
 *
 * The layout is written before the compaction is handed out and never
 * changes, so that look-ups need neither lock nor fence. Only pages left
 * over change the map, by their bits, once the phase says so (C4).
 */
#include "alloc/compact-internal.h"

#include <errno.h>
#include <string.h>

/* May the left list be read, and is there anything in it? */
static bool has_left(const struct ferry_compact *compact)
{
	return ferry__compact_phase(compact) == FERRY_COMPACT_PARTIAL;
}

static bool dropped(const struct ferry_compact *compact)
{
	return ferry__compact_phase(compact) == FERRY__COMPACT_DROPPED;
}

void *ferry_compact_map(const struct ferry_compact *compact, const void *old)
{
	uintptr_t from = (uintptr_t)old, to;
	const struct ferry__piece *p;

	p = ferry__layout_find_from(&compact->layout, from, ferry__page_size);
	if (!p || dropped(compact))
		return NULL;
	to = p->to + (from - p->from);
	if (has_left(compact) && ferry__compact_left_bit(compact, to))
		return NULL;
	return (void *)to;
}

/* --- runs ----------------------------------------------------------------- */

/* Goes through the layout piece by piece, and page by page where it must. */
struct walk {
	const struct ferry_compact *compact;
	bool some; /* there are pages left: look at their bits */
	bool left; /* stretches left are wanted, else stretches that moved */
	size_t piece;
	size_t page; /* in the piece */
};

/* A walk that begins at the old address @from. */
static struct walk walk_from(const struct ferry_compact *compact, bool left,
			     uintptr_t from)
{
	struct walk w = {
		.compact = compact,
		.some = has_left(compact),
		.left = left,
		.piece = ferry__layout_after(&compact->layout, from,
					     ferry__page_size),
	};
	const struct ferry__piece *p = &compact->layout.pieces[w.piece];

	if (w.piece < compact->layout.len && p->from < from)
		w.page = (from - p->from) / ferry__page_size;
	return w;
}

static bool wanted(const struct walk *w, const struct ferry__piece *p,
		   size_t page)
{
	return (w->some && ferry__compact_left_bit(
				   w->compact,
				   p->to + page * ferry__page_size)) == w->left;
}

/* The next stretch within one piece. */
static bool walk_stretch(struct walk *w, struct ferry_relocation *ret)
{
	const struct ferry__layout *l = &w->compact->layout;
	const struct ferry__piece *p;
	size_t first;

	for (; w->piece < l->len; w->piece++, w->page = 0) {
		p = &l->pieces[w->piece];
		while (w->page < p->pages && !wanted(w, p, w->page))
			w->page++;
		first = w->page;
		while (w->page < p->pages && wanted(w, p, w->page))
			w->page++;
		if (first == w->page)
			continue;
		ret->from = (void *)(p->from + first * ferry__page_size);
		ret->to = (void *)(p->to + first * ferry__page_size);
		ret->len = (w->page - first) * ferry__page_size;
		return true;
	}
	return false;
}

static bool continues(const struct ferry_relocation *run,
		      const struct ferry_relocation *next)
{
	return (char *)run->from + run->len == next->from &&
	       (char *)run->to + run->len == next->to;
}

/* The first run of the walk: stretches that adjoin on both sides are one. */
static bool first_run(const struct ferry_compact *compact, bool left,
		      const void *from, struct ferry_relocation *ret)
{
	struct walk w = walk_from(compact, left, (uintptr_t)from);
	struct ferry_relocation next;

	if (dropped(compact) || (left && !w.some) || !walk_stretch(&w, ret))
		return false;
	while (walk_stretch(&w, &next) && continues(ret, &next))
		ret->len += next.len;
	return true;
}

bool ferry_compact_relocation(const struct ferry_compact *compact,
			      const void *from, struct ferry_relocation *ret)
{
	return first_run(compact, false, from, ret);
}

bool ferry_compact_left(const struct ferry_compact *compact, const void *from,
			struct ferry_range *ret)
{
	struct ferry_relocation run;

	if (!first_run(compact, true, from, &run))
		return false;
	ret->addr = run.from;
	ret->len = run.len;
	return true;
}

/* --- counters ------------------------------------------------------------- */

static uint64_t get(const uint64_t *count)
{
	return __atomic_load_n(count, __ATOMIC_RELAXED);
}

static void fill(const struct ferry_compact *compact,
		 struct ferry_compact_result *res)
{
	const struct ferry__compact_counts *c = &compact->counts;
	int phase = ferry__compact_phase(compact);

	res->phase = phase == FERRY__COMPACT_DROPPED
			     ? FERRY_COMPACT_PLANNED
			     : (enum ferry_compact_phase)phase;
	res->planned = compact->bytes;
	res->moved = get(&c->moved);
	res->copied = get(&c->copied);
	res->huge_moved = get(&c->huge);
	res->left = get(&c->left);
	res->pinned = compact->pinned;
	res->runs = compact->layout.runs;
	res->calls = get(&c->calls);
	res->faults = get(&c->faults);
	res->busy_retries = get(&c->busy_retries);
	res->error = __atomic_load_n(&c->error, __ATOMIC_RELAXED);
	res->reason = (enum ferry_reason)__atomic_load_n(&c->reason,
							 __ATOMIC_RELAXED);
	/* Written before the phase became one of these (C4). */
	if (phase == FERRY_COMPACT_DONE || phase == FERRY_COMPACT_PARTIAL) {
		res->released = compact->released;
		res->collapsed = compact->collapsed;
	}
}

int ferry_compact_progress(const struct ferry_compact *compact,
			   struct ferry_compact_result *ret)
{
	struct ferry_compact_result res = { 0 };
	size_t size;

	if (!compact || !ret || ret->size < sizeof(ret->size))
		return -EINVAL;
	fill(compact, &res);
	size = ret->size;
	memcpy(ret, &res, size < sizeof(res) ? size : sizeof(res));
	ret->size = size;
	return 0;
}
