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
	pthread_mutex_t lock;	/* rank 5: requests; held by no pause */
	pthread_cond_t request; /* the collector thread waits here */
	pthread_cond_t done;	/* who asked for a collection waits here */
	pthread_t thread;
	bool has_thread;
	bool quit;
	bool active;	   /* one is under way */
	unsigned int want; /* bit mask of 1 << enum ferry_collect */
	uint64_t asked;	   /* number that requests made now will get */
	uint64_t finished; /* collections over, by number */

	_Atomic uint32_t phase; /* enum ferry__phase; C1 */
	uint8_t colour;		/* of marked objects; world stopped */
	bool full;		/* the one under way */
	bool remembers; /* dirty tracking covers all since the last one */
	_Atomic uint64_t number; /* stalls of mutators name it, relaxed */

	struct ferry_dirty *dirty;
	unsigned char *armed; /* a byte a chunk of the reservation */
};

#endif
