/* SPDX-License-Identifier: MIT */
/* The engine's books, read through its control interface. */
#include "alloc/malloc/stats.h"

#include <stdio.h>

#include "uffd/sys.h"

static size_t read_size(const char *name)
{
	size_t n = 0, len = sizeof(n);

	ferry__je_mallctl(name, &n, &len, NULL, 0);
	return n;
}

/* jemalloc's books are copies, which are brought up to date on demand. */
static void refresh(void)
{
	uint64_t epoch = 1;

	ferry__je_mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
}

/* 4096 stands for all arenas together. */
void ferry__stats_get(struct ferry__stats *ret)
{
	refresh();
	ret->allocated = read_size("stats.allocated");
	ret->active = read_size("stats.active");
	ret->mapped = read_size("stats.mapped");
	ret->resident = read_size("stats.resident");
	ret->metadata = read_size("stats.metadata");
	ret->dirty = read_size("stats.arenas.4096.pdirty") * ferry__page_size;
}

size_t ferry__stats_text(char *buf, size_t size)
{
	struct ferry__stats stats;
	int n;

	ferry__stats_get(&stats);
	n = snprintf(buf, size,
		     "allocated %zu\n"
		     "active %zu\n"
		     "mapped %zu\n"
		     "resident %zu\n"
		     "metadata %zu\n"
		     "dirty %zu\n",
		     stats.allocated, stats.active, stats.mapped,
		     stats.resident, stats.metadata, stats.dirty);
	if (n < 0)
		return 0;
	return (size_t)n < size ? (size_t)n : size - 1;
}
