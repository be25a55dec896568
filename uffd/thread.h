/* SPDX-License-Identifier: MIT */
/* Threads of the library. */
#ifndef FERRY_UFFD_THREAD_H
#define FERRY_UFFD_THREAD_H

#include <pthread.h>

/*
 * Starts a thread with all signals blocked (the host's handlers are for the
 * host's threads) and returns when it runs: what a C library or a sanitizer
 * does before, such as allocating memory, is over then, and no fork(2) of the
 * caller's can come into it. @attr may be NULL. Returns 0, or the negative
 * errno of pthread_create(3).
 */
int ferry__thread_start(pthread_t *ret_thread, const pthread_attr_t *attr,
			void *(*fn)(void *), void *arg);

/*
 * Waits until the thread has ended and the kernel, too, has forgotten it:
 * after pthread_join(3) alone it may still be counted among the threads of
 * the process for a moment, and share the caller's files.
 */
void ferry__thread_join(pthread_t thread);

/*
 * Called first thing in every thread that ferry__thread_start() starts, where
 * it is not NULL. Set once, before there are any.
 */
extern void (*ferry__thread_begins)(void) __attribute__((visibility("hidden")));

#endif
