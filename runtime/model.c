/* SPDX-License-Identifier: MIT */
/*
 * When to collect, what, and how big the heap may be: rules P1 to P9 of
 * DESIGN.md. Sources:
 *
 *  - the size: M. Kirisame, P. Shenoy, P. Panchekha, Optimal Heap Limits for
 *    Reducing Browser Memory Use, OOPSLA 2022 (MemBalancer)
 *  - starting ahead of the limit by allocation rate times cycle time, with
 *    a factor that learns: as collectors for Java do (the pacers of G1 and
 *    Shenandoah), simplified
 *
 *	     live		      target		limit
 *	|======|~~~~~~~~~~~~~~~~~|-------|----------------|
 *		^ allocation	 ^ trigger
 *				  -------  reserve: allocated meanwhile
 */
#include "runtime/model.h"

#include <math.h>

/*
 * P2: what memory costs in processor time: one processor for 8 GiB, which is
 * about what those ask who rent out both.
 */
#define PRICE (1.0 / 8589934592.0)

/* Memory is that much dearer while the system is short of it: a quarter of
 * the extra. */
#define PRICE_PRESSED 16.0

#define FLOOR ((size_t)256 << 10) /* least bytes between collections */

/* P13: part of the room that is kept where none is enough, and the CPU time that
 * marking may take then. */
#define HASTE	 16u
#define HASTE_NS 100e6

#define SAFETY_FIRST 1.5
#define SAFETY_LEAST 1.25
#define SAFETY_MOST  4.0

#define MINORS_MOST 128u /* in a row */

#define SKIP_MOST 5u /* powers of two of fulls without compaction */

#define HOLES_LEAST ((size_t)1 << 20) /* worth a compaction */
#define KEEP_LEAST  ((size_t)1 << 20)

static double smooth(double old, double sample, double weight)
{
	return old > 0 ? old + (sample - old) * weight : sample;
}

/* Believes what is worse sooner. */
static double cautious(double old, double sample)
{
	return smooth(old, sample, sample > old ? 0.75 : 0.25);
}

static double clamp(double x, double least, double most)
{
	return x < least ? least : x > most ? most : x;
}

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* @a - @b, or 0. */
static size_t less(size_t a, size_t b)
{
	return a > b ? a - b : 0;
}

/* To bytes; what no address space has becomes SIZE_MAX / 4: sums do not
 * overflow. */
static size_t bytes_of(double x)
{
	if (!(x > 0))
		return 0;
	return x < (double)(SIZE_MAX / 4) ? (size_t)x : SIZE_MAX / 4;
}

/* --- size (P1 to P3) --------------------------------------------------------- */

/*
 * P2: extra = sqrt(L g / (s c)). The time for marking is L / s a collection,
 * and there are g / extra collections a second: the derivative of that by
 * memory is -c at this extra. P3: where minors came between the full ones,
 * only the share m of that time was spent.
 */
static size_t extra_adaptive(const struct ferry__model *m,
			     const struct ferry__rule *rule, size_t live)
{
	double price = rule->pressed ? PRICE * PRICE_PRESSED : PRICE;
	size_t base = larger(live, rule->min);
	double extra;

	if (!(m->speed > 0) || !(m->rate > 0))
		return base;
	/* Rates are by the nanosecond; the price holds for fractions of a
	 * processor, which have no unit: they cancel out. */
	extra = sqrt((double)live * m->discount * m->rate / (m->speed * price));
	return larger(live / 8, smaller(bytes_of(extra), 4 * base));
}

/* The size that the heap may have, with @live bytes. */
static size_t target_for(const struct ferry__model *m,
			 const struct ferry__rule *rule, size_t live)
{
	size_t target = rule->limit;

	if (rule->sizing == FERRY_SIZING_ADAPTIVE)
		target = live + extra_adaptive(m, rule, live);
	else if (rule->sizing == FERRY_SIZING_GROWABLE)
		target = bytes_of((double)live * rule->growth / 100);
	return smaller(larger(target, rule->min), rule->limit);
}

/* --- time (P4, P5) ----------------------------------------------------------- */

static double fastest(const struct ferry__model *m)
{
	double rate = m->rate > m->rate_busy ? m->rate : m->rate_busy;

	return rate > m->rate_now ? rate : m->rate_now;
}

/* Bytes that will be allocated while the next collection runs, if it takes as
 * long as those of its kind do. */
static size_t need_for(const struct ferry__model *m, bool minor)
{
	bool known = m->wall_ns[0] > 0;

	return bytes_of(fastest(m) * m->wall_ns[minor && known ? 0 : 1]);
}

/*
 * The same, and how much is kept for it. A minor takes long when much was
 * written: a quarter of the others' time at the least.
 */
static size_t reserve_for(const struct ferry__model *m, bool minor)
{
	double need = (double)need_for(m, minor);
	double least = (double)need_for(m, false) / 4;

	return bytes_of(m->safety * (need > least ? need : least));
}

/* Bytes that can be allocated before the limit stops it. Of the holes half:
 * the others may be too small. */
static size_t room(const struct ferry__model *m, const struct ferry__rule *rule)
{
	return less(rule->limit, m->used) + m->holes / 2;
}

static size_t occupied(const struct ferry__model *m)
{
	return larger(m->live, less(m->used, m->holes));
}

/*
 * P13: is an early start in vain? What is allocated while marking is to be
 * traced in its turn: for @need bytes, allocated in the usual time, there are
 * share * @need more until that is done, and so on.
 */
static bool is_hasty(const struct ferry__model *m, bool minor, size_t budget)
{
	double share = m->speed > 0 ? fastest(m) / m->speed : 0;
	double need = (double)need_for(m, minor);
	double room = (double)budget;

	return (minor ? m->minor_ns : (double)m->full_ns) <= HASTE_NS &&
	       need >= room / 4 && need >= (1 - share) * room;
}

/* P4: what is kept of the room for a collection of that kind. */
static size_t reserve_within(const struct ferry__model *m, bool minor,
			     size_t budget)
{
	size_t reserve = reserve_for(m, minor);
	size_t need = bytes_of(m->safety * (double)need_for(m, minor));

	if (is_hasty(m, minor, budget))
		return budget / HASTE;
	/* Caution alone does not start a minor before half-way. */
	return minor && reserve > budget / 2 ? larger(budget / 2, need)
					     : reserve;
}

static void start_at(struct ferry__model *m, const struct ferry__rule *rule,
		     bool minor)
{
	size_t floor = larger(FLOOR, m->live / 32);
	size_t budget =
		smaller(less(m->goal.target, occupied(m)), room(m, rule));

	m->reserve = rule->concurrent ? reserve_within(m, minor, budget) : 0;
	m->start = m->during + larger(less(budget, m->reserve), floor);
}

static void aim_at(struct ferry__model *m, const struct ferry__rule *rule,
		   size_t target, bool minor)
{
	size_t reserve = rule->concurrent ? reserve_for(m, minor) : 0;

	/* Room for the program to go on while it is collected. One that
	 * allocates quicker than it can be collected gets no more than
	 * twice its size: what it allocates meanwhile is not seen to be
	 * dead, and would ask for more and more. */
	target = larger(target, smaller(occupied(m) + 2 * reserve, 2 * target));
	m->goal.target = smaller(target, rule->limit);
	start_at(m, rule, minor);
}

/*
 * A program may allocate quicker now than it did on the average: that is
 * looked at half-way, and half-way again, while there is something to be
 * gained.
 */
static void look_on_the_way(struct ferry__model *m, size_t since)
{
	size_t way = less(m->start, since);

	m->goal.trigger = way > 16 * FLOOR ? since + way / 2 : m->start;
}

/*
 * The size is that of the last full collection: minor ones share in it. What
 * they leave alive takes from it until the next full one.
 */
void ferry__model_aim(struct ferry__model *m, const struct ferry__rule *rule)
{
	size_t target = target_for(m, rule, m->live_full);

	m->extra = less(target, m->live_full);
	if (!rule->concurrent) {
		aim_at(m, rule, target, false);
		m->goal.trigger = m->start;
		return;
	}
	aim_at(m, rule, target, true);
	if (ferry__model_next(m, rule, m->start) != FERRY_COLLECT_MINOR)
		aim_at(m, rule, target, false);
	look_on_the_way(m, m->during);
}

bool ferry__model_due(struct ferry__model *m, const struct ferry__rule *rule,
		      size_t since, uint64_t ns)
{
	if (!rule->concurrent || !m->last || since >= m->start)
		return true;
	if (ns)
		m->rate_now = (double)less(since, m->during) / (double)ns;
	/* For the same target: haste does not make the heap bigger. */
	start_at(m, rule, true);
	if (ferry__model_next(m, rule, m->start) != FERRY_COLLECT_MINOR)
		start_at(m, rule, false);
	look_on_the_way(m, since);
	return since >= m->start;
}

void ferry__model_init(struct ferry__model *m, const struct ferry__rule *rule)
{
	*m = (struct ferry__model){
		.discount = 1,
		.survival = 0.25,
		.safety = SAFETY_FIRST,
	};
	m->goal.target = target_for(m, rule, 0);
	/* Nothing is known yet of how long it takes. */
	m->goal.trigger = rule->concurrent ? m->goal.target / 2
					   : m->goal.target;
	m->extra = m->goal.target;
}

/* --- what collections tell ----------------------------------------------------- */

/* P5: too late last time? Up at once, down slowly. */
static void learn_safety(struct ferry__model *m, bool stalled)
{
	if (stalled || m->during > m->reserve)
		m->safety *= 1.5;
	else
		m->safety *= 0.9;
	m->safety = clamp(m->safety, SAFETY_LEAST, SAFETY_MOST);
}

static void learn_times(struct ferry__model *m,
			const struct ferry__cycle_report *r)
{
	double bytes = (double)r->allocated + (double)r->allocated_during;
	double ns = (double)r->since_ns + (double)m->last_wall_ns +
		    (double)r->wall_ns;
	double *wall = &m->wall_ns[r->what == FERRY_COLLECT_MINOR ? 0 : 1];
	double busy;

	if (ns > 0)
		m->rate = smooth(m->rate, bytes / ns, 0.5);
	if (r->wall_ns) {
		busy = (double)r->allocated_during / (double)r->wall_ns;
		m->rate_busy = smooth(m->rate_busy, busy, 0.5);
	}
	*wall = cautious(*wall, (double)r->wall_ns);
	m->last_wall_ns = r->wall_ns;
}

/* The young are what was allocated since the last collection began. */
static void learn_minor(struct ferry__model *m,
			const struct ferry__cycle_report *r)
{
	double survived = (double)less(r->live, m->live);
	double young = (double)r->allocated;

	m->minor_ns = cautious(m->minor_ns, (double)r->mark_ns);
	if (young > 0)
		m->survival =
			smooth(m->survival, clamp(survived / young, 0, 1), 0.5);
	m->minors_ns += r->mark_ns;
	m->minors++;
}

/* P3: the cost of all since the full before, by what one full costs, at the
 * bytes that this full alone would have given. */
static void learn_discount(struct ferry__model *m,
			   const struct ferry__cycle_report *r)
{
	double cost, share = 1;

	if (!r->mark_ns || !m->bytes)
		return;
	cost = (double)(m->minors_ns + r->mark_ns) / (double)r->mark_ns;
	if (m->bytes > m->extra)
		share = (double)m->extra / (double)m->bytes;
	m->discount =
		smooth(m->discount, clamp(cost * share, 1.0 / 64, 4), 0.5);
}

/*
 * What was learnt of minors fades, so that they get another chance; sooner if
 * less is alive than would be if that many had survived as by the last minors.
 */
static void learn_fading(struct ferry__model *m,
			 const struct ferry__cycle_report *r)
{
	double grown = r->allocated ? (double)less(r->live, m->live) /
					      (double)r->allocated
				    : 0;

	m->survival *= 0.97;
	m->minor_ns *= 0.97;
	if (grown < m->survival) {
		m->survival = smooth(m->survival, grown, 0.25);
		m->minor_ns *= 0.95;
	}
}

static void learn_full(struct ferry__model *m,
		       const struct ferry__cycle_report *r)
{
	learn_discount(m, r);
	m->live_full = r->live;
	if (r->mark_ns && m->live_full)
		m->speed = smooth(m->speed,
				  (double)m->live_full / (double)r->mark_ns,
				  0.5);
	learn_fading(m, r);
	m->full_ns = r->mark_ns;
	m->minors_ns = 0;
	m->bytes = 0;
	m->minors = 0;
	m->had_full = true;
}

/* P8: how much did the compaction give? */
static void learn_compaction(struct ferry__model *m,
			     const struct ferry__cycle_report *r)
{
	if (!m->compacting)
		return;
	m->compacting = false;
	if (less(m->before, r->used) >= m->before_holes / 4) {
		m->poor = 0;
		return;
	}
	m->poor++;
	m->skip = 1u << (m->poor < SKIP_MOST ? m->poor : SKIP_MOST);
}

void ferry__model_update(struct ferry__model *m, const struct ferry__rule *rule,
			 const struct ferry__cycle_report *r, bool stalled)
{
	m->during = r->allocated_during;
	m->rate_now = 0;
	if (rule->concurrent && m->last)
		learn_safety(m, stalled);
	learn_times(m, r);
	m->bytes += r->allocated;
	if (r->what == FERRY_COLLECT_MINOR)
		learn_minor(m, r);
	else
		learn_full(m, r);
	learn_compaction(m, r);
	m->last = r->what;
	m->live = r->live;
	m->used = r->used;
	m->holes = r->free_in_used;
	ferry__model_aim(m, rule);
}

/* --- kind (P6) ------------------------------------------------------------------- */

/* Would the program have to wait for the full collection after this one? */
static bool is_last_chance(const struct ferry__model *m,
			   const struct ferry__rule *rule, size_t since,
			   double yield)
{
	size_t after = m->live + less(since, bytes_of(yield));
	size_t reserve = reserve_for(m, false);

	return rule->concurrent && less(rule->limit, after) < 2 * reserve &&
	       less(rule->limit, m->live + since) >= reserve;
}

/*
 * A minor pays while what it costs by the byte that it gives is less than
 * the average since the last full, that one included: going on lowers the
 * average then, and else raises it. What dirty pages cost is in minor_ns.
 */
enum ferry_collect ferry__model_next(const struct ferry__model *m,
				     const struct ferry__rule *rule,
				     size_t since)
{
	double yield = (double)since * (1 - m->survival);
	double cost, bytes;

	if (!rule->minors || rule->pressed || !m->had_full ||
	    m->minors >= MINORS_MOST)
		return FERRY_COLLECT_FULL;
	if (yield < (double)m->extra / 16)
		return FERRY_COLLECT_FULL;
	if (is_last_chance(m, rule, since, yield))
		return FERRY_COLLECT_FULL;
	cost = (double)m->full_ns + (double)m->minors_ns;
	bytes = (double)m->bytes + (double)since;
	return m->minor_ns * bytes <= cost * yield ? FERRY_COLLECT_MINOR
						   : FERRY_COLLECT_FULL;
}

/* --- compaction (P7, P8) ----------------------------------------------------------- */

static bool is_scattered(const struct ferry__model *m,
			 const struct ferry__rule *rule,
			 const struct ferry__cycle_report *r)
{
	size_t target = target_for(m, rule, r->live);

	if (r->free_in_used < HOLES_LEAST || r->free_in_used < r->used / 8)
		return false;
	/* P7: more than half is holes; or the size is missed for their sake;
	 * or memory is wanted elsewhere. */
	return r->free_in_used > r->used / 2 || r->used > target + target / 8 ||
	       rule->pressed;
}

bool ferry__model_wants_compaction(struct ferry__model *m,
				   const struct ferry__rule *rule,
				   const struct ferry__cycle_report *r)
{
	if (!rule->compacts || !is_scattered(m, rule, r))
		return false;
	if (m->skip && !rule->pressed) {
		m->skip--;
		return false;
	}
	m->compacting = true;
	m->before = r->used;
	m->before_holes = r->free_in_used;
	return true;
}

/* --- free memory (P9) ---------------------------------------------------------------- */

size_t ferry__model_keep(const struct ferry__model *m,
			 const struct ferry__rule *rule)
{
	size_t most = less(m->goal.target, m->used);
	size_t second = bytes_of(m->rate * 1e9);

	if (rule->pressed)
		return smaller(most, KEEP_LEAST);
	if (m->last == FERRY_COLLECT_COMPACT)
		return smaller(most, larger(m->live / 32, KEEP_LEAST));
	return smaller(most, larger(second, m->live / 16));
}
