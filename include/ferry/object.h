/* SPDX-License-Identifier: MIT */
/*
 * The object model of the heap: how the collector learns an object's size
 * and where its references are.
 *
 * An object is a run of whole granules of 16 bytes whose layout the host
 * chooses. The collector asks for nothing in it: kind and mark live in a side
 * table. Every object must be sizable and traceable from its address alone,
 * and tracing touches nothing but the object.
 */
#ifndef FERRY_OBJECT_H
#define FERRY_OBJECT_H

#include <ferry/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the heap knows of an object, given when it is allocated. */
enum ferry_kind {
	FERRY_KIND_TRACED = 1, /* the heap's trace callback knows its slots */
	FERRY_KIND_TYPED,      /* its first word points to a ferry_type */
	FERRY_KIND_AMBIGUOUS,  /* any word may be a reference: what one hits is
				 kept, and keeps its address */
	FERRY_KIND_LEAF,       /* no references */
	FERRY_KIND_RAW,	       /* no references; never shown to callbacks */
	FERRY_KINDS
};

/* Bytes that every size is rounded up to, and every object aligned to. */
#define FERRY_GRANULE 16u

/*
 * A trace in progress: what ferry_visit() reports slots to. The fields are
 * part of the binary interface of the inline calls below and for nobody
 * else, but for @arg.
 */
struct ferry_visitor {
	void **slots; /* slots reported and not yet looked at */
	uint32_t n;   /* how many */
	uint32_t max; /* room for */
	void (*flush)(struct ferry_visitor *v);
	void (*weak)(struct ferry_visitor *v, void *slot);
	void (*ephemeron)(struct ferry_visitor *v, void *key, void *value);
	void *arg; /* ferry_heap_params.arg */
};

/*
 * Reports a slot: a word in the object being traced (or, in root callbacks,
 * outside the heap) that holds NULL, an address outside the heap, or a
 * reference, in the encoding of the heap's load and store hooks. The
 * collector may rewrite it before the trace returns or later, while the
 * world is stopped or the object out of reach.
 */
static inline void ferry_visit(struct ferry_visitor *v, void *slot)
{
	v->slots[v->n++] = slot;
	if (__builtin_expect(v->n == v->max, 0))
		v->flush(v);
}

/* Reports @n slots of a word each, from @first on. */
static inline void ferry_visit_range(struct ferry_visitor *v, void *first,
				     size_t n)
{
	char *slot = (char *)first;

	for (; n; n--, slot += sizeof(void *))
		ferry_visit(v, slot);
}

/*
 * Reports a slot that does not keep its referent alive: it is set to NULL
 * (through the store hook) in the pause that ends a collection which did not
 * reach the referent otherwise. Clearing takes time in that pause by the
 * number of slots that are cleared; ferry_weak (weak.h) does not.
 */
static inline void ferry_visit_weak(struct ferry_visitor *v, void *slot)
{
	v->weak(v, slot);
}

/*
 * Reports an ephemeron: the value is kept alive as long as the key is alive
 * by other ways than through the value (B. Hayes, Ephemerons: a New
 * Finalization Mechanism, OOPSLA 1997). When the key dies both are set to
 * NULL, in the pause. The work for all ephemerons of a collection is linear
 * in their number. While the key slot holds NULL the value slot is weak; while
 * it holds an address outside the heap, the value lives.
 */
static inline void ferry_visit_ephemeron(struct ferry_visitor *v, void *key,
					 void *value)
{
	v->ephemeron(v, key, value);
}

/*
 * Reports the slots of @object and returns its size in bytes, as it was given
 * to the allocator or rounded up to granules. With @v NULL it returns the
 * size and does nothing else.
 *
 * Called for TRACED and LEAF objects, in collector threads, in fault handlers
 * (also in a signal handler of a thread of the host's, in SIGBUS mode),
 * several at once, while the program runs and writes to other fields: it
 * must not allocate, lock, write to the object or anything else, and touch
 * nothing but the object and memory outside the heap that no longer changes.
 * What decides about size and layout must not change once the object was
 * published (by the next allocation or safepoint of its thread).
 *
 * An object may be looked at when it is zeros still, as the allocator gives
 * it out, only if its thread reaches an allocation or a safepoint before it
 * has written a header.
 */
typedef size_t (*ferry_trace_fn)(void *object, struct ferry_visitor *v);

/*
 * Layout of TYPED objects, which need no call. The object's first word points
 * to one of these, outside the heap, for as long as the object lives.
 *
 * An object is @size bytes, then @elements times @element_size where the
 * count is a size_t at @count_offset; bit i of a map says that word i is a
 * slot. Examples: a pair {type, car, cdr}: size 24, refs 0b110. An array of
 * references {type, n, slots...}: size 16, count_offset 8, element_size 8,
 * element_refs 1. A string {type, n, bytes}: the same with element_size 1
 * and no element_refs (better allocated with kind LEAF).
 */
struct ferry_type {
	size_t size;		   /* bytes of the fixed part */
	uint64_t refs;		   /* slots among its first 64 words */
	const uint64_t *more_refs; /* of words 64 on; NULL: none */
	size_t element_size;	   /* bytes; 0: no variable part */
	uint64_t element_refs; /* slots in an element, of 64 words at most */
	size_t count_offset;   /* of the number of elements */
	const char *name;      /* for diagnosis; may be NULL */
};

/* Bytes of a TYPED object by its descriptor. Any thread; signal-safe. */
static inline size_t ferry_type_size(const struct ferry_type *type,
				     const void *object)
{
	if (!type->element_size)
		return type->size;
	return type->size +
	       type->element_size * *(const size_t *)((const char *)object +
						      type->count_offset);
}

/*
 * Slot encodings. @load returns the address that a slot refers to, or NULL;
 * @store puts in the new address of the same object (or NULL, for a weak
 * slot), keeping tags. They run where the trace callback runs, under the
 * same rules. A slot is read while the program may write it: @load reads it
 * once, as one word, and says what it reads with a relaxed atomic load.
 */
typedef void *(*ferry_load_fn)(const void *slot);
typedef void (*ferry_store_fn)(void *slot, void *object);

#ifdef __cplusplus
}
#endif

#endif
