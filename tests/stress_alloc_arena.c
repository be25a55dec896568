/* SPDX-License-Identifier: MIT */
/*
 * Arenas under many threads at once: created and destroyed, found by address,
 * committed, written, given back, pinned and claimed, with every byte checked.
 */
#include "tests/harness.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/alloc-internal.h"
#include "tests/memory.h"

#define MIB	((size_t)1 << 20)
#define SLOTS	16
#define WORKERS 3

/*
 * One arena each. Who uses the arena holds the lock shared, who replaces it
 * holds it alone; look-ups take no lock at all.
 */
struct place {
	pthread_rwlock_t lock;
	struct ferry_arena *arena;
	char *base; /* relaxed: a hint for look-ups, right or not */
};

static struct place place[SLOTS];

struct worker {
	pthread_t thread;
	struct random rng;
	size_t id;
	size_t commits, decommits, claims, pins, swaps, found;
	/* First page that is this worker's own, in each arena: 40 pages. */
	size_t first;
	/* What is in the own pages: a number, or 0 for not committed. */
	uint64_t number[SLOTS][40];
};

static struct ferry_arena *make(struct random *rng)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *arena = NULL;

	p.reserve = (1 + random_below(rng, 4)) * 2 * MIB;
	p.thp = random_below(rng, 2) ? FERRY_THP_NEVER : FERRY_THP_SYSTEM;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	return arena;
}

static char *page_of(struct worker *w, size_t slot, size_t i)
{
	return (char *)ferry_arena_base(place[slot].arena) +
	       (w->first + i) * page_size();
}

/* Picks a run of own pages. */
static void pick(struct worker *w, size_t *ret_i, size_t *ret_n)
{
	*ret_i = random_below(&w->rng, 40);
	*ret_n = 1 + random_below(&w->rng, 40 - *ret_i);
}

static void expect(struct worker *w, size_t slot)
{
	size_t i;

	for (i = 0; i < 40; i++)
		if (w->number[slot][i])
			ck_assert(page_holds(page_of(w, slot, i),
					     w->number[slot][i]));
}

static size_t offset_of(struct worker *w, size_t i)
{
	return (w->first + i) * page_size();
}

static void commit(struct worker *w, size_t slot)
{
	size_t i, n, j;
	bool populate = random_below(&w->rng, 2);

	pick(w, &i, &n);
	ck_assert_int_eq(ferry_arena_commit(place[slot].arena, offset_of(w, i),
					    n * page_size(), populate),
			 0);
	for (j = i; j < i + n; j++) {
		if (w->number[slot][j])
			continue;
		ck_assert_int_eq(*page_of(w, slot, j), 0);
		w->number[slot][j] = random_next(&w->rng) | 1;
		fill_pages(page_of(w, slot, j), page_size(),
			   w->number[slot][j]);
	}
	w->commits++;
}

static void decommit(struct worker *w, size_t slot)
{
	size_t i, n;

	pick(w, &i, &n);
	ck_assert_int_eq(ferry_arena_decommit(place[slot].arena,
					      offset_of(w, i), n * page_size()),
			 0);
	memset(&w->number[slot][i], 0, n * sizeof(w->number[slot][0]));
	w->decommits++;
}

/* Claims a run, which nobody may then touch, and publishes it again. */
static void claim(struct worker *w, size_t slot)
{
	struct ferry_arena *arena = place[slot].arena;
	size_t i, n, got;

	pick(w, &i, &n);
	got = ferry__arena_claim(arena, offset_of(w, i), n * page_size());
	if (!got)
		return;
	ck_assert_int_eq(ferry_arena_decommit(arena, offset_of(w, i), got),
			 -EBUSY);
	ck_assert_int_eq(ferry_arena_pin(arena, offset_of(w, i), got), -EBUSY);
	sched_yield();
	ferry__arena_settle(arena, offset_of(w, i), got, FERRY_PAGE_LIVE);
	w->claims++;
}

static void pin(struct worker *w, size_t slot)
{
	struct ferry_arena *arena = place[slot].arena;
	size_t i, n, j, committed = 0;
	int r;

	pick(w, &i, &n);
	for (j = i; j < i + n; j++)
		committed += w->number[slot][j] != 0;
	r = ferry_arena_pin(arena, offset_of(w, i), n * page_size());
	ck_assert_int_eq(r, committed == n ? 0 : -ENOENT);
	if (r < 0)
		return;
	ck_assert_int_eq(
		ferry_arena_decommit(arena, offset_of(w, i), n * page_size()),
		-EBUSY);
	ck_assert_int_eq(
		ferry_arena_unpin(arena, offset_of(w, i), n * page_size()), 0);
	w->pins++;
}

/* Anywhere around the arenas, while they come and go. */
static void look_up(struct worker *w)
{
	char *base = __atomic_load_n(&place[random_below(&w->rng, SLOTS)].base,
				     __ATOMIC_RELAXED);
	char *addr = base + random_below(&w->rng, 8 * MIB);
	struct ferry_arena *arena;
	size_t off, len;

	ferry_lookup_begin();
	arena = ferry_lookup(addr);
	if (arena) {
		char *start = ferry_arena_base(arena);

		ck_assert(addr >= start &&
			  addr < start + ferry_arena_reserved(arena));
		ferry_arena_next_run(arena, 0, FERRY_PAGE_LIVE, &off, &len);
		w->found++;
	}
	ferry_lookup_end();
}

static void one_step(struct worker *w)
{
	size_t slot = random_below(&w->rng, SLOTS);

	pthread_rwlock_rdlock(&place[slot].lock);
	switch (random_below(&w->rng, 8)) {
	case 0:
	case 1:
	case 2:
		commit(w, slot);
		break;
	case 3:
		decommit(w, slot);
		break;
	case 4:
		claim(w, slot);
		break;
	case 5:
		pin(w, slot);
		break;
	default:
		look_up(w);
		break;
	}
	expect(w, slot);
	pthread_rwlock_unlock(&place[slot].lock);
}

static size_t rounds;
static struct worker workers[WORKERS];

static void *work(void *arg)
{
	size_t i;

	for (i = 0; i < rounds; i++)
		one_step(arg);
	return NULL;
}

/* Replaces an arena when nobody uses it; all forget what was in it. */
static void replace(struct random *rng)
{
	size_t slot = random_below(rng, SLOTS), i;

	pthread_rwlock_wrlock(&place[slot].lock);
	ferry__arena_check(place[slot].arena);
	ferry_arena_destroy(place[slot].arena);
	place[slot].arena = make(rng);
	__atomic_store_n(&place[slot].base, ferry_arena_base(place[slot].arena),
			 __ATOMIC_RELAXED);
	for (i = 0; i < WORKERS; i++)
		memset(workers[i].number[slot], 0,
		       sizeof(workers[i].number[slot]));
	pthread_rwlock_unlock(&place[slot].lock);
}

static void start(struct random *rng)
{
	size_t i;

	for (i = 0; i < SLOTS; i++) {
		pthread_rwlock_init(&place[i].lock, NULL);
		place[i].arena = make(rng);
		place[i].base = ferry_arena_base(place[i].arena);
	}
	for (i = 0; i < WORKERS; i++) {
		workers[i].id = i;
		workers[i].first = 40 * i;
		workers[i].rng = random_seeded(random_next(rng));
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
}

static void finish(void)
{
	size_t i, all = 0;

	for (i = 0; i < WORKERS; i++) {
		struct worker *w = &workers[i];

		pthread_join(w->thread, NULL);
		all += !!w->commits + !!w->decommits + !!w->claims + !!w->pins +
		       !!w->found;
	}
	/* Each worker did some of everything, given the time to. */
	if (rounds >= 200)
		ck_assert_uint_eq(all, WORKERS * 5);
	for (i = 0; i < SLOTS; i++) {
		ferry__arena_check(place[i].arena);
		ferry_arena_destroy(place[i].arena);
	}
}

START_TEST(threads_on_shared_arenas_lose_no_byte)
{
	struct random rng = harness_random();
	size_t i;

	rounds = harness_scaled(6000);
	start(&rng);
	for (i = 0; i < rounds / 8; i++)
		replace(&rng);
	finish();
}
END_TEST

/* A child between any two steps of the others finds arenas it can use. */
static void child(void)
{
	size_t i;

	for (i = 0; i < SLOTS; i++) {
		if (ferry_arena_commit(place[i].arena, MIB, page_size(), true))
			_exit(1);
		if (ferry_lookup(place[i].base) != place[i].arena)
			_exit(2);
		ferry_arena_destroy(place[i].arena);
	}
	_exit(0);
}

START_TEST(forks_between_any_two_steps_leave_usable_arenas)
{
	struct random rng = harness_random();
	size_t i, n = harness_scaled(20);
	int status;
	pid_t pid;

	rounds = harness_scaled(2000);
	start(&rng);
	for (i = 0; i < n; i++) {
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (pid == 0)
			child();
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
	}
	finish();
}
END_TEST

static const struct test tests[] = {
	TEST(threads_on_shared_arenas_lose_no_byte, NULL, .seconds = 120),
	TEST(forks_between_any_two_steps_leave_usable_arenas, NULL,
	     .seconds = 120),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
