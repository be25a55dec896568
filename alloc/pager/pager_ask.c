/* SPDX-License-Identifier: MIT */
/*
 * What program threads ask of the looking thread, which has the descriptor.
 *
 * Q1: requests are pushed (release) by anyone and taken all at once (acquire)
 * by that thread. Q2: the answer is written before done (release, acquire).
 * Q3: a poke changes the word on which the thread sleeps; both sides are
 * sequentially consistent, so that a request pushed before it is seen or no
 * sleep begins.
 */
#include "alloc/pager/pager-internal.h"

#define SECOND 1000000000ull

/* --- what is asked ------------------------------------------------------- */

static uint64_t take_now(struct ferry__pager_place *p)
{
	ferry__pager_begin_work(p->pager);
	p->block->slow_due = 0;
	if (ferry__pager_may_take(p->pager))
		ferry__block_take(p);
	ferry__pager_end_work(p->pager);
	return 0;
}

/* Of what goes out on order: as if it had been cold for so long. */
static uint64_t youngest(const struct ferry__pager *pager)
{
	return pager->n_tiers ? pager->tiers[0].after_ns : 0;
}

static uint64_t store_now(struct ferry__pager_place *p)
{
	ferry__pager_begin_work(p->pager);
	if (ferry__pager_may_take(p->pager) && ferry__block_in_limbo(p)) {
		p->block->limbo_at = p->block->limbo_at ? p->block->limbo_at
							: p->now;
		if (!ferry__pager_put(p->pager, p->region, p->page, p->n, ~0ull,
				      youngest(p->pager)))
			p->block->limbo_at = 0;
		ferry__block_note_stored(p);
		ferry__block_note_raw(p);
	}
	ferry__pager_end_work(p->pager);
	return 0;
}

static int run_all(struct ferry__pager *pager)
{
	ferry__pager_each_block(pager, take_now);
	ferry__pager_each_block(pager, store_now);
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

	/* B2: what is on its way now may yet fail to come. */
	ferry__ahead_wait(pager);
	ferry__pager_begin_work(pager);
	r = ferry__pager_bring_all(pager);
	ferry__pager_end_work(pager);
	return r;
}

/* Pages of one block at once: taken, and put without waiting. */
static void out_of(struct ferry__pager_place *p)
{
	uint64_t bits =
		ferry__pager_take(p->pager, p->region, p->page, p->n, ~0ull);

	if (ferry__pager_put(p->pager, p->region, p->page, p->n, bits,
			     youngest(p->pager)))
		p->block->limbo_at = p->now;
	ferry__block_note_stored(p);
	ferry__block_note_raw(p);
}

static int out(struct ferry__pager *pager, uintptr_t addr, size_t len)
{
	struct ferry__pager_region *r = ferry__region_find(pager, addr);
	struct ferry__pager_place p = {
		.pager = pager,
		.region = r,
		.page = (addr - r->addr) / ferry__page_size,
	};
	size_t end = p.page + len / ferry__page_size;

	ferry__region_cover(pager, r, addr + len - r->addr);
	for (; p.page < end; p.page += p.n) {
		p.n = FERRY__BLOCK_PAGES - p.page % FERRY__BLOCK_PAGES;
		if (p.n > end - p.page)
			p.n = end - p.page;
		p.block = &r->blocks[p.page / FERRY__BLOCK_PAGES];
		ferry__pager_begin_work(pager);
		p.now = ferry__sys->now_ns();
		if (ferry__pager_may_take(pager))
			out_of(&p);
		ferry__pager_end_work(pager);
	}
	return 0;
}

static int answer(struct ferry__pager *pager,
		  struct ferry__pager_request *request)
{
	switch (request->what) {
	case FERRY__ASK_RUN:
		ferry__pager_each_block(pager, ferry__block_look);
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

/* --- requests ------------------------------------------------------------ */

void ferry__pager_poke(struct ferry__pager *pager)
{
	__atomic_fetch_add(&pager->poke, 1, __ATOMIC_SEQ_CST); /* Q3 */
	ferry__sys->futex_wake(&pager->poke);
}

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

static void push_and_wait(struct ferry__pager *pager,
			  struct ferry__pager_request *request)
{
	push(pager, request);
	while (!__atomic_load_n(&request->done, __ATOMIC_ACQUIRE)) /* Q2 */
		ferry__sys->futex_wait(&request->done, 0, SECOND);
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
	/* So that no thread waits for one that is being stopped. */
	pthread_mutex_lock(&pager->start);
	if (ferry__pager_state(pager) == FERRY__PAGER_ON)
		push_and_wait(pager, &request);
	pthread_mutex_unlock(&pager->start);
	return request.result;
}

void ferry__pager_answer_all(struct ferry__pager *pager)
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

int ferry__pager_run(struct ferry__pager *pager, bool all)
{
	return ferry__pager_ask(
		pager, all ? FERRY__ASK_RUN_ALL : FERRY__ASK_RUN, 0, 0);
}
