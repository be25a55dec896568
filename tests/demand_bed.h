/* SPDX-License-Identifier: MIT */
/*
 * Demand ranges for tests: for each range source pages whose contents say
 * which page they are, and a callback that answers for each unit what the
 * test has written down, and counts how often it was asked.
 *
 * Each function asserts its own success.
 */
#ifndef FERRY_TESTS_DEMAND_BED_H
#define FERRY_TESTS_DEMAND_BED_H

#include <ferry/demand.h>

#include "tests/harness.h"

#define BED_RANGES 3

struct bed_range {
	char *src, *dst;
	size_t len, unit, units; /* bytes, bytes, number */
	uint64_t first;		 /* number of the first source page */
	unsigned char *answer;	 /* enum ferry_demand_answer, by unit */
	unsigned char *initial;	 /* enum ferry_demand_state, by unit */
	unsigned char *asked;	 /* relaxed counts, by unit */
};

struct bed {
	struct ferry_demand *demand;
	struct bed_range range[BED_RANGES];
	size_t ranges;
	bool recycle; /* the source of a unit that was staged */
	/* Called before a unit is answered, in the callback; or NULL. */
	void (*hook)(struct bed *bed, struct ferry_demand_unit *unit);
	void *arg; /* of the test's */
};

/* A demand of @mode without ranges; its other parameters by _with. */
void bed_create(struct bed *bed, enum ferry_fault_mode mode);
void bed_create_with(struct bed *bed, const struct ferry_demand_params *params);

/* One more range; every unit is WAITING and is answered with @answer. */
struct bed_range *bed_add(struct bed *bed, size_t units, size_t unit_pages,
			  enum ferry_demand_answer answer);

void bed_prepare(struct bed *bed);
void bed_begin(struct bed *bed);

/* Creates, with one range of units of 16 pages, and begins. */
void bed_start(struct bed *bed, enum ferry_fault_mode mode, size_t units,
	       enum ferry_demand_answer answer);

/* Creates, with one range of units of 16 pages to be moved, of which all but
 * the first two are IDLE. */
void bed_create_idle(struct bed *bed, enum ferry_fault_mode mode, size_t units);

/* The address of a unit of the first range. */
char *bed_unit(const struct bed *bed, size_t unit);

/* Does the unit hold what it should, byte by byte? Touches it. */
bool bed_unit_right(const struct bed *bed, const struct bed_range *range,
		    size_t unit);

/*
 * Asserts that a unit of the first range is right, by touching it, and that it
 * is counted: a handler thread does so after it has woken who waited.
 */
void bed_assert_unit(const struct bed *bed, size_t unit);

/* Every unit that was WAITING is right and was asked for once. */
void bed_assert_right(const struct bed *bed);

struct ferry_demand_stats bed_stats(const struct bed *bed);

/* Units of the first range in @state, as the demand says. */
size_t bed_in_state(const struct bed *bed, enum ferry_demand_state state);

/* Ends, asserts that all is right, destroys and frees. */
void bed_stop(struct bed *bed);

/* Frees what bed_add() made. */
void bed_fini(struct bed *bed);

/* The callback. */
enum ferry_demand_answer bed_produce(void *arg, struct ferry_demand_unit *unit);

#endif
