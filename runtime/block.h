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
 *	VOID -> OWNED -> RETIRED -> UNSWEPT -> SWEEPING -> FREE | HOLES | FULL
 *		  ^	   ^			  |	    |	    |
 *		  |	   +----------------------+	    |	    |
 *		  +-----------------------------------------+-------+
 * and of HOLES, FULL: SPARSE while a compaction empties them, then VOID.
 * Who makes which step: DESIGN.md, B1 to B6.
 */
enum ferry__block_state {
	FERRY__BLOCK_VOID = 0, /* no memory */
	FERRY__BLOCK_FREE,     /* memory with leftovers; side table zero */
	FERRY__BLOCK_OWNED,    /* a mutator allocates in it */
	FERRY__BLOCK_RETIRED,  /* was owned since the last sweep, or is to be
				  swept by the next one as well: B10 */
	FERRY__BLOCK_UNSWEPT,  /* marks are final, garbage still in it; after
				  a full collection by EPOCH alone: B12 */
	FERRY__BLOCK_SWEEPING,
	FERRY__BLOCK_HOLES,  /* swept; on the list of its kind */
	FERRY__BLOCK_FULL,   /* swept; no hole worth having */
	FERRY__BLOCK_SPARSE, /* being evacuated: nobody allocates */
	FERRY__BLOCK_TARGET, /* evacuated into: nobody allocates yet */
};

/* Flags of a block. */
#define FERRY__BLOCK_LEAF    0x01u  /* objects without references */
#define FERRY__BLOCK_HALF    0x02u  /* it lies in half 1 */
#define FERRY__BLOCK_PINNED  0x04u  /* keeps its address in this compaction */
#define FERRY__BLOCK_AMBIG   0x08u  /* has objects of kind AMBIGUOUS */
#define FERRY__BLOCK_FRESH   0x10u  /* memory came zeroed from the kernel */
#define FERRY__BLOCK_SCAN    0x20u  /* retired while marking, to be scanned */
#define FERRY__BLOCK_ASKED   0x40u  /* an identity hash was, while SPARSE; H3 */
#define FERRY__BLOCK_CLEAN   0x80u  /* its pages may be protected: a hint; M8 */
#define FERRY__BLOCK_MOVES   0x100u /* HALF means the other once toggled; B11 */
#define FERRY__BLOCK_YOUNG   0x200u /* the next sweep comes here too; B10 */
#define FERRY__BLOCK_EPOCH   0x400u /* of its last sweep; B12 */
#define FERRY__BLOCK_ALIGNED 0x800u /* has objects of more alignment; K14 */

struct ferry__block {
	_Atomic uint16_t flags; /* FERRY__BLOCK_* */
	_Atomic uint8_t state;	/* enum ferry__block_state */
	_Atomic uint8_t marked; /* something in it was, or will be: a hint to
				   sweep that is never wrong when 0; B7 */
	uint16_t live; /* granules of marked objects, by the last sweep */
	uint16_t hole; /* granules of the largest hole */
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
	uintptr_t end;	/* of the hole at hand; the bump's limit is how far
			   it is cleared */
};

struct ferry__space {
	pthread_mutex_t lock;		   /* rank 30; all but the atomics */
	pthread_cond_t swept;		   /* sweeping became 0 */
	struct ferry__block_list voids;	   /* VOID below used_end */
	struct ferry__block_list stuck;	   /* VOID, but memory was kept */
	struct ferry__block_list free;	   /* FREE */
	struct ferry__block_list holes[2]; /* HOLES, by kind */
	struct ferry__block_list retired;  /* RETIRED */
	struct ferry__block_list unswept;  /* minor: what is to be swept */
	_Atomic uint32_t used_end; /* at and beyond none was ever taken */
	uint32_t max;		   /* blocks in a half */
	uint16_t epoch;		   /* FERRY__BLOCK_EPOCH or 0; world stopped */
	uint32_t sweep_at;	   /* full: next index to look at */
	uint32_t sweep_end;
	bool sweep_open;   /* marks are final: the purge of weak tables, which
			    may mark, is over */
	uint32_t sweeping; /* blocks in state SWEEPING */
	size_t live;	   /* bytes found by the sweep under way */
	size_t in_holes;   /* bytes free in HOLES and FULL blocks */
	_Atomic size_t taken;	  /* bytes in blocks neither VOID nor FREE */
	_Atomic size_t allocated; /* bytes handed to mutators, ever */
	_Atomic size_t since;	  /* of these since the last cycle began */
};

/* Relaxed: written under the lock; a block that is taken meanwhile has nothing
 * yet that who asks would have to see. */
static inline uint32_t ferry__space_end(const struct ferry__space *space)
{
	return atomic_load_explicit(&space->used_end, memory_order_relaxed);
}

/* Bytes found alive by the sweep, and free in blocks that have some. */
void ferry__space_sums(struct ferry_heap *heap, size_t *ret_live,
		       size_t *ret_in_holes);

int ferry__space_init(struct ferry_heap *heap);
void ferry__space_fini(struct ferry_heap *heap);

/*
 * Gives the mutator's bump pointer a hole of @granules at least. Returns 0,
 * or -ENOSPC: the limit is reached. Owner.
 */
int ferry__space_refill(struct ferry_mutator *m, unsigned int leaf,
			size_t granules);

/* The same for its spare pointer, with a block of its own. */
int ferry__space_refill_spare(struct ferry_mutator *m, unsigned int leaf);

/* Takes back what the mutator allocates from. Owner, or world stopped. */
void ferry__space_retire(struct ferry_mutator *m);

/* A block to evacuate into, in state TARGET, its memory absent; -ENOSPC. */
int ferry__space_target(struct ferry_heap *heap, unsigned int leaf,
			uint32_t *ret_index);

/*
 * Marking is over, world stopped, all retired: what is to be swept. After a
 * minor collection that is what was allocated in since the last.
 */
void ferry__sweep_begin(struct ferry_heap *heap, bool full);

/* Nothing is marked any more: blocks may be swept. */
void ferry__sweep_open(struct ferry_heap *heap);

/*
 * Does the block wait to be swept? B12. No block comes to that state, or leaves
 * it, while nobody sweeps; else under the space lock.
 */
bool ferry__block_is_unswept(const struct ferry_heap *heap, uint32_t index);

/* Sweeps one block; false when there is none left. Any thread. */
bool ferry__sweep_step(struct ferry_heap *heap);

/* Swept blocks with room are about to be written: no faults for that. */
void ferry__space_expect(struct ferry_heap *heap);

/* Sweeps the rest and waits for what others are sweeping. */
void ferry__sweep_finish(struct ferry_heap *heap);

/* Gives memory of free blocks back, down to @keep bytes. Returns bytes. */
size_t ferry__space_release(struct ferry_heap *heap, size_t keep);

/* The block's memory goes back at once; it becomes VOID. @absent: it is gone
 * already. */
void ferry__space_void(struct ferry_heap *heap, uint32_t index, bool absent);

/* Memory for a VOID block: it may be touched. Returns 0, -ENOMEM. */
int ferry__block_commit(struct ferry_heap *heap, uint32_t index);

/* Puts a block whose live and hole are right on the list it belongs to. */
void ferry__space_file(struct ferry_heap *heap, uint32_t index);

/* Counts live granules and holes of a block, without changing it. */
void ferry__block_survey(const struct ferry_heap *heap, uint32_t index,
			 uint16_t *ret_live, uint16_t *ret_hole);

#endif
