/* SPDX-License-Identifier: MIT */
/*
 * Around fork(2): one set of handlers for all of the library, so that their
 * order is ours (DESIGN F1).
 *
 * The C library runs handlers in the order in which they were registered in
 * parent and child, and backwards before the fork. Ours are registered at the
 * first allocation, which is before anybody else's.
 */
#include "alloc/malloc/library.h"

#include <pthread.h>

static void prepare(void)
{
	ferry__engine_fork.prepare();
}

static void parent(void)
{
	ferry__engine_fork.parent();
}

static void child(void)
{
	ferry__engine_fork.child();
}

void ferry__fork_init(void)
{
	pthread_atfork(prepare, parent, child);
}
