/* SPDX-License-Identifier: MIT */
/* offload_show.c: results, tables and plots of ferry-bench offload. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "offload.h"

const char *const offload_part_names[OFFLOAD_PARTS] = {
	[OFFLOAD_IDLE] = "idle", [OFFLOAD_ZIPF] = "zipf",
	[OFFLOAD_SCAN] = "scan", [OFFLOAD_FAULT] = "fault",
	[OFFLOAD_FORK] = "fork", [OFFLOAD_REDIS] = "redis",
};

static void judge(struct offload_bench *o, enum offload_part part,
		  const struct offload_run *r)
{
	const char *name = offload_part_names[part];
	int rc = r->error;

	if (r->wrong) {
		bench_say(o->b, "%s, %s: %llu values had not their contents.",
			  name, r->name, (unsigned long long)r->wrong);
		rc = -EBADMSG;
	} else if (r->error) {
		bench_say(o->b, "%s, %s: %s.", name, r->name, r->why);
	} else if (r->absent[0]) {
		bench_say(o->b, "%s, %s: not measured: %s.", name, r->name,
			  r->absent);
	}
	o->rc = o->rc ? o->rc : rc;
}

static void record(struct bench *b, enum offload_part part,
		   const struct offload_run *r)
{
	for (size_t i = 0; i < OFFLOAD_METRICS && !r->error; i++) {
		struct bench_stat st = offload_stat(r, (enum offload_metric)i);

		bench_result(b, &st, offload_metrics[i].unit,
			     "offload/%s/%s/%s", offload_part_names[part],
			     r->name, offload_metrics[i].name);
	}
}

void offload_finish(struct offload_bench *o, enum offload_part part,
		    const struct offload_run *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		judge(o, part, &v[i]);
		record(o->b, part, &v[i]);
	}
}

void offload_show(struct bench *b, const char *caption,
		  const struct offload_run *v, size_t n,
		  const struct offload_column *columns, size_t ncolumns)
{
	struct bench_table *t = bench_table_new(caption, "", NULL);
	char text[32];

	for (size_t j = 0; j < ncolumns; j++)
		bench_table_column(t, columns[j].head);
	for (size_t i = 0; i < n; i++) {
		bench_cell(t, "%s", v[i].name);
		for (size_t j = 0; j < ncolumns; j++) {
			struct bench_stat st =
				offload_stat(&v[i], columns[j].metric);

			bench_format(st.value / columns[j].by, text,
				     sizeof(text));
			bench_cell(t, "%s", st.n && !v[i].error ? text : "-");
		}
	}
	bench_show(b, t);
}

/* Two hundred points are as good as all. */
void offload_plot(struct bench *b, const char *name, const char *title,
		  const struct offload_run *v, size_t n)
{
	struct bench_plot *p = bench_plot_new(
		name, BENCH_LINES, title, "seconds since the start", "bytes");
	double max = 1;

	p->log_x = false;
	p->log_y = false;
	for (size_t i = 0; i < n; i++) {
		size_t step = v[i].nmoments / 200 + 1;

		bench_plot_series(p, v[i].name, (unsigned int)i);
		for (size_t j = 0; j < v[i].nmoments; j += step) {
			struct bench_stat st =
				bench_stat_of(v[i].moments[j].held);

			bench_plot_point(p, v[i].moments[j].s, &st);
			if (v[i].moments[j].s > max)
				max = v[i].moments[j].s;
		}
	}
	bench_plot_tick_evenly(p, max);
	bench_plot(b, p);
}

void offload_target(struct bench *b, enum offload_part part, const char *name,
		    const char *text, enum bench_sense sense, double limit,
		    const char *unit, const struct bench_stat *got)
{
	struct bench_target t = {
		.name = bench_asprintf("offload/%s/%s",
				       offload_part_names[part], name),
		.text = bench_strdup(text),
		.sense = sense,
		.limit = limit,
		.unit = unit,
	};

	/* The shortest run is no measure of these. */
	if (b->opt.effort != BENCH_TINY)
		t.got = *got;
	bench_target(b, &t);
	free(t.name);
	free(t.text);
}
