/* SPDX-License-Identifier: MIT */
/*
 * Compaction: addresses change, what is at them does not, and memory comes
 * back; whatever keeps its address keeps it.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/ways.h"

#define KIB   ((size_t)1 << 10)
#define MIB   ((size_t)1 << 20)
#define BLOCK (64 * KIB)

/* --- what moves ------------------------------------------------------------------- */

START_TEST(graph_is_the_same_at_other_addresses)
{
	static const enum ferry_kind kinds[] = { FERRY_KIND_TRACED,
						 FERRY_KIND_TYPED };
	size_t w, k, n = 8000, moved;

	for (w = 0; w < WAYS; w++)
		for (k = 0; k < ARRAY_SIZE(kinds); k++) {
			struct cells *c = way_open(&ways[w], 1);
			uintptr_t *addr;

			cells_list(c, 0, kinds[k], n, 2, 96);
			addr = cells_addresses(c->root[0], n);
			cells_collect(c, FERRY_COLLECT_COMPACT);
			cells_list_check(c, 0, n);
			moved = cells_elsewhere(c->root[0], addr, n);
			/* In pauses, those of sparse blocks do; all are. */
			ck_assert_uint_ge(moved, n - n / 20);
			ck_assert_uint_eq(cells_stats(c)->compactions, 1);
			ck_assert_uint_eq(cells_live(c), n * cell_bytes(2));
			free(addr);
			cells_close(c);
		}
}
END_TEST

/* A debugger, or a scanner of all memory: it leaves zero pages behind. */
START_TEST(reading_where_nothing_is_does_no_harm)
{
	size_t w, i, n = 4000;

	for (w = 0; w < WAYS; w++) {
		struct ferry_heap_params p = way_params(&ways[w]);
		struct cells *c;
		uintptr_t *addr;

		p.options = "move-all:true";
		c = cells_open(&p, 1);
		cells_list(c, 0, FERRY_KIND_TRACED, n, 2, 0);
		addr = cells_addresses(c->root[0], n);
		cells_collect(c, FERRY_COLLECT_COMPACT);
		for (i = 0; i < n; i++)
			*(volatile char *)addr[i];
		cells_collect(c, FERRY_COLLECT_COMPACT);
		cells_list_check(c, 0, n);
		free(addr);
		cells_close(c);
	}
}
END_TEST

START_TEST(sparse_blocks_give_their_memory_back)
{
	static const enum ferry_kind kinds[] = { FERRY_KIND_TRACED,
						 FERRY_KIND_LEAF,
						 FERRY_KIND_RAW };
	size_t w, k, i;

	for (w = 0; w < WAYS; w++)
		for (k = 0; k < ARRAY_SIZE(kinds); k++) {
			struct cells *c = way_open(&ways[w], 2000);

			for (i = 0; i < 40000; i++) {
				struct cell *cell =
					cell_new(c->m, kinds[k], 60, i);

				if (i % 20 == 0)
					c->root[i / 20] = cell;
			}
			cells_collect(c, FERRY_COLLECT_FULL);
			ck_assert_uint_ge(cells_stats(c)->used, 18 * MIB);
			cells_collect(c, FERRY_COLLECT_COMPACT);
			ck_assert_uint_eq(cells_live(c), 2000 * cell_bytes(60));
			ck_assert_uint_le(cells_stats(c)->used,
					  cells_live(c) + 4 * BLOCK);
			for (i = 0; i < 2000; i++)
				ck_assert_uint_eq(c->root[i]->id, i * 20);
			cells_close(c);
		}
}
END_TEST

START_TEST(alignment_is_kept_by_compactions)
{
	static const enum ferry_kind kinds[] = { FERRY_KIND_TYPED,
						 FERRY_KIND_RAW };
	enum { N = 400 };
	size_t w, k, i;

	for (w = 0; w < WAYS; w++)
		for (k = 0; k < ARRAY_SIZE(kinds); k++) {
			struct cells *c = way_open(&ways[w], N);

			for (i = 0; i < N * 8; i++) {
				void *object = ferry_alloc_aligned(
					c->m, 48, 32u << i / 8 % 8, kinds[k]);

				ck_assert_ptr_nonnull(object);
				if (i % 8 == 0)
					c->root[i / 8] = object;
			}
			for (i = 0; i < 3; i++)
				cells_collect(c, FERRY_COLLECT_COMPACT);
			for (i = 0; i < N; i++)
				ck_assert_uint_eq((uintptr_t)c->root[i] %
							  (32u << i % 8),
						  0);
			cells_close(c);
		}
}
END_TEST

START_TEST(survivors_hold_through_many_compactions)
{
	size_t w, i, n = 3000, rounds = harness_scaled(50);

	for (w = 0; w < WAYS; w++) {
		struct cells *c = way_open(&ways[w], 3);
		size_t peak = 0;

		for (i = 0; i < rounds; i++) {
			cells_list(c, i % 3,
				   i % 2 ? FERRY_KIND_TRACED : FERRY_KIND_TYPED,
				   n, 1 + i % 5, 16 + i % 4 * 48);
			cells_collect(c, FERRY_COLLECT_COMPACT);
			cells_list_check(c, i % 3, n);
			if (i >= 2)
				cells_list_check(c, (i + 1) % 3, n);
			if (i == 5)
				peak = cells_stats(c)->used;
			if (i > 5)
				ck_assert_uint_le(cells_stats(c)->used,
						  2 * peak + 8 * BLOCK);
		}
		cells_close(c);
	}
}
END_TEST

START_TEST(every_other_collection_works_between_compactions)
{
	static const enum ferry_collect what[] = {
		FERRY_COLLECT_FULL,  FERRY_COLLECT_COMPACT, FERRY_COLLECT_MINOR,
		FERRY_COLLECT_MINOR, FERRY_COLLECT_COMPACT,
	};
	size_t w, i, n = 2000;

	for (w = 0; w < WAYS; w++) {
		struct cells *c = way_open(&ways[w], 2);

		cells_list(c, 0, FERRY_KIND_TRACED, n, 2, 64);
		for (i = 0; i < harness_scaled(30); i++) {
			cells_list(c, 1, FERRY_KIND_TYPED, i * 10, 2, 64);
			/* An old object refers to a young one. */
			c->root[0]->slot[1] = c->root[1];
			cells_collect(c, what[i % ARRAY_SIZE(what)]);
			cells_list_check(c, 0, n);
			cells_list_check(c, 1, i * 10);
			ck_assert_ptr_eq(c->root[0]->slot[1], c->root[1]);
		}
		cells_close(c);
	}
}
END_TEST

START_TEST(everything_movable_moves_when_told_to)
{
	size_t w, i, n = 2000;

	for (w = 0; w < WAYS; w++) {
		struct ferry_heap_params p = way_params(&ways[w]);
		struct cells *c;

		p.options = "move-all:true,poison:true";
		c = cells_open(&p, 2);
		cells_list(c, 0, FERRY_KIND_TYPED, n, 2, 0);
		for (i = 0; i < harness_scaled(20); i++) {
			uintptr_t *addr = cells_addresses(c->root[0], n);

			cells_list(c, 1, FERRY_KIND_TRACED, n, 2, 300);
			cells_collect(c, FERRY_COLLECT_FULL);
			cells_list_check(c, 0, n);
			cells_list_check(c, 1, n);
			if (cells_concurrent(c))
				ck_assert_uint_eq(
					cells_elsewhere(c->root[0], addr, n),
					n);
			free(addr);
		}
		cells_close(c);
	}
}
END_TEST

/* --- what stays ----------------------------------------------------------------------- */

START_TEST(pinned_objects_keep_their_address)
{
	size_t w, i, n = 4000;

	for (w = 0; w < WAYS; w++) {
		struct cells *c = way_open(&ways[w], 2);
		uintptr_t *addr;
		struct cell *cell;

		cells_list(c, 0, FERRY_KIND_TRACED, n, 2, 96);
		addr = cells_addresses(c->root[0], n);
		for (cell = c->root[0], i = 0; cell; cell = cell->slot[0], i++)
			if (i % 2000 == 7)
				ck_assert_int_eq(ferry_pin(c->m, cell), 0);
		for (i = 0; i < 3; i++)
			cells_collect(c, FERRY_COLLECT_COMPACT);
		cells_list_check(c, 0, n);
		for (cell = c->root[0], i = 0; cell; cell = cell->slot[0], i++)
			if (i % 2000 == 7)
				ck_assert_uint_eq((uintptr_t)cell, addr[i]);
		ck_assert_uint_gt(cells_elsewhere(c->root[0], addr, n), 0);
		for (i = 7; i < n; i += 2000)
			ck_assert_int_eq(ferry_unpin(c->m, (void *)addr[i]), 0);
		cells_collect(c, FERRY_COLLECT_COMPACT);
		if (cells_concurrent(c))
			ck_assert_uint_eq(cells_elsewhere(c->root[0], addr, n),
					  n);
		cells_list_check(c, 0, n);
		free(addr);
		cells_close(c);
	}
}
END_TEST

static void *ambiguous_words[4];

START_TEST(ambiguous_roots_keep_addresses)
{
	size_t w, n = 3000;

	for (w = 0; w < WAYS; w++) {
		struct cells *c = way_open(&ways[w], 1);
		struct ferry_root *root;
		struct cell *cell;

		ck_assert_int_eq(ferry_root_add_ambiguous(
					 c->heap, ambiguous_words,
					 sizeof(ambiguous_words), &root),
				 0);
		cells_list(c, 0, FERRY_KIND_TRACED, n, 2, 96);
		cell = c->root[0]->slot[0]->slot[0];
		/* An inner address will do. */
		ambiguous_words[2] = (char *)cell + 9;
		cells_collect(c, FERRY_COLLECT_COMPACT);
		cells_list_check(c, 0, n);
		ck_assert_ptr_eq(c->root[0]->slot[0]->slot[0], cell);
		ambiguous_words[2] = NULL;
		cells_close(c);
	}
}
END_TEST

START_TEST(ambiguous_stacks_keep_addresses)
{
	size_t w, n = 3000;

	for (w = 0; w < WAYS; w++) {
		struct ferry_heap_params p = way_params(&ways[w]);
		struct cell *volatile local;
		struct cells *c;

		p.stacks = FERRY_STACK_AMBIGUOUS;
		c = cells_open(&p, 1);
		cells_list(c, 0, FERRY_KIND_TYPED, n, 2, 96);
		local = c->root[0]->slot[0];
		cells_collect(c, FERRY_COLLECT_COMPACT);
		ck_assert_ptr_eq(c->root[0]->slot[0], local);
		ck_assert_uint_eq(local->id, 1);
		cells_list_check(c, 0, n);
		cells_close(c);
	}
}
END_TEST

START_TEST(what_ambiguous_objects_refer_to_keeps_its_address)
{
	size_t w, i, large, n = 600;

	for (w = 0; w < WAYS; w++)
		for (large = 0; large < 2; large++) {
			struct cells *c = way_open(&ways[w], 2);
			size_t bytes = large ? 20000 : cell_bytes(100);
			uintptr_t addr[100];
			struct cell *holder;

			cells_list(c, 0, FERRY_KIND_TRACED, n, 2, 900);
			holder = cell_try(c->m, FERRY_KIND_AMBIGUOUS, 100,
					  bytes, 1);
			c->root[1] = holder;
			for (i = 0; i < 100; i++) {
				struct cell *cell =
					cell_new(c->m, FERRY_KIND_TRACED, 2, i);

				c->root[1]->slot[i] = cell;
				addr[i] = (uintptr_t)cell;
				cell->slot[0] = c->root[0];
			}
			cells_collect(c, FERRY_COLLECT_COMPACT);
			cells_list_check(c, 0, n);
			for (i = 0; i < 100; i++) {
				struct cell *cell = c->root[1]->slot[i];

				ck_assert_uint_eq((uintptr_t)cell, addr[i]);
				ck_assert_uint_eq(cell->id, i);
				ck_assert_ptr_eq(cell->slot[0], c->root[0]);
			}
			cells_close(c);
		}
}
END_TEST

START_TEST(dense_blocks_without_references_are_neither_copied_nor_moved)
{
	size_t w, i, n = 500;

	for (w = 0; w < WAYS; w++) {
		struct cells *c = way_open(&ways[w], n);
		struct cell *cell;

		for (i = 0; i < n; i++)
			c->root[i] =
				cell_try(c->m, FERRY_KIND_LEAF, 0, 4096, i);
		cell = c->root[3];
		cells_collect(c, FERRY_COLLECT_COMPACT);
		ck_assert_uint_eq(cells_stats(c)->copied, 0);
		ck_assert_uint_eq(cells_stats(c)->moved, 0);
		ck_assert_ptr_eq(c->root[3], cell);
		cells_close(c);
	}
}
END_TEST

START_TEST(large_objects_stay_and_their_slots_are_put_right)
{
	size_t w, i;

	for (w = 0; w < WAYS; w++) {
		struct cells *c = way_open(&ways[w], 2);
		struct cell *large, *raw;

		large = cell_try(c->m, FERRY_KIND_TRACED, 5000, 50000, 1);
		ck_assert_ptr_nonnull(large);
		c->root[0] = large;
		raw = ferry_alloc(c->m, 3 * MIB, FERRY_KIND_RAW);
		c->root[1] = raw;
		memset(raw, 0x77, 3 * MIB);
		for (i = 0; i < 5000; i++) {
			struct cell *cell =
				cell_new(c->m, FERRY_KIND_TRACED, 1, i);

			cell_new(c->m, FERRY_KIND_TRACED, 20, i);
			large->slot[i] = cell;
			cell->slot[0] = large;
		}
		cells_collect(c, FERRY_COLLECT_COMPACT);
		ck_assert_ptr_eq(c->root[0], large);
		ck_assert_ptr_eq(c->root[1], raw);
		for (i = 0; i < 5000; i++) {
			ck_assert_uint_eq(large->slot[i]->id, i);
			ck_assert_ptr_eq(large->slot[i]->slot[0], large);
		}
		for (i = 0; i < 3 * MIB; i += 4096)
			ck_assert_uint_eq(((char *)raw)[i], 0x77);
		cells_close(c);
	}
}
END_TEST

/* --- what is put right ---------------------------------------------------------------------- */

static void visit_one(void *arg, struct ferry_visitor *v)
{
	ferry_visit(v, arg);
}

START_TEST(every_sort_of_root_gets_the_new_address)
{
	size_t w, n = 3000;

	for (w = 0; w < WAYS; w++) {
		struct cells *c = way_open(&ways[w], 2);
		void *by_callback, *by_range[3] = { NULL }, **handle;
		struct ferry_root *callback, *range;
		struct ferry_frame inner;
		void *local[1];
		uintptr_t old;

		cells_list(c, 0, FERRY_KIND_TRACED, n, 2, 96);
		old = (uintptr_t)c->root[0];
		c->root[1] = c->root[0];
		by_callback = by_range[1] = local[0] = c->root[0];
		ck_assert_int_eq(ferry_root_add_callback(c->heap, visit_one,
							 &by_callback,
							 &callback),
				 0);
		ck_assert_int_eq(
			ferry_root_add_range(c->heap, by_range, 3, &range), 0);
		handle = ferry_handle_new(c->m, c->root[0]);
		ferry_frame_push(c->m, &inner, local, 1);
		cells_collect(c, FERRY_COLLECT_COMPACT);
		ferry_frame_pop(c->m, &inner);
		ck_assert_uint_ne((uintptr_t)c->root[0], old);
		ck_assert_ptr_eq(c->root[1], c->root[0]);
		ck_assert_ptr_eq(by_callback, c->root[0]);
		ck_assert_ptr_eq(by_range[1], c->root[0]);
		ck_assert_ptr_eq(local[0], c->root[0]);
		ck_assert_ptr_eq(*handle, c->root[0]);
		cells_list_check(c, 0, n);
		ferry_handle_free(c->heap, handle);
		ferry_root_remove(c->heap, callback);
		ferry_root_remove(c->heap, range);
		cells_close(c);
	}
}
END_TEST

START_TEST(interior_references_keep_their_offset)
{
	size_t w, i, n = 3000;

	for (w = 0; w < WAYS; w++) {
		struct ferry_heap_params p = way_params(&ways[w]);
		struct cell *cell, *next;
		struct cells *c;

		p.interior_slots = true;
		c = cells_open(&p, 1);
		cells_list(c, 0, FERRY_KIND_TRACED, n, 4, 96);
		for (cell = c->root[0]; cell; cell = next) {
			next = cell->slot[0];
			if (next)
				cell->slot[0] =
					(void *)((char *)next + next->id % 48);
		}
		cells_collect(c, FERRY_COLLECT_COMPACT);
		for (cell = c->root[0], i = 0; cell->slot[0];
		     i++, cell = next) {
			next = (void *)((char *)cell->slot[0] - (i + 1) % 48);
			ck_assert_uint_eq(next->id, i + 1);
		}
		ck_assert_uint_eq(i, n - 1);
		cells_close(c);
	}
}
END_TEST

static const struct test tests[] = {
	TEST(graph_is_the_same_at_other_addresses, NULL),
	TEST(reading_where_nothing_is_does_no_harm, NULL),
	TEST(sparse_blocks_give_their_memory_back, NULL),
	TEST(alignment_is_kept_by_compactions, NULL),
	TEST(survivors_hold_through_many_compactions, NULL),
	TEST(every_other_collection_works_between_compactions, NULL),
	TEST(everything_movable_moves_when_told_to, NULL),
	TEST(pinned_objects_keep_their_address, NULL),
	TEST(ambiguous_roots_keep_addresses, NULL),
	TEST(ambiguous_stacks_keep_addresses, NULL),
	TEST(what_ambiguous_objects_refer_to_keeps_its_address, NULL),
	TEST(dense_blocks_without_references_are_neither_copied_nor_moved,
	     NULL),
	TEST(large_objects_stay_and_their_slots_are_put_right, NULL),
	TEST(every_sort_of_root_gets_the_new_address, NULL),
	TEST(interior_references_keep_their_offset, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
