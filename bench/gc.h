/* SPDX-License-Identifier: MIT */
/*
 * gc.h: ferry-bench gc as its own process sees it: which runs there are, and
 * what one of them, made in a process of its own, reports.
 */
#ifndef FERRY_BENCH_GC_H
#define FERRY_BENCH_GC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench.h"
#include "gc_meter.h"
#include "gc_plan.h"

/* What is measured of a run. */
enum gc_metric {
	GC_WALL,
	GC_CPU,
	GC_OPS_PER_S,
	GC_COLLECTIONS,
	GC_PAUSES,
	GC_PAUSE_P50,
	GC_PAUSE_P99,
	GC_PAUSE_MAX,
	GC_HICCUP_MAX,
	GC_LOST,
	GC_WRITE_LOST,
	GC_MMU, /* one for each window */
	GC_PEAK_RSS = GC_MMU + GC_WINDOWS,
	GC_FAULTS,
	GC_DEMAND_FAULTS,
	GC_STALLS,
	GC_BYTES_COPIED,
	GC_BYTES_MOVED,
	GC_ALLOC_MEDIAN,
	GC_ALLOC_MEAN,
	GC_RETURNED,
	GC_RETURN_CPU,
	GC_RSS_OVER,
	GC_PER_EPHEMERON,
	GC_METRICS
};

/* How rounds become one value: the median, or the worst of them; or a
 * quantile of the pauses of all rounds. */
enum gc_fold {
	GC_FOLD_MEDIAN,
	GC_FOLD_MOST,
	GC_FOLD_LEAST,
	GC_FOLD_P50,
	GC_FOLD_P99,
};

struct gc_metric_info {
	const char *name; /* in names of results */
	const char *unit;
	enum gc_fold fold;
};

extern const struct gc_metric_info gc_metrics[GC_METRICS];

/* Memory over time, from the beginning of a compaction. */
struct gc_moment {
	double ms;
	double rss;    /* bytes */
	double gc_cpu; /* s of this process beyond the program's own work */
};

/*
 * What the process of a run tells: this struct, then the pauses (double, us)
 * and moments that it counts. A metric that was not measured is NAN.
 */
struct gc_outcome {
	int error; /* negative errno, or 0 */
	char why[120];
	char note[200]; /* something to be said of the collector, or "" */
	double metric[GC_METRICS];
	uint64_t wrong; /* objects without their contents */
	size_t npauses;
	size_t nmoments;
};

/* All rounds of one run. */
struct gc_cell {
	struct gc_spec spec;
	struct gc_outcome last;
	struct bench_samples metric[GC_METRICS]; /* one for each round */
	struct bench_samples pauses;		 /* us, of all rounds */
	struct gc_moment *moments;		 /* of the last round */
	uint64_t wrong;
	int error; /* of the first round that failed, with last.why */
};

struct bench_stat gc_cell_stat(const struct gc_cell *c, enum gc_metric m);
void gc_cell_fini(struct gc_cell *c);

/* "gc/oldmut/live=..", without a metric; the caller frees it. */
char *gc_cell_name(const struct gc_cell *c);

/* The argument that makes ferry-bench the process of a run. */
#define GC_CELL_ARGUMENT "--gc-cell"

/*
 * Makes the run in a new process and adds what it reports to @c. A process
 * that ends before it has reported is an error of the run (-EPROTO), of which
 * last.why tells more.
 */
void gc_cell_run(struct gc_cell *c);

/* That process: reads a struct gc_spec from standard input, reports on
 * standard output. Returns the exit status. */
int gc_cell_main(void);

/* Whether this program was built with the collector, else why not. */
bool gc_collector_built(size_t collector, const char **ret_why);

/* One workload with one live size and number of mutators: a cell for each
 * collector. */
struct gc_group {
	struct gc_cell *v;
	size_t n;
};

/* Rows of results; a table; plots; figures to reach. (gc_show.c) */
void gc_record(struct bench *b, const struct gc_cell *c);
void gc_show_group(struct bench *b, const struct gc_group *g);
void gc_plot_all(struct bench *b, const struct gc_group *g, size_t n);
void gc_set_targets(struct bench *b, const struct gc_group *g, size_t n);

#endif
