/* SPDX-License-Identifier: MIT */
/*
 * Regions: address space that is ours, from which the engine gets its memory
 * (DESIGN E3).
 *
 * A region is reserved without access and made usable from its beginning on,
 * so that only what is used is accounted for, and it stays two mappings.
 * Regions are not given back one by one. The malloc has two lists of them: one
 * for what the program allocates, which the pager may take pages from, and one
 * for what the engine and our own threads need, which is never paged. Every
 * pointer of ours is in one of them, all others are foreign (E4). An allocator
 * instance has a list of its own, and gives it back as a whole.
 *
 * Nothing here takes a lock or allocates.
 */
#ifndef FERRY_ALLOC_MALLOC_REGION_H
#define FERRY_ALLOC_MALLOC_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ferry__region_kind {
	FERRY__REGION_HEAP = 0, /* what the program allocates */
	FERRY__REGION_OWN,	/* metadata, threads of ours, early init */
};

struct ferry__region {
	/* Written before the region is published, constant from then on. */
	uintptr_t base; /* aligned to 2 MiB at least */
	size_t len;
	/* Bytes handed out, from the base on; only grows. Atomic. */
	size_t used;
	/* The next of the list; written once. Atomic. */
	struct ferry__region *next;
};

/* How a list of regions is made. */
struct ferry__region_plan {
	size_t first_len; /* of the first; each is twice as long as the last */
	size_t part;	  /* under a limit on address space: this part of it */
	const char *name; /* in /proc/PID/maps */
};

/* The first region of each list; of length zero until there is one. */
extern struct ferry__region ferry__region_first[2]
	__attribute__((visibility("hidden")));

/*
 * The first region of the heap, where there is room for it, has this size and
 * this alignment: its addresses are those with ferry__region_tag above.
 * Without it the tag is one that no address has. Written once, at the start.
 */
#define FERRY__REGION_SHIFT 36
extern uintptr_t ferry__region_tag __attribute__((visibility("hidden")));

/*
 * The one test on hot paths: one load, one comparison. False says nothing:
 * ask ferry__region_of().
 */
static inline bool ferry__region_has(const void *p)
{
	return (uintptr_t)p >> FERRY__REGION_SHIFT == ferry__region_tag;
}

/* Reserves the first region of @kind. Once, by one thread. 0 or -ENOMEM. */
int ferry__region_init(enum ferry__region_kind kind);

/*
 * Cuts @size bytes (whole pages), aligned to @align (a power of two), from
 * the regions of @kind; they read as zero. Returns 0 or -ENOMEM.
 */
int ferry__region_cut(enum ferry__region_kind kind, size_t size, size_t align,
		      void **ret_addr);

/* The region of @kind that @p is in, or NULL. */
struct ferry__region *ferry__region_of(enum ferry__region_kind kind,
				       const void *p);

/*
 * The same for a list of the caller's own, which begins with @first (all zero
 * before init).
 */
int ferry__regions_init(struct ferry__region *first,
			const struct ferry__region_plan *plan);
int ferry__regions_cut(struct ferry__region *first,
		       const struct ferry__region_plan *plan, size_t size,
		       size_t align, void **ret_addr);
struct ferry__region *ferry__regions_of(struct ferry__region *first,
					const void *p);
/* Gives all of them back; nobody uses the list any more. */
void ferry__regions_fini(struct ferry__region *first);

/* The region after @r of its list, or NULL. */
struct ferry__region *ferry__region_next(const struct ferry__region *r);

/* Bytes of @r that were handed out so far. */
size_t ferry__region_used(const struct ferry__region *r);

#endif
