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
	struct ferry_arena *const *sources; /* read by the plan only */
	size_t sources_len;
	/*
	 * Where to: an arena without a service that is ABSENT from its start
	 * for as many bytes as are live. NULL: made by the compaction; the
	 * caller's from the start on (ferry_compact_destination()).
	 */
	struct ferry_arena *destination;
	enum ferry_fault_mode mode; /* of faults in transit; default SIGBUS */
	size_t around;		    /* pages moved around a fault; default 64 */
	/*
	 * Pages that are busy (shared by fork or KSM, pinned for a device):
	 *  REPORT	the default: make it exclusive, and copy it if it is
	 *		busy still, because an address that was promised must
	 *		be kept. What FERRY_BUSY_COPY says of device access
	 *		holds: pin such pages (ferry_arena_pin()).
	 *  RETRY	try until the deadline, then leave it
	 *  EXCLUSIVE	make it exclusive, else leave it
	 *  COPY	copy it at once
	 *  SKIP	leave it
	 * A page that is left stays at its old address and is listed; a
	 * thread that touches its new address meanwhile gets SIGBUS.
	 */
	enum ferry_busy busy;
	uint64_t deadline_ns; /* for busy pages, of each batch; as in move.h */
	enum ferry_thp thp;   /* of a destination made here */
	/*
	 * How long a background step may keep a faulting thread waiting while
	 * it goes on in its own order, in nanoseconds; default 500,000. Where
	 * runs are short each move interrupts every processor that runs the
	 * program, and threads that wait are not interrupted: alloc/DESIGN.md,
	 * "One mover". 1 serves them at once.
	 */
	uint64_t slice_ns;
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
 * Plans: takes the LIVE pages of the sources (they become TRANSIT, so that
 * nobody commits, decommits or pins them from here on; they may be used as
 * before) and lays them out: whole huge pages first, each on a huge-page
 * boundary, then whole 2 MiB blocks of small pages, then the other runs, each
 * kind in address order and without a gap. PINNED pages, and pages in TRANSIT
 * for somebody else, stay. Moves nothing. Live pages of a source with a fault
 * service of its own that were never touched are brought in first.
 *
 * @ret_reason: may be NULL; written always.
 * The sources and the destination must outlive the compaction.
 * Returns 0; -EINVAL a parameter, a source named twice; -ENOSPC destination
 * too small; -EBUSY destination not ABSENT; -ENOMEM; -E2BIG; -EOPNOTSUPP an
 * arena that is not backed by private memory; errors of
 * ferry_fault_service_create(). On failure the pages are LIVE again.
 * Any thread.
 */
FERRY_EXPORT int ferry_compact_plan(const struct ferry_compact_params *params,
				    enum ferry_reason *ret_reason,
				    struct ferry_compact **ret_compact);

/*
 * The destination; the caller's to destroy from the start on, also if it was
 * made by the compaction. NULL when the plan was dropped.
 */
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

/*
 * The run of the map that holds the old address @from (cut to begin there),
 * or the first one beyond it; false when there is none. All runs ascend:
 * begin with NULL, go on with (char *)ret.from + ret.len.
 * As ferry_compact_map().
 */
FERRY_EXPORT bool ferry_compact_relocation(const struct ferry_compact *compact,
					   const void *from,
					   struct ferry_relocation *ret);

/*
 * The change-over: on return new addresses are valid and old ones are not.
 * The caller guarantees that no thread uses old addresses of planned pages
 * after this call began, and that nothing used new ones before it returned.
 * Takes microseconds, whatever the size: nothing is moved.
 *
 * From here until finish a touch of an old address whose page has moved
 * raises SIGBUS instead of reading as zero, unless the source belongs to
 * another fault service. So does a touch by the kernel fail with EFAULT; for
 * the same reason pages of a source that are not committed yet should not be
 * committed with populate meanwhile.
 *
 * fork(2) in between: the child has no fault service. Pages that have moved
 * are there at their new addresses, the others at their old ones, and which
 * is which can no longer be asked; new addresses of pages still in transit
 * read as zero. A child that goes on to use the memory must be forked before
 * the start or after the finish; one that calls exec may be forked any time.
 * In the parent a fork shares the pages, which makes them busy.
 *
 * Returns 0; -EALREADY started, finished or dropped; -EINVAL; errors of
 * ferry_fault_attach() (nothing changed).
 */
FERRY_EXPORT int ferry_compact_start(struct ferry_compact *compact);

/*
 * Moves about @bytes more (0: all that remain; then it also waits for pages
 * that other threads are moving). Several threads may call it at once; where
 * runs are short one works and the others wait.
 *
 * @cancel: polled between system calls; NULL: never. @ret_left: bytes that
 * remain; may be NULL; written unless -EINVAL.
 * Returns 0; -ECANCELED; -ENOMEM, -EAGAIN (mappings kept changing) or another
 * errno that concerns the whole process: the state stays usable, faults go
 * on being served, and calling again tries again. Errors of single pages do
 * not stop it: such pages are left. -EINVAL before the start.
 *
 * Signals but SIGBUS and SIGSEGV, and cancellation, are held back in the
 * calling thread: a handler that touched a page which its own thread is just
 * moving would wait for itself. Not signal-safe.
 */
FERRY_EXPORT int ferry_compact_step(struct ferry_compact *compact, size_t bytes,
				    const volatile bool *cancel,
				    size_t *ret_left);

/*
 * Ends it: moves what remains, tries pages that were left once more, waits
 * for faults in flight, marks pages LIVE at the destination and ABSENT at the
 * sources, and gives the emptied parts of these back to the system. Pages
 * that could not be moved are LIVE at their old address, map to NULL and are
 * listed by ferry_compact_left(); their new address is ABSENT. Before the
 * start it drops the plan: all is as before, and a destination that was made
 * by the compaction is gone.
 *
 * No step, and no other finish, may be under way. @ret: may be NULL; its size
 * must be set; written always.
 * Returns 0; -EUCLEAN when pages were left (phase PARTIAL).
 */
FERRY_EXPORT int ferry_compact_finish(struct ferry_compact *compact,
				      struct ferry_compact_result *ret);

/*
 * After finish: the runs that stayed at their old address, gone through as
 * those of ferry_compact_relocation().
 */
FERRY_EXPORT bool ferry_compact_left(const struct ferry_compact *compact,
				     const void *from, struct ferry_range *ret);

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
