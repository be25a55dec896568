/* SPDX-License-Identifier: MIT */
/*
 * Fault service: absent pages of registered ranges are supplied when they
 * are touched, in the faulting thread (SIGBUS mode) or by handler threads.
 */
#ifndef FERRY_FAULT_H
#define FERRY_FAULT_H

#include <ferry/move.h>

#ifdef __cplusplus
extern "C" {
#endif

enum ferry_fault_mode {
	/*
	 * The fault is served in the thread that made it, by a SIGBUS handler
	 * that this library installs. Quickest by far, but system calls that
	 * touch an absent page fail with EFAULT, and SIGBUS must not be
	 * blocked in threads that use the memory.
	 */
	FERRY_FAULT_SIGBUS = 1,
	/* Handler threads read the descriptor; system calls wait for them
	 * where the kernel grants kernel-mode faults. */
	FERRY_FAULT_THREAD,
};

/* One fault, as the supplier sees it. */
struct ferry_fault {
	void *page;   /* page-aligned address that is absent */
	bool write;   /* in thread mode; in SIGBUS mode false */
	bool protect; /* a write to a write-protected page, not absent */
	struct ferry_range range; /* the attached range it lies in */
	size_t offset;		  /* of the page in that range */
	/* Window that fault-around proposes: @page lies inside it. */
	size_t window_offset;
	size_t window_len;
};

enum ferry_supply_kind {
	FERRY_SUPPLY_MOVE = 1, /* move [src, src+len) to the range's offset */
	FERRY_SUPPLY_COPY,     /* copy it (the source may be any memory) */
	FERRY_SUPPLY_ZERO,     /* zero pages */
	FERRY_SUPPLY_DONE,     /* the supplier has installed the page itself */
	FERRY_SUPPLY_AGAIN,    /* another thread is about to: back off, retry */
	FERRY_SUPPLY_NONE,     /* not to be had: SIGBUS to the program */
};

/*
 * MOVE: a page that is absent at the source is a zero page. Without it, the
 * fault on such a page is asked about again for some 20 ms, because another
 * thread may have taken the page on meanwhile, and then refused: absent is
 * not zero to a supplier whose pages also lie elsewhere.
 */
#define FERRY_SUPPLY_HOLES (1u << 0)

struct ferry_supply {
	enum ferry_supply_kind kind;
	uint32_t flags; /* FERRY_SUPPLY_* */
	size_t offset; /* in the range; preset to the window */
	size_t len;    /* preset to the window; must cover the faulting page */
	void *src;
};

/*
 * Decides what a fault gets. Runs in the faulting thread's signal handler
 * (SIGBUS mode) or in a handler thread, several at once: it must not
 * allocate, not take a lock that a thread can hold while it touches the
 * range, and touch nothing that lies in served ranges.
 */
typedef void (*ferry_supply_fn)(void *arg, const struct ferry_fault *fault,
				struct ferry_supply *supply);

struct ferry_fault_service;

struct ferry_fault_params {
	size_t size;
	enum ferry_fault_mode mode; /* required */
	unsigned int threads;	    /* handler threads, default 1 */
	size_t around;		    /* pages of fault-around, default 1 */
	enum ferry_busy busy; /* policy for pages to be moved; REPORT means
				   COPY here: a fault must be answered */
	uint32_t uffd_flags;  /* further FERRY_UFFD_* */
	enum ferry_uffd_way way;
};

/* Counts since the service was made. */
struct ferry_fault_stats {
	size_t size;
	uint64_t faults; /* served, of either kind */
	uint64_t pages_moved;
	uint64_t pages_copied;
	uint64_t pages_zeroed;
	uint64_t raced;	  /* another thread had brought the page */
	uint64_t again;	  /* back-offs on SUPPLY_AGAIN */
	uint64_t refused; /* SUPPLY_NONE or failed: passed to the host */
	uint64_t chained; /* SIGBUS not ours, passed on */
	uint64_t stale;	  /* faults on ranges already detached */
};

/*
 * Makes a service with its own userfaultfd. SIGBUS mode installs (once per
 * process) a SIGBUS handler that passes whatever is not ours on to the
 * handler found there, with its flags and mask honoured; thread mode starts
 * its threads with all signals blocked.
 *
 * Returns 0; -EINVAL, -E2BIG, -ENOMEM, -EAGAIN (no thread to be had); errors
 * of ferry_uffd_open(). @ret_reason may be NULL, written always.
 */
FERRY_EXPORT int
ferry_fault_service_create(const struct ferry_fault_params *params,
			   enum ferry_reason *ret_reason,
			   struct ferry_fault_service **ret_service);

/*
 * Detaches all ranges (waiting for faults in flight), stops the threads,
 * closes the descriptor. Absent pages then read as zero: a caller who minds
 * completes its ranges first. Not from a supplier. NULL is allowed.
 */
FERRY_EXPORT void
ferry_fault_service_destroy(struct ferry_fault_service *service);

/* The descriptor handle: destinations served here are registered with it. */
FERRY_EXPORT struct ferry_uffd *
ferry_fault_service_uffd(struct ferry_fault_service *service);

/*
 * Registers the range and serves its missing pages through @supply. Any
 * number of ranges; they must not overlap.
 * Returns 0; -EEXIST overlaps an attached range; errors of
 * ferry_uffd_register(); -EBADF service being destroyed. Any thread.
 */
FERRY_EXPORT int ferry_fault_attach(struct ferry_fault_service *service,
				    void *addr, size_t len,
				    ferry_supply_fn supply, void *arg,
				    enum ferry_reason *ret_reason);

/*
 * Ends the service of a range that was attached with just these bounds, and
 * unregisters it. On return no supplier runs for it any more, and no thread
 * waits in it. A thread whose fault was under way touches the page again and
 * finds ordinary memory.
 * Returns 0; -ENOENT; -EDEADLK from inside a supplier; -EBADF.
 */
FERRY_EXPORT int ferry_fault_detach(struct ferry_fault_service *service,
				    void *addr, size_t len);

/*
 * Serves the fault at @addr now, as if it had been touched: for background
 * completion and for prefaulting buffers of system calls. 0 when the page is
 * there; -ENOENT not an attached range; errors of the supply. Signal-safe.
 */
FERRY_EXPORT int ferry_fault_resolve(struct ferry_fault_service *service,
				     void *addr);

FERRY_EXPORT int ferry_fault_service_stats(struct ferry_fault_service *service,
					   struct ferry_fault_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
