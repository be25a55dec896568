/* SPDX-License-Identifier: MIT */
/* Which NUMA nodes there are, as sysfs tells it. */
#ifndef FERRY_ALLOC_STORE_NODES_H
#define FERRY_ALLOC_STORE_NODES_H

/*
 * Has @node memory of its own? Returns 0, -EINVAL if not, -EOPNOTSUPP where
 * the kernel knows no nodes. Any thread; allocates nothing.
 */
int ferry__node_check(int node);

#endif
