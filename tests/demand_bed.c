/* SPDX-License-Identifier: MIT */
/* Demand ranges for tests. */
#include "tests/demand_bed.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/memory.h"
#include "tests/served.h"

static enum ferry_demand_answer
install(struct bed *bed, struct ferry_demand_unit *unit, const char *src)
{
	if (ferry_demand_mode(bed->demand) == FERRY_DEMAND_STOPPED)
		memcpy(unit->dst, src, unit->len);
	else
		EXPECT(!ferry_uffd_copy(ferry_demand_uffd(bed->demand),
					unit->dst, src, unit->len, 0, NULL));
	return FERRY_DEMAND_SKIP;
}

static enum ferry_demand_answer stage(struct bed *bed,
				      struct ferry_demand_unit *unit, char *src)
{
	memcpy(ferry_demand_staging(unit), src, unit->len);
	if (bed->recycle)
		EXPECT(!ferry_demand_recycle(bed->demand, src, unit->len));
	return FERRY_DEMAND_STAGED;
}

enum ferry_demand_answer bed_produce(void *arg, struct ferry_demand_unit *unit)
{
	struct bed *bed = arg;
	const struct bed_range *range = &bed->range[unit->range];
	char *src = range->src + unit->number * range->unit;

	EXPECT(unit->dst == range->dst + unit->number * range->unit);
	EXPECT(unit->len == range->unit);
	/* Relaxed: a count, read when all is over. */
	__atomic_fetch_add(&range->asked[unit->number], 1, __ATOMIC_RELAXED);
	if (bed->hook)
		bed->hook(bed, unit);
	switch (range->answer[unit->number]) {
	case FERRY_DEMAND_STAGED:
		return stage(bed, unit, src);
	case FERRY_DEMAND_MOVE:
		unit->src = src;
		return FERRY_DEMAND_MOVE;
	case FERRY_DEMAND_SKIP:
		return install(bed, unit, src);
	default:
		return (enum ferry_demand_answer)range->answer[unit->number];
	}
}

void bed_create_with(struct bed *bed, const struct ferry_demand_params *params)
{
	memset(bed, 0, sizeof(*bed));
	ck_assert_int_eq(ferry_demand_create(params, NULL, &bed->demand), 0);
}

void bed_create(struct bed *bed, enum ferry_fault_mode mode)
{
	struct ferry_demand_params params =
		FERRY_INIT(struct ferry_demand_params);

	params.mode = (enum ferry_demand_mode)mode;
	bed_create_with(bed, &params);
}

static unsigned char *bytes(size_t n, int value)
{
	unsigned char *p = malloc(n);

	ck_assert_ptr_nonnull(p);
	memset(p, value, n);
	return p;
}

struct bed_range *bed_add(struct bed *bed, size_t units, size_t unit_pages,
			  enum ferry_demand_answer answer)
{
	struct bed_range *range = &bed->range[bed->ranges];

	ck_assert_uint_lt(bed->ranges, BED_RANGES);
	range->units = units;
	range->unit = unit_pages * page_size();
	range->len = units * range->unit;
	range->src = map_anon(range->len);
	range->dst = map_anon(range->len);
	range->first = (uint64_t)(++bed->ranges) << 32;
	fill_pages(range->src, range->len, range->first);
	range->answer = bytes(units, (int)answer);
	range->initial = bytes(units, FERRY_DEMAND_WAITING);
	range->asked = bytes(units, 0);
	return range;
}

void bed_prepare(struct bed *bed)
{
	struct ferry_demand_range ranges[BED_RANGES] = { 0 };
	size_t i;

	for (i = 0; i < bed->ranges; i++) {
		ranges[i].addr = bed->range[i].dst;
		ranges[i].len = bed->range[i].len;
		ranges[i].unit_pages =
			(unsigned int)(bed->range[i].unit / page_size());
		ranges[i].states = bed->range[i].initial;
	}
	ck_assert_int_eq(ferry_demand_prepare(bed->demand, ranges, bed->ranges,
					      bed_produce, bed),
			 0);
}

void bed_begin(struct bed *bed)
{
	bed_prepare(bed);
	ck_assert_int_eq(ferry_demand_begin(bed->demand, NULL), 0);
}

void bed_start(struct bed *bed, enum ferry_fault_mode mode, size_t units,
	       enum ferry_demand_answer answer)
{
	bed_create(bed, mode);
	bed_add(bed, units, 16, answer);
	bed_begin(bed);
}

void bed_create_idle(struct bed *bed, enum ferry_fault_mode mode, size_t units)
{
	bed_create(bed, mode);
	bed_add(bed, units, 16, FERRY_DEMAND_MOVE);
	memset(bed->range->initial + 2, FERRY_DEMAND_IDLE, units - 2);
}

char *bed_unit(const struct bed *bed, size_t unit)
{
	return bed->range[0].dst + unit * bed->range[0].unit;
}

bool bed_unit_right(const struct bed *bed, const struct bed_range *range,
		    size_t unit)
{
	const char *addr = range->dst + unit * range->unit;
	uint64_t number = range->first + unit * range->unit / page_size();

	(void)bed;
	if (range->answer[unit] == FERRY_DEMAND_ZERO ||
	    range->initial[unit] == FERRY_DEMAND_DONE)
		return is_zero(addr, range->unit);
	return served_pages_hold(addr, range->unit, number);
}

void bed_assert_unit(const struct bed *bed, size_t unit)
{
	ck_assert_msg(bed_unit_right(bed, bed->range, unit),
		      "unit %zu is not right", unit);
	/* Nothing to do, but it waits for who is at it. */
	ck_assert_int_eq(
		ferry_demand_prefault(bed->demand, bed_unit(bed, unit), 1), 0);
}

static void assert_range_right(const struct bed *bed,
			       const struct bed_range *range)
{
	size_t i;

	for (i = 0; i < range->units; i++) {
		if (range->initial[i] != FERRY_DEMAND_WAITING) {
			ck_assert_uint_eq(range->asked[i], 0);
			continue;
		}
		ck_assert_msg(range->asked[i] == 1,
			      "unit %zu was asked for %u times", i,
			      range->asked[i]);
		if (range->answer[i] != FERRY_DEMAND_NONE)
			ck_assert_msg(bed_unit_right(bed, range, i),
				      "unit %zu is not right", i);
	}
}

void bed_assert_right(const struct bed *bed)
{
	size_t i;

	for (i = 0; i < bed->ranges; i++)
		assert_range_right(bed, &bed->range[i]);
}

struct ferry_demand_stats bed_stats(const struct bed *bed)
{
	struct ferry_demand_stats stats = FERRY_INIT(struct ferry_demand_stats);

	ck_assert_int_eq(ferry_demand_stats(bed->demand, &stats), 0);
	return stats;
}

size_t bed_in_state(const struct bed *bed, enum ferry_demand_state state)
{
	size_t i, n = 0;

	for (i = 0; i < bed->range[0].units; i++)
		n += ferry_demand_state(bed->demand, bed_unit(bed, i)) == state;
	return n;
}

void bed_fini(struct bed *bed)
{
	size_t i;

	for (i = 0; i < bed->ranges; i++) {
		munmap(bed->range[i].src, bed->range[i].len);
		munmap(bed->range[i].dst, bed->range[i].len);
		free(bed->range[i].answer);
		free(bed->range[i].initial);
		free(bed->range[i].asked);
	}
	bed->ranges = 0;
}

void bed_stop(struct bed *bed)
{
	ck_assert_int_eq(ferry_demand_end(bed->demand), 0);
	served_assert_noted();
	bed_assert_right(bed);
	ferry_demand_destroy(bed->demand);
	bed_fini(bed);
}
