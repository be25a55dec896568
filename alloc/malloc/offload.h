/* SPDX-License-Identifier: MIT */
/*
 * The pager of the heap: when it comes to be, what it is told, what it asks.
 *
 * There is none until the heap has passed min_heap, so that small programs
 * have neither threads nor descriptors nor stores.
 */
#ifndef FERRY_ALLOC_MALLOC_OFFLOAD_H
#define FERRY_ALLOC_MALLOC_OFFLOAD_H

#include "alloc/malloc/conf.h"
#include "alloc/malloc/engine.h"
#include "alloc/pager/pager.h"

/* Once, at the start of the library. @conf stays. */
FERRY__HIDDEN void ferry__offload_init(const struct ferry__conf *conf);

/*
 * Is this a child of vfork(2), which has its parent's memory? Threads that it
 * started would end with it and leave the parent with what they held. A child
 * of a fork that ran no handlers is taken for one, and starts none either.
 */
FERRY__HIDDEN bool ferry__offload_is_guest(void);

/*
 * Starts the pager unless it was tried. Outside of jemalloc's locks; it
 * allocates and starts threads. Returns 0, -ECHILD in a guest, or why there
 * is none.
 */
FERRY__HIDDEN int ferry__offload_start(void);

/* The same if the heap is large enough by now. */
FERRY__HIDDEN void ferry__offload_work(void);

/* The heap has got [@addr, @addr + @size) from a space. Within hooks. */
FERRY__HIDDEN void ferry__offload_grown(const void *addr, size_t size);

/*
 * What is in the range is dead: memory goes back, it reads as zero. Within
 * hooks. Returns 0 or a negative errno, with the contents undefined.
 */
FERRY__HIDDEN int ferry__offload_discard(void *addr, size_t len);

/* The pager, or NULL. Once there is one it stays. */
FERRY__HIDDEN struct ferry__pager *ferry__offload_pager(void);

/* Why nothing is taken out, in words; NULL: it is, or may yet be. */
FERRY__HIDDEN const char *ferry__offload_reason(void);

/* Why holes of pages are not seen, in words; NULL: they are. */
FERRY__HIDDEN const char *ferry__offload_blind(void);

/*
 * Brings all back and takes nothing more until resume(); nests. 0, also where
 * there is no pager yet; or an error, with some pages left out.
 */
FERRY__HIDDEN int ferry__offload_restore(void);
FERRY__HIDDEN void ferry__offload_resume(void);

/*
 * Takes out whatever was not touched just now. 0; -EOPNOTSUPP: there is no
 * pager; errors of ferry__pager_run().
 */
FERRY__HIDDEN int ferry__offload_run(void);

/* Free memory goes back to the system. Takes jemalloc's locks. */
FERRY__HIDDEN void ferry__offload_trim(void);

/* Around fork(2), with jemalloc's locks held; the child without them. */
FERRY__HIDDEN void ferry__offload_fork_prepare(void);
FERRY__HIDDEN void ferry__offload_fork_parent(void);
FERRY__HIDDEN void ferry__offload_fork_child(void);

#endif
