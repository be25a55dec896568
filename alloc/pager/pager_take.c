/* SPDX-License-Identifier: MIT */
/*
 * Out to limbo: pages that are resident and in memory move to their shadow
 * addresses, run by run. A racing writer either wrote before, and its data is
 * taken along, or faults and gets the page back.
 */
#include <sys/mman.h>

#include "alloc/pager/pager-internal.h"
#include "alloc/pager/probe.h"
#include "uffd/uapi.h"

#define MOVE_WAIT_NS 1000000u

struct batch {
	struct ferry__pager *pager;
	struct ferry__pager_region *region;
	size_t page, n;
	uint64_t bits; /* pages that are claimed */
};

static uint64_t claim(struct batch *b, uint64_t wish)
{
	uint64_t got = 0, w, *word;
	size_t i;

	for (i = 0; i < b->n; i++) {
		if (!(wish >> i & 1))
			continue;
		word = &b->region->words[b->page + i];
		w = ferry__word_load(word);
		if (ferry__word_state(w) == FERRY__WORD_RESIDENT &&
		    !(w & FERRY__WORD_PIN) &&
		    ferry__word_claim(word, w, FERRY__WORD_OUTGOING))
			got |= 1ull << i;
	}
	return got;
}

/* Moves the pages [first, end) of the batch; true: all of them moved. */
static bool move(struct batch *b, size_t first, size_t end)
{
	struct ferry_move_params params = FERRY_INIT(struct ferry_move_params);
	struct ferry_move_result res = FERRY_INIT(struct ferry_move_result);
	size_t len = (end - first) * ferry__page_size;

	params.flags = FERRY_MOVE_NATIVE | FERRY_MOVE_SOLE | FERRY_MOVE_HOLES;
	params.busy = FERRY_BUSY_SKIP;
	params.deadline_ns = MOVE_WAIT_NS;
	ferry_move(b->pager->uffd,
		   (void *)ferry__limbo_at(b->region, b->page + first),
		   (void *)ferry__page_at(b->region, b->page + first), len,
		   &params, &res);
	if (res.skipped) {
		b->region->blocks[b->page / FERRY__BLOCK_PAGES].shared = 1;
		ferry__pager_count(b->pager, busy,
				   res.skipped / ferry__page_size);
		FERRY__PROBE2(page_busy,
			      ferry__page_at(b->region, b->page + first),
			      res.skipped / ferry__page_size);
	}
	return res.moved == len;
}

static bool move_runs(struct batch *b)
{
	bool all = true;
	size_t i = 0, from;

	while (i < b->n) {
		while (i < b->n && !(b->bits >> i & 1))
			i++;
		from = i;
		while (i < b->n && b->bits >> i & 1)
			i++;
		if (i > from && !move(b, from, i))
			all = false;
	}
	return all;
}

static void settle(struct batch *b, size_t i, bool moved)
{
	uint64_t *word = &b->region->words[b->page + i];
	uintptr_t addr = ferry__page_at(b->region, b->page + i);

	if (!ferry__word_finish(word, moved ? FERRY__WORD_LIMBO
					    : FERRY__WORD_RESIDENT))
		return;
	if (moved)
		ferry__pager_bring(b->pager, b->region, b->page + i, 1, false,
				   &b->pager->look);
	ferry__pager_wake(b->pager, addr);
}

/*
 * Pages that a fork has shared are made their owner's again, as a write by it
 * would: those that were found busy before (F5).
 */
static void make_exclusive(struct batch *b, uint64_t present)
{
	struct ferry__pager_block *block =
		&b->region->blocks[b->page / FERRY__BLOCK_PAGES];
	size_t i = 0, from;

	if (!block->shared)
		return;
	block->shared = 0;
	while (i < b->n) {
		while (i < b->n && !(present >> i & 1))
			i++;
		from = i;
		while (i < b->n && present >> i & 1)
			i++;
		if (i > from)
			ferry__sys->madvise((void *)ferry__page_at(
						    b->region, b->page + from),
					    (i - from) * ferry__page_size,
					    FERRY__MADV_POPULATE_WRITE);
	}
}

/* Which pages did move is not guessed: a failure is the system's, and passes. */
static uint64_t in_limbo(struct batch *b)
{
	uint64_t bits;

	while (ferry__pager_present(b->pager,
				    ferry__limbo_at(b->region, b->page), b->n,
				    true, &bits))
		ferry__sys->sleep_ns(MOVE_WAIT_NS);
	return bits;
}

uint64_t ferry__pager_take(struct ferry__pager *pager,
			   struct ferry__pager_region *region, size_t page,
			   size_t n, uint64_t only)
{
	struct batch b = { pager, region, page, n, 0 };
	uint64_t present, moved = 0;
	size_t i;

	if (ferry__pager_present(pager, ferry__page_at(region, page), n, false,
				 &present))
		return 0;
	present &= only;
	if (!present ||
	    ferry__region_register(pager, region, page * ferry__page_size,
				   n * ferry__page_size))
		return 0;
	make_exclusive(&b, present);
	b.bits = claim(&b, present);
	if (!b.bits)
		return 0;
	if (move_runs(&b))
		moved = b.bits;
	else
		moved = in_limbo(&b);
	moved &= b.bits;
	ferry__pager_add(&pager->limbo, (uint64_t)__builtin_popcountll(moved));
	FERRY__PROBE2(page_out, ferry__page_at(region, page), moved);
	for (i = 0; i < n; i++)
		if (b.bits >> i & 1)
			settle(&b, i, moved >> i & 1);
	return moved;
}
