/* SPDX-License-Identifier: MIT */
/*
 * From physical addresses back to this process's pages: the page map
 * inverted, kept, and asked.
 *
 * Hardware that samples memory accesses (IBS, PEBS, hot-page counters of CXL
 * devices) speaks physical addresses. With CAP_SYS_ADMIN the pagemap tells the
 * frame of each page of this process; sorted by frame, it answers which page
 * an address belongs to. That makes move_phys_pages() (proposed 2023, not
 * merged) a thing of user space for the memory of one process.
 *
 * A map is a cache, and the kernel moves pages whenever it likes. So each
 * answer is held against the pagemap before it is given: what is not so any
 * more is called STALE, never given. A page that has been migrated has another
 * physical address; the old one then answers STALE, and after the next build
 * NOTHING.
 *
 * Memory: 16 bytes for each run of pages that are contiguous both ways (a huge
 * page is one run, scattered base pages are one each), as much again while it
 * is built, and 64 KiB. Sorting is by radix, so building takes time in
 * proportion to the pages.
 *
 * Locking: ferry__physmap_changed() and ferry__physmap_current() any thread
 * and signal-safe; the other calls on one map one at a time. Nothing comes
 * from malloc. In a child of fork(2) a map is not current; building it there
 * is allowed.
 *
 * Sources: Documentation/admin-guide/mm/pagemap.rst, PAGEMAP_SCAN(2const).
 */
#ifndef FERRY_UFFD_PHYSMAP_H
#define FERRY_UFFD_PHYSMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "uffd/node_apply.h"

struct ferry__physmap;

/* Bytes that a map may take, if nothing else is said. */
#define FERRY__PHYSMAP_BYTES ((size_t)256 << 20)

/*
 * Makes an empty map that will use at most @bytes_max bytes, 0 for
 * FERRY__PHYSMAP_BYTES. Returns 0 or -ENOMEM.
 */
int ferry__physmap_create(size_t bytes_max, struct ferry__physmap **ret_map);

/* NULL is allowed. */
void ferry__physmap_destroy(struct ferry__physmap *map);

/*
 * Reads the page map of @n ranges, which may not overlap, and inverts it;
 * what the map held before is gone. Shared pages are taken in like private
 * ones, the zero page is left out.
 *
 * Returns 0 or
 *  -EINVAL	a range that is none
 *  -EPERM	the kernel hides physical addresses: CAP_SYS_ADMIN is wanted
 *  -ENOSPC	the map would need more than its bytes
 *  -ENOMEM	no memory
 *  -EOPNOTSUPP	there is no /proc/self/pagemap
 *  errors of opening and reading it
 * On failure the map is empty and not current.
 */
int ferry__physmap_build(struct ferry__physmap *map,
			 const struct ferry__span *v, size_t n);

/* Gives the memory of the table back: for a time when nobody asks. */
void ferry__physmap_drop(struct ferry__physmap *map);

/*
 * Says that other pages are mapped than were, as after commit, decommit, a
 * move, growth or the end of an arena: the map is not current from here on.
 * Called by whoever changes mappings, after the change. A change during a
 * build makes the result not current, too.
 */
void ferry__physmap_changed(struct ferry__physmap *map);

/*
 * Was the map built, in this process, and has nobody called
 * ferry__physmap_changed() since? A map that is not current still gives no
 * wrong answer; it may only know less.
 */
bool ferry__physmap_current(const struct ferry__physmap *map);

/* What is known of a physical address. */
enum ferry__phys_state {
	FERRY__PHYS_FOUND = 0,
	FERRY__PHYS_NOTHING, /* no page of the ranges was there */
	FERRY__PHYS_STALE,   /* one was, but is gone from there by now */
	FERRY__PHYS_INVALID, /* no physical address: too high */
	FERRY__PHYS_STATES
};

struct ferry__phys_result {
	enum ferry__phys_state state;
	uint64_t addr; /* FOUND: the byte's address here, else 0 */
	/* Of a migration: as ferry__node_migrate_spans(), for the page. */
	int error;
	enum ferry__node_reason reason;
	bool moved;
};

/* A state in words; never NULL, never freed. Signal-safe. */
const char *ferry__phys_state_text(enum ferry__phys_state state);

/*
 * Finds the @n physical addresses @phys (bytes, not frame numbers) in the map.
 * A page that is mapped several times is found where it still is. @ret has @n
 * entries, all written unless the call fails.
 * Returns how many were FOUND; -EOPNOTSUPP, -EPERM and errors of opening and
 * reading the pagemap.
 * Who gets STALE answers, or NOTHING from a map that is not current, may build
 * and ask again, once.
 */
long ferry__physmap_find(struct ferry__physmap *map, const uint64_t *phys,
			 size_t n, struct ferry__phys_result *ret);

/*
 * Finds as above, and migrates what was found to @node. In between a page may
 * leave its frame, and then whatever is at its address now is migrated: the
 * kernel offers nothing better from user space.
 * Returns how many of the pages are on @node now; errors of
 * ferry__physmap_find() and ferry__node_migrate_spans().
 */
long ferry__physmap_migrate(struct ferry__physmap *map, const uint64_t *phys,
			    size_t n, int node, struct ferry__phys_result *ret);

struct ferry__physmap_stats {
	uint64_t generation; /* changes that were said so far */
	uint64_t builds;     /* that succeeded */
	uint64_t pages;	     /* base pages in the map */
	uint64_t runs;	     /* entries of the table */
	uint64_t bytes;	     /* memory held now */
	uint64_t stale;	     /* answers that were not so any more */
};

void ferry__physmap_stats(const struct ferry__physmap *map,
			  struct ferry__physmap_stats *ret_stats);

#endif
