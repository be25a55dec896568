/* SPDX-License-Identifier: MIT */
/*
 * Mutators: the threads of a program as the collector sees them. Attaching,
 * allocation by bumping a pointer, safepoints, blocking calls.
 */
#ifndef FERRY_MUTATOR_H
#define FERRY_MUTATOR_H

#include <ferry/heap.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Objects of more than this many bytes go to the space of large objects. */
#define FERRY_SMALL_MAX 8192u

/* Side-table byte of an object's first granule: kind | colour; the byte of
 * its last granule has FERRY_META_END (the same byte for one granule). */
#define FERRY_META_KIND	  0x07u
#define FERRY_META_COLOUR 0x18u
#define FERRY_META_END	  0x20u

/*
 * A stretch of zeroed memory being allocated from. Byte (addr >> 4) of @meta
 * is the side-table byte of the granule at addr.
 */
struct ferry_bump {
	uintptr_t cursor; /* next free byte */
	uintptr_t limit;  /* end of the stretch */
	uint8_t *meta;
};

/* One frame of slots on a thread's chain, see root.h. */
struct ferry_frame {
	struct ferry_frame *prev;
	size_t n;
	void **slots;
};

/*
 * What the inline calls use; the rest of a mutator lies behind it. Offsets
 * are published for code generators, below; they change with the library's
 * binary version only. The owner alone reads and writes it, but for @poll.
 */
struct ferry_mutator {
	struct ferry_bump bump[2];  /* objects with references; without */
	struct ferry_frame *frames; /* innermost frame */
	uint32_t poll;		    /* not zero: come to the slow path */
	uint8_t colour;		    /* that new objects get */
};

#define FERRY_MUTATOR_CURSOR(leaf)                                             \
	(offsetof(struct ferry_mutator, bump) +                                \
	 (leaf) * sizeof(struct ferry_bump) +                                  \
	 offsetof(struct ferry_bump, cursor))
#define FERRY_MUTATOR_LIMIT(leaf)                                              \
	(offsetof(struct ferry_mutator, bump) +                                \
	 (leaf) * sizeof(struct ferry_bump) +                                  \
	 offsetof(struct ferry_bump, limit))
#define FERRY_MUTATOR_META(leaf)                                               \
	(offsetof(struct ferry_mutator, bump) +                                \
	 (leaf) * sizeof(struct ferry_bump) +                                  \
	 offsetof(struct ferry_bump, meta))
#define FERRY_MUTATOR_POLL   offsetof(struct ferry_mutator, poll)
#define FERRY_MUTATOR_COLOUR offsetof(struct ferry_mutator, colour)

/* What a mutator's owner reports its own roots by; see root.h. */
typedef void (*ferry_root_fn)(void *arg, struct ferry_visitor *v);

struct ferry_mutator_params {
	size_t size;
	ferry_root_fn roots; /* called in pauses; may be NULL */
	void *roots_arg;
	/*
	 * With ambiguous stacks: the stack to scan ends (at its outer end)
	 * here; NULL: where the thread's stack ends.
	 */
	void *stack_base;
};

/*
 * Makes the calling thread a mutator of @heap. A thread can be a mutator of
 * several heaps; in one heap it is attached once (-EEXIST). Waits while the
 * world is stopped.
 * Returns 0; -EEXIST; -EINVAL, -E2BIG; -ENOMEM; -ECHILD: the heap did not
 * survive the fork (heap.h). Not signal-safe.
 */
FERRY_EXPORT int ferry_mutator_attach(struct ferry_heap *heap,
				      const struct ferry_mutator_params *params,
				      struct ferry_mutator **ret_mutator);

/*
 * Ends it, by the thread that is attached; frames must be popped. A thread
 * that exits attached is detached then. Allowed in a blocking bracket; waits
 * there while the world is stopped. NULL is allowed.
 */
FERRY_EXPORT void ferry_mutator_detach(struct ferry_mutator *mutator);

/* The calling thread's mutator of @heap, or NULL. Any thread. */
FERRY_EXPORT struct ferry_mutator *
ferry_mutator_self(const struct ferry_heap *heap);

FERRY_EXPORT struct ferry_heap *
ferry_mutator_heap(const struct ferry_mutator *mutator);

/* The way off the inline path of ferry_alloc(). */
FERRY_EXPORT void *ferry_alloc_slow(struct ferry_mutator *m, size_t size,
				    enum ferry_kind kind);

/*
 * Allocates @size bytes of zeros, aligned to 16. A safepoint: references in
 * the caller's hands must be in roots (or on an ambiguous stack), and all
 * objects allocated before must be fit to be traced. NULL: the limit is
 * reached and the callback gave no more, or the kernel has no memory.
 * Inline: about five instructions besides the stores. Kind AMBIGUOUS is not
 * for the inline path, nor for that of a code generator.
 */
static inline void *ferry_alloc(struct ferry_mutator *m, size_t size,
				enum ferry_kind kind)
{
	struct ferry_bump *b = &m->bump[kind >= FERRY_KIND_LEAF];
	size_t n = (size + FERRY_GRANULE - 1) / FERRY_GRANULE;
	uintptr_t p = b->cursor;
	uint8_t *meta;

	if (__builtin_expect(size - 1 >= b->limit - p ||
				     size > FERRY_SMALL_MAX ||
				     kind == FERRY_KIND_AMBIGUOUS,
			     0))
		return ferry_alloc_slow(m, size, kind);
	b->cursor = p + n * FERRY_GRANULE;
	meta = b->meta + p / FERRY_GRANULE;
	/* Relaxed: the collector reads what it finds here as old or new. */
	__atomic_store_n(&meta[n - 1], FERRY_META_END, __ATOMIC_RELAXED);
	__atomic_store_n(
		&meta[0],
		(uint8_t)(kind | m->colour | (n == 1 ? FERRY_META_END : 0)),
		__ATOMIC_RELAXED);
	return (void *)p;
}

/*
 * The same with an alignment, a power of two up to 4096 for small objects and
 * 2 MiB for large ones, which is kept when the object moves. NULL also for
 * another @align.
 */
FERRY_EXPORT void *ferry_alloc_aligned(struct ferry_mutator *m, size_t size,
				       size_t align, enum ferry_kind kind);

FERRY_EXPORT void ferry_safepoint_slow(struct ferry_mutator *m);

/*
 * A point where the thread may be stopped; one relaxed load when it is not.
 * The slow path synchronises by a lock.
 */
static inline void ferry_safepoint(struct ferry_mutator *m)
{
	if (__builtin_expect(__atomic_load_n(&m->poll, __ATOMIC_RELAXED), 0))
		ferry_safepoint_slow(m);
}

/*
 * Brackets a call that may block or take long: between them the thread counts
 * as stopped and must not touch objects, frames or roots. leave waits while
 * the world is stopped. They do not nest.
 */
FERRY_EXPORT void ferry_blocking_enter(struct ferry_mutator *m);
FERRY_EXPORT void ferry_blocking_leave(struct ferry_mutator *m);

/* Bytes the object at @object takes, by the side table: its size rounded up
 * to granules (large objects: to pages). Any mutator. */
FERRY_EXPORT size_t ferry_object_size(const struct ferry_heap *heap,
				      const void *object);

/* The kind it was allocated with; 0 if @addr is not the start of an object. */
FERRY_EXPORT enum ferry_kind ferry_object_kind(const struct ferry_heap *heap,
					       const void *addr);

#ifdef __cplusplus
}
#endif

#endif
