/* SPDX-License-Identifier: MIT */
/* Moves of pages between tiers; see tier.h. */
#include "uffd/tier.h"

#include <errno.h>
#include <numaif.h>
#include <string.h>

#include "uffd/sys.h"
#include "uffd/topology.h"

#define TRIES 2

/* What is to be moved of a batch. */
struct wish {
	size_t n;
	void *page[FERRY__TIER_BATCH];
	int node[FERRY__TIER_BATCH];
	uint16_t index[FERRY__TIER_BATCH]; /* in the caller's */
};

static int target(const struct ferry_topology *t, bool slower, int node)
{
	int i = ferry__topology_index(t, node);

	if (i < 0)
		return -1;
	return slower ? t->nodes[i].slower : t->nodes[i].faster;
}

bool ferry__tier_beyond(const struct ferry_topology *t, bool slower, int node)
{
	return target(t, slower, node) >= 0;
}

static int ask(void **pages, size_t n, int *ret_nodes)
{
	size_t i;
	long r;

	for (i = 0; i < n; i++)
		ret_nodes[i] = -EAGAIN;
	r = ferry__sys->move_pages(0, n, pages, NULL, ret_nodes, 0);
	return r < 0 ? (int)r : 0;
}

static void make_wish(const struct ferry_topology *t, bool slower, void **pages,
		      size_t n, const int *nodes, struct wish *wish,
		      struct ferry__tier_counts *counts)
{
	size_t i;
	int to;

	wish->n = 0;
	for (i = 0; i < n; i++) {
		if (nodes[i] < 0) {
			counts->absent++;
			continue;
		}
		to = target(t, slower, nodes[i]);
		if (to < 0) {
			counts->settled++;
			continue;
		}
		wish->page[wish->n] = pages[i];
		wish->index[wish->n] = (uint16_t)i;
		wish->node[wish->n++] = to;
	}
}

/* Leaves in @wish what has not come where it was to. */
static int look_again(struct wish *wish, int *nodes, bool *moved,
		      struct ferry__tier_counts *counts)
{
	int now[FERRY__TIER_BATCH];
	size_t i, n = 0;
	int r = ask(wish->page, wish->n, now);

	if (r < 0)
		return r;
	for (i = 0; i < wish->n; i++) {
		nodes[wish->index[i]] = now[i];
		if (now[i] == wish->node[i]) {
			counts->moved++;
			if (moved)
				moved[wish->index[i]] = true;
			continue;
		}
		wish->page[n] = wish->page[i];
		wish->index[n] = wish->index[i];
		wish->node[n++] = wish->node[i];
	}
	wish->n = n;
	return 0;
}

/* What says that a page cannot go, and not that none can. */
static bool passes(long r)
{
	return r >= 0 || r == -ENOENT || r == -ENOMEM || r == -EBUSY ||
	       r == -EAGAIN || r == -EINTR;
}

static int grant(struct wish *wish, int *nodes, bool *ret_moved,
		 struct ferry__tier_counts *counts)
{
	int status[FERRY__TIER_BATCH];
	int tries, r = 0;
	long moved;

	for (tries = 0; wish->n && tries < TRIES && r == 0; tries++) {
		moved = ferry__sys->move_pages(0, wish->n, wish->page,
					       wish->node, status,
					       MPOL_MF_MOVE);
		if (!passes(moved))
			return (int)moved;
		counts->full += moved == -ENOMEM;
		r = look_again(wish, nodes, ret_moved, counts);
	}
	counts->left += wish->n;
	return r;
}

int ferry__tier_shift(const struct ferry_topology *t, bool slower, void **pages,
		      size_t n, int *ret_nodes, bool *ret_moved,
		      struct ferry__tier_counts *counts)
{
	struct wish wish;
	int r = ask(pages, n, ret_nodes);

	if (ret_moved)
		memset(ret_moved, 0, n * sizeof(*ret_moved));
	if (r == 0) {
		make_wish(t, slower, pages, n, ret_nodes, &wish, counts);
		r = grant(&wish, ret_nodes, ret_moved, counts);
	}
	return r == -ENOSYS ? -EOPNOTSUPP : r;
}
