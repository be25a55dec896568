/* SPDX-License-Identifier: MIT */
/*
 * Classes of memory: which NUMA nodes are fast, which are slow, and where a
 * page goes that is to be on the other kind.
 */
#ifndef FERRY_TOPOLOGY_H
#define FERRY_TOPOLOGY_H

#include <ferry/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ferry_topology;

/* What the order of the tiers stands on. */
enum ferry_topology_source {
	FERRY_TOPOLOGY_ALIKE = 0,  /* all memory is of one class */
	FERRY_TOPOLOGY_KERNEL,	   /* the kernel's memory tiers (6.1) */
	FERRY_TOPOLOGY_PROCESSORS, /* nodes without processors are others */
};

struct ferry_topology_params {
	size_t size;
	/* Where sysfs is; NULL: "/sys". */
	const char *root;
};

/* A node that has memory. */
struct ferry_topology_node {
	size_t size;
	int node;
	unsigned int tier; /* 0 is the fastest */
	bool has_cpu;
	uint64_t memory; /* bytes; 0: not known */
	/* As its nearest processors have it; 0: not known. */
	uint64_t read_bandwidth, write_bandwidth; /* MB/s */
	uint64_t read_latency, write_latency;	  /* ns */
	/*
	 * Share of pages in an interleave by bandwidth, 1 to 255: in ratio to
	 * the lesser of the two bandwidths; 1 for all where one is not known.
	 */
	unsigned int weight;
	/* What MPOL_WEIGHTED_INTERLEAVE takes; 0: no such file (before 6.9). */
	unsigned int kernel_weight;
	/*
	 * The nearest node of the next slower tier, where cold pages go, and
	 * of the next faster one; -1: there is no such tier. Of several at
	 * the same distance the one with the lowest number.
	 */
	int slower, faster;
};

/*
 * Reads what the kernel says of the machine's memory:
 * devices/system/node (which nodes, processors, sizes, distances, bandwidth
 * and latency: the kernel's numaperf.rst), devices/virtual/memory_tiering and
 * kernel/mm/mempolicy/weighted_interleave, below @params->root. A file that
 * is not there, or that holds what cannot be understood, counts as not known.
 *
 * Tiers are the kernel's where it has sorted nodes into more than one. Else
 * nodes without processors are a tier of their own: a faster one if their
 * bandwidth is known to be above that of the node with processors nearest to
 * them (memory on the package), a slower one otherwise.
 *
 * What comes back does not change; read it again after memory was plugged.
 * @params may be NULL. About 0.1 ms a node; maps memory, does not allocate.
 *
 * Returns 0; -EINVAL, -E2BIG see base.h, or @root too long; -EOPNOTSUPP no
 * nodes are known (no NUMA in the kernel, no sysfs); -EBADMSG the list of
 * nodes makes no sense; -ENOMEM. Any thread; not signal-safe.
 */
FERRY_EXPORT int ferry_topology_get(const struct ferry_topology_params *params,
				    struct ferry_topology **ret_topology);

/* NULL is allowed. */
FERRY_EXPORT void ferry_topology_free(struct ferry_topology *topology);

/*
 * How many nodes have memory; how many tiers they make, 1 or more; by what.
 * These and the next two only read: any thread, signal-safe.
 */
FERRY_EXPORT unsigned int
ferry_topology_nodes(const struct ferry_topology *topology);
FERRY_EXPORT unsigned int
ferry_topology_tiers(const struct ferry_topology *topology);
FERRY_EXPORT enum ferry_topology_source
ferry_topology_source(const struct ferry_topology *topology);

/*
 * Node number @i of those with memory, ascending; set @ret_node->size first.
 * Returns 0; -EINVAL, -E2BIG see base.h; -ENOENT there are not so many.
 */
FERRY_EXPORT int ferry_topology_node(const struct ferry_topology *topology,
				     unsigned int i,
				     struct ferry_topology_node *ret_node);

/*
 * The kernel's distance of memory on node @to from node @from (10: the same;
 * 20 where it is not known); -ENOENT for a node without memory.
 */
FERRY_EXPORT int ferry_topology_distance(const struct ferry_topology *topology,
					 int from, int to);

#ifdef __cplusplus
}
#endif

#endif
