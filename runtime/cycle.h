/* SPDX-License-Identifier: MIT */
/*
 * A collection from its beginning to its end, and the thread that runs it.
 */
#ifndef FERRY_RUNTIME_CYCLE_H
#define FERRY_RUNTIME_CYCLE_H

#include <ferry/dirty.h>
#include <ferry/heap.h>

#include <pthread.h>
#include <stdatomic.h>

/* Phases, as mutators and tables need to know them. */
enum ferry__phase {
	FERRY__PHASE_IDLE,
	FERRY__PHASE_MARK,    /* new objects are black */
	FERRY__PHASE_WEAK,    /* reachability is decided; tables are purged */
	FERRY__PHASE_SWEEP,   /* garbage is being taken away */
	FERRY__PHASE_PLAN,    /* sparse blocks are frozen */
	FERRY__PHASE_COMPACT, /* objects are at their new addresses */
};

struct ferry__cycle {
	pthread_mutex_t lock;	/* rank 5; held by no pause */
	pthread_cond_t request; /* the collector thread waits here */
	pthread_cond_t done;	/* who asked for a collection waits here */
	pthread_t thread;
	bool has_thread;
	bool quit;
	unsigned int excluders; /* who wait to exclude collections come first */
	bool active;		/* one is under way */
	unsigned int want;	/* bit mask of 1 << enum ferry_collect */
	uint64_t marked;   /* number of the last whose memory can be swept */
	uint64_t finished; /* collections over, by number */
	_Atomic uint64_t number; /* collections begun; lock, but events name
				    it without, relaxed */
	uint64_t last_end_ns;

	_Atomic uint32_t stalled; /* mutators that wait for memory; relaxed */
	_Atomic bool asked;	  /* want is not 0, for a quick look */
	_Atomic bool under_way;	  /* the same of one that was asked for */
	_Atomic uint32_t phase;	  /* enum ferry__phase; written with the world
				   stopped or by who runs the collection */
	uint8_t colour;		  /* of marked objects; world stopped */
	uint8_t young;		  /* of those allocated since the start of the
				   last collection; world stopped */
	bool full;		  /* the one under way */
	uint32_t scanned; /* head of the retired list at the last scan */
};

int ferry__cycle_init(struct ferry_heap *heap);
void ferry__cycle_fini(struct ferry_heap *heap);

/* What could not be queued for want of memory is found again by its colour,
 * and traced. By who runs the collection, markers at rest. */
void ferry__mark_overflowed(struct ferry_heap *heap);

/* By who runs the collection. Retiring: world stopped. */
void ferry__cycle_phase_set(struct ferry_heap *heap, enum ferry__phase phase);
void ferry__cycle_retire_all(struct ferry_heap *heap);

/* A mutator allocates: starts what the policy says is due. */
void ferry__cycle_poll(struct ferry_heap *heap, struct ferry_mutator *m);

/*
 * No memory within the limit for @size bytes, for the (@tries + 1)th time.
 * Collects, and waits for it; asks the host. True: worth trying again.
 */
bool ferry__cycle_exhausted(struct ferry_heap *heap, struct ferry_mutator *m,
			    size_t size, unsigned int tries);

/* Asks for a collection; the number that must be finished for it. */
uint64_t ferry__cycle_request(struct ferry_heap *heap, enum ferry_collect what);

/*
 * Between the two no collection is under way and none begins; the caller's
 * mutator (NULL: none) does not run. One caller at a time, others wait.
 */
void ferry__cycle_exclude(struct ferry_heap *heap, struct ferry_mutator *m);
void ferry__cycle_admit(struct ferry_heap *heap, struct ferry_mutator *m);

/* CPU time of the calling thread. */
uint64_t ferry__cpu_ns(void);

/* Starts the collector's threads. Returns 0, -EAGAIN, -ENOMEM. */
int ferry__cycle_start(struct ferry_heap *heap);

#endif
