/* SPDX-License-Identifier: MIT */
/*
 * Arenas: reserved stretches of address space whose pages Ferry knows one by
 * one, and the wait-free way from an address to its arena.
 */
#ifndef FERRY_ARENA_H
#define FERRY_ARENA_H

#include <ferry/fault.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ferry_arena;

enum ferry_thp {
	FERRY_THP_SYSTEM = 0, /* as the system is set */
	FERRY_THP_ALWAYS,     /* MADV_HUGEPAGE */
	FERRY_THP_NEVER,      /* MADV_NOHUGEPAGE */
};

/* How pages are placed on NUMA nodes; as set_mempolicy(2). */
enum ferry_node_mode {
	FERRY_NODE_DEFAULT = 0,
	FERRY_NODE_BIND,
	FERRY_NODE_PREFERRED,
	FERRY_NODE_PREFERRED_MANY,
	FERRY_NODE_INTERLEAVE,
	FERRY_NODE_WEIGHTED_INTERLEAVE, /* 6.9 */
};

struct ferry_node_policy {
	enum ferry_node_mode mode;
	const unsigned long *nodes; /* bit mask, lowest node first */
	unsigned int nodes_len;	    /* bits in it */
	int home_node;	   /* set_mempolicy_home_node(2), plus one; 0: none */
	bool move_present; /* migrate pages that are there already */
	bool strict;	   /* fail where a page cannot be placed */
};

/* What the arena knows of a page. */
enum ferry_page_state {
	FERRY_PAGE_ABSENT = 0, /* not committed: no memory behind it */
	FERRY_PAGE_LIVE,       /* committed, the caller's */
	FERRY_PAGE_PINNED,     /* live and must keep its address */
	FERRY_PAGE_TRANSIT,    /* being moved, in or out */
	FERRY_PAGE_OUT,	       /* contents kept elsewhere (a store) */
	FERRY_PAGE_STATES
};

struct ferry_arena_params {
	size_t size;
	size_t reserve; /* bytes of address space, rounded up to 2 MiB;
			   required */
	enum ferry_thp thp;
	struct ferry_node_policy node;
	/*
	 * Service that the whole reservation is attached to, or NULL for an
	 * arena whose pages appear when touched. It must outlive the arena.
	 */
	struct ferry_fault_service *service;
	ferry_supply_fn supply; /* with @service: what an absent page gets */
	void *supply_arg;
	bool no_fork;	  /* MADV_DONTFORK: keeps pages movable across fork */
	const char *name; /* shown in /proc/PID/maps where the kernel can;
			      copied */
	/*
	 * Most pieces that policies of ranges may cut the arena into, default
	 * 64. Each piece is a mapping of the kernel's (vm.max_map_count), and
	 * a move cannot go across two of them.
	 */
	unsigned int pieces_max;
};

/*
 * Reserves an arena: address space only, 2 MiB aligned.
 * Returns 0; -EINVAL, -E2BIG; -ENOMEM; -EOPNOTSUPP (node mode); errors of
 * ferry_fault_attach(). Any thread.
 */
FERRY_EXPORT int ferry_arena_create(const struct ferry_arena_params *params,
				    struct ferry_arena **ret_arena);

/*
 * Unmaps the arena; look-ups that run in other threads see it or NULL, and
 * its memory outlives those inside ferry_lookup_begin()/end(). NULL is
 * allowed.
 */
FERRY_EXPORT void ferry_arena_destroy(struct ferry_arena *arena);

FERRY_EXPORT void *ferry_arena_base(const struct ferry_arena *arena);
FERRY_EXPORT size_t ferry_arena_reserved(const struct ferry_arena *arena);

/*
 * Grows the reservation in place by at least @more bytes.
 * Returns 0; -ENOMEM when the space behind it is taken (nothing changed).
 */
FERRY_EXPORT int ferry_arena_grow(struct ferry_arena *arena, size_t more);

/*
 * Commits [@offset, @offset + @len): the pages become LIVE. Memory appears
 * when touched, or at once with @populate. Pages that are LIVE or PINNED
 * already stay so with their contents.
 * Returns 0; -EINVAL beyond the arena; -EBUSY a page is in TRANSIT or OUT
 * (nothing changed); -ENOMEM.
 */
FERRY_EXPORT int ferry_arena_commit(struct ferry_arena *arena, size_t offset,
				    size_t len, bool populate);

/*
 * Gives the memory of a range back to the system: pages become ABSENT.
 * Returns 0; -EINVAL; -EBUSY a page is PINNED, in TRANSIT or OUT (nothing
 * changed).
 */
FERRY_EXPORT int ferry_arena_decommit(struct ferry_arena *arena, size_t offset,
				      size_t len);

/* Pins (counted, any number of times) or unpins committed pages. */
FERRY_EXPORT int ferry_arena_pin(struct ferry_arena *arena, size_t offset,
				 size_t len);
FERRY_EXPORT int ferry_arena_unpin(struct ferry_arena *arena, size_t offset,
				   size_t len);

/* State of one page; offset beyond the arena: ABSENT. */
FERRY_EXPORT enum ferry_page_state
ferry_arena_page_state(const struct ferry_arena *arena, size_t offset);

/*
 * The next run of pages in @state at or after @offset: its start and length
 * in bytes. Returns false when there is none.
 */
FERRY_EXPORT bool ferry_arena_next_run(const struct ferry_arena *arena,
				       size_t offset,
				       enum ferry_page_state state,
				       size_t *ret_offset, size_t *ret_len);

/*
 * Huge-page policy of a range; node policy of a range.
 * Returns 0; -EINVAL; -EOPNOTSUPP; -EIO strict and not all pages placed.
 */
FERRY_EXPORT int ferry_arena_set_thp(struct ferry_arena *arena, size_t offset,
				     size_t len, enum ferry_thp thp);
FERRY_EXPORT int ferry_arena_set_node(struct ferry_arena *arena, size_t offset,
				      size_t len,
				      const struct ferry_node_policy *policy);

/* Migrates the pages present in a range to @node; @ret_failed: pages that
 * stayed. May be NULL. */
FERRY_EXPORT int ferry_arena_migrate(struct ferry_arena *arena, size_t offset,
				     size_t len, int node, size_t *ret_failed);

struct ferry_arena_stats {
	size_t size;
	size_t reserved;
	size_t pages[FERRY_PAGE_STATES]; /* bytes by state */
	size_t resident;		 /* bytes in memory, from the kernel */
	size_t huge;			 /* of these in PMD-mapped huge pages */
	size_t swapped;
	size_t zero; /* present but the shared zero page */
	uint64_t commits, decommits, grows;
};

/* Walks the page tables: about 1 ns a page with PAGEMAP_SCAN. */
FERRY_EXPORT int ferry_arena_stats(struct ferry_arena *arena,
				   struct ferry_arena_stats *ret_stats);

/* Bytes of the range on each node; @n entries. -EOPNOTSUPP without NUMA. */
FERRY_EXPORT int ferry_arena_residency(struct ferry_arena *arena, size_t offset,
				       size_t len, size_t *ret_bytes,
				       unsigned int n);

/*
 * From an address to its arena, or NULL. Wait-free: two loads.
 *
 * Between begin and end the arena found is not freed, though it may be
 * destroyed by another thread meanwhile. Sections nest, must not block for
 * long, and must not contain ferry_arena_destroy(). Any thread, no
 * registration needed (liburcu, "bulletproof" flavour; Desnoyers et al.,
 * User-Level Implementations of Read-Copy Update, IEEE TPDS 23(2), 2012).
 */
FERRY_EXPORT void ferry_lookup_begin(void);
FERRY_EXPORT void ferry_lookup_end(void);
FERRY_EXPORT struct ferry_arena *ferry_lookup(const void *addr);

#ifdef __cplusplus
}
#endif

#endif
