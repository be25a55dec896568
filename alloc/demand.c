/* SPDX-License-Identifier: MIT */
/*
 * The life of a demand: parameters, ranges, the change-over, the end.
 *
 *	create          prepare             begin            end
 *	-------> EMPTY ---------> PREPARED -------> RUNNING -----> EMPTY
 *
 * Orders of memory
 *  D5	.phase: the store-release in begin pairs with the load-acquire in
 *	ferry__demand_phase(): who sees RUNNING sees the ranges attached.
 */
#include "alloc/demand-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define UNIT_PAGES	16u
#define RESERVE_UNITS	16u
#define KEEP_UNITS	512u
#define STAGING_WAIT_NS 20000u
#define BATCH_UNITS	8u

/* --- creation --------------------------------------------------------------- */

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
	const uint32_t known = FERRY_DEMAND_OR_STOPPED | FERRY_DEMAND_COPY_ONLY;
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

/* --- ranges ----------------------------------------------------------------- */

static int range_read(struct ferry_demand *demand,
		      const struct ferry_demand_range *range, size_t index,
		      struct ferry__demand_range *ret)
{
	size_t pages = range->unit_pages ? range->unit_pages : UNIT_PAGES;
	size_t bytes = pages * ferry__page_size;

	if (pages & (pages - 1) || pages > FERRY__RUN_PAGES ||
	    ferry__range_reason(range->addr, range->len) ||
	    range->len & (bytes - 1))
		return -EINVAL;
	ret->demand = demand;
	ret->addr = (uintptr_t)range->addr;
	ret->len = range->len;
	ret->index = index;
	ret->shift = (unsigned int)__builtin_ctzll(bytes);
	ret->units = range->len >> ret->shift;
	return 0;
}

static size_t groups_words(const struct ferry__demand_range *range)
{
	size_t groups = range->units / FERRY__UNITS_GROUP + 1;

	return groups / 64 + 1;
}

static int words_alloc(struct ferry__demand_range *range)
{
	void *mem;
	int r;

	range->mem_bytes =
		(range->units + groups_words(range)) * sizeof(uint64_t);
	r = ferry__meta_alloc(range->mem_bytes, &mem);
	if (r)
		return r;
	range->words = mem;
	range->used = range->words + range->units;
	return 0;
}

void ferry__demand_mark_used(const struct ferry__place *at, size_t n)
{
	size_t group = at->unit / FERRY__UNITS_GROUP;
	size_t last = (at->unit + n - 1) / FERRY__UNITS_GROUP;
	uint64_t *word, bit;

	for (; group <= last; group++) {
		word = &at->range->used[group / 64];
		bit = 1ull << group % 64;
		/* D8: release, pairs with the load in group_used(). */
		if (!(__atomic_load_n(word, __ATOMIC_RELAXED) & bit))
			__atomic_fetch_or(word, bit, __ATOMIC_RELEASE);
	}
}

static bool may_begin_as(unsigned int state)
{
	return state == FERRY_DEMAND_IDLE || state == FERRY_DEMAND_WAITING ||
	       state == FERRY_DEMAND_DONE;
}

/* No other thread knows the range yet: plain stores, published by D5. */
static int set_initial(struct ferry__demand_range *range,
		       const struct ferry_demand_range *from)
{
	struct ferry__place at = { .range = range };
	unsigned int state = from->initial;

	for (; at.unit < range->units; at.unit++) {
		if (from->states)
			state = from->states[at.unit];
		if (!may_begin_as(state))
			return -EINVAL;
		if (state == FERRY_DEMAND_IDLE && !from->states)
			break;
		if (state == FERRY_DEMAND_IDLE)
			continue;
		range->words[at.unit] = FERRY__UNIT(state, 0, 0);
		ferry__demand_mark_used(&at, 1);
		if (state == FERRY_DEMAND_WAITING)
			range->demand->remaining++;
	}
	return 0;
}

static int by_addr(const void *a, const void *b)
{
	const struct ferry__demand_range *x = a, *y = b;

	return (x->addr > y->addr) - (x->addr < y->addr);
}

/* Gives each its numbers; false when two overlap. */
static bool number_ranges(struct ferry_demand *demand)
{
	struct ferry__demand_range *range = demand->ranges;
	size_t i;

	qsort(range, demand->ranges_len, sizeof(*range), by_addr);
	demand->units = 0;
	for (i = 0; i < demand->ranges_len; i++) {
		if (i && range[i - 1].addr + range[i - 1].len > range[i].addr)
			return false;
		range[i].first = demand->units;
		demand->units += range[i].units;
	}
	return true;
}

static void ranges_free(struct ferry_demand *demand)
{
	size_t i;

	for (i = 0; i < demand->ranges_len; i++)
		ferry__meta_free(demand->ranges[i].words,
				 demand->ranges[i].mem_bytes);
	ferry__meta_free(demand->ranges, demand->ranges_bytes);
	demand->ranges = NULL;
	demand->ranges_len = demand->units = demand->remaining = 0;
	demand->cursor = 0;
	demand->phase = FERRY__DEMAND_EMPTY;
}

static int ranges_alloc(struct ferry_demand *demand, size_t n)
{
	void *mem;
	int r;

	demand->ranges_bytes = n * sizeof(*demand->ranges);
	r = ferry__meta_alloc(demand->ranges_bytes, &mem);
	if (r)
		return r;
	demand->ranges = mem;
	demand->ranges_len = n;
	return 0;
}

static int ranges_set(struct ferry_demand *demand,
		      const struct ferry_demand_range *ranges, size_t n)
{
	size_t i;
	int r = 0;

	for (i = 0; i < n && !r; i++)
		r = range_read(demand, &ranges[i], i, &demand->ranges[i]);
	if (!r && !number_ranges(demand))
		r = -EINVAL;
	for (i = 0; i < n && !r; i++)
		r = words_alloc(&demand->ranges[i]);
	for (i = 0; i < n && !r; i++)
		r = set_initial(&demand->ranges[i],
				&ranges[demand->ranges[i].index]);
	return r;
}

int ferry_demand_prepare(struct ferry_demand *demand,
			 const struct ferry_demand_range *ranges, size_t n,
			 ferry_demand_produce_fn produce, void *arg)
{
	int r;

	if (!ferry__demand_ours(demand))
		return -ECHILD;
	if (demand->phase == FERRY__DEMAND_RUNNING)
		return -EALREADY;
	if (!ranges || !n || !produce)
		return -EINVAL;
	ranges_free(demand);
	r = ranges_alloc(demand, n);
	if (!r)
		r = ranges_set(demand, ranges, n);
	if (r) {
		ranges_free(demand);
		return r;
	}
	demand->produce = produce;
	demand->arg = arg;
	demand->phase = FERRY__DEMAND_PREPARED;
	return 0;
}

struct ferry__demand_range *
ferry__demand_find(const struct ferry_demand *demand, uintptr_t addr)
{
	size_t low = 0, n = demand->ranges_len, half;

	if (!n)
		return NULL;
	for (; n > 1; n -= half) {
		half = n / 2;
		if (demand->ranges[low + half].addr <= addr)
			low += half;
	}
	return addr - demand->ranges[low].addr < demand->ranges[low].len
		       ? &demand->ranges[low]
		       : NULL;
}

int ferry__demand_units(const struct ferry_demand *demand, const void *addr,
			size_t len, struct ferry__place *ret, size_t *ret_n)
{
	struct ferry__demand_range *range =
		ferry__demand_find(demand, (uintptr_t)addr);
	size_t offset;

	if (!range)
		return -EINVAL;
	offset = (uintptr_t)addr - range->addr;
	if (!len || (offset | len) & (ferry__unit_bytes(range) - 1) ||
	    len > range->len - offset)
		return -EINVAL;
	ret->range = range;
	ret->unit = offset >> range->shift;
	*ret_n = len >> range->shift;
	return 0;
}

struct ferry__place ferry__demand_place(const struct ferry_demand *demand,
					size_t number)
{
	struct ferry__demand_range *range = demand->ranges;

	while (number >= range->first + range->units)
		range++;
	return (struct ferry__place){ range, number - range->first };
}

static int expect(struct ferry_demand *demand, struct ferry__place at, size_t n)
{
	const uint64_t idle = FERRY__UNIT(FERRY_DEMAND_IDLE, 0, 0);

	ferry__demand_mark_used(&at, n);
	/* D3: relaxed; counted before they can be dealt with. */
	__atomic_fetch_add(&demand->remaining, n, __ATOMIC_RELAXED);
	for (; n; n--, at.unit++)
		if (!ferry__unit_take(&at, idle, FERRY_DEMAND_WAITING))
			break;
	ferry__demand_settle(demand, n);
	return n ? -EBUSY : 0;
}

int ferry_demand_expect(struct ferry_demand *demand, void *addr, size_t len)
{
	struct ferry__place at;
	size_t n;
	int r;

	if (!ferry__demand_ours(demand))
		return -ECHILD;
	r = ferry__demand_units(demand, addr, len, &at, &n);
	return r ? r : expect(demand, at, n);
}

/* --- begin and end ---------------------------------------------------------- */

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

static int may_begin(const struct ferry_demand *demand)
{
	if (!ferry__demand_ours(demand))
		return -ECHILD;
	if (demand->phase == FERRY__DEMAND_RUNNING)
		return -EALREADY;
	return demand->phase == FERRY__DEMAND_PREPARED ? 0 : -EINVAL;
}

int ferry_demand_begin(struct ferry_demand *demand,
		       enum ferry_reason *ret_reason)
{
	enum ferry_reason reason = FERRY_REASON_NONE;
	int r = may_begin(demand);

	if (!r)
		r = attach(demand, &reason);
	if (!r)
		__atomic_store_n(&demand->phase, FERRY__DEMAND_RUNNING,
				 __ATOMIC_RELEASE); /* D5 */
	if (r == -ECHILD)
		reason = FERRY_REASON_FOREIGN_PROCESS;
	if (ret_reason)
		*ret_reason = reason;
	return r;
}

int ferry_demand_end(struct ferry_demand *demand)
{
	int r;

	if (!ferry__demand_ours(demand))
		return -ECHILD;
	if (demand->phase != FERRY__DEMAND_RUNNING)
		return -ENOTCONN;
	r = ferry__demand_complete(demand, NULL, false);
	if (r)
		return r;
	detach(demand, demand->ranges_len);
	ferry__staging_settle(demand);
	ranges_free(demand);
	return 0;
}

void ferry_demand_destroy(struct ferry_demand *demand)
{
	if (!demand)
		return;
	if (ferry__demand_ours(demand) &&
	    demand->phase == FERRY__DEMAND_RUNNING && ferry_demand_end(demand))
		detach(demand, demand->ranges_len);
	ranges_free(demand);
	demand_free(demand);
}

/* --- recycling -------------------------------------------------------------- */

/* Are there units in [@addr, @end) that are more than IDLE? */
static bool in_use(const struct ferry_demand *demand, uintptr_t addr,
		   uintptr_t end)
{
	struct ferry__place at;

	while (addr < end) {
		at.range = ferry__demand_find(demand, addr);
		if (!at.range) {
			addr += ferry__page_size;
			continue;
		}
		at.unit = (addr - at.range->addr) >> at.range->shift;
		if (FERRY__UNIT_STATE(ferry__unit_load(&at)))
			return true;
		addr = ferry__unit_addr(&at) + ferry__unit_bytes(at.range);
	}
	return false;
}

int ferry_demand_recycle(struct ferry_demand *demand, void *addr, size_t len)
{
	if (!ferry__demand_ours(demand))
		return -ECHILD;
	if (ferry__range_reason(addr, len))
		return -EINVAL;
	if (in_use(demand, (uintptr_t)addr, (uintptr_t)addr + len))
		return -EBUSY;
	ferry__staging_recycle(demand, (uintptr_t)addr, len / ferry__page_size);
	return 0;
}
