/* SPDX-License-Identifier: MIT */
/*
 * A slab allocator for small objects that may be moved, in memory of its own.
 *
 * Slabs of eight pages, each of one size class. Sizes are the eighth pages
 * divided by the number of objects and rounded down to a unit (page / 256):
 * nothing but that rounding is lost at a slab's end. Classes are 4 % apart
 * (those above half a page up to 11 %): of all sizes between 200 and 3600
 * bytes, 4 % is lost on average, rounding included.
 *
 * After the manner of zsmalloc in Linux (mm/zsmalloc.c): objects grouped by
 * class, slabs by how full they are, the sparsest emptied into the fullest.
 * Unlike there an object never crosses two slabs and a slab is contiguous, so
 * that a decompressor reads it in place.
 *
 *	            take                  free, noticed         no object
 *	 SPARE ------------> LISTED --------------------> ... -----------> SPARE
 *	                      | ^ full / has room again
 *	                      v |
 *	                     FULL
 *
 * Locking. All calls need the owner's lock but these, which are signal-safe
 * and wait for nobody: ferry__slabs_free() and ferry__slabs_at(). A place is
 * freed by clearing its bit, which the lock's holder sees at its next look;
 * that there is something to look at is told by a stack of slabs that threads
 * push without a lock and only the holder empties, as a whole.
 */
#ifndef FERRY_ALLOC_STORE_SLAB_H
#define FERRY_ALLOC_STORE_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alloc/store/table.h"

#define FERRY__SLAB_PAGES     8
#define FERRY__SLAB_SLOT_BITS 10 /* 8 pages / smallest class */
#define FERRY__SLAB_SLOTS     (1u << FERRY__SLAB_SLOT_BITS)
#define FERRY__SLAB_UNITS     256 /* units in a page, the largest class */
#define FERRY__SLAB_CLASSES   96
#define FERRY__SLAB_GROUPS    8

/* Where an object is: slab << FERRY__SLAB_SLOT_BITS | slot. */
typedef uint64_t ferry__place;
#define FERRY__SLAB_BITS  28 /* 8 TiB of pages of 4 KiB */
#define FERRY__PLACE_BITS (FERRY__SLAB_BITS + FERRY__SLAB_SLOT_BITS)

enum ferry__slab_state {
	FERRY__SLAB_SPARE = 0, /* of no class, without memory */
	FERRY__SLAB_FULL,      /* in no list: no room when last looked at */
	FERRY__SLAB_LISTED,    /* in a group of its class */
};

struct ferry__slab {
	/*
	 * A bit for each slot that is taken, and for those beyond the class's
	 * number. S1: set under the lock; cleared by ferry__slabs_free()
	 * with release, so that who takes the slot next (acquire) comes after
	 * all that was read of the old object.
	 */
	uint64_t bits[FERRY__SLAB_SLOTS / 64];
	/* S2: is it in the stack of freed slabs? See ferry__slabs_free(). */
	uint32_t noticed;
	uint32_t next_noticed; /* slab + 1; of who set .noticed */
	uint32_t next;	       /* slab + 1, of its list; under the lock */
	uint8_t state;	       /* the others: under the lock */
	uint8_t class;
	uint8_t pages; /* from its beginning on, that have memory */
};

struct ferry__slab_class {
	uint32_t size;			    /* bytes of an object */
	uint32_t slots;			    /* objects in a slab */
	uint32_t group[FERRY__SLAB_GROUPS]; /* slab + 1, by fullness */
};

struct ferry__slabs {
	struct ferry__table info; /* struct ferry__slab */
	struct ferry__table data; /* their memory */
	uint32_t n;		  /* slabs ever made */
	uint32_t spare;		  /* slab + 1 */
	uint64_t pages;		  /* pages of slabs that have memory */
	/* S3: top of the stack of slabs that something was freed in. */
	uint32_t noticed;
	uint32_t n_classes;
	struct ferry__slab_class class[FERRY__SLAB_CLASSES];
	/* The class for each size in units. */
	uint8_t class_of[FERRY__SLAB_UNITS + 1];
};

/*
 * Copies the object at @from to @to and makes all who know it know the new
 * place. Returns false if that cannot be: then it stays. Whoever frees it
 * meanwhile frees the place that it is known under at that moment.
 */
typedef bool (*ferry__slab_mover)(void *arg, ferry__place from,
				  ferry__place to);

void ferry__slabs_init(struct ferry__slabs *slabs);
void ferry__slabs_fini(struct ferry__slabs *slabs);

/*
 * A place for @size bytes (at most a page), that takes at most @room bytes
 * of memory more than before. Returns 0 or -ENOSPC.
 */
int ferry__slabs_take(struct ferry__slabs *slabs, size_t size, uint64_t room,
		      ferry__place *ret_place);

/* Its memory. No lock, signal-safe. */
void *ferry__slabs_at(const struct ferry__slabs *slabs, ferry__place place);

/* Bytes that there are at @place. No lock, signal-safe. */
size_t ferry__slabs_size(const struct ferry__slabs *slabs, ferry__place place);

/* Nobody knows the object any more. No lock, signal-safe. */
void ferry__slabs_free(struct ferry__slabs *slabs, ferry__place place);

/* Bytes of memory held. */
uint64_t ferry__slabs_held(const struct ferry__slabs *slabs);

/* Gives back the memory of slabs without objects. */
void ferry__slabs_release(struct ferry__slabs *slabs);

/*
 * Sorts the slabs of class @class by how full they are and gives back the
 * empty ones. Returns how many more could be saved by compaction: there are
 * free places for as many.
 */
uint32_t ferry__slabs_survey(struct ferry__slabs *slabs, uint32_t class);

/*
 * Empties the sparsest slab of class @class, as far as surveys and takes have
 * seen, into the fuller ones, and gives it back. Returns whether it did; false
 * says that there is nothing to be won for now: none is less than three
 * quarters full, or something in it could not be moved.
 */
bool ferry__slabs_compact(struct ferry__slabs *slabs, uint32_t class,
			  ferry__slab_mover mover, void *arg);

/*
 * For the child of a fork(2), where frees were cut off in the middle: forgets
 * which places are taken; after mark() for each that is, end() makes the
 * lists anew.
 */
void ferry__slabs_recount_begin(struct ferry__slabs *slabs);
void ferry__slabs_recount_mark(struct ferry__slabs *slabs, ferry__place place);
void ferry__slabs_recount_end(struct ferry__slabs *slabs);

#endif
