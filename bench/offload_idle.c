/* SPDX-License-Identifier: MIT */
/* offload_idle.c: programs that have freed most of their memory, and rest. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "offload.h"

#define MIB ((uint64_t)1 << 20)

/*
 * What is held after the rest, in bytes that live. The program's code and
 * libraries are no allocator's doing: what was held before it began to
 * allocate is taken off.
 */
static struct bench_stat over_live(const struct offload_run *r)
{
	struct bench_stat none = { 0 };
	double live, before, after;

	if (!r || r->error)
		return none;
	live = offload_stat(r, OFFLOAD_LIVE).value;
	before = offload_stat(r, OFFLOAD_HELD + OFFLOAD_STARTED).value;
	after = offload_stat(r, OFFLOAD_HELD + OFFLOAD_RESTED).value;
	return live > 0 ? bench_stat_of((after - before) / live) : none;
}

static void show_idle(struct bench *b, const struct offload_run *v, size_t n,
		      uint64_t ms)
{
	char *caption = bench_asprintf(
		"idle: one block in twenty survives, then %.3g s of rest; MiB",
		(double)ms * 1e-3);
	struct bench_table *t = bench_table_new(
		caption, "allocator", "live", "at the start", "before", "after",
		"(after - start) / live", NULL);

	for (size_t i = 0; i < n; i++) {
		static const enum offload_metric m[] = {
			OFFLOAD_LIVE, OFFLOAD_HELD + OFFLOAD_STARTED,
			OFFLOAD_HELD + OFFLOAD_FILLED,
			OFFLOAD_HELD + OFFLOAD_RESTED
		};
		struct bench_stat ratio = over_live(&v[i]);

		bench_cell(t, "%s", v[i].name);
		for (size_t j = 0; j < BENCH_ARRAY_LEN(m); j++)
			bench_cell(t, "%.1f",
				   offload_stat(&v[i], m[j]).value / MIB);
		bench_cell(t, ratio.n ? "%.2f" : "-", ratio.value);
	}
	bench_show(b, t);
	free(caption);
}

/* --- all at the same time: they do nothing most of it ---------------------- */

#define PERIOD_MS 100

/* Programs at rest, and the thread that watches them. */
struct offload_idle {
	struct offload_run *v;
	size_t n;
	uint64_t ms;
	pthread_t thread;
};

static void *watch(void *arg)
{
	struct offload_idle *idle = arg;

	offload_watch(idle->v, idle->n, PERIOD_MS);
	return NULL;
}

/* Relaxed: what the runs contain is looked at after the join. */
static bool all_rest(const struct offload_idle *idle)
{
	for (size_t i = 0; i < idle->n; i++)
		if (!atomic_load_explicit(&idle->v[i].filled,
					  memory_order_relaxed))
			return false;
	return true;
}

void offload_idle_begin(struct offload_bench *o)
{
	static const struct offload_case cases[] = {
		{ "ferry", PRELOAD_FERRY, NULL, NULL, "idle" },
		{ "jemalloc", PRELOAD_JEMALLOC, NULL, NULL, "idle" },
		{ "jemalloc-tuned", PRELOAD_JEMALLOC, NULL,
		  "MALLOC_CONF=background_thread:true,dirty_decay_ms:1000,"
		  "muzzy_decay_ms:0",
		  "idle" },
		{ "mimalloc", PRELOAD_MIMALLOC, NULL, NULL, "idle" },
		{ "tcmalloc", PRELOAD_TCMALLOC, NULL, NULL, "idle" },
		{ "glibc", PRELOAD_GLIBC, NULL, NULL, "idle" },
	};
	static const struct timespec moment = { 0, 20000000 };
	struct offload_idle *idle = bench_alloc(sizeof(*idle));
	uint64_t bytes = bench_pick(o->b, 23, 230, 230) * 784000;

	idle->ms = bench_pick(o->b, 1000, 10000, 10000);
	idle->n = offload_runs(o, cases, BENCH_ARRAY_LEN(cases), bytes,
			       idle->ms, &idle->v);
	o->idle = idle;
	if (pthread_create(&idle->thread, NULL, watch, idle))
		bench_die("no thread to watch programs");
	while (!all_rest(idle))
		nanosleep(&moment, NULL);
}

void offload_idle_end(struct offload_bench *o)
{
	struct offload_idle *idle = o->idle;
	struct bench_stat st;

	pthread_join(idle->thread, NULL);
	show_idle(o->b, idle->v, idle->n, idle->ms);
	offload_plot(o->b, "offload-idle",
		     "Memory of a program that has freed most of it, and rests",
		     idle->v, idle->n);
	offload_finish(o, OFFLOAD_IDLE, idle->v, idle->n);
	for (size_t i = 0; i < idle->n; i++) {
		st = over_live(&idle->v[i]);
		bench_result(o->b, &st, "ratio",
			     "offload/idle/%s/rested_over_live",
			     idle->v[i].name);
	}
	st = over_live(offload_find(idle->v, idle->n, "ferry"));
	offload_target(o->b, OFFLOAD_IDLE, "held_over_live",
		       "idle after churn: held beyond the start / live",
		       BENCH_AT_MOST, 2, "x", &st);
	offload_runs_fini(idle->v, idle->n);
	free(idle);
	o->idle = NULL;
}
