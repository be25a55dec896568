/* SPDX-License-Identifier: MIT */
/* A topology as its users see it; what it is read from is in topology_read.c. */
#include "uffd/topology.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>

#include "uffd/sys.h"

#define ROOT "/sys"
/* What is left of a path for names of files. */
#define ROOM 256

static int map(unsigned int n, struct ferry_topology **ret)
{
	struct ferry_topology *t;
	size_t nodes = sizeof(*t) + n * sizeof(t->nodes[0]);
	size_t bytes = nodes + (size_t)n * n * sizeof(*t->distance);
	void *mem;
	int r;

	r = ferry__sys->mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &mem);
	if (r < 0)
		return -ENOMEM;
	t = mem;
	t->bytes = bytes;
	t->n = n;
	t->distance = (uint32_t *)((char *)mem + nodes);
	*ret = t;
	return 0;
}

static void number(struct ferry_topology *t, const char *list)
{
	unsigned int first, last, i = 0;

	while (ferry__list_next(&list, &first, &last))
		for (; first <= last; first++, i++) {
			t->nodes[i].size = sizeof(t->nodes[i]);
			t->nodes[i].node = (int)first;
		}
}

static int get(const char *root, struct ferry_topology **ret)
{
	char memory[FERRY__SYSFS_MAX];
	int n, r;

	if (strlen(root) > PATH_MAX - ROOM)
		return -EINVAL;
	n = ferry__node_list(root, "has_memory", memory);
	if (n <= 0)
		return n == -EBADMSG ? n : -EOPNOTSUPP;
	r = map((unsigned int)n, ret);
	if (r < 0)
		return r;
	number(*ret, memory);
	ferry__topology_read(*ret, root);
	return 0;
}

int ferry_topology_get(const struct ferry_topology_params *params,
		       struct ferry_topology **ret_topology)
{
	struct ferry_topology_params p = { 0 };
	struct ferry_topology *t;
	int r = 0;

	if (params)
		r = ferry__params_copy(&p, sizeof(p), params, sizeof(p.size));
	if (r == 0)
		r = get(p.root ? p.root : ROOT, &t);
	if (r == 0)
		*ret_topology = t;
	return r;
}

void ferry_topology_free(struct ferry_topology *topology)
{
	if (topology)
		ferry__sys->munmap(topology, topology->bytes);
}

unsigned int ferry_topology_nodes(const struct ferry_topology *topology)
{
	return topology->n;
}

unsigned int ferry_topology_tiers(const struct ferry_topology *topology)
{
	return topology->tiers;
}

enum ferry_topology_source
ferry_topology_source(const struct ferry_topology *topology)
{
	return topology->source;
}

int ferry_topology_node(const struct ferry_topology *topology, unsigned int i,
			struct ferry_topology_node *ret_node)
{
	struct ferry_topology_node node;
	size_t size = ret_node->size;
	int r;

	r = ferry__params_copy(&node, sizeof(node), ret_node, sizeof(size));
	if (r < 0)
		return r;
	if (i >= topology->n)
		return -ENOENT;
	if (size > sizeof(node))
		size = sizeof(node);
	memcpy(ret_node, &topology->nodes[i], size);
	ret_node->size = size;
	return 0;
}

int ferry_topology_distance(const struct ferry_topology *topology, int from,
			    int to)
{
	int i = ferry__topology_index(topology, from);
	int k = ferry__topology_index(topology, to);

	if (i < 0 || k < 0)
		return -ENOENT;
	return (int)topology->distance[(size_t)i * topology->n + (size_t)k];
}

int ferry__topology_index(const struct ferry_topology *t, int node)
{
	unsigned int low = 0, high = t->n, mid;

	while (low < high) {
		mid = (low + high) / 2;
		if (t->nodes[mid].node < node)
			low = mid + 1;
		else
			high = mid;
	}
	return low < t->n && t->nodes[low].node == node ? (int)low : -1;
}
