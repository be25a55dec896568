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
#ifndef FERRY_ALLOC_MALLOC_SPACE_H
#define FERRY_ALLOC_MALLOC_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ferry__space_kind {
	FERRY__SPACE_HEAP = 0, /* what the program allocates */
	FERRY__SPACE_OWN,      /* metadata, threads of ours, early init */
};

struct ferry__space {
	/* Written before the region is published, constant from then on. */
	uintptr_t base; /* aligned to 2 MiB at least */
	size_t len;
	/* Bytes handed out, from the base on. Atomic. */
	size_t used;
	bool told; /* the pager knows of it; atomic, of its host */
	/* The next of the list; written once. Atomic. */
	struct ferry__space *next;
};

/* How a list of regions is made. */
struct ferry__space_plan {
	size_t first_len; /* of the first; each is twice as long as the last */
	size_t part;	  /* under a limit on address space: this part of it */
	const char *name; /* in /proc/PID/maps */
};

/* The first region of each list; of length zero until there is one. */
extern struct ferry__space ferry__space_first[2]
	__attribute__((visibility("hidden")));

/*
 * The first region of the heap, where there is room for it, has this size and
 * this alignment: its addresses are those with ferry__space_tag above.
 * Without it the tag is one that no address has. Written once, at the start.
 */
#define FERRY__SPACE_SHIFT 36
extern uintptr_t ferry__space_tag __attribute__((visibility("hidden")));

/*
 * The one test on hot paths: one load, one comparison. False says nothing:
 * ask ferry__space_of().
 */
static inline bool ferry__space_has(const void *p)
{
	return (uintptr_t)p >> FERRY__SPACE_SHIFT == ferry__space_tag;
}

/* Reserves the first region of @kind. Once, by one thread. 0 or -ENOMEM. */
int ferry__space_init(enum ferry__space_kind kind);

/*
 * Cuts @size bytes (whole pages), aligned to @align (a power of two), from
 * the regions of @kind; they read as zero. Returns 0 or -ENOMEM.
 */
int ferry__space_cut(enum ferry__space_kind kind, size_t size, size_t align,
		     void **ret_addr);

/*
 * Cuts @size bytes at @addr, the end of what was cut of its region so far.
 * Returns 0; -ENOENT: it is not that; -ENOSPC; -ENOMEM.
 */
int ferry__space_extend(enum ferry__space_kind kind, void *addr, size_t size);

/*
 * How much was cut of the region from @addr, an end of something in it, on.
 * False: it is not of @kind.
 */
bool ferry__space_left(enum ferry__space_kind kind, const void *addr,
		       size_t *ret_left);

/*
 * Cuts @size bytes, aligned to @align, from a new region with room for many
 * times that. Returns 0 or -ENOMEM, also where that much is not to be had.
 */
int ferry__space_cut_apart(enum ferry__space_kind kind, size_t size,
			   size_t align, void **ret_addr);

/*
 * A piece that was cut, reads as zero and is not used any more: if it is the
 * last of its region it will be cut anew, else nothing is done.
 */
void ferry__space_uncut(enum ferry__space_kind kind, void *addr, size_t size);

/* The region of @kind that @p is in, or NULL. */
struct ferry__space *ferry__space_of(enum ferry__space_kind kind,
				     const void *p);

/*
 * The same for a list of the caller's own, which begins with @first (all zero
 * before init).
 */
int ferry__spaces_init(struct ferry__space *first,
		       const struct ferry__space_plan *plan);
int ferry__spaces_cut(struct ferry__space *first,
		      const struct ferry__space_plan *plan, size_t size,
		      size_t align, void **ret_addr);
struct ferry__space *ferry__spaces_of(struct ferry__space *first,
				      const void *p);
/* Gives all of them back; nobody uses the list any more. */
void ferry__spaces_fini(struct ferry__space *first);

/* The region after @r of its list, or NULL. */
struct ferry__space *ferry__space_next(const struct ferry__space *r);

/* Bytes of @r that were handed out so far. */
size_t ferry__space_used(const struct ferry__space *r);

#endif
