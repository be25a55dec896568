/* SPDX-License-Identifier: MIT */
/*
 * Demand ranges under load: threads verify and rewrite pages while steps of
 * several threads produce them, others expect, provide and prefault units,
 * processes fork, and the kernel swaps pages out. Every page has one writing
 * thread, which knows what it last wrote there: a unit that came twice, or
 * late, would undo that.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/demand_bed.h"
#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/served.h"
#include "tests/system.h"
#include "uffd/uapi.h"

#define WRITERS	 3
#define STEPPERS 2

/* One demand, and what the threads on it need. */
struct scene {
	struct bed bed;
	uint32_t *version[BED_RANGES]; /* by page; its writer's */
	bool *known[BED_RANGES];       /* units that may be touched */
	bool stop;		       /* relaxed: the joins order the rest */
};

struct worker {
	struct scene *scene;
	struct random random;
	size_t index;
	pthread_t thread;
};

static bool stopped(struct scene *s)
{
	return __atomic_load_n(&s->stop, __ATOMIC_RELAXED);
}

static bool known(const struct scene *s, size_t r, size_t unit)
{
	/* Acquire, pairs with make_known(). */
	return __atomic_load_n(&s->known[r][unit], __ATOMIC_ACQUIRE);
}

static void make_known(struct scene *s, size_t r, size_t unit)
{
	__atomic_store_n(&s->known[r][unit], true, __ATOMIC_RELEASE);
}

static size_t unit_of(const struct bed_range *range, size_t page)
{
	return page * page_size() / range->unit;
}

static bool page_right(const struct scene *s, size_t r, size_t page)
{
	const struct bed_range *range = &s->bed.range[r];
	const char *at = range->dst + page * page_size();
	uint64_t version = s->version[r][page];

	if (!version &&
	    range->answer[unit_of(range, page)] == FERRY_DEMAND_ZERO)
		return is_zero(at, page_size());
	return page_holds(at, range->first + page + (version << 40));
}

/*
 * A call waits for a second at most for who has the unit: on a slow machine,
 * beside forks, that may not be enough, and it is to be called again.
 */
static int prefault(const struct scene *s, char *at, size_t len)
{
	int r;

	do
		r = ferry_demand_prefault(s->bed.demand, at, len);
	while (r == -EAGAIN);
	return r;
}

/* In the same case the unit is on its way. */
static int provide(const struct scene *s, char *at, size_t len, char *src)
{
	int r = ferry_demand_provide(s->bed.demand, at, len, src, NULL);

	return r == -EAGAIN ? prefault(s, at, len) : r;
}

/* Verifies a page of this worker's and writes its next version. */
static void turn_page(struct worker *w)
{
	struct scene *s = w->scene;
	size_t r = random_below(&w->random, s->bed.ranges), page;
	const struct bed_range *range = &s->bed.range[r];
	char *at;

	page = random_below(&w->random, range->len / page_size());
	page += w->index - page % WRITERS;
	if (page >= range->len / page_size() ||
	    !known(s, r, unit_of(range, page)))
		return;
	at = range->dst + page * page_size();
	if (!random_below(&w->random, 8))
		EXPECT(!prefault(s, at, page_size()));
	EXPECT(page_right(s, r, page));
	s->version[r][page]++;
	fill_pages(at, page_size(),
		   range->first + page + ((uint64_t)s->version[r][page] << 40));
}

static void *write_pages(void *arg)
{
	struct worker *w = arg;

	while (!stopped(w->scene))
		turn_page(w);
	return NULL;
}

static void *step_on(void *arg)
{
	struct worker *w = arg;
	size_t left;
	int r;

	while (!stopped(w->scene)) {
		r = ferry_demand_step(w->scene->bed.demand,
				      random_below(&w->random, 20),
				      random_below(&w->random, 100000), &left);
		EXPECT(!r || r == -ENOMEM || r == -EAGAIN);
	}
	return NULL;
}

/* Brings an IDLE unit in one of the three ways. */
static void bring(struct worker *w, size_t r, size_t unit)
{
	struct scene *s = w->scene;
	const struct bed_range *range = &s->bed.range[r];
	char *at = range->dst + unit * range->unit;
	char *src = range->src + unit * range->unit;

	range->initial[unit] = FERRY_DEMAND_DONE;
	switch (random_below(&w->random, 3)) {
	case 0:
		EXPECT(!ferry_demand_expect(s->bed.demand, at, range->unit));
		range->initial[unit] = FERRY_DEMAND_WAITING;
		break;
	case 1:
		range->answer[unit] = FERRY_DEMAND_MOVE;
		EXPECT(!provide(s, at, range->unit, src));
		break;
	default:
		range->answer[unit] = FERRY_DEMAND_ZERO;
		EXPECT(!provide(s, at, range->unit, NULL));
		break;
	}
	make_known(s, r, unit);
}

static void *bring_idle(void *arg)
{
	struct worker *w = arg;
	const struct bed *bed = &w->scene->bed;
	size_t r, i;

	for (r = 0; r < bed->ranges; r++)
		for (i = 0; i < bed->range[r].units; i++)
			if (bed->range[r].initial[i] == FERRY_DEMAND_IDLE)
				bring(w, r, i);
	return NULL;
}

/* --- a round ------------------------------------------------------------- */

static void scene_range(struct scene *s, struct random *r)
{
	static const enum ferry_demand_answer answers[] = {
		FERRY_DEMAND_STAGED, FERRY_DEMAND_STAGED, FERRY_DEMAND_MOVE,
		FERRY_DEMAND_MOVE,   FERRY_DEMAND_ZERO,	  FERRY_DEMAND_SKIP,
	};
	size_t i, at = s->bed.ranges, same = 1 + random_below(r, 12);
	size_t unit_pages = (size_t)1 << random_below(r, 6);
	struct bed_range *range =
		bed_add(&s->bed, 8 + random_below(r, 2000 / unit_pages),
			unit_pages, FERRY_DEMAND_MOVE);
	enum ferry_demand_answer answer = FERRY_DEMAND_MOVE;

	s->version[at] =
		calloc(range->len / page_size(), sizeof(*s->version[at]));
	s->known[at] = calloc(range->units, sizeof(*s->known[at]));
	ck_assert(s->version[at] && s->known[at]);
	for (i = 0; i < range->units; i++) {
		if (!(i % same))
			answer = answers[random_below(r, 6)];
		range->answer[i] = (unsigned char)answer;
		s->known[at][i] = random_below(r, 8);
		if (!s->known[at][i])
			range->initial[i] = FERRY_DEMAND_IDLE;
	}
}

static void scene_init(struct scene *s, struct random *r,
		       enum ferry_fault_mode mode)
{
	struct ferry_demand_params p = FERRY_INIT(struct ferry_demand_params);
	size_t i, n = 1 + random_below(r, BED_RANGES);

	memset(s, 0, sizeof(*s));
	p.mode = (enum ferry_demand_mode)mode;
	p.threads = 1 + (unsigned int)random_below(r, 2);
	p.batch = 1 + (unsigned int)random_below(r, 16);
	p.reserve = page_size() * (1 + random_below(r, 64));
	p.keep = page_size() * (1 + random_below(r, 512));
	p.flags = random_below(r, 6) ? 0 : FERRY_DEMAND_COPY_ONLY;
	bed_create_with(&s->bed, &p);
	s->bed.recycle = random_below(r, 3);
	for (i = 0; i < n; i++)
		scene_range(s, r);
	bed_begin(&s->bed);
}

static void scene_check(struct scene *s)
{
	size_t r, i;

	served_assert_noted();
	for (r = 0; r < s->bed.ranges; r++) {
		for (i = 0; i < s->bed.range[r].len / page_size(); i++)
			ck_assert_msg(page_right(s, r, i),
				      "page %zu of range %zu", i, r);
		for (i = 0; i < s->bed.range[r].units; i++)
			ck_assert_uint_eq(s->bed.range[r].asked[i],
					  s->bed.range[r].initial[i] ==
						  FERRY_DEMAND_WAITING);
	}
}

static void scene_fini(struct scene *s)
{
	size_t r;

	ferry_demand_destroy(s->bed.demand);
	for (r = 0; r < s->bed.ranges; r++) {
		free(s->version[r]);
		free(s->known[r]);
	}
	bed_fini(&s->bed);
}

static void spawn(struct worker *w, struct scene *s, size_t index,
		  struct random *r, void *(*work)(void *arg))
{
	*w = (struct worker){
		.scene = s,
		.random = random_seeded(random_next(r)),
		.index = index,
	};
	ck_assert_int_eq(pthread_create(&w->thread, NULL, work, w), 0);
}

/* A life with everything going on at once, and a @disturb thread. */
static void one_round(struct random *r, enum ferry_fault_mode mode,
		      void *(*disturb)(void *arg))
{
	struct worker writers[WRITERS], steppers[STEPPERS], bringer, disturber;
	struct scene s;
	size_t i;

	scene_init(&s, r, mode);
	for (i = 0; i < WRITERS; i++)
		spawn(&writers[i], &s, i, r, write_pages);
	if (disturb)
		spawn(&disturber, &s, 0, r, disturb);
	spawn(&bringer, &s, 0, r, bring_idle);
	for (i = 0; i < STEPPERS; i++)
		spawn(&steppers[i], &s, i, r, step_on);
	pthread_join(bringer.thread, NULL);
	ck_assert_int_eq(ferry_demand_run(s.bed.demand, NULL), 0);
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < STEPPERS; i++)
		pthread_join(steppers[i].thread, NULL);
	ck_assert_int_eq(ferry_demand_end(s.bed.demand), 0);
	for (i = 0; i < WRITERS; i++)
		pthread_join(writers[i].thread, NULL);
	if (disturb)
		pthread_join(disturber.thread, NULL);
	scene_check(&s);
	scene_fini(&s);
}

static void rounds(enum ferry_fault_mode mode, void *(*disturb)(void *arg))
{
	struct random r = harness_random();

	for (size_t i = 0; i < harness_scaled(24); i++)
		one_round(&r, mode, disturb);
}

static void writers_steppers_and_bringers(enum ferry_fault_mode mode)
{
	rounds(mode, NULL);
}
BOTH_MODES(writers_steppers_and_bringers)

/* --- disturbances -------------------------------------------------------- */

/* Children share every page for a moment: moves then meet EBUSY. */
static void *fork_on(void *arg)
{
	struct worker *w = arg;
	int pid;

	while (!stopped(w->scene)) {
		pid = fork();
		if (!pid)
			_exit(0);
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
	return NULL;
}

START_TEST(demand_goes_on_while_processes_fork)
{
	rounds(FERRY_FAULT_SIGBUS, fork_on);
}
END_TEST

/* The kernel takes pages out on both sides. */
static void *page_out(void *arg)
{
	struct worker *w = arg;
	const struct bed *bed = &w->scene->bed;
	const struct bed_range *range;

	while (!stopped(w->scene)) {
		range = &bed->range[random_below(&w->random, bed->ranges)];
		madvise(random_below(&w->random, 2) ? range->src : range->dst,
			range->len, FERRY__MADV_PAGEOUT);
	}
	return NULL;
}

START_TEST(demand_goes_on_while_pages_are_swapped_out)
{
	struct system_hold hold;

	if (!system_hold_swap(&hold))
		SKIP("swap", "%s", hold.reason);
	rounds(FERRY_FAULT_SIGBUS, page_out);
	system_release(&hold);
}
END_TEST

static const struct test tests[] = {
	TEST_BOTH(writers_steppers_and_bringers),
	TEST(demand_goes_on_while_processes_fork, "sigbus"),
	TEST(demand_goes_on_while_pages_are_swapped_out, "sigbus,pageout"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
