/* SPDX-License-Identifier: MIT */
/*
 * compact.c: ferry-bench compact: page compaction of real input, against a
 * compactor that copies.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compact.h"

#define MIB ((size_t)1 << 20)

static const struct compact_shape shapes[] = {
	{ "pages", "single pages", 4096, 1, false, false },
	{ "runs8", "runs of 8 pages", 4096, 8, false, true },
	{ "thp", "huge pages", 2 * MIB, 1, true, false },
};

#define SHAPES BENCH_ARRAY_LEN(shapes)

static const struct compact_method {
	const char *name;
	const char *text;
	int (*work)(struct compact_work *w);
	bool populate;
} methods[] = {
	{ "ferry", "Ferry", compact_work_ferry, false },
	{ "memcpy", "memcpy, pages made ahead", compact_work_memcpy, true },
	{ "memcpy_touch", "memcpy, pages made by faults", compact_work_memcpy,
	  false },
};

enum { FERRY, MEMCPY, METHODS = BENCH_ARRAY_LEN(methods) };

/* What is learnt beside the time. Samples of the warm-up are left out. */
struct extras {
	size_t rounds;
	struct bench_samples copied, before, after, huge_before, huge_after;
	struct bench_samples rate; /* bytes that readers verified in a second */
	struct compact_histogram latency;
	size_t wrong; /* objects, of all rounds */
	struct ferry_compact_result last;
};

/* One method on one shape with so many readers. */
struct job {
	struct bench *b;
	const struct compact_input *input;
	const struct compact_pattern *pattern;
	const struct compact_shape *shape;
	const struct compact_method *method;
	size_t readers;
	struct extras extras;
};

/* --- one round ------------------------------------------------------------ */

static double share(size_t part, size_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

static void keep_memory(struct extras *x, struct compact_memory base,
			struct compact_memory before,
			struct compact_memory after)
{
	size_t had = before.resident - base.resident;
	size_t has = after.resident - base.resident;

	bench_samples_add(&x->before, (double)had);
	bench_samples_add(&x->after, (double)has);
	bench_samples_add(&x->huge_before,
			  100 * share(before.huge - base.huge, had));
	bench_samples_add(&x->huge_after,
			  100 * share(after.huge - base.huge, has));
}

static size_t check_all(const struct compact_heap *heap)
{
	size_t wrong = 0;

	for (size_t i = 0; i < heap->pattern->n; i++)
		wrong += !compact_heap_check(heap, i);
	return wrong;
}

/* The work on the clock, with readers around it. */
static int timed_work(struct job *job, struct compact_work *w, bool keep,
		      double *ret_seconds)
{
	struct compact_histogram latency;
	struct extras *x = &job->extras;
	uint64_t start, end, bytes;
	int r;

	compact_readers_start(w->readers, w->heap, job->readers, &job->b->rng);
	usleep(2000); /* till they run */
	atomic_store_explicit(&w->readers->measuring, true,
			      memory_order_relaxed);
	start = bench_now();
	r = job->method->work(w);
	end = bench_now();
	atomic_store_explicit(&w->readers->measuring, false,
			      memory_order_relaxed);
	x->wrong += compact_readers_stop(w->readers, &latency, &bytes);
	*ret_seconds = (double)(end - start) * 1e-9;
	if (!keep)
		return r;
	compact_histogram_add(&x->latency, &latency);
	bench_samples_add(&x->rate, (double)bytes / *ret_seconds);
	bench_samples_add(&x->copied, (double)w->copied);
	x->last = w->ferry;
	return r;
}

static int run_heap(struct job *job, struct compact_memory base,
		    struct compact_heap *heap, double *ret_v)
{
	struct compact_memory before = compact_memory_get();
	struct extras *x = &job->extras;
	struct compact_readers readers;
	struct compact_work w = {
		.heap = heap,
		.readers = &readers,
		.huge = job->shape->huge,
		.populate = job->method->populate,
	};
	bool keep = x->rounds++ > 0;
	int r = timed_work(job, &w, keep, ret_v);

	x->wrong += check_all(heap);
	ferry_compact_destroy(w.compact);
	w.compact = NULL;
	if (keep)
		keep_memory(x, base, before, compact_memory_get());
	compact_work_fini(&w);
	return r;
}

static int run_job(void *arg, double *ret_v)
{
	struct job *job = arg;
	struct compact_memory base = compact_memory_get();
	struct compact_heap heap;
	int r;

	r = compact_heap_make(job->input, job->pattern, job->shape->huge,
			      &heap);
	if (r < 0)
		return r;
	r = run_heap(job, base, &heap, ret_v);
	compact_heap_fini(&heap);
	return r;
}

/* --- telling -------------------------------------------------------------- */

static struct bench_stat scaled(const struct bench_samples *s, double by)
{
	struct bench_stat st = bench_samples_stat(s);

	st.value *= by;
	st.min *= by;
	st.max *= by;
	return st;
}

static void record_as(struct job *job, const struct bench_case *c,
		      const char *name)
{
	struct extras *x = &job->extras;
	struct bench_stat st = bench_samples_stat(&c->samples);
	json_t *res;

	res = bench_result(job->b, &st, "s", "%s", name);
	bench_field(res, "thp_before",
		    bench_samples_stat(&x->huge_before).value);
	bench_field(res, "thp_after", bench_samples_stat(&x->huge_after).value);
	bench_field(res, "rss_before", bench_samples_stat(&x->before).value);
	bench_field(res, "reader_p50_ns",
		    compact_histogram_quantile(&x->latency, 0.5));
	bench_field(res, "reader_p99_ns",
		    compact_histogram_quantile(&x->latency, 0.99));
	bench_field(res, "reader_max_ns", (double)x->latency.max);
	bench_field(res, "reader_bytes_per_s",
		    bench_samples_stat(&x->rate).value);
	bench_field(res, "faults", (double)x->last.faults);
	bench_field(res, "calls", (double)x->last.calls);
	st = bench_samples_stat(&x->copied);
	bench_result(job->b, &st, "bytes_copied", "%s", name);
	st = bench_samples_stat(&x->after);
	bench_result(job->b, &st, "rss_bytes", "%s", name);
}

static void record_case(struct job *job, const struct bench_case *c)
{
	char name[96];

	snprintf(name, sizeof(name), "compact/%s/readers=%zu/method=%s",
		 job->shape->name, job->readers, job->method->name);
	record_as(job, c, name);
	if (!job->shape->headline || !job->readers)
		return;
	/* The same under the short name, for those who want one figure. */
	snprintf(name, sizeof(name), "compact/method=%s", job->method->name);
	record_as(job, c, name);
}

static void add_row(struct bench_table *t, const struct job *job,
		    const struct bench_case *c, const struct bench_case *ferry)
{
	const struct extras *x = &job->extras;
	struct bench_stat ms = scaled(&c->samples, 1e3);
	struct bench_stat ratio =
		bench_paired_ratio(&c->samples, &ferry->samples);

	bench_cell(t, "%s", job->method->text);
	bench_cell_stat(t, &ms);
	bench_cell(t, "%.2f", ratio.value);
	bench_cell(t, "%.1f", scaled(&x->copied, 1.0 / (double)MIB).value);
	bench_cell(t, "%.1f", scaled(&x->before, 1.0 / (double)MIB).value);
	bench_cell(t, "%.1f", scaled(&x->after, 1.0 / (double)MIB).value);
	bench_cell(t, "%.0f", bench_samples_stat(&x->huge_before).value);
	bench_cell(t, "%.0f", bench_samples_stat(&x->huge_after).value);
	bench_cell(t, "%.3f", job->readers ? (double)x->latency.max * 1e-6 : 0);
	bench_cell(t, "%.0f", scaled(&x->rate, 1.0 / (double)MIB).value);
}

static void show_cases(struct bench *b, struct job *jobs,
		       const struct bench_case *cases)
{
	char *caption = bench_asprintf("%s, %zu MiB live, %zu reader%s",
				       jobs->shape->text,
				       jobs->pattern->live / MIB, jobs->readers,
				       jobs->readers == 1 ? "" : "s");
	struct bench_table *t = bench_table_new(
		caption, "method", "ms", "min..max", "x Ferry", "copied MiB",
		"RSS before", "after", "THP % before", "after",
		"longest look ms", "readers MiB/s", NULL);

	for (size_t i = 0; i < METHODS; i++) {
		if (cases[i].error)
			bench_say(b, "%s: %s.", methods[i].text,
				  strerror(-cases[i].error));
		else
			add_row(t, &jobs[i], &cases[i], &cases[FERRY]);
		record_case(&jobs[i], &cases[i]);
	}
	bench_show(b, t);
	free(caption);
}

static void plot_cases(struct bench *b, const struct job *jobs,
		       const struct bench_case *cases)
{
	char *name = bench_asprintf("compact-%s%s", jobs->shape->name,
				    jobs->readers ? "" : "-quiet");
	char *title = bench_asprintf("Making %s dense, %s", jobs->shape->text,
				     jobs->readers ? "while threads read"
						   : "nothing else runs");
	struct bench_plot *p =
		bench_plot_new(name, BENCH_DOTS, title, "milliseconds", "");

	for (size_t i = 0; i < METHODS; i++) {
		struct bench_stat ms = scaled(&cases[i].samples, 1e3);

		if (!ms.n)
			continue;
		bench_plot_series(p, methods[i].text, (unsigned int)i);
		bench_plot_point(p, 0, &ms);
	}
	bench_plot(b, p);
	free(title);
	free(name);
}

/* --- figures to reach ----------------------------------------------------- */

static void target(struct bench *b, const char *name, const char *shape,
		   const char *text, enum bench_sense sense, double limit,
		   const char *unit, struct bench_stat got)
{
	struct bench_target t = {
		.name = bench_asprintf("compact/%s/%s", shape, name),
		.text = bench_asprintf("%s: %s", shape, text),
		.sense = sense,
		.limit = limit,
		.unit = unit,
		.got = got,
	};

	bench_target(b, &t);
	free(t.name);
	free(t.text);
}

/* Against both ways of copying: as one would write it, and the quickest. */
static void set_ratios(struct bench *b, const struct job *jobs,
		       const struct bench_case *cases, double speed)
{
	const char *when = jobs->readers ? "" : "/quiet";
	char *name, *text;

	for (size_t i = MEMCPY; i < METHODS; i++) {
		name = bench_asprintf("ratio/%s_to_ferry%s", methods[i].name,
				      when);
		text = bench_asprintf("%s / Ferry%s", methods[i].text,
				      jobs->readers ? "" : ", no readers");
		target(b, name, jobs->shape->name, text, BENCH_AT_LEAST, speed,
		       "x",
		       bench_paired_ratio(&cases[i].samples,
					  &cases[FERRY].samples));
		free(name);
		free(text);
	}
}

static void set_targets(struct bench *b, const struct job *jobs,
			const struct bench_case *cases, double speed)
{
	const struct extras *x = &jobs[FERRY].extras;
	const char *shape = jobs->shape->name;
	struct bench_stat st;

	if (speed > 0)
		set_ratios(b, jobs, cases, speed);
	if (!jobs->readers)
		return;
	target(b, "bytes_copied", shape, "bytes copied by Ferry", BENCH_AT_MOST,
	       0, "bytes", bench_samples_stat(&x->copied));
	st = scaled(&x->after, 100.0 / (double)jobs->pattern->live);
	target(b, "rss", shape, "RSS after, of live bytes", BENCH_AT_MOST, 101,
	       "%", st);
	target(b, "reader_max", shape, "longest look of a reader",
	       BENCH_AT_MOST, 5, "ms",
	       bench_stat_of((double)x->latency.max * 1e-6));
}

/* --- the command ---------------------------------------------------------- */

static void extras_fini(struct extras *x)
{
	bench_samples_fini(&x->copied);
	bench_samples_fini(&x->before);
	bench_samples_fini(&x->after);
	bench_samples_fini(&x->huge_before);
	bench_samples_fini(&x->huge_after);
	bench_samples_fini(&x->rate);
}

static int verdict(struct bench *b, const struct job *jobs)
{
	int r = 0;

	for (size_t i = 0; i < METHODS; i++) {
		if (!jobs[i].extras.wrong)
			continue;
		bench_say(b, "%s: %zu objects did not have their bytes.",
			  methods[i].text, jobs[i].extras.wrong);
		r = -EBADMSG;
	}
	return r;
}

static int compare(struct bench *b, const struct compact_input *input,
		   const struct compact_shape *shape, size_t readers,
		   double speed)
{
	struct bench_case cases[METHODS] = { 0 };
	struct job *jobs;
	struct compact_pattern pattern;
	int r;

	compact_pattern_make(&b->rng, shape, input, &pattern);
	if (!pattern.n) {
		bench_say(b,
			  "%s: the input is too small for anything to live "
			  "on.",
			  shape->text);
		compact_pattern_fini(&pattern);
		return 0;
	}
	jobs = bench_alloc(METHODS * sizeof(*jobs));
	memset(jobs, 0, METHODS * sizeof(*jobs));
	for (size_t i = 0; i < METHODS; i++) {
		jobs[i] = (struct job){ b,	     input,   &pattern, shape,
					&methods[i], readers, { 0 } };
		cases[i].run = run_job;
		cases[i].arg = &jobs[i];
	}
	bench_rounds(b, cases, METHODS, bench_pick(b, 5, 5, 15),
		     bench_pick(b, 300, 1500, 12000));
	show_cases(b, jobs, cases);
	plot_cases(b, jobs, cases);
	set_targets(b, jobs, cases, speed);
	r = verdict(b, jobs);
	for (size_t i = 0; i < METHODS; i++)
		extras_fini(&jobs[i].extras);
	bench_cases_fini(cases, METHODS);
	compact_pattern_fini(&pattern);
	free(jobs);
	return r;
}

static size_t most_bytes(const struct bench *b)
{
	size_t most = bench_pick(b, 32, 96, 512) * MIB;

	/* Input, arena and copy at once, with as much again to spare. */
	if (most > b->machine.memory / 8)
		most = b->machine.memory / 8;
	most = bench_option_size(&b->opt, "size", most);
	return most < 2 * MIB ? 2 * MIB : most & ~(2 * MIB - 1);
}

static int compare_all(struct bench *b, const struct compact_input *input)
{
	/* Times that Ferry is to be faster, by shape. */
	static const double speed[SHAPES] = { 2, 5, 0 };
	size_t readers = bench_option_size(&b->opt, "readers", 1);
	int r = 0;

	for (size_t i = 0; i < SHAPES && !r; i++) {
		bench_progress(shapes[i].text, i, SHAPES);
		r = compare(b, input, &shapes[i], readers, speed[i]);
		if (!r && readers)
			r = compare(b, input, &shapes[i], 0, speed[i]);
	}
	return r;
}

static int run(struct bench *b)
{
	struct compact_input input;
	int r;

	bench_section(b, "Page compaction");
	r = compact_input_load(b, b->opt.operands, b->opt.noperands,
			       most_bytes(b), &input);
	if (r < 0)
		return r;
	bench_say(b,
		  "%zu files, %zu MiB, lie in an arena as objects of whole "
		  "pages; three quarters of them are freed, in three patterns. "
		  "What lives on is made dense: by Ferry, which moves the "
		  "pages, and by copying into fresh memory and dropping the "
		  "old. Threads read objects at random meanwhile and verify "
		  "each against its XXH3.",
		  input.files, input.len / MIB);
	bench_warm_memory(2 * input.len);
	r = compare_all(b, &input);
	compact_input_fini(&input);
	return r;
}

static const struct bench_option options[] = {
	{ "size", BENCH_SIZE, "BYTES", "input to load at most" },
	{ "readers", BENCH_SIZE, "N", "threads that verify meanwhile (1)" },
	{ NULL, BENCH_FLAG, NULL, NULL },
};

const struct bench_cmd bench_cmd_compact = {
	.name = "compact",
	.summary = "sparse arenas made dense, against copying",
	.operands = "[FILE]...",
	.options = options,
	.run = run,
};
