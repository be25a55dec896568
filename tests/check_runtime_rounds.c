/* SPDX-License-Identifier: MIT */
/*
 * Rounds of marking, step by step: program and collector wait for each other
 * at chosen places.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "runtime/heap-internal.h"
#include "tests/cells.h"
#include "tests/harness.h"

/* What was reached last; odd ones by the collector, even by the program. */
enum step {
	BEGUN,
	GATE_TRACED,	   /* the gate is looked at for the first time */
	HIDDEN,		   /* its referent is in a root alone now */
	GATE_TRACED_AGAIN, /* in the second round, as it was written to */
	RETIRED,	   /* a block of a new chunk was filled meanwhile */
	ROUND_OVER,	   /* the second and last */
	STORED,		   /* the referent is in that block alone */
};

static _Atomic int step;
static _Atomic unsigned int rounds;
static struct cell *_Atomic gate;
static struct ferry__sys table;

/* No round takes any time: the second is the last. */
static uint64_t stopped_clock(void)
{
	return 1000000;
}

static void reach(enum step s)
{
	ck_assert_int_eq(step, (int)s - 1);
	step = s;
}

static void await(enum step s)
{
	while (step != (int)s)
		sched_yield();
}

static size_t gated_trace(void *object, struct ferry_visitor *v)
{
	if (v && object == gate && rounds == 0 && step == BEGUN) {
		step = GATE_TRACED;
		await(HIDDEN);
	}
	if (v && object == gate && rounds == 1 && step == HIDDEN) {
		step = GATE_TRACED_AGAIN;
		await(RETIRED);
	}
	return cell_trace(object, v);
}

static void event(void *arg, const struct ferry_event *e)
{
	(void)arg;
	if (e->kind == FERRY_EVENT_MARK_ROUND && ++rounds == 2 &&
	    step == RETIRED) {
		step = ROUND_OVER;
		await(STORED);
	}
}

/* A cell in a chunk that nothing was in, and its block is used up. */
static void fill_chunk(struct cells *c, size_t at)
{
	size_t i;

	do
		c->root[at] = cell_new(c->m, FERRY_KIND_TRACED, 60, 1);
	while ((uintptr_t)c->root[at] - c->heap->base < FERRY__CHUNK_SIZE);
	for (i = 0; i < 3 * FERRY__BLOCK_SIZE / cell_bytes(60); i++)
		cell_new(c->m, FERRY_KIND_TRACED, 60, 1);
}

START_TEST(what_is_stored_into_a_new_chunk_after_the_last_round_lives)
{
	struct ferry_heap_params p = cells_params(FERRY_GC_CONCURRENT);
	struct cells *c;

	table = *ferry__sys;
	table.now_ns = stopped_clock;
	ferry__sys = &table;
	p.trace = gated_trace;
	p.threads = 1;
	c = cells_open(&p, 3);
	ck_assert_int_eq(ferry_listener_add(c->heap, event, NULL,
					    &(struct ferry_listener *){ 0 }),
			 0);
	c->root[0] = cell_new(c->m, FERRY_KIND_TRACED, 1, 1);
	c->root[1] = cell_new(c->m, FERRY_KIND_TRACED, 0, 42);
	c->root[0]->slot[0] = c->root[1];
	c->root[1] = NULL;
	/* Nobody allocates in its block from here on. */
	cells_collect(c, FERRY_COLLECT_FULL);
	rounds = 0;
	gate = c->root[0];
	ck_assert_int_eq(ferry_heap_request(c->heap, FERRY_COLLECT_FULL), 0);
	while (step != GATE_TRACED)
		ferry_safepoint(c->m);
	c->root[1] = c->root[0]->slot[0];
	c->root[0]->slot[0] = NULL;
	reach(HIDDEN);
	await(GATE_TRACED_AGAIN);
	fill_chunk(c, 2);
	reach(RETIRED);
	await(ROUND_OVER);
	c->root[2]->slot[0] = c->root[1];
	c->root[1] = NULL;
	reach(STORED);
	cells_verify(c);
	ck_assert_uint_eq(c->root[2]->slot[0]->id, 42);
	cells_close(c);
}
END_TEST

static void *nothing; /* a slot */
static _Atomic unsigned int came;

/* Each gathers a slot, and leaves it at that. */
static void leave_slot(struct ferry__marker *marker)
{
	ferry_visit(&marker->visitor, &nothing);
	came++;
}

/* Mutators that all wait for memory may go on in the middle of a round: there
 * are fewer markers then. */
START_TEST(what_more_markers_have_gathered_is_seen_to_by_fewer)
{
	struct ferry_heap_params p = cells_params(FERRY_GC_CONCURRENT);
	struct ferry__mark *mark;
	struct cells *c;
	unsigned int i;

	p.threads = 1;
	p.pause_threads = 3;
	c = cells_open(&p, 1);
	mark = &c->heap->mark;
	ferry__cycle_exclude(c->heap, c->m);
	c->heap->cycle.stalled = 1;
	ferry__team_run(c->heap, leave_slot);
	c->heap->cycle.stalled = 0;
	ck_assert_uint_eq(came, 3);
	ferry__team_run(c->heap, ferry__mark_drain);
	for (i = 0; i < 3; i++)
		ck_assert_uint_eq(mark->member[i].visitor.n, 0);
	/* They have nothing to do any more. */
	came = 0;
	ferry__team_run(c->heap, leave_slot);
	ck_assert_uint_eq(came, 1);
	ferry__team_run(c->heap, ferry__mark_drain);
	ferry__cycle_admit(c->heap, c->m);
	cells_close(c);
}
END_TEST

static const struct test tests[] = {
	TEST(what_is_stored_into_a_new_chunk_after_the_last_round_lives,
	     "move"),
	TEST(what_more_markers_have_gathered_is_seen_to_by_fewer, "move"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
