/* SPDX-License-Identifier: MIT */
/*
 * What the engine's object asks of whoever links it (alloc/malloc/engine.sh):
 * here jemalloc as it is, since threads are not told of arenas.
 */
#include "alloc/malloc/engine.h"

extern FERRY__HIDDEN void je_tcache_gc_event_handler(void *tsd,
						     uint64_t elapsed);
FERRY__HIDDEN bool ferry__je_thread_begin(void *tsd);
FERRY__HIDDEN void ferry__je_thread_event(void *tsd, uint64_t elapsed);

bool ferry__je_thread_begin(void *tsd)
{
	return ferry__engine_thread_data(tsd);
}

void ferry__je_thread_event(void *tsd, uint64_t elapsed)
{
	je_tcache_gc_event_handler(tsd, elapsed);
}
