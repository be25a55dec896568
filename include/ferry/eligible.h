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
	/*
	 * Why memory of this kind is not moved within its process by page
	 * table (ferry_move() with it as the source), not migrated between
	 * nodes (ferry_arena_migrate(), mbind(2), move_pages(2)), and not
	 * paged out (MADV_PAGEOUT, a pager). NONE: it may be.
	 */
	enum ferry_reason immovable;
	enum ferry_reason unmigratable;
	enum ferry_reason unpageable;
};

/*
 * What stands behind the three verdicts on a mapping, by kind of memory.
 * "kernel": the call refuses it, or passes over it in silence. "library": the
 * kernel may do it, but nothing says what it does to who else uses the memory.
 *
 *			move		migrate		page out
 *  shared, file	kernel		yes		yes
 *  not writable	kernel		yes		yes
 *  stack that grows	library		yes		yes
 *  shadow stack	kernel		yes		yes
 *  memory tags		library		yes		yes
 *  locked		yes (1)		yes		kernel
 *  userfaultfd's	yes (1)		yes		yes
 *  hugetlb		kernel		yes (2)		kernel
 *  secret, DAX		kernel		kernel		kernel
 *  VM_IO, VM_PFNMAP	kernel		kernel		kernel
 *  VM_MIXEDMAP		kernel		library		library
 *  vdso, vvar, ...	kernel		kernel		kernel
 *
 * (1) where the destination is the same. (2) where the node has huge pages of
 * that size to spare. Pins are of pages and not of mappings: ferry_pins_walk().
 * A "yes" says that the kernel tries; a page that is busy then stays.
 * Sources: vma_move_compatible() and validate_move_areas() for
 * UFFDIO_MOVE(2const), vma_migratable() for move_pages(2), can_madv_lru_vma()
 * for madvise(2), the first and the last as of 6.8 to 6.18.
 */

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
 * refused whoever registered it, since the kernel does not tell; memory that
 * is pinned, where the kernel does (ferry_pins_walk()).
 * Returns 0, or -EINVAL and the first obstacle in @ret_obstacle (may be
 * NULL; written in that case too), which for a bad request is the request
 * itself; or -EACCES, -EAGAIN, -EIO, -EMFILE, -ENFILE, -ENOMEM: not known.
 * Any thread; not signal-safe.
 */
FERRY_EXPORT int ferry_range_eligible(const void *addr, size_t len,
				      struct ferry_mapping *ret_obstacle);

/* Memory that an io_uring holds in place: one of its fixed buffers. */
struct ferry_pin {
	size_t size;
	struct ferry_range range; /* as registered: not in whole pages */
	int fd;			  /* the ring, in that process's table */
};

/* Called for each pin; return non-zero to stop the walk. */
typedef int (*ferry_pin_fn)(void *arg, const struct ferry_pin *pin);

/*
 * Walks what is known to be pinned in process @pid (0: the caller): memory
 * that devices or the kernel access by its physical address, so that its
 * pages stay where they are until they are released. @fn NULL: only counts.
 * @ret_bytes: what the kernel counts as pinned there (VmPin), wherever it is;
 * may be NULL.
 *
 * The kernel does not tell of a page whether it is pinned. What is certain:
 *  - fixed buffers of io_uring are reported, if the ring is open in the
 *    descriptor table of the first thread. Of a ring that another process has
 *    made the addresses are those of that process. One that is registered
 *    meanwhile may be missing, one that is released meanwhile be reported.
 *  - With @ret_bytes 0 neither io_uring nor RDMA has pinned anything.
 *  - RDMA is counted, but not told where. VFIO is not counted (it is locked
 *    memory), nor are pins for the time of one transfer (O_DIRECT).
 *  - ferry_move() meets any pin as -EBUSY, and names it where it can.
 *
 * Returns 0, what @fn returned, or
 *  -ESRCH	no such process, or it is gone
 *  -EACCES	not allowed to look at it (ptrace(2), access mode READ)
 *  -EAGAIN	a ring was in use whenever it was asked
 *  -EINVAL	@pid negative
 *  -EIO	/proc is not there
 *  -EMFILE, -ENFILE, -ENOMEM
 * Any thread; allocates nothing; a few microseconds and, where anything is
 * pinned, one for each open file; not signal-safe.
 * Sources: proc_pid_status(5), proc_pid_fdinfo(5), io_uring_register(2),
 * Documentation/core-api/pin_user_pages.rst.
 */
FERRY_EXPORT int ferry_pins_walk(pid_t pid, ferry_pin_fn fn, void *arg,
				 size_t *ret_bytes);

#ifdef __cplusplus
}
#endif

#endif
