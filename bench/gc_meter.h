/* SPDX-License-Identifier: MIT */
/*
 * gc_meter.h: what a mutator feels of a collector: time lost beyond the work
 * itself, the worst of it, and the minimum mutator utilisation.
 */
#ifndef FERRY_BENCH_GC_METER_H
#define FERRY_BENCH_GC_METER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stats.h"
#include "util.h"

/* Kinds of operations, each with a normal duration of its own. */
enum gc_op {
	GC_OP_BUILD,  /* allocate a batch of nodes, whatever for */
	GC_OP_CHURN,  /* replace something old by something new */
	GC_OP_MUTATE, /* change pointers of old objects */
	GC_OP_WORK,   /* no memory at all */
	GC_OP_WALK,   /* read and verify old objects */
	GC_OPS
};

/* A stretch of time lost, in ns of the clock. */
struct gc_gap {
	uint64_t start;
	uint64_t len;
};

/* In their order, none overlapping another. All zero = none. */
struct gc_gaps {
	struct gc_gap *v;
	size_t n;
	size_t room;
};

/*
 * Adds @len ns lost that end at @end, which is after the end of every gap
 * that is there; what overlaps the last one is cut off, what touches it is
 * merged with it.
 */
void gc_gaps_add(struct gc_gaps *g, uint64_t end, uint64_t len);
void gc_gaps_fini(struct gc_gaps *g);

/*
 * The minimum mutator utilisation (P. Cheng, G. Blelloch, A Parallel,
 * Real-Time Garbage Collector, PLDI 2001) of [@begin, @end): the least share
 * of time, 0..1, that is not lost in any window of @window ns, wherever it
 * lies. A window longer than the run is the run. Linear in the gaps.
 */
double gc_mmu(const struct gc_gaps *g, uint64_t begin, uint64_t end,
	      uint64_t window);

/* Windows of which the utilisation is reported, in ms. */
#define GC_WINDOWS 7
extern const unsigned int gc_window_ms[GC_WINDOWS];

/*
 * One mutator's meter; nobody else touches it while the mutator runs. The
 * mutator reads the clock after each operation. What an operation took beyond
 * the normal duration of its kind is lost. Normal is the mean of that kind in
 * the same process, without the slowest hundredth (which interrupts are, and
 * faults). It is learnt twice, and the lower mean holds: before the first
 * collection, when nothing is tracked, but memory is new; and right after a
 * full one, when memory is recycled, but writes may be tracked.
 * Operations that were quicker than that pay back what others took longer, so
 * that it is no loss when some take longer by nature; but a credit of more
 * than GC_CREDIT_NS is not given: a pause cannot be made up for.
 */
#define GC_CREDIT_NS 20000

struct gc_meter {
	uint64_t last;		/* when the last operation ended */
	uint64_t base[GC_OPS];	/* ns; 0 while learning */
	uint64_t count[GC_OPS]; /* operations */
	bool learning;
	uint64_t lesson[GC_OPS]; /* lowest mean of lessons before; 0: none */
	int64_t owed;		 /* lost, not yet in @gaps; below 0: a credit */
	uint64_t lost;		 /* in all of @gaps */
	uint64_t worst;		 /* lost in one operation */
	/* ns that operations took beyond normal, pauses and what else takes
	 * more than GC_PAUSE_NS left out; quicker ones count as well. */
	int64_t excess[GC_OPS];
	struct gc_gaps gaps;
	struct bench_samples learnt[GC_OPS];
};

/* Learn normal durations from now on; again, after another lesson. */
void gc_meter_learn(struct gc_meter *m);

/* Measure against what was learnt, from now on. */
void gc_meter_start(struct gc_meter *m);

/* The last losses are booked. */
void gc_meter_stop(struct gc_meter *m);
void gc_meter_fini(struct gc_meter *m);

/* Not inline: learn from an operation of @took ns; book what is owed. */
void gc_meter_note(struct gc_meter *m, enum gc_op op, uint64_t took);
void gc_meter_book(struct gc_meter *m);

/*
 * Losses are booked once they sum up to this many ns: a gap for every
 * operation that took a little longer would be a gap for every second one.
 */
#define GC_BOOK_NS 2000

/* What is taken for a pause in struct gc_meter.excess. */
#define GC_PAUSE_NS 100000

/* An operation of this kind has ended at @now. */
static inline void gc_tick_at(struct gc_meter *m, enum gc_op op, uint64_t now)
{
	uint64_t took = now - m->last;
	int64_t late = (int64_t)(took - m->base[op]);

	m->last = now;
	m->count[op]++;
	if (__builtin_expect(m->learning, 0)) {
		gc_meter_note(m, op, took);
		return;
	}
	m->owed += late;
	if (late < GC_PAUSE_NS)
		m->excess[op] += late;
	if (late > (int64_t)m->worst)
		m->worst = (uint64_t)late;
	if (m->owed < -GC_CREDIT_NS)
		m->owed = -GC_CREDIT_NS;
	else if (m->owed >= GC_BOOK_NS)
		gc_meter_book(m);
}

static inline void gc_tick(struct gc_meter *m, enum gc_op op)
{
	gc_tick_at(m, op, bench_now());
}

/* ns that the operations counted would have taken, had all been normal. */
uint64_t gc_meter_normal(const struct gc_meter *m);

#endif
