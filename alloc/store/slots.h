/* SPDX-License-Identifier: MIT */
/*
 * Slots of a page each, numbered from zero, for stores that keep pages whole:
 * which are taken, and what is known of each.
 *
 * Taking and freeing are lock-free and signal-safe; only making more of them
 * (or fewer) is for one thread at a time.
 */
#ifndef FERRY_ALLOC_STORE_SLOTS_H
#define FERRY_ALLOC_STORE_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alloc/store/table.h"

/*
 * Plain words: written by who took the slot, before it tells anybody the
 * number; the page's owner hands them on with the handle.
 */
struct ferry__slot {
	uint64_t sum;  /* ferry__store_checksum() of page and tag */
	uint32_t born; /* see generations.h */
	uint32_t next; /* in a stack; else for who uses the slots */
};

struct ferry__slots {
	struct ferry__table slot; /* struct ferry__slot */
	struct ferry__table word; /* 64 bits each: set is taken */
	/*
	 * SL1: the slots below @first are not taken any more once they are
	 * free; those from @n on are not there, and their bits are set. @n is
	 * released when the words are ready, acquired by who looks for a slot.
	 */
	uint64_t first, n;
	/*
	 * Where to begin to look. SL2: relaxed, a hint: wrong values cost
	 * time, since the search goes once around.
	 */
	uint64_t hint;
};

void ferry__slots_init(struct ferry__slots *slots);
void ferry__slots_fini(struct ferry__slots *slots);

/*
 * There are @n slots from here on: more than before, or the same number up to
 * the end of a last one that none is taken of. Under the owner's lock.
 * Returns 0 or the error of mmap(2).
 */
int ferry__slots_grow(struct ferry__slots *slots, uint64_t n);

/*
 * Takes away free slots at the end, as long as there are @at_least of them
 * in groups of 64. Under the owner's lock. Returns how many are left.
 */
uint64_t ferry__slots_shrink(struct ferry__slots *slots, uint64_t at_least);

/*
 * Takes @n slots from @first on if all of them are free (both multiples of
 * 64). Under the owner's lock, as the way back.
 */
bool ferry__slots_claim(struct ferry__slots *slots, uint64_t first, uint64_t n);
void ferry__slots_unclaim(struct ferry__slots *slots, uint64_t first,
			  uint64_t n);

/*
 * Closes the slots that are there: numbers go on after them, from a multiple
 * of 64 that is returned. Nobody else calls anything meanwhile.
 */
uint64_t ferry__slots_close(struct ferry__slots *slots);

/*
 * Takes up to @want slots in a row, low numbers first. Returns how many,
 * 0 when none is free; @ret_first is the lowest.
 */
size_t ferry__slots_take(struct ferry__slots *slots, size_t want,
			 uint64_t *ret_first);

void ferry__slots_free(struct ferry__slots *slots, uint64_t i);

/*
 * A stack of slots that are taken, through .next (number + 1, 0 at the end):
 * pushed without a lock, and only taken as a whole, so that there is no ABA.
 */
void ferry__slots_push(const struct ferry__slots *slots, uint64_t *stack,
		       uint64_t i);
uint64_t ferry__slots_take_stack(uint64_t *stack);

/* Which of the 64 slots from @w * 64 on are taken; relaxed: in passing. */
uint64_t ferry__slots_word(const struct ferry__slots *slots, uint64_t w);

static inline struct ferry__slot *
ferry__slots_at(const struct ferry__slots *slots, uint64_t i)
{
	return ferry__table_at(&slots->slot, i);
}

/* How many there are; relaxed: in passing. */
static inline uint64_t ferry__slots_count(const struct ferry__slots *slots)
{
	return __atomic_load_n(&slots->n, __ATOMIC_RELAXED);
}

/* Bytes of memory that are used for the slots. */
uint64_t ferry__slots_bytes(const struct ferry__slots *slots);

#endif
