/* SPDX-License-Identifier: MIT */
/* move.c: ferry-bench move: what it costs to bring a page elsewhere. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "move_team.h"

#define NBATCHES 5

static const size_t batch_pages[NBATCHES] = { 1, 8, 64, 512, 4096 };

/* A family of measurements: all batches under one set of circumstances. */
struct scene {
	const char *title; /* of its table */
	const char *infix; /* of the result's name, after threads= */
	bool huge;
	unsigned int threads;
	enum move_sibling sibling;
	unsigned int holes;
};

static const struct scene scenes[] = {
	{ "4 KiB pages, one thread", "", false, 1, MOVE_ALONE, 0 },
	{ "4 KiB pages, two threads", "", false, 2, MOVE_ALONE, 0 },
	{ "4 KiB pages, one thread, an idle sibling", "/sibling=idle", false, 1,
	  MOVE_IDLE, 0 },
	{ "4 KiB pages, one thread, a sibling that spins", "/sibling=busy",
	  false, 1, MOVE_BUSY, 0 },
	{ "4 KiB pages, one thread, every second page a hole", "/holes=50",
	  false, 1, MOVE_ALONE, 50 },
	{ "Huge pages, one thread", "", true, 1, MOVE_ALONE, 0 },
	{ "Huge pages, two threads", "", true, 2, MOVE_ALONE, 0 },
	{ "Huge pages, one thread, a sibling that spins", "/sibling=busy", true,
	  1, MOVE_BUSY, 0 },
};

#define NSCENES BENCH_ARRAY_LEN(scenes)

/* What was measured of one scene at one batch. */
struct cell {
	struct bench_stat stat[MOVE_METHODS];
	struct bench_stat to_raw;	 /* ferry / raw */
	struct bench_stat warm_to_ferry; /* memcpy_warm / ferry */
	struct bench_stat copy_to_ferry; /* uffd_copy / ferry */
	struct move_counts counts;
};

struct move_run_state {
	struct bench *b;
	size_t page;
	size_t huge; /* bytes of a huge page, 0: not to be had */
	struct cell cells[NSCENES][NBATCHES];
	int error[MOVE_METHODS]; /* first, by method */
	enum ferry_reason refused;
	enum ferry_move_method how;
	size_t step; /* for the progress bar */
};

static bool wanted(const struct move_run_state *m, const struct scene *s,
		   size_t batch)
{
	return !s->huge ||
	       (m->huge && batch_pages[batch] * m->page % m->huge == 0);
}

static void keep_errors(struct move_run_state *m,
			const struct bench_case *cases)
{
	for (size_t i = 0; i < MOVE_METHODS; i++)
		if (cases[i].error && !m->error[i])
			m->error[i] = cases[i].error;
}

static void keep_results(struct move_run_state *m, const struct scene *s,
			 size_t batch, const struct bench_case *cases,
			 struct cell *c)
{
	const struct bench_samples *ferry = &cases[MOVE_FERRY].samples;
	char size[32];

	snprintf(size, sizeof(size), "%zuk", m->page >> 10);
	for (size_t i = 0; i < MOVE_METHODS; i++) {
		json_t *r;

		c->stat[i] = bench_samples_stat(&cases[i].samples);
		r = bench_result(m->b, &c->stat[i], "ns/page",
				 "move/%s/batch=%zu/threads=%u%s/method=%s",
				 s->huge ? "thp" : size, batch_pages[batch],
				 s->threads, s->infix, move_method_names[i]);
		if (i != MOVE_FERRY)
			continue;
		bench_field(r, "calls", (double)c->counts.calls);
		bench_field(r, "short_moves", (double)c->counts.short_moves);
		bench_field(r, "idle_retries", (double)c->counts.idle_retries);
		bench_field(r, "busy_retries", (double)c->counts.busy_retries);
		bench_field(r, "false_exist", (double)c->counts.false_exist);
		bench_field(r, "made_exclusive",
			    (double)c->counts.made_exclusive);
	}
	c->to_raw = bench_paired_ratio(ferry, &cases[MOVE_RAW].samples);
	c->warm_to_ferry =
		bench_paired_ratio(&cases[MOVE_MEMCPY_WARM].samples, ferry);
	c->copy_to_ferry =
		bench_paired_ratio(&cases[MOVE_UFFD_COPY].samples, ferry);
}

/* Batches of targets get more rounds. */
static uint64_t budget_ms(const struct bench *b, const struct scene *s,
			  size_t batch)
{
	bool target = !s->infix[0] && s->threads == 1 &&
		      (batch == 0 || batch == 3);

	return target ? bench_pick(b, 200, 1000, 4000)
		      : bench_pick(b, 20, 150, 1000);
}

static void measure_batch(struct move_run_state *m, struct move_bed *bed,
			  const struct scene *s, size_t batch, struct cell *c)
{
	struct bench_case cases[MOVE_METHODS] = { 0 };
	struct move_team team[MOVE_METHODS];
	struct move_sibling_thread sibling;

	for (size_t i = 0; i < MOVE_METHODS; i++) {
		move_team_init(&team[i], bed, (enum move_method)i,
			       batch_pages[batch] * m->page, s->threads);
		cases[i].name = move_method_names[i];
		cases[i].run = move_team_run;
		cases[i].arg = &team[i];
		if (!bed->uffd && i <= MOVE_UFFD_COPY)
			cases[i].error = -EOPNOTSUPP;
	}
	bench_progress(s->title, m->step++, NSCENES * NBATCHES);
	move_sibling_start(&sibling, s->sibling);
	bench_rounds(m->b, cases, MOVE_METHODS, bench_pick(m->b, 9, 151, 501),
		     budget_ms(m->b, s, batch));
	move_sibling_stop(&sibling);
	c->counts = move_team_counts(&team[MOVE_FERRY]);
	if (team[MOVE_FERRY].work[0].how)
		m->how = team[MOVE_FERRY].work[0].how;
	keep_errors(m, cases);
	keep_results(m, s, batch, cases, c);
	for (size_t i = 0; i < MOVE_METHODS; i++)
		move_team_fini(&team[i]);
	bench_cases_fini(cases, MOVE_METHODS);
}

static size_t span_of(const struct move_run_state *m)
{
	size_t pages = batch_pages[NBATCHES - 1] * MOVE_MAX_THREADS;

	return pages * m->page * bench_pick(m->b, 1, 1, 2);
}

static int measure_scene(struct move_run_state *m, size_t scene)
{
	const struct scene *s = &scenes[scene];
	struct move_bed bed;
	int rc = 0;

	move_bed_init(&bed, span_of(m), s->huge, s->holes, m->b->opt.seed);
	if (!bed.uffd)
		m->refused = bed.refused;
	if (s->huge && bench_huge_bytes(bed.src, bed.span) < bed.span)
		m->huge = 0;
	for (size_t i = 0; i < NBATCHES; i++)
		if (wanted(m, s, i))
			measure_batch(m, &bed, s, i, &m->cells[scene][i]);
	if (!move_bed_intact(&bed)) {
		bench_say(m->b, "%s: a page lost its contents.", s->title);
		rc = -EIO;
	}
	move_bed_fini(&bed);
	return rc;
}

/* In a table of this width there is room for two digits. */
static void format_short(double v, char *buf, size_t size)
{
	snprintf(buf, size, "%.*f", v >= 9.95 ? 0 : v >= 0.995 ? 1 : 2, v);
}

typedef void (*format_fn)(double v, char *buf, size_t size);

static void cell_text(struct bench_table *t, const struct bench_stat *st,
		      format_fn format)
{
	char value[32], min[32], max[32];

	if (!st->n) {
		bench_cell(t, "-");
		return;
	}
	format(st->value, value, sizeof(value));
	format(st->min, min, sizeof(min));
	format(st->max, max, sizeof(max));
	bench_cell(t, "%s (%s..%s)", value, min, max);
}

static void show_scene(struct move_run_state *m, size_t scene)
{
	const struct scene *s = &scenes[scene];
	struct bench_table *t;
	char *caption;

	caption = bench_asprintf("%s: ns per page of %zu KiB (min..max), by "
				 "pages per call",
				 s->title, m->page >> 10);
	if (s->huge)
		t = bench_table_new(caption, "method", "512", "4096", NULL);
	else
		t = bench_table_new(caption, "method", "1", "8", "64", "512",
				    "4096", NULL);
	free(caption);
	for (size_t i = 0; i < MOVE_METHODS; i++) {
		bench_cell(t, "%s", move_method_names[i]);
		for (size_t j = s->huge ? 3 : 0; j < NBATCHES; j++)
			cell_text(t, &m->cells[scene][j].stat[i], format_short);
	}
	bench_show(m->b, t);
}

static void ratio_row(struct move_run_state *m, struct bench_table *t,
		      const char *what, size_t offset)
{
	bench_cell(t, "%s", what);
	for (size_t j = 0; j < NBATCHES; j++) {
		const char *c = (const char *)&m->cells[0][j];

		cell_text(t, (const struct bench_stat *)(c + offset),
			  bench_format);
	}
}

static void show_ratios(struct move_run_state *m)
{
	struct bench_table *t = bench_table_new(
		"4 KiB pages, one thread: ratios, round by round, by pages per "
		"call",
		"ratio", "1", "8", "64", "512", "4096", NULL);

	ratio_row(m, t, "ferry / raw", offsetof(struct cell, to_raw));
	ratio_row(m, t, "memcpy_warm / ferry",
		  offsetof(struct cell, warm_to_ferry));
	ratio_row(m, t, "uffd_copy / ferry",
		  offsetof(struct cell, copy_to_ferry));
	bench_show(m->b, t);
}

static void show_counts(struct move_run_state *m)
{
	struct bench_table *t = bench_table_new(
		"What ferry_move() met: counts over all rounds and batches",
		"scene", "calls", "short", "idle retry", "busy retry",
		"false EEXIST", "exclusive", "copied", NULL);

	for (size_t i = 0; i < NSCENES; i++) {
		struct move_counts sum = { 0 };

		for (size_t j = 0; j < NBATCHES; j++)
			move_counts_add(&sum, &m->cells[i][j].counts);
		if (!sum.calls)
			continue;
		bench_cell(t, "%s", scenes[i].title);
		bench_cell(t, "%lu", (unsigned long)sum.calls);
		bench_cell(t, "%lu", (unsigned long)sum.short_moves);
		bench_cell(t, "%lu", (unsigned long)sum.idle_retries);
		bench_cell(t, "%lu", (unsigned long)sum.busy_retries);
		bench_cell(t, "%lu", (unsigned long)sum.false_exist);
		bench_cell(t, "%lu", (unsigned long)sum.made_exclusive);
		bench_cell(t, "%lu", (unsigned long)sum.copied);
	}
	bench_show(m->b, t);
}

static void target(struct move_run_state *m, const char *name, const char *text,
		   enum bench_sense sense, double limit,
		   const struct bench_stat *got)
{
	struct bench_target t = { .name = (char *)name,
				  .text = (char *)text,
				  .sense = sense,
				  .limit = limit,
				  .unit = "x",
				  .got = *got };

	bench_target(m->b, &t);
}

static void set_targets(struct move_run_state *m)
{
	const struct cell *one = &m->cells[0][0];
	const struct cell *many = &m->cells[0][3];
	const struct cell *huge = &m->cells[5][3];

	target(m, "move/ratio/4k/batch=1/ferry_to_raw",
	       "move 1 page: ferry / raw ioctl", BENCH_AT_MOST, 1.05,
	       &one->to_raw);
	target(m, "move/ratio/4k/batch=512/ferry_to_raw",
	       "move 512 pages: ferry / raw ioctl", BENCH_AT_MOST, 1.02,
	       &many->to_raw);
	target(m, "move/ratio/4k/batch=512/memcpy_warm_to_ferry",
	       "move 512 pages: memcpy_warm / ferry", BENCH_AT_LEAST, 3,
	       &many->warm_to_ferry);
	target(m, "move/ratio/4k/batch=512/uffd_copy_to_ferry",
	       "move 512 pages: UFFDIO_COPY / ferry", BENCH_AT_LEAST, 8,
	       &many->copy_to_ferry);
	target(m, "move/ratio/thp/batch=512/memcpy_warm_to_ferry",
	       "move a huge page whole: memcpy_warm / ferry", BENCH_AT_LEAST,
	       100, &huge->warm_to_ferry);
}

static void plot_methods(struct move_run_state *m)
{
	struct bench_plot *p =
		bench_plot_new("move-batch", BENCH_LINES,
			       "Cost of moving a 4 KiB page, by pages per call",
			       "pages per call", "ns per page");

	for (size_t i = 0; i < MOVE_METHODS; i++) {
		bench_plot_series(p, move_method_names[i], (unsigned int)i);
		for (size_t j = 0; j < NBATCHES; j++)
			bench_plot_point(p, (double)batch_pages[j],
					 &m->cells[0][j].stat[i]);
	}
	bench_plot(m->b, p);
}

static void plot_siblings(struct move_run_state *m)
{
	static const char *const label[] = { "alone", "two movers",
					     "idle sibling", "busy sibling",
					     "50% holes" };
	struct bench_plot *p =
		bench_plot_new("move-siblings", BENCH_LINES,
			       "What other threads and holes cost ferry_move()",
			       "pages per call", "ns per page and thread");

	for (size_t i = 0; i < BENCH_ARRAY_LEN(label); i++) {
		bench_plot_series(p, label[i], (unsigned int)i);
		for (size_t j = 0; j < NBATCHES; j++)
			bench_plot_point(p, (double)batch_pages[j],
					 &m->cells[i][j].stat[MOVE_FERRY]);
	}
	bench_plot(m->b, p);
}

static void plot_huge(struct move_run_state *m)
{
	struct bench_plot *p =
		bench_plot_new("move-thp", BENCH_DOTS,
			       "One huge page of 2 MiB: microseconds by method",
			       "microseconds per huge page", "");
	double scale = (double)m->huge / (double)m->page / 1000;

	for (size_t i = 0; i < MOVE_METHODS; i++) {
		struct bench_stat st = m->cells[5][3].stat[i];

		st.value *= scale;
		st.min *= scale;
		st.max *= scale;
		bench_plot_series(p, move_method_names[i], (unsigned int)i);
		bench_plot_point(p, 0, &st);
	}
	bench_plot(m->b, p);
}

static void say_missing(struct move_run_state *m)
{
	if (m->refused)
		bench_say(m->b,
			  "No userfaultfd here, so no ferry, raw and "
			  "uffd_copy: %s.",
			  ferry_reason_string(m->refused));
	for (size_t i = 0; i < MOVE_METHODS; i++)
		if (m->error[i] && !(m->refused && i <= MOVE_UFFD_COPY))
			bench_say(m->b, "%s was not measured throughout: %s.",
				  move_method_names[i], strerror(-m->error[i]));
	if (m->how == FERRY_METHOD_MREMAP || m->how == FERRY_METHOD_COPY)
		bench_say(m->b,
			  "This kernel has no UFFDIO_MOVE: ferry_move() worked "
			  "by %s instead.",
			  m->how == FERRY_METHOD_MREMAP ? "mremap"
							: "UFFDIO_COPY");
	if (!m->huge)
		bench_say(m->b, "No huge pages were to be had.");
}

static void explain(struct bench *b)
{
	bench_section(b, "Moving pages");
	bench_say(b,
		  "How long does it take to bring a page to another address? "
		  "ferry_move() rewrites page tables (UFFDIO_MOVE). It is "
		  "compared with the bare system call in a loop (raw), with "
		  "UFFDIO_COPY, with memcpy() into memory that is there "
		  "already (memcpy_warm) and that is fresh (memcpy_cold), and "
		  "with mremap(). All work on the same pages and begin in the "
		  "same state; what a copy leaves undone, its source to be "
		  "freed, is not charged to it.");
}

static void find_sizes(struct move_run_state *m)
{
	struct ferry_features f = FERRY_INIT(struct ferry_features);

	m->page = (size_t)sysconf(_SC_PAGESIZE);
	m->huge = (size_t)2 << 20;
	if (ferry_features_get(&f) < 0)
		return;
	m->huge = f.features & FERRY_FEATURE_THP ? f.huge_size : 0;
	if (m->huge != 512 * m->page) /* 32 MiB and more on other machines */
		m->huge = 0;
}

static int run(struct bench *b)
{
	struct move_run_state *m = bench_alloc(sizeof(*m));
	int rc = 0;

	m->b = b;
	explain(b);
	find_sizes(m);
	for (size_t i = 0; i < NSCENES && rc == 0; i++)
		if (!scenes[i].huge || m->huge)
			rc = measure_scene(m, i);
	for (size_t i = 0; i < NSCENES && rc == 0; i++)
		if (!scenes[i].huge || m->huge)
			show_scene(m, i);
	say_missing(m);
	show_ratios(m);
	show_counts(m);
	set_targets(m);
	plot_methods(m);
	plot_siblings(m);
	if (m->huge)
		plot_huge(m);
	free(m);
	return rc;
}

const struct bench_cmd bench_cmd_move = {
	.name = "move",
	.summary = "moving pages against copying them",
	.run = run,
};
