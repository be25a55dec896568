/* SPDX-License-Identifier: MIT */
/*
 * Node policy, migration and residency by vectors: against a kernel made up
 * here, whose pages stay where the test wants it, and live on what the
 * machine has.
 */
#include "uffd/node_apply.h"

#include <errno.h>
#include <numaif.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/nodes.h"
#include "uffd/sys.h"

#define LONG_BITS (8 * sizeof(unsigned long))

static const unsigned long node0 = 1, node1 = 2, both = 3, none = 0;

static struct ferry__node_policy policy_of(enum ferry__node_mode mode,
					   const unsigned long *nodes)
{
	return (struct ferry__node_policy){ .mode = mode,
					    .nodes = nodes,
					    .nodes_len = nodes ? LONG_BITS : 0,
					    .home_node = FERRY__NODE_NONE };
}

static struct ferry__span span(const void *addr, size_t len)
{
	return (struct ferry__span){ (uintptr_t)addr, len };
}

/* --- a kernel of our own -------------------------------------------------- */

#define PAGES  2000
#define ABSENT (-ENOENT)

enum nature {
	MOVES,
	PINNED, /* EBUSY when it is collected */
	SHARED, /* EACCES */
	STAYS,	/* collected, and then not migrated */
	LATE,	/* EBUSY once, as the second page of a huge one; then MOVES */
};

/*
 * Pages from @base on, with nodes 0 and 1. It moves pages as Linux does:
 * collected until one is not to move, and nothing written of those that were
 * collected with one that stays, nor of what comes behind.
 */
static struct {
	char *base;
	int node[PAGES];
	enum nature nature[PAGES];
	bool full; /* node 1 takes nothing */
	uint64_t bound_calls;
	size_t bound_bytes;
	int mode;
	unsigned long mask, bits;
	unsigned int flags;
	int home;
	int late_missing;
	bool no_numa;
	bool no_home;
} fake;

static struct ferry__sys table;

static size_t number_of(const void *page)
{
	size_t i =
		(size_t)((uintptr_t)page - (uintptr_t)fake.base) / page_size();

	return page && i < PAGES ? i : PAGES;
}

static void look_at(size_t n, void **pages, int *status)
{
	size_t i, k;

	for (i = 0; i < n; i++) {
		k = number_of(pages[i]);
		status[i] = k < PAGES ? fake.node[k] : -EFAULT;
	}
}

/* Returns how many of the collected pages stay, or -ENOMEM. */
static long flush(void **pages, size_t from, size_t to, int node, int *status)
{
	long stay = 0;
	size_t i, k;

	for (i = from; i < to; i++) {
		k = number_of(pages[i]);
		if (fake.full && node == 1)
			return -ENOMEM;
		if (fake.nature[k] == STAYS)
			stay++;
		else
			fake.node[k] = node;
	}
	for (i = from; !stay && i < to; i++)
		status[i] = node;
	return stay;
}

/* What a page answers: 1 when it is collected, 0 on its node, or a status. */
static int collect(size_t k, int node)
{
	if (k == PAGES)
		return -EFAULT;
	if (fake.node[k] < 0)
		return fake.node[k];
	if (fake.node[k] == node)
		return 0;
	if (fake.nature[k] == LATE) {
		fake.nature[k] = MOVES;
		return -EBUSY;
	}
	if (fake.nature[k] == PINNED)
		return -EBUSY;
	return fake.nature[k] == SHARED ? -EACCES : 1;
}

static long fake_move_pages(int pid, size_t n, void **pages, const int *nodes,
			    int *status, int flags)
{
	size_t i, from = 0;
	long r;
	int got;

	ck_assert_int_eq(pid, 0);
	if (fake.no_numa)
		return -ENOSYS;
	if (!nodes) {
		look_at(n, pages, status);
		return 0;
	}
	ck_assert_int_eq(flags, MPOL_MF_MOVE);
	for (i = 0; i < n; i++) {
		if (nodes[i] < 0 || nodes[i] > 1)
			return -ENODEV;
		got = collect(number_of(pages[i]), nodes[i]);
		if (got == 1)
			continue;
		status[i] = got ? got : nodes[i];
		r = flush(pages, from, i, nodes[i], status);
		if (r)
			return r < 0 ? r : r + (long)(n - i) - 1;
		from = i + 1;
	}
	return n ? flush(pages, from, n, nodes[0], status) : 0;
}

static int fake_mbind(void *addr, size_t len, int mode,
		      const unsigned long *nodes, unsigned long bits,
		      unsigned int flags)
{
	size_t i, k;

	if (fake.no_numa)
		return -ENOSYS;
	if (fake.late_missing && mode >= fake.late_missing)
		return -EINVAL;
	if (!len)
		return 0;
	if (nodes && !(*nodes & 3))
		return -EINVAL;
	fake.bound_calls++;
	fake.bound_bytes += len;
	fake.mode = mode;
	fake.mask = nodes ? *nodes : 0;
	fake.bits = bits;
	fake.flags = flags;
	for (i = 0; (flags & MPOL_MF_MOVE) && i < len / page_size(); i++) {
		k = number_of((char *)addr + i * page_size());
		if (k < PAGES && fake.node[k] >= 0 && fake.nature[k] == MOVES &&
		    nodes && !(*nodes >> fake.node[k] & 1))
			fake.node[k] = *nodes & 1 ? 0 : 1;
	}
	return 0;
}

static int fake_home(void *addr, size_t len, int node)
{
	(void)addr;
	if (fake.no_home)
		return -ENOSYS;
	if (node > 1)
		return -EINVAL;
	if (len)
		fake.home = node;
	return 0;
}

/* All pages on node 0; rules of injection strike before this kernel. */
static void made_up(void)
{
	fake.base = map_anon(PAGES * page_size());
	fill_pages(fake.base, PAGES * page_size(), 1);
	fake.home = FERRY__NODE_NONE;
	table = ferry__sys_linux;
	table.mbind = fake_mbind;
	table.set_home_node = fake_home;
	table.move_pages = fake_move_pages;
	ferry__sys = &table;
	inject_start();
}

static char *fake_page(size_t i)
{
	return fake.base + i * page_size();
}

/* Ranges of @each pages, @gap pages between them; returns how many. */
static size_t cut_up(struct ferry__span *v, size_t each, size_t gap)
{
	size_t i, n = 0;

	for (i = 0; i + each <= PAGES; i += each + gap)
		v[n++] = span(fake_page(i), each * page_size());
	return n;
}

static struct ferry__span v[PAGES];
static struct ferry__node_result ret[PAGES];

START_TEST(each_mode_reaches_the_kernel)
{
	static const struct {
		enum ferry__node_mode mode;
		const unsigned long *nodes;
		int kernel;
	} row[] = {
		{ FERRY__NODE_DEFAULT, NULL, MPOL_DEFAULT },
		{ FERRY__NODE_PREFERRED, &node1, MPOL_PREFERRED },
		{ FERRY__NODE_PREFERRED, NULL, MPOL_PREFERRED },
		{ FERRY__NODE_BIND, &both, MPOL_BIND },
		{ FERRY__NODE_INTERLEAVE, &both, MPOL_INTERLEAVE },
		{ FERRY__NODE_PREFERRED_MANY, &node1, 5 },
		{ FERRY__NODE_WEIGHTED_INTERLEAVE, &both, 6 },
	};
	struct ferry__node_policy p;
	size_t i;

	made_up();
	v[0] = span(fake_page(0), page_size());
	for (i = 0; i < ARRAY_SIZE(row); i++) {
		p = policy_of(row[i].mode, row[i].nodes);
		p.move = i & 1;
		p.strict = i & 2;
		ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret), 0);
		ck_assert_int_eq(fake.mode, row[i].kernel);
		ck_assert_uint_eq(fake.mask, row[i].nodes ? *row[i].nodes : 0);
		ck_assert_uint_le(fake.bits, 2);
		ck_assert_uint_eq(fake.flags,
				  (i & 1 ? MPOL_MF_MOVE : 0u) |
					  (i & 2 ? MPOL_MF_STRICT : 0u));
		ck_assert_uint_eq(fake.bound_bytes, (i + 1) * page_size());
	}
}
END_TEST

START_TEST(bad_policies_are_refused_before_the_kernel)
{
	static const struct {
		enum ferry__node_mode mode;
		const unsigned long *nodes;
		int home;
	} row[] = {
		{ FERRY__NODE_DEFAULT, &node0, -1 },
		{ FERRY__NODE_DEFAULT, NULL, 0 },
		{ FERRY__NODE_PREFERRED, &both, -1 },
		{ FERRY__NODE_PREFERRED, &node0, 0 },
		{ FERRY__NODE_BIND, NULL, -1 },
		{ FERRY__NODE_BIND, &none, -1 },
		{ FERRY__NODE_BIND, &both, -2 },
		{ FERRY__NODE_INTERLEAVE, &none, -1 },
		{ FERRY__NODE_INTERLEAVE, &both, 0 },
		{ FERRY__NODE_WEIGHTED_INTERLEAVE, &none, -1 },
		{ (enum ferry__node_mode)4, &node0, -1 },
		{ (enum ferry__node_mode)77, &node0, -1 },
		{ (enum ferry__node_mode) - 1, &node0, -1 },
	};
	struct ferry__node_policy p;
	size_t i;

	made_up();
	v[0] = span(fake_page(0), page_size());
	for (i = 0; i < ARRAY_SIZE(row); i++) {
		p = policy_of(row[i].mode, row[i].nodes);
		p.home_node = row[i].home;
		ck_assert_int_eq(ferry__node_policy_check(&p), -EINVAL);
		ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret),
				 -EINVAL);
	}
	p = policy_of(FERRY__NODE_BIND, &node0);
	p.nodes = NULL;
	ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret), -EINVAL);
	ck_assert_uint_eq(inject_calls(INJECT_MBIND, 0), 0);
}
END_TEST

/* Of any length, and not a bit beyond it is read. */
START_TEST(length_of_the_mask_is_kept)
{
	unsigned long wide[64] = { 1 };
	struct ferry__node_policy p = policy_of(FERRY__NODE_BIND, wide);

	made_up();
	v[0] = span(fake_page(0), page_size());
	p.nodes_len = 64 * LONG_BITS;
	ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret), 0);
	ck_assert_uint_eq(fake.bits, 1);
	wide[0] = 3;
	p.nodes_len = 1;
	ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret), 0);
	ck_assert_uint_eq(fake.bits, 1);
	wide[0] = 2;
	ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret), -EINVAL);
	p.nodes_len = 0;
	ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret), -EINVAL);
}
END_TEST

START_TEST(what_the_kernel_lacks_is_named)
{
	struct ferry__node_policy p =
		policy_of(FERRY__NODE_WEIGHTED_INTERLEAVE, &both);
	struct ferry__node_bytes bytes[2];

	made_up();
	v[0] = span(fake_page(0), page_size());
	fake.late_missing = FERRY__NODE_WEIGHTED_INTERLEAVE;
	ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret), -EOPNOTSUPP);
	p = policy_of(FERRY__NODE_BIND, &both);
	p.home_node = 0;
	fake.no_home = true;
	ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret), -EOPNOTSUPP);
	ck_assert_uint_eq(fake.bound_calls, 0);
	fake.no_home = false;
	ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret), 0);
	ck_assert_int_eq(fake.home, 0);
	p.home_node = 2;
	ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret), -EINVAL);
	fake.no_numa = true;
	p.home_node = FERRY__NODE_NONE;
	ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret), -EOPNOTSUPP);
	ck_assert_int_eq(ferry__node_migrate_spans(v, 1, 1, ret), -EOPNOTSUPP);
	ck_assert_int_eq(ferry__node_residency_spans(v, 1, bytes, 2),
			 -EOPNOTSUPP);
}
END_TEST

START_TEST(nodes_without_memory_are_refused)
{
	static const unsigned long node5 = 1 << 5;
	struct ferry__node_policy p = policy_of(FERRY__NODE_BIND, &node5);

	made_up();
	v[0] = span(fake_page(0), page_size());
	ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret), -EINVAL);
	ck_assert_int_eq(ferry__node_migrate_spans(v, 1, 5, ret), -EINVAL);
	ck_assert_int_eq(ferry__node_migrate_spans(v, 1, -1, ret), -EINVAL);
	ck_assert_int_eq(ferry__node_migrate_spans(v, 0, 5, ret), -EINVAL);
}
END_TEST

START_TEST(adjoining_ranges_go_to_the_kernel_as_one)
{
	struct ferry__node_policy p = policy_of(FERRY__NODE_BIND, &node1);
	size_t n;

	made_up();
	n = cut_up(v, 2, 0);
	ck_assert_int_eq(ferry__node_apply_spans(v, n, &p, ret), 0);
	ck_assert_uint_eq(fake.bound_calls, 1);
	ck_assert_uint_eq(fake.bound_bytes, PAGES * page_size());
	n = cut_up(v, 1, 1);
	fake.bound_calls = fake.bound_bytes = 0;
	ck_assert_int_eq(ferry__node_apply_spans(v, n, &p, ret), 0);
	ck_assert_uint_eq(fake.bound_calls, n);
	ck_assert_uint_eq(fake.bound_bytes, n * page_size());
}
END_TEST

START_TEST(bad_ranges_cost_the_others_nothing)
{
	struct ferry__node_policy p = policy_of(FERRY__NODE_BIND, &node1);
	size_t page = page_size(), i;

	made_up();
	v[0] = span(fake_page(0), page);
	v[1] = span(fake_page(1), 0);
	v[2] = span(fake_page(1) + 1, page);
	v[3] = span(fake_page(1), page + 1);
	v[4] = (struct ferry__span){ UINT64_MAX - page + 1, page };
	v[5] = (struct ferry__span){ page, UINT64_MAX - page + 1 };
	v[6] = span(fake_page(1), page);
	ck_assert_int_eq(ferry__node_apply_spans(v, 7, &p, ret), 5);
	for (i = 1; i < 6; i++) {
		ck_assert_int_eq(ret[i].error, -EINVAL);
		ck_assert_int_eq(ret[i].reason, FERRY__NODE_RANGE);
	}
	ck_assert_int_eq(ret[0].error, 0);
	ck_assert_int_eq(ret[6].error, 0);
	ck_assert_uint_eq(fake.bound_bytes, 2 * page);
	ck_assert_int_eq(ferry__node_migrate_spans(v, 7, 1, ret), 5);
	ck_assert_uint_eq(ret[0].moved, page);
	ck_assert_uint_eq(ret[6].moved, page);
	ck_assert_int_eq(ret[3].reason, FERRY__NODE_RANGE);
}
END_TEST

static void strike(struct inject_rule *rule, enum inject_call call, size_t at,
		   int error)
{
	*rule = (struct inject_rule){ .call = call,
				      .at = (uintptr_t)fake_page(at),
				      .count = INJECT_ALWAYS,
				      .error = error };
	inject_add(rule);
}

/* The rule strikes a merged call only if it begins there, so it does. */
START_TEST(failed_neighbours_are_answered_one_by_one)
{
	static const struct {
		int error;
		enum ferry__node_reason reason;
	} row[] = {
		{ EFAULT, FERRY__NODE_UNMAPPED },
		{ EIO, FERRY__NODE_STAYED },
		{ ENOMEM, FERRY__NODE_MEMORY },
		{ EINVAL, FERRY__NODE_REFUSED },
		{ EBADF, FERRY__NODE_REFUSED },
	};
	struct ferry__node_policy p = policy_of(FERRY__NODE_BIND, &node1);
	struct inject_rule bad[ARRAY_SIZE(row)];
	size_t i, k, n;

	made_up();
	n = cut_up(v, 2, 0);
	for (i = 0; i < ARRAY_SIZE(row); i++) {
		strike(&bad[i], INJECT_MBIND, 0, row[i].error);
		fake.bound_bytes = 0;
		ck_assert_int_eq(ferry__node_apply_spans(v, n, &p, ret), 1);
		ck_assert_uint_eq(inject_hits(&bad[i]), 2);
		ck_assert_int_eq(ret[0].error, -row[i].error);
		ck_assert_int_eq(ret[0].reason, row[i].reason);
		for (k = 1; k < n; k++)
			ck_assert_int_eq(ret[k].error, 0);
		ck_assert_uint_ge(fake.bound_bytes, (PAGES - 2) * page_size());
	}
}
END_TEST

START_TEST(forbidden_call_fails_as_a_whole)
{
	struct ferry__node_policy p = policy_of(FERRY__NODE_BIND, &node1);
	struct inject_rule bind = { .call = INJECT_MBIND,
				    .count = INJECT_ALWAYS,
				    .error = EPERM };
	struct inject_rule move = { .call = INJECT_MOVE_PAGES,
				    .count = INJECT_ALWAYS,
				    .error = EPERM };
	struct ferry__node_bytes bytes[2];

	made_up();
	inject_add(&bind);
	inject_add(&move);
	v[0] = span(fake_page(0), page_size());
	ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret), -EPERM);
	bind.nth = 2; /* not what is asked first, but what sets the policy */
	inject_stop();
	inject_start();
	inject_add(&bind);
	inject_add(&move);
	ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret), -EPERM);
	ck_assert_int_eq(ferry__node_migrate_spans(v, 1, 1, ret), -EPERM);
	ck_assert_int_eq(ferry__node_residency_spans(v, 1, bytes, 2), -EPERM);
}
END_TEST

START_TEST(home_node_that_fails_is_told_from_the_policy)
{
	struct ferry__node_policy p = policy_of(FERRY__NODE_BIND, &both);
	struct inject_rule bad;

	made_up();
	p.home_node = 1;
	v[0] = span(fake_page(0), page_size());
	v[1] = span(fake_page(1), page_size());
	v[2] = span(fake_page(9), page_size());
	strike(&bad, INJECT_HOME_NODE, 0, ENOMEM);
	ck_assert_int_eq(ferry__node_apply_spans(v, 3, &p, ret), 1);
	ck_assert_int_eq(ret[0].error, -ENOMEM);
	ck_assert_int_eq(ret[0].reason, FERRY__NODE_HOME);
	ck_assert_int_eq(ret[1].error, 0);
	ck_assert_int_eq(ret[2].error, 0);
	ck_assert_int_eq(fake.home, 1);
}
END_TEST

START_TEST(counted_policy_tells_what_moved_and_what_stayed)
{
	struct ferry__node_policy p = policy_of(FERRY__NODE_BIND, &node1);
	size_t page = page_size();

	made_up();
	fake.node[3] = ABSENT;
	fake.node[4] = 1;
	fake.nature[5] = PINNED;
	v[0] = span(fake_page(0), 8 * page);
	v[1] = span(fake_page(8), 8 * page);
	p.count = true;
	ck_assert_int_eq(ferry__node_apply_spans(v, 2, &p, ret), 0);
	ck_assert_uint_eq(ret[0].moved, 0);
	ck_assert_uint_eq(ret[0].failed, 6 * page);
	p.move = true;
	ck_assert_int_eq(ferry__node_apply_spans(v, 2, &p, ret), 0);
	ck_assert_uint_eq(ret[0].moved, 5 * page);
	ck_assert_uint_eq(ret[0].failed, page);
	ck_assert_uint_eq(ret[1].moved, 8 * page);
	ck_assert_uint_eq(ret[1].failed, 0);
	p = policy_of(FERRY__NODE_DEFAULT, NULL);
	p.count = p.move = true;
	ck_assert_int_eq(ferry__node_apply_spans(v, 2, &p, ret), 0);
	ck_assert_uint_eq(ret[0].moved + ret[0].failed, 0);
}
END_TEST

/* Checks all results against what became of the pages. */
static void assert_exact(size_t n, const int *before)
{
	size_t page = page_size(), i, k, first;
	uint64_t moved, failed;
	int error;

	for (i = 0; i < n; i++) {
		first = number_of((void *)(uintptr_t)v[i].addr);
		moved = failed = 0;
		error = 0;
		for (k = first; k < first + v[i].len / page; k++) {
			if (before[k] == 0 && fake.node[k] == 1)
				moved += page;
			if (fake.node[k] != 0)
				continue;
			failed += page;
			if (!error)
				error = fake.nature[k] == SHARED ? -EACCES
								 : -EBUSY;
		}
		ck_assert_uint_eq(ret[i].moved, moved);
		ck_assert_uint_eq(ret[i].failed, failed);
		ck_assert_int_eq(ret[i].error, error);
	}
}

/* Whoever can move has moved, whatever stands before him. */
static void assert_moved(void)
{
	size_t k;

	for (k = 0; k < PAGES; k++)
		if (fake.node[k] >= 0 && fake.nature[k] == MOVES)
			ck_assert_int_eq(fake.node[k], 1);
}

START_TEST(results_of_migration_are_exact_whatever_stays)
{
	struct random rnd = harness_random();
	static int before[PAGES];
	size_t k, n, round, rounds = harness_scaled(200);
	uint64_t kinds;

	made_up();
	for (round = 0; round < rounds; round++) {
		kinds = 1 + random_below(&rnd, 12);
		for (k = 0; k < PAGES; k++) {
			uint64_t kind = random_below(&rnd, kinds);

			fake.nature[k] = kind < 5 ? (enum nature)kind : MOVES;
			fake.node[k] = kind == 5 ? ABSENT : kind == 6;
			if (kind == 7)
				fake.node[k] = -EFAULT; /* the zero page */
			before[k] = fake.node[k];
		}
		n = cut_up(v, 1 + random_below(&rnd, 200), 0);
		ck_assert_int_ge(ferry__node_migrate_spans(v, n, 1, ret), 0);
		assert_exact(n, before);
		for (k = n * v[0].len / page_size(); k < PAGES; k++)
			fake.node[k] = ABSENT;
		assert_moved();
	}
}
END_TEST

/* A kernel that comes back early from each call: little by little. */
START_TEST(early_return_is_not_taken_for_an_answer)
{
	struct inject_rule early = { .call = INJECT_MOVE_PAGES,
				     .request = 2,
				     .nth = 2, /* the first asks for the node */
				     .count = INJECT_ALWAYS,
				     .done = 7 };
	static int before[PAGES];
	size_t n;

	made_up();
	inject_add(&early);
	n = cut_up(v, 5, 0);
	ck_assert_int_eq(ferry__node_migrate_spans(v, n, 1, ret), 0);
	assert_exact(n, before);
	assert_moved();
	ck_assert_uint_ge(inject_hits(&early), PAGES / 7);
}
END_TEST

START_TEST(full_node_is_named)
{
	size_t i, n;

	made_up();
	fake.full = true;
	n = cut_up(v, 500, 0);
	ck_assert_int_eq(ferry__node_migrate_spans(v, n, 1, ret), (long)n);
	for (i = 0; i < n; i++) {
		ck_assert_int_eq(ret[i].error, -ENOMEM);
		ck_assert_int_eq(ret[i].reason, FERRY__NODE_MEMORY);
		ck_assert_uint_eq(ret[i].failed, v[i].len);
	}
}
END_TEST

START_TEST(failure_in_the_midst_keeps_what_was_done)
{
	struct inject_rule late = { .call = INJECT_MOVE_PAGES,
				    .request = 2,
				    .nth = 4,
				    .error = EPERM };
	size_t n;

	made_up();
	inject_add(&late);
	n = cut_up(v, 1, 0);
	ck_assert_int_eq(ferry__node_migrate_spans(v, n, 1, ret), -EPERM);
	ck_assert_uint_eq(ret[0].moved, page_size());
	ck_assert_uint_eq(ret[n - 1].moved, 0);
}
END_TEST

START_TEST(residency_is_added_up_by_node)
{
	struct ferry__node_bytes bytes[2];
	size_t page = page_size(), k, n;

	made_up();
	for (k = 0; k < PAGES; k++)
		fake.node[k] = k % 4 == 0 ? ABSENT : k % 4 == 1;
	n = cut_up(v, 20, 0);
	ck_assert_int_eq(ferry__node_residency_spans(v, n, bytes, 2), 0);
	ck_assert_uint_eq(bytes[0].base, PAGES / 2 * page);
	ck_assert_uint_eq(bytes[1].base, PAGES / 4 * page);
	ck_assert_uint_eq(bytes[0].huge + bytes[1].huge, 0);
	ck_assert_int_eq(ferry__node_residency_spans(v, n, bytes, 1), 0);
	ck_assert_uint_eq(bytes[0].base, PAGES / 2 * page);
	v[3].len--;
	ck_assert_int_eq(ferry__node_residency_spans(v, n, bytes, 2), -EINVAL);
}
END_TEST

START_TEST(every_reason_has_words)
{
	unsigned int i, k;

	for (i = 0; i < FERRY__NODE_REASONS; i++)
		for (k = 0; k < i; k++)
			ck_assert_str_ne(ferry__node_reason_text(
						 (enum ferry__node_reason)i),
					 ferry__node_reason_text(
						 (enum ferry__node_reason)k));
	ck_assert_ptr_nonnull(
		ferry__node_reason_text((enum ferry__node_reason)99));
}
END_TEST

/* --- live ----------------------------------------------------------------- */

static bool have_numa(void)
{
	struct ferry__span one = span(map_anon(page_size()), page_size());
	struct ferry__node_bytes bytes;

	return ferry__node_residency_spans(&one, 1, &bytes, 1) == 0;
}

/* The policy in force at @addr, from the kernel. */
static int mode_at(void *addr)
{
	int mode = -1;

	ck_assert_int_eq(get_mempolicy(&mode, NULL, 0, addr, MPOL_F_ADDR), 0);
	return mode;
}

START_TEST(ten_thousand_ranges_get_their_policy)
{
	const size_t n = harness_scaled(10000), page = page_size();
	struct ferry__span *many = calloc(n, sizeof(*many));
	struct ferry__node_result *res = calloc(n, sizeof(*res));
	unsigned long mask = 1ul << node_from(0);
	struct ferry__node_policy p = policy_of(FERRY__NODE_BIND, &mask);
	char *mem = map_anon(2 * n * page);
	size_t i;

	if (!have_numa())
		SKIP("numa_calls", "this kernel was built without NUMA");
	ck_assert(many && res);
	for (i = 0; i < n; i++)
		many[i] = span(mem + 2 * i * page, page);
	ck_assert_int_eq(ferry__node_apply_spans(many, n, &p, res), 0);
	for (i = 0; i < n; i++) {
		ck_assert_int_eq(mode_at(mem + 2 * i * page), MPOL_BIND);
		ck_assert_int_eq(mode_at(mem + (2 * i + 1) * page),
				 MPOL_DEFAULT);
	}
	p = policy_of(FERRY__NODE_DEFAULT, NULL);
	ck_assert_int_eq(ferry__node_apply_spans(many, n, &p, res), 0);
	ck_assert_int_eq(mode_at(mem), MPOL_DEFAULT);
	free(many);
	free(res);
}
END_TEST

START_TEST(gap_in_one_range_is_that_range_alone)
{
	size_t page = page_size();
	char *mem = map_anon(16 * page);
	unsigned long mask = 1ul << node_from(0);
	struct ferry__node_policy p = policy_of(FERRY__NODE_BIND, &mask);
	size_t i;

	if (!have_numa())
		SKIP("numa_calls", "this kernel was built without NUMA");
	ck_assert_int_eq(munmap(mem + 5 * page, page), 0);
	for (i = 0; i < 4; i++)
		v[i] = span(mem + 4 * i * page, 4 * page);
	ck_assert_int_eq(ferry__node_apply_spans(v, 4, &p, ret), 1);
	ck_assert_int_eq(ret[1].error, -EFAULT);
	ck_assert_int_eq(ret[1].reason, FERRY__NODE_UNMAPPED);
	ck_assert_int_eq(mode_at(mem), MPOL_BIND);
	ck_assert_int_eq(mode_at(mem + 4 * page), MPOL_DEFAULT);
	ck_assert_int_eq(mode_at(mem + 8 * page), MPOL_BIND);
	ck_assert_int_eq(mode_at(mem + 15 * page), MPOL_BIND);
}
END_TEST

START_TEST(hugetlb_cut_in_its_pages_is_refused_alone)
{
	char *huge =
		mmap(NULL, HUGE_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE,
		     -1, 0);
	unsigned long mask = 1ul << node_from(0);
	struct ferry__node_policy p = policy_of(FERRY__NODE_BIND, &mask);

	if (!have_numa())
		SKIP("numa_calls", "this kernel was built without NUMA");
	if (huge == MAP_FAILED)
		SKIP("hugetlb", "no hugetlb mapping can be made");
	v[0] = span(huge, page_size());
	v[1] = span(map_anon(page_size()), page_size());
	ck_assert_int_eq(ferry__node_apply_spans(v, 2, &p, ret), 1);
	ck_assert_int_eq(ret[0].error, -EINVAL);
	ck_assert_int_eq(ret[0].reason, FERRY__NODE_REFUSED);
	ck_assert_int_eq(ret[1].error, 0);
}
END_TEST

START_TEST(pages_on_their_node_are_left_alone)
{
	size_t len = 600 * page_size();
	char *mem = map_anon(len);
	int node = node_from(0);

	if (!have_numa())
		SKIP("numa_calls", "this kernel was built without NUMA");
	if (harness_feature("numa", NULL))
		SKIP("one_node", "the kernel may have put them elsewhere");
	fill_pages(mem, len / 2, 1);
	v[0] = span(mem, len);
	ck_assert_int_eq(ferry__node_migrate_spans(v, 1, node, ret), 0);
	ck_assert_uint_eq(ret[0].moved, 0);
	ck_assert_uint_eq(ret[0].failed, 0);
	assert_pages(mem, len / 2, 1);
	ck_assert_int_eq(ferry__node_migrate_spans(v, 1, 9999, ret), -EINVAL);
	ck_assert_int_eq(ferry__node_migrate_spans(v, 1, -1, ret), -EINVAL);
}
END_TEST

/* Bytes on all nodes, of both sizes. */
static uint64_t resident(struct ferry__node_bytes *bytes, uint64_t *ret_huge)
{
	uint64_t sum = 0, huge = 0;
	size_t i;

	ck_assert_int_eq(ferry__node_residency_spans(v, 1, bytes, 64), 0);
	for (i = 0; i < 64; i++) {
		sum += bytes[i].base;
		huge += bytes[i].huge;
	}
	if (ret_huge)
		*ret_huge = huge;
	return sum + huge;
}

START_TEST(residency_agrees_with_the_page_tables)
{
	struct ferry__node_bytes bytes[64];
	size_t len = 700 * page_size();
	char *mem = map_anon(len);

	if (!have_numa())
		SKIP("numa_calls", "this kernel was built without NUMA");
	v[0] = span(mem, len);
	ck_assert_uint_eq(resident(bytes, NULL), 0);
	fill_pages(mem + 100 * page_size(), 300 * page_size(), 1);
	/* A page on its way to another place is not there for a moment. */
	AWAIT(resident(bytes, NULL) == 300 * page_size());
}
END_TEST

START_TEST(huge_pages_are_counted_apart)
{
	struct ferry__node_bytes bytes[64];
	size_t len = 4 * HUGE_SIZE;
	char *mem = map_huge(len);
	uint64_t huge;

	if (!have_numa())
		SKIP("numa_calls", "this kernel was built without NUMA");
	fill_pages(mem, len, 1);
	v[0] = span(mem, len);
	AWAIT(resident(bytes, &huge) == len && huge == huge_bytes(mem, len));
	v[0] = span(mem + page_size(), page_size());
	AWAIT(resident(bytes, &huge) == page_size());
}
END_TEST

START_TEST(empty_terabyte_has_no_pages)
{
	struct ferry__node_bytes bytes[64];
	size_t len = (size_t)1 << 40;
	char *mem = mmap(NULL, len, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (!have_numa())
		SKIP("numa_calls", "this kernel was built without NUMA");
	if (mem == MAP_FAILED)
		SKIP("address_space", "no terabyte of addresses");
	v[0] = span(mem, len);
	ck_assert_int_eq(ferry__node_migrate_spans(v, 1, node_from(0), ret), 0);
	ck_assert_uint_eq(resident(bytes, NULL), 0);
	v[0].addr = (uint64_t)1 << 63; /* the kernel's half, if it has one */
	ck_assert_int_eq(ferry__node_migrate_spans(v, 1, node_from(0), ret), 0);
	ck_assert_uint_eq(ret[0].moved, 0);
}
END_TEST

/* --- live, with two nodes ------------------------------------------------- */

/*
 * The kernel may be holding a page for a moment, or be moving it, and then it
 * is told as absent: asked until all are there.
 */
static uint64_t migrated(size_t n, int node)
{
	size_t i, pages, there;
	uint64_t moved = 0;

	do {
		ck_assert_int_ge(ferry__node_migrate_spans(v, n, node, ret), 0);
		for (i = pages = there = 0; i < n; i++) {
			moved += ret[i].moved;
			pages += v[i].len / page_size();
			there += pages_on((void *)(uintptr_t)v[i].addr,
					  v[i].len, node);
		}
	} while (there < pages);
	return moved;
}

START_TEST(migrated_ranges_lie_on_the_node)
{
	size_t page = page_size(), len = 1024 * page, i;
	char *mem = map_anon(len);
	size_t n = 256;

	numa_tonode_memory(mem, len, first_node());
	fill_pages(mem, len, 1);
	for (i = 0; i < n; i++)
		v[i] = span(mem + 4 * i * page, 2 * page);
	ck_assert_uint_gt(migrated(n, second_node()), 0);
	for (i = 0; i < n; i++) {
		AWAIT(pages_on(mem + 4 * i * page, 2 * page, second_node()) ==
		      2);
		AWAIT(pages_on(mem + (4 * i + 2) * page, 2 * page,
			       first_node()) == 2);
	}
	assert_pages(mem, len, 1);
}
END_TEST

START_TEST(huge_page_moves_whole)
{
	char *mem = map_huge(2 * HUGE_SIZE);

	numa_tonode_memory(mem, 2 * HUGE_SIZE, first_node());
	fill_pages(mem, 2 * HUGE_SIZE, 1);
	v[0] = span(mem, 2 * HUGE_SIZE);
	ck_assert_uint_gt(migrated(1, second_node()), 0);
	AWAIT(pages_on(mem, 2 * HUGE_SIZE, second_node()) ==
	      2 * HUGE_SIZE / page_size());
	assert_pages(mem, 2 * HUGE_SIZE, 1);
}
END_TEST

START_TEST(policy_with_move_brings_pages_along)
{
	size_t page = page_size(), len = 512 * page;
	unsigned long mask = 1ul << second_node();
	struct ferry__node_policy p = policy_of(FERRY__NODE_BIND, &mask);
	char *mem = map_anon(len);

	numa_tonode_memory(mem, len, first_node());
	fill_pages(mem, len, 1);
	v[0] = span(mem, len);
	p.strict = true;
	ck_assert_int_eq(ferry__node_apply_spans(v, 1, &p, ret), 1);
	ck_assert_int_eq(ret[0].error, -EIO);
	ck_assert_int_eq(ret[0].reason, FERRY__NODE_STAYED);
	p.move = p.count = true;
	/* A page that the kernel is moving just then does not come along. */
	AWAIT(ferry__node_apply_spans(v, 1, &p, ret) == 0 &&
	      ret[0].failed == 0 && pages_on(mem, len, second_node()) == 512);
	assert_pages(mem, len, 1);
}
END_TEST

START_TEST(modes_of_several_nodes_are_in_force)
{
	static const enum ferry__node_mode modes[] = {
		FERRY__NODE_BIND,
		FERRY__NODE_INTERLEAVE,
		FERRY__NODE_PREFERRED_MANY,
		FERRY__NODE_WEIGHTED_INTERLEAVE,
	};
	unsigned long mask = 1ul << first_node() | 1ul << second_node();
	char *mem = map_anon(4 * page_size());
	struct ferry__node_policy p;
	size_t i;
	long r;

	v[0] = span(mem, 4 * page_size());
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		p = policy_of(modes[i], &mask);
		if (modes[i] == FERRY__NODE_BIND ||
		    modes[i] == FERRY__NODE_PREFERRED_MANY)
			p.home_node = second_node();
		r = ferry__node_apply_spans(v, 1, &p, ret);
		if (r == -EOPNOTSUPP)
			continue;
		ck_assert_int_eq(r, 0);
		ck_assert_int_eq(mode_at(mem), (int)modes[i]);
	}
}
END_TEST

static const struct test tests[] = {
	TEST(each_mode_reaches_the_kernel, NULL),
	TEST(bad_policies_are_refused_before_the_kernel, NULL),
	TEST(length_of_the_mask_is_kept, NULL),
	TEST(what_the_kernel_lacks_is_named, NULL),
	TEST(nodes_without_memory_are_refused, NULL),
	TEST(adjoining_ranges_go_to_the_kernel_as_one, NULL),
	TEST(bad_ranges_cost_the_others_nothing, NULL),
	TEST(failed_neighbours_are_answered_one_by_one, NULL),
	TEST(forbidden_call_fails_as_a_whole, NULL),
	TEST(home_node_that_fails_is_told_from_the_policy, NULL),
	TEST(counted_policy_tells_what_moved_and_what_stayed, NULL),
	TEST(results_of_migration_are_exact_whatever_stays, NULL),
	TEST(early_return_is_not_taken_for_an_answer, NULL),
	TEST(full_node_is_named, NULL),
	TEST(failure_in_the_midst_keeps_what_was_done, NULL),
	TEST(residency_is_added_up_by_node, NULL),
	TEST(every_reason_has_words, NULL),
	TEST(ten_thousand_ranges_get_their_policy, NULL),
	TEST(gap_in_one_range_is_that_range_alone, NULL),
	TEST(hugetlb_cut_in_its_pages_is_refused_alone, NULL),
	TEST(pages_on_their_node_are_left_alone, NULL),
	TEST(residency_agrees_with_the_page_tables, NULL),
	TEST(huge_pages_are_counted_apart, "thp,pagemap_scan"),
	TEST(empty_terabyte_has_no_pages, "pagemap_scan"),
	TEST(migrated_ranges_lie_on_the_node, "numa"),
	TEST(huge_page_moves_whole, "numa,thp"),
	TEST(policy_with_move_brings_pages_along, "numa"),
	TEST(modes_of_several_nodes_are_in_force, "numa"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
