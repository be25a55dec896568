/* SPDX-License-Identifier: MIT */
/* Marking while the program writes: no reference is lost on its way. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "runtime/heap-internal.h"
#include "tests/cells.h"
#include "tests/harness.h"

struct racer {
	struct ferry_heap *heap;
	unsigned int number;
	_Atomic bool *quit;
	const char *wrong; /* what was found */
	size_t steps;
	/* Set by the racer once it has made a step, or has given up; read by
	 * await_racers(), so that no round is over before they ran. */
	_Atomic bool began;
};

static void pause_now_and_then(struct ferry_mutator *m, size_t i)
{
	ferry_safepoint(m);
	if (i % 1024 == 0)
		sched_yield();
}

/* A list of tables in at[0], whose slots from 1 on have a cell each; at[1] is
 * for what is being made. */
#define TABLES 32u
#define WIDTH  64u
#define IDS    (TABLES * WIDTH)

static struct cell *racer_cell(struct racer *racer, struct ferry_mutator *m,
			       enum ferry_kind kind, unsigned int slots,
			       uint64_t id)
{
	struct cell *cell = cell_try(m, kind, slots, cell_bytes(slots), id);

	if (!cell)
		racer->wrong = "no memory";
	return cell;
}

static void tables_make(struct racer *racer, struct ferry_mutator *m,
			struct cell **at)
{
	unsigned int i, k;

	for (i = 0; i < TABLES && !racer->wrong; i++) {
		at[1] = racer_cell(racer, m, FERRY_KIND_TRACED, WIDTH + 1, i);
		for (k = 1; k <= WIDTH && !racer->wrong; k++) {
			struct cell *cell = racer_cell(
				racer, m, FERRY_KIND_TYPED, 1, i * WIDTH + k);

			at[1]->slot[k] = cell;
		}
		at[1]->slot[0] = at[0];
		at[0] = at[1];
	}
	at[1] = NULL;
}

static struct cell **any_slot(struct cell *table, struct random *rng)
{
	size_t n = random_below(rng, TABLES);

	for (; n; n--)
		table = table->slot[0];
	return &table->slot[1 + random_below(rng, WIDTH)];
}

static void look(struct racer *racer, const struct cell *cell)
{
	if (cell->id == 0 || cell->id > IDS)
		racer->wrong = "a cell was lost";
}

/*
 * The classic: the only reference to an object goes from one that was not
 * marked yet into one that was, and back.
 */
static void hide_and_seek(struct racer *racer, struct ferry_mutator *m,
			  struct cell **at)
{
	struct random rng = random_seeded(harness_seed() + racer->number);
	struct cell **from, **to, *cell;
	size_t i;

	for (i = 0; !*racer->quit && !racer->wrong; i++) {
		from = any_slot(at[0], &rng);
		to = any_slot(at[0], &rng);
		/* They change places; meanwhile one is in no slot at all. */
		cell = *from;
		*from = *to;
		look(racer, *from);
		*to = cell;
		look(racer, cell);
		if (i % 16 == 0) {
			cell = racer_cell(racer, m, FERRY_KIND_TYPED, 1,
					  1 + i % IDS);
			*any_slot(at[0], &rng) = cell;
		}
		pause_now_and_then(m, i);
		racer->began = true;
	}
	racer->steps = i;
}

static void tables_check(struct racer *racer, const struct cell *table)
{
	unsigned int k;

	for (; table; table = table->slot[0])
		for (k = 1; k <= WIDTH; k++)
			look(racer, table->slot[k]);
}

static void race_in(struct racer *racer, struct ferry_mutator *m)
{
	struct cell *at[2] = { NULL, NULL };
	struct ferry_frame frame;

	ferry_frame_push(m, &frame, (void **)at, 2);
	tables_make(racer, m, at);
	if (!racer->wrong)
		hide_and_seek(racer, m, at);
	if (!racer->wrong)
		tables_check(racer, at[0]);
	ferry_frame_pop(m, &frame);
}

static void *race(void *arg)
{
	struct racer *racer = arg;
	struct ferry_mutator *m;

	if (ferry_mutator_attach(racer->heap, NULL, &m) < 0) {
		racer->wrong = "no mutator";
	} else {
		race_in(racer, m);
		ferry_mutator_detach(m);
	}
	racer->began = true;
	return NULL;
}

static void await_racers(struct cells *c, const struct racer *racer, size_t n)
{
	size_t i;

	ferry_blocking_enter(c->m);
	for (i = 0; i < n; i++)
		while (!racer[i].began)
			sched_yield();
	ferry_blocking_leave(c->m);
}

#define RACERS 2

/* As if the program had written to all pages while the last one marked. */
static void heat(void *arg, const struct ferry_event *e)
{
	struct ferry_heap *heap = arg;

	if (e->kind == FERRY_EVENT_CYCLE_BEGIN)
		heap->rounds.hot = 1;
}

static void race_collections(const struct ferry_heap_params *p,
			     const enum ferry_collect *what, size_t n_what,
			     size_t rounds, bool hot)
{
	struct cells *c = cells_open(p, 1);
	struct ferry_listener *listener;
	_Atomic bool quit = false;
	struct racer racer[RACERS];
	pthread_t thread[RACERS];
	size_t i;

	for (i = 0; i < RACERS; i++) {
		racer[i] = (struct racer){ .heap = c->heap,
					   .number = (unsigned int)i,
					   .quit = &quit };
		ck_assert_int_eq(
			pthread_create(&thread[i], NULL, race, &racer[i]), 0);
	}
	await_racers(c, racer, RACERS);
	if (hot)
		ck_assert_int_eq(
			ferry_listener_add(c->heap, heat, c->heap, &listener),
			0);
	for (i = 0; i < rounds; i++)
		cells_collect(c, what[i % n_what]);
	quit = true;
	ferry_blocking_enter(c->m);
	for (i = 0; i < RACERS; i++)
		pthread_join(thread[i], NULL);
	ferry_blocking_leave(c->m);
	for (i = 0; i < RACERS; i++) {
		ck_assert_msg(!racer[i].wrong, "%s", racer[i].wrong);
		ck_assert_uint_gt(racer[i].steps, 0);
	}
	cells_expect_live(c, 0);
	cells_close(c);
}

START_TEST(references_that_move_while_marking_lose_nothing)
{
	static const enum ferry_collect what[] = { FERRY_COLLECT_FULL,
						   FERRY_COLLECT_MINOR,
						   FERRY_COLLECT_MINOR };
	struct ferry_heap_params p = cells_params(FERRY_GC_AUTO);

	p.no_compact = true;
	race_collections(&p, what, 3, harness_scaled(60), false);
}
END_TEST

START_TEST(references_that_move_while_marking_is_delayed_lose_nothing)
{
	static const enum ferry_collect what[] = { FERRY_COLLECT_FULL,
						   FERRY_COLLECT_MINOR };
	struct ferry_heap_params p = cells_params(FERRY_GC_AUTO);

	p.options = "delay-seed:7,poison:true";
	race_collections(&p, what, 2, harness_scaled(30), false);
}
END_TEST

START_TEST(references_that_move_while_tracking_begins_late_lose_nothing)
{
	static const enum ferry_collect what[] = { FERRY_COLLECT_FULL,
						   FERRY_COLLECT_FULL,
						   FERRY_COLLECT_MINOR,
						   FERRY_COLLECT_COMPACT };
	struct ferry_heap_params p = cells_params(FERRY_GC_AUTO);

	/* All are full ones, after each of which nothing is protected. */
	p.no_minor = true;
	p.options = "delay-seed:9,poison:true";
	race_collections(&p, what, 4, harness_scaled(40), true);
}
END_TEST

START_TEST(several_markers_lose_nothing)
{
	static const enum ferry_collect what[] = { FERRY_COLLECT_FULL,
						   FERRY_COLLECT_COMPACT,
						   FERRY_COLLECT_MINOR };
	struct ferry_heap_params p = cells_params(FERRY_GC_AUTO);

	p.threads = 4;
	p.options = "delay-seed:3,poison:true";
	race_collections(&p, what, 3, harness_scaled(40), false);
}
END_TEST

static const struct test tests[] = {
	TEST(references_that_move_while_marking_lose_nothing, NULL),
	TEST(references_that_move_while_marking_is_delayed_lose_nothing, NULL),
	TEST(references_that_move_while_tracking_begins_late_lose_nothing,
	     NULL),
	TEST(several_markers_lose_nothing, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
