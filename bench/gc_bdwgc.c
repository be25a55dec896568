/* SPDX-License-Identifier: MIT */
/*
 * gc_bdwgc.c: the collector of Boehm, Demers and Weiser, in its best ordinary
 * mode: parallel marking as it was built, thread-local allocation, a heap of
 * its full size from the start, references to the start of objects only.
 */
#include <errno.h>
#include <gc/gc.h>
#include <stdio.h>

#include "gc_run.h"

/* Callbacks have no argument. Set before the collector is. */
static struct gc_run *the_run;
static uint64_t pause_begin;

static void GC_CALLBACK on_event(GC_EventType event)
{
	if (event == GC_EVENT_PRE_STOP_WORLD)
		pause_begin = bench_now();
	else if (event == GC_EVENT_POST_START_WORLD)
		gc_pause_note(the_run, bench_now() - pause_begin);
}

static void GC_CALLBACK be_silent(char *msg, GC_word arg)
{
	(void)msg;
	(void)arg;
}

static int create(struct gc_run *run, size_t limit, char *why, size_t size)
{
	the_run = run;
	GC_set_all_interior_pointers(0);
	GC_set_warn_proc(be_silent);
	GC_INIT();
	GC_allow_register_threads();
	GC_set_max_heap_size(limit);
	if (limit > GC_get_heap_size() &&
	    !GC_expand_hp(limit - GC_get_heap_size())) {
		snprintf(why, size, "no memory for its heap");
		return -ENOMEM;
	}
	GC_set_on_collection_event(on_event);
	gc_note(run, "version %d.%d.%d, %d threads mark", GC_VERSION_MAJOR,
		GC_VERSION_MINOR, GC_VERSION_MICRO, GC_get_parallel() + 1);
	return 0;
}

static void destroy(struct gc_run *run)
{
	(void)run; /* it has no end */
}

static int attach(struct gc_thread *t)
{
	struct GC_stack_base base;

	GC_add_roots(t->root, t->root + GC_ROOTS);
	if (GC_get_stack_base(&base) != GC_SUCCESS ||
	    GC_register_my_thread(&base) != GC_SUCCESS)
		return -EAGAIN;
	return 0;
}

static void detach(struct gc_thread *t)
{
	(void)t;
	GC_unregister_my_thread();
}

static void nothing(struct gc_thread *t)
{
	(void)t;
}

static void collect(struct gc_thread *t)
{
	(void)t;
	GC_gcollect();
}

static void compact(struct gc_run *run)
{
	(void)run;
	GC_gcollect_and_unmap();
}

static void counters(struct gc_run *run, struct gc_counters *ret)
{
	(void)run;
	*ret = (struct gc_counters){ .collections = GC_get_gc_no() };
}

const struct gc_collector gc_collector_bdwgc = {
	.create = create,
	.destroy = destroy,
	.attach = attach,
	.detach = detach,
	.wait_begin = nothing,
	.wait_end = nothing,
	.collect = collect,
	.compact = compact,
	.counters = counters,
};
