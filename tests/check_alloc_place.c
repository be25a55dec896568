/* SPDX-License-Identifier: MIT */
/*
 * Node policy of arenas: pages lie where the policy says, as the kernel
 * itself tells (move_pages(2) with no nodes asks where pages are). Needs two
 * nodes; the kernel matrix has two, three, and one without CPUs.
 */
#include <ferry/arena.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/nodes.h"
#include "tests/system.h"
#include "uffd/sys.h"

#define PAGES 64

static size_t page;
static size_t span; /* PAGES pages, in bytes */

static void setup(void)
{
	page = page_size();
	span = PAGES * page;
	ck_assert_int_ge(numa_available(), 0);
}

static struct ferry_node_policy policy(enum ferry_node_mode mode,
				       const struct bitmask *mask)
{
	struct ferry_node_policy policy = {
		.mode = mode,
		.nodes = mask->maskp,
		.nodes_len = (unsigned int)mask->size,
	};

	return policy;
}

static struct ferry_arena_params params_for(enum ferry_thp thp)
{
	struct ferry_arena_params params =
		FERRY_INIT(struct ferry_arena_params);

	params.reserve = 2 * HUGE_SIZE;
	params.thp = thp;
	return params;
}

static struct ferry_arena *create(const struct ferry_node_policy *node)
{
	struct ferry_arena_params params = params_for(FERRY_THP_NEVER);
	struct ferry_arena *arena;

	if (node)
		params.node = *node;
	ck_assert_int_eq(ferry_arena_create(&params, &arena), 0);
	return arena;
}

/* An arena with @mode on the nodes of @mask, which is freed. */
static struct ferry_arena *create_on(enum ferry_node_mode mode,
				     struct bitmask *mask)
{
	struct ferry_node_policy node = policy(mode, mask);
	struct ferry_arena *arena = create(&node);

	numa_free_nodemask(mask);
	return arena;
}

static char *at(const struct ferry_arena *arena, size_t offset)
{
	return (char *)ferry_arena_base(arena) + offset;
}

static void fill(struct ferry_arena *arena, size_t len)
{
	ck_assert_int_eq(ferry_arena_commit(arena, 0, len, false), 0);
	fill_pages(at(arena, 0), len, 1);
}

static void assert_filled(const struct ferry_arena *arena, size_t len)
{
	assert_pages(at(arena, 0), len, 1);
}

/* All pages of [@offset, @offset + @len) must lie on @node. */
static void assert_on(const struct ferry_arena *arena, size_t offset,
		      size_t len, int node)
{
	ck_assert_uint_eq(pages_on(at(arena, offset), len, node), len / page);
}

/* The arena's own report of its first pages must be the kernel's. */
static void assert_residency(struct ferry_arena *arena, size_t len)
{
	unsigned int n = (unsigned int)numa_max_node() + 1;
	size_t *bytes = calloc(n, sizeof(*bytes));
	unsigned int node;

	ck_assert_ptr_nonnull(bytes);
	ck_assert_int_eq(ferry_arena_residency(arena, 0, len, bytes, n), 0);
	for (node = 0; node < n; node++)
		ck_assert_uint_eq(bytes[node] / page,
				  pages_on(at(arena, 0), len, (int)node));
	free(bytes);
}

START_TEST(bound_pages_lie_on_their_node)
{
	struct ferry_arena *arena;
	int node;

	FOR_EACH_NODE (node) {
		arena = create_on(FERRY_NODE_BIND, mask_of(node));
		fill(arena, span);
		assert_on(arena, 0, span, node);
		assert_residency(arena, span);
		ferry_arena_destroy(arena);
	}
}
END_TEST

START_TEST(populated_pages_obey_the_policy)
{
	struct ferry_arena *arena;
	int node = second_node();

	arena = create_on(FERRY_NODE_BIND, mask_of(node));
	ck_assert_int_eq(ferry_arena_commit(arena, 0, span, true), 0);
	assert_on(arena, 0, span, node);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(recommitted_pages_obey_the_policy)
{
	struct ferry_arena *arena;
	int node = second_node();

	arena = create_on(FERRY_NODE_BIND, mask_of(node));
	fill(arena, span);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, span), 0);
	ck_assert_uint_eq(pages_on(at(arena, 0), span, node), 0);
	fill(arena, span);
	assert_on(arena, 0, span, node);
	ferry_arena_destroy(arena);
}
END_TEST

/* Reservations go where the address space behind them is free. */
static void *roomy;

static int mmap_roomy(void *addr, size_t len, int prot, int flags, int fd,
		      off_t off, void **ret_addr)
{
	if (!addr && len >= HUGE_SIZE)
		addr = roomy;
	return ferry__sys_linux.mmap(addr, len, prot, flags, fd, off, ret_addr);
}

static void make_room(size_t len)
{
	static struct ferry__sys table;
	char *hole = map_anon(len);

	munmap(hole, len);
	roomy = hole;
	table = ferry__sys_linux;
	table.mmap = mmap_roomy;
	ferry__sys = &table;
}

START_TEST(grown_part_obeys_the_policy)
{
	struct ferry_arena *arena;
	size_t old;

	make_room(64 * HUGE_SIZE);
	arena = create_on(FERRY_NODE_BIND, mask_of(second_node()));
	old = ferry_arena_reserved(arena);
	ck_assert_int_eq(ferry_arena_grow(arena, HUGE_SIZE), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, old, span, true), 0);
	assert_on(arena, old, span, second_node());
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(default_pages_lie_where_they_are_touched)
{
	struct ferry_arena *arena;
	int node;

	FOR_EACH_NODE (node) {
		if (!node_cpus(node))
			continue;
		ck_assert_int_eq(numa_run_on_node(node), 0);
		arena = create(NULL);
		fill(arena, span);
		assert_on(arena, 0, span, node);
		ferry_arena_destroy(arena);
	}
}
END_TEST

START_TEST(preferred_node_gets_the_pages)
{
	struct ferry_arena *arena;
	int node;

	FOR_EACH_NODE (node) {
		arena = create_on(FERRY_NODE_PREFERRED, mask_of(node));
		fill(arena, span);
		assert_on(arena, 0, span, node);
		ferry_arena_destroy(arena);
	}
}
END_TEST

START_TEST(interleaved_pages_are_spread_evenly)
{
	struct bitmask *mask = mask_of_all();
	size_t on, each = PAGES / numa_bitmask_weight(mask);
	struct ferry_arena *arena = create_on(FERRY_NODE_INTERLEAVE, mask);
	int node;

	fill(arena, span);
	FOR_EACH_NODE (node) {
		on = pages_on(at(arena, 0), span, node);
		ck_assert_msg(on == each || on == each + 1,
			      "%zu of %d pages on node %d", on, PAGES, node);
	}
	assert_residency(arena, span);
	ferry_arena_destroy(arena);
}
END_TEST

static bool hold_weight(struct system_hold *hold, int node, const char *weight)
{
	char path[96];

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/mempolicy/weighted_interleave/node%d", node);
	return system_hold_value(hold, path, weight);
}

START_TEST(weighted_pages_are_spread_by_weight)
{
	struct bitmask *mask = mask_of_two();
	struct ferry_arena_params params = params_for(FERRY_THP_NEVER);
	struct ferry_arena *arena;
	struct system_hold three, one;
	int r;

	params.node = policy(FERRY_NODE_WEIGHTED_INTERLEAVE, mask);
	r = ferry_arena_create(&params, &arena);
	numa_free_nodemask(mask);
	if (r == -EOPNOTSUPP)
		SKIP("weighted_interleave", "the kernel has no such policy");
	ck_assert_int_eq(r, 0);
	if (!hold_weight(&three, first_node(), "3"))
		SKIP("weighted_interleave", "%s", three.reason);
	ck_assert(hold_weight(&one, second_node(), "1"));
	fill(arena, span);
	ck_assert_uint_eq(pages_on(at(arena, 0), span, first_node()),
			  PAGES * 3 / 4);
	ck_assert_uint_eq(pages_on(at(arena, 0), span, second_node()),
			  PAGES / 4);
	ferry_arena_destroy(arena);
	system_release(&one);
	system_release(&three);
}
END_TEST

START_TEST(home_node_is_used_first)
{
	struct bitmask *mask = mask_of_all();
	struct ferry_node_policy node = policy(FERRY_NODE_BIND, mask);
	struct ferry_arena *arena;
	int home;

	FOR_EACH_NODE (home) {
		node.home_node = home + 1;
		arena = create(&node);
		fill(arena, span);
		assert_on(arena, 0, span, home);
		ferry_arena_destroy(arena);
	}
	numa_free_nodemask(mask);
}
END_TEST

START_TEST(policy_of_a_range_leaves_the_rest_alone)
{
	struct ferry_arena *arena =
		create_on(FERRY_NODE_BIND, mask_of(first_node()));
	struct bitmask *mask = mask_of(second_node());
	struct ferry_node_policy node = policy(FERRY_NODE_BIND, mask);
	size_t half = span / 2;

	ck_assert_int_eq(ferry_arena_set_node(arena, half, half, &node), 0);
	fill(arena, span);
	assert_on(arena, 0, half, first_node());
	assert_on(arena, half, half, second_node());
	assert_residency(arena, span);
	ferry_arena_destroy(arena);
	numa_free_nodemask(mask);
}
END_TEST

START_TEST(new_policy_leaves_present_pages_unless_asked)
{
	struct ferry_arena *arena =
		create_on(FERRY_NODE_BIND, mask_of(first_node()));
	struct bitmask *mask = mask_of(second_node());
	struct ferry_node_policy node = policy(FERRY_NODE_BIND, mask);

	fill(arena, span);
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, span, &node), 0);
	assert_on(arena, 0, span, first_node());
	node.move_present = true;
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, span, &node), 0);
	assert_on(arena, 0, span, second_node());
	assert_filled(arena, span);
	ferry_arena_destroy(arena);
	numa_free_nodemask(mask);
}
END_TEST

START_TEST(strict_policy_reports_misplaced_pages)
{
	struct ferry_arena *arena =
		create_on(FERRY_NODE_BIND, mask_of(first_node()));
	struct bitmask *mask = mask_of(second_node());
	struct ferry_node_policy node = policy(FERRY_NODE_BIND, mask);

	node.strict = true;
	fill(arena, span);
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, span, &node), -EIO);
	assert_filled(arena, span);
	node.move_present = true;
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, span, &node), 0);
	assert_on(arena, 0, span, second_node());
	assert_filled(arena, span);
	ferry_arena_destroy(arena);
	numa_free_nodemask(mask);
}
END_TEST

START_TEST(pages_migrate_to_every_node_intact)
{
	struct ferry_arena *arena = create(NULL);
	size_t failed;
	int node;

	fill(arena, span);
	FOR_EACH_NODE (node) {
		failed = 1;
		ck_assert_int_eq(
			ferry_arena_migrate(arena, 0, span, node, &failed), 0);
		ck_assert_uint_eq(failed, 0);
		assert_on(arena, 0, span, node);
		assert_filled(arena, span);
		assert_residency(arena, span);
	}
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(migration_takes_the_pages_of_its_range_only)
{
	struct ferry_arena *arena =
		create_on(FERRY_NODE_PREFERRED, mask_of(first_node()));

	fill(arena, span);
	ck_assert_int_eq(
		ferry_arena_migrate(arena, page, page, second_node(), NULL), 0);
	ck_assert_uint_eq(pages_on(at(arena, 0), span, first_node()),
			  PAGES - 1);
	ck_assert_uint_eq(pages_on(at(arena, page), page, second_node()), 1);
	assert_filled(arena, span);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(migration_passes_over_absent_pages)
{
	struct ferry_arena *arena =
		create_on(FERRY_NODE_PREFERRED, mask_of(first_node()));
	size_t failed = 1;

	fill(arena, span);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, page), 0);
	ck_assert_int_eq(
		ferry_arena_migrate(arena, 0, span, second_node(), &failed), 0);
	ck_assert_uint_eq(failed, 0);
	ck_assert_uint_eq(pages_on(at(arena, 0), span, second_node()),
			  PAGES - 1);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(huge_pages_obey_and_migrate_intact)
{
	struct ferry_arena_params params = params_for(FERRY_THP_ALWAYS);
	struct bitmask *mask = mask_of(second_node());
	struct ferry_arena *arena;
	size_t failed = 1;

	params.node = policy(FERRY_NODE_PREFERRED, mask);
	ck_assert_int_eq(ferry_arena_create(&params, &arena), 0);
	numa_free_nodemask(mask);
	fill(arena, HUGE_SIZE);
	assert_on(arena, 0, HUGE_SIZE, second_node());
	ck_assert_int_eq(
		ferry_arena_migrate(arena, 0, HUGE_SIZE, first_node(), &failed),
		0);
	ck_assert_uint_eq(failed, 0);
	assert_on(arena, 0, HUGE_SIZE, first_node());
	assert_filled(arena, HUGE_SIZE);
	assert_residency(arena, HUGE_SIZE);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(node_without_processors_serves_as_any_other)
{
	struct ferry_arena *arena;
	int node, slow = -1;

	FOR_EACH_NODE (node)
		if (!node_cpus(node))
			slow = node;
	ck_assert_int_ge(slow, 0);
	arena = create_on(FERRY_NODE_BIND, mask_of(slow));
	fill(arena, span);
	assert_on(arena, 0, span, slow);
	assert_filled(arena, span);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(bad_policies_are_refused)
{
	struct bitmask *none = numa_allocate_nodemask();
	struct ferry_node_policy node = policy(FERRY_NODE_BIND, none);
	struct ferry_arena_params params = params_for(FERRY_THP_NEVER);
	struct ferry_arena *arena = create(NULL);
	struct ferry_arena *refused;

	params.node = node;
	ck_assert_int_eq(ferry_arena_create(&params, &refused), -EINVAL);
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, span, &node), -EINVAL);
	node.mode = (enum ferry_node_mode)99;
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, span, &node), -EINVAL);
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, span, NULL), -EINVAL);
	numa_free_nodemask(none);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(migration_to_no_node_is_refused_and_loses_nothing)
{
	struct ferry_arena *arena =
		create_on(FERRY_NODE_PREFERRED, mask_of(first_node()));
	int beyond = numa_max_node() + 1;

	fill(arena, span);
	ck_assert_int_lt(ferry_arena_migrate(arena, 0, span, beyond, NULL), 0);
	ck_assert_int_lt(ferry_arena_migrate(arena, 0, span, -1, NULL), 0);
	assert_on(arena, 0, span, first_node());
	assert_filled(arena, span);
	ferry_arena_destroy(arena);
}
END_TEST

#define NODE_TEST(name) TEST_FIXTURE(name, "numa", setup, NULL)

static const struct test tests[] = {
	NODE_TEST(bound_pages_lie_on_their_node),
	NODE_TEST(populated_pages_obey_the_policy),
	NODE_TEST(recommitted_pages_obey_the_policy),
	NODE_TEST(grown_part_obeys_the_policy),
	NODE_TEST(default_pages_lie_where_they_are_touched),
	NODE_TEST(preferred_node_gets_the_pages),
	NODE_TEST(interleaved_pages_are_spread_evenly),
	NODE_TEST(weighted_pages_are_spread_by_weight),
	NODE_TEST(home_node_is_used_first),
	NODE_TEST(policy_of_a_range_leaves_the_rest_alone),
	NODE_TEST(new_policy_leaves_present_pages_unless_asked),
	NODE_TEST(strict_policy_reports_misplaced_pages),
	NODE_TEST(pages_migrate_to_every_node_intact),
	NODE_TEST(migration_takes_the_pages_of_its_range_only),
	NODE_TEST(migration_passes_over_absent_pages),
	TEST_FIXTURE(huge_pages_obey_and_migrate_intact, "numa,thp", setup,
		     NULL),
	TEST_FIXTURE(node_without_processors_serves_as_any_other,
		     "numa,slow_node", setup, NULL),
	NODE_TEST(bad_policies_are_refused),
	NODE_TEST(migration_to_no_node_is_refused_and_loses_nothing),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
