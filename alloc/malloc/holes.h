/* SPDX-License-Identifier: MIT */
/*
 * What jemalloc knows about a page: which bytes of it belong to an object.
 *
 * No count is kept while the program allocates. The answers are read from
 * jemalloc's own extent map and slab bitmaps, without a lock, beside threads
 * that allocate and free. That is jemalloc 5.3.0's private layout: it is
 * trusted only after ferry__holes_start() has seen it agree with objects of
 * known sizes; of any other jemalloc nothing is known, and every page lives.
 *
 * An answer is about a moment that is past. What may be done with it follows
 * from when it was asked for (the proof is in holes.c):
 *
 *  - of a page that is at its address: a guess, good for choosing pages;
 *  - of a page that was moved away before the question and stays away until
 *    the answer has been acted on: what is named dead may be lost. Nobody
 *    will miss it, whatever is allocated there afterwards.
 *
 * An object in a thread's cache counts as living.
 */
#ifndef FERRY_ALLOC_MALLOC_HOLES_H
#define FERRY_ALLOC_MALLOC_HOLES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Pages are of this size in the layout that is known. */
#define FERRY__HOLES_PAGE 4096

/* The jemalloc that is asked. Its own page size must be FERRY__HOLES_PAGE. */
struct ferry__holes_engine {
	int (*mallctl)(const char *name, void *old, size_t *old_len,
		       void *new_value, size_t new_len);
	void *(*mallocx)(size_t size, int flags);
	void (*dallocx)(void *ptr, int flags);
	/* jemalloc's arena_emap_global and rtree_leaf_elm_lookup_hard(). */
	void *emap;
	void *(*lookup)(void *tsdn, void *rtree, void *context, uintptr_t key,
			bool dependent, bool init_missing);
};

/* The one that is linked, under the names it has there. */
extern const struct ferry__holes_engine ferry__holes_jemalloc;

/* A size class of small objects. */
struct ferry__holes_class {
	uint32_t region; /* bytes of an object */
	uint32_t slab;	 /* bytes of a slab; 0: no such class */
	uint32_t n;	 /* objects in a slab */
};

struct ferry__holes {
	const struct ferry__holes_engine *engine;
	const char *reason; /* why nothing is known; NULL: it is */
	/* By the index of the class, as wide as its field is. */
	struct ferry__holes_class classes[256];
	/*
	 * First page of the extent that holds the page last asked about. Any
	 * thread writes it; relaxed, as it is verified when used (S1).
	 */
	_Atomic uintptr_t head;
};

/*
 * Fills @holes and finds out whether @engine is laid out as is known, with a
 * few objects in an arena of its own: about 0.2 ms. Once, before anybody
 * else uses @holes; outside of the allocator. @holes is usable in any case.
 * Returns 0; -ENOTSUP: another jemalloc, another layout or no memory for
 * finding out, see ferry__holes_reason().
 */
int ferry__holes_start(struct ferry__holes *holes,
		       const struct ferry__holes_engine *engine);

/*
 * Why nothing is known of pages, in words, for statistics; NULL: they are
 * known. A string that is never freed.
 */
const char *ferry__holes_reason(const struct ferry__holes *holes);

/*
 * Names pages within slabs that hold no object: bit i of @ret for the page at
 * @addr + i * FERRY__HOLES_PAGE; the other bits of the words are 0. These are
 * worth taking away. Free extents are not named: jemalloc keeps them to use
 * them again, and purges them in its own time.
 * Any thread; never faults (arenas of @engine that were used in the range
 * exist), allocates nothing, takes no lock. The same holds for all below.
 */
void ferry__holes_empty_pages(const struct ferry__holes *holes, uintptr_t addr,
			      size_t len, uint64_t *ret);

/*
 * Zeroes in @copy, a copy of the page at @addr, what belongs to no object,
 * and returns how many bytes do; 0: the page may be dropped. @copy NULL: only
 * counts. The page is away, see above. @copy may be the page itself, where
 * it lies now, if nobody can bring it back meanwhile.
 */
size_t ferry__holes_scrub(struct ferry__holes *holes, uintptr_t addr,
			  void *copy);

#endif
