/* SPDX-License-Identifier: MIT */
/* What the library does at moments of the process's life. */
#ifndef FERRY_ALLOC_MALLOC_LIBRARY_H
#define FERRY_ALLOC_MALLOC_LIBRARY_H

#include "alloc/malloc/engine.h"

/*
 * Once, right after the engine has started, in the thread that started it,
 * which is inside ferry__engine_enter(). Maybe before any constructor.
 */
FERRY__HIDDEN void ferry__library_start(void);

/* Registers what happens around fork(2). */
FERRY__HIDDEN void ferry__fork_init(void);

#endif
