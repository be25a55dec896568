/* SPDX-License-Identifier: MIT */
/*
 * The looking thread: goes over the blocks, takes to limbo what was left
 * alone for long enough, puts into stores what was not touched there, and
 * does what program threads ask of it.
 *
 * Everything is due at a time; between those the thread sleeps, for longer
 * and longer where the process is idle and nothing is left to do.
 */
#include "alloc/pager/pager-internal.h"

#define SECOND	     1000000000ull
#define SLEEP_MIN_NS 1000000ull
#define SLEEP_MAX_NS (32 * SECOND)

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * Where nothing may be out, all comes back: a debugger that stops all threads
 * could not read a cold page, and locked memory is to stay. mlockall(2) has
 * populated limbo, too.
 */
static void mind_status(struct ferry__pager *pager)
{
	struct ferry__pager_region *r = ferry__region_first(pager);
	const struct ferry__pager_policy *p = &pager->policy;

	if (!p->traced && !p->locked)
		return;
	ferry__pager_begin_work(pager);
	if (ferry__pager_read(&pager->limbo) +
	    ferry__pager_read(&pager->stored))
		ferry__pager_bring_all(pager);
	for (; p->locked && r && !ferry__pager_read(&pager->limbo);
	     r = ferry__region_next(r))
		ferry__region_clear_limbo(r);
	ferry__pager_end_work(pager);
}

static void maintain(struct ferry__pager *pager)
{
	struct ferry__store *store;
	size_t t;

	for (t = 0; t < pager->n_tiers; t++) {
		store = pager->tiers[t].store;
		if (!store->ops->maintain)
			continue;
		ferry__pager_begin_work(pager);
		store->ops->maintain(store);
		ferry__pager_end_work(pager);
	}
}

static uint64_t look_once(struct ferry__pager *pager)
{
	struct ferry__pager_params *params = &pager->params;
	uint64_t now = ferry__sys->now_ns();

	ferry__policy_update(pager, now);
	if (params->tick)
		params->tick(params->arg, now, pager->policy.idle);
	ferry__pager_begin_work(pager);
	ferry__pager_sweep_spent(pager);
	ferry__pager_end_work(pager);
	ferry__pager_answer_all(pager);
	mind_status(pager);
	return ferry__pager_each_block(pager, ferry__block_look);
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
	ferry__pager_answer_all(pager);
}
