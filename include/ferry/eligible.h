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
 * [@addr, @addr + @len), in ascending order; @len 0: all of them. Parts
 * outside the range are cut off. Gaps are reported as mappings with reason
 * UNMAPPED when @len is not 0.
 *
 * Mappings may come and go while they are read: each is reported as it was
 * when it was read, none that stays is left out, and none is reported twice.
 * Where smaps is not there (CONFIG_PROC_PAGE_MONITOR), what only it tells
 * (locked, registered, device flags) is reported as absent.
 *
 * Returns 0, what @fn returned, or
 *  -ESRCH	no such process, or it is gone
 *  -EACCES	not allowed to look at it (ptrace(2), access mode READ)
 *  -EINVAL	@pid negative, range not in whole pages or overflowing, no @fn
 *  -EIO	/proc is not there, or its text is not understood
 *  -EMFILE, -ENFILE, -ENOMEM
 * Any thread; allocates nothing; takes milliseconds where much memory is
 * mapped, as the kernel counts pages for smaps; not signal-safe.
 * Sources: proc_pid_smaps(5), PROCMAP_QUERY and PAGEMAP_SCAN(2const).
 */
FERRY_EXPORT int ferry_mappings_walk(pid_t pid, const void *addr, size_t len,
				     ferry_mapping_fn fn, void *arg);

/*
 * Whether all of [@addr, @addr + @len) of this process may be adopted. It may
 * span several mappings. Memory that is registered with a userfaultfd is
 * refused whoever registered it, since the kernel does not tell.
 * Returns 0, or -EINVAL and the first obstacle in @ret_obstacle (may be
 * NULL; written in that case too), which for a bad request is the request
 * itself; or -EACCES, -EIO, -EMFILE, -ENFILE, -ENOMEM: not known.
 * Any thread; not signal-safe.
 */
FERRY_EXPORT int ferry_range_eligible(const void *addr, size_t len,
				      struct ferry_mapping *ret_obstacle);

#ifdef __cplusplus
}
#endif

#endif
