/* SPDX-License-Identifier: MIT */
/*
 * What is allocated while a collection marks: kept by it, looked at by the
 * next one, and found through what refers to it though that was written
 * before its page was last looked at (M6, M9, B10).
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "runtime/heap-internal.h"
#include "tests/cells.h"
#include "tests/harness.h"

#define GARBAGE 40000u

/* The collector stands still in the trace of this cell, while not NULL. */
static struct cell *_Atomic gate;
static _Atomic bool reached;

static struct cells *c;

/* Cells with this id have a weak slot 0, and an ephemeron of 1 and 2. */
#define WEAK_ID 4711u

static size_t held_trace(void *object, struct ferry_visitor *v)
{
	struct cell *cell = object;

	while (v && object == gate) {
		reached = true;
		sched_yield();
	}
	if (v && cell->id == WEAK_ID) {
		ferry_visit_weak(v, &cell->slot[0]);
		ferry_visit_ephemeron(v, &cell->slot[1], &cell->slot[2]);
		v = NULL;
	}
	return cell_trace(object, v);
}

static void open_with(bool no_minor)
{
	struct ferry_heap_params p = cells_params(FERRY_GC_CONCURRENT);

	p.trace = held_trace;
	p.no_compact = true;
	p.no_minor = no_minor;
	c = cells_open(&p, 4);
	c->root[0] = cell_new(c->m, FERRY_KIND_TRACED, 3, 1);
	c->root[1] = cell_new(c->m, FERRY_KIND_TRACED, 3, WEAK_ID);
	cells_collect(c, FERRY_COLLECT_FULL);
}

static void open_heap(void)
{
	open_with(false);
}

static void open_without_minors(void)
{
	open_with(true);
}

static void close_heap(void)
{
	cells_close(c);
}

static uint64_t fulls(void)
{
	return atomic_load(&c->heap->events.count.fulls);
}

static uint64_t minors(void)
{
	return atomic_load(&c->heap->events.count.minors);
}

static size_t used(void)
{
	return atomic_load(&c->heap->space.taken);
}

/* From here to release_collector() it is marking. */
static void hold_collector(void)
{
	reached = false;
	gate = c->root[0];
	ck_assert_int_eq(ferry_heap_request(c->heap, FERRY_COLLECT_FULL), 0);
	while (!reached) {
		ferry_safepoint(c->m);
		sched_yield();
	}
}

static void release_collector(void)
{
	uint64_t before = fulls();

	gate = NULL;
	while (fulls() == before) {
		ferry_safepoint(c->m);
		sched_yield();
	}
	/* And its end, behind the count. */
	cells_verify(c);
}

static void make_garbage(enum ferry_kind kind)
{
	size_t i;

	for (i = 0; i < GARBAGE; i++)
		cell_new(c->m, kind, 4, 1);
}

static void minor(void)
{
	uint64_t before = minors();

	cells_collect(c, FERRY_COLLECT_MINOR);
	ck_assert_uint_eq(minors(), before + 1);
}

static void garbage_goes(enum ferry_kind kind)
{
	size_t bytes = GARBAGE * cell_bytes(4);

	hold_collector();
	make_garbage(kind);
	release_collector();
	ck_assert_uint_ge(used(), bytes);
	minor();
	ck_assert_uint_lt(used(), bytes / 4);
}

START_TEST(garbage_made_while_marking_goes_with_the_next_minor)
{
	garbage_goes(FERRY_KIND_TRACED);
	garbage_goes(FERRY_KIND_TYPED);
	garbage_goes(FERRY_KIND_LEAF);
}
END_TEST

START_TEST(garbage_made_while_marking_goes_with_the_next_full_one)
{
	hold_collector();
	make_garbage(FERRY_KIND_TRACED);
	release_collector();
	cells_collect(c, FERRY_COLLECT_FULL);
	ck_assert_uint_lt(used(), GARBAGE * cell_bytes(4) / 4);
}
END_TEST

/* Nobody allocates in the gate's block any more: it would be scanned as a
 * whole. */
static void fill_block_of_gate(void)
{
	cells_list(c, 2, FERRY_KIND_TRACED, 4000, 1, 0);
	cells_collect(c, FERRY_COLLECT_FULL);
}

START_TEST(what_an_old_object_got_while_marking_lives_through_minors)
{
	size_t i;

	fill_block_of_gate();
	hold_collector();
	/* The page of the gate is looked at after this, in a round. */
	c->root[0]->slot[1] = cell_new(c->m, FERRY_KIND_TRACED, 2, 42);
	c->root[0]->slot[1]->slot[0] = cell_new(c->m, FERRY_KIND_LEAF, 0, 43);
	release_collector();
	for (i = 0; i < 3; i++) {
		make_garbage(FERRY_KIND_TRACED);
		minor();
		ck_assert_uint_eq(c->root[0]->slot[1]->id, 42);
		ck_assert_uint_eq(c->root[0]->slot[1]->slot[0]->id, 43);
	}
}
END_TEST

/* Without minors nothing is noted, so a minor would lose it. */
START_TEST(minor_that_is_not_wanted_is_a_full_one)
{
	fill_block_of_gate();
	hold_collector();
	c->root[0]->slot[1] = cell_new(c->m, FERRY_KIND_TRACED, 2, 42);
	release_collector();
	make_garbage(FERRY_KIND_TRACED);
	/* It would be lost, and verification tell. */
	cells_collect(c, FERRY_COLLECT_MINOR);
	ck_assert_uint_eq(c->root[0]->slot[1]->id, 42);
	ck_assert_uint_eq(minors(), 0);
}
END_TEST

START_TEST(weak_slot_of_an_old_object_is_cleared_by_the_minor)
{
	hold_collector();
	c->root[1]->slot[0] = cell_new(c->m, FERRY_KIND_TRACED, 0, 42);
	release_collector();
	ck_assert_ptr_nonnull(c->root[1]->slot[0]);
	make_garbage(FERRY_KIND_TRACED);
	minor();
	ck_assert_ptr_null(c->root[1]->slot[0]);
}
END_TEST

START_TEST(ephemeron_of_an_old_object_holds_its_value_in_the_minor)
{
	hold_collector();
	c->root[2] = cell_new(c->m, FERRY_KIND_TRACED, 0, 44);
	c->root[1]->slot[2] = cell_new(c->m, FERRY_KIND_TRACED, 0, 45);
	c->root[1]->slot[1] = c->root[2];
	release_collector();
	make_garbage(FERRY_KIND_TRACED);
	minor();
	ck_assert_uint_eq(c->root[1]->slot[2]->id, 45);
	c->root[2] = NULL;
	cells_collect(c, FERRY_COLLECT_FULL);
	ck_assert_ptr_null(c->root[1]->slot[1]);
	ck_assert_ptr_null(c->root[1]->slot[2]);
}
END_TEST

START_TEST(entries_of_weak_maps_made_while_marking_die_and_live_as_any)
{
	struct ferry_weak_map *map;
	struct cell *dead;
	void *value;

	ck_assert_int_eq(ferry_weak_map_create(c->heap, 0, &map), 0);
	hold_collector();
	c->root[2] = cell_new(c->m, FERRY_KIND_TRACED, 0, 46);
	c->root[3] = cell_new(c->m, FERRY_KIND_TRACED, 0, 47);
	ck_assert_int_eq(ferry_weak_map_set(c->m, map, c->root[2], c->root[3]),
			 0);
	c->root[3] = NULL;
	dead = cell_new(c->m, FERRY_KIND_TRACED, 0, 48);
	ck_assert_int_eq(ferry_weak_map_set(c->m, map, dead, dead), 0);
	release_collector();
	ck_assert_uint_eq(ferry_weak_map_len(map), 2);
	make_garbage(FERRY_KIND_TRACED);
	minor();
	ck_assert_uint_eq(ferry_weak_map_len(map), 1);
	ck_assert_int_eq(ferry_weak_map_get(c->m, map, c->root[2], &value), 0);
	ck_assert_uint_eq(((struct cell *)value)->id, 47);
	ferry_weak_map_destroy(map);
}
END_TEST

START_TEST(finalizer_of_what_was_made_while_marking_is_due_after_the_minor)
{
	hold_collector();
	ck_assert_int_eq(ferry_finalizer_add(
				 c->m, cell_new(c->m, FERRY_KIND_TRACED, 0, 49),
				 0, NULL),
			 0);
	release_collector();
	ck_assert(!ferry_finalizer_due(c->heap));
	make_garbage(FERRY_KIND_TRACED);
	minor();
	ck_assert(ferry_finalizer_due(c->heap));
}
END_TEST

static bool is_noted(const void *slot)
{
	const struct ferry__remember *remember = &c->heap->remember;
	size_t at = ((uintptr_t)slot - c->heap->base) / 4096;

	return remember->noted[remember->filling][at / 64] >> at % 64 & 1;
}

/* The reference can be seen before the object's entry in the side table. */
START_TEST(slot_that_hits_what_cannot_be_seen_yet_is_noted)
{
	struct ferry__marker *marker = &c->heap->mark.member[0];
	struct cell *cell = cell_new(c->m, FERRY_KIND_AMBIGUOUS, 1, 50);

	cell->slot[0] = (void *)(c->heap->base + c->heap->half - 64);
	ferry__cycle_exclude(c->heap, c->m);
	ck_assert(!is_noted(cell->slot));
	ferry__mark_trace(marker, (uintptr_t)cell, FERRY_KIND_AMBIGUOUS);
	ck_assert(is_noted(cell->slot));
	ferry__cycle_admit(c->heap, c->m);
}
END_TEST

#define YOUNG(name) TEST_FIXTURE(name, "move", open_heap, close_heap)
#define FULLS(name) TEST_FIXTURE(name, "move", open_without_minors, close_heap)

static const struct test tests[] = {
	YOUNG(garbage_made_while_marking_goes_with_the_next_minor),
	YOUNG(garbage_made_while_marking_goes_with_the_next_full_one),
	YOUNG(what_an_old_object_got_while_marking_lives_through_minors),
	FULLS(minor_that_is_not_wanted_is_a_full_one),
	YOUNG(weak_slot_of_an_old_object_is_cleared_by_the_minor),
	YOUNG(ephemeron_of_an_old_object_holds_its_value_in_the_minor),
	YOUNG(entries_of_weak_maps_made_while_marking_die_and_live_as_any),
	YOUNG(finalizer_of_what_was_made_while_marking_is_due_after_the_minor),
	YOUNG(slot_that_hits_what_cannot_be_seen_yet_is_noted),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
