/* SPDX-License-Identifier: MIT */
/*
 * Pages from one tier of memory to the next, in batches of move_pages(2).
 *
 * Kernel facts this stands on:
 *  - A call that meets a page which cannot move ends there: the status of
 *    that batch and of all that follows is not written (4.17). So the nodes
 *    are asked for anew afterwards, and what stayed is tried once more.
 *  - Of a huge page all goes along with the first of its pages; the others
 *    are then answered -EBUSY.
 *  - A node that is full is -ENOMEM for the call.
 *  - -ENOENT (of some kernels -EFAULT) is a page that is not in memory, or
 *    the shared zero page; a page that the kernel itself is moving just now
 *    looks like that, too.
 */
#ifndef FERRY_UFFD_TIER_H
#define FERRY_UFFD_TIER_H

#include <ferry/topology.h>

#define FERRY__TIER_BATCH 256u

/* Pages; what was counted before is added to. */
struct ferry__tier_counts {
	size_t moved;
	size_t settled; /* there is no such tier for them */
	size_t absent;
	size_t left; /* to be moved, and could not be */
	size_t full; /* batches that met a full node */
};

/*
 * Moves each of @n pages, FERRY__TIER_BATCH at most, to the next slower (or
 * faster) tier than the one it is in. @ret_nodes: where each is afterwards, or
 * a negative errno; @ret_moved, which may be NULL: whether it came there just
 * now. Both are written on success only.
 *
 * Returns 0; -EOPNOTSUPP no such system call; -EPERM a filter forbids it;
 * -EACCES the node is not among those of the process (cpusets); other errors
 * of move_pages(2). No lock, no allocation; about 6 KiB of stack.
 */
int ferry__tier_shift(const struct ferry_topology *t, bool slower, void **pages,
		      size_t n, int *ret_nodes, bool *ret_moved,
		      struct ferry__tier_counts *counts);

/* Is there a slower (faster) tier than that of @node? */
bool ferry__tier_beyond(const struct ferry_topology *t, bool slower, int node);

#endif
