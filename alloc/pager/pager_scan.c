/* SPDX-License-Identifier: MIT */
/*
 * Which pages of a block are in memory: PAGEMAP_SCAN, or the words of the
 * pagemap where the kernel has no such call (before 6.7). Only the first
 * tells the shared zero page, which costs no memory and is left alone.
 */
#include "alloc/pager/pager-internal.h"
#include "uffd/pagemap.h"
#include "uffd/uapi.h"

static uint64_t run_bits(size_t first, size_t end)
{
	uint64_t upto = end < 64 ? (1ull << end) - 1 : ~0ull;

	return upto & ~((1ull << first) - 1);
}

static int scan(struct ferry__pager *pager, uintptr_t addr, size_t n,
		uint64_t any, uint64_t *ret_bits)
{
	struct ferry__page_region vec[FERRY__BLOCK_PAGES];
	struct ferry__pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = addr,
		.end = addr + n * ferry__page_size,
		.vec = (uintptr_t)vec,
		.vec_len = FERRY__BLOCK_PAGES,
		.category_inverted = FERRY__PAGE_IS_PFNZERO,
		.category_mask = FERRY__PAGE_IS_PFNZERO,
		.category_anyof_mask = any,
		.return_mask = any,
	};
	int i, r;

	r = ferry__sys->ioctl(pager->pagemap, FERRY__PAGEMAP_SCAN, &arg);
	if (r < 0)
		return r;
	*ret_bits = 0;
	for (i = 0; i < r; i++)
		*ret_bits |= run_bits((vec[i].start - addr) / ferry__page_size,
				      (vec[i].end - addr) / ferry__page_size);
	return 0;
}

static int read_words(struct ferry__pager *pager, uintptr_t addr, size_t n,
		      uint64_t any, uint64_t *ret_bits)
{
	uint64_t words[FERRY__WORDS];
	int i, r;

	r = ferry__pagemap_read(pager->pagemap, addr, n, words);
	if (r < 0)
		return r;
	*ret_bits = 0;
	for (i = 0; i < r; i++)
		if (words[i] & any)
			*ret_bits |= 1ull << i;
	return 0;
}

int ferry__pager_present(struct ferry__pager *pager, uintptr_t addr, size_t n,
			 bool swapped, uint64_t *ret_bits)
{
	int r = scan(pager, addr, n,
		     FERRY__PAGE_IS_PRESENT |
			     (swapped ? FERRY__PAGE_IS_SWAPPED : 0),
		     ret_bits);

	if (r == -ENOTTY || r == -EINVAL)
		r = read_words(pager, addr, n,
			       FERRY__PM_PRESENT |
				       (swapped ? FERRY__PM_SWAP : 0),
			       ret_bits);
	return r;
}
