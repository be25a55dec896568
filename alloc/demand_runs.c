/* SPDX-License-Identifier: MIT */
/*
 * A bag of page runs that any thread and any signal handler can put into and
 * take from without a lock.
 *
 * Runs cannot be linked through their own pages, which are moved away; nor
 * can a list of nodes be popped without care for a node that comes back
 * meanwhile (the ABA problem). So there are slots, and two sets of bits: who
 * clears a bit in .full owns a run, who clears one in .vacant owns a place to
 * put one. No bit is in both, so a slot has one owner at most.
 */
#include <errno.h>

#include "alloc/demand-internal.h"

#define WORD_BITS 64u

static size_t run_pages(uintptr_t slot)
{
	return slot & FERRY__RUN_PAGES;
}

static uintptr_t run_slot(struct ferry__run run)
{
	return run.addr | run.pages;
}

int ferry__runs_init(struct ferry__runs *runs, size_t slots)
{
	size_t i, words = (slots + WORD_BITS - 1) / WORD_BITS;
	size_t bytes = words * (2 + WORD_BITS) * sizeof(uint64_t);
	void *mem;
	int r;

	r = ferry__meta_alloc(bytes, &mem);
	if (r)
		return r;
	runs->full = mem;
	runs->vacant = runs->full + words;
	runs->slot = (uintptr_t *)(runs->vacant + words);
	runs->words = words;
	runs->mem_bytes = bytes;
	for (i = 0; i < words; i++)
		runs->vacant[i] = UINT64_MAX;
	return 0;
}

void ferry__runs_fini(struct ferry__runs *runs)
{
	ferry__meta_free(runs->full, runs->mem_bytes);
}

/* Clears a bit of the word, if it has one; its number, or -1. */
static int bit_take(uint64_t *word, uint64_t among)
{
	/* Relaxed: a guess, which the fetch-and decides. */
	uint64_t bits = __atomic_load_n(word, __ATOMIC_RELAXED) & among, bit;

	while (bits) {
		bit = bits & -bits;
		/* D6, D7: acquire, pairs with bit_give(). */
		if (__atomic_fetch_and(word, ~bit, __ATOMIC_ACQUIRE) & bit)
			return __builtin_ctzll(bit);
		bits &= ~bit;
	}
	return -1;
}

static void bit_give(uint64_t *word, int bit)
{
	/* D6, D7: release, pairs with bit_take(). */
	__atomic_fetch_or(word, 1ull << bit, __ATOMIC_RELEASE);
}

bool ferry__runs_put(struct ferry__runs *runs, struct ferry__run run)
{
	size_t i, w = __atomic_load_n(&runs->hint, __ATOMIC_RELAXED);
	int bit = -1;

	for (i = 0; i < runs->words && bit < 0; i++) {
		w = w < runs->words ? w : 0;
		bit = bit_take(&runs->vacant[w], UINT64_MAX);
		w += bit < 0;
	}
	if (bit < 0)
		return false;
	__atomic_store_n(&runs->slot[w * WORD_BITS + (size_t)bit],
			 run_slot(run), __ATOMIC_RELAXED); /* D6 carries it */
	__atomic_fetch_add(&runs->pages, run.pages, __ATOMIC_RELAXED);
	bit_give(&runs->full[w], bit);
	__atomic_store_n(&runs->hint, w, __ATOMIC_RELAXED);
	return true;
}

/*
 * Takes from the slot that this thread owns; what is left of the run stays in
 * it. Returns whether it was long enough.
 */
static bool slot_take(struct ferry__runs *runs, size_t w, int bit, size_t min,
		      size_t max, struct ferry__run *ret)
{
	uintptr_t *slot = &runs->slot[w * WORD_BITS + (size_t)bit];
	/* Relaxed: D6 carries it. */
	uintptr_t run = __atomic_load_n(slot, __ATOMIC_RELAXED);
	size_t pages = run_pages(run);

	if (pages < min) {
		bit_give(&runs->full[w], bit);
		return false;
	}
	ret->addr = run - pages;
	ret->pages = pages < max ? pages : max;
	__atomic_fetch_sub(&runs->pages, ret->pages, __ATOMIC_RELAXED);
	if (ret->pages == pages) {
		bit_give(&runs->vacant[w], bit);
		return true;
	}
	run += ret->pages * ferry__page_size - ret->pages;
	__atomic_store_n(slot, run, __ATOMIC_RELAXED);
	bit_give(&runs->full[w], bit);
	return true;
}

static bool word_take(struct ferry__runs *runs, size_t w, size_t min,
		      size_t max, struct ferry__run *ret)
{
	uint64_t untried = UINT64_MAX;
	int bit;

	while ((bit = bit_take(&runs->full[w], untried)) >= 0) {
		if (slot_take(runs, w, bit, min, max, ret))
			return true;
		untried &= ~(1ull << bit);
	}
	return false;
}

bool ferry__runs_take(struct ferry__runs *runs, size_t min, size_t max,
		      struct ferry__run *ret)
{
	size_t i, w = __atomic_load_n(&runs->hint, __ATOMIC_RELAXED);

	if (ferry__runs_pages(runs) < min)
		return false;
	for (i = 0; i < runs->words; i++, w++) {
		w = w < runs->words ? w : 0;
		if (word_take(runs, w, min, max, ret))
			return true;
	}
	return false;
}
