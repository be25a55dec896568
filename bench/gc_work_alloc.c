/* SPDX-License-Identifier: MIT */
/*
 * gc_work_alloc.c: how long an object of 32 bytes takes to allocate, when the
 * memory was used before.
 */
#include "gc_mem.h"

/* Allocations between two looks at the clock. */
#define AT_ONCE 4096

static void some(struct gc_thread *t)
{
	gc_scratch(t, true);
	for (int i = 0; i < AT_ONCE; i++)
		bench_use(gc_node(t, 0));
	gc_scratch(t, false);
}

static void setup(struct gc_thread *t)
{
	(void)t;
}

/* Through all memory once. */
static void learn(struct gc_thread *t)
{
	const struct gc_spec *spec = &t->run->spec;
	double bytes = 1.5 * spec->heap * (double)spec->live;

	for (double done = 0; done < bytes;
	     done += AT_ONCE * sizeof(struct gc_node)) {
		some(t);
		gc_tick(&t->meter, GC_OP_BUILD);
	}
}

static void work(struct gc_thread *t)
{
	const struct gc_spec *spec = &t->run->spec;
	uint64_t n = spec->volume / spec->mutators / sizeof(struct gc_node);
	struct bench_samples ns = { 0 };
	uint64_t begin = bench_now();
	uint64_t last = begin;

	for (t->ops = 0; t->ops < n; t->ops += AT_ONCE) {
		uint64_t now;

		some(t);
		gc_tick(&t->meter, GC_OP_BUILD);
		now = t->meter.last;
		bench_samples_add(&ns, (double)(now - last) / AT_ONCE);
		last = now;
	}
	t->value[0] = bench_samples_quantile(&ns, 0.5);
	t->value[1] = (double)(last - begin) / (double)t->ops;
	bench_samples_fini(&ns);
}

static void check(struct gc_thread *t)
{
	if (t->index)
		return;
	t->run->out.metric[GC_ALLOC_MEDIAN] = t->value[0];
	t->run->out.metric[GC_ALLOC_MEAN] = t->value[1];
}

const struct gc_workload GC_NAME(gc_alloc) = {
	.id = GC_ALLOC,
	.setup = setup,
	.learn = learn,
	.work = work,
	.check = check,
};
