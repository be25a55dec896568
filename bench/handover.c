/* SPDX-License-Identifier: MIT */
/*
 * handover.c: ferry-bench handover: memory that goes from one process to
 * another. Every run has two processes of its own; those that are compared
 * are made in turn, round by round.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gc_plan.h"
#include "handover.h"

#define MIB	 ((uint64_t)1 << 20)
#define HUGE_LEN (2 * MIB)

/* Bytes that a full run hands over by each way, within sensible rounds. */
#define FULL_VOLUME (5120 * MIB)

struct handover_bench {
	struct bench *b;
	bool way[HANDOVER_WAYS];
	bool pages[HANDOVER_PAGES];
	uint64_t *sizes;
	size_t nsizes;
	uint64_t rounds;
	struct handover_cells cells;
	size_t steps, all_steps;
};

/* clang-format off */
static const struct bench_option options[] = {
	{ "size", BENCH_TEXT, "LIST", "bytes, such as 64M,1G,4G" },
	{ "pages", BENCH_TEXT, "LIST", "4k,huge" },
	{ "way", BENCH_TEXT, "LIST",
	  "ferry-eager,ferry-lazy,ferry-copy,hand-loop,hand-map,pipe,"
	  "vm-readv-warm,vm-readv-new" },
	{ "rounds", BENCH_SIZE, "N", "times that each run is made" },
	{ 0 },
};
/* clang-format on */

/* --- options -------------------------------------------------------------- */

static int read_sizes(const char *text, struct handover_bench *h, char *err,
		      size_t err_size)
{
	bool whole = true;
	int rc = gc_parse_numbers(text, &h->sizes, &h->nsizes);

	for (size_t i = 0; rc == 0 && i < h->nsizes; i++)
		whole = whole && h->sizes[i] % HUGE_LEN == 0;
	if (rc == 0 && whole)
		return 0;
	snprintf(err, err_size, "--size wants multiples of 2M, not '%s'", text);
	return -EINVAL;
}

static int read_names(const struct bench_options *opt, const char *option,
		      const char *const *names, size_t n, bool *ret_set,
		      char *err, size_t err_size)
{
	const char *text = bench_option_text(opt, option);

	memset(ret_set, true, n * sizeof(*ret_set));
	if (!text || gc_parse_names(text, names, n, ret_set) == 0)
		return 0;
	snprintf(err, err_size, "--%s does not know all of '%s'", option, text);
	return -EINVAL;
}

static int read_options(const struct bench_options *opt,
			struct handover_bench *h, char *err, size_t err_size)
{
	static const char *const sizes[] = {
		[BENCH_TINY] = "16M",
		[BENCH_QUICK] = "32M,128M",
		[BENCH_FULL] = "64M,256M,1G",
	};
	const char *size = bench_option_text(opt, "size");
	int rc;

	h->rounds = bench_option_size(opt, "rounds", 0);
	rc = read_names(opt, "way", handover_way_names, HANDOVER_WAYS, h->way,
			err, err_size);
	if (rc == 0)
		rc = read_names(opt, "pages", handover_pages_names,
				HANDOVER_PAGES, h->pages, err, err_size);
	if (rc < 0)
		return rc;
	return read_sizes(size ? size : sizes[opt->effort], h, err, err_size);
}

static int check_options(const struct bench_options *opt, char *err,
			 size_t err_size)
{
	struct handover_bench h = { 0 };
	int rc = read_options(opt, &h, err, err_size);

	free(h.sizes);
	return rc;
}

/* --- what is to be run ---------------------------------------------------- */

static uint64_t rounds(const struct handover_bench *h, uint64_t size)
{
	uint64_t n = FULL_VOLUME / size;

	if (h->rounds)
		return h->rounds;
	if (n < 3)
		n = 3;
	return bench_pick(h->b, 1, 3, n < 7 ? n : 7);
}

/* The first round warms up, but for the shortest of runs. */
static bool warms_up(const struct handover_bench *h)
{
	return h->b->opt.effort != BENCH_TINY;
}

static void add_cell(struct handover_bench *h, uint64_t size,
		     enum handover_pages_id pages, enum handover_way_id way)
{
	struct handover_cells *cells = &h->cells;
	struct handover_cell *c;

	/* The kernel continues files by small pages. */
	if (pages == HANDOVER_HUGE && way == HANDOVER_LOOP)
		return;
	cells->v = bench_grow(cells->v, cells->n + 1, sizeof(*cells->v));
	c = &cells->v[cells->n++];
	memset(c, 0, sizeof(*c));
	c->size = size;
	c->pages = pages;
	c->way = way;
	h->all_steps += rounds(h, size) + warms_up(h);
}

/* Sender and receiver have the bytes at once, and something is to be left. */
static bool fits(uint64_t size)
{
	return size <= bench_memory_available() / 5 * 2;
}

static void add_cells(struct handover_bench *h, uint64_t size)
{
	if (!fits(size)) {
		char *text = handover_size_text(size);

		bench_say(h->b,
			  "%s are left out: there is not memory enough for "
			  "two times as much.",
			  text);
		free(text);
		return;
	}
	for (int pages = 0; pages < HANDOVER_PAGES; pages++)
		for (int way = 0; way < HANDOVER_WAYS; way++)
			if (h->pages[pages] && h->way[way])
				add_cell(h, size, (enum handover_pages_id)pages,
					 (enum handover_way_id)way);
}

/* --- running -------------------------------------------------------------- */

static void run_round(struct handover_bench *h, struct handover_cell *v,
		      size_t n, bool keep)
{
	uint32_t *order = bench_alloc(n * sizeof(*order));

	for (size_t i = 0; i < n; i++)
		order[i] = (uint32_t)i;
	bench_rng_shuffle(&h->b->rng, order, n);
	for (size_t i = 0; i < n; i++) {
		struct handover_cell *c = &v[order[i]];

		bench_progress(handover_way_names[c->way], h->steps++,
			       h->all_steps);
		handover_cell_run(c, bench_rng_next(&h->b->rng), keep);
	}
	free(order);
}

/* What this system does not have or allow is no failure of the bench. */
static bool is_absent(int error)
{
	return error == -EOPNOTSUPP || error == -EPERM || error == -ENOSYS ||
	       error == -EACCES;
}

static int judge(struct bench *b, const struct handover_cell *c)
{
	const char *way = handover_way_names[c->way];
	const char *pages = handover_pages_names[c->pages];

	if (c->wrong) {
		bench_say(b, "%s, %s: %llu pages had not their contents.", way,
			  pages, (unsigned long long)c->wrong);
		return -EBADMSG;
	}
	if (c->error && is_absent(c->error)) {
		bench_say(b, "%s, %s is left out: %s.", way, pages, c->why);
		return 0;
	}
	if (c->why[0])
		bench_say(b, "%s, %s: %s.", way, pages, c->why);
	return c->error;
}

/* The cells [v, v + n) are of one size and one kind of pages. */
static int run_group(struct handover_bench *h, struct handover_cell *v,
		     size_t n)
{
	int rc = 0;

	if (warms_up(h))
		run_round(h, v, n, false);
	for (uint64_t i = 0; i < rounds(h, v->size); i++)
		run_round(h, v, n, true);
	handover_show(h->b, v, n);
	for (size_t i = 0; i < n; i++) {
		int bad = judge(h->b, &v[i]);

		handover_record(h->b, &v[i]);
		rc = rc ? rc : bad;
	}
	return rc;
}

static int run_all(struct handover_bench *h)
{
	struct handover_cell *v = h->cells.v;
	size_t left = h->cells.n;
	int rc = 0;

	while (left) {
		size_t n = 1;
		int bad;

		while (n < left && v[n].size == v->size &&
		       v[n].pages == v->pages)
			n++;
		bad = run_group(h, v, n);
		rc = rc ? rc : bad;
		v += n;
		left -= n;
	}
	return rc;
}

static void explain(struct bench *b)
{
	bench_section(b, "From one process to another");
	bench_say(
		b,
		"One process has filled memory and another one is to have it. "
		"The ferry ways pass ownership: the sender has it no more. "
		"hand-map and hand-loop are the smallest that share a file: "
		"its descriptor is sent and mapped, and pages come when they "
		"are touched, by the kernel's own fault or by a thread that "
		"continues one page at a time through userfaultfd. The others "
		"copy and leave the memory the sender's; \"warm\" (and the "
		"pipe, of 1 MiB) into memory that the receiver has used "
		"before, \"new\" into fresh memory. On the clock is all from "
		"the sender's beginning to the later end of both, and for "
		"lazy ways until every page is there. Afterwards each byte is "
		"verified.");
}

/* The most that is handed over is wanted by both sides at once. */
static void warm(const struct handover_bench *h)
{
	uint64_t most = 0;

	for (size_t i = 0; i < h->cells.n; i++)
		if (h->cells.v[i].size > most)
			most = h->cells.v[i].size;
	if (most)
		bench_warm_memory(2 * most);
}

static int run(struct bench *b)
{
	struct handover_bench h = { .b = b };
	char err[256];
	int rc = read_options(&b->opt, &h, err, sizeof(err));

	if (rc < 0)
		goto out; /* not to be had: options were checked */
	explain(b);
	for (size_t i = 0; i < h.nsizes; i++)
		add_cells(&h, h.sizes[i]);
	warm(&h);
	rc = run_all(&h);
	handover_plot(b, &h.cells);
	handover_set_targets(b, &h.cells);
out:
	for (size_t i = 0; i < h.cells.n; i++)
		handover_cell_fini(&h.cells.v[i]);
	free(h.cells.v);
	free(h.sizes);
	return rc;
}

const struct bench_cmd bench_cmd_handover = {
	.name = "handover",
	.summary = "memory from one process to another",
	.options = options,
	.check = check_options,
	.run = run,
};
