/* SPDX-License-Identifier: MIT */
/*
 * offload.h: ferry-bench offload: what becomes of memory that nobody uses,
 * and what it costs to use it again. Every run has a process of its own,
 * which tells how far it is; its memory is watched from outside, so that it
 * can be idle.
 */
#ifndef FERRY_BENCH_OFFLOAD_H
#define FERRY_BENCH_OFFLOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench.h"
#include "preload.h"

enum offload_part {
	OFFLOAD_IDLE,
	OFFLOAD_ZIPF,
	OFFLOAD_SCAN,
	OFFLOAD_FAULT,
	OFFLOAD_FORK,
	OFFLOAD_REDIS,
	OFFLOAD_PARTS
};

extern const char *const offload_part_names[OFFLOAD_PARTS];

/* How far the process is. Its memory is looked at when it says so. */
enum offload_phase {
	OFFLOAD_STARTED, /* nothing has happened yet */
	OFFLOAD_FILLED,	 /* all that it needs is there */
	OFFLOAD_RESTED,	 /* what was to become cold has had its time */
	OFFLOAD_CHECKED, /* everything was read again */
	OFFLOAD_PHASES
};

enum offload_metric {
	/* By the process: */
	OFFLOAD_LIVE,	   /* bytes that live */
	OFFLOAD_OPS,	   /* accesses a second */
	OFFLOAD_OP_P50,	   /* of an access, us */
	OFFLOAD_OP_P99,	   /* of an access, us */
	OFFLOAD_PAGE_NS,   /* reading everything, ns a page */
	OFFLOAD_FAULT_P50, /* of the touch of an absent page, us */
	OFFLOAD_FAULT_P99, /* of the touch of an absent page, us */
	OFFLOAD_FORK_US,   /* until the child has ended */
	/* By who watches: */
	OFFLOAD_PEAK, /* most bytes resident */
	OFFLOAD_HELD, /* at each phase: bytes resident, in swap and */
	OFFLOAD_WHOLE_CPU = OFFLOAD_HELD + OFFLOAD_PHASES, /* in stores; s */
	OFFLOAD_METRICS
};

struct offload_metric_info {
	const char *name;
	const char *unit;
};

extern const struct offload_metric_info offload_metrics[OFFLOAD_METRICS];

/* What a process says on its standard output. */
enum offload_record_kind {
	OFFLOAD_SAYS_PHASE,  /* index */
	OFFLOAD_SAYS_METRIC, /* index, value */
	OFFLOAD_SAYS_WRONG,  /* value: how many were without contents */
	OFFLOAD_SAYS_FAILED, /* value: negative errno; text */
	OFFLOAD_SAYS_ABSENT, /* text: what cannot be measured, and why */
	OFFLOAD_SAYS_END,
};

struct offload_record {
	uint32_t kind;
	uint32_t index;
	double value;
	char text[112];
};

/* Memory over time, from the start of the process. */
struct offload_moment {
	double s;
	double held; /* bytes */
};

/* One run, or all rounds of it. */
struct offload_run {
	const char *name; /* in tables and names of results */
	const struct preload *allocator;
	char *setting; /* a line for its environment, or NULL */
	char *argv[7]; /* ends with NULL; all but the first two owned */
	int error;
	char why[120];
	char absent[120];
	uint64_t wrong;
	struct bench_samples metric[OFFLOAD_METRICS]; /* one for each round */
	struct offload_moment *moments;		      /* of the last round */
	size_t nmoments;
	/* All that it needs is there, or it has ended. Relaxed: it orders
	 * nothing. */
	atomic_bool filled;
};

/*
 * Makes one round of the @n runs of @v at the same time, watching the memory
 * of each every @period_ms. A run that failed before is left out.
 */
void offload_watch(struct offload_run *v, size_t n, unsigned int period_ms);

void offload_run_fini(struct offload_run *r);

struct bench_stat offload_stat(const struct offload_run *r,
			       enum offload_metric m);

/*
 * Adds what the process holds now to the moments of @r, and returns it: bytes
 * resident and in swap. @exactly: by walking its pages; else by counters that
 * lag behind a little, without holding it up.
 */
double offload_look(struct offload_run *r, pid_t pid, uint64_t begin,
		    bool exactly);

/* --- what is measured ----------------------------------------------------- */

struct offload_bench {
	struct bench *b;
	struct preload_set set;
	bool part[OFFLOAD_PARTS];
	bool scattered;
	const char *conf; /* more settings of ferry's malloc, or NULL */
	int rc;		  /* of the first part that failed */
	struct offload_idle *idle; /* under way, or NULL */
};

/* "FERRY_MALLOC_CONF=.." from the environment's, --conf and @own. */
char *offload_setting(const struct offload_bench *o, const char *own);

/* Says what failed, keeping the first error; records rows of results. */
void offload_finish(struct offload_bench *o, enum offload_part part,
		    const struct offload_run *v, size_t n);

/* A table of the metrics @m[0..n), which are divided by @by[0..n). */
struct offload_column {
	const char *head;
	enum offload_metric metric;
	double by;
};

void offload_show(struct bench *b, const char *caption,
		  const struct offload_run *v, size_t n,
		  const struct offload_column *columns, size_t ncolumns);

/* Held bytes over time, one series for each run. */
void offload_plot(struct bench *b, const char *name, const char *title,
		  const struct offload_run *v, size_t n);

/* A figure to reach: @got at most, or at least, @limit. */
void offload_target(struct bench *b, enum offload_part part, const char *name,
		    const char *text, enum bench_sense sense, double limit,
		    const char *unit, const struct bench_stat *got);

/* A work (offload_work.c) under an allocator. */
struct offload_case {
	const char *name;
	enum preload_id allocator;
	const char *conf;    /* of ferry's malloc; NULL: none */
	const char *setting; /* of another allocator, "NAME=value", or NULL */
	const char *work;
};

/* Runs of those of @cases whose allocator can be used. Returns their number;
 * undo with offload_runs_fini(). */
size_t offload_runs(const struct offload_bench *o,
		    const struct offload_case *cases, size_t n, uint64_t bytes,
		    uint64_t ms, struct offload_run **ret_v);
void offload_runs_fini(struct offload_run *v, size_t n);

/* The run of that name, or NULL. */
const struct offload_run *offload_find(const struct offload_run *v, size_t n,
				       const char *name);

/* Metric of one in that of another, pair by pair; n = 0 if one has none. */
struct bench_stat offload_ratio(const struct offload_run *v, size_t n,
				enum offload_metric m, const char *name,
				const char *base);

/* Parts: each runs, shows, records and sets its figures. */
/*
 * Programs at rest are left alone in a thread of their own while other parts
 * are measured: begun when all of them rest, ended by waiting for them.
 */
void offload_idle_begin(struct offload_bench *o); /* offload_idle.c */
void offload_idle_end(struct offload_bench *o);
void offload_zipf(struct offload_bench *o);  /* offload_table.c */
void offload_scan(struct offload_bench *o);  /* offload_page.c */
void offload_fault(struct offload_bench *o); /* offload_page.c */
void offload_fork(struct offload_bench *o);  /* offload_page.c */
void offload_redis(struct offload_bench *o); /* offload_redis.c */

#endif
