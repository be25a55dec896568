/* SPDX-License-Identifier: MIT */
/*
 * compact.h: the parts of ferry-bench compact: real input as objects in an
 * arena, the compactors that are compared, and the threads that read
 * meanwhile.
 */
#ifndef FERRY_BENCH_COMPACT_H
#define FERRY_BENCH_COMPACT_H

#include <ferry/ferry.h>
#include <pthread.h>
#include <stdatomic.h>

#include "bench.h"

/* --- input and objects (compact_objects.c) -------------------------------- */

/* Files one after another, each beginning on a page. */
struct compact_input {
	char *bytes;
	size_t len;   /* whole pages */
	size_t files; /* of which there is something */
};

/*
 * Loads @paths (NULL: /usr/bin), each a file or a folder of files, until
 * @most bytes are there. Returns 0, or a negative errno after saying what
 * cannot be read; -ENODATA when nothing was there.
 */
int compact_input_load(struct bench *b, char **paths, size_t n, size_t most,
		       struct compact_input *ret);
void compact_input_fini(struct compact_input *input);

/* Objects that live on; what lies between them is freed. */
struct compact_object {
	size_t offset; /* in the input and in the source arena */
	size_t len;
	size_t packed; /* offset if all objects are laid end to end */
	uint64_t sum;  /* XXH3 of its bytes */
};

struct compact_pattern {
	struct compact_object *v;
	size_t n;
	size_t live; /* bytes */
};

/* How an input is cut: runs of pages that live, a quarter of all. */
struct compact_shape {
	const char *name; /* in names of results */
	const char *text; /* for people */
	size_t unit;	  /* bytes; runs and gaps are multiples of it */
	size_t mean;	  /* units of a run on average */
	bool huge;	  /* arenas of huge pages */
	bool headline;	  /* its figures stand for compaction as such */
};

void compact_pattern_make(struct bench_rng *rng,
			  const struct compact_shape *shape,
			  const struct compact_input *input,
			  struct compact_pattern *ret);
void compact_pattern_fini(struct compact_pattern *pattern);

uint64_t compact_sum(const void *bytes, size_t len);

/* --- one heap in a round (compact_heap.c) --------------------------------- */

enum compact_place {
	COMPACT_OLD,	/* objects are at their offset in the source */
	COMPACT_MAPPED, /* where the relocation map says */
	COMPACT_PACKED, /* end to end in the copy */
};

struct compact_heap {
	const struct compact_pattern *pattern;
	struct ferry_arena *arena; /* the source */
	const char *base;
	const struct ferry_compact *map;
	const char *copy;
	/* Written at the change-over, while every reader is stopped. */
	enum compact_place place;
};

/* Fills a source arena with the input and frees what does not live on. */
int compact_heap_make(const struct compact_input *input,
		      const struct compact_pattern *pattern, bool huge,
		      struct compact_heap *ret);
void compact_heap_fini(struct compact_heap *heap);

/* Are the object's bytes what they were? Follows it page run by page run. */
bool compact_heap_check(const struct compact_heap *heap, size_t object);

/* Memory of this process, from the kernel's tables: exact. */
struct compact_memory {
	size_t resident;
	size_t huge; /* in huge pages */
};
struct compact_memory compact_memory_get(void);

/* --- readers (compact_readers.c) ------------------------------------------ */

/* Latencies, in eight classes for each power of two. */
struct compact_histogram {
	uint64_t count[64 * 8];
	uint64_t total;
	uint64_t max; /* ns */
};

double compact_histogram_quantile(const struct compact_histogram *h, double q);
void compact_histogram_add(struct compact_histogram *to,
			   const struct compact_histogram *from);

struct compact_reader;

struct compact_readers {
	const struct compact_heap *heap;
	struct compact_reader *v;
	size_t n;
	/* Latencies are kept while it is set. Relaxed: a switch. */
	atomic_bool measuring;
	/* R1: set and cleared under the lock; readers look without it first. */
	atomic_bool pause;
	atomic_bool stop; /* relaxed: the join orders the rest */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t parked; /* under the lock */
};

void compact_readers_start(struct compact_readers *r,
			   const struct compact_heap *heap, size_t n,
			   struct bench_rng *rng);
/* Stops every reader between two objects; lets them go on. */
void compact_readers_pause(struct compact_readers *r);
void compact_readers_resume(struct compact_readers *r);
/* Ends them. @ret_bytes: verified while measuring. Returns wrong objects. */
size_t compact_readers_stop(struct compact_readers *r,
			    struct compact_histogram *ret_latency,
			    uint64_t *ret_bytes);

/* --- compactors (compact_work.c) ------------------------------------------ */

struct compact_work {
	struct compact_heap *heap;
	struct compact_readers *readers;
	bool huge;
	bool populate; /* memcpy: make destination pages ahead of copying */
	/* Results. */
	size_t copied;
	struct ferry_compact_result ferry;
	/* Kept till the end of the round. */
	struct ferry_compact *compact;
	struct ferry_arena *destination;
	char *copy;
	size_t copy_len;
};

/* Each does the whole work, change-over included. 0 or a negative errno. */
int compact_work_ferry(struct compact_work *w);
int compact_work_memcpy(struct compact_work *w);
void compact_work_fini(struct compact_work *w);

#endif
