/* SPDX-License-Identifier: MIT */
/*
 * The pager under load. Every page has one owner, who knows what it wrote
 * there last: it verifies, rewrites, discards and hints its pages, while they
 * go out as soon as they lie still, stores refuse and fail in passing, others
 * fork, hold and resume the pager, and threads come and go. A child of a fork
 * verifies the pages of the thread that forked, writes to them, and may fork
 * again.
 *
 * All of them rest together now and then, for as long as it takes until
 * something goes out: on a slow machine pages would never lie still by chance.
 *
 * FERRY_TEST_SCALE below 1 makes it run for longer: 4 s divided by it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/pager_bed.h"
#include "tests/served.h"

#define OWNERS 4
#define PAGES  2000
#define MS     1000000ull

struct owner {
	struct random random;
	size_t index;
	pthread_t thread;
	bool forks;
};

static struct bed bed;
static uint32_t version[PAGES]; /* its owner's; 0: zeroes */
static bool stop, rest;		/* relaxed: wishes, which carry no data */
static unsigned long forks;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static bool is_set(const bool *wish)
{
	return __atomic_load_n(wish, __ATOMIC_RELAXED);
}

static void set(bool *wish, bool value)
{
	__atomic_store_n(wish, value, __ATOMIC_RELAXED);
}

static char *at(size_t page)
{
	return bed.addr + page * bed.page;
}

/* --- one page ------------------------------------------------------------ */

static uint64_t number(size_t page)
{
	return page + 1 + ((uint64_t)version[page] << 32);
}

static bool page_right(size_t page)
{
	return version[page] ? page_holds(at(page), number(page))
			     : is_zero(at(page), bed.page);
}

static void write_page(size_t page)
{
	version[page]++;
	fill_pages(at(page), bed.page, number(page));
}

static void rewrite(size_t page)
{
	EXPECT(page_right(page));
	write_page(page);
}

static void discard(size_t page)
{
	EXPECT(!ferry__pager_discard(bed.pager, at(page), bed.page));
	version[page] = 0;
	EXPECT(page_right(page));
}

static void hint(struct random *r, size_t page)
{
	size_t n = 1 + random_below(r, PAGES - page < 40 ? PAGES - page : 40);

	EXPECT(!ferry__pager_hint(bed.pager, at(page), n * bed.page,
				  (enum ferry__pager_hint)random_below(r, 4)));
}

/* A page of @o's. */
static size_t some_page(struct owner *o)
{
	return random_below(&o->random, PAGES / OWNERS) * OWNERS + o->index;
}

/* --- children ------------------------------------------------------------ */

static bool all_right(struct owner *o)
{
	size_t page;

	for (page = o->index; page < PAGES; page += OWNERS)
		if (!page_right(page))
			return false;
	return true;
}

static int fork_and_verify(struct owner *o, unsigned int depth);

static int child(struct owner *o, unsigned int depth)
{
	size_t i;

	if (random_below(&o->random, 2) && !all_right(o))
		return 1;
	for (i = 0; i < 50; i++)
		write_page(some_page(o));
	if (ferry__pager_run(bed.pager, true))
		return 2;
	if (depth && fork_and_verify(o, depth - 1))
		return 3;
	return all_right(o) ? 0 : 4;
}

static int fork_and_verify(struct owner *o, unsigned int depth)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(child(o, depth));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

static void fork_one(struct owner *o)
{
	int status =
		fork_and_verify(o, (unsigned int)random_below(&o->random, 2));

	if (status)
		fprintf(stderr, "a child answers %#x\n", (unsigned int)status);
	EXPECT(!status);
	__atomic_fetch_add(&forks, 1, __ATOMIC_RELAXED);
}

/* --- threads ------------------------------------------------------------- */

static void turn(struct owner *o)
{
	size_t page = some_page(o);

	switch (random_below(&o->random, 64)) {
	case 0:
		discard(page);
		break;
	case 1:
		hint(&o->random, page);
		break;
	case 2:
		usleep((useconds_t)random_below(&o->random, 20000));
		break;
	case 3:
		if (o->forks && !random_below(&o->random, 8))
			fork_one(o);
		break;
	default:
		if (random_below(&o->random, 2))
			rewrite(page);
		else
			EXPECT(page_right(page));
	}
}

/* Threads come and go: each does so many turns. */
static void *own(void *arg)
{
	struct owner *o = arg;
	size_t turns = 200 + random_below(&o->random, 2000);

	while (!is_set(&stop) && turns--) {
		while (is_set(&rest) && !is_set(&stop))
			harness_pause();
		turn(o);
	}
	return NULL;
}

static void start_owner(struct owner *o)
{
	ck_assert_int_eq(pthread_create(&o->thread, NULL, own, o), 0);
}

/* A store that is full, unwilling or broken for a moment. */
static void disturb(struct random *r)
{
	static const int errors[] = { 0, 0, 0, -E2BIG, -ENOSPC };

	fake_order(bed.fake[0], put_error,
		   errors[random_below(r, ARRAY_SIZE(errors))]);
	fake_order(bed.fake[random_below(r, 2)], put_delay_ns,
		   random_below(r, 4) ? 0 : random_below(r, MS));
	fake_order(bed.fake[0], get_error,
		   random_below(r, 2) ? -EIO : -ETIMEDOUT);
	if (!random_below(r, 4))
		fake_order(bed.fake[0], get_fails, random_below(r, 5));
	switch (random_below(r, 8)) {
	case 0:
		ferry__pager_restore_all(bed.pager);
		usleep(2000);
		ferry__pager_resume(bed.pager);
		break;
	case 1:
		EXPECT(!ferry__pager_run(bed.pager, true));
		break;
	}
}

static void undisturbed(void)
{
	fake_order(bed.fake[0], put_error, 0);
	fake_order(bed.fake[0], get_fails, 0);
}

/* Until something is in a store. */
static void await_stored(void)
{
	undisturbed();
	BED_RUN_UNTIL(&bed, bed_stats(&bed).stored);
}

static void all_rest(void)
{
	set(&rest, true);
	await_stored();
	set(&rest, false);
}

static void prepare(void)
{
	ferry__pager_fork_prepare(bed.pager);
}

static void parent(void)
{
	ferry__pager_fork_parent(bed.pager);
}

static void in_child(void)
{
	/* What fails there ends the child. */
	fake_order(bed.fake[0], get_fails, 0);
	ferry__pager_fork_child(bed.pager);
}

static void begin(uint64_t age)
{
	size_t page;

	bed_params(&bed);
	bed.params.cold_after_ns = bed.params.idle_after_ns = age;
	bed.params.n_tiers = 2;
	bed.tier[1].after_ns = 5 * age;
	bed_start(&bed, PAGES);
	ck_assert_int_eq(pthread_atfork(prepare, parent, in_child), 0);
	for (page = 0; page < PAGES; page++)
		write_page(page);
}

static unsigned long forks_done(void)
{
	return __atomic_load_n(&forks, __ATOMIC_RELAXED);
}

static void tend(struct owner *owners, struct random *r)
{
	struct owner *o = &owners[random_below(r, OWNERS)];

	disturb(r);
	usleep((useconds_t)random_below(r, 10000));
	if (!pthread_tryjoin_np(o->thread, NULL))
		start_owner(o);
}

/* Some pages are out for sure, and all are looked at. */
static void verify_once_more(struct owner *owners)
{
	size_t i;

	ck_assert_int_eq(ferry__pager_hint(bed.pager, bed.addr,
					   PAGES * bed.page, FERRY__HINT_NONE),
			 0);
	await_stored();
	for (i = 0; i < OWNERS; i++)
		ck_assert(all_right(&owners[i]));
	/* Counted by the handler when they are back already. */
	AWAIT(bed_stats(&bed).pages_back);
	ck_assert_uint_gt(bed_stats(&bed).pages_out, 0);
}

static void run(bool with_forks)
{
	struct owner owner[OWNERS] = { 0 };
	struct random r = harness_random();
	uint64_t end = now_ns() + harness_scaled(4000) * MS;
	size_t i;

	begin(10 * MS);
	for (i = 0; i < OWNERS; i++) {
		owner[i].index = i;
		owner[i].random = random_seeded(random_next(&r));
		owner[i].forks = with_forks && i < 2;
		start_owner(&owner[i]);
	}
	do {
		tend(owner, &r);
		if (!random_below(&r, 100))
			all_rest();
	} while (now_ns() < end || (with_forks && !forks_done()));
	all_rest();
	tend(owner, &r);
	set(&stop, true);
	for (i = 0; i < OWNERS; i++)
		pthread_join(owner[i].thread, NULL);
	served_assert_noted();
	verify_once_more(owner);
	bed_end(&bed);
}

START_TEST(pages_of_many_threads_hold_what_was_written)
{
	run(false);
}
END_TEST

START_TEST(pages_of_many_threads_hold_beside_forks)
{
	run(true);
}
END_TEST

START_TEST(pages_that_their_threads_bring_back_hold)
{
	bed_service = FERRY__PAGER_SIGBUS;
	run(true);
}
END_TEST

static const struct test tests[] = {
	TEST(pages_of_many_threads_hold_what_was_written, PAGER_NEEDS,
	     .seconds = 3600),
	TEST(pages_of_many_threads_hold_beside_forks, PAGER_NEEDS,
	     .seconds = 3600),
	TEST(pages_that_their_threads_bring_back_hold, PAGER_NEEDS,
	     .seconds = 3600),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
