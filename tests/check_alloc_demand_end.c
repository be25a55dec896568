/* SPDX-License-Identifier: MIT */
/*
 * The life of a demand: parameters, services that are shared, the end while
 * faults are in flight, children of fork(2), and how it is done without
 * UFFDIO_MOVE or without userfaultfd.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/demand_bed.h"
#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/served.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

/* --- parameters ---------------------------------------------------------- */

static int create_with(const struct ferry_demand_params *p)
{
	struct ferry_demand *demand = NULL;
	int r = ferry_demand_create(p, NULL, &demand);

	ck_assert(!r == !!demand);
	ferry_demand_destroy(demand);
	return r;
}

START_TEST(wrong_parameters_are_refused)
{
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);

	ck_assert_int_eq(create_with(NULL), -EINVAL);
	p.flags = 1u << 31;
	ck_assert_int_eq(create_with(&p), -EINVAL);
	p.flags = 0;
	p.mode = (enum ferry_demand_mode)9;
	ck_assert_int_eq(create_with(&p), -EINVAL);
	p.mode = FERRY_DEMAND_SIGBUS;
	p.reserve = 5;
	ck_assert_int_eq(create_with(&p), -EINVAL);
	p.reserve = page_size();
	ck_assert_int_eq(create_with(&p), 0);
	ferry_demand_destroy(NULL);
}
END_TEST

static int prepare_one(struct ferry_demand *demand, void *addr, size_t len,
		       unsigned int unit_pages, enum ferry_demand_state initial)
{
	struct ferry_demand_range range = {
		.addr = addr,
		.len = len,
		.unit_pages = unit_pages,
		.initial = initial,
	};

	return ferry_demand_prepare(demand, &range, 1, bed_produce, NULL);
}

START_TEST(wrong_ranges_are_refused)
{
	struct ferry_demand_range two[2] = { { .unit_pages = 1 },
					     { .unit_pages = 1 } };
	size_t page = page_size();
	char *mem = map_anon(64 * page);
	struct bed bed;

	bed_create(&bed, FERRY_FAULT_SIGBUS);
	ck_assert_int_eq(
		prepare_one(bed.demand, mem + 1, page, 1, FERRY_DEMAND_IDLE),
		-EINVAL);
	ck_assert_int_eq(
		prepare_one(bed.demand, mem, 3 * page, 3, FERRY_DEMAND_IDLE),
		-EINVAL);
	ck_assert_int_eq(
		prepare_one(bed.demand, mem, 3 * page, 2, FERRY_DEMAND_IDLE),
		-EINVAL);
	ck_assert_int_eq(
		prepare_one(bed.demand, mem, 16 * page, 0, FERRY_DEMAND_READY),
		-EINVAL);
	two[0].addr = mem;
	two[1].addr = mem + page;
	two[0].len = two[1].len = 2 * page;
	ck_assert_int_eq(
		ferry_demand_prepare(bed.demand, two, 2, bed_produce, NULL),
		-EINVAL);
	ck_assert_int_eq(ferry_demand_begin(bed.demand, NULL), -EINVAL);
	ck_assert_int_eq(
		prepare_one(bed.demand, mem, 16 * page, 0, FERRY_DEMAND_IDLE),
		0);
	ferry_demand_destroy(bed.demand);
}
END_TEST

START_TEST(calls_out_of_order_are_refused)
{
	struct bed bed;

	bed_create(&bed, FERRY_FAULT_SIGBUS);
	ck_assert_int_eq(ferry_demand_step(bed.demand, 0, 0, NULL), -ENOTCONN);
	ck_assert_int_eq(ferry_demand_run(bed.demand, NULL), -ENOTCONN);
	ck_assert_int_eq(ferry_demand_end(bed.demand), -ENOTCONN);
	bed_add(&bed, 2, 16, FERRY_DEMAND_MOVE);
	bed_prepare(&bed);
	ck_assert_int_eq(ferry_demand_provide(bed.demand, bed_unit(&bed, 0),
					      bed.range->unit, NULL, NULL),
			 -ENOTCONN);
	bed_begin(&bed);
	ck_assert_int_eq(ferry_demand_begin(bed.demand, NULL), -EALREADY);
	ck_assert_int_eq(prepare_one(bed.demand, bed.range->dst, bed.range->len,
				     16, FERRY_DEMAND_IDLE),
			 -EALREADY);
	bed_stop(&bed);
}
END_TEST

START_TEST(memory_that_cannot_be_served_is_refused_by_begin)
{
	enum ferry_reason reason = FERRY_REASON_NONE;
	size_t len = 16 * page_size();
	struct ferry_uffd_params p = FERRY_INIT(struct ferry_uffd_params);
	void *mem = map_anon(len);
	struct ferry_uffd *other;
	struct bed bed;

	/* One page has one userfaultfd. */
	ck_assert_int_eq(ferry_uffd_open(&p, NULL, &other), 0);
	ck_assert_int_eq(ferry_uffd_register(other, mem, len,
					     FERRY_REGISTER_MISSING, NULL),
			 0);
	bed_create(&bed, FERRY_FAULT_SIGBUS);
	ck_assert_int_eq(
		prepare_one(bed.demand, mem, len, 16, FERRY_DEMAND_WAITING), 0);
	ck_assert_int_eq(ferry_demand_begin(bed.demand, &reason), -EBUSY);
	ck_assert_int_eq(reason, FERRY_REASON_OTHER_UFFD);
	ck_assert_int_eq(ferry_demand_step(bed.demand, 0, 0, NULL), -ENOTCONN);
	ferry_demand_destroy(bed.demand);
	ferry_uffd_close(other);
}
END_TEST

/* --- again, and with others ---------------------------------------------- */

static void
a_demand_serves_one_cycle_after_the_other(enum ferry_fault_mode mode)
{
	struct bed bed;
	int i;

	bed_create(&bed, mode);
	bed.recycle = true;
	for (i = 0; i < 4; i++) {
		bed_add(&bed, 40, 16, FERRY_DEMAND_STAGED);
		bed_begin(&bed);
		bed_assert_unit(&bed, 20);
		ck_assert_int_eq(ferry_demand_end(bed.demand), 0);
		served_assert_noted();
		bed_assert_right(&bed);
		bed_fini(&bed);
	}
	ck_assert_uint_eq(bed_stats(&bed).answers[FERRY_DEMAND_STAGED], 160);
	ferry_demand_destroy(bed.demand);
}
BOTH_MODES(a_demand_serves_one_cycle_after_the_other)

static void two_demands_share_a_service(enum ferry_fault_mode mode)
{
	struct ferry_fault_params f = FERRY_INIT(struct ferry_fault_params);
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	struct bed a, b;

	f.mode = mode;
	ck_assert_int_eq(ferry_fault_service_create(&f, NULL, &p.service), 0);
	bed_create_with(&a, &p);
	bed_create_with(&b, &p);
	ck_assert_int_eq((int)ferry_demand_mode(a.demand), (int)mode);
	bed_add(&a, 3, 16, FERRY_DEMAND_MOVE);
	bed_add(&b, 3, 4, FERRY_DEMAND_STAGED);
	bed_begin(&a);
	bed_begin(&b);
	bed_assert_unit(&a, 1);
	bed_assert_unit(&b, 1);
	bed_stop(&a);
	bed_assert_unit(&b, 2);
	bed_stop(&b);
	ferry_fault_service_destroy(p.service);
}
BOTH_MODES(two_demands_share_a_service)

/* --- the end ------------------------------------------------------------- */

static void the_end_completes_what_remains(enum ferry_fault_mode mode)
{
	struct bed bed;

	bed_create(&bed, mode);
	bed_add(&bed, 70, 16, FERRY_DEMAND_STAGED)->initial[69] =
		FERRY_DEMAND_IDLE;
	bed_begin(&bed);
	bed_assert_unit(&bed, 1);
	ck_assert_int_eq(ferry_demand_end(bed.demand), 0);
	bed_assert_right(&bed);
	/* Ordinary memory now: what was no part of it reads as zero. */
	ck_assert(is_zero(bed_unit(&bed, 69), bed.range->unit));
	ck_assert_int_eq(ferry_demand_end(bed.demand), -ENOTCONN);
	ferry_demand_destroy(bed.demand);
	bed_fini(&bed);
}
BOTH_MODES(the_end_completes_what_remains)

START_TEST(destroying_completes_too)
{
	struct bed bed;

	bed_start(&bed, FERRY_FAULT_SIGBUS, 10, FERRY_DEMAND_STAGED);
	ferry_demand_destroy(bed.demand);
	bed_assert_right(&bed);
	bed_fini(&bed);
}
END_TEST

struct toucher {
	struct bed *bed;
	struct random random;
	pthread_t thread;
	bool *stop;
};

static void *touch_on(void *arg)
{
	struct toucher *t = arg;
	const struct bed_range *range = t->bed->range;

	while (!__atomic_load_n(t->stop, __ATOMIC_RELAXED))
		EXPECT(bed_unit_right(t->bed, range,
				      random_below(&t->random, range->units)));
	return NULL;
}

static void the_end_waits_for_faults_in_flight(enum ferry_fault_mode mode)
{
	struct random r = harness_random();
	struct toucher t[3];
	bool stop = false;
	struct bed bed;
	size_t i, round;

	bed_create(&bed, mode);
	bed.recycle = true;
	for (round = 0; round < harness_scaled(16); round++) {
		stop = false;
		bed_add(&bed, 64, 4, FERRY_DEMAND_STAGED);
		bed_begin(&bed);
		for (i = 0; i < 3; i++) {
			t[i] = (struct toucher){ .bed = &bed, .stop = &stop };
			t[i].random = random_seeded(random_next(&r));
			pthread_create(&t[i].thread, NULL, touch_on, &t[i]);
		}
		ck_assert_int_eq(ferry_demand_end(bed.demand), 0);
		__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
		for (i = 0; i < 3; i++)
			pthread_join(t[i].thread, NULL);
		served_assert_noted();
		bed_assert_right(&bed);
		bed_fini(&bed);
	}
	ferry_demand_destroy(bed.demand);
}
BOTH_MODES(the_end_waits_for_faults_in_flight)

/* As a heap hands out fresh blocks: without knowing that the end is near. */
static void *take_blocks(void *arg)
{
	struct bed *bed = arg;
	size_t i;
	char *at;
	int r;

	for (i = 1; i < bed->range->units; i++) {
		at = bed_unit(bed, i);
		if (i % 3)
			r = ferry_demand_provide(bed->demand, at,
						 bed->range->unit, NULL, NULL);
		else
			r = ferry_demand_expect(bed->demand, at,
						bed->range->unit);
		EXPECT(!r || r == -ENOTCONN);
		EXPECT(!ferry_demand_prefault(bed->demand, at, 1));
		memset(at, 1, page_size());
	}
	return NULL;
}

static void
who_is_told_of_the_end_finds_ordinary_memory(enum ferry_fault_mode mode)
{
	struct bed bed;
	pthread_t thread;
	size_t i;

	bed_create(&bed, mode);
	for (i = 0; i < harness_scaled(150); i++) {
		bed_add(&bed, 80, 1, FERRY_DEMAND_ZERO);
		memset(bed.range->initial + 1, FERRY_DEMAND_IDLE, 79);
		bed_begin(&bed);
		pthread_create(&thread, NULL, take_blocks, &bed);
		while (ferry_demand_state(bed.demand, bed_unit(&bed, i % 70)) !=
		       FERRY_DEMAND_DONE)
			ferry_demand_step(bed.demand, 1, 0, NULL);
		ck_assert_int_eq(ferry_demand_end(bed.demand), 0);
		pthread_join(thread, NULL);
		served_assert_noted();
		bed_fini(&bed);
	}
	ferry_demand_destroy(bed.demand);
}
BOTH_MODES(who_is_told_of_the_end_finds_ordinary_memory)

/* --- fork ---------------------------------------------------------------- */

#define CHECK_CHILD(what, cond)                                                \
	do {                                                                   \
		if (!(cond))                                                   \
			_exit(what);                                           \
	} while (0)

static void in_child(const struct bed *bed)
{
	char *at = bed->range->dst;
	size_t len = bed->range->unit;
	struct ferry_demand_stats stats = FERRY_INIT(struct ferry_demand_stats);

	/* What was there is there, the rest reads as zero. */
	CHECK_CHILD(1, bed_unit_right(bed, bed->range, 0));
	CHECK_CHILD(2, is_zero(bed_unit(bed, 1), len));
	CHECK_CHILD(3, ferry_demand_step(bed->demand, 0, 0, NULL) == -ECHILD);
	CHECK_CHILD(4, ferry_demand_run(bed->demand, NULL) == -ECHILD);
	CHECK_CHILD(5, ferry_demand_end(bed->demand) == -ECHILD);
	CHECK_CHILD(6, ferry_demand_expect(bed->demand, at, len) == -ECHILD);
	CHECK_CHILD(7, ferry_demand_provide(bed->demand, at, len, NULL, NULL) ==
			       -ECHILD);
	CHECK_CHILD(8, ferry_demand_prefault(bed->demand, at, len) == -ECHILD);
	CHECK_CHILD(9, ferry_demand_recycle(bed->demand, bed->range->src,
					    len) == -ECHILD);
	CHECK_CHILD(10, ferry_demand_begin(bed->demand, NULL) == -ECHILD);
	CHECK_CHILD(11, ferry_demand_complete_stopped(bed->demand) == -ECHILD);
	CHECK_CHILD(12, ferry_demand_stats(bed->demand, &stats) == -ECHILD);
	ferry_demand_destroy(bed->demand);
	_exit(0);
}

static void a_child_is_told_that_it_has_no_demand(enum ferry_fault_mode mode)
{
	struct bed bed;
	int status, pid;

	bed_start(&bed, mode, 4, FERRY_DEMAND_MOVE);
	bed_assert_unit(&bed, 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		in_child(&bed);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	/* The parent goes on; its pages are shared: copied, not moved. */
	bed_assert_unit(&bed, 2);
	bed_stop(&bed);
}
BOTH_MODES(a_child_is_told_that_it_has_no_demand)

/* --- without MOVE, without userfaultfd ----------------------------------- */

static void add_all_kinds(struct bed *bed)
{
	struct bed_range *range = bed_add(bed, 24, 16, FERRY_DEMAND_MOVE);
	size_t i;

	for (i = 0; i < 24; i++)
		range->answer[i] =
			(unsigned char)(i < 8 ? FERRY_DEMAND_MOVE
					      : FERRY_DEMAND_STAGED + i % 4);
}

static void all_is_right_by_copying(enum ferry_fault_mode mode)
{
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	struct bed bed;

	p.mode = (enum ferry_demand_mode)mode;
	p.flags = FERRY_DEMAND_COPY_ONLY;
	bed_create_with(&bed, &p);
	bed.recycle = true;
	add_all_kinds(&bed);
	bed_begin(&bed);
	bed_assert_unit(&bed, 10);
	ck_assert_int_eq(ferry_demand_run(bed.demand, NULL), 0);
	ck_assert_int_eq(bed_stats(&bed).method, FERRY_DEMAND_BY_COPY);
	ck_assert_uint_eq(bed_stats(&bed).pages_moved, 0);
	ck_assert_uint_ge(bed_stats(&bed).pages_copied, 8 * 16);
	bed_stop(&bed);
}
BOTH_MODES(all_is_right_by_copying)

static void a_move_that_is_refused_is_a_copy(enum ferry_fault_mode mode)
{
	struct inject_rule refuse = {
		.call = INJECT_IOCTL,
		.request = FERRY__UFFDIO_MOVE,
		.error = EPERM,
		.count = INJECT_ALWAYS,
	};
	struct bed bed;

	inject_start();
	inject_add(&refuse);
	bed_create(&bed, mode);
	add_all_kinds(&bed);
	bed_begin(&bed);
	bed_assert_unit(&bed, 10);
	ck_assert_int_eq(ferry_demand_run(bed.demand, NULL), 0);
	ck_assert_int_eq(bed_stats(&bed).method, FERRY_DEMAND_BY_COPY);
	/* It was asked at most twice: the rest was copied straight away. */
	ck_assert_uint_le(inject_hits(&refuse), 2);
	bed_stop(&bed);
}
BOTH_MODES(a_move_that_is_refused_is_a_copy)

static struct ferry_demand_params stopped_params(void)
{
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);

	p.mode = FERRY_DEMAND_STOPPED;
	return p;
}

static void complete_stopped_and_check(struct bed *bed)
{
	add_all_kinds(bed);
	bed->range->initial[23] = FERRY_DEMAND_IDLE;
	/* Pages that units have before, as huge pages may give them. */
	memset(bed->range->dst, 0x5a, bed->range->len);
	bed_begin(bed);
	ck_assert_int_eq(ferry_demand_step(bed->demand, 0, 0, NULL), -EINVAL);
	ck_assert_int_eq(ferry_demand_run(bed->demand, NULL), -EINVAL);
	ck_assert_int_eq(ferry_demand_provide(bed->demand, bed_unit(bed, 23),
					      bed->range->unit, NULL, NULL),
			 0);
	ck_assert_int_eq(ferry_demand_complete_stopped(bed->demand), 0);
	ck_assert_int_eq(bed_stats(bed).method, FERRY_DEMAND_IN_PLACE);
	ck_assert_uint_eq(bed_in_state(bed, FERRY_DEMAND_DONE), 24);
	ck_assert(is_zero(bed_unit(bed, 23), bed->range->unit));
	/* The sources were given back. */
	ck_assert(!page_there(bed->range->src));
	bed_stop(bed);
}

START_TEST(while_all_is_stopped_units_are_written_in_place)
{
	struct ferry_demand_params p = stopped_params();
	struct bed bed;

	bed_create_with(&bed, &p);
	ck_assert_ptr_null(ferry_demand_uffd(bed.demand));
	ck_assert_uint_eq(bed_stats(&bed).staging, 0);
	complete_stopped_and_check(&bed);
}
END_TEST

START_TEST(without_userfaultfd_it_is_done_stopped)
{
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	struct inject_rule no_call = { .call = INJECT_USERFAULTFD,
				       .error = ENOSYS,
				       .count = INJECT_ALWAYS };
	struct inject_rule no_device = { .call = INJECT_OPEN,
					 .path = "/dev/userfaultfd",
					 .error = ENOENT,
					 .count = INJECT_ALWAYS };
	enum ferry_reason reason;
	struct ferry_demand *none;
	struct bed bed;

	inject_start();
	inject_add(&no_call);
	inject_add(&no_device);
	ck_assert_int_lt(ferry_demand_create(&p, &reason, &none), 0);
	ck_assert_int_ne(reason, FERRY_REASON_NONE);
	p.flags = FERRY_DEMAND_OR_STOPPED;
	bed_create_with(&bed, &p);
	ck_assert_int_eq((int)ferry_demand_mode(bed.demand),
			 FERRY_DEMAND_STOPPED);
	complete_stopped_and_check(&bed);
}
END_TEST

static void stopping_all_works_with_a_service_too(enum ferry_fault_mode mode)
{
	struct bed bed;

	bed_create(&bed, mode);
	add_all_kinds(&bed);
	bed_begin(&bed);
	ck_assert_int_eq(ferry_demand_complete_stopped(bed.demand), 0);
	ck_assert_uint_eq(bed_stats(&bed).by_background, 24);
	ck_assert_uint_eq(bed_stats(&bed).faults, 0);
	bed_stop(&bed);
}
BOTH_MODES(stopping_all_works_with_a_service_too)

static const struct test tests[] = {
	TEST(wrong_parameters_are_refused, "sigbus"),
	TEST(wrong_ranges_are_refused, "sigbus"),
	TEST(calls_out_of_order_are_refused, "sigbus"),
	TEST(memory_that_cannot_be_served_is_refused_by_begin, "sigbus"),
	TEST_BOTH(a_demand_serves_one_cycle_after_the_other),
	TEST_BOTH(two_demands_share_a_service),
	TEST_BOTH(the_end_completes_what_remains),
	TEST(destroying_completes_too, "sigbus"),
	TEST_BOTH(the_end_waits_for_faults_in_flight),
	TEST_BOTH(who_is_told_of_the_end_finds_ordinary_memory),
	TEST_BOTH(a_child_is_told_that_it_has_no_demand),
	TEST_BOTH(all_is_right_by_copying),
	TEST(a_move_that_is_refused_is_a_copy_in_sigbus_mode, "sigbus,move"),
	TEST(a_move_that_is_refused_is_a_copy_in_thread_mode,
	     "userfaultfd,move"),
	TEST(while_all_is_stopped_units_are_written_in_place, NULL),
	TEST(without_userfaultfd_it_is_done_stopped, NULL),
	TEST_BOTH(stopping_all_works_with_a_service_too),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
