/* SPDX-License-Identifier: MIT */
/*
 * The compressed-memory store under many threads: put, got, dropped and
 * compacted at once, with every byte checked; and forks between any two steps.
 */
#include "tests/harness.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/store/memory.h"
#include "tests/memory.h"
#include "tests/stored.h"

#define WORKERS	  3
#define KEPT	  400
#define MOST_PAGE 65536

struct kept {
	ferry__store_handle handle;
	uint64_t number; /* 0: nothing */
};

/* Pages of its own, since nobody may get and drop one at the same time. */
struct worker {
	pthread_t thread;
	struct random rng;
	struct kept kept[KEPT];
	uint64_t puts, gets, drops, full;
	size_t pages;
	_Alignas(64) unsigned char page[MOST_PAGE];
};

static struct ferry__store *store;
static struct worker workers[WORKERS];
static size_t rounds;
static int stop; /* T1: relaxed: nothing hangs on when it is seen */
/* Pages that nobody drops, which all get: several at a time. */
static struct kept shared[64];

static void put(struct worker *w, struct kept *kept)
{
	uint64_t number = random_next(&w->rng) >> 1 | 1;
	int r;

	stored_fill(w->page, number);
	if (number % 16 == 1)
		memset(w->page, (int)(number >> 8), page_size());
	r = store->ops->put(store, w->page, stored_tag(number), &kept->handle);
	ck_assert_msg(r == 0 || r == -ENOSPC, "put answers %d", r);
	if (r == 0)
		kept->number = number;
	w->puts += r == 0;
	w->full += r != 0;
	w->pages += r == 0;
}

static bool holds(const unsigned char *page, uint64_t number)
{
	size_t i;

	if (number % 16 != 1)
		return stored_holds(page, number);
	for (i = 0; i < page_size(); i++)
		if (page[i] != (unsigned char)(number >> 8))
			return false;
	return true;
}

static void get(struct worker *w, const struct kept *kept)
{
	memset(w->page, 0xee, page_size());
	ck_assert_int_eq(store->ops->get(store, kept->handle,
					 stored_tag(kept->number), w->page),
			 0);
	ck_assert(holds(w->page, kept->number));
	w->gets++;
}

static void drop(struct worker *w, struct kept *kept)
{
	store->ops->drop(store, kept->handle);
	kept->number = 0;
	w->drops++;
	w->pages--;
}

static void one_step(struct worker *w)
{
	struct kept *kept = &w->kept[random_below(&w->rng, KEPT)];

	if (random_below(&w->rng, 8) == 0)
		get(w, &shared[random_below(&w->rng, ARRAY_SIZE(shared))]);
	else if (!kept->number)
		put(w, kept);
	else if (random_below(&w->rng, 3))
		get(w, kept);
	else
		drop(w, kept);
	/* Waves: now and then most of it goes, so that slabs get sparse. */
	if (random_below(&w->rng, 2000) == 0) {
		size_t i;

		for (i = 0; i < KEPT; i++)
			if (w->kept[i].number && random_below(&w->rng, 8))
				drop(w, &w->kept[i]);
	}
}

static void *work(void *arg)
{
	size_t i;

	for (i = 0; i < rounds; i++)
		one_step(arg);
	return NULL;
}

static void *maintain(void *arg)
{
	struct ferry__store_stats s;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		store->ops->maintain(store);
		store->ops->stats(store, &s);
		sched_yield();
	}
	return arg;
}

static pthread_t maintainer;

static void start(struct random *rng, enum ferry__codec codec, uint64_t limit)
{
	static struct worker first;
	size_t i;

	ck_assert_int_eq(ferry__store_memory_create(codec, limit, &store), 0);
	first.rng = random_seeded(random_next(rng));
	for (i = 0; i < ARRAY_SIZE(shared); i++)
		put(&first, &shared[i]);
	memset(workers, 0, sizeof(workers));
	stop = 0;
	for (i = 0; i < WORKERS; i++) {
		workers[i].rng = random_seeded(random_next(rng));
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
	pthread_create(&maintainer, NULL, maintain, NULL);
}

static void finish(void)
{
	struct ferry__store_stats s;
	size_t i, k, pages = ARRAY_SIZE(shared);
	uint64_t full = 0;

	for (i = 0; i < WORKERS; i++) {
		pthread_join(workers[i].thread, NULL);
		pages += workers[i].pages;
		full += workers[i].full;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(maintainer, NULL);
	ferry__memory_check(store);
	store->ops->stats(store, &s);
	ck_assert_uint_eq(s.pages, pages);
	ck_assert_uint_eq(s.refused, full);
	ck_assert_uint_eq(s.failed, 0);
	for (i = 0; i < WORKERS; i++)
		for (k = 0; k < KEPT; k++)
			if (workers[i].kept[k].number) {
				get(&workers[i], &workers[i].kept[k]);
				drop(&workers[i], &workers[i].kept[k]);
			}
	for (k = 0; k < ARRAY_SIZE(shared); k++)
		store->ops->drop(store, shared[k].handle);
	store->ops->maintain(store);
	store->ops->stats(store, &s);
	ck_assert_uint_eq(s.pages, 0);
	ck_assert_uint_eq(s.same, 0);
	ck_assert_uint_eq(s.payload, 0);
	store->ops->destroy(store);
}

START_TEST(threads_lose_no_byte)
{
	struct random rng = harness_random();

	rounds = harness_scaled(60000);
	start(&rng, FERRY__CODEC_LZ4, 0);
	finish();
	rounds = harness_scaled(20000);
	start(&rng, FERRY__CODEC_ZSTD, 0);
	finish();
}
END_TEST

START_TEST(a_store_that_is_full_most_of_the_time_loses_no_byte)
{
	struct random rng = harness_random();

	rounds = harness_scaled(60000);
	start(&rng, FERRY__CODEC_LZ4, 1 << 20);
	finish();
}
END_TEST

/* Only what nobody changes is known here. */
static void child(void)
{
	static struct worker me;
	struct ferry__store_stats before, s;
	size_t i;

	store->ops->fork_child(store);
	ferry__memory_check(store);
	store->ops->stats(store, &before);
	me.rng = random_seeded(1);
	for (i = 0; i < KEPT; i++)
		put(&me, &me.kept[i]);
	store->ops->maintain(store);
	for (i = 0; i < ARRAY_SIZE(shared); i++)
		get(&me, &shared[i]);
	for (i = 0; i < KEPT; i++) {
		get(&me, &me.kept[i]);
		drop(&me, &me.kept[i]);
	}
	store->ops->stats(store, &s);
	_exit(s.pages == before.pages && s.payload == before.payload ? 0 : 1);
}

START_TEST(forks_between_any_two_steps_leave_a_usable_store)
{
	struct random rng = harness_random();
	size_t i, c, n = harness_scaled(30);
	int status;
	pid_t pid;

	for (c = 0; c < 2; c++) {
		rounds = harness_scaled(20000);
		start(&rng, c ? FERRY__CODEC_ZSTD : FERRY__CODEC_LZ4, 0);
		for (i = 0; i < n; i++) {
			store->ops->fork_prepare(store);
			pid = fork();
			if (pid == 0)
				child();
			store->ops->fork_parent(store);
			ck_assert_int_ge(pid, 0);
			ck_assert_int_eq(waitpid(pid, &status, 0), pid);
			ck_assert_int_eq(status, 0);
		}
		finish();
	}
}
END_TEST

static const struct test tests[] = {
	TEST(threads_lose_no_byte, NULL),
	TEST(a_store_that_is_full_most_of_the_time_loses_no_byte, NULL),
	TEST(forks_between_any_two_steps_leave_a_usable_store, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
