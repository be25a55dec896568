/* SPDX-License-Identifier: MIT */
/* Identity hashes: the same for life, and spread. */
#include "tests/harness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/graph.h"

#define NODES 20000u

static const enum ferry_collect collects[] = {
	FERRY_COLLECT_MINOR,
	FERRY_COLLECT_FULL,
	FERRY_COLLECT_COMPACT,
};

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* A hundred thousand objects: hashes differ, and so do their low bits about
 * as often as those of random numbers would. */
START_TEST(hashes_of_many_objects_are_spread)
{
	enum { N = 100000, BUCKETS = 1 << 14 };
	struct graph *g = graph_make(FERRY_GC_AUTO, 1, NULL);
	uint64_t *hash = calloc(N, sizeof(*hash));
	unsigned int *bucket = calloc(BUCKETS, sizeof(*bucket));
	size_t i, same = 0, empty = 0;
	struct node *node;

	ck_assert_ptr_nonnull(hash);
	ck_assert_ptr_nonnull(bucket);
	for (i = 0; i < N; i++) {
		node = graph_node(g->m, i);
		node->left = g->root[0];
		g->root[0] = node;
		hash[i] = ferry_identity_hash(g->m, node);
		bucket[hash[i] % BUCKETS]++;
		ck_assert_uint_lt(bucket[hash[i] % BUCKETS], 40);
	}
	qsort(hash, N, sizeof(*hash), by_value);
	for (i = 1; i < N; i++)
		same += hash[i] == hash[i - 1];
	for (i = 0; i < BUCKETS; i++)
		empty += !bucket[i];
	ck_assert_uint_eq(same, 0);
	/* Six to a bucket: one in 450 is empty. */
	ck_assert_uint_lt(empty, 200);
	free(bucket);
	free(hash);
	graph_destroy(g);
}
END_TEST

/*
 * Objects of many sizes, of which some are asked at once, some later, some
 * never; most of them die, so that compactions copy the rest.
 */
struct herd {
	struct graph *g;
	struct random random;
	uint64_t hash[NODES]; /* 0: not asked */
};

static struct node *herd_node(struct herd *h, uint64_t id)
{
	size_t size = sizeof(struct node) + random_below(&h->random, 200);
	struct node *node = ferry_alloc(h->g->m, size, FERRY_KIND_TRACED);

	ck_assert_ptr_nonnull(node);
	node->id = id;
	return node;
}

static void ask(struct herd *h, size_t i)
{
	uint64_t hash = ferry_identity_hash(h->g->m, h->g->root[i]);

	if (h->hash[i])
		ck_assert_uint_eq(hash, h->hash[i]);
	h->hash[i] = hash;
	ck_assert_uint_eq(h->g->root[i]->id, i);
}

static void herd_round(struct herd *h)
{
	struct graph *g = h->g;
	size_t i;

	for (i = 0; i < NODES; i++) {
		if (g->root[i] && random_below(&h->random, 2)) {
			g->root[i] = NULL;
			h->hash[i] = 0;
		}
		if (!g->root[i] && random_below(&h->random, 3) == 0)
			g->root[i] = herd_node(h, i);
		if (g->root[i] && random_below(&h->random, 3) == 0)
			ask(h, i);
	}
}

static void herd_expect(struct herd *h)
{
	size_t i;

	for (i = 0; i < NODES; i++)
		if (h->hash[i])
			ask(h, i);
}

static void stable(enum ferry_gc_mode mode, const char *options)
{
	static struct herd h;
	unsigned int round;

	memset(&h, 0, sizeof(h));
	h.random = harness_random();
	h.g = graph_make(mode, NODES, options);
	for (round = 0; round < harness_scaled(40); round++) {
		herd_round(&h);
		graph_collect(h.g, collects[round % 3]);
		herd_expect(&h);
	}
	graph_destroy(h.g);
}

START_TEST(hash_is_the_same_after_every_collection)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(graph_modes); i++) {
		stable(graph_modes[i], "verify:yes,poison:yes");
		stable(graph_modes[i], "move-all:yes");
	}
}
END_TEST

START_TEST(hash_of_a_large_object_is_the_same_after_a_move)
{
	struct graph *g = graph_make(FERRY_GC_AUTO, 2, "move-all:yes");
	uint64_t hash;
	size_t i;

	g->root[0] = ferry_alloc(g->m, 1 << 20, FERRY_KIND_LEAF);
	hash = ferry_identity_hash(g->m, g->root[0]);
	for (i = 0; i < 4; i++) {
		graph_collect(g, FERRY_COLLECT_COMPACT);
		ck_assert_uint_eq(ferry_identity_hash(g->m, g->root[0]), hash);
	}
	graph_destroy(g);
}
END_TEST

/* --- while the program runs ------------------------------------------------------- */

#define SLOTS 4096u

struct asker {
	struct graph *g;
	pthread_t thread;
	struct random random;
	struct node *root[SLOTS];
	uint64_t hash[SLOTS];
	uint64_t errors;
	struct graph_crowd *crowd;
};

static void ask_one(struct asker *a, struct ferry_mutator *m)
{
	size_t i = random_below(&a->random, SLOTS);
	uint64_t hash;

	if (!a->root[i] || random_below(&a->random, 4) == 0) {
		a->root[i] = graph_node(m, i);
		a->hash[i] = 0;
		return;
	}
	if (a->root[i]->id != i)
		a->errors++;
	hash = ferry_identity_hash(m, a->root[i]);
	if (a->hash[i] && a->hash[i] != hash)
		a->errors++;
	a->hash[i] = hash;
}

static void *ask_many(void *arg)
{
	struct asker *a = arg;
	struct ferry_frame frame;
	struct ferry_mutator *m = NULL;
	size_t n;

	if (ferry_mutator_attach(a->g->heap, NULL, &m) < 0)
		a->errors++;
	if (m) {
		ferry_frame_push(m, &frame, (void **)a->root, SLOTS);
		for (n = harness_scaled(500000); n; n--) {
			ask_one(a, m);
			ferry_safepoint(m);
			if (n % 256 == 0)
				graph_turn(a->crowd, m);
		}
		ferry_frame_pop(m, &frame);
		ferry_mutator_detach(m);
	}
	atomic_fetch_sub(&a->crowd->left, 1);
	return NULL;
}

static void race(const char *options)
{
	struct random r = harness_random();
	static struct asker asker[2];
	struct graph_crowd crowd = { .left = ARRAY_SIZE(asker) };
	struct graph *g = graph_make(FERRY_GC_AUTO, 1, options);
	size_t i;

	memset(asker, 0, sizeof(asker));

	for (i = 0; i < ARRAY_SIZE(asker); i++) {
		asker[i].g = g;
		asker[i].crowd = &crowd;
		asker[i].random = random_seeded(random_next(&r));
		ck_assert_int_eq(pthread_create(&asker[i].thread, NULL,
						ask_many, &asker[i]),
				 0);
	}
	while (graph_turn_wait(&crowd, g->m))
		graph_collect(g, FERRY_COLLECT_COMPACT);
	for (i = 0; i < ARRAY_SIZE(asker); i++) {
		pthread_join(asker[i].thread, NULL);
		ck_assert_uint_eq(asker[i].errors, 0);
	}
	graph_destroy(g);
}

START_TEST(hash_is_the_same_while_compactions_run)
{
	race("move-all:yes");
}
END_TEST

START_TEST(hash_is_the_same_while_compactions_run_by_signals)
{
	race("move-all:yes,fault-mode:sigbus");
}
END_TEST

static const struct test tests[] = {
	TEST(hashes_of_many_objects_are_spread, NULL),
	TEST(hash_is_the_same_after_every_collection, NULL),
	TEST(hash_of_a_large_object_is_the_same_after_a_move, NULL),
	TEST(hash_is_the_same_while_compactions_run, NULL),
	TEST(hash_is_the_same_while_compactions_run_by_signals, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
