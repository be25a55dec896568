/* SPDX-License-Identifier: MIT */
/*
 * What the files of runtime/ share: the heap, its spaces and side tables,
 * mutators, the stopped world, marking.
 *
 * Lock ranks: a thread takes locks in rising rank only.
 *	 1  fork.c	heaps	all heaps; held over a fork
 *	 5  cycle.c	cycle	who runs a collection
 *	10  world.c	world	mutators, their states, the stop
 *	20  root.c	roots	roots and handles; pins have their own
 *	20  weak*.c	weak	tables of weak.h
 *	21  weak_map.c	map	each weak map
 *	22  ephemeron.c	stripe	ephemerons that wait, notes of markers
 *	25  mark.c	mark	mark stacks, the team (team.c)
 *	30  block.c	blocks	lists of blocks, accounts
 *	35  large.c	large	free pages of the large space
 *	36  policy.c	policy	the model
 *	40  event.c	stats	histograms, listeners
 * None is taken in a fault handler.
 */
#ifndef FERRY_HEAP_INTERNAL_H
#define FERRY_HEAP_INTERNAL_H

#include <ferry/dirty.h>
#include <ferry/event.h>
#include <ferry/heap.h>
#include <ferry/mutator.h>
#include <ferry/root.h>
#include <ferry/weak.h>

#include <pthread.h>
#include <stdatomic.h>
#include <urcu/list.h>

#include "alloc/alloc-internal.h"
#include "runtime/block.h"
#include "runtime/cycle.h"
#include "runtime/event.h"
#include "runtime/fork.h"
#include "runtime/large.h"
#include "runtime/mark.h"
#include "runtime/pace.h"
#include "runtime/policy.h"
#include "runtime/reloc.h"
#include "runtime/remember.h"
#include "runtime/root.h"
#include "runtime/rounds.h"
#include "runtime/stress.h"
#include "runtime/tier.h"
#include "runtime/verify.h"
#include "runtime/weak.h"
#include "runtime/world.h"
#include "uffd/sys.h"
#include "uffd/thread.h"

/* --- spaces ---------------------------------------------------------------- */

/*
 * One reservation of three parts of the same power-of-two size, heap->half:
 *
 *	base	  +half      +2 half
 *	| small 0 | small 1  | large   |
 *
 * A block (64 KiB of small objects) is at the same offset of either half 0 or
 * half 1, and its side-table entries are found by that offset alone: they do
 * not change when a compaction takes it across. Large objects stay where they
 * are.
 */
#define FERRY__PARTS	      3u
#define FERRY__BLOCK_SHIFT    16u
#define FERRY__BLOCK_SIZE     ((size_t)1 << FERRY__BLOCK_SHIFT)
#define FERRY__BLOCK_GRANULES ((size_t)(FERRY__BLOCK_SIZE / FERRY_GRANULE))
#define FERRY__LARGE_SHIFT    12u /* granule of the large space */

/* A swept block without a hole of so many granules is full. */
#define FERRY__HOLE_WORTH 8u

/* In the side table of the large space: made while marking, not scanned. */
#define FERRY__META_NEW 0x40u

/*
 * Colours. Marked objects have one of A and B, which change places with every
 * full collection; new ones one of the two for the young, which change places
 * with every collection. M6 in DESIGN.md.
 */
#define FERRY__COLOUR_YOUNG 0x00u
#define FERRY__COLOUR_OTHER 0x18u /* the other one for the young */
#define FERRY__COLOUR_A	    0x08u
#define FERRY__COLOUR_B	    0x10u

/* --- the heap -------------------------------------------------------------- */

struct ferry_heap {
	struct ferry_heap_params params; /* resolved; constant but max_bytes */
	enum ferry_gc_mode mode;	 /* CONCURRENT or STOPPED */
	enum ferry_reason why;
	int pid;

	/* Spaces. The pointers and sizes are constant. */
	struct ferry_arena *arena;
	uintptr_t base;
	size_t half;		     /* bytes of one half, a power of two */
	uint8_t *small_meta;	     /* a byte a granule, half / 16 */
	uint8_t *large_meta;	     /* a byte a page, half / 4096 */
	struct ferry__block *blocks; /* half / 64 KiB */
	struct ferry__space space;   /* block.c: lists and accounts */
	struct ferry__large large;   /* large.c */

	struct ferry__world world;	 /* world.c: mutators, the stop */
	struct ferry__roots roots;	 /* root.c */
	struct ferry__mark mark;	 /* mark.c */
	struct ferry__remember remember; /* remember.c */
	struct ferry__reloc reloc;	 /* reloc*.c */
	struct ferry__cycle cycle;	 /* cycle.c: collector thread, phases */
	struct ferry__rounds rounds;	 /* rounds.c: marking */
	struct ferry__pace pace;	 /* pace.c */
	struct ferry__weak weak;	 /* weak.c, ephemeron.c, finalizer.c */
	struct ferry__policy policy;	 /* policy.c, pressure.c */
	struct ferry__stress stress;	 /* stress.c */
	struct ferry__checks checks;	 /* stress.c, verify.c */
	struct ferry__events events;	 /* event.c, stats.c */
	struct ferry__fork fork;	 /* fork.c */
	struct ferry__tier tier;	 /* tier.c */
};

/*
 * The mode in force. Relaxed: it changes once, in the child of a fork, with
 * no collection under way; who sees that late asks for a collection that a
 * thread is to run, and the next one that looks runs it.
 */
static inline enum ferry_gc_mode ferry__mode(const struct ferry_heap *heap)
{
	return __atomic_load_n(&heap->mode, __ATOMIC_RELAXED);
}

static inline void ferry__mode_set(struct ferry_heap *heap,
				   enum ferry_gc_mode mode)
{
	__atomic_store_n(&heap->mode, mode, __ATOMIC_RELAXED);
}

/* Relaxed: it changes to and fro with the world stopped. */
static inline bool ferry__cycle_is_marking(const struct ferry_heap *heap)
{
	return atomic_load_explicit(&heap->cycle.phase, memory_order_relaxed) ==
	       FERRY__PHASE_MARK;
}

/* Relaxed: see pace.h. */
static inline void ferry__pace(struct ferry_mutator *m)
{
	if (__builtin_expect(
		    atomic_load_explicit(&ferry__mutator(m)->heap->pace.on,
					 memory_order_relaxed),
		    0))
		ferry__pace_slow(m);
}

/* --- addresses and the side table ----------------------------------------- */

/*
 * Side-table bytes. Relaxed: markers agree on what they write, and a stale
 * colour costs a second trace at most (M3 in DESIGN.md).
 */
static inline uint8_t ferry__meta_load(const uint8_t *meta)
{
	return __atomic_load_n(meta, __ATOMIC_RELAXED);
}

static inline void ferry__meta_store(uint8_t *meta, uint8_t value)
{
	__atomic_store_n(meta, value, __ATOMIC_RELAXED);
}

/* A full fence. ThreadSanitizer knows none, and needs none here: what they
 * order are atomics, which it does not report. */
static inline void ferry__fence(void)
{
#ifndef __SANITIZE_THREAD__
#if !defined(__has_feature)
	atomic_thread_fence(memory_order_seq_cst);
#elif !__has_feature(thread_sanitizer)
	atomic_thread_fence(memory_order_seq_cst);
#endif
#endif
}

/* The side table read eight bytes at a time: the next byte at or after @g
 * that is not zero, below @end; else @end. */
static inline uint32_t ferry__meta_next(const uint8_t *meta, uint32_t g,
					uint32_t end)
{
	while (g < end && (g & 7)) {
		if (ferry__meta_load(meta + g))
			return g;
		g++;
	}
	for (; g + 8 <= end; g += 8) {
		uint64_t word = __atomic_load_n((const uint64_t *)(meta + g),
						__ATOMIC_RELAXED);
		if (word)
			return g + (uint32_t)__builtin_ctzll(word) / 8;
	}
	for (; g < end; g++)
		if (ferry__meta_load(meta + g))
			return g;
	return end;
}

/* The last granule of the object that starts at @g. */
static inline uint32_t ferry__meta_end(const uint8_t *meta, uint32_t g,
				       uint32_t end)
{
	if (ferry__meta_load(meta + g) & FERRY_META_END)
		return g;
	return ferry__meta_next(meta, g + 1, end);
}

/* Any word: does it lie in the reservation? */
static inline bool ferry__in_heap(const struct ferry_heap *heap, uintptr_t word)
{
	return word - heap->base < FERRY__PARTS * heap->half;
}

static inline bool ferry__is_large(const struct ferry_heap *heap,
				   uintptr_t addr)
{
	return addr - heap->base >= 2 * heap->half;
}

/*
 * The half a block lies in, B11. First .toggle, then the flags: who finds that
 * it is off again must not go by flags from before the end of the flip.
 * Acquire: pairs with the release in ferry__flip_end(). It is set with the
 * world stopped.
 */
static inline unsigned int ferry__block_half(const struct ferry_heap *heap,
					     uint32_t index)
{
	bool toggle =
		atomic_load_explicit(&heap->reloc.toggle, memory_order_acquire);
	uint16_t flags = atomic_load_explicit(&heap->blocks[index].flags,
					      memory_order_relaxed);
	bool other = toggle && flags & FERRY__BLOCK_MOVES;

	return (flags & FERRY__BLOCK_HALF ? 1u : 0u) ^ other;
}

static inline uintptr_t ferry__block_addr(const struct ferry_heap *heap,
					  uint32_t index)
{
	return heap->base + (ferry__block_half(heap, index) ? heap->half : 0) +
	       ((size_t)index << FERRY__BLOCK_SHIFT);
}

static inline uint8_t *ferry__block_meta(const struct ferry_heap *heap,
					 uint32_t index)
{
	return heap->small_meta + (size_t)index * FERRY__BLOCK_GRANULES;
}

/* B7: something in the block is marked, or is allocated marked. Relaxed: read
 * by the sweep, after the pause that ends marking. */
static inline void ferry__block_marked(struct ferry_heap *heap, size_t index)
{
	atomic_store_explicit(&heap->blocks[index].marked, 1,
			      memory_order_relaxed);
}

/* Offset within the half: the same in both. */
static inline size_t ferry__offset(const struct ferry_heap *heap,
				   uintptr_t addr)
{
	return (addr - heap->base) & (heap->half - 1);
}

/* The side-table byte of the granule (large: page) at @addr. */
static inline uint8_t *ferry__meta(const struct ferry_heap *heap,
				   uintptr_t addr)
{
	size_t offset = ferry__offset(heap, addr);

	if (ferry__is_large(heap, addr))
		return heap->large_meta + (offset >> FERRY__LARGE_SHIFT);
	return heap->small_meta + offset / FERRY_GRANULE;
}

/* Is what has this side-table byte kept by the collection under way, or by
 * the last one: marked, or allocated since that began? */
static inline bool ferry__is_kept(const struct ferry_heap *heap, uint8_t byte)
{
	uint8_t colour = byte & FERRY_META_COLOUR;

	return colour == heap->cycle.colour || colour == heap->cycle.young;
}

static inline bool ferry__is_young(const struct ferry_heap *heap, uint8_t byte)
{
	return (byte & FERRY_META_COLOUR) == heap->cycle.young;
}

/* The same of the object at @addr. Exact once marking is over. */
static inline bool ferry__is_marked(const struct ferry_heap *heap,
				    uintptr_t addr)
{
	return ferry__is_kept(heap, ferry__meta_load(ferry__meta(heap, addr)));
}

/*
 * The start of the object that @word points to or into, or 0: any word, any
 * thread that is attached or while the world is stopped (object.c).
 */
uintptr_t ferry__object_find(const struct ferry_heap *heap, uintptr_t word);

/* Bytes by the side table: whole granules, or pages. */
size_t ferry__object_bytes(const struct ferry_heap *heap, uintptr_t addr);

/* --- slots ------------------------------------------------------------------ */

/* What a slot of the heap's encoding refers to: an address in the heap, the
 * start of an object unless interior_slots, or 0. */
uintptr_t ferry__slot_load(const struct ferry_heap *heap, void *slot);

/* Puts in a new address (0: NULL), by the store hook if there is one. */
void ferry__slot_store(const struct ferry_heap *heap, void *slot,
		       uintptr_t addr);

/* --- roots (root.c) ------------------------------------------------------- */

/*
 * Reports every strong root to the visitor; world stopped. Ambiguous ones are
 * not among them.
 */
void ferry__roots_visit(struct ferry_heap *heap, struct ferry_visitor *v);

/* --- compaction (fix.c) ------------------------------------------------------- */

/*
 * The new address of the object at @addr (or of a place inside it) in the
 * compaction under way; @addr itself if it stays.
 */
uintptr_t ferry__forward(const struct ferry_heap *heap, uintptr_t addr);

/* Puts pages of [@addr, @addr + @len) in place that a compaction has under
 * way. A mutator; reloc.c. */
void ferry__compact_prefault(struct ferry_heap *heap, uintptr_t addr,
			     size_t len);

/* --- the policy agent (agent.c) --------------------------------------------- */

/* Lets the agent know of the heap, last of all; and first of all no more:
 * waits until it is through with what it does with it. */
int ferry__agent_init(struct ferry_heap *heap);
void ferry__agent_fini(struct ferry_heap *heap);

/* --- what dies ------------------------------------------------------------- */

/* The granules of [@addr, @addr + @len) hold no object any more: what other
 * side tables know of them is forgotten. By who sweeps. */
static inline void ferry__swept_range(struct ferry_heap *heap, uintptr_t addr,
				      size_t len)
{
	ferry__stress_poison(heap, addr, len);
	ferry__hash_swept(heap, addr, len);
}

#endif
