/* SPDX-License-Identifier: MIT */
/* gc_work.c: the list of workloads, compiled for one collector. */
#include "gc_mem.h"

extern const struct gc_workload GC_NAME(gc_oldmut);
extern const struct gc_workload GC_NAME(gc_fragment);
extern const struct gc_workload GC_NAME(gc_gcbench);
extern const struct gc_workload GC_NAME(gc_binary_trees);
extern const struct gc_workload GC_NAME(gc_leaf);
extern const struct gc_workload GC_NAME(gc_chain);
extern const struct gc_workload GC_NAME(gc_alloc);

const struct gc_workload *const GC_NAME(gc_workloads)[] = {
	&GC_NAME(gc_oldmut),  &GC_NAME(gc_fragment),
	&GC_NAME(gc_gcbench), &GC_NAME(gc_binary_trees),
	&GC_NAME(gc_leaf),    &GC_NAME(gc_chain),
	&GC_NAME(gc_alloc),   NULL,
};
