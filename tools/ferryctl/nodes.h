/* SPDX-License-Identifier: MIT */
/* NUMA nodes as people write them, by libnuma's parser. */
#ifndef FERRYCTL_NODES_H
#define FERRYCTL_NODES_H

#include <numa.h>

#include "tools/ferryctl/ctl.h"

/* Nodes that are numbered here: one more than the highest possible. */
unsigned int ctl_nodes_count(void);

/*
 * The nodes of @text, such as "0-2,4" or "all". For the caller to free with
 * numa_free_nodemask().
 * Returns 0; -EINVAL for no list, or a node that is not here; -EOPNOTSUPP: no
 * NUMA in this kernel. Both with a sentence in @err.
 */
int ctl_nodes_parse(const char *text, struct bitmask **ret_nodes, char *err,
		    size_t err_size);

/* The nodes given for @option, or NULL; complains. */
enum ctl_status ctl_nodes_option(const struct ctl *ctl, enum ctl_option option,
				 struct bitmask **ret_nodes);

/* The mask as numactl(8) writes it, such as 0-2,4; cut to @size. */
const char *ctl_nodes_text(const struct bitmask *nodes, char *buf, size_t size);

#endif
