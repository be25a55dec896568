/* SPDX-License-Identifier: MIT */
/*
 * A heap whose objects have every sort of slot, for tests of what is weak.
 *
 * Each function asserts its own success.
 */
#ifndef FERRY_TESTS_GRAPH_H
#define FERRY_TESTS_GRAPH_H

#include <ferry/ferry.h>
#include <ferry/heap.h>
#include <ferry/mutator.h>
#include <ferry/root.h>
#include <ferry/weak.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct node {
	struct node *left, *right;
	struct node *weak;
	struct node *key, *value; /* an ephemeron */
	uint64_t id;
};

/* One heap with one mutator, the calling thread, and its roots. */
struct graph {
	struct ferry_heap *heap;
	struct ferry_mutator *m;
	struct node **root; /* of the mutator's frame */
	size_t roots;
	struct ferry_frame frame;
};

/* @options as in ferry_heap_params, or NULL; some roots, all NULL. */
struct graph *graph_make(enum ferry_gc_mode mode, size_t roots,
			 const char *options);
void graph_destroy(struct graph *g);

/* A node with this number. A safepoint. */
struct node *graph_node(struct ferry_mutator *m, uint64_t id);

/* Collects, and waits for it. */
void graph_collect(struct graph *g, enum ferry_collect what);

/* Lets collections run beside few changes. A safepoint. */
void graph_rest(struct ferry_mutator *m);

/*
 * Threads beside which another one collects. Without turns, who stops the
 * world again at once lets them do a step or two in between where collections
 * are pauses.
 */
struct graph_crowd {
	atomic_size_t left;  /* threads that are not done */
	atomic_size_t turns; /* that all of them have taken */
};

/* Ends a turn of the calling thread, with a rest. A safepoint. */
void graph_turn(struct graph_crowd *crowd, struct ferry_mutator *m);

/* Waits until a turn has ended; false when no thread is left. A safepoint. */
bool graph_turn_wait(struct graph_crowd *crowd, struct ferry_mutator *m);

/* For loop tests: the best mode that is to be had, and STOPPED. */
extern const enum ferry_gc_mode graph_modes[2];

#endif
