/* SPDX-License-Identifier: MIT */
/*
 * Dirty tracking by WP_ASYNC and PAGEMAP_SCAN (6.7): the kernel lets a write
 * to a protected page through and drops the protection bit; the scan returns
 * pages without the bit and sets it again.
 *
 * No write is lost: with PM_SCAN_WP_MATCHING the kernel tests and protects a
 * page under its page-table lock and flushes the TLB before it returns. A
 * write before that is in this report; one after it faults, drops the bit
 * and is in the next.
 *
 * What this file takes for granted (PAGEMAP_SCAN(2const), tried on 6.18):
 *  - WP_ASYNC implies WP_UNPOPULATED: absent pages are protected by a marker,
 *    and discarding a page (MADV_DONTNEED) or moving one in leaves no marker,
 *    so both count as written.
 *  - A huge page is reported and protected whole if all of it is asked for;
 *    a write to it splits the mapping, so that reports are exact to the page;
 *    khugepaged leaves alone what holds a protected page.
 *  - walk_end is not to be trusted as progress: with more than 512 regions it
 *    stays at the 512th although all came back. Less than the vector's room
 *    means done; else the end of the last region is where to go on. Pages
 *    between there and walk_end were found clean and are looked at twice.
 *  - CHECK_WPASYNC makes the scan fail with EPERM at a mapping that is not
 *    armed (mapped anew by someone). Without it such a mapping is passed over
 *    in silence. What was protected before the failure is then not told:
 *    -EIO, and the caller takes all of the range for written.
 */
#include "uffd/dirty.h"

#include <errno.h>
#include <sys/mman.h>

#include "uffd/sys.h"
#include "uffd/uapi.h"

/* Regions per system call: 3 KiB of stack. */
#define REGIONS 128

/* Returns the number of regions, or a negative errno. */
static int scan_pages(const struct ferry_dirty *dirty, uintptr_t start,
		      uintptr_t end, struct ferry__page_region *regions,
		      size_t n, bool peek)
{
	struct ferry__pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = FERRY__PM_SCAN_CHECK_WPASYNC |
			 (peek ? 0 : FERRY__PM_SCAN_WP_MATCHING),
		.start = start,
		.end = end,
		.vec = (uintptr_t)regions,
		.vec_len = n,
		.category_mask = FERRY__PAGE_IS_WRITTEN,
		.return_mask = FERRY__PAGE_IS_WRITTEN,
	};
	int r;

	do {
		r = ferry__sys->ioctl(dirty->pagemap, FERRY__PAGEMAP_SCAN,
				      &arg);
	} while (r == -EINTR);
	return r;
}

static int collect(struct ferry_dirty *dirty, struct ferry__dirty_range *range,
		   struct ferry__dirty_scan *scan)
{
	struct ferry__page_region regions[REGIONS];
	size_t room;
	int i, n;

	(void)range;
	while (scan->pos < scan->end && scan->n < scan->max) {
		room = scan->max - scan->n;
		if (room > REGIONS)
			room = REGIONS;
		n = scan_pages(dirty, scan->pos, scan->end, regions, room,
			       scan->peek);
		if (n < 0)
			return n == -ENOMEM ? n : -EIO;
		for (i = 0; i < n; i++)
			ferry__dirty_emit(scan, regions[i].start,
					  regions[i].end);
		scan->pos = (size_t)n < room ? scan->end : regions[n - 1].end;
	}
	return 0;
}

static int arm(struct ferry_dirty *dirty, struct ferry__dirty_range *range,
	       enum ferry_reason *reason)
{
	void *addr = (void *)range->start;
	size_t len = range->end - range->start;
	int r;

	r = ferry__dirty_register(dirty, addr, len, reason);
	if (r)
		return r;
	r = ferry_uffd_writeprotect(dirty->uffd, addr, len, true, 0);
	if (r)
		ferry_uffd_unregister(dirty->uffd, addr, len);
	return r;
}

/* Nobody waits at a page: writers were let through. */
static int expect(struct ferry_dirty *dirty, uintptr_t start, uintptr_t end)
{
	return ferry_uffd_writeprotect(dirty->uffd, (void *)start, end - start,
				       false, FERRY_OP_NO_WAKE);
}

/* Unregistering drops the protection with the registration. */
static void disarm(struct ferry_dirty *dirty, struct ferry__dirty_range *range)
{
	ferry_uffd_unregister(dirty->uffd, (void *)range->start,
			      range->end - range->start);
}

/* Two pages of our own: is the one that was written told from the other? */
static int try_pages(struct ferry_dirty *dirty, char *p)
{
	struct ferry__dirty_range range = {
		.start = (uintptr_t)p,
		.end = (uintptr_t)p + 2 * ferry__page_size,
	};
	struct ferry__page_region region;
	enum ferry_reason reason;
	int n, r;

	r = arm(dirty, &range, &reason);
	if (r)
		return r;
	*(volatile char *)(p + ferry__page_size) = 1;
	n = scan_pages(dirty, range.start, range.end, &region, 1, false);
	if (n < 0)
		return n;
	return n == 1 && region.start == range.start + ferry__page_size
		       ? 0
		       : -EOPNOTSUPP;
}

static int try_it(struct ferry_dirty *dirty)
{
	size_t len = 2 * ferry__page_size;
	void *p;
	int r;

	r = ferry__dirty_alloc(len, &p);
	if (r)
		return r;
	r = try_pages(dirty, p);
	ferry__dirty_free(p, len);
	return r;
}

static int open_wp_async(struct ferry_dirty *dirty, enum ferry_reason *reason)
{
	struct ferry_uffd_params params = FERRY_INIT(struct ferry_uffd_params);
	int r;

	params.flags = FERRY_UFFD_WP_ASYNC;
	r = ferry_uffd_open(&params, reason, &dirty->uffd);
	if (r)
		return ferry__dirty_refused(r);
	r = ferry__dirty_pagemap(reason);
	if (r < 0)
		goto err_uffd;
	dirty->pagemap = r;
	r = try_it(dirty);
	if (r < 0)
		goto err_pagemap;
	return 0;

err_pagemap:
	*reason = r == -ENOMEM ? FERRY_REASON_NO_MEMORY
			       : FERRY_REASON_NOT_SUPPORTED;
	ferry__sys->close(dirty->pagemap);
	dirty->pagemap = -1;
err_uffd:
	ferry_uffd_close(dirty->uffd);
	dirty->uffd = NULL;
	return ferry__dirty_refused(r);
}

static void close_wp_async(struct ferry_dirty *dirty)
{
	ferry__sys->close(dirty->pagemap);
	ferry_uffd_close(dirty->uffd);
}

const struct ferry__dirty_ops ferry__dirty_wp_async = {
	.open = open_wp_async,
	.close = close_wp_async,
	.arm = arm,
	.disarm = disarm,
	.collect = collect,
	.peeks = true,
	.expect = expect,
};
