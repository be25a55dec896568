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
 */
#include "alloc/malloc/library.h"

#include <pthread.h>

#include "alloc/malloc/offload.h"
#include "alloc/malloc/starter.h"
#include "alloc/pager/pager.h"

static pthread_mutex_t fork_lock = PTHREAD_MUTEX_INITIALIZER;

bool ferry__fork_hold(void)
{
	return !pthread_mutex_trylock(&fork_lock);
}

void ferry__fork_release(void)
{
	pthread_mutex_unlock(&fork_lock);
}

/* In between nothing is started on the side: see settle() in engine.c. */
static void prepare(void)
{
	ferry__engine_own_begin();
	ferry__starter_settle();
	pthread_mutex_lock(&fork_lock);
	ferry__engine_fork.prepare();
	ferry__offload_fork_prepare();
}

static void parent(void)
{
	ferry__offload_fork_parent();
	ferry__engine_fork.parent();
	pthread_mutex_unlock(&fork_lock);
	ferry__engine_own_end();
}

static void child(void)
{
	ferry__engine_fork.child();
	ferry__offload_fork_child();
	pthread_mutex_unlock(&fork_lock);
	ferry__engine_own_end();
}

void ferry__fork_init(void)
{
	/* Whose handlers take their locks after ours. */
	ferry__pager_init();
	pthread_atfork(prepare, parent, child);
}
