/* SPDX-License-Identifier: MIT */
/*
 * Marking while the program runs: rounds over what it has written meanwhile.
 * All by who runs the collection.
 */
#ifndef FERRY_RUNTIME_ROUNDS_H
#define FERRY_RUNTIME_ROUNDS_H

#include <stdbool.h>
#include <stdint.h>

struct ferry_heap;

/* What the last full collection tells the next; by the collector. */
struct ferry__rounds {
	double hot; /* share of pages that is written while a full one marks */
	uint64_t mark_ns; /* its first round took */
};

/* Traces what is queued, all markers together. */
void ferry__rounds_drain(struct ferry_heap *heap);

/* Marks until what is left for the final pause is little. */
void ferry__rounds_run(struct ferry_heap *heap);

/* Traces what lies in blocks retired since the last look. In the pause. */
void ferry__rounds_retired(struct ferry_heap *heap);

/*
 * After a full collection: is the next likely to be a full one as well, and
 * the program to write to most pages until then? Then to know which it wrote
 * is worth less than what it costs.
 */
bool ferry__rounds_untracked(struct ferry_heap *heap);

#endif
