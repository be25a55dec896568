/* SPDX-License-Identifier: MIT */
/*
 * gc_work_oldmut.c: an old graph that is changed while young objects come and
 * go, in the manner of GCOld (D. Detlefs): an array of many complete trees.
 * A step makes young trees and forgets them, replaces old subtrees, exchanges
 * old subtrees with each other, and computes something without memory. Every
 * mutator has trees of its own. Shapes stay the same, so that every node's
 * height, which is its value, can be verified at any time.
 */
#include "gc_mem.h"

#define DEPTH	    11 /* of each tree: 4095 nodes, 128 KiB */
#define CHURN_LEVEL 7  /* whose left child is replaced: 15 nodes */
#define CHURN_DEPTH (DEPTH - CHURN_LEVEL - 1)
#define YOUNG_DEPTH 3 /* of a young tree: 15 nodes */
#define LEVELS	    8 /* at which subtrees are exchanged: 2..9 */
#define FIRST_LEVEL 2
#define TREE_BYTES  (gc_tree_nodes(DEPTH) * sizeof(struct gc_node))
#define YOUNG_BYTES (gc_tree_nodes(YOUNG_DEPTH) * sizeof(struct gc_node))

static struct gc_array *trees(struct gc_thread *t)
{
	return t->root[0];
}

static void setup(struct gc_thread *t)
{
	uint64_t n = t->run->spec.live / t->run->spec.mutators / TREE_BYTES;

	n = n ? n : 1;
	t->root[0] = gc_array(t, n);
	for (uint64_t i = 0; i < n; i++) {
		struct gc_node *tree = gc_build_up(t, DEPTH);

		trees(t)->slot[i] = tree;
	}
}

/* A node of any tree, by a random path of @level edges. */
static struct gc_node *pick(struct gc_thread *t, unsigned int level)
{
	const struct gc_array *a = trees(t);
	struct gc_node *n = a->slot[bench_rng_below(&t->rng, a->n)];
	uint64_t path = bench_rng_next(&t->rng);

	for (unsigned int i = 0; i < level; i++, path >>= 1)
		n = path & 1 ? n->left : n->right;
	if (n->value != DEPTH - level)
		t->wrong++;
	return n;
}

static void make_young(struct gc_thread *t, uint64_t bytes)
{
	gc_scratch(t, true);
	for (uint64_t done = 0; done < bytes; done += YOUNG_BYTES)
		if (!gc_build_up(t, YOUNG_DEPTH))
			t->wrong++;
	gc_scratch(t, false);
}

static void replace(struct gc_thread *t)
{
	struct gc_node *young = gc_build_up(t, CHURN_DEPTH);
	struct gc_node *n = pick(t, CHURN_LEVEL);
	struct gc_node *old = n->left;

	n->left = young;
	gc_forget(t, old);
}

static void exchange(struct gc_thread *t)
{
	unsigned int level =
		FIRST_LEVEL + (unsigned int)bench_rng_below(&t->rng, LEVELS);
	struct gc_node *a = pick(t, level);
	struct gc_node *b = pick(t, level);
	struct gc_node *left = a->left;

	a->left = b->left;
	b->left = left;
}

static void compute(struct gc_thread *t, uint64_t n)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++)
		sum += bench_rng_next(&t->rng);
	bench_use(&sum);
}

static void step(struct gc_thread *t, const struct gc_rates *r)
{
	t->until = UINT32_MAX; /* the step has ticks of its own */
	make_young(t, r->young);
	gc_tick(&t->meter, GC_OP_BUILD);
	for (uint64_t i = 0; i < r->churn; i++)
		replace(t);
	gc_tick(&t->meter, GC_OP_CHURN);
	for (uint64_t i = 0; i < r->mutations; i++)
		exchange(t);
	gc_tick(&t->meter, GC_OP_MUTATE);
	compute(t, r->work);
	gc_tick(&t->meter, GC_OP_WORK);
	gc_poll(t);
	t->ops++;
}

static uint64_t bytes_of_step(const struct gc_rates *r)
{
	uint64_t bytes = r->young + r->churn * YOUNG_BYTES;

	return bytes ? bytes : 1;
}

/* As long as what is allocated is little of what there is room for. */
static void learn(struct gc_thread *t)
{
	const struct gc_spec *spec = &t->run->spec;
	double room = (spec->heap - 1) * (double)spec->live;
	double steps = room / 8 / (double)spec->mutators /
		       (double)bytes_of_step(&spec->rates);

	for (int i = 0; i < 20000 && (i < 500 || i < steps); i++)
		step(t, &spec->rates);
}

static void work(struct gc_thread *t)
{
	const struct gc_spec *spec = &t->run->spec;
	uint64_t steps =
		spec->volume / spec->mutators / bytes_of_step(&spec->rates);

	for (uint64_t i = 0; i < steps; i++)
		step(t, &spec->rates);
}

static void *any(struct gc_thread *t)
{
	return pick(t, LEVELS);
}

static void check(struct gc_thread *t)
{
	for (size_t i = 0; i < trees(t)->n; i++) {
		if (gc_tree_check(t, trees(t)->slot[i], DEPTH) !=
		    gc_tree_nodes(DEPTH))
			t->wrong++;
		gc_poll(t);
	}
}

const struct gc_workload GC_NAME(gc_oldmut) = {
	.id = GC_OLDMUT,
	.setup = setup,
	.learn = learn,
	.work = work,
	.check = check,
	.any = any,
};
