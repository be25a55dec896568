/* SPDX-License-Identifier: MIT */
/*
 * Dirty tracking by write-protect faults: a thread of ours reads them from
 * the descriptor, takes the protection off the page and lets the writer go.
 * For kernels with userfaultfd write-protection (5.7) but no WP_ASYNC.
 *
 * The page table is the bitmap: a page without the protection bit counts as
 * written, and /proc/self/pagemap tells the bit (5.14). A bitmap of our own
 * would not see pages that were discarded, moved or copied in, which lose
 * their protection without a fault, so that later writes would be missed.
 *
 * No write is lost. A collection reads the bit, reports the pages without it
 * and protects just these. A write to a reported page before it is protected
 * belongs to this report; after that it faults, the page loses the bit and is
 * in the next one. A page that had the bit when it was read is not touched:
 * if a writer has taken it off since, it stays off until the next report.
 * Each word of pagemap is read under the page-table lock, and protecting
 * flushes the TLB before it returns. There is nothing to order between
 * collector and handler thread: the kernel's locks do it.
 *
 * Absent pages are protected by markers where the kernel has them
 * (WP_UNPOPULATED, 6.4). Else they are made present before they are
 * protected: MADV_POPULATE_READ maps the zero page, which takes no memory.
 *
 * The handler thread takes no lock of ours and touches only mapped memory of
 * the tracker and its stack, so that a thread may fault with any lock held.
 */
#include "uffd/dirty.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "uffd/sys.h"
#include "uffd/thread.h"
#include "uffd/uapi.h"

/* Words of pagemap per read: 4 KiB of stack. */
#define WORDS 512
/* Faults taken from the descriptor at once. */
#define FAULTS 16

/* --- the handler thread --------------------------------------------------- */

/*
 * One page at a time keeps reports exact. When it cannot be unprotected (its
 * range was disarmed meanwhile) the writer is woken to find out by itself.
 */
static void let_write(struct ferry_dirty *dirty, uintptr_t addr)
{
	void *page = (void *)(addr & ~(ferry__page_size - 1));

	if (ferry_uffd_writeprotect(dirty->uffd, page, ferry__page_size, false,
				    0))
		ferry_uffd_wake(dirty->uffd, page, ferry__page_size);
}

/* Serves what is there; false when the descriptor has nothing more. */
static bool serve(struct ferry_dirty *dirty, int fd)
{
	struct ferry__uffd_msg msgs[FAULTS];
	ssize_t n = ferry__sys->read(fd, msgs, sizeof(msgs));
	size_t i;

	if (n == -EINTR)
		return true;
	if (n < (ssize_t)sizeof(msgs[0]))
		return false;
	for (i = 0; i < (size_t)n / sizeof(msgs[0]); i++)
		if (msgs[i].event == FERRY__UFFD_EVENT_PAGEFAULT)
			let_write(dirty, msgs[i].arg.pagefault.address);
	return true;
}

static void *handler(void *arg)
{
	struct ferry_dirty *dirty = arg;
	struct pollfd fds[2] = {
		{ .fd = ferry_uffd_fd(dirty->uffd), .events = POLLIN },
		{ .fd = dirty->stop, .events = POLLIN },
	};

	for (;;) {
		if (ferry__sys->poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents)
			return NULL;
		while (fds[0].revents && serve(dirty, fds[0].fd))
			;
	}
}

static int start_handler(struct ferry_dirty *dirty)
{
	int r;

	r = ferry__sys->eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r < 0)
		return r;
	dirty->stop = r;
	r = ferry__thread_start(&dirty->thread, NULL, handler, dirty);
	if (r)
		ferry__sys->close(dirty->stop);
	return r;
}

static void stop_handler(struct ferry_dirty *dirty)
{
	const uint64_t one = 1;

	while (ferry__sys->write(dirty->stop, &one, sizeof(one)) == -EINTR)
		;
	pthread_join(dirty->thread, NULL);
	ferry__sys->close(dirty->stop);
}

/* --- protection ----------------------------------------------------------- */

static int protect(struct ferry_dirty *dirty, uintptr_t start, uintptr_t end)
{
	void *addr = (void *)start;

	/* What cannot be populated stays unprotected, and counts as written. */
	if (dirty->populate)
		ferry__sys->madvise(addr, end - start,
				    FERRY__MADV_POPULATE_READ);
	return ferry_uffd_writeprotect(dirty->uffd, addr, end - start, true, 0);
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
	r = protect(dirty, range->start, range->end);
	if (r)
		ferry_uffd_unregister(dirty->uffd, addr, len);
	return r;
}

/* Unregistering drops the protection and wakes who waits. */
static void disarm(struct ferry_dirty *dirty, struct ferry__dirty_range *range)
{
	ferry_uffd_unregister(dirty->uffd, (void *)range->start,
			      range->end - range->start);
}

/*
 * Reports a run and protects it. Pages that cannot be protected, such as
 * those unmapped meanwhile, are reported again next time.
 */
static bool take(struct ferry_dirty *dirty, struct ferry__dirty_scan *scan,
		 uintptr_t start, uintptr_t end)
{
	if (!ferry__dirty_emit(scan, start, end))
		return false;
	protect(dirty, start, end);
	return true;
}

/* Reports what the @n @words from @scan->pos on say; false: no room left. */
static bool take_words(struct ferry_dirty *dirty,
		       struct ferry__dirty_scan *scan, const uint64_t *words,
		       size_t n)
{
	const uintptr_t base = scan->pos, page = ferry__page_size;
	size_t i, first;

	for (i = 0; i < n; i++) {
		if (words[i] & FERRY__PM_UFFD_WP)
			continue;
		for (first = i; i < n && !(words[i] & FERRY__PM_UFFD_WP); i++)
			;
		scan->pos = base + first * page;
		if (!take(dirty, scan, scan->pos, base + i * page))
			return false;
	}
	scan->pos = base + n * page;
	return true;
}

static int collect(struct ferry_dirty *dirty, struct ferry__dirty_range *range,
		   struct ferry__dirty_scan *scan)
{
	uint64_t words[WORDS];
	size_t left;
	int n;

	(void)range;
	while (scan->pos < scan->end) {
		left = (scan->end - scan->pos) / ferry__page_size;
		n = ferry__dirty_words(dirty, scan->pos,
				       left < WORDS ? left : WORDS, words);
		if (n < 0)
			return -EIO;
		if (!take_words(dirty, scan, words, (size_t)n))
			return 0;
	}
	return 0;
}

/* --- opening -------------------------------------------------------------- */

static int open_uffd(struct ferry_dirty *dirty, enum ferry_reason *reason)
{
	struct ferry_uffd_params params = FERRY_INIT(struct ferry_uffd_params);
	int r;

	params.flags = FERRY_UFFD_NONBLOCK;
	params.features = FERRY_FEATURE_WP | FERRY_FEATURE_WP_UNPOP;
	r = ferry_uffd_open(&params, reason, &dirty->uffd);
	if (r != -EOPNOTSUPP)
		return r;
	dirty->populate = true;
	params.features = FERRY_FEATURE_WP;
	return ferry_uffd_open(&params, reason, &dirty->uffd);
}

/*
 * Does the pagemap tell a protected page, and a protected hole? @p: two pages
 * of our own, the first of them present.
 */
static int try_pages(struct ferry_dirty *dirty, char *p)
{
	struct ferry__dirty_range range = {
		.start = (uintptr_t)p,
		.end = (uintptr_t)p + 2 * ferry__page_size,
	};
	enum ferry_reason reason;
	uint64_t words[2];
	int n, r;

	*(volatile char *)p = 1;
	r = arm(dirty, &range, &reason);
	if (r)
		return r;
	n = ferry__dirty_words(dirty, range.start, 2, words);
	if (n < 0)
		return n;
	return n == 2 && words[0] & words[1] & FERRY__PM_UFFD_WP ? 0
								 : -EOPNOTSUPP;
}

static int try_it(struct ferry_dirty *dirty, enum ferry_reason *reason)
{
	size_t len = 2 * ferry__page_size;
	void *p;
	int r;

	*reason = FERRY_REASON_NO_MEMORY;
	r = ferry__dirty_alloc(len, &p);
	if (r)
		return r;
	*reason = FERRY_REASON_NOT_SUPPORTED;
	r = try_pages(dirty, p);
	ferry__dirty_free(p, len);
	return r;
}

static int open_wp_sync(struct ferry_dirty *dirty, enum ferry_reason *reason)
{
	int r;

	dirty->populate = false;
	r = open_uffd(dirty, reason);
	if (r)
		return ferry__dirty_refused(r);
	r = ferry__dirty_pagemap(reason);
	if (r < 0)
		goto err_uffd;
	dirty->pagemap = r;
	r = try_it(dirty, reason);
	if (r)
		goto err_pagemap;
	*reason = FERRY_REASON_NO_MEMORY;
	r = start_handler(dirty);
	if (r)
		goto err_pagemap;
	return 0;

err_pagemap:
	ferry__sys->close(dirty->pagemap);
	dirty->pagemap = -1;
err_uffd:
	ferry_uffd_close(dirty->uffd);
	dirty->uffd = NULL;
	return ferry__dirty_refused(r);
}

static void close_wp_sync(struct ferry_dirty *dirty)
{
	/* In a child of fork the thread is not there. */
	if (dirty->pid == ferry__sys->getpid())
		stop_handler(dirty);
	else
		ferry__sys->close(dirty->stop);
	ferry__sys->close(dirty->pagemap);
	ferry_uffd_close(dirty->uffd);
}

const struct ferry__dirty_ops ferry__dirty_wp_sync = {
	.open = open_wp_sync,
	.close = close_wp_sync,
	.arm = arm,
	.disarm = disarm,
	.collect = collect,
};
