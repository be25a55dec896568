/* SPDX-License-Identifier: MIT */
/* Classes of memory: of machines made up here, and of this one. */
#include <ferry/topology.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/nodes.h"
#include "tests/tree.h"

static struct ferry_topology *top;
static const char *root;

static void setup(void)
{
	root = tree_make();
}

static void teardown(void)
{
	ferry_topology_free(top);
	tree_remove();
}

static int read_tree(void)
{
	struct ferry_topology_params p =
		FERRY_INIT(struct ferry_topology_params);

	p.root = root;
	return ferry_topology_get(&p, &top);
}

static void must_read(void)
{
	ck_assert_int_eq(read_tree(), 0);
}

/* A file of a node's folder. */
static void node_file(int node, const char *name, const char *contents)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "devices/system/node/node%d/%s", node,
		 name);
	tree_add(path, contents);
}

/* Nodes with memory, with processors, and online. */
static void nodes(const char *memory, const char *processors,
		  const char *online)
{
	tree_add("devices/system/node/has_memory", memory);
	tree_add("devices/system/node/has_cpu", processors);
	tree_add("devices/system/node/online", online);
}

static void distances(int node, const char *row)
{
	node_file(node, "distance", row);
}

#define INITIATORS "access0/initiators/"

static void speed(int node, const char *bandwidth, const char *latency)
{
	node_file(node, INITIATORS "read_bandwidth", bandwidth);
	node_file(node, INITIATORS "write_bandwidth", bandwidth);
	node_file(node, INITIATORS "read_latency", latency);
	node_file(node, INITIATORS "write_latency", latency);
}

static void kernel_tier(int number, const char *list)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path),
		 "devices/virtual/memory_tiering/memory_tier%d/nodelist",
		 number);
	tree_add(path, list);
}

static struct ferry_topology_node at(unsigned int i)
{
	struct ferry_topology_node node =
		FERRY_INIT(struct ferry_topology_node);

	ck_assert_int_eq(ferry_topology_node(top, i, &node), 0);
	return node;
}

static void assert_node(unsigned int i, int number, unsigned int tier,
			int slower, int faster)
{
	struct ferry_topology_node node = at(i);

	ck_assert_int_eq(node.node, number);
	ck_assert_uint_eq(node.tier, tier);
	ck_assert_int_eq(node.slower, slower);
	ck_assert_int_eq(node.faster, faster);
}

/* Two sockets, two CXL nodes behind them; numbers with a gap. */
static void four_nodes(void)
{
	nodes("0-1,4-5\n", "0-1\n", "0-2,4-5\n");
	distances(0, "10 21 30 17 28\n");
	distances(1, "21 10 30 28 17\n");
	distances(4, "17 28 30 10 38\n");
	distances(5, "28 17 30 38 10\n");
}

START_TEST(one_node_is_one_class)
{
	nodes("0\n", "0\n", "0\n");
	distances(0, "10\n");
	kernel_tier(4, "0\n");
	must_read();
	ck_assert_uint_eq(ferry_topology_nodes(top), 1);
	ck_assert_uint_eq(ferry_topology_tiers(top), 1);
	ck_assert_int_eq(ferry_topology_source(top), FERRY_TOPOLOGY_ALIKE);
	assert_node(0, 0, 0, -1, -1);
	ck_assert(at(0).has_cpu);
}
END_TEST

START_TEST(sockets_alone_are_one_class)
{
	nodes("0-1\n", "0-1\n", "0-1\n");
	distances(0, "10 21\n");
	distances(1, "21 10\n");
	must_read();
	ck_assert_uint_eq(ferry_topology_tiers(top), 1);
	assert_node(0, 0, 0, -1, -1);
	assert_node(1, 1, 0, -1, -1);
	ck_assert_int_eq(ferry_topology_distance(top, 0, 1), 21);
}
END_TEST

START_TEST(nodes_without_processors_are_slower)
{
	four_nodes();
	must_read();
	ck_assert_int_eq(ferry_topology_source(top), FERRY_TOPOLOGY_PROCESSORS);
	ck_assert_uint_eq(ferry_topology_tiers(top), 2);
	assert_node(0, 0, 0, 4, -1);
	assert_node(1, 1, 0, 5, -1);
	assert_node(2, 4, 1, -1, 0);
	assert_node(3, 5, 1, -1, 1);
	ck_assert(!at(2).has_cpu);
}
END_TEST

START_TEST(columns_of_distances_are_the_nodes_online)
{
	four_nodes();
	must_read();
	ck_assert_int_eq(ferry_topology_distance(top, 0, 4), 17);
	ck_assert_int_eq(ferry_topology_distance(top, 5, 4), 38);
	ck_assert_int_eq(ferry_topology_distance(top, 4, 4), 10);
	/* Online, but without memory; offline; no number at all. */
	ck_assert_int_eq(ferry_topology_distance(top, 0, 2), -ENOENT);
	ck_assert_int_eq(ferry_topology_distance(top, 3, 0), -ENOENT);
	ck_assert_int_eq(ferry_topology_distance(top, -1, 0), -ENOENT);
}
END_TEST

START_TEST(tiers_are_those_of_the_kernel)
{
	four_nodes();
	/* By number and not by name: 22 comes after 4. */
	kernel_tier(22, "5\n");
	kernel_tier(4, "0-1\n");
	kernel_tier(9, "4\n");
	must_read();
	ck_assert_int_eq(ferry_topology_source(top), FERRY_TOPOLOGY_KERNEL);
	ck_assert_uint_eq(ferry_topology_tiers(top), 3);
	assert_node(0, 0, 0, 4, -1);
	assert_node(1, 1, 0, 4, -1);
	assert_node(2, 4, 1, 5, 0);
	assert_node(3, 5, 2, -1, 4);
}
END_TEST

START_TEST(tier_of_nodes_without_memory_is_none)
{
	four_nodes();
	kernel_tier(4, "0-1,4-5\n");
	kernel_tier(7, "2\n");
	must_read();
	ck_assert_int_eq(ferry_topology_source(top), FERRY_TOPOLOGY_PROCESSORS);
	ck_assert_uint_eq(ferry_topology_tiers(top), 2);
}
END_TEST

START_TEST(tiers_that_leave_a_node_out_do_not_count)
{
	four_nodes();
	kernel_tier(4, "0-1\n");
	kernel_tier(9, "4\n");
	must_read();
	ck_assert_int_eq(ferry_topology_source(top), FERRY_TOPOLOGY_PROCESSORS);
	assert_node(3, 5, 1, -1, 1);
}
END_TEST

START_TEST(memory_on_the_package_is_faster)
{
	nodes("0-2\n", "0\n", "0-2\n");
	distances(0, "10 13 24\n");
	distances(1, "13 10 28\n");
	distances(2, "24 28 10\n");
	speed(0, "200000\n", "90\n");
	speed(1, "800000\n", "110\n");
	speed(2, "50000\n", "250\n");
	must_read();
	ck_assert_uint_eq(ferry_topology_tiers(top), 3);
	assert_node(0, 0, 1, 2, 1);
	assert_node(1, 1, 0, 0, -1);
	assert_node(2, 2, 2, -1, 0);
	ck_assert_uint_eq(at(1).read_bandwidth, 800000);
	ck_assert_uint_eq(at(2).write_latency, 250);
}
END_TEST

START_TEST(what_processors_see_comes_first)
{
	nodes("0\n", "0\n", "0\n");
	speed(0, "900000\n", "10\n");
	node_file(0, "access1/initiators/read_bandwidth", "200000\n");
	must_read();
	ck_assert_uint_eq(at(0).read_bandwidth, 200000);
	ck_assert_uint_eq(at(0).write_bandwidth, 900000);
}
END_TEST

START_TEST(weights_are_in_ratio_of_bandwidths)
{
	static const struct {
		const char *bandwidth[3];
		unsigned int weight[3];
	} row[] = {
		{ { "100000", "100000", "100000" }, { 1, 1, 1 } },
		{ { "300000", "100000", "100000" }, { 3, 1, 1 } },
		{ { "150000", "100000", "100000" }, { 3, 2, 2 } },
		{ { "250000", "150000", "50000" }, { 5, 3, 1 } },
		/* Near enough, for a round that is not too long. */
		{ { "305000", "100000", "100000" }, { 3, 1, 1 } },
		{ { "900000", "1000", "1000" }, { 255, 1, 1 } },
		{ { "300000", "", "100000" }, { 1, 1, 1 } },
		{ { "18446744073709551615", "1", "1" }, { 1, 1, 1 } },
	};
	size_t i, k;

	nodes("0-2\n", "0-2\n", "0-2\n");
	for (i = 0; i < ARRAY_SIZE(row); i++) {
		for (k = 0; k < 3; k++)
			speed((int)k, row[i].bandwidth[k], "100\n");
		must_read();
		for (k = 0; k < 3; k++)
			ck_assert_uint_eq(at((unsigned int)k).weight,
					  row[i].weight[k]);
		ferry_topology_free(top);
		top = NULL;
	}
}
END_TEST

START_TEST(weight_of_the_kernel_is_told_beside_ours)
{
	nodes("0-1\n", "0\n", "0-1\n");
	tree_add("kernel/mm/mempolicy/weighted_interleave/node0", "7\n");
	tree_add("kernel/mm/mempolicy/weighted_interleave/node1", "700\n");
	must_read();
	ck_assert_uint_eq(at(0).kernel_weight, 7);
	ck_assert_uint_eq(at(0).weight, 1);
	ck_assert_uint_eq(at(1).kernel_weight, 0);
}
END_TEST

START_TEST(size_of_a_node_is_read)
{
	nodes("0-1\n", "0\n", "0-1\n");
	node_file(
		0, "meminfo",
		"\nNode 0 MemTotal:        8040096 kB\nNode 0 MemFree: 1 kB\n");
	must_read();
	ck_assert_uint_eq(at(0).memory, UINT64_C(8040096) * 1024);
	ck_assert_uint_eq(at(1).memory, 0);
}
END_TEST

START_TEST(absent_files_are_not_known)
{
	tree_add("devices/system/node/has_memory", "0-1\n");
	must_read();
	ck_assert_uint_eq(ferry_topology_nodes(top), 2);
	/* No processors are known anywhere: then all are alike. */
	ck_assert_uint_eq(ferry_topology_tiers(top), 1);
	assert_node(0, 0, 0, -1, -1);
	ck_assert_int_eq(ferry_topology_distance(top, 0, 1), 20);
	ck_assert_int_eq(ferry_topology_distance(top, 1, 1), 10);
	ck_assert_uint_eq(at(0).read_bandwidth, 0);
	ck_assert_uint_eq(at(0).weight, 1);
}
END_TEST

START_TEST(nonsense_in_files_is_not_known)
{
	nodes("0-1\n", "zero\n", "0-1,1\n");
	distances(0, "10 -3\n");
	speed(0, "fast\n", "-7\n");
	speed(1, "99999999999999999999999\n", "5 apples\n");
	node_file(0, "meminfo", "MemTotal: much");
	tree_add("devices/virtual/memory_tiering/memory_tierX/nodelist", "0\n");
	kernel_tier(3, "0-\n");
	kernel_tier(4, "1,0\n");
	kernel_tier(5, "");
	must_read();
	ck_assert_uint_eq(ferry_topology_tiers(top), 1);
	ck_assert_int_eq(ferry_topology_distance(top, 0, 1), 20);
	ck_assert_uint_eq(at(0).read_bandwidth, 0);
	ck_assert_uint_eq(at(0).read_latency, 0);
	ck_assert_uint_eq(at(1).write_bandwidth, 0);
	ck_assert_uint_eq(at(1).read_latency, 0);
	ck_assert_uint_eq(at(0).memory, 0);
}
END_TEST

START_TEST(half_a_row_of_distances_is_not_known)
{
	nodes("0-2\n", "0-2\n", "0-2\n");
	distances(0, "10 30\n");
	distances(1, "30 10 50\n");
	distances(2, "30 -3 10\n");
	must_read();
	ck_assert_int_eq(ferry_topology_distance(top, 0, 1), 20);
	ck_assert_int_eq(ferry_topology_distance(top, 0, 0), 10);
	ck_assert_int_eq(ferry_topology_distance(top, 1, 0), 30);
	ck_assert_int_eq(ferry_topology_distance(top, 1, 2), 50);
	ck_assert_int_eq(ferry_topology_distance(top, 2, 0), 20);
}
END_TEST

START_TEST(list_that_makes_no_sense_is_refused)
{
	static const char *const lists[] = { "1,0\n",	"3-2\n", "0,0\n",
					     "0-70000", "-1\n",	 "0 1\n",
					     "0-\n",	"x",	 " 0\n",
					     "0,\n",	"0,,1\n" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lists); i++) {
		tree_add("devices/system/node/has_memory", lists[i]);
		ck_assert_int_eq(read_tree(), -EBADMSG);
	}
	ck_assert_ptr_null(top);
}
END_TEST

START_TEST(kernel_without_nodes_is_named)
{
	ck_assert_int_eq(read_tree(), -EOPNOTSUPP);
	tree_add("devices/system/node/has_memory", "\n");
	ck_assert_int_eq(read_tree(), -EOPNOTSUPP);
	ck_assert_ptr_null(top);
	ferry_topology_free(NULL);
}
END_TEST

START_TEST(bad_parameters_are_refused)
{
	struct {
		struct ferry_topology_params p;
		long more;
	} longer = { .p.size = sizeof(longer), .more = 1 };
	struct ferry_topology_params p = { 0 };
	struct ferry_topology_node node = { 0 };
	static char deep[PATH_MAX];

	ck_assert_int_eq(ferry_topology_get(&p, &top), -EINVAL);
	ck_assert_int_eq(ferry_topology_get(&longer.p, &top), -E2BIG);
	memset(deep, '/', sizeof(deep) - 1);
	p = (struct ferry_topology_params){ .size = sizeof(p), .root = deep };
	ck_assert_int_eq(ferry_topology_get(&p, &top), -EINVAL);
	ck_assert_ptr_null(top);
	nodes("0\n", "0\n", "0\n");
	must_read();
	ck_assert_int_eq(ferry_topology_node(top, 0, &node), -EINVAL);
	node.size = sizeof(node);
	ck_assert_int_eq(ferry_topology_node(top, 1, &node), -ENOENT);
}
END_TEST

/* A program compiled with an earlier header, which had no more than this. */
START_TEST(shorter_node_is_filled_as_far_as_it_goes)
{
	struct ferry_topology_node node = { .has_cpu = true };

	nodes("3\n", "\n", "3\n");
	must_read();
	node.size = offsetof(struct ferry_topology_node, tier);
	node.tier = 77;
	ck_assert_int_eq(ferry_topology_node(top, 0, &node), 0);
	ck_assert_int_eq(node.node, 3);
	ck_assert_uint_eq(node.tier, 77);
	ck_assert_uint_eq(node.size,
			  offsetof(struct ferry_topology_node, tier));
}
END_TEST

START_TEST(no_memory_is_an_answer)
{
	struct inject_rule none = { .call = INJECT_MMAP, .error = ENOMEM };

	nodes("0\n", "0\n", "0\n");
	inject_start();
	inject_add(&none);
	ck_assert_int_eq(read_tree(), -ENOMEM);
	ck_assert_ptr_null(top);
}
END_TEST

/* --- this machine --------------------------------------------------------- */

START_TEST(nodes_of_this_machine_are_those_of_libnuma)
{
	int node, r = ferry_topology_get(NULL, &top);
	unsigned int i = 0;

	if (r == -EOPNOTSUPP)
		SKIP("node", "this kernel knows no nodes");
	ck_assert_int_eq(r, 0);
	FOR_EACH_NODE (node) {
		ck_assert_uint_lt(i, ferry_topology_nodes(top));
		ck_assert_int_eq(at(i).node, node);
		ck_assert_int_eq(at(i).has_cpu, node_cpus(node) > 0);
		ck_assert_int_eq(ferry_topology_distance(top, node, node), 10);
		ck_assert_uint_gt(at(i).memory, 0);
		i++;
	}
	ck_assert_uint_eq(i, ferry_topology_nodes(top));
	ck_assert_uint_ge(ferry_topology_tiers(top), 1);
}
END_TEST

START_TEST(node_without_processors_is_the_slower_one_here)
{
	unsigned int i;

	ck_assert_int_eq(ferry_topology_get(NULL, &top), 0);
	ck_assert_uint_eq(ferry_topology_tiers(top), 2);
	for (i = 0; i < ferry_topology_nodes(top); i++) {
		ck_assert_uint_eq(at(i).tier, !at(i).has_cpu);
		ck_assert_int_eq(at(i).slower >= 0, at(i).has_cpu);
		ck_assert_int_eq(at(i).faster >= 0, !at(i).has_cpu);
	}
}
END_TEST

#define MADE_UP(name) TEST_FIXTURE(name, NULL, setup, teardown)

static const struct test tests[] = {
	MADE_UP(one_node_is_one_class),
	MADE_UP(sockets_alone_are_one_class),
	MADE_UP(nodes_without_processors_are_slower),
	MADE_UP(columns_of_distances_are_the_nodes_online),
	MADE_UP(tiers_are_those_of_the_kernel),
	MADE_UP(tier_of_nodes_without_memory_is_none),
	MADE_UP(tiers_that_leave_a_node_out_do_not_count),
	MADE_UP(memory_on_the_package_is_faster),
	MADE_UP(what_processors_see_comes_first),
	MADE_UP(weights_are_in_ratio_of_bandwidths),
	MADE_UP(weight_of_the_kernel_is_told_beside_ours),
	MADE_UP(size_of_a_node_is_read),
	MADE_UP(absent_files_are_not_known),
	MADE_UP(nonsense_in_files_is_not_known),
	MADE_UP(half_a_row_of_distances_is_not_known),
	MADE_UP(list_that_makes_no_sense_is_refused),
	MADE_UP(kernel_without_nodes_is_named),
	MADE_UP(bad_parameters_are_refused),
	MADE_UP(shorter_node_is_filled_as_far_as_it_goes),
	MADE_UP(no_memory_is_an_answer),
	TEST(nodes_of_this_machine_are_those_of_libnuma, NULL),
	TEST(node_without_processors_is_the_slower_one_here, "slow_node"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
