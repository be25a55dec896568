/* SPDX-License-Identifier: MIT */
/*
 * The life of a demand: parameters, ranges, the change-over, the end.
 *
 *	create          prepare             begin            end
 *	-------> EMPTY ---------> PREPARED -------> RUNNING <----> ENDING
 *	           ^                                                  |
 *	           +--------------------------------------------------+
 *	                                        drained, detached, freed
 *
 * Orders of memory
 *  D5	.phase: the store in begin pairs with the load in
 *	ferry__demand_try_enter(): who sees RUNNING sees the ranges attached. And
 *	calls announce themselves, then look at the phase; the end sets the
 *	phase, then looks for calls. All of these are sequentially consistent,
 *	so that one side sees the other, and no call is in a range that is
 *	freed.
 */
#include "alloc/demand-internal.h"

#include <errno.h>

#define UNIT_PAGES	16u
#define RESERVE_UNITS	16u
#define KEEP_UNITS	512u
#define STAGING_WAIT_NS 20000u
#define BATCH_UNITS	8u

/* --- creation ------------------------------------------------------------ */

static void defaults(struct ferry_demand_params *p)
{
	size_t unit = UNIT_PAGES * ferry__page_size;

	if (!p->mode)
		p->mode = FERRY_DEMAND_SIGBUS;
	if (!p->reserve)
		p->reserve = RESERVE_UNITS * unit;
	if (!p->keep)
		p->keep = KEEP_UNITS * unit;
	if (p->keep < p->reserve)
		p->keep = p->reserve;
	if (!p->staging_wait_ns)
		p->staging_wait_ns = STAGING_WAIT_NS;
	if (!p->batch)
		p->batch = BATCH_UNITS;
}

static int params_read(const struct ferry_demand_params *params,
		       struct ferry_demand_params *ret)
{
	const uint32_t known = FERRY_DEMAND_OR_STOPPED |
			       FERRY_DEMAND_COPY_ONLY | FERRY_DEMAND_VACANT;
	int r;

	if (!params)
		return -EINVAL;
	r = ferry__params_copy(ret, sizeof(*ret), params, sizeof(ret->size));
	if (r)
		return r;
	if (ret->flags & ~known ||
	    (unsigned int)ret->mode > FERRY_DEMAND_STOPPED ||
	    (ret->service && ret->mode == FERRY_DEMAND_STOPPED) ||
	    (ret->reserve | ret->keep) & (ferry__page_size - 1))
		return -EINVAL;
	defaults(ret);
	return 0;
}

static int service_make(struct ferry_demand *demand, enum ferry_reason *reason)
{
	struct ferry_fault_params params =
		FERRY_INIT(struct ferry_fault_params);
	int r;

	params.mode = (enum ferry_fault_mode)demand->params.mode;
	params.threads = demand->params.threads;
	params.way = demand->params.way;
	r = ferry_fault_service_create(&params, reason, &demand->service);
	demand->service_ours = !r;
	return r;
}

/* Errors that say: there is no userfaultfd for this process. */
static bool not_to_be_had(int error)
{
	return error == -ENOSYS || error == -EPERM || error == -EACCES ||
	       error == -ENOENT || error == -EOPNOTSUPP;
}

static int service_get(struct ferry_demand *demand, enum ferry_reason *reason)
{
	const struct ferry_demand_params *p = &demand->params;
	int r = 0;

	demand->mode = p->mode;
	if (p->mode == FERRY_DEMAND_STOPPED)
		return 0;
	demand->service = p->service;
	if (!p->service)
		r = service_make(demand, reason);
	if (r && p->flags & FERRY_DEMAND_OR_STOPPED && not_to_be_had(r)) {
		demand->mode = FERRY_DEMAND_STOPPED;
		return 0;
	}
	if (r)
		return r;
	if (demand->service->pid != demand->pid) {
		*reason = FERRY_REASON_FOREIGN_PROCESS;
		return -ECHILD;
	}
	demand->mode = (enum ferry_demand_mode)demand->service->mode;
	demand->uffd = ferry_fault_service_uffd(demand->service);
	return 0;
}

static void demand_free(struct ferry_demand *demand)
{
	ferry__staging_fini(demand);
	if (demand->service_ours)
		ferry_fault_service_destroy(demand->service);
	ferry__meta_free(demand, sizeof(*demand));
}

static int create(const struct ferry_demand_params *params,
		  enum ferry_reason *reason, struct ferry_demand **ret)
{
	struct ferry_demand *demand;
	void *mem;
	int r;

	r = ferry__meta_alloc(sizeof(*demand), &mem);
	if (r)
		return r;
	demand = mem;
	demand->params = *params;
	demand->pid = ferry__sys->getpid();
	demand->keep = params->keep / ferry__page_size;
	demand->copying = params->flags & FERRY_DEMAND_COPY_ONLY;
	r = service_get(demand, reason);
	/* In place there is no staging. */
	if (demand->mode == FERRY_DEMAND_STOPPED)
		demand->keep = demand->params.reserve = 0;
	if (!r)
		r = ferry__staging_init(demand);
	if (r) {
		demand_free(demand);
		return r;
	}
	*ret = demand;
	return 0;
}

int ferry_demand_create(const struct ferry_demand_params *params,
			enum ferry_reason *ret_reason,
			struct ferry_demand **ret_demand)
{
	enum ferry_reason reason = FERRY_REASON_NONE;
	struct ferry_demand_params p;
	int r;

	r = params_read(params, &p);
	if (r)
		reason = FERRY_REASON_BAD_FLAGS;
	else
		r = create(&p, &reason, ret_demand);
	if (r == -ENOMEM && !reason)
		reason = FERRY_REASON_NO_MEMORY;
	if (ret_reason)
		*ret_reason = r ? reason : FERRY_REASON_NONE;
	return r;
}

enum ferry_demand_mode ferry_demand_mode(const struct ferry_demand *demand)
{
	return demand->mode;
}

struct ferry_uffd *ferry_demand_uffd(struct ferry_demand *demand)
{
	return demand->uffd;
}

/* --- begin and end ------------------------------------------------------- */

/* The first @n ranges are ordinary memory again, what was refused included. */
static void detach(struct ferry_demand *demand, size_t n)
{
	const struct ferry__demand_range *range;

	if (demand->mode == FERRY_DEMAND_STOPPED)
		return;
	while (n--) {
		range = &demand->ranges[n];
		ferry_fault_detach(demand->service, (void *)range->addr,
				   range->len);
	}
	ferry__demand_cure(demand);
}

void ferry__demand_tidy(struct ferry_demand *demand)
{
	if (demand->service && ferry__demand_ours(demand))
		ferry__fault_end_kept(demand->service);
}

static int attach(struct ferry_demand *demand, enum ferry_reason *reason)
{
	struct ferry__demand_range *range;
	size_t i;
	int r;

	if (demand->mode == FERRY_DEMAND_STOPPED)
		return 0;
	for (i = 0; i < demand->ranges_len; i++) {
		range = &demand->ranges[i];
		r = ferry_fault_attach(demand->service, (void *)range->addr,
				       range->len, ferry__demand_supply, range,
				       reason);
		if (r) {
			detach(demand, i);
			return r;
		}
	}
	return 0;
}

/* Registered first: what is dropped then does not come back. */
static int serve(struct ferry_demand *demand, enum ferry_reason *reason)
{
	int r = attach(demand, reason);

	if (r)
		return r;
	r = ferry__demand_clear(demand);
	if (r) {
		*reason = FERRY_REASON_PRESENT;
		detach(demand, demand->ranges_len);
	}
	return r;
}

static void phase_set(struct ferry_demand *demand,
		      enum ferry__demand_phase phase)
{
	__atomic_store_n(&demand->phase, (int)phase, __ATOMIC_SEQ_CST); /* D5 */
}

static int may_begin(const struct ferry_demand *demand)
{
	if (!ferry__demand_ours(demand))
		return -ECHILD;
	if (demand->phase >= FERRY__DEMAND_RUNNING)
		return -EALREADY;
	return demand->phase == FERRY__DEMAND_PREPARED ? 0 : -EINVAL;
}

int ferry_demand_begin(struct ferry_demand *demand,
		       enum ferry_reason *ret_reason)
{
	enum ferry_reason reason = FERRY_REASON_NONE;
	int r = may_begin(demand);

	if (!r)
		r = serve(demand, &reason);
	if (!r)
		phase_set(demand, FERRY__DEMAND_RUNNING);
	if (r == -ECHILD)
		reason = FERRY_REASON_FOREIGN_PROCESS;
	if (ret_reason)
		*ret_reason = reason;
	return r;
}

int ferry__demand_enter(struct ferry_demand *demand, int least,
			struct ferry__stripe **ret_stripe)
{
	struct ferry__backoff backoff = { .limit_ns = UINT64_MAX };
	int r;

	while ((r = ferry__demand_try_enter(demand, least, ret_stripe)) ==
	       -EBUSY)
		ferry__backoff_wait(&backoff);
	return r;
}

static void wait_for_calls(struct ferry_demand *demand)
{
	struct ferry__backoff backoff = { .limit_ns = UINT64_MAX };
	unsigned int i;

	for (i = 0; i < FERRY__STRIPES; i++)
		while (__atomic_load_n(&demand->stripes[i].in_flight,
				       __ATOMIC_SEQ_CST)) /* D5 */
			ferry__backoff_wait(&backoff);
}

/*
 * Ends it if nothing remains once no call is under way: one may have added
 * to it. Returns whether it did.
 */
static bool end_at_rest(struct ferry_demand *demand)
{
	phase_set(demand, FERRY__DEMAND_ENDING);
	wait_for_calls(demand);
	if (ferry__demand_remaining(demand)) {
		phase_set(demand, FERRY__DEMAND_RUNNING);
		return false;
	}
	detach(demand, demand->ranges_len);
	ferry__demand_debug_check(demand);
	ferry__staging_settle(demand);
	ferry__demand_ranges_free(demand);
	return true;
}

int ferry_demand_end(struct ferry_demand *demand)
{
	struct ferry__guard guard;
	bool ended;
	int r;

	if (!ferry__demand_ours(demand))
		return -ECHILD;
	if (demand->phase != FERRY__DEMAND_RUNNING)
		return -ENOTCONN;
	do {
		r = ferry__demand_complete(demand, NULL, false);
		if (r)
			return r;
		/* A handler's call would wait for the end under it. */
		ferry__guard_enter(&guard);
		ended = end_at_rest(demand);
		ferry__guard_leave(&guard);
	} while (!ended);
	return 0;
}

void ferry_demand_destroy(struct ferry_demand *demand)
{
	if (!demand)
		return;
	if (ferry__demand_ours(demand) &&
	    demand->phase == FERRY__DEMAND_RUNNING && ferry_demand_end(demand))
		detach(demand, demand->ranges_len);
	ferry__demand_ranges_free(demand);
	ferry__demand_spare_free(demand);
	demand_free(demand);
}

/* --- recycling ----------------------------------------------------------- */

/* Gives a unit's pages up; false when it is more than IDLE. */
static bool give_up(const struct ferry__place *at)
{
	uint64_t word = ferry__unit_load(at);

	return (word & ~FERRY__UNIT_POISONED) == FERRY__UNIT_GIVEN_UP ||
	       (ferry__unit_is_idle(word) &&
		ferry__unit_swap(at, word, word | FERRY__UNIT_GIVEN_UP));
}

bool ferry__demand_give_up(struct ferry_demand *demand, uintptr_t addr,
			   uintptr_t end)
{
	struct ferry__demand_range *range = demand->ranges;
	struct ferry__demand_range *last = range + demand->ranges_len;
	struct ferry__place at;

	for (; range < last && range->addr < end; range++) {
		at.range = range;
		at.unit = addr > range->addr
				  ? (addr - range->addr) >> range->shift
				  : 0;
		for (; at.unit < range->units && ferry__unit_addr(&at) < end;
		     at.unit++)
			if (!give_up(&at))
				return false;
	}
	return true;
}

int ferry_demand_recycle(struct ferry_demand *demand, void *addr, size_t len)
{
	struct ferry__stripe *stripe;
	int r;

	/* It may be in the callback: not to wait for the end. */
	r = ferry__demand_try_enter(demand, FERRY__DEMAND_PREPARED, &stripe);
	if (r)
		return r == -EBUSY ? -ENOTCONN : r;
	if (ferry__range_reason(addr, len))
		r = -EINVAL;
	else if (!ferry__demand_give_up(demand, (uintptr_t)addr,
					(uintptr_t)addr + len))
		r = -EBUSY;
	else
		ferry__staging_recycle(demand, (uintptr_t)addr,
				       len / ferry__page_size);
	ferry__demand_leave(stripe);
	return r;
}
