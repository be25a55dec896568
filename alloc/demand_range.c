/* SPDX-License-Identifier: MIT */
/* The ranges of a demand: from an address to its unit, and how units begin. */
#include <errno.h>
#include <string.h>

#include "alloc/demand-internal.h"

#define UNIT_PAGES 16u

static int range_read(struct ferry_demand *demand,
		      const struct ferry_demand_range *range, size_t index,
		      struct ferry__demand_range *ret)
{
	size_t pages = range->unit_pages ? range->unit_pages : UNIT_PAGES;
	size_t bytes = pages * ferry__page_size;

	if (pages & (pages - 1) || pages > FERRY__RUN_PAGES ||
	    ferry__range_reason(range->addr, range->len) ||
	    range->len & (bytes - 1))
		return -EINVAL;
	ret->demand = demand;
	ret->addr = (uintptr_t)range->addr;
	ret->len = range->len;
	ret->index = index;
	ret->shift = (unsigned int)__builtin_ctzll(bytes);
	ret->units = range->len >> ret->shift;
	return 0;
}

static size_t groups_words(const struct ferry__demand_range *range)
{
	size_t groups = range->units / FERRY__UNITS_GROUP + 1;

	return groups / 64 + 1;
}

/* Words of the last cycle, if they are as many: they are in memory. */
static bool words_adopt(struct ferry__demand_range *range)
{
	struct ferry_demand *demand = range->demand;
	size_t i;

	for (i = 0; i < demand->spare_len; i++) {
		if (!demand->spare[i].words ||
		    demand->spare[i].mem_bytes != range->mem_bytes)
			continue;
		range->words = demand->spare[i].words;
		demand->spare[i].words = NULL;
		return true;
	}
	return false;
}

/* Zeroed, but where @states is to be written to all of them. */
static int words_alloc(struct ferry__demand_range *range, bool states)
{
	size_t groups = groups_words(range) * sizeof(uint64_t);
	void *mem;
	int r;

	range->mem_bytes = range->units * sizeof(uint64_t) + groups;
	if (states && words_adopt(range)) {
		range->used = range->words + range->units;
		memset(range->used, 0, groups);
		return 0;
	}
	r = ferry__meta_alloc(range->mem_bytes, &mem);
	if (r)
		return r;
	range->words = mem;
	range->used = range->words + range->units;
	return 0;
}

void ferry__demand_mark_used(const struct ferry__place *at, size_t n)
{
	size_t group = at->unit / FERRY__UNITS_GROUP;
	size_t last = (at->unit + n - 1) / FERRY__UNITS_GROUP;
	uint64_t *word, bit;

	for (; group <= last; group++) {
		word = &at->range->used[group / 64];
		bit = 1ull << group % 64;
		/* D8: release, pairs with the load in group_used(). */
		if (!(__atomic_load_n(word, __ATOMIC_RELAXED) & bit))
			__atomic_fetch_or(word, bit, __ATOMIC_RELEASE);
	}
}

static bool may_begin_as(unsigned int state)
{
	return state == FERRY_DEMAND_IDLE || state == FERRY_DEMAND_WAITING ||
	       state == FERRY_DEMAND_DONE;
}

/*
 * One group of units. It stands in a pause of the host: no branch, no call.
 * No other thread knows the range yet: plain stores, published by D5.
 */
static int group_set(struct ferry__demand_range *range,
		     const unsigned char *states, struct ferry__place *at,
		     size_t n)
{
	uint64_t *words = range->words + at->unit;
	size_t i, waiting = 0;
	bool wrong = false, used = false;

	for (i = 0; i < n; i++) {
		words[i] = FERRY__UNIT(states[i], 0, 0);
		wrong |= !may_begin_as(states[i]);
		used |= states[i] != FERRY_DEMAND_IDLE;
		waiting += states[i] == FERRY_DEMAND_WAITING;
	}
	if (used)
		ferry__demand_mark_used(at, 1);
	range->demand->remaining += waiting;
	return wrong ? -EINVAL : 0;
}

static int set_initial(struct ferry__demand_range *range,
		       const struct ferry_demand_range *from)
{
	unsigned char same[FERRY__UNITS_GROUP];
	struct ferry__place at = { .range = range };
	size_t n;
	int r = 0;

	if (!from->states && from->initial == FERRY_DEMAND_IDLE)
		return 0;
	memset(same, (int)from->initial, sizeof(same));
	for (; at.unit < range->units && !r; at.unit += n) {
		n = range->units - at.unit;
		n = n < FERRY__UNITS_GROUP ? n : FERRY__UNITS_GROUP;
		r = group_set(range,
			      from->states ? from->states + at.unit : same, &at,
			      n);
	}
	return r;
}

/*
 * By address. Not by qsort(3), which may call malloc(3): a host that has
 * stopped its threads may have stopped one in there. (Shell, 1959; gaps of
 * Knuth, TAOCP volume 3, section 5.2.1.)
 */
static void sort(struct ferry__demand_range *range, size_t n)
{
	struct ferry__demand_range one;
	size_t gap = 1, i, at;

	while (gap < n / 3)
		gap = 3 * gap + 1;
	for (; gap; gap /= 3)
		for (i = gap; i < n; i++) {
			one = range[i];
			for (at = i;
			     at >= gap && range[at - gap].addr > one.addr;
			     at -= gap)
				range[at] = range[at - gap];
			range[at] = one;
		}
}

/* Gives each its numbers; false when two overlap. */
static bool number_ranges(struct ferry_demand *demand)
{
	struct ferry__demand_range *range = demand->ranges;
	size_t i;

	sort(range, demand->ranges_len);
	demand->units = 0;
	for (i = 0; i < demand->ranges_len; i++) {
		if (i && range[i - 1].addr + range[i - 1].len > range[i].addr)
			return false;
		range[i].first = demand->units;
		demand->units += range[i].units;
	}
	return true;
}

void ferry__demand_spare_free(struct ferry_demand *demand)
{
	size_t i;

	for (i = 0; i < demand->spare_len; i++)
		ferry__meta_free(demand->spare[i].words,
				 demand->spare[i].mem_bytes);
	ferry__meta_free(demand->spare, demand->spare_bytes);
	demand->spare = NULL;
	demand->spare_len = demand->spare_bytes = 0;
}

void ferry__demand_ranges_free(struct ferry_demand *demand)
{
	ferry__demand_spare_free(demand);
	demand->spare = demand->ranges;
	demand->spare_len = demand->ranges_len;
	demand->spare_bytes = demand->ranges_bytes;
	demand->ranges = NULL;
	demand->ranges_bytes = demand->ranges_len = demand->units = 0;
	demand->remaining = demand->cursor = 0;
	/* D5: release; who waited for the end finds ordinary memory. */
	__atomic_store_n(&demand->phase, FERRY__DEMAND_EMPTY, __ATOMIC_RELEASE);
}

static int ranges_alloc(struct ferry_demand *demand, size_t n)
{
	void *mem;
	int r;

	demand->ranges_bytes = n * sizeof(*demand->ranges);
	r = ferry__meta_alloc(demand->ranges_bytes, &mem);
	if (r)
		return r;
	demand->ranges = mem;
	demand->ranges_len = n;
	return 0;
}

static int ranges_set(struct ferry_demand *demand,
		      const struct ferry_demand_range *ranges, size_t n)
{
	size_t i;
	int r = 0;

	for (i = 0; i < n && !r; i++)
		r = range_read(demand, &ranges[i], i, &demand->ranges[i]);
	if (!r && !number_ranges(demand))
		r = -EINVAL;
	for (i = 0; i < n && !r; i++)
		r = words_alloc(&demand->ranges[i],
				ranges[demand->ranges[i].index].states);
	for (i = 0; i < n && !r; i++)
		r = set_initial(&demand->ranges[i],
				&ranges[demand->ranges[i].index]);
	return r;
}

int ferry_demand_prepare(struct ferry_demand *demand,
			 const struct ferry_demand_range *ranges, size_t n,
			 ferry_demand_produce_fn produce, void *arg)
{
	int r;

	if (!ferry__demand_ours(demand))
		return -ECHILD;
	if (demand->phase >= FERRY__DEMAND_RUNNING)
		return -EALREADY;
	if (!ranges || !n || !produce)
		return -EINVAL;
	if (demand->phase == FERRY__DEMAND_PREPARED)
		ferry__demand_ranges_free(demand);
	r = ranges_alloc(demand, n);
	if (!r)
		r = ranges_set(demand, ranges, n);
	ferry__demand_spare_free(demand);
	if (r) {
		ferry__demand_ranges_free(demand);
		return r;
	}
	demand->produce = produce;
	demand->arg = arg;
	__atomic_store_n(&demand->phase, FERRY__DEMAND_PREPARED,
			 __ATOMIC_RELEASE); /* D5 */
	return 0;
}

struct ferry__demand_range *
ferry__demand_find(const struct ferry_demand *demand, uintptr_t addr)
{
	size_t low = 0, n = demand->ranges_len, half;

	if (!n)
		return NULL;
	for (; n > 1; n -= half) {
		half = n / 2;
		if (demand->ranges[low + half].addr <= addr)
			low += half;
	}
	return addr - demand->ranges[low].addr < demand->ranges[low].len
		       ? &demand->ranges[low]
		       : NULL;
}

int ferry__demand_units(const struct ferry_demand *demand, const void *addr,
			size_t len, struct ferry__place *ret, size_t *ret_n)
{
	struct ferry__demand_range *range =
		ferry__demand_find(demand, (uintptr_t)addr);
	size_t offset;

	if (!range)
		return -EINVAL;
	offset = (uintptr_t)addr - range->addr;
	if (!len || (offset | len) & (ferry__unit_bytes(range) - 1) ||
	    len > range->len - offset)
		return -EINVAL;
	ret->range = range;
	ret->unit = offset >> range->shift;
	*ret_n = len >> range->shift;
	return 0;
}

struct ferry__place ferry__demand_place(const struct ferry_demand *demand,
					size_t number)
{
	struct ferry__demand_range *range = demand->ranges;

	while (number >= range->first + range->units)
		range++;
	return (struct ferry__place){ range, number - range->first };
}

/* Takes IDLE units from @at on; how many. */
static size_t claim_idle(struct ferry_demand *demand, struct ferry__place at,
			 size_t n)
{
	size_t i;

	for (i = 0; i < n && ferry__demand_claim_idle(demand, &at); i++)
		at.unit++;
	return i;
}

static int expect(struct ferry_demand *demand, struct ferry__place at, size_t n)
{
	unsigned int state = FERRY_DEMAND_WAITING;
	size_t taken, i;
	int r = 0;

	ferry__demand_mark_used(&at, n);
	/* D3: relaxed; counted before they can be dealt with. */
	__atomic_fetch_add(&demand->remaining, n, __ATOMIC_RELAXED);
	taken = claim_idle(demand, at, n);
	if (taken)
		r = ferry__demand_clear_units(&at, taken);
	if (r)
		state = FERRY_DEMAND_IDLE;
	for (i = 0; i < taken; i++, at.unit++)
		ferry__unit_store(&at, FERRY__UNIT(state, 0, 0));
	ferry__demand_settle(demand, r ? n : n - taken);
	if (r)
		return r;
	return taken < n ? -EBUSY : 0;
}

int ferry_demand_expect(struct ferry_demand *demand, void *addr, size_t len)
{
	struct ferry__stripe *stripe;
	struct ferry__guard guard;
	struct ferry__place at;
	size_t n;
	int r;

	ferry__guard_enter(&guard);
	r = ferry__demand_enter(demand, FERRY__DEMAND_PREPARED, &stripe);
	if (!r) {
		r = ferry__demand_units(demand, addr, len, &at, &n);
		if (!r)
			r = expect(demand, at, n);
		ferry__demand_leave(stripe);
	}
	ferry__guard_leave(&guard);
	return r;
}

/* --- before it begins ---------------------------------------------------- */

static int revise(struct ferry_demand *demand, struct ferry__place at, size_t n,
		  unsigned int state)
{
	const uint64_t word = FERRY__UNIT(state, 0, 0);

	if (state != FERRY_DEMAND_IDLE)
		ferry__demand_mark_used(&at, n);
	for (; n; n--, at.unit++) {
		uint64_t was = ferry__unit_load(&at);

		if (was == FERRY__UNIT_GIVEN_UP)
			return -EBUSY;
		/* Relaxed: no other call is under way, and begin publishes
		 * (D5). */
		__atomic_store_n(&at.range->words[at.unit], word,
				 __ATOMIC_RELAXED);
		demand->remaining += state == FERRY_DEMAND_WAITING;
		demand->remaining -= FERRY__UNIT_STATE(was) ==
				     FERRY_DEMAND_WAITING;
	}
	return 0;
}

int ferry_demand_revise(struct ferry_demand *demand, void *addr, size_t len,
			enum ferry_demand_state state)
{
	struct ferry__place at;
	size_t n;
	int r;

	if (!ferry__demand_ours(demand))
		return -ECHILD;
	if (demand->phase >= FERRY__DEMAND_RUNNING)
		return -EALREADY;
	if (demand->phase != FERRY__DEMAND_PREPARED)
		return -ENOTCONN;
	if (!may_begin_as((unsigned int)state))
		return -EINVAL;
	r = ferry__demand_units(demand, addr, len, &at, &n);
	return r ? r : revise(demand, at, n, (unsigned int)state);
}
