/* SPDX-License-Identifier: MIT */
/*
 * Around fork(2): one set of handlers for all of the library, so that their
 * order is ours (DESIGN F1).
 *
 * The C library runs handlers in the order in which they were registered in
 * parent and child, and backwards before the fork. Ours are registered at the
 * start, which is before anybody else's.
 *
 * jemalloc first: once its locks are held, nobody is within a hook that the
 * pager would wait for. In the child it is the other way round from what it
 * seems: jemalloc touches no page that may be out, and the pager's new threads
 * need memory.
 *
 * Lock order: fork_lock, jemalloc's, the pager's. The pager's thread, which
 * calls into jemalloc, only tries for the first.
 *
 * fork_lock is a word, with the number of the thread that has it: a signal
 * handler may fork, and must see that the thread which it interrupts is at it
 * already.
 */
#include "alloc/malloc/library.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>

#include "alloc/malloc/offload.h"
#include "alloc/malloc/starter.h"
#include "alloc/pager/pager.h"
#include "uffd/sys.h"

#define SECOND 1000000000u

static uint32_t fork_lock; /* L1: acquired and released; futex */

static uint32_t self(void)
{
	return (uint32_t)ferry__sys->gettid();
}

bool ferry__fork_hold(void)
{
	uint32_t nobody = 0;

	return __atomic_compare_exchange_n(&fork_lock, &nobody, self(), false,
					   __ATOMIC_ACQUIRE, /* L1 */
					   __ATOMIC_RELAXED);
}

/* In a child, too: its copy is held by whoever forked. */
void ferry__fork_release(void)
{
	__atomic_store_n(&fork_lock, 0, __ATOMIC_RELEASE); /* L1 */
	ferry__sys->futex_wake(&fork_lock);
}

static void wait_and_hold(void)
{
	uint32_t who;

	ferry__starter_settle();
	while (!ferry__fork_hold()) {
		/* Relaxed: it is looked at again. */
		who = __atomic_load_n(&fork_lock, __ATOMIC_RELAXED);
		if (who)
			ferry__sys->futex_wait(&fork_lock, who, SECOND);
	}
}

int ferry__fork_begin_raw(void)
{
	/* Relaxed: a thread finds its own number if it has stored it. */
	if (__atomic_load_n(&fork_lock, __ATOMIC_RELAXED) == self())
		return -EAGAIN;
	wait_and_hold();
	return 0;
}

/* In between nothing is started on the side: see settle() in engine.c. */
static void prepare(void)
{
	ferry__engine_own_begin();
	wait_and_hold();
	ferry__engine_fork.prepare();
	ferry__offload_fork_prepare();
}

static void parent(void)
{
	ferry__offload_fork_parent();
	ferry__engine_fork.parent();
	ferry__fork_release();
	ferry__engine_own_end();
}

static void child(void)
{
	ferry__engine_fork.child();
	ferry__offload_fork_child();
	ferry__fork_release();
	ferry__engine_own_end();
}

void ferry__fork_init(void)
{
	/* Whose handlers take their locks after ours. */
	ferry__pager_init();
	pthread_atfork(prepare, parent, child);
}
