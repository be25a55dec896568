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

#include <ferry/agent.h>
#include <ferry/arena.h>

#include <pthread.h>
#include <urcu/list.h>

#include "uffd/sys.h"

struct ferry__agent_job;

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

/* How many segments of the table there are. Nobody else may change it. */
size_t ferry__pages_segments(const struct ferry__pages *pages);

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

/* A node policy in use; never changed, freed with its arena. */
struct ferry__placement {
	struct ferry__placement *next;
	size_t bytes; /* of this allocation */
	enum ferry_node_mode mode;
	int home_node;	   /* plus one; 0: none */
	unsigned int bits; /* in nodes */
	unsigned long nodes[];
};

/* What the kernel was told of a piece of the arena; equal neighbours are one
 * piece, as they are one mapping. */
struct ferry__stretch {
	size_t offset; /* it ends where the next begins */
	enum ferry_thp thp;
	const struct ferry__placement *place; /* NULL: default */
};

/* A part of the arena that is attached to its service by itself: the first
 * reservation, or what one grow added. */
struct ferry__part {
	struct ferry__part *next;
	char *base;
	size_t len;
};

/*
 * What an arena is part of, where the agent is to know: a heap. Calls come from
 * the agent's thread while it holds the arena, and may not wait.
 */
struct ferry__owner {
	/* Fills in what the heap knows better than its arena. */
	void (*describe)(void *arg, struct ferry_agent_object *ret);
	/* Members of a JSON object, by ferry__agent_print(): ,"key":value.
	 * False: no room. */
	bool (*print)(void *arg, struct ferry__agent_job *job);
	/* Asks for a collection, of enum ferry_collect or (0) one that compacts;
	 * returns at once: 0 or a negative errno. */
	int (*collect)(void *arg, unsigned int what);
	/* One option; @check: only says whether it could be set. Returns 0;
	 * -EINVAL. */
	int (*configure)(void *arg, const char *key, const char *value,
			 bool check);
};

struct ferry_arena {
	uint64_t magic; /* set last, wiped first */
	char *base;
	size_t reserved; /* bytes; grows (A1), written under lock */
	struct ferry__pages pages;

	pthread_mutex_t lock;	/* rank 20 */
	pthread_cond_t settled; /* unsettled came down */
	unsigned int unsettled; /* commits and decommits at work; lock */
	bool forking;		/* no new ones: a fork waits; lock */

	/* Policies; lock. No pieces: all of it is as @whole says. */
	struct ferry__stretch whole;
	struct ferry__stretch *pieces;
	size_t pieces_len, pieces_bytes;
	unsigned int pieces_max;
	struct ferry__placement *places; /* all in use */

	struct ferry_fault_service *service; /* or NULL */
	ferry_supply_fn supply;
	void *supply_arg;
	struct ferry__part *parts; /* lock */

	/* The file behind a backing but PRIVATE, else -1; segment.c. */
	enum ferry_backing backing;
	int segment;
	bool offered;	/* the segment may become another's any moment; lock */
	bool unrenewed; /* mapped is still one that was given away; lock */

	/* Lazily accepted: page tables are filled up to the first; N1. */
	size_t arriving;
	size_t arriving_end;
	bool arriving_dense; /* no holes in it */

	bool no_fork;
	bool gone;	  /* in a child of fork: the memory is not there */
	char name[80];	  /* "" for none */
	uint64_t commits; /* these three: lock */
	uint64_t decommits;
	uint64_t grows;

	struct cds_list_head registered; /* registry lock */
	uint64_t id; /* never used again in this process; registry lock */
	unsigned int holds; /* by who keeps it from ending; registry lock */
	const struct ferry__owner *owner; /* or NULL; registry lock */
	void *owner_arg;
	struct ferry_arena *next_dead; /* lookup.c: waiting to be freed */
};

/* Frees what ferry_arena_destroy() left for readers. */
void ferry__arena_free(struct ferry_arena *arena);

/*
 * Dies when an invariant of alloc/DESIGN.md is broken. All of them are looked
 * at; no claim or commit may be at work meanwhile.
 */
void ferry__arena_check(struct ferry_arena *arena);

/* The quick ones, at the end of each change in debug builds. Arena lock. */
void ferry__arena_check_locked(const struct ferry_arena *arena);

#ifdef FERRY_DEBUG
#define ferry__arena_debug_check(arena) ferry__arena_check_locked(arena)
#else
#define ferry__arena_debug_check(arena) ((void)(arena))
#endif

/*
 * Adds to .resident, .huge, .swapped and .zero what the kernel says of the
 * arena, as ferry_arena_stats(), without its lock. Who calls keeps the arena
 * from ending.
 */
int ferry__arena_resident(const struct ferry_arena *arena,
			  struct ferry_arena_stats *st);

/* Gives private memory of a range back; also where mlock() holds it. */
int ferry__dontneed(char *addr, size_t len);

/* The same for memory of @arena, whatever backs it. */
int ferry__arena_discard(struct ferry_arena *arena, char *addr, size_t len);

/* Brings the pages of a range of mapped memory, writable. */
int ferry__populate(char *addr, size_t len);

/* -EINVAL unless [@offset, @offset + @len) is whole pages of the arena;
 * -ECHILD in a child of fork that did not inherit it. */
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

/* --- segments (segment.c) ------------------------------------------------- */

/*
 * A file of @len bytes that cannot shrink: the memory of an arena with
 * @backing, or one page for control. Returns 0; -EOPNOTSUPP this kernel has no
 * such backing; -EMFILE, -ENFILE, -ENOMEM.
 */
int ferry__segment_make(enum ferry_backing backing, size_t len,
			const char *name, int *ret_fd);

/* Puts the arena's segment in place of the reservation [@addr, @addr+@len).
 * Nothing happens in a PRIVATE arena. */
int ferry__segment_map(const struct ferry_arena *arena, char *addr, size_t len);

/* Makes the segment as long as a grown arena. */
int ferry__segment_grow(const struct ferry_arena *arena, size_t len);

/* Takes 2 MiB pages out of the pool for a range that is committed. */
int ferry__segment_reserve(const struct ferry_arena *arena, size_t offset,
			   size_t len);

/* Makes huge pages of a range that is to be populated, as far as it goes. */
void ferry__segment_collapse(const struct ferry_arena *arena, size_t offset,
			     size_t len);

/* Closes it. Nothing happens in a PRIVATE arena. */
void ferry__segment_close(struct ferry_arena *arena);

/*
 * Takes the range out of use for an offer: its pages, which must all be LIVE,
 * become TRANSIT. @ret_whole: the arena has a segment and no other committed
 * pages; then nothing can be committed until the end.
 * Returns 0; -EINVAL; -ECHILD; -ENOENT a page is ABSENT; -EBUSY.
 */
int ferry__arena_offer(struct ferry_arena *arena, size_t offset, size_t len,
		       bool *ret_whole);

/* Ends it: the pages are LIVE again. */
void ferry__arena_offer_back(struct ferry_arena *arena, size_t offset,
			     size_t len);

/*
 * Ends it: the pages were given away and are ABSENT. @spare: the segment that
 * takes the place of one that went as a whole (consumed), or -1: the memory
 * was copied, and is given back to the system.
 */
void ferry__arena_offer_gone(struct ferry_arena *arena, size_t offset,
			     size_t len, int spare);

/* An arena around a segment that another process gave. */
struct ferry__adoption {
	enum ferry_backing backing;
	int fd; /* consumed on success */
	size_t size;
	size_t offset, len; /* these pages become LIVE */
	char *at;	    /* where it must begin, or NULL */
	const char *name;
};

/* Returns 0; -EADDRINUSE not at @at; errors of ferry_arena_create(). */
int ferry__arena_adopt(const struct ferry__adoption *adoption,
		       struct ferry_arena **ret_arena);

/* Destroying it will only unmap: the pages are somebody else's. */
void ferry__arena_disown(struct ferry_arena *arena);

/* --- policies of ranges (policy.c, node.c) -------------------------------- */

/*
 * Gives the fresh memory [@addr, @addr + @len) the policy of the arena as a
 * whole, no_fork and the name. Returns 0; -EOPNOTSUPP; -ENOMEM.
 */
int ferry__policy_apply(const struct ferry_arena *arena, char *addr,
			size_t len);

/* Notes that the arena grew: the new memory has the policy of the whole. */
void ferry__policy_grow(struct ferry_arena *arena, size_t old_reserved);

/* Forgets the pieces: all of the arena is as it was made. Lock. */
void ferry__policies_reset(struct ferry_arena *arena);

void ferry__policies_free(struct ferry_arena *arena);

/*
 * Where the mapping that holds @offset ends, in bytes: a move must not go
 * across. Takes the arena's lock.
 */
size_t ferry__arena_piece_end(struct ferry_arena *arena, size_t offset);

/*
 * The pieces as they will be when the @n ranges of @cuts, which ascend and do
 * not overlap, get @thp (unless NULL) or @place (if @set_place). Arena lock.
 * Returns 0; -ENOSPC more than pieces_max; -ENOMEM.
 */
struct ferry__cut {
	size_t offset, len;
};

struct ferry__plan {
	struct ferry__stretch *v;
	size_t len;
	size_t bytes; /* of the allocation */
};

int ferry__policy_plan(struct ferry_arena *arena, const struct ferry__cut *cuts,
		       size_t n, const enum ferry_thp *thp, bool set_place,
		       const struct ferry__placement *place,
		       struct ferry__plan *ret_plan);
void ferry__policy_adopt(struct ferry_arena *arena, struct ferry__plan *plan);
void ferry__policy_drop(struct ferry__plan *plan);

/*
 * Finds or makes the placement for @policy; *@ret_place is NULL for the
 * default. Arena lock, or an arena nobody else knows yet.
 * Returns 0; -EINVAL; -EOPNOTSUPP; -ENOMEM.
 */
int ferry__node_intern(struct ferry_arena *arena,
		       const struct ferry_node_policy *policy,
		       const struct ferry__placement **ret_place);

/* Is it a policy that can be? Returns 0; -EINVAL; -EOPNOTSUPP. */
int ferry__node_check(const struct ferry_node_policy *policy);

/* The placement at @offset; NULL: default. Arena lock. */
const struct ferry__placement *
ferry__policy_place(const struct ferry_arena *arena, size_t offset);

/* Puts the policies that are noted of a range back in force. Arena lock. */
void ferry__node_restore(struct ferry_arena *arena, size_t offset, size_t len);

/* MPOL_* of a mode. */
int ferry__node_kernel_mode(enum ferry_node_mode mode);

/* Tells the kernel. @place NULL: default. Returns 0 or -errno. */
int ferry__node_apply(char *addr, size_t len,
		      const struct ferry__placement *place, unsigned int flags);

/*
 * Which nodes there are: libnuma, or what a test puts in its place. Plain
 * pointer: changed in tests only, before other threads run.
 */
struct ferry__numa {
	bool (*available)(void);
	int (*max_node)(void); /* highest node number there can be */
	/* May this process have memory on @node, and does @node have any? */
	bool (*usable)(int node);
};

extern const struct ferry__numa ferry__numa_libnuma;
extern const struct ferry__numa *ferry__numa;

/* --- arenas under a fault service (service.c) ----------------------------- */

/*
 * Attaches [@addr, @addr + @len), a new part of @arena, to its service, or
 * detaches every part. Nothing happens without a service.
 * Returns 0; errors of ferry_fault_attach(); -ENOMEM.
 */
int ferry__service_attach(struct ferry_arena *arena, char *addr, size_t len);
void ferry__service_detach(struct ferry_arena *arena);

/* Detaches the part that was attached last: a grow that failed. */
void ferry__service_detach_last(struct ferry_arena *arena);

/* Has the service bring every page of the range. Errors of
 * ferry_fault_resolve(). */
int ferry__service_populate(struct ferry_arena *arena, size_t offset,
			    size_t len);

/* --- fork (fork.c) -------------------------------------------------------- */

/* Registers the fork handlers, once. Returns 0 or -ENOMEM. */
int ferry__fork_init(void);

/* Locks of lookup.c, in rank order around those of the arenas. */
void ferry__lookup_fork_prepare(void (*each)(struct ferry_arena *arena));
void ferry__lookup_fork_parent(void (*each)(struct ferry_arena *arena));
void ferry__lookup_fork_child(void (*each)(struct ferry_arena *arena));

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

/*
 * Keeps an arena from ending: ferry_arena_destroy() waits. For the agent, which
 * comes by address (any in its reservation) or goes through all by id: the one
 * with the lowest id above @id. NULL: none. Not in a look-up section.
 */
struct ferry_arena *ferry__arena_hold_at(uint64_t addr);
struct ferry_arena *ferry__arena_hold_next(uint64_t id);
void ferry__arena_let_go(struct ferry_arena *arena);

/* Says what the arena is part of, or (@owner NULL) that it is not any more,
 * and then waits until nobody holds it. */
void ferry__arena_own(struct ferry_arena *arena,
		      const struct ferry__owner *owner, void *arg);

/* What an arena that is held is part of, until it is let go; NULL: nothing. */
const struct ferry__owner *ferry__arena_owner(struct ferry_arena *arena,
					      void **ret_arg);

/* Frees @arena after the look-up sections that may see it have ended. */
void ferry__lookup_retire(struct ferry_arena *arena);

#endif
