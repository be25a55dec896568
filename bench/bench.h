/* SPDX-License-Identifier: MIT */
/*
 * bench.h: the frame of ferry-bench. A subcommand is one struct bench_cmd in
 * the table of main.c; its run() measures with the rounds of this header,
 * tells what it found through bench_say(), bench_show() and bench_plot(), and
 * leaves results and targets. DESIGN.md says how to add one.
 */
#ifndef FERRY_BENCH_H
#define FERRY_BENCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "doc.h"
#include "machine.h"
#include "opts.h"
#include "plot.h"
#include "stats.h"
#include "util.h"

/* One run of the program. */
struct bench {
	const struct bench_cmd *cmd; /* that runs now; the tour changes it */
	struct bench_options opt;
	struct bench_rng rng; /* seeded by opt.seed before each subcommand */
	struct bench_machine machine;
	struct bench_doc doc;
	json_t *results; /* array */
};

struct bench_cmd {
	const char *name;
	const char *summary;  /* one line for the help */
	const char *operands; /* NULL: takes none; else for the usage line */
	const struct bench_option *options; /* its own, or NULL */
	bool composite; /* runs others, which show their own targets */
	/* Reads its own options; -EINVAL with a sentence that names what is
	 * wrong. NULL: there is nothing that could be. */
	int (*check)(const struct bench_options *opt, char *err,
		     size_t err_size);
	/*
	 * Returns 0 or a negative errno after saying what failed. What the
	 * kernel does not have is said (bench_say) and is no failure.
	 */
	int (*run)(struct bench *b);
};

/* All subcommands, ending with NULL (main.c). */
extern const struct bench_cmd *const bench_commands[];

const struct bench_cmd *bench_find_command(const char *name);

extern const struct bench_cmd bench_cmd_features;
extern const struct bench_cmd bench_cmd_move;
extern const struct bench_cmd bench_cmd_fault;
extern const struct bench_cmd bench_cmd_dirty;
extern const struct bench_cmd bench_cmd_compact;
extern const struct bench_cmd bench_cmd_lookup;
extern const struct bench_cmd bench_cmd_gc;
extern const struct bench_cmd bench_cmd_malloc;
extern const struct bench_cmd bench_cmd_offload;
extern const struct bench_cmd bench_cmd_policy;
extern const struct bench_cmd bench_cmd_handover;
extern const struct bench_cmd bench_cmd_tour;

/* Run @cmd as part of another one, with its own options left at default. */
int bench_run_command(struct bench *b, const struct bench_cmd *cmd,
		      enum bench_effort effort);

/* One of three numbers, by the effort asked for. */
uint64_t bench_pick(const struct bench *b, uint64_t tiny, uint64_t quick,
		    uint64_t full);

/* Begin a section of the output; say a paragraph. */
void bench_section(struct bench *b, const char *title);
__attribute__((format(printf, 2, 3))) void bench_say(struct bench *b,
						     const char *fmt, ...);

/* Print a table and keep it; keep a plot. Both take ownership. */
void bench_show(struct bench *b, struct bench_table *t);
void bench_plot(struct bench *b, struct bench_plot *p);

/*
 * Record a result for the JSON file. Returns the object, to which fields
 * such as "p99" may be added (bench_field); it belongs to @b.
 * Nothing is recorded for a stat without samples (returns NULL).
 */
__attribute__((format(printf, 4, 5))) json_t *
bench_result(struct bench *b, const struct bench_stat *st, const char *unit,
	     const char *name_fmt, ...);

/* Add a number or a string to a result; a NULL @result is passed over. */
void bench_field(json_t *result, const char *key, double v);
void bench_field_text(json_t *result, const char *key, const char *text);

/*
 * Record a figure to reach, and the measured value as a result of that name
 * with unit "ratio" (or t->unit if that is not "x"). Strings are copied.
 */
void bench_target(struct bench *b, const struct bench_target *t);

/*
 * Progress on a terminal: @done of @total steps of @what. Shown on standard
 * error only when that is a terminal; bench_progress_end() wipes it.
 */
void bench_progress(const char *what, size_t done, size_t total);
void bench_progress_end(void);

/*
 * One way of doing the work, measured against the others.
 */
struct bench_case {
	const char *name;
	/*
	 * Do the work once and leave behind the state in which it began.
	 * @ret_v: what was measured, in the unit of the comparison; only the
	 * work itself is on the clock, not restoring the state.
	 * Returns 0 or a negative errno (the case is then dropped).
	 */
	int (*run)(void *arg, double *ret_v);
	void *arg;
	struct bench_samples samples; /* one for each round */
	int error;		      /* why it was dropped, or 0 */
};

/*
 * Interleaved A/B rounds: every round runs each case once, in an order
 * shuffled anew from b->rng; the first round warms up and is not kept. Ends
 * after @rounds; earlier when @budget_ms is used up and five rounds are done,
 * or five times @budget_ms and one round. Samples of one round have the same index in every case
 * that was not dropped.
 */
void bench_rounds(struct bench *b, struct bench_case *cases, size_t n,
		  size_t rounds, uint64_t budget_ms);
void bench_cases_fini(struct bench_case *cases, size_t n);

/*
 * Memory for measuring, from a pool: 2 MiB aligned, private, anonymous, not
 * inherited over fork (a fork would make its pages shared, hence unmovable),
 * every page present and written to. Ranges are recycled, so that one handed
 * out again is backed by memory that the host has long since provided: on
 * virtual machines the first touch of a page can cost ten times the second.
 * @huge: by transparent huge pages where the system gives them; else never.
 * Ends the program when there is no memory.
 */
void *bench_pool_get(size_t len, bool huge);

/*
 * Give a range back. It must be mapped as it was got: unregistered, readable
 * and writable, but holes are allowed (they are filled).
 */
void bench_pool_put(void *addr, size_t len, bool huge);

/* Unmap what is in the pool. */
void bench_pool_drain(void);

/* Address space alone, 2 MiB aligned, like the pool's but with no page. */
void *bench_reserve(size_t len, bool huge);
void bench_unmap(void *addr, size_t len);

/* Touch and free @len bytes, so that the kernel has warm pages to give. */
void bench_warm_memory(size_t len);

/* Make every page of the range present; contents stay. */
void bench_populate(void *addr, size_t len);

/* Bytes of the range that lie in huge pages, from /proc/self/smaps. */
size_t bench_huge_bytes(const void *addr, size_t len);

/* A number over each page of @len bytes, never 0: contents to verify. */
void bench_fill(void *addr, size_t len, uint64_t seed);

/* Whether the page at @addr + @at holds what bench_fill(@addr) put there. */
bool bench_page_filled(const void *addr, size_t at, uint64_t seed);

#endif
