/* SPDX-License-Identifier: MIT */
/*
 * Dictionaries of a compressed-memory store: made of what it is given, where
 * that pays, and gone when no page is packed by them any more.
 */
#include "tests/harness.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/store/memory.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/stored.h"

#define MOST_PAGE 65536
#define WORDS	  256
#define PAGES	  5000 /* enough for a dictionary */
#define MIB	  ((uint64_t)1 << 20)

static struct ferry__store *store;
static ferry__store_handle *handle;

static void make(uint64_t limit)
{
	ck_assert_int_eq(
		ferry__store_memory_create(FERRY__CODEC_ZSTD, limit, &store),
		0);
	handle = map_private(4 * PAGES * sizeof(*handle));
}

/* Where pages are too long there are none. */
#define MAKE(limit)                                                            \
	do {                                                                   \
		if (!ferry__dict_useful())                                     \
			SKIP("pages", "%zu bytes are too long", page_size());  \
		make(limit);                                                   \
	} while (0)

static void unmake(void)
{
	store->ops->destroy(store);
}

static struct ferry__store_memory *memory(void)
{
	return (struct ferry__store_memory *)store;
}

static struct ferry__store_stats stats(void)
{
	struct ferry__store_stats s;

	store->ops->stats(store, &s);
	return s;
}

/* --- pages ---------------------------------------------------------------- */

/* Words of random letters, the same ones for all pages of a kind. */
static void fill(unsigned char *page, unsigned int kind, uint64_t number)
{
	struct random rng = random_seeded(number), word;
	size_t at = 0, len;

	while (at < page_size()) {
		word = random_seeded(kind * WORDS + random_below(&rng, WORDS) +
				     1);
		for (len = 12; len && at < page_size(); len--)
			page[at++] = (unsigned char)random_next(&word);
		if (at < page_size())
			page[at++] = (unsigned char)random_next(&rng);
	}
}

static int try_put(unsigned int kind, uint64_t number)
{
	unsigned char page[MOST_PAGE];

	fill(page, kind, number);
	return store->ops->put(store, page, stored_tag(number),
			       &handle[number]);
}

static void put(unsigned int kind, uint64_t first, uint64_t n)
{
	uint64_t i;

	for (i = first; i < first + n; i++)
		ck_assert_int_eq(try_put(kind, i), 0);
}

/* True if it comes back as it was; not, if the store says that it cannot. */
static bool comes_back(unsigned int kind, uint64_t number)
{
	unsigned char page[MOST_PAGE], back[MOST_PAGE];
	int r;

	r = store->ops->get(store, handle[number], stored_tag(number), back);
	if (r == -EILSEQ)
		return false;
	ck_assert_int_eq(r, 0);
	fill(page, kind, number);
	ck_assert(!memcmp(page, back, page_size()));
	return true;
}

static void assert_back(unsigned int kind, uint64_t first, uint64_t n)
{
	uint64_t i;

	for (i = first; i < first + n; i++)
		ck_assert(comes_back(kind, i));
}

static void drop(uint64_t first, uint64_t n)
{
	uint64_t i;

	for (i = first; i < first + n; i++)
		store->ops->drop(store, handle[i]);
	store->ops->maintain(store);
}

/* The number of the dictionary that it is packed by. */
static uint32_t dict_of(uint64_t number)
{
	return ferry__memory_dict(
		*ferry__memory_entry(memory(), handle[number]));
}

/* --- there and back ------------------------------------------------------- */

START_TEST(like_pages_take_less_by_a_dictionary)
{
	uint64_t before;

	MAKE(0);
	memory()->dicts.enabled = false;
	put(1, 0, PAGES);
	before = stats().payload;
	ck_assert_uint_eq(stats().dictionaries, 0);
	unmake();
	MAKE(0);
	put(1, 0, PAGES);
	ck_assert_uint_ge(stats().dictionaries, 1);
	ck_assert_uint_ge(stats().dictionary_memory, FERRY__DICT_SIZE);
	ck_assert_uint_lt(stats().payload + stats().dictionary_memory,
			  before * 9 / 10);
	assert_back(1, 0, PAGES);
	ferry__memory_check(store);
	unmake();
}
END_TEST

START_TEST(pages_that_win_nothing_get_none)
{
	unsigned char page[MOST_PAGE];
	uint64_t i;

	MAKE(0);
	for (i = 0; i < PAGES; i++) {
		stored_noise(page, i);
		memset(page, 0, page_size() / 2);
		ck_assert_int_eq(
			store->ops->put(store, page, stored_tag(i), &handle[i]),
			0);
	}
	store->ops->maintain(store);
	ck_assert_uint_eq(stats().dictionaries, 0);
	ferry__memory_check(store);
	unmake();
}
END_TEST

START_TEST(other_pages_get_another_and_the_last_page_takes_it_along)
{
	const uint64_t last = PAGES - 1;
	uint64_t next;
	uint32_t old;

	MAKE(0);
	put(1, 0, PAGES);
	old = dict_of(last);
	ck_assert_uint_ne(old, 0);
	put(2, PAGES, 3 * PAGES);
	ck_assert_uint_ne(dict_of(4 * PAGES - 1), old);
	assert_back(1, 0, PAGES);
	assert_back(2, PAGES, 3 * PAGES);
	ferry__memory_check(store);
	/* The first of the others were packed by the old one, too. */
	for (next = PAGES; dict_of(next) == old; next++)
		;
	drop(PAGES, next - PAGES);
	drop(0, last);
	ck_assert(comes_back(1, last));
	drop(last, 1);
	ck_assert_ptr_null(ferry__dicts_at(&memory()->dicts, old));
	ck_assert_uint_ge(stats().dictionaries, 1);
	assert_back(2, next, 4 * PAGES - next);
	ferry__memory_check(store);
	unmake();
}
END_TEST

/* More kinds than there can be dictionaries: the last ones go without. */
START_TEST(all_numbers_taken_lose_nothing)
{
	unsigned int kind;

	MAKE(0);
	for (kind = 0; kind < 12; kind++) {
		/* The next one soon, whatever the last one won. */
		memory()->dicts.wait = 1024;
		put(kind, kind * 1500, 1500);
	}
	ck_assert_uint_lt(stats().dictionaries, FERRY__DICTS);
	ck_assert_uint_ge(stats().dictionaries, FERRY__DICTS - 2);
	for (kind = 0; kind < 12; kind++)
		assert_back(kind, kind * 1500, 1500);
	ferry__memory_check(store);
	unmake();
}
END_TEST

START_TEST(objects_move_with_their_dictionary)
{
	uint64_t i;

	MAKE(0);
	put(1, 0, PAGES);
	for (i = 0; i < PAGES; i++)
		if (i % 8)
			store->ops->drop(store, handle[i]);
	store->ops->maintain(store);
	for (i = 0; i < PAGES; i += 8)
		ck_assert(comes_back(1, i));
	ferry__memory_check(store);
	unmake();
}
END_TEST

/* --- what fails ----------------------------------------------------------- */

START_TEST(a_changed_dictionary_is_noticed)
{
	const struct ferry__dict *dict;
	uint64_t i, lost = 0;
	char *bytes;

	MAKE(0);
	put(1, 0, PAGES);
	dict = memory()->dicts.dict[memory()->dicts.current];
	bytes = (char *)dict + sizeof(*dict);
	memset(bytes + FERRY__DICT_SIZE / 2, 0x5a, FERRY__DICT_SIZE / 4);
	for (i = 0; i < PAGES; i++)
		lost += !comes_back(1, i);
	/* Never with other bytes: that is asserted above. */
	ck_assert_uint_ge(lost, PAGES / 4);
	unmake();
}
END_TEST

START_TEST(without_memory_for_one_pages_are_packed_without)
{
	struct inject_rule rule = { .call = INJECT_MMAP,
				    .count = INJECT_ALWAYS,
				    .error = ENOMEM };
	uint64_t n, i;

	MAKE(0);
	put(1, 0, 100);
	inject_start();
	inject_add(&rule);
	for (n = 100; n < PAGES && try_put(1, n) == 0; n++)
		;
	ck_assert_uint_gt(rule.hits, 0);
	ck_assert_uint_eq(stats().dictionaries, 0);
	inject_stop();
	for (i = 0; i < n; i++)
		ck_assert(comes_back(1, i));
	put(1, n, PAGES);
	ck_assert_uint_ge(stats().dictionaries, 1);
	assert_back(1, 0, n + PAGES);
	unmake();
}
END_TEST

/* Puts until it is full, and looks at the limit after each. */
static uint64_t fill_up(uint64_t limit)
{
	uint64_t n, i;

	for (n = 0; n < 4 * PAGES && try_put(1, n) == 0; n++)
		ck_assert_uint_le(stats().memory, limit);
	ck_assert_uint_lt(n, 4 * PAGES);
	ck_assert_uint_le(stats().memory, limit);
	ck_assert_uint_ge(stats().memory, limit - 64 * page_size());
	for (i = 0; i < n; i++)
		ck_assert(comes_back(1, i));
	return n;
}

START_TEST(the_limit_holds_with_dictionaries)
{
	uint64_t n;

	MAKE(4 * MIB);
	memory()->dicts.enabled = false;
	n = fill_up(4 * MIB);
	unmake();
	MAKE(4 * MIB);
	ck_assert_uint_gt(fill_up(4 * MIB), n);
	ck_assert_uint_ge(stats().dictionaries, 1);
	unmake();
	/* One would be made when there is no room for it. */
	MAKE(4 * MIB);
	memory()->dicts.wait = n - 40;
	fill_up(4 * MIB);
	ck_assert_uint_eq(stats().dictionaries, 0);
	unmake();
}
END_TEST

/* --- beside --------------------------------------------------------------- */

static void fork_child(void)
{
	store->ops->fork_child(store);
	ferry__memory_check(store);
	if (!comes_back(1, 0) || !comes_back(2, PAGES))
		_exit(1);
	drop(0, PAGES);
	if (!comes_back(2, PAGES) || stats().dictionaries < 1)
		_exit(2);
	put(2, 2 * PAGES, PAGES);
	assert_back(2, PAGES, 2 * PAGES);
	drop(PAGES, 2 * PAGES);
	ferry__memory_check(store);
	_exit(stats().dictionaries > 1 ? 3 : 0);
}

START_TEST(a_child_counts_their_users_anew)
{
	uint32_t current;
	uint64_t users;
	int status;
	pid_t pid;

	MAKE(0);
	put(1, 0, PAGES);
	put(2, PAGES, PAGES);
	/* As if a thread that is not in the child was packing just now. */
	current = memory()->dicts.current;
	users = memory()->dicts.users[current]++;
	store->ops->fork_prepare(store);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		fork_child();
	store->ops->fork_parent(store);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	memory()->dicts.users[current] = users;
	ferry__memory_check(store);
	assert_back(1, 0, PAGES);
	unmake();
}
END_TEST

#define WORKERS 3

struct worker {
	pthread_t thread;
	uint64_t first, n;
};

/* Each changes its kind now and then, so that dictionaries come and go. */
static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned int kind;

	for (kind = 0; kind < 4; kind++) {
		put(kind, w->first, w->n);
		assert_back(kind, w->first, w->n);
		drop(w->first, w->n);
	}
	return NULL;
}

START_TEST(they_come_and_go_under_threads)
{
	struct worker w[WORKERS];
	size_t i;

	MAKE(0);
	memory()->dicts.wait = 1024;
	for (i = 0; i < WORKERS; i++) {
		w[i].n = harness_scaled(2000);
		w[i].first = i * PAGES;
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	}
	for (i = 0; i < WORKERS; i++)
		pthread_join(w[i].thread, NULL);
	ferry__memory_check(store);
	ck_assert_uint_eq(stats().pages, 0);
	ck_assert_uint_eq(stats().failed, 0);
	store->ops->maintain(store);
	ck_assert_uint_le(stats().dictionaries, 1);
	unmake();
}
END_TEST

static const struct test tests[] = {
	TEST(like_pages_take_less_by_a_dictionary, NULL),
	TEST(pages_that_win_nothing_get_none, NULL),
	TEST(other_pages_get_another_and_the_last_page_takes_it_along, NULL),
	TEST(all_numbers_taken_lose_nothing, NULL),
	TEST(objects_move_with_their_dictionary, NULL),
	TEST(a_changed_dictionary_is_noticed, NULL),
	TEST(without_memory_for_one_pages_are_packed_without, NULL),
	TEST(the_limit_holds_with_dictionaries, NULL),
	TEST(a_child_counts_their_users_anew, NULL),
	TEST(they_come_and_go_under_threads, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
