/* SPDX-License-Identifier: MIT */
/*
 * malloc.c: ferry-bench malloc: allocators under the same workloads. Every run
 * has a process of its own; the runs of a workload are made in turn, round by
 * round.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gc_plan.h"
#include "malloc.h"

/* Units of each workload, by effort; about as long for each. */
static const uint64_t amounts[MALLOC_WORKLOADS][BENCH_FULL + 1] = {
	[MALLOC_CHURN] = { 200000, 1200000, 6000000 },
	[MALLOC_QUEUE] = { 50000, 500000, 2000000 },
	[MALLOC_THREADS] = { 4000, 40000, 500000 },
	[MALLOC_REALLOC] = { 20, 300, 5000 },
	[MALLOC_LARGE] = { 4, 12, 100 },
	[MALLOC_GROW] = { 32, 256, 1024 },
	[MALLOC_START] = { 10, 40, 300 },
	[MALLOC_FORK] = { 2, 8, 30 },
	[MALLOC_HEAP] = { 200000, 1200000, 6000000 },
};

struct malloc_bench {
	struct bench *b;
	struct preload_set set;
	bool workload[MALLOC_WORKLOADS];
	uint64_t rounds;
	struct malloc_cells cells;
	size_t steps, all_steps;
};

static const struct bench_option options[] = {
	{ "workload", BENCH_TEXT, "LIST",
	  "churn,queue,threads,realloc,large,grow,start,fork,heap" },
	PRELOAD_OPTIONS,
	{ "rounds", BENCH_SIZE, "N", "times that each run is made" },
	{ 0 },
};

static int read_options(const struct bench_options *opt, struct malloc_bench *m,
			char *err, size_t err_size)
{
	const char *names = bench_option_text(opt, "workload");

	m->rounds = bench_option_size(opt, "rounds", 0);
	memset(m->workload, true, sizeof(m->workload));
	if (names && gc_parse_names(names, malloc_workload_names,
				    MALLOC_WORKLOADS, m->workload) < 0) {
		snprintf(err, err_size,
			 "--workload wants names of workloads, not '%s'",
			 names);
		return -EINVAL;
	}
	return preload_read(opt, &m->set, err, err_size);
}

static int check_options(const struct bench_options *opt, char *err,
			 size_t err_size)
{
	struct malloc_bench m = { 0 };
	int rc = read_options(opt, &m, err, err_size);

	preload_fini(&m.set);
	return rc;
}

/* --- what is to be run ---------------------------------------------------- */

/*
 * What takes long to prepare is repeated within a run anyway. What is judged
 * by a few percent is made often (B26).
 */
static uint64_t rounds(const struct malloc_bench *m,
		       enum malloc_workload_id workload)
{
	bool heavy = workload == MALLOC_LARGE || workload == MALLOC_GROW ||
		     workload == MALLOC_FORK;
	bool judged = workload <= MALLOC_REALLOC || workload == MALLOC_HEAP;

	if (m->rounds)
		return m->rounds;
	return bench_pick(m->b, 1, heavy ? 1 : 3, judged ? 21 : 7);
}

/* The first round warms up, but for the shortest of runs. */
static bool warms_up(const struct malloc_bench *m)
{
	return m->b->opt.effort != BENCH_TINY;
}

static void add_cells(struct malloc_bench *m, enum malloc_workload_id workload)
{
	struct malloc_cells *cells = &m->cells;

	for (size_t i = 0; i < m->set.n; i++) {
		struct malloc_cell *c;

		if (!preload_usable(&m->set.v[i]) ||
		    (workload == MALLOC_HEAP && !m->set.v[i].has_heaps))
			continue;
		cells->v =
			bench_grow(cells->v, cells->n + 1, sizeof(*cells->v));
		c = &cells->v[cells->n++];
		memset(c, 0, sizeof(*c));
		c->workload = workload;
		c->allocator = &m->set.v[i];
		c->amount = amounts[workload][m->b->opt.effort];
		m->all_steps += rounds(m, workload) + warms_up(m);
	}
}

/* --- running -------------------------------------------------------------- */

static void run_round(struct malloc_bench *m, struct malloc_cell *v, size_t n,
		      bool keep)
{
	uint32_t *order = bench_alloc(n * sizeof(*order));
	uint64_t seed = bench_rng_next(&m->b->rng);

	for (size_t i = 0; i < n; i++)
		order[i] = (uint32_t)i;
	bench_rng_shuffle(&m->b->rng, order, n);
	for (size_t i = 0; i < n; i++) {
		struct malloc_cell *c = &v[order[i]];

		bench_progress(malloc_workload_names[c->workload], m->steps++,
			       m->all_steps);
		malloc_cell_run(c, seed, keep);
	}
	free(order);
}

/* Contents must be right whoever allocates, alignment where Ferry does: that
 * others have bugs is said. */
static int judge(struct bench *b, const struct malloc_cell *c)
{
	const char *workload = malloc_workload_names[c->workload];

	if (c->wrong) {
		bench_say(b, "%s, %s: %llu blocks had not their contents.",
			  workload, c->allocator->name,
			  (unsigned long long)c->wrong);
		return -EBADMSG;
	}
	if (c->misaligned)
		bench_say(b, "%s, %s: %llu blocks were not aligned as asked.",
			  workload, c->allocator->name,
			  (unsigned long long)c->misaligned);
	if (c->misaligned && !strcmp(c->allocator->name, "ferry"))
		return -EBADMSG;
	if (c->error)
		bench_say(b, "%s, %s: %s.", workload, c->allocator->name,
			  c->why);
	return c->error;
}

static int run_workload(struct malloc_bench *m,
			enum malloc_workload_id workload)
{
	size_t n = 0;
	struct malloc_cell *v = m->cells.v;
	int rc = 0;

	while (n < m->cells.n && v->workload != workload)
		v++, n++;
	for (n = 0; v + n < m->cells.v + m->cells.n; n++)
		if (v[n].workload != workload)
			break;
	if (warms_up(m))
		run_round(m, v, n, false);
	for (uint64_t i = 0; i < rounds(m, workload); i++)
		run_round(m, v, n, true);
	malloc_show(m->b, &m->cells, workload);
	for (size_t i = 0; i < n; i++) {
		int bad = judge(m->b, &v[i]);

		malloc_record(m->b, &v[i]);
		rc = rc ? rc : bad;
	}
	return rc;
}

static void explain(struct malloc_bench *m)
{
	bench_section(m->b, "Allocators");
	bench_say(m->b,
		  "The same workloads under several allocators, preloaded, "
		  "each run in a process of its own. Blocks carry contents "
		  "that are looked at before they are freed. \"CPU\" is user "
		  "and system time of all threads while the workload ran, "
		  "\"whole\" the same from the start of the process to its "
		  "end; ratios are of the latter, pair by pair, to jemalloc.");
	for (size_t i = 0; i < m->set.n; i++)
		if (m->set.v[i].why)
			bench_say(m->b, "%s is left out: %s.", m->set.v[i].name,
				  m->set.v[i].why);
}

static void fini(struct malloc_bench *m)
{
	for (size_t i = 0; i < m->cells.n; i++)
		malloc_cell_fini(&m->cells.v[i]);
	free(m->cells.v);
	preload_fini(&m->set);
}

static int run(struct bench *b)
{
	struct malloc_bench m = { .b = b };
	char err[256];
	int rc = read_options(&b->opt, &m, err, sizeof(err));

	if (rc < 0)
		goto out; /* not to be had: options were checked */
	preload_probe(&m.set);
	explain(&m);
	for (size_t i = 0; i < MALLOC_WORKLOADS; i++)
		if (m.workload[i])
			add_cells(&m, (enum malloc_workload_id)i);
	for (size_t i = 0; i < MALLOC_WORKLOADS; i++) {
		int bad = m.workload[i]
				  ? run_workload(&m, (enum malloc_workload_id)i)
				  : 0;

		rc = rc ? rc : bad;
	}
	malloc_plot(b, &m.cells, &m.set);
	malloc_set_targets(b, &m.cells, &m.set);
out:
	fini(&m);
	return rc;
}

const struct bench_cmd bench_cmd_malloc = {
	.name = "malloc",
	.summary = "allocators under the same workloads",
	.options = options,
	.check = check_options,
	.run = run,
};
