/* SPDX-License-Identifier: MIT */
/*
 * Around fork(2): one set of handlers for the list of instances, the engine
 * and all pagers, so that their order is that of the locks.
 */
#include "alloc/instance/instance.h"

#define FOR_EACH_INSTANCE(a)                                                   \
	for ((a) = ferry__instances.first; (a); (a) = (a)->next)

/*
 * Did the engine run at the start of this fork? Also without an instance: one
 * may be in the making. Under instances.lock.
 */
static bool engine_runs;

static void prepare(void)
{
	struct ferry_allocator *a;

	pthread_mutex_lock(&ferry__instances.lock);
	engine_runs = ferry__engine_fork.prepare != NULL;
	if (engine_runs)
		ferry__engine_fork.prepare();
	FOR_EACH_INSTANCE(a)
	ferry__pager_fork_prepare(a->pager);
}

static void parent(void)
{
	struct ferry_allocator *a;

	FOR_EACH_INSTANCE(a)
	ferry__pager_fork_parent(a->pager);
	if (engine_runs)
		ferry__engine_fork.parent();
	pthread_mutex_unlock(&ferry__instances.lock);
}

/* The engine first: a pager may start threads. */
static void child(void)
{
	struct ferry_allocator *a;

	if (engine_runs)
		ferry__engine_fork.child();
	FOR_EACH_INSTANCE(a)
	{
		ferry__cache_fork_child(a);
		ferry__pager_fork_child(a->pager);
		ferry__offload_fork_child(a);
	}
	pthread_mutex_unlock(&ferry__instances.lock);
}

void ferry__instances_fork_init(void)
{
	/* Whose handlers take their locks after ours. */
	ferry__pager_init();
	pthread_atfork(prepare, parent, child);
}
