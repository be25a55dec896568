/* SPDX-License-Identifier: MIT */
/*
 * Pacing of mutators while a collection marks, after the pacer of Shenandoah
 * (R. Kennke, A. Shipilev), simplified: what was allocated since it began, as
 * a share of the room there was, may be ahead of the share of its time that
 * has gone by, but not by far. Who is ahead sleeps for a part of the time
 * that it runs.
 *
 *	share of room
 *	  1 |                 . '
 *	    |   sleeps    . '  /
 *	    |         . '   /      lines: sleeps half of the time; sleeps not
 *	    |     . '    /
 *	    | . '     /   does not
 *	  0 +-------------------- share of time
 */
#include "runtime/heap-internal.h"

#include <time.h>

/* How far ahead is no matter, and the part of running time to be slept by
 * how much more it is. */
#define AHEAD 0.05
#define STEEP 8.0
/* At most, by the time that it ran: half of all time; while there is hardly
 * any room left, more. */
#define MOST	  1.0
#define MOST_LATE 4.0
#define LATE	  0.9

/* Sleeps are not shorter, and not longer than what a pause may take. */
#define SLEEP_LEAST_NS 50000u
#define SLEEP_MOST_NS  1000000u

#define load(word) atomic_load_explicit(&(word), memory_order_relaxed)
#define store(word, value)                                                     \
	atomic_store_explicit(&(word), value, memory_order_relaxed)

static size_t room_now(struct ferry_heap *heap)
{
	size_t used = load(heap->space.taken) + load(heap->large.bytes);
	size_t limit = load(heap->policy.limit), live, holes;

	ferry__space_sums(heap, &live, &holes);
	/* Not every hole is big enough for what is asked. */
	return (limit > used ? limit - used : 0) + holes / 8 * 7;
}

static uint64_t expected(const struct ferry__pace *pace, bool full)
{
	return pace->took_ns[full] ? pace->took_ns[full] : pace->took_ns[1];
}

void ferry__pace_begin(struct ferry_heap *heap)
{
	struct ferry__pace *pace = &heap->pace;

	if (heap->params.no_pace)
		return;
	store(pace->begin_ns, ferry__sys->now_ns());
	store(pace->expect_ns, expected(pace, heap->cycle.full));
	store(pace->room, room_now(heap));
	store(pace->held, false);
	store(pace->on, true);
}

void ferry__pace_hold(struct ferry_heap *heap, bool hold)
{
	store(heap->pace.held, hold);
}

/* What takes longer than ever is believed sooner. */
void ferry__pace_end(struct ferry_heap *heap)
{
	struct ferry__pace *pace = &heap->pace;
	uint64_t took = ferry__sys->now_ns() - load(pace->begin_ns);
	uint64_t *mean = &pace->took_ns[heap->cycle.full];

	if (!load(pace->on))
		return;
	store(pace->on, false);
	if (!*mean || took > *mean)
		*mean = *mean / 4 + took / 4 * 3;
	else
		*mean = *mean / 4 * 3 + took / 4;
}

/* For each nanosecond run, those to be slept. */
static double slack(const struct ferry_heap *heap, uint64_t now)
{
	const struct ferry__pace *pace = &heap->pace;
	double took = (double)(now - load(pace->begin_ns));
	double expect = (double)load(pace->expect_ns);
	double room = (double)load(pace->room) + 1;
	double share, ahead, most;

	share = (double)load(heap->space.since) / room;
	/* One that takes longer than was expected is about to end. */
	ahead = expect > 0 ? share - took / (expect > took * 1.15 ? expect
								  : took * 1.15)
			   : 0;
	most = share > LATE ? MOST_LATE : MOST;
	ahead = (ahead - AHEAD) * STEEP;
	if (load(pace->held) && ahead < MOST)
		ahead = MOST;
	return ahead < 0 ? 0 : ahead < most ? ahead : most;
}

static void sleep_ns(struct ferry_mutator *m, uint64_t ns)
{
	struct timespec ts = { 0, (long)ns };

	ferry__mutator_leave(m);
	/* One that a signal cuts short is made up for later. */
	nanosleep(&ts, NULL);
	ferry__mutator_enter(m);
}

void ferry__pace_slow(struct ferry_mutator *m)
{
	struct ferry__mutator *mutator = ferry__mutator(m);
	struct ferry__paced *paced = &mutator->paced;
	uint64_t now = ferry__sys->now_ns(), ran = now - paced->last_ns, slept;

	paced->last_ns = now;
	/* What it did before that was not looked at. */
	if (ran > SLEEP_MOST_NS)
		ran = SLEEP_MOST_NS;
	paced->debt_ns += (uint64_t)((double)ran * slack(mutator->heap, now));
	if (paced->debt_ns < SLEEP_LEAST_NS)
		return;
	sleep_ns(m, paced->debt_ns < SLEEP_MOST_NS ? paced->debt_ns
						   : SLEEP_MOST_NS);
	paced->last_ns = ferry__sys->now_ns();
	slept = paced->last_ns - now;
	/* A sleep takes longer than was asked for: that is counted, too. */
	paced->debt_ns -= slept < paced->debt_ns ? slept : paced->debt_ns;
	atomic_fetch_add_explicit(&mutator->heap->events.count.paced_ns, slept,
				  memory_order_relaxed);
}
