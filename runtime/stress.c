/* SPDX-License-Identifier: MIT */
/*
 * Stress modes: collections at every n-th slow allocation, random delays,
 * poison; and the first fault found in passing, kept for the host.
 */
#include "runtime/heap-internal.h"

#include <errno.h>
#include <string.h>

/* As an address it is not canonical on any machine: following it faults. */
#define POISON 0xdb

static enum ferry_collect kind_of_turn(uint64_t turn)
{
	return turn % 2 ? FERRY_COLLECT_FULL : FERRY_COLLECT_MINOR;
}

void ferry__stress_alloc(struct ferry_mutator *m)
{
	struct ferry_heap *heap = ferry__mutator(m)->heap;
	uint64_t every = heap->stress.collect_every, n;

	if (!every)
		return;
	/* Relaxed: only who gets which number counts. */
	n = atomic_fetch_add_explicit(&heap->checks.allocs, 1,
				      memory_order_relaxed) +
	    1;
	if (n % every == 0)
		ferry_heap_collect(heap, m, kind_of_turn(n / every));
}

/* Spreads a counter over 64 bits (S. Vigna's splitmix64). */
static uint64_t spread(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* One in two goes on at once, most of the others let another thread run. */
static void wait_some(uint64_t x)
{
	switch (x % 16) {
	case 0:
		ferry__sys->sleep_ns((x >> 32) % 200000);
		break;
	case 1:
	case 2:
		ferry__sys->sleep_ns((x >> 32) % 20000);
		break;
	case 3:
	case 4:
	case 5:
	case 6:
	case 7:
		ferry__sys->sched_yield();
		break;
	default:
		break;
	}
}

void ferry__stress_delay(struct ferry_heap *heap, enum ferry__point point)
{
	uint64_t seed = heap->stress.delay_seed, n;

	if (!seed)
		return;
	/* Relaxed: as above. */
	n = atomic_fetch_add_explicit(&heap->checks.draws, 1,
				      memory_order_relaxed);
	wait_some(spread(seed + n * 0x9e3779b97f4a7c15ull +
			 ((uint64_t)point << 56)));
}

void ferry__stress_poison(struct ferry_heap *heap, uintptr_t addr, size_t len)
{
	if (heap->stress.poison)
		memset((void *)addr, POISON, len);
}

/* --- faults found in passing ---------------------------------------------- */

/*
 *	NONE -> NOTING -> KEPT -> TAKING -> NONE
 *
 * D1: who makes a step by CAS has the fault to itself until the next step;
 * acquire and release hand it over.
 */
enum fault_state {
	FAULT_NONE,
	FAULT_NOTING,
	FAULT_KEPT,
	FAULT_TAKING,
};

static bool step(struct ferry__checks *checks, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong_explicit(
		&checks->state, &from, to, memory_order_acquire,
		memory_order_relaxed); /* relaxed: nothing was taken */
}

void ferry__fault_note(struct ferry_heap *heap,
		       const struct ferry_heap_fault *fault)
{
	struct ferry__checks *checks = &heap->checks;

	if (!step(checks, FAULT_NONE, FAULT_NOTING))
		return;
	checks->fault = *fault;
	atomic_store_explicit(&checks->state, FAULT_KEPT, memory_order_release);
}

int ferry__fault_take(struct ferry_heap *heap,
		      struct ferry_heap_fault *ret_fault)
{
	struct ferry__checks *checks = &heap->checks;

	if (!step(checks, FAULT_KEPT, FAULT_TAKING))
		return 0;
	if (ret_fault)
		*ret_fault = checks->fault;
	atomic_store_explicit(&checks->state, FAULT_NONE, memory_order_release);
	return -EILSEQ;
}

bool ferry__fault_pending(const struct ferry_heap *heap)
{
	/* Relaxed: the fault itself is not looked at. */
	return atomic_load_explicit(&heap->checks.state,
				    memory_order_relaxed) == FAULT_KEPT;
}
