/* SPDX-License-Identifier: MIT */
/*
 * gc_mem_none.h: memory with no collector, the lower bound: a pointer is
 * bumped, and workloads say what is dead.
 */
#ifndef FERRY_BENCH_GC_MEM_NONE_H
#define FERRY_BENCH_GC_MEM_NONE_H

#include <string.h>

#define GC_TYPE_NODE  ((const void *)1)
#define GC_TYPE_ARRAY ((const void *)2)
#define GC_TYPE_BYTES ((const void *)3)

#define GC_ENTER(t, l, n) void *l[n] = { 0 }
#define GC_LEAVE(t, l)	  ((void)(l))

static inline void *gc_take_bytes(struct gc_thread *t, size_t size)
{
	struct gc_strip *s = &t->strip[t->scratch];
	char *p = s->next;

	size = (size + 15) & ~(size_t)15;
	if (__builtin_expect(size > (size_t)(s->end - p), 0))
		return NULL;
	s->next = p + size;
	return p;
}

static inline void *gc_take_refs(struct gc_thread *t, size_t size)
{
	void **freed = t->freed;
	void *p;

	if (freed && size == sizeof(struct gc_node) && !t->scratch) {
		t->freed = freed[1];
		p = freed;
	} else {
		p = gc_take_bytes(t, size);
	}
	if (__builtin_expect(p != NULL, 1))
		memset(p, 0, size);
	return p;
}

static inline void gc_poll(struct gc_thread *t)
{
	(void)t;
}

static inline void *gc_ephemeron(struct gc_thread *t, void **k, void **v)
{
	(void)t;
	(void)k;
	(void)v;
	return NULL;
}

static inline void *gc_ephemeron_key(const void *e)
{
	(void)e;
	return NULL;
}

static inline void *gc_ephemeron_value(const void *e)
{
	(void)e;
	return NULL;
}

static inline void gc_scratch(struct gc_thread *t, bool on)
{
	t->scratch = on;
	if (on)
		t->strip[1].next = t->strip[1].base;
}

static inline void gc_forget(struct gc_thread *t, struct gc_node *tree)
{
	if (!tree)
		return;
	gc_forget(t, tree->left);
	gc_forget(t, tree->right);
	tree->left = t->freed;
	t->freed = tree;
}

#endif
