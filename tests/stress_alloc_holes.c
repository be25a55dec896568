/* SPDX-License-Identifier: MIT */
/*
 * What holes.c says of pages beside threads that allocate, write, look at and
 * free objects of all sizes. Another thread moves pages away, asks, drops
 * those that are said to be empty and zeroes what is said to be dead in the
 * others before they come back. No byte of an object may change.
 *
 * A pager in small: the word of a page says whether somebody owns it; only
 * he moves, fills or drops it.
 */
#include "alloc/malloc/engine.h"
#include "alloc/malloc/holes.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sched.h>

#include <ferry/fault.h>
#include <jemalloc/jemalloc.h>

#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/served.h"

#define PAGE	((size_t)FERRY__HOLES_PAGE)
#define PAGES	((size_t)8192)
#define THREADS 3
#define OBJECTS 1200
#define WINDOW	64

static const struct ferry__holes_engine *const je = &ferry__holes_jemalloc;
static struct ferry__holes holes;
static struct ferry_fault_service *service;
static struct ferry_uffd *uffd;
static char *region, *away; /* page i of away is that of region, moved */
static atomic_bool owned[PAGES];
static atomic_size_t used; /* bytes of region that are given out */
static atomic_bool stop;   /* relaxed: a wish carries no data */

static struct {
	size_t dropped, back, scrubbed, named;
} counts; /* of the mover alone */

/* Before jemalloc's own constructor, as the first allocation would be. */
__attribute__((constructor(101))) static void first(void)
{
	ferry__engine_start();
}

/* O1: acquire pairs with O2's release: what the last owner did is seen. */
static bool try_own(size_t i)
{
	return !atomic_exchange_explicit(&owned[i], true, memory_order_acquire);
}

static void disown(size_t i)
{
	/* O2 pairs with O1. */
	atomic_store_explicit(&owned[i], false, memory_order_release);
}

/* --- faults -------------------------------------------------------------- */

/* Absent and owned by nobody: never touched, discarded or dropped. */
static void supply(void *arg, const struct ferry_fault *fault,
		   struct ferry_supply *ret)
{
	size_t i = ((char *)fault->page - region) / PAGE, done;
	int r;

	(void)arg;
	ret->kind = FERRY_SUPPLY_AGAIN;
	if (!try_own(i))
		return;
	r = ferry_uffd_zero(uffd, fault->page, PAGE, 0, &done);
	EXPECT(!r || r == -EEXIST || r == -EAGAIN);
	disown(i);
}

/* --- extents ------------------------------------------------------------- */

static void *cut(extent_hooks_t *hooks, void *addr, size_t size,
		 size_t alignment, bool *zero, bool *commit, unsigned int ind)
{
	size_t at = atomic_load(&used), from;

	(void)hooks;
	(void)ind;
	do {
		from = (at + alignment - 1) & -alignment;
		if (addr || from + size > PAGES * PAGE)
			return NULL;
	} while (!atomic_compare_exchange_weak(&used, &at, from + size));
	*zero = true;
	*commit = true;
	return region + from;
}

/* Purged extents read as zero: calloc() relies on it. */
static bool discard(extent_hooks_t *hooks, void *addr, size_t size,
		    size_t offset, size_t len, unsigned int ind)
{
	size_t i = ((char *)addr + offset - region) / PAGE;

	(void)hooks;
	(void)size;
	(void)ind;
	for (size_t end = i + len / PAGE; i < end; i++) {
		while (!try_own(i))
			sched_yield();
		EXPECT(!madvise(region + i * PAGE, PAGE, MADV_DONTNEED));
		disown(i);
	}
	return false;
}

static bool split(extent_hooks_t *hooks, void *addr, size_t size, size_t a,
		  size_t b, bool committed, unsigned int ind)
{
	(void)hooks, (void)addr, (void)size, (void)a, (void)b;
	(void)committed, (void)ind;
	return false;
}

static bool merge(extent_hooks_t *hooks, void *a, size_t size_a, void *b,
		  size_t size_b, bool committed, unsigned int ind)
{
	(void)hooks, (void)a, (void)size_a, (void)b, (void)size_b;
	(void)committed, (void)ind;
	return false;
}

static extent_hooks_t hooks = {
	.alloc = cut, .purge_forced = discard, .split = split, .merge = merge
};

/* jemalloc's, see its manual: its own data stay outside of the region. */
static unsigned int make_arena(void)
{
	struct {
		extent_hooks_t *hooks;
		bool metadata;
	} config = { &hooks, false };
	unsigned int arena;
	size_t len = sizeof(arena);

	ck_assert_int_eq(je->mallctl("experimental.arenas_create_ext", &arena,
				     &len, &config, sizeof(config)),
			 0);
	return arena;
}

/* --- the program --------------------------------------------------------- */

struct object {
	unsigned char *at;
	size_t size;
	uint64_t seed;
};

struct worker {
	pthread_t thread;
	struct random rng;
	unsigned int arena;
	struct object objects[OBJECTS];
	size_t allocated;
};

/* What object @o holds at @offset, up to eight bytes. */
static uint64_t word_at(const struct object *o, size_t offset)
{
	return (o->seed + offset) * 6364136223846793005u;
}

static size_t word_len(const struct object *o, size_t offset)
{
	return o->size - offset < 8 ? o->size - offset : 8;
}

static void fill(const struct object *o)
{
	for (size_t i = 0; i < o->size; i += 8) {
		uint64_t word = word_at(o, i);

		memcpy(o->at + i, &word, word_len(o, i));
	}
}

static bool holds(const struct object *o)
{
	for (size_t i = 0; i < o->size; i += 8) {
		uint64_t word = word_at(o, i);

		if (memcmp(o->at + i, &word, word_len(o, i)))
			return false;
	}
	return true;
}

static size_t any_size(struct random *rng)
{
	switch (random_below(rng, 16)) {
	case 0:
		return 1 + random_below(rng, 100000);
	case 1:
	case 2:
		return 1 + random_below(rng, 14336);
	default:
		return 1 + random_below(rng, 1400);
	}
}

static bool all_zero(const unsigned char *p, size_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

static void replace(struct worker *w, struct object *o, int how)
{
	bool zeroed = !random_below(&w->rng, 4);

	if (o->at) {
		EXPECT(holds(o));
		je->dallocx(o->at, how);
		o->at = NULL;
		if (random_below(&w->rng, 3))
			return;
	}
	o->size = any_size(&w->rng);
	o->seed = random_next(&w->rng);
	o->at = je->mallocx(o->size, how | (zeroed ? MALLOCX_ZERO : 0));
	if (!o->at)
		return;
	if (zeroed)
		EXPECT(o->size == 1 || all_zero(o->at, o->size));
	fill(o);
	w->allocated++;
}

static void work(struct worker *w)
{
	/* Phases of growth and of rest, so that slabs come and go. */
	size_t n = 1 + random_below(&w->rng, OBJECTS);
	int how = random_below(&w->rng, 2) ? 0 : MALLOCX_TCACHE_NONE;

	for (size_t i = 0; i < n; i++)
		replace(w, &w->objects[random_below(&w->rng, OBJECTS)], how);
	for (size_t i = 0; i < 50; i++) {
		struct object *o = &w->objects[random_below(&w->rng, OBJECTS)];

		if (o->at)
			EXPECT(holds(o));
	}
	if (!random_below(&w->rng, 8))
		je->mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
}

static void *worker_runs(void *arg)
{
	struct worker *w = arg;

	EXPECT(!je->mallctl("thread.arena", NULL, NULL, &w->arena,
			    sizeof(w->arena)));
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		work(w);
	for (size_t i = 0; i < OBJECTS; i++) {
		if (!w->objects[i].at)
			continue;
		EXPECT(holds(&w->objects[i]));
		je->dallocx(w->objects[i].at, 0);
	}
	return NULL;
}

/* --- the mover ----------------------------------------------------------- */

static void put_back(size_t i)
{
	struct ferry_move_params params = FERRY_INIT(struct ferry_move_params);

	params.flags = FERRY_MOVE_SOLE;
	EXPECT(!ferry_move(uffd, region + i * PAGE, away + i * PAGE, PAGE,
			   &params, NULL));
	counts.back++;
}

static void take(size_t i)
{
	struct ferry_move_params params = FERRY_INIT(struct ferry_move_params);
	char *page = region + i * PAGE, *moved = away + i * PAGE;
	size_t live;

	params.flags = FERRY_MOVE_SOLE;
	if (!try_own(i))
		return;
	if (!ferry_move(uffd, moved, page, PAGE, &params, NULL)) {
		live = ferry__holes_scrub(&holes, (uintptr_t)page, moved);
		counts.scrubbed += live > 0 && live < PAGE;
		if (live) {
			put_back(i);
		} else {
			EXPECT(!madvise(moved, PAGE, MADV_DONTNEED));
			counts.dropped++;
		}
	}
	disown(i);
}

/* False: there is not enough of a heap yet. */
static bool move_some(struct random *rng)
{
	size_t most = atomic_load(&used) / PAGE, first;
	uint64_t bits;

	if (most < WINDOW)
		return false;
	first = random_below(rng, most - WINDOW + 1);
	ferry__holes_empty_pages(&holes, (uintptr_t)region + first * PAGE,
				 WINDOW * PAGE, &bits);
	counts.named += __builtin_popcountll(bits);
	bits |= random_next(rng) & random_next(rng) & random_next(rng);
	for (size_t i = 0; i < WINDOW; i++) {
		if (bits >> i & 1)
			take(first + i);
	}
	return true;
}

/* Of everything that is looked for, however little the workers ran. */
static bool saw_all(void)
{
	return counts.named && counts.dropped && counts.scrubbed;
}

/* --- all of it ----------------------------------------------------------- */

static void setup(void)
{
	struct ferry_fault_params params =
		FERRY_INIT(struct ferry_fault_params);

	ck_assert_int_eq(ferry__holes_start(&holes, je), 0);
	params.mode = FERRY_FAULT_SIGBUS;
	ck_assert_int_eq(ferry_fault_service_create(&params, NULL, &service),
			 0);
	uffd = ferry_fault_service_uffd(service);
	region = map_anon(PAGES * PAGE);
	away = map_anon(PAGES * PAGE);
	ck_assert_int_eq(ferry_uffd_register(uffd, away, PAGES * PAGE,
					     FERRY_REGISTER_MISSING, NULL),
			 0);
	ck_assert_int_eq(ferry_fault_attach(service, region, PAGES * PAGE,
					    supply, NULL, NULL),
			 0);
}

static void start_workers(struct worker *workers)
{
	unsigned int arena = make_arena();
	struct random rng = harness_random();

	for (size_t i = 0; i < THREADS; i++) {
		workers[i].arena = arena;
		workers[i].rng = random_seeded(random_next(&rng));
		ck_assert_int_eq(pthread_create(&workers[i].thread, NULL,
						worker_runs, &workers[i]),
				 0);
	}
}

START_TEST(no_byte_of_an_object_is_lost_when_holes_are_dropped)
{
	static struct worker workers[THREADS];
	struct random rng = harness_random();
	size_t rounds = harness_scaled(40000), allocated = 0;

	start_workers(workers);
	while (rounds || !saw_all()) {
		if (move_some(&rng) && rounds)
			rounds--;
		else
			sched_yield();
	}
	atomic_store_explicit(&stop, true, memory_order_relaxed);
	for (size_t i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		allocated += workers[i].allocated;
	}
	served_assert_noted();
	printf("# %zu objects, %zu pages named, %zu dropped, %zu scrubbed, "
	       "%zu came back\n",
	       allocated, counts.named, counts.dropped, counts.scrubbed,
	       counts.back);
	ck_assert_uint_gt(allocated, 0);
	ck_assert_uint_gt(counts.named, 0);
	ck_assert_uint_gt(counts.dropped, 0);
	ck_assert_uint_gt(counts.scrubbed, 0);
}
END_TEST

static const struct test tests[] = {
	TEST_FIXTURE(no_byte_of_an_object_is_lost_when_holes_are_dropped,
		     "move,sigbus", setup, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
