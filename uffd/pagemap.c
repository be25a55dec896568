/* SPDX-License-Identifier: MIT */
/*
 * Reading page tables through /proc/self/pagemap.
 *
 * Sources: PAGEMAP_SCAN(2const), Documentation/admin-guide/mm/pagemap.rst.
 * Guard and poison markers read as swapped, so that "occupied" is what makes
 * a destination answer EEXIST. A marker of userfaultfd write-protection does,
 * too, and carries FERRY__PM_UFFD_WP besides.
 */
#include <errno.h>

#include "uffd/pagemap.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

int ferry__pagemap_read(int pagemap, uintptr_t addr, size_t n, uint64_t *words)
{
	ssize_t r;

	if (pagemap < 0)
		return -EOPNOTSUPP;
	if (n > FERRY__WORDS)
		n = FERRY__WORDS;
	r = ferry__sys->pread(
		pagemap, words, n * sizeof(*words),
		(off_t)(addr / ferry__page_size * sizeof(*words)));
	if (r < 0)
		return (int)r;
	/* Beyond the highest mapping the file ends. */
	return (size_t)r < sizeof(*words) ? -EIO
					  : (int)((size_t)r / sizeof(*words));
}

bool ferry__pagemap_occupied(uint64_t word)
{
	return word & (FERRY__PM_PRESENT | FERRY__PM_SWAP);
}

static int count_words(int pagemap, uintptr_t start, uintptr_t end,
		       bool swapped, size_t *ret_bytes)
{
	uint64_t mask = FERRY__PM_PRESENT | (swapped ? FERRY__PM_SWAP : 0);
	uint64_t words[FERRY__WORDS];
	size_t bytes = 0;
	int i, n;

	while (start < end) {
		n = ferry__pagemap_read(pagemap, start,
					(end - start) / ferry__page_size,
					words);
		if (n < 0)
			return n;
		for (i = 0; i < n; i++)
			if (words[i] & mask)
				bytes += ferry__page_size;
		start += (size_t)n * ferry__page_size;
	}
	*ret_bytes = bytes;
	return 0;
}

#define SCAN_REGIONS 32

static int scan(int pagemap, uintptr_t start, uintptr_t end, uint64_t all,
		uint64_t any, uint64_t told, struct ferry__page_region *vec,
		size_t n)
{
	struct ferry__pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (uintptr_t)vec,
		.vec_len = n,
		.category_mask = all,
		.category_anyof_mask = any,
		.return_mask = all | any | told,
	};

	if (pagemap < 0)
		return -EOPNOTSUPP;
	return ferry__sys->ioctl(pagemap, FERRY__PAGEMAP_SCAN, &arg);
}

int ferry__pagemap_count(int pagemap, uintptr_t start, uintptr_t end,
			 bool swapped, size_t *ret_bytes)
{
	const uint64_t any = FERRY__PAGE_IS_PRESENT |
			     (swapped ? FERRY__PAGE_IS_SWAPPED : 0);
	struct ferry__page_region vec[SCAN_REGIONS];
	size_t bytes = 0;
	int i, n;

	do {
		n = scan(pagemap, start, end, 0, any, 0, vec, SCAN_REGIONS);
		if (n == -ENOTTY || n == -EINVAL)
			return count_words(pagemap, start, end, swapped,
					   ret_bytes);
		if (n < 0)
			return n;
		for (i = 0; i < n; i++)
			bytes += vec[i].end - vec[i].start;
		/*
		 * A full vector may have left something out; walk_end is no
		 * help, as it can lie behind the last region returned.
		 */
		if (n == SCAN_REGIONS)
			start = vec[n - 1].end;
	} while (n == SCAN_REGIONS && start < end);
	*ret_bytes = bytes;
	return 0;
}

int ferry__pagemap_runs(int pagemap, uintptr_t start, uintptr_t end,
			struct ferry__page_region *runs, size_t n)
{
	return scan(pagemap, start, end, 0,
		    FERRY__PAGE_IS_PRESENT | FERRY__PAGE_IS_SWAPPED, 0, runs,
		    n);
}

int ferry__pagemap_kinds(int pagemap, uintptr_t start, uintptr_t end,
			 struct ferry__page_region *runs, size_t n)
{
	return scan(pagemap, start, end, 0,
		    FERRY__PAGE_IS_PRESENT | FERRY__PAGE_IS_SWAPPED,
		    FERRY__PAGE_IS_HUGE | FERRY__PAGE_IS_PFNZERO, runs, n);
}

int ferry__pagemap_find(int pagemap, uintptr_t start, uintptr_t end,
			uint64_t mask, uintptr_t *ret_start, uintptr_t *ret_end)
{
	struct ferry__page_region region;
	int n = scan(pagemap, start, end, mask, 0, 0, &region, 1);

	if (n > 0) {
		*ret_start = region.start;
		*ret_end = region.end;
	}
	return n;
}
