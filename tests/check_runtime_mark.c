/* SPDX-License-Identifier: MIT */
/* Marking: everything reachable survives and everything else goes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cells.h"
#include "tests/harness.h"
#include "tests/inject.h"

#define MIB ((size_t)1 << 20)

static const enum ferry_kind with_slots[] = {
	FERRY_KIND_TRACED,
	FERRY_KIND_TYPED,
	FERRY_KIND_AMBIGUOUS,
};

/* --- reachability ---------------------------------------------------------------- */

START_TEST(what_is_reachable_survives_and_the_rest_goes)
{
	size_t mode, k, n = 5000;

	for (mode = 0; mode < 2; mode++)
		for (k = 0; k < ARRAY_SIZE(with_slots); k++) {
			struct cells *c = cells_make(cells_modes[mode], 2);

			cells_list(c, 0, with_slots[k], n, 2, 100);
			cells_list(c, 1, with_slots[k], n, 3, 0);
			cells_expect_live(c,
					  n * (cell_bytes(2) + cell_bytes(3)));
			cells_list_check(c, 0, n);
			cells_list_check(c, 1, n);
			c->root[1] = NULL;
			cells_expect_live(c, n * cell_bytes(2));
			cells_list_check(c, 0, n);
			c->root[0] = c->root[0]->slot[0]->slot[0];
			cells_expect_live(c, (n - 2) * cell_bytes(2));
			c->root[0] = NULL;
			cells_expect_live(c, 0);
			cells_close(c);
		}
}
END_TEST

START_TEST(kinds_without_references_keep_nothing)
{
	static const enum ferry_kind plain[] = { FERRY_KIND_LEAF,
						 FERRY_KIND_RAW };
	size_t mode, k;

	for (mode = 0; mode < 2; mode++)
		for (k = 0; k < ARRAY_SIZE(plain); k++) {
			struct cells *c = cells_make(cells_modes[mode], 1);
			struct cell *cell =
				cell_new(c->m, FERRY_KIND_TRACED, 2, 1);

			c->root[0] = cell;
			cell = cell_new(c->m, plain[k], 6, 2);
			/* It tells no slots, but has a word like one. */
			cell->head &= ~(uintptr_t)0xffff;
			cell->slot[0] = c->root[0];
			c->root[0] = cell;
			cells_expect_live(c, cell_bytes(6));
			cells_close(c);
		}
}
END_TEST

START_TEST(rings_die_together)
{
	size_t mode, i;

	for (mode = 0; mode < 2; mode++) {
		struct cells *c = cells_make(cells_modes[mode], 1);
		struct cell *last;

		cells_list(c, 0, FERRY_KIND_TRACED, 1000, 2, 0);
		for (last = c->root[0], i = 0; last->slot[0]; i++)
			last = last->slot[0];
		last->slot[0] = c->root[0];
		cells_expect_live(c, 1000 * cell_bytes(2));
		c->root[0] = NULL;
		cells_expect_live(c, 0);
		cells_close(c);
	}
}
END_TEST

START_TEST(typed_maps_reach_beyond_64_words)
{
	size_t mode;
	unsigned int slots, i;

	for (mode = 0; mode < 2; mode++) {
		struct cells *c = cells_make(cells_modes[mode], 1);

		for (slots = 60; slots <= CELL_SLOTS_MAX; slots += 7) {
			c->root[0] =
				cell_new(c->m, FERRY_KIND_TYPED, slots, slots);
			for (i = 0; i < slots; i++) {
				struct cell *leaf =
					cell_new(c->m, FERRY_KIND_TYPED, 0, i);

				c->root[0]->slot[i] = leaf;
			}
			cells_expect_live(c, cell_bytes(slots) +
						     slots * cell_bytes(0));
			for (i = 0; i < slots; i++)
				ck_assert_uint_eq(c->root[0]->slot[i]->id, i);
		}
		cells_close(c);
	}
}
END_TEST

struct pair {
	uint64_t number;
	struct cell *cell;
};

struct array {
	const struct ferry_type *type;
	size_t n;
	struct cell *head;
	struct pair pair[];
};

static const struct ferry_type array_type = {
	.size = sizeof(struct array),
	.refs = 1u << 2,
	.element_size = sizeof(struct pair),
	.element_refs = 1u << 1,
	.count_offset = offsetof(struct array, n),
};

static struct array *array_new(struct cells *c, size_t n)
{
	struct array *array =
		ferry_alloc(c->m, sizeof(*array) + n * sizeof(struct pair),
			    FERRY_KIND_TYPED);

	ck_assert_ptr_nonnull(array);
	array->type = &array_type;
	array->n = n;
	c->root[0] = (void *)array;
	return array;
}

START_TEST(arrays_of_any_size_keep_their_elements)
{
	static const size_t lengths[] = { 0, 1, 2, 100, 508, 511, 512, 20000 };
	size_t mode, k, i;

	for (mode = 0; mode < 2; mode++) {
		struct cells *c = cells_make(cells_modes[mode], 1);

		for (k = 0; k < ARRAY_SIZE(lengths); k++) {
			struct array *array = array_new(c, lengths[k]);
			size_t bytes = ferry_object_size(c->heap, array);

			for (i = 0; i < lengths[k]; i++) {
				struct cell *cell =
					cell_new(c->m, FERRY_KIND_TRACED, 0, i);

				array = (void *)c->root[0];
				array->pair[i].cell = cell;
				array->pair[i].number = (uintptr_t)c->root;
			}
			cells_expect_live(c,
					  bytes + lengths[k] * cell_bytes(0));
			array = (void *)c->root[0];
			for (i = 0; i < lengths[k]; i++)
				ck_assert_uint_eq(array->pair[i].cell->id, i);
		}
		cells_close(c);
	}
}
END_TEST

START_TEST(interior_slots_keep_the_object_around)
{
	struct cell *cell, *next;
	size_t mode;

	for (mode = 0; mode < 2; mode++) {
		struct ferry_heap_params p = cells_params(cells_modes[mode]);
		struct cells *c;
		char *inner;

		p.interior_slots = true;
		c = cells_open(&p, 3);
		cells_list(c, 0, FERRY_KIND_TRACED, 1000, 3, 48);
		for (cell = c->root[0]; cell->slot[0]; cell = next) {
			next = cell->slot[0];
			cell->slot[0] = (void *)((char *)next + 39);
		}
		inner = ferry_alloc(c->m, 3 * MIB, FERRY_KIND_RAW);
		ck_assert_ptr_nonnull(inner);
		c->root[1] = (void *)(inner + 3 * MIB - 1);
		cells_expect_live(c, 1000 * cell_bytes(3) + 3 * MIB);
		cells_close(c);
	}
}
END_TEST

/* --- encodings ------------------------------------------------------------------------ */

/* Four low bits of a slot are the host's. */
static void *load_tagged(const void *slot)
{
	uintptr_t word =
		__atomic_load_n((const uintptr_t *)slot, __ATOMIC_RELAXED);

	return (void *)(word & ~(uintptr_t)15);
}

static void store_tagged(void *slot, void *object)
{
	uintptr_t *word = slot, tag = *word & 15;

	__atomic_store_n(word, (uintptr_t)object | tag, __ATOMIC_RELAXED);
}

static struct cell *tagged(const struct cell *cell, uintptr_t tag)
{
	return (void *)((uintptr_t)cell | tag);
}

static struct cell *untagged(struct cell *const *slot)
{
	return load_tagged(slot);
}

START_TEST(tags_of_slots_stay_and_do_not_hide_objects)
{
	size_t mode, n = 3000;
	struct cell *cell;
	uint64_t i;

	for (mode = 0; mode < 2; mode++) {
		struct ferry_heap_params p = cells_params(cells_modes[mode]);
		struct cells *c;

		p.load = load_tagged;
		p.store = store_tagged;
		c = cells_open(&p, 1);
		for (i = 0; i < n; i++) {
			cell = cell_new(c->m, FERRY_KIND_TRACED, 2, i);
			cell->slot[0] = c->root[0];
			cell->slot[1] = tagged(NULL, i % 16);
			c->root[0] = tagged(cell, i % 16);
		}
		cells_expect_live(c, n * cell_bytes(2));
		cells_collect(c, FERRY_COLLECT_COMPACT);
		for (i = n; i--;) {
			struct cell **slot = i == n - 1 ? c->root : cell->slot;

			ck_assert_uint_eq((uintptr_t)*slot % 16, i % 16);
			cell = untagged(slot);
			ck_assert_uint_eq(cell->id, i);
			ck_assert_ptr_eq(cell->slot[1], tagged(NULL, i % 16));
		}
		cells_close(c);
	}
}
END_TEST

/*
 * Compressed slots: 32 bits that count granules from the heap's beginning,
 * two of them to a word. Roots are such slots as well.
 */
static uintptr_t compressed_base;

static void *load_32(const void *slot)
{
	uint32_t n = __atomic_load_n((const uint32_t *)slot, __ATOMIC_RELAXED);

	return n ? (void *)(compressed_base + (size_t)n * 16) : NULL;
}

static void store_32(void *slot, void *object)
{
	uint32_t n =
		object ? (uint32_t)(((uintptr_t)object - compressed_base) / 16)
		       : 0;

	__atomic_store_n((uint32_t *)slot, n, __ATOMIC_RELAXED);
}

struct small {
	uint32_t left, right;
	uint64_t id;
};

static size_t trace_small(void *object, struct ferry_visitor *v)
{
	struct small *small = object;

	if (v) {
		ferry_visit(v, &small->left);
		ferry_visit(v, &small->right);
	}
	return sizeof(*small);
}

/* A tree of @depth; its slot's value. */
static void tree_32(struct cells *c, uint32_t *slot, unsigned int depth,
		    uint64_t id)
{
	struct small *small =
		ferry_alloc(c->m, sizeof(*small), FERRY_KIND_TRACED);

	ck_assert_ptr_nonnull(small);
	small->id = id;
	store_32(slot, small);
	if (!depth)
		return;
	/* No collection runs meanwhile: they come by request alone. */
	tree_32(c, &small->left, depth - 1, 2 * id);
	tree_32(c, &small->right, depth - 1, 2 * id + 1);
}

static bool tree_32_holds(const uint32_t *slot, unsigned int depth, uint64_t id)
{
	const struct small *small = load_32(slot);

	if (!small || small->id != id)
		return false;
	if (!depth)
		return !small->left && !small->right;
	return tree_32_holds(&small->left, depth - 1, 2 * id) &&
	       tree_32_holds(&small->right, depth - 1, 2 * id + 1);
}

START_TEST(slots_may_be_compressed)
{
	const unsigned int depth = 13;
	size_t mode, i;

	for (mode = 0; mode < 2; mode++) {
		struct ferry_heap_params p = cells_params(cells_modes[mode]);
		struct cells *c;
		uint32_t *root;

		p.load = load_32;
		p.store = store_32;
		p.trace = trace_small;
		c = cells_open(&p, 2);
		root = (uint32_t *)&c->root[0];
		/* The least address: the heap's, less what cannot be 0. */
		compressed_base =
			((uintptr_t)ferry_alloc(c->m, 16, FERRY_KIND_RAW) &
			 ~((uintptr_t)64 * MIB - 1)) -
			16;
		for (i = 0; i < 4; i++) {
			tree_32(c, root, depth, 1);
			cells_expect_live(c, ((1u << (depth + 1)) - 1) * 16);
			cells_collect(c, FERRY_COLLECT_COMPACT);
			ck_assert(tree_32_holds(root, depth, 1));
		}
		*root = 0;
		cells_expect_live(c, 0);
		cells_close(c);
	}
}
END_TEST

/* --- roots ------------------------------------------------------------------------------ */

static void visit_one(void *arg, struct ferry_visitor *v)
{
	ferry_visit(v, arg);
}

START_TEST(every_sort_of_root_keeps_its_object)
{
	size_t mode;

	for (mode = 0; mode < 2; mode++) {
		struct cells *c = cells_make(cells_modes[mode], 1);
		const size_t one = cell_bytes(0);
		struct ferry_root *callback, *range, *ambiguous;
		void *by_callback, *by_range[2] = { NULL }, *by_word[3];
		void **handle, *pinned;

#define NEW() cell_new(c->m, FERRY_KIND_TRACED, 0, 7)
		by_callback = NEW();
		ck_assert_int_eq(ferry_root_add_callback(c->heap, visit_one,
							 &by_callback,
							 &callback),
				 0);
		by_range[1] = NEW();
		ck_assert_int_eq(
			ferry_root_add_range(c->heap, by_range, 2, &range), 0);
		by_word[0] = by_word[2] = NULL;
		by_word[1] = (char *)NEW() + 15;
		ck_assert_int_eq(ferry_root_add_ambiguous(c->heap, by_word,
							  sizeof(by_word),
							  &ambiguous),
				 0);
		handle = ferry_handle_new(c->m, NEW());
		ck_assert_ptr_nonnull(handle);
		pinned = NEW();
		ck_assert_int_eq(ferry_pin(c->m, pinned), 0);
		c->root[0] = NEW();
#undef NEW
		cells_expect_live(c, 6 * one);
		ferry_root_remove(c->heap, callback);
		cells_expect_live(c, 5 * one);
		ferry_root_remove(c->heap, range);
		cells_expect_live(c, 4 * one);
		ferry_root_remove(c->heap, ambiguous);
		cells_expect_live(c, 3 * one);
		ferry_handle_free(c->heap, handle);
		cells_expect_live(c, 2 * one);
		ck_assert_int_eq(ferry_unpin(c->m, pinned), 0);
		cells_expect_live(c, one);
		c->root[0] = NULL;
		cells_expect_live(c, 0);
		cells_close(c);
	}
}
END_TEST

START_TEST(ambiguous_stack_keeps_what_only_a_local_refers_to)
{
	size_t mode;

	for (mode = 0; mode < 2; mode++) {
		struct ferry_heap_params p = cells_params(cells_modes[mode]);
		struct cell *volatile local;
		struct cells *c;
		unsigned int i;

		p.stacks = FERRY_STACK_AMBIGUOUS;
		c = cells_open(&p, 1);
		local = cell_new(c->m, FERRY_KIND_TRACED, 1, 0);
		for (i = 1; i < 1000; i++) {
			struct cell *cell =
				cell_new(c->m, FERRY_KIND_TRACED, 1, i);

			cell->slot[0] = local;
			local = cell;
		}
		cells_collect(c, FERRY_COLLECT_FULL);
		ck_assert_uint_ge(cells_live(c), 1000 * cell_bytes(1));
		while (i--) {
			ck_assert_uint_eq(local->id, i);
			local = local->slot[0];
		}
		cells_close(c);
	}
}
END_TEST

/* --- minor collections --------------------------------------------------------------------- */

static void expect_minor(struct cells *c, size_t bytes)
{
	uint64_t minors = cells_stats(c)->minors;

	cells_collect(c, FERRY_COLLECT_MINOR);
	if (cells_concurrent(c))
		ck_assert_uint_eq(cells_stats(c)->minors, minors + 1);
	ck_assert_uint_eq(cells_live(c), bytes);
}

START_TEST(minor_keeps_young_objects_that_only_old_ones_refer_to)
{
	size_t k, i, n = 20000, round;

	for (k = 0; k < ARRAY_SIZE(with_slots); k++) {
		struct cells *c = cells_make(FERRY_GC_AUTO, 1);
		size_t live = n * cell_bytes(2);
		struct cell *cell, *young;

		cells_list(c, 0, with_slots[k], n, 2, 0);
		cells_expect_live(c, live);
		for (round = 0; round < 4; round++) {
			/* Here and there a young one below an old one. */
			for (cell = c->root[0], i = 0; cell;
			     cell = cell->slot[0], i++) {
				if (i % 97 != round)
					continue;
				/* No collection runs but those of this loop. */
				young = cell_new(c->m, with_slots[k], 2, i);
				cell->slot[1] = young;
				live += cell_bytes(2);
			}
			expect_minor(c, live);
			for (cell = c->root[0], i = 0; cell;
			     cell = cell->slot[0], i++)
				if (i % 97 <= round)
					ck_assert_uint_eq(cell->slot[1]->id, i);
		}
		cells_list_check(c, 0, n);
		cells_expect_live(c, live);
		cells_close(c);
	}
}
END_TEST

START_TEST(minor_keeps_what_large_old_objects_refer_to)
{
	struct cells *c = cells_make(FERRY_GC_AUTO, 1);
	struct array *array = array_new(c, 100000);
	size_t bytes = ferry_object_size(c->heap, array), i, n = 0;

	cells_expect_live(c, bytes);
	for (i = 3; i < 100000; i += 5000, n++)
		array->pair[i].cell = cell_new(c->m, FERRY_KIND_TYPED, 1, i);
	expect_minor(c, bytes + n * cell_bytes(1));
	for (i = 3; i < 100000; i += 5000)
		ck_assert_uint_eq(array->pair[i].cell->id, i);
	cells_close(c);
}
END_TEST

START_TEST(minor_frees_young_garbage_and_leaves_old)
{
	struct cells *c = cells_make(FERRY_GC_AUTO, 2);
	size_t n = 10000, live;

	cells_list(c, 0, FERRY_KIND_TRACED, n, 2, 0);
	cells_list(c, 1, FERRY_KIND_TRACED, n, 2, 0);
	cells_expect_live(c, 2 * n * cell_bytes(2));
	/* An old list dies, a young one as well. */
	c->root[1] = NULL;
	cells_list(c, 1, FERRY_KIND_TRACED, n, 2, 0);
	c->root[1] = NULL;
	live = cells_concurrent(c) ? 2 * n : n;
	expect_minor(c, live * cell_bytes(2));
	cells_list_check(c, 0, n);
	cells_expect_live(c, n * cell_bytes(2));
	cells_close(c);
}
END_TEST

START_TEST(old_objects_stay_old_through_many_minors)
{
	struct cells *c = cells_make(FERRY_GC_AUTO, 2);
	size_t i, n = 3000, old = 0, rounds = harness_scaled(30);

	/* The first of all collections is a full one. */
	cells_collect(c, FERRY_COLLECT_FULL);
	cells_list(c, 0, FERRY_KIND_TYPED, n, 2, 60);
	for (i = 0; i < rounds; i++) {
		/* The list before this one is old, and stays as garbage. */
		cells_list(c, 1, FERRY_KIND_TYPED, i, 2, 60);
		old = cells_concurrent(c) ? old + i : i;
		expect_minor(c, (n + old) * cell_bytes(2));
		cells_list_check(c, 0, n);
		cells_list_check(c, 1, i);
	}
	cells_close(c);
}
END_TEST

/* --- several markers ------------------------------------------------------------- */

START_TEST(several_markers_find_what_one_finds)
{
	unsigned int threads;
	size_t n = 2000, i;

	for (threads = 1; threads <= 5; threads++) {
		struct ferry_heap_params p = cells_params(FERRY_GC_AUTO);
		struct cells *c;

		p.threads = threads;
		c = cells_open(&p, 50);
		for (i = 0; i < c->roots; i++)
			cells_list(c, i, FERRY_KIND_TRACED, n, 2, 16);
		cells_expect_live(c, 50 * n * cell_bytes(2));
		for (i = 0; i < c->roots; i++)
			cells_list_check(c, i, n);
		cells_close(c);
	}
}
END_TEST

/* --- no memory for the mark stack ------------------------------------------------------------------ */

/* All elements of an array are queued before any of them is looked at. */
static size_t wide_graph(struct cells *c)
{
	enum { WIDE = 100000 };
	struct array *array = array_new(c, WIDE);
	size_t i;

	for (i = 0; i < WIDE; i++) {
		struct cell *cell = cell_new(c->m, FERRY_KIND_TRACED, 1, i);

		array->pair[i].cell = cell;
		cell = cell_new(c->m, FERRY_KIND_TYPED, 0, 2 * i);
		array->pair[i].cell->slot[0] = cell;
	}
	return ferry_object_size(c->heap, array) +
	       WIDE * (cell_bytes(1) + cell_bytes(0));
}

static void wide_graph_check(struct cells *c)
{
	struct array *array = (void *)c->root[0];
	size_t i;

	for (i = 0; i < array->n; i++) {
		ck_assert_uint_eq(array->pair[i].cell->id, i);
		ck_assert_uint_eq(array->pair[i].cell->slot[0]->id, 2 * i);
	}
}

static void mark_without_memory(const struct ferry_heap_params *p)
{
	static const enum ferry_collect what[] = { FERRY_COLLECT_FULL,
						   FERRY_COLLECT_MINOR,
						   FERRY_COLLECT_FULL };
	struct inject_rule rule = { .call = INJECT_MMAP,
				    .count = INJECT_ALWAYS,
				    .error = ENOMEM };
	struct cells *c;
	size_t bytes, i;

	inject_start();
	c = cells_open(p, 1);
	bytes = wide_graph(c);
	inject_add(&rule);
	for (i = 0; i < ARRAY_SIZE(what); i++) {
		ck_assert_int_eq(ferry_heap_collect(c->heap, c->m, what[i]), 0);
		ck_assert_uint_eq(cells_live(c), bytes);
		wide_graph_check(c);
	}
	ck_assert_uint_gt(inject_hits(&rule), 0);
	c->root[0] = NULL;
	ck_assert_int_eq(ferry_heap_collect(c->heap, c->m, FERRY_COLLECT_FULL),
			 0);
	ck_assert_uint_eq(cells_live(c), 0);
	cells_close(c);
	inject_stop();
}

START_TEST(marking_without_memory_for_its_stack_is_complete)
{
	/* The last have stacks of their own in more slabs than are kept. */
	static const unsigned int threads[] = { 1, 3, 300 };
	size_t mode, i;

	for (mode = 0; mode < 2; mode++)
		for (i = 0; i < ARRAY_SIZE(threads); i++) {
			struct ferry_heap_params p =
				cells_params(cells_modes[mode]);

			p.threads = threads[i];
			p.no_compact = true;
			mark_without_memory(&p);
		}
}
END_TEST

static const struct test tests[] = {
	TEST(what_is_reachable_survives_and_the_rest_goes, NULL),
	TEST(kinds_without_references_keep_nothing, NULL),
	TEST(rings_die_together, NULL),
	TEST(typed_maps_reach_beyond_64_words, NULL),
	TEST(arrays_of_any_size_keep_their_elements, NULL),
	TEST(interior_slots_keep_the_object_around, NULL),
	TEST(tags_of_slots_stay_and_do_not_hide_objects, NULL),
	TEST(slots_may_be_compressed, NULL),
	TEST(every_sort_of_root_keeps_its_object, NULL),
	TEST(ambiguous_stack_keeps_what_only_a_local_refers_to, NULL),
	TEST(minor_keeps_young_objects_that_only_old_ones_refer_to, NULL),
	TEST(minor_keeps_what_large_old_objects_refer_to, NULL),
	TEST(minor_frees_young_garbage_and_leaves_old, NULL),
	TEST(old_objects_stay_old_through_many_minors, NULL),
	TEST(several_markers_find_what_one_finds, NULL),
	TEST(marking_without_memory_for_its_stack_is_complete, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
