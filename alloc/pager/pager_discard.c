/* SPDX-License-Identifier: MIT */
/*
 * Contents that are dead: memory goes back, cold copies are dropped. Runs in
 * any thread, also one that holds locks of the host's allocator, and has no
 * descriptor: who waits for a page meanwhile is woken by the handler.
 *
 * Order (R3). Memory is given back first, then the unit's flag is read. If it
 * is not set, whoever sets it later finds nothing to take. If it is set, each
 * page is claimed, so that none is away while memory is given back again.
 */
#include <sys/mman.h>

#include "alloc/pager/pager-internal.h"
#include "alloc/pager/probe.h"

static void enter(struct ferry__pager *pager)
{
	for (;;) {
		/* K1: announce, then look; see ferry__pager_fork_prepare(). */
		__atomic_fetch_add(&pager->discards, 1, __ATOMIC_SEQ_CST);
		if (!__atomic_load_n(&pager->forking, __ATOMIC_SEQ_CST) ||
		    __atomic_load_n(&pager->fork_tid, __ATOMIC_RELAXED) ==
			    ferry__sys->gettid())
			return;
		__atomic_fetch_sub(&pager->discards, 1, __ATOMIC_SEQ_CST);
		ferry__pager_wait_fork(pager);
	}
}

static void leave(struct ferry__pager *pager)
{
	__atomic_fetch_sub(&pager->discards, 1, __ATOMIC_SEQ_CST); /* K1 */
}

/* The owner is a thread of ours that is done in microseconds (P3). */
static uint64_t claim(uint64_t *word)
{
	uint64_t w, place;
	unsigned int tries;

	for (tries = 0;; tries++) {
		w = ferry__word_load(word);
		switch (ferry__word_state(w)) {
		case FERRY__WORD_RESIDENT:
			place = 0;
			break;
		case FERRY__WORD_LIMBO:
			place = FERRY__WORD_IN_LIMBO;
			break;
		case FERRY__WORD_STORED:
		case FERRY__WORD_SPENT:
			place = FERRY__WORD_IN_STORE;
			break;
		default:
			if (tries > 100)
				ferry__sys->sleep_ns(20000);
			else
				ferry__sys->sched_yield();
			continue;
		}
		if (ferry__word_claim(word, w,
				      (w & ~FERRY__WORD_STATE) |
					      FERRY__WORD_INCOMING | place))
			return w;
	}
}

static void drop(struct ferry__pager *pager, uint64_t old)
{
	switch (ferry__word_state(old)) {
	case FERRY__WORD_LIMBO:
		ferry__pager_add(&pager->limbo, -1ull);
		break;
	case FERRY__WORD_STORED:
		ferry__pager_add(&pager->stored, -1ull);
		ferry__pager_drop_stored(pager, old);
		break;
	case FERRY__WORD_SPENT:
		ferry__pager_drop_stored(pager, old);
		break;
	default:
		return;
	}
	ferry__pager_count(pager, pages_dropped, 1);
}

static int discard_pages(struct ferry__pager *pager,
			 struct ferry__pager_region *region, size_t page,
			 size_t n)
{
	uint64_t old[FERRY__BLOCK_PAGES], limbo = 0;
	size_t i;
	int r;

	for (i = 0; i < n; i++) {
		old[i] = claim(&region->words[page + i]);
		if (ferry__word_state(old[i]) == FERRY__WORD_LIMBO)
			limbo |= 1ull << i;
	}
	r = ferry__sys->madvise((void *)ferry__page_at(region, page),
				n * ferry__page_size, MADV_DONTNEED);
	ferry__pager_free_limbo(region, page, limbo);
	for (i = 0; i < n; i++) {
		drop(pager, old[i]);
		ferry__word_finish(&region->words[page + i],
				   FERRY__WORD_RESIDENT);
	}
	return r;
}

static int discard_in(struct ferry__pager *pager,
		      struct ferry__pager_region *region, size_t page,
		      size_t end)
{
	size_t n;
	int r = 0;

	for (; !r && page < end; page += n) {
		n = FERRY__BLOCK_PAGES - page % FERRY__BLOCK_PAGES;
		if (n > end - page)
			n = end - page;
		if (ferry__region_out(region, page))
			r = discard_pages(pager, region, page, n);
	}
	return r;
}

int ferry__pager_discard(struct ferry__pager *pager, void *addr, size_t len)
{
	struct ferry__pager_region *region =
		ferry__region_find(pager, (uintptr_t)addr);
	size_t page;
	int r, saved = errno;

	if (region)
		enter(pager);
	r = ferry__sys->madvise(addr, len, MADV_DONTNEED);
	FERRY__PROBE2(purged, addr, len);
	if (region && !r) {
		page = ((uintptr_t)addr - region->addr) / ferry__page_size;
		r = discard_in(pager, region, page,
			       page + len / ferry__page_size);
	}
	if (region)
		leave(pager);
	errno = saved;
	return r;
}
