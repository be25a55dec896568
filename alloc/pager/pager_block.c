/* SPDX-License-Identifier: MIT */
/*
 * One block of pages: when what is due, and what is done then.
 */
#include "alloc/pager/pager-internal.h"

#define MS     1000000ull
#define SECOND (1000 * MS)

#define MAX_BACKOFF 10
/* Before all pages of a block go to limbo, so many do, for a while. */
#define PROBES	    5
#define PROBE_SHARE 8 /* of the age */
/* Fresh memory is looked at after so much of the age. */
#define FRESH_SHARE 4
#define EMPTY_NS    SECOND
/* Of asks about empty pages that found none: 8 s, and 64 where it idles. */
#define EMPTY_BACKOFF	   3
#define EMPTY_BACKOFF_IDLE 6
#define RAW_NS		   (30 * SECOND)
/* Where the next store is full, so long until it is asked again. */
#define FULL_NS		SECOND
#define MAX_RAW_BACKOFF 8

/* --- blocks -------------------------------------------------------------- */

void ferry__pager_begin_work(struct ferry__pager *pager)
{
	ferry__pager_wait_fork(pager);
	pthread_mutex_lock(&pager->work);
}

void ferry__pager_end_work(struct ferry__pager *pager)
{
	pthread_mutex_unlock(&pager->work);
}

bool ferry__pager_may_take(const struct ferry__pager *pager)
{
	/* H1: relaxed, who holds asks this thread for all of it after that. */
	return !__atomic_load_n(&pager->held, __ATOMIC_RELAXED) &&
	       !pager->policy.traced && !pager->policy.locked;
}

/*
 * Pages that no store wanted are left out until they are due again, and so
 * are those on slower memory.
 */
static uint64_t candidates(struct ferry__pager_place *p)
{
	bool raw = p->now >= p->block->raw_due;
	uint64_t bits = 0, w;
	size_t i;

	for (i = 0; i < p->n; i++) {
		w = ferry__word_load(&p->region->words[p->page + i]);
		if (ferry__word_state(w) != FERRY__WORD_RESIDENT)
			continue;
		if (!(w & FERRY__WORD_PIN) && (raw || !(w & FERRY__WORD_RAW)))
			bits |= 1ull << i;
	}
	if (raw && p->block->raw_due)
		p->block->raw_due = 0;
	return p->now < p->block->slow_due ? bits & ~p->block->slow : bits;
}

static uint64_t waited(const struct ferry__pager_place *p)
{
	return ferry__doubled(p->pager->policy.age_ns, p->block->backoff);
}

void ferry__block_note_raw(struct ferry__pager_place *p)
{
	struct ferry__pager_block *b = p->block;
	size_t i;

	for (i = 0; i < p->n; i++)
		if (ferry__word_load(&p->region->words[p->page + i]) &
		    FERRY__WORD_RAW)
			break;
	if (i == p->n || b->raw_due)
		return;
	b->raw_due = p->now + (RAW_NS << b->raw_backoff);
	if (b->raw_backoff < MAX_RAW_BACKOFF)
		b->raw_backoff++;
}

static size_t pages_in(const struct ferry__pager_place *p,
		       enum ferry__word_state state)
{
	size_t i, n = 0;

	for (i = 0; i < p->n; i++)
		n += ferry__word_state(ferry__word_load(
			     &p->region->words[p->page + i])) == state;
	return n;
}

size_t ferry__block_in_limbo(const struct ferry__pager_place *p)
{
	return pages_in(p, FERRY__WORD_LIMBO);
}

/* Pages of one block grow older together; late ones are not waited for. */
void ferry__block_note_stored(struct ferry__pager_place *p)
{
	struct ferry__pager_block *b = p->block;

	if (!pages_in(p, FERRY__WORD_STORED) ||
	    (b->stored_at && b->tier + 1u < p->pager->n_tiers))
		return;
	b->stored_at = p->now;
	b->tier = 0;
}

/* What lay in limbo for long enough goes out; the block is judged by it. */
static void store_block(struct ferry__pager_place *p, uint64_t age)
{
	struct ferry__pager_block *b = p->block;
	bool left;

	if (!ferry__policy_allows(p->pager,
				  ferry__block_in_limbo(p) * ferry__page_size))
		return;
	ferry__slow_raise_touched(p);
	ferry__slow_sink(p);
	left = ferry__pager_put(p->pager, p->region, p->page, p->n, ~0ull, age);
	ferry__block_note_stored(p);
	ferry__slow_note_stored(p);
	ferry__block_note_raw(p);
	if (left)
		return;
	if (__atomic_exchange_n(&b->touched, 0, __ATOMIC_RELAXED)) {
		if (b->backoff < MAX_BACKOFF)
			b->backoff++;
	} else {
		b->backoff = 0;
	}
	b->limbo_at = 0;
	b->due = p->now + waited(p);
}

/* Some of @wish, spread, and others each time. */
static uint64_t some_of(const struct ferry__pager_place *p, uint64_t wish)
{
	size_t at = p->now / MS + p->page / FERRY__BLOCK_PAGES * 7, i, n = 0;
	uint64_t bits = 0;

	/* 13 is odd: it comes by each page once. */
	for (i = 0; i < FERRY__BLOCK_PAGES && n < PROBES; i++, at += 13) {
		uint64_t bit = 1ull << at % FERRY__BLOCK_PAGES;

		n += (wish & bit) != 0;
		bits |= wish & bit;
	}
	return bits;
}

static uint64_t take(struct ferry__pager_place *p, uint64_t wish)
{
	struct ferry__pager_block *b = p->block;
	uint64_t taken = 0;

	__atomic_store_n(&b->touched, 0, __ATOMIC_RELAXED);
	if (wish)
		taken = ferry__pager_take(p->pager, p->region, p->page, p->n,
					  wish);
	ferry__slow_note_taken(p, taken);
	/* What a probe left there is stored with what came now. */
	if (taken || ferry__block_in_limbo(p))
		b->limbo_at = p->now;
	/* Pinned, shared and locked pages: less and less often (P8). */
	if (!b->shared && (taken || !wish))
		b->busy_backoff = 0;
	else if (b->busy_backoff < MAX_BACKOFF)
		b->busy_backoff++;
	b->due = p->now + ferry__doubled(waited(p), b->busy_backoff);
	return taken;
}

void ferry__block_take(struct ferry__pager_place *p)
{
	p->block->probes = 0;
	take(p, candidates(p));
}

/*
 * Every page that is hot costs the program a fault when it is taken. Of a
 * block with many candidates a few are tried first; an idle process is not
 * disturbed by faults.
 */
static void probe(struct ferry__pager_place *p)
{
	uint64_t wish = candidates(p);

	if (p->pager->policy.idle || __builtin_popcountll(wish) <= 4 * PROBES) {
		ferry__block_take(p);
		return;
	}
	take(p, some_of(p, wish));
	p->block->probes = (uint8_t)ferry__block_in_limbo(p);
}

/*
 * Hot is where nearly all that were tried came back, and not where half of
 * the pages is cold; then the others are left alone for longer and longer. It
 * was cheap to find out, and a block that is being filled is hot but once: the
 * next time comes sooner than for what was taken as a whole.
 */
static void end_probe(struct ferry__pager_place *p)
{
	struct ferry__pager_block *b = p->block;
	bool hot = ferry__block_in_limbo(p) * 4 < b->probes;

	b->probes = 0;
	if (!hot) {
		ferry__block_take(p);
		return;
	}
	ferry__slow_raise_all(p);
	if (b->backoff < MAX_BACKOFF)
		b->backoff++;
	b->limbo_at = 0;
	b->due = p->now + waited(p) / FRESH_SHARE;
}

static void drop_empty(struct ferry__pager_place *p)
{
	struct ferry__pager_block *b = p->block;
	bool idle = p->pager->policy.idle;
	unsigned int most = idle ? EMPTY_BACKOFF_IDLE : EMPTY_BACKOFF;

	if (ferry__pager_drop_empty(p->pager, p->region, p->page, p->n))
		b->empty_backoff = 0;
	else if (b->empty_backoff < most)
		b->empty_backoff++;
	if (b->empty_backoff > most)
		b->empty_backoff = (uint8_t)most;
	b->empty_due = p->now + (EMPTY_NS << b->empty_backoff);
	if (!b->limbo_at && ferry__block_in_limbo(p))
		b->limbo_at = p->now;
}

/* It takes as much of a processor as storing does: the same rate. */
static void demote_block(struct ferry__pager_place *p)
{
	struct ferry__pager_block *b = p->block;
	size_t n = pages_in(p, FERRY__WORD_STORED);

	if (!ferry__policy_allows(p->pager, n * ferry__page_size))
		return;
	if (ferry__pager_demote(p->pager, p->region, p->page, p->n,
				p->now - b->stored_at))
		b->tier++;
	else
		b->demote_after = p->now + FULL_NS;
}

/* When what is here is tried next; not while some of it is in limbo. */
static uint64_t look_due(const struct ferry__pager_place *p)
{
	return p->block->limbo_at ? UINT64_MAX : p->block->due;
}

static uint64_t demote_due(const struct ferry__pager_place *p)
{
	const struct ferry__pager_block *b = p->block;

	uint64_t due;

	if (!b->stored_at || b->tier + 1u >= p->pager->n_tiers)
		return UINT64_MAX;
	due = b->stored_at +
	      ferry__doubled(p->pager->tiers[b->tier + 1].after_ns, 0);
	return due > b->demote_after ? due : b->demote_after;
}

static uint64_t limbo_due(const struct ferry__pager_place *p)
{
	return p->block->limbo_at ? p->block->limbo_at + p->pager->policy.age_ns
				  : UINT64_MAX;
}

static uint64_t probe_due(const struct ferry__pager_place *p)
{
	const struct ferry__pager_block *b = p->block;

	return b->limbo_at && b->probes
		       ? b->limbo_at + p->pager->policy.age_ns / PROBE_SHARE
		       : UINT64_MAX;
}

static uint64_t empty_due(const struct ferry__pager_place *p)
{
	return p->pager->params.empty_pages ? p->block->empty_due : UINT64_MAX;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The backed-off time was by another age: a shorter one shall count soon. */
static void trim_due(struct ferry__pager_place *p)
{
	struct ferry__pager_block *b = p->block;
	uint64_t most = p->now + ferry__doubled(waited(p), b->busy_backoff);

	if (!b->due) {
		b->due = p->now + waited(p) / FRESH_SHARE;
		b->empty_due = p->now + EMPTY_NS;
	} else if (b->due > most) {
		b->due = most;
	}
}

static bool is_due(const struct ferry__pager_place *p)
{
	return p->now >= limbo_due(p) || p->now >= empty_due(p) ||
	       p->now >= demote_due(p) || p->now >= probe_due(p) ||
	       p->now >= look_due(p);
}

static void work_on(struct ferry__pager_place *p)
{
	if (p->now >= empty_due(p))
		drop_empty(p);
	if (p->now >= probe_due(p))
		end_probe(p);
	else if (p->now >= limbo_due(p))
		store_block(p, p->now - p->block->limbo_at);
	else if (p->now >= look_due(p))
		probe(p);
	if (p->now >= demote_due(p))
		demote_block(p);
}

/* Looks at a block; returns when it is to be looked at next. */
uint64_t ferry__block_look(struct ferry__pager_place *p)
{
	if (!ferry__pager_may_take(p->pager))
		return p->now + SECOND;
	trim_due(p);
	if (is_due(p)) {
		ferry__pager_begin_work(p->pager);
		if (ferry__pager_may_take(p->pager))
			work_on(p);
		ferry__pager_end_work(p->pager);
	}
	return least(least(least(limbo_due(p), probe_due(p)), empty_due(p)),
		     least(demote_due(p), look_due(p)));
}

uint64_t ferry__pager_each_block(struct ferry__pager *pager,
				 uint64_t (*fn)(struct ferry__pager_place *))
{
	struct ferry__pager_region *r = ferry__region_first(pager);
	struct ferry__pager_place p = { .pager = pager,
					.now = ferry__sys->now_ns() };
	uint64_t next = UINT64_MAX;
	size_t end;

	for (; r; r = ferry__region_next(r)) {
		ferry__region_cover(
			pager, r, __atomic_load_n(&r->used, __ATOMIC_RELAXED));
		end = ferry__region_used(r) / ferry__page_size;
		p.region = r;
		for (p.page = 0; p.page < end; p.page += p.n) {
			p.n = end - p.page < FERRY__BLOCK_PAGES
				      ? end - p.page
				      : FERRY__BLOCK_PAGES;
			p.block = &r->blocks[p.page / FERRY__BLOCK_PAGES];
			next = least(next, fn(&p));
		}
	}
	return next;
}
