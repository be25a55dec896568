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

/* What stands behind an arena's pages. */
enum ferry_backing {
	FERRY_BACKING_PRIVATE = 0, /* anonymous memory of this process */
	/*
	 * A memfd of the arena's own, its segment: the pages can go to
	 * another process without a copy (handover.h).
	 */
	FERRY_BACKING_SHARED,
	FERRY_BACKING_HUGETLB, /* the same in 2 MiB pages of hugetlbfs's pool */
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
	/*
	 * With @service, and only then: what a committed page gets that is
	 * not there. It sees the arena as one range, however it grew, and a
	 * window cut to committed pages. Pages not committed are refused.
	 */
	ferry_supply_fn supply;
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
	/*
	 * SHARED and HUGETLB: takes one descriptor (close-on-exec), implies
	 * @no_fork, and allows neither a service nor compaction: pages of
	 * files cannot be moved. Huge pages of a SHARED arena are made when
	 * ranges are populated under FERRY_THP_ALWAYS, whatever the system's
	 * setting for shared memory. HUGETLB: @thp must be SYSTEM; commit and
	 * decommit take whole 2 MiB, and commit takes them out of the pool at
	 * once (-ENOMEM when it is empty), so that no touch raises SIGBUS.
	 */
	enum ferry_backing backing;
};

/*
 * Reserves an arena: address space only, 2 MiB aligned. Memory that is not
 * committed must not be touched: only an arena with a service notices.
 *
 * Returns 0 or
 *  -EINVAL	no reserve, a service without a supply or the reverse, an
 *		unknown policy, a node that has no memory
 *  -E2BIG	see base.h
 *  -ENOMEM	no address space, or no memory for tables
 *  -EOPNOTSUPP	node mode, huge-page policy or backing that this kernel does not
 *		have; a backing but PRIVATE with a service
 *  -EMFILE, -ENFILE	no descriptor for the segment
 *  errors of ferry_fault_attach()
 * Any thread; not signal-safe. Registers fork handlers once.
 *
 * In a child of fork(2) the arena is a copy like all memory, unless @no_fork:
 * then calls on it return -ECHILD, look-ups do not find it, and only
 * ferry_arena_destroy() makes sense. A service does not cross a fork: pages
 * that were not there yet read as zero in the child.
 */
FERRY_EXPORT int ferry_arena_create(const struct ferry_arena_params *params,
				    struct ferry_arena **ret_arena);

/*
 * Unmaps the arena; look-ups that run in other threads see it or NULL. What
 * they found can be asked for its states until their section ends. No other
 * call on the arena may be under way, and no page in TRANSIT. Not inside a
 * look-up section. NULL is allowed.
 */
FERRY_EXPORT void ferry_arena_destroy(struct ferry_arena *arena);

/* Its first byte; its bytes of address space. Signal-safe. */
FERRY_EXPORT void *ferry_arena_base(const struct ferry_arena *arena);
FERRY_EXPORT size_t ferry_arena_reserved(const struct ferry_arena *arena);

/*
 * Grows the reservation in place by at least @more bytes (whole 2 MiB). The
 * new part has the policies the arena was made with, and its service.
 * Returns 0; -EINVAL @more is 0; -ENOMEM when the space behind it is taken;
 * -EBUSY its segment is being handed over; -ECHILD; errors of creation. On
 * failure nothing is changed. Any thread.
 */
FERRY_EXPORT int ferry_arena_grow(struct ferry_arena *arena, size_t more);

/*
 * Commits [@offset, @offset + @len): the pages become LIVE. Memory appears
 * when touched, or at once with @populate. Pages that are LIVE or PINNED
 * already stay so with their contents. Several threads may commit and
 * decommit at once; on the same pages they wait for each other.
 * Returns 0; -EINVAL beyond the arena or not whole pages; -EBUSY a page is in
 * TRANSIT or OUT, or the arena's segment is being handed over; -ENOMEM;
 * -ECHILD; with a service and @populate, errors of ferry_fault_resolve(). On
 * failure nothing is changed.
 */
FERRY_EXPORT int ferry_arena_commit(struct ferry_arena *arena, size_t offset,
				    size_t len, bool populate);

/*
 * Gives the memory of a range back to the system: pages become ABSENT, those
 * that were ABSENT stay so. Also where mlock(2) holds it (5.18).
 * Returns 0; -EINVAL; -ECHILD; -EBUSY a page is PINNED, in TRANSIT or OUT
 * (nothing changed); errors of madvise(2): pages stay LIVE, but some of them
 * may have lost their contents.
 */
FERRY_EXPORT int ferry_arena_decommit(struct ferry_arena *arena, size_t offset,
				      size_t len);

/*
 * Pins (counted, any number of times) or unpins committed pages.
 * Returns 0; -EINVAL; -ECHILD; -ENOENT a page is ABSENT (unpin: not PINNED);
 * -EBUSY a page is in TRANSIT or OUT; -ENOMEM. On failure nothing is changed.
 */
FERRY_EXPORT int ferry_arena_pin(struct ferry_arena *arena, size_t offset,
				 size_t len);
FERRY_EXPORT int ferry_arena_unpin(struct ferry_arena *arena, size_t offset,
				   size_t len);

/* State of one page; offset beyond the arena: ABSENT. Wait-free;
 * signal-safe. */
FERRY_EXPORT enum ferry_page_state
ferry_arena_page_state(const struct ferry_arena *arena, size_t offset);

/*
 * The next run of pages in @state at or after @offset: its start and length
 * in bytes. Returns false when there is none. Reads sixteen pages at a time;
 * signal-safe. With changes under way a run is what was seen in passing.
 */
FERRY_EXPORT bool ferry_arena_next_run(const struct ferry_arena *arena,
				       size_t offset,
				       enum ferry_page_state state,
				       size_t *ret_offset, size_t *ret_len);

/*
 * Huge-page policy of a range. ALWAYS concerns the huge pages that lie whole
 * in the range, NEVER all that reach into it. The kernel cannot take advice
 * back: SYSTEM is refused once another policy was set.
 * Node policy of a range (mbind(2)); for pages to come and, with
 * move_present, for those that are there.
 *
 * Returns 0; -EINVAL also for a node without memory; -ECHILD; -ENOMEM;
 * -ENOSPC it would cut the arena into more than pieces_max pieces;
 * -EOPNOTSUPP not in this kernel; -EIO strict, and not all pages are placed
 * (with move_present the policy is in force all the same). Otherwise nothing is
 * changed on failure.
 */
FERRY_EXPORT int ferry_arena_set_thp(struct ferry_arena *arena, size_t offset,
				     size_t len, enum ferry_thp thp);
FERRY_EXPORT int ferry_arena_set_node(struct ferry_arena *arena, size_t offset,
				      size_t len,
				      const struct ferry_node_policy *policy);

/*
 * Migrates the committed pages of a range that are present to @node;
 * @ret_failed: pages that stayed, be it because they are pinned for a device
 * (ferry_pins_walk() in ferry/eligible.h tells of some), shared with another
 * process, or because the node is full; may be NULL; written also on failure
 * of the kernel's. Returns 0; -EINVAL also for a node without memory; -ECHILD;
 * -EOPNOTSUPP without NUMA; errors of move_pages(2).
 */
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

/*
 * Walks the page tables: about 1 ns a page with PAGEMAP_SCAN, more before
 * 6.7, where the zero page counts as resident. Pages that the kernel is moving
 * right now, from node to node or to make room for huge pages, look swapped.
 * @ret_stats: set .size first. Returns 0; -EINVAL, -E2BIG; -ECHILD; errors of
 * opening and reading /proc/self/pagemap.
 */
FERRY_EXPORT int ferry_arena_stats(struct ferry_arena *arena,
				   struct ferry_arena_stats *ret_stats);

/*
 * Bytes of committed pages of the range on each node; @n entries, nodes
 * beyond are left out. Returns 0; -EINVAL; -ECHILD; -EOPNOTSUPP without NUMA;
 * errors of move_pages(2).
 */
FERRY_EXPORT int ferry_arena_residency(struct ferry_arena *arena, size_t offset,
				       size_t len, size_t *ret_bytes,
				       unsigned int n);

/*
 * From an address to its arena, or NULL. Wait-free: two loads.
 *
 * Between begin and end the arena found is not freed, though it may be
 * destroyed by another thread meanwhile: states can be asked for, memory must
 * not be touched then. Sections nest, must not block for long, and must not
 * contain ferry_arena_destroy() or fork(2). Signal-safe but for a thread's
 * first section. Who knows that the arena cannot go away needs no section. Any thread, no
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
