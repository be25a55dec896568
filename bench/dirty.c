/* SPDX-License-Identifier: MIT */
/* dirty.c: ferry-bench dirty: what it costs to know which pages changed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ferry/ferry.h>

#include "bench.h"

#define NSHARES	 3
#define MAX_RUNS 4096

static const unsigned int shares[NSHARES] = { 1, 10, 100 }; /* per cent */

enum { ARM, WRITE, COLLECT, OPS };

static const char *const op_names[OPS] = { "arm", "first_write", "collect" };
static const char *const op_texts[OPS] = {
	"arm, ns per page of the range",
	"first write, ns per page written",
	"collect and re-arm, ns per page of the range",
};

/* Index 0 stands for writing without any tracking. */
#define NONE	   0
#define NPROVIDERS FERRY_DIRTY_PROVIDERS

struct dirty_bed {
	size_t page;
	size_t pages;
	char *base;
	uint32_t *order;     /* of the pages; the first are written */
	unsigned char *seen; /* a byte per page: reported */
	struct ferry_range *runs;
	size_t steps;
	size_t all_steps;
};

struct dirty_case {
	struct dirty_bed *bed;
	enum ferry_dirty_provider provider;
	unsigned int share;
	unsigned int runs;
	struct bench_samples ns[OPS];
	struct bench_stat stat[OPS];
	enum ferry_reason reason;
	int error;
};

static const char *provider_name(int provider)
{
	if (provider == NONE)
		return "none";
	return ferry_dirty_provider_name((enum ferry_dirty_provider)provider);
}

static size_t to_write(const struct dirty_case *c)
{
	size_t n = c->bed->pages * c->share / 100;

	return n ? n : 1;
}

static void write_pages(const struct dirty_case *c)
{
	const struct dirty_bed *bed = c->bed;
	size_t n = to_write(c);

	for (size_t i = 0; i < n; i++)
		*(volatile char *)(bed->base + bed->order[i] * bed->page) = 1;
}

static void note_runs(struct dirty_bed *bed, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct ferry_range *r = &bed->runs[i];
		size_t at = (size_t)((char *)r->addr - bed->base);

		memset(bed->seen + at / bed->page, 1, r->len / bed->page);
	}
}

/* @ret_ns: time of the calls, without noting what they reported. */
static int collect(struct dirty_bed *bed, struct ferry_dirty *dirty,
		   uint64_t *ret_ns)
{
	char *end = bed->base + bed->pages * bed->page;
	void *at = bed->base;
	int rc = 0;

	*ret_ns = 0;
	while (rc == 0 && (char *)at < end) {
		uint64_t begin = bench_now();
		size_t n = 0;

		rc = ferry_dirty_collect(dirty, at, (size_t)(end - (char *)at),
					 bed->runs, MAX_RUNS, &n, &at);
		*ret_ns += bench_now() - begin;
		note_runs(bed, n);
	}
	return rc;
}

static bool all_seen(const struct dirty_case *c)
{
	for (size_t i = 0; i < to_write(c); i++)
		if (!c->bed->seen[c->bed->order[i]])
			return false;
	return true;
}

static void keep(struct dirty_case *c, const uint64_t *ns)
{
	double pages = (double)c->bed->pages;
	double written = (double)to_write(c);

	if (c->runs++ == 0) /* warm-up */
		return;
	bench_samples_add(&c->ns[ARM], (double)ns[ARM] / pages);
	bench_samples_add(&c->ns[WRITE], (double)ns[WRITE] / written);
	bench_samples_add(&c->ns[COLLECT], (double)ns[COLLECT] / pages);
}

static int run_untracked(struct dirty_case *c)
{
	uint64_t ns[OPS] = { 0 };

	ns[WRITE] = bench_now();
	write_pages(c);
	ns[WRITE] = bench_now() - ns[WRITE];
	keep(c, ns);
	return 0;
}

static int run_tracked(struct dirty_case *c, struct ferry_dirty *dirty)
{
	struct dirty_bed *bed = c->bed;
	size_t len = bed->pages * bed->page;
	uint64_t ns[OPS], begin = bench_now();
	int rc;

	rc = ferry_dirty_arm(dirty, bed->base, len, &c->reason);
	ns[ARM] = bench_now() - begin;
	if (rc < 0)
		return rc;
	begin = bench_now();
	write_pages(c);
	ns[WRITE] = bench_now() - begin;
	memset(bed->seen, 0, bed->pages);
	rc = collect(bed, dirty, &ns[COLLECT]);
	if (rc == 0 && !all_seen(c))
		rc = -EIO;
	if (rc == 0)
		keep(c, ns);
	return rc;
}

static int run_case(void *arg, double *ret_v)
{
	struct dirty_case *c = arg;
	struct ferry_dirty_params p = FERRY_INIT(struct ferry_dirty_params);
	struct ferry_dirty *dirty;
	int rc;

	*ret_v = 0; /* kept in the case, as there is more than one value */
	bench_progress("tracking writes", c->bed->steps++, c->bed->all_steps);
	bench_populate(c->bed->base, c->bed->pages * c->bed->page);
	if ((int)c->provider == NONE)
		return run_untracked(c);
	p.provider = c->provider;
	rc = ferry_dirty_open(&p, &c->reason, &dirty);
	if (rc < 0)
		return rc;
	rc = run_tracked(c, dirty);
	ferry_dirty_close(dirty);
	return rc;
}

static void bed_init(struct dirty_bed *bed, struct bench *b)
{
	bed->page = (size_t)sysconf(_SC_PAGESIZE);
	bed->pages = bench_pick(b, 4096, 16384, 65536);
	bed->base = bench_pool_get(bed->pages * bed->page, false);
	bed->order = bench_alloc(bed->pages * sizeof(*bed->order));
	bed->seen = bench_alloc(bed->pages);
	bed->runs = bench_alloc(MAX_RUNS * sizeof(*bed->runs));
	for (size_t i = 0; i < bed->pages; i++)
		bed->order[i] = (uint32_t)i;
	bench_rng_shuffle(&b->rng, bed->order, bed->pages);
}

static void bed_fini(struct dirty_bed *bed)
{
	bench_pool_put(bed->base, bed->pages * bed->page, false);
	free(bed->order);
	free(bed->seen);
	free(bed->runs);
}

struct dirty_bench {
	struct bench *b;
	struct dirty_bed bed;
	struct dirty_case c[NPROVIDERS][NSHARES];
};

#define NCASES (NPROVIDERS * NSHARES)

static void record(struct dirty_bench *d, struct dirty_case *c)
{
	for (size_t op = 0; op < OPS; op++) {
		c->stat[op] = bench_samples_stat(&c->ns[op]);
		if ((int)c->provider == NONE && op != WRITE)
			c->stat[op] = (struct bench_stat){ 0 };
		bench_result(d->b, &c->stat[op], "ns/page",
			     "dirty/provider=%s/dirty=%u/op=%s",
			     provider_name((int)c->provider), c->share,
			     op_names[op]);
	}
}

static void show_op(struct dirty_bench *d, int op)
{
	struct bench_table *t = bench_table_new(
		op_texts[op], "provider", "1% dirty", "min..max", "10%",
		"min..max", "100%", "min..max", NULL);

	for (int i = 0; i < NPROVIDERS; i++) {
		if (!d->c[i][0].stat[op].n)
			continue;
		bench_cell(t, "%s", provider_name(i));
		for (size_t j = 0; j < NSHARES; j++)
			bench_cell_stat(t, &d->c[i][j].stat[op]);
	}
	bench_show(d->b, t);
}

static void plot_writes(struct dirty_bench *d)
{
	struct bench_plot *p = bench_plot_new(
		"dirty-write", BENCH_DOTS,
		"The first write to a tracked page, 10% of pages written",
		"ns per page written", "");

	for (unsigned int i = 0; i < NPROVIDERS; i++) {
		if (!d->c[i][1].stat[WRITE].n)
			continue;
		bench_plot_series(p, provider_name((int)i), i ? i - 1 : 6);
		bench_plot_point(p, 0, &d->c[i][1].stat[WRITE]);
	}
	bench_plot(d->b, p);
}

static void plot_collect(struct dirty_bench *d)
{
	struct bench_plot *p = bench_plot_new(
		"dirty-collect", BENCH_LINES,
		"Collecting dirty pages, by their share",
		"per cent of pages dirty", "ns per page of the range");

	for (unsigned int i = 1; i < NPROVIDERS; i++) {
		bench_plot_series(p, provider_name((int)i), i - 1);
		for (size_t j = 0; j < NSHARES; j++)
			bench_plot_point(p, shares[j],
					 &d->c[i][j].stat[COLLECT]);
	}
	bench_plot(d->b, p);
}

static void say_missing(struct dirty_bench *d, const struct bench_case *cases)
{
	for (size_t i = 1; i < NPROVIDERS; i++) {
		const struct dirty_case *c = &d->c[i][0];
		int error = cases[i * NSHARES].error;

		if (!error)
			continue;
		bench_say(d->b, "%s was not measured: %s (%s).",
			  provider_name((int)i), strerror(-error),
			  ferry_reason_string(c->reason));
	}
}

static void explain(struct bench *b)
{
	bench_section(b, "Tracking writes");
	bench_say(b,
		  "Which pages were written since one last asked? Four kernel "
		  "mechanisms answer that behind one interface. Measured are "
		  "arming a range, the first write to an armed page, and "
		  "collecting the written pages, which arms them again; with "
		  "1, 10 and 100 per cent of the pages written, in random "
		  "order. Every written page is checked to be reported. "
		  "\"none\" is the same writing with no tracking.");
}

static void measure(struct dirty_bench *d, struct bench_case *cases)
{
	size_t rounds = bench_pick(d->b, 5, 15, 41);

	d->bed.all_steps = (rounds + 1) * NCASES;
	for (size_t i = 0; i < NCASES; i++) {
		struct dirty_case *c = &d->c[i / NSHARES][i % NSHARES];

		c->bed = &d->bed;
		c->provider = (enum ferry_dirty_provider)(i / NSHARES);
		c->share = shares[i % NSHARES];
		cases[i] = (struct bench_case){ .run = run_case, .arg = c };
	}
	bench_rounds(d->b, cases, NCASES, rounds,
		     bench_pick(d->b, 2000, 12000, 60000));
}

static int run(struct bench *b)
{
	struct dirty_bench *d = bench_alloc(sizeof(*d));
	struct bench_case cases[NCASES] = { 0 };

	d->b = b;
	explain(b);
	bed_init(&d->bed, b);
	measure(d, cases);
	for (size_t i = 0; i < NCASES; i++)
		record(d, cases[i].arg);
	say_missing(d, cases);
	for (int op = 0; op < OPS; op++)
		show_op(d, op);
	plot_writes(d);
	plot_collect(d);
	for (size_t i = 0; i < NCASES; i++)
		for (size_t op = 0; op < OPS; op++)
			bench_samples_fini(
				&d->c[i / NSHARES][i % NSHARES].ns[op]);
	bench_cases_fini(cases, NCASES);
	bed_fini(&d->bed);
	free(d);
	return 0;
}

const struct bench_cmd bench_cmd_dirty = {
	.name = "dirty",
	.summary = "what it costs to know which pages were written",
	.run = run,
};
