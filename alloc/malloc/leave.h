/* SPDX-License-Identifier: MIT */
/*
 * The end of a process by the end of its last thread: pthread_exit(3) in main()
 * leaves the other threads, and the C library ends the process when the last
 * of those has ended. Threads of ours would count, for ever. So they end with
 * the first thread, after which nothing is out.
 */
#ifndef FERRY_ALLOC_MALLOC_LEAVE_H
#define FERRY_ALLOC_MALLOC_LEAVE_H

#include "alloc/malloc/engine.h"

/* Once, at the start of the library, in the first thread. */
FERRY__HIDDEN void ferry__leave_init(void);

/* In the child of fork(2): whichever thread forked is the first one now. */
FERRY__HIDDEN void ferry__leave_watch(void);

#endif
