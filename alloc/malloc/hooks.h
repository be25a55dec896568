/* SPDX-License-Identifier: MIT */
/* Where the arenas of the heap get their memory, and what becomes of it. */
#ifndef FERRY_ALLOC_MALLOC_HOOKS_H
#define FERRY_ALLOC_MALLOC_HOOKS_H

#include "alloc/malloc/engine.h"
#include "alloc/malloc/space.h"

/* As jemalloc 5.3 lays it out ("arena.<i>.extent_hooks" in its manual). */
struct ferry__hooks {
	void *(*alloc)(struct ferry__hooks *hooks, void *addr, size_t size,
		       size_t align, bool *zero, bool *commit,
		       unsigned int arena);
	bool (*dalloc)(struct ferry__hooks *hooks, void *addr, size_t size,
		       bool committed, unsigned int arena);
	void (*destroy)(struct ferry__hooks *hooks, void *addr, size_t size,
			bool committed, unsigned int arena);
	bool (*commit)(struct ferry__hooks *hooks, void *addr, size_t size,
		       size_t off, size_t len, unsigned int arena);
	bool (*decommit)(struct ferry__hooks *hooks, void *addr, size_t size,
			 size_t off, size_t len, unsigned int arena);
	bool (*purge_lazy)(struct ferry__hooks *hooks, void *addr, size_t size,
			   size_t off, size_t len, unsigned int arena);
	bool (*purge_forced)(struct ferry__hooks *hooks, void *addr,
			     size_t size, size_t off, size_t len,
			     unsigned int arena);
	bool (*split)(struct ferry__hooks *hooks, void *addr, size_t size,
		      size_t size_a, size_t size_b, bool committed,
		      unsigned int arena);
	bool (*merge)(struct ferry__hooks *hooks, void *addr_a, size_t size_a,
		      void *addr_b, size_t size_b, bool committed,
		      unsigned int arena);
};

/* Those that only say yes or no (arena.c). True is jemalloc's word for no. */
FERRY__HIDDEN bool ferry__hook_dalloc(struct ferry__hooks *hooks, void *addr,
				      size_t size, bool committed,
				      unsigned int arena);
FERRY__HIDDEN bool ferry__hook_split(struct ferry__hooks *hooks, void *addr,
				     size_t size, size_t size_a, size_t size_b,
				     bool committed, unsigned int arena);

/* Of a list of regions: those that happen to be neighbours do not merge. */
FERRY__HIDDEN bool ferry__hook_merge_in(struct ferry__space *first,
					const void *addr_a, const void *addr_b);

/*
 * A manual arena whose memory @hooks give. Returns 0; -EAGAIN there are too
 * many; -ENOMEM.
 */
FERRY__HIDDEN int ferry__arena_create(struct ferry__hooks *hooks,
				      unsigned int *ret_number);

/* Writes jemalloc's "arena.<number>.<what>", or calls it. */
FERRY__HIDDEN int ferry__arena_call(unsigned int number, const char *what,
				    void *value, size_t len);

/* Of every arena of the heap. They are called with locks of jemalloc's held. */
extern FERRY__HIDDEN struct ferry__hooks ferry__hooks;

#endif
