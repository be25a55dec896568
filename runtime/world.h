/* SPDX-License-Identifier: MIT */
/*
 * Mutators as the collector sees them, and how the world is stopped.
 */
#ifndef FERRY_RUNTIME_WORLD_H
#define FERRY_RUNTIME_WORLD_H

#include <ferry/event.h>
#include <ferry/mutator.h>

#include <pthread.h>
#include <urcu/list.h>

#include "runtime/block.h"

/* Callee-saved registers of the architectures known here, with room. */
#define FERRY__REGS 16u

struct ferry__mutator {
	struct ferry_mutator pub; /* first: published offsets */
	struct ferry_heap *heap;
	struct cds_list_head node;  /* in heap->world.mutators; world lock */
	struct ferry__mutator *all; /* next heap's, of the same thread */
	pthread_t thread;
	bool running;		    /* touches objects; world lock */
	bool parked;		    /* counted so; world lock */
	bool left;		    /* by ferry__thread_leave(); owner */
	struct ferry__span span[2]; /* owner, or the stopped world */
	struct ferry_bump spare[2]; /* for objects that no hole takes */
	struct ferry__span spare_span[2];
	ferry_root_fn roots;
	void *roots_arg;
	char *stack_base;	     /* outer end */
	char *stack_top;	     /* inner end, while not running */
	uintptr_t regs[FERRY__REGS]; /* callee-saved, while not running */
	struct ferry__paced paced;   /* pace.c; owner */
};

struct ferry__world {
	pthread_mutex_t lock;  /* rank 10 */
	pthread_cond_t resume; /* mutators wait here while stopping */
	pthread_cond_t quiet;  /* who stops waits here: running became 0 */
	struct cds_list_head mutators;
	unsigned int running; /* mutators that touch objects */
	unsigned int parked;  /* of these, that wait in a pause of another
				 heap and touch nothing for that time */
	unsigned int len;     /* mutators */
	bool stopping;
	bool frozen; /* stopping for a fork */
};

static inline struct ferry__mutator *
ferry__mutator(const struct ferry_mutator *m)
{
	return (struct ferry__mutator *)m;
}

/* World lock: the mutator runs, once the world does. */
void ferry__world_join(struct ferry__mutator *m);

/*
 * For a fork: as stop and resume, but that a mutator whose thread waits in a
 * pause of another heap counts as stopped. It is at no safepoint of this
 * heap: its roots are not to be looked at.
 */
void ferry__world_freeze(struct ferry_heap *heap);
void ferry__world_thaw(struct ferry_heap *heap);

/* In the child of a fork, frozen: only the calling thread's mutator is left,
 * which has left; thaws. */
void ferry__world_forget(struct ferry_heap *heap);

/* All of the calling thread's mutators that run leave; those that did enter
 * again. (mutator.c) */
void ferry__thread_leave(void);
void ferry__thread_enter(void);

/* The calling thread waits in a pause of @m's heap: its other mutators count
 * as parked; then no longer, once their worlds are not frozen. (mutator.c) */
void ferry__thread_park(struct ferry__mutator *m);
void ferry__thread_unpark(struct ferry__mutator *m);

/* The two for one mutator. */
void ferry__world_park(struct ferry__mutator *m);
void ferry__world_unpark(struct ferry__mutator *m);

int ferry__world_init(struct ferry_heap *heap);
void ferry__world_fini(struct ferry_heap *heap);

/* Does no mutator run, nor will at any moment: is the world stopped, or does
 * all of it wait for memory? */
bool ferry__world_is_quiet(struct ferry_heap *heap);

/*
 * Stops all mutators and returns when they are stopped; nests not. The caller
 * is no running mutator and runs the collection. Events and histograms of
 * the pause are made here. Resume lets them go.
 */
void ferry__world_stop(struct ferry_heap *heap, enum ferry_pause why);
void ferry__world_resume(struct ferry_heap *heap, enum ferry_pause why);

/* The mutator stops touching objects, or starts again (and waits while the
 * world is stopped). Owner; NULL: nothing. */
void ferry__mutator_leave(struct ferry_mutator *m);
void ferry__mutator_enter(struct ferry_mutator *m);

#endif
