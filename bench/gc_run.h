/* SPDX-License-Identifier: MIT */
/*
 * gc_run.h: inside the process of one run: the collector, the workload, and
 * the mutators between them.
 */
#ifndef FERRY_BENCH_GC_RUN_H
#define FERRY_BENCH_GC_RUN_H

#include <pthread.h>
#include <stdatomic.h>

#include "gc.h"

struct ferry_mutator;
struct gc_run;

/* Slots of a mutator that are roots for as long as it runs. */
#define GC_ROOTS 4

/*
 * Memory that collector `none' allocates from: a long range of which pages
 * appear when they are touched.
 */
struct gc_strip {
	char *base;
	char *next;
	char *end;
};

/* A mutator. */
struct gc_thread {
	/* Of the collectors, each its own; used by the inline calls. */
	struct ferry_mutator *ferry;
	struct gc_strip strip[2]; /* none: kept, and scratch */
	unsigned int scratch;	  /* none: which of them */
	void *freed;		  /* none: list of nodes */

	unsigned int until; /* nodes to allocate before the next tick */
	void *root[GC_ROOTS];
	struct gc_run *run;
	unsigned int index;
	struct bench_rng rng;
	struct gc_meter meter;
	/* ns that what it did so far takes normally; relaxed: a progress
	 * report that the sampler reads */
	atomic_uint_fast64_t normal;
	uint64_t ops;	 /* as counted by the workload */
	uint64_t wrong;	 /* objects without their contents */
	uint64_t size;	 /* of the workload's own unit, set by it */
	double value[2]; /* ns of an allocation: median and mean */
	pthread_t thread;
};

/* What a collector has done so far. */
struct gc_counters {
	uint64_t collections;
	uint64_t bytes_copied;
	uint64_t bytes_moved;
	uint64_t demand_faults; /* on pages under way in a compaction */
	uint64_t stalls;	/* allocations that waited */
};

struct gc_collector {
	/*
	 * Makes the heap, of @limit bytes at most. Returns 0, or a negative
	 * errno with a sentence in @why.
	 */
	int (*create)(struct gc_run *run, size_t limit, char *why, size_t size);
	void (*destroy)(struct gc_run *run);
	/* The calling thread becomes a mutator; t->root are roots. */
	int (*attach)(struct gc_thread *t);
	void (*detach)(struct gc_thread *t);
	/* The thread waits for others, and touches no object meanwhile. */
	void (*wait_begin)(struct gc_thread *t);
	void (*wait_end)(struct gc_thread *t);
	/* A full collection, over when it returns. By a mutator. */
	void (*collect)(struct gc_thread *t);
	/* Give back all memory that can be. By the first thread, which is no
	 * mutator. */
	void (*compact)(struct gc_run *run);
	void (*counters)(struct gc_run *run, struct gc_counters *ret);
	/*
	 * Looks for mistakes in all of the heap, while mutators wait. Returns
	 * 0, or a negative errno with a sentence in @why. Or NULL.
	 */
	int (*verify)(struct gc_run *run, char *why, size_t size);
};

extern const struct gc_collector gc_collector_ferry;
extern const struct gc_collector gc_collector_bdwgc;
extern const struct gc_collector gc_collector_none;

/*
 * A workload, as one collector's inline calls make it. Each part but drive()
 * is done by all mutators, which wait for each other between parts.
 */
struct gc_workload {
	enum gc_workload_id id;
	void (*setup)(struct gc_thread *t); /* what is live */
	void (*learn)(struct gc_thread *t); /* some of each operation */
	void (*work)(struct gc_thread *t);  /* what is measured */
	void (*check)(struct gc_thread *t); /* is everything there? */
	/* Meanwhile, by the first thread; ends by run->stop. Or NULL. */
	void (*drive)(struct gc_run *run);
	/* Some object of the mutator's, to lie about on its stack. Or NULL. */
	void *(*any)(struct gc_thread *t);
};

/* The workloads compiled for one collector, ending with NULL. */
extern const struct gc_workload *const gc_workloads_ferry[];
extern const struct gc_workload *const gc_workloads_ambiguous[];
extern const struct gc_workload *const gc_workloads_bdwgc[];
extern const struct gc_workload *const gc_workloads_none[];

struct gc_run {
	struct gc_spec spec;
	struct gc_outcome out;
	const struct gc_collector *collector;
	const struct gc_workload *workload;
	void *heap; /* the collector's */
	struct gc_thread *threads;
	pthread_barrier_t barrier; /* mutators and the first thread */
	atomic_bool stop;	   /* relaxed: a switch */

	/* Pauses in us; added to by the collector, in the stopped world. */
	pthread_mutex_t lock;
	struct bench_samples pauses;
	bool measuring;

	/* The phase that is measured. */
	uint64_t begin, end; /* bench_now() */
	double cpu_begin;
	uint64_t faults_begin;
	struct gc_counters counters_begin;

	/* Memory over time. */
	struct gc_moment *moments;
	size_t nmoments;
};

/* A pause of so many ns. Any thread. Returns whether it counts. */
bool gc_pause_note(struct gc_run *run, uint64_t ns);

/* More to be said of the run: at the end of its note. */
__attribute__((format(printf, 2, 3))) void gc_note(struct gc_run *run,
						   const char *fmt, ...);

/* The heap has no room for what the workload needs: the run's error. */
__attribute__((noreturn)) void gc_out_of_heap(struct gc_thread *t);

/* The run fails with this sentence. */
__attribute__((noreturn, format(printf, 3, 4))) void
gc_fail(struct gc_run *run, int error, const char *fmt, ...);

/* CPU time of this process, of a thread, in s. */
double gc_cpu_now(void);
double gc_thread_cpu(pthread_t thread);

/* Bytes of this process that are resident, now; the most since it began or
 * since gc_rss_reset(). */
size_t gc_rss_now(void);
size_t gc_rss_peak(void);
void gc_rss_reset(void);

/*
 * Samples memory and CPU every two milliseconds, in a thread of its own, as
 * run->moments. CPU is what the process took beyond what the operations of
 * its mutators take normally.
 */
struct gc_sampler;
struct gc_sampler *gc_sampler_start(struct gc_run *run);
/* From now on is 0 ms. */
void gc_sampler_mark(struct gc_sampler *s);
void gc_sampler_stop(struct gc_sampler *s);

#endif
