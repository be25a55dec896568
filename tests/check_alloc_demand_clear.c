/* SPDX-License-Identifier: MIT */
/*
 * Units that have pages before they are produced, as huge pages may give them:
 * those pages go, and only those.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/demand_bed.h"
#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/served.h"
#include "uffd/uapi.h"

#define LEFT 0x5a

static bool is_left(const char *addr, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (addr[i] != LEFT)
			return false;
	return true;
}

/*
 * Every unit has pages at begin; of each @among one is to be produced, the
 * rest is at its place and stays as it is.
 */
static void begin_with_pages(enum ferry_fault_mode mode, size_t units,
			     size_t among, enum ferry_demand_answer answer)
{
	struct bed bed;
	size_t i;

	bed_create(&bed, mode);
	bed_add(&bed, units, 2, answer);
	for (i = 0; i < units; i++)
		if (i % among)
			bed.range->initial[i] = FERRY_DEMAND_DONE;
	memset(bed.range->dst, LEFT, bed.range->len);
	bed_begin(&bed);
	for (i = 0; i < units; i++)
		if (i % among)
			ck_assert(is_left(bed_unit(&bed, i), bed.range->unit));
		else if (i % 3)
			bed_assert_unit(&bed, i);
	ck_assert_int_eq(ferry_demand_end(bed.demand), 0);
	for (i = 0; i < units; i++)
		if (i % among)
			ck_assert(is_left(bed_unit(&bed, i), bed.range->unit));
		else
			ck_assert(bed_unit_right(&bed, bed.range, i));
	ferry_demand_destroy(bed.demand);
	bed_fini(&bed);
}

/* Few runs of units and many, the last of them with and without PAGEMAP_SCAN. */
static void pages_of_units_to_be_produced_go(enum ferry_fault_mode mode)
{
	struct inject_rule old = { .call = INJECT_IOCTL,
				   .request = FERRY__PAGEMAP_SCAN,
				   .error = ENOTTY,
				   .count = INJECT_ALWAYS };

	begin_with_pages(mode, 40, 1, FERRY_DEMAND_MOVE);
	begin_with_pages(mode, 40, 3, FERRY_DEMAND_STAGED);
	begin_with_pages(mode, 1500, 2, FERRY_DEMAND_MOVE);
	begin_with_pages(mode, 1500, 7, FERRY_DEMAND_ZERO);
	inject_start();
	inject_add(&old);
	begin_with_pages(mode, 1500, 2, FERRY_DEMAND_MOVE);
	inject_stop();
}
BOTH_MODES(pages_of_units_to_be_produced_go)

/* Each run of pages is one page, and there are more than one look tells of. */
static void scattered_pages_go(enum ferry_fault_mode mode)
{
	struct bed bed;
	size_t i;

	bed_create(&bed, mode);
	bed_add(&bed, 1200, 2, FERRY_DEMAND_MOVE);
	for (i = 0; i < 1200; i++) {
		if (i % 3 == 2)
			bed.range->initial[i] = FERRY_DEMAND_DONE;
		else
			bed_unit(&bed, i)[i % 3 * page_size()] = LEFT;
	}
	bed_begin(&bed);
	bed_stop(&bed);
}
BOTH_MODES(scattered_pages_go)

static void idle_units(struct bed *bed, enum ferry_fault_mode mode)
{
	bed_create_idle(bed, mode, 8);
	memset(bed->range->dst, LEFT, bed->range->len);
	bed_begin(bed);
}

static void pages_of_units_expected_later_go(enum ferry_fault_mode mode)
{
	struct bed bed;

	idle_units(&bed, mode);
	ck_assert_int_eq(ferry_demand_expect(bed.demand, bed_unit(&bed, 3),
					     2 * bed.range->unit),
			 0);
	bed.range->initial[3] = bed.range->initial[4] = FERRY_DEMAND_WAITING;
	bed_assert_unit(&bed, 4);
	bed_stop(&bed);
}
BOTH_MODES(pages_of_units_expected_later_go)

static void pages_of_provided_units_go(enum ferry_fault_mode mode)
{
	struct bed bed;

	idle_units(&bed, mode);
	ck_assert_int_eq(ferry_demand_provide(
				 bed.demand, bed_unit(&bed, 3), bed.range->unit,
				 bed.range->src + 3 * bed.range->unit, NULL),
			 0);
	ck_assert(served_pages_hold(bed_unit(&bed, 3), bed.range->unit,
				    bed.range->first + 3 * 16));
	ck_assert_int_eq(ferry_demand_provide(bed.demand, bed_unit(&bed, 5),
					      bed.range->unit, NULL, NULL),
			 0);
	ck_assert(is_zero(bed_unit(&bed, 5), bed.range->unit));
	bed_stop(&bed);
}
BOTH_MODES(pages_of_provided_units_go)

/* As it is after somebody touched it too early, in mode THREAD. */
START_TEST(poisoned_units_can_be_provided)
{
	struct bed bed;

	idle_units(&bed, FERRY_FAULT_THREAD);
	madvise(bed_unit(&bed, 2), bed.range->unit, MADV_DONTNEED);
	ck_assert_int_eq(ferry_uffd_poison(ferry_demand_uffd(bed.demand),
					   bed_unit(&bed, 2), page_size(), 0,
					   NULL),
			 0);
	ck_assert_int_eq(ferry_demand_provide(bed.demand, bed_unit(&bed, 2),
					      bed.range->unit, NULL, NULL),
			 0);
	ck_assert(is_zero(bed_unit(&bed, 2), bed.range->unit));
	bed_stop(&bed);
}
END_TEST

START_TEST(a_host_that_vouches_is_believed)
{
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	struct bed bed;
	uint64_t calls;

	inject_start();
	p.flags = FERRY_DEMAND_VACANT;
	bed_create_with(&bed, &p);
	bed_add(&bed, 200, 2, FERRY_DEMAND_MOVE);
	bed.range->initial[0] = FERRY_DEMAND_IDLE;
	bed_prepare(&bed);
	calls = inject_calls(INJECT_MADVISE, MADV_DONTNEED);
	ck_assert_int_eq(ferry_demand_begin(bed.demand, NULL), 0);
	ck_assert_int_eq(ferry_demand_expect(bed.demand, bed_unit(&bed, 0),
					     bed.range->unit),
			 0);
	ck_assert_uint_eq(inject_calls(INJECT_MADVISE, MADV_DONTNEED), calls);
	bed.range->initial[0] = FERRY_DEMAND_WAITING;
	bed_stop(&bed);
	inject_stop();
}
END_TEST

/* As many attempts to drop the page there fail. */
static void pages_stay(char *at, uint64_t attempts)
{
	static struct inject_rule stay = { .call = INJECT_MADVISE,
					   .request = MADV_DONTNEED,
					   .error = ENOMEM };

	stay.at = (uintptr_t)at;
	stay.count = attempts;
	inject_add(&stay);
}

/* What cannot be dropped is not served: it would be taken for the unit. */
START_TEST(pages_that_stay_are_a_reason_not_to_begin)
{
	enum ferry_reason reason = FERRY_REASON_NONE;
	struct bed bed;

	inject_start();
	bed_create(&bed, FERRY_FAULT_SIGBUS);
	bed_add(&bed, 4, 16, FERRY_DEMAND_MOVE);
	memset(bed.range->dst, LEFT, bed.range->len);
	bed_prepare(&bed);
	pages_stay(bed.range->dst, 1);
	ck_assert_int_eq(ferry_demand_begin(bed.demand, &reason), -ENOMEM);
	ck_assert_int_eq(reason, FERRY_REASON_PRESENT);
	ck_assert(is_left(bed.range->dst, bed.range->len));
	ck_assert_int_eq(ferry_demand_begin(bed.demand, &reason), 0);
	bed_stop(&bed);
	inject_stop();
}
END_TEST

/* A system call on a unit that is not to be had. */
static void touch_in_vain(void *arg)
{
	int fd[2];

	EXPECT(!pipe(fd));
	EXPECT(write(fd[1], arg, 1) < 0 && errno == EFAULT);
	close(fd[0]);
	close(fd[1]);
}

START_TEST(what_was_refused_is_ordinary_where_it_did_not_begin)
{
	struct inject_rule stay = { .call = INJECT_MADVISE,
				    .request = MADV_DONTNEED,
				    .error = ENOMEM,
				    .hook = touch_in_vain };
	struct bed bed;

	inject_start();
	bed_create_idle(&bed, FERRY_FAULT_THREAD, 8);
	bed_prepare(&bed);
	stay.at = (uintptr_t)bed.range->dst;
	stay.arg = bed_unit(&bed, 5);
	inject_add(&stay);
	ck_assert_int_eq(ferry_demand_begin(bed.demand, NULL), -ENOMEM);
	served_assert_noted();
	ck_assert(is_zero(bed_unit(&bed, 5), bed.range->unit));
	ck_assert_int_eq(ferry_demand_begin(bed.demand, NULL), 0);
	bed_stop(&bed);
	inject_stop();
}
END_TEST

START_TEST(pages_that_stay_are_a_reason_not_to_expect)
{
	struct bed bed;
	char *at;

	inject_start();
	idle_units(&bed, FERRY_FAULT_SIGBUS);
	at = bed_unit(&bed, 3);
	pages_stay(at, 2);
	ck_assert_int_eq(ferry_demand_expect(bed.demand, at, bed.range->unit),
			 -ENOMEM);
	ck_assert_int_eq(ferry_demand_provide(bed.demand, at, bed.range->unit,
					      NULL, NULL),
			 -ENOMEM);
	ck_assert_int_eq(ferry_demand_state(bed.demand, at), FERRY_DEMAND_IDLE);
	ck_assert_int_eq(ferry_demand_expect(bed.demand, at, bed.range->unit),
			 0);
	bed.range->initial[3] = FERRY_DEMAND_WAITING;
	bed_stop(&bed);
	inject_stop();
}
END_TEST

static const struct test tests[] = {
	TEST_BOTH(pages_of_units_to_be_produced_go),
	TEST_BOTH(scattered_pages_go),
	TEST_BOTH(pages_of_units_expected_later_go),
	TEST_BOTH(pages_of_provided_units_go),
	TEST(poisoned_units_can_be_provided, "userfaultfd,poison"),
	TEST(a_host_that_vouches_is_believed, "sigbus"),
	TEST(pages_that_stay_are_a_reason_not_to_begin, "sigbus"),
	TEST(what_was_refused_is_ordinary_where_it_did_not_begin,
	     "userfaultfd"),
	TEST(pages_that_stay_are_a_reason_not_to_expect, "sigbus"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
