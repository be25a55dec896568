/* SPDX-License-Identifier: MIT */
/* A thread that watches how short of memory the system is. */
#ifndef FERRY_RUNTIME_PRESSURE_H
#define FERRY_RUNTIME_PRESSURE_H

#include <pthread.h>
#include <stdbool.h>

struct ferry_heap;

struct ferry__pressure {
	pthread_t thread;
	bool has_thread;
	int wake;	  /* eventfd: the thread is to end */
	int fd;		  /* of a memory.pressure file */
	bool has_trigger; /* the kernel tells; else averages are read */
};

/*
 * Starts watching, if the heap is concurrent, wants it, and there is something
 * to watch; else does nothing. Returns 0 always: a heap works without. After
 * all that ferry_heap_request() needs.
 */
int ferry__pressure_init(struct ferry_heap *heap);

/* Ends the thread and waits for it; if there is none, nothing. */
void ferry__pressure_fini(struct ferry_heap *heap);

/* In a child of fork(2): the thread is the parent's. */
void ferry__pressure_forget(struct ferry_heap *heap);

#endif
