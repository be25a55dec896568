/* SPDX-License-Identifier: MIT */
/*
 * Page compaction under load: threads verify and rewrite pages at their new
 * addresses while steps of several threads move them, processes fork, and
 * the kernel swaps pages out. Every page has one writing thread, which knows
 * what it last wrote there.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/alloc-internal.h"
#include "tests/compact_heap.h"
#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/system.h"
#include "uffd/uapi.h"

#define WRITERS	   3
#define MOST_HEAPS 3

/* One compaction, and what the threads on it need. */
struct scene {
	struct heap heap[MOST_HEAPS];
	size_t heaps;
	uint32_t *version[MOST_HEAPS]; /* by page; its writer's */
	struct ferry_compact *compact;
	struct ferry_arena *destination;
	atomic_bool stop;     /* relaxed: the joins order the rest */
	atomic_size_t wrong;  /* relaxed: likewise */
	atomic_size_t events; /* of the disturber; relaxed: a count */
};

struct worker {
	struct scene *scene;
	struct random random;
	size_t index;
	size_t looks;
	pthread_t thread;
};

static uint64_t number_of(const struct scene *s, size_t h, size_t page)
{
	return s->heap[h].first + page + ((uint64_t)s->version[h][page] << 32);
}

static bool stopped(struct scene *s)
{
	return atomic_load_explicit(&s->stop, memory_order_relaxed);
}

/* Verifies a page of this worker's and writes its next version. */
static void turn_page(struct worker *w)
{
	struct scene *s = w->scene;
	size_t h = random_below(&w->random, s->heaps);
	struct heap *heap = &s->heap[h];
	size_t page = random_below(&w->random, heap->pages);
	char *now;

	page -= page % WRITERS;
	page += w->index;
	if (page >= heap->pages || !heap->live[page])
		return;
	now = ferry_compact_map(s->compact, heap->base + page * page_size());
	if (!now || !page_holds(now, number_of(s, h, page)))
		atomic_fetch_add_explicit(&s->wrong, 1, memory_order_relaxed);
	if (!now)
		return;
	s->version[h][page]++;
	fill_pages(now, page_size(), number_of(s, h, page));
	w->looks++;
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
	struct scene *s = w->scene;
	size_t left = 1;

	while (left && !stopped(s))
		if (ferry_compact_step(
			    s->compact,
			    page_size() * (1 + random_below(&w->random, 200)),
			    NULL, &left) < 0)
			atomic_fetch_add_explicit(&s->wrong, 1,
						  memory_order_relaxed);
	return NULL;
}

/* --- a round -------------------------------------------------------------- */

static void scene_init(struct scene *s, struct random *r)
{
	static const size_t means[] = { 1, 2, 8, 40, 200 };
	size_t h, pages;

	*s = (struct scene){ .heaps = 1 + random_below(r, MOST_HEAPS) };
	for (h = 0; h < s->heaps; h++) {
		pages = 512 * (1 + random_below(r, 8));
		s->heap[h] = heap_make(pages, (uint64_t)h << 24,
				       random_below(r, 2) ? FERRY_THP_ALWAYS
							  : FERRY_THP_NEVER);
		heap_thin(&s->heap[h], r, means[random_below(r, 5)]);
		s->version[h] = calloc(pages, sizeof(uint32_t));
		ck_assert_ptr_nonnull(s->version[h]);
	}
}

static void scene_check(struct scene *s)
{
	ck_assert_uint_eq(atomic_load(&s->wrong), 0);
	for (size_t h = 0; h < s->heaps; h++)
		for (size_t i = 0; i < s->heap[h].pages; i++)
			if (s->heap[h].live[i])
				ck_assert(page_holds(
					ferry_compact_map(
						s->compact,
						s->heap[h].base +
							i * page_size()),
					number_of(s, h, i)));
}

static void scene_fini(struct scene *s)
{
	ferry_compact_destroy(s->compact);
	ferry_arena_destroy(s->destination);
	for (size_t h = 0; h < s->heaps; h++) {
		heap_fini(&s->heap[h]);
		free(s->version[h]);
	}
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

/* Compacts with everything going on at once, and a @disturb thread. */
static void one_round(struct random *r, enum ferry_fault_mode mode,
		      void *(*disturb)(void *arg))
{
	struct worker writers[WRITERS], steppers[2], disturber;
	struct ferry_compact_params p = { .mode = mode };
	struct scene s;
	size_t i;

	scene_init(&s, r);
	p.thp = random_below(r, 2) ? FERRY_THP_ALWAYS : FERRY_THP_NEVER;
	p.slice_ns = random_below(r, 2);
	s.compact = heap_plan(s.heap, s.heaps, p);
	s.destination = ferry_compact_destination(s.compact);
	ck_assert_int_eq(ferry_compact_start(s.compact), 0);
	for (i = 0; i < WRITERS; i++)
		spawn(&writers[i], &s, i, r, write_pages);
	if (disturb)
		spawn(&disturber, &s, 0, r, disturb);
	for (i = 0; i < 2; i++)
		spawn(&steppers[i], &s, i, r, step_on);
	for (i = 0; i < 2; i++)
		pthread_join(steppers[i].thread, NULL);
	ck_assert_int_eq(ferry_compact_finish(s.compact, NULL), 0);
	atomic_store_explicit(&s.stop, true, memory_order_relaxed);
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

	for (size_t i = 0; i < harness_scaled(12); i++)
		one_round(&r, mode, disturb);
}

START_TEST(writers_and_steppers_in_sigbus_mode)
{
	rounds(FERRY_FAULT_SIGBUS, NULL);
}
END_TEST

START_TEST(writers_and_steppers_in_thread_mode)
{
	rounds(FERRY_FAULT_THREAD, NULL);
}
END_TEST

/* --- disturbances --------------------------------------------------------- */

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
		atomic_fetch_add_explicit(&w->scene->events, 1,
					  memory_order_relaxed);
	}
	return NULL;
}

START_TEST(compaction_goes_on_while_processes_fork)
{
	rounds(FERRY_FAULT_SIGBUS, fork_on);
}
END_TEST

/* The kernel takes pages out on both sides, whole arenas at a time. */
static void *page_out(void *arg)
{
	struct worker *w = arg;
	struct scene *s = w->scene;
	struct ferry_arena *a;
	size_t h;

	while (!stopped(s)) {
		h = random_below(&w->random, s->heaps + 1);
		a = h < s->heaps ? s->heap[h].arena : s->destination;
		madvise(ferry_arena_base(a), ferry_arena_reserved(a),
			FERRY__MADV_PAGEOUT);
	}
	return NULL;
}

START_TEST(compaction_goes_on_while_pages_are_swapped_out)
{
	struct system_hold hold;

	if (!system_hold_swap(&hold))
		SKIP("swap", "%s", hold.reason);
	rounds(FERRY_FAULT_SIGBUS, page_out);
	system_release(&hold);
}
END_TEST

static const struct test tests[] = {
	TEST(writers_and_steppers_in_sigbus_mode, "sigbus"),
	TEST(writers_and_steppers_in_thread_mode, "userfaultfd"),
	TEST(compaction_goes_on_while_processes_fork, "sigbus,move"),
	TEST(compaction_goes_on_while_pages_are_swapped_out,
	     "sigbus,move,pageout"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
