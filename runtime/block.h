/* SPDX-License-Identifier: MIT */
/*
 * Blocks: 64 KiB of small objects each, the lists they stand on, and how
 * mutators get memory from them.
 */
#ifndef FERRY_RUNTIME_BLOCK_H
#define FERRY_RUNTIME_BLOCK_H

#include <ferry/mutator.h>

#include <pthread.h>
#include <stdatomic.h>

/*
 *	VOID -> FREE -> OWNED -> UNSWEPT -> SWEEPING -> FREE | HOLES | FULL
 *			  ^				 |      |
 *			  +------------------------------+------+
 * and of HOLES, FULL: SPARSE while a compaction empties them, then VOID or
 * FREE. Who makes which step: DESIGN.md, B1 to B6.
 */
enum ferry__block_state {
	FERRY__BLOCK_VOID = 0, /* no memory */
	FERRY__BLOCK_FREE,     /* memory with leftovers; side table zero */
	FERRY__BLOCK_OWNED,    /* a mutator allocates in it */
	FERRY__BLOCK_UNSWEPT,  /* marks are final, garbage still in it */
	FERRY__BLOCK_SWEEPING,
	FERRY__BLOCK_HOLES,  /* swept; on the list of its kind */
	FERRY__BLOCK_FULL,   /* swept; no hole worth having */
	FERRY__BLOCK_SPARSE, /* chosen for evacuation: nobody allocates */
};

/* Flags of a block. */
#define FERRY__BLOCK_LEAF   0x01u /* objects without references */
#define FERRY__BLOCK_HALF   0x02u /* it lies in half 1 */
#define FERRY__BLOCK_YOUNG  0x04u /* allocated in since the last cycle */
#define FERRY__BLOCK_PINNED 0x08u /* keeps its address in this compaction */
#define FERRY__BLOCK_AMBIG  0x10u /* has objects of kind AMBIGUOUS */

struct ferry__block {
	_Atomic uint8_t state; /* enum ferry__block_state */
	_Atomic uint8_t flags; /* FERRY__BLOCK_* */
	uint16_t live;	       /* granules, by the last sweep */
	uint16_t hole;	       /* granules of the largest hole */
	uint16_t unused;
	uint32_t next; /* on a list: index + 1; 0 ends it */
	uint32_t fwd;  /* compaction: FERRY__FWD_*, or number of record */
};

/* A stack of blocks, linked by next. */
struct ferry__block_list {
	uint32_t head; /* index + 1 */
	uint32_t len;
};

/* Where a mutator allocates: the block, and how far its holes were used. */
struct ferry__span {
	uint32_t block; /* index + 1; 0: none */
	uint32_t next;	/* granule at which the search for holes goes on */
};

struct ferry__space {
	pthread_mutex_t lock;		   /* rank 30 */
	struct ferry__block_list free;	   /* FREE */
	struct ferry__block_list holes[2]; /* HOLES, by kind */
	struct ferry__block_list young;	   /* retired since the last cycle */
	struct ferry__block_list unswept;  /* minor: what is to be swept */
	uint32_t used_end; /* blocks at and beyond were never taken */
	uint32_t max;	   /* blocks in a half */
	uint32_t sweep_at; /* full: next index to sweep; lock */
	uint32_t sweep_end;
	uint32_t sweeping;	  /* blocks in state SWEEPING; lock */
	_Atomic size_t taken;	  /* bytes in blocks that are not VOID, FREE */
	_Atomic size_t allocated; /* bytes handed to mutators, ever */
	_Atomic size_t since;	  /* of these since the last cycle began */
};

#endif
