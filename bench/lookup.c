/* SPDX-License-Identifier: MIT */
/* lookup.c: ferry-bench lookup: from an address to its arena. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <ferry/ferry.h>

#include "bench.h"

#define NARENAS 1000
#define RESERVE ((size_t)4 << 20)
#define NADDRS	4096 /* looked up in turn, random */

struct lookup_bed {
	struct ferry_arena *arena[NARENAS];
	size_t narenas;
	const void *addr[NADDRS];
	const struct ferry_arena *expect[NADDRS];
	size_t loops; /* over all addresses, per sample */
};

struct lookup_case {
	struct lookup_bed *bed;
	bool section_each; /* begin and end around every look-up */
	bool churn;	   /* while another thread makes and ends arenas */
};

/* The thread that makes and ends arenas. */
struct churn {
	pthread_t thread;
	atomic_bool stop;
	atomic_ulong made;
};

static struct ferry_arena *make_arena(void)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *arena;

	p.reserve = RESERVE;
	return ferry_arena_create(&p, &arena) < 0 ? NULL : arena;
}

static void *churn_main(void *arg)
{
	struct churn *c = arg;

	/* Relaxed: a flag and a count; the join orders the rest. */
	while (!atomic_load_explicit(&c->stop, memory_order_relaxed)) {
		ferry_arena_destroy(make_arena());
		atomic_fetch_add_explicit(&c->made, 1, memory_order_relaxed);
	}
	return NULL;
}

static int churn_start(struct churn *c)
{
	atomic_init(&c->stop, false);
	atomic_init(&c->made, 0);
	if (pthread_create(&c->thread, NULL, churn_main, c))
		return -EAGAIN;
	while (!atomic_load_explicit(&c->made, memory_order_relaxed))
		;
	return 0;
}

static void churn_stop(struct churn *c)
{
	atomic_store_explicit(&c->stop, true, memory_order_relaxed);
	pthread_join(c->thread, NULL);
}

static bool look_up_each(const struct lookup_bed *bed)
{
	bool right = true;

	for (size_t i = 0; i < NADDRS; i++) {
		ferry_lookup_begin();
		right &= ferry_lookup(bed->addr[i]) == bed->expect[i];
		ferry_lookup_end();
	}
	return right;
}

static bool look_up_all(const struct lookup_bed *bed)
{
	bool right = true;

	ferry_lookup_begin();
	for (size_t i = 0; i < NADDRS; i++)
		right &= ferry_lookup(bed->addr[i]) == bed->expect[i];
	ferry_lookup_end();
	return right;
}

static int run_case(void *arg, double *ret_v)
{
	const struct lookup_case *c = arg;
	struct churn churn;
	bool right = true;
	uint64_t ns;

	if (c->churn && churn_start(&churn) < 0)
		return -EAGAIN;
	ns = bench_now();
	for (size_t i = 0; i < c->bed->loops; i++)
		right &= c->section_each ? look_up_each(c->bed)
					 : look_up_all(c->bed);
	ns = bench_now() - ns;
	if (c->churn)
		churn_stop(&churn);
	*ret_v = (double)ns / (double)(c->bed->loops * NADDRS);
	return right ? 0 : -EIO;
}

static int bed_init(struct lookup_bed *bed, struct bench *b)
{
	while (bed->narenas < NARENAS) {
		bed->arena[bed->narenas] = make_arena();
		if (!bed->arena[bed->narenas])
			return -ENOMEM;
		bed->narenas++;
	}
	for (size_t i = 0; i < NADDRS; i++) {
		struct ferry_arena *a =
			bed->arena[bench_rng_below(&b->rng, NARENAS)];

		bed->expect[i] = a;
		bed->addr[i] = (char *)ferry_arena_base(a) +
			       bench_rng_below(&b->rng, RESERVE);
	}
	bed->loops = 24; /* a third of a millisecond */
	return 0;
}

static void bed_fini(struct lookup_bed *bed)
{
	for (size_t i = 0; i < bed->narenas; i++)
		ferry_arena_destroy(bed->arena[i]);
}

enum { SHARED, SHARED_CHURN, EACH, EACH_CHURN, CASES };

static const struct {
	const char *name; /* of the result */
	const char *text;
	const char *plot;
} case_texts[CASES] = {
	[SHARED] = { "section=shared", "within a section, quiet",
		     "shared section" },
	[SHARED_CHURN] = { "section=shared/churn=1",
			   "within a section, arenas come and go",
			   "shared, arenas change" },
	[EACH] = { "section=each", "a section for each, quiet", "own section" },
	[EACH_CHURN] = { "section=each/churn=1",
			 "a section for each, arenas come and go",
			 "own, arenas change" },
};

static void show(struct bench *b, const struct bench_case *cases)
{
	struct bench_table *t =
		bench_table_new("One look-up among 1,000 arenas, ns",
				"look-up in", "ns", "min..max", NULL);

	for (size_t i = 0; i < CASES; i++) {
		struct bench_stat st = bench_samples_stat(&cases[i].samples);

		bench_cell(t, "%s", case_texts[i].text);
		bench_cell_stat(t, &st);
		bench_result(b, &st, "ns", "lookup/arenas=%d/%s", NARENAS,
			     case_texts[i].name);
		if (cases[i].error)
			bench_say(b, "%s: %s.", case_texts[i].text,
				  strerror(-cases[i].error));
	}
	bench_show(b, t);
}

static void plot(struct bench *b, const struct bench_case *cases)
{
	struct bench_plot *p = bench_plot_new("lookup", BENCH_DOTS,
					      "One look-up among 1,000 arenas",
					      "ns per look-up", "");

	for (unsigned int i = 0; i < CASES; i++) {
		struct bench_stat st = bench_samples_stat(&cases[i].samples);

		bench_plot_series(p, case_texts[i].plot, i);
		bench_plot_point(p, 0, &st);
	}
	bench_plot(b, p);
}

static void set_targets(struct bench *b, const struct bench_case *cases)
{
	struct bench_target t = { .sense = BENCH_AT_MOST };

	t.name = (char *)"lookup/arenas=1000/target";
	t.text = (char *)"address to arena, 1,000 arenas";
	t.unit = "ns";
	t.limit = 10;
	t.got = bench_samples_stat(&cases[SHARED].samples);
	bench_target(b, &t);
	t.name = (char *)"lookup/ratio/churn_to_quiet";
	t.text = (char *)"the same while arenas come and go / quiet";
	t.unit = "x";
	t.limit = 1.05;
	t.got = bench_paired_ratio(&cases[SHARED_CHURN].samples,
				   &cases[SHARED].samples);
	bench_target(b, &t);
}

static int run(struct bench *b)
{
	struct lookup_bed *bed = bench_alloc(sizeof(*bed));
	struct bench_case cases[CASES] = { 0 };
	struct lookup_case c[CASES];
	int rc = bed_init(bed, b);

	bench_section(b, "Looking up an address");
	bench_say(b,
		  "Which arena does an address lie in? Random addresses "
		  "in 1,000 arenas are looked up, wait-free, first in peace, "
		  "then while another thread makes and ends arenas all the "
		  "time.");
	if (rc < 0) {
		bench_say(b, "1,000 arenas cannot be made here.");
		goto out;
	}
	for (size_t i = 0; i < CASES; i++) {
		c[i] = (struct lookup_case){ .bed = bed,
					     .section_each = i >= EACH,
					     .churn = i % 2 };
		cases[i] = (struct bench_case){ .run = run_case, .arg = &c[i] };
	}
	bench_progress("looking up", 0, 1);
	bench_rounds(b, cases, CASES, bench_pick(b, 15, 301, 1001),
		     bench_pick(b, 500, 4000, 15000));
	show(b, cases);
	plot(b, cases);
	set_targets(b, cases);
out:
	bench_cases_fini(cases, CASES);
	bed_fini(bed);
	free(bed);
	return rc;
}

const struct bench_cmd bench_cmd_lookup = {
	.name = "lookup",
	.summary = "from an address to its arena, among 1,000",
	.run = run,
};
