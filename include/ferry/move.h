/* SPDX-License-Identifier: MIT */
/*
 * ferry_move(): pages from one address to another without copying, with the
 * whole contract of UFFDIO_MOVE(2const) handled.
 *
 * The kernel's call reports little: EAGAIN stands for five things, the count
 * may be stale, and on 6.18 to 7.1 a page that did move may be answered with
 * EEXIST. ferry_move() re-issues, waits, tells these apart, and always says
 * how far it came and why it stopped.
 */
#ifndef FERRY_MOVE_H
#define FERRY_MOVE_H

#include <ferry/uffd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What to do with a page that is busy (kernel: EBUSY). */
enum ferry_busy {
	/* Stop there with -EBUSY. The default. */
	FERRY_BUSY_REPORT = 0,
	/*
	 * Try again until the deadline, then stop with -EBUSY. For pages that
	 * are pinned or written out for a while; one that a fork has shared,
	 * or that was read back from zram while being written there, stays
	 * busy until somebody writes to it.
	 */
	FERRY_BUSY_RETRY,
	/*
	 * Make it exclusive again (MADV_POPULATE_WRITE on the source: what a
	 * write by its owner would do, contents untouched) and retry. Cures
	 * pages shared by fork(2) and KSM, not pinned ones: a page that is
	 * still busy at the deadline, though in memory and nobody else's, is
	 * PINNED. The caller owns the source.
	 */
	FERRY_BUSY_EXCLUSIVE,
	/*
	 * Copy it to the destination and drop the source page. The caller
	 * promises that nothing writes to the source meanwhile. A page
	 * pinned for device access (io_uring fixed buffers, RDMA) would part
	 * from its device: such pages are the caller's to know, see
	 * ferry_pins_walk() for what the kernel tells of them.
	 */
	FERRY_BUSY_COPY,
	/* Leave it where it is, count it, go on with the next page. */
	FERRY_BUSY_SKIP,
};

/* Holes in the source stay holes in the destination; else -ENOENT there. */
#define FERRY_MOVE_HOLES (1u << 0)
/* Do not wake threads that wait for the destination. */
#define FERRY_MOVE_NO_WAKE (1u << 1)
/*
 * Nobody else fills this destination: a page found present there whose source
 * is gone was moved by this call, even where the source may have holes.
 */
#define FERRY_MOVE_SOLE (1u << 2)
/* A page present at the destination is counted and passed over. */
#define FERRY_MOVE_PASS_PRESENT (1u << 3)
/* Never by ioctl / only by ioctl (default: ioctl, else emulation). */
#define FERRY_MOVE_EMULATE (1u << 4)
#define FERRY_MOVE_NATIVE  (1u << 5)
/*
 * A huge page that cannot be moved whole (destination not aligned or with a
 * page table) is an error (-EXDEV) instead of being split.
 */
#define FERRY_MOVE_KEEP_HUGE (1u << 6)
/*
 * When a huge page is busy as a whole, apply the busy policy to its small
 * pages one by one instead of to the huge page.
 */
#define FERRY_MOVE_SPLIT_BUSY (1u << 7)

struct ferry_move_params {
	size_t size;
	uint32_t flags; /* FERRY_MOVE_* */
	enum ferry_busy busy;
	/*
	 * Time in nanoseconds for waiting on busy pages and changing mappings,
	 * from the first wait of the call; 0: one second. Moving itself is
	 * not bounded.
	 */
	uint64_t deadline_ns;
	/* Polled between system calls; set to stop early. NULL: never. */
	const volatile bool *cancel;
};

/* How pages were moved. */
enum ferry_move_method {
	FERRY_METHOD_NONE = 0, /* nothing was moved */
	FERRY_METHOD_MOVE,     /* UFFDIO_MOVE */
	FERRY_METHOD_MREMAP,   /* emulated by mremap(2) */
	FERRY_METHOD_COPY,     /* emulated by UFFDIO_COPY and MADV_DONTNEED */
};

/* What became of a move; sizes in bytes. Written in every case. */
struct ferry_move_result {
	size_t size;
	/*
	 * Bytes of the request dealt with, from its start (for a vector: over
	 * all ranges in order). What lies beyond is untouched.
	 * done == moved + copied + holes + present + skipped.
	 */
	size_t done;
	size_t moved;	/* by page table, false EEXIST included */
	size_t copied;	/* by policy or emulation */
	size_t holes;	/* nothing there to move; without /proc: moved */
	size_t present; /* destination had a page; source still has its own */
	size_t skipped; /* busy, left at the source (FERRY_BUSY_SKIP) */
	enum ferry_move_method method;
	enum ferry_reason reason; /* why it stopped, NONE when complete */
	size_t stop_range;	  /* index of the range it stopped in */
	size_t stop_offset;	  /* bytes into that range */
	/* Counts of events, for statistics and tests. */
	uint64_t calls;		 /* move ioctls issued */
	uint64_t short_moves;	 /* EAGAIN with progress */
	uint64_t idle_retries;	 /* EAGAIN without progress */
	uint64_t busy_retries;	 /* EBUSY tried again */
	uint64_t made_exclusive; /* pages written back to themselves */
	uint64_t false_exist;	 /* EEXIST for a page that had moved */
	uint64_t huge_whole; /* huge pages offered whole: aligned both sides */
	uint64_t waited_ns;  /* spent in back-off */
};

/*
 * Moves the pages of [@src, @src + @len) to [@dst, @dst + @len).
 *
 * @uffd: the handle that @dst is registered with (any mode).
 * @params: NULL for the defaults. @result: NULL if not wanted.
 *
 * Contents, dirty state and swapped-out state travel with the page; the
 * userfaultfd write-protection mark does not (a moved page counts as
 * written). Afterwards the source is a hole: a *read* of it maps a zero page
 * or raises a fault, so nothing may use old addresses any more. Overlapping
 * ranges are allowed when @dst < @src (slide down).
 *
 * Where the kernel has no UFFDIO_MOVE the same is done by mremap(2) when the
 * destination can be replaced as a whole, else by UFFDIO_COPY and
 * MADV_DONTNEED; result->method says so. Emulation is not atomic against
 * threads that write to the source: they must be quiescent.
 *
 * Returns 0 when every page of the request was dealt with, else the errno of
 * the first page that was not (the result tells how far it came):
 *  -EINVAL	the request or one of the mappings does not suit; result.reason
 *		says which (UNALIGNED ... OTHER_UFFD)
 *  -ENOENT	HOLE in the source without FERRY_MOVE_HOLES, or UNMAPPED
 *  -EEXIST	PRESENT: destination has a page; OVERLAP upward
 *  -EBUSY	BUSY: policy exhausted; PINNED: that, and it is known to be
 *		neither fork nor KSM (FERRY_BUSY_EXCLUSIVE only). A huge page
 *		that is pinned, or that the kernel holds and has to be split,
 *		is PINNED, too
 *  -EXDEV	HUGE_SPLIT: FERRY_MOVE_KEEP_HUGE and it would be split, or
 *		was: a page table that hides at the destination shows only
 *		then, and the huge page that met it is within done
 *  -EAGAIN	CHANGING: mappings kept changing till the deadline
 *  -EFAULT	GUARD: poisoned page or guard marker at the source
 *  -ECANCELED	CANCELLED by params->cancel
 *  -EINTR	a fatal signal is pending
 *  -EOPNOTSUPP	FERRY_MOVE_NATIVE and no MOVE here (NOT_SUPPORTED, SECCOMP)
 *  -EBADF CLOSED, -ECHILD FOREIGN_PROCESS, -ENOMEM, -E2BIG
 * Any thread, several at once; signal-safe; allocates nothing.
 */
FERRY_EXPORT int ferry_move(struct ferry_uffd *uffd, void *dst, void *src,
			    size_t len, const struct ferry_move_params *params,
			    struct ferry_move_result *result);

/* One piece of a vector move. */
struct ferry_move_range {
	void *dst;
	void *src;
	size_t len;
};

/*
 * Moves @n ranges in order with one call; stops at the first error. All
 * ranges are checked before the first page moves. Otherwise as ferry_move().
 */
FERRY_EXPORT int ferry_movev(struct ferry_uffd *uffd,
			     const struct ferry_move_range *ranges, size_t n,
			     const struct ferry_move_params *params,
			     struct ferry_move_result *result);

#ifdef __cplusplus
}
#endif

#endif
