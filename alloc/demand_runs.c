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

/* Writes to the slot that this thread owns, and gives it to all. */
static void slot_fill(struct ferry__runs *runs, size_t n, struct ferry__run run)
{
	/* Relaxed: D6 carries it. */
	__atomic_store_n(&runs->slot[n], run_slot(run), __ATOMIC_RELAXED);
	bit_give(&runs->full[n / WORD_BITS], (int)(n % WORD_BITS));
}

static struct ferry__run slot_read(const struct ferry__runs *runs, size_t n)
{
	/* Relaxed: D6 carries it, or it is a guess that is looked at again. */
	uintptr_t slot = __atomic_load_n(&runs->slot[n], __ATOMIC_RELAXED);

	return (struct ferry__run){
		.addr = slot - run_pages(slot),
		.pages = run_pages(slot),
	};
}

static bool goes_on(struct ferry__run low, struct ferry__run high)
{
	return low.addr + low.pages * ferry__page_size == high.addr &&
	       low.pages + high.pages <= FERRY__RUN_PAGES;
}

/*
 * Makes the run that was put last longer, if they adjoin: what is handed in
 * piece by piece can then be used for units that are installed as one.
 */
static bool join_last(struct ferry__runs *runs, struct ferry__run run)
{
	size_t n = __atomic_load_n(&runs->last, __ATOMIC_RELAXED);
	uint64_t bit = 1ull << n % WORD_BITS;
	struct ferry__run last = slot_read(runs, n);
	bool joined;

	if (!goes_on(last, run) && !goes_on(run, last))
		return false;
	if (bit_take(&runs->full[n / WORD_BITS], bit) < 0)
		return false;
	last = slot_read(runs, n);
	joined = goes_on(last, run) || goes_on(run, last);
	if (joined) {
		last.addr = last.addr < run.addr ? last.addr : run.addr;
		last.pages += run.pages;
		__atomic_fetch_add(&runs->pages, run.pages, __ATOMIC_RELAXED);
	}
	slot_fill(runs, n, last);
	return joined;
}

bool ferry__runs_put(struct ferry__runs *runs, struct ferry__run run)
{
	size_t i, w;
	int bit = -1;

	if (join_last(runs, run))
		return true;
	w = __atomic_load_n(&runs->last, __ATOMIC_RELAXED) / WORD_BITS;
	for (i = 0; i < runs->words; i++, w++) {
		w = w < runs->words ? w : 0;
		bit = bit_take(&runs->vacant[w], UINT64_MAX);
		if (bit >= 0)
			break;
	}
	if (bit < 0)
		return false;
	__atomic_fetch_add(&runs->pages, run.pages, __ATOMIC_RELAXED);
	slot_fill(runs, w * WORD_BITS + (size_t)bit, run);
	__atomic_store_n(&runs->last, w * WORD_BITS + (size_t)bit,
			 __ATOMIC_RELAXED);
	return true;
}

/*
 * Takes from the slot that this thread owns; what is left of the run stays in
 * it. Returns whether it was long enough.
 */
static bool slot_take(struct ferry__runs *runs, size_t n, size_t min,
		      size_t max, struct ferry__run *ret)
{
	struct ferry__run run = slot_read(runs, n);
	bool enough = run.pages >= min;

	if (enough) {
		ret->addr = run.addr;
		ret->pages = run.pages < max ? run.pages : max;
		run.addr += ret->pages * ferry__page_size;
		run.pages -= ret->pages;
		__atomic_fetch_sub(&runs->pages, ret->pages, __ATOMIC_RELAXED);
	}
	if (run.pages)
		slot_fill(runs, n, run);
	else
		bit_give(&runs->vacant[n / WORD_BITS], (int)(n % WORD_BITS));
	return enough;
}

static bool word_take(struct ferry__runs *runs, size_t w, size_t min,
		      size_t max, struct ferry__run *ret)
{
	uint64_t untried = UINT64_MAX;
	int bit;

	while ((bit = bit_take(&runs->full[w], untried)) >= 0) {
		if (slot_take(runs, w * WORD_BITS + (size_t)bit, min, max, ret))
			return true;
		untried &= ~(1ull << bit);
	}
	return false;
}

bool ferry__runs_take(struct ferry__runs *runs, size_t min, size_t max,
		      struct ferry__run *ret)
{
	size_t i;
	size_t w = __atomic_load_n(&runs->last, __ATOMIC_RELAXED) / WORD_BITS;

	if (ferry__runs_pages(runs) < min)
		return false;
	for (i = 0; i < runs->words; i++, w++) {
		w = w < runs->words ? w : 0;
		if (word_take(runs, w, min, max, ret))
			return true;
	}
	return false;
}

bool ferry__runs_sift(struct ferry__runs *runs,
		      bool (*unwanted)(void *arg, struct ferry__run run),
		      void *arg, struct ferry__run *ret)
{
	size_t n;

	for (n = 0; n < runs->words * WORD_BITS; n++) {
		if (bit_take(&runs->full[n / WORD_BITS],
			     1ull << n % WORD_BITS) < 0)
			continue;
		*ret = slot_read(runs, n);
		if (unwanted(arg, *ret)) {
			__atomic_fetch_sub(&runs->pages, ret->pages,
					   __ATOMIC_RELAXED);
			bit_give(&runs->vacant[n / WORD_BITS],
				 (int)(n % WORD_BITS));
			return true;
		}
		slot_fill(runs, n, *ret);
	}
	return false;
}
