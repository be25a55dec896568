/* SPDX-License-Identifier: MIT */
/*
 * Slots that children of a fork(2) go on using, outside of the memory that
 * they got a copy of: in a file, on a server.
 *
 * G1. The parent uses no slot again that a child may read. Forks are counted
 *     by generations: slots know in which they were written, and one that is
 *     dropped while children of this or a later generation live is held.
 * G2. Whether children of a generation live is asked of the kernel: each has
 *     a page of shared memory (memfd) that is mapped in the parent when it
 *     forks, and so in its children and theirs. It can be sealed against
 *     writing only when nobody maps it any more: they have exited, replaced
 *     their program, or unmapped it since they dropped all they inherited.
 *     No message, no descriptor in the child, and nothing is lost when one is
 *     killed.
 * G3. A generation ends with the next check after a fork at which there is a
 *     page for another: children that are born until then share it. Where
 *     there never is one (no memfd), they count as alive for good.
 *
 * The owner's locks: start, check and fini are for one thread at a time, which
 * shares the descriptor table; the calls around a fork come while nobody else
 * calls anything. ferry__generations_drop() is lock-free.
 */
#ifndef FERRY_ALLOC_STORE_GENERATIONS_H
#define FERRY_ALLOC_STORE_GENERATIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "alloc/store/slots.h"

struct ferry__generation;

struct ferry__generations {
	struct ferry__slots *slots;
	/* What becomes of a slot that nobody needs; lock-free, too. */
	void (*free)(void *arg, uint64_t i);
	void *arg;
	struct ferry__generation *newest; /* list */
	uint32_t number;		  /* G4: of the newest */
	uint32_t living; /* G5: newest with living children + 1, or 0 */
	uint64_t held;	 /* stack of slots, see ferry__slots_push() */
};

/* The first generation. Returns 0 or -ENOMEM: then nothing was changed. */
int ferry__generations_start(struct ferry__generations *generations);
void ferry__generations_fini(struct ferry__generations *generations);

/* Written into a slot when it is taken: .born. */
uint32_t ferry__generations_now(const struct ferry__generations *generations);

/* The page in the slot is not needed any more: freed, or held. */
void ferry__generations_drop(struct ferry__generations *generations,
			     uint64_t i);

/* Ends the generation if there was a fork; frees what no child needs. */
void ferry__generations_check(struct ferry__generations *generations);

/* May a child be alive that uses slots? As of the last check. */
bool ferry__generations_any(const struct ferry__generations *generations);

/* In the parent: a child has what was there. */
void ferry__generations_forked(struct ferry__generations *generations);

/*
 * In the child: forgets all. Returns the shared page, which stays mapped as
 * long as the child needs slots of the parent; NULL: there is none.
 */
void *ferry__generations_inherit(struct ferry__generations *generations);

/* Unmaps such a page; NULL is allowed. */
void ferry__generation_page_free(void *page);

#endif
