/* SPDX-License-Identifier: MIT */
/*
 * From no pager to one, while other threads allocate and purge.
 *
 *   state:  WAITING --min_heap, or a hint (CAS)--> STARTING --> TRIED
 *
 * D1: a purge that saw no pager must be over before the pager takes a page: it
 * would drop memory of which the contents are in a store, and the store's copy
 * would come back. So a purge counts itself (D1a), then looks for the pager
 * (D1b); the start publishes the pager (D1c), then waits for the count to be
 * zero (D1d). All four are sequentially consistent: at least one of the two
 * sees the other.
 */
#include "alloc/malloc/offload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "alloc/malloc/library.h"
#include "alloc/malloc/offload-internal.h"
#include "alloc/malloc/quiet.h"
#include "alloc/malloc/report.h"
#include "alloc/malloc/space.h"
#include "alloc/malloc/starter.h"
#include "uffd/handle.h"
#include "uffd/sys.h"
#include "uffd/thread.h"

struct ferry__offload ferry__offload;

struct ferry__pager *ferry__offload_pager(void)
{
	return __atomic_load_n(&ferry__offload.pager,
			       __ATOMIC_SEQ_CST); /* D1b */
}

static enum ferry__offload_state current_state(void)
{
	/* T1 pairs with T2 in ferry__offload_tried(): reason is written. */
	return __atomic_load_n(&ferry__offload.state, __ATOMIC_ACQUIRE);
}

void ferry__offload_tried(const char *reason)
{
	/* Relaxed: T2. Of two reasons either will do. */
	if (reason)
		__atomic_store_n(&ferry__offload.reason, reason,
				 __ATOMIC_RELAXED);
	/* T2 pairs with T1 in current_state(). */
	__atomic_store_n(&ferry__offload.state, FERRY__OFFLOAD_TRIED,
			 __ATOMIC_RELEASE);
}

const char *ferry__offload_reason(void)
{
	if (current_state() != FERRY__OFFLOAD_TRIED)
		return NULL;
	/* Relaxed: T1. */
	return __atomic_load_n(&ferry__offload.reason, __ATOMIC_RELAXED);
}

const char *ferry__offload_blind(void)
{
	return current_state() == FERRY__OFFLOAD_TRIED &&
			       ferry__offload.holes.engine
		       ? ferry__holes_reason(&ferry__offload.holes)
		       : NULL;
}

/* --- what the hooks tell ------------------------------------------------------------- */

static void tell(struct ferry__pager *pager, struct ferry__space *space)
{
	void *base = (void *)space->base;

	/* Relaxed: who comes second may find the region not yet there; what
	 * he would have said is said with the next piece. */
	if (!__atomic_exchange_n(&space->told, true, __ATOMIC_RELAXED))
		ferry__pager_add_region(pager, base, space->len);
	ferry__pager_grow(pager, base, ferry__space_used(space));
}

void ferry__offload_grown(const void *addr, size_t size)
{
	struct ferry__pager *pager = ferry__offload_pager();
	size_t bytes;

	/* Relaxed: a count that is compared with a threshold. */
	bytes = __atomic_add_fetch(&ferry__offload.bytes, size,
				   __ATOMIC_RELAXED);
	if (pager)
		tell(pager, ferry__space_of(FERRY__SPACE_HEAP, addr));
	else if (ferry__offload.conf &&
		 bytes >= ferry__offload.conf->min_heap &&
		 current_state() == FERRY__OFFLOAD_WAITING)
		ferry__engine_want_work();
}

int ferry__offload_discard(void *addr, size_t len)
{
	struct ferry__pager *pager;
	int r;

	__atomic_fetch_add(&ferry__offload.plain, 1,
			   __ATOMIC_SEQ_CST); /* D1a */
	pager = ferry__offload_pager();
	if (!pager) {
		r = ferry__sys->madvise(addr, len, MADV_DONTNEED);
		__atomic_fetch_sub(&ferry__offload.plain, 1, __ATOMIC_SEQ_CST);
		return r;
	}
	__atomic_fetch_sub(&ferry__offload.plain, 1, __ATOMIC_SEQ_CST);
	return ferry__pager_discard(pager, addr, len);
}

/* --- what the pager asks -------------------------------------------------------------- */

static void each_arena(const char *what)
{
	unsigned int i, number;
	char name[48];

	for (i = 0; i < ferry__engine_arenas(); i++) {
		if (ferry__engine_arena(i, &number))
			continue;
		snprintf(name, sizeof(name), "arena.%u.%s", number, what);
		ferry__je_mallctl(name, NULL, NULL, NULL, 0);
	}
}

#define DECAY_NS UINT64_C(500000000)

/* A process that rests has no use for what it has freed. */
static void tick(void *arg, uint64_t now_ns, bool idle)
{
	(void)arg;
	ferry__starter_join();
	if (!ferry__fork_hold())
		return;
	if (idle && !ferry__offload.purged) {
		each_arena("purge");
	} else if (!idle && now_ns >= ferry__offload.next_decay_ns) {
		each_arena("decay");
		ferry__offload.next_decay_ns = now_ns + DECAY_NS;
	}
	ferry__offload.purged = idle;
	ferry__report_tick(now_ns);
	ferry__fork_release();
}

/* --- nothing out for a while ------------------------------------------------------------ */

/* R1: held is counted first; a start that comes later looks at it. */
int ferry__offload_restore(void)
{
	struct ferry__pager *pager;

	__atomic_fetch_add(&ferry__offload.held, 1, __ATOMIC_SEQ_CST); /* R1 */
	pager = ferry__offload_pager();
	return pager ? ferry__pager_restore_all(pager) : 0;
}

/* Of what was not restored nothing is resumed. */
void ferry__offload_resume(void)
{
	struct ferry__pager *pager = ferry__offload_pager();
	unsigned int held =
		__atomic_load_n(&ferry__offload.held, __ATOMIC_RELAXED);

	do
		if (!held)
			return;
	while (!__atomic_compare_exchange_n(&ferry__offload.held, &held,
					    held - 1, false,
					    __ATOMIC_SEQ_CST, /* R1 */
					    __ATOMIC_RELAXED));
	if (pager)
		ferry__pager_resume(pager);
}

int ferry__offload_run(void)
{
	struct ferry__pager *pager = ferry__offload_pager();

	return pager ? ferry__pager_run(pager, true) : -EOPNOTSUPP;
}

void ferry__offload_trim(void)
{
	each_arena("purge");
}

/* --- start ---------------------------------------------------------------------------- */

void ferry__offload_init(const struct ferry__conf *conf)
{
	ferry__offload.conf = conf;
	ferry__offload.pid = ferry__sys->getpid();
	ferry__thread_begins = ferry__engine_be_own;
	ferry__quiet_set(&ferry__offload_quiet);
	if (conf->offload == FERRY__OFFLOAD_OFF)
		ferry__offload_tried("offload is off, as configured");
	else if (!conf->min_heap)
		ferry__engine_want_work();
}

static int create(struct ferry__pager **ret_pager)
{
	struct ferry__pager_params params;
	int r;

	ferry__holes_start(&ferry__offload.holes, &ferry__holes_jemalloc);
	r = ferry__tiers_init(&ferry__offload.tiers, ferry__offload.conf,
			      &ferry__offload.holes);
	if (r)
		return r;
	ferry__tiers_params(&ferry__offload.tiers, &params);
	params.tick = tick;
	r = ferry__pager_create(&params, ret_pager);
	if (r)
		ferry__tiers_fini(&ferry__offload.tiers);
	return r;
}

static void publish(struct ferry__pager *pager)
{
	struct ferry__space *space = &ferry__space_first[FERRY__SPACE_HEAP];
	unsigned int n;

	__atomic_store_n(&ferry__offload.pager, pager,
			 __ATOMIC_SEQ_CST); /* D1c */
	while (__atomic_load_n(&ferry__offload.plain,
			       __ATOMIC_SEQ_CST)) /* D1d */
		ferry__sys->sched_yield();
	for (; space; space = ferry__space_next(space))
		tell(pager, space);
	/* R1: what was restored before there was a pager. */
	for (n = __atomic_load_n(&ferry__offload.held, __ATOMIC_SEQ_CST); n;
	     n--)
		ferry__pager_restore_all(pager);
}

static void start_pager(void)
{
	enum ferry_reason reason = FERRY_REASON_NO_MEMORY;
	struct ferry__pager *pager;
	int r = create(&pager);

	if (!r) {
		publish(pager);
		ferry__engine_own_begin();
		r = ferry__pager_start(pager, &reason);
		ferry__engine_own_end();
		ferry__tiers_complain(&ferry__offload.tiers);
	}
	ferry__offload_tried(r ? ferry_reason_string(reason) : NULL);
}

/*
 * Does what the program asks calloc(3) for come from here? One that brings a
 * malloc of its own has no use for us, and may hold its locks when we are
 * called.
 */
static bool is_in_front(void)
{
	void *p = calloc(1, 1);
	bool ours = ferry__space_of(FERRY__SPACE_HEAP, p) ||
		    ferry__space_of(FERRY__SPACE_OWN, p);

	free(p);
	return ours;
}

/* Why not; or NULL. Calls nothing that a filter of system calls may forbid. */
static const char *check(void)
{
	if (!ferry__engine_is_ready())
		return "there is no address space for a heap of pages";
	if (ferry__offload.conf->offload == FERRY__OFFLOAD_AUTO &&
	    ferry__filtered())
		return "system calls are filtered (seccomp)";
	return is_in_front() ? NULL : "the program has a malloc of its own";
}

bool ferry__offload_is_guest(void)
{
	return ferry__sys->getpid() != ferry__offload.pid;
}

/* It is for the caller to start, or to say that it will not. */
static bool claim(void)
{
	enum ferry__offload_state expected = FERRY__OFFLOAD_WAITING;
	const char *why;

	/* Relaxed: nothing is read that another thread wrote. */
	if (!__atomic_compare_exchange_n(&ferry__offload.state, &expected,
					 FERRY__OFFLOAD_STARTING, false,
					 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return false;
	why = check();
	if (why)
		ferry__offload_tried(why);
	return !why;
}

/* @r: why there was no job. Nobody may start any just now: it is tried again. */
static void unclaim(int r)
{
	if (r == -EBUSY)
		__atomic_store_n(&ferry__offload.state, FERRY__OFFLOAD_WAITING,
				 __ATOMIC_RELEASE); /* T2 */
	else
		ferry__offload_tried(
			ferry_reason_string(FERRY_REASON_NO_MEMORY));
}

int ferry__offload_start(void)
{
	int r;

	/* For who asked because of an event. */
	ferry__starter_settle();
	if (ferry__offload_is_guest())
		return -ECHILD;
	if (claim()) {
		r = ferry__starter_do(start_pager);
		if (r)
			unclaim(r);
	}
	return ferry__offload_reason() ? -EOPNOTSUPP : 0;
}

/* --- on the side ------------------------------------------------------------------------ */

void ferry__offload_again(void)
{
	bool stopped;

	ferry__engine_own_begin();
	stopped = ferry__pager_start(ferry__offload.pager, NULL) != 0;
	ferry__engine_own_end();
	/* Relaxed: as in ferry__offload_work(). */
	__atomic_store_n(&ferry__offload.stopped, stopped, __ATOMIC_RELAXED);
}

/*
 * In the middle of a request for memory: the threads are started by one that
 * nobody waits for (starter.h).
 */
void ferry__offload_work(void)
{
	int r;

	/* Relaxed: only whether there is something to do. */
	if (__atomic_load_n(&ferry__offload.stopped, __ATOMIC_RELAXED)) {
		ferry__starter_run(ferry__offload_again);
		return;
	}
	/* Relaxed: as in ferry__offload_grown(). */
	if (__atomic_load_n(&ferry__offload.bytes, __ATOMIC_RELAXED) <
		    ferry__offload.conf->min_heap ||
	    ferry__offload_is_guest() || !claim())
		return;
	r = ferry__starter_run(start_pager);
	if (r)
		unclaim(r);
}
