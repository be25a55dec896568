/* SPDX-License-Identifier: MIT */
/*
 * SIGBUS mode: the thread that touches a page brings it back itself, in a
 * signal handler. Nobody is woken, which makes it the quicker service by far;
 * but system calls on cold pages fail with EFAULT.
 *
 * The descriptor is in the program's table as well, at a high number, and at
 * the same in the home thread's (D3). A helper there serves what a signal
 * handler cannot: pages of stores that are not signal-safe, and all of them
 * once the program has closed its copy.
 *
 * K2: a handler announces itself, then looks whether a thread forks; who forks
 * announces that, then waits for handlers. Both sequentially consistent.
 * V1: a hand is claimed (acquire) and given back (release).
 * V2: as Q1 to Q3 of pager_ask.c, with the helper.
 */
#include <sys/resource.h>

#include "alloc/pager/pager-internal.h"
#include "uffd/fault.h"
#include "uffd/handle.h"
#include "uffd/uapi.h"

#define HANDS	  16
#define HIGHEST	  1000
#define SECOND_NS 1000000000u

/* --- descriptors --------------------------------------------------------- */

/* Far from the numbers that programs choose, in reach of the limit. */
static int high_number(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > HIGHEST)
		return HIGHEST;
	return limit.rlim_cur > 32 ? (int)limit.rlim_cur - 16 : 0;
}

/* The handle is nobody else's yet. */
static void raise_descriptor(struct ferry_uffd *uffd)
{
	int fd = ferry__sys->dup_above(uffd->fd, high_number());

	if (fd >= 0) {
		ferry__sys->close(uffd->fd);
		uffd->fd = fd;
	}
	/* A number of this table: in the home thread's it is another file. */
	if (uffd->pagemap >= 0)
		ferry__sys->close(uffd->pagemap);
	uffd->pagemap = -1;
}

static int make_hands(struct ferry__pager *pager)
{
	const size_t staging = FERRY__BLOCK_PAGES * ferry__page_size;
	unsigned char *buffers;
	size_t i;

	if (pager->hands)
		return 0;
	buffers = ferry__pager_map(HANDS * staging);
	if (!buffers)
		return -ENOMEM;
	pager->hands = ferry__pager_map(HANDS * sizeof(*pager->hands));
	if (!pager->hands) {
		ferry__pager_unmap(buffers, HANDS * staging);
		return -ENOMEM;
	}
	for (i = 0; i < HANDS; i++) {
		pager->hands[i].staging = buffers + i * staging;
		pager->hands[i].in_signal = true;
	}
	return 0;
}

int ferry__sigbus_open(struct ferry__pager *pager, enum ferry_reason *reason)
{
	struct ferry_fault_params params =
		FERRY_INIT(struct ferry_fault_params);
	int r = make_hands(pager);

	if (r)
		return r;
	params.mode = FERRY_FAULT_SIGBUS;
	r = ferry_fault_service_create(&params, reason, &pager->service);
	if (r)
		return r;
	pager->uffd = ferry_fault_service_uffd(pager->service);
	pager->lost = false;
	raise_descriptor(pager->uffd);
	return 0;
}

/* Is it ours still? The program may have closed it and opened another. */
static bool is_uffd(int fd)
{
	struct ferry__uffdio_api api = { .api = 0 };

	return ferry__sys->ioctl(fd, FERRY__UFFDIO_API, &api) == -EINVAL;
}

void ferry__sigbus_close(int fd)
{
	if (is_uffd(fd))
		ferry__sys->close(fd);
}

void ferry__sigbus_free(struct ferry__pager *pager)
{
	const size_t staging = FERRY__BLOCK_PAGES * ferry__page_size;

	if (!pager->hands)
		return;
	ferry__pager_unmap(pager->hands[0].staging, HANDS * staging);
	ferry__pager_unmap(pager->hands, HANDS * sizeof(*pager->hands));
	pager->hands = NULL;
}

void ferry__sigbus_reset(struct ferry__pager *pager)
{
	size_t i;

	if (!pager->service)
		return;
	/* The parent's, of no use here. */
	if (!is_uffd(pager->uffd->fd))
		pager->uffd->fd = -1;
	ferry_fault_service_destroy(pager->service);
	pager->service = NULL;
	pager->uffd = NULL;
	pager->visits = 0;
	pager->faults = NULL;
	for (i = 0; i < HANDS; i++)
		pager->hands[i].busy = 0;
}

/* --- the helper ---------------------------------------------------------- */

static void cry(struct ferry__pager *pager)
{
	__atomic_fetch_add(&pager->cry, 1, __ATOMIC_SEQ_CST); /* V2 */
	ferry__sys->futex_wake(&pager->cry);
}

/* Asks the helper for the page, and waits until it has tried. */
static void ask_helper(struct ferry__pager *pager, uintptr_t addr)
{
	struct ferry__pager_request q = {
		.addr = addr,
		.len = (size_t)ferry__sys->gettid(),
	};

	q.next = __atomic_load_n(&pager->faults, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&pager->faults, &q.next, &q, false,
					    __ATOMIC_SEQ_CST, /* V2 */
					    __ATOMIC_RELAXED))
		;
	cry(pager);
	while (!__atomic_load_n(&q.done, __ATOMIC_ACQUIRE)) /* V2 */
		ferry__sys->futex_wait(&q.done, 0, SECOND_NS);
}

static void help(struct ferry__pager *pager, struct ferry__pager_request *q)
{
	struct ferry__pager_region *r = ferry__region_find(pager, q->addr);

	pthread_mutex_lock(&pager->serve);
	if (!pager->fork_tid || pager->fork_tid == (int)q->len)
		ferry__pager_serve(pager, &pager->serving, r,
				   (q->addr - r->addr) / ferry__page_size);
	pthread_mutex_unlock(&pager->serve);
	__atomic_store_n(&q->done, 1, __ATOMIC_RELEASE); /* V2 */
	ferry__sys->futex_wake(&q->done);
}

void *ferry__sigbus_help(void *arg)
{
	struct ferry__pager *pager = arg;
	struct ferry__pager_request *q, *next;
	uint32_t heard;

	pthread_setname_np(pthread_self(), "ferry-page");
	while (!__atomic_load_n(&pager->stop_helper, __ATOMIC_ACQUIRE)) {
		heard = __atomic_load_n(&pager->cry, __ATOMIC_SEQ_CST);
		q = __atomic_exchange_n(&pager->faults, NULL,
					__ATOMIC_SEQ_CST); /* V2 */
		for (; q; q = next) {
			next = q->next;
			help(pager, q);
		}
		ferry__sys->futex_wait(&pager->cry, heard, 60ull * SECOND_NS);
	}
	pager->stop_helper = false;
	return NULL;
}

void ferry__sigbus_stop(struct ferry__pager *pager)
{
	/* Who asks the helper yet is answered by it. */
	ferry__fault_detach_all(pager->service);
	__atomic_store_n(&pager->stop_helper, true, __ATOMIC_RELEASE);
	cry(pager);
}

/* --- the signal handler -------------------------------------------------- */

/* One by the thread, so that its sequences are seen; any if that is taken. */
static struct ferry__pager_hand *claim_hand(struct ferry__pager *pager)
{
	unsigned int i = ferry__thread_stripe();
	uint32_t free;

	for (;; i++) {
		free = 0;
		if (__atomic_compare_exchange_n(&pager->hands[i % HANDS].busy,
						&free, 1, false,
						__ATOMIC_ACQUIRE, /* V1 */
						__ATOMIC_RELAXED))
			return &pager->hands[i % HANDS];
		if (i % HANDS == 0)
			ferry__sys->sched_yield();
	}
}

static void give_hand_back(struct ferry__pager_hand *hand)
{
	__atomic_store_n(&hand->busy, 0, __ATOMIC_RELEASE); /* V1 */
}

static bool enter(struct ferry__pager *pager)
{
	__atomic_fetch_add(&pager->visits, 1, __ATOMIC_SEQ_CST); /* K2 */
	if (!__atomic_load_n(&pager->forking, __ATOMIC_SEQ_CST) ||
	    __atomic_load_n(&pager->fork_tid, __ATOMIC_RELAXED) ==
		    ferry__sys->gettid())
		return true;
	__atomic_fetch_sub(&pager->visits, 1, __ATOMIC_SEQ_CST);
	return false;
}

static void leave(struct ferry__pager *pager)
{
	__atomic_fetch_sub(&pager->visits, 1, __ATOMIC_SEQ_CST); /* K2 */
}

static bool needs_help(struct ferry__pager *pager, uint64_t word)
{
	if (__atomic_load_n(&pager->lost, __ATOMIC_RELAXED))
		return true;
	return ferry__word_state(word) == FERRY__WORD_STORED &&
	       !pager->tiers[ferry__word_tier(word)].store->ops->signal_safe;
}

static int serve_here(struct ferry__pager *pager,
		      struct ferry__pager_region *region, size_t page)
{
	struct ferry__pager_hand *hand;
	int r;

	if (!enter(pager))
		return -EAGAIN;
	hand = claim_hand(pager);
	r = ferry__pager_serve(pager, hand, region, page);
	/* Whoever has it may be reading ahead: helped, and touched again. */
	if (r == -EAGAIN && ferry__ahead_step(pager, hand))
		r = 0;
	give_hand_back(hand);
	leave(pager);
	return r;
}

static void supply(void *arg, const struct ferry_fault *fault,
		   struct ferry_supply *ret)
{
	struct ferry__pager *pager = arg;
	uintptr_t addr = (uintptr_t)fault->page;
	struct ferry__pager_region *r = ferry__region_find(pager, addr);
	size_t page = (addr - r->addr) / ferry__page_size;
	int error = -EBADF;

	ret->kind = FERRY_SUPPLY_AGAIN;
	if (!needs_help(pager, ferry__word_load(&r->words[page])))
		error = serve_here(pager, r, page);
	if (!error) {
		ret->kind = FERRY_SUPPLY_DONE;
	} else if (error != -EAGAIN) {
		if (!needs_help(pager, ferry__word_load(&r->words[page])))
			__atomic_store_n(&pager->lost, true, __ATOMIC_RELAXED);
		ask_helper(pager, addr);
		/* True or not, it is touched again. */
		ret->kind = FERRY_SUPPLY_DONE;
	}
}

int ferry__sigbus_attach(struct ferry__pager *pager, uintptr_t addr, size_t len)
{
	return ferry_fault_attach(pager->service, (void *)addr, len, supply,
				  pager, NULL);
}
