/* SPDX-License-Identifier: MIT */
/*
 * Identity hashes that survive moving.
 *
 * Until an object is copied its hash is a mix of the offset in its space,
 * which does not change when a block is taken across to the other half, nor
 * ever for large objects. An object that was asked for its hash and is then
 * copied carries the hash of its old place in a granule added behind it.
 *
 * One side map, a bit a granule, says both (H1):
 *
 *	bit of first granule	bit of last granule (if another)
 *	0			0	never asked
 *	1			0	asked: the hash is the place's
 *	1			1	asked and copied: the last granule has it
 *
 * An object of one granule was never copied since it was asked, or it would
 * have two. Asking sets the first bit; copying sets both of the new place;
 * sweeping and the end of an evacuation clear what is free again.
 * (After Agesen, Space and Time-Efficient Hashing of Garbage-Collected
 * Objects, TAPOS 5, 1999.)
 */
#include "runtime/heap-internal.h"

#include <string.h>

#include "alloc/alloc-internal.h"

/* Bytes of objects are touched here that other threads may be writing. */
#define NO_TSAN __attribute__((no_sanitize("thread")))

/* Two rounds of multiplying and folding: every bit of the place reaches every
 * bit of the hash. Odd constants with their bits spread evenly. */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0x9e3779b97f4a7c15ull;
	x ^= x >> 29;
	x *= 0xd6e8feb86659fd93ull;
	return x ^ x >> 32;
}

static uint64_t hash_of_place(const struct ferry_heap *heap, uintptr_t addr)
{
	return mix(ferry__offset(heap, addr) / FERRY_GRANULE * 2 +
		   ferry__is_large(heap, addr) + 1);
}

static size_t granule(const struct ferry_heap *heap, uintptr_t addr)
{
	return ferry__offset(heap, addr) / FERRY_GRANULE;
}

static bool bit(const struct ferry_heap *heap, uintptr_t addr)
{
	size_t at = granule(heap, addr);

	/* Relaxed: set by this thread, before a safepoint of this thread, or
	 * before the copy that this thread has touched (H2). */
	return atomic_load_explicit(&heap->weak.hashed[at / 64],
				    memory_order_relaxed) >>
		       at % 64 &
	       1;
}

static void bit_set(const struct ferry_heap *heap, uintptr_t addr)
{
	size_t at = granule(heap, addr);

	/* H3, seq_cst: pairs with the planner, which makes a block SPARSE and
	 * then looks at this bit in ferry__hash_grows(). */
	atomic_fetch_or(&heap->weak.hashed[at / 64], 1ull << at % 64);
}

static bool small(const struct ferry_heap *heap, uintptr_t addr)
{
	return ferry__in_heap(heap, addr) && !ferry__is_large(heap, addr);
}

static uintptr_t last_granule(uintptr_t addr, size_t bytes)
{
	return addr + bytes - FERRY_GRANULE;
}

static bool carried(const struct ferry_heap *heap, uintptr_t addr, size_t bytes)
{
	return bytes > FERRY_GRANULE && bit(heap, addr) &&
	       bit(heap, last_granule(addr, bytes));
}

static bool hashing(const struct ferry_heap *heap)
{
	/* Relaxed: who must see it set was stopped, or started, since. */
	return atomic_load_explicit(&heap->weak.hashing, memory_order_relaxed);
}

/* --- asking -------------------------------------------------------------------- */

/*
 * In a compaction, the bits of the new place are written when the copy is
 * made: at the latest when its last page is touched (H2).
 */
NO_TSAN static void touch(const struct ferry_heap *heap, uintptr_t addr)
{
	if (atomic_load_explicit(&heap->cycle.phase, memory_order_acquire) !=
	    FERRY__PHASE_COMPACT)
		return;
	*(volatile const uint8_t *)addr;
	/* What was written before the page was there, the size first, is not
	 * read before the page is seen. */
	ferry__fence();
	*(volatile const uint8_t *)last_granule(
		addr, ferry__object_bytes(heap, addr));
	ferry__fence();
}

static uint64_t hash_of_asked(const struct ferry_heap *heap, uintptr_t addr)
{
	size_t bytes = ferry__object_bytes(heap, addr);

	if (!carried(heap, addr, bytes))
		return hash_of_place(heap, addr);
	return *(const uint64_t *)last_granule(addr, bytes);
}

/*
 * The first asking. If a compaction is being planned, room for the hash may
 * not be: then the object stays where it is, for this time. Either the
 * planner sees the bit, or the state is seen here (H3).
 */
static void ask(struct ferry_heap *heap, uintptr_t addr)
{
	struct ferry__block *block =
		&heap->blocks[ferry__offset(heap, addr) >> FERRY__BLOCK_SHIFT];

	/* H3, seq_cst: pairs with ferry__hash_grows(). Acquire: who set it
	 * before did so before what follows here. */
	if (!atomic_load_explicit(&heap->weak.hashing, memory_order_acquire))
		atomic_store(&heap->weak.hashing, true);
	bit_set(heap, addr);
	if (atomic_load(&block->state) == FERRY__BLOCK_SPARSE)
		ferry__flip_asked(heap, block);
}

uint64_t ferry__hash_get(struct ferry_heap *heap, uintptr_t addr)
{
	if (!small(heap, addr))
		return ferry__in_heap(heap, addr) ? hash_of_place(heap, addr)
						  : mix(addr);
	touch(heap, addr);
	if (bit(heap, addr))
		return hash_of_asked(heap, addr);
	ask(heap, addr);
	return hash_of_place(heap, addr);
}

bool ferry__hash_peek(const struct ferry_heap *heap, uintptr_t addr,
		      uint64_t *ret_hash)
{
	if (!ferry__in_heap(heap, addr))
		return false;
	if (ferry__is_large(heap, addr)) {
		*ret_hash = hash_of_place(heap, addr);
		return true;
	}
	touch(heap, addr);
	if (!bit(heap, addr))
		return false;
	*ret_hash = hash_of_asked(heap, addr);
	return true;
}

uint64_t ferry_identity_hash(struct ferry_mutator *m, const void *object)
{
	return ferry__hash_get(ferry__mutator(m)->heap, (uintptr_t)object);
}

/* --- copying --------------------------------------------------------------------- */

bool ferry__hash_carried(const struct ferry_heap *heap, uintptr_t addr)
{
	return hashing(heap) && small(heap, addr) &&
	       carried(heap, addr, ferry__object_bytes(heap, addr));
}

bool ferry__hash_grows(const struct ferry_heap *heap, uintptr_t addr)
{
	size_t at = granule(heap, addr);

	/* H3, seq_cst, both: the block was made SPARSE before they are read;
	 * pairs with ask(). */
	return atomic_load(&heap->weak.hashing) &&
	       atomic_load(&heap->weak.hashed[at / 64]) >> at % 64 & 1 &&
	       !carried(heap, addr, ferry__object_bytes(heap, addr));
}

void ferry__hash_store(struct ferry_heap *heap, uintptr_t old_addr,
		       uintptr_t new_addr, void *copy, size_t bytes)
{
	uint64_t added[FERRY_GRANULE / sizeof(uint64_t)] = { 0 };
	size_t new_bytes = bytes;

	if (!hashing(heap) || !bit(heap, old_addr))
		return;
	if (!carried(heap, old_addr, bytes)) {
		added[0] = hash_of_place(heap, old_addr);
		if (copy)
			memcpy((char *)copy + bytes, added, sizeof(added));
		new_bytes += FERRY_GRANULE;
	}
	bit_set(heap, new_addr);
	bit_set(heap, last_granule(new_addr, new_bytes));
}

/* --- sweeping ---------------------------------------------------------------------- */

static void word_clear(_Atomic uint64_t *word, uint64_t mask)
{
	/* Relaxed: bits of granules that are in use are others' to write, of
	 * those that are free nobody's. Mostly there are none. */
	if (atomic_load_explicit(word, memory_order_relaxed) & mask)
		atomic_fetch_and_explicit(word, ~mask, memory_order_relaxed);
}

void ferry__hash_swept(struct ferry_heap *heap, uintptr_t addr, size_t bytes)
{
	_Atomic uint64_t *word;
	size_t at, end;
	uint64_t mask;

	if (!hashing(heap) || !small(heap, addr))
		return;
	at = granule(heap, addr);
	end = at + bytes / FERRY_GRANULE;
	while (at < end) {
		word = &heap->weak.hashed[at / 64];
		mask = UINT64_MAX << at % 64;
		if (end / 64 == at / 64)
			mask &= (1ull << end % 64) - 1;
		word_clear(word, mask);
		at = (at / 64 + 1) * 64;
	}
}

/* --- life --------------------------------------------------------------------------- */

static size_t hashed_bytes(const struct ferry_heap *heap)
{
	return heap->half / FERRY_GRANULE / 8;
}

int ferry__hash_init(struct ferry_heap *heap)
{
	void *map = NULL;
	int r = ferry__meta_alloc(hashed_bytes(heap), &map);

	if (r < 0)
		return r;
	heap->weak.hashed = map;
	return 0;
}

void ferry__hash_fini(struct ferry_heap *heap)
{
	ferry__meta_free((void *)heap->weak.hashed, hashed_bytes(heap));
}
