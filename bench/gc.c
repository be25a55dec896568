/* SPDX-License-Identifier: MIT */
/*
 * gc.c: ferry-bench gc: collectors under the same workloads. Every run has a
 * process of its own; those of one workload are made in turn, round by round.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gc.h"

#define MIB ((uint64_t)1 << 20)

/* MiB that live, by effort, unless --live says otherwise; 0: not made. */
#define SIZES 3

static const uint64_t choices[GC_WORKLOADS][BENCH_FULL + 1][SIZES] = {
	[GC_OLDMUT] = { { 8 }, { 32, 256 }, { 64, 256, 1024 } },
	[GC_FRAGMENT] = { { 16 }, { 512 }, { 1024 } },
	[GC_GCBENCH] = { { 6 }, { 0 }, { 48 } },
	[GC_BINARY_TREES] = { { 4 }, { 0 }, { 64 } },
	[GC_LEAF] = { { 32 }, { 0 }, { 1024 } },
	[GC_CHAIN] = { { 4 }, { 0 }, { 64, 256 } },
	[GC_ALLOC] = { { 4 }, { 0 }, { 16 } },
};

/* All groups of cells, in their order. */
struct gc_bench {
	struct bench *b;
	struct gc_plan plan;
	struct gc_group *group;
	size_t n;
	size_t steps, all_steps;
};

static int check_options(const struct bench_options *opt, char *err,
			 size_t err_size)
{
	struct gc_plan plan;
	int rc = gc_plan_read(opt, &plan, err, err_size);

	gc_plan_fini(&plan);
	return rc;
}

/* --- what is to be run ---------------------------------------------------- */

static uint64_t volume(const struct gc_bench *g, const struct gc_spec *s)
{
	uint64_t times = bench_pick(g->b, 3, 6, 8);
	uint64_t least = bench_pick(g->b, 64, 512, 2048) * MIB;

	if (s->volume)
		return s->volume;
	if (s->workload == GC_ALLOC)
		return 4 * least;
	return times * s->live > least ? times * s->live : least;
}

/* Whether it can do this workload at all. */
static bool able(enum gc_collector_id id, enum gc_workload_id workload)
{
	bool ephemerons = id == GC_FERRY || id == GC_FERRY_STW;

	return workload != GC_CHAIN || ephemerons;
}

static void add_cell(struct gc_bench *g, struct gc_group *group,
		     enum gc_collector_id id, const struct gc_spec *spec)
{
	struct gc_cell *c;
	const char *why;

	if (!g->plan.collector[id] || !gc_collector_built(id, &why) ||
	    !able(id, spec->workload))
		return;
	group->v = bench_grow(group->v, group->n + 1, sizeof(*group->v));
	c = &group->v[group->n++];
	memset(c, 0, sizeof(*c));
	c->spec = *spec;
	c->spec.collector = id;
	c->spec.volume = volume(g, &c->spec);
	c->spec.limit_s = bench_pick(g->b, 120, 120, 1200);
}

static void add_group(struct gc_bench *g, enum gc_workload_id workload,
		      uint64_t live, uint64_t mutators)
{
	struct gc_spec spec = g->plan.spec;
	struct gc_group *group;

	if (!live)
		return;
	spec.workload = workload;
	spec.live = live;
	spec.mutators = mutators;
	g->group = bench_grow(g->group, g->n + 1, sizeof(*g->group));
	group = &g->group[g->n++];
	memset(group, 0, sizeof(*group));
	for (size_t i = 0; i < GC_COLLECTORS; i++)
		add_cell(g, group, (enum gc_collector_id)i, &spec);
}

static void add_sizes(struct gc_bench *g, enum gc_workload_id workload,
		      uint64_t mutators)
{
	const uint64_t *mib = choices[workload][g->b->opt.effort];

	for (size_t i = 0; i < g->plan.nlive; i++)
		add_group(g, workload, g->plan.live[i], mutators);
	for (size_t i = 0; i < SIZES && !g->plan.nlive; i++)
		add_group(g, workload, mib[i] * MIB, mutators);
}

static void make_groups(struct gc_bench *g)
{
	for (size_t w = 0; w < GC_WORKLOADS; w++)
		for (size_t m = 0; g->plan.workload[w] && m < g->plan.nmutators;
		     m++)
			add_sizes(g, (enum gc_workload_id)w,
				  g->plan.mutators[m]);
}

/* --- running -------------------------------------------------------------- */

static size_t rounds(const struct gc_bench *g)
{
	return g->plan.rounds ? g->plan.rounds : bench_pick(g->b, 1, 1, 3);
}

static void run_cell(struct gc_cell *c)
{
	double wanted = c->spec.heap * (double)c->spec.live;
	uint64_t free_bytes = bench_memory_available();

	if (wanted < (double)free_bytes) {
		gc_cell_run(c);
		return;
	}
	c->error = -ENOMEM;
	snprintf(c->last.why, sizeof(c->last.why),
		 "not made: its heap would have %.0f MiB, and %.0f are free",
		 wanted / MIB, (double)free_bytes / MIB);
}

static void run_round(struct gc_bench *g, struct gc_group *group)
{
	uint32_t *order = bench_alloc(group->n * sizeof(*order));

	for (size_t i = 0; i < group->n; i++)
		order[i] = (uint32_t)i;
	bench_rng_shuffle(&g->b->rng, order, group->n);
	for (size_t i = 0; i < group->n; i++) {
		struct gc_cell *c = &group->v[order[i]];

		bench_progress(gc_workload_names[c->spec.workload], g->steps++,
			       g->all_steps);
		run_cell(c);
	}
	free(order);
}

/* Where it lies is said; what a collector lacks is no failure, and neither is
 * a heap too small for it. */
static int judge(struct bench *b, const struct gc_cell *c)
{
	const char *name = gc_collector_names[c->spec.collector];
	const char *workload = gc_workload_names[c->spec.workload];

	if (c->wrong) {
		bench_say(b, "%s, %s: %llu objects had not their contents.",
			  workload, name, (unsigned long long)c->wrong);
		return -EBADMSG;
	}
	if (!c->error)
		return 0;
	bench_say(b, "%s, %s, %llu MiB live: %s.", workload, name,
		  (unsigned long long)(c->spec.live / MIB), c->last.why);
	return c->error == -EPROTO ? -EPROTO : 0;
}

static int run_group(struct gc_bench *g, struct gc_group *group)
{
	int rc = 0;

	for (size_t i = 0; i < rounds(g); i++)
		run_round(g, group);
	gc_show_group(g->b, group);
	for (size_t i = 0; i < group->n; i++) {
		int bad = judge(g->b, &group->v[i]);

		gc_record(g->b, &group->v[i]);
		rc = rc ? rc : bad;
	}
	return rc;
}

static void explain(struct gc_bench *g)
{
	bench_section(g->b, "Garbage collection");
	bench_say(g->b,
		  "The same programs with several collectors, each run in a "
		  "process of its own, with a heap of %.3g times what is "
		  "live. A pause is the time from the request to stop until "
		  "all threads may run again, as the collector tells it. What "
		  "a mutator feels is measured by itself: after every "
		  "operation of a few microseconds it reads the clock, and "
		  "what operations took beyond the mean of their kind before "
		  "the first collection is lost time, whatever took it: "
		  "pauses, faults, waiting for memory, or another process. "
		  "\"hiccup\" is the most that one operation lost, \"MMU\" the "
		  "least share of any 10 or 50 ms that was not lost. The "
		  "collector \"none\" bumps a pointer and is told what is "
		  "dead: its hiccups are those of the machine.",
		  g->plan.spec.heap);
	for (size_t i = 0; i < GC_COLLECTORS; i++) {
		const char *why;

		if (g->plan.collector[i] && !gc_collector_built(i, &why))
			bench_say(g->b, "%s is left out: %s.",
				  gc_collector_names[i], why);
	}
}

/* Of each collector, about the last run of each workload. */
static void say_notes(struct gc_bench *g)
{
	for (size_t i = 0; i < g->n; i++) {
		const struct gc_group *group = &g->group[i];
		bool last = i + 1 == g->n || !group->n || !group[1].n ||
			    group[1].v[0].spec.workload !=
				    group->v[0].spec.workload;

		for (size_t j = 0; last && j < group->n; j++) {
			const struct gc_cell *c = &group->v[j];

			if (c->last.note[0])
				bench_say(g->b, "%s, %s: %s.",
					  gc_workload_names[c->spec.workload],
					  gc_collector_names[c->spec.collector],
					  c->last.note);
		}
	}
}

static void fini(struct gc_bench *g)
{
	for (size_t i = 0; i < g->n; i++) {
		for (size_t j = 0; j < g->group[i].n; j++)
			gc_cell_fini(&g->group[i].v[j]);
		free(g->group[i].v);
	}
	free(g->group);
	gc_plan_fini(&g->plan);
}

static int run(struct bench *b)
{
	struct gc_bench g = { .b = b };
	char err[256];
	int rc = gc_plan_read(&b->opt, &g.plan, err, sizeof(err));

	if (rc < 0)
		return rc; /* not to be had: options were checked */
	make_groups(&g);
	for (size_t i = 0; i < g.n; i++)
		g.all_steps += rounds(&g) * g.group[i].n;
	explain(&g);
	for (size_t i = 0; i < g.n; i++) {
		int bad = run_group(&g, &g.group[i]);

		rc = rc ? rc : bad;
	}
	say_notes(&g);
	gc_plot_all(b, g.group, g.n);
	gc_set_targets(b, g.group, g.n);
	fini(&g);
	return rc;
}

const struct bench_cmd bench_cmd_gc = {
	.name = "gc",
	.summary = "collectors under the same workloads",
	.options = gc_options,
	.check = check_options,
	.run = run,
};
