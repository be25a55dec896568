/* SPDX-License-Identifier: MIT */
/*
 * Node policies of arenas: against a topology made up here, and live on what
 * the machine has.
 */
#include "tests/harness.h"

#include <errno.h>
#include <numaif.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/alloc-internal.h"
#include "tests/memory.h"
#include "tests/nodes.h"

#define MIB ((size_t)1 << 20)

static struct ferry_arena *make(size_t reserve)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *arena = NULL;

	p.reserve = reserve;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	return arena;
}

static struct ferry_node_policy policy_of(enum ferry_node_mode mode,
					  const unsigned long *nodes)
{
	return (struct ferry_node_policy){ .mode = mode,
					   .nodes = nodes,
					   .nodes_len = nodes ? 64 : 0 };
}

/* --- a topology of our own ------------------------------------------------ */

/* Nodes 0, 1 and 3 have memory, 2 has none; odd pages stay on node 1. */
static struct {
	int error;	  /* what mbind() answers */
	unsigned int nth; /* from this call on; 0: always */
	unsigned int calls;
	int mode;
	unsigned long nodes, bits;
	unsigned int flags;
	size_t len;
	int home;
	int home_error;
	int even;      /* node of the even pages */
	size_t absent; /* of every so many pages the first; 0: none */
	long migrate_error;
} fake;

static bool fake_available(void)
{
	return true;
}

static bool fake_unavailable(void)
{
	return false;
}

static int fake_max_node(void)
{
	return 3;
}

static bool fake_usable(int node)
{
	return node != 2;
}

static int fake_mbind(void *addr, size_t len, int mode,
		      const unsigned long *nodes, unsigned long bits,
		      unsigned int flags)
{
	(void)addr;
	fake.calls++;
	fake.mode = mode;
	fake.nodes = nodes ? *nodes : 0;
	fake.bits = bits;
	fake.flags = flags;
	fake.len = len;
	return fake.calls >= fake.nth ? -fake.error : 0;
}

static int fake_set_home_node(void *addr, size_t len, int node)
{
	(void)addr;
	(void)len;
	fake.home = node;
	return -fake.home_error;
}

static long fake_move_pages(int pid, size_t n, void **pages, const int *nodes,
			    int *status, int flags)
{
	size_t i, number;

	ck_assert_int_eq(pid, 0);
	ck_assert_int_eq(flags, nodes ? MPOL_MF_MOVE : 0);
	if (fake.migrate_error)
		return -fake.migrate_error;
	fake.even = nodes ? nodes[0] : fake.even;
	for (i = 0; i < n; i++) {
		number = (uintptr_t)pages[i] / page_size();
		if (fake.absent && number % fake.absent == 0)
			status[i] = -ENOENT;
		else if (nodes && number % 2)
			status[i] = -EBUSY;
		else
			status[i] = number % 2 ? 1 : fake.even;
	}
	return 0;
}

static const struct ferry__numa fake_numa = {
	.available = fake_available,
	.max_node = fake_max_node,
	.usable = fake_usable,
};

static struct ferry_arena *made_up(void)
{
	static struct ferry__sys table;

	table = ferry__sys_linux;
	table.mbind = fake_mbind;
	table.move_pages = fake_move_pages;
	table.set_home_node = fake_set_home_node;
	ferry__sys = &table;
	ferry__numa = &fake_numa;
	return make(4 * MIB);
}

static const unsigned long node0 = 1, node01 = 3, node2 = 4, node03 = 9,
			   none = 0, node40 = 1ul << 40;

START_TEST(each_mode_reaches_the_kernel)
{
	static const struct {
		enum ferry_node_mode mode;
		const unsigned long *nodes;
		int kernel;
	} row[] = {
		{ FERRY_NODE_BIND, &node03, MPOL_BIND },
		{ FERRY_NODE_PREFERRED, &node0, MPOL_PREFERRED },
		{ FERRY_NODE_PREFERRED_MANY, &node01, MPOL_PREFERRED_MANY },
		{ FERRY_NODE_INTERLEAVE, &node01, MPOL_INTERLEAVE },
		{ FERRY_NODE_WEIGHTED_INTERLEAVE, &node03, 6 },
	};
	struct ferry_arena *arena = made_up();
	struct ferry_node_policy p;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(row); i++) {
		p = policy_of(row[i].mode, row[i].nodes);
		ck_assert_int_eq(ferry_arena_set_node(arena, 0, 2 * MIB, &p),
				 0);
		ck_assert_int_eq(fake.mode, row[i].kernel);
		ck_assert_uint_eq(fake.nodes, *row[i].nodes);
		ck_assert_uint_eq(fake.len, 2 * MIB);
		ck_assert_uint_eq(fake.flags, 0);
		ck_assert(fake.nodes >> fake.bits == 0);
	}
	p = policy_of(FERRY_NODE_DEFAULT, NULL);
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, 2 * MIB, &p), 0);
	ck_assert_int_eq(fake.mode, MPOL_DEFAULT);
	p = policy_of(FERRY_NODE_PREFERRED, NULL);
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, 2 * MIB, &p), 0);
	ck_assert_uint_eq(fake.bits, 0);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(bad_policies_are_refused_before_the_kernel)
{
	static const struct {
		enum ferry_node_mode mode;
		const unsigned long *nodes;
		int home;
	} row[] = {
		{ FERRY_NODE_BIND, &none, 0 },
		{ FERRY_NODE_BIND, NULL, 0 },
		{ FERRY_NODE_BIND, &node2, 0 },
		{ FERRY_NODE_BIND, &node40, 0 },
		{ FERRY_NODE_PREFERRED, &node01, 0 },
		{ FERRY_NODE_INTERLEAVE, &none, 0 },
		{ FERRY_NODE_INTERLEAVE, &node01, 1 },
		{ FERRY_NODE_BIND, &node01, 5 },
		{ FERRY_NODE_BIND, &node01, -1 },
		{ FERRY_NODE_DEFAULT, NULL, 1 },
		{ (enum ferry_node_mode)77, &node0, 0 },
	};
	struct ferry_arena *arena = made_up();
	struct ferry_node_policy p;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(row); i++) {
		p = policy_of(row[i].mode, row[i].nodes);
		p.home_node = row[i].home;
		ck_assert_int_eq(ferry_arena_set_node(arena, 0, MIB, &p),
				 -EINVAL);
	}
	p = policy_of(FERRY_NODE_BIND, &node0);
	p.nodes = NULL;
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, MIB, &p), -EINVAL);
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, MIB, NULL), -EINVAL);
	p = policy_of(FERRY_NODE_BIND, &node0);
	ck_assert_int_eq(ferry_arena_set_node(arena, 1, MIB, &p), -EINVAL);
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, 5 * MIB, &p), -EINVAL);
	ck_assert_uint_eq(fake.calls, 0);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(modes_that_came_late_say_so_when_missing)
{
	struct ferry_arena *arena = made_up();
	struct ferry_node_policy p;

	fake.error = EINVAL;
	p = policy_of(FERRY_NODE_WEIGHTED_INTERLEAVE, &node01);
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, MIB, &p), -EOPNOTSUPP);
	p = policy_of(FERRY_NODE_PREFERRED_MANY, &node01);
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, MIB, &p), -EOPNOTSUPP);
	p = policy_of(FERRY_NODE_BIND, &node01);
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, MIB, &p), -EINVAL);
	fake.error = 0;
	fake.home_error = ENOSYS;
	p.home_node = 1;
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, MIB, &p), -EOPNOTSUPP);
	fake.home_error = 0;
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, MIB, &p), 0);
	ck_assert_int_eq(fake.home, 0);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(strict_and_present_pages_become_flags)
{
	struct ferry_arena *arena = made_up();
	struct ferry_node_policy p = policy_of(FERRY_NODE_BIND, &node0);

	p.move_present = true;
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, MIB, &p), 0);
	ck_assert_uint_eq(fake.flags, MPOL_MF_MOVE);
	p.strict = true;
	fake.error = EIO;
	p.move_present = false;
	ck_assert_int_eq(ferry_arena_set_node(arena, 2 * MIB, MIB, &p), -EIO);
	ck_assert_uint_eq(ferry__arena_piece_end(arena, MIB), 4 * MIB);
	p.move_present = true;
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, MIB, &p), -EIO);
	ck_assert_uint_eq(fake.flags, MPOL_MF_MOVE | MPOL_MF_STRICT);
	ck_assert_int_eq(ferry_arena_set_node(arena, 2 * MIB, MIB, &p), -EIO);
	ck_assert_uint_eq(ferry__arena_piece_end(arena, MIB), 2 * MIB);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(failed_policy_leaves_the_pieces_as_they_were)
{
	struct ferry_arena *arena = made_up();
	struct ferry_node_policy p = policy_of(FERRY_NODE_BIND, &node0);

	ck_assert_int_eq(ferry_arena_set_node(arena, MIB, MIB, &p), 0);
	ck_assert_uint_eq(ferry__arena_piece_end(arena, 0), MIB);
	ck_assert_uint_eq(ferry__arena_piece_end(arena, MIB), 2 * MIB);
	p = policy_of(FERRY_NODE_INTERLEAVE, &node01);
	fake.error = ENOMEM;
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, 3 * MIB, &p), -ENOMEM);
	/* the old policies were put back, the last of them the default */
	ck_assert_int_eq(fake.mode, MPOL_DEFAULT);
	ck_assert_uint_eq(ferry__arena_piece_end(arena, 0), MIB);
	ck_assert_uint_eq(ferry__arena_piece_end(arena, MIB), 2 * MIB);
	ck_assert_uint_eq(ferry__arena_piece_end(arena, 2 * MIB), 4 * MIB);
	fake.error = 0;
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, 4 * MIB, &p), 0);
	ck_assert_uint_eq(ferry__arena_piece_end(arena, 0), 4 * MIB);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(policy_of_the_whole_is_given_at_creation)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *arena = made_up(), *bound = NULL;

	p.reserve = 2 * MIB;
	p.node = policy_of(FERRY_NODE_BIND, &node03);
	ck_assert_int_eq(ferry_arena_create(&p, &bound), 0);
	ck_assert_uint_eq(fake.nodes, node03);
	ferry_arena_destroy(bound);
	p.node = policy_of(FERRY_NODE_BIND, &node2);
	ck_assert_int_eq(ferry_arena_create(&p, &bound), -EINVAL);
	p.node = policy_of(FERRY_NODE_WEIGHTED_INTERLEAVE, &node03);
	fake.error = EINVAL;
	ck_assert_int_eq(ferry_arena_create(&p, &bound), -EOPNOTSUPP);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(residency_and_migration_count_pages)
{
	struct ferry_arena *arena = made_up();
	size_t bytes[4], failed = 77, page = page_size();

	ck_assert_int_eq(ferry_arena_commit(arena, 0, 2 * MIB, false), 0);
	ck_assert_int_eq(ferry_arena_residency(arena, 0, 4 * MIB, bytes, 4), 0);
	ck_assert_uint_eq(bytes[0], MIB);
	ck_assert_uint_eq(bytes[1], MIB);
	ck_assert_uint_eq(bytes[2] + bytes[3], 0);
	ck_assert_int_eq(ferry_arena_residency(arena, 0, 4 * MIB, bytes, 1), 0);
	ck_assert_int_eq(ferry_arena_migrate(arena, 0, 4 * MIB, 3, &failed), 0);
	ck_assert_uint_eq(failed, MIB / page);
	fake.absent = 2; /* page numbers: arenas are aligned */
	ck_assert_int_eq(ferry_arena_migrate(arena, 0, 4 * MIB, 3, &failed), 0);
	ck_assert_uint_eq(failed, MIB / page);
	ck_assert_int_eq(ferry_arena_residency(arena, 0, 4 * MIB, bytes, 4), 0);
	ck_assert_uint_eq(bytes[0], 0);
	fake.absent = 1;
	ck_assert_int_eq(ferry_arena_migrate(arena, 0, 4 * MIB, 3, &failed), 0);
	ck_assert_uint_eq(failed, 0);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(bad_migrations_are_refused)
{
	struct ferry_arena *arena = made_up();
	size_t bytes[1], failed = 77;

	ck_assert_int_eq(ferry_arena_commit(arena, 0, MIB, false), 0);
	ck_assert_int_eq(ferry_arena_migrate(arena, 0, MIB, -1, NULL), -EINVAL);
	ck_assert_int_eq(ferry_arena_migrate(arena, 0, MIB, 2, NULL), -EINVAL);
	ck_assert_int_eq(ferry_arena_migrate(arena, 0, MIB, 4, NULL), -EINVAL);
	ck_assert_int_eq(ferry_arena_migrate(arena, 1, MIB, 0, &failed),
			 -EINVAL);
	ck_assert_uint_eq(failed, 77);
	ck_assert_int_eq(ferry_arena_residency(arena, 0, MIB, NULL, 1),
			 -EINVAL);
	ck_assert_int_eq(ferry_arena_residency(arena, 0, MIB, bytes, 0),
			 -EINVAL);
	fake.migrate_error = EPERM;
	ck_assert_int_eq(ferry_arena_migrate(arena, 0, MIB, 0, NULL), -EPERM);
	ck_assert_int_eq(ferry_arena_residency(arena, 0, MIB, bytes, 1),
			 -EPERM);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(kernel_without_numa_is_named)
{
	static struct ferry__numa without;
	struct ferry_arena *arena = made_up();
	struct ferry_node_policy p = policy_of(FERRY_NODE_BIND, &node0);
	size_t bytes[1];

	without = fake_numa;
	without.available = fake_unavailable;
	ferry__numa = &without;
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, MIB, &p), -EOPNOTSUPP);
	ck_assert_int_eq(ferry_arena_migrate(arena, 0, MIB, 0, NULL),
			 -EOPNOTSUPP);
	ck_assert_int_eq(ferry_arena_residency(arena, 0, MIB, bytes, 1),
			 -EOPNOTSUPP);
	p = policy_of(FERRY_NODE_DEFAULT, NULL);
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, MIB, &p), 0);
	ck_assert_uint_eq(fake.calls, 0);
	ferry_arena_destroy(arena);
}
END_TEST

/* --- live ----------------------------------------------------------------- */

static unsigned long bit_of(int node)
{
	return 1ul << node;
}

/* Commits and fills [0, @len) of an arena under @p; returns its base. */
static char *filled(struct ferry_arena *arena, size_t len,
		    const struct ferry_node_policy *p)
{
	char *base = ferry_arena_base(arena);

	ck_assert_int_eq(ferry_arena_set_thp(arena, 0, len, FERRY_THP_NEVER),
			 0);
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, len, p), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, len, true), 0);
	fill_pages(base, len, 1);
	return base;
}

START_TEST(bound_pages_lie_on_their_node)
{
	struct ferry_arena *arena = make(2 * MIB);
	int node = node_from(0);
	unsigned long mask;
	struct ferry_node_policy p;
	size_t bytes[64], sum = 0, i;

	if (!ferry__numa->available())
		SKIP("node", "this kernel was built without NUMA");
	mask = bit_of(node);
	p = policy_of(FERRY_NODE_BIND, &mask);
	filled(arena, MIB, &p);
	ck_assert_int_eq(ferry_arena_residency(arena, 0, 2 * MIB, bytes, 64),
			 0);
	for (i = 0; i < ARRAY_SIZE(bytes); i++)
		sum += bytes[i];
	ck_assert_uint_eq(bytes[node], MIB);
	ck_assert_uint_eq(sum, MIB);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(each_node_takes_what_is_bound_to_it)
{
	struct ferry_arena *arena;
	struct ferry_node_policy p;
	unsigned long mask;
	char *base;
	int node;

	FOR_EACH_NODE (node) {
		arena = make(2 * MIB);
		mask = bit_of(node);
		p = policy_of(FERRY_NODE_BIND, &mask);
		base = filled(arena, MIB, &p);
		ck_assert_uint_eq(pages_on(base, MIB, node), MIB / page_size());
		ferry_arena_destroy(arena);
	}
}
END_TEST

START_TEST(interleaved_pages_lie_on_both_nodes)
{
	struct ferry_arena *arena = make(2 * MIB);
	unsigned long mask = bit_of(first_node()) | bit_of(second_node());
	struct ferry_node_policy p = policy_of(FERRY_NODE_INTERLEAVE, &mask);
	size_t half = MIB / page_size() / 2;
	char *base = filled(arena, MIB, &p);

	ck_assert_uint_eq(pages_on(base, MIB, first_node()), half);
	ck_assert_uint_eq(pages_on(base, MIB, second_node()), half);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(migration_takes_pages_and_contents)
{
	struct ferry_arena *arena = make(2 * MIB);
	unsigned long mask = bit_of(first_node());
	struct ferry_node_policy p = policy_of(FERRY_NODE_PREFERRED, &mask);
	char *base = filled(arena, MIB, &p);
	size_t failed = 77;

	ck_assert_uint_eq(pages_on(base, MIB, first_node()), MIB / page_size());
	ck_assert_int_eq(
		ferry_arena_migrate(arena, 0, 2 * MIB, second_node(), &failed),
		0);
	ck_assert_uint_eq(failed, 0);
	ck_assert_uint_eq(pages_on(base, MIB, second_node()),
			  MIB / page_size());
	assert_pages(base, MIB, 1);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(new_policy_moves_present_pages_when_asked)
{
	struct ferry_arena *arena = make(2 * MIB);
	unsigned long from = bit_of(first_node()), to = bit_of(second_node());
	struct ferry_node_policy p = policy_of(FERRY_NODE_BIND, &from);
	char *base = filled(arena, MIB, &p);

	p = policy_of(FERRY_NODE_BIND, &to);
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, MIB, &p), 0);
	ck_assert_uint_eq(pages_on(base, MIB, first_node()), MIB / page_size());
	p.strict = true;
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, MIB, &p), -EIO);
	p.move_present = true;
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, MIB, &p), 0);
	ck_assert_uint_eq(pages_on(base, MIB, second_node()),
			  MIB / page_size());
	assert_pages(base, MIB, 1);
	ferry_arena_destroy(arena);
}
END_TEST

/* The kernel may be too old for the mode: then it is named, not faked. */
static void try_late_mode(enum ferry_node_mode mode, int home)
{
	struct ferry_arena *arena = make(2 * MIB);
	unsigned long mask = bit_of(first_node()) | bit_of(second_node());
	struct ferry_node_policy p = policy_of(mode, &mask);
	int r;

	p.home_node = home;
	r = ferry_arena_set_node(arena, 0, MIB, &p);
	if (r == -EOPNOTSUPP) {
		harness_skip("late_node_mode", "node mode %d, home node %d: %s",
			     mode, home, strerror(-r));
		return;
	}
	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, MIB, true), 0);
	fill_pages(ferry_arena_base(arena), MIB, 1);
	ck_assert_uint_eq(
		pages_on(ferry_arena_base(arena), MIB, first_node()) +
			pages_on(ferry_arena_base(arena), MIB, second_node()),
		MIB / page_size());
	ferry_arena_destroy(arena);
}

START_TEST(weighted_interleave_places_pages)
{
	try_late_mode(FERRY_NODE_WEIGHTED_INTERLEAVE, 0);
}
END_TEST

START_TEST(preferred_many_places_pages)
{
	try_late_mode(FERRY_NODE_PREFERRED_MANY, 0);
}
END_TEST

START_TEST(home_node_is_taken_first)
{
	try_late_mode(FERRY_NODE_PREFERRED_MANY, second_node() + 1);
}
END_TEST

static const struct test tests[] = {
	TEST(each_mode_reaches_the_kernel, NULL),
	TEST(bad_policies_are_refused_before_the_kernel, NULL),
	TEST(modes_that_came_late_say_so_when_missing, NULL),
	TEST(strict_and_present_pages_become_flags, NULL),
	TEST(failed_policy_leaves_the_pieces_as_they_were, NULL),
	TEST(policy_of_the_whole_is_given_at_creation, NULL),
	TEST(residency_and_migration_count_pages, NULL),
	TEST(bad_migrations_are_refused, NULL),
	TEST(kernel_without_numa_is_named, NULL),
	TEST(bound_pages_lie_on_their_node, NULL),
	TEST(each_node_takes_what_is_bound_to_it, "numa"),
	TEST(interleaved_pages_lie_on_both_nodes, "numa"),
	TEST(migration_takes_pages_and_contents, "numa"),
	TEST(new_policy_moves_present_pages_when_asked, "numa"),
	TEST(weighted_interleave_places_pages, "numa"),
	TEST(preferred_many_places_pages, "numa"),
	TEST(home_node_is_taken_first, "numa"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
