/* SPDX-License-Identifier: MIT */
/*
 * Destructors of thread-specific data run in the first thread when it calls
 * pthread_exit(3) or is cancelled, and not when main() returns or the process
 * exits: then nobody waits for our threads.
 */
#include "alloc/malloc/leave.h"

#include <pthread.h>

#include "alloc/malloc/quiet.h"

static pthread_key_t key;
static bool has_key;

static void leave(void *data)
{
	(void)data;
	ferry__quiet_leave();
}

void ferry__leave_init(void)
{
	has_key = !pthread_key_create(&key, leave);
	ferry__leave_watch();
}

void ferry__leave_watch(void)
{
	if (has_key)
		pthread_setspecific(key, &key);
}
