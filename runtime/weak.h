/* SPDX-License-Identifier: MIT */
/*
 * Weak references, ephemerons, weak maps, finalizers and identity hashes, as
 * the collector calls them.
 *
 * What the collector owes these tables:
 *  - New objects have the young colour of the collection under way from its
 *    beginning on (M6), and are in blocks that are not UNSWEPT from the final
 *    pause on.
 *  - ferry__weak_drained() is called with all mark stacks empty, while no
 *    other marker marks, as long as it returns true: in every round of
 *    concurrent marking, so that little is left for the pause, and in the
 *    final pause.
 *  - Nothing is swept before ferry__weak_purge() has returned, and
 *    ferry__hash_swept() is told of it before memory is used again.
 *  - ferry__forward() answers for old addresses from ferry__weak_flip() until
 *    ferry__weak_forward_rest() has returned; no cycle begins before.
 */
#ifndef FERRY_RUNTIME_WEAK_H
#define FERRY_RUNTIME_WEAK_H

#include <ferry/weak.h>

#include <pthread.h>
#include <stdatomic.h>

#include "runtime/weak_pool.h"

struct ferry__marker;
struct ferry__request;
struct ferry__wait;
struct ferry__wait_chunk;
struct ferry__note_chunk;

/* What a marker has noted; valid while @notes is that of the heap. */
struct ferry__weak_local {
	uint64_t notes;
	struct ferry__note_chunk *slots; /* chunk being filled */
	struct ferry__wait_chunk *waits;
	struct ferry__wait *ready; /* whose key was marked; value is not yet */
	bool firing;		   /* somebody up the stack sees to @ready */
	bool marked;		   /* something, by this */
};

#define FERRY__WAIT_STRIPES 64u

/* A part of the table of ephemerons that wait for their key. */
struct ferry__wait_stripe {
	pthread_mutex_t lock;	     /* rank 22 */
	struct ferry__wait **bucket; /* chains; NULL: none yet */
	size_t max;		     /* buckets, a power of two */
	size_t len;
};

struct ferry__weak {
	pthread_mutex_t lock; /* rank 20: all but what is said otherwise */
	uint64_t flips;	      /* world stopped */
	uint64_t number;      /* of markings; world stopped */

	/* Weak references (weak.c). */
	struct ferry__pool refs;
	_Atomic uint64_t purged; /* number of the marking after which they
				    were cleared last; W3 */

	/* Weak maps (weak_map.c). */
	struct cds_list_head maps;

	/* Weak slots and ephemerons of the marking under way (ephemeron.c).
	 * Rank 22: @notes_lock, for the lists of chunks. */
	_Atomic bool watching;	   /* some key is waited for; relaxed, E3 */
	_Atomic uint64_t *watched; /* a bit a granule, of keys waited for */
	struct ferry__wait_stripe *stripe;
	pthread_mutex_t notes_lock;
	uint64_t notes; /* what is older was let go; no marker running */
	struct ferry__note_chunk *slots;
	struct ferry__wait_chunk *waits;
	_Atomic uint64_t steps; /* work done for ephemerons, for tests */

	/* Finalizers (finalizer.c). */
	struct ferry__pool requests;
	size_t requests_len;
	struct ferry__request **index; /* by identity hash; chains */
	size_t index_max;	       /* a power of two; 0: none yet */
	struct ferry__request *due;    /* root of a pairing heap */
	_Atomic size_t due_len;
	uint64_t added;	   /* requests ever: their order */
	uint64_t kept_due; /* number of the marking that marked the queue */

	/* Identity hashes (identity.c). */
	_Atomic bool hashing;	  /* somebody asked for one, ever */
	_Atomic uint64_t *hashed; /* a bit a granule of the small space */
};

/*
 * After the reservation is made (heap->base and heap->half are set).
 * Returns 0; -ENOMEM. fini: maps that the host has not destroyed go too.
 */
int ferry__weak_init(struct ferry_heap *heap);
void ferry__weak_fini(struct ferry_heap *heap);

/* Marking begins, minor or full; world stopped. */
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
 * The mark stacks are empty: looks once more at what waits, at weak maps and
 * at the queue of finalizers. Returns true if it marked something.
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

/*
 * Reports the objects in the queue of finalizers, as strong roots; world
 * stopped, no compaction under way: for verification. Marking and the flip
 * need not call it: ferry__weak_drained() marks them, while mutators run, and
 * they are forwarded as all else here.
 */
void ferry__weak_roots(struct ferry_heap *heap, struct ferry_visitor *v);

/*
 * The flip: objects have new addresses by ferry__forward(). World stopped;
 * takes time that does not grow with the tables (they are brought up to date
 * piece by piece: when used, and by ferry__weak_forward_rest(), while
 * mutators run, before the compaction ends).
 */
void ferry__weak_flip(struct ferry_heap *heap);
void ferry__weak_forward_rest(struct ferry_heap *heap);

/* --- identity hashes ------------------------------------------------------- */

/*
 * An object of the small space that was asked for its hash carries it in one
 * more granule at its end once it is copied. Planning a copy asks grows():
 * must a granule be added behind the object at @addr? Whoever asks has made
 * the block's state SPARSE before, seq_cst. A hash that is asked for when the
 * answer may have been given leaves FERRY__BLOCK_ASKED at the block, which
 * then must stay where it is (H3).
 */
bool ferry__hash_grows(const struct ferry_heap *heap, uintptr_t addr);

/*
 * The object of @bytes (side table) at @old_addr is being copied to @new_addr;
 * its copy lies at @copy, with room for a granule behind it if it grows.
 * Before the copy can be seen by mutators. Does nothing for objects that were
 * not asked; twice does no harm. @copy NULL: notes the place only.
 */
void ferry__hash_store(struct ferry_heap *heap, uintptr_t old_addr,
		       uintptr_t new_addr, void *copy, size_t bytes);

/* Is the last granule of the object at @addr a stored hash, which the host
 * does not know of? */
bool ferry__hash_carried(const struct ferry_heap *heap, uintptr_t addr);

/* The granules of [@addr, @addr + @bytes) are free: nobody's hash is there.
 * Small space (else nothing is done); any thread. */
void ferry__hash_swept(struct ferry_heap *heap, uintptr_t addr, size_t bytes);

/* --- between the files ------------------------------------------------------ */

/* The object that a slot refers to, by its start; 0: none in the heap. */
uintptr_t ferry__weak_load(const struct ferry_heap *heap, void *slot);

/* Is what stands at @addr still reachable? True outside the heap. In phase
 * WEAK. */
bool ferry__weak_alive(const struct ferry_heap *heap, uintptr_t addr);

/* Can objects of the page's records have died in this collection? In a minor
 * one only those of records made since the last marking began (W6). */
bool ferry__weak_page_due(const struct ferry_heap *heap,
			  const struct ferry__pool_page *page);

/* Is @addr the start of an object? Any mutator. */
bool ferry__weak_is_object(const struct ferry_heap *heap, uintptr_t addr);

/* The new address in a flip; outside the heap: @addr. */
uintptr_t ferry__weak_forward(const struct ferry_heap *heap, uintptr_t addr);

/* Ephemerons: a value whose key is outside the heap, and not marked yet. */
int ferry__ephemerons_init(struct ferry_heap *heap);
void ferry__ephemerons_fini(struct ferry_heap *heap);
void ferry__ephemeron_wait(struct ferry__marker *marker, uintptr_t key,
			   void *key_slot, uintptr_t value);
bool ferry__ephemerons_recheck(struct ferry__marker *marker);
void ferry__ephemerons_clear(struct ferry_heap *heap);
void ferry__ephemerons_reset(struct ferry_heap *heap);

/* Weak maps. */
bool ferry__maps_scan(struct ferry__marker *marker);
void ferry__maps_purge(struct ferry_heap *heap);
void ferry__maps_forward(struct ferry_heap *heap);
void ferry__maps_fini(struct ferry_heap *heap);

/* Finalizers. */
void ferry__finalizers_init(struct ferry_heap *heap);
void ferry__finalizers_fini(struct ferry_heap *heap);
bool ferry__finalizers_keep(struct ferry__marker *marker);
void ferry__finalizers_purge(struct ferry_heap *heap,
			     struct ferry__marker *marker);
void ferry__finalizers_forward(struct ferry_heap *heap);

/* Identity hashes: that of an object, and the same if it was asked before. */
int ferry__hash_init(struct ferry_heap *heap);
void ferry__hash_fini(struct ferry_heap *heap);
uint64_t ferry__hash_get(struct ferry_heap *heap, uintptr_t addr);
bool ferry__hash_peek(const struct ferry_heap *heap, uintptr_t addr,
		      uint64_t *ret_hash);

#endif
