/* SPDX-License-Identifier: MIT */
/*
 * malloc.h: ferry-bench malloc: allocators under the same workloads, each run
 * in a process of its own.
 */
#ifndef FERRY_BENCH_MALLOC_H
#define FERRY_BENCH_MALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench.h"
#include "preload.h"

enum malloc_workload_id {
	MALLOC_CHURN,
	MALLOC_QUEUE,
	MALLOC_THREADS,
	MALLOC_REALLOC,
	MALLOC_LARGE,
	MALLOC_GROW,
	MALLOC_START,
	MALLOC_FORK,
	MALLOC_HEAP,
	MALLOC_WORKLOADS
};

extern const char *const malloc_workload_names[MALLOC_WORKLOADS];

enum malloc_metric {
	MALLOC_WALL,	  /* of the work, s */
	MALLOC_CPU,	  /* of the process while it worked, s */
	MALLOC_WHOLE_CPU, /* from its start to its end, s */
	MALLOC_EACH,	  /* wall time of one unit of the work, us */
	MALLOC_PEAK,	  /* most bytes resident */
	MALLOC_METRICS
};

struct malloc_metric_info {
	const char *name;
	const char *unit;
};

extern const struct malloc_metric_info malloc_metrics[MALLOC_METRICS];

/* What the process of a run tells. */
struct malloc_outcome {
	int error; /* negative errno, or 0 */
	char why[120];
	uint64_t wrong;	     /* blocks without their contents */
	uint64_t misaligned; /* blocks not aligned as was asked */
	double wall, cpu;
	uint64_t peak;
};

/* All rounds of one workload under one allocator. */
struct malloc_cell {
	enum malloc_workload_id workload;
	const struct preload *allocator;
	uint64_t amount;
	struct bench_samples metric[MALLOC_METRICS];
	uint64_t wrong, misaligned;
	int error; /* of the first round that failed */
	char why[120];
};

/*
 * Makes one run and adds it to @c, unless one failed before. @keep: else it
 * warmed up, and only failures and wrong contents are kept.
 */
void malloc_cell_run(struct malloc_cell *c, uint64_t seed, bool keep);
void malloc_cell_fini(struct malloc_cell *c);

/* Cells of all workloads; those that are not measured are not in it. */
struct malloc_cells {
	struct malloc_cell *v;
	size_t n;
};

/* The cell, or NULL. @allocator: index in the set. */
const struct malloc_cell *malloc_find(const struct malloc_cells *cells,
				      enum malloc_workload_id workload,
				      const struct preload *allocator);

/* Tables, results, plots, figures to reach. (malloc_show.c) */
void malloc_show(struct bench *b, const struct malloc_cells *cells,
		 enum malloc_workload_id workload);
void malloc_record(struct bench *b, const struct malloc_cell *c);
void malloc_plot(struct bench *b, const struct malloc_cells *cells,
		 const struct preload_set *set);
void malloc_set_targets(struct bench *b, const struct malloc_cells *cells,
			const struct preload_set *set);

#endif
