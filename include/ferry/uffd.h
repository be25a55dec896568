/* SPDX-License-Identifier: MIT */
/*
 * userfaultfd descriptors: what the kernel offers, opening one by every way
 * there is, and its single operations with the retry rules applied.
 *
 * Sources: userfaultfd(2), UFFDIO_API(2const) and the other UFFDIO_* pages of
 * the Linux man-pages, and uffd/DESIGN.md for what was measured.
 */
#ifndef FERRY_UFFD_H
#define FERRY_UFFD_H

#include <ferry/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Ways to get a userfaultfd. */
enum ferry_uffd_way {
	FERRY_UFFD_ANY = 0,   /* the first that works, in the order below */
	FERRY_UFFD_DEVICE,    /* /dev/userfaultfd: by file permission */
	FERRY_UFFD_SYSCALL,   /* userfaultfd(2): CAP_SYS_PTRACE or sysctl */
	FERRY_UFFD_USER_MODE, /* UFFD_USER_MODE_ONLY: no faults in the kernel */
	FERRY_UFFD_WAYS
};

/* Kernel features, one bit each; those of UFFDIO_API keep their numbers. */
#define FERRY_FEATURE_WP	   (1ull << 0)
#define FERRY_FEATURE_EVENT_FORK   (1ull << 1)
#define FERRY_FEATURE_EVENT_REMAP  (1ull << 2)
#define FERRY_FEATURE_EVENT_REMOVE (1ull << 3)
#define FERRY_FEATURE_EVENT_UNMAP  (1ull << 6)
#define FERRY_FEATURE_SIGBUS	   (1ull << 7)
#define FERRY_FEATURE_THREAD_ID	   (1ull << 8)
#define FERRY_FEATURE_MINOR_SHMEM  (1ull << 10)
#define FERRY_FEATURE_EXACT	   (1ull << 11)
#define FERRY_FEATURE_WP_UNPOP	   (1ull << 13)
#define FERRY_FEATURE_POISON	   (1ull << 14)
#define FERRY_FEATURE_WP_ASYNC	   (1ull << 15)
#define FERRY_FEATURE_MOVE	   (1ull << 16)
/* Found by trying, not named by UFFDIO_API. */
#define FERRY_FEATURE_MOVE_WORKS    (1ull << 32) /* a real move succeeded */
#define FERRY_FEATURE_PAGEMAP_SCAN  (1ull << 33)
#define FERRY_FEATURE_SOFT_DIRTY    (1ull << 34)
#define FERRY_FEATURE_PROCMAP_QUERY (1ull << 35)
#define FERRY_FEATURE_KERNEL_FAULTS (1ull << 36) /* faults of system calls */
#define FERRY_FEATURE_THP	    (1ull << 37) /* huge pages to be had */
#define FERRY_FEATURE_POPULATE	    (1ull << 38) /* MADV_POPULATE_WRITE */
#define FERRY_FEATURE_COLLAPSE	    (1ull << 39) /* MADV_COLLAPSE */
#define FERRY_FEATURE_DONTUNMAP	    (1ull << 40) /* MREMAP_DONTUNMAP */
#define FERRY_FEATURE_GUARD	    (1ull << 41) /* MADV_GUARD_INSTALL */
#define FERRY_FEATURE_VECTOR_ADVICE (1ull << 42) /* process_madvise on self */
#define FERRY_FEATURE_PROCESS_FILES (1ull << 43) /* /proc/self is readable */

/* What this kernel gives this process. */
struct ferry_features {
	size_t size;
	uint64_t features; /* FERRY_FEATURE_* */
	struct {
		int error;		  /* 0, or the negative errno */
		enum ferry_reason reason; /* why it was refused */
	} way[FERRY_UFFD_WAYS];		  /* index: enum ferry_uffd_way */
	int move_error; /* of the probe move; 0 if it worked */
	enum ferry_reason move_reason;
	size_t page_size;
	size_t huge_size;	 /* bytes of a PMD-mapped page; 0 if none */
	int unprivileged_sysctl; /* vm.unprivileged_userfaultfd; -1 unknown */
	long max_map_count;	 /* vm.max_map_count; -1 unknown */
	int nodes;		 /* NUMA nodes with memory; 0 unknown */
	char kernel[64];	 /* release, as uname -r prints it */
	char thp[16];		 /* "always", "madvise", "never" or "" */
	bool huge_zero_page_unsafe; /* CVE-2026-31397 range of releases: see
				       FERRY_MOVE in move.h */
};

/*
 * Probes the kernel: opens descriptors by each way, asks for features, tries
 * a real move of one page (so a seccomp filter shows), and closes all again.
 * Features are tried, never inferred from a release number.
 *
 * @ret: set .size first (FERRY_INIT).
 * Returns 0; -EINVAL, -E2BIG (see base.h); -ENOMEM. A kernel that has nothing
 * of userfaultfd is a success with no feature set.
 * Any thread; takes about a millisecond; not signal-safe. Results are not
 * cached: a filter installed later changes them.
 */
FERRY_EXPORT int ferry_features_get(struct ferry_features *ret);

/*
 * The name of the feature with number @bit (0..63), "move" for
 * FERRY_FEATURE_MOVE; NULL if there is none. Signal-safe.
 */
FERRY_EXPORT const char *ferry_feature_name(unsigned int bit);

/* "any", "device", "system call", "user mode only". Signal-safe. */
FERRY_EXPORT const char *ferry_uffd_way_name(enum ferry_uffd_way way);

/* An open userfaultfd with what was negotiated on it. */
struct ferry_uffd;

/* The kernel raises SIGBUS in the faulting thread instead of queueing. */
#define FERRY_UFFD_SIGBUS (1u << 0)
/* Writes to protected pages are let through and noted (dirty tracking). */
#define FERRY_UFFD_WP_ASYNC (1u << 1)
/* read(2) on the descriptor does not block. */
#define FERRY_UFFD_NONBLOCK (1u << 2)

struct ferry_uffd_params {
	size_t size;
	enum ferry_uffd_way way; /* default: any */
	uint32_t flags;		 /* FERRY_UFFD_* */
	uint64_t features;	 /* FERRY_FEATURE_* that must be there */
};

/*
 * Opens a userfaultfd and negotiates its interface.
 *
 * @params: NULL for the defaults.
 * @ret_reason: NULL, or where to say why it failed. Written always.
 * @ret_uffd: the handle; closed by ferry_uffd_close().
 *
 * Handles live in memory that is never unmapped: using one that was closed is
 * answered with -EBADF as long as it was not opened anew, as with
 * descriptor numbers.
 *
 * Returns 0 or
 *  -EPERM	no permission (reason NO_PERMISSION or SECCOMP)
 *  -ENOSYS	no userfaultfd in this kernel
 *  -ENOENT	way DEVICE and no /dev/userfaultfd
 *  -EOPNOTSUPP	a feature or flag asked for is not there
 *  -EMFILE, -ENFILE, -ENOMEM
 *  -EINVAL, -E2BIG	see base.h
 * Any thread. Not signal-safe. The descriptor is close-on-exec; after fork(2)
 * it still acts on the parent, so a child opens its own. A second descriptor,
 * on /proc/self/pagemap, is kept with it where that can be opened.
 */
FERRY_EXPORT int ferry_uffd_open(const struct ferry_uffd_params *params,
				 enum ferry_reason *ret_reason,
				 struct ferry_uffd **ret_uffd);

/*
 * Closes @uffd: calls in flight on it in other threads are waited for, later
 * ones get -EBADF. Registrations made through it end: pages absent then
 * become ordinary zero pages when touched, so detach services first.
 * NULL is allowed. Not to be called from a fault handler.
 */
FERRY_EXPORT void ferry_uffd_close(struct ferry_uffd *uffd);

/* The descriptor, for poll(2); -EBADF if closed. It stays @uffd's. */
FERRY_EXPORT int ferry_uffd_fd(const struct ferry_uffd *uffd);

/* FERRY_FEATURE_* usable on this handle. Signal-safe. */
FERRY_EXPORT uint64_t ferry_uffd_features(const struct ferry_uffd *uffd);

/* The way it was opened. */
FERRY_EXPORT enum ferry_uffd_way ferry_uffd_way(const struct ferry_uffd *uffd);

#define FERRY_REGISTER_MISSING (1u << 0)
#define FERRY_REGISTER_WP      (1u << 1)
#define FERRY_REGISTER_MINOR   (1u << 2)

/*
 * Registers [@addr, @addr + @len) for the fault kinds of @mode.
 *
 * Registering again with the same handle and the same mode is refused with
 * -EEXIST and changes nothing (told by the first and the last page of the
 * range); with another mode it is changed to that mode.
 *
 * Returns 0 or
 *  -EINVAL	reason UNALIGNED, ZERO_LENGTH, OVERFLOW, BAD_FLAGS, or a kind
 *		of memory that cannot be registered (reason names it)
 *  -ENOMEM	UNMAPPED (the kernel's errno for a range with holes), or
 *		NO_MEMORY: it is not registered; where it was with another
 *		mode it still is, each mapping with that mode or the new one
 *  -EEXIST	registered already
 *  -EBUSY	registered with another userfaultfd (OTHER_UFFD)
 *  -EPERM	MINOR or WP of memory mapped without write permission
 *  -EBADF	closed; -ECHILD handle of another process
 * @ret_reason may be NULL; written always. Any thread.
 */
FERRY_EXPORT int ferry_uffd_register(struct ferry_uffd *uffd, void *addr,
				     size_t len, unsigned int mode,
				     enum ferry_reason *ret_reason);

/* Undoes it. Waiters in the range are woken. Errors as above. */
FERRY_EXPORT int ferry_uffd_unregister(struct ferry_uffd *uffd, void *addr,
				       size_t len);

/* Wakes threads that wait for a fault in the range. Signal-safe. */
FERRY_EXPORT int ferry_uffd_wake(struct ferry_uffd *uffd, void *addr,
				 size_t len);

/* Do not wake the waiters: call ferry_uffd_wake() later. */
#define FERRY_OP_NO_WAKE (1u << 0)
/* Install write-protected. */
#define FERRY_OP_WP (1u << 1)

/*
 * The single-page-table operations, each on whole pages. All of them
 * re-issue the call after a short count, wait out mappings that are changing
 * (EAGAIN; yield, then sleep, for at most a second), and stop at the first
 * page that fails.
 *
 * @ret_done: bytes finished from the start of the range; written always;
 * may be NULL.
 * Returns 0 when all is done, or
 *  -EEXIST	a page is there already
 *  -ENOENT	destination not registered, or unmapped (the kernel does not
 *		ask with which userfaultfd: one of another handle will do)
 *  -EINVAL	unaligned, zero, overflow, bad flags
 *  -ENOMEM; -EFAULT source not readable, or page not in cache (continue)
 *  -EAGAIN	mappings kept changing
 *  -EOPNOTSUPP	not on this kernel or not for this kind of memory
 *  -EINTR	a fatal signal is pending
 *  -EBADF, -ECHILD, -ESRCH
 * Any thread; signal-safe.
 */
FERRY_EXPORT int ferry_uffd_copy(struct ferry_uffd *uffd, void *dst,
				 const void *src, size_t len,
				 unsigned int flags, size_t *ret_done);
FERRY_EXPORT int ferry_uffd_zero(struct ferry_uffd *uffd, void *addr,
				 size_t len, unsigned int flags,
				 size_t *ret_done);
FERRY_EXPORT int ferry_uffd_poison(struct ferry_uffd *uffd, void *addr,
				   size_t len, unsigned int flags,
				   size_t *ret_done);
FERRY_EXPORT int ferry_uffd_continue(struct ferry_uffd *uffd, void *addr,
				     size_t len, unsigned int flags,
				     size_t *ret_done);

/*
 * Protects (@protect) or unprotects the pages of a range registered with
 * FERRY_REGISTER_WP; unprotecting wakes writers unless FERRY_OP_NO_WAKE.
 * A range over several mappings is done mapping by mapping (kernels before
 * 6.4 refuse it whole). Errors as above. Signal-safe.
 */
FERRY_EXPORT int ferry_uffd_writeprotect(struct ferry_uffd *uffd, void *addr,
					 size_t len, bool protect,
					 unsigned int flags);

#ifdef __cplusplus
}
#endif

#endif
