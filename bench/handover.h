/* SPDX-License-Identifier: MIT */
/*
 * handover.h: ferry-bench handover: memory that goes from one process to
 * another, by several ways, each run between two processes of its own.
 */
#ifndef FERRY_BENCH_HANDOVER_H
#define FERRY_BENCH_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench.h"

enum handover_way_id {
	HANDOVER_EAGER,	  /* ferry, every page installed at once */
	HANDOVER_LAZY,	  /* ferry, pages when they are touched */
	HANDOVER_COPY,	  /* ferry, of a private arena */
	HANDOVER_LOOP,	  /* by hand: UFFDIO_CONTINUE of a page on fault */
	HANDOVER_MAP,	  /* by hand: the file is mapped, and no more */
	HANDOVER_PIPE,	  /* into memory that was used before */
	HANDOVER_VM_WARM, /* process_vm_readv into such memory */
	HANDOVER_VM_NEW,  /* the same, into fresh memory */
	HANDOVER_WAYS
};

extern const char *const handover_way_names[HANDOVER_WAYS];

enum handover_pages_id { HANDOVER_4K, HANDOVER_HUGE, HANDOVER_PAGES };

extern const char *const handover_pages_names[HANDOVER_PAGES];

/* Whether pages come when they are touched: first accesses are timed then. */
static inline bool handover_is_lazy(enum handover_way_id way)
{
	return way == HANDOVER_LAZY || way == HANDOVER_LOOP ||
	       way == HANDOVER_MAP;
}

enum handover_metric {
	HANDOVER_WHOLE, /* from the begin until all is there, s */
	HANDOVER_START, /* from the begin until the receiver goes on, s */
	HANDOVER_GIVEN, /* from the begin until the sender goes on, s */
	HANDOVER_PASS,	/* reading a word of each page afterwards, s */
	HANDOVER_P50,	/* of first accesses, us; of lazy ways only */
	HANDOVER_P99,
	HANDOVER_HUGE_SHARE, /* of what was received, in huge pages */
	HANDOVER_METRICS
};

struct handover_metric_info {
	const char *name;
	const char *unit;
};

extern const struct handover_metric_info handover_metrics[HANDOVER_METRICS];

/* What the processes of a run tell. */
struct handover_outcome {
	int error;	/* negative errno, or 0 */
	char why[120];	/* beside an error; or what is to be known */
	uint64_t wrong; /* pages without their contents */
	double v[HANDOVER_METRICS];
};

/* All rounds of one way with one size and one kind of pages. */
struct handover_cell {
	enum handover_way_id way;
	enum handover_pages_id pages;
	uint64_t size;
	struct bench_samples metric[HANDOVER_METRICS];
	uint64_t wrong;
	int error; /* of the first round that failed */
	char why[120];
};

/*
 * Makes one run and adds it to @c, unless one failed before. @keep: else it
 * warmed up, and only failures and wrong contents are kept.
 */
void handover_cell_run(struct handover_cell *c, uint64_t seed, bool keep);
void handover_cell_fini(struct handover_cell *c);

/* Those of one size and kind of pages lie together. */
struct handover_cells {
	struct handover_cell *v;
	size_t n;
};

/* The cell if it was measured, or NULL. */
const struct handover_cell *handover_find(const struct handover_cells *cells,
					  enum handover_way_id way,
					  enum handover_pages_id pages,
					  uint64_t size);

/* Tables, results, plots, figures to reach. (handover_show.c) */
void handover_show(struct bench *b, const struct handover_cell *v, size_t n);
void handover_record(struct bench *b, const struct handover_cell *c);
void handover_plot(struct bench *b, const struct handover_cells *cells);
void handover_set_targets(struct bench *b, const struct handover_cells *cells);

/* 64M, 1G: as --size takes it; the caller frees the string. */
char *handover_size_text(uint64_t size);

#endif
