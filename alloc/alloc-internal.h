/* SPDX-License-Identifier: MIT */
/*
 * What the files of alloc/ share: page states, the arena itself, look-up, and
 * the claims on pages that compaction and stores make.
 *
 * Lock ranks: a thread takes locks in rising rank only.
 *	10  lookup.c  registry	list of arenas
 *	20  arena.c   arena	one arena's size, commits, pins and policies
 *	30  lookup.c  table	writers of the look-up table, arenas to be freed
 * None is taken by a look-up, by reading page states, by a claim of live
 * pages or its settling: those may run in signal handlers.
 */
#ifndef FERRY_ALLOC_INTERNAL_H
#define FERRY_ALLOC_INTERNAL_H

#include <ferry/arena.h>

#include <pthread.h>
#include <urcu/list.h>

#include "uffd/sys.h"

/* --- page states (pages.c) ----------------------------------------------- */

/*
 * What the side table holds for a page: a value of enum ferry_page_state, or
 * one of the two below, which callers see as TRANSIT.
 */
enum ferry__page_code {
	FERRY__PAGE_COMMITTING = FERRY_PAGE_STATES, /* ABSENT, soon LIVE */
	FERRY__PAGE_DROPPING,			    /* LIVE, soon ABSENT */
	FERRY__PAGE_CODES
};

/* A set of codes, as a bit mask. */
#define FERRY__CODE(code) (1u << (code))
#define FERRY__CODES_UNSETTLED                                                 \
	(FERRY__CODE(FERRY__PAGE_COMMITTING) |                                 \
	 FERRY__CODE(FERRY__PAGE_DROPPING))
#define FERRY__CODES_TRANSIT                                                   \
	(FERRY__CODE(FERRY_PAGE_TRANSIT) | FERRY__CODES_UNSETTLED)

/* Four bits a page, sixteen pages a word; 1 GiB of 4 KiB pages a segment. */
#define FERRY__WORD_PAGES    16u
#define FERRY__SEGMENT_PAGES (1u << 18)
#define FERRY__SEGMENT_WORDS (FERRY__SEGMENT_PAGES / FERRY__WORD_PAGES)

struct ferry__page_slot {
	uint64_t *words; /* NULL: all ABSENT; set once (P3) */
	uint64_t *pins;	 /* pins beyond the first, per page; arena lock */
};

/* Replaced as a whole by a bigger one when the arena grows. */
struct ferry__page_dir {
	struct ferry__page_dir *older; /* readers may still use it */
	size_t bytes;		       /* of this allocation */
	size_t len;		       /* slots */
	struct ferry__page_slot slot[];
};

struct ferry__pages {
	struct ferry__page_dir *dir;	 /* P2; written under arena lock */
	size_t len;			 /* pages; P1 */
	size_t count[FERRY_PAGE_STATES]; /* pages by state, not of ABSENT */
};

int ferry__pages_init(struct ferry__pages *pages, size_t len);
void ferry__pages_fini(struct ferry__pages *pages);

/* Makes room for @len pages in all; readers go on. Arena lock. */
int ferry__pages_grow(struct ferry__pages *pages, size_t len);

/* Tables for pages [@first, @first + @n), before they leave ABSENT. Arena
 * lock. Returns 0 or -ENOMEM. */
int ferry__pages_ensure(struct ferry__pages *pages, size_t first, size_t n);

unsigned int ferry__pages_get(const struct ferry__pages *pages, size_t page);

/*
 * The first page in [@first, @end) whose code is in @codes (or, with @in
 * false, is not); @end if there is none. Wait-free, signal-safe.
 */
size_t ferry__pages_find(const struct ferry__pages *pages, size_t first,
			 size_t end, unsigned int codes, bool in);

/*
 * Turns pages of code @from in [@first, @first + @n) into @to, each by CAS:
 * every one (replace), or from @first up to the first that is not in @from
 * (claim). Returns how many. Lock-free, signal-safe; acquire and release, so
 * that who claims a page sees what was done to it before it was settled.
 */
size_t ferry__pages_replace(struct ferry__pages *pages, size_t first, size_t n,
			    unsigned int from, unsigned int to);
size_t ferry__pages_claim(struct ferry__pages *pages, size_t first, size_t n,
			  unsigned int from, unsigned int to);

/* Pages in @state now; exact when no transition is under way. */
size_t ferry__pages_count(const struct ferry__pages *pages,
			  enum ferry_page_state state);

/*
 * One more, or one less pin on each page of the range. Arena lock.
 * Returns 0; -ENOENT a page is ABSENT (unpin: not PINNED); -EBUSY a page is
 * in TRANSIT or OUT; -ENOMEM. On failure nothing is changed.
 */
int ferry__pages_pin(struct ferry__pages *pages, size_t first, size_t n);
int ferry__pages_unpin(struct ferry__pages *pages, size_t first, size_t n);

/* --- metadata memory ------------------------------------------------------ */

/*
 * Zeroed memory of whole pages straight from the kernel: never in an arena,
 * usable below a malloc that is built on arenas, and costing nothing until
 * it is touched. Returns 0 or -ENOMEM.
 */
int ferry__meta_alloc(size_t bytes, void **ret_mem);
void ferry__meta_free(void *mem, size_t bytes);

/* --- arenas (arena.c) ----------------------------------------------------- */

#define FERRY__ARENA_MAGIC 0x4152454e41464552ull

struct ferry_arena {
	uint64_t magic; /* set last, wiped first */
	char *base;
	size_t reserved; /* bytes; grows (P1), written under lock */
	struct ferry__pages pages;

	pthread_mutex_t lock;	/* rank 20 */
	pthread_cond_t settled; /* no page COMMITTING or DROPPING any more */

	enum ferry_thp thp;
	bool no_fork;
	bool gone; /* in a child of fork: the memory is not there */
	char name[80];
	uint64_t commits, decommits, grows; /* under lock */

	struct cds_list_head registered; /* registry lock */
	struct ferry_arena *next_dead;	 /* lookup.c: waiting to be freed */
};

/* Frees what ferry_arena_destroy() left for readers. */
void ferry__arena_free(struct ferry_arena *arena);

/* -EINVAL unless [@offset, @offset + @len) is whole pages of the arena. */
int ferry__arena_range(const struct ferry_arena *arena, size_t offset,
		       size_t len);

/*
 * Claims for movers of pages (compaction, stores). A page in TRANSIT belongs
 * to who claimed it: commit, decommit and pin leave it alone (-EBUSY).
 *
 * ferry__arena_claim() takes the LIVE pages from @offset up to the first
 * that is not LIVE and returns the bytes taken. Lock-free, signal-safe.
 *
 * ferry__arena_claim_absent() takes a range that must be ABSENT throughout,
 * for a destination; it drops whatever a huge page brought there.
 * Returns 0; -EINVAL; -EBUSY (nothing changed); -ENOMEM.
 *
 * ferry__arena_settle() ends a claim: pages in TRANSIT become LIVE (published
 * with their contents), ABSENT (their memory has moved away; what is left of
 * it stays mapped until ferry__arena_drop()) or OUT. Lock-free, signal-safe.
 *
 * ferry__arena_drop() gives the memory of claimed pages back to the system
 * and makes them ABSENT. Returns 0 or the errno of the advice (pages stay in
 * TRANSIT).
 */
size_t ferry__arena_claim(struct ferry_arena *arena, size_t offset, size_t len);
int ferry__arena_claim_absent(struct ferry_arena *arena, size_t offset,
			      size_t len);
void ferry__arena_settle(struct ferry_arena *arena, size_t offset, size_t len,
			 enum ferry_page_state to);
int ferry__arena_drop(struct ferry_arena *arena, size_t offset, size_t len);

/* --- address -> arena (lookup.c) ------------------------------------------ */

/* Arenas begin and end on this boundary, and so do entries of the table. */
#define FERRY__GRANULE ((size_t)2 << 20)

/* Makes [@base, @base + @len) lead to @arena. Returns 0; -ENOMEM (nothing
 * changed). */
int ferry__lookup_insert(struct ferry_arena *arena, char *base, size_t len);

/* Makes it lead to nothing. */
void ferry__lookup_remove(struct ferry_arena *arena, char *base, size_t len);

/* Adds the arena to the list that fork handlers walk, or takes it out. */
void ferry__lookup_register(struct ferry_arena *arena);
void ferry__lookup_unregister(struct ferry_arena *arena);

/* Frees @arena after the look-up sections that may see it have ended. */
void ferry__lookup_retire(struct ferry_arena *arena);

#endif
