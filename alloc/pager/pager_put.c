/* SPDX-License-Identifier: MIT */
/*
 * From limbo into stores, and from one store to the next as pages grow older.
 *
 * A page is offered to the tiers in order, to those whose time has come. One
 * that none of them wants goes back to its place and is left alone for longer
 * and longer (RAW). A tier that is full or broken is passed over; a page that
 * then has nowhere to go stays in limbo, where it costs what it did before.
 */
#include <sys/mman.h>

#include "alloc/pager/pager-internal.h"

#define FULL_WAIT_NS	 1000000000u
#define FULL_WAIT_MAX_NS 60000000000u

struct batch {
	struct ferry__pager *pager;
	struct ferry__pager_region *region;
	size_t page, n; /* of the block */
	uint64_t age;
	uint64_t now;
	size_t index[FERRY__BLOCK_PAGES]; /* claimed pages within it */
	size_t claimed;
	uint64_t place[FERRY__BLOCK_PAGES]; /* by claimed page; 0: none yet */
	bool refused[FERRY__BLOCK_PAGES];   /* as not worth keeping */
	ferry__store_handle handles[FERRY__BLOCK_PAGES];
	int errors[FERRY__BLOCK_PAGES];
};

void ferry__pager_free_limbo(struct ferry__pager_region *region, size_t page,
			     uint64_t bits)
{
	size_t i = 0, from;

	while (i < FERRY__BLOCK_PAGES && bits >> i) {
		while (!(bits >> i & 1))
			i++;
		from = i;
		while (i < FERRY__BLOCK_PAGES && bits >> i & 1)
			i++;
		ferry__sys->madvise(
			(void *)ferry__limbo_at(region, page + from),
			(i - from) * ferry__page_size, MADV_DONTNEED);
	}
}

/* --- tiers --------------------------------------------------------------- */

static bool tier_takes(const struct ferry__pager_tier_state *tier, uint64_t age,
		       uint64_t now)
{
	return !tier->broken && now >= tier->full_until &&
	       age >= tier->after_ns;
}

static void tier_is_full(struct ferry__pager_tier_state *tier, uint64_t now)
{
	uint64_t wait = tier->full_wait ? tier->full_wait * 2 : FULL_WAIT_NS;

	tier->full_wait = wait < FULL_WAIT_MAX_NS ? wait : FULL_WAIT_MAX_NS;
	tier->full_until = now + tier->full_wait;
}

static void note_put(struct ferry__pager_tier_state *tier, int error,
		     uint64_t now)
{
	if (!error)
		tier->full_wait = 0;
	else if (error == -ENOSPC)
		tier_is_full(tier, now);
	else if (error != -E2BIG)
		tier->broken = true;
}

static void *limbo_page(const struct batch *b, size_t i)
{
	return (void *)ferry__limbo_at(b->region, b->page + b->index[i]);
}

static uintptr_t address(const struct batch *b, size_t i)
{
	return ferry__page_at(b->region, b->page + b->index[i]);
}

static void put_many(struct batch *b, struct ferry__store *store,
		     const size_t *which, size_t n)
{
	const void *pages[FERRY__BLOCK_PAGES];
	uint64_t tags[FERRY__BLOCK_PAGES];
	size_t k;

	for (k = 0; k < n; k++) {
		pages[k] = limbo_page(b, which[k]);
		tags[k] = address(b, which[k]);
	}
	store->ops->put_many(store, pages, tags, n, b->handles, b->errors);
}

/* Offers the pages that have no place yet to one tier. */
static void offer(struct batch *b, size_t t)
{
	struct ferry__pager_tier_state *tier = &b->pager->tiers[t];
	struct ferry__store *store = tier->store;
	size_t which[FERRY__BLOCK_PAGES], n = 0, k;

	for (k = 0; k < b->claimed; k++)
		if (!b->place[k])
			which[n++] = k;
	if (n && store->ops->put_many)
		put_many(b, store, which, n);
	for (k = 0; k < n; k++) {
		if (!store->ops->put_many)
			b->errors[k] =
				tier_takes(tier, b->age, b->now)
					? store->ops->put(
						  store,
						  limbo_page(b, which[k]),
						  address(b, which[k]),
						  &b->handles[k])
					: -ENOSPC;
		if (!b->errors[k])
			b->place[which[k]] =
				ferry__word_place(t, b->handles[k]) |
				FERRY__WORD_STORED;
		else if (b->errors[k] == -E2BIG)
			b->refused[which[k]] = true;
		if (tier_takes(tier, b->age, b->now))
			note_put(tier, b->errors[k], b->now);
	}
}

/* --- a block ------------------------------------------------------------- */

/*
 * Owned pages are scrubbed of what is dead; one in which nothing lives is
 * dropped at once.
 */
static bool scrub(struct batch *b, size_t page)
{
	struct ferry__pager *pager = b->pager;
	uint64_t *word = &b->region->words[page];
	uintptr_t addr = ferry__page_at(b->region, page);

	if (!pager->params.scrub ||
	    pager->params.scrub(pager->params.arg, addr,
				(void *)ferry__limbo_at(b->region, page)))
		return false;
	ferry__pager_free_limbo(b->region, page, 1);
	ferry__pager_add(&pager->limbo, -1ull);
	ferry__pager_count(pager, pages_dropped, 1);
	if (ferry__word_finish(word, FERRY__WORD_RESIDENT))
		ferry__pager_wake(pager, addr);
	return true;
}

static void claim(struct batch *b, uint64_t only)
{
	uint64_t w, *word;
	size_t i;

	for (i = 0; i < b->n; i++) {
		if (!(only >> i & 1))
			continue;
		word = &b->region->words[b->page + i];
		w = ferry__word_load(word);
		if (ferry__word_state(w) != FERRY__WORD_LIMBO ||
		    !ferry__word_claim(word, w,
				       FERRY__WORD_STORING |
					       FERRY__WORD_IN_LIMBO))
			continue;
		if (scrub(b, b->page + i))
			continue;
		b->place[b->claimed] = 0;
		b->refused[b->claimed] = false;
		b->index[b->claimed++] = i;
	}
}

static void bring_now(struct batch *b, size_t i)
{
	ferry__pager_bring(b->pager, b->region, b->page + b->index[i], 1, false,
			   &b->pager->look);
	ferry__pager_wake(b->pager, address(b, i));
}

/* Back to its place, to be left alone there. */
static void settle_raw(struct batch *b, size_t i)
{
	uint64_t *word = &b->region->words[b->page + b->index[i]];

	ferry__word_finish(word, FERRY__WORD_LIMBO);
	bring_now(b, i);
	ferry__word_claim(word, FERRY__WORD_RESIDENT,
			  FERRY__WORD_RESIDENT | FERRY__WORD_RAW);
}

/*
 * One that was touched while it was being put goes back, and its copy is
 * dropped. True: it is stored, and its page in limbo free.
 */
static bool settle_stored(struct batch *b, size_t i)
{
	uint64_t *word = &b->region->words[b->page + b->index[i]];
	const uint64_t mine = FERRY__WORD_STORING | FERRY__WORD_IN_LIMBO;

	if (!ferry__word_claim(word, mine, b->place[i])) {
		ferry__pager_drop_stored(b->pager, b->place[i]);
		ferry__word_finish(word, FERRY__WORD_LIMBO);
		bring_now(b, i);
		return false;
	}
	ferry__pager_add(&b->pager->stored, 1);
	ferry__pager_add(&b->pager->limbo, -1ull);
	ferry__pager_count(b->pager, pages_out, 1);
	return true;
}

/* Is there a tier that would have it later? */
static bool has_hope(const struct batch *b, size_t i)
{
	size_t t;

	for (t = 0; t < b->pager->n_tiers; t++)
		if (!b->pager->tiers[t].broken &&
		    (!b->refused[i] || b->pager->tiers[t].after_ns > b->age))
			return true;
	return false;
}

static bool settle(struct batch *b)
{
	uint64_t freed = 0;
	bool left = false;
	size_t i;

	for (i = 0; i < b->claimed; i++) {
		if (b->place[i]) {
			if (settle_stored(b, i))
				freed |= 1ull << b->index[i];
		} else if (has_hope(b, i)) {
			left = true;
			if (ferry__word_finish(
				    &b->region->words[b->page + b->index[i]],
				    FERRY__WORD_LIMBO))
				bring_now(b, i);
		} else {
			settle_raw(b, i);
		}
	}
	ferry__pager_free_limbo(b->region, b->page, freed);
	return left;
}

bool ferry__pager_put(struct ferry__pager *pager,
		      struct ferry__pager_region *region, size_t page, size_t n,
		      uint64_t only, uint64_t age)
{
	struct batch b;
	size_t t;

	b.pager = pager;
	b.region = region;
	b.page = page;
	b.n = n;
	b.age = age;
	b.now = ferry__sys->now_ns();
	b.claimed = 0;
	claim(&b, only);
	if (!b.claimed)
		return false;
	for (t = 0; t < pager->n_tiers; t++)
		if (tier_takes(&pager->tiers[t], age, b.now))
			offer(&b, t);
	return settle(&b);
}

/* --- older and older ----------------------------------------------------- */

static size_t tier_for(struct ferry__pager *pager, size_t from, uint64_t age,
		       uint64_t now)
{
	size_t t = pager->n_tiers;

	while (--t > from)
		if (tier_takes(&pager->tiers[t], age, now))
			return t;
	return from;
}

/* From one store to another; it stays where it is if that fails. */
static void demote_page(struct ferry__pager *pager,
			struct ferry__pager_region *region, size_t page,
			uint64_t word, size_t to, uint64_t now)
{
	struct ferry__store *store = pager->tiers[to].store;
	uint64_t *w = &region->words[page], new = word;
	uintptr_t addr = ferry__page_at(region, page);
	ferry__store_handle handle;
	int r;

	r = ferry__pager_get(pager, word, addr, pager->look.staging);
	if (!r) {
		r = store->ops->put(store, pager->look.staging, addr, &handle);
		note_put(&pager->tiers[to], r, now);
	}
	if (!r)
		new = ferry__word_place(to, handle) | FERRY__WORD_STORED |
		      (word & FERRY__WORD_KEPT);
	if (new != word)
		ferry__pager_drop_stored(pager, word);
	if (ferry__word_finish(w, new)) {
		ferry__pager_bring(pager, region, page, 1, false, &pager->look);
		ferry__pager_wake(pager, addr);
	}
}

void ferry__pager_demote(struct ferry__pager *pager,
			 struct ferry__pager_region *region, size_t page,
			 size_t n, uint64_t age)
{
	uint64_t now = ferry__sys->now_ns(), w;
	size_t i, from, to;

	for (i = page; i < page + n; i++) {
		w = ferry__word_load(&region->words[i]);
		if (ferry__word_state(w) != FERRY__WORD_STORED)
			continue;
		from = ferry__word_tier(w);
		to = tier_for(pager, from, age, now);
		if (to != from &&
		    ferry__word_claim(&region->words[i], w,
				      (w & ~FERRY__WORD_STATE) |
					      FERRY__WORD_STORING |
					      FERRY__WORD_IN_STORE))
			demote_page(pager, region, i, w, to, now);
	}
}

/* --- after a fork -------------------------------------------------------- */

static void drop_spent(struct ferry__pager *pager,
		       struct ferry__pager_region *region, size_t page)
{
	uint64_t *word = &region->words[page], w = ferry__word_load(word);

	if (ferry__word_state(w) == FERRY__WORD_SPENT &&
	    ferry__word_claim(word, w, w & FERRY__WORD_KEPT))
		ferry__pager_drop_stored(pager, w);
}

void ferry__pager_sweep_spent(struct ferry__pager *pager)
{
	struct ferry__pager_region *r = ferry__region_first(pager);
	size_t page, end;

	if (!__atomic_exchange_n(&pager->spent, false, __ATOMIC_RELAXED))
		return;
	for (; r; r = ferry__region_next(r)) {
		end = ferry__region_used(r) / ferry__page_size;
		for (page = 0; page < end; page++)
			if (ferry__region_out(r, page))
				drop_spent(pager, r, page);
	}
}
