/* SPDX-License-Identifier: MIT */
/*
 * What the engine's object asks of whoever links it (alloc/malloc/engine.sh):
 * here jemalloc as it is, since threads are not told of arenas.
 */
#include "alloc/malloc/engine.h"

extern FERRY__HIDDEN bool je_tsd_tcache_enabled_data_init(void *tsd);
extern FERRY__HIDDEN void je_tcache_gc_event_handler(void *tsd,
						     uint64_t elapsed);
FERRY__HIDDEN bool ferry__je_thread_begin(void *tsd);
FERRY__HIDDEN void ferry__je_thread_event(void *tsd, uint64_t elapsed);

bool ferry__je_thread_begin(void *tsd)
{
	return je_tsd_tcache_enabled_data_init(tsd);
}

void ferry__je_thread_event(void *tsd, uint64_t elapsed)
{
	je_tcache_gc_event_handler(tsd, elapsed);
}
