/* SPDX-License-Identifier: MIT */
/*
 * A heap of cells: objects of every kind with one layout, for tests of the
 * collector's core.
 *
 * Each function asserts its own success.
 */
#ifndef FERRY_TESTS_CELLS_H
#define FERRY_TESTS_CELLS_H

#include <ferry/ferry.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CELL_SLOTS_MAX 200u

/*
 * @head says how many slots and bytes there are, in the way of the kind:
 * TYPED a descriptor's address, all others slots and bytes.
 */
struct cell {
	uintptr_t head;
	uint64_t id;
	struct cell *slot[];
};

/* One heap with one mutator, the calling thread, and its roots. */
struct cells {
	struct ferry_heap *heap;
	struct ferry_mutator *m;
	struct cell **root; /* of the mutator's frame */
	size_t roots;
	struct ferry_frame frame;
};

/* What cells_open() takes: the trace callback, nothing of the environment,
 * a limit of 256 MiB, no collection before 128 MiB. */
struct ferry_heap_params cells_params(enum ferry_gc_mode mode);

struct cells *cells_open(const struct ferry_heap_params *params, size_t roots);
struct cells *cells_make(enum ferry_gc_mode mode, size_t roots);
void cells_close(struct cells *c);

/* A cell; NULL when the heap is full. A safepoint. */
struct cell *cell_try(struct ferry_mutator *m, enum ferry_kind kind,
		      unsigned int slots, size_t bytes, uint64_t id);

/* The same, of the least bytes, and it must be had. */
struct cell *cell_new(struct ferry_mutator *m, enum ferry_kind kind,
		      unsigned int slots, uint64_t id);

/* Bytes of a cell without more than its slots, in whole granules. */
size_t cell_bytes(unsigned int slots);

/* The heap's trace callback, for cells of kind TRACED and LEAF. */
size_t cell_trace(void *object, struct ferry_visitor *v);

/* Collects, and waits; the heap must be sound afterwards. */
void cells_collect(struct cells *c, enum ferry_collect what);
void cells_verify(struct cells *c);

/* Bytes found live by the last collection; any statistic. */
size_t cells_live(struct cells *c);
struct ferry_heap_stats *cells_stats(struct cells *c);

/* A full collection finds @bytes. */
void cells_expect_live(struct cells *c, size_t bytes);

/* A list through slot 0 of @n cells with @slots slots, of ids from 0 on, in
 * root @at; between two of them @gap bytes of garbage. */
void cells_list(struct cells *c, size_t at, enum ferry_kind kind, size_t n,
		unsigned int slots, size_t gap);
void cells_list_check(struct cells *c, size_t at, size_t n);

/* Is the heap in mode CONCURRENT? */
bool cells_concurrent(struct cells *c);

/* For loop tests: the best mode that is to be had, and STOPPED. */
extern const enum ferry_gc_mode cells_modes[2];

#endif
