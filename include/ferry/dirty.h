/* SPDX-License-Identifier: MIT */
/*
 * Dirty tracking: which pages were written since they were last asked for,
 * by the best of four kernel mechanisms behind one interface.
 *
 *			WP_ASYNC   SOFT	      WP_SYNC	 MPROTECT
 * first write		kernel	   kernel     a thread	 SIGSEGV handler
 * discarded pages	seen	   not seen   seen	 not seen
 * exact to the page	yes	   yes	      yes	 until mappings run short
 * writes of syscalls	seen	   wait (*)   wait (*)	 fail with EFAULT
 * cost to others	none	   clear_refs none	 one mapping an island
 *
 * (*) SOFT during a collection, WP_SYNC always; with a userfaultfd that has
 * no kernel-mode faults (FERRY_FEATURE_KERNEL_FAULTS) they fail with EFAULT
 * instead.
 *
 * Pages are discarded by MADV_DONTNEED, MADV_FREE, or a move out of the range.
 * Where that is not seen, a page reads as zeros and is not reported until it
 * is written.
 *
 * Armed memory must not be unmapped, mapped anew or given other access
 * rights; disarm it first. A child of fork(2) may use the memory and not the
 * tracker. UFFDIO_MOVE and ferry_move() into armed memory are refused
 * (PRESENT or NOT_REGISTERED): arm it afterwards.
 */
#ifndef FERRY_DIRTY_H
#define FERRY_DIRTY_H

#include <ferry/uffd.h>

#ifdef __cplusplus
extern "C" {
#endif

enum ferry_dirty_provider {
	FERRY_DIRTY_ANY = 0,  /* the first of these that works */
	FERRY_DIRTY_WP_ASYNC, /* userfaultfd WP_ASYNC and PAGEMAP_SCAN, 6.7 */
	FERRY_DIRTY_SOFT,     /* soft-dirty bits (CONFIG_MEM_SOFT_DIRTY) */
	FERRY_DIRTY_WP_SYNC,  /* write-protect faults, served by a thread */
	FERRY_DIRTY_MPROTECT, /* mprotect(2) and SIGSEGV */
	FERRY_DIRTY_PROVIDERS
};

/* "any", "wp-async", "soft-dirty", "wp-sync", "mprotect". Signal-safe. */
FERRY_EXPORT const char *
ferry_dirty_provider_name(enum ferry_dirty_provider provider);

struct ferry_dirty;

struct ferry_dirty_params {
	size_t size;
	enum ferry_dirty_provider provider;
};

/*
 * Makes a tracker.
 *
 * MPROTECT installs a SIGSEGV handler that chains to the one found (as in
 * fault.h) and stays; threads that write must not block SIGSEGV. WP_SYNC
 * starts one thread, with all signals blocked. SOFT clears bits of the whole
 * process (/proc/self/clear_refs), so at most one tracker of that kind can
 * be open (-EBUSY), and other users of soft-dirty are disturbed; for the time
 * of a collection it stops writers through userfaultfd.
 *
 * @params: NULL for the defaults. @ret_reason may be NULL; written always.
 * Returns 0 or
 *  -EOPNOTSUPP	the provider (ANY: the last of them) is not to be had; the
 *		reason says why
 *  -EBUSY	IN_USE: another tracker of kind SOFT is open
 *  -EAGAIN	no thread to be had
 *  -EINVAL, -E2BIG	see base.h
 *  -ENOMEM, -EMFILE, -ENFILE
 * Any thread. Not signal-safe; nor are the calls below.
 */
FERRY_EXPORT int ferry_dirty_open(const struct ferry_dirty_params *params,
				  enum ferry_reason *ret_reason,
				  struct ferry_dirty **ret_dirty);

/*
 * Disarms all ranges and frees the tracker. NULL is allowed. Nothing else may
 * be under way with it. In a child of fork(2) it frees what is the child's,
 * and the parent's tracker goes on.
 */
FERRY_EXPORT void ferry_dirty_close(struct ferry_dirty *dirty);

/* The provider in force. */
FERRY_EXPORT enum ferry_dirty_provider
ferry_dirty_provider(const struct ferry_dirty *dirty);

/*
 * Starts tracking the range: all its pages count as clean from here on. The
 * memory is private, anonymous and writable; absent pages are allowed and
 * become dirty when first written. Huge pages are allowed; writing one page
 * of such splits its mapping, and the report names that page alone.
 *
 * @ret_reason may be NULL; written always.
 * Returns 0 or
 *  -EEXIST	overlaps an armed range
 *  -ENOMEM	UNMAPPED in part, or NO_MEMORY
 *  -EBUSY	OTHER_UFFD: registered with another userfaultfd, such as that
 *		of a fault service or another tracker (not MPROTECT)
 *  -EINVAL	UNALIGNED, ZERO_LENGTH, OVERFLOW; a kind of memory that cannot
 *		be tracked (the reason names it); MPROTECT: READ_ONLY, or SPLIT
 *		if access rights differ within the range
 *  -EIO	mechanism lost
 *  -ECHILD	FOREIGN_PROCESS: the tracker is the parent's
 * Takes time by the page: 15 ms/GiB of 4 KiB pages for the WP providers.
 */
FERRY_EXPORT int ferry_dirty_arm(struct ferry_dirty *dirty, void *addr,
				 size_t len, enum ferry_reason *ret_reason);

/*
 * Stops tracking a range that was armed with just these bounds; waits for
 * collections under way. What was written and not yet reported is forgotten.
 * Returns 0; -ENOENT; -ECHILD.
 */
FERRY_EXPORT int ferry_dirty_disarm(struct ferry_dirty *dirty, void *addr,
				    size_t len);

/*
 * Reports the pages of [@addr, @addr + @len), inside one armed range,
 * written since they were armed or last reported, as runs in ascending
 * order, and makes the reported pages clean again. For each page, test
 * and re-arm are one step against concurrent writers: a write is either
 * reported now or next time, never lost. A page may be reported that was
 * not written (a move, or coarser hardware granularity); one that was
 * written is never missed.
 *
 * @runs, @max: where to put the runs, at least one. They may lie in armed
 * memory.
 * @ret_n: number of runs written.
 * @ret_next: address up to which pages were looked at; call again from there
 * when it is less than the end (more runs than @max).
 *
 * Returns 0 or
 *  -ENOENT	not inside one armed range
 *  -EINVAL	not whole pages, empty, or @max 0
 *  -EIO	mechanism lost, such as by mapping part of the range anew: all
 *		of it is to be taken for written, disarmed and armed again
 *  -ENOMEM	the same, for want of memory
 *  -ECHILD	the tracker is the parent's
 * Several threads may collect disjoint parts. A write that happened before
 * the call (by this thread, or ordered before it) is in the report.
 */
FERRY_EXPORT int ferry_dirty_collect(struct ferry_dirty *dirty, void *addr,
				     size_t len, struct ferry_range *runs,
				     size_t max, size_t *ret_n,
				     void **ret_next);

/*
 * Reports as ferry_dirty_collect() does, but leaves the pages dirty: they are
 * reported again. No page table is changed and no TLB flushed. A page that is
 * written while it runs may be missing.
 * Returns as ferry_dirty_collect(), or -EOPNOTSUPP: the provider is not
 * WP_ASYNC.
 */
FERRY_EXPORT int ferry_dirty_peek(struct ferry_dirty *dirty, void *addr,
				  size_t len, struct ferry_range *runs,
				  size_t max, size_t *ret_n, void **ret_next);

/*
 * Says that the range, inside one armed range, is about to be written: with
 * WP_ASYNC its pages count as written from here on, and writing them takes no
 * fault. For memory that is handed out to be filled. With the other providers
 * it does nothing.
 * Returns 0; -ENOENT not inside one armed range; -EINVAL not whole pages, or
 * empty; -ECHILD; errors of ferry_uffd_writeprotect(). Any thread.
 */
FERRY_EXPORT int ferry_dirty_expect(struct ferry_dirty *dirty, void *addr,
				    size_t len);

#ifdef __cplusplus
}
#endif

#endif
