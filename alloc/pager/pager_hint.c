/* SPDX-License-Identifier: MIT */
/*
 * What the program says of ranges. A page is brought back by touching it: the
 * descriptor is not in the caller's table, and the fault is served as any.
 */
#include "alloc/pager/pager-internal.h"

/* What it reads is not used: a race with the owner of the bytes is none. */
__attribute__((noinline, no_sanitize_thread)) static void touch(uintptr_t addr)
{
	(void)*(const volatile unsigned char *)addr;
}

static bool is_here(uint64_t word)
{
	return ferry__word_state(word) == FERRY__WORD_RESIDENT ||
	       ferry__word_state(word) == FERRY__WORD_SPENT;
}

static void pin(struct ferry__pager_region *region, size_t page)
{
	uint64_t *word = &region->words[page], w;

	for (;;) {
		w = ferry__word_load(word);
		if (is_here(w) &&
		    ferry__word_claim(word, w, w | FERRY__WORD_PIN))
			return;
		touch(ferry__page_at(region, page));
		ferry__sys->sched_yield();
	}
}

/* Relaxed: who owns the word may write the bit once more, and it is a hint. */
static void unpin(struct ferry__pager_region *region, size_t page)
{
	__atomic_fetch_and(&region->words[page], ~FERRY__WORD_PIN,
			   __ATOMIC_RELAXED);
}

static void hot(struct ferry__pager_region *region, size_t page)
{
	struct ferry__pager_block *block =
		&region->blocks[page / FERRY__BLOCK_PAGES];

	if (!is_here(ferry__word_load(&region->words[page])))
		touch(ferry__page_at(region, page));
	__atomic_store_n(&block->touched, 1, __ATOMIC_RELAXED);
}

static int hint_pages(struct ferry__pager *pager,
		      struct ferry__pager_region *region, size_t page,
		      size_t end, enum ferry__pager_hint hint)
{
	int r = ferry__region_cover(pager, region, end * ferry__page_size);
	size_t first = page;

	for (; !r && page < end; page++)
		switch (hint) {
		case FERRY__HINT_PIN:
			pin(region, page);
			break;
		case FERRY__HINT_HOT:
			hot(region, page);
			break;
		default:
			unpin(region, page);
			break;
		}
	if (!r && hint == FERRY__HINT_HOT)
		ferry__slow_promote(pager, region, first, end);
	return r;
}

static int hint_cold(struct ferry__pager *pager, uintptr_t addr, size_t len)
{
	uintptr_t mask = ferry__page_size - 1, end = (addr + len) & ~mask;

	addr = (addr + mask) & ~mask;
	return addr < end ? ferry__pager_ask(pager, FERRY__ASK_OUT, addr,
					     end - addr)
			  : 0;
}

int ferry__pager_hint(struct ferry__pager *pager, void *addr, size_t len,
		      enum ferry__pager_hint hint)
{
	struct ferry__pager_region *region =
		ferry__region_find(pager, (uintptr_t)addr);
	size_t offset;

	if (!region || len > region->addr + region->len - (uintptr_t)addr)
		return -ENOENT;
	if (!len)
		return 0;
	if (hint == FERRY__HINT_COLD)
		return hint_cold(pager, (uintptr_t)addr, len);
	offset = (uintptr_t)addr - region->addr;
	return hint_pages(
		pager, region, offset / ferry__page_size,
		(offset + len + ferry__page_size - 1) / ferry__page_size, hint);
}
