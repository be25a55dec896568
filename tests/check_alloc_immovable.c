/* SPDX-License-Identifier: MIT */
/*
 * Pages that are pinned for a device, where arenas migrate and place pages and
 * where the pager takes them out: they stay, they are counted, and what lies
 * beside them goes. Pins are real, from io_uring; what move_pages(2) says of
 * a run that one of them is in is also made up, for machines of one node.
 */
#include "tests/harness.h"

#include <errno.h>
#include <numaif.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/alloc-internal.h"
#include "tests/memory.h"
#include "tests/nodes.h"
#include "tests/pager_bed.h"
#include "tests/pin.h"

#define PAGES 64

static struct ferry_arena *make(void)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *arena = NULL;

	p.reserve = HUGE_SIZE;
	p.thp = FERRY_THP_NEVER;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	ck_assert_int_eq(
		ferry_arena_commit(arena, 0, PAGES * page_size(), false), 0);
	return arena;
}

/* --- a kernel of our own --------------------------------------------------- */

enum { ABSENT = -1, PINNED_BIT = 16 };

/* Node of each page of the arena, or ABSENT; pinned ones with the bit. */
static struct {
	char *base;
	int page[PAGES];
	size_t calls;
} kernel;

static bool fake_available(void)
{
	return true;
}

static int fake_max_node(void)
{
	return 1;
}

static bool fake_usable(int node)
{
	(void)node;
	return true;
}

/* Outside of the arena, as at 0, nothing is mapped. */
static int *page_at(const void *addr)
{
	static int absent;
	size_t number =
		((uintptr_t)addr - (uintptr_t)kernel.base) / page_size();

	absent = ABSENT;
	return number < PAGES ? &kernel.page[number] : &absent;
}

static void tell(size_t n, void **pages, int *status)
{
	size_t i;
	int page;

	for (i = 0; i < n; i++) {
		page = *page_at(pages[i]);
		status[i] = page == ABSENT ? -ENOENT : page & ~PINNED_BIT;
	}
}

/* Migrates the run [from, to): how many of it stay. Statuses as the kernel. */
static size_t migrate_run(void **pages, const int *nodes, int *status,
			  size_t from, size_t to)
{
	size_t i, stay = 0;

	for (i = from; i < to; i++) {
		if (*page_at(pages[i]) & PINNED_BIT)
			stay++;
		else
			*page_at(pages[i]) = nodes[i];
	}
	for (i = from; !stay && i < to; i++)
		status[i] = nodes[i];
	return stay;
}

/* As do_pages_move() of 5.17 to 6.18 does it. */
static long fake_move_pages(int pid, size_t n, void **pages, const int *nodes,
			    int *status, int flags)
{
	size_t i, from = 0, stay;
	int page;

	ck_assert_int_eq(pid, 0);
	(void)flags;
	kernel.calls++;
	if (!nodes) {
		tell(n, pages, status);
		return 0;
	}
	for (i = 0; i < n; i++) {
		page = *page_at(pages[i]);
		if (page != ABSENT && (page & ~PINNED_BIT) != nodes[i])
			continue;
		status[i] = page == ABSENT ? -ENOENT : nodes[i];
		stay = migrate_run(pages, nodes, status, from, i);
		if (stay)
			return (long)(stay + n - i - 1);
		from = i + 1;
	}
	return (long)migrate_run(pages, nodes, status, from, n);
}

static const struct ferry__numa fake_numa = {
	.available = fake_available,
	.max_node = fake_max_node,
	.usable = fake_usable,
};

static struct ferry_arena *made_up(void)
{
	static struct ferry__sys table;
	struct ferry_arena *arena = make();

	kernel.base = ferry_arena_base(arena);
	table = *ferry__sys;
	table.move_pages = fake_move_pages;
	ferry__sys = &table;
	ferry__numa = &fake_numa;
	return arena;
}

/* Pages that lie on @node, or will never. */
static size_t count(int node, bool pinned)
{
	size_t i, n = 0;

	for (i = 0; i < PAGES; i++)
		n += kernel.page[i] == (node | (pinned ? PINNED_BIT : 0));
	return n;
}

/* What is pinned on the other node stays there; nothing else does. */
static void assert_migrates(struct ferry_arena *arena, int node)
{
	size_t failed = 77;

	ck_assert_int_eq(ferry_arena_migrate(arena, 0, PAGES * page_size(),
					     node, &failed),
			 0);
	ck_assert_uint_eq(failed, count(!node, true));
	ck_assert_uint_eq(count(!node, false), 0);
}

START_TEST(pinned_pages_keep_no_others_from_migrating)
{
	struct random random = harness_random();
	struct ferry_arena *arena = made_up();
	size_t round, i;
	int node;

	for (round = 0; round < harness_scaled(2000); round++) {
		for (i = 0; i < PAGES; i++) {
			node = (int)random_below(&random, 2);
			kernel.page[i] = node;
			if (!random_below(&random, 5))
				kernel.page[i] = ABSENT;
			else if (!random_below(&random, 1 + round % 40))
				kernel.page[i] = node | PINNED_BIT;
		}
		assert_migrates(arena, (int)(round % 2));
	}
	ferry_arena_destroy(arena);
}
END_TEST

/* A status that was not written must not pass for one that says node 0. */
START_TEST(pages_that_stay_are_counted_for_the_first_node)
{
	struct ferry_arena *arena = made_up();
	size_t i;

	for (i = 0; i < PAGES; i++)
		kernel.page[i] = 1 | PINNED_BIT;
	assert_migrates(arena, 0);
	ck_assert_uint_lt(kernel.calls, PAGES / 4);
	ferry_arena_destroy(arena);
}
END_TEST

/* --- the kernel ------------------------------------------------------------ */

/* An arena on the first node, every fourth page never touched. */
static struct ferry_arena *filled(void)
{
	unsigned long mask = 1ul << first_node();
	struct ferry_node_policy p = { .mode = FERRY_NODE_BIND,
				       .nodes = &mask,
				       .nodes_len = 64 };
	struct ferry_arena *arena = make();
	char *base = ferry_arena_base(arena);
	size_t i;

	ck_assert_int_eq(ferry_arena_set_node(arena, 0, HUGE_SIZE, &p), 0);
	for (i = 0; i < PAGES; i++)
		if (i % 4 != 3)
			fill_pages(base + i * page_size(), page_size(), i);
	/* To be migrated, they must be free to lie on any node. */
	p.mode = FERRY_NODE_DEFAULT;
	ck_assert_int_eq(ferry_arena_set_node(arena, 0, HUGE_SIZE, &p), 0);
	return arena;
}

static void assert_contents(const char *base)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		if (i % 4 != 3)
			ck_assert(page_holds(base + i * page_size(), i));
}

/*
 * The kernel may hold any page for a moment, or be moving it, and then it
 * neither goes nor fails; a pinned one it never moves.
 */
static void migrate_until(struct ferry_arena *arena, int node, size_t stay)
{
	size_t failed, len = PAGES * page_size(), present = PAGES / 4 * 3;
	char *base = ferry_arena_base(arena);

	do {
		ck_assert_int_eq(ferry_arena_migrate(arena, 0,
						     PAGES * page_size(), node,
						     &failed),
				 0);
		ck_assert_uint_ge(failed, stay);
	} while (failed > stay || pages_on(base, len, node) < present - stay);
}

START_TEST(pinned_pages_of_an_arena_stay_on_their_node)
{
	struct ferry_arena *arena = filled();
	size_t page = page_size();
	char *base = ferry_arena_base(arena);
	int ring = pin_pages(base + 8 * page, 3 * page);

	migrate_until(arena, second_node(), 3);
	ck_assert_uint_eq(pages_on(base + 8 * page, 3 * page, first_node()), 3);
	/* And back, where what is not written reads as node 0. */
	migrate_until(arena, first_node(), 0);
	migrate_until(arena, second_node(), 3);
	unpin_pages(ring);
	migrate_until(arena, second_node(), 0);
	assert_contents(base);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(a_strict_policy_says_that_pinned_pages_stayed)
{
	unsigned long mask = 1ul << second_node();
	struct ferry_node_policy p = { .mode = FERRY_NODE_BIND,
				       .nodes = &mask,
				       .nodes_len = 64,
				       .move_present = true,
				       .strict = true };
	struct ferry_arena *arena = filled();
	char *base = ferry_arena_base(arena);
	int ring = pin_pages(base, page_size());

	ck_assert_int_eq(ferry_arena_set_node(arena, 0, HUGE_SIZE, &p), -EIO);
	ck_assert_uint_eq(pages_on(base, page_size(), first_node()), 1);
	unpin_pages(ring);
	AWAIT(!ferry_arena_set_node(arena, 0, HUGE_SIZE, &p));
	assert_contents(base);
	ferry_arena_destroy(arena);
}
END_TEST

/* --- the pager ------------------------------------------------------------- */

START_TEST(pinned_pages_are_not_taken_out)
{
	struct bed bed;
	uint64_t busy;
	char *pinned;
	int ring;

	bed_begin(&bed, PAGES);
	busy = bed_stats(&bed).busy;
	pinned = bed.addr + 5 * bed.page;
	ring = pin_pages(pinned, 2 * bed.page);
	ck_assert_int_eq(ferry__pager_hint(bed.pager, bed.addr,
					   PAGES * bed.page, FERRY__HINT_COLD),
			 0);
	BED_RUN_UNTIL(&bed, bed_here(&bed) == 2);
	ck_assert(page_there(pinned) && page_there(pinned + bed.page));
	ck_assert_uint_gt(bed_stats(&bed).busy, busy);
	unpin_pages(ring);
	BED_RUN_UNTIL(&bed, bed_here(&bed) == 0);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}
END_TEST

static const struct test tests[] = {
	TEST(pinned_pages_keep_no_others_from_migrating, NULL),
	TEST(pages_that_stay_are_counted_for_the_first_node, NULL),
	TEST(pinned_pages_of_an_arena_stay_on_their_node, "numa,io_uring"),
	TEST(a_strict_policy_says_that_pinned_pages_stayed, "numa,io_uring"),
	TEST(pinned_pages_are_not_taken_out, PAGER_NEEDS ",io_uring"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
