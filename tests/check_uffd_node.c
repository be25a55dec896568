/* SPDX-License-Identifier: MIT */
/*
 * Moves across NUMA policies: a move rewrites page tables and so leaves the
 * memory on the node it is on, whatever the destination's policy says.
 */
#include <ferry/move.h>

#include <stdlib.h>

#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/nodes.h"

#define PAGES 64

static struct ferry_uffd *uffd;
static size_t len;
static struct ferry_move_result res;
static struct ferry_move_params params;

static void setup(void)
{
	ck_assert_int_ge(numa_available(), 0);
	len = PAGES * page_size();
	ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &uffd), 0);
	res = (struct ferry_move_result)FERRY_INIT(struct ferry_move_result);
	params = (struct ferry_move_params)FERRY_INIT(struct ferry_move_params);
}

static void teardown(void)
{
	ferry_uffd_close(uffd);
}

/* Filled memory on @node. */
static char *source(char *mem, size_t size, int node)
{
	numa_tonode_memory(mem, size, node);
	fill_pages(mem, size, 1);
	ck_assert_uint_eq(pages_on(mem, size, node), size / page_size());
	return mem;
}

/* Registered memory that is bound to @node. */
static char *destination(char *mem, size_t size, int node)
{
	numa_tonode_memory(mem, size, node);
	ck_assert_int_eq(ferry_uffd_register(uffd, mem, size,
					     FERRY_REGISTER_MISSING, NULL),
			 0);
	return mem;
}

START_TEST(moved_pages_stay_on_their_node)
{
	int from;

	params.flags = FERRY_MOVE_NATIVE;
	FOR_EACH_NODE (from) {
		int to = from == first_node() ? second_node() : first_node();
		char *src = source(map_anon(len), len, from);
		char *dst = destination(map_anon(len), len, to);

		ck_assert_int_eq(ferry_move(uffd, dst, src, len, &params, &res),
				 0);
		ck_assert_uint_eq(res.moved, len);
		ck_assert_uint_eq(pages_on(dst, len, from), PAGES);
		assert_pages(dst, len, 1);
	}
}
END_TEST

START_TEST(moved_huge_page_stays_on_its_node)
{
	char *src = source(map_huge(HUGE_SIZE), HUGE_SIZE, second_node());
	char *dst = destination(map_huge(HUGE_SIZE), HUGE_SIZE, first_node());

	params.flags = FERRY_MOVE_NATIVE;
	ck_assert_int_eq(ferry_move(uffd, dst, src, HUGE_SIZE, &params, &res),
			 0);
	ck_assert_uint_eq(pages_on(dst, HUGE_SIZE, second_node()),
			  HUGE_SIZE / page_size());
	assert_pages(dst, HUGE_SIZE, 1);
}
END_TEST

/* By mremap(2) pages stay, by a copy they are placed anew. */
START_TEST(emulated_move_says_how_and_places_accordingly)
{
	char *src = source(map_anon(len), len, second_node());
	char *dst = destination(map_anon(len), len, first_node());
	int node;

	params.flags = FERRY_MOVE_EMULATE;
	ck_assert_int_eq(ferry_move(uffd, dst, src, len, &params, &res), 0);
	ck_assert(res.method == FERRY_METHOD_MREMAP ||
		  res.method == FERRY_METHOD_COPY);
	node = res.method == FERRY_METHOD_MREMAP ? second_node() : first_node();
	ck_assert_uint_eq(pages_on(dst, len, node), PAGES);
	assert_pages(dst, len, 1);
}
END_TEST

START_TEST(slid_interleaved_pages_keep_their_places)
{
	size_t page = page_size(), i;
	char *mem = map_anon(len);
	int *node = calloc(PAGES, sizeof(*node));
	struct bitmask *mask = mask_of_all();

	ck_assert_ptr_nonnull(node);
	params.flags = FERRY_MOVE_NATIVE;
	numa_interleave_memory(mem + page, len - page, mask);
	fill_pages(mem + page, len - page, 1);
	for (i = 1; i < PAGES; i++)
		while (!pages_on(mem + i * page, page, node[i]))
			node[i] = node_from(node[i] + 1);
	destination(mem, len, first_node());
	ck_assert_int_eq(
		ferry_move(uffd, mem, mem + page, len - page, &params, &res),
		0);
	for (i = 1; i < PAGES; i++)
		ck_assert_uint_eq(pages_on(mem + (i - 1) * page, page, node[i]),
				  1);
	assert_pages(mem, len - page, 1);
	numa_free_nodemask(mask);
	free(node);
}
END_TEST

static const struct test tests[] = {
	TEST_FIXTURE(moved_pages_stay_on_their_node, "numa,move", setup,
		     teardown),
	TEST_FIXTURE(moved_huge_page_stays_on_its_node, "numa,move,thp", setup,
		     teardown),
	TEST_FIXTURE(emulated_move_says_how_and_places_accordingly,
		     "numa,userfaultfd", setup, teardown),
	TEST_FIXTURE(slid_interleaved_pages_keep_their_places, "numa,move",
		     setup, teardown),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
