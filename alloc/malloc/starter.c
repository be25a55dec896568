/* SPDX-License-Identifier: MIT */
/*
 * The thread that starts others.
 *
 *   state:  NONE --run (CAS)--> TAKEN --> RUNS --> DONE
 *             ^                             |        |
 *             +---------- join: TAKEN <-----+--------+ (CAS)
 *
 * J1: who makes it TAKEN acquires what the last one released: the thread's
 * number, and what the job did.
 *
 * H1: who holds it counts himself, then waits for what is going on; who takes
 * it looks at the count after that. Both sequentially consistent: at least one
 * sees the other.
 */
#include "alloc/malloc/starter.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>

#include "uffd/sys.h"
#include "uffd/thread.h"

#define STACK_SIZE  ((size_t)256 << 10)
#define PATIENCE_NS 1000000000u

enum state { NONE = 0, TAKEN, RUNS, DONE };

static struct {
	uint32_t state; /* J1; futex */
	pthread_t thread;
	void (*job)(void);
	unsigned int held; /* H1 */
} starter;

static bool take(uint32_t from)
{
	return __atomic_compare_exchange_n(&starter.state, &from, TAKEN, false,
					   __ATOMIC_SEQ_CST, /* J1, H1 */
					   __ATOMIC_RELAXED);
}

static uint32_t current_state(void)
{
	return __atomic_load_n(&starter.state, __ATOMIC_SEQ_CST); /* J1, H1 */
}

static void set_state(uint32_t state)
{
	__atomic_store_n(&starter.state, state, __ATOMIC_RELEASE); /* J1 */
	ferry__sys->futex_wake(&starter.state);
}

/* RUNS is set by who started it: it is waited for, to come before DONE. */
static void *starter_main(void *arg)
{
	(void)arg;
	while (current_state() == TAKEN)
		ferry__sys->futex_wait(&starter.state, TAKEN, PATIENCE_NS);
	starter.job();
	set_state(DONE);
	return NULL;
}

static int start_thread(void)
{
	pthread_attr_t attr;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	ferry__engine_own_begin();
	r = ferry__thread_start(&starter.thread, &attr, starter_main, NULL);
	ferry__engine_own_end();
	pthread_attr_destroy(&attr);
	return r;
}

/* For a new job. */
static int take_for_job(void)
{
	ferry__starter_join();
	if (!take(NONE))
		return -EBUSY;
	if (!__atomic_load_n(&starter.held, __ATOMIC_SEQ_CST)) /* H1 */
		return 0;
	set_state(NONE);
	return -EBUSY;
}

int ferry__starter_run(void (*job)(void))
{
	int r = take_for_job();

	if (r)
		return r;
	starter.job = job;
	r = start_thread();
	set_state(r ? NONE : RUNS);
	return r;
}

int ferry__starter_do(void (*job)(void))
{
	int r = take_for_job();

	if (r)
		return r;
	job();
	set_state(NONE);
	return 0;
}

static void wait_for_job(void)
{
	uint32_t state = current_state();

	for (; state == TAKEN || state == RUNS; state = current_state())
		ferry__sys->futex_wait(&starter.state, state,
				       PATIENCE_NS / 100);
}

void ferry__starter_hold(void)
{
	__atomic_fetch_add(&starter.held, 1, __ATOMIC_SEQ_CST); /* H1 */
	do {
		wait_for_job();
		ferry__starter_join();
	} while (current_state() != NONE);
}

bool ferry__starter_release(void)
{
	return __atomic_sub_fetch(&starter.held, 1, __ATOMIC_SEQ_CST) == 0;
}

void ferry__starter_join(void)
{
	if (!take(DONE))
		return;
	ferry__thread_join(starter.thread);
	set_state(NONE);
}

void ferry__starter_settle(void)
{
	uint64_t end = ferry__sys->now_ns() + PATIENCE_NS;
	uint32_t state = current_state();

	while ((state == TAKEN || state == RUNS) &&
	       ferry__sys->now_ns() < end) {
		ferry__sys->futex_wait(&starter.state, state,
				       PATIENCE_NS / 100);
		state = current_state();
	}
}

void ferry__starter_fork_child(void)
{
	/* Relaxed, both: nobody else is there, who held it neither. */
	__atomic_store_n(&starter.state, NONE, __ATOMIC_RELAXED);
	__atomic_store_n(&starter.held, 0, __ATOMIC_RELAXED);
}
