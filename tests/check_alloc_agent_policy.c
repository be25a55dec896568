/* SPDX-License-Identifier: MIT */
/*
 * Policies that the agent sets really land: seen through the kernel, by
 * get_mempolicy(2), /proc/self/numa_maps and the nodes of pages.
 */
#include "tests/harness.h"

#include <ferry/arena.h>

#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/alloc-internal.h"
#include "tests/agent_client.h"
#include "tests/memory.h"
#include "tests/nodes.h"

#define MIB ((size_t)1 << 20)

static struct ferry_arena *arena;
static char *base;

static struct ferry_arena *make(size_t reserve, unsigned int pieces)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *a = NULL;

	p.reserve = reserve;
	p.pieces_max = pieces;
	p.thp = FERRY_THP_NEVER;
	ck_assert_int_eq(ferry_arena_create(&p, &a), 0);
	return a;
}

static void setup(void)
{
	arena = make(16 * MIB, 64);
	base = ferry_arena_base(arena);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, 16 * MIB, true), 0);
	fill_pages(base, 16 * MIB, 1);
	agent_start(NULL);
}

static void teardown(void)
{
	assert_pages(base, 16 * MIB, 1);
	ferry__arena_check(arena);
	agent_stop();
	ferry_arena_destroy(arena);
}

static struct ferry_agent_range range_of(size_t offset, size_t len)
{
	return (struct ferry_agent_range){ (uintptr_t)base + offset, len };
}

static struct answer set(enum ferry_node_mode mode, uint64_t nodes,
			 uint32_t flags, const struct ferry_agent_range *ranges,
			 size_t n)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_SET_POLICY);

	req.mode = mode;
	req.flags = flags;
	req.nodes_len = nodes ? 64 : 0;
	req.ranges_len = (uint32_t)n;
	return agent_ask(req, ranges, &nodes, NULL);
}

static int set_one(enum ferry_node_mode mode, uint64_t nodes, uint32_t flags,
		   struct ferry_agent_range range)
{
	struct answer a = set(mode, nodes, flags, &range, 1);
	int error = a.head.error ? a.head.error : answer_status(&a, 0)->error;

	answer_free(&a);
	return error;
}

static uint64_t bit_of(int node)
{
	return (uint64_t)1 << node;
}

/* What the kernel says of the mapping at @addr; @ret_nodes: the first 64. */
static int kernel_mode_at(const void *addr, uint64_t *ret_nodes)
{
	unsigned long nodes[16] = { 0 };
	int mode = -1;

	ck_assert_int_eq(
		get_mempolicy(&mode, nodes, 1024, (void *)addr, MPOL_F_ADDR),
		0);
	*ret_nodes = nodes[0];
	return mode;
}

static void expect_policy(size_t offset, int mode, uint64_t nodes)
{
	uint64_t seen;

	ck_assert_int_eq(kernel_mode_at(base + offset, &seen), mode);
	ck_assert_uint_eq(seen, nodes);
}

/* --- each mode -------------------------------------------------------------------- */

START_TEST(each_mode_is_in_force_in_its_range_alone)
{
	static const struct {
		enum ferry_node_mode mode;
		int kernel;
	} row[] = {
		{ FERRY_NODE_BIND, MPOL_BIND },
		{ FERRY_NODE_PREFERRED, MPOL_PREFERRED },
		{ FERRY_NODE_INTERLEAVE, MPOL_INTERLEAVE },
		{ FERRY_NODE_PREFERRED_MANY, 5 },
		{ FERRY_NODE_WEIGHTED_INTERLEAVE, 6 },
	};
	uint64_t nodes = bit_of(first_node());
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(row); i++) {
		r = set_one(row[i].mode, nodes, 0, range_of(4 * MIB, MIB));
		/* Older kernels do not have the last two. */
		if (r == -EOPNOTSUPP && i >= 3)
			continue;
		ck_assert_int_eq(r, 0);
		expect_policy(4 * MIB, row[i].kernel, nodes);
		expect_policy(5 * MIB - page_size(), row[i].kernel, nodes);
		expect_policy(3 * MIB, MPOL_DEFAULT, 0);
		expect_policy(5 * MIB, MPOL_DEFAULT, 0);
		ck_assert_int_eq(set_one(FERRY_NODE_DEFAULT, 0, 0,
					 range_of(0, 16 * MIB)),
				 0);
		expect_policy(4 * MIB, MPOL_DEFAULT, 0);
	}
}
END_TEST

/* The line of numa_maps for the mapping that begins at @addr. */
static void numa_maps_line(const char *addr, char *line, int size)
{
	FILE *f = fopen("/proc/self/numa_maps", "r");
	char start[32];

	ck_assert_ptr_nonnull(f);
	snprintf(start, sizeof(start), "%lx ", (unsigned long)addr);
	do
		ck_assert_ptr_nonnull(fgets(line, size, f));
	while (strncmp(line, start, strlen(start)));
	fclose(f);
}

START_TEST(policy_shows_in_numa_maps)
{
	char line[512], expect[32];

	ck_assert_int_eq(set_one(FERRY_NODE_BIND, bit_of(first_node()), 0,
				 range_of(4 * MIB, MIB)),
			 0);
	numa_maps_line(base + 4 * MIB, line, sizeof(line));
	snprintf(expect, sizeof(expect), " bind:%d ", first_node());
	ck_assert_ptr_nonnull(strstr(line, expect));
}
END_TEST

START_TEST(bad_policies_are_refused_as_a_whole)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_SET_POLICY);
	struct ferry_agent_range range = range_of(0, MIB);
	uint64_t far[16] = { 0 };
	struct answer a;

	ck_assert_int_eq(set_one(FERRY_NODE_BIND, 0, 0, range), -EINVAL);
	ck_assert_int_eq(set_one((enum ferry_node_mode)77, 1, 0, range),
			 -EINVAL);
	ck_assert_int_eq(set_one(FERRY_NODE_BIND, bit_of(63), 0, range),
			 -EINVAL);
	/* The length of the mask is its own: 1024 bits, the last one set. */
	far[15] = bit_of(63);
	req.mode = FERRY_NODE_BIND;
	req.nodes_len = 1024;
	req.ranges_len = 1;
	a = agent_ask(req, &range, far, NULL);
	ck_assert_int_eq(a.head.error, -EINVAL);
	answer_free(&a);
	/* A long mask that says no more than a short one. */
	far[15] = 0;
	far[0] = bit_of(first_node());
	a = agent_ask(req, &range, far, NULL);
	ck_assert_int_eq(a.head.error, 0);
	ck_assert_uint_eq(a.head.failed, 0);
	answer_free(&a);
	expect_policy(0, MPOL_BIND, bit_of(first_node()));
	req.home_node = UINT32_MAX;
	a = agent_ask(req, &range, far, NULL);
	ck_assert_int_eq(a.head.error, -EINVAL);
	answer_free(&a);
}
END_TEST

/* --- vectors ------------------------------------------------------------------------- */

START_TEST(ranges_in_any_order_and_overlapping_become_pieces)
{
	uint64_t nodes = bit_of(first_node());
	struct ferry_agent_range ranges[] = {
		range_of(8 * MIB, MIB),	 range_of(2 * MIB, MIB),
		range_of(MIB, 2 * MIB),	 range_of(8 * MIB, 2 * MIB),
		range_of(12 * MIB, MIB), range_of(11 * MIB, MIB),
	};
	struct answer a = set(FERRY_NODE_BIND, nodes, 0, ranges, 6);

	ck_assert_uint_eq(a.head.failed, 0);
	answer_free(&a);
	expect_policy(0, MPOL_DEFAULT, 0);
	expect_policy(MIB, MPOL_BIND, nodes);
	expect_policy(3 * MIB, MPOL_DEFAULT, 0);
	expect_policy(9 * MIB, MPOL_BIND, nodes);
	expect_policy(10 * MIB, MPOL_DEFAULT, 0);
	expect_policy(11 * MIB, MPOL_BIND, nodes);
	expect_policy(13 * MIB, MPOL_DEFAULT, 0);
	ck_assert_uint_eq(ferry__arena_piece_end(arena, 0), MIB);
	ck_assert_uint_eq(ferry__arena_piece_end(arena, MIB), 3 * MIB);
	ck_assert_uint_eq(ferry__arena_piece_end(arena, 8 * MIB), 10 * MIB);
	ck_assert_uint_eq(ferry__arena_piece_end(arena, 11 * MIB), 13 * MIB);
	ck_assert_uint_eq(ferry__arena_piece_end(arena, 13 * MIB), 16 * MIB);
}
END_TEST

START_TEST(more_pieces_than_the_arena_may_have_are_refused)
{
	uint64_t nodes = bit_of(first_node());
	struct ferry_agent_range ranges[40];
	struct answer a;
	size_t i;

	for (i = 0; i < 40; i++)
		ranges[i] = range_of(i * 4 * page_size(), page_size());
	a = set(FERRY_NODE_BIND, nodes, 0, ranges, 40);
	ck_assert_int_eq(a.head.error, 0);
	ck_assert_uint_eq(a.head.failed, 40);
	ck_assert_int_eq(answer_status(&a, 0)->error, -ENOSPC);
	ck_assert_uint_eq(answer_status(&a, 0)->reason, FERRY_REASON_SPLIT);
	answer_free(&a);
	expect_policy(0, MPOL_DEFAULT, 0);
	a = set(FERRY_NODE_BIND, nodes, 0, ranges, 20);
	ck_assert_uint_eq(a.head.failed, 0);
	answer_free(&a);
}
END_TEST

START_TEST(ten_thousand_ranges_are_set_by_one_request)
{
	size_t i, n = harness_scaled(10000), step = 2 * page_size();
	struct ferry_agent_range *ranges = calloc(n, sizeof(*ranges));
	uint64_t nodes = bit_of(first_node()), seen;
	struct ferry_arena *wide = make(n * step, 65536);
	char *at = ferry_arena_base(wide);
	struct answer a;

	for (i = 0; i < n; i++)
		ranges[i] =
			(struct ferry_agent_range){ (uintptr_t)at + i * step,
						    page_size() };
	a = set(FERRY_NODE_BIND, nodes, 0, ranges, n);
	ck_assert_int_eq(a.head.error, 0);
	ck_assert_uint_eq(a.head.failed, 0);
	ck_assert_uint_eq(a.head.value, n * page_size());
	answer_free(&a);
	for (i = 0; i < n; i += 7) {
		ck_assert_int_eq(kernel_mode_at(at + i * step, &seen),
				 MPOL_BIND);
		ck_assert_int_eq(
			kernel_mode_at(at + i * step + page_size(), &seen),
			MPOL_DEFAULT);
		ck_assert_uint_eq(ferry__arena_piece_end(wide, i * step),
				  i * step + page_size());
	}
	ferry__arena_check(wide);
	ferry_arena_destroy(wide);
	free(ranges);
}
END_TEST

START_TEST(ranges_of_several_arenas_are_told_apart)
{
	struct ferry_arena *other = make(2 * MIB, 8);
	char *there = ferry_arena_base(other);
	uint64_t nodes = bit_of(first_node()), seen;
	struct ferry_agent_range ranges[6];
	struct answer a;
	size_t i;

	for (i = 0; i < 6; i++) {
		ranges[i] = range_of(i * page_size(), page_size());
		if (i % 2)
			ranges[i].addr = (uintptr_t)there + i * page_size();
	}
	a = set(FERRY_NODE_BIND, nodes, 0, ranges, 6);
	ck_assert_uint_eq(a.head.failed, 0);
	answer_free(&a);
	expect_policy(2 * page_size(), MPOL_BIND, nodes);
	expect_policy(page_size(), MPOL_DEFAULT, 0);
	ck_assert_int_eq(kernel_mode_at(there + page_size(), &seen), MPOL_BIND);
	ferry__arena_check(other);
	ferry_arena_destroy(other);
}
END_TEST

/* --- pages --------------------------------------------------------------------------------- */

static struct answer migrate(enum ferry_agent_op op, int node,
			     const struct ferry_agent_range *ranges, size_t n)
{
	struct ferry_agent_request req = agent_request(op);

	req.node = node;
	req.ranges_len = (uint32_t)n;
	return agent_ask(req, ranges, NULL, NULL);
}

/*
 * Nearly all pages lie on @node; those that are busy for a moment stay, and are
 * asked for again.
 */
static bool lies_on(struct ferry_agent_range range, int node)
{
	size_t most = range.len / page_size() * 9 / 10;
	struct answer a;

	if (pages_on((void *)(uintptr_t)range.addr, range.len, node) >= most)
		return true;
	a = migrate(FERRY_AGENT_MIGRATE, node, &range, 1);
	answer_free(&a);
	return false;
}

START_TEST(present_pages_move_where_the_policy_says)
{
	struct ferry_agent_range range = range_of(2 * MIB, 5 * MIB);
	int to, r;

	FOR_EACH_NODE (to) {
		r = set_one(FERRY_NODE_BIND, bit_of(to),
			    FERRY_AGENT_MOVE | FERRY_AGENT_STRICT, range);
		ck_assert(r == 0 || r == -EIO);
		if (r == 0)
			ck_assert_uint_gt(pages_on(base + 2 * MIB, 5 * MIB, to),
					  0);
		AWAIT(lies_on(range, to));
		expect_policy(2 * MIB, MPOL_BIND, bit_of(to));
	}
}
END_TEST

static struct ferry__sys table;
static int changes;

/* The program comes in between, for one page. */
static int interrupted_mbind(void *addr, size_t len, int mode,
			     const unsigned long *nodes, unsigned long bits,
			     unsigned int flags)
{
	const struct ferry_node_policy policy = { .mode = FERRY_NODE_DEFAULT };

	if (flags & MPOL_MF_MOVE &&
	    !__atomic_fetch_add(&changes, 1, __ATOMIC_RELAXED))
		ck_assert_int_eq(
			ferry_arena_set_node(arena, MIB, page_size(), &policy),
			0);
	return ferry__sys_linux.mbind(addr, len, mode, nodes, bits, flags);
}

START_TEST(program_does_not_wait_for_pages_that_move_and_its_policy_holds)
{
	uint64_t nodes = bit_of(first_node());
	int r;

	table = *ferry__sys;
	table.mbind = interrupted_mbind;
	ferry__sys = &table;
	setup();
	r = set_one(FERRY_NODE_BIND, nodes, FERRY_AGENT_MOVE,
		    range_of(0, 2 * MIB));
	ck_assert_int_eq(r, 0);
	/* Relaxed: the answer came after it. */
	ck_assert_int_eq(__atomic_load_n(&changes, __ATOMIC_RELAXED), 1);
	expect_policy(0, MPOL_BIND, nodes);
	expect_policy(MIB, MPOL_DEFAULT, 0);
	expect_policy(MIB + page_size(), MPOL_BIND, nodes);
	teardown();
}
END_TEST

START_TEST(ranges_migrate_there_and_back)
{
	struct ferry_agent_range range = range_of(0, 16 * MIB);
	struct answer a;
	int to;

	FOR_EACH_NODE (to) {
		a = migrate(FERRY_AGENT_MIGRATE, to, &range, 1);
		ck_assert_int_eq(a.head.error, 0);
		ck_assert_uint_le(answer_status(&a, 0)->done, 16 * MIB);
		answer_free(&a);
		AWAIT(lies_on(range, to));
	}
	a = migrate(FERRY_AGENT_MIGRATE, 1000, &range, 1);
	ck_assert_int_eq(answer_status(&a, 0)->error, -EINVAL);
	answer_free(&a);
}
END_TEST

START_TEST(residency_counts_all_that_is_there)
{
	struct ferry_agent_range ranges[] = { range_of(0, 4 * MIB),
					      range_of(1, MIB) };
	struct ferry_agent_request req = agent_request(FERRY_AGENT_RESIDENCY);
	const struct ferry_agent_resident *item;
	uint64_t sum = 0;
	struct answer a;
	size_t i;

	req.ranges_len = 2;
	a = agent_ask(req, ranges, NULL, NULL);
	ck_assert_int_eq(a.head.error, 0);
	ck_assert_uint_eq(a.head.failed, 1);
	for (i = 0; i < a.head.items_len; i++) {
		item = answer_item(&a, i);
		ck_assert_uint_eq(item->range, 0);
		ck_assert_uint_gt(item->bytes, 0);
		sum += item->bytes;
	}
	ck_assert_uint_gt(sum, 0);
	/* A page that the kernel moves meanwhile is there, then looks swapped. */
	ck_assert_uint_le(sum, 2 * 4 * MIB);
	answer_free(&a);
}
END_TEST

/* --- physical addresses ----------------------------------------------------------------------- */

/* The address of the page's frame; 0 where the kernel does not tell. */
static uint64_t phys_of(const char *addr)
{
	const uint64_t frame = ((uint64_t)1 << 55) - 1;

	return (pagemap_word(addr) & frame) * page_size();
}

START_TEST(pages_migrate_by_physical_address)
{
	struct ferry_agent_range ranges[64];
	struct answer a;
	size_t i;
	int to;

	if (!phys_of(base))
		SKIP("pfn", "the page map shows no frames");
	FOR_EACH_NODE (to) {
		for (i = 0; i < 64; i++)
			ranges[i] = (struct ferry_agent_range){
				phys_of(base + i * 16 * page_size()) + i, 1
			};
		a = migrate(FERRY_AGENT_MIGRATE_PHYS, to, ranges, 64);
		ck_assert_int_eq(a.head.error, 0);
		ck_assert_uint_gt(a.head.generation, 0);
		/* A page that the kernel moved meanwhile is not found. */
		ck_assert_uint_le(a.head.failed, 32);
		ck_assert_uint_eq(a.head.value,
				  (64 - a.head.failed) * page_size());
		answer_free(&a);
	}
}
END_TEST

START_TEST(frames_of_others_are_refused)
{
	char *others = map_anon(page_size());
	struct ferry_agent_range ranges[3];
	struct answer a;
	size_t i;

	if (!phys_of(base))
		SKIP("pfn", "the page map shows no frames");
	others[0] = 1;
	ranges[0].addr = phys_of(others);
	ranges[1].addr = UINT64_MAX - 1;
	ranges[2].addr = (uint64_t)1 << 60;
	for (i = 0; i < 3; i++)
		ranges[i].len = 1;
	a = migrate(FERRY_AGENT_MIGRATE_PHYS, first_node(), ranges, 3);
	ck_assert_int_eq(a.head.error, 0);
	ck_assert_uint_eq(a.head.failed, 3);
	ck_assert_int_eq(answer_status(&a, 0)->error, -ENOENT);
	answer_free(&a);
	ranges[0].len = 0;
	ranges[1].len = 4;
	a = migrate(FERRY_AGENT_MIGRATE_PHYS, first_node(), ranges, 2);
	ck_assert_int_eq(answer_status(&a, 0)->error, -EINVAL);
	ck_assert_int_eq(answer_status(&a, 1)->error, -EOVERFLOW);
	answer_free(&a);
}
END_TEST

#define SERVED(name) TEST_FIXTURE(name, "numa_calls", setup, teardown)

static const struct test tests[] = {
	SERVED(each_mode_is_in_force_in_its_range_alone),
	SERVED(policy_shows_in_numa_maps),
	SERVED(bad_policies_are_refused_as_a_whole),
	SERVED(ranges_in_any_order_and_overlapping_become_pieces),
	SERVED(more_pieces_than_the_arena_may_have_are_refused),
	SERVED(ten_thousand_ranges_are_set_by_one_request),
	SERVED(ranges_of_several_arenas_are_told_apart),
	SERVED(present_pages_move_where_the_policy_says),
	TEST(program_does_not_wait_for_pages_that_move_and_its_policy_holds,
	     "numa_calls"),
	SERVED(ranges_migrate_there_and_back),
	SERVED(residency_counts_all_that_is_there),
	SERVED(pages_migrate_by_physical_address),
	SERVED(frames_of_others_are_refused),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
