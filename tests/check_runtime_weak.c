/* SPDX-License-Identifier: MIT */
/* Weak references, weak slots and weak maps on a heap that collects. */
#include "tests/harness.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/graph.h"

#define NODES 3000u

static const enum ferry_collect collects[] = {
	FERRY_COLLECT_MINOR,
	FERRY_COLLECT_FULL,
	FERRY_COLLECT_COMPACT,
};

/* Calls @fn in each mode with each sort of collection. */
static void everywhere(void (*fn)(struct graph *g, enum ferry_collect what))
{
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(graph_modes); i++)
		for (j = 0; j < ARRAY_SIZE(collects); j++) {
			struct graph *g = graph_make(graph_modes[i], NODES,
						     "verify:yes,poison:yes");

			/* So that the first minor collection is one. */
			graph_collect(g, FERRY_COLLECT_FULL);
			fn(g, collects[j]);
			graph_destroy(g);
		}
}

static void in_modes(void (*fn)(enum ferry_gc_mode mode))
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(graph_modes); i++)
		fn(graph_modes[i]);
}

/* --- references -------------------------------------------------------------- */

static void check_refs(struct graph *g, enum ferry_collect what)
{
	static struct ferry_weak *weak[NODES];
	struct node *node;
	uint64_t i;

	for (i = 0; i < NODES; i++) {
		node = graph_node(g->m, i);
		if (i % 3 == 0)
			g->root[i] = node;
		weak[i] = ferry_weak_new(g->m, node);
		ck_assert_ptr_nonnull(weak[i]);
		ck_assert_ptr_eq(ferry_weak_get(g->m, weak[i]), node);
	}
	graph_collect(g, what);
	for (i = 0; i < NODES; i++) {
		node = ferry_weak_get(g->m, weak[i]);
		ck_assert_ptr_eq(node, g->root[i]);
		ck_assert(!node || node->id == i);
		ferry_weak_free(g->heap, weak[i]);
	}
}

START_TEST(reference_is_cleared_exactly_when_its_object_dies)
{
	everywhere(check_refs);
}
END_TEST

static void check_old(struct graph *g, enum ferry_collect what)
{
	struct ferry_weak *weak;

	g->root[0] = graph_node(g->m, 7);
	weak = ferry_weak_new(g->m, g->root[0]);
	graph_collect(g, FERRY_COLLECT_FULL);
	graph_collect(g, what);
	ck_assert_ptr_eq(ferry_weak_get(g->m, weak), g->root[0]);
	ck_assert_uint_eq(g->root[0]->id, 7);
	g->root[0] = NULL;
	graph_collect(g, FERRY_COLLECT_FULL);
	ck_assert_ptr_null(ferry_weak_get(g->m, weak));
	ferry_weak_free(g->heap, weak);
}

START_TEST(reference_to_old_object_outlives_collections)
{
	everywhere(check_old);
}
END_TEST

/* Made after marking, before the next: neither is it taken for dead then nor
 * forgotten the next time. */
static void check_again(struct graph *g, enum ferry_collect what)
{
	struct ferry_weak *weak[3];
	unsigned int i;

	for (i = 0; i < 3; i++) {
		g->root[i] = graph_node(g->m, i);
		weak[i] = ferry_weak_new(g->m, g->root[i]);
		graph_collect(g, what);
	}
	for (i = 0; i < 3; i++)
		ck_assert_ptr_eq(ferry_weak_get(g->m, weak[i]), g->root[i]);
	memset(g->root, 0, 3 * sizeof(struct node *));
	graph_collect(g, FERRY_COLLECT_FULL);
	for (i = 0; i < 3; i++)
		ck_assert_ptr_null(ferry_weak_get(g->m, weak[i]));
	for (i = 0; i < 3; i++)
		ferry_weak_free(g->heap, weak[i]);
}

START_TEST(references_of_several_generations_are_all_seen)
{
	everywhere(check_again);
}
END_TEST

static void check_outside(struct graph *g, enum ferry_collect what)
{
	static int outside;
	struct ferry_weak *none = ferry_weak_new(g->m, NULL);
	struct ferry_weak *other = ferry_weak_new(g->m, &outside);

	graph_collect(g, what);
	ck_assert_ptr_null(ferry_weak_get(g->m, none));
	ck_assert_ptr_eq(ferry_weak_get(g->m, other), &outside);
	ferry_weak_free(g->heap, none);
	ferry_weak_free(g->heap, other);
	ferry_weak_free(g->heap, NULL);
}

START_TEST(what_is_no_object_never_dies)
{
	everywhere(check_outside);
}
END_TEST

static void check_large(struct graph *g, enum ferry_collect what)
{
	struct ferry_weak *kept, *lost;

	g->root[0] = ferry_alloc(g->m, 100000, FERRY_KIND_LEAF);
	kept = ferry_weak_new(g->m, g->root[0]);
	lost = ferry_weak_new(g->m, ferry_alloc(g->m, 100000, FERRY_KIND_LEAF));
	graph_collect(g, what);
	ck_assert_ptr_eq(ferry_weak_get(g->m, kept), g->root[0]);
	ck_assert_ptr_null(ferry_weak_get(g->m, lost));
	ferry_weak_free(g->heap, kept);
	ferry_weak_free(g->heap, lost);
}

START_TEST(references_to_large_objects_are_cleared)
{
	everywhere(check_large);
}
END_TEST

/* --- slots -------------------------------------------------------------------- */

static void check_slots(struct graph *g, enum ferry_collect what)
{
	struct node *node;
	uint64_t i;

	for (i = 0; i < NODES; i += 2)
		g->root[i] = graph_node(g->m, i);
	for (i = 0; i < NODES; i += 2) {
		node = graph_node(g->m, i + 1);
		g->root[i]->weak = node;
		if (i % 4 == 0)
			g->root[i + 1] = node;
	}
	graph_collect(g, what);
	for (i = 0; i < NODES; i += 2) {
		ck_assert_ptr_eq(g->root[i]->weak, g->root[i + 1]);
		if (i % 4 == 0)
			ck_assert_uint_eq(g->root[i]->weak->id, i + 1);
	}
}

START_TEST(weak_slot_is_cleared_exactly_when_its_object_dies)
{
	everywhere(check_slots);
}
END_TEST

/* The holders are old, and what they refer to is not. */
static void check_old_holders(struct graph *g, enum ferry_collect what)
{
	struct node *node;
	uint64_t i;

	for (i = 0; i < NODES; i += 2)
		g->root[i] = graph_node(g->m, i);
	graph_collect(g, FERRY_COLLECT_FULL);
	for (i = 0; i < NODES; i += 2) {
		node = graph_node(g->m, i + 1);
		if (i % 6 == 0)
			g->root[i + 1] = node;
		g->root[i]->weak = node;
	}
	graph_collect(g, what);
	for (i = 0; i < NODES; i += 2)
		ck_assert_ptr_eq(g->root[i]->weak, g->root[i + 1]);
}

START_TEST(weak_slot_in_old_object_to_young_one_is_cleared)
{
	everywhere(check_old_holders);
}
END_TEST

/* --- maps ------------------------------------------------------------------------ */

static void check_map(struct graph *g, enum ferry_collect what)
{
	struct ferry_weak_map *map;
	struct node *key;
	void *value;
	uint64_t i;

	ck_assert_int_eq(ferry_weak_map_create(g->heap, 0, &map), 0);
	for (i = 0; i < NODES; i++) {
		g->root[i] = graph_node(g->m, i);
		key = graph_node(g->m, i + NODES);
		/* Key and value refer to each other. */
		key->left = g->root[i];
		g->root[i]->left = key;
		ck_assert_int_eq(ferry_weak_map_set(g->m, map, g->root[i], key),
				 0);
	}
	ck_assert_uint_eq(ferry_weak_map_len(map), NODES);
	for (i = 0; i < NODES; i++)
		if (i % 3)
			g->root[i] = NULL;
		else
			g->root[i]->left = NULL;
	graph_collect(g, what);
	ck_assert_uint_eq(ferry_weak_map_len(map), NODES / 3);
	for (i = 0; i < NODES; i += 3) {
		ck_assert_int_eq(
			ferry_weak_map_get(g->m, map, g->root[i], &value), 0);
		ck_assert_uint_eq(((struct node *)value)->id, i + NODES);
		ck_assert_ptr_eq(((struct node *)value)->left, g->root[i]);
	}
	ferry_weak_map_destroy(map);
}

START_TEST(map_entry_lives_as_long_as_its_key)
{
	everywhere(check_map);
}
END_TEST

static void check_map_old_key(struct graph *g, enum ferry_collect what)
{
	struct ferry_weak_map *map;
	void *value;
	uint64_t i;

	ck_assert_int_eq(ferry_weak_map_create(g->heap, 0, &map), 0);
	for (i = 0; i < NODES; i++) {
		g->root[i] = graph_node(g->m, i);
		ck_assert_int_eq(
			ferry_weak_map_set(g->m, map, g->root[i], NULL), 0);
	}
	graph_collect(g, FERRY_COLLECT_FULL);
	for (i = 0; i < NODES; i += 2)
		ck_assert_int_eq(ferry_weak_map_set(g->m, map, g->root[i],
						    graph_node(g->m, ~i)),
				 0);
	graph_collect(g, what);
	graph_collect(g, what);
	for (i = 0; i < NODES; i++) {
		ck_assert_int_eq(
			ferry_weak_map_get(g->m, map, g->root[i], &value), 0);
		if (i % 2)
			ck_assert_ptr_null(value);
		else
			ck_assert_uint_eq(((struct node *)value)->id, ~i);
	}
	ferry_weak_map_destroy(map);
}

START_TEST(young_value_of_an_old_key_is_kept)
{
	everywhere(check_map_old_key);
}
END_TEST

/* A chain through maps alone, entered in the worst order. */
static void check_map_chain(struct graph *g, enum ferry_collect what)
{
	struct ferry_weak_map *map;
	struct node *node;
	void *value;
	uint64_t i;

	ck_assert_int_eq(ferry_weak_map_create(g->heap, 0, &map), 0);
	for (i = 0; i < NODES; i++)
		g->root[i] = graph_node(g->m, i);
	for (i = NODES - 1; i--;)
		ck_assert_int_eq(ferry_weak_map_set(g->m, map, g->root[i],
						    g->root[i + 1]),
				 0);
	memset(g->root + 1, 0, (NODES - 1) * sizeof(struct node *));
	graph_collect(g, what);
	ck_assert_uint_eq(ferry_weak_map_len(map), NODES - 1);
	for (node = g->root[0], i = 0;
	     ferry_weak_map_get(g->m, map, node, &value) == 0; i++) {
		node = value;
		ck_assert_uint_eq(node->id, i + 1);
	}
	ck_assert_uint_eq(i, NODES - 1);
	g->root[0] = NULL;
	graph_collect(g, FERRY_COLLECT_FULL);
	ck_assert_uint_eq(ferry_weak_map_len(map), 0);
	ferry_weak_map_destroy(map);
}

START_TEST(values_that_are_keys_keep_a_chain_alive)
{
	everywhere(check_map_chain);
}
END_TEST

static void check_raw(struct graph *g, enum ferry_collect what)
{
	struct ferry_weak_map *map;
	struct ferry_weak *weak;
	void *value;

	ck_assert_int_eq(
		ferry_weak_map_create(g->heap, FERRY_WEAK_MAP_RAW_VALUES, &map),
		0);
	g->root[0] = graph_node(g->m, 0);
	weak = ferry_weak_new(g->m, graph_node(g->m, 1));
	value = ferry_weak_get(g->m, weak);
	ck_assert_int_eq(ferry_weak_map_set(g->m, map, g->root[0], value), 0);
	graph_collect(g, what);
	ck_assert_ptr_null(ferry_weak_get(g->m, weak));
	ck_assert_int_eq(ferry_weak_map_get(g->m, map, g->root[0], &value), 0);
	g->root[0] = NULL;
	graph_collect(g, FERRY_COLLECT_FULL);
	ck_assert_uint_eq(ferry_weak_map_len(map), 0);
	ferry_weak_free(g->heap, weak);
	ferry_weak_map_destroy(map);
}

START_TEST(raw_value_keeps_nothing_and_is_not_touched)
{
	everywhere(check_raw);
}
END_TEST

START_TEST(map_refuses_what_is_no_object)
{
	struct graph *g = graph_make(FERRY_GC_AUTO, 1, NULL);
	struct ferry_weak_map *map;
	void *value = &map;

	ck_assert_int_eq(ferry_weak_map_create(g->heap, 2, &map), -EINVAL);
	ck_assert_int_eq(ferry_weak_map_create(g->heap, 0, &map), 0);
	g->root[0] = graph_node(g->m, 1);
	ck_assert_int_eq(ferry_weak_map_set(g->m, map, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ferry_weak_map_set(g->m, map, &value, NULL), -EINVAL);
	ck_assert_int_eq(
		ferry_weak_map_set(g->m, map, &g->root[0]->value, NULL),
		-EINVAL);
	ck_assert_int_eq(ferry_weak_map_get(g->m, map, g->root[0], &value),
			 -ENOENT);
	ck_assert_int_eq(ferry_weak_map_remove(g->m, map, g->root[0], &value),
			 -ENOENT);
	ck_assert_ptr_eq(value, &map);
	ferry_weak_map_destroy(map);
	ferry_weak_map_destroy(NULL);
	graph_destroy(g);
}
END_TEST

/* A map against an array, with collections in between. */
static void compare_with_model(enum ferry_gc_mode mode)
{
	struct random r = harness_random();
	struct graph *g = graph_make(mode, NODES, "verify:yes,poison:yes");
	static uintptr_t model[NODES];
	struct ferry_weak_map *map;
	size_t i, n, step, len = 0;
	void *value;

	memset(model, 0, sizeof(model));
	ck_assert_int_eq(
		ferry_weak_map_create(g->heap, FERRY_WEAK_MAP_RAW_VALUES, &map),
		0);
	for (step = 0; step < harness_scaled(200000); step++) {
		i = random_below(&r, NODES);
		n = random_below(&r, 100);
		if (n < 40) {
			if (!g->root[i])
				g->root[i] = graph_node(g->m, i);
			len += !model[i];
			model[i] = step + 1;
			ck_assert_int_eq(ferry_weak_map_set(g->m, map,
							    g->root[i],
							    (void *)model[i]),
					 0);
		} else if (n < 55 && g->root[i]) {
			ck_assert_int_eq(ferry_weak_map_remove(
						 g->m, map, g->root[i], &value),
					 model[i] ? 0 : -ENOENT);
			ck_assert(!model[i] || (uintptr_t)value == model[i]);
			len -= model[i] != 0;
			model[i] = 0;
		} else if (g->root[i]) {
			ck_assert_int_eq(ferry_weak_map_get(g->m, map,
							    g->root[i], &value),
					 model[i] ? 0 : -ENOENT);
			ck_assert(!model[i] || (uintptr_t)value == model[i]);
		}
		if (random_below(&r, 2000) == 0)
			graph_collect(g, collects[random_below(&r, 3)]);
	}
	graph_collect(g, FERRY_COLLECT_FULL);
	ck_assert_uint_eq(ferry_weak_map_len(map), len);
	ferry_weak_map_destroy(map);
	graph_destroy(g);
}

START_TEST(map_agrees_with_a_model)
{
	in_modes(compare_with_model);
}
END_TEST

static void grow_and_shrink(enum ferry_gc_mode mode)
{
	struct graph *g = graph_make(mode, 2, NULL);
	size_t i, n = harness_scaled(100000);
	struct ferry_weak_map *map;
	struct node *node;
	void *value;

	ck_assert_int_eq(ferry_weak_map_create(g->heap, 0, &map), 0);
	for (i = 0; i < n; i++) {
		node = graph_node(g->m, i);
		node->left = g->root[0];
		g->root[0] = node;
		ck_assert_int_eq(ferry_weak_map_set(g->m, map, node, node), 0);
	}
	ck_assert_uint_eq(ferry_weak_map_len(map), n);
	for (node = g->root[0]; node; node = node->left) {
		ck_assert_int_eq(ferry_weak_map_get(g->m, map, node, &value),
				 0);
		ck_assert_ptr_eq(value, node);
	}
	g->root[0] = graph_node(g->m, 0);
	ck_assert_int_eq(ferry_weak_map_set(g->m, map, g->root[0], NULL), 0);
	graph_collect(g, FERRY_COLLECT_FULL);
	graph_collect(g, FERRY_COLLECT_FULL);
	ck_assert_uint_eq(ferry_weak_map_len(map), 1);
	ck_assert_int_eq(ferry_weak_map_get(g->m, map, g->root[0], &value), 0);
	ferry_weak_map_destroy(map);
	graph_destroy(g);
}

START_TEST(map_grows_and_shrinks)
{
	in_modes(grow_and_shrink);
}
END_TEST

/* --- in a child ---------------------------------------------------------------- */

/* What a child finds of its parent's references and map. Returns 0. */
static int in_child(struct graph *g, struct ferry_weak_map *map,
		    const struct ferry_weak *kept,
		    const struct ferry_weak *lost)
{
	void *value;

	if (ferry_heap_collect(g->heap, g->m, FERRY_COLLECT_FULL) < 0)
		return 1;
	if (ferry_weak_get(g->m, kept) != g->root[0] ||
	    ferry_weak_get(g->m, lost))
		return 2;
	if (ferry_weak_map_len(map) != 1 ||
	    ferry_weak_map_get(g->m, map, g->root[0], &value) < 0 ||
	    ((struct node *)value)->id != 2)
		return 3;
	return ferry_weak_map_set(g->m, map, value, value) < 0 ? 4 : 0;
}

static void use_in_child(enum ferry_gc_mode mode)
{
	struct graph *g = graph_make(mode, 2, NULL);
	struct ferry_weak *kept, *lost;
	struct ferry_weak_map *map;
	int status;
	pid_t pid;

	/* The heap's threads are at rest after it: AddressSanitizer's allocator
	 * does not survive a fork that meets one while it starts. */
	graph_collect(g, FERRY_COLLECT_FULL);
	ck_assert_int_eq(ferry_weak_map_create(g->heap, 0, &map), 0);
	g->root[0] = graph_node(g->m, 0);
	g->root[1] = graph_node(g->m, 1);
	kept = ferry_weak_new(g->m, g->root[0]);
	lost = ferry_weak_new(g->m, g->root[1]);
	ck_assert_int_eq(ferry_weak_map_set(g->m, map, g->root[1], g->root[0]),
			 0);
	g->root[1] = graph_node(g->m, 2);
	ck_assert_int_eq(ferry_weak_map_set(g->m, map, g->root[0], g->root[1]),
			 0);
	g->root[1] = NULL;
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		_exit(in_child(g, map, kept, lost));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(in_child(g, map, kept, lost), 0);
	graph_destroy(g);
}

START_TEST(a_child_goes_on_with_its_references)
{
	in_modes(use_in_child);
}
END_TEST

/* --- many threads ------------------------------------------------------------------ */

#define SLOTS 512u

/* What all threads share; each thread writes its own part. */
struct shared {
	struct graph *g;
	struct ferry_weak_map *map;
	size_t steps;	     /* of each thread */
	_Atomic size_t left; /* threads that are not through */
	struct random seed;
};

struct worker {
	struct shared *shared;
	pthread_t thread;
	struct random random;
	struct ferry_weak *weak[SLOTS];
	struct node *root[SLOTS + 2]; /* SLOTS + 1: a value taken out */
	uint64_t id[SLOTS];	      /* of what weak[] refers to */
	uint64_t errors;
};

/* A value that is in no map for a while, and back when its chunk may have been
 * looked at already. */
static void borrow(struct worker *w, struct ferry_mutator *m, size_t i)
{
	struct node **held = &w->root[SLOTS + 1];
	void *value;

	if (*held) {
		ferry_weak_map_set(m, w->shared->map, (*held)->left, *held);
		*held = NULL;
	} else if (w->root[i] &&
		   ferry_weak_map_remove(m, w->shared->map, w->root[i],
					 &value) == 0) {
		*held = value;
	}
}

/*
 * A key with a value in the map, and garbage between them: it makes blocks
 * sparse, and has room for the hash that a key is given when it is copied.
 */
static void renew(struct worker *w, struct ferry_mutator *m, size_t i,
		  uint64_t id)
{
	size_t n;

	ferry_weak_free(w->shared->g->heap, w->weak[i]);
	w->id[i] = id;
	w->root[i] = graph_node(m, id);
	for (n = random_below(&w->random, 32); n; n--)
		graph_node(m, 0);
	w->root[SLOTS] = graph_node(m, ~id);
	w->root[SLOTS]->left = w->root[i];
	w->weak[i] = ferry_weak_new(m, w->root[i]);
	if (ferry_weak_map_set(m, w->shared->map, w->root[i], w->root[SLOTS]) <
	    0)
		w->errors++;
}

static void step(struct worker *w, struct ferry_mutator *m, uint64_t id)
{
	size_t i = random_below(&w->random, SLOTS);
	struct node *node;
	void *value;

	node = w->weak[i] ? ferry_weak_get(m, w->weak[i]) : NULL;
	if (w->root[i] && node != w->root[i])
		w->errors++; /* alive, and cleared */
	if (node && node->id != w->id[i])
		w->errors++; /* something else */
	if (w->root[i] &&
	    ferry_weak_map_get(m, w->shared->map, w->root[i], &value) == 0) {
		node = value;
		if (node->id != ~w->id[i] || node->left != w->root[i])
			w->errors++;
	}
	switch (random_below(&w->random, 8)) {
	case 2:
	case 3:
		borrow(w, m, i);
		break;
	case 0: /* let it die */
		w->root[i] = NULL;
		break;
	case 1: /* bring it back, if it is not dead yet */
		w->root[i] = w->weak[i] ? ferry_weak_get(m, w->weak[i]) : NULL;
		break;
	default:
		renew(w, m, i, id);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct ferry_frame frame;
	struct ferry_mutator *m;
	uint64_t id = (uint64_t)(uintptr_t)w << 32;
	size_t n = w->shared->steps;

	if (ferry_mutator_attach(w->shared->g->heap, NULL, &m) < 0) {
		atomic_fetch_sub(&w->shared->left, 1);
		return arg;
	}
	ferry_frame_push(m, &frame, (void **)w->root, SLOTS + 2);
	for (; n; n--) {
		step(w, m, ++id);
		ferry_safepoint(m);
		if (n % 128 == 0)
			graph_rest(m);
	}
	ferry_frame_pop(m, &frame);
	ferry_mutator_detach(m);
	atomic_fetch_sub(&w->shared->left, 1);
	return NULL;
}

/* Else references had nothing to follow. */
static void expect_moves(const struct graph *g, size_t steps)
{
	struct ferry_heap_stats s = FERRY_INIT(struct ferry_heap_stats);

	ck_assert_int_eq(ferry_heap_stats(g->heap, &s), 0);
	/* So few may all have been next to each other, and stayed. */
	if (steps >= 1000)
		ck_assert_uint_gt(s.moved + s.copied, 0);
}

/*
 * In pauses there are some steps to a collection, else some hundreds. No
 * collection is minor there, nor after one in which all had to move.
 */
static struct graph *race_graph(enum ferry_gc_mode mode, size_t *ret_steps)
{
	const char *why;
	bool pauses = mode == FERRY_GC_STOPPED ||
		      !harness_feature("move", &why);
	char options[64];

	snprintf(options, sizeof(options), "delay-seed:%llu,poison:yes%s",
		 (unsigned long long)harness_seed() | 1,
		 pauses ? ",move-all:yes" : "");
	*ret_steps = harness_scaled(pauses ? 3000 : 80000);
	return graph_make(mode, 1, options);
}

static void race(enum ferry_gc_mode mode)
{
	struct shared shared = { .seed = harness_random() };
	static struct worker worker[3];
	size_t i;

	memset(worker, 0, sizeof(worker));
	shared.g = race_graph(mode, &shared.steps);
	ck_assert_int_eq(ferry_weak_map_create(shared.g->heap, 0, &shared.map),
			 0);
	atomic_store(&shared.left, ARRAY_SIZE(worker));
	for (i = 0; i < ARRAY_SIZE(worker); i++) {
		worker[i].shared = &shared;
		worker[i].random = random_seeded(random_next(&shared.seed));
		ck_assert_int_eq(pthread_create(&worker[i].thread, NULL, work,
						&worker[i]),
				 0);
	}
	while (atomic_load(&shared.left))
		graph_collect(shared.g,
			      collects[random_below(&shared.seed, 3)]);
	ferry_blocking_enter(shared.g->m);
	for (i = 0; i < ARRAY_SIZE(worker); i++) {
		void *failed;

		pthread_join(worker[i].thread, &failed);
		ck_assert_ptr_null(failed);
	}
	ferry_blocking_leave(shared.g->m);
	for (i = 0; i < ARRAY_SIZE(worker); i++)
		ck_assert_uint_eq(worker[i].errors, 0);
	expect_moves(shared.g, shared.steps);
	graph_collect(shared.g, FERRY_COLLECT_FULL);
	ck_assert_uint_eq(ferry_weak_map_len(shared.map), 0);
	ferry_weak_map_destroy(shared.map);
	graph_destroy(shared.g);
}

START_TEST(references_are_right_while_collections_run)
{
	in_modes(race);
}
END_TEST

static const struct test tests[] = {
	TEST(reference_is_cleared_exactly_when_its_object_dies, NULL),
	TEST(reference_to_old_object_outlives_collections, NULL),
	TEST(references_of_several_generations_are_all_seen, NULL),
	TEST(what_is_no_object_never_dies, NULL),
	TEST(references_to_large_objects_are_cleared, NULL),
	TEST(weak_slot_is_cleared_exactly_when_its_object_dies, NULL),
	TEST(weak_slot_in_old_object_to_young_one_is_cleared, NULL),
	TEST(map_entry_lives_as_long_as_its_key, NULL),
	TEST(young_value_of_an_old_key_is_kept, NULL),
	TEST(values_that_are_keys_keep_a_chain_alive, NULL),
	TEST(raw_value_keeps_nothing_and_is_not_touched, NULL),
	TEST(map_refuses_what_is_no_object, NULL),
	TEST(map_agrees_with_a_model, NULL),
	TEST(map_grows_and_shrinks, NULL),
	TEST(a_child_goes_on_with_its_references, NULL),
	TEST(references_are_right_while_collections_run, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
