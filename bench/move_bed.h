/* SPDX-License-Identifier: MIT */
/* move_bed.h: the memory and the methods that `ferry-bench move' compares. */
#ifndef FERRY_BENCH_MOVE_BED_H
#define FERRY_BENCH_MOVE_BED_H

#include <ferry/ferry.h>

#include "bench.h"

enum move_method {
	MOVE_FERRY,
	MOVE_RAW,
	MOVE_UFFD_COPY,
	MOVE_MEMCPY_WARM,
	MOVE_MEMCPY_COLD,
	MOVE_MREMAP,
	MOVE_METHODS
};

extern const char *const move_method_names[MOVE_METHODS];

/* A stretch of live pages, in bytes from the start of the span. */
struct move_run {
	size_t at;
	size_t len;
};

/*
 * The ranges of a comparison, all of one length and all aligned to 2 MiB.
 * Every method starts from the same state: the pages of @src present except
 * for the holes, its destination as the method's name says. @src, @dst and
 * @copy_dst are registered, so that moves can go both ways.
 */
struct move_bed {
	bool huge;
	unsigned int holes; /* per cent of the pages of @src */
	size_t page;
	size_t span; /* bytes */
	uint64_t seed;

	struct ferry_uffd *uffd;
	bool emulated; /* no UFFDIO_MOVE: every call reads the mappings */
	int fd;
	enum ferry_reason refused; /* why there is no uffd */

	char *src;
	char *dst;
	char *copy_dst; /* of UFFDIO_COPY: @dst, or its own with huge pages:
			   a page table there would split every later move */
	char *warm;	/* resident */
	char *cold;	/* fresh in every round */
	char *map_src;	/* not registered: mremap would drop that */
	char *map_dst;

	bool *live;
	size_t nlive; /* pages */
};

/* What ferry_move() counted over a measurement. */
struct move_counts {
	uint64_t calls;
	uint64_t short_moves;
	uint64_t idle_retries;
	uint64_t busy_retries;
	uint64_t false_exist;
	uint64_t made_exclusive;
	uint64_t copied; /* pages */
};

void move_counts_add(struct move_counts *sum, const struct move_counts *c);

/*
 * The work that every method does: its part of the span in batches, one
 * window after the other, a window each time it is run. Windows keep a
 * sample so short that most are not interrupted on a busy machine, and are
 * small against a span that is larger than caches.
 */
struct move_work {
	struct move_bed *bed;
	enum move_method method;
	size_t batch; /* bytes */
	size_t at;    /* of the span: where this thread's part begins */
	size_t len;
	size_t window; /* bytes */
	size_t runs;   /* so far; chooses the window */
	size_t lo;     /* of the window that runs, from the start of the span */
	size_t hi;
	struct move_run *pieces; /* live runs of the window, cut at batches */
	size_t npieces;
	unsigned int repeat; /* passages per sample, found by the first */
	struct bench_samples passages; /* of the sample in work, ns */
	struct move_counts counts;
	enum ferry_move_method how; /* that ferry_move() used last */
};

/* @seed places the holes. The program ends when there is no memory. */
void move_bed_init(struct move_bed *bed, size_t span, bool huge,
		   unsigned int holes, uint64_t seed);
void move_bed_fini(struct move_bed *bed);

/* Whether every live page of the source holds what was put there. */
bool move_bed_intact(const struct move_bed *bed);

void move_work_init(struct move_work *w, struct move_bed *bed,
		    enum move_method method, size_t batch, size_t at,
		    size_t len);
void move_work_fini(struct move_work *w);

/*
 * Do the work and restore the state. Methods that restore it by working back
 * are repeated until a sample takes a millisecond; the first call finds out how
 * often.
 * @ret_ns: time of the work alone, for one passage over the window (the
 * median of several).
 * @ret_pages: live pages in it.
 * Returns 0 or a negative errno.
 */
int move_work_run(struct move_work *w, double *ret_ns, size_t *ret_pages);

#endif
