/* SPDX-License-Identifier: MIT */
/*
 * Allocator instances: the allocator of libferry-malloc.so for programs that
 * link it (libferry-alloc.so). Each instance has address space, arena, thread
 * caches and an offload policy of its own: pages that are not touched for a
 * while are compressed and come back when they are touched.
 *
 * An instance's memory goes back as a whole: destroying it takes no longer
 * for a million objects than for one.
 *
 * Any number of instances up to about 4000 at a time. All functions may be
 * called from any thread, none from signal handlers. Around fork(2) instances
 * stay usable in parent and child.
 *
 * Where the system does not allow what bringing pages back on touch takes
 * (userfaultfd for faults of system calls: CAP_SYS_PTRACE, /dev/userfaultfd,
 * or vm.unprivileged_userfaultfd=1), nothing is taken out, and an instance is
 * an ordinary allocator; the statistics say so.
 */
#ifndef FERRY_ALLOC_H
#define FERRY_ALLOC_H

#include <ferry/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ferry_allocator;

struct ferry_allocator_params {
	size_t size;
	/*
	 * The policy, "key:value,key:value", or NULL for the defaults. Keys
	 * are those of ferry_allocator_create(3). Not kept.
	 */
	const char *conf;
	/*
	 * Bytes of address space to begin with, default 1 GiB; more is
	 * reserved when that is used up. Memory is taken as it is used.
	 */
	size_t reserve;
	const char *name; /* in /proc/PID/maps where the kernel can; copied */
};

/*
 * Makes an instance. @params may be NULL: all defaults. Threads of the
 * library's own (signals blocked) start when the instance has grown past
 * "min_heap", in one of its calls.
 * Returns 0
 *  -EINVAL  @conf has an unknown key or a value that cannot be
 *  -E2BIG   a field that this library does not know is set
 *  -ENOMEM  no memory or no address space
 *  -EAGAIN  there are too many instances
 *  others   a store of @conf cannot be had, and why: those of open(2) for a
 *           file, of connect(2) for a server; -EPERM it may evict pages,
 *           -EACCES it does not let us in
 */
FERRY_EXPORT int
ferry_allocator_create(const struct ferry_allocator_params *params,
		       struct ferry_allocator **ret_allocator);

/*
 * Gives back all memory of the instance, and with it every block. Nobody uses
 * it meanwhile or afterwards. NULL does nothing.
 */
FERRY_EXPORT void ferry_allocator_destroy(struct ferry_allocator *allocator);

/*
 * As the functions of the C library of these names, on blocks of this
 * instance: a block may be given to no other. They return NULL with errno
 * ENOMEM when there is no memory. A size of 0 gives a block that cannot be
 * written to, except: ferry_allocator_realloc() to size 0 frees the block and
 * returns NULL, errno as it was. @align is a power of two (errno EINVAL).
 */
FERRY_EXPORT void *ferry_allocator_malloc(struct ferry_allocator *allocator,
					  size_t size);
FERRY_EXPORT void *ferry_allocator_calloc(struct ferry_allocator *allocator,
					  size_t n, size_t size);
FERRY_EXPORT void *ferry_allocator_aligned(struct ferry_allocator *allocator,
					   size_t align, size_t size);
FERRY_EXPORT void *ferry_allocator_realloc(struct ferry_allocator *allocator,
					   void *ptr, size_t size);
/* @ptr may be NULL. Keeps errno. */
FERRY_EXPORT void ferry_allocator_free(struct ferry_allocator *allocator,
				       void *ptr);
/* Bytes that may be used of the block, at least those asked for; NULL: 0. */
FERRY_EXPORT size_t
ferry_allocator_usable_size(struct ferry_allocator *allocator, const void *ptr);

enum ferry_allocator_hint {
	FERRY_ALLOCATOR_HINT_NONE = 0, /* treat as any memory */
	FERRY_ALLOCATOR_HINT_COLD,     /* take it out soon */
	FERRY_ALLOCATOR_HINT_HOT,      /* bring it back, leave it a while */
	FERRY_ALLOCATOR_HINT_PIN,      /* bring it back, never take it out */
};

/*
 * About the pages that lie in [@addr, @addr + @len), in whole or (HOT, PIN)
 * in part; other blocks may be in them, too. A hint outlives the block. COLD
 * starts the instance's threads; where nothing can be taken out it is without
 * effect.
 * Returns 0, -EINVAL, or -ENOENT: not memory of this instance.
 */
FERRY_EXPORT int ferry_allocator_hint(struct ferry_allocator *allocator,
				      const void *addr, size_t len,
				      enum ferry_allocator_hint hint);

/*
 * Gives freed memory back to the system and takes out, now, all that is not
 * touched meanwhile. Returns 0, or why nothing can be taken out: -EPERM,
 * -EOPNOTSUPP; freed memory has gone back all the same.
 */
FERRY_EXPORT int ferry_allocator_trim(struct ferry_allocator *allocator);

/*
 * Brings every page back, and takes none out until as many calls of
 * ferry_allocator_resume(). Returns 0, or a negative errno with some pages
 * still out.
 */
FERRY_EXPORT int ferry_allocator_restore(struct ferry_allocator *allocator);
FERRY_EXPORT void ferry_allocator_resume(struct ferry_allocator *allocator);

struct ferry_allocator_stats {
	size_t size;
	bool offload;		  /* can pages be taken out? */
	enum ferry_reason reason; /* why not, once it was tried */
	uint64_t allocated;	  /* bytes of blocks, cached ones included */
	uint64_t mapped;	  /* bytes of address space used so far */
	uint64_t resident;	  /* bytes of them that are in memory */
	uint64_t stored;	  /* bytes of pages that are in stores */
	uint64_t store_memory;	  /* bytes of memory that those take */
	uint64_t pages_out;	  /* pages taken out, since the creation */
	uint64_t pages_back;	  /* and brought back */
	uint64_t refaults;	  /* of these, by a touch */
	uint64_t stalled_ns;	  /* spent on faults; wake-ups are not in it */
	uint64_t store_elsewhere; /* bytes of files and servers they take */
	int store_error;	  /* why a store is not used that is named; 0 */
};

/* Fills *@ret_stats as far as its .size says. Returns 0 or -EINVAL. */
FERRY_EXPORT int ferry_allocator_stats(struct ferry_allocator *allocator,
				       struct ferry_allocator_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
