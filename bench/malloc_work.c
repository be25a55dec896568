/* SPDX-License-Identifier: MIT */
/* malloc_work.c: the process of a run of ferry-bench malloc. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "malloc.h"
#include "malloc_work.h"

static malloc_work_fn *const workloads[MALLOC_WORKLOADS] = {
	[MALLOC_CHURN] = malloc_work_churn,
	[MALLOC_QUEUE] = malloc_work_queue,
	[MALLOC_THREADS] = malloc_work_threads,
	[MALLOC_REALLOC] = malloc_work_realloc,
	[MALLOC_LARGE] = malloc_work_large,
	[MALLOC_GROW] = malloc_work_grow,
	[MALLOC_START] = malloc_work_start,
	[MALLOC_FORK] = malloc_work_fork,
	[MALLOC_HEAP] = malloc_work_heap,
};

/* A run that takes longer has hung. */
#define LIMIT_S 120

/* The clocks, and how far they had come. */
static double wall_begin, cpu_begin;
static double wall, cpu;

/* CPU time of this process and of children that it waited for. */
static double cpu_now(void)
{
	struct rusage self, children;

	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	return preload_cpu(&self) + preload_cpu(&children);
}

static double wall_now(void)
{
	return (double)bench_now() * 1e-9;
}

void malloc_work_begin(void)
{
	cpu_begin = cpu_now();
	wall_begin = wall_now();
	wall = 0;
}

void malloc_work_end(void)
{
	if (wall > 0)
		return;
	wall = wall_now() - wall_begin;
	cpu = cpu_now() - cpu_begin;
}

static int find_workload(const char *name)
{
	for (int i = 0; i < MALLOC_WORKLOADS; i++)
		if (!strcmp(malloc_workload_names[i], name))
			return i;
	return -EINVAL;
}

static int read_arguments(int argc, char **argv, int *ret_workload,
			  struct malloc_work *ret_work)
{
	if (argc != 3)
		return -EINVAL;
	*ret_workload = find_workload(argv[0]);
	if (*ret_workload < 0 ||
	    bench_parse_number(argv[1], false, &ret_work->amount) < 0 ||
	    bench_parse_number(argv[2], false, &ret_work->rng.state) < 0)
		return -EINVAL;
	return 0;
}

int malloc_work_main(int argc, char **argv)
{
	struct malloc_outcome out = { 0 };
	struct malloc_work w = { 0 };
	int workload;

	out.error = read_arguments(argc, argv, &workload, &w);
	if (out.error < 0)
		bench_die("%s wants: WORKLOAD AMOUNT SEED",
			  MALLOC_WORK_ARGUMENT);
	alarm(LIMIT_S);
	malloc_work_begin();
	out.error = workloads[workload](&w);
	malloc_work_end();
	out.wall = wall;
	out.cpu = cpu;
	out.wrong = w.wrong;
	out.misaligned = w.misaligned;
	out.peak = preload_peak_rss();
	if (out.error)
		snprintf(out.why, sizeof(out.why), "%s", strerror(-out.error));
	if (!preload_report(&out, sizeof(out)))
		return EXIT_FAILURE;
	return out.error || out.wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
