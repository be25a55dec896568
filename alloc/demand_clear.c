/* SPDX-License-Identifier: MIT */
/*
 * Units have no pages before they are produced.
 *
 * Whoever touches a page that is there raises no fault, and a move to where
 * one is finds it there and takes it for its own work (N2): either way what
 * should have been produced is lost. The host does not have to touch a unit
 * for that. With transparent huge pages a fault beside it brings all of 2 MiB,
 * and khugepaged fills up what is absent around pages that are there.
 *
 * So pages are dropped, and only where the range is registered: then huge
 * pages leave alone what is absent. (mm/khugepaged.c and do_anonymous_page()
 * ask userfaultfd_armed(), since 4.5.)
 */
#include <errno.h>

#include "alloc/demand-internal.h"
#include "uffd/pagemap.h"
#include "uffd/uapi.h"

/* From so many runs of units on the page tables are asked first. */
#define MANY_RUNS 64u

/* Regions of one look at the page tables: 3 KiB of stack. */
#define REGIONS 128u

/* CLAIMED, too: before begin a unit is that while ferry_demand_expect() has
 * it. */
static bool is_expected(const struct ferry__place *at)
{
	unsigned int state = FERRY__UNIT_STATE(ferry__unit_load(at));

	return state != FERRY_DEMAND_IDLE && state != FERRY_DEMAND_DONE;
}

/* The next run of units in [@at->unit, @end) that are to be produced; its
 * length, 0 if there is none. */
static size_t next_run(struct ferry__place *at, size_t end)
{
	size_t begin;

	while (at->unit < end && !is_expected(at)) {
		if (at->unit % FERRY__UNITS_GROUP == 0 &&
		    !ferry__demand_is_used(at))
			at->unit += FERRY__UNITS_GROUP;
		else
			at->unit++;
	}
	for (begin = at->unit; at->unit < end && is_expected(at); at->unit++)
		;
	end = at->unit;
	at->unit = begin;
	return begin < end ? end - begin : 0;
}

/* STOPPED: a unit is written where it lies, and no page of it is left out. */
static bool needs_none(const struct ferry_demand *demand)
{
	return demand->mode == FERRY_DEMAND_STOPPED ||
	       demand->params.flags & FERRY_DEMAND_VACANT;
}

int ferry__demand_clear_units(const struct ferry__place *at, size_t n)
{
	if (needs_none(at->range->demand))
		return 0;
	return ferry__dontneed((char *)ferry__unit_addr(at),
			       n << at->range->shift);
}

/* Clears those of the range's units [@first, @end) that are expected. */
static int clear_expected(struct ferry__demand_range *range, size_t first,
			  size_t end)
{
	struct ferry__place at = { .range = range, .unit = first };
	size_t n;
	int r = 0;

	for (; !r && (n = next_run(&at, end)); at.unit += n)
		r = ferry__demand_clear_units(&at, n);
	return r;
}

static bool has_many_runs(struct ferry__demand_range *range)
{
	struct ferry__place at = { .range = range };
	size_t n, runs = 0;

	for (; runs < MANY_RUNS && (n = next_run(&at, range->units));
	     at.unit += n)
		runs++;
	return runs == MANY_RUNS;
}

/* Clears those that have pages in the region. */
static int clear_region(struct ferry__demand_range *range,
			const struct ferry__page_region *region)
{
	size_t first = (region->start - range->addr) >> range->shift;
	size_t last = (region->end - 1 - range->addr) >> range->shift;

	return clear_expected(range, first, last + 1);
}

/* The same where pages are. Fails if the kernel does not tell. */
static int clear_occupied(struct ferry__demand_range *range)
{
	uintptr_t pos = range->addr, end = range->addr + range->len;
	struct ferry__page_region region[REGIONS];
	int i, n = REGIONS, r = 0;

	while (pos < end && n == REGIONS) {
		n = ferry__pagemap_runs(range->demand->uffd->pagemap, pos, end,
					region, REGIONS);
		if (n < 0)
			return n;
		for (i = 0; i < n && !r; i++)
			r = clear_region(range, &region[i]);
		if (r)
			return r;
		if (n)
			pos = region[n - 1].end;
	}
	return 0;
}

int ferry__demand_clear(struct ferry_demand *demand)
{
	struct ferry__demand_range *range = demand->ranges;
	struct ferry__demand_range *last = range + demand->ranges_len;
	int r = 0;

	if (needs_none(demand))
		return 0;
	for (; range < last && !r; range++)
		if (!has_many_runs(range) || clear_occupied(range))
			r = clear_expected(range, 0, range->units);
	return r;
}
