/* SPDX-License-Identifier: MIT */
/* What an instance counts. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "alloc/instance/instance.h"

static uint64_t engine_count(const struct ferry_allocator *a, const char *what)
{
	size_t n = 0, len = sizeof(n);
	char name[64];

	snprintf(name, sizeof(name), "stats.arenas.%u.%s", a->arena, what);
	return ferry__je_mallctl(name, &n, &len, NULL, 0) ? 0 : n;
}

static void refresh(void)
{
	uint64_t epoch = 1;

	ferry__je_mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
}

int ferry_allocator_stats(struct ferry_allocator *a,
			  struct ferry_allocator_stats *ret_stats)
{
	struct ferry_allocator_stats s = { 0 };
	struct ferry__pager_stats pager;
	size_t size = ret_stats->size;

	if (size < offsetof(struct ferry_allocator_stats, allocated))
		return -EINVAL;
	refresh();
	ferry__pager_stats(a->pager, &pager);
	s.offload = pager.running;
	s.reason = pager.reason;
	s.allocated = engine_count(a, "small.allocated") +
		      engine_count(a, "large.allocated");
	/* Relaxed: a count. */
	s.mapped = __atomic_load_n(&a->used, __ATOMIC_RELAXED);
	s.resident = pager.resident;
	s.stored = pager.stored;
	s.store_memory = pager.store_memory;
	s.pages_out = pager.pages_out;
	s.pages_back = pager.pages_back;
	s.refaults = pager.refaults;
	s.stalled_ns = pager.stalled_ns;
	s.store_elsewhere = pager.store_elsewhere;
	s.store_error = ferry__tiers_error(&a->tiers);
	memset(ret_stats, 0, size);
	memcpy(ret_stats, &s, size < sizeof(s) ? size : sizeof(s));
	ret_stats->size = size;
	return 0;
}
