/* SPDX-License-Identifier: MIT */
/* offload_table.c: a table of which a twentieth is used. */
#include <stdlib.h>

#include "offload.h"
#include "offload_work.h"

#define MIB ((uint64_t)1 << 20)

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
		{ "ferry-off", PRELOAD_FERRY, "offload:off", NULL, work },
		{ "jemalloc", PRELOAD_JEMALLOC, NULL, NULL, work },
	};
	uint64_t bytes = bench_pick(o->b, 8, 64, 512) * MIB;
	uint64_t ms = bench_pick(o->b, 500, 2000, 20000);
	struct offload_run *v;
	/* The last one for scale only. */
	size_t n = offload_runs(o, cases, full ? 3 : 2, bytes, ms, &v);
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
