/* SPDX-License-Identifier: MIT */
/*
 * Fault service under load: threads read and write ranges at random while
 * movers take their pages away, and while the ranges are completed, detached
 * and attached again. Every write must be found in the end, and every other
 * word of every page be what it was at all times.
 *
 * A page lies either in its range (home) or at the same offset of the limbo
 * beside it, and only the kernel's move takes it from one to the other. The
 * supplier moves it home; a mover that is at work on it says so first, and
 * the supplier then answers AGAIN. Words up to MARKS of a page belong to one
 * writer each.
 */
#include <ferry/fault.h>

#include <pthread.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/served.h"

#define RANGES	6
#define PAGES	128
#define WRITERS 3
#define MARKS	WRITERS

struct range {
	struct ferry_fault_service *service;
	char *home, *limbo;
	size_t len;
	bool taken[PAGES];	  /* a mover is at work on the page */
	pthread_rwlock_t movable; /* read: movers; write: being completed */
};

static struct range ranges[RANGES];
static size_t page;
static bool finished;

/* --- supplier ------------------------------------------------------------ */

static void supply(void *arg, const struct ferry_fault *fault,
		   struct ferry_supply *ret)
{
	const struct range *r = arg;

	/* Relaxed: a hint; the kernel decides who has the page. */
	if (__atomic_load_n(&r->taken[fault->offset / page], __ATOMIC_RELAXED))
		ret->kind = FERRY_SUPPLY_AGAIN;
	else
		ret->kind = FERRY_SUPPLY_MOVE;
	ret->src = r->limbo + ret->offset;
}

static struct ferry_fault_service *make_service(enum ferry_fault_mode mode,
						size_t around)
{
	struct ferry_fault_params params =
		FERRY_INIT(struct ferry_fault_params);
	struct ferry_fault_service *service;

	params.mode = mode;
	params.around = around;
	params.threads = 2;
	ck_assert_int_eq(ferry_fault_service_create(&params, NULL, &service),
			 0);
	return service;
}

static void attach(struct range *r)
{
	EXPECT(!ferry_fault_attach(r->service, r->home, r->len, supply, r,
				   NULL));
}

static void make_range(struct range *r, struct ferry_fault_service *service)
{
	page = page_size();
	r->service = service;
	r->len = PAGES * page;
	r->home = map_anon(r->len);
	r->limbo = map_anon(r->len);
	ck_assert_int_eq(pthread_rwlock_init(&r->movable, NULL), 0);
	fill_pages(r->limbo, r->len, 1);
	/* Movers fill it themselves: registered, not attached. */
	ck_assert_int_eq(ferry_uffd_register(ferry_fault_service_uffd(service),
					     r->limbo, r->len,
					     FERRY_REGISTER_MISSING, NULL),
			 0);
	attach(r);
}

/* --- writers ------------------------------------------------------------- */

struct writer {
	pthread_t thread;
	struct random random;
	unsigned int number;
	uint64_t tally[RANGES][PAGES];
};

static void step(struct writer *w)
{
	uint64_t i = random_below(&w->random, RANGES);
	uint64_t k = random_below(&w->random, PAGES);
	uint64_t n = random_below(&w->random, page / sizeof(uint64_t) - MARKS);
	volatile uint64_t *words =
		(volatile uint64_t *)(ranges[i].home + k * page);
	uint64_t word = words[MARKS + n];

	EXPECT(word == page_word(k + 1, MARKS + n));
	words[w->number]++;
	w->tally[i][k]++;
}

static void *write_at_random(void *arg)
{
	struct writer *w = arg;

	while (!__atomic_load_n(&finished, __ATOMIC_ACQUIRE))
		step(w);
	return NULL;
}

/* --- movers -------------------------------------------------------------- */

/* Takes a run of pages away, if they are there. */
static void evict(struct range *r, size_t first, size_t n)
{
	struct ferry_move_params params = FERRY_INIT(struct ferry_move_params);
	size_t i;
	int err;

	for (i = first; i < first + n; i++)
		__atomic_store_n(&r->taken[i], true, __ATOMIC_RELAXED);
	params.flags = FERRY_MOVE_HOLES | FERRY_MOVE_PASS_PRESENT;
	err = ferry_move(ferry_fault_service_uffd(r->service),
			 r->limbo + first * page, r->home + first * page,
			 n * page, &params, NULL);
	EXPECT(!err);
	for (i = first; i < first + n; i++)
		__atomic_store_n(&r->taken[i], false, __ATOMIC_RELAXED);
}

/* The movers' rounds are the measure of a run: each makes faults. */
static void move_at_random(struct random *random, size_t rounds)
{
	struct range *r;
	size_t first, n;

	while (rounds) {
		r = &ranges[random_below(random, RANGES)];
		first = random_below(random, PAGES);
		n = 1 + random_below(random, PAGES - first);
		if (pthread_rwlock_tryrdlock(&r->movable))
			continue;
		evict(r, first, n);
		pthread_rwlock_unlock(&r->movable);
		rounds--;
		usleep(50);
	}
}

/* --- coming and going ---------------------------------------------------- */

/* Everything home, as a host does that cares for its absent pages. */
static void complete(struct range *r)
{
	struct ferry_move_params params = FERRY_INIT(struct ferry_move_params);
	int err;

	params.flags = FERRY_MOVE_HOLES | FERRY_MOVE_PASS_PRESENT;
	err = ferry_move(ferry_fault_service_uffd(r->service), r->home,
			 r->limbo, r->len, &params, NULL);
	EXPECT(!err);
}

static void leave_and_return(struct range *r, struct random *random)
{
	pthread_rwlock_wrlock(&r->movable);
	complete(r);
	EXPECT(!ferry_fault_detach(r->service, r->home, r->len));
	usleep(random_below(random, 300));
	attach(r);
	pthread_rwlock_unlock(&r->movable);
}

static void *come_and_go(void *arg)
{
	struct random *random = arg;

	while (!__atomic_load_n(&finished, __ATOMIC_ACQUIRE)) {
		leave_and_return(&ranges[random_below(random, RANGES)], random);
		usleep(500);
	}
	return NULL;
}

/* --- the whole ----------------------------------------------------------- */

static struct writer writers[WRITERS];

static void check_page(const struct range *r, size_t k)
{
	const uint64_t *words = (const uint64_t *)(r->home + k * page);
	uint64_t expected;
	size_t n;

	for (n = 0; n < page / sizeof(*words); n++) {
		expected = page_word(k + 1, n);
		if (n < MARKS)
			expected += writers[n].tally[r - ranges][k];
		ck_assert_msg(words[n] == expected,
			      "range %zu page %zu word %zu: %#llx, not %#llx",
			      (size_t)(r - ranges), k, n,
			      (unsigned long long)words[n],
			      (unsigned long long)expected);
	}
}

static void check_all(void)
{
	size_t i, k;

	for (i = 0; i < RANGES; i++)
		for (k = 0; k < PAGES; k++)
			check_page(&ranges[i], k);
}

static void start_writers(struct random *seeds)
{
	unsigned int i;

	for (i = 0; i < WRITERS; i++) {
		writers[i].random = random_seeded(random_next(seeds));
		writers[i].number = i;
		ck_assert_int_eq(pthread_create(&writers[i].thread, NULL,
						write_at_random, &writers[i]),
				 0);
	}
}

static void run_all(size_t rounds)
{
	struct random seeds = harness_random();
	struct random moving = random_seeded(random_next(&seeds));
	struct random going = random_seeded(random_next(&seeds));
	pthread_t goer;
	unsigned int i;

	start_writers(&seeds);
	ck_assert_int_eq(pthread_create(&goer, NULL, come_and_go, &going), 0);
	move_at_random(&moving, rounds);
	__atomic_store_n(&finished, true, __ATOMIC_RELEASE);
	for (i = 0; i < WRITERS; i++)
		ck_assert_int_eq(pthread_join(writers[i].thread, NULL), 0);
	ck_assert_int_eq(pthread_join(goer, NULL), 0);
	served_assert_noted();
	check_all();
}

/* Movers and the threads that fault were at each other. */
static void assert_busy(struct ferry_fault_service *service, size_t rounds)
{
	struct ferry_fault_stats stats = FERRY_INIT(struct ferry_fault_stats);

	ck_assert_int_eq(ferry_fault_service_stats(service, &stats), 0);
	ck_assert_uint_gt(stats.faults, rounds / 4);
	ck_assert_uint_gt(stats.pages_moved, rounds / 4);
	ck_assert_uint_eq(stats.refused, 0);
}

static void under_load(struct ferry_fault_service *a,
		       struct ferry_fault_service *b, size_t rounds)
{
	size_t i;

	rounds = harness_scaled(rounds);
	for (i = 0; i < RANGES; i++)
		make_range(&ranges[i], i & 1 ? a : b);
	run_all(rounds);
	assert_busy(a, rounds);
	assert_busy(b, rounds);
	ferry_fault_service_destroy(a);
	if (b != a)
		ferry_fault_service_destroy(b);
}

START_TEST(no_write_is_lost_in_sigbus_mode)
{
	struct ferry_fault_service *a = make_service(FERRY_FAULT_SIGBUS, 16);

	under_load(a, a, 4000);
}
END_TEST

START_TEST(no_write_is_lost_in_thread_mode)
{
	struct ferry_fault_service *a = make_service(FERRY_FAULT_THREAD, 16);

	under_load(a, a, 2000);
}
END_TEST

START_TEST(no_write_is_lost_with_both_modes_at_once)
{
	under_load(make_service(FERRY_FAULT_THREAD, 1),
		   make_service(FERRY_FAULT_SIGBUS, 4), 2000);
}
END_TEST

static const struct test tests[] = {
	TEST(no_write_is_lost_in_sigbus_mode, "move,sigbus", .seconds = 120),
	TEST(no_write_is_lost_in_thread_mode, "move", .seconds = 120),
	TEST(no_write_is_lost_with_both_modes_at_once, "move,sigbus",
	     .seconds = 120),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
