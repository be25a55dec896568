/* SPDX-License-Identifier: MIT */
/*
 * Huge pages in a move: kept whole where asked, and the huge zero page kept
 * away from kernels that it would harm.
 */
#include "uffd/mover.h"
#include "uffd/pagemap.h"
#include "uffd/uapi.h"

/*
 * CVE-2026-31397 (6.16 to 6.18.19, 6.19 to 6.19.9): a huge zero page moved
 * whole leaves a bad page-table entry. A piece that is one base page short
 * of a huge page is split by the kernel first, and zero pages one by one are
 * moved right.
 */
int ferry__mover_huge_piece(struct ferry__mover *m, size_t *ret_len)
{
	const uint64_t huge_zero = FERRY__PAGE_IS_HUGE | FERRY__PAGE_IS_PFNZERO;
	uintptr_t at = m->src + m->pos, end = m->src + m->len, start, stop;
	int n;

	*ret_len = end - at;
	if (!m->uffd->huge_zero_unsafe)
		return 0;
	n = ferry__pagemap_find(m->uffd->pagemap, at, end, huge_zero, &start,
				&stop);
	if (!n)
		return 0;
	if (n > 0 && start > at)
		*ret_len = start - at;
	else
		*ret_len = ferry__page_size;
	return 0;
}
