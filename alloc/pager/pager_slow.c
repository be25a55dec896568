/* SPDX-License-Identifier: MIT */
/*
 * Slower memory before stores: pages that nobody came for in limbo go to a
 * node of the next slower tier, and back to their place, where they are used
 * without a fault. They are tried again later: what is touched in limbo then
 * comes up to faster memory, what is not goes into a store.
 *
 * All but ferry__slow_promote() is the looking thread's, under work. Bits of a
 * block say which pages it has moved down; they are hints, and where a page
 * lies the kernel is asked.
 */
#include "alloc/pager/pager-internal.h"
#include "alloc/pager/probe.h"
#include "uffd/tier.h"

#define FULL_WAIT_NS 1000000000u

static uint64_t in_state(const struct ferry__pager_place *p,
			 enum ferry__word_state state)
{
	uint64_t bits = 0;
	size_t i;

	for (i = 0; i < p->n; i++)
		if (ferry__word_state(ferry__word_load(
			    &p->region->words[p->page + i])) == state)
			bits |= 1ull << i;
	return bits;
}

/* Pages of a block, of those at @addr, that are to change their tier. */
struct group {
	size_t n;
	size_t index[FERRY__BLOCK_PAGES];
	int node[FERRY__BLOCK_PAGES]; /* afterwards; negative: not there */
	bool moved[FERRY__BLOCK_PAGES];
	struct ferry__tier_counts counts;
};

/* False: nothing can be moved here, now and later. */
static bool shift(struct ferry__pager *pager, bool slower, uintptr_t addr,
		  uint64_t bits, struct group *g)
{
	void *pages[FERRY__BLOCK_PAGES];
	size_t i;
	int r;

	*g = (struct group){ 0 };
	for (i = 0; i < FERRY__BLOCK_PAGES; i++) {
		if (!(bits >> i & 1))
			continue;
		pages[g->n] = (void *)(addr + i * ferry__page_size);
		g->index[g->n++] = i;
	}
	if (!g->n)
		return true;
	r = ferry__tier_shift(pager->topology, slower, pages, g->n, g->node,
			      g->moved, &g->counts);
	if (r == 0)
		return true;
	/* A filter of system calls, a cpuset: it will not be otherwise. */
	__atomic_store_n(&pager->slow_error, r, __ATOMIC_RELAXED);
	return false;
}

static bool is_on(const struct ferry__pager *pager)
{
	return pager->topology &&
	       !__atomic_load_n(&pager->slow_error, __ATOMIC_RELAXED);
}

static void bring(struct ferry__pager_place *p, uint64_t bits)
{
	size_t i = 0, from;

	/* What does not come stays in limbo, and is stored. */
	while (ferry__next_run(bits, &i, &from))
		ferry__pager_bring(p->pager, p->region, p->page + from,
				   i - from, true, &p->pager->look);
}

/* Less while memory is short. */
static uint64_t slow_for(const struct ferry__pager *pager)
{
	return ferry__doubled(pager->params.slow_for_ns, 0) >>
	       pager->policy.haste;
}

void ferry__slow_sink(struct ferry__pager_place *p)
{
	struct ferry__pager *pager = p->pager;
	struct ferry__pager_block *b = p->block;
	uint64_t sunk = 0;
	struct group g;
	size_t i;

	if (!is_on(pager) || p->now < pager->slow_full_until)
		return;
	if (!shift(pager, true, ferry__limbo_at(p->region, p->page),
		   in_state(p, FERRY__WORD_LIMBO), &g))
		return;
	if (g.counts.full)
		pager->slow_full_until = p->now + FULL_WAIT_NS;
	for (i = 0; i < g.n; i++)
		if (g.moved[i])
			sunk |= 1ull << g.index[i];
	if (!sunk)
		return;
	bring(p, sunk);
	b->slow |= sunk;
	/* Late ones are not waited for. */
	if (p->now >= b->slow_due)
		b->slow_due = p->now + slow_for(pager);
	ferry__pager_count(pager, demoted, g.counts.moved);
	FERRY__PROBE2(pages_demoted, ferry__page_at(p->region, p->page), sunk);
}

/* Comes what of @bits is here and on slower memory. */
static void raise_pages(struct ferry__pager_place *p, uint64_t bits)
{
	struct ferry__pager *pager = p->pager;
	struct group g;
	size_t i;

	if (!bits || !is_on(pager) ||
	    !shift(pager, false, ferry__page_at(p->region, p->page),
		   bits & in_state(p, FERRY__WORD_RESIDENT), &g))
		return;
	for (i = 0; i < g.n; i++)
		if (!ferry__tier_beyond(pager->topology, false, g.node[i]))
			p->block->slow &= ~(1ull << g.index[i]);
	ferry__pager_count(pager, promoted, g.counts.moved);
	if (g.counts.moved)
		FERRY__PROBE2(pages_promoted,
			      ferry__page_at(p->region, p->page),
			      g.counts.moved);
}

void ferry__slow_raise_touched(struct ferry__pager_place *p)
{
	struct ferry__pager_block *b = p->block;
	uint64_t tried = b->tried;

	b->tried = 0;
	raise_pages(p, tried & ~in_state(p, FERRY__WORD_LIMBO));
}

void ferry__slow_raise_all(struct ferry__pager_place *p)
{
	p->block->tried = 0;
	raise_pages(p, p->block->slow);
}

void ferry__slow_note_taken(struct ferry__pager_place *p, uint64_t taken)
{
	p->block->tried |= p->block->slow & taken;
}

void ferry__slow_note_stored(struct ferry__pager_place *p)
{
	if (p->block->slow)
		p->block->slow &= ~in_state(p, FERRY__WORD_STORED);
}

void ferry__slow_promote(struct ferry__pager *pager,
			 struct ferry__pager_region *region, size_t page,
			 size_t end)
{
	struct group g;
	size_t n;

	/* S1: who sees it on sees the topology. */
	if (ferry__pager_state(pager) != FERRY__PAGER_ON || !is_on(pager))
		return;
	for (; page < end; page += n) {
		n = end - page < FERRY__BLOCK_PAGES ? end - page
						    : FERRY__BLOCK_PAGES;
		if (!shift(pager, false, ferry__page_at(region, page),
			   ~0ull >> (FERRY__BLOCK_PAGES - n), &g))
			return;
		ferry__pager_count(pager, promoted, g.counts.moved);
	}
}
