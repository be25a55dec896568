/* SPDX-License-Identifier: MIT */
/*
 * Eligibility: may Ferry manage memory that it did not allocate, and if not,
 * why not, in words a person can read.
 */
#ifndef FERRY_ELIGIBLE_H
#define FERRY_ELIGIBLE_H

#include <ferry/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One mapping, or the part of it that was asked about. */
struct ferry_mapping {
	struct ferry_range range;
	enum ferry_reason reason; /* NONE: may be moved and served */
	bool readable, writable, executable, shared;
	bool locked;	       /* VM_LOCKED */
	bool userfault;	       /* registered with some userfaultfd */
	bool huge_advised;     /* MADV_HUGEPAGE */
	bool no_huge;	       /* MADV_NOHUGEPAGE */
	bool dont_fork;	       /* MADV_DONTFORK */
	size_t page_size;      /* bytes; a hugetlb mapping's own */
	char name[64];	       /* path, "[heap]", "[anon:...]" or ""; cut */
	char explanation[128]; /* one sentence on @reason, for a person */
};

/* Called for each mapping; return non-zero to stop the walk. */
typedef int (*ferry_mapping_fn)(void *arg, const struct ferry_mapping *mapping);

/*
 * Walks the mappings of process @pid (0: the caller) that touch
 * [@addr, @addr + @len); @len 0: all of them. Gaps are reported as mappings
 * with reason UNMAPPED when @len is not 0.
 * Returns 0, what @fn returned, or -ESRCH, -EACCES, -EINVAL, -EIO.
 * Any thread; allocates; not signal-safe.
 */
FERRY_EXPORT int ferry_mappings_walk(pid_t pid, const void *addr, size_t len,
				     ferry_mapping_fn fn, void *arg);

/*
 * Whether all of [@addr, @addr + @len) of this process may be adopted.
 * Returns 0, or -EINVAL and the first obstacle in @ret_obstacle (may be
 * NULL; written in that case too).
 */
FERRY_EXPORT int ferry_range_eligible(const void *addr, size_t len,
				      struct ferry_mapping *ret_obstacle);

#ifdef __cplusplus
}
#endif

#endif
