/* SPDX-License-Identifier: MIT */
/*
 * Compaction: where objects go, and how they get there.
 */
#ifndef FERRY_RUNTIME_RELOC_H
#define FERRY_RUNTIME_RELOC_H

#include <ferry/demand.h>
#include <ferry/heap.h>

#include <stdatomic.h>

#include "runtime/block.h"

/* ferry__block.fwd: what becomes of the objects of a block. */
#define FERRY__FWD_TOGGLE 0u /* same offset of the other half */
#define FERRY__FWD_STAY	  1u
/* From here on: evacuated, by the record of this number less FIRST. Of a
 * block in state TARGET: the number of its target less FIRST. */
#define FERRY__FWD_FIRST 2u

/*
 * Where the objects of an evacuated block go: packed, in order, from granule
 * @begin of block @target[0] on; those from the @split'th live granule on to
 * the start of @target[1]. A new address is computed from the live bits alone,
 * so that no object needs a forwarding word and any page of the new blocks
 * can be made before any other. (Kermany and Petrank, The Compressor, PLDI
 * 2006.)
 */
#define FERRY__RECORD_WORDS 64u
struct ferry__record {
	uint32_t source;
	uint32_t target[2]; /* numbers of targets; [1]: if split < live */
	uint16_t begin;
	uint16_t split;
	uint16_t live;
	_Atomic uint8_t parts; /* not copied yet: 1 or 2; K5 */
	bool grows;	       /* some object gets a granule for its hash */
	bool stays;	       /* it was pinned after the plan was made */
	uint16_t rank[FERRY__RECORD_WORDS]; /* live granules before a word */
	uint64_t bits[FERRY__RECORD_WORDS]; /* live granules, whole objects */
};

/* A block that objects are evacuated into: its records, in order. */
struct ferry__target {
	uint32_t block;
	uint32_t first, last; /* records, @last included */
};

/* A growing array of the metadata's memory. */
struct ferry__vector {
	void *v;
	size_t len, room; /* elements */
};

struct ferry__reloc {
	struct ferry_demand *demand; /* NULL: mode STOPPED */
	_Atomic bool toggle; /* TOGGLE means what it says; world stopped */
	_Atomic bool on;     /* from the flip to the end; world stopped, or
				who runs the collection */
	struct ferry__vector records;	 /* struct ferry__record */
	struct ferry__vector targets;	 /* struct ferry__target */
	uint64_t pages_moved, by_faults; /* of @demand, counted so far */
	/* What the pause looks at, by who runs the collection; K10. */
	struct ferry__vector pinned;	/* uint32_t, blocks */
	struct ferry__vector ambiguous; /* uint32_t, blocks */
	struct ferry__vector large;	/* uintptr_t: may have references */
	uint64_t large_made;		/* large.made when it was listed */
	bool blind;	    /* something is not on its list: all is looked at */
	_Atomic bool asked; /* some block has the flag ASKED; H3 */
	uint32_t seen;	    /* head of the retired list when prepared */
	uint32_t units;	    /* blocks of a half that are prepared */
};

static inline struct ferry__record *ferry__record(const struct ferry__reloc *r,
						  size_t i)
{
	return (struct ferry__record *)r->records.v + i;
}

/* Does the object that ends before granule @end grow? @next: where the one
 * behind it starts. */
static inline bool ferry__record_grows(const struct ferry__record *record,
				       uint32_t end, uint32_t next)
{
	return end < next && record->bits[end / 64] >> (end % 64) & 1;
}

static inline struct ferry__target *ferry__target(const struct ferry__reloc *r,
						  size_t i)
{
	return (struct ferry__target *)r->targets.v + i;
}

/* Room for @room elements in all; false: no memory. */
bool ferry__vector_reserve(struct ferry__vector *vec, size_t room, size_t size);

/* One more element, zeroed, or NULL: no memory. */
void *ferry__vector_add(struct ferry__vector *vec, size_t size);
void ferry__vector_clear(struct ferry__vector *vec, size_t size);

int ferry__reloc_init(struct ferry_heap *heap);
void ferry__reloc_fini(struct ferry_heap *heap);

/*
 * Compacts; everything is swept, the world runs (STOPPED: is stopped).
 * @most: blocks with fewer live granules are emptied. Returns the bytes that
 * became free, 0 if nothing was worth it. By who runs the collection.
 */
size_t ferry__reloc_run(struct ferry_heap *heap, uint32_t most);

/* Is a compaction under way, from its flip to its end? */
bool ferry__reloc_is_on(const struct ferry_heap *heap);

/* Memory of a block that was VOID, while it is on: present on return. -EINVAL,
 * -ENOTCONN: the place is not served. */
int ferry__reloc_provide(struct ferry_heap *heap, uintptr_t addr, size_t len);

/* What the last compaction could not unregister is tried again: before
 * tracking wants the ranges. CONCURRENT, none is on. */
void ferry__reloc_tidy(struct ferry_heap *heap);

/*
 * K12: before the side table is asked about a place, which may be in a block
 * that is to be made: makes it. A mutator.
 */
void ferry__reloc_bring(const struct ferry_heap *heap, uintptr_t word);

/* Makes a unit of the demand: a block, taken across or filled. */
enum ferry_demand_answer ferry__reloc_produce(void *arg,
					      struct ferry_demand_unit *unit);

/* --- flip.c --------------------------------------------------------------- */

/*
 * Before the pause: all that takes time by the size of the heap. By who runs
 * the collection. Returns 0, -ENOMEM.
 */
int ferry__flip_prepare(struct ferry_heap *heap);

/* Leaves word that @block was asked for a hash too late (H3). A mutator. */
void ferry__flip_asked(struct ferry_heap *heap, struct ferry__block *block);

/* The pause, world stopped: on 0 the new addresses are those of all. On
 * failure nothing has changed. */
int ferry__flip(struct ferry_heap *heap);

/* The same in mode STOPPED: references are put right where they are. */
void ferry__flip_stopped(struct ferry_heap *heap);

/* Everything is at its place, or (@undo) the flip was not made. */
void ferry__flip_end(struct ferry_heap *heap, bool undo);

/* --- guard.c -------------------------------------------------------------- */

/* In debug heaps: places without a block cannot be accessed from here on. */
void ferry__guard_vacant(struct ferry_heap *heap);

/* Before a flip all places can, and have equal rights. Returns 0, -ENOMEM. */
int ferry__guard_lift(struct ferry_heap *heap);

/* The place of a block that was taken. Returns 0, -ENOMEM. */
int ferry__guard_lift_block(struct ferry_heap *heap, uint32_t index);

/* --- plan.c --------------------------------------------------------------- */

/*
 * Chooses blocks to be emptied, freezes them, and lays out where their objects
 * go. False: it would free no block, or there is no memory; nothing is frozen.
 */
bool ferry__plan_make(struct ferry_heap *heap, uint32_t most);

/* A block that was to be emptied stays after all. World stopped. */
void ferry__plan_cancel(struct ferry_heap *heap, struct ferry__record *record);

/* A block that is not evacuated goes by its kind again. */
void ferry__plan_reset_fwd(struct ferry_heap *heap, uint32_t index);

/* The plan was carried out, or (@undo) is not going to be. */
void ferry__plan_end(struct ferry_heap *heap, bool undo);

/* --- fix.c ---------------------------------------------------------------- */

/* A visitor that puts new addresses in slots. Init fills @slots' visitor. */
struct ferry__fixer {
	struct ferry_visitor visitor; /* first */
	struct ferry_heap *heap;
	void *slots[64];
};

void ferry__fixer_init(struct ferry__fixer *fixer, struct ferry_heap *heap);
void ferry__fixer_flush(struct ferry__fixer *fixer);

/* All objects of a block, whose memory is at @memory now. */
void ferry__fix_block(struct ferry__fixer *fixer, uint32_t index, void *memory);

/* One object of any kind. */
void ferry__fix_object(struct ferry__fixer *fixer, void *object,
		       enum ferry_kind kind);

/* Copies what goes to a target to @memory, of its block's size, and writes its
 * side table (K12). */
void ferry__fix_fill(struct ferry_heap *heap, struct ferry__target *target,
		     void *memory);

#endif
