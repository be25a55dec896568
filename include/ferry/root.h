/* SPDX-License-Identifier: MIT */
/*
 * Roots: where references are outside the heap, and pins.
 *
 * Roots are read, and rewritten when objects move, while the world is
 * stopped. The time it takes is part of each pause: roots are meant to be
 * thousands, not millions.
 */
#ifndef FERRY_ROOT_H
#define FERRY_ROOT_H

#include <ferry/mutator.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Slots of the calling thread's stack: push before they hold references, pop
 * in reverse order. Inline, owner only.
 */
static inline void ferry_frame_push(struct ferry_mutator *m,
				    struct ferry_frame *frame, void **slots,
				    size_t n)
{
	frame->prev = m->frames;
	frame->n = n;
	frame->slots = slots;
	m->frames = frame;
}

static inline void ferry_frame_pop(struct ferry_mutator *m,
				   struct ferry_frame *frame)
{
	m->frames = frame->prev;
}

/* One root of the heap's: a callback or a range of slots. */
struct ferry_root;

/*
 * @fn(@arg, visitor) reports slots with ferry_visit(), in every pause, by a
 * thread of the collector. It must not allocate nor wait for a mutator.
 * Returns 0; -EINVAL; -ENOMEM. Any thread.
 */
FERRY_EXPORT int ferry_root_add_callback(struct ferry_heap *heap,
					 ferry_root_fn fn, void *arg,
					 struct ferry_root **ret_root);

/* @n slots of a word each, such as a table of globals. Errors as above. */
FERRY_EXPORT int ferry_root_add_range(struct ferry_heap *heap, void **slots,
				      size_t n, struct ferry_root **ret_root);

/*
 * @len bytes at @addr, word-aligned, any word of which may be a reference: as
 * an ambiguous stack. Errors as above.
 */
FERRY_EXPORT int ferry_root_add_ambiguous(struct ferry_heap *heap,
					  const void *addr, size_t len,
					  struct ferry_root **ret_root);

/* Takes a root away; frees it. NULL is allowed. */
FERRY_EXPORT void ferry_root_remove(struct ferry_heap *heap,
				    struct ferry_root *root);

/*
 * A handle: a slot of the heap's own that keeps an object alive from anywhere,
 * such as from a foreign library. Reading and writing *handle is a mutator's
 * access to a slot. Returns NULL without memory. Any mutator.
 */
FERRY_EXPORT void **ferry_handle_new(struct ferry_mutator *m, void *object);
FERRY_EXPORT void ferry_handle_free(struct ferry_heap *heap, void **handle);

/*
 * Keeps an object where it is, and alive, until it is unpinned as often. For
 * foreign calls and system calls that are given its address: see also
 * ferry_heap_prefault(). The caller holds a reference.
 * Returns 0; -EINVAL not an object; -ENOMEM. Unpin: 0; -ENOENT not pinned.
 * Any mutator.
 */
FERRY_EXPORT int ferry_pin(struct ferry_mutator *m, void *object);
FERRY_EXPORT int ferry_unpin(struct ferry_mutator *m, void *object);

/*
 * Makes [@addr, @addr + @len) of the heap fit for a system call that reads or
 * writes it: pages that a compaction has under way are put in place now. Its
 * object must be pinned before and stay so during the call; then the call
 * cannot fail with EFAULT for the heap's sake, in whatever fault mode, not
 * even inside a blocking bracket:
 *
 *	ferry_pin(m, buffer);
 *	ferry_heap_prefault(m, buffer, n);
 *	ferry_blocking_enter(m);
 *	got = read(fd, buffer, n);
 *	ferry_blocking_leave(m);
 *	ferry_unpin(m, buffer);
 *
 * Returns 0; -EINVAL not in the heap.
 */
FERRY_EXPORT int ferry_heap_prefault(struct ferry_mutator *m, const void *addr,
				     size_t len);

#ifdef __cplusplus
}
#endif

#endif
