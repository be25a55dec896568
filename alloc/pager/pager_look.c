/* SPDX-License-Identifier: MIT */
/*
 * The looking thread: goes over the blocks, takes to limbo what was left
 * alone for long enough, puts into stores what was not touched there, and
 * does what program threads ask of it.
 *
 * Everything is due at a time; between those the thread sleeps, for longer
 * and longer where the process is idle and nothing is left to do.
 *
 * Q1: requests are pushed (release) by anyone and taken all at once (acquire)
 * here. Q2: the answer is written before done (release, acquire). Q3: a poke
 * changes the word on which the thread sleeps; both sides are sequentially
 * consistent, so that a request pushed before it is seen or no sleep begins.
 */
#include "alloc/pager/pager-internal.h"

#define MS     1000000ull
#define SECOND (1000 * MS)

#define SLEEP_MIN_NS MS
#define SLEEP_MAX_NS (32 * SECOND)
#define MAX_BACKOFF  10
#define EMPTY_NS     SECOND
/* Of asks about empty pages that found none: 8 s, and 64 where it idles. */
#define EMPTY_BACKOFF	   3
#define EMPTY_BACKOFF_IDLE 6
#define RAW_NS		   (30 * SECOND)
#define MAX_RAW_BACKOFF	   8

/* --- requests ------------------------------------------------------------ */

void ferry__pager_poke(struct ferry__pager *pager)
{
	__atomic_fetch_add(&pager->poke, 1, __ATOMIC_SEQ_CST); /* Q3 */
	ferry__sys->futex_wake(&pager->poke);
}

static int answer(struct ferry__pager *pager,
		  struct ferry__pager_request *request);

static bool is_looking_thread(const struct ferry__pager *pager)
{
	return ferry__sys->gettid() == pager->home_tid;
}

static void push(struct ferry__pager *pager,
		 struct ferry__pager_request *request)
{
	request->next = __atomic_load_n(&pager->requests, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&pager->requests, &request->next,
					    request, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_RELAXED)) /* Q1, Q3 */
		;
	ferry__pager_poke(pager);
}

int ferry__pager_ask(struct ferry__pager *pager, enum ferry__pager_ask what,
		     uintptr_t addr, size_t len)
{
	struct ferry__pager_request request = {
		.what = what,
		.addr = addr,
		.len = len,
	};

	if (ferry__pager_state(pager) != FERRY__PAGER_ON)
		return 0;
	if (pager->pid != ferry__sys->getpid())
		return -ECHILD;
	if (is_looking_thread(pager))
		return answer(pager, &request);
	push(pager, &request);
	while (!__atomic_load_n(&request.done, __ATOMIC_ACQUIRE)) /* Q2 */
		ferry__sys->futex_wait(&request.done, 0, SECOND);
	return request.result;
}

static void answer_all(struct ferry__pager *pager)
{
	struct ferry__pager_request *q, *next;

	q = __atomic_exchange_n(&pager->requests, NULL,
				__ATOMIC_SEQ_CST); /* Q1 */
	for (; q; q = next) {
		next = q->next;
		q->result = answer(pager, q);
		__atomic_store_n(&q->done, 1, __ATOMIC_RELEASE); /* Q2 */
		/* It may be gone: waking an address needs no memory there. */
		ferry__sys->futex_wake(&q->done);
	}
}

/* --- blocks -------------------------------------------------------------- */

struct place {
	struct ferry__pager *pager;
	struct ferry__pager_region *region;
	struct ferry__pager_block *block;
	size_t page, n;
	uint64_t now;
};

static void begin_work(struct ferry__pager *pager)
{
	ferry__pager_wait_fork(pager);
	pthread_mutex_lock(&pager->work);
}

static void end_work(struct ferry__pager *pager)
{
	pthread_mutex_unlock(&pager->work);
}

static bool may_take(const struct ferry__pager *pager)
{
	/* H1: relaxed, who holds asks this thread for all of it after that. */
	return !__atomic_load_n(&pager->held, __ATOMIC_RELAXED) &&
	       !pager->policy.traced && !pager->policy.locked;
}

/* Pages that no store wanted are left out until they are due again. */
static uint64_t candidates(struct place *p)
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
	return bits;
}

static uint64_t waited(const struct place *p)
{
	return p->pager->policy.age_ns << p->block->backoff;
}

static void note_raw(struct place *p)
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

static size_t in_limbo(const struct place *p)
{
	size_t i, n = 0;

	for (i = 0; i < p->n; i++)
		n += ferry__word_state(ferry__word_load(
			     &p->region->words[p->page + i])) ==
		     FERRY__WORD_LIMBO;
	return n;
}

/* Pages of one block grow older together; late ones are not waited for. */
static void note_stored(struct place *p)
{
	struct ferry__pager_block *b = p->block;

	if (b->stored_at && b->tier + 1u < p->pager->n_tiers)
		return;
	b->stored_at = p->now;
	b->tier = 0;
}

/* What lay in limbo for long enough goes out; the block is judged by it. */
static void store_block(struct place *p, uint64_t age)
{
	struct ferry__pager_block *b = p->block;
	bool left;

	if (!ferry__policy_allows(p->pager, in_limbo(p) * ferry__page_size))
		return;
	left = ferry__pager_put(p->pager, p->region, p->page, p->n, ~0ull, age);
	note_stored(p);
	note_raw(p);
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

static void take_block(struct place *p)
{
	struct ferry__pager_block *b = p->block;
	uint64_t wish = candidates(p);

	__atomic_store_n(&b->touched, 0, __ATOMIC_RELAXED);
	if (wish && ferry__pager_take(p->pager, p->region, p->page, p->n, wish))
		b->limbo_at = p->now;
	/* Pinned and shared pages are asked about less and less often (P8). */
	if (!b->shared)
		b->busy_backoff = 0;
	else if (b->busy_backoff < MAX_BACKOFF)
		b->busy_backoff++;
	b->due = p->now + (waited(p) << b->busy_backoff);
}

static void drop_empty(struct place *p)
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
	if (!b->limbo_at && in_limbo(p))
		b->limbo_at = p->now;
}

static void demote_block(struct place *p)
{
	struct ferry__pager_block *b = p->block;

	ferry__pager_demote(p->pager, p->region, p->page, p->n,
			    p->now - b->stored_at);
	b->tier++;
}

static uint64_t demote_due(const struct place *p)
{
	const struct ferry__pager_block *b = p->block;

	if (!b->stored_at || b->tier + 1u >= p->pager->n_tiers)
		return UINT64_MAX;
	return b->stored_at + p->pager->tiers[b->tier + 1].after_ns;
}

static uint64_t limbo_due(const struct place *p)
{
	return p->block->limbo_at ? p->block->limbo_at + p->pager->policy.age_ns
				  : UINT64_MAX;
}

static uint64_t empty_due(const struct place *p)
{
	return p->pager->params.empty_pages ? p->block->empty_due : UINT64_MAX;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The backed-off time was by another age: a shorter one shall count soon. */
static void trim_due(struct place *p)
{
	struct ferry__pager_block *b = p->block;
	uint64_t most = p->now + (waited(p) << b->busy_backoff);

	if (!b->due) {
		b->due = p->now + waited(p);
		b->empty_due = p->now + EMPTY_NS;
	} else if (b->due > most) {
		b->due = most;
	}
}

static bool is_due(const struct place *p)
{
	return p->now >= limbo_due(p) || p->now >= empty_due(p) ||
	       p->now >= demote_due(p) ||
	       (p->now >= p->block->due && !p->block->limbo_at);
}

static void work_on(struct place *p)
{
	if (p->now >= empty_due(p))
		drop_empty(p);
	if (p->now >= limbo_due(p))
		store_block(p, p->now - p->block->limbo_at);
	else if (p->now >= p->block->due && !p->block->limbo_at)
		take_block(p);
	if (p->now >= demote_due(p))
		demote_block(p);
}

/* Looks at a block; returns when it is to be looked at next. */
static uint64_t look_at(struct place *p)
{
	if (!may_take(p->pager))
		return p->now + SECOND;
	trim_due(p);
	if (is_due(p)) {
		begin_work(p->pager);
		if (may_take(p->pager))
			work_on(p);
		end_work(p->pager);
	}
	return least(least(limbo_due(p), empty_due(p)),
		     least(demote_due(p),
			   p->block->limbo_at ? UINT64_MAX : p->block->due));
}

static uint64_t each_block(struct ferry__pager *pager,
			   uint64_t (*fn)(struct place *))
{
	struct ferry__pager_region *r = ferry__region_first(pager);
	struct place p = { .pager = pager, .now = ferry__sys->now_ns() };
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

/* --- what is asked ------------------------------------------------------- */

static uint64_t take_now(struct place *p)
{
	begin_work(p->pager);
	if (may_take(p->pager))
		take_block(p);
	end_work(p->pager);
	return 0;
}

static uint64_t store_now(struct place *p)
{
	uint64_t old = 0;

	begin_work(p->pager);
	if (may_take(p->pager) && in_limbo(p)) {
		p->block->limbo_at = p->block->limbo_at ? p->block->limbo_at
							: p->now;
		/* Its age for the tiers: as if it had been cold for as long. */
		if (p->pager->n_tiers)
			old = p->pager->tiers[0].after_ns;
		if (!ferry__pager_put(p->pager, p->region, p->page, p->n, ~0ull,
				      old))
			p->block->limbo_at = 0;
		note_stored(p);
		note_raw(p);
	}
	end_work(p->pager);
	return 0;
}

static int run_all(struct ferry__pager *pager)
{
	each_block(pager, take_now);
	each_block(pager, store_now);
	return 0;
}

static int bring_range(struct ferry__pager *pager,
		       struct ferry__pager_region *r, size_t page, size_t end)
{
	int e, first = 0;
	size_t n;

	for (; page < end; page += n) {
		n = FERRY__BLOCK_PAGES - page % FERRY__BLOCK_PAGES;
		if (n > end - page)
			n = end - page;
		if (!ferry__region_out(r, page))
			continue;
		e = ferry__pager_bring(pager, r, page, n, true, &pager->look);
		if (e < 0 && !first)
			first = e;
	}
	return first;
}

int ferry__pager_bring_all(struct ferry__pager *pager)
{
	struct ferry__pager_region *r = ferry__region_first(pager);
	int e, first = 0;

	for (; r; r = ferry__region_next(r)) {
		e = bring_range(pager, r, 0,
				ferry__region_used(r) / ferry__page_size);
		if (e && !first)
			first = e;
	}
	return first;
}

static int bring_all(struct ferry__pager *pager)
{
	int r;

	begin_work(pager);
	r = ferry__pager_bring_all(pager);
	end_work(pager);
	return r;
}

/* A range at once: taken, and put without waiting. */
static int out(struct ferry__pager *pager, uintptr_t addr, size_t len)
{
	struct ferry__pager_region *r = ferry__region_find(pager, addr);
	size_t page = (addr - r->addr) / ferry__page_size, n;
	size_t end = page + len / ferry__page_size;
	uint64_t old = pager->n_tiers ? pager->tiers[0].after_ns : 0, bits;

	ferry__region_cover(pager, r, addr + len - r->addr);
	for (; page < end; page += n) {
		n = FERRY__BLOCK_PAGES - page % FERRY__BLOCK_PAGES;
		if (n > end - page)
			n = end - page;
		begin_work(pager);
		if (may_take(pager)) {
			bits = ferry__pager_take(pager, r, page, n, ~0ull);
			if (ferry__pager_put(pager, r, page, n, bits, old))
				r->blocks[page / FERRY__BLOCK_PAGES].limbo_at =
					ferry__sys->now_ns();
		}
		end_work(pager);
	}
	return 0;
}

static int answer(struct ferry__pager *pager,
		  struct ferry__pager_request *request)
{
	switch (request->what) {
	case FERRY__ASK_RUN:
		each_block(pager, look_at);
		return 0;
	case FERRY__ASK_RUN_ALL:
		return run_all(pager);
	case FERRY__ASK_OUT:
		return out(pager, request->addr, request->len);
	case FERRY__ASK_BACK:
		return bring_all(pager);
	}
	return -EINVAL;
}

int ferry__pager_run(struct ferry__pager *pager, bool all)
{
	return ferry__pager_ask(
		pager, all ? FERRY__ASK_RUN_ALL : FERRY__ASK_RUN, 0, 0);
}

/* --- the thread ---------------------------------------------------------- */

/* A debugger that stops all threads and then reads a cold page would hang. */
static void mind_tracer(struct ferry__pager *pager)
{
	if (!pager->policy.traced || !(ferry__pager_read(&pager->limbo) +
				       ferry__pager_read(&pager->stored)))
		return;
	begin_work(pager);
	ferry__pager_bring_all(pager);
	end_work(pager);
}

static void maintain(struct ferry__pager *pager)
{
	struct ferry__store *store;
	size_t t;

	for (t = 0; t < pager->n_tiers; t++) {
		store = pager->tiers[t].store;
		if (!store->ops->maintain)
			continue;
		begin_work(pager);
		store->ops->maintain(store);
		end_work(pager);
	}
}

static uint64_t look_once(struct ferry__pager *pager)
{
	struct ferry__pager_params *params = &pager->params;
	uint64_t now = ferry__sys->now_ns();

	ferry__policy_update(pager, now);
	if (params->tick)
		params->tick(params->arg, now, pager->policy.idle);
	begin_work(pager);
	ferry__pager_sweep_spent(pager);
	end_work(pager);
	answer_all(pager);
	mind_tracer(pager);
	return each_block(pager, look_at);
}

/*
 * How long to sleep when the next thing is due at @next: not for every block
 * by itself, and not for ever, as the process may not stay idle.
 */
static uint64_t sleep_time(struct ferry__pager *pager, uint64_t next,
			   uint64_t *quiet)
{
	uint64_t now = ferry__sys->now_ns();
	uint64_t wait = next > now ? next - now : 0;
	uint64_t coarse = pager->policy.age_ns / 8;

	if (coarse > SECOND)
		coarse = SECOND;
	if (coarse < SLEEP_MIN_NS)
		coarse = SLEEP_MIN_NS;
	if (wait < coarse)
		wait = coarse;
	/* Longer and longer while it is idle. */
	*quiet = pager->policy.idle ? least(*quiet * 2, SLEEP_MAX_NS) : SECOND;
	return least(wait, *quiet);
}

void ferry__pager_look(struct ferry__pager *pager)
{
	uint64_t quiet = SECOND, maintained = 0, now, next;
	uint32_t poke;

	while (!__atomic_load_n(&pager->stop, __ATOMIC_ACQUIRE)) {
		poke = __atomic_load_n(&pager->poke, __ATOMIC_SEQ_CST); /* Q3 */
		next = look_once(pager);
		now = ferry__sys->now_ns();
		if (now - maintained > SECOND) {
			maintained = now;
			maintain(pager);
		}
		ferry__sys->futex_wait(&pager->poke, poke,
				       sleep_time(pager, next, &quiet));
	}
	answer_all(pager);
}
