/* SPDX-License-Identifier: MIT */
/* NUMA nodes as people write them. */
#include "tools/ferryctl/nodes.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

unsigned int ctl_nodes_count(void)
{
	return numa_available() < 0 ? 1
				    : (unsigned int)numa_num_possible_nodes();
}

/*
 * libnuma says what is wrong with a list by this function, which programs may
 * replace (numa(3)): its own prints without naming the program. The library
 * finds it only where it is exported.
 */
__attribute__((visibility("default"))) void numa_warn(int num, char *fmt, ...)
{
	(void)num;
	(void)fmt;
}

int ctl_nodes_parse(const char *text, struct bitmask **ret_nodes, char *err,
		    size_t err_size)
{
	struct bitmask *nodes;

	if (numa_available() < 0) {
		snprintf(err, err_size, "this kernel has no NUMA nodes");
		return -EOPNOTSUPP;
	}
	/* The process that is asked about may use other nodes than this. */
	nodes = numa_parse_nodestring_all(text);
	if (!nodes) {
		snprintf(err, err_size,
			 "'%s' is no list of nodes of this machine", text);
		return -EINVAL;
	}
	if (!numa_bitmask_weight(nodes)) {
		numa_free_nodemask(nodes);
		snprintf(err, err_size, "'%s' names no node", text);
		return -EINVAL;
	}
	*ret_nodes = nodes;
	return 0;
}

enum ctl_status ctl_nodes_option(const struct ctl *ctl, enum ctl_option option,
				 struct bitmask **ret_nodes)
{
	char err[160];
	int r;

	*ret_nodes = NULL;
	if (!ctl_given(ctl, option))
		return CTL_OK;
	r = ctl_nodes_parse(ctl->text[option], ret_nodes, err, sizeof(err));
	if (r == 0)
		return CTL_OK;
	ctl_complain("--%s: %s", option == CTL_FROM ? "from" : "nodes", err);
	return r == -EINVAL ? CTL_USAGE : ctl_status_of(r);
}

/* The end of the run of set bits that begins at @from. */
static unsigned int run_end(const struct bitmask *nodes, unsigned int from)
{
	while (from + 1 < nodes->size && numa_bitmask_isbitset(nodes, from + 1))
		from++;
	return from;
}

const char *ctl_nodes_text(const struct bitmask *nodes, char *buf, size_t size)
{
	unsigned int i, end;
	size_t len = 0;
	int n;

	buf[0] = '\0';
	for (i = 0; i < nodes->size && len + 1 < size; i = end + 1) {
		end = i;
		if (!numa_bitmask_isbitset(nodes, i))
			continue;
		end = run_end(nodes, i);
		n = end == i ? snprintf(buf + len, size - len, "%s%u",
					len ? "," : "", i)
			     : snprintf(buf + len, size - len, "%s%u-%u",
					len ? "," : "", i, end);
		if (n < 0)
			break;
		len += (size_t)n;
	}
	return buf;
}
