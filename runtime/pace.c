/* SPDX-License-Identifier: MIT */
/*
 * Pacing of mutators while a collection marks, after the pacer of Shenandoah
 * (R. Kennke, A. Shipilev), simplified: what was allocated since it began, as
 * a share of the room there was, may be ahead of the share of its time that
 * has gone by, but not by far. Who is ahead sleeps for a part of the time
 * that it runs; when hardly any room is left, for nearly all of it: many short
 * sleeps in place of one long wait.
 *
 *	share of room
 *	  1 |-------------------
 *	    |  sleeps, the longer the less room
 *	0.9 |-------------------
 *	    |             . '
 *	    |   sleeps. '    /
 *	    |     . '     /      lines: sleeps half of the time; sleeps not
 *	    | . '      /   does not
 *	  0 +-------------------- share of time
 */
#include "runtime/heap-internal.h"

#include <time.h>

/* How far ahead is no matter, and the part of running time to be slept by
 * how much more it is. */
#define AHEAD 0.05
#define STEEP 8.0
/* At most, for the time that it ran: as much again; three times that while
 * rounds are to get shorter (HELD). */
#define MOST 1.0
#define HELD 3.0
/* The room that is left from this share on is to last however long marking
 * takes. */
#define LATE	   0.9
#define LATE_LEAST 3.0
#define LATE_MOST  300.0

/* Sleeps are not shorter, and not longer than what a pause may take. */
#define SLEEP_LEAST_NS 50000u
#define SLEEP_MOST_NS  1000000u
/* What is not slept at once is made up for at the next look, up to this. */
#define DEBT_MOST_NS (4 * SLEEP_MOST_NS)

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

void ferry__pace_hold(struct ferry_heap *heap)
{
	store(heap->pace.held, true);
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

/* The nearer the end of the room, the slower: never quite there. */
static double late(double share)
{
	double slack = LATE_LEAST * (1 - LATE) / (share < 1 ? 1 - share : 1e-9);

	return slack < LATE_MOST ? slack : LATE_MOST;
}

/* Allocated since, of the room there was. */
static double share_now(const struct ferry_heap *heap)
{
	return (double)load(heap->space.since) /
	       ((double)load(heap->pace.room) + 1);
}

static double ahead_of_time(const struct ferry__pace *pace, double share,
			    uint64_t now_ns)
{
	double took = (double)(now_ns - load(pace->begin_ns));
	double expect = (double)load(pace->expect_ns);
	double slack;

	if (!(expect > 0))
		return 0;
	/* One that takes longer than was expected is about to end. */
	if (expect < took * 1.15)
		expect = took * 1.15;
	slack = (share - took / expect - AHEAD) * STEEP;
	return slack < 0 ? 0 : slack < MOST ? slack : MOST;
}

double ferry__pace_slack(const struct ferry_heap *heap, uint64_t now_ns)
{
	const struct ferry__pace *pace = &heap->pace;
	double share = share_now(heap);

	if (share > LATE)
		return late(share);
	return load(pace->held) ? HELD : ahead_of_time(pace, share, now_ns);
}

bool ferry__pace_yields(const struct ferry_heap *heap)
{
	return load(heap->pace.on) && share_now(heap) > LATE;
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
	paced->debt_ns +=
		(uint64_t)((double)ran * ferry__pace_slack(mutator->heap, now));
	if (paced->debt_ns < SLEEP_LEAST_NS)
		return;
	if (paced->debt_ns > DEBT_MOST_NS)
		paced->debt_ns = DEBT_MOST_NS;
	sleep_ns(m, paced->debt_ns < SLEEP_MOST_NS ? paced->debt_ns
						   : SLEEP_MOST_NS);
	paced->last_ns = ferry__sys->now_ns();
	slept = paced->last_ns - now;
	/* A sleep takes longer than was asked for: that is counted, too. */
	paced->debt_ns -= slept < paced->debt_ns ? slept : paced->debt_ns;
	atomic_fetch_add_explicit(&mutator->heap->events.count.paced_ns, slept,
				  memory_order_relaxed);
}
