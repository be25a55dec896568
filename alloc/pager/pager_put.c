/* SPDX-License-Identifier: MIT */
/*
 * From limbo into stores, and from one store to the next as pages grow older.
 *
 * Copies are put, not pages: a store may take milliseconds, and a word is
 * owned only while its page is copied. A word that is as it was when the copy
 * is in the store says that the page is, too: one that left limbo, or its
 * store, gets there again by the looking thread alone, which is the one that
 * puts. Of any other the copy is dropped.
 *
 * A page is offered to the tiers in order, to those whose time has come. One
 * that none of them wants goes back to its place and is left alone for longer
 * and longer (RAW). A tier that is full or broken is passed over; a page that
 * then has nowhere to go stays in limbo, where it costs what it did before.
 */
#include <string.h>
#include <sys/mman.h>

#include "alloc/pager/pager-internal.h"
#include "alloc/pager/probe.h"

#define FULL_WAIT_NS	 1000000000u
#define FULL_WAIT_MAX_NS 60000000000u

struct batch {
	struct ferry__pager *pager;
	struct ferry__pager_region *region;
	size_t page, n; /* of the block */
	uint64_t age;
	uint64_t now;
	size_t index[FERRY__BLOCK_PAGES]; /* within it, of pages copied */
	size_t copied;
	uint64_t was[FERRY__BLOCK_PAGES];   /* by page copied: its word */
	uint64_t place[FERRY__BLOCK_PAGES]; /* the same to be; 0: none yet */
	bool refused[FERRY__BLOCK_PAGES];   /* as not worth keeping */
	ferry__store_handle handles[FERRY__BLOCK_PAGES];
	int errors[FERRY__BLOCK_PAGES];
};

void ferry__pager_free_limbo(struct ferry__pager_region *region, size_t page,
			     uint64_t bits)
{
	size_t i = 0, from;

	while (ferry__next_run(bits, &i, &from))
		ferry__sys->madvise(
			(void *)ferry__limbo_at(region, page + from),
			(i - from) * ferry__page_size, MADV_DONTNEED);
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

/* Not the staging buffer: a page may have to come back meanwhile. */
static void *copy_of(const struct batch *b, size_t i)
{
	return b->pager->copies + i * ferry__page_size;
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
		pages[k] = copy_of(b, which[k]);
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

	for (k = 0; k < b->copied; k++)
		if (!b->place[k])
			which[n++] = k;
	if (n && store->ops->put_many)
		put_many(b, store, which, n);
	for (k = 0; k < n; k++) {
		if (!store->ops->put_many)
			b->errors[k] =
				tier_takes(tier, b->age, b->now)
					? store->ops->put(store,
							  copy_of(b, which[k]),
							  address(b, which[k]),
							  &b->handles[k])
					: -ENOSPC;
		if (!b->errors[k])
			b->place[which[k]] =
				ferry__word_place(t, b->handles[k]) |
				FERRY__WORD_STORED;
		else if (b->errors[k] == -E2BIG)
			b->refused[which[k]] = true;
		if (!tier_takes(tier, b->age, b->now))
			continue;
		note_put(tier, b->errors[k], b->now);
		if (b->errors[k] && b->errors[k] != -E2BIG)
			FERRY__PROBE3(store_error, t, b->errors[k],
				      address(b, which[k]));
	}
}

/* --- copies -------------------------------------------------------------- */

static void begin(struct batch *b, struct ferry__pager *pager,
		  struct ferry__pager_region *region, size_t page, size_t n,
		  uint64_t age)
{
	b->pager = pager;
	b->region = region;
	b->page = page;
	b->n = n;
	b->age = age;
	b->now = ferry__sys->now_ns();
	b->copied = 0;
}

static uint64_t *word_at(const struct batch *b, size_t i)
{
	return &b->region->words[b->page + i];
}

static void bring_now(struct batch *b, size_t i)
{
	ferry__pager_bring(b->pager, b->region, b->page + i, 1, false,
			   &b->pager->look);
	ferry__pager_wake(b->pager, ferry__page_at(b->region, b->page + i));
}

/* The next copy is of page @i, whose word goes back to @was. */
static void add(struct batch *b, size_t i, uint64_t was)
{
	if (ferry__word_finish(word_at(b, i), was)) {
		bring_now(b, i);
		return;
	}
	b->was[b->copied] = was;
	b->place[b->copied] = 0;
	b->refused[b->copied] = false;
	b->index[b->copied++] = i;
}

/*
 * Owned pages are scrubbed of what is dead; one in which nothing lives is
 * dropped at once.
 */
static bool scrub(struct batch *b, size_t i)
{
	struct ferry__pager *pager = b->pager;
	uintptr_t addr = ferry__page_at(b->region, b->page + i);

	if (!pager->params.scrub ||
	    pager->params.scrub(
		    pager->params.arg, addr,
		    (void *)ferry__limbo_at(b->region, b->page + i)))
		return false;
	ferry__pager_free_limbo(b->region, b->page + i, 1);
	ferry__pager_add(&pager->limbo, -1ull);
	ferry__pager_count(pager, pages_dropped, 1);
	FERRY__PROBE1(page_dropped, addr);
	if (ferry__word_finish(word_at(b, i), FERRY__WORD_RESIDENT))
		ferry__pager_wake(pager, addr);
	return true;
}

static void copy_limbo(struct batch *b, uint64_t only)
{
	uint64_t w;
	size_t i;

	for (i = 0; i < b->n; i++) {
		if (!(only >> i & 1))
			continue;
		w = ferry__word_load(word_at(b, i));
		if (ferry__word_state(w) != FERRY__WORD_LIMBO ||
		    !ferry__word_claim(word_at(b, i), w,
				       FERRY__WORD_STORING |
					       FERRY__WORD_IN_LIMBO) ||
		    scrub(b, i))
			continue;
		memcpy(copy_of(b, b->copied),
		       (void *)ferry__limbo_at(b->region, b->page + i),
		       ferry__page_size);
		add(b, i, w);
	}
}

/* --- a block ------------------------------------------------------------- */

/* Back to its place, to be left alone there. */
static void settle_raw(struct batch *b, size_t k)
{
	bring_now(b, b->index[k]);
	ferry__word_claim(word_at(b, b->index[k]), FERRY__WORD_RESIDENT,
			  FERRY__WORD_RESIDENT | FERRY__WORD_RAW);
}

/* True: it is where the copy is, and no more where it was. */
static bool settle_place(struct batch *b, size_t k)
{
	if (ferry__word_claim(word_at(b, b->index[k]), b->was[k],
			      b->place[k] | (b->was[k] & FERRY__WORD_KEPT)))
		return true;
	ferry__pager_drop_stored(b->pager, b->place[k]);
	return false;
}

static bool settle_stored(struct batch *b, size_t k)
{
	if (!settle_place(b, k))
		return false;
	ferry__pager_add(&b->pager->stored, 1);
	ferry__pager_add(&b->pager->limbo, -1ull);
	ferry__pager_count(b->pager, pages_out, 1);
	FERRY__PROBE2(page_stored, address(b, k),
		      ferry__word_tier(b->place[k]));
	return true;
}

static bool is_resident(const struct batch *b, size_t k)
{
	return ferry__word_state(ferry__word_load(word_at(b, b->index[k]))) ==
	       FERRY__WORD_RESIDENT;
}

/* Is there a tier that would have it later? */
static bool has_hope(const struct batch *b, size_t k)
{
	size_t t;

	for (t = 0; t < b->pager->n_tiers; t++)
		if (!b->pager->tiers[t].broken &&
		    (!b->refused[k] || b->pager->tiers[t].after_ns > b->age))
			return true;
	return false;
}

static bool settle(struct batch *b)
{
	uint64_t freed = 0;
	bool left = false;
	size_t k;

	for (k = 0; k < b->copied; k++) {
		if (b->place[k] && settle_stored(b, k)) {
			freed |= 1ull << b->index[k];
		} else if (b->place[k] || has_hope(b, k)) {
			/* What is on its way back may yet fail to come. */
			left |= !is_resident(b, k);
		} else {
			settle_raw(b, k);
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

	begin(&b, pager, region, page, n, age);
	copy_limbo(&b, only);
	if (!b.copied)
		return false;
	for (t = 0; t < pager->n_tiers; t++)
		if (tier_takes(&pager->tiers[t], age, b.now))
			offer(&b, t);
	return settle(&b);
}

/* --- older and older ----------------------------------------------------- */

/* Of what is stored in tiers before @to. */
static void copy_stored(struct batch *b, size_t to)
{
	uint64_t w;
	size_t i;

	for (i = 0; i < b->n; i++) {
		w = ferry__word_load(word_at(b, i));
		if (ferry__word_state(w) != FERRY__WORD_STORED ||
		    ferry__word_tier(w) >= to ||
		    !ferry__word_claim(word_at(b, i), w,
				       (w & ~FERRY__WORD_STATE) |
					       FERRY__WORD_STORING |
					       FERRY__WORD_IN_STORE))
			continue;
		if (!ferry__pager_get(b->pager, w,
				      ferry__page_at(b->region, b->page + i),
				      copy_of(b, b->copied)))
			add(b, i, w);
		else if (ferry__word_finish(word_at(b, i), w))
			bring_now(b, i);
	}
}

/* From one store to another; what is not wanted there stays where it is. */
static bool settle_older(struct batch *b)
{
	bool all = true;
	size_t k;

	for (k = 0; k < b->copied; k++) {
		all = all && (b->place[k] || b->refused[k]);
		if (!b->place[k] || !settle_place(b, k))
			continue;
		ferry__pager_drop_stored(b->pager, b->was[k]);
		FERRY__PROBE3(page_older, address(b, k),
			      ferry__word_tier(b->was[k]),
			      ferry__word_tier(b->place[k]));
	}
	return all;
}

/* Of a tier that is not asked: would it be, if it had room? */
static bool is_due_but_full(const struct batch *b, size_t t)
{
	const struct ferry__pager_tier_state *tier = &b->pager->tiers[t];

	return !tier->broken && b->age >= tier->after_ns;
}

bool ferry__pager_demote(struct ferry__pager *pager,
			 struct ferry__pager_region *region, size_t page,
			 size_t n, uint64_t age)
{
	struct batch b;
	bool all = true;
	size_t to;

	begin(&b, pager, region, page, n, age);
	for (to = pager->n_tiers; to-- > 1;) {
		if (!tier_takes(&pager->tiers[to], age, b.now)) {
			all = all && !is_due_but_full(&b, to);
			continue;
		}
		b.copied = 0;
		copy_stored(&b, to);
		offer(&b, to);
		all = settle_older(&b) && all;
	}
	return all;
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
