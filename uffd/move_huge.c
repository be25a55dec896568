/* SPDX-License-Identifier: MIT */
/*
 * Huge pages in a move: kept whole where asked, and the huge zero page kept
 * away from kernels that it would harm.
 *
 * What this file takes for granted of the kernel (mm/userfaultfd.c): a huge
 * page is moved whole where both addresses are aligned to its size, all of it
 * is asked for, and the destination has no page table there, not even an
 * empty one; otherwise it is split. Nothing shows an empty page table from
 * outside, so that the last condition is seen from its effect alone.
 */
#include "uffd/mover.h"
#include "uffd/pagemap.h"
#include "uffd/uapi.h"

/*
 * CVE-2026-31397 (6.16 to 6.18.19, 6.19 to 6.19.9): a huge zero page moved
 * whole leaves a bad page-table entry. Asked for one base page of it, the
 * kernel splits it, and zero pages one by one are moved right.
 *
 * A reader that touches an empty part of the source between the look and the
 * move could bring one in; sources are not read any more, says move.h.
 */
static size_t before_huge_zero(const struct ferry__mover *m)
{
	const uint64_t huge_zero = FERRY__PAGE_IS_HUGE | FERRY__PAGE_IS_PFNZERO;
	uintptr_t at = m->src + m->pos, end = m->src + m->len, start, stop;
	int n;

	n = ferry__pagemap_find(m->uffd->pagemap, at, end, huge_zero, &start,
				&stop);
	if (!n)
		return end - at;
	/* Not to be known: every page might be one. */
	if (n < 0 || start == at)
		return ferry__page_size;
	return start - at;
}

static bool may_stay_whole(const struct ferry__mover *m)
{
	size_t mask = m->uffd->huge_size - 1;
	uintptr_t dst = m->dst + m->pos, src = m->src + m->pos;

	return !((dst | src) & mask) && ferry__mover_left(m) > mask;
}

static int would_split(struct ferry__mover *m)
{
	return ferry__mover_stop(m, -EXDEV, FERRY_REASON_HUGE_SPLIT);
}

/*
 * FERRY_MOVE_KEEP_HUGE: what lies before the next huge page, or that page
 * alone, so that no more than one is split before it shows.
 */
static int keep_huge(struct ferry__mover *m, size_t *len)
{
	uintptr_t at = m->src + m->pos, start, stop;
	int n;

	n = ferry__pagemap_find(m->uffd->pagemap, at, at + *len,
				FERRY__PAGE_IS_HUGE, &start, &stop);
	if (n <= 0)
		return 0;
	if (start > at) {
		*len = start - at;
		return 0;
	}
	if (!may_stay_whole(m))
		return would_split(m);
	*len = m->uffd->huge_size;
	m->huge_check = true;
	return 0;
}

int ferry__mover_huge_piece(struct ferry__mover *m, size_t *ret_len)
{
	*ret_len = ferry__mover_left(m);
	m->huge_check = false;
	if (m->uffd->huge_zero_unsafe)
		*ret_len = before_huge_zero(m);
	if (!ferry__mover_wants(m, FERRY_MOVE_KEEP_HUGE))
		return 0;
	return keep_huge(m, ret_len);
}

int ferry__mover_huge_done(struct ferry__mover *m)
{
	uintptr_t end = m->dst + m->pos, start, stop;

	if (!m->huge_check)
		return 0;
	if (ferry__pagemap_find(m->uffd->pagemap, end - m->uffd->huge_size, end,
				FERRY__PAGE_IS_HUGE, &start, &stop) != 0)
		return 0;
	return would_split(m);
}
