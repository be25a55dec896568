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
#include <langinfo.h>
#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc/malloc/holes.h"
#include "alloc/malloc/library.h"
#include "alloc/malloc/quiet.h"
#include "alloc/malloc/report.h"
#include "alloc/malloc/socket.h"
#include "alloc/malloc/space.h"
#include "alloc/malloc/starter.h"
#include "alloc/malloc/tiers.h"
#include "uffd/handle.h"
#include "uffd/sys.h"
#include "uffd/thread.h"

enum state { WAITING = 0, STARTING, TRIED };

static struct {
	const struct ferry__conf *conf;
	enum state state; /* atomic */
	int pid;	  /* whose memory this is */
	struct ferry__pager *pager;
	unsigned int plain; /* purges that saw no pager; D1 */
	size_t bytes;	    /* of spaces handed out to the heap; atomic */
	const char *reason; /* written before TRIED */
	struct ferry__holes holes;
	struct ferry__tiers tiers;
	unsigned int held;	/* restore() without resume(); atomic */
	uint64_t next_decay_ns; /* of the pager's thread */
	unsigned int forks;	/* of this process; under fork_lock */
	bool restored;		/* for a fork without handlers; likewise */
	bool stopped;		/* and could not be started again */
	bool purged;		/* since the process was last busy; likewise */
} offload;

struct ferry__pager *ferry__offload_pager(void)
{
	return __atomic_load_n(&offload.pager, __ATOMIC_SEQ_CST); /* D1b */
}

static enum state current_state(void)
{
	/* T1 pairs with T2 in set_tried(): reason is written. */
	return __atomic_load_n(&offload.state, __ATOMIC_ACQUIRE);
}

/* What is known is in place. */
static void set_tried(void)
{
	/* T2 pairs with T1 in current_state(). */
	__atomic_store_n(&offload.state, TRIED, __ATOMIC_RELEASE);
}

const char *ferry__offload_reason(void)
{
	return current_state() == TRIED ? offload.reason : NULL;
}

const char *ferry__offload_blind(void)
{
	return current_state() == TRIED && offload.holes.engine
		       ? ferry__holes_reason(&offload.holes)
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
	bytes = __atomic_add_fetch(&offload.bytes, size, __ATOMIC_RELAXED);
	if (pager)
		tell(pager, ferry__space_of(FERRY__SPACE_HEAP, addr));
	else if (offload.conf && bytes >= offload.conf->min_heap &&
		 current_state() == WAITING)
		ferry__engine_want_work();
}

int ferry__offload_discard(void *addr, size_t len)
{
	struct ferry__pager *pager;
	int r;

	__atomic_fetch_add(&offload.plain, 1, __ATOMIC_SEQ_CST); /* D1a */
	pager = ferry__offload_pager();
	if (!pager) {
		r = ferry__sys->madvise(addr, len, MADV_DONTNEED);
		__atomic_fetch_sub(&offload.plain, 1, __ATOMIC_SEQ_CST);
		return r;
	}
	__atomic_fetch_sub(&offload.plain, 1, __ATOMIC_SEQ_CST);
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
	ferry__starter_join(false);
	if (!ferry__fork_hold())
		return;
	if (idle && !offload.purged) {
		each_arena("purge");
	} else if (!idle && now_ns >= offload.next_decay_ns) {
		each_arena("decay");
		offload.next_decay_ns = now_ns + DECAY_NS;
	}
	offload.purged = idle;
	ferry__report_tick(now_ns);
	ferry__fork_release();
}

/* --- nothing out for a while ------------------------------------------------------------ */

/* R1: held is counted first; a start that comes later looks at it. */
int ferry__offload_restore(void)
{
	struct ferry__pager *pager;

	__atomic_fetch_add(&offload.held, 1, __ATOMIC_SEQ_CST); /* R1 */
	pager = ferry__offload_pager();
	return pager ? ferry__pager_restore_all(pager) : 0;
}

/* Of what was not restored nothing is resumed. */
void ferry__offload_resume(void)
{
	struct ferry__pager *pager = ferry__offload_pager();
	unsigned int held = __atomic_load_n(&offload.held, __ATOMIC_RELAXED);

	do
		if (!held)
			return;
	while (!__atomic_compare_exchange_n(&offload.held, &held, held - 1,
					    false, __ATOMIC_SEQ_CST, /* R1 */
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

/*
 * For calls that want a process without threads of ours, or after which there
 * may be none (quiet.h).
 */
static void quiet_begin(void)
{
	struct ferry__pager *pager;

	ferry__socket_stop(true);
	ferry__starter_join(true);
	pager = ferry__offload_pager();
	if (pager)
		ferry__pager_stop(pager);
}

/* Neither threads nor files: the filter may kill for a call that opens one. */
static void quiet_for_ever(void)
{
	offload.reason = "a filter of system calls was installed";
	/* Relaxed: nobody else starts anything. */
	__atomic_store_n(&offload.stopped, false, __ATOMIC_RELAXED);
	set_tried();
	ferry__socket_stop(false);
	ferry__report_stop();
}

/*
 * A process that has no threads now because its children are to be in another
 * namespace of processes gets none: its children do (fork_child()).
 */
static void start_again(void)
{
	bool stopped;

	ferry__engine_own_begin();
	stopped = ferry__pager_start(offload.pager, NULL) != 0;
	ferry__engine_own_end();
	/* Relaxed: as in ferry__offload_work(). */
	__atomic_store_n(&offload.stopped, stopped, __ATOMIC_RELAXED);
}

/* In both processes. */
static void raw_fork_end(void)
{
	if (offload.restored)
		ferry__offload_resume();
	ferry__fork_release();
}

static void quiet_end(bool for_ever)
{
	if (for_ever)
		quiet_for_ever();
	else if (ferry__offload_pager())
		start_again();
}

/*
 * A fork whose child finds nothing that is out and has nobody who serves it:
 * all comes back, unless the kernel tells of such forks (DESIGN F10). Held, so
 * that a pager that starts meanwhile takes nothing either.
 */
static int raw_fork_begin(void)
{
	struct ferry__pager *pager;
	int r = ferry__fork_begin_raw();

	if (r)
		return r;
	pager = ferry__offload_pager();
	offload.restored = !pager || !ferry__pager_sees_forks(pager);
	if (!offload.restored || !ferry__offload_restore())
		return 0;
	raw_fork_end();
	return -EAGAIN;
}

static const struct ferry__quiet quiet = { .begin = quiet_begin,
					   .end = quiet_end,
					   .fork_begin = raw_fork_begin,
					   .fork_end = raw_fork_end };

/* --- start ---------------------------------------------------------------------------- */

void ferry__offload_init(const struct ferry__conf *conf)
{
	offload.conf = conf;
	offload.pid = ferry__sys->getpid();
	ferry__thread_begins = ferry__engine_be_own;
	ferry__quiet_set(&quiet);
	if (conf->offload == FERRY__OFFLOAD_OFF) {
		offload.reason = "offload is off, as configured";
		set_tried();
	} else if (!conf->min_heap) {
		ferry__engine_want_work();
	}
}

static int create(struct ferry__pager **ret_pager)
{
	struct ferry__pager_params params;
	int r;

	ferry__holes_start(&offload.holes, &ferry__holes_jemalloc);
	r = ferry__tiers_init(&offload.tiers, offload.conf, &offload.holes);
	if (r)
		return r;
	ferry__tiers_params(&offload.tiers, &params);
	params.tick = tick;
	r = ferry__pager_create(&params, ret_pager);
	if (r)
		ferry__tiers_fini(&offload.tiers);
	return r;
}

static void publish(struct ferry__pager *pager)
{
	struct ferry__space *space = &ferry__space_first[FERRY__SPACE_HEAP];
	unsigned int n;

	__atomic_store_n(&offload.pager, pager, __ATOMIC_SEQ_CST); /* D1c */
	while (__atomic_load_n(&offload.plain, __ATOMIC_SEQ_CST))  /* D1d */
		ferry__sys->sched_yield();
	for (; space; space = ferry__space_next(space))
		tell(pager, space);
	/* R1: what was restored before there was a pager. */
	for (n = __atomic_load_n(&offload.held, __ATOMIC_SEQ_CST); n; n--)
		ferry__pager_restore_all(pager);
}

static int start_pager(void)
{
	enum ferry_reason reason = FERRY_REASON_NO_MEMORY;
	struct ferry__pager *pager;
	int r = create(&pager);

	if (!r) {
		publish(pager);
		ferry__engine_own_begin();
		r = ferry__pager_start(pager, &reason);
		ferry__engine_own_end();
		ferry__tiers_complain(&offload.tiers);
	}
	if (r)
		offload.reason = ferry_reason_string(reason);
	return r;
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

/* Calls nothing that a filter of system calls may forbid. */
static int check(void)
{
	if (!ferry__engine_is_ready()) {
		offload.reason =
			"there is no address space for a heap of pages";
		return -ENOMEM;
	}
	if (offload.conf->offload == FERRY__OFFLOAD_AUTO && ferry__filtered()) {
		offload.reason = "system calls are filtered (seccomp)";
		return -EPERM;
	}
	if (!is_in_front()) {
		offload.reason = "the program has a malloc of its own";
		return -EOPNOTSUPP;
	}
	return 0;
}

bool ferry__offload_is_guest(void)
{
	return ferry__sys->getpid() != offload.pid;
}

/* 1: it is for the caller to start; else 0 or why there is nothing to start. */
static int claim(void)
{
	enum state expected = WAITING;
	int r;

	if (ferry__offload_is_guest())
		return -ECHILD;
	if (current_state() != WAITING)
		return ferry__offload_reason() ? -EOPNOTSUPP : 0;
	/* Relaxed: nothing is read that another thread wrote. */
	if (!__atomic_compare_exchange_n(&offload.state, &expected, STARTING,
					 false, __ATOMIC_RELAXED,
					 __ATOMIC_RELAXED))
		return 0;
	r = check();
	if (r)
		set_tried();
	return r ? r : 1;
}

int ferry__offload_start(void)
{
	int r;

	/* For who asked because of an event. */
	ferry__starter_settle();
	r = claim();
	if (r <= 0)
		return r;
	r = start_pager();
	set_tried();
	return r;
}

/* --- on the side ------------------------------------------------------------------------ */

static void start_job(void)
{
	start_pager();
	set_tried();
}

/*
 * In the middle of a request for memory: the threads are started by one that
 * nobody waits for (starter.h).
 */
void ferry__offload_work(void)
{
	/* Relaxed: only whether there is something to do. */
	if (__atomic_load_n(&offload.stopped, __ATOMIC_RELAXED)) {
		ferry__starter_run(start_again);
		return;
	}
	/* Relaxed: as in ferry__offload_grown(). */
	if (__atomic_load_n(&offload.bytes, __ATOMIC_RELAXED) <
		    offload.conf->min_heap ||
	    claim() <= 0)
		return;
	if (ferry__starter_run(start_job)) {
		offload.reason = ferry_reason_string(FERRY_REASON_NO_MEMORY);
		set_tried();
	}
}

/* --- fork ----------------------------------------------------------------------------- */

/* More than any category has; what is beyond is asked for in vain. */
#define LOCALE_ITEMS 160

/*
 * A thread begins with a look at the locale, which is on the heap; the child's
 * first one is that which would bring it back. So it is in memory when the
 * process is copied: nothing is taken out from prepare on.
 */
static void touch_locale(void)
{
	int category, i;

	for (category = 0; category <= LC_IDENTIFICATION; category++)
		for (i = 0; i < LOCALE_ITEMS; i++)
			nl_langinfo(_NL_ITEM(category, i));
}

void ferry__offload_fork_prepare(void)
{
	struct ferry__pager *pager = ferry__offload_pager();

	if (!pager)
		return;
	ferry__pager_fork_prepare(pager);
	touch_locale();
}

void ferry__offload_fork_parent(void)
{
	struct ferry__pager *pager = ferry__offload_pager();

	if (!pager)
		return;
	ferry__pager_fork_parent(pager);
	offload.forks++;
}

/* So many children of a process are taken for daemons in the making. */
#define FEW_FORKS 2

/*
 * The pager of a child runs already if much was out. Else most children are
 * not worth two threads: they end soon, or become another program. But one
 * that goes to sleep without another allocation should not be left as it is:
 * who forks seldom is believed to mean it.
 */
static void start_in_child(struct ferry__pager *pager)
{
	struct ferry__pager_stats stats;

	if (offload.reason)
		return;
	ferry__pager_stats(pager, &stats);
	offload.stopped = !stats.running;
	if (offload.stopped && offload.forks < FEW_FORKS)
		start_again();
	else if (offload.stopped)
		ferry__engine_want_work();
	offload.forks = 0;
}

/*
 * Purges and a start that other threads were at are not going on here: what
 * they would have done is not done, and the start may be tried again.
 */
void ferry__offload_fork_child(void)
{
	struct ferry__pager *pager = ferry__offload_pager();

	offload.plain = 0;
	offload.pid = ferry__sys->getpid();
	if (offload.state == STARTING)
		offload.state = pager ? TRIED : WAITING;
	ferry__starter_fork_child();
	ferry__quiet_fork_child();
	ferry__socket_fork_child();
	if (!pager)
		return;
	ferry__engine_own_begin();
	ferry__pager_fork_child(pager);
	ferry__engine_own_end();
	start_in_child(pager);
}
