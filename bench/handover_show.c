/* SPDX-License-Identifier: MIT */
/* handover_show.c: tables, plots and figures to reach of ferry-bench
 * handover. */
#include <stdlib.h>
#include <string.h>

#include "handover.h"

#define MIB 1048576.0
#define GIB (1024 * MIB)

static const char *const pages_text[HANDOVER_PAGES] = {
	[HANDOVER_4K] = "4 KiB pages",
	[HANDOVER_HUGE] = "huge pages",
};

void handover_record(struct bench *b, const struct handover_cell *c)
{
	char *size = handover_size_text(c->size);

	for (int i = 0; i < HANDOVER_METRICS && !c->error; i++) {
		struct bench_stat st = bench_samples_stat(&c->metric[i]);
		bool lazy = i == HANDOVER_P50 || i == HANDOVER_P99;

		if (lazy && !handover_is_lazy(c->way))
			continue;
		bench_result(b, &st, handover_metrics[i].unit,
			     "handover/%s/size=%s/way=%s/%s",
			     handover_pages_names[c->pages], size,
			     handover_way_names[c->way],
			     handover_metrics[i].name);
	}
	free(size);
}

static double median(const struct handover_cell *c, enum handover_metric m)
{
	return bench_samples_stat(&c->metric[m]).value;
}

static void cell(struct bench_table *t, bool known, double v)
{
	char text[32];

	bench_format(v, text, sizeof(text));
	bench_cell(t, "%s", known ? text : "-");
}

static void show_row(struct bench_table *t, const struct handover_cell *c)
{
	struct bench_stat whole =
		bench_samples_stat(&c->metric[HANDOVER_WHOLE]);
	bool lazy = handover_is_lazy(c->way) && !c->error;
	bool known = !c->error;

	whole.value *= 1e3;
	whole.min *= 1e3;
	whole.max *= 1e3;
	if (!known)
		whole.n = 0;
	bench_cell(t, "%s", handover_way_names[c->way]);
	bench_cell_stat(t, &whole);
	cell(t, known, (double)c->size / GIB * 1e3 / whole.value);
	cell(t, known, median(c, HANDOVER_START) * 1e3);
	cell(t, known, median(c, HANDOVER_PASS) * 1e3);
	cell(t, lazy, median(c, HANDOVER_P50));
	cell(t, lazy, median(c, HANDOVER_P99));
	cell(t, known, median(c, HANDOVER_HUGE_SHARE) * 100);
}

void handover_show(struct bench *b, const struct handover_cell *v, size_t n)
{
	char *size = handover_size_text(v->size);
	char *caption = bench_asprintf(
		"%s in %s: until all is there, until the receiver goes on, a "
		"pass over its pages afterwards; first accesses; what is in "
		"huge pages then",
		size, pages_text[v->pages]);
	struct bench_table *t = bench_table_new(
		caption, "way", "whole ms", "min..max", "GiB/s", "goes on ms",
		"pass ms", "p50 us", "p99 us", "huge %", NULL);

	for (size_t i = 0; i < n; i++)
		show_row(t, &v[i]);
	bench_show(b, t);
	free(caption);
	free(size);
}

/* --- plots ---------------------------------------------------------------- */

/* The points of one way, over sizes. */
static void plot_way(struct bench_plot *p, const struct handover_cells *cells,
		     enum handover_way_id way, enum handover_pages_id pages)
{
	bench_plot_series(p, handover_way_names[way], way);
	for (size_t i = 0; i < cells->n; i++) {
		const struct handover_cell *c = &cells->v[i];
		struct bench_stat st;

		if (c->way != way || c->pages != pages || c->error)
			continue;
		st = bench_samples_stat(&c->metric[HANDOVER_WHOLE]);
		st.value *= 1e3;
		st.min *= 1e3;
		st.max *= 1e3;
		bench_plot_point(p, (double)c->size / MIB, &st);
	}
}

static void plot_whole(struct bench *b, const struct handover_cells *cells,
		       enum handover_pages_id pages)
{
	char *name = bench_asprintf("handover-%s", handover_pages_names[pages]);
	char *title = bench_asprintf("Handing memory to another process, %s",
				     pages_text[pages]);
	struct bench_plot *p =
		bench_plot_new(name, BENCH_LINES, title, "MiB", "ms");

	for (int way = 0; way < HANDOVER_WAYS; way++)
		plot_way(p, cells, (enum handover_way_id)way, pages);
	bench_plot(b, p);
	free(title);
	free(name);
}

/* A row for each lazy way and size. */
static void plot_first(struct bench *b, const struct handover_cells *cells)
{
	struct bench_plot *p = bench_plot_new(
		"handover-first", BENCH_DOTS,
		"The first access to a page after a lazy hand-over, median",
		"us", "");

	for (size_t i = 0; i < cells->n; i++) {
		const struct handover_cell *c = &cells->v[i];
		struct bench_stat st;
		char *size, *label;

		if (!handover_is_lazy(c->way) || c->error)
			continue;
		size = handover_size_text(c->size);
		label = bench_asprintf("%s, %s, %s", handover_way_names[c->way],
				       handover_pages_names[c->pages], size);
		bench_plot_series(p, label, c->way);
		free(label);
		free(size);
		st = bench_samples_stat(&c->metric[HANDOVER_P50]);
		bench_plot_point(p, 0, &st);
	}
	bench_plot(b, p);
}

void handover_plot(struct bench *b, const struct handover_cells *cells)
{
	plot_whole(b, cells, HANDOVER_4K);
	plot_whole(b, cells, HANDOVER_HUGE);
	plot_first(b, cells);
}

/* --- figures to reach ----------------------------------------------------- */

/* The size that figures are about: 1 GiB, or what comes nearest to it. */
static uint64_t judged_size(const struct handover_cells *cells)
{
	const uint64_t wanted = (uint64_t)1 << 30;
	uint64_t best = 0;

	for (size_t i = 0; i < cells->n; i++) {
		uint64_t size = cells->v[i].size;

		if (size <= wanted
			    ? size > best || best > wanted
			    : best == 0 || (best > wanted && size < best))
			best = size;
	}
	return best;
}

/* What is compared: @metric of @way in that of @base, round by round. */
struct comparison {
	enum handover_way_id way, base;
	enum handover_metric metric;
	enum bench_sense sense;
	double limit;
	const char *text;
};

static void set_target(struct bench *b, const struct handover_cells *cells,
		       const struct comparison *k, enum handover_pages_id pages,
		       uint64_t size)
{
	const struct handover_cell *c =
		handover_find(cells, k->way, pages, size);
	const struct handover_cell *base =
		handover_find(cells, k->base, pages, size);
	char *at = handover_size_text(size);
	struct bench_target t = {
		.name = bench_asprintf("handover/ratio/%s/size=%s/%s_to_%s/%s",
				       handover_pages_names[pages], at,
				       handover_way_names[k->way],
				       handover_way_names[k->base],
				       handover_metrics[k->metric].name),
		.text = bench_asprintf("%s, %s: %s", at, pages_text[pages],
				       k->text),
		.sense = k->sense,
		.limit = k->limit,
		.unit = "x",
	};

	if (c && base)
		t.got = bench_paired_ratio(&c->metric[k->metric],
					   &base->metric[k->metric]);
	bench_target(b, &t);
	free(t.name);
	free(t.text);
	free(at);
}

void handover_set_targets(struct bench *b, const struct handover_cells *cells)
{
	static const struct comparison faster[] = {
		{ HANDOVER_VM_NEW, HANDOVER_EAGER, HANDOVER_WHOLE,
		  BENCH_AT_LEAST, 20,
		  "process_vm_readv into new memory / ferry, eager" },
		{ HANDOVER_VM_WARM, HANDOVER_EAGER, HANDOVER_WHOLE,
		  BENCH_AT_LEAST, 20,
		  "process_vm_readv into warm memory / ferry, eager" },
		{ HANDOVER_PIPE, HANDOVER_EAGER, HANDOVER_WHOLE, BENCH_AT_LEAST,
		  20, "pipe / ferry, eager" },
	};
	static const struct comparison first[] = {
		{ HANDOVER_LAZY, HANDOVER_LOOP, HANDOVER_P50, BENCH_AT_MOST,
		  1.15,
		  "first access, p50: ferry, lazy / userfaultfd by hand" },
		{ HANDOVER_LAZY, HANDOVER_MAP, HANDOVER_P50, BENCH_AT_MOST,
		  1.15, "first access, p50: ferry, lazy / mapped by hand" },
	};
	uint64_t size = judged_size(cells);

	if (!size)
		return;
	for (int pages = 0; pages < HANDOVER_PAGES; pages++)
		for (size_t i = 0; i < BENCH_ARRAY_LEN(faster); i++)
			set_target(b, cells, &faster[i],
				   (enum handover_pages_id)pages, size);
	for (size_t i = 0; i < BENCH_ARRAY_LEN(first); i++)
		set_target(b, cells, &first[i], HANDOVER_4K, size);
}
