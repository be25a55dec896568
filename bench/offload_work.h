/* SPDX-License-Identifier: MIT */
/*
 * offload_work.h: the processes of ferry-bench offload: how they report, and
 * the values that they keep.
 */
#ifndef FERRY_BENCH_OFFLOAD_WORK_H
#define FERRY_BENCH_OFFLOAD_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "offload.h"

/* "--offload-work WORK BYTES MILLISECONDS SEED". */
#define OFFLOAD_WORK_ARGUMENT "--offload-work"
int offload_work_main(int argc, char **argv);

struct offload_work {
	size_t bytes;
	uint64_t ms; /* how long it rests or works */
	struct bench_rng rng;
};

/* Each returns 0 or a negative errno. */
typedef int offload_work_fn(struct offload_work *w);

offload_work_fn offload_work_idle;
offload_work_fn offload_work_zipf;
offload_work_fn offload_work_zipf_scattered;
offload_work_fn offload_work_scan;
offload_work_fn offload_work_fault;
offload_work_fn offload_work_fork;	/* half of it is to become cold */
offload_work_fn offload_work_fork_warm; /* nothing is */
offload_work_fn offload_work_swap;
offload_work_fn offload_work_hand_thread;
offload_work_fn offload_work_hand_sigbus;

/* --- reports -------------------------------------------------------------- */

/* Waits until who watches has looked. */
void offload_phase(enum offload_phase phase);
void offload_metric(enum offload_metric m, double v);
void offload_wrong(uint64_t n);
__attribute__((format(printf, 1, 2))) void offload_absent(const char *fmt, ...);

/* --- values --------------------------------------------------------------- */

/*
 * 200 bytes: 24 words of text as programs keep it (names, words, numbers; lz4
 * makes about half of it) and a word by which a wrong byte is noticed.
 */
#define OFFLOAD_WORDS 25
#define OFFLOAD_VALUE (8 * OFFLOAD_WORDS)

void offload_value_make(uint64_t *value, uint64_t id);

/* Changes it, as a program would that counts something in it. */
void offload_value_touch(uint64_t *value, uint64_t id);
bool offload_value_right(const uint64_t *value, uint64_t id);

struct offload_table {
	uint64_t **v; /* each allocated by itself */
	size_t n;
};

/* As many values as @bytes hold. Returns 0 or -ENOMEM. */
int offload_table_make(size_t bytes, struct offload_table *ret);
void offload_table_free(struct offload_table *t);

/* Reads everything; returns how many values are wrong. */
uint64_t offload_table_wrong(const struct offload_table *t);

/* --- pages ---------------------------------------------------------------- */

/* Pages with values, in the order of addresses. */
struct offload_pages {
	char **v;
	size_t n;
};

/* Those of the values [from, to). */
void offload_pages_of(const struct offload_table *t, size_t from, size_t to,
		      struct offload_pages *ret);

/* Those of @len bytes at @addr. */
void offload_pages_in(char *addr, size_t len, struct offload_pages *ret);
void offload_pages_free(struct offload_pages *p);

/* Whether the page is in memory. */
bool offload_present(const char *page);

/*
 * Waits until nearly all are absent. False after a while: the share that is
 * still there is said as absent ability of the run.
 */
bool offload_wait_cold(const struct offload_pages *p, uint64_t ms);

/* Touches absent pages in random order, and reports how long that took.
 * Writes nothing: contents stay. */
void offload_measure_faults(const struct offload_pages *p,
			    struct bench_rng *rng);

#endif
