/* SPDX-License-Identifier: MIT */
/* Which NUMA nodes there are, as sysfs tells it. */
#ifndef FERRY_ALLOC_STORE_NODES_H
#define FERRY_ALLOC_STORE_NODES_H

#include <stdbool.h>

/*
 * Has @node memory of its own? Returns 0, -EINVAL if not, -EOPNOTSUPP where
 * the kernel knows no nodes. Any thread; allocates nothing.
 */
int ferry__node_check(int node);

/*
 * The node with the slowest memory: of the last memory tier, where the kernel
 * has sorted nodes into more than one (6.1); else one with memory but without
 * processors. Returns its number; -ENOENT when all memory is alike. Any
 * thread; allocates nothing.
 */
int ferry__node_slowest(void);

#endif
