/* SPDX-License-Identifier: MIT */
/* The end of ranges and services while faults are in flight, and fork. */
#include <ferry/fault.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/served.h"
#include "uffd/fault.h"
#include "uffd/uapi.h"

static struct served s, other;

static pthread_t start_thread(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, fn, arg), 0);
	return thread;
}

static void join(pthread_t thread)
{
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	served_assert_noted();
}

static bool load(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void store(bool *flag, bool value)
{
	__atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

static void wait_for(const bool *flag)
{
	AWAIT(load(flag));
}

/* Until somebody has begun to detach the range of @of. */
static void wait_until_closing(const struct served *of)
{
	const struct ferry__fault_range *range = of->service->ranges;

	ck_assert_uint_eq(range->addr, (uintptr_t)of->dst);
	AWAIT(__atomic_load_n(&range->state, __ATOMIC_ACQUIRE) ==
	      FERRY__RANGE_CLOSING);
}

/* --- bounds -------------------------------------------------------------- */

static void memory_is_ordinary_after_detach(enum ferry_fault_mode mode)
{
	served_start(&s, mode, 8, 1);
	touch(s.dst);
	served_detach(&s);
	ck_assert(page_holds(s.dst, 1));
	ck_assert(is_zero(s.dst + s.page, s.len - s.page));
	ferry_fault_service_destroy(s.service);
}
BOTH_MODES(memory_is_ordinary_after_detach)

START_TEST(detach_wants_the_bounds_of_attach)
{
	served_start(&s, FERRY_FAULT_SIGBUS, 8, 1);
	ck_assert_int_eq(ferry_fault_detach(s.service, s.dst, s.page), -ENOENT);
	ck_assert_int_eq(
		ferry_fault_detach(s.service, s.dst + s.page, s.len - s.page),
		-ENOENT);
	served_detach(&s);
	ck_assert_int_eq(ferry_fault_detach(s.service, s.dst, s.len), -ENOENT);
	ferry_fault_service_destroy(s.service);
}
END_TEST

/* As it was at first: what was moved is back at the source. */
static void attach_again(void)
{
	ck_assert_int_eq(madvise(s.dst, s.len, MADV_DONTNEED), 0);
	fill_pages(s.src, s.len, 1);
	ck_assert_int_eq(ferry_fault_attach(s.service, s.dst, s.len,
					    served_supply, &s, NULL),
			 0);
}

START_TEST(range_may_be_attached_again)
{
	int i;

	served_start(&s, FERRY_FAULT_SIGBUS, 8, 1);
	for (i = 0; i < 100; i++) {
		ck_assert(page_holds(s.dst, 1));
		served_detach(&s);
		attach_again();
	}
	assert_pages(s.dst, s.len, 1);
	served_stop(&s);
}
END_TEST

/* --- a kernel without memory to unregister ------------------------------- */

static struct inject_rule no_unregister = {
	.call = INJECT_IOCTL,
	.request = FERRY__UFFDIO_UNREGISTER,
	.error = ENOMEM,
};

/* A range of eight pages, the first of which was touched, is detached. */
static void keep_registered(enum ferry_fault_mode mode, uint64_t strikes)
{
	inject_start();
	no_unregister.count = strikes;
	served_start(&s, mode, 8, 4);
	touch(s.dst);
	touch(s.dst + 7 * s.page);
	ck_assert_int_eq(madvise(s.dst + 4 * s.page, 4 * s.page, MADV_DONTNEED),
			 0);
	inject_add(&no_unregister);
	served_detach(&s);
	ck_assert_uint_gt(inject_hits(&no_unregister), 0);
}

static void memory_kept_registered_is_as_ordinary(enum ferry_fault_mode mode)
{
	keep_registered(mode, INJECT_ALWAYS);
	ck_assert_int_eq(ferry_fault_detach(s.service, s.dst, s.len), -ENOENT);
	ck_assert_int_eq(ferry_fault_resolve(s.service, s.dst), -ENOENT);
	assert_pages(s.dst, 4 * s.page, 1);
	ck_assert(is_zero(s.dst + 4 * s.page, 4 * s.page));
	memset(s.dst + 4 * s.page, 1, 4 * s.page);
	if (mode == FERRY_FAULT_THREAD) {
		ck_assert_int_eq(madvise(s.dst, s.len, MADV_DONTNEED), 0);
		ck_assert_int_eq(
			madvise(s.dst, s.len, FERRY__MADV_POPULATE_WRITE), 0);
	}
	ferry_fault_service_destroy(s.service);
	/* By closing the descriptor. */
	ck_assert_int_eq(madvise(s.dst, s.len, MADV_DONTNEED), 0);
	ck_assert(is_zero(s.dst, s.len));
	inject_stop();
}
BOTH_MODES(memory_kept_registered_is_as_ordinary)

static void attach_tries_again_to_unregister(enum ferry_fault_mode mode)
{
	enum ferry_reason reason;

	/* At the detachment, and at two that are attached. */
	keep_registered(mode, 3);
	ck_assert_int_eq(ferry_fault_attach(s.service, s.dst, s.len,
					    served_supply, &s, &reason),
			 -ENOMEM);
	ck_assert_int_eq(reason, FERRY_REASON_NO_MEMORY);
	served_add(&other, &s, 2); /* elsewhere: no matter */
	assert_pages(other.dst, other.len, 1);
	attach_again();
	assert_pages(s.dst, s.len, 1);
	served_detach(&other);
	served_stop(&s);
	inject_stop();
}
BOTH_MODES(attach_tries_again_to_unregister)

/* Half of the range is registered when the kernel's memory is at an end. */
static void register_half(void *arg)
{
	struct served *to = arg;
	struct ferry__uffdio_register reg = {
		.range = { (uintptr_t)to->dst, to->len / 2 },
		.mode = FERRY_REGISTER_MISSING,
	};

	EXPECT(!ioctl(ferry_uffd_fd(ferry_fault_service_uffd(to->service)),
		      FERRY__UFFDIO_REGISTER, &reg));
}

static struct inject_rule half_register = {
	.call = INJECT_IOCTL,
	.request = FERRY__UFFDIO_REGISTER,
	.error = ENOMEM,
	.hook = register_half,
	.arg = &s,
};

/* @strikes: how many unregistrations fail as well. */
static void attach_half(enum ferry_fault_mode mode, uint64_t strikes)
{
	inject_start();
	served_start(&s, mode, 8, 1);
	served_detach(&s);
	no_unregister.count = strikes;
	if (strikes)
		inject_add(&no_unregister);
	half_register.hits = half_register.seen = 0;
	inject_add(&half_register);
	ck_assert_int_eq(ferry_fault_attach(s.service, s.dst, s.len,
					    served_supply, &s, NULL),
			 -ENOMEM);
	ck_assert_uint_eq(inject_hits(&half_register), 1);
	ck_assert(is_zero(s.dst, s.len));
	ferry_fault_service_destroy(s.service);
	inject_stop();
}

static void memory_attached_in_half_is_ordinary(enum ferry_fault_mode mode)
{
	attach_half(mode, 0);
}
BOTH_MODES(memory_attached_in_half_is_ordinary)

static void
half_that_stays_registered_is_as_ordinary(enum ferry_fault_mode mode)
{
	attach_half(mode, INJECT_ALWAYS);
}
BOTH_MODES(half_that_stays_registered_is_as_ordinary)

/* --- suppliers in flight ------------------------------------------------- */

static bool entered, released, detached;

static void linger(struct served *at, const struct ferry_fault *fault,
		   struct ferry_supply *ret)
{
	(void)at;
	(void)fault;
	(void)ret;
	store(&entered, true);
	wait_for(&released);
	/* Detach is still waiting for this one. */
	EXPECT(!load(&detached));
}

static void *touch_second(void *arg)
{
	(void)arg;
	touch(s.dst + s.page);
	return NULL;
}

static void *touch_first(void *arg)
{
	(void)arg;
	touch(s.dst);
	return NULL;
}

static void *detach_it(void *arg)
{
	(void)arg;
	EXPECT(!ferry_fault_detach(s.service, s.dst, s.len));
	store(&detached, true);
	return NULL;
}

/* Meanwhile nobody else gets in; and in the end everybody goes on. */
static void detach_waits_for_the_supplier(enum ferry_fault_mode mode)
{
	struct ferry_fault_params params =
		FERRY_INIT(struct ferry_fault_params);
	pthread_t toucher, late, detacher;

	params.mode = mode;
	params.threads = 2;
	s.change = linger;
	served_start_with(&s, &params, 2);
	toucher = start_thread(touch_first, NULL);
	wait_for(&entered);
	detacher = start_thread(detach_it, NULL);
	wait_until_closing(&s);
	late = start_thread(touch_second, NULL);
	/* Time for what must not happen. */
	usleep(20000);
	ck_assert(!load(&detached));
	ck_assert_uint_eq(served_asked(&s), 1);
	store(&released, true);
	join(detacher);
	join(toucher);
	join(late);
	ck_assert(page_holds(s.dst, 1));
	ck_assert(is_zero(s.dst + s.page, s.page));
	ferry_fault_service_destroy(s.service);
}
BOTH_MODES(detach_waits_for_the_supplier)

static void detach_waits_for_its_own_range_only(enum ferry_fault_mode mode)
{
	struct ferry_fault_params params =
		FERRY_INIT(struct ferry_fault_params);
	pthread_t toucher;

	params.mode = mode;
	params.threads = 2;
	s.change = linger;
	served_start_with(&s, &params, 1);
	served_add(&other, &s, 16);
	toucher = start_thread(touch_first, NULL);
	wait_for(&entered);
	assert_pages(other.dst, other.len, 1);
	served_detach(&other);
	store(&released, true);
	join(toucher);
	served_stop(&s);
}
BOTH_MODES(detach_waits_for_its_own_range_only)

static int from_supplier;

static void end_it_all(struct served *at, const struct ferry_fault *fault,
		       struct ferry_supply *ret)
{
	(void)fault;
	(void)ret;
	from_supplier = ferry_fault_detach(at->service, at->dst, at->len);
	ferry_fault_service_destroy(at->service);
}

static void supplier_cannot_end_its_range(enum ferry_fault_mode mode)
{
	s.change = end_it_all;
	served_start(&s, mode, 4, 1);
	assert_pages(s.dst, s.len, 1);
	ck_assert_uint_eq(served_stop(&s).faults, 4);
	ck_assert_int_eq(from_supplier, -EDEADLK);
}
BOTH_MODES(supplier_cannot_end_its_range)

static void never(struct served *at, const struct ferry_fault *fault,
		  struct ferry_supply *ret)
{
	(void)at;
	(void)fault;
	ret->kind = FERRY_SUPPLY_AGAIN;
	store(&entered, true);
}

/* Threads that wait for a page which never comes are let go by the end. */
static void end_lets_waiters_go(enum ferry_fault_mode mode)
{
	pthread_t threads[4];
	size_t i;

	s.change = never;
	served_start(&s, mode, 1, 1);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		threads[i] = start_thread(touch_first, NULL);
	wait_for(&entered);
	ferry_fault_service_destroy(s.service);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		join(threads[i]);
	ck_assert(is_zero(s.dst, s.len));
}
BOTH_MODES(end_lets_waiters_go)

/* --- ranges that come and go under fire ---------------------------------- */

static bool finished;

/* Each word is that of its page, or zero while nothing is served. */
static void *touch_at_random(void *arg)
{
	struct random random = *(struct random *)arg;
	const volatile uint64_t *words;
	uint64_t i, k, word;

	while (!load(&finished)) {
		i = random_below(&random, s.len / s.page);
		k = random_below(&random, s.page / sizeof(word));
		words = (const volatile uint64_t *)(s.dst + i * s.page);
		word = words[k];
		EXPECT(!word || word == page_word(i + 1, k));
	}
	return NULL;
}

/*
 * Detached, the range loses its pages: those with contents, which readers
 * would miss, only before it is attached again with all sources full.
 */
static void cycle(size_t times)
{
	while (times--) {
		ck_assert_int_eq(ferry_fault_attach(s.service, s.dst, s.len,
						    served_supply, &s, NULL),
				 0);
		usleep(200);
		ck_assert_int_eq(ferry_fault_detach(s.service, s.dst, s.len),
				 0);
		ck_assert_int_eq(madvise(s.dst, s.len, MADV_DONTNEED), 0);
		fill_pages(s.src, s.len, 1);
	}
}

static void ranges_come_and_go_under_fire(enum ferry_fault_mode mode)
{
	struct random random = harness_random(), seeds[3];
	pthread_t threads[3];
	size_t i;

	s.kind = FERRY_SUPPLY_COPY;
	served_start(&s, mode, 64, 4);
	served_detach(&s);
	for (i = 0; i < ARRAY_SIZE(threads); i++) {
		seeds[i] = random_seeded(random_next(&random));
		threads[i] = start_thread(touch_at_random, &seeds[i]);
	}
	cycle(harness_scaled(300));
	store(&finished, true);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		join(threads[i]);
	ferry_fault_service_destroy(s.service);
}
BOTH_MODES(ranges_come_and_go_under_fire)

static void services_come_and_go_under_fire(enum ferry_fault_mode mode)
{
	struct random random = harness_random();
	size_t i, n = harness_scaled(100);
	pthread_t thread;

	served_start(&s, mode, 64, 4);
	thread = start_thread(touch_at_random, &random);
	for (i = 0; i < n; i++) {
		served_stop(&s);
		served_start(&other, mode, 4, 1);
		touch(other.dst);
		s.service = other.service;
		ck_assert_int_eq(madvise(s.dst, s.len, MADV_DONTNEED), 0);
		fill_pages(s.src, s.len, 1);
		ck_assert_int_eq(ferry_fault_attach(s.service, s.dst, s.len,
						    served_supply, &s, NULL),
				 0);
		munmap(other.src, other.len);
	}
	store(&finished, true);
	join(thread);
	ferry_fault_service_destroy(s.service);
}
BOTH_MODES(services_come_and_go_under_fire)

START_TEST(unmapped_range_can_be_detached)
{
	served_start(&s, FERRY_FAULT_THREAD, 8, 1);
	ck_assert_int_eq(munmap(s.dst, s.len), 0);
	served_stop(&s);
}
END_TEST

/* --- fork ---------------------------------------------------------------- */

#define require(cond)                                                          \
	do {                                                                   \
		if (!(cond))                                                   \
			_exit(__LINE__ & 0xff);                                \
	} while (0)

/* What a child finds, and what it can do about it. */
static void in_child(enum ferry_fault_mode mode)
{
	struct served mine = { 0 };

	require(page_holds(s.dst, 1));
	require(is_zero(s.dst + s.page, s.page));
	require(ferry_fault_attach(s.service, s.src, s.page, served_supply, &s,
				   NULL) == -ECHILD);
	require(ferry_fault_detach(s.service, s.dst, s.len) == -ECHILD);
	require(ferry_fault_resolve(s.service, s.dst) == -ENOENT);
	ferry_fault_service_destroy(s.service);
	served_start(&mine, mode, 8, 4);
	/* The addresses of the parent's range are free here. */
	require(!madvise(s.dst, s.len, MADV_DONTNEED));
	require(!ferry_fault_attach(mine.service, s.dst, s.len, served_supply,
				    &s, NULL));
	require(page_holds(s.dst, 1));
	require(served_pages_hold(mine.dst, mine.len, 1));
	served_stop(&mine);
	_exit(0);
}

static void child_of_a_fork_starts_anew(enum ferry_fault_mode mode)
{
	int status;
	pid_t pid;

#if defined(__SANITIZE_THREAD__)
	if (mode == FERRY_FAULT_THREAD)
		SKIP("threads_after_fork",
		     "ThreadSanitizer starts no threads in a child of fork");
#endif
	s.kind = FERRY_SUPPLY_COPY;
	served_start(&s, mode, 8, 1);
	touch(s.dst);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		in_child(mode);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	/* And the parent's service goes on. */
	assert_pages(s.dst, s.len, 1);
	served_stop(&s);
}
BOTH_MODES(child_of_a_fork_starts_anew)

/* In a child: nothing that the threads of the parent were at is in the way. */
static void serve_in_child(void)
{
	struct ferry_fault_params params =
		FERRY_INIT(struct ferry_fault_params);
	struct ferry_fault_service *mine;

	ferry_fault_service_destroy(s.service);
	params.mode = FERRY_FAULT_SIGBUS;
	require(!ferry_fault_service_create(&params, NULL, &mine));
	require(!ferry_fault_attach(mine, s.dst, s.len, served_supply, &s,
				    NULL));
	require(page_holds(s.dst, 1));
	ferry_fault_service_destroy(mine);
	_exit(0);
}

static void *fork_often(void *arg)
{
	size_t i, n = harness_scaled(100);
	int status;
	pid_t pid;

	(void)arg;
	for (i = 0; i < n; i++) {
		pid = fork();
		EXPECT(pid >= 0);
		if (!pid)
			serve_in_child();
		EXPECT(waitpid(pid, &status, 0) == pid);
		EXPECT(!status);
	}
	store(&finished, true);
	return NULL;
}

/* Is in a look-up most of the time, as the address is in no range. */
static void *look_up_all_the_time(void *arg)
{
	(void)arg;
	while (!load(&finished))
		EXPECT(ferry_fault_resolve(s.service, s.src) == -ENOENT);
	return NULL;
}

START_TEST(fork_amid_look_ups_attach_and_detach_is_safe)
{
	pthread_t forker, looker;

	served_start(&s, FERRY_FAULT_SIGBUS, 8, 1);
	touch(s.dst);
	forker = start_thread(fork_often, NULL);
	looker = start_thread(look_up_all_the_time, NULL);
	while (!load(&finished)) {
		served_add(&other, &s, 1);
		touch(other.dst);
		served_detach(&other);
		munmap(other.src, other.len);
		munmap(other.dst, other.len);
	}
	join(forker);
	join(looker);
	served_stop(&s);
}
END_TEST

/* More threads than processors, so that some are preempted in a look-up. */
static void look_ups_go_on_while_others_come_and_go(enum ferry_fault_mode mode)
{
	size_t i, n = harness_scaled(3000);
	pthread_t lookers[4];

	served_start(&s, mode, 8, 1);
	touch(s.dst);
	for (i = 0; i < ARRAY_SIZE(lookers); i++)
		lookers[i] = start_thread(look_up_all_the_time, NULL);
	served_add(&other, &s, 2);
	for (i = 0; i < n; i++) {
		served_detach(&other);
		ck_assert_int_eq(ferry_fault_attach(other.service, other.dst,
						    other.len, served_supply,
						    &other, NULL),
				 0);
	}
	store(&finished, true);
	for (i = 0; i < ARRAY_SIZE(lookers); i++)
		join(lookers[i]);
	served_stop(&s);
}
BOTH_MODES(look_ups_go_on_while_others_come_and_go)

static const struct test tests[] = {
	TEST_BOTH(memory_is_ordinary_after_detach),
	TEST(detach_wants_the_bounds_of_attach, "sigbus"),
	TEST(range_may_be_attached_again, "sigbus"),
	TEST_BOTH(memory_kept_registered_is_as_ordinary),
	TEST_BOTH(attach_tries_again_to_unregister),
	TEST_BOTH(memory_attached_in_half_is_ordinary),
	TEST_BOTH(half_that_stays_registered_is_as_ordinary),
	TEST_BOTH(detach_waits_for_the_supplier),
	TEST_BOTH(detach_waits_for_its_own_range_only),
	TEST_BOTH(supplier_cannot_end_its_range),
	TEST_BOTH(end_lets_waiters_go),
	TEST_BOTH(ranges_come_and_go_under_fire),
	TEST_BOTH(services_come_and_go_under_fire),
	TEST(unmapped_range_can_be_detached, "userfaultfd"),
	TEST_BOTH(child_of_a_fork_starts_anew),
	TEST(fork_amid_look_ups_attach_and_detach_is_safe, "sigbus"),
	TEST_BOTH(look_ups_go_on_while_others_come_and_go),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
