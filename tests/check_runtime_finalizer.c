/* SPDX-License-Identifier: MIT */
/* Finalizers on a heap that collects: who is due when, and what comes back. */
#include "tests/harness.h"

#include <errno.h>
#include <string.h>

#include "tests/graph.h"
#include "tests/inject.h"

#define NODES 3000u

static const enum ferry_collect collects[] = {
	FERRY_COLLECT_MINOR,
	FERRY_COLLECT_FULL,
	FERRY_COLLECT_COMPACT,
};

static void everywhere(void (*fn)(struct graph *g, enum ferry_collect what))
{
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(graph_modes); i++)
		for (j = 0; j < ARRAY_SIZE(collects); j++) {
			struct graph *g = graph_make(graph_modes[i], NODES,
						     "verify:yes,poison:yes");

			graph_collect(g, FERRY_COLLECT_FULL);
			fn(g, collects[j]);
			graph_destroy(g);
		}
}

static void *as_arg(uint64_t i)
{
	return (void *)(uintptr_t)i;
}

/* The next that is due must be @id with the argument @arg. */
static struct node *expect_next(struct graph *g, uint64_t id, uint64_t arg)
{
	void *object, *got;

	ck_assert_int_eq(ferry_finalizer_next(g->m, &object, &got), 0);
	ck_assert_ptr_eq(got, as_arg(arg));
	ck_assert_uint_eq(((struct node *)object)->id, id);
	return object;
}

static void expect_none(struct graph *g)
{
	void *object = g, *arg = g;

	ck_assert_int_eq(ferry_finalizer_next(g->m, &object, &arg), -ENOENT);
	ck_assert_ptr_eq(object, g);
	ck_assert_ptr_eq(arg, g);
	ck_assert_uint_eq(ferry_finalizer_due(g->heap), 0);
}

static void add(struct graph *g, struct node *node, unsigned int priority,
		uint64_t arg)
{
	ck_assert_int_eq(ferry_finalizer_add(g->m, node, priority, as_arg(arg)),
			 0);
}

static void check_due(struct graph *g, enum ferry_collect what)
{
	uint64_t i;

	for (i = 0; i < NODES; i++) {
		g->root[i] = graph_node(g->m, i);
		g->root[i]->left = graph_node(g->m, ~i);
		add(g, g->root[i], 0, i);
	}
	graph_collect(g, what);
	expect_none(g);
	/* They are old now: only full collections find them. */
	for (i = 0; i < NODES; i++)
		if (i % 3)
			g->root[i] = NULL;
	graph_collect(g, FERRY_COLLECT_FULL);
	ck_assert_uint_eq(ferry_finalizer_due(g->heap), NODES - NODES / 3);
	graph_collect(g, what);
	for (i = 0; i < NODES; i++)
		if (i % 3)
			ck_assert_uint_eq(expect_next(g, i, i)->left->id, ~i);
	expect_none(g);
	graph_collect(g, what);
	graph_collect(g, FERRY_COLLECT_FULL);
	expect_none(g);
}

START_TEST(dead_objects_are_due_once_with_all_they_refer_to)
{
	everywhere(check_due);
}
END_TEST

static void check_young(struct graph *g, enum ferry_collect what)
{
	uint64_t i;

	for (i = 0; i < NODES; i++) {
		g->root[0] = graph_node(g->m, i);
		add(g, g->root[0], 0, i);
	}
	g->root[0] = NULL;
	graph_collect(g, what);
	ck_assert_uint_eq(ferry_finalizer_due(g->heap), NODES);
	/* What is due outlives collections until it is taken. */
	graph_collect(g, FERRY_COLLECT_FULL);
	graph_collect(g, FERRY_COLLECT_COMPACT);
	for (i = 0; i < NODES; i++)
		expect_next(g, i, i);
	expect_none(g);
}

START_TEST(young_objects_are_due_in_the_order_of_adding)
{
	everywhere(check_young);
}
END_TEST

static void check_priority(struct graph *g, enum ferry_collect what)
{
	uint64_t i;

	for (i = 0; i < 100; i++) {
		g->root[0] = graph_node(g->m, i);
		add(g, g->root[0], (unsigned int)(i * 37 % 10), i);
	}
	g->root[0] = NULL;
	graph_collect(g, what);
	for (i = 0; i < 100; i++) {
		void *object, *arg;

		ck_assert_int_eq(ferry_finalizer_next(g->m, &object, &arg), 0);
		ck_assert_uint_eq((uintptr_t)arg * 37 % 10, i / 10);
	}
	expect_none(g);
}

START_TEST(lower_priority_comes_first)
{
	everywhere(check_priority);
}
END_TEST

/* A has priority 0 and refers to B, of priority 1: B waits for its turn. */
static void check_order(struct graph *g, enum ferry_collect what)
{
	struct node *a;

	g->root[0] = graph_node(g->m, 'a');
	g->root[0]->left = graph_node(g->m, 'b');
	add(g, g->root[0]->left, 1, 1);
	add(g, g->root[0], 0, 0);
	g->root[0] = NULL;
	graph_collect(g, what);
	ck_assert_uint_eq(ferry_finalizer_due(g->heap), 1);
	a = expect_next(g, 'a', 0);
	ck_assert_uint_eq(a->left->id, 'b');
	graph_collect(g, FERRY_COLLECT_FULL);
	expect_next(g, 'b', 1);
	expect_none(g);
}

START_TEST(object_comes_due_after_those_that_refer_to_it)
{
	everywhere(check_order);
}
END_TEST

/* Of one priority all come due together, whoever refers to whom. */
static void check_cycle(struct graph *g, enum ferry_collect what)
{
	g->root[0] = graph_node(g->m, 0);
	g->root[0]->left = graph_node(g->m, 1);
	g->root[0]->left->left = g->root[0];
	add(g, g->root[0], 3, 0);
	add(g, g->root[0]->left, 3, 1);
	g->root[0] = NULL;
	graph_collect(g, what);
	ck_assert_ptr_eq(expect_next(g, 0, 0)->left, expect_next(g, 1, 1));
	expect_none(g);
}

START_TEST(objects_that_refer_to_each_other_come_due_together)
{
	everywhere(check_cycle);
}
END_TEST

static void check_revive(struct graph *g, enum ferry_collect what)
{
	unsigned int i;

	g->root[0] = graph_node(g->m, 5);
	for (i = 0; i < 5; i++) {
		add(g, g->root[0], i, i);
		g->root[0] = NULL;
		graph_collect(g, i ? FERRY_COLLECT_FULL : what);
		g->root[0] = expect_next(g, 5, i);
		expect_none(g);
		graph_collect(g, what);
		ck_assert_uint_eq(g->root[0]->id, 5);
	}
	g->root[0] = NULL;
	graph_collect(g, FERRY_COLLECT_FULL);
	expect_none(g);
}

START_TEST(object_can_be_revived_and_asked_for_again)
{
	everywhere(check_revive);
}
END_TEST

static void check_several(struct graph *g, enum ferry_collect what)
{
	g->root[0] = graph_node(g->m, 5);
	add(g, g->root[0], 2, 1);
	add(g, g->root[0], 2, 2);
	add(g, g->root[0], 1, 3);
	g->root[0] = NULL;
	graph_collect(g, what);
	expect_next(g, 5, 3);
	expect_none(g);
	graph_collect(g, FERRY_COLLECT_FULL);
	expect_next(g, 5, 1);
	expect_next(g, 5, 2);
	expect_none(g);
}

START_TEST(each_request_is_a_hand_out)
{
	everywhere(check_several);
}
END_TEST

static void check_remove(struct graph *g, enum ferry_collect what)
{
	uint64_t i;

	g->root[1] = graph_node(g->m, 1);
	ck_assert_int_eq(ferry_finalizer_remove(g->m, g->root[1], NULL),
			 -ENOENT);
	for (i = 0; i < 10; i++) {
		g->root[0] = graph_node(g->m, i);
		add(g, g->root[0], 0, i);
		ck_assert_int_eq(
			ferry_finalizer_remove(g->m, g->root[0], as_arg(i + 1)),
			-ENOENT);
		graph_collect(g, what);
		if (i % 2)
			ck_assert_int_eq(ferry_finalizer_remove(
						 g->m, g->root[0], as_arg(i)),
					 0);
	}
	g->root[0] = NULL;
	graph_collect(g, FERRY_COLLECT_FULL);
	for (i = 0; i < 10; i += 2)
		expect_next(g, i, i);
	expect_none(g);
	ck_assert_int_eq(ferry_finalizer_add(g->m, NULL, 0, NULL), -EINVAL);
	ck_assert_int_eq(ferry_finalizer_add(g->m, &g, 0, NULL), -EINVAL);
}

START_TEST(request_can_be_taken_back)
{
	everywhere(check_remove);
}
END_TEST

/* References are cleared before, also those inside what comes back. */
static void check_weak(struct graph *g, enum ferry_collect what)
{
	struct ferry_weak *weak;
	struct ferry_weak_map *map;
	struct node *node, *other;
	void *value;

	ck_assert_int_eq(ferry_weak_map_create(g->heap, 0, &map), 0);
	g->root[0] = graph_node(g->m, 0);
	g->root[1] = graph_node(g->m, 1);
	add(g, g->root[0], 0, 0);
	weak = ferry_weak_new(g->m, g->root[0]);
	ck_assert_int_eq(ferry_weak_map_set(g->m, map, g->root[0], g->root[1]),
			 0);
	g->root[1]->weak = g->root[0];
	/* What comes back has a weak slot to something dead, one to something
	 * that comes back too, and an ephemeron of each sort. */
	other = graph_node(g->m, 2);
	g->root[0]->weak = other;
	node = graph_node(g->m, 3);
	g->root[0]->left = node;
	node->weak = g->root[0];
	node->key = g->root[0];
	other = graph_node(g->m, 4);
	g->root[0]->left->value = other;
	other = graph_node(g->m, 5);
	g->root[0]->key = other;
	other = graph_node(g->m, 6);
	g->root[0]->value = other;
	g->root[0] = NULL;
	graph_collect(g, what);
	ck_assert_ptr_null(ferry_weak_get(g->m, weak));
	ck_assert_uint_eq(ferry_weak_map_len(map), 0);
	ck_assert_ptr_null(g->root[1]->weak);
	g->root[0] = expect_next(g, 0, 0);
	ck_assert_ptr_null(ferry_weak_get(g->m, weak));
	ck_assert_int_eq(ferry_weak_map_get(g->m, map, g->root[0], &value),
			 -ENOENT);
	ck_assert_ptr_null(g->root[0]->weak);
	ck_assert_ptr_null(g->root[0]->key);
	ck_assert_ptr_null(g->root[0]->value);
	ck_assert_ptr_eq(g->root[0]->left->weak, g->root[0]);
	ck_assert_ptr_eq(g->root[0]->left->key, g->root[0]);
	ck_assert_uint_eq(g->root[0]->left->value->id, 4);
	ferry_weak_free(g->heap, weak);
	ferry_weak_map_destroy(map);
}

START_TEST(references_are_cleared_before_finalizers)
{
	everywhere(check_weak);
}
END_TEST

/* Allocation goes on while collections run, which finds what is swept before
 * a finalizer has seen it. */
static void churn(struct graph *g, enum ferry_collect what)
{
	struct random r = harness_random();
	size_t i, made = 0, taken = 0, n = harness_scaled(300000);
	void *object, *arg;

	(void)what;
	for (i = 0; i < n; i++) {
		size_t at = random_below(&r, NODES);

		g->root[at] = graph_node(g->m, i);
		g->root[at]->left = graph_node(g->m, ~i);
		if (random_below(&r, 4) == 0) {
			add(g, g->root[at], (unsigned int)random_below(&r, 5),
			    i);
			made++;
		}
		if (random_below(&r, 20000) == 0)
			ferry_heap_request(g->heap, FERRY_COLLECT_FULL);
		while (random_below(&r, 2) &&
		       ferry_finalizer_next(g->m, &object, &arg) == 0) {
			struct node *node = object;

			taken++;
			ck_assert_uint_eq(node->id, (uintptr_t)arg);
			ck_assert_uint_eq(node->left->id, ~node->id);
		}
	}
	memset(g->root, 0, NODES * sizeof(struct node *));
	graph_collect(g, FERRY_COLLECT_FULL);
	while (ferry_finalizer_next(g->m, &object, &arg) == 0)
		taken++;
	ck_assert_uint_eq(made, taken);
}

START_TEST(each_request_is_met_once_while_collections_run)
{
	everywhere(churn);
}
END_TEST

#define WIDE ((size_t)300000)

struct wide {
	const struct ferry_type *type;
	size_t n;
	struct node *slot[WIDE];
};

static struct wide *wide_make(struct graph *g)
{
	static const struct ferry_type type = {
		.size = 16,
		.count_offset = 8,
		.element_size = sizeof(struct node *),
		.element_refs = 1,
	};
	struct wide *wide = ferry_alloc(g->m, sizeof(*wide), FERRY_KIND_TYPED);
	struct node *node;
	size_t i;

	ck_assert_ptr_nonnull(wide);
	wide->type = &type;
	wide->n = WIDE;
	g->root[0] = (struct node *)wide;
	for (i = 0; i < WIDE; i++) {
		node = graph_node(g->m, i);
		wide = (struct wide *)g->root[0];
		wide->slot[i] = node;
		node = graph_node(g->m, ~i);
		wide = (struct wide *)g->root[0];
		wide->slot[i]->left = node;
	}
	return wide;
}

/* What comes back needs a big mark stack, and there is no memory for it. */
static void no_memory(enum ferry_gc_mode mode)
{
	static struct inject_rule refuse;
	struct graph *g;
	struct wide *wide;
	void *object;
	size_t i;

	inject_start();
	g = graph_make(mode, 1, "min:1G,compact:no,poison:yes");
	wide = wide_make(g);
	ck_assert_int_eq(ferry_finalizer_add(g->m, wide, 0, NULL), 0);
	g->root[0] = NULL;
	refuse = (struct inject_rule){ .call = INJECT_MMAP,
				       .error = ENOMEM,
				       .count = 10 };
	inject_add(&refuse);
	graph_collect(g, FERRY_COLLECT_FULL);
	ck_assert_uint_eq(inject_hits(&refuse), 10);
	ck_assert_int_eq(ferry_finalizer_next(g->m, &object, NULL), 0);
	g->root[0] = object;
	graph_collect(g, FERRY_COLLECT_FULL);
	wide = (struct wide *)g->root[0];
	for (i = 0; i < WIDE; i++) {
		ck_assert_uint_eq(wide->slot[i]->id, i);
		ck_assert_uint_eq(wide->slot[i]->left->id, ~i);
	}
	graph_destroy(g);
	inject_stop();
}

START_TEST(objects_come_back_whole_without_memory_for_mark_stacks)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(graph_modes); i++)
		no_memory(graph_modes[i]);
}
END_TEST

static const struct test tests[] = {
	TEST(dead_objects_are_due_once_with_all_they_refer_to, NULL),
	TEST(young_objects_are_due_in_the_order_of_adding, NULL),
	TEST(lower_priority_comes_first, NULL),
	TEST(object_comes_due_after_those_that_refer_to_it, NULL),
	TEST(objects_that_refer_to_each_other_come_due_together, NULL),
	TEST(object_can_be_revived_and_asked_for_again, NULL),
	TEST(each_request_is_a_hand_out, NULL),
	TEST(request_can_be_taken_back, NULL),
	TEST(references_are_cleared_before_finalizers, NULL),
	TEST(each_request_is_met_once_while_collections_run, NULL),
	TEST(objects_come_back_whole_without_memory_for_mark_stacks, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
