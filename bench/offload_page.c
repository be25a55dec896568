/* SPDX-License-Identifier: MIT */
/* offload_page.c: reading what is cold, one page or all; forking with it. */
#include <stdlib.h>

#include "offload.h"
#include "offload_swap.h"
#include "offload_work.h"

#define MIB ((uint64_t)1 << 20)

/* What is not touched becomes cold soon, but not while it is being measured. */
#define SOON                                                                   \
	"cold_after:200ms,idle_after:200ms,min_heap:0,rate:0,refault_limit:0"

/* Rounds of all runs, in an order shuffled anew. */
static void run_rounds(struct offload_bench *o, struct offload_run *v, size_t n,
		       size_t rounds)
{
	uint32_t *order = bench_alloc(n * sizeof(*order));

	for (size_t i = 0; i < n; i++)
		order[i] = (uint32_t)i;
	for (size_t i = 0; i < rounds; i++) {
		bench_rng_shuffle(&o->b->rng, order, n);
		for (size_t j = 0; j < n; j++)
			offload_watch(&v[order[j]], 1, 50);
	}
	free(order);
}

/* How long to wait for pages to become cold, ms. */
static uint64_t patience(const struct offload_bench *o)
{
	return bench_pick(o->b, 3000, 6000, 10000);
}

/* --- reading everything --------------------------------------------------- */

void offload_scan(struct offload_bench *o)
{
	static const struct offload_case cases[] = {
		{ "ferry", PRELOAD_FERRY, SOON, NULL, "scan" },
		{ "ferry-sigbus", PRELOAD_FERRY, SOON ",offload:sigbus", NULL,
		  "scan" },
	};
	static const struct offload_column columns[] = {
		{ "ns a page", OFFLOAD_PAGE_NS, 1 },
		{ "held before, MiB", OFFLOAD_HELD + OFFLOAD_FILLED, MIB },
		{ "held cold", OFFLOAD_HELD + OFFLOAD_RESTED, MIB },
	};
	struct offload_run *v;
	size_t n = offload_runs(
		o, cases, bench_pick(o->b, 1, 1, BENCH_ARRAY_LEN(cases)),
		bench_pick(o->b, 8, 64, 256) * MIB, patience(o), &v);
	struct bench_stat st = { 0 };
	const struct offload_run *ferry;

	run_rounds(o, v, n, bench_pick(o->b, 1, 1, 5));
	offload_show(o->b, "scan: all is cold, and is read in order", v, n,
		     columns, BENCH_ARRAY_LEN(columns));
	offload_finish(o, OFFLOAD_SCAN, v, n);
	ferry = offload_find(v, n, "ferry");
	if (ferry && !ferry->error)
		st = offload_stat(ferry, OFFLOAD_PAGE_NS);
	offload_target(o->b, OFFLOAD_SCAN, "ns_a_page",
		       "reading what is cold in order", BENCH_AT_MOST, 2000,
		       "ns", &st);
	offload_runs_fini(v, n);
}

/* --- one page ------------------------------------------------------------- */

static void fault_targets(struct offload_bench *o, const struct offload_run *v,
			  size_t n)
{
	struct bench_stat st =
		offload_ratio(v, n, OFFLOAD_FAULT_P50, "ferry-sigbus", "swap");

	offload_target(o->b, OFFLOAD_FAULT, "sigbus_over_swap",
		       "stored page, SIGBUS, p50: ferry / zram-lz4 swap",
		       BENCH_AT_MOST, 1.2, "x", &st);
	st = offload_ratio(v, n, OFFLOAD_FAULT_P50, "ferry", "hand");
	offload_target(o->b, OFFLOAD_FAULT, "thread_over_hand",
		       "stored page, handler thread, p50: ferry / by hand",
		       BENCH_AT_MOST, 1.15, "x", &st);
}

void offload_fault(struct offload_bench *o)
{
	static const struct offload_case cases[] = {
		{ "ferry", PRELOAD_FERRY, SOON, NULL, "fault" },
		{ "ferry-sigbus", PRELOAD_FERRY, SOON ",offload:sigbus", NULL,
		  "fault" },
		{ "hand", PRELOAD_GLIBC, NULL, NULL, "hand-thread" },
		{ "hand-sigbus", PRELOAD_GLIBC, NULL, NULL, "hand-sigbus" },
		{ "swap", PRELOAD_GLIBC, NULL, NULL, "swap" },
	};
	static const struct offload_column columns[] = {
		{ "p50 us", OFFLOAD_FAULT_P50, 1 },
		{ "p99 us", OFFLOAD_FAULT_P99, 1 },
	};
	size_t ncases = BENCH_ARRAY_LEN(cases);
	struct offload_swap swap;
	struct offload_run *v;
	bool swaps = offload_swap_begin(
		&swap, o->b->opt.effort == BENCH_TINY
			       ? "the shortest run changes no system settings"
			       : NULL);
	size_t n = offload_runs(o, cases, swaps ? ncases : ncases - 1,
				bench_pick(o->b, 8, 32, 128) * MIB, patience(o),
				&v);

	if (!swaps)
		bench_say(o->b, "Swap is not measured: %s.", swap.why);
	run_rounds(o, v, n, bench_pick(o->b, 1, 1, 7));
	offload_swap_end(&swap);
	offload_show(o->b,
		     "fault: a page that is not in memory is touched; \"hand\" "
		     "is the smallest service that decompresses, \"swap\" the "
		     "kernel's on zram with lz4; each process on one processor",
		     v, n, columns, BENCH_ARRAY_LEN(columns));
	offload_finish(o, OFFLOAD_FAULT, v, n);
	fault_targets(o, v, n);
	offload_runs_fini(v, n);
}

/* --- fork ----------------------------------------------------------------- */

void offload_fork(struct offload_bench *o)
{
	static const struct offload_case cases[] = {
		{ "ferry", PRELOAD_FERRY,
		  "cold_after:500ms,min_heap:0,rate:0,refault_limit:0", NULL,
		  "fork" },
		{ "jemalloc", PRELOAD_JEMALLOC, NULL, NULL, "fork-warm" },
		{ "ferry-off", PRELOAD_FERRY, "offload:off", NULL,
		  "fork-warm" },
		{ "glibc", PRELOAD_GLIBC, NULL, NULL, "fork-warm" },
	};
	static const struct offload_column columns[] = {
		{ "us a fork", OFFLOAD_FORK_US, 1 },
		{ "held MiB", OFFLOAD_HELD + OFFLOAD_RESTED, MIB },
	};
	struct offload_run *v;
	uint64_t mib = bench_pick(o->b, 32, 256, 256);
	size_t n = offload_runs(o, cases,
				bench_pick(o->b, BENCH_ARRAY_LEN(cases), 2,
					   BENCH_ARRAY_LEN(cases)),
				mib * MIB, patience(o), &v);
	char *caption = bench_asprintf("fork with %llu MiB, of which under "
				       "ferry one half is cold",
				       (unsigned long long)mib);
	struct bench_stat st;

	run_rounds(o, v, n, bench_pick(o->b, 1, 1, 5));
	offload_show(o->b, caption, v, n, columns, BENCH_ARRAY_LEN(columns));
	offload_finish(o, OFFLOAD_FORK, v, n);
	st = offload_ratio(v, n, OFFLOAD_FORK_US, "ferry", "jemalloc");
	offload_target(o->b, OFFLOAD_FORK, "over_jemalloc",
		       "fork, half of the heap cold: ferry / jemalloc",
		       BENCH_AT_MOST, 2, "x", &st);
	offload_runs_fini(v, n);
	free(caption);
}
