/* SPDX-License-Identifier: MIT */
/*
 * gc_mem_ferry.h: memory from Ferry's heap. Objects are typed, so that no
 * callback is needed to trace them. GC_AMBIGUOUS: local references are plain
 * locals; else they stand in frames.
 */
#ifndef FERRY_BENCH_GC_MEM_FERRY_H
#define FERRY_BENCH_GC_MEM_FERRY_H

#include <ferry/mutator.h>
#include <ferry/root.h>

extern const struct ferry_type gc_ferry_node;
extern const struct ferry_type gc_ferry_array;
extern const struct ferry_type gc_ferry_bytes;

#define GC_TYPE_NODE  (&gc_ferry_node)
#define GC_TYPE_ARRAY (&gc_ferry_array)
#define GC_TYPE_BYTES (&gc_ferry_bytes)

#ifdef GC_AMBIGUOUS
#define GC_ENTER(t, l, n) void *l[n] = { 0 }
#define GC_LEAVE(t, l)	  ((void)(l))
#else
#define GC_ENTER(t, l, count)                                                  \
	void *l[count] = { 0 };                                                \
	struct ferry_frame l##_frame;                                          \
	ferry_frame_push((t)->ferry, &l##_frame, l, count)
#define GC_LEAVE(t, l) ferry_frame_pop((t)->ferry, &l##_frame)
#endif

/* The only kind of object that is traced by a callback (gc_ferry.c). */
struct gc_ephemeron {
	void *key;
	void *value;
};

static inline void *gc_take_refs(struct gc_thread *t, size_t size)
{
	return ferry_alloc(t->ferry, size, FERRY_KIND_TYPED);
}

static inline void *gc_take_bytes(struct gc_thread *t, size_t size)
{
	return ferry_alloc(t->ferry, size, FERRY_KIND_RAW);
}

static inline void gc_poll(struct gc_thread *t)
{
	ferry_safepoint(t->ferry);
}

/* A safepoint: @k and @v are of slots that are roots. */
static inline void *gc_ephemeron(struct gc_thread *t, void **k, void **v)
{
	struct gc_ephemeron *e =
		ferry_alloc(t->ferry, sizeof(*e), FERRY_KIND_TRACED);

	if (!e)
		return NULL;
	e->key = *k;
	e->value = *v;
	return e;
}

static inline void *gc_ephemeron_key(const void *e)
{
	return ((const struct gc_ephemeron *)e)->key;
}

static inline void *gc_ephemeron_value(const void *e)
{
	return ((const struct gc_ephemeron *)e)->value;
}

static inline void gc_scratch(struct gc_thread *t, bool on)
{
	(void)t;
	(void)on;
}

static inline void gc_forget(struct gc_thread *t, struct gc_node *tree)
{
	(void)t;
	(void)tree;
}

#endif
