/* SPDX-License-Identifier: MIT */
/* gc_plan.h: which runs ferry-bench gc makes, read from its options. */
#ifndef FERRY_BENCH_GC_PLAN_H
#define FERRY_BENCH_GC_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "opts.h"

enum gc_workload_id {
	GC_OLDMUT,
	GC_FRAGMENT,
	GC_GCBENCH,
	GC_BINARY_TREES,
	GC_LEAF,
	GC_CHAIN,
	GC_ALLOC,
	GC_WORKLOADS
};

enum gc_collector_id {
	GC_FERRY,
	GC_FERRY_STW,
	GC_BDWGC,
	GC_NONE,
	GC_COLLECTORS
};

extern const char *const gc_workload_names[GC_WORKLOADS];
extern const char *const gc_collector_names[GC_COLLECTORS];

/* How much of what a step of oldmut does. */
struct gc_rates {
	uint64_t young;	    /* bytes allocated that die with the step */
	uint64_t churn;	    /* old subtrees of 480 bytes replaced */
	uint64_t mutations; /* pairs of old subtrees exchanged */
	uint64_t work;	    /* random numbers drawn */
};

/* One run: all that its process has to know. Passed between processes. */
struct gc_spec {
	enum gc_workload_id workload;
	enum gc_collector_id collector;
	uint64_t live; /* bytes */
	uint64_t mutators;
	double heap;	 /* size of the heap, in times of @live */
	uint64_t volume; /* oldmut, alloc: bytes to allocate at least */
	struct gc_rates rates;
	bool ambiguous;	 /* stacks scanned conservatively */
	uint64_t frames; /* that lie on each mutator's stack meanwhile */
	uint64_t seed;
	uint64_t limit_s; /* the process ends itself then */
};

/* What is to be run: each combination of the lists. */
struct gc_plan {
	bool workload[GC_WORKLOADS];
	bool collector[GC_COLLECTORS];
	uint64_t *live; /* NULL: a choice for each workload */
	size_t nlive;
	uint64_t *mutators;
	size_t nmutators;
	uint64_t rounds;     /* 0: by effort */
	struct gc_spec spec; /* what all have in common */
};

/* Options of the subcommand, ending with a name of NULL. */
extern const struct bench_option gc_options[];

/* A decimal number such as "2.5", greater than 0. Returns 0 or -EINVAL. */
int gc_parse_multiple(const char *s, double *ret_v);

/* Numbers with suffixes, separated by commas. 0, -EINVAL or -ERANGE. */
int gc_parse_numbers(const char *s, uint64_t **ret_v, size_t *ret_n);

/* Names out of @names[0..n), separated by commas, as ret_set[0..n).
 * Returns 0 or -EINVAL. */
int gc_parse_names(const char *s, const char *const *names, size_t n,
		   bool *ret_set);

/*
 * Reads the options. Returns 0, or -EINVAL with a sentence in @err that names
 * what is wrong. Undo with gc_plan_fini(), also after an error.
 */
int gc_plan_read(const struct bench_options *opt, struct gc_plan *ret_plan,
		 char *err, size_t err_size);
void gc_plan_fini(struct gc_plan *plan);

#endif
