/* SPDX-License-Identifier: MIT */
/*
 * A child's memory before its pager serves it, or without one: what is out is
 * written where it belongs, and what is there already is made of it what the
 * words say.
 */
#include <string.h>
#include <sys/mman.h>

#include "alloc/pager/pager-internal.h"
#include "alloc/pager/probe.h"
#include "uffd/pagemap.h"

/* Also when it is swapped out; @pagemap may be -1. */
static bool is_present(int pagemap, void *at)
{
	unsigned char there = 0;
	uint64_t word;

	if (ferry__pagemap_read(pagemap, (uintptr_t)at, 1, &word) == 1)
		return ferry__pagemap_occupied(word);
	return !ferry__sys->mincore(at, ferry__page_size, &there) && there & 1;
}

/* The page is here: the copy goes. */
static void settle(struct ferry__pager *pager, struct ferry__pager_region *r,
		   size_t page)
{
	uint64_t w = r->words[page];

	if (ferry__word_state(w) == FERRY__WORD_LIMBO) {
		ferry__pager_free_limbo(r, page, 1);
		pager->limbo--;
	} else {
		ferry__pager_drop_stored(pager, w);
		pager->stored -= ferry__word_state(w) == FERRY__WORD_STORED;
	}
	r->words[page] = w & FERRY__WORD_KEPT;
}

static bool is_out(uint64_t word)
{
	return ferry__word_state(word) == FERRY__WORD_LIMBO ||
	       ferry__word_state(word) == FERRY__WORD_STORED;
}

/* To @to, any memory. What cannot be had is lost. */
static void fetch(struct ferry__pager *pager, struct ferry__pager_region *r,
		  size_t page, void *to)
{
	uint64_t w = r->words[page];

	if (ferry__word_state(w) == FERRY__WORD_LIMBO)
		memcpy(to, (void *)ferry__limbo_at(r, page), ferry__page_size);
	else
		ferry__pager_get_surely(pager, w, ferry__page_at(r, page), to);
}

/*
 * Memory is ordinary here: what is out is written where it belongs, unless
 * the parent has copied it there and it may have changed since.
 */
static void write_page(struct ferry__pager *pager, int pagemap,
		       struct ferry__pager_region *r, size_t page)
{
	void *at = (void *)ferry__page_at(r, page);
	uint64_t w = r->words[page];

	if (is_out(w) && !is_present(pagemap, at))
		fetch(pager, r, page, at);
	if (is_out(w) || ferry__word_state(w) == FERRY__WORD_SPENT)
		settle(pager, r, page);
}

void ferry__pager_write_pages(struct ferry__pager *pager)
{
	struct ferry__pager_region *r = ferry__region_first(pager);
	int pagemap = ferry__sys->open("/proc/self/pagemap", 0);
	size_t page, end;

	for (; r; r = ferry__region_next(r)) {
		end = r->covered / ferry__page_size;
		for (page = 0; page < end; page++)
			if (ferry__region_out(r, page))
				write_page(pager, pagemap, r, page);
		ferry__region_forget(r);
	}
	pager->spent = false;
	if (pagemap >= 0)
		ferry__sys->close(pagemap);
}

/* --- what is out and present all the same -------------------------------- */

static void each_present(struct ferry__pager *pager,
			 struct ferry__pager_region *r, size_t page,
			 void (*fn)(struct ferry__pager *,
				    struct ferry__pager_region *, size_t))
{
	const size_t n = FERRY__UNIT_SIZE / ferry__page_size;
	unsigned char vec[FERRY__UNIT_SIZE / 4096];
	size_t i;

	if (ferry__sys->mincore((void *)ferry__page_at(r, page),
				FERRY__UNIT_SIZE, vec))
		return;
	for (i = 0; i < n; i++)
		if (vec[i] & 1 && is_out(r->words[page + i]))
			fn(pager, r, page + i);
}

static void each(struct ferry__pager *pager,
		 void (*fn)(struct ferry__pager *, struct ferry__pager_region *,
			    size_t))
{
	struct ferry__pager_region *r = ferry__region_first(pager);
	const size_t n = FERRY__UNIT_SIZE / ferry__page_size;
	size_t page, end;

	for (; r; r = ferry__region_next(r)) {
		end = r->covered / ferry__page_size;
		for (page = 0; page < end; page += n)
			if (ferry__region_out(r, page))
				each_present(pager, r, page, fn);
	}
}

void ferry__pager_settle_given(struct ferry__pager *pager)
{
	const struct ferry__pager_bell *bell = pager->bell;
	struct ferry__pager_region *r;
	size_t i, page;

	if (bell->n > ferry__bell_room()) {
		each(pager, settle);
		return;
	}
	for (i = 0; i < bell->n; i++) {
		r = ferry__region_find(pager, (uintptr_t)bell->given[i]);
		page = ((uintptr_t)bell->given[i] - r->addr) / ferry__page_size;
		/* It may be named twice. */
		if (is_out(r->words[page]))
			settle(pager, r, page);
	}
}

/*
 * The C library touches heap memory in the child before any handler runs. A
 * page that was out reads as zero then, if nobody serves it. What it should
 * have held is put under what was written there since: zeroes are taken for
 * not written.
 */
static void mend_page(struct ferry__pager *pager, struct ferry__pager_region *r,
		      size_t page)
{
	unsigned char *at = (unsigned char *)ferry__page_at(r, page);
	const unsigned char *was = pager->look.staging;
	size_t i;

	fetch(pager, r, page, pager->look.staging);
	for (i = 0; i < ferry__page_size; i++)
		if (!at[i])
			at[i] = was[i];
	FERRY__PROBE5(page_back, at, 1, FERRY__BACK_MENDED,
		      ferry__word_tier(r->words[page]), 0);
	settle(pager, r, page);
}

void ferry__pager_mend(struct ferry__pager *pager)
{
	each(pager, mend_page);
}
