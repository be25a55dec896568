/* SPDX-License-Identifier: MIT */
/*
 * What a child of fork(2) sees of arenas.
 *
 * The child has a copy of every arena, page states and pins included, as of
 * one moment at which no commit or decommit was under way, and can use,
 * commit and destroy it; memory is shared copy-on-write. Three things differ:
 *
 *  - An arena made with no_fork has no memory in the child. It is taken out
 *    of the look-up table there; calls on it return -ECHILD and only
 *    ferry_arena_destroy() makes sense (it unmaps nothing). So has one with
 *    a segment, whose descriptor the child closes at once.
 *  - A userfaultfd does not cross a fork: pages of an arena with a service
 *    that were not there yet read as zero in the child.
 *  - Pages in TRANSIT stay so: who moved them is not in the child.
 *
 * Locks are taken in rank order before the fork and released after it on
 * both sides, liburcu's last. A thread that is inside a look-up section must
 * not fork: liburcu's lock may be held by one who waits for it.
 */
#include "alloc/alloc-internal.h"

#include <pthread.h>

#include "uffd/fault.h"

static void prepare_arena(struct ferry_arena *arena)
{
	pthread_mutex_lock(&arena->lock);
	arena->forking = true; /* or others would keep it from ever resting */
	while (arena->unsettled)
		pthread_cond_wait(&arena->settled, &arena->lock);
}

static void parent_arena(struct ferry_arena *arena)
{
	arena->forking = false;
	pthread_cond_broadcast(&arena->settled);
	pthread_mutex_unlock(&arena->lock);
}

static void child_arena(struct ferry_arena *arena)
{
	/* Who waited for it is not here; the words may say otherwise. */
	pthread_cond_init(&arena->settled, NULL);
	arena->forking = false;
	arena->gone |= arena->no_fork;
	/* Or this copy of it would keep a segment alive that is handed on. */
	if (arena->gone)
		ferry__segment_close(arena);
	pthread_mutex_unlock(&arena->lock);
}

static void prepare(void)
{
	ferry__lookup_fork_prepare(prepare_arena);
}

static void parent(void)
{
	ferry__lookup_fork_parent(parent_arena);
}

static void child(void)
{
	ferry__lookup_fork_child(child_arena);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_result;

/*
 * Handlers that prepare for a fork run last registered first. Growing attaches
 * to a service with the arena's lock held, so the services' lock comes after
 * ours: their handlers must be registered before.
 */
static void register_handlers(void)
{
	ferry__fault_own_table();
	once_result = -pthread_atfork(prepare, parent, child);
}

int ferry__fork_init(void)
{
	pthread_once(&once, register_handlers);
	return once_result;
}
