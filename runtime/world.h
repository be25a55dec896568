/* SPDX-License-Identifier: MIT */
/*
 * Mutators as the collector sees them, and how the world is stopped.
 */
#ifndef FERRY_RUNTIME_WORLD_H
#define FERRY_RUNTIME_WORLD_H

#include <ferry/mutator.h>

#include <pthread.h>
#include <urcu/list.h>

#include "runtime/block.h"

struct ferry__mutator {
	struct ferry_mutator pub; /* first: published offsets */
	struct ferry_heap *heap;
	struct cds_list_head node; /* in heap->world.mutators; world lock */
	pthread_t thread;
	bool running;		    /* touches objects; world lock */
	struct ferry__span span[2]; /* owner, or the stopped world */
	struct ferry_bump spare[2]; /* for objects that no hole takes */
	struct ferry__span spare_span[2];
	ferry_root_fn roots;
	void *roots_arg;
	char *stack_base;   /* outer end */
	char *stack_top;    /* inner end, while not running */
	uintptr_t regs[16]; /* callee-saved, while not running */
};

struct ferry__world {
	pthread_mutex_t lock;  /* rank 10 */
	pthread_cond_t resume; /* mutators wait here while stopping */
	pthread_cond_t quiet;  /* the collector: running became 0 */
	struct cds_list_head mutators;
	unsigned int running; /* mutators that touch objects */
	unsigned int len;     /* mutators */
	bool stopping;	      /* lock */
	uint64_t asked_ns;    /* when the stop was asked for */
};

static inline struct ferry__mutator *
ferry__mutator(const struct ferry_mutator *m)
{
	return (struct ferry__mutator *)m;
}

#endif
