/* SPDX-License-Identifier: MIT */
/*
 * What the page tables of this process say, page by page, from
 * /proc/self/pagemap. For the slow paths of a move: nothing here allocates,
 * and all of it is async-signal-safe.
 */
#ifndef FERRY_UFFD_PAGEMAP_H
#define FERRY_UFFD_PAGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Pages that one read of the pagemap covers: a buffer fit for a stack. */
#define FERRY__WORDS 64

/*
 * Reads up to @n (at most FERRY__WORDS) words for the pages from @addr on.
 * Returns how many, or a negative errno; -EOPNOTSUPP if @pagemap is -1.
 */
int ferry__pagemap_read(int pagemap, uintptr_t addr, size_t n, uint64_t *words);

/* Is there anything: a page, a swapped page, or a marker? */
bool ferry__pagemap_occupied(uint64_t word);

/*
 * Bytes of [@start, @end) that hold a page in memory, and with @swapped also
 * those that are swapped out or markers. Falls back from PAGEMAP_SCAN to
 * reading words. Returns 0 or a negative errno.
 */
int ferry__pagemap_count(int pagemap, uintptr_t start, uintptr_t end,
			 bool swapped, size_t *ret_bytes);

struct ferry__page_region;

/*
 * The first @n runs of pages in [@start, @end) that are occupied, swapped out
 * or markers. Returns how many there are: less than @n, and those are all.
 * Else a negative errno (-ENOTTY: no PAGEMAP_SCAN here).
 */
int ferry__pagemap_runs(int pagemap, uintptr_t start, uintptr_t end,
			struct ferry__page_region *runs, size_t n);

/*
 * The same, cut where FERRY__PAGE_IS_PRESENT, _SWAPPED, _HUGE or _PFNZERO of
 * the categories changes.
 */
int ferry__pagemap_kinds(int pagemap, uintptr_t start, uintptr_t end,
			 struct ferry__page_region *runs, size_t n);

/*
 * The first run of pages in [@start, @end) that carry all categories of
 * @mask (FERRY__PAGE_IS_*). Returns 1 and the run, 0 if there is none, or a
 * negative errno (-ENOTTY: no PAGEMAP_SCAN here).
 */
int ferry__pagemap_find(int pagemap, uintptr_t start, uintptr_t end,
			uint64_t mask, uintptr_t *ret_start,
			uintptr_t *ret_end);

#endif
