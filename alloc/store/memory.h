/* SPDX-License-Identifier: MIT */
/*
 * The inside of the compressed-memory store.
 *
 * Handles. A page of one 32-bit word, over and over, is in its handle alone,
 * with a few bits to check it by. Any other handle is the number of an entry:
 * a word that says where the page's object is. Objects move when slabs are
 * compacted; the entry is what does not.
 *
 *	handle   1 | check: 11 | word: 32        or  0 | entry: 43
 *	entry    place: 38 | dictionary: 3 | pins: 22 | 1
 *	         or next free entry: 63 | 0
 *	object   struct ferry__object and the compressed contents
 *
 * Who does what to an entry:
 *	put()   takes a free one under the lock and makes it say a place (M1)
 *	get()   adds a pin and takes it away when it has read; an object that
 *	        is pinned stays where it is. As many pins as a Linux system
 *	        can have threads: they cannot run over.
 *	maintain()  copies the object, then changes entry and place at once if
 *	        it was not pinned at that moment (M2)
 *	drop()  takes the place out at once and frees what it found
 * get() and drop() take no lock and wait for nobody: they run in handlers
 * and in threads that a handler interrupts. Nobody may get() and drop() one
 * handle at the same time, so that the object which get() reads is there.
 *
 * The lock (rank: below all of the pager's; leaf) is for put(), maintain(),
 * stats() and fork(2): who takes places and entries.
 */
#ifndef FERRY_ALLOC_STORE_MEMORY_H
#define FERRY_ALLOC_STORE_MEMORY_H

#include <pthread.h>
#include <stdint.h>

#include "alloc/store/codec.h"
#include "alloc/store/dicts.h"
#include "alloc/store/slab.h"
#include "alloc/store/store.h"
#include "alloc/store/table.h"

#define FERRY__HANDLE_SAME  ((uint64_t)1 << (FERRY__STORE_HANDLE_BITS - 1))
#define FERRY__ENTRY_STORED ((uint64_t)1)
#define FERRY__ENTRY_PIN    ((uint64_t)2)
#define FERRY__PIN_BITS	    22
#define FERRY__DICT_SHIFT   (1 + FERRY__PIN_BITS)
#define FERRY__PIN_MASK	    (((uint64_t)1 << FERRY__DICT_SHIFT) - 2)
#define FERRY__PLACE_SHIFT  (FERRY__DICT_SHIFT + FERRY__DICT_BITS)

_Static_assert(FERRY__PLACE_SHIFT + FERRY__PLACE_BITS == 64,
	       "an entry is a word");

/* Begins each object. */
struct ferry__object {
	uint64_t sum; /* of the page and its tag */
	uint32_t entry;
	uint16_t len;	/* bytes of contents behind this */
	uint16_t plain; /* they are one word that repeats, not compressed */
};

struct ferry__store_memory {
	struct ferry__store base;
	struct ferry__coder coder;
	uint64_t limit;

	pthread_mutex_t lock;
	struct ferry__slabs slabs;   /* as it says */
	struct ferry__table entries; /* uint64_t */
	struct ferry__dicts dicts;   /* as they say; of zstd */
	uint64_t n_entries;	     /* ever made; under the lock */
	/* M3: the first free entry + 1; pushed by drop(), popped by put(). */
	uint64_t free_entry;

	/* Counts, each of its own: relaxed throughout. */
	uint64_t in_handle; /* pages */
	uint64_t words;	    /* pages of one word that are objects */
	uint64_t objects;
	uint64_t payload;
	uint64_t puts, gets, refused, failed;
};

/* The entry's word of @handle, which is not FERRY__HANDLE_SAME. */
uint64_t *ferry__memory_entry(const struct ferry__store_memory *mem,
			      ferry__store_handle handle);

/* The dictionary that the object of such an entry is packed by; 0: none. */
static inline uint32_t ferry__memory_dict(uint64_t word)
{
	return (uint32_t)(word >> FERRY__DICT_SHIFT) & (FERRY__DICTS - 1);
}

/* The object that an entry with the word @word is about. */
struct ferry__object *
ferry__memory_object(const struct ferry__store_memory *mem, uint64_t word);

/* An entry of the object at @place that is packed by dictionary @dict. */
static inline uint64_t ferry__memory_word(ferry__place place, uint32_t dict)
{
	return place << FERRY__PLACE_SHIFT |
	       (uint64_t)dict << FERRY__DICT_SHIFT | FERRY__ENTRY_STORED;
}

static inline struct ferry__store_memory *
ferry__memory_of(struct ferry__store *store)
{
	return (struct ferry__store_memory *)store;
}

/* Counts order nothing: relaxed. */
static inline void ferry__memory_count(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static inline uint64_t ferry__memory_counted(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* The handle of a page that repeats @word. */
ferry__store_handle ferry__memory_same_handle(uint32_t word, uint64_t tag);

/* The put() of the store. */
int ferry__memory_put(struct ferry__store *store, const void *page,
		      uint64_t tag, ferry__store_handle *ret_handle);

/* Makes an entry free. No lock, signal-safe. */
void ferry__memory_push_entry(struct ferry__store_memory *mem, uint64_t entry);

/* Bytes of memory held. Under the lock. */
uint64_t ferry__memory_held(const struct ferry__store_memory *mem);

/*
 * Aborts unless each place that is taken is the object of one entry, none is
 * pinned, and counts agree. For tests, while no other thread uses the store.
 */
void ferry__memory_check(struct ferry__store *store);

#endif
