/* SPDX-License-Identifier: MIT */
/* Facts of every page store. */
#include "tests/store_conform.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/memory.h"
#include "tests/stored.h"

#define PAGES	  300
#define THREADS	  4
#define MOST_PAGE 65536

/* --- pieces --------------------------------------------------------------- */

struct buffer {
	_Alignas(4096) unsigned char bytes[MOST_PAGE];
};

/* Every seventh is a repeated byte, the others are noise in part. */
static void fill(void *page, uint64_t number)
{
	if (number % 7)
		stored_fill(page, number);
	else
		memset(page, (int)(number / 7), page_size());
}

static bool holds(const void *page, uint64_t number)
{
	struct buffer expected;

	fill(expected.bytes, number);
	return memcmp(page, expected.bytes, page_size()) == 0;
}

int conform_put(struct ferry__store *store, uint64_t number,
		struct conform_page *ret_page)
{
	struct buffer page;
	int r;

	fill(page.bytes, number);
	r = store->ops->put(store, page.bytes, stored_tag(number),
			    &ret_page->handle);
	ret_page->number = r == 0 ? number : 0;
	return r;
}

void conform_put_all(struct ferry__store *store, uint64_t first,
		     struct conform_page *pages, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		ck_assert_int_eq(conform_put(store, first + i, &pages[i]), 0);
}

struct ferry__store_stats conform_stats(struct ferry__store *store)
{
	struct ferry__store_stats stats;

	store->ops->stats(store, &stats);
	return stats;
}

int conform_get(struct ferry__store *store, const struct conform_page *page)
{
	struct buffer buffer;
	int r;

	memset(buffer.bytes, 0xa5, page_size());
	r = store->ops->get(store, page->handle, stored_tag(page->number),
			    buffer.bytes);
	if (r < 0)
		return r;
	return holds(buffer.bytes, page->number) ? 0 : -EBADMSG;
}

size_t conform_wrong(struct ferry__store *store,
		     const struct conform_page *pages, size_t n)
{
	size_t i, wrong = 0;

	for (i = 0; i < n; i++)
		wrong += conform_get(store, &pages[i]) != 0;
	return wrong;
}

void conform_drop(struct ferry__store *store, struct conform_page *pages,
		  size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		store->ops->drop(store, pages[i].handle);
		pages[i].number = 0;
	}
}

static void maintain(struct ferry__store *store)
{
	if (store->ops->maintain)
		store->ops->maintain(store);
}

static struct ferry__store_stats stats_of(struct ferry__store *store)
{
	struct ferry__store_stats stats;

	store->ops->stats(store, &stats);
	return stats;
}

static void call(void (*hook)(struct ferry__store *store),
		 struct ferry__store *store)
{
	if (hook)
		hook(store);
}

int conform_fork(struct ferry__store *store, const struct conform_page *page)
{
	int pid;

	call(store->ops->fork_prepare, store);
	/* Its own faults are served until the fork, in both. */
	ck_assert(!page || conform_get(store, page) == 0);
	pid = fork();
	if (pid == 0) {
		call(store->ops->fork_child, store);
		return 0;
	}
	call(store->ops->fork_parent, store);
	ck_assert_int_gt(pid, 0);
	return pid;
}

void conform_join(int pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

/* --- facts ---------------------------------------------------------------- */

void conform_pages_come_back(struct ferry__store *store)
{
	struct conform_page pages[PAGES];

	conform_put_all(store, 1, pages, PAGES);
	ck_assert_uint_eq(stats_of(store).pages, PAGES);
	ck_assert_uint_eq(stats_of(store).puts, PAGES);
	ck_assert_uint_eq(conform_wrong(store, pages, PAGES), 0);
	maintain(store);
	ck_assert_uint_eq(conform_wrong(store, pages, PAGES), 0);
	ck_assert_uint_eq(stats_of(store).gets, 2 * PAGES);
	conform_drop(store, pages, PAGES);
	ck_assert_uint_eq(stats_of(store).pages, 0);
	store->ops->destroy(store);
}

void conform_wrong_tag_is_noticed(struct ferry__store *store)
{
	struct conform_page pages[16], other;
	size_t i;

	conform_put_all(store, 1, pages, ARRAY_SIZE(pages));
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		other = pages[i];
		other.number++;
		ck_assert_int_eq(conform_get(store, &other), -EILSEQ);
		ck_assert_int_eq(conform_get(store, &pages[i]), 0);
	}
	ck_assert_uint_eq(stats_of(store).failed, ARRAY_SIZE(pages));
	store->ops->destroy(store);
}

struct many {
	unsigned char *bytes;
	const void *out[PAGES];
	void *in[PAGES];
	uint64_t tags[PAGES];
	ferry__store_handle handles[PAGES];
	int errors[PAGES];
};

static void make_many(struct many *m)
{
	size_t i;

	m->bytes = map_private(PAGES * page_size());
	for (i = 0; i < PAGES; i++) {
		m->in[i] = m->bytes + i * page_size();
		m->out[i] = m->in[i];
		m->tags[i] = stored_tag(i);
		m->errors[i] = 1;
		fill(m->in[i], i);
	}
}

static void assert_done(struct many *m)
{
	size_t i;

	for (i = 0; i < PAGES; i++) {
		ck_assert_int_eq(m->errors[i], 0);
		m->errors[i] = 1;
	}
}

/* Slots that are not in a row: every other one is taken. */
static void leave_gaps(struct ferry__store *store)
{
	struct conform_page pages[PAGES];
	size_t i;

	conform_put_all(store, 1, pages, PAGES);
	for (i = 0; i < PAGES; i += 2)
		conform_drop(store, &pages[i], 1);
}

void conform_many_at_once(struct ferry__store *store)
{
	struct many m;
	size_t i;

	leave_gaps(store);
	make_many(&m);
	if (store->ops->put_many) {
		store->ops->put_many(store, m.out, m.tags, PAGES, m.handles,
				     m.errors);
		assert_done(&m);
	} else {
		for (i = 0; i < PAGES; i++)
			ck_assert_int_eq(store->ops->put(store, m.out[i],
							 m.tags[i],
							 &m.handles[i]),
					 0);
	}
	memset(m.bytes, 0, PAGES * page_size());
	if (store->ops->get_many) {
		store->ops->get_many(store, m.handles, m.tags, PAGES, m.in,
				     m.errors);
		assert_done(&m);
	} else {
		for (i = 0; i < PAGES; i++)
			ck_assert_int_eq(store->ops->get(store, m.handles[i],
							 m.tags[i], m.in[i]),
					 0);
	}
	for (i = 0; i < PAGES; i++)
		ck_assert(holds(m.in[i], i));
	store->ops->destroy(store);
}

static uint64_t held(struct ferry__store *store)
{
	struct ferry__store_stats stats = stats_of(store);

	return stats.memory + stats.elsewhere;
}

void conform_room_is_used_again(struct ferry__store *store)
{
	struct conform_page pages[PAGES];
	uint64_t before;
	int round;

	conform_put_all(store, 1, pages, PAGES);
	before = held(store);
	for (round = 1; round < 30; round++) {
		conform_drop(store, pages, PAGES);
		conform_put_all(store, 1, pages, PAGES);
		maintain(store);
	}
	ck_assert_uint_le(held(store), before + before / 2);
	ck_assert_uint_eq(conform_wrong(store, pages, PAGES), 0);
	store->ops->destroy(store);
}

struct worker {
	pthread_t thread;
	struct ferry__store *store;
	struct random rng;
	size_t steps;
	size_t wrong;
};

static void step(struct worker *w, struct conform_page *page)
{
	if (!page->number) {
		w->wrong += conform_put(w->store, random_next(&w->rng) >> 1 | 1,
					page) != 0;
		return;
	}
	w->wrong += conform_get(w->store, page) != 0;
	if (random_below(&w->rng, 2))
		conform_drop(w->store, page, 1);
}

static void *work(void *arg)
{
	struct conform_page pages[PAGES] = { { 0 } };
	struct worker *w = arg;
	size_t i;

	for (i = 0; i < w->steps; i++)
		step(w, &pages[random_below(&w->rng, PAGES)]);
	for (i = 0; i < PAGES; i++)
		if (pages[i].number)
			conform_drop(w->store, &pages[i], 1);
	return NULL;
}

void conform_threads_share_it(struct ferry__store *store)
{
	struct random rng = harness_random();
	struct worker workers[THREADS];
	size_t i;

	for (i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){
			.store = store,
			.rng = random_seeded(random_next(&rng)),
			.steps = harness_scaled(4000),
		};
		ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work,
						&workers[i]),
				 0);
	}
	for (i = 0; i < 50; i++)
		maintain(store);
	for (i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		ck_assert_uint_eq(workers[i].wrong, 0);
	}
	ck_assert_uint_eq(stats_of(store).pages, 0);
	store->ops->destroy(store);
}

/* A child's life: what it has is right, and it puts and drops. */
static size_t live(struct ferry__store *store, struct conform_page *pages)
{
	struct conform_page own[PAGES];
	size_t i, wrong;

	wrong = conform_wrong(store, pages, PAGES);
	for (i = 0; i < PAGES; i++)
		wrong += conform_put(store, 7000 + i, &own[i]) != 0;
	wrong += conform_wrong(store, pages, PAGES);
	conform_drop(store, pages, PAGES / 2);
	maintain(store);
	wrong += conform_wrong(store, own, PAGES);
	wrong += conform_wrong(store, pages + PAGES / 2, PAGES / 2);
	conform_drop(store, own, PAGES);
	conform_drop(store, pages + PAGES / 2, PAGES / 2);
	maintain(store);
	wrong += stats_of(store).pages != 0;
	return wrong;
}

void conform_child_keeps_the_pages(struct ferry__store *store)
{
	struct conform_page pages[PAGES];
	int pid;

	conform_put_all(store, 1, pages, PAGES);
	pid = conform_fork(store, pages);
	if (!pid)
		_exit(live(store, pages) != 0);
	conform_join(pid);
	ck_assert_uint_eq(conform_wrong(store, pages, PAGES), 0);
	store->ops->destroy(store);
}

static void wait_for(int fd)
{
	char c;

	while (read(fd, &c, 1) < 0)
		;
}

void conform_parent_goes_on_after_a_fork(struct ferry__store *store)
{
	struct conform_page pages[PAGES], later[PAGES];
	int round, pid, ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	conform_put_all(store, 1, pages, PAGES);
	pid = conform_fork(store, pages);
	if (!pid) {
		close(ends[1]);
		wait_for(ends[0]);
		_exit(live(store, pages) != 0);
	}
	conform_drop(store, pages, PAGES);
	for (round = 0; round < 5; round++) {
		conform_put_all(store, 3000, later, PAGES);
		maintain(store);
		ck_assert_uint_eq(conform_wrong(store, later, PAGES), 0);
		if (round < 4)
			conform_drop(store, later, PAGES);
	}
	close(ends[1]);
	conform_join(pid);
	maintain(store);
	ck_assert_uint_eq(conform_wrong(store, later, PAGES), 0);
	store->ops->destroy(store);
}

void conform_grandchild_keeps_the_pages(struct ferry__store *store)
{
	struct conform_page pages[PAGES], own[PAGES];
	size_t i, wrong = 0;
	int pid, status;

	conform_put_all(store, 1, pages, PAGES);
	pid = conform_fork(store, pages);
	if (pid) {
		conform_drop(store, pages, PAGES);
		maintain(store);
		conform_put_all(store, 5000, pages, PAGES);
		conform_join(pid);
		store->ops->destroy(store);
		return;
	}
	for (i = 0; i < PAGES; i++)
		wrong += conform_put(store, 4000 + i, &own[i]) != 0;
	pid = conform_fork(store, pages);
	wrong += conform_wrong(store, own, PAGES);
	if (!pid) {
		conform_drop(store, own, PAGES);
		_exit(live(store, pages) + wrong != 0);
	}
	conform_drop(store, own, PAGES);
	conform_drop(store, pages, PAGES);
	maintain(store);
	wrong += waitpid(pid, &status, 0) != pid || status != 0;
	_exit(wrong != 0);
}

/* In a table where the numbers of the store's descriptors are others'. */
struct elsewhere {
	struct ferry__store *store;
	struct conform_page *pages;
	size_t wrong;
};

static void *use_elsewhere(void *arg)
{
	struct elsewhere *e = arg;

	e->wrong = unshare(CLONE_FILES) != 0;
	close_range(3, ~0u, 0);
	conform_put_all(e->store, 7000, e->pages, PAGES);
	e->wrong += conform_wrong(e->store, e->pages, PAGES);
	conform_drop(e->store, e->pages, PAGES);
	maintain(e->store);
	if (e->store->ops->leave)
		e->store->ops->leave(e->store);
	return NULL;
}

void conform_goes_on_in_another_table(struct ferry__store *store)
{
	struct conform_page pages[PAGES];
	struct elsewhere e = { .store = store, .pages = pages };
	pthread_t thread;
	size_t before;
	int pid;

	conform_put_all(store, 1, pages, PAGES);
	pid = conform_fork(store, pages);
	if (!pid)
		_exit(live(store, pages) != 0);
	conform_drop(store, pages, PAGES);
	if (store->ops->leave)
		store->ops->leave(store);
	before = harness_descriptors();
	ck_assert_int_eq(pthread_create(&thread, NULL, use_elsewhere, &e), 0);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(e.wrong, 0);
	conform_join(pid);
	store->ops->destroy(store);
	ck_assert_uint_eq(harness_descriptors(), before);
}
