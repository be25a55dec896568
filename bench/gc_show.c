/* SPDX-License-Identifier: MIT */
/* gc_show.c: results, tables and figures to reach of ferry-bench gc. */
#include <stdlib.h>
#include <string.h>

#include "gc.h"

#define MIB (1 << 20)
#define GIB (1 << 30)

char *gc_cell_name(const struct gc_cell *c)
{
	const struct gc_spec *s = &c->spec;

	return bench_asprintf("gc/%s/live=%llu/mutators=%llu/%s%s",
			      gc_workload_names[s->workload],
			      (unsigned long long)s->live,
			      (unsigned long long)s->mutators,
			      gc_collector_names[s->collector],
			      s->ambiguous ? "-conservative" : "");
}

void gc_record(struct bench *b, const struct gc_cell *c)
{
	char *name = gc_cell_name(c);

	for (size_t i = 0; i < GC_METRICS && !c->error; i++) {
		struct bench_stat st = gc_cell_stat(c, (enum gc_metric)i);

		bench_result(b, &st, gc_metrics[i].unit, "%s/%s", name,
			     gc_metrics[i].name);
	}
	free(name);
}

/* --- tables --------------------------------------------------------------- */

/* A column: a metric, and by what it is divided for people. */
struct column {
	enum gc_metric metric;
	double divisor;
};

static char *caption(const struct gc_group *g, const char *what)
{
	const struct gc_spec *s = &g->v[0].spec;

	return bench_asprintf(
		"%s, %.4g MiB%s, %llu mutator%s%s%s",
		gc_workload_names[s->workload], (double)s->live / MIB,
		s->workload == GC_FRAGMENT || s->workload == GC_LEAF ? " filled"
								     : " live",
		(unsigned long long)s->mutators, s->mutators == 1 ? "" : "s",
		s->ambiguous ? ", stacks scanned" : "", what);
}

/* A table with a row for each collector. Takes over @t. */
static void show_rows(struct bench *b, const struct gc_group *g,
		      struct bench_table *t, const struct column *v, size_t n)
{
	char text[32];

	for (size_t i = 0; i < g->n; i++) {
		const struct gc_cell *c = &g->v[i];

		bench_cell(t, "%s", gc_collector_names[c->spec.collector]);
		for (size_t j = 0; j < n; j++) {
			struct bench_stat st = gc_cell_stat(c, v[j].metric);

			bench_format(st.value / v[j].divisor, text,
				     sizeof(text));
			bench_cell(t, "%s", st.n && !c->error ? text : "-");
		}
	}
	bench_show(b, t);
}

static void show_work(struct bench *b, const struct gc_group *g)
{
	static const struct column columns[] = {
		{ GC_WALL, 1 },		 { GC_CPU, 1 },
		{ GC_OPS_PER_S, 1e3 },	 { GC_PEAK_RSS, MIB },
		{ GC_FAULTS, 1e3 },	 { GC_BYTES_COPIED, MIB },
		{ GC_BYTES_MOVED, MIB },
	};
	char *text = caption(g, "");
	struct bench_table *t = bench_table_new(
		text, "collector", "wall s", "CPU s", "1000 ops/s", "peak MiB",
		"1000 faults", "copied MiB", "moved MiB", NULL);

	show_rows(b, g, t, columns, BENCH_ARRAY_LEN(columns));
	free(text);
}

static void show_felt(struct bench *b, const struct gc_group *g)
{
	static const struct column columns[] = {
		{ GC_COLLECTIONS, 1 }, { GC_PAUSES, 1 },
		{ GC_PAUSE_P50, 1e3 }, { GC_PAUSE_P99, 1e3 },
		{ GC_PAUSE_MAX, 1e3 }, { GC_HICCUP_MAX, 1e3 },
		{ GC_MMU + 3, 0.01 },  { GC_MMU + 5, 0.01 },
		{ GC_LOST, 0.01 },
	};
	char *text = caption(g, ": pauses and hiccups in ms, MMU in %");
	struct bench_table *t = bench_table_new(
		text, "collector", "collections", "pauses", "p50", "p99", "max",
		"hiccup", "MMU 10 ms", "50 ms", "lost %", NULL);

	show_rows(b, g, t, columns, BENCH_ARRAY_LEN(columns));
	free(text);
}

static void show_returned(struct bench *b, const struct gc_group *g)
{
	static const struct column columns[] = {
		{ GC_RETURNED, 0.01 },
		{ GC_RETURN_CPU, 1 },
		{ GC_RSS_OVER, 0.01 },
	};
	char *text = caption(g, ", three quarters of it dropped");
	struct bench_table *t =
		bench_table_new(text, "collector", "given back, % of dead",
				"CPU s to 95 %", "peak above begin %", NULL);

	show_rows(b, g, t, columns, BENCH_ARRAY_LEN(columns));
	free(text);
}

static void show_alloc(struct bench *b, const struct gc_group *g)
{
	static const struct column columns[] = { { GC_ALLOC_MEDIAN, 1 },
						 { GC_ALLOC_MEAN, 1 } };
	char *text = caption(g, "");

	show_rows(b, g,
		  bench_table_new(text, "collector", "ns per 32 bytes, median",
				  "mean", NULL),
		  columns, BENCH_ARRAY_LEN(columns));
	free(text);
}

static void show_chain(struct bench *b, const struct gc_group *g)
{
	static const struct column columns[] = { { GC_PER_EPHEMERON, 1 },
						 { GC_WALL, 1 } };
	char *text = caption(g, "");

	show_rows(b, g,
		  bench_table_new(text, "collector", "ns per ephemeron",
				  "wall s", NULL),
		  columns, BENCH_ARRAY_LEN(columns));
	free(text);
}

void gc_show_group(struct bench *b, const struct gc_group *g)
{
	if (!g->n)
		return;
	switch (g->v[0].spec.workload) {
	case GC_ALLOC:
		show_alloc(b, g);
		break;
	case GC_CHAIN:
		show_chain(b, g);
		break;
	case GC_FRAGMENT:
	case GC_LEAF:
		show_returned(b, g);
		__attribute__((fallthrough));
	default:
		show_work(b, g);
		show_felt(b, g);
	}
}

/* --- figures to reach ----------------------------------------------------- */

static const struct gc_cell *cell_of(const struct gc_group *g,
				     enum gc_collector_id id)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->v[i].spec.collector == id)
			return &g->v[i];
	return NULL;
}

/* What a target says: of which cell, and what. */
static char *target_text(const struct gc_spec *s, const char *what)
{
	const char *workload = gc_workload_names[s->workload];
	double mib = (double)s->live / MIB;

	if (s->mutators == 1)
		return bench_asprintf("%s, %.4g MiB: %s", workload, mib, what);
	return bench_asprintf("%s, %.4g MiB, %llu mutators: %s", workload, mib,
			      (unsigned long long)s->mutators, what);
}

/* The result that a target is about is there already. */
static void limit(struct bench *b, const struct gc_cell *c, enum gc_metric m,
		  enum bench_sense sense, double at, const char *text)
{
	char *name = gc_cell_name(c);
	struct bench_target t = {
		.name = bench_asprintf("%s/%s", name, gc_metrics[m].name),
		.text = target_text(&c->spec, text),
		.sense = sense,
		.limit = at,
		.unit = gc_metrics[m].unit,
	};

	if (!c->error)
		t.got = gc_cell_stat(c, m);
	bench_doc_target(&b->doc, &t);
	free(t.name);
	free(t.text);
	free(name);
}

static void ratio(struct bench *b, const struct gc_group *g, enum gc_metric m,
		  double at, const char *what)
{
	const struct gc_cell *ferry = cell_of(g, GC_FERRY);
	const struct gc_cell *other = cell_of(g, GC_BDWGC);
	const struct gc_spec *s = &ferry->spec;
	char *said = bench_asprintf("%s, ferry / bdwgc", what);
	struct bench_target t = { .sense = BENCH_AT_MOST,
				  .limit = at,
				  .unit = "x" };

	t.name = bench_asprintf(
		"gc/ratio/%s/live=%llu/mutators=%llu/"
		"ferry_to_bdwgc/%s",
		gc_workload_names[s->workload], (unsigned long long)s->live,
		(unsigned long long)s->mutators, gc_metrics[m].name);
	t.text = target_text(s, said);
	if (other && !other->error && !ferry->error)
		t.got = bench_paired_ratio(&ferry->metric[m],
					   &other->metric[m]);
	bench_target(b, &t);
	free(t.name);
	free(t.text);
	free(said);
}

static void limit_oldmut(struct bench *b, const struct gc_group *g)
{
	const struct gc_cell *c = cell_of(g, GC_FERRY);

	if (c->spec.ambiguous) {
		limit(b, c, GC_PAUSE_MAX, BENCH_AT_MOST, 3000,
		      "longest pause, stacks scanned");
		return;
	}
	ratio(b, g, GC_WALL, 0.8, "wall");
	if (c->spec.mutators != 1)
		return;
	limit(b, c, GC_WRITE_LOST, BENCH_AT_MOST, 0.05,
	      "of the time, writes that take longer");
	limit(b, c, GC_PAUSE_P99, BENCH_AT_MOST, 1000, "pauses, p99");
	limit(b, c, GC_PAUSE_MAX, BENCH_AT_MOST, 2000, "longest pause");
	limit(b, c, GC_HICCUP_MAX, BENCH_AT_MOST, 5000, "worst hiccup");
	limit(b, c, GC_MMU + 3, BENCH_AT_LEAST, 0.5, "utilisation in 10 ms");
	limit(b, c, GC_MMU + 5, BENCH_AT_LEAST, 0.8, "utilisation in 50 ms");
}

static void limit_fragment(struct bench *b, const struct gc_group *g)
{
	const struct gc_cell *c = cell_of(g, GC_FERRY);

	limit(b, c, GC_RETURNED, BENCH_AT_LEAST, 0.95, "of dead bytes back");
	limit(b, c, GC_RETURN_CPU, BENCH_AT_MOST,
	      2 * (double)c->spec.live / GIB, "CPU until 95 % are back");
	limit(b, c, GC_RSS_OVER, BENCH_AT_MOST, 0.02,
	      "peak memory above the beginning");
}

static void limit_group(struct bench *b, const struct gc_group *g)
{
	const struct gc_cell *c = cell_of(g, GC_FERRY);

	switch (c->spec.workload) {
	case GC_OLDMUT:
		limit_oldmut(b, g);
		break;
	case GC_FRAGMENT:
		limit_fragment(b, g);
		break;
	case GC_GCBENCH:
		ratio(b, g, GC_WALL, 0.75, "wall");
		ratio(b, g, GC_CPU, 1, "CPU");
		break;
	case GC_BINARY_TREES:
		ratio(b, g, GC_WALL, 0.8, "wall");
		break;
	case GC_LEAF:
		limit(b, c, GC_BYTES_COPIED, BENCH_AT_MOST, 0, "bytes copied");
		break;
	case GC_ALLOC:
		limit(b, c, GC_ALLOC_MEDIAN, BENCH_AT_MOST, 2.5,
		      "an object of 32 bytes");
		break;
	default:
		break;
	}
}

/* The least of all ferry's cells of oldmut with so much live, or NULL. */
static const struct gc_cell *find(const struct gc_group *g, size_t n,
				  uint64_t live)
{
	for (size_t i = 0; i < n; i++) {
		const struct gc_cell *c = cell_of(&g[i], GC_FERRY);

		if (c && !c->error && c->spec.workload == GC_OLDMUT &&
		    c->spec.mutators == 1 && c->spec.live == live)
			return c;
	}
	return NULL;
}

/* Pauses do not grow with the heap. */
static void limit_growth(struct bench *b, const struct gc_group *g, size_t n)
{
	const struct gc_cell *small = find(g, n, (uint64_t)256 * MIB);
	const struct gc_cell *big = find(g, n, (uint64_t)4 * GIB);
	struct bench_target t = {
		.name = (char *)"gc/ratio/oldmut/live=4G_to_256M/pause_p50_us",
		.text = (char *)"oldmut: median pause, 4 GiB / 256 MiB",
		.sense = BENCH_AT_MOST,
		.limit = 2,
		.unit = "x",
	};

	if (!small || !big)
		return;
	t.got = bench_paired_ratio(&big->metric[GC_PAUSE_P50],
				   &small->metric[GC_PAUSE_P50]);
	bench_target(b, &t);
}

void gc_set_targets(struct bench *b, const struct gc_group *g, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (cell_of(&g[i], GC_FERRY))
			limit_group(b, &g[i]);
	limit_growth(b, g, n);
}
