/* SPDX-License-Identifier: MIT */
/* Ephemerons inside objects, on a heap that collects. */
#include "tests/harness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "runtime/heap-internal.h"
#include "tests/graph.h"

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
			struct graph *g = graph_make(graph_modes[i], 2 * NODES,
						     "verify:yes,poison:yes");

			graph_collect(g, FERRY_COLLECT_FULL);
			fn(g, collects[j]);
			graph_destroy(g);
		}
}

/* Root i is an ephemeron; root NODES + i keeps its key if @keep says so. */
static void expect(struct graph *g, uint64_t i, bool alive)
{
	const struct node *e = g->root[i];

	if (!alive) {
		ck_assert_ptr_null(e->key);
		ck_assert_ptr_null(e->value);
		return;
	}
	ck_assert_ptr_nonnull(e->key);
	ck_assert_uint_eq(e->key->id, i + NODES);
	ck_assert_ptr_nonnull(e->value);
	ck_assert_uint_eq(e->value->id, i + 2 * NODES);
}

static void fill(struct graph *g, uint64_t i)
{
	struct node *node = graph_node(g->m, i + NODES);

	g->root[i]->key = node;
	g->root[NODES + i] = node;
	node = graph_node(g->m, i + 2 * NODES);
	/* The value refers to its key, which must not keep either. */
	node->left = g->root[NODES + i];
	g->root[i]->value = node;
}

static void check_key(struct graph *g, enum ferry_collect what)
{
	uint64_t i;

	for (i = 0; i < NODES; i++) {
		g->root[i] = graph_node(g->m, i);
		fill(g, i);
	}
	for (i = 0; i < NODES; i++)
		if (i % 3)
			g->root[NODES + i] = NULL;
	graph_collect(g, what);
	for (i = 0; i < NODES; i++)
		expect(g, i, i % 3 == 0);
}

START_TEST(value_lives_exactly_as_long_as_the_key)
{
	everywhere(check_key);
}
END_TEST

/* Old holders, young keys and values; and old keys with young values. */
static void check_generations(struct graph *g, enum ferry_collect what)
{
	uint64_t i;

	for (i = 0; i < NODES; i++)
		g->root[i] = graph_node(g->m, i);
	graph_collect(g, FERRY_COLLECT_FULL);
	for (i = 0; i < NODES; i++)
		fill(g, i);
	graph_collect(g, what);
	for (i = 0; i < NODES; i++)
		expect(g, i, true);
	for (i = 0; i < NODES; i++)
		g->root[i]->value = graph_node(g->m, i + 2 * NODES);
	graph_collect(g, what);
	graph_collect(g, what);
	for (i = 0; i < NODES; i++)
		expect(g, i, true);
	for (i = 0; i < NODES; i++) {
		fill(g, i);
		g->root[NODES + i] = NULL;
	}
	graph_collect(g, what);
	for (i = 0; i < NODES; i++)
		expect(g, i, false);
}

START_TEST(ephemeron_in_old_object_is_seen_in_minor_collections)
{
	everywhere(check_generations);
}
END_TEST

static void check_null_key(struct graph *g, enum ferry_collect what)
{
	static int outside;

	g->root[0] = graph_node(g->m, 0);
	g->root[1] = graph_node(g->m, 1);
	g->root[2] = graph_node(g->m, 2);
	g->root[3] = graph_node(g->m, 3);
	g->root[0]->value = graph_node(g->m, 4);
	g->root[1]->value = g->root[3];
	g->root[2]->key = (struct node *)&outside;
	g->root[2]->value = graph_node(g->m, 5);
	graph_collect(g, what);
	ck_assert_ptr_null(g->root[0]->value);
	ck_assert_ptr_eq(g->root[1]->value, g->root[3]);
	ck_assert_ptr_eq(g->root[2]->key, (struct node *)&outside);
	ck_assert_uint_eq(g->root[2]->value->id, 5);
}

START_TEST(key_of_null_keeps_nothing_and_one_outside_for_ever)
{
	everywhere(check_null_key);
}
END_TEST

/* Many ephemerons on one key, many keys for one value. */
static void check_shared(struct graph *g, enum ferry_collect what)
{
	struct node *hub = graph_node(g->m, 1), *value;
	uint64_t i;

	g->root[2 * NODES - 1] = hub;
	for (i = 0; i < NODES; i++) {
		g->root[i] = graph_node(g->m, i);
		value = graph_node(g->m, i);
		g->root[i]->value = value;
		g->root[i]->key = g->root[2 * NODES - 1];
	}
	graph_collect(g, what);
	for (i = 0; i < NODES; i++)
		ck_assert_uint_eq(g->root[i]->value->id, i);
	g->root[2 * NODES - 1] = NULL;
	graph_collect(g, FERRY_COLLECT_FULL);
	for (i = 0; i < NODES; i++) {
		ck_assert_ptr_null(g->root[i]->key);
		ck_assert_ptr_null(g->root[i]->value);
	}
}

START_TEST(many_ephemerons_share_a_key)
{
	everywhere(check_shared);
}
END_TEST

/*
 * A chain: ephemeron i has key i and value i + 1, and nothing but these keeps
 * keys. The ephemerons are traced in the worst order, last first, so that
 * each waits before its key is marked. Returns the steps that it took.
 */
static uint64_t chain_steps(enum ferry_gc_mode mode, size_t n)
{
	struct graph *g = graph_make(mode, 4, "verify:no");
	struct node *e, *key;
	uint64_t before;
	size_t i;

	/* Root 0: the list of ephemerons, the last of the chain first; root
	 * 1: the first key; root 2: the key that was made last. */
	g->root[1] = g->root[2] = graph_node(g->m, 0);
	for (i = 1; i <= n; i++) {
		g->root[3] = graph_node(g->m, i);
		e = graph_node(g->m, i);
		e->left = g->root[0];
		e->key = g->root[2];
		e->value = g->root[3];
		g->root[0] = e;
		g->root[2] = g->root[3];
	}
	g->root[2] = g->root[3] = NULL;
	graph_collect(g, FERRY_COLLECT_FULL);
	before = atomic_load(&g->heap->weak.steps);
	graph_collect(g, FERRY_COLLECT_FULL);
	before = atomic_load(&g->heap->weak.steps) - before;
	for (e = g->root[0], i = n; e; e = e->left, i--) {
		key = e->key;
		ck_assert_uint_eq(key->id, i - 1);
		ck_assert_uint_eq(e->value->id, i);
	}
	ck_assert_uint_eq(i, 0);
	graph_destroy(g);
	return before;
}

START_TEST(chain_of_ephemerons_is_linear_work)
{
	size_t i, n = harness_scaled(1000000);
	uint64_t steps, fewer;

	for (i = 0; i < ARRAY_SIZE(graph_modes); i++) {
		fewer = chain_steps(graph_modes[i], n / 10);
		steps = chain_steps(graph_modes[i], n);
		ck_assert_uint_ge(steps, n);
		/* A step to trace, to wait, to look again, to take out. */
		ck_assert_uint_lt(steps, 8 * n);
		ck_assert_uint_lt(steps, 20 * fewer);
	}
}
END_TEST

/* --- while the program runs ----------------------------------------------------- */

#define PAIRS 256u

struct writer {
	struct graph *g;
	pthread_t thread;
	struct random random;
	struct node *root[2 * PAIRS];
	uint64_t errors;
	struct graph_crowd *crowd;
};

/*
 * Root i is an ephemeron; root PAIRS + i, if any, the key it must have. A key
 * is given back now and then by way of the ephemeron itself.
 */
static void write_one(struct writer *w, struct ferry_mutator *m, uint64_t id)
{
	size_t i = random_below(&w->random, PAIRS);
	struct node *e = w->root[i], *key = w->root[PAIRS + i];

	if (key && (e->key != key || !e->value || e->value->id != ~key->id ||
		    e->value->left != key))
		w->errors++;
	if (!e->key != !e->value)
		w->errors++;
	if (e->key && e->value && e->value->id != ~e->key->id)
		w->errors++;
	switch (random_below(&w->random, 4)) {
	case 0:
		w->root[PAIRS + i] = NULL;
		break;
	case 1:
		w->root[PAIRS + i] = e->key;
		break;
	default:
		w->root[PAIRS + i] = graph_node(m, id);
		e = graph_node(m, ~id);
		e->left = w->root[PAIRS + i];
		w->root[i]->key = w->root[PAIRS + i];
		w->root[i]->value = e;
	}
}

static void *write_many(void *arg)
{
	struct writer *w = arg;
	struct ferry_frame frame;
	struct ferry_mutator *m = NULL;
	size_t i, n = harness_scaled(250000);

	if (ferry_mutator_attach(w->g->heap, NULL, &m) < 0)
		w->errors++;
	if (m) {
		ferry_frame_push(m, &frame, (void **)w->root, 2 * PAIRS);
		for (i = 0; i < PAIRS; i++)
			w->root[i] = graph_node(m, 0);
		for (i = 0; i < n; i++) {
			write_one(w, m, i + 1);
			ferry_safepoint(m);
			if (i % 128 == 0)
				graph_turn(w->crowd, m);
		}
		ferry_frame_pop(m, &frame);
		ferry_mutator_detach(m);
	}
	atomic_fetch_sub(&w->crowd->left, 1);
	return NULL;
}

START_TEST(ephemerons_are_right_while_collections_run)
{
	struct random r = harness_random();
	static struct writer writer[3];
	struct graph_crowd crowd = { .left = ARRAY_SIZE(writer) };
	struct graph *g = graph_make(FERRY_GC_AUTO, 1, "verify:yes,poison:yes");
	size_t i;

	for (i = 0; i < ARRAY_SIZE(writer); i++) {
		writer[i].g = g;
		writer[i].crowd = &crowd;
		writer[i].random = random_seeded(random_next(&r));
		ck_assert_int_eq(pthread_create(&writer[i].thread, NULL,
						write_many, &writer[i]),
				 0);
	}
	while (graph_turn_wait(&crowd, g->m))
		graph_collect(g, collects[random_below(&r, 3)]);
	for (i = 0; i < ARRAY_SIZE(writer); i++) {
		pthread_join(writer[i].thread, NULL);
		ck_assert_uint_eq(writer[i].errors, 0);
	}
	graph_destroy(g);
}
END_TEST

static const struct test tests[] = {
	TEST(value_lives_exactly_as_long_as_the_key, NULL),
	TEST(ephemeron_in_old_object_is_seen_in_minor_collections, NULL),
	TEST(key_of_null_keeps_nothing_and_one_outside_for_ever, NULL),
	TEST(many_ephemerons_share_a_key, NULL),
	TEST(chain_of_ephemerons_is_linear_work, NULL),
	TEST(ephemerons_are_right_while_collections_run, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
