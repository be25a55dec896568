/* SPDX-License-Identifier: MIT */
/*
 * A thread that starts other threads, for callers that must not wait for one.
 *
 * Work is asked for by events of malloc(3), which come within the C library's
 * own functions, too. dlopen(3) holds a lock then that each pthread_create(3)
 * takes: who waited there for a thread that starts another would wait for ever.
 */
#ifndef FERRY_ALLOC_MALLOC_STARTER_H
#define FERRY_ALLOC_MALLOC_STARTER_H

#include <stdbool.h>

#include "alloc/malloc/engine.h"

/*
 * Has @job done by a thread of its own; one at a time. Any thread, outside of
 * jemalloc's locks. Returns 0; -EBUSY: there is another job, or somebody holds
 * it; the error of pthread_create(3).
 */
FERRY__HIDDEN int ferry__starter_run(void (*job)(void));

/* The same in the calling thread, which may wait. */
FERRY__HIDDEN int ferry__starter_do(void (*job)(void));

/* Ends the thread if the job is done. */
FERRY__HIDDEN void ferry__starter_join(void);

/*
 * When it returns no job is going on and the thread is gone; none begins until
 * release(), which says whether nobody holds it any more. Any thread.
 */
FERRY__HIDDEN void ferry__starter_hold(void);
FERRY__HIDDEN bool ferry__starter_release(void);

/*
 * Before a fork(2): waits for the job, but no longer than a second, since the
 * caller may be who holds it up (a signal handler within dlopen(3)).
 */
FERRY__HIDDEN void ferry__starter_settle(void);

/* In the child, which has no such thread. */
FERRY__HIDDEN void ferry__starter_fork_child(void);

#endif
