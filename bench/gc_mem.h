/* SPDX-License-Identifier: MIT */
/*
 * gc_mem.h: objects as workloads see them. Workloads are compiled once for
 * each collector, with GC_VARIANT set to its name, so that each allocates by
 * its own inline path and keeps its own kind of roots. A header gc_mem_X.h
 * gives:
 *
 *	gc_take_refs(t, size)	memory of an object with references; NULL
 *	gc_take_bytes(t, size)	the same with none
 *	gc_poll(t)		a safepoint
 *	GC_ENTER(t, l, n)	declares l[n], local references, all NULL
 *	GC_LEAVE(t, l)		their end
 *	gc_ephemeron(t, k, v)	a new ephemeron, or NULL
 *	gc_ephemeron_key(e), gc_ephemeron_value(e)
 *	gc_scratch(t, on)	what is allocated while on is dead when it is
 *				turned on again; hint, for `none' alone
 *	gc_forget(t, tree)	this tree of nodes is dead; hint as well
 *	GC_TYPE_NODE, GC_TYPE_ARRAY, GC_TYPE_BYTES: first words of objects
 */
#ifndef FERRY_BENCH_GC_MEM_H
#define FERRY_BENCH_GC_MEM_H

#include "gc_run.h"

#define GC_JOIN_(a, b) a##_##b
#define GC_JOIN(a, b)  GC_JOIN_(a, b)

/* The name of something that each variant has one of. */
#define GC_NAME(name) GC_JOIN(name, GC_VARIANT)

struct gc_node {
	const void *type;
	struct gc_node *left;
	struct gc_node *right;
	uint64_t value; /* by which it is verified */
};

struct gc_array {
	const void *type;
	size_t n;
	void *slot[];
};

struct gc_bytes {
	const void *type;
	size_t n;
	unsigned char byte[];
};

#include GC_MEM_HEADER

static inline struct gc_node *gc_node(struct gc_thread *t, uint64_t value)
{
	struct gc_node *n = gc_take_refs(t, sizeof(*n));

	if (__builtin_expect(!n, 0))
		gc_out_of_heap(t);
	n->type = GC_TYPE_NODE;
	n->value = value;
	return n;
}

/* The same, and a tick of the meter for every GC_BATCH of them. */
#define GC_BATCH 128

static inline struct gc_node *gc_ticked_node(struct gc_thread *t,
					     uint64_t value)
{
	if (__builtin_expect(--t->until == 0, 0)) {
		t->until = GC_BATCH;
		gc_tick(&t->meter, GC_OP_BUILD);
	}
	return gc_node(t, value);
}

static inline struct gc_array *gc_array(struct gc_thread *t, size_t n)
{
	struct gc_array *a =
		gc_take_refs(t, sizeof(*a) + n * sizeof(a->slot[0]));

	if (!a)
		gc_out_of_heap(t);
	a->type = GC_TYPE_ARRAY;
	a->n = n;
	return a;
}

static inline struct gc_bytes *gc_bytes(struct gc_thread *t, size_t n)
{
	struct gc_bytes *b = gc_take_bytes(t, sizeof(*b) + n);

	if (!b)
		gc_out_of_heap(t);
	b->type = GC_TYPE_BYTES;
	b->n = n;
	return b;
}

/*
 * A complete binary tree of 2^(@depth + 1) - 1 nodes; leaves have the value 0,
 * their parents 1, and so on.
 */
#define gc_build_up   GC_NAME(gc_build_up)
#define gc_build_down GC_NAME(gc_build_down)
#define gc_tree_check GC_NAME(gc_tree_check)
struct gc_node *gc_build_up(struct gc_thread *t, unsigned int depth);
struct gc_node *gc_build_down(struct gc_thread *t, unsigned int depth);
/* Notes in t->wrong what is not as built. Returns the number of nodes. */
uint64_t gc_tree_check(struct gc_thread *t, const struct gc_node *tree,
		       unsigned int depth);

static inline uint64_t gc_tree_nodes(unsigned int depth)
{
	return ((uint64_t)2 << depth) - 1;
}

/* The greatest depth whose tree takes at most @bytes; at least 4. */
static inline unsigned int gc_tree_depth(uint64_t bytes)
{
	unsigned int depth = 4;

	while (gc_tree_nodes(depth + 1) * sizeof(struct gc_node) <= bytes)
		depth++;
	return depth;
}

#endif
