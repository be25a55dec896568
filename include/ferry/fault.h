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
	 * touch an absent page fail with EFAULT (see ferry_fault_resolve()),
	 * and a thread that has SIGBUS blocked is killed by the kernel when
	 * it touches one. The handler runs on the alternate signal stack of
	 * threads that have one: give it 8 KiB beyond MINSIGSTKSZ, and
	 * what the supplier needs.
	 */
	FERRY_FAULT_SIGBUS = 1,
	/*
	 * Handler threads read the descriptor; system calls wait for them
	 * where the kernel grants kernel-mode faults (every way of opening
	 * but FERRY_UFFD_USER_MODE), and fail with EFAULT elsewhere.
	 */
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
	FERRY_SUPPLY_AGAIN,    /* another thread is about to: the page is
				  touched again after a pause of up to 1 ms,
				  any number of times */
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
	size_t offset;	/* in the range; preset to the window */
	size_t len;	/* preset to the window; must cover the faulting page */
	void *src;
};

/*
 * Decides what a fault gets. Runs in the faulting thread's signal handler
 * (SIGBUS mode) or in a handler thread, several at once: it must not
 * allocate, not take a lock that a thread can hold while it touches the
 * range, touch nothing that lies in served ranges, and return (no longjmp).
 * It may call what is marked signal-safe.
 *
 * The kernel decides races: a page may be asked about that is there by now,
 * and several threads may be asked about one page at a time. All of them may
 * be given the same answer; one wins, the others find the page there.
 *
 * What an answer means for the page itself:
 *  MOVE	what is busy is copied at last, whatever the policy
 *  COPY	the source may not be in ranges of a SIGBUS service, absent
 *  DONE	must be true: a thread whose page is not there asks again
 *  NONE	SIGBUS mode: the action found when the handler was installed
 *		runs, the default one ends the process. Thread mode: the page
 *		is poisoned (touching it raises SIGBUS, or EFAULT in system
 *		calls) and stays so; without UFFDIO_POISON (before 6.6) it
 *		loses its access rights instead (SIGSEGV).
 * An answer that cannot be carried out (source unmapped, window that leaves
 * the page out, no memory) is treated as NONE. Pages of the window that make
 * trouble are left for a fault of their own.
 */
typedef void (*ferry_supply_fn)(void *arg, const struct ferry_fault *fault,
				struct ferry_supply *supply);

struct ferry_fault_service;

struct ferry_fault_params {
	size_t size;
	enum ferry_fault_mode mode; /* required */
	unsigned int threads;	    /* handler threads, default 1 */
	size_t around;		    /* pages of fault-around, default 1 */
	/*
	 * Policy for busy pages. The page that was touched is copied when the
	 * policy comes to an end; REPORT, the default, is COPY here.
	 */
	enum ferry_busy busy;
	uint32_t uffd_flags; /* further FERRY_UFFD_* */
	enum ferry_uffd_way way;
};

/*
 * Counts since the service was made; chained and stale since the process
 * began, for all services, as such faults belong to none. A handler thread
 * counts after it has woken the thread that waited.
 */
struct ferry_fault_stats {
	size_t size;
	uint64_t faults; /* answered with a page, or DONE */
	uint64_t pages_moved;
	uint64_t pages_copied;
	uint64_t pages_zeroed;
	uint64_t raced;	  /* pages that another thread had brought */
	uint64_t again;	  /* SUPPLY_AGAIN answers */
	uint64_t refused; /* SUPPLY_NONE, and answers that failed */
	uint64_t chained; /* SIGBUS that was not ours, passed on */
	uint64_t stale;	  /* faults on ranges being or already detached */
};

/*
 * Makes a service with its own userfaultfd.
 *
 * SIGBUS mode installs (once per process) a SIGBUS handler that passes
 * whatever is not ours on to the action found there, as the kernel would
 * have: flags, mask, SIG_DFL and SIG_IGN. It stays when the last service
 * ends, see ferry_signal_restore(). A host may install its own handler later
 * if that passes on to the one it found. While a supplier runs, signals that
 * no instruction raises are blocked and the thread cannot be cancelled.
 *
 * Thread mode starts its threads with those signals blocked, on stacks of
 * 256 KiB that are in memory already.
 *
 * A service belongs to the process that made it. In a child of fork(2) none
 * is served: the kernel drops registrations, and pages absent at the time of
 * the fork read as zero there. So complete the ranges before a fork whose
 * child uses them, or have the child make a service and attach anew before
 * it touches them. There attach, detach and resolve of an inherited service
 * fail with -ECHILD or -ENOENT, and ferry_fault_service_destroy() frees what
 * is the child's and nothing else.
 *
 * Returns 0; -EINVAL, -E2BIG, -ENOMEM, -EAGAIN (no thread to be had); errors
 * of ferry_uffd_open(). @ret_reason may be NULL, written always. Any thread;
 * not signal-safe.
 */
FERRY_EXPORT int
ferry_fault_service_create(const struct ferry_fault_params *params,
			   enum ferry_reason *ret_reason,
			   struct ferry_fault_service **ret_service);

/*
 * Detaches all ranges (waiting for faults in flight), stops the threads,
 * closes the descriptor. Absent pages then read as zero: a caller who minds
 * completes its ranges first. Not from a supplier (nothing is done then), nor
 * while another call uses @service. NULL is allowed.
 */
FERRY_EXPORT void
ferry_fault_service_destroy(struct ferry_fault_service *service);

/*
 * The descriptor handle, for moving pages into attached ranges from outside
 * the supplier. It is the service's: not to be closed. What the host
 * registers with it and does not attach, the host fills itself.
 */
FERRY_EXPORT struct ferry_uffd *
ferry_fault_service_uffd(struct ferry_fault_service *service);

/*
 * Registers the range and serves its missing pages through @supply. Any
 * number of ranges; they must not overlap.
 * The memory must stay mapped until it is detached. Pages that are there
 * already are not asked for. There may be more of them than were touched, as
 * huge pages bring their neighbours: what must be supplied is to be dropped
 * (MADV_DONTNEED) after it was attached; from then on the kernel adds none.
 *
 * Returns 0; -EEXIST overlaps an attached range; -ENOMEM also when it
 * overlaps a detached one that cannot be unregistered; errors of
 * ferry_uffd_register(); -EBADF service being destroyed; -ECHILD service of
 * a parent process. @ret_reason may be NULL, written always. Any thread, not
 * in signal handlers nor suppliers.
 */
FERRY_EXPORT int ferry_fault_attach(struct ferry_fault_service *service,
				    void *addr, size_t len,
				    ferry_supply_fn supply, void *arg,
				    enum ferry_reason *ret_reason);

/*
 * Ends the service of a range that was attached with just these bounds, and
 * unregisters it. On return no supplier runs for it any more, and no thread
 * waits in it. A thread whose fault was under way touches the page again and
 * finds ordinary memory: what was absent reads as zero. Where the kernel has
 * no memory to unregister it, the service makes it behave so, fault by fault:
 * in SIGBUS mode a system call then fails on absent pages. It is tried again
 * by each later attach, and closing the service ends it.
 * Returns 0; -ENOENT not attached with these bounds; -EDEADLK from inside a
 * supplier; -ECHILD. Any thread, not in signal handlers.
 */
FERRY_EXPORT int ferry_fault_detach(struct ferry_fault_service *service,
				    void *addr, size_t len);

/*
 * Serves the fault at @addr now, as if it had been touched: for background
 * completion and for prefaulting buffers of system calls. @addr may lie
 * anywhere in the page. The supplier is not asked about a page in memory.
 *
 * Returns 0 when the page is there; -ENOENT not in a range attached to this
 * service, or with nothing at the source; -EAGAIN the supplier answered
 * AGAIN for a second; -ENODATA it answered NONE; -EINVAL its answer makes no
 * sense; errors of ferry_move() and ferry_uffd_copy(). A refusal leaves the
 * page absent, not poisoned. Any thread; signal-safe.
 */
FERRY_EXPORT int ferry_fault_resolve(struct ferry_fault_service *service,
				     void *addr);

FERRY_EXPORT int ferry_fault_service_stats(struct ferry_fault_service *service,
					   struct ferry_fault_stats *ret_stats);

/*
 * Puts back the action that was found when this library installed its
 * handler of @sig: SIGBUS (services in SIGBUS mode) or SIGSEGV (dirty
 * tracking by mprotect). The library never does so by itself, because a
 * thread that was preempted between its fault and the handler would meet
 * the old action: call it when no thread can be in memory that was served,
 * such as before dlclose(3). A service created later installs it again.
 * Returns 0; -ENOENT not installed; -EBUSY another handler was installed
 * since, which may pass signals on to ours; -EINVAL another signal.
 * Any thread; not signal-safe.
 */
FERRY_EXPORT int ferry_signal_restore(int sig);

#ifdef __cplusplus
}
#endif

#endif
