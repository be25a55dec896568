/* SPDX-License-Identifier: MIT */
/*
 * Around fork(2): one set of handlers for the list of instances, the engine
 * and all pagers, so that their order is that of the locks.
 */
#include "alloc/instance/instance.h"

#define FOR_EACH_INSTANCE(a)                                                   \
	for ((a) = ferry__instances.first; (a); (a) = (a)->next)

static void prepare(void)
{
	struct ferry_allocator *a;

	pthread_mutex_lock(&ferry__instances.lock);
	if (!ferry__instances.first)
		return;
	ferry__engine_fork.prepare();
	FOR_EACH_INSTANCE(a)
	ferry__pager_fork_prepare(a->pager);
}

static void parent(void)
{
	struct ferry_allocator *a;

	if (ferry__instances.first) {
		FOR_EACH_INSTANCE(a)
		ferry__pager_fork_parent(a->pager);
		ferry__engine_fork.parent();
	}
	pthread_mutex_unlock(&ferry__instances.lock);
}

/* The engine first: a pager may start threads. */
static void child(void)
{
	struct ferry_allocator *a;

	if (ferry__instances.first) {
		ferry__engine_fork.child();
		FOR_EACH_INSTANCE(a)
		{
			ferry__cache_fork_child(a);
			ferry__pager_fork_child(a->pager);
			ferry__offload_fork_child(a);
		}
	}
	pthread_mutex_unlock(&ferry__instances.lock);
}

void ferry__instances_fork_init(void)
{
	pthread_atfork(prepare, parent, child);
}
