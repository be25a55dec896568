/* SPDX-License-Identifier: MIT */
/*
 * Units that the host asks for or brings: prefaulting for system calls, and
 * fresh memory for units that are not produced.
 */
#include <errno.h>
#include <string.h>

#include "alloc/demand-internal.h"

/* For how long what fails for the moment is tried again. */
#define TRY_NS 1000000000u

static int bring_patiently(struct ferry_demand *demand,
			   const struct ferry__place *at)
{
	struct ferry__backoff backoff = { .limit_ns = TRY_NS };
	int r;

	do
		r = ferry__demand_bring(demand, at);
	while (r && r != -ENODATA && ferry__backoff_wait(&backoff));
	return r;
}

/* --- prefault ------------------------------------------------------------ */

/* Pages asked about in one mincore(2). */
#define ASK_PAGES 256u

/* A zero page where a unit that is DONE has a hole; there already: fine. */
static int fill_hole(struct ferry_demand *demand, uintptr_t page)
{
	int r = ferry_uffd_zero(demand->uffd, (void *)page, ferry__page_size, 0,
				NULL);

	return r == -EEXIST ? 0 : r;
}

static int fill_holes(struct ferry_demand *demand, uintptr_t from,
		      uintptr_t end)
{
	unsigned char there[ASK_PAGES];
	size_t i, n;
	int r = 0;

	for (; from < end && !r; from += n * ferry__page_size) {
		n = (end - from) / ferry__page_size;
		n = n < ASK_PAGES ? n : ASK_PAGES;
		memset(there, 0, n);
		ferry__sys->mincore((void *)from, n * ferry__page_size, there);
		for (i = 0; i < n && !r; i++)
			if (!(there[i] & 1))
				r = fill_hole(demand,
					      from + i * ferry__page_size);
	}
	return r;
}

/* Brings the unit, and what of [@from, @end) lies in it. */
static int prefault_unit(struct ferry_demand *demand,
			 const struct ferry__place *at, uintptr_t from,
			 uintptr_t end)
{
	uintptr_t start = ferry__unit_addr(at);
	uintptr_t stop = start + ferry__unit_bytes(at->range);
	int r = bring_patiently(demand, at);

	if (r || demand->mode == FERRY_DEMAND_STOPPED)
		return r;
	return fill_holes(demand, from > start ? from : start,
			  end < stop ? end : stop);
}

static int prefault(struct ferry_demand *demand, uintptr_t from, uintptr_t end)
{
	struct ferry__demand_range *range = demand->ranges;
	struct ferry__demand_range *last = range + demand->ranges_len;
	struct ferry__place at;
	int r = 0;

	for (; range < last && range->addr < end && !r; range++) {
		at.range = range;
		at.unit = from > range->addr
				  ? (from - range->addr) >> range->shift
				  : 0;
		for (; !r && at.unit < range->units &&
		       ferry__unit_addr(&at) < end;
		     at.unit++)
			r = prefault_unit(demand, &at, from, end);
	}
	return r;
}

int ferry_demand_prefault(struct ferry_demand *demand, void *addr, size_t len)
{
	uintptr_t mask = ~(ferry__page_size - 1);
	uintptr_t from = (uintptr_t)addr & mask;
	uintptr_t end = ((uintptr_t)addr + len + ~mask) & mask;
	struct ferry__stripe *stripe;
	struct ferry__guard guard;
	int r;

	ferry__guard_enter(&guard);
	r = ferry__demand_enter(demand, FERRY__DEMAND_RUNNING, &stripe);
	if (!r) {
		r = len ? prefault(demand, from, end) : 0;
		ferry__demand_leave(stripe);
	}
	ferry__guard_leave(&guard);
	/* Not begun or at its end: ordinary memory. */
	return r == -ENOTCONN ? 0 : r;
}

/* --- memory that the host brings ----------------------------------------- */

/*
 * Zeroed pages for a unit: of staging memory, as moving 16 pages costs a third
 * of having the kernel find, clear and install them.
 */
static int zeroed(struct ferry__producer *p, const struct ferry__place *at,
		  uint64_t *ret_word)
{
	size_t pages = ferry__unit_pages(at->range);
	void *staging;
	int r;

	r = ferry__producer_staging(p, at, &staging);
	if (r)
		return r;
	memset(staging, 0, pages * ferry__page_size);
	ferry__producer_use(p, pages);
	*ret_word = FERRY__UNIT(FERRY_DEMAND_READY, FERRY_DEMAND_STAGED,
				(uintptr_t)staging);
	return 0;
}

/* Takes one IDLE unit on, and makes it READY with what it is to hold. */
static int offer(struct ferry__producer *p, const struct ferry__place *at,
		 const char *src)
{
	const uint64_t idle = FERRY__UNIT(FERRY_DEMAND_IDLE, 0, 0);
	uint64_t word = FERRY__UNIT(FERRY_DEMAND_READY, FERRY_DEMAND_MOVE,
				    (uintptr_t)src);
	int r;

	if (!ferry__demand_claim_idle(p->demand, at))
		return -EBUSY;
	ferry__demand_mark_used(at, 1);
	/* D3: relaxed; counted before it can be dealt with. */
	__atomic_fetch_add(&p->demand->remaining, 1, __ATOMIC_RELAXED);
	r = ferry__demand_clear_units(at, 1);
	if (!r && !src)
		r = zeroed(p, at, &word);
	ferry__demand_publish(p->demand, at, r ? idle : word);
	return r;
}

/* Offers up to a batch, then sees to it that all of it is there. */
static int provide_some(struct ferry__producer *p, struct ferry__place at,
			size_t n, const char *src, size_t *ret_done)
{
	size_t offered;
	int r = 0, b = 0;

	for (offered = 0; offered < n && !r; at.unit++) {
		r = offer(p, &at, src);
		offered += !r;
		src = src ? src + ferry__unit_bytes(at.range) : NULL;
	}
	*ret_done = 0;
	for (at.unit -= offered + !!r; *ret_done < offered && !b; at.unit++) {
		b = bring_patiently(p->demand, &at);
		*ret_done += !b;
	}
	return b ? b : r;
}

static int provide(struct ferry_demand *demand, struct ferry__place at,
		   size_t n, const char *src, size_t *done)
{
	size_t some, batch = demand->params.batch;
	struct ferry__producer p;
	int r = 0;

	ferry__producer_init(&p, demand, false);
	for (; n && !r; n -= some) {
		r = provide_some(&p, at, n < batch ? n : batch, src, &some);
		at.unit += some;
		*done += some << at.range->shift;
		src = src ? src + (some << at.range->shift) : NULL;
		ferry__demand_count(demand, provided, some);
	}
	ferry__producer_fini(&p);
	return r;
}

int ferry_demand_provide(struct ferry_demand *demand, void *addr, size_t len,
			 void *src, size_t *ret_done)
{
	struct ferry__stripe *stripe;
	struct ferry__guard guard;
	struct ferry__place at;
	size_t n, done = 0;
	int r;

	ferry__guard_enter(&guard);
	r = ferry__demand_enter(demand, FERRY__DEMAND_RUNNING, &stripe);
	if (!r) {
		r = ferry__demand_units(demand, addr, len, &at, &n);
		if (!r && src && ferry__range_reason(src, len))
			r = -EINVAL;
		if (!r)
			r = provide(demand, at, n, src, &done);
		ferry__demand_leave(stripe);
	}
	ferry__guard_leave(&guard);
	if (ret_done)
		*ret_done = done;
	return r;
}
