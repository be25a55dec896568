/* SPDX-License-Identifier: MIT */
/*
 * Dirty tracking: which pages were written since they were last asked for,
 * by the best of four kernel mechanisms behind one interface.
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
 * Makes a tracker. MPROTECT installs a SIGSEGV handler that chains to the
 * one found (as in fault.h); WP_SYNC starts one thread; SOFT clears bits of
 * the whole process (/proc/self/clear_refs), so at most one tracker of that
 * kind can be open (-EBUSY), and other users of soft-dirty are disturbed.
 * Returns 0; -EOPNOTSUPP with the reason; -EINVAL, -E2BIG, -ENOMEM, -EBUSY.
 */
FERRY_EXPORT int ferry_dirty_open(const struct ferry_dirty_params *params,
				  enum ferry_reason *ret_reason,
				  struct ferry_dirty **ret_dirty);

/* Disarms all ranges and frees the tracker. NULL is allowed. */
FERRY_EXPORT void ferry_dirty_close(struct ferry_dirty *dirty);

/* The provider in force. */
FERRY_EXPORT enum ferry_dirty_provider
ferry_dirty_provider(const struct ferry_dirty *dirty);

/*
 * Starts tracking the range: all its pages count as clean from here on. The
 * memory is private, anonymous and writable; absent pages are allowed and
 * become dirty when first written.
 * Returns 0; -EEXIST overlaps an armed range; -EINVAL, -ENOMEM, -EBUSY with
 * the reason, as ferry_uffd_register().
 */
FERRY_EXPORT int ferry_dirty_arm(struct ferry_dirty *dirty, void *addr,
				 size_t len, enum ferry_reason *ret_reason);

/* Stops tracking a range armed with these bounds. -ENOENT. */
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
 * @runs, @max: where to put the runs.
 * @ret_n: number of runs written.
 * @ret_next: address up to which pages were looked at; call again from there
 * when it is less than the end (more runs than @max).
 * Returns 0; -ENOENT not armed; -EINVAL; -EIO mechanism lost. Several
 * threads may collect disjoint ranges.
 */
FERRY_EXPORT int ferry_dirty_collect(struct ferry_dirty *dirty, void *addr,
				     size_t len, struct ferry_range *runs,
				     size_t max, size_t *ret_n,
				     void **ret_next);

#ifdef __cplusplus
}
#endif

#endif
