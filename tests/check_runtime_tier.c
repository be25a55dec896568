/* SPDX-License-Identifier: MIT */
/*
 * Tiers of a heap: what was not written for some collections lies on slower
 * memory, and is found there by program and collector as before.
 */
#include <ferry/tier.h>

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cells.h"
#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/nodes.h"
#include "tests/tiered.h"

#define CELLS 20000u
#define COLD  2

static struct cells *c;
static struct ferry_topology *top;
static struct ferry_tier_result down, up;
static size_t step_max;

static void open_heap(enum ferry_gc_mode mode)
{
	struct ferry_heap_params p = cells_params(mode);

	p.no_compact = true;
	c = cells_open(&p, 4);
}

static void begin_with(unsigned int tiers, enum ferry_gc_mode mode)
{
	step_max = 0;
	tiered.by_address = true;
	top = tiered_start(tiers);
	open_heap(mode);
}

static void begin(void)
{
	begin_with(2, FERRY_GC_CONCURRENT);
}

static void end(void)
{
	cells_close(c);
	tiered_end(top);
}

static int step(void)
{
	struct ferry_heap_tier_params p =
		FERRY_INIT(struct ferry_heap_tier_params);

	down = up =
		(struct ferry_tier_result)FERRY_INIT(struct ferry_tier_result);
	p.topology = top;
	p.cold_after = COLD;
	p.step_max = step_max;
	return ferry_heap_tier(c->heap, c->m, &p, &down, &up);
}

static void must_step(void)
{
	ck_assert_int_eq(step(), 0);
}

static void collect(void)
{
	cells_collect(c, FERRY_COLLECT_FULL);
}

/* A collection need not know all that was written since the last one. */
static void until_down(void)
{
	for (must_step(); !down.moved; must_step())
		collect();
}

static bool is_on(const void *object, int node)
{
	uintptr_t page = (uintptr_t)object & ~(uintptr_t)(page_size() - 1);

	return tiered_on((const char *)page, page_size(), node);
}

START_TEST(what_is_not_written_goes_down)
{
	begin();
	cells_list(c, 0, FERRY_KIND_TRACED, CELLS, 2, 0);
	until_down();
	ck_assert(is_on(c->root[0], 1));
	cells_list_check(c, 0, CELLS);
	cells_verify(c);
	/* It is as far down as it can be. */
	collect();
	collect();
	must_step();
	ck_assert_uint_eq(down.settled, 0);
	end();
}
END_TEST

START_TEST(nothing_goes_down_before_its_age)
{
	begin();
	cells_list(c, 0, FERRY_KIND_TRACED, CELLS, 2, 0);
	must_step();
	ck_assert_uint_eq(down.moved, 0);
	/* No collection: nothing is older. */
	must_step();
	must_step();
	ck_assert_uint_eq(down.moved, 0);
	collect();
	must_step();
	ck_assert_uint_eq(down.moved, 0);
	ck_assert_uint_eq(tiered.calls, 0);
	end();
}
END_TEST

/* Each cell, in a slot that nothing else uses. */
static void write_all(void)
{
	struct cell *cell;

	for (cell = c->root[0]; cell; cell = cell->slot[0])
		cell->slot[1] = cell;
}

START_TEST(what_is_written_stays)
{
	size_t i;

	begin();
	cells_list(c, 0, FERRY_KIND_TRACED, CELLS, 2, 0);
	must_step();
	for (i = 0; i < 4 * COLD; i++) {
		write_all();
		collect();
		must_step();
		ck_assert(is_on(c->root[0], 0));
	}
	cells_list_check(c, 0, CELLS);
	end();
}
END_TEST

START_TEST(what_is_written_on_slow_memory_comes_up)
{
	begin();
	cells_list(c, 0, FERRY_KIND_TRACED, CELLS, 2, 0);
	until_down();
	ck_assert(is_on(c->root[0], 1));
	do {
		c->root[0]->slot[1] = c->root[0];
		collect();
		must_step();
	} while (!up.moved);
	ck_assert(is_on(c->root[0], 0));
	cells_list_check(c, 0, CELLS);
	end();
}
END_TEST

START_TEST(objects_without_references_go_by_allocation)
{
	begin();
	c->root[0] = cell_try(c->m, FERRY_KIND_LEAF, 0, 256, 1);
	ck_assert_ptr_nonnull(c->root[0]);
	until_down();
	while (!is_on(c->root[0], 1)) {
		collect();
		must_step();
	}
	ck_assert_uint_eq(c->root[0]->id, 1);
	end();
}
END_TEST

START_TEST(large_objects_go_down_and_come_up)
{
	const size_t bytes = (size_t)1 << 20;

	begin();
	c->root[0] = cell_try(c->m, FERRY_KIND_TRACED, 2, bytes, 1);
	ck_assert_ptr_nonnull(c->root[0]);
	must_step();
	while (!is_on(c->root[0], 1)) {
		collect();
		must_step();
	}
	do {
		c->root[0]->slot[1] = c->root[0];
		collect();
		must_step();
	} while (!is_on(c->root[0], 0));
	cells_verify(c);
	end();
}
END_TEST

START_TEST(a_step_moves_no_more_than_its_measure)
{
	begin();
	step_max = 1 << 16;
	cells_list(c, 0, FERRY_KIND_TRACED, CELLS, 2, 0);
	until_down();
	ck_assert_uint_le(down.moved, 1 << 16);
	/* The rest is cold already. */
	must_step();
	ck_assert_uint_gt(down.moved, 0);
	ck_assert_uint_le(down.moved, 1 << 16);
	end();
}
END_TEST

/* Every second cell of the list dies; how many are left. */
static size_t thin_out(void)
{
	struct cell *cell;
	size_t n = 0;

	for (cell = c->root[0]; cell; cell = cell->slot[0], n++)
		if (cell->slot[0])
			cell->slot[0] = cell->slot[0]->slot[0];
	return n;
}

static size_t count(void)
{
	const struct cell *cell;
	size_t n = 0;

	for (cell = c->root[0]; cell; cell = cell->slot[0])
		n++;
	return n;
}

START_TEST(what_was_moved_down_is_collected_and_compacted)
{
	size_t left;

	begin();
	cells_list(c, 0, FERRY_KIND_TRACED, CELLS, 2, 0);
	until_down();
	left = thin_out();
	ck_assert_int_eq(
		ferry_heap_collect(c->heap, c->m, FERRY_COLLECT_COMPACT), 0);
	ck_assert_uint_eq(count(), left);
	cells_verify(c);
	must_step();
	ck_assert_uint_eq(count(), left);
	c->root[0] = NULL;
	cells_expect_live(c, 0);
	end();
}
END_TEST

START_TEST(what_forbids_moves_is_an_error_and_passes)
{
	begin();
	cells_list(c, 0, FERRY_KIND_TRACED, CELLS, 2, 0);
	tiered.error = -EPERM;
	must_step();
	do
		collect();
	while (step() != -EPERM);
	cells_list_check(c, 0, CELLS);
	tiered.error = 0;
	until_down();
	cells_list_check(c, 0, CELLS);
	end();
}
END_TEST

START_TEST(one_class_of_memory_is_told_at_once)
{
	begin_with(1, FERRY_GC_CONCURRENT);
	tiered.ask_error = -EIO;
	ck_assert_int_eq(step(), -EOPNOTSUPP);
	end();
}
END_TEST

START_TEST(a_stopped_heap_has_no_tiers)
{
	begin_with(2, FERRY_GC_STOPPED);
	ck_assert_int_eq(step(), -EOPNOTSUPP);
	end();
}
END_TEST

START_TEST(bad_calls_are_refused)
{
	struct ferry_heap_tier_params p = { 0 };
	struct ferry_tier_result none = { 0 };

	begin();
	ck_assert_int_eq(ferry_heap_tier(c->heap, c->m, &p, NULL, NULL),
			 -EINVAL);
	p.size = sizeof(p);
	ck_assert_int_eq(ferry_heap_tier(c->heap, c->m, &p, NULL, NULL),
			 -EINVAL);
	p.topology = top;
	ck_assert_int_eq(ferry_heap_tier(c->heap, c->m, &p, &none, NULL),
			 -EINVAL);
	p.cold_after = 1001;
	ck_assert_int_eq(ferry_heap_tier(c->heap, c->m, &p, NULL, NULL),
			 -EINVAL);
	p.cold_after = 1;
	ck_assert_int_eq(ferry_heap_tier(c->heap, c->m, &p, NULL, NULL), 0);
	end();
}
END_TEST

START_TEST(a_child_goes_on_with_its_copy)
{
	int status;
	pid_t pid;

	begin();
	cells_list(c, 0, FERRY_KIND_TRACED, CELLS, 2, 0);
	until_down();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		cells_list_check(c, 0, CELLS);
		ferry_heap_collect(c->heap, c->m, FERRY_COLLECT_FULL);
		status = step();
		_exit(status != 0 && status != -EOPNOTSUPP);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	cells_list_check(c, 0, CELLS);
	end();
}
END_TEST

/* --- live ----------------------------------------------------------------- */

static bool is_slow(const void *object)
{
	uintptr_t page = (uintptr_t)object & ~(uintptr_t)(page_size() - 1);

	return pages_on((const char *)page, page_size(), slow_node());
}

START_TEST(cold_objects_lie_on_slow_memory)
{
	ck_assert_int_eq(ferry_topology_get(NULL, &top), 0);
	open_heap(FERRY_GC_CONCURRENT);
	cells_list(c, 0, FERRY_KIND_TRACED, CELLS, 2, 0);
	must_step();
	while (!is_slow(c->root[0])) {
		collect();
		must_step();
	}
	cells_list_check(c, 0, CELLS);
	do {
		c->root[0]->slot[1] = c->root[0];
		collect();
		must_step();
	} while (is_slow(c->root[0]));
	cells_list_check(c, 0, CELLS);
	cells_verify(c);
	cells_close(c);
	ferry_topology_free(top);
}
END_TEST

#define NEEDS "kernel_faults,wp_async"

static const struct test tests[] = {
	TEST(what_is_not_written_goes_down, NEEDS),
	TEST(nothing_goes_down_before_its_age, NEEDS),
	TEST(what_is_written_stays, NEEDS),
	TEST(what_is_written_on_slow_memory_comes_up, NEEDS),
	TEST(objects_without_references_go_by_allocation, NEEDS),
	TEST(large_objects_go_down_and_come_up, NEEDS),
	TEST(a_step_moves_no_more_than_its_measure, NEEDS),
	TEST(what_was_moved_down_is_collected_and_compacted, NEEDS ",move"),
	TEST(what_forbids_moves_is_an_error_and_passes, NEEDS),
	TEST(one_class_of_memory_is_told_at_once, NEEDS),
	TEST(a_stopped_heap_has_no_tiers, NULL),
	TEST(bad_calls_are_refused, NEEDS),
	TEST(a_child_goes_on_with_its_copy, NEEDS),
	TEST(cold_objects_lie_on_slow_memory, NEEDS ",slow_node"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
