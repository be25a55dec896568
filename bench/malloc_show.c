/* SPDX-License-Identifier: MIT */
/* malloc_show.c: results, tables and a plot of ferry-bench malloc. */
#include <stdlib.h>
#include <string.h>

#include "malloc.h"

#define MIB (1 << 20)

void malloc_record(struct bench *b, const struct malloc_cell *c)
{
	for (size_t i = 0; i < MALLOC_METRICS && !c->error; i++) {
		struct bench_stat st = bench_samples_stat(&c->metric[i]);

		bench_result(b, &st, malloc_metrics[i].unit, "malloc/%s/%s/%s",
			     malloc_workload_names[c->workload],
			     c->allocator->name, malloc_metrics[i].name);
	}
}

/* What a workload does, and what its unit is called. */
static const struct {
	const char *caption;
	const char *unit;
} about[MALLOC_WORKLOADS] = {
	[MALLOC_CHURN] = { "blocks of 8 bytes to 4 KiB that come and go, one "
			   "thread",
			   "ns a step" },
	[MALLOC_QUEUE] = { "one thread allocates, another one frees",
			   "ns a block" },
	[MALLOC_THREADS] = { "all calls at once, 32 bytes to 32 KiB, every "
			     "word verified",
			     "ns a step" },
	[MALLOC_REALLOC] = { "arrays that grow to 4 MiB", "us an array" },
	[MALLOC_LARGE] = { "buffers of 8 to 64 MiB, each page touched",
			   "us a buffer" },
	[MALLOC_GROW] = { "a buffer that grows from 1 MiB by one half, to 1 "
			  "GiB in a full run",
			  "us a MiB" },
	[MALLOC_START] = { "starting a program that does nothing",
			   "us a start" },
	[MALLOC_FORK] = { "fork with a heap of 256 MiB", "us a fork" },
	[MALLOC_HEAP] = { "the same blocks in heaps beside the malloc, that "
			  "come and go too",
			  "ns a step" },
};

static void show_row(struct bench_table *t, const struct malloc_cell *c,
		     double divisor)
{
	static const enum malloc_metric columns[] = { MALLOC_WALL, MALLOC_CPU,
						      MALLOC_WHOLE_CPU,
						      MALLOC_EACH,
						      MALLOC_PEAK };
	const double by[] = { 1, 1, 1, divisor, MIB };
	char text[32];

	bench_cell(t, "%s", c->allocator->name);
	for (size_t i = 0; i < BENCH_ARRAY_LEN(columns); i++) {
		struct bench_stat st =
			bench_samples_stat(&c->metric[columns[i]]);

		bench_format(st.value / by[i], text, sizeof(text));
		bench_cell(t, "%s", st.n && !c->error ? text : "-");
	}
}

void malloc_show(struct bench *b, const struct malloc_cells *cells,
		 enum malloc_workload_id workload)
{
	const char *unit = about[workload].unit;
	char *caption = bench_asprintf("%s: %s",
				       malloc_workload_names[workload],
				       about[workload].caption);
	struct bench_table *t = bench_table_new(caption, "allocator", "wall s",
						"CPU s", "whole CPU s", unit,
						"peak MiB", NULL);

	for (size_t i = 0; i < cells->n; i++)
		if (cells->v[i].workload == workload)
			show_row(t, &cells->v[i],
				 strncmp(unit, "ns", 2) ? 1 : 1e-3);
	bench_show(b, t);
	free(caption);
}

/* A row for each workload and allocator: its ratio to jemalloc. */
void malloc_plot(struct bench *b, const struct malloc_cells *cells,
		 const struct preload_set *set)
{
	struct bench_plot *p = bench_plot_new("malloc-cpu", BENCH_DOTS,
					      "CPU time, in that of jemalloc",
					      "times jemalloc's", "");

	for (size_t i = 0; i < cells->n; i++) {
		const struct malloc_cell *c = &cells->v[i];
		const struct malloc_cell *base = malloc_find(
			cells, c->workload, &set->v[PRELOAD_JEMALLOC]);
		struct bench_stat st;
		char *label;

		if (!base || c == base || c->error || base->error)
			continue;
		label = bench_asprintf("%s, %s",
				       malloc_workload_names[c->workload],
				       c->allocator->name);
		bench_plot_series(p, label,
				  (unsigned int)(c->allocator - set->v));
		free(label);
		st = bench_paired_ratio(&c->metric[MALLOC_WHOLE_CPU],
					&base->metric[MALLOC_WHOLE_CPU]);
		bench_plot_point(p, 0, &st);
	}
	bench_plot(b, p);
}
