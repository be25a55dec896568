/* SPDX-License-Identifier: MIT */
/*
 * Pages of arenas on slower and faster memory: moved when the caller says so,
 * or by what was not written for a while.
 *
 * A page that is demoted stays mapped where it is, with its contents: it is
 * read and written as before, and only more slowly. Nothing is ever lost, and
 * nothing waits but who touches a page just while it is copied.
 */
#ifndef FERRY_TIER_H
#define FERRY_TIER_H

#include <ferry/arena.h>
#include <ferry/topology.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What became of the pages of a call, in bytes. */
struct ferry_tier_result {
	size_t size;
	size_t moved;
	size_t settled; /* in the last tier of that direction already */
	size_t absent;	/* not in memory, or the shared zero page */
	size_t left;	/* could not be moved: pinned, shared, or no room */
	bool full;	/* of these, some for want of room on the node */
};

/*
 * Moves the committed pages of a range that are in memory to the next slower
 * tier of @topology (demote), or to the next faster one (promote): each to the
 * node that the topology names for the one it is on. Which pages are cold the
 * caller knows. Node policies of ranges stay as they are, and count for pages
 * to come.
 *
 * @ret_result may be NULL; else set .size first. Written also when it fails
 * half-way: what was moved stays there.
 *
 * Returns 0, also where some pages were left;
 *  -EOPNOTSUPP	@topology has one tier only: at once, without a system call;
 *		or the kernel has no move_pages(2)
 *  -EINVAL	beyond the arena, not whole pages; see base.h
 *  -E2BIG	see base.h
 *  -EPERM	a filter of system calls forbids it
 *  -EACCES	the node is not one of this process's (cpuset(7))
 *  -ECHILD	see ferry_arena_create()
 *  other errors of move_pages(2)
 * Any thread, beside any other call on the arena; not signal-safe. The kernel
 * copies each page that moves; of all others it only says where they are.
 */
FERRY_EXPORT int ferry_arena_demote(struct ferry_arena *arena, size_t offset,
				    size_t len,
				    const struct ferry_topology *topology,
				    struct ferry_tier_result *ret_result);
FERRY_EXPORT int ferry_arena_promote(struct ferry_arena *arena, size_t offset,
				     size_t len,
				     const struct ferry_topology *topology,
				     struct ferry_tier_result *ret_result);

/* --- by age --------------------------------------------------------------- */

struct ferry_tiering;

struct ferry_tiering_params {
	size_t size;
	struct ferry_arena *arena;	       /* outlives the tiering */
	const struct ferry_topology *topology; /* the same */
	/*
	 * Cold is what was not written during so many steps, 1 to 126;
	 * default 8.
	 */
	unsigned int cold_after;
	/* Most bytes that a step demotes, and most that it promotes; 0: any. */
	size_t step_max;
};

/*
 * Has an arena's pages go to slower memory when they were not written for
 * some steps, and come back when they are written.
 *
 * Writing is all that is seen: the kernel's track of it (dirty.h) costs a
 * fault at the first write to a page in each step and reading nothing, while
 * reads leave no trace that a process may look at. A page that is only read,
 * however often, counts as cold; where that is wrong the caller promotes it
 * and leaves its range out of the arena that it tiers. Pages that lay on the
 * slower node from the start come up when they are written, too.
 *
 * The arena's memory is armed from here on, and what dirty.h says of armed
 * memory holds: in particular pages cannot be moved into it (compact.h), and
 * an arena with a service is refused. A segment that is handed over
 * (handover.h) takes that with it: each step is -EIO then, and the arena wants
 * another tiering.
 *
 * @ret_reason may be NULL; written always.
 * Returns 0; -EOPNOTSUPP one tier only, or writes cannot be seen; -EINVAL no
 * arena, no topology, @cold_after out of bounds, or see base.h; -E2BIG;
 * -EBUSY OTHER_UFFD; -ENOMEM; -ECHILD; other errors of ferry_dirty_open() and
 * ferry_dirty_arm().
 */
FERRY_EXPORT int ferry_tiering_create(const struct ferry_tiering_params *params,
				      enum ferry_reason *ret_reason,
				      struct ferry_tiering **ret_tiering);

/* The arena is as before; pages stay where they are. NULL is allowed. No step
 * may be under way. */
FERRY_EXPORT void ferry_tiering_destroy(struct ferry_tiering *tiering);

/*
 * One step: pages written since the last one are young, and come up if they
 * were demoted; all others are a step older, and go down at their age. What
 * @step_max holds back, or could not be moved, is tried by a later step: on the
 * way up, when it was written again; on the way down, what could not be moved
 * at its age anew.
 *
 * The caller says when, such as each ten seconds, from a thread of its own:
 * it looks at each page of the arena, and takes what ferry_arena_demote() takes
 * for those that move. @ret_down, @ret_up: what was moved, each NULL or with
 * .size set; written also on failure.
 *
 * Returns 0; errors of ferry_arena_demote() and ferry_dirty_collect(), after
 * which the next step goes on. Any thread, one step at a time.
 */
FERRY_EXPORT int ferry_tiering_step(struct ferry_tiering *tiering,
				    struct ferry_tier_result *ret_down,
				    struct ferry_tier_result *ret_up);

/* --- heaps (heap.h) ------------------------------------------------------- */

struct ferry_heap;
struct ferry_mutator;

struct ferry_heap_tier_params {
	size_t size;
	const struct ferry_topology *topology;
	/*
	 * Cold is what was not written during so many collections, 1 to 1000;
	 * default 4.
	 */
	unsigned int cold_after;
	/* Most bytes that are demoted, and most that are promoted; 0: any. */
	size_t step_max;
};

/*
 * One step for a heap: units of 64 KiB that were not written for some
 * collections go to slower memory, those that were written there come up.
 *
 * Writes are what the collector has found, in collections that could tell
 * (not the first, not one after a compaction, and not while the program writes
 * so much that the heap does without tracking: then nothing grows older). A
 * unit with room is about to be allocated in, and young for that. Of
 * objects without references (LEAF, RAW) it does not look for writes: they are
 * as old as what was allocated last beside them, and do not come up when they
 * are written. Reads are not seen; and each full collection reads what holds
 * references, on slower memory more slowly.
 *
 * The first call only begins to note. Between two calls there may be any
 * number of collections. The heap collects nothing meanwhile: @step_max
 * bounds that time. The caller is @mutator, which is at a safepoint for that
 * time, or an unattached thread (NULL).
 *
 * @ret_down, @ret_up: each NULL or with .size set; written also when moving
 * failed.
 * Returns 0; -EINVAL; -E2BIG; -EOPNOTSUPP one tier only, the heap is STOPPED,
 * or no move_pages(2); -EPERM, -EACCES as ferry_arena_demote(); -ENOMEM;
 * -ECHILD. Not from a callback of the heap.
 */
FERRY_EXPORT int ferry_heap_tier(struct ferry_heap *heap,
				 struct ferry_mutator *mutator,
				 const struct ferry_heap_tier_params *params,
				 struct ferry_tier_result *ret_down,
				 struct ferry_tier_result *ret_up);

#ifdef __cplusplus
}
#endif

#endif
