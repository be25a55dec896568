/* SPDX-License-Identifier: MIT */
/*
 * The inside of an allocator instance: one manual arena of the engine over
 * regions of its own, thread caches of its own, a pager and its stores.
 *
 * Lock ranks: instances.lock, then the engine's, then an instance's .grow,
 * then the pager's, then the stores'.
 */
#ifndef FERRY_ALLOC_INSTANCE_H
#define FERRY_ALLOC_INSTANCE_H

#include <pthread.h>

#include <ferry/alloc.h>

#include "alloc/instance/bins.h"
#include "alloc/malloc/conf.h"
#include "alloc/malloc/hooks.h"
#include "alloc/malloc/space.h"
#include "alloc/malloc/tiers.h"
#include "alloc/pager/pager.h"

/* Flags of the engine's functions that end in x. */
#define FERRY__JE_ZERO	     0x40
#define FERRY__JE_ALIGN(log) ((int)(log))
#define FERRY__JE_ARENA(i)   ((int)(((i) + 1u) << 20))
#define FERRY__JE_TCACHE(i)  ((int)(((i) + 2u) << 8))

/* What the library needs for itself. */
#define FERRY__INSTANCE_OWN (FERRY__JE_ARENA(0) | FERRY__JE_TCACHE_NONE)

#define FERRY__INSTANCE_NAME 64

/* No thread has such an instance in its table. */
#define FERRY__INSTANCE_NOBODY UINT64_MAX

struct ferry__cache;

struct ferry_allocator {
	struct ferry__hooks hooks; /* first: what jemalloc hands to them */
	uint64_t id;		   /* no other instance ever has it */
	/*
	 * .id, or FERRY__INSTANCE_NOBODY: then no thread finds this instance
	 * in its table, and comes through ferry__instance_slow(), where what
	 * waits is done. Relaxed: who sees it later comes later.
	 */
	uint64_t quick;
	unsigned int arena;
	struct ferry__conf conf;
	char *conf_text; /* what .conf points into; mapped */
	size_t conf_size;
	char name[FERRY__INSTANCE_NAME];
	struct ferry__space_plan plan;
	struct ferry__space regions;
	pthread_mutex_t grow;	    /* regions are cut and told */
	struct ferry__space *told;  /* the last that the pager knows */
	uint64_t used;		    /* bytes cut; written under .grow */
	bool dying;		    /* purging is of no use any more */
	struct ferry__tiers tiers;  /* what the pager hands to callbacks */
	struct ferry__pager *pager; /* may never be started */
	size_t decay_mib[3], purge_mib[3];
	uint32_t starts; /* atomic: somebody starts or started it */
	/* Under instances.lock. */
	struct ferry__cache *caches;
	struct ferry_allocator *next, **link;
};

/* All instances, and whose thread caches there are. */
extern struct ferry__instances {
	pthread_mutex_t lock;
	struct ferry_allocator *first;
} ferry__instances;

/* Registers what happens around fork(2). */
void ferry__instances_fork_init(void);

/* --- memory (space.c) ----------------------------------------------------- */

/* Fills in .hooks, .regions and .plan. Returns 0 or -ENOMEM. */
int ferry__space_open(struct ferry_allocator *a, size_t reserve);
void ferry__space_close(struct ferry_allocator *a);
/* All contents are dead, whether in memory or out. */
void ferry__space_discard(struct ferry_allocator *a);

/* --- thread caches (cache.c) ---------------------------------------------- */

struct ferry__cache_entry {
	uint64_t id;		 /* of the instance */
	struct ferry__bin *bins; /* of the thread's cache, see bins.h */
	int flags; /* for the engine: its arena, the thread's cache */
};

#define FERRY__CACHE_ENTRIES 8

struct ferry__cache_self {
	struct ferry__cache_entry entry[FERRY__CACHE_ENTRIES];
	struct ferry__bins_row rows[FERRY__BINS_ROWS];
	struct ferry__cache *caches; /* of this thread, all */
	bool known;		     /* its end will be heard of */
};

extern _Thread_local struct ferry__cache_self ferry__cache_self
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

/*
 * What is to be done before a thread uses an instance that is not in its
 * table: its cache is made, the pager started. Returns its entry.
 */
const struct ferry__cache_entry *
ferry__instance_slow(struct ferry_allocator *a);

/* The same if it is in the table; NULL: it is not, or something waits. */
static inline const struct ferry__cache_entry *
ferry__instance_known(const struct ferry_allocator *a)
{
	uint64_t id = __atomic_load_n(&a->quick, __ATOMIC_RELAXED);
	const struct ferry__cache_entry *e =
		&ferry__cache_self.entry[id % FERRY__CACHE_ENTRIES];

	return __builtin_expect(e->id == id, 1) ? e : NULL;
}

/* How the calling thread allocates and frees. */
static inline const struct ferry__cache_entry *
ferry__instance_entry(struct ferry_allocator *a)
{
	const struct ferry__cache_entry *e = ferry__instance_known(a);

	return __builtin_expect(e != NULL, 1) ? e : ferry__instance_slow(a);
}

/* Empties all caches of the instance; nobody uses it any more. */
void ferry__cache_destroy_all(struct ferry_allocator *a);
/* Empties the cache of the calling thread. */
void ferry__cache_flush(struct ferry_allocator *a);

/* In the child of a fork(2), under instances.lock. */
void ferry__cache_fork_child(struct ferry_allocator *a);

/* --- offload (offload.c) -------------------------------------------------- */

/* Makes stores and pager as .conf says. Returns 0, -ENOMEM. */
int ferry__offload_open(struct ferry_allocator *a);
void ferry__offload_close(struct ferry_allocator *a);
/* Starts the pager's threads. Outside of the engine only. */
int ferry__offload_start(struct ferry_allocator *a);
/* In the child of a fork(2), after the pager's own handler. */
void ferry__offload_fork_child(struct ferry_allocator *a);
/* The instance has grown: the pager is to be started at the next call. */
void ferry__offload_wanted(struct ferry_allocator *a);

#endif
