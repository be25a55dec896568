/* SPDX-License-Identifier: MIT */
/*
 * Events, counters and histograms, as the rest of the runtime feeds them.
 */
#ifndef FERRY_RUNTIME_EVENT_H
#define FERRY_RUNTIME_EVENT_H

#include <ferry/event.h>

#include <pthread.h>
#include <stdatomic.h>
#include <urcu/list.h>

/*
 * Counters since the heap was made. Relaxed: each is a sum that nothing else
 * is concluded from.
 */
struct ferry__counters {
	_Atomic uint64_t copied, moved, released, faults, dirty_pages, rounds;
	_Atomic uint64_t minors, fulls, compactions, gc_cpu_ns;
	_Atomic size_t pinned;	 /* not a sum: of the last compaction */
	_Atomic uint64_t stalls; /* by ferry__event_stall() */
	_Atomic uint64_t paced_ns;
};

/*
 * Histograms are added to by relaxed atomics and read without a lock, so that
 * fault handlers can add, and a pause never waits for a thread that was
 * preempted while it took a snapshot.
 */
struct ferry__events {
	pthread_mutex_t lock; /* rank 40: listeners; held while they run */
	struct cds_list_head listeners;
	_Atomic unsigned int listening; /* how many */
	struct ferry__counters count;
	struct ferry_histogram pauses[FERRY_PAUSES];
	struct ferry_histogram to_stop;
	struct ferry_histogram stall;
	struct ferry_histogram fault;
	uint64_t pause_asked_ns; /* of the pause under way: its stopper's */
};

int ferry__events_init(struct ferry_heap *heap);
void ferry__events_fini(struct ferry_heap *heap);

/* Tells listeners and probes. Any thread, also inside pauses; no lock of
 * rank 40 is held. */
void ferry__event(struct ferry_heap *heap, enum ferry_event_kind kind,
		  uint64_t value);

/* The three moments of a pause: event and histogram. By who stops the world. */
void ferry__event_pause_begin(struct ferry_heap *heap, enum ferry_pause why);
void ferry__event_pause_stopped(struct ferry_heap *heap, enum ferry_pause why);
void ferry__event_pause_end(struct ferry_heap *heap, enum ferry_pause why);

/* An allocation waited so long. */
void ferry__event_stall(struct ferry_heap *heap, uint64_t ns);

/* A fault of a mutator took so long. Signal-safe. */
void ferry__event_fault(struct ferry_heap *heap, uint64_t ns);

/* Adds one sample. Signal-safe. */
void ferry__histogram_add(struct ferry_histogram *h, uint64_t ns);

#endif
