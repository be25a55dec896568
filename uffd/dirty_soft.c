/* SPDX-License-Identifier: MIT */
/*
 * Dirty tracking by soft-dirty bits: the kernel sets one in the page table at
 * the first write to a page after writing "4" to /proc/self/clear_refs, and
 * /proc/self/pagemap tells it.
 *
 * Reading bits and clearing them are two steps, and clearing is for the whole
 * process: a write between the two would be forgotten. So for the time of
 * both the armed ranges are write-protected through userfaultfd. A harvest:
 *
 *	protect all ranges	writers stop in the kernel
 *	read all pagemaps	bits go into the bitmaps of the ranges
 *	clear_refs
 *	unprotect all		writers go on, and set new bits
 *
 * No write is lost: a store is done before its page is protected, and then
 * the bit is read; or after it is unprotected, when bits have been cleared,
 * and then it sets the bit anew. Both directions flush the TLB before they
 * return. A range is harvested whenever any is, since clearing takes its bits
 * too; what is not asked for stays in its bitmap.
 *
 * During a harvest the calling thread must not write to armed memory, where
 * it would wait for itself: it touches its stack and the bitmaps, and signals
 * are blocked.
 *
 * What it cannot see: pages that were discarded. What it costs others: see
 * ferry_dirty_open(). Source: Documentation/admin-guide/mm/soft-dirty.rst.
 */
#include "uffd/dirty.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

#include "uffd/sys.h"
#include "uffd/uapi.h"

/* Words of pagemap per read: 4 KiB of stack. */
#define WORDS 512

/*
 * S2: a tracker is open. One exchange decides who is first; nothing else
 * hangs on the word, so relaxed suffices.
 */
static bool taken;

/* Stops the writers of all ranges, or says that some go on. */
static int stop_writers(struct ferry_dirty *dirty)
{
	const struct ferry__dirty_range *range;
	size_t i;
	int r = 0;

	for (i = 0; !r && i < dirty->set->n; i++) {
		range = dirty->set->at[i];
		r = ferry_uffd_writeprotect(dirty->uffd, (void *)range->start,
					    range->end - range->start, true, 0);
	}
	return r;
}

/*
 * Nobody else would ever wake a writer that is not let go here, so where the
 * protection does not come off, the registration goes, and comes back. If it
 * does not come back, stop_writers() fails from then on.
 */
static void let_go(struct ferry_dirty *dirty,
		   const struct ferry__dirty_range *range)
{
	void *addr = (void *)range->start;
	size_t len = range->end - range->start;

	if (!ferry_uffd_writeprotect(dirty->uffd, addr, len, false, 0))
		return;
	if (ferry_uffd_unregister(dirty->uffd, addr, len))
		ferry_uffd_writeprotect(dirty->uffd, addr, len, false, 0);
	else
		ferry_uffd_register(dirty->uffd, addr, len, FERRY_REGISTER_WP,
				    NULL);
}

static void let_writers_go(struct ferry_dirty *dirty)
{
	size_t i;

	for (i = 0; i < dirty->set->n; i++)
		let_go(dirty, dirty->set->at[i]);
}

static void mark_words(struct ferry__dirty_range *range, uintptr_t addr,
		       const uint64_t *words, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++, addr += ferry__page_size)
		if (words[i] & FERRY__PM_SOFT_DIRTY)
			ferry__dirty_bits_set(range, addr,
					      addr + ferry__page_size);
}

static int read_range(struct ferry_dirty *dirty,
		      struct ferry__dirty_range *range)
{
	uintptr_t pos = range->start;
	uint64_t words[WORDS];
	size_t left;
	int n;

	while (pos < range->end) {
		left = (range->end - pos) / ferry__page_size;
		n = ferry__dirty_words(dirty, pos, left < WORDS ? left : WORDS,
				       words);
		if (n < 0)
			return -EIO;
		mark_words(range, pos, words, (size_t)n);
		pos += (size_t)n * ferry__page_size;
	}
	return 0;
}

static int clear_bits(const struct ferry_dirty *dirty)
{
	ssize_t n;

	do {
		n = ferry__sys->write(dirty->clear_refs, "4", 1);
	} while (n == -EINTR);
	return n == 1 ? 0 : -EIO;
}

/* Writers are stopped. Bits are cleared only when all of them were read. */
static int read_and_clear(struct ferry_dirty *dirty)
{
	size_t i;
	int r;

	for (i = 0; i < dirty->set->n; i++) {
		r = read_range(dirty, dirty->set->at[i]);
		if (r)
			return r;
	}
	return clear_bits(dirty);
}

/* Under dirty->harvest. */
static int harvest(struct ferry_dirty *dirty)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = stop_writers(dirty);
	if (!r)
		r = read_and_clear(dirty);
	let_writers_go(dirty);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r ? -EIO : 0;
}

/* What was written before counts as clean: its bits are dropped. */
static int arm(struct ferry_dirty *dirty, struct ferry__dirty_range *range,
	       enum ferry_reason *reason)
{
	void *addr = (void *)range->start;
	size_t i, len = range->end - range->start;
	int r;

	r = ferry__dirty_register(dirty, addr, len, reason);
	if (r)
		return r;
	r = harvest(dirty);
	if (r) {
		ferry_uffd_unregister(dirty->uffd, addr, len);
		return r;
	}
	/* Under dirty->lock: nobody else has the range yet. */
	for (i = 0; i < range->bits.words; i++)
		range->bits.word[i] = 0;
	return 0;
}

static void disarm(struct ferry_dirty *dirty, struct ferry__dirty_range *range)
{
	ferry_uffd_unregister(dirty->uffd, (void *)range->start,
			      range->end - range->start);
}

static int collect(struct ferry_dirty *dirty, struct ferry__dirty_range *range,
		   struct ferry__dirty_scan *scan)
{
	int r;

	pthread_mutex_lock(&dirty->harvest);
	r = harvest(dirty);
	pthread_mutex_unlock(&dirty->harvest);
	if (r)
		return r;
	ferry__dirty_bits_report(range, scan, NULL);
	return 0;
}

/* --- opening -------------------------------------------------------------- */

/* Is the page at @p, which is present, soft-dirty? */
static int is_dirty(struct ferry_dirty *dirty, const char *p)
{
	uint64_t word;
	int n = ferry__dirty_words(dirty, (uintptr_t)p, 1, &word);

	return n < 0 ? n : (word & FERRY__PM_SOFT_DIRTY) != 0;
}

/* Without CONFIG_MEM_SOFT_DIRTY clear_refs does nothing, and bits are 0. */
static int try_page(struct ferry_dirty *dirty, volatile char *p)
{
	int before, after, r;

	*p = 1;
	r = clear_bits(dirty);
	if (r)
		return r;
	before = is_dirty(dirty, (const char *)p);
	*p = 2;
	after = is_dirty(dirty, (const char *)p);
	return before == 0 && after == 1 ? 0 : -EOPNOTSUPP;
}

static int try_it(struct ferry_dirty *dirty)
{
	void *p;
	int r;

	r = ferry__dirty_alloc(ferry__page_size, &p);
	if (r)
		return r;
	r = try_page(dirty, p);
	ferry__dirty_free(p, ferry__page_size);
	return r;
}

static int open_uffd(struct ferry_dirty *dirty, enum ferry_reason *reason)
{
	struct ferry_uffd_params params = FERRY_INIT(struct ferry_uffd_params);

	params.features = FERRY_FEATURE_WP;
	return ferry_uffd_open(&params, reason, &dirty->uffd);
}

static int open_files(struct ferry_dirty *dirty, enum ferry_reason *reason)
{
	int r;

	r = ferry__dirty_pagemap(reason);
	if (r < 0)
		return r;
	dirty->pagemap = r;
	r = ferry__sys->open("/proc/self/clear_refs", O_WRONLY);
	if (r < 0) {
		ferry__sys->close(dirty->pagemap);
		*reason = FERRY_REASON_NOT_SUPPORTED;
		return r;
	}
	dirty->clear_refs = r;
	return 0;
}

static void close_files(struct ferry_dirty *dirty)
{
	ferry__sys->close(dirty->clear_refs);
	ferry__sys->close(dirty->pagemap);
	dirty->clear_refs = dirty->pagemap = -1;
}

static int open_taken(struct ferry_dirty *dirty, enum ferry_reason *reason)
{
	int r;

	r = open_files(dirty, reason);
	if (r)
		return r;
	r = try_it(dirty);
	if (r) {
		*reason = FERRY_REASON_NOT_SUPPORTED;
		goto err_files;
	}
	r = open_uffd(dirty, reason);
	if (r)
		goto err_files;
	return 0;

err_files:
	close_files(dirty);
	return r;
}

static int open_soft(struct ferry_dirty *dirty, enum ferry_reason *reason)
{
	int r;

	*reason = FERRY_REASON_IN_USE;
	if (__atomic_exchange_n(&taken, true, __ATOMIC_RELAXED)) /* S2 */
		return -EBUSY;
	r = open_taken(dirty, reason);
	if (!r)
		return 0;
	__atomic_store_n(&taken, false, __ATOMIC_RELAXED); /* S2 */
	return ferry__dirty_refused(r);
}

static void close_soft(struct ferry_dirty *dirty)
{
	ferry_uffd_close(dirty->uffd);
	close_files(dirty);
	__atomic_store_n(&taken, false, __ATOMIC_RELAXED); /* S2 */
}

const struct ferry__dirty_ops ferry__dirty_soft = {
	.has_bits = true,
	.open = open_soft,
	.close = close_soft,
	.arm = arm,
	.disarm = disarm,
	.collect = collect,
};
