/* SPDX-License-Identifier: MIT */
/*
 * Pacing: a program that is about to run out of memory before the collection
 * has found some is slowed down a little at a time, instead of being stopped
 * for long when there is none left.
 */
#ifndef FERRY_RUNTIME_PACE_H
#define FERRY_RUNTIME_PACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ferry_heap;
struct ferry_mutator;

/* Relaxed, all of it: a hint, and a stale one costs a millisecond. */
struct ferry__pace {
	_Atomic bool on;   /* a collection is marking */
	_Atomic bool held; /* its rounds are to get shorter */
	_Atomic uint64_t begin_ns;
	_Atomic uint64_t expect_ns; /* that it takes; 0: not known */
	_Atomic size_t room; /* bytes that could be allocated when it began */
	uint64_t took_ns[2]; /* minor and full ones; collector */
};

/* Of a mutator; the owner's. */
struct ferry__paced {
	uint64_t last_ns; /* when it was looked at */
	uint64_t debt_ns; /* to sleep */
};

/* Marking begins (world stopped), is to get on, is over. Collector. */
void ferry__pace_begin(struct ferry_heap *heap);
void ferry__pace_hold(struct ferry_heap *heap);
void ferry__pace_end(struct ferry_heap *heap);

/* For each nanosecond that a mutator runs, those that it has to sleep; @now_ns:
 * as ferry__sys->now_ns() tells. */
double ferry__pace_slack(const struct ferry_heap *heap, uint64_t now_ns);

/* Do mutators that allocate leave processors to the markers? Not those that
 * are held back: they would wait for one each time they wake up. */
bool ferry__pace_yields(const struct ferry_heap *heap);

/* In a slow allocation, while it is on: sleeps if it has to. */
void ferry__pace_slow(struct ferry_mutator *m);

#endif
