/* SPDX-License-Identifier: MIT */
/*
 * Pages that hold no live object (P7). They are taken to limbo; there each is
 * owned, looked at by the host once more, and dropped if nothing lives in it.
 * Whoever wrote to it in between wrote before the move, and then the second
 * answer knows of the object; or faults, and waits until it is decided.
 */
#include "alloc/pager/pager-internal.h"
#include "alloc/pager/probe.h"

static uint64_t ask_empty(struct ferry__pager *pager,
			  struct ferry__pager_region *region, size_t page,
			  size_t n)
{
	uint64_t bits = 0;

	pager->params.empty_pages(pager->params.arg,
				  ferry__page_at(region, page),
				  n * ferry__page_size, &bits);
	return bits;
}

static bool is_empty(struct ferry__pager *pager,
		     struct ferry__pager_region *region, size_t page,
		     void *copy)
{
	if (pager->params.scrub)
		return !pager->params.scrub(pager->params.arg,
					    ferry__page_at(region, page), copy);
	return ask_empty(pager, region, page, 1) & 1;
}

static void put_back(struct ferry__pager *pager,
		     struct ferry__pager_region *region, size_t page,
		     uint64_t word)
{
	if (ferry__word_finish(&region->words[page], word)) {
		ferry__pager_bring(pager, region, page, 1, false, &pager->look);
		ferry__pager_wake(pager, ferry__page_at(region, page));
	}
}

static void drop(struct ferry__pager *pager, struct ferry__pager_region *region,
		 size_t page, uint64_t word)
{
	bool stored = ferry__word_state(word) == FERRY__WORD_STORED;

	if (stored)
		ferry__pager_drop_stored(pager, word);
	else
		ferry__pager_free_limbo(region, page, 1);
	ferry__pager_add(stored ? &pager->stored : &pager->limbo, -1ull);
	ferry__pager_count(pager, pages_dropped, 1);
	FERRY__PROBE1(page_dropped, ferry__page_at(region, page));
	if (ferry__word_finish(&region->words[page], word & FERRY__WORD_KEPT))
		ferry__pager_wake(pager, ferry__page_at(region, page));
}

/* True: it was dropped. */
static bool try_drop(struct ferry__pager *pager,
		     struct ferry__pager_region *region, size_t page)
{
	uint64_t *word = &region->words[page], w = ferry__word_load(word);
	bool limbo = ferry__word_state(w) == FERRY__WORD_LIMBO;

	if (!limbo && ferry__word_state(w) != FERRY__WORD_STORED)
		return false;
	if (!ferry__word_claim(word, w,
			       (w & ~FERRY__WORD_STATE) | FERRY__WORD_INCOMING |
				       (limbo ? FERRY__WORD_IN_LIMBO
					      : FERRY__WORD_IN_STORE)))
		return false;
	if (!is_empty(pager, region, page,
		      limbo ? (void *)ferry__limbo_at(region, page) : NULL)) {
		put_back(pager, region, page, w);
		return false;
	}
	drop(pager, region, page, w);
	return true;
}

size_t ferry__pager_drop_empty(struct ferry__pager *pager,
			       struct ferry__pager_region *region, size_t page,
			       size_t n)
{
	uint64_t empty;
	size_t i, dropped = 0;

	if (!pager->params.empty_pages)
		return 0;
	empty = ask_empty(pager, region, page, n);
	if (!empty)
		return 0;
	ferry__pager_take(pager, region, page, n, empty);
	for (i = 0; i < n; i++)
		if (empty >> i & 1)
			dropped += try_drop(pager, region, page + i);
	return dropped;
}
