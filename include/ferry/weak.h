/* SPDX-License-Identifier: MIT */
/*
 * Weak references, weak maps, finalizers, identity hash.
 *
 * Slots inside objects that are weak, or ephemerons, are reported by the
 * trace callback (object.h). What is here is kept outside the heap, is
 * cleared while the program runs, and costs the pauses nothing.
 */
#ifndef FERRY_WEAK_H
#define FERRY_WEAK_H

#include <ferry/mutator.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A weak reference. */
struct ferry_weak;

/*
 * Makes a weak reference to @object (NULL, and what is outside the heap, never
 * dies). Cleared before finalizers of the object are due. NULL without
 * memory. Any running mutator; not signal-safe, as all of this header but
 * ferry_finalizer_due() and ferry_weak_map_len().
 */
FERRY_EXPORT struct ferry_weak *ferry_weak_new(struct ferry_mutator *m,
					       void *object);

/* The object, or NULL if it was found dead: for all threads from the same
 * pause on. The result must be in a root by the next safepoint. Any running
 * mutator, several at once. */
FERRY_EXPORT void *ferry_weak_get(struct ferry_mutator *m,
				  const struct ferry_weak *weak);

/* NULL is allowed. Any thread. */
FERRY_EXPORT void ferry_weak_free(struct ferry_heap *heap,
				  struct ferry_weak *weak);

/*
 * A map from objects, by identity, to objects or other words. Keys are held
 * weakly, and entries are ephemerons: a value that refers to its key does
 * not keep it. Grows and shrinks by itself. Thread-safe: a lock of its own,
 * which is never held at a safepoint.
 */
struct ferry_weak_map;

/* Values are not references and not looked at. */
#define FERRY_WEAK_MAP_RAW_VALUES (1u << 0)

/* Returns 0; -EINVAL unknown flag; -ENOMEM. Destroy: nobody may use it; NULL
 * is allowed; what is left goes with the heap. Any thread. */
FERRY_EXPORT int ferry_weak_map_create(struct ferry_heap *heap,
				       unsigned int flags,
				       struct ferry_weak_map **ret_map);
FERRY_EXPORT void ferry_weak_map_destroy(struct ferry_weak_map *map);

/* Returns 0; -EINVAL @key is not an object; -ENOMEM (nothing changed). */
FERRY_EXPORT int ferry_weak_map_set(struct ferry_mutator *m,
				    struct ferry_weak_map *map, void *key,
				    void *value);

/* Returns 0 and the value (@ret_value may be NULL), or -ENOENT. */
FERRY_EXPORT int ferry_weak_map_get(struct ferry_mutator *m,
				    struct ferry_weak_map *map, void *key,
				    void **ret_value);

/* Returns 0 and the value that was there (@ret_value may be NULL), -ENOENT. */
FERRY_EXPORT int ferry_weak_map_remove(struct ferry_mutator *m,
				       struct ferry_weak_map *map, void *key,
				       void **ret_value);

/* Entries, some of which may be dead and not yet taken away. */
FERRY_EXPORT size_t ferry_weak_map_len(const struct ferry_weak_map *map);

/*
 * Asks that @object be handed to the host once it is found dead, instead of
 * being reclaimed (a guardian: Dybvig, Bruggeman, Eby, PLDI 1993). Objects of
 * a lower @priority come first: those of higher priority that they refer to
 * are alive again when they are handed out and come due when found dead
 * another time. May be asked several times, for each a hand-out.
 * Returns 0; -EINVAL not an object; -ENOMEM. Any mutator.
 */
FERRY_EXPORT int ferry_finalizer_add(struct ferry_mutator *m, void *object,
				     unsigned int priority, void *arg);

/* Takes the last request with this @arg back that is not due yet. Returns 0;
 * -ENOENT. */
FERRY_EXPORT int ferry_finalizer_remove(struct ferry_mutator *m, void *object,
					void *arg);

/*
 * The next object due, lowest priority first, then in the order of adding.
 * Objects in the queue are alive. Returns 0 and the object, and the argument
 * (@ret_arg may be NULL); -ENOENT nothing is due.
 */
FERRY_EXPORT int ferry_finalizer_next(struct ferry_mutator *m,
				      void **ret_object, void **ret_arg);

/* How many are due: for a host that wants to know without being attached. */
FERRY_EXPORT size_t ferry_finalizer_due(const struct ferry_heap *heap);

/*
 * A number that stays the same for the life of @object wherever it moves, and
 * is evenly spread; two objects may have the same. An object that is asked
 * for it grows by 16 bytes when it is first copied to another block (Agesen,
 * TAPOS 5, 1999). Any running mutator, several at once.
 */
FERRY_EXPORT uint64_t ferry_identity_hash(struct ferry_mutator *m,
					  const void *object);

#ifdef __cplusplus
}
#endif

#endif
