/* SPDX-License-Identifier: MIT */
/* gc_plots.c: plots of ferry-bench gc. */
#include <stdlib.h>
#include <string.h>

#include "gc.h"

#define MIB (1 << 20)

/* The last group of a workload with what one mutator does, or NULL. */
static const struct gc_group *last_of(const struct gc_group *g, size_t n,
				      enum gc_workload_id workload)
{
	while (n--)
		if (g[n].n && g[n].v[0].spec.workload == workload)
			return &g[n];
	return NULL;
}

static struct bench_plot *plot_of(const struct gc_group *g, const char *name,
				  const char *what, const char *xlabel,
				  const char *ylabel)
{
	const struct gc_spec *s = &g->v[0].spec;
	char *title = bench_asprintf("%s (%s, %.4g MiB)", what,
				     gc_workload_names[s->workload],
				     (double)s->live / MIB);
	struct bench_plot *p =
		bench_plot_new(name, BENCH_LINES, title, xlabel, ylabel);

	free(title);
	return p;
}

static void begin_series(struct bench_plot *p, const struct gc_cell *c)
{
	enum gc_collector_id id = c->spec.collector;

	bench_plot_series(p, gc_collector_names[id], (unsigned int)id);
}

static void plot_pauses(struct bench *b, const struct gc_group *g)
{
	static const struct {
		const char *name;
		double q;
		double x; /* one pause in so many */
	} at[] = {
		{ "p50", 0.5, 2 },   { "p75", 0.75, 4 },   { "p90", 0.9, 10 },
		{ "p95", 0.95, 20 }, { "p99", 0.99, 100 }, { "max", 1, 300 },
	};
	struct bench_plot *p =
		plot_of(g, "gc-pauses", "Pauses, from the median to the worst",
			"share of pauses that were shorter", "seconds");

	for (size_t i = 0; i < BENCH_ARRAY_LEN(at); i++)
		bench_plot_tick(p, at[i].x, at[i].name);
	for (size_t i = 0; i < g->n; i++) {
		const struct gc_cell *c = &g->v[i];

		begin_series(p, c);
		for (size_t j = 0; j < BENCH_ARRAY_LEN(at) && c->pauses.n;
		     j++) {
			struct bench_stat st = bench_stat_of(
				1e-6 *
				bench_samples_quantile(&c->pauses, at[j].q));

			bench_plot_point(p, at[j].x, &st);
		}
	}
	bench_plot(b, p);
}

static void plot_mmu(struct bench *b, const struct gc_group *g)
{
	struct bench_plot *p = plot_of(
		g, "gc-mmu", "What is left to the program in any window",
		"length of the window, ms", "per cent of the window");

	p->log_y = false;
	p->y_top = 100;
	for (size_t i = 0; i < g->n; i++) {
		const struct gc_cell *c = &g->v[i];

		begin_series(p, c);
		for (size_t w = 0; w < GC_WINDOWS && !c->error; w++) {
			struct bench_stat st =
				gc_cell_stat(c, (enum gc_metric)(GC_MMU + w));

			st.value *= 100;
			st.min *= 100;
			st.max *= 100;
			bench_plot_point(p, gc_window_ms[w], &st);
		}
	}
	bench_plot(b, p);
}

/* One collector's series over all sizes of a workload. */
static void add_sizes(struct bench_plot *p, const struct gc_group *g, size_t n,
		      enum gc_collector_id id, enum gc_metric m)
{
	char *label = bench_asprintf("%s %s", gc_collector_names[id],
				     m == GC_PAUSE_MAX ? "max" : "p50");

	bench_plot_series(p, label, (unsigned int)id);
	free(label);
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < g[i].n; j++) {
			const struct gc_cell *c = &g[i].v[j];
			struct bench_stat st = gc_cell_stat(c, m);

			if (c->spec.workload != GC_OLDMUT ||
			    c->spec.collector != id || c->error ||
			    c->spec.mutators != g[0].v[0].spec.mutators)
				continue;
			st.value *= 1e-6;
			st.min *= 1e-6;
			st.max *= 1e-6;
			bench_plot_point(p, (double)c->spec.live / MIB, &st);
		}
	}
}

static size_t sizes_of_oldmut(const struct gc_group *g, size_t n)
{
	size_t sizes = 0;

	for (size_t i = 0; i < n; i++)
		sizes += g[i].n && g[i].v[0].spec.workload == GC_OLDMUT;
	return sizes;
}

static void plot_growth(struct bench *b, const struct gc_group *g, size_t n)
{
	struct bench_plot *p;

	if (sizes_of_oldmut(g, n) < 2)
		return;
	p = bench_plot_new("gc-pause-live", BENCH_LINES,
			   "Longest and median pause against what is live",
			   "MiB live", "seconds");
	for (size_t id = 0; id < GC_COLLECTORS; id++) {
		add_sizes(p, g, n, (enum gc_collector_id)id, GC_PAUSE_MAX);
		add_sizes(p, g, n, (enum gc_collector_id)id, GC_PAUSE_P50);
	}
	bench_plot(b, p);
}

/* About a hundred points are as good as all. */
static void add_moments(struct bench_plot *p, const struct gc_cell *c)
{
	size_t step = c->last.nmoments / 100 + 1;

	for (size_t i = 0; i < c->last.nmoments; i += step) {
		struct bench_stat st = bench_stat_of(c->moments[i].rss);

		bench_plot_point(p, c->moments[i].ms, &st);
	}
}

static void plot_memory(struct bench *b, const struct gc_group *g)
{
	struct bench_plot *p =
		plot_of(g, "gc-fragment-rss",
			"Memory while it is given back under load",
			"milliseconds since it was asked for", "bytes");
	double max = 1;

	p->log_x = false;
	p->log_y = false;
	for (size_t i = 0; i < g->n; i++) {
		const struct gc_cell *c = &g->v[i];

		if (c->error || !c->last.nmoments)
			continue;
		begin_series(p, c);
		add_moments(p, c);
		if (c->moments[c->last.nmoments - 1].ms > max)
			max = c->moments[c->last.nmoments - 1].ms;
	}
	bench_plot_tick_evenly(p, max);
	bench_plot(b, p);
}

void gc_plot_all(struct bench *b, const struct gc_group *g, size_t n)
{
	const struct gc_group *oldmut = last_of(g, n, GC_OLDMUT);
	const struct gc_group *fragment = last_of(g, n, GC_FRAGMENT);

	if (oldmut) {
		plot_pauses(b, oldmut);
		plot_mmu(b, oldmut);
		plot_growth(b, g, n);
	}
	if (fragment)
		plot_memory(b, fragment);
}
