/* SPDX-License-Identifier: MIT */
/*
 * Page compaction: from sparse arenas a dense one, by moving runs of live
 * pages, with no byte copied.
 *
 * A compaction is a relocation: every live page of the sources gets an
 * address in the destination, known before anything moves (the relocation
 * map). The caller changes over to the new addresses at one moment of its
 * own choosing (start); from then on a thread that touches a page not yet
 * moved faults, and the fault moves it, while the rest is moved in the
 * background (run or step). Pinned pages keep their address and stay.
 */
#ifndef FERRY_COMPACT_H
#define FERRY_COMPACT_H

#include <ferry/arena.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ferry_compact;

/* Re-make huge pages in the destination with MADV_COLLAPSE (this copies). */
#define FERRY_COMPACT_COLLAPSE (1u << 0)

struct ferry_compact_params {
	size_t size;
	uint32_t flags;
	struct ferry_arena *const *sources;
	size_t sources_len;
	/*
	 * Destination: must have a service-free reservation big enough, all
	 * ABSENT. NULL: made by the compaction, and handed over with
	 * ferry_compact_destination().
	 */
	struct ferry_arena *destination;
	enum ferry_fault_mode mode; /* how faults in transit are served */
	size_t around;		    /* pages moved around a fault; default 64 */
	/*
	 * Source pages that are busy. REPORT (the default) means here: make
	 * exclusive, and copy what is still busy, because an address that
	 * was promised must be kept. SKIP: they stay at the source and are
	 * listed as left; a thread that touches the new address of such a
	 * page gets SIGBUS.
	 */
	enum ferry_busy busy;
	uint64_t deadline_ns; /* for busy pages; as in move.h */
	enum ferry_thp thp;   /* of a destination made here */
};

/* Where the work stands; readable at any time from any thread. */
enum ferry_compact_phase {
	FERRY_COMPACT_PLANNED = 0, /* nothing moved, old addresses valid */
	FERRY_COMPACT_RUNNING,	   /* new addresses valid, pages in transit */
	FERRY_COMPACT_DONE,	   /* all moved, sources given back */
	FERRY_COMPACT_PARTIAL,	   /* finished, some pages left at sources */
};

struct ferry_compact_result {
	size_t size;
	enum ferry_compact_phase phase;
	size_t planned;	   /* bytes of live pages to move */
	size_t moved;	   /* by page table */
	size_t copied;	   /* bytes copied (busy policy COPY, emulation) */
	size_t huge_moved; /* of moved: in whole huge pages */
	size_t collapsed;  /* bytes re-made huge */
	size_t left;	   /* bytes that stay at their old address */
	size_t pinned;	   /* bytes not planned because pinned */
	size_t released;   /* bytes of source address space given back */
	uint64_t runs;	   /* runs of pages in the plan */
	uint64_t calls;	   /* move calls to the kernel */
	uint64_t faults;   /* served for other threads while in transit */
	uint64_t busy_retries;
	int error; /* first negative errno met, 0 if none */
	enum ferry_reason reason;
};

/*
 * Plans: takes the live runs of the sources (their pages become TRANSIT when
 * it starts) and lays them out: whole huge pages first, each on a huge-page
 * boundary, then the runs, densely, in address order. Changes nothing.
 * Returns 0; -EINVAL; -ENOSPC destination too small; -ENOMEM;
 * -EBUSY a source is being compacted already.
 */
FERRY_EXPORT int ferry_compact_plan(const struct ferry_compact_params *params,
				    enum ferry_reason *ret_reason,
				    struct ferry_compact **ret_compact);

FERRY_EXPORT struct ferry_arena *
ferry_compact_destination(const struct ferry_compact *compact);

/*
 * The relocation map: the new address of @old, any byte of a planned page.
 * NULL when it does not move. With pages left over after a failure the map
 * is corrected by ferry_compact_finish(): such pages map to NULL again.
 * Wait-free; any thread; signal-safe; O(log runs).
 */
FERRY_EXPORT void *ferry_compact_map(const struct ferry_compact *compact,
				     const void *old);

/* One run of the map. */
struct ferry_relocation {
	void *from;
	void *to;
	size_t len;
};

/* Runs of the map, ascending by @from; false when @index is beyond it. */
FERRY_EXPORT bool ferry_compact_relocation(const struct ferry_compact *compact,
					   size_t index,
					   struct ferry_relocation *ret);

/*
 * The change-over: on return new addresses are valid and old ones are not.
 * The caller guarantees that no thread uses old addresses of planned pages
 * after this call began, and that nothing used new ones before it returned.
 * Constant time, nothing is moved.
 * Returns 0; -EALREADY; errors of ferry_fault_attach().
 */
FERRY_EXPORT int ferry_compact_start(struct ferry_compact *compact);

/*
 * Moves up to @bytes more (0: all that remain). Several threads may call it
 * at once. @ret_left: bytes that remain. Returns 0, or the errno that
 * stopped it: the state stays usable, faults go on being served, and
 * calling again tries again. @cancel as in move.h.
 */
FERRY_EXPORT int ferry_compact_step(struct ferry_compact *compact, size_t bytes,
				    const volatile bool *cancel,
				    size_t *ret_left);

/*
 * Ends it: waits for faults in flight, gives emptied source pages back,
 * marks pages LIVE at the destination. Pages that could not be moved
 * are copied if the busy policy allows, else they stay and are listed
 * (ferry_compact_left). Called before the start it drops the plan.
 * @ret: may be NULL; its size must be set.
 * Returns 0; -EUCLEAN when pages were left (phase PARTIAL).
 */
FERRY_EXPORT int ferry_compact_finish(struct ferry_compact *compact,
				      struct ferry_compact_result *ret);

/* After finish: the index-th run that stayed at its old address. */
FERRY_EXPORT bool ferry_compact_left(const struct ferry_compact *compact,
				     size_t index, struct ferry_range *ret);

/* Counters so far; any time, any thread. */
FERRY_EXPORT int ferry_compact_progress(const struct ferry_compact *compact,
					struct ferry_compact_result *ret);

/* Frees the map (after finish; does finish itself if need be). The arenas
 * stay. NULL is allowed. */
FERRY_EXPORT void ferry_compact_destroy(struct ferry_compact *compact);

#ifdef __cplusplus
}
#endif

#endif
