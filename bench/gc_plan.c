/* SPDX-License-Identifier: MIT */
/* gc_plan.c: options of ferry-bench gc. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gc_plan.h"
#include "util.h"

const char *const gc_workload_names[GC_WORKLOADS] = {
	[GC_OLDMUT] = "oldmut",	  [GC_FRAGMENT] = "fragment",
	[GC_GCBENCH] = "gcbench", [GC_BINARY_TREES] = "binary-trees",
	[GC_LEAF] = "leaf",	  [GC_CHAIN] = "chain",
	[GC_ALLOC] = "alloc",
};

const char *const gc_collector_names[GC_COLLECTORS] = {
	[GC_FERRY] = "ferry",
	[GC_FERRY_STW] = "ferry-stw",
	[GC_BDWGC] = "bdwgc",
	[GC_NONE] = "none",
};

const struct bench_option gc_options[] = {
	{ "workload", BENCH_TEXT, "LIST",
	  "oldmut,fragment,gcbench,binary-trees,leaf,chain,alloc" },
	{ "collector", BENCH_TEXT, "LIST", "ferry,ferry-stw,bdwgc,none" },
	{ "live", BENCH_TEXT, "LIST", "bytes live, such as 16M,1G,8G" },
	{ "mutators", BENCH_TEXT, "LIST", "threads, such as 1,2 (1)" },
	{ "heap", BENCH_TEXT, "X", "size of the heap, times live (2.5)" },
	{ "volume", BENCH_SIZE, "BYTES", "oldmut, alloc: to allocate" },
	{ "rounds", BENCH_SIZE, "N", "times that each run is made" },
	{ "roots", BENCH_TEXT, "HOW", "precise or conservative (precise)" },
	{ "frames", BENCH_SIZE, "N",
	  "conservative: stack frames below the work (100)" },
	{ "young", BENCH_SIZE, "BYTES",
	  "oldmut, each step: short-lived, allocated (3840)" },
	{ "churn", BENCH_SIZE, "N",
	  "oldmut, each step: old subtrees replaced (1)" },
	{ "mutations", BENCH_SIZE, "N",
	  "oldmut, each step: old subtrees exchanged (4)" },
	{ "work", BENCH_SIZE, "N",
	  "oldmut, each step: random numbers drawn (500)" },
	{ 0 },
};

int gc_parse_multiple(const char *s, double *ret_v)
{
	char *end;
	double v;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	errno = 0;
	v = strtod(s, &end);
	if (errno || *end || end == s || !isfinite(v) || v <= 0)
		return -EINVAL;
	*ret_v = v;
	return 0;
}

/* The next item of a list that commas separate; NULL at the end. */
static char *next_item(char **rest)
{
	return *rest ? strsep(rest, ",") : NULL;
}

int gc_parse_numbers(const char *s, uint64_t **ret_v, size_t *ret_n)
{
	char *copy = bench_strdup(s);
	char *rest = copy;
	uint64_t *v = NULL;
	size_t n = 0;
	char *item;
	int rc = 0;

	while (rc == 0 && (item = next_item(&rest))) {
		v = bench_grow(v, n + 1, sizeof(*v));
		rc = bench_parse_number(item, true, &v[n]);
		if (rc == 0 && v[n++] == 0)
			rc = -EINVAL;
	}
	free(copy);
	if (rc < 0) {
		free(v);
		return rc;
	}
	*ret_v = v;
	*ret_n = n;
	return 0;
}

static int find_name(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(name, names[i]))
			return (int)i;
	return -EINVAL;
}

int gc_parse_names(const char *s, const char *const *names, size_t n,
		   bool *ret_set)
{
	bool *set = bench_alloc(n * sizeof(*set));
	char *copy = bench_strdup(s);
	char *rest = copy;
	char *item;
	int i = 0;

	while (i >= 0 && (item = next_item(&rest))) {
		i = find_name(item, names, n);
		if (i >= 0)
			set[i] = true;
	}
	if (i >= 0)
		memcpy(ret_set, set, n * sizeof(*set));
	free(copy);
	free(set);
	return i < 0 ? i : 0;
}

static int refuse(const char *option, const char *wants, const char *text,
		  char *err, size_t err_size)
{
	snprintf(err, err_size, "--%s wants %s, not '%s'", option, wants, text);
	return -EINVAL;
}

static int read_sets(const struct bench_options *opt, struct gc_plan *p,
		     char *err, size_t err_size)
{
	const char *s = bench_option_text(opt, "workload");

	if (s &&
	    gc_parse_names(s, gc_workload_names, GC_WORKLOADS, p->workload) < 0)
		return refuse("workload", "names of workloads", s, err,
			      err_size);
	s = bench_option_text(opt, "collector");
	if (s && gc_parse_names(s, gc_collector_names, GC_COLLECTORS,
				p->collector) < 0)
		return refuse("collector", "names of collectors", s, err,
			      err_size);
	return 0;
}

static int read_lists(const struct bench_options *opt, struct gc_plan *p,
		      char *err, size_t err_size)
{
	const char *s = bench_option_text(opt, "live");

	if (s && gc_parse_numbers(s, &p->live, &p->nlive) < 0)
		return refuse("live", "sizes", s, err, err_size);
	s = bench_option_text(opt, "mutators");
	if (gc_parse_numbers(s ? s : "1", &p->mutators, &p->nmutators) < 0)
		return refuse("mutators", "numbers of threads", s, err,
			      err_size);
	return 0;
}

static int read_numbers(const struct bench_options *opt, struct gc_plan *p,
			char *err, size_t err_size)
{
	const char *s = bench_option_text(opt, "heap");
	struct gc_spec *spec = &p->spec;

	spec->heap = 2.5;
	if (s && (gc_parse_multiple(s, &spec->heap) < 0 || spec->heap < 1))
		return refuse("heap", "a number from 1 on", s, err, err_size);
	spec->volume = bench_option_size(opt, "volume", 0);
	spec->rates.young = bench_option_size(opt, "young", 3840);
	spec->rates.churn = bench_option_size(opt, "churn", 1);
	spec->rates.mutations = bench_option_size(opt, "mutations", 4);
	spec->rates.work = bench_option_size(opt, "work", 500);
	p->rounds = bench_option_size(opt, "rounds", 0);
	return 0;
}

static int read_roots(const struct bench_options *opt, struct gc_plan *p,
		      char *err, size_t err_size)
{
	const char *s = bench_option_text(opt, "roots");

	if (s && strcmp(s, "precise") && strcmp(s, "conservative"))
		return refuse("roots", "precise or conservative", s, err,
			      err_size);
	p->spec.ambiguous = s && !strcmp(s, "conservative");
	if (p->spec.ambiguous)
		p->spec.frames = bench_option_size(opt, "frames", 100);
	return 0;
}

int gc_plan_read(const struct bench_options *opt, struct gc_plan *ret_plan,
		 char *err, size_t err_size)
{
	struct gc_plan *p = ret_plan;
	int rc;

	memset(p, 0, sizeof(*p));
	memset(p->workload, true, sizeof(p->workload));
	memset(p->collector, true, sizeof(p->collector));
	p->spec.seed = opt->seed;
	rc = read_sets(opt, p, err, err_size);
	if (rc == 0)
		rc = read_lists(opt, p, err, err_size);
	if (rc == 0)
		rc = read_numbers(opt, p, err, err_size);
	if (rc == 0)
		rc = read_roots(opt, p, err, err_size);
	return rc;
}

void gc_plan_fini(struct gc_plan *plan)
{
	free(plan->live);
	free(plan->mutators);
	memset(plan, 0, sizeof(*plan));
}
