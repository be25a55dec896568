/* SPDX-License-Identifier: MIT */
/* offload_table.c: idle after churn; a table of which a twentieth is used. */
#include <stdlib.h>

#include "offload.h"
#include "offload_work.h"

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

/* --- idle after churn ----------------------------------------------------- */

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

/* All at the same time: they do nothing most of it. */
void offload_idle(struct offload_bench *o)
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
	uint64_t bytes = bench_pick(o->b, 23, 230, 230) * 784000;
	uint64_t ms = bench_pick(o->b, 1000, 10000, 10000);
	struct offload_run *v;
	size_t n =
		offload_runs(o, cases, BENCH_ARRAY_LEN(cases), bytes, ms, &v);
	struct bench_stat st;

	offload_watch(v, n, 100);
	show_idle(o->b, v, n, ms);
	offload_plot(o->b, "offload-idle",
		     "Memory of a program that has freed most of it, and rests",
		     v, n);
	offload_finish(o, OFFLOAD_IDLE, v, n);
	for (size_t i = 0; i < n; i++) {
		st = over_live(&v[i]);
		bench_result(o->b, &st, "ratio",
			     "offload/idle/%s/rested_over_live", v[i].name);
	}
	st = over_live(offload_find(v, n, "ferry"));
	offload_target(o->b, OFFLOAD_IDLE, "held_over_live",
		       "idle after churn: held beyond the start / live",
		       BENCH_AT_MOST, 2, "x", &st);
	offload_runs_fini(v, n);
}

/* --- a table -------------------------------------------------------------- */

static void show_zipf(struct bench *b, const struct offload_run *v, size_t n,
		      uint64_t bytes)
{
	static const struct offload_column columns[] = {
		{ "live MiB", OFFLOAD_LIVE, MIB },
		{ "held before", OFFLOAD_HELD + OFFLOAD_FILLED, MIB },
		{ "held at the end", OFFLOAD_HELD + OFFLOAD_RESTED, MIB },
		{ "1000 ops/s", OFFLOAD_OPS, 1e3 },
		{ "p50 us", OFFLOAD_OP_P50, 1 },
		{ "p99 us", OFFLOAD_OP_P99, 1 },
		{ "scan ns/page", OFFLOAD_PAGE_NS, 1 },
	};
	char *caption = bench_asprintf("zipf: %llu MiB of values of 200 bytes, "
				       "of which one in twenty is used",
				       (unsigned long long)(bytes / MIB));

	offload_show(b, caption, v, n, columns, BENCH_ARRAY_LEN(columns));
	free(caption);
}

void offload_zipf(struct offload_bench *o)
{
	const char *work = o->scattered ? "zipf-scattered" : "zipf";
	bool full = o->b->opt.effort == BENCH_FULL;
	const char *soon = full ? "cold_after:2s,min_heap:0"
				: "cold_after:300ms,min_heap:0";
	const struct offload_case cases[] = {
		{ "ferry", PRELOAD_FERRY, soon, NULL, work },
		{ "ferry-off", PRELOAD_FERRY, "offload:no", NULL, work },
		{ "jemalloc", PRELOAD_JEMALLOC, NULL, NULL, work },
	};
	uint64_t bytes = bench_pick(o->b, 8, 64, 512) * MIB;
	uint64_t ms = bench_pick(o->b, 500, 2000, 20000);
	struct offload_run *v;
	size_t n =
		offload_runs(o, cases, BENCH_ARRAY_LEN(cases), bytes, ms, &v);
	struct bench_stat st;

	for (size_t i = 0; i < n; i++)
		offload_watch(&v[i], 1, full ? 200 : 50);
	show_zipf(o->b, v, n, bytes);
	offload_plot(o->b, "offload-zipf",
		     "Memory of a table of which a twentieth is used", v, n);
	offload_finish(o, OFFLOAD_ZIPF, v, n);
	st = offload_ratio(v, n, OFFLOAD_HELD + OFFLOAD_RESTED, "ferry",
			   "ferry-off");
	bench_result(o->b, &st, "ratio", "offload/zipf/held");
	st = offload_ratio(v, n, OFFLOAD_OPS, "ferry", "ferry-off");
	bench_result(o->b, &st, "ratio", "offload/zipf/ops");
	offload_runs_fini(v, n);
}
