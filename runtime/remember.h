/* SPDX-License-Identifier: MIT */
/*
 * What was written since it was last looked at: dirty tracking of the heap's
 * memory, in chunks.
 */
#ifndef FERRY_RUNTIME_REMEMBER_H
#define FERRY_RUNTIME_REMEMBER_H

#include <ferry/dirty.h>

#include <stdatomic.h>

struct ferry__marker;

/* Armed and asked about as a whole. */
#define FERRY__CHUNK_SHIFT 24u
#define FERRY__CHUNK_SIZE  ((size_t)1 << FERRY__CHUNK_SHIFT)

#define FERRY__CHUNK_BLOCKS (1u << (FERRY__CHUNK_SHIFT - 16u))

struct ferry__remember {
	struct ferry_dirty *dirty; /* NULL: mode STOPPED */
	uint8_t *chunk;		   /* by number, over the reservation: flags */
	size_t chunks;
	_Atomic size_t at;    /* next chunk of the round under way */
	_Atomic size_t pages; /* dirty ones found in it */
	bool whole; /* all written since the last collection is known */
	/*
	 * M9: pages where a marked object refers to a young one, a bit each:
	 * [filling] is written while marking, the other is what the last
	 * collection wrote. NULL: there are no minor collections.
	 */
	_Atomic uint64_t *noted[2];
	unsigned int filling; /* world stopped */
	bool peek;	      /* this round changes nothing */
	bool first;	      /* round of this collection: takes the notes */
};

int ferry__remember_init(struct ferry_heap *heap);
void ferry__remember_fini(struct ferry_heap *heap);

/*
 * Which chunks have memory in use that may hold references, and begins a
 * round over them. @arm: those not tracked are to be from now on. World
 * stopped or not.
 */
void ferry__remember_begin(struct ferry_heap *heap, bool arm);

/*
 * Takes part in the round: looks at chunk after chunk until none is left,
 * and has the marked objects on dirty pages traced. Any member of the team.
 */
void ferry__remember_scan(struct ferry__marker *marker);

/* The slot refers to a young object: its page is looked at by the next
 * collection, if it lies in the heap. Markers. */
void ferry__remember_note(struct ferry_heap *heap, uintptr_t slot);

/* World stopped, a collection begins: the next round, its first, takes what
 * the last collection noted. */
void ferry__remember_turn(struct ferry_heap *heap);

/* The range, inside one chunk, is about to be written: see
 * ferry_dirty_expect(). Any thread. */
void ferry__remember_expect(struct ferry_heap *heap, uintptr_t addr,
			    size_t len);

/* What is written until the next collection need not be known, which is a full
 * one then. By who runs a collection, at its end. */
void ferry__remember_relax(struct ferry_heap *heap);

/* Ends tracking everywhere: a compaction needs the memory for itself. */
void ferry__remember_drop(struct ferry_heap *heap);

#endif
