/* SPDX-License-Identifier: MIT */
/*
 * NUMA nodes from sysfs. libnuma would do, but is one shared object more in
 * front of every program.
 */
#include "alloc/store/nodes.h"

#include <errno.h>

#include "uffd/topology.h"

int ferry__node_check(int node)
{
	char memory[FERRY__SYSFS_MAX];

	if (ferry__node_list("/sys", "has_memory", memory) < 0)
		return -EOPNOTSUPP;
	return node >= 0 && ferry__list_has(memory, (unsigned int)node)
		       ? 0
		       : -EINVAL;
}
