/* SPDX-License-Identifier: MIT */
/* malloc_targets.c: the figures to reach of ferry-bench malloc. */
#include <math.h>
#include <stdlib.h>

#include "malloc.h"

/*
 * What the mean is of. Not `large': it is many times quicker where buffers are
 * recycled and would hide what the others lose. Not `start' and `fork', whose
 * CPU time is mostly the kernel's.
 */
static const enum malloc_workload_id meant[] = {
	MALLOC_CHURN,
	MALLOC_QUEUE,
	MALLOC_THREADS,
	MALLOC_REALLOC,
};

/* What is compared. */
struct side {
	const struct malloc_cells *cells;
	const struct preload *p;
	const struct preload *base;
};

static struct bench_stat ratio(const struct side *s,
			       enum malloc_workload_id workload,
			       enum malloc_metric m)
{
	const struct malloc_cell *c = malloc_find(s->cells, workload, s->p);
	const struct malloc_cell *base =
		malloc_find(s->cells, workload, s->base);
	struct bench_stat none = { 0 };

	if (!c || !base || c->error || base->error)
		return none;
	return bench_paired_ratio(&c->metric[m], &base->metric[m]);
}

/* The mean, and the worst with its spread; n = 0 unless all were measured. */
static void fold(const struct side *s, struct bench_stat *ret_mean,
		 struct bench_stat *ret_worst)
{
	struct bench_stat worst = { 0 };
	double sum = 0;

	*ret_mean = worst;
	*ret_worst = worst;
	for (size_t i = 0; i < BENCH_ARRAY_LEN(meant); i++) {
		struct bench_stat st = ratio(s, meant[i], MALLOC_WHOLE_CPU);

		if (!st.n)
			return;
		sum += log(st.value);
		if (!worst.n || st.value > worst.value)
			worst = st;
	}
	*ret_mean = bench_stat_of(exp(sum / (double)BENCH_ARRAY_LEN(meant)));
	*ret_worst = worst;
}

/* A is what a start takes more than under jemalloc, in ms. */
static struct bench_stat start_extra(const struct side *s)
{
	const struct malloc_cell *c = malloc_find(s->cells, MALLOC_START, s->p);
	const struct malloc_cell *base =
		malloc_find(s->cells, MALLOC_START, s->base);
	struct bench_samples extra = { 0 };
	struct bench_stat st;

	for (size_t i = 0; c && base && !c->error && !base->error &&
			   i < c->metric[MALLOC_EACH].n;
	     i++)
		bench_samples_add(&extra, (c->metric[MALLOC_EACH].v[i] -
					   base->metric[MALLOC_EACH].v[i]) *
						  1e-3);
	st = bench_samples_stat(&extra);
	bench_samples_fini(&extra);
	return st;
}

static void set_target(struct bench *b, const char *name, const char *text,
		       double limit, const char *unit,
		       const struct bench_stat *got)
{
	struct bench_target t = {
		.name = bench_asprintf("malloc/%s", name),
		.text = bench_strdup(text),
		.sense = BENCH_AT_MOST,
		.limit = limit,
		.unit = unit,
		.got = *got,
	};

	bench_target(b, &t);
	free(t.name);
	free(t.text);
}

/* Ratios to jemalloc of all allocators, as results. */
static void record_ratios(struct bench *b, const struct malloc_cells *cells,
			  const struct preload_set *set)
{
	for (size_t i = 0; i < set->n; i++) {
		struct side s = { cells, &set->v[i],
				  &set->v[PRELOAD_JEMALLOC] };

		for (size_t w = 0; w < MALLOC_WORKLOADS && s.p != s.base; w++) {
			struct bench_stat st = ratio(&s,
						     (enum malloc_workload_id)w,
						     MALLOC_WHOLE_CPU);

			if (w == MALLOC_HEAP && !s.p->has_heaps)
				continue;
			bench_result(b, &st, "ratio",
				     "malloc/ratio/%s/%s/whole_cpu",
				     malloc_workload_names[w], s.p->name);
		}
	}
}

/* How every allocator compares, with the two numbers that are judged. */
static void show_ratios(struct bench *b, const struct malloc_cells *cells,
			const struct preload_set *set)
{
	struct bench_table *t = bench_table_new(
		"CPU time of the whole process in that of jemalloc",
		"allocator", "churn", "queue", "threads", "realloc",
		"geometric mean", "worst", "large", "grow", "start", "fork",
		"heap", NULL);
	static const enum malloc_workload_id rest[] = {
		MALLOC_LARGE, MALLOC_GROW, MALLOC_START, MALLOC_FORK,
		MALLOC_HEAP
	};

	for (size_t i = 0; i < set->n; i++) {
		struct side s = { cells, &set->v[i],
				  &set->v[PRELOAD_JEMALLOC] };
		struct bench_stat
			v[BENCH_ARRAY_LEN(meant) + 2 + BENCH_ARRAY_LEN(rest)];
		size_t n = 0;

		if (s.p == s.base || !preload_usable(s.p))
			continue;
		for (size_t w = 0; w < BENCH_ARRAY_LEN(meant); w++)
			v[n++] = ratio(&s, meant[w], MALLOC_WHOLE_CPU);
		fold(&s, &v[n], &v[n + 1]);
		n += 2;
		for (size_t w = 0; w < BENCH_ARRAY_LEN(rest); w++)
			v[n++] = ratio(&s, rest[w], MALLOC_WHOLE_CPU);
		bench_cell(t, "%s", s.p->name);
		for (size_t j = 0; j < n; j++)
			bench_cell(t, v[j].n ? "%.3f" : "-", v[j].value);
	}
	bench_show(b, t);
}

void malloc_set_targets(struct bench *b, const struct malloc_cells *cells,
			const struct preload_set *set)
{
	struct side s = { cells, &set->v[PRELOAD_FERRY],
			  &set->v[PRELOAD_JEMALLOC] };
	struct side large = { cells, s.p, &set->v[PRELOAD_MIMALLOC] };
	struct bench_stat mean, worst, st;

	if (preload_usable(s.base))
		show_ratios(b, cells, set);
	record_ratios(b, cells, set);
	fold(&s, &mean, &worst);
	set_target(b, "cpu/mean",
		   "CPU, ferry / jemalloc: geometric mean of churn, queue, "
		   "threads, realloc",
		   1.03, "x", &mean);
	set_target(b, "cpu/worst", "CPU, ferry / jemalloc: worst of these",
		   1.08, "x", &worst);
	st = start_extra(&s);
	set_target(b, "start/more_ms",
		   "starting a program: ms more than with jemalloc", 1, "ms",
		   &st);
	st = ratio(&large, MALLOC_LARGE, MALLOC_WALL);
	set_target(b, "large/wall", "large buffers: time, ferry / mimalloc", 2,
		   "x", &st);
}
