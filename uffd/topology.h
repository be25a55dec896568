/* SPDX-License-Identifier: MIT */
/*
 * The inside of a topology. Kernel facts this stands on:
 *  - has_memory, has_cpu and online are lists like "0-1,3". The line of a
 *    node's distance has one column for each node that is online, whether it
 *    has memory or not.
 *  - accessN/initiators: class 1 is what processors see, class 0 takes other
 *    initiators (accelerators) in; kernels before 5.10 have class 0 alone.
 *    The files are there where firmware has an HMAT or CDAT table.
 *  - memory_tierN: the larger N, the slower. A tier without nodes goes away.
 *    Nodes without processors that are there at boot are in the tier of all
 *    others unless firmware tells their speed.
 */
#ifndef FERRY_UFFD_TOPOLOGY_H
#define FERRY_UFFD_TOPOLOGY_H

#include <ferry/topology.h>

struct ferry_topology {
	size_t bytes; /* of the mapping */
	unsigned int n, tiers;
	enum ferry_topology_source source;
	uint32_t *distance; /* @n by @n, from by to */
	struct ferry_topology_node nodes[];
};

/* Fills @t, whose nodes have their numbers, from files below @root. */
void ferry__topology_read(struct ferry_topology *t, const char *root);

/* Where @node is in @t->nodes, or -1. Signal-safe. */
int ferry__topology_index(const struct ferry_topology *t, int node);

/* --- lists (topology_list.c) ---------------------------------------------- */

/* No kernel has more nodes (NODES_SHIFT); a list that names one is no list. */
#define FERRY__NODES_MAX 4096u
/* As much as sysfs shows of a file. */
#define FERRY__SYSFS_MAX 4096u

/*
 * The next range of a list like "0-1,3"; false at its end. @list moves on.
 * Lists have been looked at by ferry__list_count() before.
 */
bool ferry__list_next(const char **list, unsigned int *ret_first,
		      unsigned int *ret_last);

/* How many numbers; -EBADMSG: it is none, not ascending, or too long. */
int ferry__list_count(const char *list);

bool ferry__list_has(const char *list, unsigned int number);

/*
 * The list in file @name of the nodes' folder below @root; "" if there is
 * none. @ret has room for FERRY__SYSFS_MAX. Returns how many numbers are in
 * it, -ENOENT for no file, or -EBADMSG.
 */
int ferry__node_list(const char *root, const char *name, char *ret);

#endif
