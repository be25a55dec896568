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

extern FERRY__HIDDEN void *je_ecache_alloc_grow(void *tsdn, void *pac,
						void *ehooks, void *cache,
						void *block, size_t size,
						size_t align, bool zero,
						bool guarded);
FERRY__HIDDEN void *ferry__je_extent_grow(void *tsdn, void *pac, void *ehooks,
					  void *cache, void *block, size_t size,
					  size_t align, bool zero,
					  bool guarded);

void *ferry__je_extent_grow(void *tsdn, void *pac, void *ehooks, void *cache,
			    void *block, size_t size, size_t align, bool zero,
			    bool guarded)
{
	return je_ecache_alloc_grow(tsdn, pac, ehooks, cache, block, size,
				    align, zero, guarded);
}

bool ferry__je_thread_begin(void *tsd)
{
	return ferry__engine_thread_data(tsd);
}

void ferry__je_thread_event(void *tsd, uint64_t elapsed)
{
	je_tcache_gc_event_handler(tsd, elapsed);
}
