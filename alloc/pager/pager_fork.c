/* SPDX-License-Identifier: MIT */
/*
 * Around fork(2), called by the host's handlers (F1 to F3, F7).
 *
 * prepare: no discard is under way (K1), the looking thread is outside its
 * work, and the handler serves nobody but the thread that forks. That one
 * must be served: the C library touches heap memory between the last handler
 * and the clone. Since it cannot fork while it waits for a page, no word is
 * owned and no store is changing when the process is copied; what a page left
 * in a store then is dropped later (SPENT).
 *
 * child: registrations did not come along; where the kernel tells of forks the
 * parent's handler serves until the child rings (pager_event.c), else what was
 * touched is mended. Few pages that are out are brought back by writing them;
 * for more, a home thread of the child's own opens a userfaultfd and registers
 * what was registered.
 *
 * parent: the window stays open until the child has rung.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/pager/pager-internal.h"
#include "alloc/pager/probe.h"
#include "uffd/handle.h"

/* So many pages are sooner written than threads are started. */
#define FEW_PAGES 64

/* --- before -------------------------------------------------------------- */

void ferry__pager_wait_fork(struct ferry__pager *pager)
{
	while (__atomic_load_n(&pager->forking, __ATOMIC_SEQ_CST)) /* K1 */
		ferry__sys->futex_wait(&pager->forking, 1, 1000000u);
}

#ifdef __GLIBC__
/*
 * The child's C library sets the lock of every stream before any handler
 * runs, at a time when nobody serves it: those pages come back now.
 */
extern FILE *_IO_list_all;
void _IO_list_lock(void);
void _IO_list_unlock(void);

static void touch_streams(void)
{
	FILE *f;

	_IO_list_lock();
	for (f = _IO_list_all; f; f = f->_chain) {
		(void)*(volatile int *)&f->_flags;
		if (f->_lock)
			(void)*(volatile char *)f->_lock;
	}
	_IO_list_unlock();
}
#else
static void touch_streams(void)
{
}
#endif

static void stop_changes(struct ferry__pager *pager)
{
	/* K1: announce, then wait; see enter() in pager_discard.c. */
	__atomic_store_n(&pager->forking, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&pager->discards, __ATOMIC_SEQ_CST) ||
	       __atomic_load_n(&pager->visits, __ATOMIC_SEQ_CST)) /* K2 */
		ferry__sys->sleep_ns(10000);
	ferry__ahead_wait(pager);
	pthread_mutex_lock(&pager->work);
	/* A child that is being given all is done with, see copy_all(). */
	pthread_mutex_lock(&pager->gate);
	pthread_mutex_unlock(&pager->gate);
	pthread_mutex_lock(&pager->cover);
}

static void let_changes(struct ferry__pager *pager)
{
	pthread_mutex_unlock(&pager->work);
	__atomic_store_n(&pager->forking, 0, __ATOMIC_SEQ_CST); /* K1 */
	ferry__sys->futex_wake(&pager->forking);
}

static void serve_only(struct ferry__pager *pager, int tid)
{
	__atomic_fetch_add(&pager->windows, 1, __ATOMIC_SEQ_CST); /* K3 */
	pthread_mutex_lock(&pager->serve);
	/* Relaxed: others only ask whether it is they. */
	__atomic_store_n(&pager->fork_tid, tid, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&pager->serve);
}

bool ferry__pager_sees_forks(struct ferry__pager *pager)
{
	return ferry__pager_state(pager) == FERRY__PAGER_ON &&
	       pager->sees_forks;
}

void ferry__pager_fork_prepare(struct ferry__pager *pager)
{
	struct ferry__store *store;
	size_t i;

	ferry__pager_settle_guest(pager);
	serve_only(pager, ferry__sys->gettid());
	stop_changes(pager);
	if (ferry__pager_state(pager) == FERRY__PAGER_ON)
		touch_streams();
	for (i = 0; i < pager->n_tiers; i++) {
		store = pager->tiers[i].store;
		if (store->ops->fork_prepare)
			store->ops->fork_prepare(store);
	}
	FERRY__PROBE2(fork_prepare, ferry__pager_read(&pager->limbo),
		      ferry__pager_read(&pager->stored));
}

void ferry__pager_fork_parent(struct ferry__pager *pager)
{
	struct ferry__store *store;
	size_t i;

	pthread_mutex_unlock(&pager->cover);
	for (i = pager->n_tiers; i-- > 0;) {
		store = pager->tiers[i].store;
		if (store->ops->fork_parent)
			store->ops->fork_parent(store);
	}
	/*
	 * After the stores' own locks, which come behind the gate. Nothing
	 * changes in them for all that: whoever would is kept out until
	 * let_changes(), and the handler by serve_only().
	 */
	if (ferry__pager_sees_forks(pager))
		ferry__pager_await_children(pager);
	serve_only(pager, 0);
	let_changes(pager);
	FERRY__PROBE0(fork_parent);
}

/* --- the child ----------------------------------------------------------- */

static void reset(struct ferry__pager *pager)
{
	ferry__pager_init_locks(pager);
	ferry__sigbus_reset(pager);
	ferry__uffd_forget(pager->uffd);
	pager->uffd = NULL;
	pager->requests = NULL;
	pager->fork_tid = 0;
	pager->forking = 0;
	/* By threads that are not here; a raw fork waits for none. */
	pager->discards = 0;
	pager->windows = 0;
	pager->children = NULL;
	pager->rung = 0;
	pager->pending = 0;
	pager->hurry = 0;
	pager->home_tid = 0;
	/* Whoever was reading ahead is not here. */
	memset(pager->ahead, 0, sizeof(pager->ahead));
	pager->aheads = 0;
	memset(&pager->policy, 0, sizeof(pager->policy));
	if (pager->state != FERRY__PAGER_FAILED)
		pager->state = FERRY__PAGER_OFF;
}

static void tell_stores(struct ferry__pager *pager)
{
	struct ferry__store *store;
	size_t i;

	for (i = pager->n_tiers; i-- > 0;) {
		store = pager->tiers[i].store;
		if (store->ops->fork_child)
			store->ops->fork_child(store);
	}
}

/* Stores' locks and descriptors are of threads that are not here. */
void ferry__pager_settle_guest(struct ferry__pager *pager)
{
	if (ferry__pager_state(pager) != FERRY__PAGER_ON ||
	    pager->pid == ferry__sys->getpid())
		return;
	tell_stores(pager);
	reset(pager);
	/* The C library has them in its lists until it forks itself. */
	pager->home.stack = NULL;
	pager->handler.stack = NULL;
	ferry__pager_write_pages(pager);
	ferry__pager_leave_tiers(pager);
}

/*
 * From the bell until all is registered anew nobody serves: no handler of the
 * program may run. Signals of the thread's own doing are left as they are.
 */
static void block_signals(sigset_t *ret_mask)
{
	sigset_t all;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGTRAP);
	pthread_sigmask(SIG_SETMASK, &all, ret_mask);
}

static void serve_itself(struct ferry__pager *pager, bool served)
{
	bool out = pager->limbo + pager->stored;

	reset(pager);
	/* The C library has forgotten their threads by now. */
	ferry__pager_free_stacks(pager);
	if (served)
		ferry__pager_settle_given(pager);
	else if (out)
		ferry__pager_mend(pager);
	/* What it took to read them is of this thread's table. */
	ferry__pager_leave_tiers(pager);
	if (pager->limbo + pager->stored > FEW_PAGES &&
	    !ferry__pager_restart(pager))
		return;
	ferry__pager_write_pages(pager);
	ferry__pager_leave_tiers(pager);
}

void ferry__pager_fork_child(struct ferry__pager *pager)
{
	sigset_t mask;
	bool served;

	block_signals(&mask);
	served = ferry__pager_sees_forks(pager) && ferry__pager_ring(pager);
	FERRY__PROBE2(fork_child, ferry__pager_read(&pager->limbo),
		      ferry__pager_read(&pager->stored));
	tell_stores(pager);
	serve_itself(pager, served);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
}
