/* SPDX-License-Identifier: MIT */
/* gc_mem_bdwgc.h: memory from bdwgc, by its ordinary calls. */
#ifndef FERRY_BENCH_GC_MEM_BDWGC_H
#define FERRY_BENCH_GC_MEM_BDWGC_H

#include <gc/gc.h>

#define GC_TYPE_NODE  ((const void *)1)
#define GC_TYPE_ARRAY ((const void *)2)
#define GC_TYPE_BYTES ((const void *)3)

/* The collector finds references in registers and on the stack. */
#define GC_ENTER(t, l, n) void *l[n] = { 0 }
#define GC_LEAVE(t, l)	  ((void)(l))

static inline void *gc_take_refs(struct gc_thread *t, size_t size)
{
	(void)t;
	return GC_MALLOC(size);
}

static inline void *gc_take_bytes(struct gc_thread *t, size_t size)
{
	(void)t;
	return GC_MALLOC_ATOMIC(size);
}

static inline void gc_poll(struct gc_thread *t)
{
	(void)t; /* it stops threads by signals */
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
	(void)t;
	(void)on;
}

static inline void gc_forget(struct gc_thread *t, struct gc_node *tree)
{
	(void)t;
	(void)tree;
}

#endif
