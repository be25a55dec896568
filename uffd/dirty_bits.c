/* SPDX-License-Identifier: MIT */
/*
 * The bitmap of an armed range: one bit a page, set by whoever sees a write,
 * cleared by the collection that reports it.
 *
 * Atomics. B1: setting a bit is a release and follows what made the page
 * writable; B2: clearing is an acquire and precedes what protects the page
 * again. So a collection that takes a bit protects the page after it was
 * opened, not before, and the page does not stay open with its bit clear.
 */
#include "uffd/dirty.h"

#include "uffd/sys.h"

#define WORD_BITS 64

static size_t page_of(const struct ferry__dirty_range *range, uintptr_t addr)
{
	return (addr - range->start) / ferry__page_size;
}

static uintptr_t addr_of(const struct ferry__dirty_range *range, size_t page)
{
	return range->start + page * ferry__page_size;
}

/* The bits of [@page, @end) that lie in the word of @page. */
static uint64_t mask_of(size_t page, size_t end)
{
	size_t low = page % WORD_BITS, left = end - page;
	uint64_t mask = UINT64_MAX << low;

	if (left < WORD_BITS - low)
		mask &= UINT64_MAX >> (WORD_BITS - low - left);
	return mask;
}

static size_t next_word(size_t page)
{
	return page - page % WORD_BITS + WORD_BITS;
}

void ferry__dirty_bits_set(struct ferry__dirty_range *range, uintptr_t start,
			   uintptr_t end)
{
	size_t page = page_of(range, start), last = page_of(range, end);

	for (; page < last; page = next_word(page))
		/* B1: pairs with B2 in clear(). */
		__atomic_fetch_or(&range->bits.word[page / WORD_BITS],
				  mask_of(page, last), __ATOMIC_RELEASE);
}

static void clear(struct ferry__dirty_range *range, size_t page, size_t end)
{
	for (; page < end; page = next_word(page))
		/* B2: pairs with B1 in ferry__dirty_bits_set(). */
		__atomic_fetch_and(&range->bits.word[page / WORD_BITS],
				   ~mask_of(page, end), __ATOMIC_ACQ_REL);
}

/*
 * The first page at or after @page, below @end, whose bit is @set; @end if
 * there is none. Relaxed: a hint only, B2 takes what is found.
 */
static size_t find(const struct ferry__dirty_range *range, size_t page,
		   size_t end, bool set)
{
	uint64_t word;

	for (; page < end; page = next_word(page)) {
		word = __atomic_load_n(&range->bits.word[page / WORD_BITS],
				       __ATOMIC_RELAXED);
		word = (set ? word : ~word) & mask_of(page, end);
		if (word)
			return page - page % WORD_BITS +
			       (size_t)__builtin_ctzll(word);
	}
	return end;
}

bool ferry__dirty_bits_test(const struct ferry__dirty_range *range,
			    uintptr_t addr)
{
	size_t page;

	if (addr < range->start || addr >= range->end)
		return false;
	page = page_of(range, addr);
	return find(range, page, page + 1, true) == page;
}

void ferry__dirty_bits_report(struct ferry__dirty_range *range,
			      struct ferry__dirty_scan *scan,
			      void (*rearm)(struct ferry__dirty_range *range,
					    uintptr_t start, uintptr_t end))
{
	size_t page = page_of(range, scan->pos);
	size_t last = page_of(range, scan->end), end;

	for (; page < last; page = end) {
		page = find(range, page, last, true);
		end = find(range, page, last, false);
		scan->pos = addr_of(range, page);
		if (page == last ||
		    !ferry__dirty_emit(scan, scan->pos, addr_of(range, end)))
			return;
		clear(range, page, end);
		if (rearm)
			rearm(range, scan->pos, addr_of(range, end));
		scan->pos = addr_of(range, end);
	}
}
