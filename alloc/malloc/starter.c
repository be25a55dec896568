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
} starter;

static bool take(uint32_t from)
{
	return __atomic_compare_exchange_n(&starter.state, &from, TAKEN, false,
					   __ATOMIC_ACQUIRE, /* J1 */
					   __ATOMIC_RELAXED);
}

static uint32_t current_state(void)
{
	return __atomic_load_n(&starter.state, __ATOMIC_ACQUIRE); /* J1 */
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

int ferry__starter_run(void (*job)(void))
{
	int r;

	ferry__starter_join(false);
	if (!take(NONE))
		return -EBUSY;
	starter.job = job;
	r = start_thread();
	set_state(r ? NONE : RUNS);
	return r;
}

void ferry__starter_join(bool wait)
{
	while (wait && current_state() != NONE && current_state() != DONE)
		ferry__sys->futex_wait(&starter.state, current_state(),
				       PATIENCE_NS / 100);
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
	/* Nobody else is there. */
	__atomic_store_n(&starter.state, NONE, __ATOMIC_RELAXED);
}
