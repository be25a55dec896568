/* SPDX-License-Identifier: MIT */
/* Large blocks that grow. */
#ifndef FERRY_ALLOC_MALLOC_GROW_H
#define FERRY_ALLOC_MALLOC_GROW_H

#include <stdbool.h>

/*
 * Is what a hook is asked for now a block that grows, to which a region of its
 * own is to be given? Within hooks, of the calling thread.
 */
bool ferry__grow_apart(void) __attribute__((visibility("hidden")));

#endif
