/* SPDX-License-Identifier: MIT */
/* malloc_cell.c: a run in a process of its own, and what comes back from it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "malloc.h"
#include "malloc_work.h"

const char *const malloc_workload_names[MALLOC_WORKLOADS] = {
	[MALLOC_CHURN] = "churn",     [MALLOC_QUEUE] = "queue",
	[MALLOC_THREADS] = "threads", [MALLOC_REALLOC] = "realloc",
	[MALLOC_LARGE] = "large",     [MALLOC_GROW] = "grow",
	[MALLOC_START] = "start",     [MALLOC_FORK] = "fork",
	[MALLOC_HEAP] = "heap",
};

const struct malloc_metric_info malloc_metrics[MALLOC_METRICS] = {
	[MALLOC_WALL] = { "wall_s", "s" },
	[MALLOC_CPU] = { "cpu_s", "s" },
	[MALLOC_WHOLE_CPU] = { "whole_cpu_s", "s" },
	[MALLOC_EACH] = { "each_us", "us" },
	[MALLOC_PEAK] = { "peak_rss_bytes", "bytes" },
};

static void add(struct malloc_cell *c, const struct malloc_outcome *o,
		const struct rusage *whole)
{
	const double v[MALLOC_METRICS] = {
		[MALLOC_WALL] = o->wall,
		[MALLOC_CPU] = o->cpu,
		[MALLOC_WHOLE_CPU] = preload_cpu(whole),
		[MALLOC_EACH] = o->wall * 1e6 / (double)c->amount,
		[MALLOC_PEAK] = (double)o->peak,
	};

	for (size_t i = 0; i < MALLOC_METRICS; i++)
		bench_samples_add(&c->metric[i], v[i]);
}

static int run(struct malloc_cell *c, uint64_t seed,
	       struct malloc_outcome *ret_out, struct rusage *ret_whole)
{
	char *amount = bench_asprintf("%llu", (unsigned long long)c->amount);
	char *text = bench_asprintf("%llu", (unsigned long long)seed);
	const char *const argv[] = {
		"/proc/self/exe",
		MALLOC_WORK_ARGUMENT,
		malloc_workload_names[c->workload],
		amount,
		text,
		NULL,
	};
	const struct preload heaps = preload_heaps(c->allocator);
	struct preload_child child;
	int rc = preload_start(c->workload == MALLOC_HEAP ? &heaps
							  : c->allocator,
			       argv, NULL, false, &child);
	bool whole;
	int status;

	free(amount);
	free(text);
	if (rc < 0)
		return rc;
	whole = preload_read_report(&child, ret_out, sizeof(*ret_out));
	status = preload_wait(&child, ret_whole);
	if (!whole || (status && !ret_out->error && !ret_out->wrong)) {
		char *end = preload_end_text(status);

		snprintf(ret_out->why, sizeof(ret_out->why), "%s", end);
		free(end);
		return -EPROTO;
	}
	return ret_out->error;
}

void malloc_cell_run(struct malloc_cell *c, uint64_t seed, bool keep)
{
	struct malloc_outcome out;
	struct rusage whole;

	if (c->error)
		return;
	memset(&out, 0, sizeof(out));
	c->error = run(c, seed, &out, &whole);
	c->wrong += out.wrong;
	c->misaligned += out.misaligned;
	if (c->error)
		snprintf(c->why, sizeof(c->why), "%s",
			 out.why[0] ? out.why : strerror(-c->error));
	else if (keep)
		add(c, &out, &whole);
}

void malloc_cell_fini(struct malloc_cell *c)
{
	for (size_t i = 0; i < MALLOC_METRICS; i++)
		bench_samples_fini(&c->metric[i]);
}

const struct malloc_cell *malloc_find(const struct malloc_cells *cells,
				      enum malloc_workload_id workload,
				      const struct preload *allocator)
{
	for (size_t i = 0; i < cells->n; i++)
		if (cells->v[i].workload == workload &&
		    cells->v[i].allocator == allocator)
			return &cells->v[i];
	return NULL;
}
