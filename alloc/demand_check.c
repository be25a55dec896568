/* SPDX-License-Identifier: MIT */
/*
 * The invariants of DESIGN.md, "Demand ranges", that can be looked at when a
 * demand is at rest: no call is under way and nothing remains.
 */
#include "alloc/demand-internal.h"

/* N1: ranges ascend, do not overlap, and are numbered without a gap. */
static void check_numbers(const struct ferry_demand *demand)
{
	const struct ferry__demand_range *range = demand->ranges;
	size_t i, first = 0;

	for (i = 0; i < demand->ranges_len; i++, range++) {
		ferry__check(range->first == first);
		ferry__check(range->len == range->units << range->shift);
		ferry__check(!i ||
			     range[-1].addr + range[-1].len <= range->addr);
		first += range->units;
	}
	ferry__check(first == demand->units);
}

/* N5, N6: nobody's claim is left, and what is not IDLE was noted so. */
static void check_units(struct ferry__demand_range *range)
{
	struct ferry__place at = { .range = range };
	unsigned int state;

	while (at.unit < range->units) {
		state = FERRY__UNIT_STATE(ferry__unit_load(&at));
		ferry__check(state == FERRY_DEMAND_IDLE ||
			     state == FERRY_DEMAND_DONE);
		ferry__check(state == FERRY_DEMAND_IDLE ||
			     ferry__demand_is_used(&at));
		at.unit += ferry__demand_is_used(&at) ? 1 : FERRY__UNITS_GROUP;
	}
}

/* N7: each slot is full or vacant, and the runs add up. */
static void check_runs(const struct ferry__runs *runs)
{
	size_t i, sum = 0;

	for (i = 0; i < runs->words; i++)
		ferry__check((runs->full[i] ^ runs->vacant[i]) == UINT64_MAX);
	for (i = 0; i < runs->words * 64; i++)
		if (runs->full[i / 64] >> i % 64 & 1)
			sum += runs->slot[i] & FERRY__RUN_PAGES;
	ferry__check(sum == ferry__runs_pages(runs));
}

void ferry__demand_check(const struct ferry_demand *demand)
{
	size_t i;

	check_numbers(demand);
	for (i = 0; i < demand->ranges_len; i++)
		check_units(&demand->ranges[i]);
	ferry__check(!ferry__demand_remaining(demand));
	check_runs(&demand->stock);
	check_runs(&demand->blank);
}
