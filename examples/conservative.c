/* SPDX-License-Identifier: MIT */
/*
 * Raw pointers in C variables: a search tree whose code knows nothing of the
 * collector. Stacks are looked through for what may be a reference; what one
 * hits stays where it is, and all else may move.
 */
#include <ferry/ferry.h>

#include <stdio.h>
#include <stdlib.h>

#define KEYS   1000
#define ROUNDS 60000

struct node {
	const struct ferry_type *type;
	struct node *left, *right;
	long key, value;
};

/* Where references are in an object, said once: words 1 and 2. */
static const struct ferry_type node_type = {
	.size = sizeof(struct node),
	.refs = 1u << 1 | 1u << 2,
	.name = "node",
};

static struct node *node_new(struct ferry_mutator *m, const struct node *like)
{
	struct node *node = ferry_alloc(m, sizeof(*node), FERRY_KIND_TYPED);

	if (!node) {
		fprintf(stderr, "conservative: out of memory\n");
		exit(1);
	}
	*node = *like;
	return node;
}

/*
 * The tree with @key set, as a new tree that shares what did not change: the
 * nodes on the way are copied, the old ones are garbage when nobody has the
 * old tree any more. Pointers are kept in variables across allocations.
 */
static struct node *set(struct ferry_mutator *m, struct node *tree, long key,
			long value)
{
	struct node node = { &node_type, NULL, NULL, key, value };

	if (tree) {
		node = *tree;
		if (key == tree->key)
			node.value = value;
		else if (key < tree->key)
			node.left = set(m, tree->left, key, value);
		else
			node.right = set(m, tree->right, key, value);
	}
	return node_new(m, &node);
}

static const struct node *get(const struct node *tree, long key)
{
	while (tree && tree->key != key)
		tree = key < tree->key ? tree->left : tree->right;
	return tree;
}

/* How many keys do not have the values they should? */
static size_t count_wrong(const struct node *tree, const long *value)
{
	size_t wrong = 0;
	long key;

	for (key = 0; key < KEYS; key++) {
		const struct node *node = get(tree, key);

		wrong += node ? node->value != value[key] : value[key] != 0;
	}
	return wrong;
}

/* Two versions of the tree, half of the changes apart. */
static size_t play(struct ferry_mutator *m, struct ferry_heap *heap)
{
	static long now[KEYS], then[KEYS];
	struct node *tree = NULL, *old = NULL;
	long i, key;

	for (i = 1; i <= ROUNDS; i++) {
		key = random() % KEYS;
		tree = set(m, tree, key, i);
		now[key] = i;
		if (i != ROUNDS / 2)
			continue;
		old = tree;
		for (key = 0; key < KEYS; key++)
			then[key] = now[key];
	}
	/* All that may move does, while both are in variables. */
	if (ferry_heap_collect(heap, m, FERRY_COLLECT_COMPACT) < 0)
		return 1;
	return count_wrong(tree, now) + count_wrong(old, then);
}

int main(void)
{
	struct ferry_heap_params params = FERRY_INIT(struct ferry_heap_params);
	struct ferry_heap_stats stats = FERRY_INIT(struct ferry_heap_stats);
	struct ferry_mutator *m;
	struct ferry_heap *heap;
	size_t wrong;

	params.stacks = FERRY_STACK_AMBIGUOUS;
	if (ferry_heap_create(&params, NULL, &heap) < 0 ||
	    ferry_mutator_attach(heap, NULL, &m) < 0)
		return 1;
	wrong = play(m, heap);
	if (ferry_heap_stats(heap, &stats) < 0)
		return 1;
	printf("%llu KiB were allocated, %zu are live after %llu collections; "
	       "%zu values are wrong\n",
	       (unsigned long long)stats.allocated >> 10, stats.live >> 10,
	       (unsigned long long)(stats.minors + stats.fulls), wrong);
	ferry_mutator_detach(m);
	ferry_heap_destroy(heap);
	return wrong != 0;
}
