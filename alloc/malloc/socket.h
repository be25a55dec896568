/* SPDX-License-Identifier: MIT */
/* The control socket of this process, where the configuration names one. */
#ifndef FERRY_ALLOC_MALLOC_SOCKET_H
#define FERRY_ALLOC_MALLOC_SOCKET_H

#include "alloc/malloc/conf.h"
#include "alloc/malloc/engine.h"

/* Once, at the start of the library. @conf stays. */
FERRY__HIDDEN void ferry__socket_init(const struct ferry__conf *conf);

/* Outside of jemalloc's locks: listens, if that is wanted and not done. */
FERRY__HIDDEN void ferry__socket_work(void);

/*
 * Ends its thread; nobody listens until as many calls of resume(), then at the
 * next work. Any thread.
 */
FERRY__HIDDEN void ferry__socket_pause(void);
FERRY__HIDDEN void ferry__socket_resume(void);

/* The process ends: so does the thread, and the name goes. */
FERRY__HIDDEN void ferry__socket_end(void);

/* Paused, it stays so, in children too. No system call is made. */
FERRY__HIDDEN void ferry__socket_give_up(void);

/* In a child of fork(2): a socket of its own, if its name has the pid. */
FERRY__HIDDEN void ferry__socket_fork_child(void);

#endif
