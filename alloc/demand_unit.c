/* SPDX-License-Identifier: MIT */
/*
 * Units of demand ranges: their states, and producing one.
 *
 *	        claim           produced            taken          installed
 *	WAITING -----> CLAIMED ----------> READY ---------> MAPPING ------> DONE
 *	   ^              | | \              ^                |  |
 *	   +--------------+ |  \             +----------------+  |
 *	   no staging memory|   \ NONE          to be tried again | cannot be
 *	   (not asked yet)  |    +----> IDLE <--------------------+ installed
 *	                    +---> DONE (SKIP)
 *
 * The thread that took a unit to CLAIMED or MAPPING owns all transitions out
 * of it.
 */
#include <errno.h>

#include "alloc/demand-internal.h"

void ferry__unit_store(const struct ferry__place *at, uint64_t word)
{
	struct ferry_demand *demand = at->range->demand;

	/*
	 * D2: release, pairs with ferry__unit_load(). D4: sequentially
	 * consistent, as it must come before the look for waiters.
	 */
	__atomic_store_n(&at->range->words[at->unit], word, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&demand->waiters, __ATOMIC_SEQ_CST)) /* D4 */
		return;
	__atomic_fetch_add(&demand->news, 1, __ATOMIC_RELEASE); /* D4 */
	ferry__sys->futex_wake(&demand->news);
}

void ferry__demand_settle(struct ferry_demand *demand, size_t n)
{
	/* D3: release, pairs with ferry__demand_remaining(). */
	__atomic_fetch_sub(&demand->remaining, n, __ATOMIC_RELEASE);
}

void ferry__demand_publish(struct ferry_demand *demand,
			   const struct ferry__place *at, uint64_t word)
{
	unsigned int state = FERRY__UNIT_STATE(word);

	ferry__unit_store(at, word);
	if (state == FERRY_DEMAND_DONE || state == FERRY_DEMAND_IDLE)
		ferry__demand_settle(demand, 1);
}

/* --- producing ----------------------------------------------------------- */

void ferry__producer_init(struct ferry__producer *p,
			  struct ferry_demand *demand, bool fault)
{
	*p = (struct ferry__producer){
		.demand = demand,
		.ahead = fault ? 1 : demand->params.batch,
		.fault = fault,
	};
}

void ferry__producer_fini(struct ferry__producer *p)
{
	ferry__staging_return(p->demand, p->pen);
}

int ferry__producer_staging(struct ferry__producer *p,
			    const struct ferry__place *at, void **ret_addr)
{
	size_t pages = ferry__unit_pages(at->range);
	int r;

	if (p->demand->mode == FERRY_DEMAND_STOPPED) {
		*ret_addr = (void *)ferry__unit_addr(at);
		return 0;
	}
	r = ferry__staging_take(p->demand, pages, pages * p->ahead, &p->pen);
	*ret_addr = (void *)p->pen.addr;
	return r;
}

void ferry__producer_use(struct ferry__producer *p, size_t pages)
{
	if (p->demand->mode == FERRY_DEMAND_STOPPED)
		return;
	p->pen.addr += pages * ferry__page_size;
	p->pen.pages -= pages;
}

static uint64_t ready(enum ferry_demand_answer answer, const void *src)
{
	return FERRY__UNIT(FERRY_DEMAND_READY, answer, (uintptr_t)src);
}

static uint64_t refuse_source(struct ferry_demand *demand)
{
	ferry__demand_note(demand, -EINVAL, FERRY_REASON_UNALIGNED);
	return FERRY__UNIT(FERRY_DEMAND_IDLE, 0, 0);
}

static uint64_t answer_word(struct ferry__producer *p,
			    const struct ferry_demand_unit *unit,
			    enum ferry_demand_answer answer)
{
	switch (answer) {
	case FERRY_DEMAND_STAGED:
		ferry__producer_use(p, unit->len / ferry__page_size);
		return ready(answer, unit->staging);
	case FERRY_DEMAND_MOVE:
		if (!unit->src || ferry__range_reason(unit->src, unit->len))
			return refuse_source(p->demand);
		return ready(answer, unit->src);
	case FERRY_DEMAND_ZERO:
		return ready(answer, NULL);
	case FERRY_DEMAND_SKIP:
		return FERRY__UNIT(FERRY_DEMAND_DONE, 0, 0);
	default:
		return FERRY__UNIT(FERRY_DEMAND_IDLE, 0, 0);
	}
}

int ferry__demand_produce(struct ferry__producer *p,
			  const struct ferry__place *at, uint64_t *ret_word)
{
	struct ferry_demand *demand = p->demand;
	struct ferry_demand_unit unit = {
		.range = at->range->index,
		.number = at->unit,
		.dst = (void *)ferry__unit_addr(at),
		.len = ferry__unit_bytes(at->range),
		.fault = p->fault,
		.demand = demand,
	};
	enum ferry_demand_answer answer;
	int r;

	r = ferry__producer_staging(p, at, &unit.staging);
	if (r)
		return r;
	answer = demand->produce(demand->arg, &unit);
	*ret_word = answer_word(p, &unit, answer);
	if ((unsigned int)answer <= FERRY_DEMAND_SKIP)
		ferry__demand_count(demand, answers[answer], 1);
	if (p->fault)
		ferry__demand_count(demand, by_faults, 1);
	else
		ferry__demand_count(demand, by_background, 1);
	return 0;
}

void *ferry_demand_staging(struct ferry_demand_unit *unit)
{
	return unit->staging;
}

/* --- putting to its place ------------------------------------------------ */

/* Most pages installed as one: what a thread that faults may have to wait. */
#define RUN_PAGES 512u

static size_t run_limit(const struct ferry__demand_range *range)
{
	size_t pages = ferry__unit_pages(range);

	return pages < RUN_PAGES ? RUN_PAGES / pages : 1;
}

/* The word that a unit @by units further on must have to be of the run. */
static uint64_t neighbour(const struct ferry__demand_range *range,
			  uint64_t word, ptrdiff_t by)
{
	uintptr_t src = FERRY__UNIT_SRC(word);

	if (FERRY__UNIT_ANSWER(word) != FERRY_DEMAND_ZERO)
		src += (uintptr_t)by << range->shift;
	return FERRY__UNIT(FERRY_DEMAND_READY, FERRY__UNIT_ANSWER(word), src);
}

static bool take_neighbour(const struct ferry__place *at, uint64_t word,
			   ptrdiff_t by)
{
	struct ferry__place there = {
		.range = at->range,
		.unit = at->unit + (size_t)by,
	};
	uint64_t want = neighbour(at->range, word, by);

	return ferry__unit_load(&there) == want &&
	       ferry__unit_take(&there, want, FERRY_DEMAND_MAPPING);
}

/* Takes the run of READY units that goes on at both sides of a taken one. */
static size_t take_run(const struct ferry__place *at, uint64_t word,
		       bool around, struct ferry__place *ret_first)
{
	size_t limit = run_limit(at->range), before = 0, n = 1;

	while (n < limit && at->unit + n < at->range->units &&
	       take_neighbour(at, word, (ptrdiff_t)n))
		n++;
	while (around && n + before < limit && before < at->unit &&
	       take_neighbour(at, word, -(ptrdiff_t)before - 1))
		before++;
	ret_first->range = at->range;
	ret_first->unit = at->unit - before;
	return n + before;
}

static void publish_run(struct ferry_demand *demand,
			const struct ferry__place *first, size_t n,
			uint64_t word, unsigned int state)
{
	struct ferry__place at = *first;
	size_t i;

	for (i = 0; i < n; i++, at.unit++)
		ferry__demand_publish(
			demand, &at,
			state == FERRY_DEMAND_READY
				? neighbour(at.range, word, (ptrdiff_t)i)
				: FERRY__UNIT(state, 0, 0));
}

static bool passing(int error)
{
	return error == -EAGAIN || error == -ENOMEM || error == -EINTR;
}

/* Installs @n units that this thread holds; @word: as that of the first. */
static int map_run(struct ferry_demand *demand,
		   const struct ferry__place *first, size_t n, uint64_t word)
{
	int r = ferry__demand_install(demand, first, n, word);
	unsigned int state = FERRY_DEMAND_DONE;

	if (passing(r)) {
		ferry__demand_count(demand, retries, 1);
		state = FERRY_DEMAND_READY;
	} else if (r) {
		/* A move that failed before has said more. */
		ferry__demand_note(demand, r, FERRY_REASON_NONE);
		state = FERRY_DEMAND_IDLE;
	}
	publish_run(demand, first, n, word, state);
	if (!r || passing(r))
		return r;
	return -ENODATA;
}

/* The same one by one, as there is one among them that cannot be had so. */
static int map_each(struct ferry_demand *demand,
		    const struct ferry__place *first, size_t n, uint64_t word)
{
	struct ferry__place at = *first;
	int r, result = 0;
	size_t i;

	for (i = 0; i < n; i++, at.unit++) {
		r = map_run(demand, &at, 1,
			    neighbour(at.range, word, (ptrdiff_t)i));
		if (r)
			result = r;
	}
	return result;
}

int ferry__demand_map_one(struct ferry_demand *demand,
			  const struct ferry__place *at, uint64_t word)
{
	return map_run(demand, at, 1, word);
}

int ferry__demand_map(struct ferry_demand *demand,
		      const struct ferry__place *at, uint64_t word, bool around)
{
	struct ferry__place first;
	size_t n;
	int r;

	if (!ferry__unit_take(at, word, FERRY_DEMAND_MAPPING))
		return 0;
	n = take_run(at, word, around, &first);
	word = neighbour(at->range, word,
			 (ptrdiff_t)first.unit - (ptrdiff_t)at->unit);
	if (n == 1)
		return map_run(demand, &first, 1, word);
	ferry__demand_count(demand, batches, 1);
	ferry__demand_count(demand, batched, n);
	r = ferry__demand_install(demand, &first, n, word);
	if (r && !passing(r))
		return map_each(demand, &first, n, word);
	if (r)
		ferry__demand_count(demand, retries, 1);
	publish_run(demand, &first, n, word,
		    r ? FERRY_DEMAND_READY : FERRY_DEMAND_DONE);
	return r;
}
