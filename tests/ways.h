/* SPDX-License-Identifier: MIT */
/* Every way in which a compaction of a heap of cells can run. */
#ifndef FERRY_TESTS_WAYS_H
#define FERRY_TESTS_WAYS_H

#include "tests/cells.h"

struct way {
	enum ferry_gc_mode mode;
	enum ferry_fault_mode fault_mode;
	enum ferry_thp thp;
};

/* For loop tests. */
#define WAYS 4
extern const struct way ways[WAYS];

/* Compactions come when they are asked for. */
struct ferry_heap_params way_params(const struct way *way);
struct cells *way_open(const struct way *way, size_t roots);

/* The addresses of a list's first @n cells, to be freed. */
uintptr_t *cells_addresses(const struct cell *cell, size_t n);

/* How many of them are elsewhere than at @addr. */
size_t cells_elsewhere(const struct cell *cell, const uintptr_t *addr,
		       size_t n);

#endif
