/* SPDX-License-Identifier: MIT */
/*
 * Faults on order: rules over the system-call table.
 *
 * A rule says which calls it is about, which of them it strikes, and what
 * they then do in place of what the kernel would have done:
 *
 *	struct inject_rule busy = {
 *		.call = INJECT_IOCTL, .request = FERRY__UFFDIO_MOVE,
 *		.nth = 2, .error = EBUSY,
 *	};
 *	inject_start();
 *	inject_add(&busy);
 *	...
 *	ck_assert_uint_eq(busy.hits, 1);
 *
 * The second move then answers EBUSY without reaching the kernel. The rule
 * added last is asked first, and the first that strikes decides.
 *
 * Rules belong to the caller and must live until inject_stop() (a test of
 * Check runs in its own process: it may leave without). Start before other
 * threads make calls; rules may be added by one thread while others do.
 * Matching takes no lock and allocates nothing, so
 * that calls from several threads and from signal handlers are counted
 * right.
 */
#ifndef FERRY_TESTS_INJECT_H
#define FERRY_TESTS_INJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum inject_call {
	INJECT_IOCTL,
	INJECT_OPEN,
	INJECT_CLOSE,
	INJECT_READ,
	INJECT_WRITE,
	INJECT_PREAD,
	INJECT_CREATE,
	INJECT_FCNTL,
	INJECT_PREADV,
	INJECT_PWRITEV,
	INJECT_FALLOCATE,
	INJECT_FTRUNCATE,
	INJECT_FDATASYNC,
	INJECT_MEMFD_CREATE,
	INJECT_MBIND,
	INJECT_HOME_NODE,
	INJECT_MOVE_PAGES, /* request 1: only asking where; 2: migrating */
	INJECT_SEND,
	INJECT_RECV,
	INJECT_SENDMSG,
	INJECT_RECVMSG,
	INJECT_GETSOCKOPT,
	INJECT_GETRANDOM,
	INJECT_FSTAT,
	INJECT_POLL,
	INJECT_EVENTFD,
	INJECT_USERFAULTFD,
	INJECT_MMAP,
	INJECT_MUNMAP,
	INJECT_MREMAP,
	INJECT_MPROTECT,
	INJECT_MADVISE,
	INJECT_PROCESS_MADVISE,
	INJECT_MINCORE,
	INJECT_MEMBARRIER,
	INJECT_SIGACTION,
};

/* For inject_rule.count: every call from the nth on. */
#define INJECT_ALWAYS UINT64_MAX
/* For inject_rule.done: the kernel does all that was asked for. */
#define INJECT_ALL UINT64_MAX

/*
 * What the output field of a move, copy, zeropage, continue or poison ioctl
 * shows after a struck call.
 */
enum inject_field {
	INJECT_FIELD_KERNEL, /* as the kernel does it: .done, else -.error */
	INJECT_FIELD_STALE,  /* untouched, as before 6.15 under mmap_changing */
	INJECT_FIELD_VALUE,  /* .value */
};

struct inject_rule {
	/* Which calls: */
	enum inject_call call;
	/*
	 * The ioctl's request, fcntl's command, the flags of create that
	 * must all be set, the advice of madvise; 0: any. Not for
	 * MADV_NORMAL, which is 0 and means any advice here.
	 */
	unsigned long request;
	const char *path; /* open, create: the whole path; NULL: any */
	/*
	 * An address, or 0. Only ioctls and memory calls on a range that
	 * holds it are struck. A move or copy that begins below it (by
	 * source or destination) runs up to it first and comes back short,
	 * as a kernel does that meets a busy page; the strike is the call
	 * that begins at it.
	 */
	uintptr_t at;

	/* Which of them: */
	uint64_t nth;	/* the first one struck, counted from 1; 0 means 1 */
	uint64_t count; /* how many in a row; 0 means 1 */

	/* What they do: */
	int error;     /* the errno they answer; 0: what the kernel says */
	uint64_t done; /* bytes that the kernel really does before; of
			  move_pages pages */
	enum inject_field field;
	int64_t value;		 /* for INJECT_FIELD_VALUE */
	uint64_t delay_ns;	 /* real time to sleep before anything else */
	void (*hook)(void *arg); /* called before anything else, or NULL */
	void *arg;

	/* Written by injection; read with inject_hits() while others run. */
	uint64_t seen;
	uint64_t hits;
	struct inject_rule *next;
};

/* Puts the injecting table in place of the current one; no rules yet. */
void inject_start(void);

/* Puts back the table that inject_start() found; forgets all rules. */
void inject_stop(void);

/* Adds @rule, which stays the caller's. */
void inject_add(struct inject_rule *rule);

/* How many calls @rule has struck. */
uint64_t inject_hits(const struct inject_rule *rule);

/*
 * How many calls of @call were made since inject_start(), struck or not;
 * @request as in a rule.
 */
uint64_t inject_calls(enum inject_call call, unsigned long request);

/*
 * Time travel: from here on the clock of the table stands at @now_ns and
 * moves only by sleeping and by inject_clock_advance(). Sleeping takes no
 * real time.
 */
void inject_clock(uint64_t now_ns);
void inject_clock_advance(uint64_t ns);

#endif
