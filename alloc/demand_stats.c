/* SPDX-License-Identifier: MIT */
/* What a demand tells about itself. */
#include <errno.h>
#include <string.h>

#include "alloc/demand-internal.h"

void ferry__demand_note(struct ferry_demand *demand, int error,
			enum ferry_reason reason)
{
	int none = 0;

	/* Relaxed: two words for people to read; the first error wins. */
	if (__atomic_compare_exchange_n(&demand->error, &none, error, false,
					__ATOMIC_RELAXED, __ATOMIC_RELAXED))
		__atomic_store_n(&demand->reason, (int)reason,
				 __ATOMIC_RELAXED);
}

static enum ferry_demand_state state(const struct ferry_demand *demand,
				     uintptr_t addr)
{
	struct ferry__place at = { .range = ferry__demand_find(demand, addr) };

	if (!at.range)
		return FERRY_DEMAND_IDLE;
	at.unit = (addr - at.range->addr) >> at.range->shift;
	return (enum ferry_demand_state)FERRY__UNIT_STATE(
		ferry__unit_load(&at));
}

enum ferry_demand_state ferry_demand_state(struct ferry_demand *demand,
					   const void *addr)
{
	enum ferry_demand_state ret;
	struct ferry__stripe *stripe;

	if (ferry__demand_try_enter(demand, FERRY__DEMAND_PREPARED, &stripe))
		return FERRY_DEMAND_IDLE;
	ret = state(demand, (uintptr_t)addr);
	ferry__demand_leave(stripe);
	return ret;
}

/* --- units --------------------------------------------------------------- */

static void count_units(struct ferry__demand_range *range, size_t *units)
{
	struct ferry__place at = { .range = range };
	unsigned int state;

	while (at.unit < range->units) {
		if (!ferry__demand_is_used(&at)) {
			at.unit += FERRY__UNITS_GROUP;
			continue;
		}
		state = FERRY__UNIT_STATE(ferry__unit_load(&at));
		if (state)
			units[state]++;
		at.unit++;
	}
}

/* --- counters ------------------------------------------------------------ */

static uint64_t read_count(const uint64_t *counter)
{
	/* Relaxed: see ferry__fault_add(). */
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void add_stripe(struct ferry_demand_stats *sum,
		       const struct ferry__demand_counts *c)
{
	unsigned int i;

	for (i = 0; i <= FERRY_DEMAND_SKIP; i++)
		sum->answers[i] += read_count(&c->answers[i]);
	sum->faults += read_count(&c->faults);
	sum->by_faults += read_count(&c->by_faults);
	sum->by_background += read_count(&c->by_background);
	sum->batches += read_count(&c->batches);
	sum->batched += read_count(&c->batched);
	sum->helped += read_count(&c->helped);
	sum->provided += read_count(&c->provided);
	sum->pages_moved += read_count(&c->pages_moved);
	sum->pages_copied += read_count(&c->pages_copied);
	sum->pages_zeroed += read_count(&c->pages_zeroed);
	sum->recycled += read_count(&c->recycled);
	sum->dropped += read_count(&c->dropped);
	sum->fresh += read_count(&c->fresh);
	sum->refused += read_count(&c->refused);
	sum->retries += read_count(&c->retries);
	sum->waits += read_count(&c->waits);
}

static int count_all_units(struct ferry_demand *demand, size_t *units)
{
	struct ferry__stripe *stripe;
	size_t i;
	int r;

	r = ferry__demand_try_enter(demand, FERRY__DEMAND_PREPARED, &stripe);
	if (r)
		return r == -ECHILD ? r : 0;
	for (i = 0; i < demand->ranges_len; i++)
		count_units(&demand->ranges[i], units);
	ferry__demand_leave(stripe);
	return 0;
}

int ferry_demand_stats(struct ferry_demand *demand,
		       struct ferry_demand_stats *ret)
{
	struct ferry_demand_stats sum = FERRY_INIT(struct ferry_demand_stats);
	size_t i, size = ret->size;
	int r;

	if (size < sizeof(size))
		return -EINVAL;
	r = count_all_units(demand, sum.units);
	if (r)
		return r;
	for (i = 0; i < FERRY__STRIPES; i++)
		add_stripe(&sum, &demand->counts[i]);
	sum.method = (enum ferry_demand_method)__atomic_load_n(
		&demand->method, __ATOMIC_RELAXED);
	sum.staging = ferry__runs_pages(&demand->stock) * ferry__page_size;
	sum.wait_max_ns = read_count(&demand->wait_max_ns);
	sum.error = __atomic_load_n(&demand->error, __ATOMIC_RELAXED);
	sum.reason = (enum ferry_reason)__atomic_load_n(&demand->reason,
							__ATOMIC_RELAXED);
	memcpy(ret, &sum, size < sizeof(sum) ? size : sizeof(sum));
	ret->size = size;
	return 0;
}
