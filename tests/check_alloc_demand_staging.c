/* SPDX-License-Identifier: MIT */
/* Staging memory of demand ranges: runs of pages, recycling, its bounds. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/demand-internal.h"
#include "tests/demand_bed.h"
#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/served.h"
#include "uffd/uapi.h"

/* --- runs ---------------------------------------------------------------- */

static struct ferry__run run_of(size_t page, size_t pages)
{
	return (struct ferry__run){ .addr = (page + 1) * page_size(),
				    .pages = pages };
}

START_TEST(a_run_is_cut_to_what_is_asked_for)
{
	struct ferry__runs runs = { 0 };
	struct ferry__run got;

	ck_assert_int_eq(ferry__runs_init(&runs, 10), 0);
	ck_assert(!ferry__runs_take(&runs, 1, 10, &got));
	ck_assert(ferry__runs_put(&runs, run_of(0, 20)));
	ck_assert(!ferry__runs_take(&runs, 21, 30, &got));
	ck_assert(ferry__runs_take(&runs, 2, 6, &got));
	ck_assert_uint_eq(got.addr, run_of(0, 6).addr);
	ck_assert_uint_eq(got.pages, 6);
	ck_assert_uint_eq(ferry__runs_pages(&runs), 14);
	ck_assert(ferry__runs_take(&runs, 14, 20, &got));
	ck_assert_uint_eq(got.addr, run_of(6, 1).addr);
	ck_assert(!ferry__runs_take(&runs, 1, 1, &got));
	ferry__runs_fini(&runs);
}
END_TEST

START_TEST(runs_that_adjoin_become_one)
{
	struct ferry__runs runs = { 0 };
	struct ferry__run got;

	ck_assert_int_eq(ferry__runs_init(&runs, 10), 0);
	ck_assert(ferry__runs_put(&runs, run_of(10, 4)));
	ck_assert(ferry__runs_put(&runs, run_of(14, 4)));
	ck_assert(ferry__runs_put(&runs, run_of(6, 4)));
	ck_assert(ferry__runs_put(&runs, run_of(30, 4)));
	ck_assert(ferry__runs_take(&runs, 12, 12, &got));
	ck_assert_uint_eq(got.addr, run_of(6, 1).addr);
	ck_assert_uint_eq(ferry__runs_pages(&runs), 4);
	/* But not beyond what a slot can say. */
	ck_assert(ferry__runs_put(&runs, run_of(34, FERRY__RUN_PAGES)));
	ck_assert(!ferry__runs_take(&runs, FERRY__RUN_PAGES + 1, 5000, &got));
	ferry__runs_fini(&runs);
}
END_TEST

START_TEST(a_full_bag_says_so)
{
	struct ferry__runs runs = { 0 };
	struct ferry__run got;
	size_t i;

	ck_assert_int_eq(ferry__runs_init(&runs, 64), 0);
	for (i = 0; i < 64; i++)
		ck_assert(ferry__runs_put(&runs, run_of(4 * i, 1)));
	ck_assert(!ferry__runs_put(&runs, run_of(1000, 1)));
	for (i = 0; i < 64; i++)
		ck_assert(ferry__runs_take(&runs, 1, 1, &got));
	ck_assert(!ferry__runs_take(&runs, 1, 1, &got));
	ferry__runs_fini(&runs);
}
END_TEST

#define JUGGLERS 4
#define PAGES	 4096

/* Each page is held by one thread or is in the bag: never twice. */
struct juggler {
	struct ferry__runs *runs;
	unsigned char *held; /* by page; relaxed exchange */
	struct random random;
	pthread_t thread;
	size_t rounds;
};

static void mark(struct juggler *j, struct ferry__run run, unsigned char from)
{
	size_t i, first = run.addr / page_size() - 1;

	for (i = first; i < first + run.pages; i++)
		EXPECT(__atomic_exchange_n(&j->held[i], !from,
					   __ATOMIC_RELAXED) == from);
}

static void *juggle(void *arg)
{
	struct juggler *j = arg;
	struct ferry__run run;
	size_t i, max;

	for (i = 0; i < j->rounds; i++) {
		max = 1 + random_below(&j->random, 40);
		if (!ferry__runs_take(j->runs,
				      1 + random_below(&j->random, max), max,
				      &run))
			continue;
		mark(j, run, 0);
		mark(j, run, 1);
		EXPECT(ferry__runs_put(j->runs, run));
	}
	return NULL;
}

START_TEST(no_page_is_taken_twice)
{
	static unsigned char held[PAGES];
	struct juggler j[JUGGLERS];
	struct ferry__runs runs = { 0 };
	struct ferry__run run;
	struct random r = harness_random();
	size_t i, sum = 0;

	ck_assert_int_eq(ferry__runs_init(&runs, PAGES), 0);
	ck_assert(ferry__runs_put(&runs, run_of(0, FERRY__RUN_PAGES)));
	for (i = 0; i < JUGGLERS; i++) {
		j[i] = (struct juggler){ .runs = &runs, .held = held };
		j[i].rounds = harness_scaled(50000);
		j[i].random = random_seeded(random_next(&r));
		pthread_create(&j[i].thread, NULL, juggle, &j[i]);
	}
	for (i = 0; i < JUGGLERS; i++)
		pthread_join(j[i].thread, NULL);
	served_assert_noted();
	while (ferry__runs_take(&runs, 1, 100, &run)) {
		mark(&j[0], run, 0);
		sum += run.pages;
	}
	served_assert_noted();
	ck_assert_uint_eq(sum, FERRY__RUN_PAGES);
	ck_assert_uint_eq(ferry__runs_pages(&runs), 0);
	ferry__runs_fini(&runs);
}
END_TEST

/* --- recycling ----------------------------------------------------------- */

static size_t there(const char *addr, size_t len)
{
	size_t at, n = 0;

	for (at = 0; at < len; at += page_size())
		n += page_there(addr + at);
	return n * page_size();
}

#define UNITS 64

/* 4 MiB are staged in memory for two units, and what they leave is reused. */
static void memory_does_not_grow(enum ferry_fault_mode mode)
{
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	size_t unit = 16 * page_size(), both, i;
	struct bed bed;

	p.mode = (enum ferry_demand_mode)mode;
	p.reserve = 2 * unit;
	p.keep = 4 * unit;
	bed_create_with(&bed, &p);
	bed.recycle = true;
	bed_add(&bed, UNITS, 16, FERRY_DEMAND_STAGED);
	bed_begin(&bed);
	for (i = 0; i < UNITS; i++) {
		if (i % 2)
			touch(bed_unit(&bed, i));
		else
			ck_assert_int_eq(
				ferry_demand_step(bed.demand, 1, 0, NULL), 0);
		ck_assert_uint_le(bed_stats(&bed).staging, p.keep);
		if (i % 8)
			continue;
		both = there(bed.range->src, bed.range->len) +
		       there(bed.range->dst, bed.range->len);
		ck_assert_uint_le(both, bed.range->len + p.keep);
	}
	/* Beside these there is the memory made at first, and no other. */
	ck_assert_uint_eq(bed_stats(&bed).fresh, 2 * 16);
	bed_stop(&bed);
}
BOTH_MODES(memory_does_not_grow)

START_TEST(more_than_is_kept_is_dropped)
{
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	size_t page = page_size();
	char *mem = map_anon(100 * page);
	struct bed bed;

	p.reserve = page;
	p.keep = 10 * page;
	bed_create_with(&bed, &p);
	bed_add(&bed, 1, 1, FERRY_DEMAND_STAGED);
	bed_begin(&bed);
	fill_pages(mem, 60 * page, 1);
	ck_assert_int_eq(ferry_demand_recycle(bed.demand, mem, 8 * page), 0);
	ck_assert_uint_eq(bed_stats(&bed).recycled, 8);
	ck_assert_uint_eq(bed_stats(&bed).staging, 9 * page);
	ck_assert_int_eq(
		ferry_demand_recycle(bed.demand, mem + 8 * page, 92 * page), 0);
	ck_assert_uint_eq(bed_stats(&bed).recycled, 8);
	ck_assert_uint_eq(bed_stats(&bed).dropped, 92);
	ck_assert(page_there(mem) && !page_there(mem + 8 * page));
	bed_stop(&bed);
	/* At the end none of the host's pages is left. */
	ck_assert(!page_there(mem));
	munmap(mem, 100 * page);
}
END_TEST

START_TEST(pages_that_are_not_there_are_not_staging_memory)
{
	struct bed bed;
	size_t page = page_size();
	char *mem = map_anon(300 * page);

	bed_start(&bed, FERRY_FAULT_SIGBUS, 30, FERRY_DEMAND_STAGED);
	fill_pages(mem + 3 * page, page, 1);
	fill_pages(mem + 280 * page, 20 * page, 1);
	ck_assert_int_eq(ferry_demand_recycle(bed.demand, mem, 300 * page), 0);
	ck_assert_uint_eq(bed_stats(&bed).recycled, 21);
	ck_assert_int_eq(ferry_demand_recycle(bed.demand, mem + 1, page),
			 -EINVAL);
	ck_assert_int_eq(
		ferry_demand_recycle(bed.demand, bed_unit(&bed, 3), page),
		-EBUSY);
	bed_stop(&bed);
	munmap(mem, 300 * page);
}
END_TEST

static void idle_pages_of_a_range_are_recycled(enum ferry_fault_mode mode)
{
	struct bed bed;
	uint64_t before;
	size_t i;

	/* The destination is the other half of the range: a heap in one. */
	bed_create(&bed, mode);
	bed_add(&bed, 16, 4, FERRY_DEMAND_STAGED);
	for (i = 8; i < 16; i++)
		bed.range->initial[i] = FERRY_DEMAND_IDLE;
	fill_pages(bed_unit(&bed, 8), 8 * bed.range->unit, 99);
	bed_begin(&bed);
	bed_assert_unit(&bed, 0);
	before = bed_stats(&bed).recycled;
	ck_assert_int_eq(ferry_demand_recycle(bed.demand, bed_unit(&bed, 8),
					      8 * bed.range->unit),
			 0);
	ck_assert_uint_eq(bed_stats(&bed).recycled, before + 32);
	/* They are staging memory now, and no place for anything. */
	ck_assert_int_eq(ferry_demand_expect(bed.demand, bed_unit(&bed, 9),
					     bed.range->unit),
			 -EBUSY);
	ck_assert_int_eq(ferry_demand_provide(bed.demand, bed_unit(&bed, 8),
					      bed.range->unit, NULL, NULL),
			 -EBUSY);
	ck_assert_int_eq(ferry_demand_run(bed.demand, NULL), 0);
	bed_stop(&bed);
}
BOTH_MODES(idle_pages_of_a_range_are_recycled)

#define CHUNK	 256 /* pages; what is made at least */
#define ADJOINED 64

static void map_now(void *arg)
{
	*(char **)arg = mmap(NULL, ADJOINED * page_size(),
			     PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/*
 * A demand whose staging memory was mapped right after memory of the host's:
 * just below it, as the kernel goes downwards where it has no gap to fill.
 */
static char *create_below(struct bed *bed)
{
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	struct inject_rule last = { .call = INJECT_MMAP, .hook = map_now };
	char *mem = NULL;

	p.reserve = CHUNK * page_size();
	p.batch = 1;
	/* The first one makes what all of them share. */
	bed_create_with(bed, &p);
	ferry_demand_destroy(bed->demand);
	inject_start();
	bed_create_with(bed, &p);
	ferry_demand_destroy(bed->demand);
	last.nth = inject_calls(INJECT_MMAP, 0);
	last.arg = &mem;
	inject_stop();
	inject_start();
	inject_add(&last);
	bed_create_with(bed, &p);
	ck_assert_uint_eq(inject_hits(&last), 1);
	inject_stop();
	return mem;
}

START_TEST(memory_next_to_staging_memory_stays_the_hosts)
{
	size_t len = ADJOINED * page_size();
	struct bed bed;
	char *mem = create_below(&bed);

	ck_assert(mem && mem != MAP_FAILED);
	bed_add(&bed, 8, 16, FERRY_DEMAND_STAGED);
	bed_begin(&bed);
	fill_pages(mem, len, 1);
	ck_assert_int_eq(ferry_demand_recycle(bed.demand, mem, len), 0);
	ck_assert_int_eq(ferry_demand_end(bed.demand), 0);
	bed_fini(&bed);
	/* Ours again; what follows takes all of its own memory, and more. */
	fill_pages(mem, len, 1);
	bed_add(&bed, 64, 16, FERRY_DEMAND_STAGED);
	bed_begin(&bed);
	ck_assert_int_eq(ferry_demand_run(bed.demand, NULL), 0);
	assert_pages(mem, len, 1);
	bed_stop(&bed);
	munmap(mem, len);
}
END_TEST

/* --- want of memory ------------------------------------------------------ */

static void without_recycling_fresh_memory_is_taken(enum ferry_fault_mode mode)
{
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	struct bed bed;

	p.mode = (enum ferry_demand_mode)mode;
	p.reserve = page_size();
	bed_create_with(&bed, &p);
	bed_add(&bed, 50, 16, FERRY_DEMAND_STAGED);
	bed_begin(&bed);
	bed_assert_unit(&bed, 7);
	ck_assert_int_eq(ferry_demand_run(bed.demand, NULL), 0);
	ck_assert_uint_ge(bed_stats(&bed).fresh, 49 * 16);
	bed_stop(&bed);
}
BOTH_MODES(without_recycling_fresh_memory_is_taken)

static void want_of_memory_only_delays(enum ferry_fault_mode mode)
{
	struct inject_rule none = {
		.call = INJECT_MADVISE,
		.request = FERRY__MADV_POPULATE_WRITE,
		.error = ENOMEM,
		.count = 30,
	};
	struct inject_rule no_room = {
		.call = INJECT_MMAP,
		.error = ENOMEM,
		.count = 30,
	};
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	struct bed bed;
	size_t left = 0;

	inject_start();
	p.mode = (enum ferry_demand_mode)mode;
	p.reserve = page_size();
	bed_create_with(&bed, &p);
	bed_add(&bed, 2, 512, FERRY_DEMAND_STAGED);
	bed_begin(&bed);
	inject_add(&none);
	inject_add(&no_room);
	ck_assert_int_eq(ferry_demand_step(bed.demand, 0, 0, &left), -ENOMEM);
	ck_assert_uint_eq(left, 2);
	ck_assert_uint_eq(bed.range->asked[0], 0);
	bed_assert_unit(&bed, 1);
	ck_assert_uint_eq(inject_hits(&none), 30);
	ck_assert_uint_eq(inject_hits(&no_room), 30);
	bed_stop(&bed);
}
BOTH_MODES(want_of_memory_only_delays)

START_TEST(the_end_gives_up_for_want_of_memory_and_can_be_tried_again)
{
	struct inject_rule none = {
		.call = INJECT_MADVISE,
		.request = FERRY__MADV_POPULATE_WRITE,
		.error = ENOMEM,
		.count = INJECT_ALWAYS,
	};
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	struct bed bed;

	inject_start();
	p.reserve = page_size();
	bed_create_with(&bed, &p);
	bed_add(&bed, 10, 16, FERRY_DEMAND_STAGED);
	bed_begin(&bed);
	inject_add(&none);
	ck_assert_int_eq(ferry_demand_end(bed.demand), -ENOMEM);
	inject_stop();
	bed_assert_unit(&bed, 4);
	bed_stop(&bed);
}
END_TEST

START_TEST(an_old_kernel_populates_by_touching)
{
	struct inject_rule unknown = {
		.call = INJECT_MADVISE,
		.request = FERRY__MADV_POPULATE_WRITE,
		.error = EINVAL,
		.count = INJECT_ALWAYS,
	};
	struct bed bed;

	inject_start();
	inject_add(&unknown);
	bed_start(&bed, FERRY_FAULT_SIGBUS, 40, FERRY_DEMAND_STAGED);
	ck_assert_int_eq(ferry_demand_run(bed.demand, NULL), 0);
	bed_stop(&bed);
}
END_TEST

static const struct test tests[] = {
	TEST(a_run_is_cut_to_what_is_asked_for, NULL),
	TEST(runs_that_adjoin_become_one, NULL),
	TEST(a_full_bag_says_so, NULL),
	TEST(no_page_is_taken_twice, NULL),
	TEST(memory_does_not_grow_in_sigbus_mode, "sigbus,move"),
	TEST(memory_does_not_grow_in_thread_mode, "userfaultfd,move"),
	TEST(more_than_is_kept_is_dropped, "sigbus"),
	TEST(pages_that_are_not_there_are_not_staging_memory, "sigbus"),
	TEST_BOTH(idle_pages_of_a_range_are_recycled),
	TEST(memory_next_to_staging_memory_stays_the_hosts, "sigbus"),
	TEST(without_recycling_fresh_memory_is_taken_in_sigbus_mode,
	     "sigbus,move"),
	TEST(without_recycling_fresh_memory_is_taken_in_thread_mode,
	     "userfaultfd,move"),
	TEST_BOTH(want_of_memory_only_delays),
	TEST(the_end_gives_up_for_want_of_memory_and_can_be_tried_again,
	     "sigbus"),
	TEST(an_old_kernel_populates_by_touching, "sigbus"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
