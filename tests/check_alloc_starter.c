/* SPDX-License-Identifier: MIT */
/*
 * The thread that starts others: one job at a time, and none while somebody
 * wants the process without it.
 */
#include <errno.h>
#include <pthread.h>

#include "alloc/malloc/starter.h"
#include "tests/harness.h"

/* The engine's, which is not in this program. */
_Thread_local unsigned int ferry__engine_own;

static unsigned int done, running; /* atomic */
static bool may_end;		   /* atomic */

static void job(void)
{
	ck_assert_uint_eq(__atomic_add_fetch(&running, 1, __ATOMIC_RELAXED), 1);
	AWAIT(__atomic_load_n(&may_end, __ATOMIC_RELAXED));
	__atomic_sub_fetch(&running, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&done, 1, __ATOMIC_RELEASE);
}

static void let_end(void)
{
	__atomic_store_n(&may_end, true, __ATOMIC_RELAXED);
}

static unsigned int jobs_done(void)
{
	return __atomic_load_n(&done, __ATOMIC_ACQUIRE);
}

START_TEST(there_is_one_job_at_a_time)
{
	ck_assert_int_eq(ferry__starter_run(job), 0);
	ck_assert_int_eq(ferry__starter_run(job), -EBUSY);
	ck_assert_int_eq(ferry__starter_do(job), -EBUSY);
	let_end();
	ferry__starter_hold();
	ck_assert_uint_eq(jobs_done(), 1);
	ck_assert(ferry__starter_release());
	ck_assert_int_eq(ferry__starter_do(job), 0);
	ck_assert_uint_eq(jobs_done(), 2);
}
END_TEST

START_TEST(nothing_begins_while_it_is_held)
{
	let_end();
	ferry__starter_hold();
	ferry__starter_hold();
	ck_assert_int_eq(ferry__starter_run(job), -EBUSY);
	ck_assert(!ferry__starter_release());
	ck_assert_int_eq(ferry__starter_do(job), -EBUSY);
	ck_assert(ferry__starter_release());
	ck_assert_uint_eq(jobs_done(), 0);
	ck_assert_int_eq(ferry__starter_do(job), 0);
}
END_TEST

static bool stop; /* atomic */

/* With jobs of both kinds. */
static void *ask(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		ferry__starter_run(job);
		ferry__starter_do(job);
		ferry__starter_join();
	}
	return NULL;
}

#define ASKERS 2

START_TEST(who_holds_it_sees_no_job_however_many_ask)
{
	size_t round, rounds = harness_scaled(400);
	pthread_t threads[ASKERS];
	unsigned int before;
	size_t i;

	let_end();
	for (i = 0; i < ASKERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask, NULL),
				 0);
	for (round = 0; round < rounds; round++) {
		before = jobs_done();
		AWAIT(jobs_done() != before);
		ferry__starter_hold();
		before = jobs_done();
		for (i = 0; i < 10; i++)
			harness_pause();
		ck_assert_uint_eq(__atomic_load_n(&running, __ATOMIC_RELAXED),
				  0);
		ck_assert_uint_eq(jobs_done(), before);
		ferry__starter_release();
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < ASKERS; i++)
		pthread_join(threads[i], NULL);
	ferry__starter_hold();
}
END_TEST

static const struct test tests[] = {
	TEST(there_is_one_job_at_a_time, NULL),
	TEST(nothing_begins_while_it_is_held, NULL),
	TEST(who_holds_it_sees_no_job_however_many_ask, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
