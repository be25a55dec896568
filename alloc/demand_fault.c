/* SPDX-License-Identifier: MIT */
/*
 * Units that somebody wants now: faults; and those that are not to be had.
 *
 * A thread that wants a unit produces and installs it itself, unless another
 * thread is at it already: then it waits, first spinning, as most units are
 * made in microseconds, then in the kernel. The wait is bounded: while a
 * supplier runs, the signals by which a host may stop its threads are held
 * back.
 */
#include <errno.h>

#include "alloc/demand-internal.h"

/* How often to look before sleeping: some microseconds. */
#define SPINS 100

/* How long to wait before letting signals in. */
#define WAIT_NS 1000000u

/* --- waiting ------------------------------------------------------------- */

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static bool spin(const struct ferry__place *at, uint64_t word)
{
	int i;

	for (i = 0; i < SPINS; i++) {
		if (ferry__unit_load(at) != word)
			return true;
		relax();
	}
	return false;
}

static void sleep_for_news(struct ferry_demand *demand,
			   const struct ferry__place *at, uint64_t word,
			   uint64_t ns)
{
	uint32_t news;

	/*
	 * D4: say that there is a waiter, then look; ferry__unit_store() sets
	 * the word, then looks for waiters. All of it sequentially consistent,
	 * so that one side sees the other. The news are read before the word,
	 * so that a change after the look ends the wait.
	 */
	__atomic_fetch_add(&demand->waiters, 1, __ATOMIC_SEQ_CST);
	news = __atomic_load_n(&demand->news, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&at->range->words[at->unit], __ATOMIC_SEQ_CST) ==
	    word)
		ferry__sys->futex_wait(&demand->news, news, ns);
	__atomic_fetch_sub(&demand->waiters, 1, __ATOMIC_RELAXED);
}

static void note_wait(struct ferry_demand *demand, uint64_t ns)
{
	/* Relaxed: a figure for people. */
	uint64_t max = __atomic_load_n(&demand->wait_max_ns, __ATOMIC_RELAXED);

	while (ns > max && !__atomic_compare_exchange_n(
				   &demand->wait_max_ns, &max, ns, true,
				   __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

void ferry__demand_wait(struct ferry_demand *demand,
			const struct ferry__place *at, uint64_t word,
			uint64_t ns)
{
	uint64_t since = ferry__sys->now_ns(), spent = 0;

	ferry__demand_count(demand, waits, 1);
	if (!spin(at, word))
		do {
			sleep_for_news(demand, at, word, ns - spent);
			spent = ferry__sys->now_ns() - since;
		} while (spent < ns && ferry__unit_load(at) == word);
	note_wait(demand, ferry__sys->now_ns() - since);
}

/* --- bringing a unit ----------------------------------------------------- */

/* Produces a unit that this thread has claimed, and puts it to its place. */
static int make(struct ferry_demand *demand, const struct ferry__place *at)
{
	struct ferry__producer p;
	uint64_t word = FERRY__UNIT(FERRY_DEMAND_WAITING, 0, 0);
	int r;

	ferry__producer_init(&p, demand, true);
	r = ferry__demand_produce(&p, at, &word);
	ferry__producer_fini(&p);
	if (FERRY__UNIT_STATE(word) == FERRY_DEMAND_READY)
		return ferry__demand_map_one(demand, at, word);
	ferry__demand_publish(demand, at, word);
	return FERRY__UNIT_STATE(word) == FERRY_DEMAND_IDLE ? -ENODATA : r;
}

/*
 * One try to bring a unit whose word is @word. Returns 0 when the unit is
 * there or something has changed, -EAGAIN when another thread was waited for
 * in vain, -ENOMEM, or -ENODATA: it is not to be had.
 */
static int bring(struct ferry_demand *demand, const struct ferry__place *at,
		 uint64_t word)
{
	switch (FERRY__UNIT_STATE(word)) {
	case FERRY_DEMAND_WAITING:
		if (!ferry__unit_take(at, word, FERRY_DEMAND_CLAIMED))
			return 0;
		return make(demand, at);
	case FERRY_DEMAND_READY:
		if (ferry__fault_self.supplying)
			ferry__demand_count(demand, helped, 1);
		return ferry__demand_map(demand, at, word, true);
	case FERRY_DEMAND_CLAIMED:
	case FERRY_DEMAND_MAPPING:
		ferry__demand_wait(demand, at, word, WAIT_NS);
		return ferry__unit_load(at) == word ? -EAGAIN : 0;
	case FERRY_DEMAND_DONE:
		return 0;
	default:
		return -ENODATA;
	}
}

int ferry__demand_bring(struct ferry_demand *demand,
			const struct ferry__place *at)
{
	uint64_t word;
	int r = 0;

	while (!r) {
		word = ferry__unit_load(at);
		if (FERRY__UNIT_STATE(word) == FERRY_DEMAND_DONE)
			break;
		r = bring(demand, at, word);
	}
	return r;
}

/* --- refusing ------------------------------------------------------------ */

bool ferry__demand_claim_idle(struct ferry_demand *demand,
			      const struct ferry__place *at)
{
	uint64_t word = ferry__unit_load(at);

	if (!ferry__unit_is_idle(word) ||
	    !ferry__unit_swap(at, word,
			      FERRY__UNIT(FERRY_DEMAND_CLAIMED, 0, 0)))
		return false;
	if (word & FERRY__UNIT_POISONED)
		ferry__fault_cure(demand->service, (void *)ferry__unit_addr(at),
				  ferry__unit_bytes(at->range));
	return true;
}

static void cure_range(struct ferry_demand *demand,
		       struct ferry__demand_range *range)
{
	struct ferry__place at = { .range = range };
	uint64_t word;

	for (; at.unit < range->units; at.unit++) {
		word = ferry__unit_load(&at);
		if (!(word & FERRY__UNIT_POISONED))
			continue;
		ferry__fault_cure(demand->service,
				  (void *)ferry__unit_addr(&at),
				  ferry__unit_bytes(range));
		ferry__unit_store(&at, word & ~FERRY__UNIT_POISONED);
	}
}

void ferry__demand_cure(struct ferry_demand *demand)
{
	size_t i;

	/* Relaxed: handlers are out, by T1 of the fault service. */
	if (!__atomic_load_n(&demand->poisoned, __ATOMIC_RELAXED))
		return;
	for (i = 0; i < demand->ranges_len; i++)
		cure_range(demand, &demand->ranges[i]);
	__atomic_store_n(&demand->poisoned, false, __ATOMIC_RELAXED);
}

/*
 * A handler thread poisons the page itself, while it holds the unit: or the
 * poison might come after the unit was provided by another thread, and hide
 * what is moved there. Who touched it is woken when the unit is IDLE again: it
 * may ask for the unit as soon as it has its signal.
 */
static enum ferry_supply_kind refuse(struct ferry_demand *demand,
				     const struct ferry__place *at, void *page)
{
	bool poisons = demand->mode == FERRY_DEMAND_THREAD &&
		       ferry__fault_self.poisons;
	uint64_t word = ferry__unit_load(at);

	if (poisons) {
		if (FERRY__UNIT_STATE(word) != FERRY_DEMAND_IDLE ||
		    !ferry__unit_swap(at, word,
				      FERRY__UNIT(FERRY_DEMAND_CLAIMED, 0, 0)))
			return FERRY_SUPPLY_AGAIN;
		ferry__fault_poison(demand->service, page);
		/* Relaxed: ferry__demand_cure() comes after T1. */
		__atomic_store_n(&demand->poisoned, true, __ATOMIC_RELAXED);
		ferry__unit_store(at, word | FERRY__UNIT_POISONED);
	}
	ferry__demand_count(demand, refused, 1);
	return poisons ? FERRY__SUPPLY_POISONED : FERRY_SUPPLY_NONE;
}

/* --- answers ------------------------------------------------------------- */

/*
 * What is absent in a unit that is DONE was a hole at its source, or was
 * never there: zero. If it is there by now, a zero page gives way to it.
 */
static enum ferry_supply_kind answer(struct ferry_demand *demand,
				     const struct ferry__place *at, void *page)
{
	int r;

	if (FERRY__UNIT_STATE(ferry__unit_load(at)) == FERRY_DEMAND_DONE)
		return FERRY_SUPPLY_ZERO;
	r = ferry__demand_bring(demand, at);
	if (!r)
		return FERRY_SUPPLY_DONE;
	if (r != -ENODATA)
		return FERRY_SUPPLY_AGAIN;
	return refuse(demand, at, page);
}

void ferry__demand_supply(void *arg, const struct ferry_fault *fault,
			  struct ferry_supply *supply)
{
	struct ferry__demand_range *range = arg;
	struct ferry__place at = {
		.range = range,
		.unit = fault->offset >> range->shift,
	};

	ferry__demand_count(range->demand, faults, 1);
	supply->offset = fault->offset;
	supply->len = ferry__page_size;
	/* A page that is there, and protected by the host: not ours to keep. */
	supply->kind = fault->protect ? FERRY_SUPPLY_DONE
				      : answer(range->demand, &at, fault->page);
}
