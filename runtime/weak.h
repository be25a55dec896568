/* SPDX-License-Identifier: MIT */
/*
 * Weak references, ephemerons, finalizers and identity hashes, as the
 * collector calls them.
 */
#ifndef FERRY_RUNTIME_WEAK_H
#define FERRY_RUNTIME_WEAK_H

#include <ferry/weak.h>

#include <pthread.h>
#include <stdatomic.h>

struct ferry__marker;

struct ferry__weak {
	pthread_mutex_t lock; /* rank 20 */
	_Atomic bool watching;
};

int ferry__weak_init(struct ferry_heap *heap);
void ferry__weak_fini(struct ferry_heap *heap);

/* Marking begins; world stopped. */
void ferry__weak_mark_begin(struct ferry_heap *heap);

/* A trace met a weak slot, or an ephemeron (several markers at once). The
 * object it lies in may be traced again before marking ends. */
void ferry__weak_slot(struct ferry__marker *marker, void *slot);
void ferry__ephemeron(struct ferry__marker *marker, void *key, void *value);

/*
 * @addr was marked just now. Called by markers when heap->weak.watching is
 * set: ephemerons that wait for this key give their values to the marker.
 */
void ferry__ephemeron_marked(struct ferry__marker *marker, uintptr_t addr);

/*
 * The mark stacks are empty: looks once more at what waits. Returns true if
 * it marked something. World stopped, or one caller at a time.
 */
bool ferry__weak_drained(struct ferry__marker *marker);

/* Reachability is decided; world stopped: weak slots and ephemerons inside
 * objects whose referents are dead are set to NULL. */
void ferry__weak_clear(struct ferry_heap *heap);

/*
 * The same for what is kept outside the heap, while mutators run: weak
 * references, weak maps, finalizers (these mark what is due and all it
 * refers to, through @marker, and drain with ferry__mark_drain()).
 */
void ferry__weak_purge(struct ferry_heap *heap, struct ferry__marker *marker);

/* Objects in the queue of finalizers, as strong roots; world stopped. */
void ferry__weak_roots(struct ferry_heap *heap, struct ferry_visitor *v);

/*
 * The flip: objects have new addresses by ferry__forward(). World stopped;
 * takes time that does not grow with the tables (they are brought up to date
 * piece by piece: when used, and by ferry__weak_forward_rest(), while
 * mutators run, before the compaction ends).
 */
void ferry__weak_flip(struct ferry_heap *heap);
void ferry__weak_forward_rest(struct ferry_heap *heap);

/*
 * Identity hashes: @hashed says for the object at @addr that a granule must
 * be added behind it when it is copied (it was asked for its hash and does
 * not carry it yet); store writes it there.
 */
bool ferry__hash_grows(const struct ferry_heap *heap, uintptr_t addr);
void ferry__hash_store(struct ferry_heap *heap, uintptr_t old_addr,
		       uintptr_t new_addr, void *copy, size_t bytes);

void ferry__hash_swept(struct ferry_heap *heap, uintptr_t addr, size_t bytes);

#endif
