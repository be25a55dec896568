/* SPDX-License-Identifier: MIT */
/*
 * Background work on demand ranges: batches of consecutive units, produced
 * one by one and installed as one.
 *
 * A batch is not claimed as a whole: a thread that faults on a unit of it
 * which is still WAITING produces that itself, and installs what is READY. So
 * nobody waits for longer than one unit takes, however large the batch.
 */
#include <errno.h>
#include <pthread.h>

#include "alloc/demand-internal.h"
#include "uffd/signal.h"

/* How long to wait for units that are in the hands of others. */
#define OTHERS_NS 50000u

/* Signals are held back for this long at a time, unless the pace says less. */
#define SLICE_NS 1000000u

/* For how long errors of the moment are tried again without progress. */
#define TRY_NS 1000000000u

struct step {
	struct ferry__producer p;
	size_t units;	/* still to be produced */
	uint64_t since; /* clock at the start */
	uint64_t ns;	/* budget; 0: none */
	const volatile bool *cancel;
};

/* --- finding work -------------------------------------------------------- */

static bool is_work(uint64_t word)
{
	return FERRY__UNIT_STATE(word) == FERRY_DEMAND_WAITING ||
	       FERRY__UNIT_STATE(word) == FERRY_DEMAND_READY;
}

/* The first unit from @unit on that wants work; range->units if none does. */
static size_t find_in(struct ferry__demand_range *range, size_t unit)
{
	struct ferry__place at = { .range = range, .unit = unit };

	while (at.unit < range->units) {
		if (!ferry__demand_is_used(&at)) {
			at.unit = (at.unit / FERRY__UNITS_GROUP + 1) *
				  FERRY__UNITS_GROUP;
			continue;
		}
		if (is_work(ferry__unit_load(&at)))
			return at.unit;
		at.unit++;
	}
	return range->units;
}

/* The same among all units by number; demand->units if none does. */
static size_t find(const struct ferry_demand *demand, size_t number)
{
	struct ferry__demand_range *range = demand->ranges;
	struct ferry__demand_range *last = range + demand->ranges_len;
	size_t unit;

	for (; range < last; range++) {
		if (number >= range->first + range->units)
			continue;
		unit = number > range->first ? number - range->first : 0;
		unit = find_in(range, unit);
		if (unit < range->units)
			return range->first + unit;
	}
	return demand->units;
}

/*
 * Takes the next batch: its first unit, by number. The cursor is moved by
 * compare-and-swap, so that threads at work are in different places and each
 * of them has consecutive units. False: nothing from the start to the end.
 */
static bool next_batch(struct ferry_demand *demand, size_t *ret_number)
{
	/* Relaxed: it is a place to look at, nothing more. */
	size_t seen = __atomic_load_n(&demand->cursor, __ATOMIC_RELAXED);
	size_t from = seen, at;

	while (true) {
		at = find(demand, from);
		if (at == demand->units && !from)
			return false;
		if (at == demand->units) {
			from = 0;
			continue;
		}
		/* Relaxed: as above. A failure is the progress of another. */
		if (__atomic_compare_exchange_n(
			    &demand->cursor, &seen, at + demand->params.batch,
			    false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			break;
		from = seen;
	}
	*ret_number = at;
	return true;
}

/* --- a batch ------------------------------------------------------------- */

static int produce_unit(struct step *s, const struct ferry__place *at)
{
	uint64_t word = ferry__unit_load(at);
	int r;

	if (FERRY__UNIT_STATE(word) != FERRY_DEMAND_WAITING ||
	    !ferry__unit_take(at, word, FERRY_DEMAND_CLAIMED))
		return 0;
	r = ferry__demand_produce(&s->p, at, &word);
	ferry__demand_publish(s->p.demand, at, word);
	s->units -= !r;
	return r;
}

static int map_unit(struct step *s, const struct ferry__place *at)
{
	uint64_t word = ferry__unit_load(at);
	int r;

	if (FERRY__UNIT_STATE(word) != FERRY_DEMAND_READY)
		return 0;
	r = ferry__demand_map(s->p.demand, at, word, false);
	/* A unit that is refused is the business of who touches it. */
	return r == -ENODATA ? 0 : r;
}

static int batch(struct step *s, size_t number)
{
	struct ferry__place at = ferry__demand_place(s->p.demand, number);
	size_t first = at.unit, end = first + s->p.demand->params.batch;
	int r = 0, m = 0;

	if (end > at.range->units)
		end = at.range->units;
	for (; !r && at.unit < end && s->units; at.unit++)
		r = produce_unit(s, &at);
	end = at.unit;
	for (at.unit = first; !m && at.unit < end; at.unit++)
		m = map_unit(s, &at);
	return r ? r : m;
}

/* --- a step -------------------------------------------------------------- */

static bool out_of_time(const struct step *s)
{
	return (s->cancel && *s->cancel) ||
	       (s->ns && ferry__sys->now_ns() - s->since >= s->ns);
}

/* Batch after batch, within the budget; @ret_idle: nothing was left. */
static int work(struct step *s, bool *ret_idle)
{
	size_t number;
	int r = 0;

	*ret_idle = false;
	ferry__staging_trim(s->p.demand);
	while (!r && s->units && !out_of_time(s)) {
		if (!ferry__demand_remaining(s->p.demand) ||
		    !next_batch(s->p.demand, &number)) {
			*ret_idle = true;
			break;
		}
		r = batch(s, number);
	}
	return r;
}

void ferry__guard_enter(struct ferry__guard *guard)
{
	sigset_t all;

	ferry__signal_fill(&all);
	pthread_sigmask(SIG_BLOCK, &all, &guard->mask);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &guard->cancel);
}

void ferry__guard_leave(const struct ferry__guard *guard)
{
	pthread_setcancelstate(guard->cancel, NULL);
	pthread_sigmask(SIG_SETMASK, &guard->mask, NULL);
}

/* One step by budget; @cancel as in run. */
static int step(struct ferry_demand *demand, size_t units, uint64_t ns,
		const volatile bool *cancel, bool *ret_idle)
{
	struct step s = {
		.units = units ? units : SIZE_MAX,
		.since = ferry__sys->now_ns(),
		.ns = ns,
		.cancel = cancel,
	};
	struct ferry__guard guard;
	int r;

	ferry__guard_enter(&guard);
	ferry__producer_init(&s.p, demand, false);
	r = work(&s, ret_idle);
	ferry__producer_fini(&s.p);
	ferry__guard_leave(&guard);
	return r;
}

int ferry_demand_step(struct ferry_demand *demand, size_t units, uint64_t ns,
		      size_t *ret_left)
{
	struct ferry__stripe *stripe;
	bool idle;
	int r;

	if (demand->mode == FERRY_DEMAND_STOPPED)
		return -EINVAL;
	r = ferry__demand_enter(demand, FERRY__DEMAND_RUNNING, &stripe);
	if (r)
		return r;
	r = step(demand, units, ns, NULL, &idle);
	if (ret_left)
		*ret_left = ferry__demand_remaining(demand);
	ferry__demand_leave(stripe);
	return r;
}

/* --- to the end ---------------------------------------------------------- */

int ferry__demand_complete(struct ferry_demand *demand,
			   const volatile bool *cancel, bool paced)
{
	const struct ferry_demand_params *p = &demand->params;
	struct ferry__backoff backoff = { .limit_ns = TRY_NS };
	uint64_t slice = SLICE_NS;
	size_t left, before = SIZE_MAX;
	bool idle;
	int r = 0;

	if (paced && p->pace_work_ns)
		slice = p->pace_work_ns;

	while ((left = ferry__demand_remaining(demand))) {
		if (cancel && *cancel)
			return -ECANCELED;
		if (left < before)
			backoff.tries = 0;
		before = left;
		r = step(demand, 0, slice, cancel, &idle);
		if (r && !ferry__backoff_wait(&backoff))
			return r;
		if (idle)
			ferry__sys->sleep_ns(OTHERS_NS);
		else if (!r && paced && p->pace_pause_ns)
			ferry__sys->sleep_ns(p->pace_pause_ns);
	}
	return 0;
}

static int complete(struct ferry_demand *demand, const volatile bool *cancel,
		    bool paced)
{
	struct ferry__stripe *stripe;
	int r;

	r = ferry__demand_enter(demand, FERRY__DEMAND_RUNNING, &stripe);
	if (r)
		return r;
	r = ferry__demand_complete(demand, cancel, paced);
	ferry__demand_leave(stripe);
	return r;
}

int ferry_demand_run(struct ferry_demand *demand, const volatile bool *cancel)
{
	if (demand->mode == FERRY_DEMAND_STOPPED)
		return -EINVAL;
	return complete(demand, cancel, true);
}

int ferry_demand_complete_stopped(struct ferry_demand *demand)
{
	return complete(demand, NULL, false);
}
