/* SPDX-License-Identifier: MIT */
/* fault.c: ferry-bench fault: how long a thread waits for an absent page. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ferry/ferry.h>

#include "bench.h"
#include "hand.h"

#define NAROUND	   4
#define MAX_WINDOW 512	/* pages */
#define SPAN_PAGES 8192 /* of the served range */
#define MAX_FAULTS 2048 /* per case and round */

static const size_t around_pages[NAROUND] = { 1, 16, 64, MAX_WINDOW };

enum { SIGBUS_MODE, THREAD_MODE, MODES };
enum { OP_MOVE, OP_COPY, OPS };
enum { FERRY, HAND, METHODS };

static const char *const mode_names[MODES] = { "sigbus", "thread" };

/* The quantiles that are reported, and where they lie in a plot. */
static const struct {
	const char *name;
	double q;
	double x; /* one in so many */
} quantiles[] = {
	{ "p50", 0.5, 2 },	  { "p90", 0.9, 10 },	 { "p99", 0.99, 100 },
	{ "p99.9", 0.999, 1000 }, { "max", 1.0, 10000 },
};

#define NQUANTILES BENCH_ARRAY_LEN(quantiles)

/* Ranges that all cases use in turn. */
struct fault_bed {
	size_t page;
	size_t len;
	char *dst;	 /* served */
	char *src;	 /* what it gets */
	uint32_t *order; /* of the windows; room for MAX_FAULTS and more */
	struct bench_rng rng;
	bool emulated; /* no UFFDIO_MOVE */
	size_t steps;  /* for the progress bar */
	size_t all_steps;
};

/* One case: one way of serving, measured over all rounds. */
struct fault_case {
	struct fault_bed *bed;
	bool kernel; /* the kernel's own fault on ordinary memory */
	int mode;
	int op;
	int method;
	size_t window;			     /* pages */
	struct ferry_fault_service *service; /* while it runs, for FERRY */
	unsigned int runs;
	struct bench_samples latency;  /* of each fault, ns */
	struct bench_samples median;   /* fault of each round, ns */
	struct bench_samples per_page; /* median of each round, ns */
	uint64_t faults;	       /* that the service counted */
	double q[NQUANTILES];
	enum ferry_reason reason; /* why it could not be had */
};

static void supply(void *arg, const struct ferry_fault *fault,
		   struct ferry_supply *s)
{
	const struct fault_case *c = arg;

	(void)fault;
	s->kind = c->op == OP_MOVE ? FERRY_SUPPLY_MOVE : FERRY_SUPPLY_COPY;
	s->src = c->bed->src + s->offset;
}

static int start_ferry(struct fault_case *c)
{
	struct ferry_fault_params p = FERRY_INIT(struct ferry_fault_params);
	int rc;

	p.mode = c->mode == SIGBUS_MODE ? FERRY_FAULT_SIGBUS
					: FERRY_FAULT_THREAD;
	p.around = c->window;
	rc = ferry_fault_service_create(&p, &c->reason, &c->service);
	if (rc < 0)
		return rc;
	rc = ferry_fault_attach(c->service, c->bed->dst, c->bed->len, supply, c,
				&c->reason);
	if (rc < 0)
		ferry_fault_service_destroy(c->service);
	return rc;
}

static int stop_ferry(struct fault_case *c)
{
	struct ferry_fault_stats st = FERRY_INIT(struct ferry_fault_stats);

	if (ferry_fault_service_stats(c->service, &st) == 0)
		c->faults += st.faults;
	ferry_fault_service_destroy(c->service);
	return 0;
}

static int start(struct fault_case *c)
{
	struct hand_params p = { .thread = c->mode == THREAD_MODE,
				 .copy = c->op == OP_COPY,
				 .window = c->window * c->bed->page,
				 .dst = c->bed->dst,
				 .src = c->bed->src,
				 .len = c->bed->len };

	if (c->kernel)
		return 0;
	return c->method == FERRY ? start_ferry(c) : hand_start(&p, &c->reason);
}

static int stop(struct fault_case *c)
{
	if (c->kernel)
		return 0;
	return c->method == FERRY ? stop_ferry(c) : hand_stop();
}

static size_t windows(const struct fault_case *c)
{
	size_t n = SPAN_PAGES / c->window;
	size_t most = MAX_FAULTS;

	if (c->bed->emulated && c->op == OP_MOVE && !c->kernel)
		most /= 64; /* every move reads the mappings */
	return n < most ? n : most;
}

/* What one pass over the range measured of each window, in ns. */
struct pass {
	struct bench_samples latency; /* of the touch that faults */
	struct bench_samples window;  /* of touching every page */
};

/* Touch a page of @w, which faults; then its other pages. */
static void touch_window(const struct fault_case *c, size_t w,
			 struct pass *pass)
{
	size_t page = c->bed->page;
	volatile char *p = c->bed->dst + w * c->window * page;
	uint64_t begin = bench_now();
	uint64_t end;

	if (c->kernel)
		*p = 1; /* a read would get the shared zero page */
	else
		(void)*p;
	end = bench_now();
	bench_samples_add(&pass->latency, (double)(end - begin));
	for (size_t i = 1; i < c->window; i++)
		(void)p[i * page];
	if (c->window > 1)
		end = bench_now();
	bench_samples_add(&pass->window, (double)(end - begin));
}

static bool contents_right(const struct fault_case *c)
{
	size_t step = c->window * c->bed->page;

	for (size_t i = 0; i < windows(c) && !c->kernel; i++)
		if (!bench_page_filled(c->bed->dst, c->bed->order[i] * step, 1))
			return false;
	return true;
}

static void keep(struct fault_case *c, const struct pass *pass)
{
	double window = bench_samples_quantile(&pass->window, 0.5);

	if (c->runs++ == 0) /* warm-up */
		return;
	for (size_t i = 0; i < pass->latency.n; i++)
		bench_samples_add(&c->latency, pass->latency.v[i]);
	bench_samples_add(&c->median,
			  bench_samples_quantile(&pass->latency, 0.5));
	bench_samples_add(&c->per_page, window / (double)c->window);
}

static void prepare(struct fault_case *c)
{
	struct fault_bed *bed = c->bed;
	size_t n = SPAN_PAGES / c->window;

	bench_populate(bed->src, bed->len);
	bench_fill(bed->src, bed->len, 1);
	for (size_t i = 0; i < n; i++)
		bed->order[i] = (uint32_t)i;
	bench_rng_shuffle(&bed->rng, bed->order, n);
}

static int run_case(void *arg, double *ret_v)
{
	struct pass pass = { 0 };
	struct fault_case *c = arg;
	bool right;
	int rc;

	bench_progress("serving faults", c->bed->steps++, c->bed->all_steps);
	prepare(c);
	rc = start(c);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < windows(c); i++)
		touch_window(c, c->bed->order[i], &pass);
	right = contents_right(c);
	rc = stop(c);
	madvise(c->bed->dst, c->bed->len, MADV_DONTNEED);
	keep(c, &pass);
	bench_samples_fini(&pass.latency);
	bench_samples_fini(&pass.window);
	*ret_v = 0; /* kept in the case, as there is more than one value */
	return right ? rc : -EIO;
}

static void bed_init(struct fault_bed *bed, uint64_t seed)
{
	bed->page = (size_t)sysconf(_SC_PAGESIZE);
	bed->len = SPAN_PAGES * bed->page;
	bench_warm_memory(3 * bed->len);
	bed->src = bench_pool_get(bed->len, false);
	bed->dst = bench_reserve(bed->len, false);
	bed->order = bench_alloc(SPAN_PAGES * sizeof(*bed->order));
	bed->rng.state = seed;
}

static void bed_fini(struct fault_bed *bed)
{
	bench_pool_put(bed->src, bed->len, false);
	bench_unmap(bed->dst, bed->len);
	free(bed->order);
}

/* All cases: [mode][op][around][method], and the kernel's own fault. */
struct fault_bench {
	struct bench *b;
	struct fault_bed bed;
	struct fault_case c[MODES][OPS][NAROUND][METHODS];
	struct fault_case kernel;
};

#define NCASES (MODES * OPS * NAROUND * METHODS + 1)

static void init_cases(struct fault_bench *f, struct bench_case *cases)
{
	struct fault_case *c = &f->c[0][0][0][0];

	for (size_t i = 0; i < NCASES - 1; i++) {
		c[i].method = (int)(i % METHODS);
		c[i].window = around_pages[i / METHODS % NAROUND];
		c[i].op = (int)(i / METHODS / NAROUND % OPS);
		c[i].mode = (int)(i / METHODS / NAROUND / OPS);
		c[i].bed = &f->bed;
		cases[i] = (struct bench_case){ .run = run_case, .arg = &c[i] };
	}
	f->kernel = (struct fault_case){ .kernel = true,
					 .window = 1,
					 .bed = &f->bed };
	cases[NCASES - 1] =
		(struct bench_case){ .run = run_case, .arg = &f->kernel };
}

/* Without a working MOVE the hand-written service has nothing to move by. */
static void drop_impossible(struct fault_bench *f, struct bench_case *cases)
{
	f->bed.emulated = !bench_machine_moves();
	if (!f->bed.emulated)
		return;
	bench_say(f->b, "UFFDIO_MOVE does not work here, so the hand-written "
			"service is measured with UFFDIO_COPY only.");
	for (size_t i = 0; i < NCASES - 1; i++) {
		const struct fault_case *c = cases[i].arg;

		if (c->op == OP_MOVE && c->method == HAND)
			cases[i].error = -EOPNOTSUPP;
	}
}

static char *case_name(const struct fault_case *c)
{
	if (c->kernel)
		return bench_strdup("fault/mode=kernel/around=1");
	return bench_asprintf("fault/mode=%s/around=%zu%s%s",
			      mode_names[c->mode], c->window,
			      c->op == OP_COPY ? "/op=copy" : "",
			      c->method == HAND ? "/method=hand" : "");
}

static void record(struct fault_bench *f, struct fault_case *c)
{
	struct bench_stat st = bench_samples_stat(&c->latency);
	char *name = case_name(c);
	double q[NQUANTILES];
	json_t *r;

	for (size_t i = 0; i < NQUANTILES; i++)
		q[i] = quantiles[i].q;
	bench_samples_quantiles(&c->latency, q, NQUANTILES, c->q);
	r = bench_result(f->b, &st, "ns", "%s", name);
	for (size_t i = 0; i < NQUANTILES - 1; i++)
		bench_field(r, quantiles[i].name, c->q[i]);
	st = bench_samples_stat(&c->per_page);
	bench_result(f->b, &st, "ns/page", "%s/per_page", name);
	free(name);
}

static void row(struct bench_table *t, const struct fault_case *c,
		const char *mode, const char *op, const char *method)
{
	struct bench_stat per_page = bench_samples_stat(&c->per_page);
	char text[32];

	if (!c->latency.n)
		return;
	bench_cell(t, "%s", mode);
	bench_cell(t, "%s", op);
	bench_cell(t, "%s", method);
	bench_cell(t, "%zu", c->window);
	for (size_t i = 0; i < NQUANTILES; i++) {
		bench_format(c->q[i] / 1000, text, sizeof(text));
		bench_cell(t, "%s", text);
	}
	bench_format(per_page.value / 1000, text, sizeof(text));
	bench_cell(t, "%s", text);
}

static void show(struct fault_bench *f)
{
	struct bench_table *t = bench_table_new(
		"One fault, in microseconds; last column: per page of the "
		"window",
		"mode", "op", "method", "around", "p50", "p90", "p99", "p99.9",
		"max", "per page", NULL);
	struct fault_case *c = &f->c[0][0][0][0];

	row(t, &f->kernel, "kernel", "fresh", "-");
	for (size_t i = 0; i < NCASES - 1; i++)
		row(t, &c[i], mode_names[c[i].mode],
		    c[i].op == OP_MOVE ? "move" : "copy",
		    c[i].method == FERRY ? "ferry" : "hand");
	bench_show(f->b, t);
}

/* The ratio of each round of @a to the same round of @base. */
static struct bench_stat ratio(const struct bench_samples *a,
			       const struct bench_samples *base, double scale)
{
	struct bench_stat st = bench_paired_ratio(a, base);

	st.value *= scale;
	st.min *= scale;
	st.max *= scale;
	return st;
}

static void set_targets(struct fault_bench *f)
{
	struct fault_case(*sigbus)[METHODS] = f->c[SIGBUS_MODE][OP_MOVE];
	struct bench_target t = { .sense = BENCH_AT_MOST, .unit = "x" };

	t.name = (char *)"fault/ratio/mode=sigbus/around=1/ferry_to_hand";
	t.text = (char *)"SIGBUS fault, one page, p50: ferry / hand-written";
	t.limit = 1.15;
	t.got = ratio(&sigbus[0][FERRY].median, &sigbus[0][HAND].median, 1);
	bench_target(f->b, &t);
	t.name = (char *)"fault/ratio/mode=sigbus/around=64/page_to_fault";
	t.text = (char *)"SIGBUS, around 64: per page / p50 of one page";
	t.limit = 0.05;
	t.got = ratio(&sigbus[2][FERRY].per_page, &sigbus[0][FERRY].median, 1);
	bench_target(f->b, &t);
}

static void add_tail(struct bench_plot *p, const char *label,
		     unsigned int colour, const struct fault_case *c)
{
	bench_plot_series(p, label, colour);
	for (size_t i = 0; i < NQUANTILES && c->latency.n; i++) {
		struct bench_stat st = bench_stat_of(c->q[i]);

		bench_plot_point(p, quantiles[i].x, &st);
	}
}

static void plot_tail(struct fault_bench *f)
{
	struct bench_plot *p = bench_plot_new(
		"fault-tail", BENCH_LINES,
		"One page by fault: from the median to the worst",
		"share of faults that were quicker", "ns per fault");

	for (size_t i = 0; i < NQUANTILES; i++)
		bench_plot_tick(p, quantiles[i].x, quantiles[i].name);
	add_tail(p, "sigbus ferry", 0, &f->c[SIGBUS_MODE][OP_MOVE][0][FERRY]);
	add_tail(p, "sigbus hand", 1, &f->c[SIGBUS_MODE][OP_MOVE][0][HAND]);
	add_tail(p, "thread ferry", 2, &f->c[THREAD_MODE][OP_MOVE][0][FERRY]);
	add_tail(p, "thread hand", 3, &f->c[THREAD_MODE][OP_MOVE][0][HAND]);
	add_tail(p, "kernel", 6, &f->kernel);
	bench_plot(f->b, p);
}

static void plot_around(struct fault_bench *f)
{
	static const char *const label[MODES][OPS] = {
		{ "sigbus move", "sigbus copy" },
		{ "thread move", "thread copy" },
	};
	struct bench_plot *p = bench_plot_new(
		"fault-around", BENCH_LINES,
		"What a page costs when a fault brings its neighbours",
		"pages brought by one fault", "ns per page");

	for (unsigned int mode = 0; mode < MODES; mode++) {
		for (unsigned int op = 0; op < OPS; op++) {
			struct fault_case(*c)[METHODS] = f->c[mode][op];

			bench_plot_series(p, label[mode][op], mode * 2 + op);
			for (size_t i = 0; i < NAROUND; i++) {
				struct bench_stat st = bench_samples_stat(
					&c[i][FERRY].per_page);

				bench_plot_point(p, (double)around_pages[i],
						 &st);
			}
		}
	}
	bench_plot(f->b, p);
}

/* How many cases failed as @first did, itself included. */
static size_t count_alike(const struct bench_case *cases, size_t first)
{
	const struct fault_case *c = cases[first].arg;
	size_t n = 0;

	for (size_t i = 0; i < NCASES; i++) {
		const struct fault_case *other = cases[i].arg;

		if (cases[i].error != cases[first].error ||
		    other->reason != c->reason)
			continue;
		if (i < first)
			return 0; /* said already */
		n++;
	}
	return n;
}

static void say_errors(struct fault_bench *f, const struct bench_case *cases)
{
	for (size_t i = 0; i < NCASES; i++) {
		const struct fault_case *c = cases[i].arg;
		size_t n = cases[i].error ? count_alike(cases, i) : 0;
		char *name;

		if (!n || cases[i].error == -EOPNOTSUPP)
			continue;
		name = case_name(c);
		bench_say(f->b,
			  "%s and %zu other measurements were not to be had: "
			  "%s (%s).",
			  name, n - 1, strerror(-cases[i].error),
			  ferry_reason_string(c->reason));
		free(name);
	}
}

static void explain(struct bench *b)
{
	bench_section(b, "Serving faults");
	bench_say(
		b,
		"A thread touches a page that is absent; how long until it "
		"goes on? In SIGBUS mode the thread serves itself in a signal "
		"handler, in thread mode a handler thread is woken. Each "
		"fault brings a window of 1 to 512 pages, by moving or by "
		"copying. The hand-written service is the smallest that does "
		"the same: one range, one system call, no care for races. "
		"\"kernel\" is an ordinary first write to fresh memory, for scale.");
}

static void fini_cases(struct fault_bench *f, struct bench_case *cases)
{
	for (size_t i = 0; i < NCASES; i++) {
		struct fault_case *c = cases[i].arg;

		bench_samples_fini(&c->latency);
		bench_samples_fini(&c->median);
		bench_samples_fini(&c->per_page);
	}
	bench_cases_fini(cases, NCASES);
	bed_fini(&f->bed);
}

static int run(struct bench *b)
{
	struct fault_bench *f = bench_alloc(sizeof(*f));
	struct bench_case cases[NCASES] = { 0 };
	size_t rounds = bench_pick(b, 5, 12, 60);

	f->b = b;
	explain(b);
	bed_init(&f->bed, b->opt.seed);
	f->bed.all_steps = (rounds + 1) * NCASES;
	init_cases(f, cases);
	drop_impossible(f, cases);
	bench_rounds(b, cases, NCASES, rounds,
		     bench_pick(b, 2000, 12000, 60000));
	for (size_t i = 0; i < NCASES; i++)
		record(f, cases[i].arg);
	show(f);
	say_errors(f, cases);
	set_targets(f);
	plot_tail(f);
	plot_around(f);
	fini_cases(f, cases);
	free(f);
	return 0;
}

const struct bench_cmd bench_cmd_fault = {
	.name = "fault",
	.summary = "how long a thread waits for an absent page",
	.run = run,
};
