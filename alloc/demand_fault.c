/* SPDX-License-Identifier: MIT */
/*
 * Units that somebody wants now: faults, prefaulting, and memory that the
 * host brings itself.
 *
 * A thread that wants a unit produces and installs it itself, unless another
 * thread is at it already: then it waits, first spinning, as most units are
 * made in microseconds, then in the kernel. The wait is bounded: while a
 * supplier runs, the signals by which a host may stop its threads are held
 * back.
 */
#include <errno.h>
#include <string.h>

#include "alloc/demand-internal.h"

/* How long to look before sleeping, and how long in all before letting
 * signals in. */
#define SPIN_NS 3000u
#define WAIT_NS 1000000u

/* For how long prefault and provide try again what fails for the moment. */
#define TRY_NS 1000000000u

/* --- waiting ---------------------------------------------------------------- */

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
	uint64_t since = ferry__sys->now_ns();

	do {
		if (ferry__unit_load(at) != word)
			return true;
		relax();
	} while (ferry__sys->now_ns() - since < SPIN_NS);
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

/* --- bringing a unit -------------------------------------------------------- */

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

/* Until it is DONE; errors of bring(). */
static int bring_all(struct ferry_demand *demand, const struct ferry__place *at)
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

/*
 * What is absent in a unit that is DONE was a hole at its source, or was
 * never there: zero. If it is there by now, a zero page gives way to it.
 */
static enum ferry_supply_kind answer(struct ferry_demand *demand,
				     const struct ferry__place *at)
{
	int r;

	if (FERRY__UNIT_STATE(ferry__unit_load(at)) == FERRY_DEMAND_DONE)
		return FERRY_SUPPLY_ZERO;
	r = bring_all(demand, at);
	if (!r)
		return FERRY_SUPPLY_DONE;
	if (r != -ENODATA)
		return FERRY_SUPPLY_AGAIN;
	ferry__demand_count(demand, refused, 1);
	return FERRY_SUPPLY_NONE;
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
	supply->kind = answer(range->demand, &at);
}

/* --- prefault --------------------------------------------------------------- */

/* For @TRY_NS what fails for the moment is tried again. */
static int bring_patiently(struct ferry_demand *demand,
			   const struct ferry__place *at)
{
	struct ferry__backoff backoff = { .limit_ns = TRY_NS };
	int r;

	do
		r = bring_all(demand, at);
	while (r && r != -ENODATA && ferry__backoff_wait(&backoff));
	return r;
}

static int prefault(struct ferry_demand *demand, uintptr_t addr, uintptr_t end)
{
	struct ferry__demand_range *range = demand->ranges;
	struct ferry__demand_range *last = range + demand->ranges_len;
	struct ferry__place at;
	uintptr_t from;
	int r = 0;

	for (; range < last && range->addr < end && !r; range++) {
		from = addr > range->addr ? addr : range->addr;
		at.range = range;
		at.unit = (from - range->addr) >> range->shift;
		for (; !r && at.unit < range->units &&
		       ferry__unit_addr(&at) < end;
		     at.unit++)
			r = bring_patiently(demand, &at);
	}
	return r;
}

int ferry_demand_prefault(struct ferry_demand *demand, void *addr, size_t len)
{
	struct ferry__guard guard;
	int r;

	if (!ferry__demand_ours(demand))
		return -ECHILD;
	if (ferry__demand_phase(demand) != FERRY__DEMAND_RUNNING || !len)
		return 0;
	ferry__guard_enter(&guard);
	r = prefault(demand, (uintptr_t)addr, (uintptr_t)addr + len);
	ferry__guard_leave(&guard);
	return r;
}

/* --- memory that the host brings -------------------------------------------- */

/*
 * Zeroed pages for a unit: of staging memory, as moving 16 pages costs less
 * than having the kernel find and clear them.
 */
static int provide_zeroed(struct ferry__producer *p,
			  const struct ferry__place *at, uint64_t *ret_word)
{
	size_t pages = ferry__unit_pages(at->range);
	int r;

	if (p->demand->mode == FERRY_DEMAND_STOPPED) {
		memset((void *)ferry__unit_addr(at), 0,
		       ferry__unit_bytes(at->range));
		*ret_word = FERRY__UNIT(FERRY_DEMAND_DONE, 0, 0);
		return 0;
	}
	r = ferry__staging_take(p->demand, pages, pages, &p->pen);
	if (r)
		return r;
	memset((void *)p->pen.addr, 0, pages * ferry__page_size);
	*ret_word = FERRY__UNIT(FERRY_DEMAND_READY, FERRY_DEMAND_STAGED,
				p->pen.addr);
	p->pen = (struct ferry__run){ 0 };
	return 0;
}

/* Provides one unit: the claim is from IDLE, so that it is ours alone. */
static int provide_unit(struct ferry__producer *p,
			const struct ferry__place *at, const char *src)
{
	uint64_t idle = FERRY__UNIT(FERRY_DEMAND_IDLE, 0, 0), word;
	int r = 0;

	if (!ferry__unit_take(at, idle, FERRY_DEMAND_CLAIMED))
		return -EBUSY;
	ferry__demand_mark_used(at, 1);
	/* D3: relaxed; the unit is in nobody's count before. */
	__atomic_fetch_add(&p->demand->remaining, 1, __ATOMIC_RELAXED);
	word = FERRY__UNIT(FERRY_DEMAND_READY, FERRY_DEMAND_MOVE,
			   (uintptr_t)src);
	if (!src)
		r = provide_zeroed(p, at, &word);
	if (r)
		word = idle;
	if (FERRY__UNIT_STATE(word) != FERRY_DEMAND_READY) {
		ferry__demand_publish(p->demand, at, word);
		return r;
	}
	return ferry__demand_map_one(p->demand, at, word);
}

static int provide(struct ferry_demand *demand, struct ferry__place at,
		   size_t n, const char *src, size_t *done)
{
	struct ferry__producer p;
	int r = 0;
	size_t i;

	ferry__producer_init(&p, demand, false);
	for (i = 0; i < n; i++, at.unit++) {
		r = provide_unit(&p, &at, src);
		/* It is READY: whoever comes next installs it. */
		if (r && r != -EBUSY && r != -ENODATA &&
		    FERRY__UNIT_STATE(ferry__unit_load(&at)))
			r = bring_patiently(demand, &at);
		if (r)
			break;
		*done += ferry__unit_bytes(at.range);
		src = src ? src + ferry__unit_bytes(at.range) : NULL;
		ferry__demand_count(demand, provided, 1);
	}
	ferry__producer_fini(&p);
	return r;
}

int ferry_demand_provide(struct ferry_demand *demand, void *addr, size_t len,
			 void *src, size_t *ret_done)
{
	struct ferry__guard guard;
	struct ferry__place at;
	size_t n, done = 0;
	int r;

	if (ret_done)
		*ret_done = 0;
	if (!ferry__demand_ours(demand))
		return -ECHILD;
	if (ferry__demand_phase(demand) != FERRY__DEMAND_RUNNING)
		return -ENOTCONN;
	r = ferry__demand_units(demand, addr, len, &at, &n);
	if (!r && src && ferry__range_reason(src, len))
		r = -EINVAL;
	if (r)
		return r;
	ferry__guard_enter(&guard);
	r = provide(demand, at, n, src, &done);
	ferry__guard_leave(&guard);
	if (ret_done)
		*ret_done = done;
	return r;
}
