/* SPDX-License-Identifier: MIT */
/*
 * What every public header of Ferry shares: export marks, address ranges,
 * reasons, and the conventions of the interface.
 *
 * Conventions
 *  - Functions that can fail return 0 or a negative errno; the errno's
 *    meaning is at each declaration. bool answers a question.
 *  - Output parameters are named ret_x, stand last and are written only on
 *    success, unless the declaration says otherwise (results of partial
 *    work are always written).
 *  - Parameter and result structs begin with their size, set by the caller
 *    to sizeof(the struct): FERRY_INIT does it. Zero in any other field is the
 *    default. A field that this library does not know, set to non-zero, is
 *    refused with -E2BIG.
 *  - Addresses and lengths are bytes and, where pages are concerned, must
 *    be multiples of the page size (-EINVAL).
 *  - The library prints nothing, installs no signal handler and starts no
 *    thread unless a declaration says so.
 */
#ifndef FERRY_BASE_H
#define FERRY_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FERRY_EXPORT __attribute__((visibility("default")))

/* Initialiser of a parameter or result struct: its size, all else zero. */
#define FERRY_INIT(type)                                                       \
	{                                                                      \
		.size = sizeof(type)                                           \
	}

/* A piece of this process's address space. */
struct ferry_range {
	void *addr; /* page-aligned */
	size_t len; /* bytes, a multiple of the page size */
};

/*
 * Why memory was refused or a call failed, beyond its errno. Values are
 * stable; new ones are added at the end.
 */
enum ferry_reason {
	FERRY_REASON_NONE = 0,
	/* About the request. */
	FERRY_REASON_UNALIGNED, /* address or length not in whole pages */
	FERRY_REASON_ZERO_LENGTH,
	FERRY_REASON_OVERFLOW, /* end of range beyond the address space */
	FERRY_REASON_OVERLAP,  /* destination overlaps and is above source */
	FERRY_REASON_BAD_FLAGS,
	FERRY_REASON_CLOSED,	      /* handle closed or being torn down */
	FERRY_REASON_FOREIGN_PROCESS, /* handle made by another process */
	FERRY_REASON_NO_MEMORY,
	/* About a mapping. */
	FERRY_REASON_UNMAPPED,
	FERRY_REASON_READ_ONLY, /* no write permission */
	FERRY_REASON_SHARED,	/* MAP_SHARED memory */
	FERRY_REASON_FILE,	/* backed by a file or memfd */
	FERRY_REASON_DAX,
	FERRY_REASON_HUGETLB,
	FERRY_REASON_LOCKED, /* mlock: source and destination differ */
	FERRY_REASON_DEVICE, /* VM_IO, VM_PFNMAP or VM_MIXEDMAP */
	FERRY_REASON_SECRET, /* memfd_secret */
	FERRY_REASON_TAGGED, /* memory tagging (MTE) */
	FERRY_REASON_SHADOW_STACK,
	FERRY_REASON_SPECIAL,	     /* vdso, vvar, vsyscall, stack guard ... */
	FERRY_REASON_SPLIT,	     /* range spans several mappings */
	FERRY_REASON_PROTECTION,     /* access rights of the two sides differ */
	FERRY_REASON_NOT_REGISTERED, /* destination not registered here */
	FERRY_REASON_OTHER_UFFD,     /* registered with another userfaultfd */
	/* About pages. */
	FERRY_REASON_HOLE,    /* no page at the source */
	FERRY_REASON_PRESENT, /* destination already has a page */
	FERRY_REASON_BUSY,    /* shared by fork, pinned, KSM, swap cache */
	FERRY_REASON_GUARD,   /* guard marker or poisoned page */
	/* About the kernel. */
	FERRY_REASON_NOT_SUPPORTED, /* this kernel has no such operation */
	FERRY_REASON_NO_PERMISSION, /* privilege or sysctl missing */
	FERRY_REASON_SECCOMP,	    /* the kernel has it, a filter forbids it */
	FERRY_REASON_NO_DEVICE,	    /* /dev/userfaultfd is not there */
	FERRY_REASON_DESCRIPTOR_LIMIT, /* RLIMIT_NOFILE or the system's limit */
	FERRY_REASON_CHANGING,	  /* mappings kept changing till the deadline */
	FERRY_REASON_CANCELLED,	  /* the caller asked to stop */
	FERRY_REASON_HUGE_SPLIT,  /* a huge page could not be kept whole */
	FERRY_REASON_IN_USE,	  /* there can be only one, and there is one */
	FERRY_REASON_PINNED,	  /* held in place for a device's access */
	FERRY_REASON_NOT_MANAGED, /* not in an arena of this library */
	FERRY_REASON_MAX
};

/*
 * A short English sentence for a reason, without a full stop; never NULL.
 * Static storage; any thread; signal-safe.
 */
FERRY_EXPORT const char *ferry_reason_string(enum ferry_reason reason);

#ifdef __cplusplus
}
#endif

#endif
