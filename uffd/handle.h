/* SPDX-License-Identifier: MIT */
/*
 * What stands behind a struct ferry_uffd: the descriptor, who may use it, and
 * how many calls are in flight on it.
 *
 * Life of a handle. Handles lie in memory that is never unmapped and never
 * used for anything else, so that a late call on a closed handle reads a
 * state word and not someone else's data.
 *
 *	FREE --open--> OPENING --descriptor ready--> OPEN --close--> CLOSING
 *	  ^                                                             |
 *	  +---------------- last call in flight has left ---------------+
 *
 * A call brackets its use of the descriptor with ferry__uffd_enter() and
 * ferry__uffd_leave(). Both are async-signal-safe and nest.
 */
#ifndef FERRY_UFFD_HANDLE_H
#define FERRY_UFFD_HANDLE_H

#include <errno.h>

#include <ferry/uffd.h>

#include "uffd/sys.h"

enum ferry__uffd_state {
	FERRY__UFFD_FREE = 0,
	FERRY__UFFD_OPENING,
	FERRY__UFFD_OPEN,
	FERRY__UFFD_CLOSING,
};

/* log2 of the number of counters that calls in flight spread over. */
#define FERRY__STRIPE_BITS 4
#define FERRY__STRIPES	   (1u << FERRY__STRIPE_BITS)

/* Calls in flight of the threads that hash to it; a cache line of its own. */
struct ferry__stripe {
	_Alignas(64) unsigned long in_flight;
};

_Static_assert(sizeof(struct ferry__stripe) == 64, "a cache line each");

struct ferry_uffd {
	/* Written by open and close only; H1, H2. */
	unsigned int state;
	int fd;
	int pagemap; /* /proc/self/pagemap, or -1 */
	enum ferry_uffd_way way;
	uint64_t features;
	/*
	 * The address space it belongs to: equal to *mark there. *mark is
	 * zero in a forked child until that opens a handle of its own.
	 */
	uint64_t owner;
	const uint64_t *mark;
	/*
	 * A seccomp filter denied UFFDIO_MOVE. H3: relaxed, as it is only a
	 * hint that saves the next call a system call.
	 */
	bool move_denied;
	size_t huge_size; /* of a huge page; 0: there are none */
	/* Whole huge pages are to be looked at before they are moved. */
	bool huge_zero_unsafe;
	struct ferry__stripe stripes[FERRY__STRIPES];
};

/* Its address tells threads apart without a system call. */
extern _Thread_local char ferry__thread_mark
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

static inline unsigned int ferry__thread_stripe(void)
{
	uint64_t h = (uint64_t)(uintptr_t)&ferry__thread_mark;

	/* Multiplicative hashing, Knuth, TAOCP volume 3, section 6.4. */
	return (unsigned int)((h * 0x9e3779b97f4a7c15u) >>
			      (64 - FERRY__STRIPE_BITS));
}

static inline void ferry__uffd_leave(struct ferry__stripe *stripe)
{
	/*
	 * H2: release, pairs with the acquire load in wait_for_calls(): what
	 * the call did to the descriptor is over before it is closed.
	 */
	__atomic_fetch_sub(&stripe->in_flight, 1, __ATOMIC_RELEASE);
}

/*
 * Begins a call on @uffd. Returns 0 and the stripe to leave by, or -EBADF
 * (closed), -ECHILD (this is a fork of the process that opened it).
 */
static inline int ferry__uffd_enter(struct ferry_uffd *uffd,
				    struct ferry__stripe **ret_stripe)
{
	struct ferry__stripe *stripe;
	int r;

	if (!uffd)
		return -EBADF;
	stripe = &uffd->stripes[ferry__thread_stripe()];
	/*
	 * H1: announce, then look; ferry_uffd_close() sets the state, then
	 * looks for announcements. Both sides are sequentially consistent
	 * (store-load), so that one of them sees the other. The load that
	 * finds OPEN also acquires what open wrote before its H1 store.
	 */
	__atomic_fetch_add(&stripe->in_flight, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&uffd->state, __ATOMIC_SEQ_CST) !=
	    FERRY__UFFD_OPEN) {
		r = -EBADF;
		goto err_leave;
	}
	/* Relaxed: the word changes only by fork, never beside a thread. */
	if (__atomic_load_n(uffd->mark, __ATOMIC_RELAXED) != uffd->owner) {
		r = -ECHILD;
		goto err_leave;
	}
	*ret_stripe = stripe;
	return 0;

err_leave:
	ferry__uffd_leave(stripe);
	return r;
}

/*
 * Opens a descriptor by one way, without negotiation; @flags: O_NONBLOCK or
 * 0. Returns it or a negative errno.
 */
int ferry__uffd_descriptor(enum ferry_uffd_way way, int flags,
			   enum ferry_reason *ret_reason);

/*
 * Negotiates @want (FERRY_FEATURE_* of UFFDIO_API) on a fresh descriptor.
 * @ret_offered: what the kernel has. -EOPNOTSUPP if it lacks some of @want.
 */
int ferry__uffd_negotiate(int fd, uint64_t want, uint64_t *ret_offered);

/*
 * Is the page at @addr registered with this descriptor, and for what
 * (FERRY_REGISTER_*)? A microsecond if it is not; else as long as
 * ferry__mapping_query(). Inside enter and leave. Signal-safe.
 */
bool ferry__uffd_registered(const struct ferry_uffd *uffd, uintptr_t addr,
			    unsigned int *ret_mode);

/*
 * In a child of fork(2): gives up a handle whose descriptor is in another
 * thread's table, so that its number means nothing here. NULL is allowed.
 */
void ferry__uffd_forget(struct ferry_uffd *uffd);

/*
 * Copies pages by a userfaultfd that another process made, into the address
 * space of that one. As ferry_uffd_copy(); -ESRCH: the process is dead; -ENOTTY
 * or anything else: @fd is what the other process says, no more.
 */
int ferry__uffd_copy_to(int fd, uintptr_t dst, const void *src, size_t len,
			size_t *ret_done);

/* The same, moving one page; -EINVAL where both must be of one address
 * space. */
int ferry__uffd_move_to(int fd, uintptr_t dst, void *page);

/* Does a move of one page work? 0, or the errno of the probe. */
int ferry__probe_move(enum ferry_reason *ret_reason);

/* Is a system-call filter in force? */
bool ferry__filtered(void);

/* Can a move of the huge zero page corrupt memory (CVE-2026-31397)? */
bool ferry__huge_zero_unsafe(void);

/* The waiting between tries of one call: yield at first, then sleep. */
struct ferry__backoff {
	uint64_t limit_ns;  /* longest time in all */
	uint64_t since;	    /* clock at the first wait; 0: none yet */
	uint64_t waited_ns; /* spent so far */
	unsigned int tries;
};

/* Waits a little; false, without waiting, when the limit is reached. */
bool ferry__backoff_wait(struct ferry__backoff *backoff);

/* Is [@addr, @addr + @len) in whole pages, not empty, and does it not wrap? */
enum ferry_reason ferry__range_reason(const void *addr, size_t len);

#endif
