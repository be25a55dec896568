/* SPDX-License-Identifier: MIT */
/*
 * SIGBUS mode: the thread that touches an absent page serves it itself, in
 * the signal handler, and touches it again by returning.
 *
 * What this file takes for granted of the kernel: with UFFD_FEATURE_SIGBUS a
 * fault on a registered absent page raises SIGBUS with BUS_ADRERR and the
 * address in the faulting thread; one inside a system call makes the call
 * fail with EFAULT and raises nothing.
 */
#include "uffd/fault.h"
#include "uffd/signal.h"

/*
 * Is this the late signal of a fault on a range that is gone by now? The
 * page is ordinary memory then: touching it again is right. But the same
 * addresses may hold something else today, whose SIGBUS is the host's. Both
 * look alike, and touching again tells them apart: it does no harm to the
 * host's fault, which comes back at once. So each thread is sent back once
 * for a page and a count of detachments.
 */
static bool is_late(uintptr_t page)
{
	struct ferry__fault_self *self = &ferry__fault_self;
	uint64_t detached = ferry__fault_detached();

	if (!ferry__fault_known(page))
		return false;
	if (self->stale_page == page && self->stale_detached == detached)
		return false;
	self->stale_page = page;
	self->stale_detached = detached;
	ferry__fault_add(&ferry__fault_stale, 1);
	return true;
}

/* Returns true when the page is to be touched again. */
static bool serve(const struct ferry__fault_visit *visit, uintptr_t page)
{
	struct ferry__fault_case c = {
		.range = visit->range,
		.page = page - visit->range->addr,
	};
	int r = ferry__fault_serve(&c);
	bool kept = visit->range->kept;

	/* Out of the range before waiting, and before the host's handler. */
	ferry__fault_leave(visit);
	/* The host has unmapped it since it was kept. */
	if (r == -ESTALE && kept)
		return is_late(page);
	if (r == -ESTALE)
		ferry__fault_add(&ferry__fault_stale, 1);
	if (r == -EAGAIN || r == -ESTALE)
		ferry__fault_pace(page);
	return !r || r == -EAGAIN || r == -ESTALE;
}

static bool on_fault(uintptr_t page)
{
	struct ferry__fault_visit visit;

	switch (ferry__fault_enter(page, &visit)) {
	case FERRY__PLACE_LIVE:
		if (visit.range->service->mode == FERRY_FAULT_SIGBUS)
			return serve(&visit, page);
		ferry__fault_leave(&visit);
		return false;
	case FERRY__PLACE_CHANGING:
		ferry__fault_add(&ferry__fault_stale, 1);
		ferry__fault_pace(page);
		return true;
	default:
		return is_late(page);
	}
}

static bool on_sigbus(int sig, siginfo_t *info, void *context)
{
	uintptr_t page = (uintptr_t)info->si_addr & ~(ferry__page_size - 1);

	(void)sig;
	(void)context;
	if (info->si_code == BUS_ADRERR && on_fault(page))
		return true;
	ferry__fault_add(&ferry__fault_chained, 1);
	return false;
}

int ferry__fault_sigbus_start(void)
{
	static struct ferry__signal_hook hook = { .fn = on_sigbus };

	return ferry__signal_add(SIGBUS, &hook);
}
