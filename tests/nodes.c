/* SPDX-License-Identifier: MIT */
/* Asked of the kernel itself: move_pages(2) without nodes tells the place. */
#include "tests/nodes.h"

#include <numaif.h>
#include <stdlib.h>

#include "tests/harness.h"
#include "tests/memory.h"

int node_from(int from)
{
	int node, last = numa_max_node();

	for (node = from; node <= last; node++)
		if (numa_node_size64(node, NULL) > 0)
			return node;
	return -1;
}

int first_node(void)
{
	return node_from(0);
}

int second_node(void)
{
	return node_from(first_node() + 1);
}

unsigned int node_cpus(int node)
{
	struct bitmask *cpus = numa_allocate_cpumask();
	unsigned int n;

	ck_assert_ptr_nonnull(cpus);
	ck_assert_int_eq(numa_node_to_cpus(node, cpus), 0);
	n = numa_bitmask_weight(cpus);
	numa_free_cpumask(cpus);
	return n;
}

int slow_node(void)
{
	int node;

	FOR_EACH_NODE (node)
		if (!node_cpus(node))
			return node;
	return -1;
}

struct bitmask *mask_of(int node)
{
	struct bitmask *mask = numa_allocate_nodemask();

	ck_assert_ptr_nonnull(mask);
	return numa_bitmask_setbit(mask, (unsigned int)node);
}

struct bitmask *mask_of_two(void)
{
	return numa_bitmask_setbit(mask_of(first_node()),
				   (unsigned int)second_node());
}

struct bitmask *mask_of_all(void)
{
	struct bitmask *mask = numa_allocate_nodemask();
	int node;

	ck_assert_ptr_nonnull(mask);
	FOR_EACH_NODE (node)
		numa_bitmask_setbit(mask, (unsigned int)node);
	return mask;
}

size_t pages_on(const void *addr, size_t len, int node)
{
	size_t i, n = len / page_size(), found = 0;
	void **pages = calloc(n, sizeof(*pages));
	int *status = calloc(n, sizeof(*status));

	ck_assert(pages && status);
	for (i = 0; i < n; i++)
		pages[i] = (char *)addr + i * page_size();
	ck_assert_int_eq(move_pages(0, n, pages, NULL, status, 0), 0);
	for (i = 0; i < n; i++)
		found += status[i] == node;
	free(pages);
	free(status);
	return found;
}
