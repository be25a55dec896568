/* SPDX-License-Identifier: MIT */
/*
 * The inside of the fault service: ranges and how a handler finds them, one
 * fault on its way to an answer, and what each mode has of its own.
 *
 * DESIGN-fault.md has the states, the invariants (F1 ...) and the argument
 * for each ordering label.
 */
#ifndef FERRY_UFFD_FAULT_H
#define FERRY_UFFD_FAULT_H

#include <ferry/fault.h>

#include "uffd/handle.h"

/* --- ranges (fault_range.c) ---------------------------------------------- */

enum ferry__range_state {
	FERRY__RANGE_NEW = 0, /* in the table, not registered yet */
	FERRY__RANGE_LIVE,    /* served */
	FERRY__RANGE_CLOSING, /* being detached: faults wait for it to end */
};

/*
 * An attached range. Made by attach, freed by detach once it is out of the
 * table, no look-up can have seen it, and no handler is in it.
 */
struct ferry__fault_range {
	uintptr_t addr;
	size_t len;
	ferry_supply_fn supply;
	void *arg;
	struct ferry_fault_service *service;
	struct ferry__fault_range *next; /* of the service; under the lock */
	unsigned int state;		 /* enum ferry__range_state; T1 */
	/* Detached, but registered still; written before it is LIVE again. */
	bool kept;
	/* Handlers at work in the range; T1. */
	struct ferry__stripe stripes[FERRY__STRIPES];
};

/* What an address is to the table. */
enum ferry__fault_place {
	FERRY__PLACE_NONE = 0, /* in no range */
	FERRY__PLACE_CHANGING, /* in a range that comes or goes: touch again */
	FERRY__PLACE_LIVE,     /* in a range that was entered */
};

/* A handler's stay in a range. */
struct ferry__fault_visit {
	struct ferry__fault_range *range;
	struct ferry__stripe *stripe;
};

/*
 * Finds the range of @addr and enters it: with PLACE_LIVE it is not detached
 * until ferry__fault_leave(). Signal-safe; a bounded number of steps.
 */
enum ferry__fault_place ferry__fault_enter(uintptr_t addr,
					   struct ferry__fault_visit *ret);
void ferry__fault_leave(const struct ferry__fault_visit *visit);

/*
 * How many ranges were detached so far, and was any range that ever was
 * attached around @addr? Signal-safe.
 */
uint64_t ferry__fault_detached(void);
bool ferry__fault_known(uintptr_t addr);

/*
 * Makes the table that of this process, if it is that of its parent. Returns
 * the process's number.
 */
int ferry__fault_own_table(void);

/* Puts a NEW range into the table: -EEXIST, -ENOMEM, -EBADF. */
int ferry__fault_insert(struct ferry__fault_range *range);
/* From NEW to LIVE. */
void ferry__fault_go_live(struct ferry__fault_range *range);
/*
 * From CLOSING back to LIVE: detached for its host, but the kernel had no
 * memory to unregister it. It is answered as the ordinary memory that it
 * should be.
 */
void ferry__fault_keep(struct ferry__fault_range *range);
/* Out of the table and freed; no handler may be in it. */
void ferry__fault_remove(struct ferry__fault_range *range);
/* From LIVE to CLOSING; -ENOENT when there is none of just these bounds. */
int ferry__fault_close_range(struct ferry_fault_service *service,
			     uintptr_t addr, size_t len,
			     struct ferry__fault_range **ret_range);
/*
 * The same for whichever comes first, of a service that takes no new ones
 * from here on. -ENOENT: none is left; -EAGAIN: other threads are about to
 * attach or detach the rest.
 */
int ferry__fault_close_any(struct ferry_fault_service *service,
			   struct ferry__fault_range **ret_range);
/* The same for one that was kept; -ENOENT: none, or others are at it. */
int ferry__fault_close_kept(struct ferry_fault_service *service,
			    struct ferry__fault_range **ret_range);
/*
 * Detaches all there is, and takes nothing more; returns when no supplier is
 * at work. What is left is to destroy it.
 */
void ferry__fault_detach_all(struct ferry_fault_service *service);
/* Waits until no handler is in a CLOSING range. */
void ferry__fault_drain(struct ferry__fault_range *range);
/* Frees the ranges of a service in a child of fork(2). */
void ferry__fault_forget(struct ferry_fault_service *service);

/*
 * Memory that handlers touch: mapped by itself, because the host's malloc
 * may hand out memory that a service serves. Zeroed; NULL if there is none.
 */
void *ferry__fault_alloc(size_t size);
void ferry__fault_free(void *p, size_t size);

/* --- services (fault.c) -------------------------------------------------- */

/* Counts of the threads that hash to a stripe, on cache lines of its own. */
struct ferry__fault_counts {
	_Alignas(64) uint64_t faults;
	uint64_t pages_moved;
	uint64_t pages_copied;
	uint64_t pages_zeroed;
	uint64_t raced;
	uint64_t again;
	uint64_t refused;
	uint64_t stale;
};

struct ferry__fault_worker;

struct ferry_fault_service {
	struct ferry_uffd *uffd;
	enum ferry_fault_mode mode;
	enum ferry_busy busy;
	size_t around; /* bytes */
	int pid;       /* of the process that made it */
	/* Under the lock of the table. */
	bool closing;
	struct ferry__fault_range *ranges;
	size_t kept; /* of these; read without the lock as a hint */
	/* Thread mode. */
	struct ferry__fault_worker *workers;
	unsigned int threads;
	int stop; /* eventfd */
	struct ferry__fault_counts counts[FERRY__STRIPES];
};

/* Counts @n in the calling thread's stripe of @service. */
#define ferry__fault_count(service, what, n)                                   \
	ferry__fault_add(&(service)->counts[ferry__thread_stripe()].what, (n))

static inline void ferry__fault_add(uint64_t *counter, uint64_t n)
{
	/* Relaxed: a sum for people; nothing is decided by it. */
	if (n)
		__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* SIGBUS that was of no service, passed on: one count per process. */
extern uint64_t ferry__fault_chained;
/* Faults on ranges that were gone when the handler looked. */
extern uint64_t ferry__fault_stale;

/*
 * Finishes a detach: drains, unregisters, removes. False: it could not be
 * unregistered, and is kept.
 */
bool ferry__fault_end_range(struct ferry__fault_range *range);

/* Tries again to unregister what was kept. Any thread, not in handlers. */
void ferry__fault_end_kept(struct ferry_fault_service *service);

/* --- one fault (fault_supply.c) ------------------------------------------ */

/* What a thread remembers from one fault to the next. */
struct ferry__fault_self {
	unsigned int supplying;	 /* depth of suppliers under way */
	bool poisons;		 /* a handler thread: it refuses by poison */
	uintptr_t paced_page;	 /* page whose repeated faults are paced ... */
	unsigned int paced;	 /* ... and how often it came */
	uintptr_t stale_page;	 /* last page sent back as stale ... */
	uint64_t stale_detached; /* ... at this count of detachments */
};

extern _Thread_local struct ferry__fault_self ferry__fault_self
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

/* A fault that a handler has taken on. */
struct ferry__fault_case {
	struct ferry__fault_range *range;
	size_t page; /* offset in the range */
	bool write;
	bool protect;
	/* Set when all waiters for the page are known to have been woken. */
	bool woken;
	/* Set when the supplier has refused the page by itself. */
	bool refused;
};

/*
 * A supplier's answer, of our own only, in a thread that poisons: NONE, and
 * ferry__fault_poison() has been called.
 */
#define FERRY__SUPPLY_POISONED ((enum ferry_supply_kind)0x40)

/*
 * In thread mode: what touches the page gets a signal. Who waits for it is not
 * woken. Signal-safe.
 */
void ferry__fault_poison(struct ferry_fault_service *service, void *page);

/* Memory without pages but poisoned ones is plain again. Signal-safe. */
void ferry__fault_cure(struct ferry_fault_service *service, void *addr,
		       size_t len);

/*
 * Asks the supplier and does what it says. Returns
 *  0		the page is there (or was installed by the supplier)
 *  -EAGAIN	not yet: to be touched again after a pause
 *  -ESTALE	the range is not registered any more: to be touched again
 *  -ENODATA	the supplier has nothing (SUPPLY_NONE)
 * or another errno: it cannot be served. Signal-safe.
 */
int ferry__fault_serve(struct ferry__fault_case *c);

/* Waits before the calling thread touches @page again: longer each time. */
void ferry__fault_pace(uintptr_t page);

/* --- modes --------------------------------------------------------------- */

/* fault_sigbus.c: installs the handler. */
int ferry__fault_sigbus_start(void);

/* fault_thread.c: starts @service->threads handlers; stops them. */
int ferry__fault_threads_start(struct ferry_fault_service *service);
void ferry__fault_threads_stop(struct ferry_fault_service *service);
/* In a child of fork(2): what they had is freed. */
void ferry__fault_threads_forget(struct ferry_fault_service *service);

#endif
