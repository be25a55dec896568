/* SPDX-License-Identifier: MIT */
/*
 * Compaction: where objects go, and how they get there.
 */
#ifndef FERRY_RUNTIME_RELOC_H
#define FERRY_RUNTIME_RELOC_H

#include <ferry/heap.h>

#include <stdatomic.h>

/* ferry__block.fwd: what becomes of the objects of a block. */
#define FERRY__FWD_TOGGLE 0u /* same offset of the other half */
#define FERRY__FWD_STAY	  1u
/* From here on: evacuated, by the record of this number less FIRST. */
#define FERRY__FWD_FIRST 2u

/*
 * Where the objects of an evacuated block go: packed, in order, behind each
 * other from granule @begin of block @target[0]; those from the @split'th
 * live granule on to the start of @target[1]. (Kermany and Petrank, The
 * Compressor, PLDI 2006: new addresses from mark bits and a table.)
 */
#define FERRY__RECORD_WORDS (FERRY__BLOCK_GRANULES / 64)
struct ferry__record {
	uint32_t source;
	uint32_t target[2]; /* index + 1; 0: none */
	uint16_t begin;
	uint16_t split;
	uint16_t live;
	uint16_t rank[64]; /* live granules before each word */
	uint64_t bits[64]; /* live granules, ends included */
};

/* A block that objects are evacuated into: its records, in order. */
struct ferry__target {
	uint32_t index;
	uint32_t first, last; /* records, last included */
};

struct ferry__reloc {
	bool toggle; /* FWD_TOGGLE means what it says: not STOPPED */
	struct ferry__record *record;
	size_t records, records_max;
	struct ferry__target *target;
	size_t targets, targets_max;
	_Atomic size_t copied;
};

int ferry__reloc_init(struct ferry_heap *heap);
void ferry__reloc_fini(struct ferry_heap *heap);

/*
 * Compacts; everything is swept, the phase is PLAN. Returns the bytes that
 * became free, 0 if nothing was worth it. By who runs the collection.
 */
size_t ferry__reloc_run(struct ferry_heap *heap, bool all);

/* Memory of a block that was VOID: present before it is touched, if a
 * compaction is under way. */
int ferry__reloc_provide(struct ferry_heap *heap, uintptr_t addr, size_t len);

#endif
