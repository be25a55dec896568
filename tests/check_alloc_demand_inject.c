/* SPDX-License-Identifier: MIT */
/*
 * Demand ranges while system calls fail: whichever call it is, wherever in a
 * unit and whatever it answers, every unit is produced once and arrives whole.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/demand_bed.h"
#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/served.h"
#include "uffd/uapi.h"

#define UNITS 20

/* What the kernel may say of a page, and how often in a row. */
static const struct strike {
	int error;
	uint64_t count;
	size_t done; /* pages really moved, though it says otherwise */
} strikes[] = {
	{ EBUSY, 1, 0 },
	{ EBUSY, INJECT_ALWAYS, 0 },
	{ EAGAIN, 1, 0 },
	{ EAGAIN, 60, 0 },
	{ ENOMEM, 1, 0 },
	{ ENOMEM, 12, 0 },
	{ EEXIST, 1, 1 }, /* Linux 6.18 to 7.1 */
	{ EBUSY, 1, 1 },  /* no kernel that is known; nor these */
	{ EINVAL, 1, 1 },
	{ ENOMEM, 1, 1 },
	{ EINVAL, INJECT_ALWAYS, 0 },
	{ EFAULT, INJECT_ALWAYS, 0 },
	{ EINTR, 3, 0 },
};

/* Where, in pages of the range: begin, middle and end of a unit or batch. */
static const size_t places[] = { 0, 5, 15, 16, 8 * 16 - 1, UNITS * 16 - 1 };

/* A whole life: some units by touch, some by step, the rest by the end. */
static void live(struct bed *bed, enum ferry_fault_mode mode,
		 enum ferry_demand_answer answer, const struct strike *strike,
		 size_t place, unsigned long request)
{
	struct inject_rule rule = {
		.call = INJECT_IOCTL,
		.request = request,
		.error = strike->error,
		.count = strike->count,
		.done = strike->done * page_size(),
	};

	inject_start();
	bed_create(bed, mode);
	bed->recycle = true;
	bed_add(bed, UNITS, 16, answer);
	rule.at = (uintptr_t)bed->range->dst + place * page_size();
	inject_add(&rule);
	bed_begin(bed);
	ck_assert(bed_unit_right(bed, bed->range, 1));
	ferry_demand_step(bed->demand, 6, 0, NULL);
	ck_assert(bed_unit_right(bed, bed->range, UNITS - 1));
	ck_assert_int_eq(ferry_demand_end(bed->demand), 0);
	ck_assert_uint_ge(inject_hits(&rule), 1);
	served_assert_noted();
	bed_assert_right(bed);
	ferry_demand_destroy(bed->demand);
	bed_fini(bed);
	inject_stop();
}

static void all_strikes(enum ferry_fault_mode mode,
			enum ferry_demand_answer answer)
{
	struct bed bed;
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(strikes); i++)
		for (j = 0; j < ARRAY_SIZE(places); j++)
			live(&bed, mode, answer, &strikes[i], places[j],
			     FERRY__UFFDIO_MOVE);
}

static void moved_units_survive_every_answer(enum ferry_fault_mode mode)
{
	all_strikes(mode, FERRY_DEMAND_MOVE);
}
BOTH_MODES(moved_units_survive_every_answer)

static void staged_units_survive_every_answer(enum ferry_fault_mode mode)
{
	all_strikes(mode, FERRY_DEMAND_STAGED);
}
BOTH_MODES(staged_units_survive_every_answer)

/* The same for zero pages, of which the kernel can say less. */
static void zero_units_survive_want_of_memory(enum ferry_fault_mode mode)
{
	static const struct strike few[] = { { ENOMEM, 5, 0 },
					     { EAGAIN, 20, 0 } };
	struct bed bed;
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(few); i++)
		for (j = 0; j < ARRAY_SIZE(places); j++)
			live(&bed, mode, FERRY_DEMAND_ZERO, &few[i], places[j],
			     FERRY__UFFDIO_ZEROPAGE);
}
BOTH_MODES(zero_units_survive_want_of_memory)

/* --- copying ------------------------------------------------------------- */

static void copies_survive_want_of_memory(enum ferry_fault_mode mode)
{
	static const struct strike few[] = { { ENOMEM, 9, 0 },
					     { EAGAIN, 40, 0 },
					     { EEXIST, 1, 1 } };
	struct inject_rule refuse = { .call = INJECT_IOCTL,
				      .request = FERRY__UFFDIO_MOVE,
				      .error = EPERM,
				      .count = INJECT_ALWAYS };
	struct inject_rule rule;
	struct bed bed;
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(few); i++)
		for (j = 0; j < ARRAY_SIZE(places); j++) {
			memset(&rule, 0, sizeof(rule));
			rule.call = INJECT_IOCTL;
			rule.request = FERRY__UFFDIO_COPY;
			rule.error = few[i].error;
			rule.count = few[i].count;
			rule.done = few[i].done * page_size();
			inject_start();
			refuse.next = NULL;
			inject_add(&refuse);
			bed_create(&bed, mode);
			bed.recycle = true;
			bed_add(&bed, UNITS, 16,
				j % 2 ? FERRY_DEMAND_MOVE
				      : FERRY_DEMAND_STAGED);
			rule.at = (uintptr_t)bed.range->dst +
				  places[j] * page_size();
			inject_add(&rule);
			bed_begin(&bed);
			bed_assert_unit(&bed, 1);
			ck_assert_int_eq(ferry_demand_run(bed.demand, NULL), 0);
			ck_assert_uint_ge(inject_hits(&rule), 1);
			bed_stop(&bed);
			inject_stop();
		}
}
BOTH_MODES(copies_survive_want_of_memory)

/* --- half a unit --------------------------------------------------------- */

/*
 * Staging memory inside the range: a hole in it is no ordinary memory, so
 * that who writes there without looking does not survive it.
 */
START_TEST(half_moved_staging_memory_is_not_taken_for_whole)
{
	struct inject_rule odd = { .call = INJECT_IOCTL,
				   .request = FERRY__UFFDIO_MOVE,
				   .error = EFAULT };
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	struct bed bed;
	size_t i;

	inject_start();
	p.reserve = page_size();
	bed_create_with(&bed, &p);
	bed_add(&bed, 16, 16, FERRY_DEMAND_STAGED);
	for (i = 8; i < 16; i++)
		bed.range->initial[i] = FERRY_DEMAND_IDLE;
	fill_pages(bed_unit(&bed, 8), 8 * bed.range->unit, 99);
	odd.at = (uintptr_t)bed.range->dst + 5 * page_size();
	inject_add(&odd);
	bed_begin(&bed);
	ck_assert_int_eq(ferry_demand_recycle(bed.demand, bed_unit(&bed, 8),
					      bed.range->unit),
			 0);
	bed_assert_unit(&bed, 0);
	ck_assert_uint_eq(inject_hits(&odd), 1);
	ck_assert_uint_eq(bed_stats(&bed).pages_copied, 11);
	bed_assert_unit(&bed, 1);
	bed_stop(&bed);
}
END_TEST

/* --- storms -------------------------------------------------------------- */

static void *touch_all(void *arg)
{
	const struct bed *bed = arg;
	size_t i;

	for (i = 0; i < bed->range->units; i++)
		EXPECT(bed_unit_right(bed, bed->range, i));
	return NULL;
}

static void *step_all(void *arg)
{
	const struct bed *bed = arg;
	size_t left = 1;

	while (left)
		ferry_demand_step(bed->demand, 0, 0, &left);
	return NULL;
}

/* Every third move answers @error, while three threads are at it. */
static void storm(enum ferry_fault_mode mode, int error, size_t done)
{
	struct inject_rule rule[40];
	pthread_t thread[3];
	struct bed bed;
	size_t i;

	inject_start();
	bed_create(&bed, mode);
	bed.recycle = true;
	bed_add(&bed, 128, 4, FERRY_DEMAND_STAGED);
	for (i = 0; i < 128; i += 2)
		bed.range->answer[i] = FERRY_DEMAND_MOVE;
	memset(rule, 0, sizeof(rule));
	for (i = 0; i < ARRAY_SIZE(rule); i++) {
		rule[i].call = INJECT_IOCTL;
		rule[i].request = FERRY__UFFDIO_MOVE;
		rule[i].nth = 3 * i + 1;
		rule[i].error = error;
		rule[i].done = done * page_size();
		inject_add(&rule[i]);
	}
	bed_begin(&bed);
	pthread_create(&thread[0], NULL, touch_all, &bed);
	pthread_create(&thread[1], NULL, step_all, &bed);
	pthread_create(&thread[2], NULL, step_all, &bed);
	for (i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	ck_assert_uint_ge(inject_hits(&rule[0]), 1);
	bed_stop(&bed);
	inject_stop();
}

static void storms_lose_no_page(enum ferry_fault_mode mode)
{
	storm(mode, EAGAIN, 0);
	storm(mode, EAGAIN, 1);
	storm(mode, ENOMEM, 0);
	storm(mode, EBUSY, 0);
}
BOTH_MODES(storms_lose_no_page)

/* --- before it begins ---------------------------------------------------- */

/* Fails the @nth call of a kind; returns whether there was one. */
static bool try_to_begin(enum inject_call call, uint64_t nth, int error)
{
	struct inject_rule rule = { .call = call, .nth = nth, .error = error };
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	struct ferry_demand_range range = { .initial = FERRY_DEMAND_WAITING };
	struct ferry_demand *demand = NULL;
	int r;

	range.len = 16 * page_size();
	range.addr = map_anon(range.len);
	inject_start();
	inject_add(&rule);
	r = ferry_demand_create(&p, NULL, &demand);
	ck_assert(!r == !!demand);
	if (!r)
		r = ferry_demand_prepare(demand, &range, 1, bed_produce, NULL);
	if (!r)
		r = ferry_demand_begin(demand, NULL);
	/* With what could not be begun nothing is left behind. */
	if (r)
		ck_assert(is_zero(range.addr, range.len));
	ck_assert(r <= 0);
	inject_stop();
	return rule.hits;
}

START_TEST(a_beginning_that_fails_leaves_nothing_behind)
{
	uint64_t nth;

	for (nth = 1; try_to_begin(INJECT_MMAP, nth, ENOMEM); nth++)
		;
	ck_assert_uint_gt(nth, 4);
	for (nth = 1; try_to_begin(INJECT_IOCTL, nth, ENOMEM); nth++)
		;
	ck_assert_uint_gt(nth, 1);
	for (nth = 1; try_to_begin(INJECT_MADVISE, nth, ENOMEM); nth++)
		;
	ck_assert_uint_gt(nth, 1);
}
END_TEST

/* The kernel has no memory for what remains: pages that were refused do not
 * stay poisoned for that. */
static void
a_demand_that_cannot_end_leaves_ordinary_memory(enum ferry_fault_mode mode)
{
	struct inject_rule none = { .call = INJECT_IOCTL,
				    .request = FERRY__UFFDIO_MOVE,
				    .error = ENOMEM,
				    .count = INJECT_ALWAYS };
	struct bed bed;
	int fd[2];

	inject_start();
	bed_create(&bed, mode);
	bed_add(&bed, 2, 16, FERRY_DEMAND_MOVE)->initial[1] = FERRY_DEMAND_IDLE;
	bed_begin(&bed);
	ck_assert_int_eq(pipe(fd), 0);
	ck_assert_int_eq((int)write(fd[1], bed_unit(&bed, 1), 1), -1);
	ck_assert_int_eq(errno, EFAULT);
	inject_add(&none);
	inject_clock(1000000);
	ck_assert_int_eq(ferry_demand_end(bed.demand), -ENOMEM);
	ferry_demand_destroy(bed.demand);
	ck_assert(is_zero(bed_unit(&bed, 0), 2 * bed.range->unit));
	close(fd[0]);
	close(fd[1]);
	bed_fini(&bed);
	inject_stop();
}
BOTH_MODES(a_demand_that_cannot_end_leaves_ordinary_memory)

static const struct test tests[] = {
	TEST(moved_units_survive_every_answer_in_sigbus_mode, "sigbus,move"),
	TEST(moved_units_survive_every_answer_in_thread_mode,
	     "userfaultfd,move"),
	TEST(staged_units_survive_every_answer_in_sigbus_mode, "sigbus,move"),
	TEST(staged_units_survive_every_answer_in_thread_mode,
	     "userfaultfd,move"),
	TEST(half_moved_staging_memory_is_not_taken_for_whole, "sigbus,move"),
	TEST_BOTH(zero_units_survive_want_of_memory),
	TEST(copies_survive_want_of_memory_in_sigbus_mode, "sigbus,move"),
	TEST(copies_survive_want_of_memory_in_thread_mode, "userfaultfd,move"),
	TEST(storms_lose_no_page_in_sigbus_mode, "sigbus,move"),
	TEST(storms_lose_no_page_in_thread_mode, "userfaultfd,move"),
	TEST(a_beginning_that_fails_leaves_nothing_behind, "sigbus"),
	TEST(a_demand_that_cannot_end_leaves_ordinary_memory_in_sigbus_mode,
	     "sigbus,move"),
	TEST(a_demand_that_cannot_end_leaves_ordinary_memory_in_thread_mode,
	     "userfaultfd,move"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
