/* SPDX-License-Identifier: MIT */
/* Fault services: their life, the ranges attached to them, their counts. */
#include "uffd/fault.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

uint64_t ferry__fault_chained;
uint64_t ferry__fault_stale;

/* --- creation ------------------------------------------------------------ */

static int check_params(const struct ferry_fault_params *params,
			struct ferry_fault_params *ret)
{
	const uint32_t known = FERRY_UFFD_WP_ASYNC | FERRY_UFFD_NONBLOCK;
	int r;

	r = ferry__params_copy(ret, sizeof(*ret), params, sizeof(size_t));
	if (r)
		return r;
	if (ret->mode != FERRY_FAULT_SIGBUS && ret->mode != FERRY_FAULT_THREAD)
		return -EINVAL;
	if (ret->uffd_flags & ~known ||
	    (unsigned int)ret->busy > FERRY_BUSY_SKIP ||
	    ret->around > SIZE_MAX / ferry__page_size)
		return -EINVAL;
	return 0;
}

static int open_uffd(const struct ferry_fault_params *params,
		     enum ferry_reason *reason, struct ferry_uffd **ret_uffd)
{
	struct ferry_uffd_params uffd = FERRY_INIT(struct ferry_uffd_params);

	uffd.way = params->way;
	uffd.flags = params->uffd_flags;
	if (params->mode == FERRY_FAULT_SIGBUS)
		uffd.flags |= FERRY_UFFD_SIGBUS;
	else
		uffd.flags |= FERRY_UFFD_NONBLOCK;
	return ferry_uffd_open(&uffd, reason, ret_uffd);
}

static void set_up(struct ferry_fault_service *service,
		   const struct ferry_fault_params *params)
{
	service->mode = params->mode;
	service->around =
		(params->around ? params->around : 1) * ferry__page_size;
	service->busy = params->busy;
	/* A fault has to be answered: what is busy is copied. */
	if (service->busy == FERRY_BUSY_REPORT)
		service->busy = FERRY_BUSY_COPY;
	service->threads = params->threads ? params->threads : 1;
	service->pid = ferry__fault_own_table();
}

static int start(struct ferry_fault_service *service)
{
	if (service->mode == FERRY_FAULT_SIGBUS)
		return ferry__fault_sigbus_start();
	return ferry__fault_threads_start(service);
}

static int create(const struct ferry_fault_params *params,
		  enum ferry_reason *reason,
		  struct ferry_fault_service **ret_service)
{
	struct ferry_fault_service *service;
	int r;

	service = ferry__fault_alloc(sizeof(*service));
	if (!service)
		return -ENOMEM;
	set_up(service, params);
	r = open_uffd(params, reason, &service->uffd);
	if (r)
		goto err_free;
	r = start(service);
	if (r)
		goto err_close;
	*ret_service = service;
	return 0;

err_close:
	ferry_uffd_close(service->uffd);
err_free:
	ferry__fault_free(service, sizeof(*service));
	return r;
}

int ferry_fault_service_create(const struct ferry_fault_params *params,
			       enum ferry_reason *ret_reason,
			       struct ferry_fault_service **ret_service)
{
	enum ferry_reason reason = FERRY_REASON_NONE;
	struct ferry_fault_params p;
	int r;

	r = check_params(params, &p);
	if (r)
		reason = FERRY_REASON_BAD_FLAGS;
	else
		r = create(&p, &reason, ret_service);
	if (r == -ENOMEM)
		reason = FERRY_REASON_NO_MEMORY;
	if (ret_reason)
		*ret_reason = r ? reason : FERRY_REASON_NONE;
	return r;
}

struct ferry_uffd *ferry_fault_service_uffd(struct ferry_fault_service *service)
{
	return service->uffd;
}

/* --- ranges -------------------------------------------------------------- */

static bool is_ours(const struct ferry_fault_service *service)
{
	return service->pid == ferry__sys->getpid();
}

/* Where there was no memory half-way, part of it may be registered, and may
 * have to stay so. */
static void attach_failed(struct ferry__fault_range *range,
			  enum ferry_reason reason)
{
	if (reason == FERRY_REASON_NO_MEMORY)
		ferry__fault_end_range(range);
	else
		ferry__fault_remove(range);
}

static int attach(struct ferry__fault_range *range, enum ferry_reason *reason)
{
	int r;

	r = ferry__fault_insert(range);
	if (r)
		goto err_free;
	r = ferry_uffd_register(range->service->uffd, (void *)range->addr,
				range->len, FERRY_REGISTER_MISSING, reason);
	if (r) {
		attach_failed(range, *reason);
		return r;
	}
	ferry__fault_go_live(range);
	return 0;

err_free:
	ferry__fault_free(range, sizeof(*range));
	return r;
}

static int new_range(struct ferry_fault_service *service, void *addr,
		     size_t len, ferry_supply_fn supply, void *arg,
		     struct ferry__fault_range **ret_range)
{
	struct ferry__fault_range *range;

	range = ferry__fault_alloc(sizeof(*range));
	if (!range)
		return -ENOMEM;
	range->addr = (uintptr_t)addr;
	range->len = len;
	range->supply = supply;
	range->arg = arg;
	range->service = service;
	*ret_range = range;
	return 0;
}

int ferry_fault_attach(struct ferry_fault_service *service, void *addr,
		       size_t len, ferry_supply_fn supply, void *arg,
		       enum ferry_reason *ret_reason)
{
	enum ferry_reason reason = ferry__range_reason(addr, len);
	struct ferry__fault_range *range;
	int r = reason || !supply ? -EINVAL : 0;

	if (!r && !is_ours(service)) {
		reason = FERRY_REASON_FOREIGN_PROCESS;
		r = -ECHILD;
	}
	if (!r)
		r = new_range(service, addr, len, supply, arg, &range);
	if (!r) {
		ferry__fault_end_kept(service);
		r = attach(range, &reason);
	}
	if (r == -EBADF)
		reason = FERRY_REASON_CLOSED;
	if (r == -ENOMEM && !reason)
		reason = FERRY_REASON_NO_MEMORY;
	if (ret_reason)
		*ret_reason = reason;
	return r;
}

/*
 * The kernel has refused to unregister a range: is it registered still? Not
 * if the host has unmapped it.
 */
static bool is_registered(const struct ferry__fault_range *range, int error)
{
	unsigned int mode;

	return error == -ENOMEM ||
	       ferry__uffd_registered(range->service->uffd, range->addr, &mode);
}

/*
 * Invariant F4: handlers are out before the range is unregistered, so that
 * no operation of ours meets memory that is not registered any more; and it
 * is unregistered before it leaves the table, so that no fault of it is
 * taken for the host's, or for ever woken and not answered.
 */
bool ferry__fault_end_range(struct ferry__fault_range *range)
{
	struct ferry_uffd *uffd = range->service->uffd;
	int r;

	ferry__fault_drain(range);
	r = ferry_uffd_unregister(uffd, (void *)range->addr, range->len);
	/* The kernel wakes what it unregisters, and nobody else. */
	ferry_uffd_wake(uffd, (void *)range->addr, range->len);
	if (r && is_registered(range, r)) {
		ferry__fault_keep(range);
		return false;
	}
	ferry__fault_remove(range);
	return true;
}

void ferry__fault_end_kept(struct ferry_fault_service *service)
{
	struct ferry__fault_range *range;

	/* Relaxed: who misses one just kept leaves it to the next call. */
	if (!__atomic_load_n(&service->kept, __ATOMIC_RELAXED))
		return;
	while (!ferry__fault_close_kept(service, &range) &&
	       ferry__fault_end_range(range))
		;
}

int ferry_fault_detach(struct ferry_fault_service *service, void *addr,
		       size_t len)
{
	struct ferry__fault_range *range;
	int r;

	if (ferry__fault_self.supplying)
		return -EDEADLK;
	if (!is_ours(service))
		return -ECHILD;
	r = ferry__fault_close_range(service, (uintptr_t)addr, len, &range);
	if (!r)
		ferry__fault_end_range(range);
	return r;
}

/* --- destruction --------------------------------------------------------- */

void ferry__fault_detach_all(struct ferry_fault_service *service)
{
	struct ferry__backoff backoff = { .limit_ns = UINT64_MAX };
	struct ferry__fault_range *range;
	int r;

	while ((r = ferry__fault_close_any(service, &range)) != -ENOENT)
		if (r)
			ferry__backoff_wait(&backoff);
		else
			ferry__fault_end_range(range);
}

/* Nobody is in what is kept, nor gets in: closing the descriptor ends it. */
static void close_kept(struct ferry_fault_service *service)
{
	struct ferry__fault_range *range;

	while (!ferry__fault_close_kept(service, &range))
		ferry__fault_drain(range);
}

static void remove_kept(struct ferry_fault_service *service)
{
	while (service->ranges)
		ferry__fault_remove(service->ranges);
}

static void destroy_ours(struct ferry_fault_service *service)
{
	ferry__fault_detach_all(service);
	ferry__fault_end_kept(service);
	close_kept(service);
	if (service->mode == FERRY_FAULT_THREAD)
		ferry__fault_threads_stop(service);
	/* It also wakes all who wait there. */
	ferry_uffd_close(service->uffd);
	remove_kept(service);
}

void ferry_fault_service_destroy(struct ferry_fault_service *service)
{
	if (!service || ferry__fault_self.supplying)
		return;
	if (is_ours(service)) {
		destroy_ours(service);
	} else {
		ferry__fault_forget(service);
		if (service->mode == FERRY_FAULT_THREAD)
			ferry__fault_threads_forget(service);
		ferry_uffd_close(service->uffd);
	}
	ferry__fault_free(service, sizeof(*service));
}

/* --- resolve ------------------------------------------------------------- */

/* Longest time for which a supplier is asked again. */
#define RESOLVE_NS 1000000000u

static bool present(void *page)
{
	unsigned char there = 0;

	return !ferry__sys->mincore(page, ferry__page_size, &there) &&
	       there & 1;
}

static int resolve_once(struct ferry_fault_service *service, uintptr_t page)
{
	struct ferry__fault_visit visit;
	struct ferry__fault_case c = { 0 };
	int r = -ENOENT;

	if (ferry__fault_enter(page, &visit) != FERRY__PLACE_LIVE)
		return -ENOENT;
	if (visit.range->service == service && !visit.range->kept) {
		c.range = visit.range;
		c.page = page - visit.range->addr;
		r = present((void *)page) ? 0 : ferry__fault_serve(&c);
		if (!c.woken && service->mode == FERRY_FAULT_THREAD)
			ferry_uffd_wake(service->uffd, (void *)page,
					ferry__page_size);
	}
	ferry__fault_leave(&visit);
	return r == -ESTALE ? -ENOENT : r;
}

int ferry_fault_resolve(struct ferry_fault_service *service, void *addr)
{
	struct ferry__backoff backoff = { .limit_ns = RESOLVE_NS };
	uintptr_t page = (uintptr_t)addr & ~(ferry__page_size - 1);
	int r, cancel, saved = errno;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	do
		r = resolve_once(service, page);
	while (r == -EAGAIN && ferry__backoff_wait(&backoff));
	pthread_setcancelstate(cancel, NULL);
	errno = saved;
	return r;
}

/* --- counts -------------------------------------------------------------- */

static uint64_t read_count(const uint64_t *counter)
{
	/* Relaxed: see ferry__fault_add(). */
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void add_counts(struct ferry_fault_stats *sum,
		       const struct ferry__fault_counts *counts)
{
	sum->faults += read_count(&counts->faults);
	sum->pages_moved += read_count(&counts->pages_moved);
	sum->pages_copied += read_count(&counts->pages_copied);
	sum->pages_zeroed += read_count(&counts->pages_zeroed);
	sum->raced += read_count(&counts->raced);
	sum->again += read_count(&counts->again);
	sum->refused += read_count(&counts->refused);
}

int ferry_fault_service_stats(struct ferry_fault_service *service,
			      struct ferry_fault_stats *ret_stats)
{
	struct ferry_fault_stats sum = FERRY_INIT(struct ferry_fault_stats);
	unsigned int i;
	int r;

	for (i = 0; i < FERRY__STRIPES; i++)
		add_counts(&sum, &service->counts[i]);
	sum.chained = read_count(&ferry__fault_chained);
	sum.stale = read_count(&ferry__fault_stale);
	r = ret_stats->size < sizeof(sum.size) ? -EINVAL : 0;
	if (!r)
		memcpy((char *)ret_stats + sizeof(sum.size),
		       (char *)&sum + sizeof(sum.size),
		       (ret_stats->size < sizeof(sum) ? ret_stats->size
						      : sizeof(sum)) -
			       sizeof(sum.size));
	return r;
}
