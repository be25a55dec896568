/* SPDX-License-Identifier: MIT */
/* NUMA nodes, and on which of them the kernel has the pages of a test. */
#ifndef FERRY_TESTS_NODES_H
#define FERRY_TESTS_NODES_H

#include <numa.h>
#include <stddef.h>

/* The first node with memory from number @from on, or -1. */
int node_from(int from);

/* The first two nodes with memory; tests that ask need the feature "numa". */
int first_node(void);
int second_node(void);

/* Loops over the nodes with memory. */
#define FOR_EACH_NODE(node)                                                    \
	for ((node) = first_node(); (node) >= 0; (node) = node_from((node) + 1))

/* How many processors @node has. */
unsigned int node_cpus(int node);

/* The first that has none, and memory, or -1. */
int slow_node(void);

/* Masks for the caller to free with numa_free_nodemask(). */
struct bitmask *mask_of(int node);
struct bitmask *mask_of_two(void);
struct bitmask *mask_of_all(void);

/* How many pages of [@addr, @addr + @len) the kernel has on @node. */
size_t pages_on(const void *addr, size_t len, int node);

#endif
