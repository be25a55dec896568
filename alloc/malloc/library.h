/* SPDX-License-Identifier: MIT */
/* What the library does at moments of the process's life. */
#ifndef FERRY_ALLOC_MALLOC_LIBRARY_H
#define FERRY_ALLOC_MALLOC_LIBRARY_H

#include "alloc/malloc/engine.h"

/*
 * Once, right after the engine has started, in the thread that started it;
 * maybe before other constructors.
 */
FERRY__HIDDEN void ferry__library_start(void);

/*
 * What somebody wanted done at a moment when no lock of jemalloc's is held
 * (ferry__engine_want_work()). It may allocate and start threads.
 */
FERRY__HIDDEN void ferry__library_work(void);

/*
 * No fork(2) happens until release: for threads of ours that take jemalloc's
 * locks. False: one is under way, come back later. It never waits.
 */
FERRY__HIDDEN bool ferry__fork_hold(void);
FERRY__HIDDEN void ferry__fork_release(void);

/*
 * The same for a fork that runs no handlers: waits for threads of ours that
 * are in jemalloc, whose locks nobody would give back in the child. Released
 * in both processes. -EAGAIN: this thread is in the midst of a fork. It may be
 * called in signal handlers.
 */
FERRY__HIDDEN int ferry__fork_begin_raw(void);

/* Registers what happens around fork(2). */
FERRY__HIDDEN void ferry__fork_init(void);

#endif
