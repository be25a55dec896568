/* SPDX-License-Identifier: MIT */
/*
 * The stopped world: threads that come, go, block and die while collections
 * run.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/cells.h"
#include "tests/harness.h"

#define MIB ((size_t)1 << 20)

static void nap(long us)
{
	struct timespec t = { .tv_nsec = us * 1000 };

	nanosleep(&t, NULL);
}

/* Waits for a thread without holding up the world. */
static void join(struct cells *c, pthread_t thread)
{
	ferry_blocking_enter(c->m);
	pthread_join(thread, NULL);
	ferry_blocking_leave(c->m);
}

/* --- threads that come and go ------------------------------------------------------ */

struct visitor {
	struct ferry_heap *heap;
	uint64_t seed;
	const char *wrong;
};

/* A list in a frame, made and checked. */
static void visit_list(struct visitor *visitor, struct ferry_mutator *m,
		       size_t n)
{
	void *slots[1] = { NULL };
	struct ferry_frame frame;
	struct cell *cell;
	size_t i;

	ferry_frame_push(m, &frame, slots, 1);
	for (i = 0; i < n; i++) {
		cell = cell_try(m, FERRY_KIND_TRACED, 1, 32 + i % 5 * 16, i);
		if (!cell) {
			visitor->wrong = "no memory";
			break;
		}
		cell->slot[0] = slots[0];
		slots[0] = cell;
	}
	for (cell = slots[0]; cell; cell = cell->slot[0])
		if (cell->id != --i)
			visitor->wrong = "a cell is damaged";
	ferry_frame_pop(m, &frame);
}

/* Comes, does something or nothing, and ends attached or detached. */
static void *visit(void *arg)
{
	struct visitor *visitor = arg;
	struct random rng = random_seeded(visitor->seed);
	struct ferry_mutator *m;
	size_t i, times = 1 + random_below(&rng, 4);

	for (i = 0; i < times && !visitor->wrong; i++) {
		if (ferry_mutator_attach(visitor->heap, NULL, &m) < 0) {
			visitor->wrong = "not attached";
			return NULL;
		}
		if (ferry_mutator_self(visitor->heap) != m)
			visitor->wrong = "not its own mutator";
		visit_list(visitor, m, random_below(&rng, 600));
		if (random_below(&rng, 3) == 0) {
			ferry_blocking_enter(m);
			sched_yield();
			ferry_blocking_leave(m);
		}
		if (i + 1 == times && random_below(&rng, 2))
			return NULL; /* attached */
		ferry_mutator_detach(m);
	}
	return NULL;
}

#define VISITORS 4

static void visits(enum ferry_gc_mode mode, const char *options)
{
	static const enum ferry_collect what[] = { FERRY_COLLECT_FULL,
						   FERRY_COLLECT_MINOR,
						   FERRY_COLLECT_COMPACT };
	struct ferry_heap_params p = cells_params(mode);
	struct random rng = harness_random();
	struct visitor visitor[VISITORS];
	pthread_t thread[VISITORS];
	struct cells *c;
	size_t round, i;

	p.options = options;
	c = cells_open(&p, 1);
	cells_list(c, 0, FERRY_KIND_TRACED, 1000, 1, 48);
	for (round = 0; round < harness_scaled(60); round++) {
		for (i = 0; i < VISITORS; i++) {
			visitor[i] = (struct visitor){ c->heap,
						       random_next(&rng),
						       NULL };
			ck_assert_int_eq(pthread_create(&thread[i], NULL, visit,
							&visitor[i]),
					 0);
		}
		cells_collect(c, what[round % ARRAY_SIZE(what)]);
		for (i = 0; i < VISITORS; i++) {
			join(c, thread[i]);
			ck_assert_msg(!visitor[i].wrong, "%s",
				      visitor[i].wrong);
		}
		cells_list_check(c, 0, 1000);
	}
	cells_collect(c, FERRY_COLLECT_FULL);
	ck_assert_uint_eq(cells_live(c), 1000 * cell_bytes(1));
	/* Nobody who came is left attached: it can be destroyed. */
	cells_close(c);
}

START_TEST(threads_come_and_go_while_collections_run)
{
	size_t mode;

	for (mode = 0; mode < 2; mode++)
		visits(cells_modes[mode], NULL);
}
END_TEST

START_TEST(threads_come_and_go_while_collections_are_delayed)
{
	size_t mode;

	for (mode = 0; mode < 2; mode++)
		visits(cells_modes[mode], "delay-seed:5,poison:true");
}
END_TEST

/* --- attaching ------------------------------------------------------------------------ */

START_TEST(thread_is_attached_once_to_a_heap)
{
	struct cells *c = cells_make(FERRY_GC_AUTO, 1);
	struct ferry_mutator *again = c->m;

	ck_assert_int_eq(ferry_mutator_attach(c->heap, NULL, &again), -EEXIST);
	ck_assert_ptr_eq(again, c->m);
	ck_assert_ptr_eq(ferry_mutator_self(c->heap), c->m);
	ferry_mutator_detach(NULL);
	cells_close(c);
}
END_TEST

static void *ask_self(void *arg)
{
	return ferry_mutator_self(arg);
}

START_TEST(thread_that_is_not_attached_has_no_mutator)
{
	struct cells *c = cells_make(FERRY_GC_AUTO, 1);
	pthread_t thread;
	void *self = c;

	ck_assert_int_eq(pthread_create(&thread, NULL, ask_self, c->heap), 0);
	pthread_join(thread, &self);
	ck_assert_ptr_null(self);
	cells_close(c);
}
END_TEST

static void *collect_unattached(void *arg)
{
	struct visitor *visitor = arg;

	if (ferry_heap_collect(visitor->heap, NULL, FERRY_COLLECT_COMPACT) < 0)
		visitor->wrong = "no collection";
	return NULL;
}

START_TEST(unattached_threads_may_collect)
{
	size_t mode, i;

	for (mode = 0; mode < 2; mode++) {
		struct cells *c = cells_make(cells_modes[mode], 1);
		struct visitor visitor[3];
		pthread_t thread[3];

		cells_list(c, 0, FERRY_KIND_TYPED, 1000, 1, 64);
		for (i = 0; i < 3; i++) {
			visitor[i] = (struct visitor){ c->heap, 0, NULL };
			ck_assert_int_eq(pthread_create(&thread[i], NULL,
							collect_unattached,
							&visitor[i]),
					 0);
		}
		for (i = 0; i < 3; i++) {
			join(c, thread[i]);
			ck_assert_ptr_null(visitor[i].wrong);
		}
		ck_assert_uint_ge(cells_stats(c)->fulls, 1);
		cells_list_check(c, 0, 1000);
		cells_close(c);
	}
}
END_TEST

/* --- threads that block ------------------------------------------------------------------ */

struct blocker {
	struct ferry_heap *heap;
	_Atomic int step; /* 1: it blocks; 2: it may go on */
	const char *wrong;
};

/* Polls nothing and allocates nothing: it blocks. */
static void *block(void *arg)
{
	struct blocker *blocker = arg;
	void *slots[1] = { NULL };
	struct ferry_frame frame;
	struct ferry_mutator *m;
	struct cell *cell;

	if (ferry_mutator_attach(blocker->heap, NULL, &m) < 0) {
		blocker->wrong = "not attached";
		blocker->step = 1;
		return NULL;
	}
	ferry_frame_push(m, &frame, slots, 1);
	slots[0] = cell_try(m, FERRY_KIND_TRACED, 1, 32, 77);
	ferry_blocking_enter(m);
	blocker->step = 1;
	while (blocker->step != 2)
		nap(100);
	ferry_blocking_leave(m);
	cell = slots[0];
	if (cell->id != 77 || cell->slot[0])
		blocker->wrong = "what it held is lost";
	ferry_frame_pop(m, &frame);
	ferry_mutator_detach(m);
	return NULL;
}

START_TEST(collections_do_not_wait_for_who_blocks)
{
	size_t mode, i;

	for (mode = 0; mode < 2; mode++) {
		struct cells *c = cells_make(cells_modes[mode], 1);
		struct blocker blocker = { .heap = c->heap };
		pthread_t thread;

		cells_list(c, 0, FERRY_KIND_TRACED, 2000, 2, 64);
		ck_assert_int_eq(pthread_create(&thread, NULL, block, &blocker),
				 0);
		ferry_blocking_enter(c->m);
		while (!blocker.step)
			nap(100);
		ferry_blocking_leave(c->m);
		/* It goes on when these are over. */
		for (i = 0; i < 5; i++)
			cells_collect(c, FERRY_COLLECT_COMPACT);
		ck_assert_uint_ge(cells_live(c), 2000 * cell_bytes(2) + 32);
		blocker.step = 2;
		for (i = 0; i < 5; i++)
			cells_collect(c, FERRY_COLLECT_FULL);
		join(c, thread);
		ck_assert_msg(!blocker.wrong, "%s", blocker.wrong);
		cells_list_check(c, 0, 2000);
		cells_close(c);
	}
}
END_TEST

struct leaver {
	struct ferry_heap *heap;
	_Atomic int step; /* 1: it blocks; 2: it may leave; 3: it has left */
	_Atomic bool left_in_pause;
	const char *wrong;
};

static void *leave(void *arg)
{
	struct leaver *leaver = arg;
	struct ferry_mutator *m;

	if (ferry_mutator_attach(leaver->heap, NULL, &m) < 0 ||
	    !cell_try(m, FERRY_KIND_TRACED, 1, 32, 0)) {
		leaver->wrong = "not attached, or no memory";
		leaver->step = 3;
		return NULL;
	}
	ferry_blocking_enter(m);
	leaver->step = 1;
	while (leaver->step != 2)
		nap(100);
	ferry_mutator_detach(m);
	leaver->step = 3;
	return NULL;
}

/* A root that has no references: called in pauses. */
static void pause_with_leaver(void *arg, struct ferry_visitor *v)
{
	struct leaver *leaver = arg;

	(void)v;
	if (leaver->step == 1) {
		leaver->step = 2;
		nap(20000);
		leaver->left_in_pause = leaver->step == 3;
	}
}

/* Its block would be retired twice, and the list of mutators change while it
 * is walked. */
START_TEST(thread_that_ends_where_it_blocks_waits_for_the_pause)
{
	size_t mode;

	for (mode = 0; mode < 2; mode++) {
		struct cells *c = cells_make(cells_modes[mode], 1);
		struct leaver leaver = { .heap = c->heap };
		struct ferry_root *root;
		pthread_t thread;

		ck_assert_int_eq(ferry_root_add_callback(c->heap,
							 pause_with_leaver,
							 &leaver, &root),
				 0);
		ck_assert_int_eq(pthread_create(&thread, NULL, leave, &leaver),
				 0);
		ferry_blocking_enter(c->m);
		while (!leaver.step)
			nap(100);
		ferry_blocking_leave(c->m);
		cells_collect(c, FERRY_COLLECT_FULL);
		join(c, thread);
		ck_assert_msg(!leaver.wrong, "%s", leaver.wrong);
		ck_assert(!leaver.left_in_pause);
		ferry_root_remove(c->heap, root);
		cells_verify(c);
		cells_close(c);
	}
}
END_TEST

struct napper {
	struct ferry_heap *heap;
	_Atomic bool *quit;
	const char *wrong;
	size_t brackets;
	_Atomic bool began; /* or has given up */
};

/* Short brackets all the time, and a write between them. */
static void *brackets(void *arg)
{
	struct napper *napper = arg;
	void *slots[1] = { NULL };
	struct ferry_frame frame;
	struct ferry_mutator *m;

	if (ferry_mutator_attach(napper->heap, NULL, &m) < 0) {
		napper->wrong = "not attached";
		napper->began = true;
		return NULL;
	}
	ferry_frame_push(m, &frame, slots, 1);
	slots[0] = cell_try(m, FERRY_KIND_TRACED, 1, 32, 0);
	napper->began = true;
	while (!*napper->quit && !napper->wrong) {
		struct cell *cell = slots[0];

		if (cell->id != napper->brackets)
			napper->wrong = "a write is lost";
		cell->id = ++napper->brackets;
		ferry_blocking_enter(m);
		if (napper->brackets % 64 == 0)
			nap(50);
		ferry_blocking_leave(m);
	}
	ferry_frame_pop(m, &frame);
	ferry_mutator_detach(m);
	return NULL;
}

static void await_nappers(struct cells *c, const struct napper *napper,
			  size_t n)
{
	size_t i;

	ferry_blocking_enter(c->m);
	for (i = 0; i < n; i++)
		while (!napper[i].began)
			nap(100);
	ferry_blocking_leave(c->m);
}

START_TEST(blocking_brackets_race_with_collections)
{
	size_t mode, i;

	for (mode = 0; mode < 2; mode++) {
		struct cells *c = cells_make(cells_modes[mode], 1);
		_Atomic bool quit = false;
		struct napper napper[3];
		pthread_t thread[3];

		cells_list(c, 0, FERRY_KIND_TRACED, 1000, 2, 64);
		for (i = 0; i < 3; i++) {
			napper[i] = (struct napper){ .heap = c->heap,
						     .quit = &quit };
			ck_assert_int_eq(pthread_create(&thread[i], NULL,
							brackets, &napper[i]),
					 0);
		}
		await_nappers(c, napper, 3);
		for (i = 0; i < harness_scaled(40); i++)
			cells_collect(c, i % 2 ? FERRY_COLLECT_COMPACT
					       : FERRY_COLLECT_FULL);
		quit = true;
		for (i = 0; i < 3; i++) {
			join(c, thread[i]);
			ck_assert_msg(!napper[i].wrong, "%s", napper[i].wrong);
		}
		cells_close(c);
	}
}
END_TEST

/* --- one thread, two heaps ------------------------------------------------------------------ */

struct pair {
	struct cells *a, *b;
	_Atomic bool *quit;
};

static void *collect_both(void *arg)
{
	struct pair *pair = arg;
	unsigned int i;

	for (i = 0; !*pair->quit; i++) {
		ferry_heap_request(pair->a->heap, i % 2 ? FERRY_COLLECT_COMPACT
							: FERRY_COLLECT_FULL);
		ferry_heap_request(pair->b->heap, FERRY_COLLECT_COMPACT);
		nap(500);
	}
	return NULL;
}

START_TEST(thread_with_two_heaps_meets_the_pauses_of_both)
{
	size_t i, rounds = harness_scaled(60);
	_Atomic bool quit = false;
	struct pair pair = { .quit = &quit };
	pthread_t thread;

	pair.a = cells_make(FERRY_GC_AUTO, 1);
	pair.b = cells_make(FERRY_GC_AUTO, 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, collect_both, &pair), 0);
	for (i = 0; i < rounds; i++) {
		cells_list(pair.a, 0, FERRY_KIND_TRACED, 1000, 2, 48);
		ferry_safepoint(pair.b->m);
		cells_list(pair.b, 0, FERRY_KIND_TYPED, 1000, 2, 48);
		ferry_safepoint(pair.a->m);
		cells_list_check(pair.a, 0, 1000);
		cells_list_check(pair.b, 0, 1000);
	}
	quit = true;
	ferry_blocking_enter(pair.a->m);
	ferry_blocking_enter(pair.b->m);
	pthread_join(thread, NULL);
	ferry_blocking_leave(pair.b->m);
	ferry_blocking_leave(pair.a->m);
	cells_collect(pair.a, FERRY_COLLECT_FULL);
	cells_collect(pair.b, FERRY_COLLECT_FULL);
	cells_close(pair.b);
	cells_close(pair.a);
}
END_TEST

/* Attached to two heaps when it ends. */
static void *end_in_both(void *arg)
{
	struct pair *pair = arg;
	struct ferry_mutator *a, *b;

	if (ferry_mutator_attach(pair->a->heap, NULL, &a) < 0 ||
	    ferry_mutator_attach(pair->b->heap, NULL, &b) < 0)
		return NULL;
	cell_try(a, FERRY_KIND_TRACED, 1, 32, 0);
	cell_try(b, FERRY_KIND_TRACED, 1, 32, 0);
	return arg;
}

START_TEST(thread_that_ends_leaves_all_its_heaps)
{
	struct pair pair = { .a = cells_make(FERRY_GC_AUTO, 1),
			     .b = cells_make(FERRY_GC_STOPPED, 1) };
	pthread_t thread;
	void *ok = NULL;
	size_t i;

	for (i = 0; i < 20; i++) {
		ck_assert_int_eq(
			pthread_create(&thread, NULL, end_in_both, &pair), 0);
		pthread_join(thread, &ok);
		ck_assert_ptr_nonnull(ok);
		cells_collect(pair.a, FERRY_COLLECT_FULL);
		cells_collect(pair.b, FERRY_COLLECT_FULL);
		ck_assert_uint_eq(cells_live(pair.a), 0);
		ck_assert_uint_eq(cells_live(pair.b), 0);
	}
	cells_close(pair.a);
	cells_close(pair.b);
}
END_TEST

/* --- the poll -------------------------------------------------------------------------------- */

START_TEST(poll_is_clear_between_pauses)
{
	size_t mode;

	for (mode = 0; mode < 2; mode++) {
		struct cells *c = cells_make(cells_modes[mode], 1);

		ck_assert_uint_eq(c->m->poll, 0);
		cells_collect(c, FERRY_COLLECT_FULL);
		ferry_safepoint(c->m);
		ck_assert_uint_eq(c->m->poll, 0);
		cells_close(c);
	}
}
END_TEST

START_TEST(requests_are_met_while_the_thread_only_polls)
{
	struct cells *c = cells_make(FERRY_GC_AUTO, 1);

	if (!cells_concurrent(c)) {
		cells_close(c);
		SKIP("move", "collections run in the threads of the program");
	}
	cells_list(c, 0, FERRY_KIND_TRACED, 1000, 1, 64);
	ck_assert_int_eq(ferry_heap_request(c->heap, FERRY_COLLECT_COMPACT), 0);
	while (!cells_stats(c)->fulls)
		ferry_safepoint(c->m);
	cells_list_check(c, 0, 1000);
	cells_close(c);
}
END_TEST

static const struct test tests[] = {
	TEST(threads_come_and_go_while_collections_run, NULL),
	TEST(threads_come_and_go_while_collections_are_delayed, NULL),
	TEST(thread_is_attached_once_to_a_heap, NULL),
	TEST(thread_that_is_not_attached_has_no_mutator, NULL),
	TEST(unattached_threads_may_collect, NULL),
	TEST(collections_do_not_wait_for_who_blocks, NULL),
	TEST(thread_that_ends_where_it_blocks_waits_for_the_pause, NULL),
	TEST(blocking_brackets_race_with_collections, NULL),
	TEST(thread_with_two_heaps_meets_the_pauses_of_both, NULL),
	TEST(thread_that_ends_leaves_all_its_heaps, NULL),
	TEST(poll_is_clear_between_pauses, NULL),
	TEST(requests_are_met_while_the_thread_only_polls, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
