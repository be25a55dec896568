/* SPDX-License-Identifier: MIT */
/*
 * What a program may say to the malloc of libferry-malloc.so, beyond malloc.h.
 *
 * A program that is to work without it as well declares these weak, or asks
 * dlsym(3): they are in no other library. Addresses are those of the
 * program's blocks, of any alignment; what is said of a range holds for its
 * pages, and so for whatever else lies on the first and the last.
 *
 * Any thread; not in signal handlers.
 */
#ifndef FERRY_MALLOC_H
#define FERRY_MALLOC_H

#include <ferry/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * All return 0, or
 *  -ENOENT	the range is not memory of this malloc
 *  -EOPNOTSUPP	nothing is ever taken out here (ferry_malloc_stats())
 *  -EINVAL	the range ends beyond the address space
 */

/* Not needed for a while: its whole pages go out at the next look. */
FERRY_EXPORT int ferry_hint_cold(const void *addr, size_t len);

/* Needed soon: it is brought back, and left alone for a while. */
FERRY_EXPORT int ferry_hint_hot(const void *addr, size_t len);

/* It is brought back and never goes out, until ferry_hint_none(). */
FERRY_EXPORT int ferry_hint_pin(const void *addr, size_t len);

/* What was said of it is forgotten; not after the block has been freed. */
FERRY_EXPORT int ferry_hint_none(const void *addr, size_t len);

/*
 * Brings all back, and takes nothing out until ferry_malloc_resume(); nests.
 * Returns 0, also where nothing is ever out; -EIO when some pages could not be
 * brought back.
 */
FERRY_EXPORT int ferry_malloc_restore(void);
FERRY_EXPORT void ferry_malloc_resume(void);

struct ferry_malloc_stats {
	size_t size; /* of this struct: FERRY_INIT */
	/* Bytes. */
	uint64_t allocated;	  /* what the program has */
	uint64_t mapped;	  /* address space in use */
	uint64_t dirty;		  /* freed, kept for reuse */
	uint64_t metadata;	  /* of the allocator itself */
	uint64_t resident;	  /* of the heap, in memory; limbo counts */
	uint64_t limbo;		  /* taken away, not stored yet */
	uint64_t stored;	  /* of pages that are in stores */
	uint64_t store_memory;	  /* memory that stores take */
	uint64_t store_elsewhere; /* in files and on servers */
	/* Events since the start. */
	uint64_t faults_limbo;
	uint64_t faults_stored;
	uint64_t pages_out;
	uint64_t pages_back;
	uint64_t pages_dropped; /* held no living object */
	uint64_t busy;		/* could not be moved just then */
	uint64_t stalled_ns;	/* spent on faults; wake-ups are not in it */
	/*
	 * Why nothing is taken out, in words; NULL: it is, or will be once the
	 * heap is large enough. Never freed.
	 */
	const char *reason;
};

/* Fills @ret_stats up to its size. 0; -EINVAL, -E2BIG: that size. */
FERRY_EXPORT int ferry_malloc_stats(struct ferry_malloc_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
