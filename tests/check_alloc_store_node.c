/* SPDX-License-Identifier: MIT */
/*
 * The store in memory of another node: on each node that the machine has, and
 * on nodes made up here.
 */
#include "tests/store_conform.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/store/node.h"
#include "alloc/store/nodes.h"
#include "tests/files.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/nodes.h"
#include "tests/stored.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

#define PAGES 600 /* more than a chunk */

static struct ferry__store *make_on(int node, uint64_t pages)
{
	struct ferry__store *store = NULL;

	ck_assert_int_eq(
		ferry__store_node_create(node, pages * page_size(), &store), 0);
	return store;
}

static struct ferry__store *make(void)
{
	return make_on(first_node(), 0);
}

CONFORM_DEFINE(make)

static char *memory_of(struct ferry__store *store, ferry__store_handle handle)
{
	struct ferry__node_store *node = (struct ferry__node_store *)store;
	char **chunk =
		ferry__table_at(&node->chunks, handle / FERRY__NODE_CHUNK);

	return *chunk + handle % FERRY__NODE_CHUNK * page_size();
}

START_TEST(pages_lie_on_their_node)
{
	static struct conform_page pages[PAGES];
	int node;

	FOR_EACH_NODE (node) {
		struct ferry__store *store = make_on(node, 0);
		size_t i, there = 0;

		conform_put_all(store, 1, pages, PAGES);
		for (i = 0; i < PAGES; i++)
			there += pages_on(memory_of(store, pages[i].handle),
					  page_size(), node);
		ck_assert_uint_eq(there, PAGES);
		ck_assert_uint_eq(conform_wrong(store, pages, PAGES), 0);
		store->ops->destroy(store);
	}
}
END_TEST

START_TEST(node_without_memory_is_refused)
{
	struct ferry__store *store = NULL;

	ck_assert_int_eq(ferry__store_node_create(-1, 0, &store), -EINVAL);
	ck_assert_int_eq(ferry__store_node_create(900, 0, &store), -EINVAL);
	files_start();
	ck_assert_int_eq(ferry__store_node_create(0, 0, &store), -EOPNOTSUPP);
	files_add("/sys/devices/system/node/has_memory", "1,3-4\n");
	ck_assert_int_eq(ferry__store_node_create(0, 0, &store), -EINVAL);
	ck_assert_int_eq(ferry__store_node_create(2, 0, &store), -EINVAL);
	ck_assert_int_eq(ferry__store_node_create(5, 0, &store), -EINVAL);
	ck_assert_ptr_null(store);
	ck_assert_uint_eq(files_open(), 0);
}
END_TEST

START_TEST(kernel_without_policies_is_named)
{
	struct inject_rule none = { .call = INJECT_MBIND, .error = ENOSYS };
	struct ferry__store *store = NULL;

	inject_start();
	inject_add(&none);
	ck_assert_int_eq(ferry__store_node_create(first_node(), 0, &store),
			 -EOPNOTSUPP);
}
END_TEST

START_TEST(limit_is_kept)
{
	struct ferry__store *store = make_on(first_node(), PAGES);
	static struct conform_page pages[FERRY__NODE_CHUNK];
	struct conform_page more;

	/* Whole chunks only. */
	conform_put_all(store, 1, pages, FERRY__NODE_CHUNK);
	ck_assert_int_eq(conform_put(store, 1000, &more), -ENOSPC);
	ck_assert_uint_eq(conform_stats(store).refused, 1);
	ck_assert_uint_eq(conform_wrong(store, pages, FERRY__NODE_CHUNK), 0);
	conform_drop(store, pages, 1);
	ck_assert_int_eq(conform_put(store, 1000, &more), 0);
	store->ops->destroy(store);
}
END_TEST

START_TEST(memory_goes_back_and_is_had_again)
{
	struct ferry__store *store = make();
	static struct conform_page pages[3 * FERRY__NODE_CHUNK];
	uint64_t chunk = FERRY__NODE_CHUNK * page_size();
	size_t i, n = ARRAY_SIZE(pages);

	conform_put_all(store, 1, pages, n);
	ck_assert_uint_gt(conform_stats(store).memory, 3 * chunk);
	conform_drop(store, pages, n - 1);
	store->ops->maintain(store);
	ck_assert_uint_lt(conform_stats(store).memory, 2 * chunk);
	ck_assert_int_eq(conform_get(store, &pages[n - 1]), 0);
	for (i = 0; i < 2; i++) {
		conform_put_all(store, 5000, pages, n - 1);
		ck_assert_uint_eq(conform_wrong(store, pages, n), 0);
		conform_drop(store, pages, n - 1);
		store->ops->maintain(store);
	}
	store->ops->destroy(store);
}
END_TEST

START_TEST(damaged_contents_are_noticed)
{
	struct ferry__store *store = make();
	struct conform_page page;

	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	memory_of(store, page.handle)[page_size() - 1] ^= 1;
	ck_assert_int_eq(conform_get(store, &page), -EILSEQ);
	store->ops->destroy(store);
}
END_TEST

/* --- a machine made up here ----------------------------------------------- */

static struct ferry__sys table;
static int elsewhere; /* of so many pages one is on another node; 0: none */

static long fake_move_pages(int pid, size_t n, void **pages, const int *nodes,
			    int *ret_status, int flags)
{
	size_t i;
	long r = ferry__sys_linux.move_pages(pid, n, pages, nodes, ret_status,
					     flags);

	for (i = 0; r == 0 && i < n; i++)
		if (elsewhere && i % (size_t)elsewhere == 0)
			ret_status[i] = 77;
	return r;
}

START_TEST(full_node_is_not_passed_over_in_silence)
{
	struct ferry__store *store = make();
	struct conform_page page, other;
	uint64_t before;

	table = *ferry__sys;
	table.move_pages = fake_move_pages;
	ferry__sys = &table;
	before = conform_stats(store).memory;
	elsewhere = 100;
	ck_assert_int_eq(conform_put(store, 1, &page), -ENOSPC);
	ck_assert_uint_eq(conform_stats(store).memory, before);
	elsewhere = 0;
	ck_assert_int_eq(conform_put(store, 1, &page), -ENOSPC);
	store->ops->maintain(store);
	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	elsewhere = 1;
	ck_assert_int_eq(conform_put(store, 2, &other), 0);
	ck_assert_int_eq(conform_get(store, &page), 0);
	store->ops->destroy(store);
}
END_TEST

START_TEST(no_memory_refuses_and_loses_nothing)
{
	struct inject_rule none = { .call = INJECT_MADVISE,
				    .request = FERRY__MADV_POPULATE_WRITE,
				    .count = INJECT_ALWAYS,
				    .error = ENOMEM };
	struct inject_rule old = none;
	static struct conform_page pages[FERRY__NODE_CHUNK];
	struct ferry__store *store = make();
	struct conform_page more;

	conform_put_all(store, 1, pages, FERRY__NODE_CHUNK);
	inject_start();
	inject_add(&none);
	ck_assert_int_eq(conform_put(store, 1000, &more), -ENOSPC);
	ck_assert_uint_eq(conform_wrong(store, pages, FERRY__NODE_CHUNK), 0);
	/* A kernel that cannot populate. */
	old.error = EINVAL;
	inject_add(&old);
	store->ops->maintain(store);
	ck_assert_int_eq(conform_put(store, 1000, &more), 0);
	ck_assert_int_eq(conform_get(store, &more), 0);
	store->ops->destroy(store);
}
END_TEST

static const struct test tests[] = {
	CONFORM_TESTS(NULL),
	TEST(pages_lie_on_their_node, NULL),
	TEST(node_without_memory_is_refused, NULL),
	TEST(kernel_without_policies_is_named, NULL),
	TEST(limit_is_kept, NULL),
	TEST(memory_goes_back_and_is_had_again, NULL),
	TEST(damaged_contents_are_noticed, NULL),
	TEST(full_node_is_not_passed_over_in_silence, NULL),
	TEST(no_memory_refuses_and_loses_nothing, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
