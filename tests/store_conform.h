/* SPDX-License-Identifier: MIT */
/*
 * What every page store must do, whatever it is made of. A test program says
 * how its store is made and gets a test for each fact:
 *
 *	static struct ferry__store *make(void);
 *
 *	CONFORM_DEFINE(make)
 *
 *	static const struct test tests[] = {
 *		CONFORM_TESTS(NULL),
 *		...
 *
 * A store may refuse pages that do not compress, and nothing else: make() is
 * to give it room for 4000 pages.
 */
#ifndef FERRY_TESTS_STORE_CONFORM_H
#define FERRY_TESTS_STORE_CONFORM_H

#include "alloc/store/store.h"
#include "tests/harness.h"

/* Each destroys @store. */
void conform_pages_come_back(struct ferry__store *store);
void conform_wrong_tag_is_noticed(struct ferry__store *store);
void conform_many_at_once(struct ferry__store *store);
void conform_room_is_used_again(struct ferry__store *store);
void conform_threads_share_it(struct ferry__store *store);
void conform_child_keeps_the_pages(struct ferry__store *store);
void conform_parent_goes_on_after_a_fork(struct ferry__store *store);
void conform_grandchild_keeps_the_pages(struct ferry__store *store);
void conform_goes_on_in_another_table(struct ferry__store *store);

#define CONFORM_ONE(fact, make)                                                \
	START_TEST(fact)                                                       \
	{                                                                      \
		conform_##fact(make());                                        \
	}                                                                      \
	END_TEST

#define CONFORM_DEFINE(make)                                                   \
	CONFORM_ONE(pages_come_back, make)                                     \
	CONFORM_ONE(wrong_tag_is_noticed, make)                                \
	CONFORM_ONE(many_at_once, make)                                        \
	CONFORM_ONE(room_is_used_again, make)                                  \
	CONFORM_ONE(threads_share_it, make)                                    \
	CONFORM_ONE(child_keeps_the_pages, make)                               \
	CONFORM_ONE(parent_goes_on_after_a_fork, make)                         \
	CONFORM_ONE(grandchild_keeps_the_pages, make)                          \
	CONFORM_ONE(goes_on_in_another_table, make)

/* clang-format off: a list */
#define CONFORM_TESTS(needs)                                                   \
	TEST(pages_come_back, needs), TEST(wrong_tag_is_noticed, needs),       \
		TEST(many_at_once, needs), TEST(room_is_used_again, needs),    \
		TEST(threads_share_it, needs),                                 \
		TEST(child_keeps_the_pages, needs),                            \
		TEST(parent_goes_on_after_a_fork, needs),                      \
		TEST(grandchild_keeps_the_pages, needs),                       \
		TEST(goes_on_in_another_table, needs)
/* clang-format on */

/* --- pieces for tests of one kind ----------------------------------------- */

/* Pages in a store, by number. */
struct conform_page {
	ferry__store_handle handle;
	uint64_t number; /* 0: none */
};

/* Puts the page @number; returns what the store said. */
int conform_put(struct ferry__store *store, uint64_t number,
		struct conform_page *ret_page);

/* The same, which must be taken. */
void conform_put_all(struct ferry__store *store, uint64_t first,
		     struct conform_page *pages, size_t n);

struct ferry__store_stats conform_stats(struct ferry__store *store);

/* 0: it came back as it was; else the store's error, -EBADMSG for contents. */
int conform_get(struct ferry__store *store, const struct conform_page *page);

/* How many of @pages do not come back as they were. */
size_t conform_wrong(struct ferry__store *store,
		     const struct conform_page *pages, size_t n);
void conform_drop(struct ferry__store *store, struct conform_page *pages,
		  size_t n);

/*
 * fork(2) with the store's part of it; @page, if not NULL, is got in between,
 * as a pager may. Returns as fork(2) does; the child leaves by _exit(), 0 when
 * all was well.
 */
int conform_fork(struct ferry__store *store, const struct conform_page *page);

/* Waits for a child that has to have left with 0. */
void conform_join(int pid);

#endif
