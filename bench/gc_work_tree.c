/* SPDX-License-Identifier: MIT */
/*
 * gc_work_tree.c: workloads that build and drop binary trees.
 *
 * gcbench follows the description of GCBench (J. Ellis, P. Kovac, H. Boehm):
 * a large tree to stretch memory, then a tree and an array of numbers that
 * live to the end, then trees of growing depth, as many of each as make the
 * same number of nodes, built from the root down and from the leaves up.
 *
 * binary-trees follows that of the Computer Language Benchmarks Game: a tree
 * to stretch memory, one that lives on, and for every second depth as many
 * trees as make the same number of nodes, each walked once and dropped.
 */
#include "gc_mem.h"

#define MIN_DEPTH 4

/* --- trees ---------------------------------------------------------------- */

struct gc_node *gc_build_up(struct gc_thread *t, unsigned int depth)
{
	struct gc_node *n;

	if (!depth)
		return gc_ticked_node(t, 0);
	GC_ENTER(t, l, 2);
	l[0] = gc_build_up(t, depth - 1);
	l[1] = gc_build_up(t, depth - 1);
	n = gc_ticked_node(t, depth);
	n->left = l[0];
	n->right = l[1];
	GC_LEAVE(t, l);
	return n;
}

static void grow_down(struct gc_thread *t, struct gc_node *tree,
		      unsigned int depth)
{
	struct gc_node *n;

	if (!depth)
		return;
	GC_ENTER(t, l, 1);
	l[0] = tree;
	n = gc_ticked_node(t, depth - 1);
	((struct gc_node *)l[0])->left = n;
	n = gc_ticked_node(t, depth - 1);
	((struct gc_node *)l[0])->right = n;
	grow_down(t, ((struct gc_node *)l[0])->left, depth - 1);
	grow_down(t, ((struct gc_node *)l[0])->right, depth - 1);
	GC_LEAVE(t, l);
}

struct gc_node *gc_build_down(struct gc_thread *t, unsigned int depth)
{
	struct gc_node *n;

	GC_ENTER(t, l, 1);
	l[0] = gc_ticked_node(t, depth);
	grow_down(t, l[0], depth);
	n = l[0];
	GC_LEAVE(t, l);
	return n;
}

uint64_t gc_tree_check(struct gc_thread *t, const struct gc_node *tree,
		       unsigned int depth)
{
	if (!tree || tree->type != GC_TYPE_NODE || tree->value != depth) {
		t->wrong++;
		return 0;
	}
	if (!depth) {
		t->wrong += tree->left || tree->right;
		return 1;
	}
	return 1 + gc_tree_check(t, tree->left, depth - 1) +
	       gc_tree_check(t, tree->right, depth - 1);
}

/* Operations of walking, of the size that a tick of building has. Without a
 * safepoint: what is above in the tree is in no root. */
static void check_ticked(struct gc_thread *t, const struct gc_node *tree,
			 unsigned int depth)
{
	if (depth <= 6) {
		if (gc_tree_check(t, tree, depth) != gc_tree_nodes(depth))
			t->wrong++;
		gc_tick(&t->meter, GC_OP_WALK);
		return;
	}
	check_ticked(t, tree->left, depth - 1);
	check_ticked(t, tree->right, depth - 1);
}

static void drop_tree(struct gc_thread *t, bool down, unsigned int depth,
		      bool walk)
{
	GC_ENTER(t, l, 1);
	gc_scratch(t, true);
	l[0] = down ? gc_build_down(t, depth) : gc_build_up(t, depth);
	gc_scratch(t, false);
	if (walk)
		gc_tree_check(t, l[0], depth);
	GC_LEAVE(t, l);
	t->ops += gc_tree_nodes(depth);
}

/* Small trees, until what a batch of nodes takes is well known. */
static void learn_trees(struct gc_thread *t)
{
	GC_ENTER(t, l, 1);
	for (int i = 0; i < 64; i++) {
		gc_scratch(t, true);
		l[0] = i & 1 ? gc_build_down(t, 9) : gc_build_up(t, 9);
		gc_scratch(t, false);
		t->meter.last = bench_now();
		check_ticked(t, l[0], 9);
		gc_poll(t);
	}
	GC_LEAVE(t, l);
}

static void setup_nothing(struct gc_thread *t)
{
	(void)t;
}

static uint64_t share(const struct gc_thread *t)
{
	return t->run->spec.live / t->run->spec.mutators;
}

/* --- gcbench -------------------------------------------------------------- */

/*
 * The stretching tree is four times as large as the tree that lives on, and
 * is all that lives then; later that is this tree, the array, and the tree of
 * now.
 */
static unsigned int gcbench_depth(const struct gc_thread *t)
{
	return gc_tree_depth(share(t) / 4);
}

static size_t array_len(const struct gc_thread *t)
{
	uint64_t tree =
		gc_tree_nodes(gcbench_depth(t)) * sizeof(struct gc_node);

	return (share(t) - 2 * tree) / sizeof(double);
}

static void fill_array(struct gc_thread *t, struct gc_bytes *array, size_t n)
{
	double *v = (double *)(void *)array->byte;

	for (size_t i = 0; i < n / 2; i++) {
		v[i] = 1.0 / (double)(i + 1);
		if (i % 512 == 511)
			gc_tick(&t->meter, GC_OP_WORK);
	}
}

static void check_array(struct gc_thread *t, const struct gc_bytes *array,
			size_t n)
{
	const double *v = (const double *)(const void *)array->byte;
	size_t i = n > 1000 ? 999 : n / 4;

	if (array->type != GC_TYPE_BYTES || array->n != n * sizeof(double) ||
	    v[i] != 1.0 / (double)(i + 1) ||
	    v[n / 2 - 1] != 1.0 / (double)(n / 2))
		t->wrong++;
}

/* Trees of one depth: as many nodes as two stretching trees have. */
static void trees_of_depth(struct gc_thread *t, unsigned int depth,
			   unsigned int stretch)
{
	uint64_t n = 2 * gc_tree_nodes(stretch) / gc_tree_nodes(depth);

	for (uint64_t i = 0; i < n; i++)
		drop_tree(t, true, depth, false);
	for (uint64_t i = 0; i < n; i++)
		drop_tree(t, false, depth, false);
}

static void work_gcbench(struct gc_thread *t)
{
	unsigned int depth = gcbench_depth(t);
	unsigned int stretch = depth + 2;
	size_t n = array_len(t);

	drop_tree(t, false, stretch, false);
	t->root[0] = gc_build_down(t, depth);
	t->root[1] = gc_bytes(t, n * sizeof(double));
	fill_array(t, t->root[1], n);
	for (unsigned int d = MIN_DEPTH; d <= depth; d += 2)
		trees_of_depth(t, d, stretch);
}

static void check_gcbench(struct gc_thread *t)
{
	unsigned int depth = gcbench_depth(t);

	if (gc_tree_check(t, t->root[0], depth) != gc_tree_nodes(depth))
		t->wrong++;
	check_array(t, t->root[1], array_len(t));
}

static void learn_gcbench(struct gc_thread *t)
{
	size_t n = 64 * 1024;

	learn_trees(t);
	gc_scratch(t, true);
	t->root[0] = gc_bytes(t, n * sizeof(double));
	gc_scratch(t, false);
	fill_array(t, t->root[0], n);
	t->root[0] = NULL;
}

const struct gc_workload GC_NAME(gc_gcbench) = {
	.id = GC_GCBENCH,
	.setup = setup_nothing,
	.learn = learn_gcbench,
	.work = work_gcbench,
	.check = check_gcbench,
};

/* --- binary-trees --------------------------------------------------------- */

/* Live: the tree that lives on, and each mutator's tree of now. */
static unsigned int binary_depth(const struct gc_thread *t)
{
	return gc_tree_depth(t->run->spec.live / (t->run->spec.mutators + 1));
}

static void work_binary(struct gc_thread *t)
{
	unsigned int depth = binary_depth(t);

	if (t->index == 0) {
		drop_tree(t, false, depth + 1, true);
		t->root[0] = gc_build_up(t, depth);
	}
	for (unsigned int d = MIN_DEPTH; d <= depth; d += 2) {
		uint64_t n = (uint64_t)1 << (depth - d + MIN_DEPTH);

		n /= t->run->spec.mutators;
		for (uint64_t i = 0; i < n; i++)
			drop_tree(t, false, d, true);
	}
}

static void check_binary(struct gc_thread *t)
{
	unsigned int depth = binary_depth(t);

	if (t->index == 0 &&
	    gc_tree_check(t, t->root[0], depth) != gc_tree_nodes(depth))
		t->wrong++;
}

const struct gc_workload GC_NAME(gc_binary_trees) = {
	.id = GC_BINARY_TREES,
	.setup = setup_nothing,
	.learn = learn_trees,
	.work = work_binary,
	.check = check_binary,
};
