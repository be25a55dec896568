/* SPDX-License-Identifier: MIT */
/*
 * The pager: finds cold pages of the ranges it is given, takes them out to
 * page stores, and brings them back when they are touched.
 *
 * It knows nothing of who allocates in its ranges. Its host (the malloc, an
 * allocator instance) hands it regions, says when contents are dead, and may
 * tell it which pages hold nothing that lives.
 *
 * Everything that the pager touches while it serves lies in mappings of its
 * own. It never calls malloc(3) once it has started.
 */
#ifndef FERRY_ALLOC_PAGER_H
#define FERRY_ALLOC_PAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ferry/base.h>
#include <ferry/topology.h>

#include "alloc/store/store.h"

enum ferry__pager_service {
	FERRY__PAGER_THREAD = 0, /* handler threads: system calls work */
	FERRY__PAGER_SIGBUS,	 /* in the faulting thread: quicker, but
				    system calls on cold pages get EFAULT */
};

/* Which stores, in the order in which a page is offered to them. */
struct ferry__pager_tier {
	struct ferry__store *store;
	uint64_t after_ns; /* a page comes here when it is cold for so long */
};

struct ferry__pager_params {
	enum ferry__pager_service service;
	uint64_t cold_after_ns; /* untouched for so long is cold */
	uint64_t idle_after_ns; /* the same while the process uses no CPU */
	uint64_t rss_target;	/* bytes resident to shrink to; 0: none */
	bool pressure;		/* shrink sooner under memory pressure (PSI) */
	/* Most bytes to put a second, be it from store to store; 0: any. */
	uint64_t rate;
	/*
	 * Most refaults from stores a minute, in thousandths of the pages in
	 * use; above it the pager backs off. 2 is 0.2 %; 0: no limit.
	 */
	unsigned int refault_limit;
	/*
	 * Faults in sequence double what they bring, up to 32 times this and
	 * 256 pages, the most of it while the program goes on; others bring
	 * one page. 1: all do.
	 */
	size_t around;
	const struct ferry__pager_tier *tiers; /* copied */
	size_t n_tiers;
	/*
	 * Makes stores that have descriptors, up to .n_tiers, and returns how
	 * many; .tiers is not looked at then. Once, by ferry__pager_start(),
	 * in the thread in whose descriptor table the pager lives (not the
	 * host's: standard error is closed there). NULL: they are in .tiers.
	 */
	size_t (*open_tiers)(void *arg, struct ferry__pager_tier *ret_tiers);
	/*
	 * Says where slower memory is, in the thread of .open_tiers and after
	 * that; NULL, or a topology of one tier: there is none. It outlives
	 * the pager. Cold pages go there first, and are left in use there for
	 * .slow_for_ns before they are tried for a store.
	 */
	const struct ferry_topology *(*topology)(void *arg);
	uint64_t slow_for_ns;
	/*
	 * Bits of pages in [@addr, @addr + @len) that hold no live object:
	 * bit i of @ret for page i. May be wrong in passing both ways: a page
	 * is dropped only if it is named again after it was taken away. NULL:
	 * none is known. Runs in the pager's thread; never faults, never
	 * allocates.
	 */
	void (*empty_pages)(void *arg, uintptr_t addr, size_t len,
			    uint64_t *ret);
	/*
	 * Asked about one page that was taken away from @addr and that cannot
	 * come back meanwhile. Zeroes in @copy, where the page now lies, the
	 * bytes that belong to no live object (NULL: only counts) and returns
	 * how many live: 0, the page is dropped and reads as zero; the size
	 * of a page where nothing is known. It is what decides about pages
	 * that empty_pages() named; NULL: that is asked again. Never faults,
	 * never allocates, takes no lock.
	 */
	size_t (*scrub)(void *arg, uintptr_t addr, void *copy);
	/*
	 * Called now and then in the pager's thread, before it looks for cold
	 * pages, while it owns none: the host returns what it keeps for reuse
	 * (purges), and may take the locks of its allocator.
	 */
	void (*tick)(void *arg, uint64_t now_ns, bool idle);
	void *arg;
};

struct ferry__pager;

/*
 * Registers the fork handlers of what the pager stands on: to be called
 * before the host registers those that call ferry__pager_fork_prepare(), so
 * that locks are taken in the order in which they nest. Any number of times.
 */
void ferry__pager_init(void);

/*
 * Makes a pager that has no thread and no descriptor yet: these come with
 * ferry__pager_start(). Several pagers may be in one process.
 * Returns 0; -EINVAL; -ENOMEM.
 */
int ferry__pager_create(const struct ferry__pager_params *params,
			struct ferry__pager **ret_pager);

/*
 * A region of address space whose pages the pager may take: private anonymous
 * memory, one mapping, 2 MiB aligned, readable and writable (or about to be,
 * from its beginning on). Regions are never taken back before destroy.
 * Any thread, also inside the host's allocator: no malloc, no wait.
 */
int ferry__pager_add_region(struct ferry__pager *pager, void *addr, size_t len);

/*
 * How much of a region, from its beginning, has been in use so far: the pager
 * looks no further. Any thread, wait-free.
 */
void ferry__pager_grow(struct ferry__pager *pager, void *addr, size_t used);

/*
 * Starts the service: the home thread with a descriptor table of its own, the
 * userfaultfd in it, handlers, and the thread that looks for cold pages.
 * Returns 0, or why it cannot be (@ret_reason in words): then nothing is ever
 * taken out and memory is as without a pager. Idempotent. It may allocate and
 * starts threads: outside of the allocator only. @ret_reason may be NULL.
 */
int ferry__pager_start(struct ferry__pager *pager,
		       enum ferry_reason *ret_reason);

/*
 * Brings everything back and ends the threads (in a child of a fork that ran no
 * handlers there are none, and all is there); ferry__pager_start() starts
 * them again. For what wants a process of one thread (namespaces), and before
 * a filter of system calls. Returns 0, or an error with some pages left out
 * and the threads still there. Not from tick() and the like.
 */
int ferry__pager_stop(struct ferry__pager *pager);

/*
 * The contents of the range are dead: memory goes back to the system, cold
 * copies are dropped; it reads as zero from here on. Any thread, inside the
 * allocator too; nobody uses the range meanwhile. Returns 0 or the error of
 * madvise(2): then contents are undefined, but the range is usable.
 */
int ferry__pager_discard(struct ferry__pager *pager, void *addr, size_t len);

enum ferry__pager_hint {
	FERRY__HINT_NONE = 0, /* as any page */
	FERRY__HINT_COLD,     /* take it out at the next look */
	FERRY__HINT_HOT,      /* bring it back now, leave it for a while */
	FERRY__HINT_PIN,      /* bring it back now and never take it */
};

/*
 * Returns 0; -ENOENT not in regions; -ENOMEM no tables for them; -ECHILD in a
 * child of a fork that ran no handlers (cold). Any thread, not signal-safe.
 */
int ferry__pager_hint(struct ferry__pager *pager, void *addr, size_t len,
		      enum ferry__pager_hint hint);

/*
 * Brings everything back and takes nothing more until resume(); nests.
 * Returns 0, or an error with some pages left out.
 */
int ferry__pager_restore_all(struct ferry__pager *pager);
void ferry__pager_resume(struct ferry__pager *pager);

/* Looks for cold pages at once; @all: whatever was not touched just now. */
int ferry__pager_run(struct ferry__pager *pager, bool all);

/*
 * Around fork(2), for the host's pthread_atfork(3) handlers, of which the
 * host's locks let in one thread at a time. In the child
 * @child makes a userfaultfd and threads of its own before it returns, if
 * there are cold pages. What is touched in the child before these handlers run
 * is served by the parent, where the kernel tells of forks; else it reads as
 * zero and is mended, which takes zeroes for bytes that nobody wrote (what the
 * C library touches, FILE locks, is brought back by prepare).
 *
 * @parent waits for the child to come to @child, if anything is out: up to a
 * second, after which the child is given all that is.
 */
void ferry__pager_fork_prepare(struct ferry__pager *pager);
void ferry__pager_fork_parent(struct ferry__pager *pager);
void ferry__pager_fork_child(struct ferry__pager *pager);

/* Does the kernel tell of forks that run no handlers? Any thread. */
bool ferry__pager_sees_forks(struct ferry__pager *pager);

struct ferry__pager_stats {
	bool running;
	enum ferry_reason reason; /* why it is not */
	/*
	 * Forks that run no handlers (raw clone, _Fork) are told of by the
	 * kernel, and their children find cold pages. Else they read zeroes.
	 */
	bool raw_forks;
	uint64_t in_use;       /* bytes of regions within grow() */
	uint64_t resident;     /* bytes in memory, limbo included */
	uint64_t limbo;	       /* bytes taken away, not stored yet */
	uint64_t stored;       /* bytes of pages that are in stores */
	uint64_t store_memory; /* bytes of memory that stores hold */
	uint64_t store_elsewhere;
	uint64_t faults_limbo; /* by kind, since the start */
	uint64_t faults_stored;
	uint64_t faults_empty; /* fresh zero pages in registered ranges */
	uint64_t refaults;     /* stored pages brought back by a touch */
	uint64_t pages_out, pages_back, pages_dropped;
	uint64_t busy;	     /* EBUSY answers */
	uint64_t copied;     /* pages brought back by a copy instead */
	uint64_t stalled_ns; /* spent on faults, without wake-ups and queues */
	uint64_t backed_off; /* times that the refault limit was met */
	uint64_t age_ns;     /* what is cold just now (O1 to O4) */
	uint64_t demoted;    /* pages moved to slower memory, */
	uint64_t promoted;   /* and from there to faster */
	int slow_error;	     /* why none is any more; 0: none or not asked */
	uint64_t read_ahead; /* pages brought before they were touched, */
	uint64_t read_ahead_used; /* and those the program came by since */
};

void ferry__pager_stats(struct ferry__pager *pager,
			struct ferry__pager_stats *ret);

/* Name and counts of the store of tier @i; false: there are not so many. */
bool ferry__pager_tier_stats(struct ferry__pager *pager, size_t i,
			     const char **ret_name,
			     struct ferry__store_stats *ret);

/*
 * Brings everything back, stops the threads, frees all but the regions and
 * the stores, which have no descriptors any more.
 */
void ferry__pager_destroy(struct ferry__pager *pager);

/*
 * The program's standard error as it is now, for threads of a pager, which
 * have another table of descriptors: one of their own, to be closed, or a
 * negative error. Neither allocates nor locks.
 */
int ferry__pager_stderr(void);

#endif
