/* SPDX-License-Identifier: MIT */
/* Pages of arenas to another tier, as the caller says. */
#include "alloc/tier-internal.h"

#include <errno.h>
#include <string.h>

#include "alloc/alloc-internal.h"

int ferry__tier_result_check(const struct ferry_tier_result *ret_result)
{
	struct ferry_tier_result copy;

	if (!ret_result)
		return 0;
	return ferry__params_copy(&copy, sizeof(copy), ret_result,
				  sizeof(copy.size));
}

void ferry__tier_result_fill(struct ferry_tier_result *ret_result,
			     const struct ferry__tier_counts *counts)
{
	struct ferry_tier_result result = {
		.moved = counts->moved * ferry__page_size,
		.settled = counts->settled * ferry__page_size,
		.absent = counts->absent * ferry__page_size,
		.left = counts->left * ferry__page_size,
		.full = counts->full > 0,
	};

	if (!ret_result)
		return;
	result.size = ret_result->size;
	memcpy(ret_result, &result,
	       result.size < sizeof(result) ? result.size : sizeof(result));
}

static int shift_range(struct ferry_arena *arena, size_t offset, size_t len,
		       const struct ferry_topology *topology, bool slower,
		       struct ferry__tier_counts *counts)
{
	const unsigned int committed = FERRY__CODE(FERRY_PAGE_LIVE) |
				       FERRY__CODE(FERRY_PAGE_PINNED);
	size_t page = offset / ferry__page_size;
	size_t end = (offset + len) / ferry__page_size, n;
	void *pages[FERRY__TIER_BATCH];
	int nodes[FERRY__TIER_BATCH];
	int r = 0;

	while (r == 0 && page < end) {
		for (n = 0; n < FERRY__TIER_BATCH; page++) {
			page = ferry__pages_find(&arena->pages, page, end,
						 committed, true);
			if (page >= end)
				break;
			pages[n++] = arena->base + page * ferry__page_size;
		}
		if (n)
			r = ferry__tier_shift(topology, slower, pages, n, nodes,
					      NULL, counts);
	}
	return r;
}

static int shift(struct ferry_arena *arena, size_t offset, size_t len,
		 const struct ferry_topology *topology, bool slower,
		 struct ferry_tier_result *ret_result)
{
	struct ferry__tier_counts counts = { 0 };
	int r = ferry__tier_result_check(ret_result);

	if (r == 0)
		r = ferry__arena_range(arena, offset, len);
	if (r < 0)
		return r;
	if (!topology)
		return -EINVAL;
	if (ferry_topology_tiers(topology) > 1)
		r = shift_range(arena, offset, len, topology, slower, &counts);
	else
		r = -EOPNOTSUPP;
	ferry__tier_result_fill(ret_result, &counts);
	return r;
}

int ferry_arena_demote(struct ferry_arena *arena, size_t offset, size_t len,
		       const struct ferry_topology *topology,
		       struct ferry_tier_result *ret_result)
{
	return shift(arena, offset, len, topology, true, ret_result);
}

int ferry_arena_promote(struct ferry_arena *arena, size_t offset, size_t len,
			const struct ferry_topology *topology,
			struct ferry_tier_result *ret_result)
{
	return shift(arena, offset, len, topology, false, ret_result);
}
