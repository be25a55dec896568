/* SPDX-License-Identifier: MIT */
/* Ways of compaction. */
#include "tests/ways.h"

#include <stdlib.h>

#include "tests/harness.h"

const struct way ways[WAYS] = {
	{ FERRY_GC_AUTO, FERRY_FAULT_THREAD, FERRY_THP_SYSTEM },
	{ FERRY_GC_AUTO, FERRY_FAULT_SIGBUS, FERRY_THP_NEVER },
	{ FERRY_GC_AUTO, FERRY_FAULT_SIGBUS, FERRY_THP_ALWAYS },
	{ FERRY_GC_STOPPED, FERRY_FAULT_THREAD, FERRY_THP_SYSTEM },
};

struct ferry_heap_params way_params(const struct way *way)
{
	struct ferry_heap_params p = cells_params(way->mode);

	p.fault_mode = way->fault_mode;
	p.thp = way->thp;
	p.no_compact = true;
	return p;
}

struct cells *way_open(const struct way *way, size_t roots)
{
	struct ferry_heap_params p = way_params(way);

	return cells_open(&p, roots);
}

uintptr_t *cells_addresses(const struct cell *cell, size_t n)
{
	uintptr_t *addr = calloc(n, sizeof(*addr));
	size_t i;

	ck_assert_ptr_nonnull(addr);
	for (i = 0; i < n; i++, cell = cell->slot[0])
		addr[i] = (uintptr_t)cell;
	return addr;
}

size_t cells_elsewhere(const struct cell *cell, const uintptr_t *addr, size_t n)
{
	size_t i, count = 0;

	for (i = 0; i < n; i++, cell = cell->slot[0])
		count += (uintptr_t)cell != addr[i];
	return count;
}
