/* SPDX-License-Identifier: MIT */
/*
 * The engine: jemalloc under names of its own, and which of its arenas a
 * thread allocates from.
 *
 * Threads of the program share as many manual arenas as there are processors,
 * over the regions of the heap. What the engine needs for itself, what our own
 * threads allocate, and what is allocated while the engine starts comes from
 * arena 0, in regions that are never paged (DESIGN E2).
 *
 * Before any constructor of the program, memory comes from arena 0; the engine
 * starts in ours, which the loader runs first, or when 64 KiB have been
 * allocated, whichever comes first. Nobody waits for that: whoever comes
 * meanwhile gets memory from arena 0 and has his arena later.
 */
#ifndef FERRY_ALLOC_MALLOC_ENGINE_H
#define FERRY_ALLOC_MALLOC_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FERRY__HIDDEN __attribute__((visibility("hidden")))

/* --- jemalloc's own (see its manual) ---------------------------------------------- */

FERRY__HIDDEN void *ferry__je_malloc(size_t size);
FERRY__HIDDEN void *ferry__je_calloc(size_t n, size_t size);
FERRY__HIDDEN void *ferry__je_realloc(void *ptr, size_t size);
FERRY__HIDDEN void ferry__je_free(void *ptr);
FERRY__HIDDEN void *ferry__je_aligned_alloc(size_t align, size_t size);
FERRY__HIDDEN int ferry__je_posix_memalign(void **ret_ptr, size_t align,
					   size_t size);
FERRY__HIDDEN void *ferry__je_memalign(size_t align, size_t size);
FERRY__HIDDEN size_t ferry__je_malloc_usable_size(void *ptr);
FERRY__HIDDEN void *ferry__je_mallocx(size_t size, int flags);
FERRY__HIDDEN void *ferry__je_rallocx(void *ptr, size_t size, int flags);
FERRY__HIDDEN void ferry__je_dallocx(void *ptr, int flags);
FERRY__HIDDEN int ferry__je_mallctl(const char *name, void *old,
				    size_t *old_len, void *fresh,
				    size_t fresh_len);
FERRY__HIDDEN int ferry__je_mallctlnametomib(const char *name, size_t *mib,
					     size_t *mib_len);
FERRY__HIDDEN int ferry__je_mallctlbymib(const size_t *mib, size_t mib_len,
					 void *old, size_t *old_len,
					 void *fresh, size_t fresh_len);
FERRY__HIDDEN void ferry__je_malloc_stats_print(void (*write)(void *,
							      const char *),
						void *arg, const char *options);

/* Flags of the functions that end in x. */
#define FERRY__JE_ZERO	      0x40
#define FERRY__JE_TCACHE_NONE 0x100
#define FERRY__JE_ARENA_0     (1 << 20)

/* --- threads ------------------------------------------------------------------------ */

/*
 * What the calling thread allocates comes from arena 0, and not through a
 * cache. For threads of ours, first thing.
 */
FERRY__HIDDEN void ferry__engine_be_own(void);

/*
 * What the C library allocates zeroed for a thread that is being made (its
 * dtv, which it touches in a child of fork(2) before any handler) comes from
 * arena 0 until end(). Around pthread_create(3) for threads of ours; nests.
 */
extern FERRY__HIDDEN _Thread_local unsigned int ferry__engine_own
	__attribute__((tls_model("initial-exec")));

static inline void ferry__engine_own_begin(void)
{
	ferry__engine_own++;
}

static inline void ferry__engine_own_end(void)
{
	ferry__engine_own--;
}

/*
 * Has ferry__library_work() called by the next thread that allocates or frees
 * some 64 KiB more, outside of jemalloc's locks. Any thread, also within
 * hooks; wait-free.
 */
FERRY__HIDDEN void ferry__engine_want_work(void);

/* Starts the engine unless it was started. No constructor needs to have run. */
FERRY__HIDDEN void ferry__engine_start(void);

/* Is the engine ready, with arenas of its own? Any thread. */
FERRY__HIDDEN bool ferry__engine_is_ready(void);
/* Did no region fit, so that all comes from arena 0? Any thread. */
FERRY__HIDDEN bool ferry__engine_is_plain(void);

/*
 * Number of the manual arena at place @i of at most ferry__engine_arenas();
 * -ENOENT: nobody has used that place yet.
 */
FERRY__HIDDEN unsigned int ferry__engine_arenas(void);
FERRY__HIDDEN int ferry__engine_arena(unsigned int i, unsigned int *ret_number);

/*
 * Makes what jemalloc keeps for a thread, as it would by itself, but without a
 * cache where there is no memory for one. (imports.c)
 */
FERRY__HIDDEN bool ferry__engine_thread_data(void *tsd);

/* --- what jemalloc wants to tell the C library ---------------------------------------- */

/* Its handlers around fork(2), as it would have registered them. */
struct ferry__engine_fork {
	void (*prepare)(void);
	void (*parent)(void);
	void (*child)(void);
};

extern FERRY__HIDDEN struct ferry__engine_fork ferry__engine_fork;

#endif
