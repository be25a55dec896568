/* SPDX-License-Identifier: MIT */
/*
 * Around fork(2), called by the host's handlers (F1 to F3).
 *
 * prepare: no discard is under way (K1), the looking thread is outside its
 * work, and the handler serves nobody but the thread that forks. That one
 * must be served: the C library touches heap memory between the last handler
 * and the clone. Since it cannot fork while it waits for a page, no word is
 * owned and no store is changing when the process is copied; what a page left
 * in a store then is dropped later (SPENT).
 *
 * child: registrations did not come along. Few pages that are out are brought
 * back by writing them; for more, a home thread of the child's own opens a
 * userfaultfd and registers what was registered.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/pager/pager-internal.h"
#include "alloc/pager/probe.h"
#include "uffd/handle.h"
#include "uffd/pagemap.h"

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
	pthread_mutex_lock(&pager->work);
	pthread_mutex_lock(&pager->cover);
}

static void let_changes(struct ferry__pager *pager)
{
	pthread_mutex_unlock(&pager->cover);
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

static void reset(struct ferry__pager *pager);
static void write_pages(struct ferry__pager *pager);

void ferry__pager_fork_prepare(struct ferry__pager *pager)
{
	struct ferry__store *store;
	size_t i;

	/* The child of a fork without handlers: all it has is present. */
	if (pager->uffd && pager->pid != ferry__sys->getpid()) {
		reset(pager);
		write_pages(pager);
	}
	serve_only(pager, ferry__sys->gettid());
	stop_changes(pager);
	if (ferry__pager_state(pager) == FERRY__PAGER_ON)
		touch_streams();
	for (i = 0; i < pager->n_tiers; i++) {
		store = pager->tiers[i].store;
		if (store->ops->fork_prepare)
			store->ops->fork_prepare(store);
	}
	FERRY__PROBE2(fork_prepare, pager->limbo, pager->stored);
}

void ferry__pager_fork_parent(struct ferry__pager *pager)
{
	struct ferry__store *store;
	size_t i;

	for (i = pager->n_tiers; i-- > 0;) {
		store = pager->tiers[i].store;
		if (store->ops->fork_parent)
			store->ops->fork_parent(store);
	}
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
	pager->windows = 0;
	pager->home_tid = 0;
	memset(&pager->policy, 0, sizeof(pager->policy));
	if (pager->state != FERRY__PAGER_FAILED)
		pager->state = FERRY__PAGER_OFF;
}

/* Also when it is swapped out; @pagemap may be -1. */
static bool is_present(int pagemap, void *at)
{
	unsigned char there = 0;
	uint64_t word;

	if (ferry__pagemap_read(pagemap, (uintptr_t)at, 1, &word) == 1)
		return ferry__pagemap_occupied(word);
	return !ferry__sys->mincore(at, ferry__page_size, &there) && there & 1;
}

/*
 * Memory is ordinary here: what is out is written where it belongs, unless
 * the parent has copied it there and it may have changed since.
 */
static void write_page(struct ferry__pager *pager, int pagemap,
		       struct ferry__pager_region *r, size_t page)
{
	void *at = (void *)ferry__page_at(r, page);
	uint64_t w = r->words[page];
	int e = 0;

	switch (ferry__word_state(w)) {
	case FERRY__WORD_LIMBO:
		if (!is_present(pagemap, at))
			memcpy(at, (void *)ferry__limbo_at(r, page),
			       ferry__page_size);
		ferry__pager_free_limbo(r, page, 1);
		pager->limbo--;
		break;
	case FERRY__WORD_STORED:
		if (!is_present(pagemap, at))
			e = ferry__pager_get(pager, w, (uintptr_t)at, at);
		if (e)
			ferry__pager_lost(pager, w, (uintptr_t)at, e);
		ferry__pager_drop_stored(pager, w);
		pager->stored--;
		break;
	case FERRY__WORD_SPENT:
		ferry__pager_drop_stored(pager, w);
		break;
	default:
		return;
	}
	r->words[page] = w & FERRY__WORD_KEPT;
}

static void write_pages(struct ferry__pager *pager)
{
	struct ferry__pager_region *r = ferry__region_first(pager);
	int pagemap = ferry__sys->open("/proc/self/pagemap", 0);
	size_t page, end;

	for (; r; r = ferry__region_next(r)) {
		end = r->covered / ferry__page_size;
		for (page = 0; page < end; page++)
			if (ferry__region_out(r, page))
				write_page(pager, pagemap, r, page);
		ferry__region_forget(r);
	}
	pager->spent = false;
	if (pagemap >= 0)
		ferry__sys->close(pagemap);
}

/*
 * The C library touches heap memory in the child before any handler runs. A
 * page that was out reads as zero then. What it should have held is put under
 * what was written there since.
 */
static void mend_page(struct ferry__pager *pager, struct ferry__pager_region *r,
		      size_t page)
{
	unsigned char *at = (unsigned char *)ferry__page_at(r, page);
	const unsigned char *was = pager->look.staging;
	uint64_t w = r->words[page];
	size_t i;
	int e = 0;

	if (ferry__word_state(w) == FERRY__WORD_LIMBO)
		was = (unsigned char *)ferry__limbo_at(r, page);
	else if (ferry__word_state(w) == FERRY__WORD_STORED)
		e = ferry__pager_get(pager, w, (uintptr_t)at,
				     pager->look.staging);
	else
		return;
	if (e)
		ferry__pager_lost(pager, w, (uintptr_t)at, e);
	for (i = 0; i < ferry__page_size; i++)
		if (!at[i])
			at[i] = was[i];
	FERRY__PROBE5(page_back, at, 1, FERRY__BACK_MENDED, ferry__word_tier(w),
		      0);
}

/* Pages that are out and present all the same, of one unit. */
static void mend_unit(struct ferry__pager *pager, int pagemap,
		      struct ferry__pager_region *r, size_t page)
{
	const size_t n = FERRY__UNIT_SIZE / ferry__page_size;
	unsigned char vec[FERRY__UNIT_SIZE / 4096];
	size_t i;

	if (ferry__sys->mincore((void *)ferry__page_at(r, page),
				FERRY__UNIT_SIZE, vec))
		return;
	for (i = 0; i < n; i++) {
		if (!(vec[i] & 1))
			continue;
		mend_page(pager, r, page + i);
		if (ferry__word_state(r->words[page + i]) !=
		    FERRY__WORD_RESIDENT)
			write_page(pager, pagemap, r, page + i);
	}
}

static void mend(struct ferry__pager *pager)
{
	struct ferry__pager_region *r = ferry__region_first(pager);
	const size_t n = FERRY__UNIT_SIZE / ferry__page_size;
	size_t page, end;

	for (; r; r = ferry__region_next(r)) {
		end = r->covered / ferry__page_size;
		for (page = 0; page < end; page += n)
			if (ferry__region_out(r, page))
				mend_unit(pager, -1, r, page);
	}
}

void ferry__pager_fork_child(struct ferry__pager *pager)
{
	uint64_t out = pager->limbo + pager->stored;
	struct ferry__store *store;
	size_t i;

	FERRY__PROBE2(fork_child, pager->limbo, pager->stored);
	for (i = pager->n_tiers; i-- > 0;) {
		store = pager->tiers[i].store;
		if (store->ops->fork_child)
			store->ops->fork_child(store);
	}
	reset(pager);
	/* The C library has forgotten their threads by now. */
	ferry__pager_free_stacks(pager);
	mend(pager);
	/* What it took to read them is of this thread's table. */
	ferry__pager_leave_tiers(pager);
	if (out > FEW_PAGES && !ferry__pager_restart(pager))
		return;
	write_pages(pager);
	ferry__pager_leave_tiers(pager);
}
