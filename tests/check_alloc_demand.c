/* SPDX-License-Identifier: MIT */
/* Demand ranges: what each answer, each state and each call promises. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/demand_bed.h"
#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/served.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

/* --- answers ------------------------------------------------------------- */

static void staged_units_hold_what_was_staged(enum ferry_fault_mode mode)
{
	struct bed bed;

	bed_start(&bed, mode, 4, FERRY_DEMAND_STAGED);
	bed_assert_unit(&bed, 2);
	ck_assert_int_eq(ferry_demand_state(bed.demand, bed_unit(&bed, 2)),
			 FERRY_DEMAND_DONE);
	ck_assert_uint_eq(bed_in_state(&bed, FERRY_DEMAND_WAITING), 3);
	ck_assert_uint_eq(bed_stats(&bed).by_faults, 1);
	ck_assert_uint_eq(bed_stats(&bed).answers[FERRY_DEMAND_STAGED], 1);
	bed_stop(&bed);
}
BOTH_MODES(staged_units_hold_what_was_staged)

static void moved_units_leave_holes_at_their_source(enum ferry_fault_mode mode)
{
	struct bed bed;
	size_t at;

	bed_start(&bed, mode, 3, FERRY_DEMAND_MOVE);
	bed_assert_unit(&bed, 1);
	ck_assert_uint_eq(bed_stats(&bed).pages_moved, 16);
	ck_assert_uint_eq(bed_stats(&bed).pages_copied, 0);
	ck_assert_int_eq(bed_stats(&bed).method, FERRY_DEMAND_BY_MOVE);
	for (at = 0; at < bed.range->len; at += page_size())
		ck_assert(page_there(bed.range->src + at) ==
			  (at / bed.range->unit != 1));
	bed_stop(&bed);
}
BOTH_MODES(moved_units_leave_holes_at_their_source)

static void zero_units_read_as_zero(enum ferry_fault_mode mode)
{
	struct bed bed;

	bed_start(&bed, mode, 2, FERRY_DEMAND_ZERO);
	bed_assert_unit(&bed, 0);
	ck_assert_uint_eq(bed_stats(&bed).pages_zeroed, 16);
	ck_assert_uint_eq(bed_stats(&bed).faults, 1);
	bed_stop(&bed);
}
BOTH_MODES(zero_units_read_as_zero)

static void
skipped_units_are_what_the_host_installed(enum ferry_fault_mode mode)
{
	struct bed bed;

	bed_start(&bed, mode, 2, FERRY_DEMAND_SKIP);
	bed_assert_unit(&bed, 1);
	ck_assert_uint_eq(bed_stats(&bed).pages_copied, 0);
	bed_stop(&bed);
}
BOTH_MODES(skipped_units_are_what_the_host_installed)

static sigjmp_buf escape;

static void jump_out(int sig)
{
	siglongjmp(escape, sig);
}

/* Touches a byte; the signal that this raises, or 0. */
static int touch_caught(const char *addr)
{
	int sig = sigsetjmp(escape, 1);

	if (!sig)
		touch(addr);
	return sig;
}

/* Before a service is made, so that it passes on to this. */
static void catch_bus(void)
{
	struct sigaction act = { .sa_handler = jump_out };

	ck_assert_int_eq(sigaction(SIGBUS, &act, NULL), 0);
	ck_assert_int_eq(sigaction(SIGSEGV, &act, NULL), 0);
}

static void units_not_to_be_had_are_refused(enum ferry_fault_mode mode)
{
	struct bed bed;

	catch_bus();
	bed_create(&bed, mode);
	bed_add(&bed, 3, 16, FERRY_DEMAND_STAGED)->answer[1] =
		FERRY_DEMAND_NONE;
	bed_begin(&bed);
	ck_assert_int_ne(touch_caught(bed_unit(&bed, 1)), 0);
	ck_assert_int_eq(ferry_demand_state(bed.demand, bed_unit(&bed, 1)),
			 FERRY_DEMAND_IDLE);
	/* It is not asked for again. */
	ck_assert_int_ne(touch_caught(bed_unit(&bed, 1)), 0);
	ck_assert_int_eq(touch_caught(bed_unit(&bed, 0)), 0);
	ck_assert_uint_ge(bed_stats(&bed).refused, 1);
	bed_stop(&bed);
}
BOTH_MODES(units_not_to_be_had_are_refused)

static void idle_units_are_refused(enum ferry_fault_mode mode)
{
	struct bed bed;

	catch_bus();
	bed_create(&bed, mode);
	bed_add(&bed, 3, 4, FERRY_DEMAND_MOVE)->initial[2] = FERRY_DEMAND_IDLE;
	bed_begin(&bed);
	ck_assert_int_eq(touch_caught(bed_unit(&bed, 1)), 0);
	ck_assert_int_ne(touch_caught(bed_unit(&bed, 2)), 0);
	bed_stop(&bed);
}
BOTH_MODES(idle_units_are_refused)

static bool gone_on;

static void nobody_has_gone_on(void *arg)
{
	(void)arg;
	usleep(20000);
	EXPECT(!__atomic_load_n(&gone_on, __ATOMIC_ACQUIRE));
}

/* A handler thread lets go of the unit before it wakes who touched it. */
START_TEST(who_was_refused_may_ask_for_the_unit)
{
	struct inject_rule wake = {
		.call = INJECT_IOCTL,
		.request = FERRY__UFFDIO_WAKE,
		.hook = nobody_has_gone_on,
	};
	struct bed bed;

	catch_bus();
	inject_start();
	bed_create(&bed, FERRY_FAULT_THREAD);
	bed_add(&bed, 3, 4, FERRY_DEMAND_MOVE)->initial[2] = FERRY_DEMAND_IDLE;
	bed_begin(&bed);
	inject_add(&wake);
	ck_assert_int_ne(touch_caught(bed_unit(&bed, 2)), 0);
	__atomic_store_n(&gone_on, true, __ATOMIC_RELEASE);
	ck_assert_int_eq(ferry_demand_expect(bed.demand, bed_unit(&bed, 2),
					     bed.range->unit),
			 0);
	ck_assert_uint_eq(inject_hits(&wake), 1);
	bed.range->initial[2] = FERRY_DEMAND_WAITING;
	bed_stop(&bed);
}
END_TEST

static void a_source_that_makes_no_sense_is_refused(enum ferry_fault_mode mode)
{
	struct bed bed;

	bed_create(&bed, mode);
	bed_add(&bed, 2, 1, FERRY_DEMAND_MOVE);
	bed.range->answer[1] = FERRY_DEMAND_NONE;
	/* Not readable: neither moving nor copying can do anything with it. */
	ck_assert_int_eq(mprotect(bed.range->src, page_size(), PROT_NONE), 0);
	bed_begin(&bed);
	ck_assert_int_eq(ferry_demand_prefault(bed.demand, bed_unit(&bed, 0),
					       page_size()),
			 -ENODATA);
	ck_assert_int_ne(bed_stats(&bed).error, 0);
	ck_assert_int_eq(ferry_demand_state(bed.demand, bed_unit(&bed, 0)),
			 FERRY_DEMAND_IDLE);
	bed.range->answer[0] = FERRY_DEMAND_NONE;
	bed_stop(&bed);
}
BOTH_MODES(a_source_that_makes_no_sense_is_refused)

static void holes_of_a_source_read_as_zero(enum ferry_fault_mode mode)
{
	struct bed bed;
	size_t page = page_size();

	bed_create(&bed, mode);
	bed_add(&bed, 2, 8, FERRY_DEMAND_MOVE);
	madvise(bed.range->src, page, MADV_DONTNEED);
	madvise(bed.range->src + 5 * page, 2 * page, MADV_DONTNEED);
	bed_begin(&bed);
	ck_assert(is_zero(bed.range->dst, page));
	ck_assert(served_pages_hold(bed.range->dst + page, 4 * page,
				    bed.range->first + 1));
	ck_assert(is_zero(bed.range->dst + 5 * page, 2 * page));
	ck_assert(page_holds(bed.range->dst + 7 * page, bed.range->first + 7));
	ck_assert_int_eq(ferry_demand_end(bed.demand), 0);
	served_assert_noted();
	ck_assert_uint_eq(bed.range->asked[0], 1);
	bed_assert_unit(&bed, 1);
	ferry_demand_destroy(bed.demand);
	bed_fini(&bed);
}
BOTH_MODES(holes_of_a_source_read_as_zero)

static void units_done_before_read_as_zero(enum ferry_fault_mode mode)
{
	struct bed bed;

	bed_create(&bed, mode);
	bed_add(&bed, 2, 2, FERRY_DEMAND_MOVE)->initial[0] = FERRY_DEMAND_DONE;
	bed_begin(&bed);
	bed_assert_unit(&bed, 0);
	ck_assert_uint_eq(bed_stats(&bed).units[FERRY_DEMAND_DONE], 1);
	bed_stop(&bed);
}
BOTH_MODES(units_done_before_read_as_zero)

static void a_unit_is_asked_for_once(enum ferry_fault_mode mode)
{
	struct bed bed;
	size_t at;

	bed_start(&bed, mode, 4, FERRY_DEMAND_STAGED);
	for (at = 0; at < bed.range->len; at += page_size())
		touch(bed.range->dst + at);
	/* bed_stop() asserts it of every unit. */
	ck_assert_uint_eq(bed_stats(&bed).by_faults, 4);
	ck_assert_uint_eq(bed_stats(&bed).faults, 4);
	bed_stop(&bed);
}
BOTH_MODES(a_unit_is_asked_for_once)

static void several_ranges_have_units_of_their_own(enum ferry_fault_mode mode)
{
	struct bed bed;

	bed_create(&bed, mode);
	bed_add(&bed, 40, 1, FERRY_DEMAND_STAGED);
	bed_add(&bed, 7, 16, FERRY_DEMAND_MOVE);
	bed_add(&bed, 2, 512, FERRY_DEMAND_STAGED);
	bed_begin(&bed);
	ck_assert(bed_unit_right(&bed, &bed.range[0], 39));
	ck_assert(bed_unit_right(&bed, &bed.range[1], 0));
	ck_assert(bed_unit_right(&bed, &bed.range[2], 1));
	ck_assert_uint_eq(bed_stats(&bed).by_faults, 3);
	ck_assert_int_eq(ferry_demand_run(bed.demand, NULL), 0);
	ck_assert_uint_eq(bed_stats(&bed).by_background, 46);
	bed_stop(&bed);
}
BOTH_MODES(several_ranges_have_units_of_their_own)

START_TEST(writes_to_pages_the_host_protects_go_through)
{
	struct bed bed;
	char *at;

	bed_start(&bed, FERRY_FAULT_THREAD, 2, FERRY_DEMAND_STAGED);
	at = bed_unit(&bed, 1);
	bed_assert_unit(&bed, 1);
	ck_assert_int_eq(
		ferry_uffd_register(ferry_demand_uffd(bed.demand),
				    bed.range->dst, bed.range->len,
				    FERRY_REGISTER_MISSING | FERRY_REGISTER_WP,
				    NULL),
		0);
	ck_assert_int_eq(ferry_uffd_writeprotect(ferry_demand_uffd(bed.demand),
						 at, bed.range->unit, true, 0),
			 0);
	*(volatile char *)at = *(volatile char *)at;
	bed_stop(&bed);
}
END_TEST

/* --- background ---------------------------------------------------------- */

static void a_step_does_as_many_units_as_it_is_told(enum ferry_fault_mode mode)
{
	struct bed bed;
	size_t left = 0;

	bed_start(&bed, mode, 20, FERRY_DEMAND_STAGED);
	ck_assert_int_eq(ferry_demand_step(bed.demand, 3, 0, &left), 0);
	ck_assert_uint_eq(left, 17);
	ck_assert_uint_eq(bed_in_state(&bed, FERRY_DEMAND_DONE), 3);
	ck_assert_int_eq(ferry_demand_step(bed.demand, 0, 0, &left), 0);
	ck_assert_uint_eq(left, 0);
	ck_assert_uint_eq(bed_stats(&bed).by_background, 20);
	bed_stop(&bed);
}
BOTH_MODES(a_step_does_as_many_units_as_it_is_told)

START_TEST(neighbours_are_installed_by_one_move)
{
	struct bed bed;

	inject_start();
	bed_start(&bed, FERRY_FAULT_SIGBUS, 16, FERRY_DEMAND_MOVE);
	ck_assert_int_eq(ferry_demand_step(bed.demand, 0, 0, NULL), 0);
	ck_assert_uint_eq(inject_calls(INJECT_IOCTL, FERRY__UFFDIO_MOVE), 2);
	ck_assert_uint_eq(bed_stats(&bed).batches, 2);
	ck_assert_uint_eq(bed_stats(&bed).batched, 16);
	bed_stop(&bed);
}
END_TEST

START_TEST(staged_neighbours_are_installed_by_one_move)
{
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	struct bed bed;

	inject_start();
	p.batch = 4;
	bed_create_with(&bed, &p);
	bed.recycle = true;
	bed_add(&bed, 64, 16, FERRY_DEMAND_STAGED);
	bed_begin(&bed);
	ck_assert_int_eq(ferry_demand_run(bed.demand, NULL), 0);
	/* Runs of recycled memory are cut here and there. */
	ck_assert_uint_le(inject_calls(INJECT_IOCTL, FERRY__UFFDIO_MOVE), 24);
	/* Only the reserve was. */
	ck_assert_uint_eq(bed_stats(&bed).fresh, 16 * 16);
	bed_stop(&bed);
}
END_TEST

static void take_time(struct bed *bed, struct ferry_demand_unit *unit)
{
	(void)bed;
	(void)unit;
	inject_clock_advance(1000);
}

START_TEST(a_step_ends_with_its_time)
{
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	struct bed bed;
	size_t left = 0;

	inject_start();
	p.batch = 1;
	bed_create_with(&bed, &p);
	bed.hook = take_time;
	bed_add(&bed, 20, 1, FERRY_DEMAND_MOVE);
	bed_begin(&bed);
	inject_clock(5000);
	ck_assert_int_eq(ferry_demand_step(bed.demand, 0, 2500, &left), 0);
	ck_assert_uint_eq(left, 17);
	bed_stop(&bed);
}
END_TEST

START_TEST(a_run_keeps_to_its_pace)
{
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	struct bed bed;

	inject_start();
	p.batch = 1;
	p.pace_work_ns = 2000;
	p.pace_pause_ns = 70000;
	bed_create_with(&bed, &p);
	bed.hook = take_time;
	bed_add(&bed, 20, 1, FERRY_DEMAND_MOVE);
	bed_begin(&bed);
	inject_clock(1000000);
	ck_assert_int_eq(ferry_demand_run(bed.demand, NULL), 0);
	/* 20 units of 1 us, and a pause after every second one. */
	ck_assert_uint_eq(ferry__sys->now_ns(), 1000000 + 20000 + 700000);
	bed_stop(&bed);
}
END_TEST

static void set_flag(struct bed *bed, struct ferry_demand_unit *unit)
{
	if (unit->number == 9)
		*(volatile bool *)bed->arg = true;
}

START_TEST(a_run_can_be_told_to_stop)
{
	volatile bool cancel = false;
	struct bed bed;

	bed_start(&bed, FERRY_FAULT_SIGBUS, 100, FERRY_DEMAND_MOVE);
	bed.hook = set_flag;
	bed.arg = (void *)&cancel;
	ck_assert_int_eq(ferry_demand_run(bed.demand, &cancel), -ECANCELED);
	ck_assert_uint_gt(bed_in_state(&bed, FERRY_DEMAND_WAITING), 80);
	/* What it left is had all the same. */
	bed_assert_unit(&bed, 99);
	bed_stop(&bed);
}
END_TEST

static volatile sig_atomic_t struck[2];

static void note_signal(int sig)
{
	struck[sig == SIGFPE] = 1;
}

static void raise_both(struct bed *bed, struct ferry_demand_unit *unit)
{
	(void)bed;
	(void)unit;
	raise(SIGUSR1);
	raise(SIGFPE);
	EXPECT(!struck[0] && struck[1]);
}

/* Blocked, a signal that an instruction raises would end the process. */
START_TEST(only_signals_of_instructions_reach_a_callback)
{
	struct sigaction act = { .sa_handler = note_signal };
	struct bed bed;

	ck_assert_int_eq(sigaction(SIGUSR1, &act, NULL), 0);
	ck_assert_int_eq(sigaction(SIGFPE, &act, NULL), 0);
	bed_start(&bed, FERRY_FAULT_SIGBUS, 1, FERRY_DEMAND_MOVE);
	bed.hook = raise_both;
	ck_assert_int_eq(ferry_demand_run(bed.demand, NULL), 0);
	ck_assert(struck[0]);
	bed_stop(&bed);
}
END_TEST

#define SPARSE ((size_t)1 << 40)

START_TEST(a_range_of_a_terabyte_costs_what_is_used)
{
	struct ferry_demand_range range = { .unit_pages = 16 };
	struct bed bed;
	char *far, *dst;
	size_t left;
	void *mem;

	mem = mmap(NULL, SPARSE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		SKIP("address_space", "no terabyte to be had");
	bed_create(&bed, FERRY_FAULT_SIGBUS);
	bed_add(&bed, 2, 16, FERRY_DEMAND_MOVE);
	range.addr = mem;
	range.len = SPARSE;
	/* Units 0 and 1 of the bed, far from each other. */
	far = (char *)mem + SPARSE - bed.range->unit;
	ck_assert_int_eq(
		ferry_demand_prepare(bed.demand, &range, 1, bed_produce, &bed),
		0);
	ck_assert_int_eq(ferry_demand_begin(bed.demand, NULL), 0);
	ck_assert_int_eq(ferry_demand_provide(bed.demand, far, bed.range->unit,
					      bed.range->src, NULL),
			 0);
	ck_assert(served_pages_hold(far, bed.range->unit, bed.range->first));
	ck_assert_uint_eq(bed_stats(&bed).units[FERRY_DEMAND_DONE], 1);
	dst = bed.range->dst;
	bed.range->dst = mem;
	ck_assert_int_eq(ferry_demand_expect(bed.demand, mem, bed.range->unit),
			 0);
	ck_assert_int_eq(ferry_demand_step(bed.demand, 0, 0, &left), 0);
	ck_assert_uint_eq(left, 0);
	ck_assert_int_eq(ferry_demand_end(bed.demand), 0);
	ferry_demand_destroy(bed.demand);
	bed.range->dst = dst;
	bed_fini(&bed);
	munmap(mem, SPARSE);
}
END_TEST

/* --- threads in each other's way ----------------------------------------- */

static void hold(struct bed *bed, struct ferry_demand_unit *unit)
{
	bool *go = bed->arg;

	if (unit->number)
		return;
	__atomic_store_n(&go[0], true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&go[1], __ATOMIC_ACQUIRE))
		sched_yield();
}

static void *run(void *arg)
{
	EXPECT(!ferry_demand_run(arg, NULL));
	return NULL;
}

static void *touch_first(void *arg)
{
	const struct bed *bed = arg;

	EXPECT(bed_unit_right(bed, bed->range, 0));
	return NULL;
}

static void who_comes_second_waits(enum ferry_fault_mode mode)
{
	pthread_t runner, toucher;
	bool go[2] = { false, false };
	struct bed bed;

	bed_create(&bed, mode);
	bed_add(&bed, 9, 16, FERRY_DEMAND_STAGED);
	bed.hook = hold;
	bed.arg = go;
	bed_begin(&bed);
	pthread_create(&runner, NULL, run, bed.demand);
	while (!__atomic_load_n(&go[0], __ATOMIC_ACQUIRE))
		sched_yield();
	ck_assert_int_eq(ferry_demand_state(bed.demand, bed_unit(&bed, 0)),
			 FERRY_DEMAND_CLAIMED);
	pthread_create(&toucher, NULL, touch_first, &bed);
	while (!bed_stats(&bed).waits)
		sched_yield();
	/* A unit that nobody is at is not kept waiting by that one. */
	bed_assert_unit(&bed, 8);
	__atomic_store_n(&go[1], true, __ATOMIC_RELEASE);
	pthread_join(toucher, NULL);
	pthread_join(runner, NULL);
	ck_assert_uint_gt(bed_stats(&bed).wait_max_ns, 0);
	bed_stop(&bed);
}
BOTH_MODES(who_comes_second_waits)

START_TEST(ready_units_are_installed_by_whoever_needs_one)
{
	struct inject_rule none = {
		.call = INJECT_IOCTL,
		.request = FERRY__UFFDIO_MOVE,
		.error = ENOMEM,
	};
	struct bed bed;
	uint64_t calls;

	inject_start();
	bed_start(&bed, FERRY_FAULT_SIGBUS, 8, FERRY_DEMAND_MOVE);
	inject_add(&none);
	ck_assert_int_eq(ferry_demand_step(bed.demand, 0, 0, NULL), -ENOMEM);
	ck_assert_uint_eq(bed_in_state(&bed, FERRY_DEMAND_READY), 8);
	calls = inject_calls(INJECT_IOCTL, FERRY__UFFDIO_MOVE);
	bed_assert_unit(&bed, 5);
	ck_assert_uint_eq(bed_in_state(&bed, FERRY_DEMAND_DONE), 8);
	ck_assert_uint_eq(inject_calls(INJECT_IOCTL, FERRY__UFFDIO_MOVE),
			  calls + 1);
	ck_assert_uint_eq(bed_stats(&bed).helped, 1);
	ck_assert_uint_eq(bed_stats(&bed).by_faults, 0);
	bed_stop(&bed);
}
END_TEST

START_TEST(a_step_installs_what_another_left_ready)
{
	struct inject_rule none = {
		.call = INJECT_IOCTL,
		.request = FERRY__UFFDIO_MOVE,
		.error = ENOMEM,
	};
	struct bed bed;
	size_t left;

	inject_start();
	bed_start(&bed, FERRY_FAULT_SIGBUS, 20, FERRY_DEMAND_STAGED);
	inject_add(&none);
	ck_assert_int_eq(ferry_demand_step(bed.demand, 0, 0, &left), -ENOMEM);
	ck_assert_uint_eq(left, 20);
	ck_assert_int_eq(ferry_demand_step(bed.demand, 0, 0, &left), 0);
	ck_assert_uint_eq(left, 0);
	bed_stop(&bed);
}
END_TEST

#define RACERS 3

struct racer {
	struct bed *bed;
	size_t *at; /* how many racers have come to a unit, in all */
	pthread_t thread;
};

static void *race(void *arg)
{
	struct racer *racer = arg;
	const struct bed *bed = racer->bed;
	size_t i;

	for (i = 0; i < bed->range->units; i++) {
		/* Relaxed: a barrier for time only. */
		__atomic_fetch_add(racer->at, 1, __ATOMIC_RELAXED);
		while (__atomic_load_n(racer->at, __ATOMIC_RELAXED) <
		       RACERS * (i + 1))
			sched_yield();
		touch(bed_unit(bed, i));
	}
	return NULL;
}

static void
threads_that_touch_a_unit_at_once_ask_for_it_once(enum ferry_fault_mode mode)
{
	struct racer racer[RACERS];
	struct bed bed;
	size_t at = 0, i;

	bed_create(&bed, mode);
	bed_add(&bed, harness_scaled(4000), 1, FERRY_DEMAND_STAGED);
	bed_begin(&bed);
	for (i = 0; i < RACERS; i++) {
		racer[i] = (struct racer){ .bed = &bed, .at = &at };
		pthread_create(&racer[i].thread, NULL, race, &racer[i]);
	}
	for (i = 0; i < RACERS; i++)
		pthread_join(racer[i].thread, NULL);
	bed_stop(&bed);
}
BOTH_MODES(threads_that_touch_a_unit_at_once_ask_for_it_once)

/* --- memory that the host brings ----------------------------------------- */

static void bed_with_idle_units(struct bed *bed, enum ferry_fault_mode mode)
{
	bed_create_idle(bed, mode, 12);
	bed_begin(bed);
}

static void provided_units_are_zeroed_pages(enum ferry_fault_mode mode)
{
	struct bed bed;
	size_t done = 1;
	char *at;

	bed_with_idle_units(&bed, mode);
	at = bed_unit(&bed, 2);
	ck_assert_int_eq(ferry_demand_provide(bed.demand, at,
					      10 * bed.range->unit, NULL,
					      &done),
			 0);
	ck_assert_uint_eq(done, 10 * bed.range->unit);
	ck_assert_uint_eq(bed_stats(&bed).provided, 10);
	/* Real ones: all there, and nothing faults any more. */
	for (; at < bed.range->dst + bed.range->len; at += page_size())
		ck_assert(page_there(at));
	at = bed_unit(&bed, 2);
	ck_assert(is_zero(at, 10 * bed.range->unit));
	memset(at, 1, 10 * bed.range->unit);
	ck_assert_uint_eq(bed_stats(&bed).faults, 0);
	ck_assert_int_eq(ferry_demand_provide(bed.demand, at, bed.range->unit,
					      NULL, &done),
			 -EBUSY);
	ck_assert_uint_eq(done, 0);
	bed_stop(&bed);
}
BOTH_MODES(provided_units_are_zeroed_pages)

/* Touches a byte as a program does that then goes on: by a system call. */
static bool can_be_written_out(const char *at)
{
	int fd[2];
	ssize_t n;

	ck_assert_int_eq(pipe(fd), 0);
	n = write(fd[1], at, 1);
	ck_assert(n == 1 || errno == EFAULT);
	close(fd[0]);
	close(fd[1]);
	return n == 1;
}

static void refused_units_are_as_good_as_others(enum ferry_fault_mode mode)
{
	size_t page = page_size(), i;
	struct bed bed;

	bed_with_idle_units(&bed, mode);
	for (i = 2; i < 10; i++)
		ck_assert(!can_be_written_out(bed_unit(&bed, i) + i * page));
	ck_assert_int_eq(ferry_demand_provide(bed.demand, bed_unit(&bed, 2),
					      2 * bed.range->unit, NULL, NULL),
			 0);
	ck_assert(is_zero(bed_unit(&bed, 2), 2 * bed.range->unit));
	ck_assert_int_eq(ferry_demand_expect(bed.demand, bed_unit(&bed, 4),
					     bed.range->unit),
			 0);
	bed_assert_unit(&bed, 4);
	ck_assert_int_eq(ferry_demand_recycle(bed.demand, bed_unit(&bed, 5),
					      bed.range->unit),
			 0);
	ck_assert(!can_be_written_out(bed_unit(&bed, 5) + page));
	bed.range->initial[4] = FERRY_DEMAND_WAITING;
	ck_assert_int_eq(ferry_demand_end(bed.demand), 0);
	ck_assert(is_zero(bed_unit(&bed, 5), 7 * bed.range->unit));
	bed_assert_right(&bed);
	ferry_demand_destroy(bed.demand);
	bed_fini(&bed);
}
BOTH_MODES(refused_units_are_as_good_as_others)

static void provided_pages_move_across(enum ferry_fault_mode mode)
{
	struct bed bed;
	size_t done;
	char *at;

	bed_with_idle_units(&bed, mode);
	at = bed_unit(&bed, 4);
	ck_assert_int_eq(ferry_demand_provide(
				 bed.demand, at, 3 * bed.range->unit,
				 bed.range->src + 4 * bed.range->unit, &done),
			 0);
	ck_assert(served_pages_hold(at, 3 * bed.range->unit,
				    bed.range->first + 4 * 16));
	ck_assert_uint_eq(bed_stats(&bed).pages_moved, 3 * 16);
	/* A run with a unit in it that is not IDLE: what lies before is had. */
	ck_assert_int_eq(ferry_demand_provide(bed.demand, bed_unit(&bed, 3),
					      2 * bed.range->unit, NULL, &done),
			 -EBUSY);
	ck_assert_uint_eq(done, bed.range->unit);
	ck_assert(is_zero(bed_unit(&bed, 3), bed.range->unit));
	bed_stop(&bed);
}
BOTH_MODES(provided_pages_move_across)

static void expected_units_are_produced(enum ferry_fault_mode mode)
{
	struct bed bed;

	bed_with_idle_units(&bed, mode);
	ck_assert_int_eq(ferry_demand_expect(bed.demand, bed_unit(&bed, 3),
					     2 * bed.range->unit),
			 0);
	bed.range->initial[3] = bed.range->initial[4] = FERRY_DEMAND_WAITING;
	bed_assert_unit(&bed, 4);
	ck_assert_int_eq(ferry_demand_expect(bed.demand, bed_unit(&bed, 2),
					     3 * bed.range->unit),
			 -EBUSY);
	bed.range->initial[2] = FERRY_DEMAND_WAITING;
	ck_assert_int_eq(ferry_demand_expect(bed.demand, bed_unit(&bed, 2) + 1,
					     bed.range->unit),
			 -EINVAL);
	ck_assert_int_eq(ferry_demand_expect(bed.demand, bed_unit(&bed, 11),
					     2 * bed.range->unit),
			 -EINVAL);
	bed_stop(&bed);
}
BOTH_MODES(expected_units_are_produced)

static void set(struct bed *bed, size_t unit, size_t n,
		enum ferry_demand_state state)
{
	size_t i;

	ck_assert_int_eq(ferry_demand_revise(bed->demand, bed_unit(bed, unit),
					     n * bed->range->unit, state),
			 0);
	for (i = unit; i < unit + n; i++)
		bed->range->initial[i] = (unsigned char)state;
}

static void states_are_revised_before_begin(enum ferry_fault_mode mode)
{
	struct bed bed;

	bed_create(&bed, mode);
	bed_add(&bed, 12, 16, FERRY_DEMAND_STAGED);
	bed.range->initial[3] = bed.range->initial[4] = FERRY_DEMAND_IDLE;
	bed_prepare(&bed);
	set(&bed, 2, 2, FERRY_DEMAND_WAITING);
	set(&bed, 7, 4, FERRY_DEMAND_DONE);
	set(&bed, 8, 1, FERRY_DEMAND_IDLE);
	set(&bed, 9, 1, FERRY_DEMAND_WAITING);
	ck_assert_int_eq(ferry_demand_revise(bed.demand, bed_unit(&bed, 0),
					     bed.range->unit,
					     FERRY_DEMAND_READY),
			 -EINVAL);
	ck_assert_int_eq(ferry_demand_revise(bed.demand, bed_unit(&bed, 0) + 1,
					     bed.range->unit,
					     FERRY_DEMAND_DONE),
			 -EINVAL);
	bed_begin(&bed);
	ck_assert_int_eq(ferry_demand_revise(bed.demand, bed_unit(&bed, 0),
					     bed.range->unit,
					     FERRY_DEMAND_DONE),
			 -EALREADY);
	ck_assert_uint_eq(bed_in_state(&bed, FERRY_DEMAND_WAITING), 8);
	ck_assert_uint_eq(bed_in_state(&bed, FERRY_DEMAND_DONE), 2);
	bed_assert_unit(&bed, 3);
	bed_assert_unit(&bed, 9);
	/* What remains is counted right: the end comes. */
	bed_stop(&bed);
}
BOTH_MODES(states_are_revised_before_begin)

/* --- system calls -------------------------------------------------------- */

START_TEST(prefaulted_buffers_serve_system_calls)
{
	struct bed bed;
	size_t len;
	int fd[2];

	bed_start(&bed, FERRY_FAULT_SIGBUS, 4, FERRY_DEMAND_STAGED);
	len = bed.range->unit;
	ck_assert_int_eq(pipe(fd), 0);
	ck_assert_int_eq((int)write(fd[1], bed_unit(&bed, 1), 100), -1);
	ck_assert_int_eq(errno, EFAULT);
	ck_assert_int_eq(ferry_demand_prefault(
				 bed.demand, bed_unit(&bed, 1) + len - 50, 100),
			 0);
	ck_assert_int_eq((int)write(fd[1], bed_unit(&bed, 1) + len - 50, 100),
			 100);
	ck_assert_uint_eq(bed_in_state(&bed, FERRY_DEMAND_DONE), 2);
	ck_assert_uint_eq(bed_stats(&bed).faults, 0);
	close(fd[0]);
	close(fd[1]);
	bed_stop(&bed);
}
END_TEST

START_TEST(prefault_fills_the_holes_of_units_that_are_done)
{
	struct bed bed;
	int fd[2];

	bed_create(&bed, FERRY_FAULT_SIGBUS);
	bed_add(&bed, 2, 4, FERRY_DEMAND_MOVE)->initial[1] = FERRY_DEMAND_DONE;
	bed_begin(&bed);
	ck_assert_int_eq(pipe(fd), 0);
	ck_assert_int_eq((int)write(fd[1], "0123456789", 10), 10);
	ck_assert_int_eq((int)read(fd[0], bed_unit(&bed, 1), 10), -1);
	ck_assert_int_eq(
		ferry_demand_prefault(bed.demand, bed_unit(&bed, 1), 10), 0);
	ck_assert_int_eq((int)read(fd[0], bed_unit(&bed, 1), 10), 10);
	ck_assert_mem_eq(bed_unit(&bed, 1), "0123456789", 10);
	memset(bed_unit(&bed, 1), 0, 10);
	close(fd[0]);
	close(fd[1]);
	bed_stop(&bed);
}
END_TEST

static void prefault_says_what_is_not_to_be_had(enum ferry_fault_mode mode)
{
	struct bed bed;

	bed_with_idle_units(&bed, mode);
	ck_assert_int_eq(ferry_demand_prefault(bed.demand, bed_unit(&bed, 1),
					       2 * bed.range->unit),
			 -ENODATA);
	ck_assert_uint_eq(bed_in_state(&bed, FERRY_DEMAND_DONE), 1);
	/* Beyond the range is nobody's business here. */
	ck_assert_int_eq(
		ferry_demand_prefault(bed.demand, bed.range->src, page_size()),
		0);
	bed_stop(&bed);
}
BOTH_MODES(prefault_says_what_is_not_to_be_had)

static const struct test tests[] = {
	TEST_BOTH(staged_units_hold_what_was_staged),
	TEST(moved_units_leave_holes_at_their_source_in_sigbus_mode,
	     "sigbus,move"),
	TEST(moved_units_leave_holes_at_their_source_in_thread_mode,
	     "userfaultfd,move"),
	TEST_BOTH(zero_units_read_as_zero),
	TEST_BOTH(skipped_units_are_what_the_host_installed),
	TEST_BOTH(units_not_to_be_had_are_refused),
	TEST_BOTH(idle_units_are_refused),
	TEST(who_was_refused_may_ask_for_the_unit, "userfaultfd"),
	TEST_BOTH(a_source_that_makes_no_sense_is_refused),
	TEST_BOTH(holes_of_a_source_read_as_zero),
	TEST_BOTH(units_done_before_read_as_zero),
	TEST_BOTH(a_unit_is_asked_for_once),
	TEST_BOTH(several_ranges_have_units_of_their_own),
	TEST(writes_to_pages_the_host_protects_go_through, "wp"),
	TEST_BOTH(a_step_does_as_many_units_as_it_is_told),
	TEST(neighbours_are_installed_by_one_move, "sigbus,move"),
	TEST(staged_neighbours_are_installed_by_one_move, "sigbus,move"),
	TEST(a_step_ends_with_its_time, "sigbus"),
	TEST(a_run_keeps_to_its_pace, "sigbus"),
	TEST(a_run_can_be_told_to_stop, "sigbus"),
	TEST(only_signals_of_instructions_reach_a_callback, "sigbus"),
	TEST(a_range_of_a_terabyte_costs_what_is_used, "sigbus"),
	TEST_BOTH(who_comes_second_waits),
	TEST(ready_units_are_installed_by_whoever_needs_one, "sigbus,move"),
	TEST(a_step_installs_what_another_left_ready, "sigbus,move"),
	TEST_BOTH(threads_that_touch_a_unit_at_once_ask_for_it_once),
	TEST_BOTH(provided_units_are_zeroed_pages),
	TEST_BOTH(refused_units_are_as_good_as_others),
	TEST(provided_pages_move_across_in_sigbus_mode, "sigbus,move"),
	TEST(provided_pages_move_across_in_thread_mode, "userfaultfd,move"),
	TEST_BOTH(expected_units_are_produced),
	TEST_BOTH(states_are_revised_before_begin),
	TEST(prefaulted_buffers_serve_system_calls, "sigbus"),
	TEST(prefault_fills_the_holes_of_units_that_are_done, "sigbus"),
	TEST_BOTH(prefault_says_what_is_not_to_be_had),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
