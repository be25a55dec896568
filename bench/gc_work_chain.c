/* SPDX-License-Identifier: MIT */
/*
 * gc_work_chain.c: a chain of ephemerons, each of whose values is the key of
 * the next, in an order that no single pass over them can follow. One
 * collection finds that all live, another that none does.
 */
#include "gc_mem.h"

#define PIECE 512

/* An ephemeron, a key and the slots that refer to them. */
#define LINK_BYTES (16 + sizeof(struct gc_node) + 2 * sizeof(void *))

static void **slot_of(void *root, uint64_t i)
{
	struct gc_array *piece = ((struct gc_array *)root)->slot[i / PIECE];

	return &piece->slot[i % PIECE];
}

static void *make_table(struct gc_thread *t, uint64_t n)
{
	size_t pieces = (n + PIECE - 1) / PIECE;
	void *table;

	GC_ENTER(t, l, 1);
	l[0] = gc_array(t, pieces);
	for (size_t i = 0; i < pieces; i++) {
		struct gc_array *piece = gc_array(t, PIECE);

		((struct gc_array *)l[0])->slot[i] = piece;
	}
	table = l[0];
	GC_LEAVE(t, l);
	return table;
}

/* A permutation: where the i-th link stands. A prime that does not divide the
 * number of links carries from each to one far away. */
static uint64_t place(const struct gc_thread *t, uint64_t i)
{
	return (uint64_t)((unsigned __int128)i * 1000003 % t->size);
}

static void make_links(struct gc_thread *t)
{
	void **keys = &t->root[1];

	for (uint64_t i = 0; i < t->size; i++) {
		struct gc_node *key = gc_node(t, i);

		*slot_of(*keys, i) = key;
	}
	GC_ENTER(t, l, 2);
	for (uint64_t i = 0; i + 1 < t->size; i++) {
		void *e;

		l[0] = *slot_of(*keys, i);
		l[1] = *slot_of(*keys, i + 1);
		e = gc_ephemeron(t, &l[0], &l[1]);
		if (!e)
			gc_out_of_heap(t);
		*slot_of(t->root[0], place(t, i)) = e;
	}
	GC_LEAVE(t, l);
}

static void setup(struct gc_thread *t)
{
	t->size = t->run->spec.live / t->run->spec.mutators / LINK_BYTES;
	while (t->size % 1000003 == 0)
		t->size--;
	t->root[0] = make_table(t, t->size);
	t->root[1] = make_table(t, t->size);
	make_links(t);
	/* Of the keys only the first stays reachable by itself. */
	t->root[2] = *slot_of(t->root[1], 0);
	t->root[1] = NULL;
}

/* How many ephemerons hold what they should, by place. */
static uint64_t count(struct gc_thread *t, bool alive)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i + 1 < t->size; i++) {
		const void *e = *slot_of(t->root[0], place(t, i));
		const struct gc_node *key = gc_ephemeron_key(e);
		const struct gc_node *value = gc_ephemeron_value(e);

		if (alive)
			n += key && value && key->value == i &&
			     value->value == i + 1;
		else
			n += !key && !value;
	}
	return n;
}

static void learn(struct gc_thread *t)
{
	(void)t;
}

static void work(struct gc_thread *t)
{
	uint64_t begin = bench_now();

	t->run->collector->collect(t);
	t->value[0] = (double)(bench_now() - begin) / (double)t->size;
	t->wrong += t->size - 1 - count(t, true);
	t->root[2] = NULL;
	t->run->collector->collect(t);
	/* Stacks that are scanned may still hold the first key. */
	if (!t->run->spec.ambiguous)
		t->wrong += t->size - 1 - count(t, false);
	t->ops = 2 * t->size;
	if (t->index == 0)
		t->run->out.metric[GC_PER_EPHEMERON] = t->value[0];
}

static void check(struct gc_thread *t)
{
	(void)t;
}

const struct gc_workload GC_NAME(gc_chain) = {
	.id = GC_CHAIN,
	.setup = setup,
	.learn = learn,
	.work = work,
	.check = check,
};
