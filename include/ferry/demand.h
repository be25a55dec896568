/* SPDX-License-Identifier: MIT */
/*
 * Demand ranges: memory whose pages are produced when they are touched, or
 * by background threads, whichever comes first; each of them just once.
 *
 * This is what a moving collector needs below it and what Android's collector
 * built for itself (ART, gc/collector/mark_compact.cc): at one moment the
 * program changes over to new addresses, at which there is nothing yet. A
 * thread that touches one of them is stopped by the kernel, produces that
 * piece itself, and goes on; the rest is produced meanwhile. A decompressor
 * or a lazy loader needs the same.
 *
 * Ranges are divided into units of a power-of-two number of pages. A callback
 * of the host produces a unit: it fills a staging unit, or names source pages
 * that are to be moved across as they are. Everything else is done here: who
 * produces which unit, faults, moving in batches, recycling of emptied pages
 * as staging units, pace, statistics, and the end while faults are in flight.
 *
 *	create -> prepare -> expect ... -> begin -> step, run -> end -> destroy
 *	             ^                                              |
 *	             +----------------------------------------------+
 *
 * Units that cannot be had any more (ferry_demand_end() not reached) would be
 * addresses that were promised and not kept: so a demand cannot be cancelled
 * once begun, only completed.
 */
#ifndef FERRY_DEMAND_H
#define FERRY_DEMAND_H

#include <ferry/fault.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ferry_demand;

/* How touched units are noticed. The first two are those of the service. */
enum ferry_demand_mode {
	FERRY_DEMAND_SIGBUS = FERRY_FAULT_SIGBUS,
	FERRY_DEMAND_THREAD = FERRY_FAULT_THREAD,
	/*
	 * Not at all, for systems without userfaultfd: after begin nobody may
	 * touch the ranges until ferry_demand_complete_stopped() has returned.
	 */
	FERRY_DEMAND_STOPPED,
};

/* How produced units got to their place. */
enum ferry_demand_method {
	FERRY_DEMAND_BY_NONE = 0, /* nothing was installed yet */
	FERRY_DEMAND_BY_MOVE,	  /* UFFDIO_MOVE */
	FERRY_DEMAND_BY_COPY,	  /* UFFDIO_COPY: the kernel refuses MOVE */
	FERRY_DEMAND_IN_PLACE,	  /* written in place (STOPPED) */
};

/* Where a unit stands. */
enum ferry_demand_state {
	FERRY_DEMAND_IDLE = 0, /* no part of it: touching it is refused */
	FERRY_DEMAND_WAITING,  /* to be produced */
	FERRY_DEMAND_CLAIMED,  /* a thread produces it */
	FERRY_DEMAND_READY,    /* produced, not at its place yet */
	FERRY_DEMAND_MAPPING,  /* a thread installs it */
	FERRY_DEMAND_DONE,     /* at its place; what is absent reads as zero */
	FERRY_DEMAND_STATES
};

/* A unit, as the callback sees it. Made and owned by the library. */
struct ferry_demand_unit {
	size_t range;  /* index in the vector given to prepare */
	size_t number; /* of the unit in its range */
	void *dst;     /* its address; not to be touched */
	size_t len;    /* bytes */
	bool fault;    /* a thread waits for it (else: in the background) */
	void *src;     /* to be set for FERRY_DEMAND_MOVE */
	struct ferry_demand *demand;
	void *staging; /* ferry_demand_staging() */
};

/* What became of a unit. */
enum ferry_demand_answer {
	/*
	 * Not to be had: the unit becomes IDLE, and touching it is refused as
	 * by FERRY_SUPPLY_NONE.
	 */
	FERRY_DEMAND_NONE = 0,
	/* Its contents are in the unit from ferry_demand_staging(). */
	FERRY_DEMAND_STAGED,
	/*
	 * The unit->len bytes at unit->src are to be moved across: whole
	 * pages of one mapping, already as they are to be seen at the new
	 * address. They are the library's from here on: nobody may read or
	 * write them, as they become holes (or, where the kernel cannot move,
	 * staging units). Holes in the source read as zero afterwards.
	 */
	FERRY_DEMAND_MOVE,
	/* Zero pages. */
	FERRY_DEMAND_ZERO,
	/* The callback has installed it (ferry_fault_service_uffd()). */
	FERRY_DEMAND_SKIP,
};

/*
 * Produces one unit. It is called exactly once for each unit that was
 * WAITING, whatever fails later, by the thread that touched the unit (in its
 * SIGBUS handler), by a handler thread, or by a thread in
 * ferry_demand_step(): several at once for different units. It must
 * not allocate, nor take a lock that a thread can hold while it touches
 * the ranges, nor touch units of its own demand that are not DONE, and must
 * return. What is marked signal-safe below may be called.
 */
typedef enum ferry_demand_answer (*ferry_demand_produce_fn)(
	void *arg, struct ferry_demand_unit *unit);

/* Use STOPPED mode where userfaultfd is not to be had. */
#define FERRY_DEMAND_OR_STOPPED (1u << 0)
/* Never by UFFDIO_MOVE: for tests, and for kernels that are not trusted. */
#define FERRY_DEMAND_COPY_ONLY (1u << 1)
/*
 * Units have no pages before they are produced, for sure: huge pages are off
 * in the ranges (MADV_NOHUGEPAGE), and nobody touches the units. Then begin
 * does not look at the page tables, which takes half a millisecond for each
 * GiB. A page that is there all the same is taken for a unit's own.
 */
#define FERRY_DEMAND_VACANT (1u << 2)

struct ferry_demand_params {
	size_t size;
	uint32_t flags;		     /* FERRY_DEMAND_* */
	enum ferry_demand_mode mode; /* default SIGBUS */
	/*
	 * Service that the ranges are attached to, which must outlive the
	 * demand; @mode then is the service's. NULL: one is made.
	 */
	struct ferry_fault_service *service;
	unsigned int threads;	 /* of a service made here in THREAD mode */
	enum ferry_uffd_way way; /* of a service made here */
	/*
	 * Staging memory in bytes: made at create, and most that is kept of
	 * what is recycled. Default 16 and 512 units of 16 pages.
	 */
	size_t reserve;
	size_t keep;
	/*
	 * How long a producer waits for recycled memory before it takes fresh
	 * memory; default 20,000 ns.
	 */
	uint64_t staging_wait_ns;
	/* Most units that a background step produces before it installs
	 * them; default 8. */
	unsigned int batch;
	/*
	 * Pace of ferry_demand_run(): it works for @pace_work_ns and then
	 * sleeps for @pace_pause_ns, and so on. Both 0: without a pause.
	 */
	uint64_t pace_work_ns;
	uint64_t pace_pause_ns;
};

/*
 * Makes a demand without ranges, its staging memory, and its service unless
 * one is given. In SIGBUS mode the library's SIGBUS handler is installed as
 * by ferry_fault_service_create().
 *
 * @ret_reason: may be NULL; written always.
 * Returns 0; -EINVAL, -E2BIG, -ENOMEM; -ECHILD service of a parent process;
 * errors of ferry_fault_service_create(). Any thread; not signal-safe.
 */
FERRY_EXPORT int ferry_demand_create(const struct ferry_demand_params *params,
				     enum ferry_reason *ret_reason,
				     struct ferry_demand **ret_demand);

/*
 * Frees it with its staging memory. A demand that was begun and not ended is
 * ended first; if that fails, units not produced read as zero afterwards.
 * No other call on it may be under way. NULL is allowed. In a child of
 * fork(2) it frees what is the child's.
 */
FERRY_EXPORT void ferry_demand_destroy(struct ferry_demand *demand);

/* STOPPED is found here after FERRY_DEMAND_OR_STOPPED. Signal-safe. */
FERRY_EXPORT enum ferry_demand_mode
ferry_demand_mode(const struct ferry_demand *demand);

/* The handle the ranges are registered with; NULL in STOPPED mode. For hosts
 * that install units themselves. Not to be closed. Signal-safe. */
FERRY_EXPORT struct ferry_uffd *ferry_demand_uffd(struct ferry_demand *demand);

/* A range. */
struct ferry_demand_range {
	void *addr;		 /* page-aligned */
	size_t len;		 /* whole units */
	unsigned int unit_pages; /* a power of two; 0: 16 */
	/*
	 * The state each unit begins with, one byte (enum ferry_demand_state:
	 * IDLE, WAITING or DONE) for each; read during the call only. NULL:
	 * all are @initial.
	 */
	const unsigned char *states;
	enum ferry_demand_state initial;
};

/*
 * Gives the demand its ranges and callback. Nothing is served yet: the
 * memory may be used as before. The ranges must be private anonymous memory
 * with equal rights, not overlap, and stay mapped until the end. Units that
 * stay IDLE cost nothing: a range may be as large as the address space allows.
 *
 * @ranges: copied. Calling it again replaces what was prepared. It may be
 * called while the host's threads are stopped: it takes memory from mmap(2).
 * Returns 0; -EINVAL a range; -EALREADY begun; -ENOMEM; -ECHILD. One thread.
 */
FERRY_EXPORT int ferry_demand_prepare(struct ferry_demand *demand,
				      const struct ferry_demand_range *ranges,
				      size_t n, ferry_demand_produce_fn produce,
				      void *arg);

/*
 * Turns the IDLE units of [@addr, @addr + @len) into WAITING ones: before
 * begin, as the host plans, or later. What pages they have are dropped.
 * Returns 0; -EINVAL not whole units of one range; -EBUSY a unit is not IDLE,
 * or was recycled (those before it are WAITING now); -ENOMEM, -EINVAL: pages
 * cannot be dropped (the units stay IDLE); -ENOTCONN not prepared; -ECHILD.
 * Any thread; signal-safe.
 */
FERRY_EXPORT int ferry_demand_expect(struct ferry_demand *demand, void *addr,
				     size_t len);

/*
 * Gives the units of [@addr, @addr + @len) another state to begin with: IDLE,
 * WAITING or DONE. For what a host finds out between prepare and begin, such
 * as objects that must keep their place: so it can prepare while its threads
 * run, and amend that in the pause, which is then short whatever the size of
 * the ranges.
 *
 * Returns 0; -EINVAL not whole units of one range, or another state; -EBUSY a
 * unit was recycled (those before it are changed); -EALREADY begun; -ENOTCONN
 * not prepared; -ECHILD. One thread, beside no other call.
 */
FERRY_EXPORT int ferry_demand_revise(struct ferry_demand *demand, void *addr,
				     size_t len, enum ferry_demand_state state);

/*
 * The change-over: on return the ranges are served. WAITING units are
 * produced when touched: pages that they have already, as huge pages may
 * bring more than was touched, are dropped. IDLE ones keep theirs, as they may
 * be sources; what is absent is refused. Nobody may touch WAITING units while
 * it runs. With FERRY_DEMAND_VACANT it takes microseconds for each range
 * whatever its size: made for the pause of a collector. Without, page tables
 * are looked at: about half a millisecond for each GiB that is or was in use.
 *
 * fork(2) from here until the end: the child has no service. What is at its
 * place the child has, what is not reads as zero there, and every call on the
 * demand returns -ECHILD there. So run to completion before a fork whose
 * child goes on to use the memory. In the parent, a fork makes pages
 * busy, and they are copied instead of moved.
 *
 * Returns 0; -EALREADY; -EINVAL nothing prepared; -ECHILD; errors of
 * ferry_fault_attach(), or -ENOMEM, -EINVAL with FERRY_REASON_PRESENT: pages
 * cannot be dropped (nothing is served then). @ret_reason may be NULL,
 * written always. One thread, not in signal handlers.
 */
FERRY_EXPORT int ferry_demand_begin(struct ferry_demand *demand,
				    enum ferry_reason *ret_reason);

/*
 * In the callback: @unit->len bytes of memory that is there, writable and of
 * unknown contents, to be filled and answered with FERRY_DEMAND_STAGED. The
 * same address however often it is asked for one unit. In STOPPED mode it is
 * the destination itself. Never NULL: it was laid by before the callback was
 * called. Signal-safe; lock-free.
 */
FERRY_EXPORT void *ferry_demand_staging(struct ferry_demand_unit *unit);

/*
 * Hands in pages that are not needed any more, such as those of a block whose
 * objects were all copied out: they become staging units, as far as they are
 * present in memory, and what is more than params.keep is dropped
 * (MADV_DONTNEED). The addresses stay the host's, the pages do not: they must
 * not be touched until the demand has ended, when they are holes or are
 * dropped. Pages in the ranges themselves must belong to units that are
 * IDLE, and stay so: to touch one is refused, to expect or provide it -EBUSY,
 * until the end. Access rights must be those of the ranges.
 *
 * Returns 0; -EINVAL not whole pages; -EBUSY in a unit that is not IDLE (no
 * page was taken; IDLE units before it count as recycled); -ENOTCONN not
 * prepared, or at the end: the pages stay the host's; -ECHILD. Any thread,
 * and in the callback; signal-safe.
 */
FERRY_EXPORT int ferry_demand_recycle(struct ferry_demand *demand, void *addr,
				      size_t len);

/*
 * Populates IDLE units while the demand is on, and marks them DONE: with the
 * pages at @src, moved across as by FERRY_DEMAND_MOVE, or, @src NULL, with
 * zeroed pages (not the zero page: writing them does not fault). A heap hands
 * out fresh memory this way. In STOPPED mode it writes.
 *
 * @ret_done: bytes populated from the start; may be NULL; written always.
 * Returns 0; -EINVAL not whole units of one range; -EBUSY a unit is not IDLE,
 * or was recycled; -ENOMEM, -EAGAIN after trying for a while; -ENODATA @src
 * can be neither moved nor copied; -ENOTCONN not begun; -ECHILD. The unit
 * that failed is IDLE again; or READY, if there was no memory or time to
 * install it, and then appears when it is touched.
 * Any thread but in the callback; signal-safe.
 */
FERRY_EXPORT int ferry_demand_provide(struct ferry_demand *demand, void *addr,
				      size_t len, void *src, size_t *ret_done);

/*
 * Brings the units that [@addr, @addr + @len) lies in, as touching them
 * would: for buffers of system calls, which fail with EFAULT on absent pages
 * in SIGBUS mode. Any alignment; parts outside the ranges are passed over.
 *
 * Returns 0 when all is there, and where there is no demand (not begun, or
 * ended); -ENODATA a unit is refused (IDLE, or answered
 * NONE); -EAGAIN, -ENOMEM after a second; -ECHILD. Any thread but in the
 * callback; signal-safe.
 */
FERRY_EXPORT int ferry_demand_prefault(struct ferry_demand *demand, void *addr,
				       size_t len);

/*
 * Works in the background until @units were produced (0: no limit) or @ns
 * nanoseconds have passed (0: no limit), or nothing is left to be taken on.
 * Several threads may do so at once. Signals that no instruction raises, and
 * cancellation, are held back in the calling thread meanwhile.
 *
 * @ret_left: units not DONE yet, those in other threads' hands included;
 * may be NULL; written unless -EINVAL, -ECHILD.
 * Returns 0; -ENOMEM, -EAGAIN (mappings kept changing): what was produced is
 * kept, and calling again tries again; -ENOTCONN not begun; -EINVAL in
 * STOPPED mode; -ECHILD. Any thread; not in the callback; not signal-safe.
 */
FERRY_EXPORT int ferry_demand_step(struct ferry_demand *demand, size_t units,
				   uint64_t ns, size_t *ret_left);

/*
 * Steps at the pace of the parameters until all is DONE, units in the hands
 * of other threads included, or *@cancel (NULL: never). Errors of the moment
 * are tried again for a second without progress.
 * Returns 0; -ECANCELED; errors of ferry_demand_step(). Any thread, several
 * at once.
 */
FERRY_EXPORT int ferry_demand_run(struct ferry_demand *demand,
				  const volatile bool *cancel);

/*
 * Produces everything while nobody touches the ranges, as the caller
 * guarantees. In STOPPED mode units are written in place: staging units are
 * the destination, sources are copied and dropped. Else it is a
 * ferry_demand_run() without a pause. Several threads may call it at once.
 * Errors as those of ferry_demand_run().
 */
FERRY_EXPORT int ferry_demand_complete_stopped(struct ferry_demand *demand);

/*
 * Completes what remains, waits for faults and calls in flight, and ends the
 * service of the ranges: they are ordinary memory again, IDLE units included,
 * whose absent pages read as zero (see ferry_fault_detach() for a kernel
 * without memory to do so); in THREAD mode those of a unit in which a touch
 * was refused are all dropped. Recycled memory is dropped. Other threads may
 * be in any call but prepare, begin, end and destroy; afterwards they are told
 * -ENOTCONN, and not before the memory is ordinary.
 *
 * Returns 0; -ENOTCONN not begun; -ECHILD; errors of ferry_demand_run():
 * then the demand goes on, and calling again tries again. There is no other
 * way out: addresses were promised.
 * Not from the callback, not signal-safe.
 */
FERRY_EXPORT int ferry_demand_end(struct ferry_demand *demand);

/* The state of the unit at @addr; outside of the ranges, and with none, IDLE.
 * Wait-free; any thread; signal-safe. */
FERRY_EXPORT enum ferry_demand_state
ferry_demand_state(struct ferry_demand *demand, const void *addr);

/*
 * Counts since create, but for the first group, which is as of now. Relaxed
 * sums: exact when nobody is at work.
 */
struct ferry_demand_stats {
	size_t size;
	enum ferry_demand_method method;   /* of the last unit installed */
	size_t units[FERRY_DEMAND_STATES]; /* but IDLE ones: always 0 */
	size_t staging;			   /* bytes of staging memory */
	uint64_t faults;		   /* questions of the service */
	uint64_t by_faults;		   /* units produced in a fault ... */
	uint64_t by_background;		   /* ... and by steps */
	uint64_t answers[FERRY_DEMAND_SKIP + 1]; /* units, by answer */
	uint64_t batches;			 /* installed as one: moves */
	uint64_t batched;			 /* units in these */
	uint64_t helped;   /* READY units that a fault installed */
	uint64_t provided; /* units */
	uint64_t pages_moved;
	uint64_t pages_copied;
	uint64_t pages_zeroed;
	uint64_t recycled; /* pages that became staging memory */
	uint64_t dropped;  /* pages given back to the system */
	uint64_t fresh;	   /* pages of fresh memory taken for staging */
	uint64_t refused;  /* faults on units that are not to be had */
	uint64_t retries;  /* moves tried again: ENOMEM, EAGAIN */
	uint64_t waits;	   /* faults that waited for another thread */
	uint64_t wait_max_ns;
	int error; /* first negative errno of an installation, 0 if none */
	enum ferry_reason reason;
};

/*
 * @ret: set .size first (FERRY_INIT). Walks the units that are not IDLE; at
 * the end, and with no ranges, there are none.
 * Returns 0; -EINVAL; -ECHILD. Any thread, not beside prepare.
 */
FERRY_EXPORT int ferry_demand_stats(struct ferry_demand *demand,
				    struct ferry_demand_stats *ret);

#ifdef __cplusplus
}
#endif

#endif
