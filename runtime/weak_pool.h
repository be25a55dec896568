/* SPDX-License-Identifier: MIT */
/*
 * Pools of records that hold the address of an object each: weak references
 * and requests to finalize.
 *
 * Records never move; they lie in pages that know which are in use, when the
 * last one was made, and of which flip the addresses in it are. The collector
 * walks a pool page by page and lets the lock go between pages; records and
 * pages come and go meanwhile.
 */
#ifndef FERRY_RUNTIME_WEAK_POOL_H
#define FERRY_RUNTIME_WEAK_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <urcu/list.h>

#define FERRY__POOL_PAGE  ((size_t)16384)
#define FERRY__POOL_WORDS 32u /* of a page's map of records in use */

struct ferry__pool_page {
	struct cds_list_head node; /* in pool->pages */
	struct cds_list_head room; /* in pool->room, or alone when full */
	_Atomic uint64_t flips;	   /* its addresses are as of so many; W10 */
	uint64_t made;	 /* markings begun when a record was made last */
	uint64_t purged; /* number of the marking after which it was purged */
	uint32_t used;
	uint64_t map[FERRY__POOL_WORDS];
};

/* All fields under the lock of who owns the pool. */
struct ferry__pool {
	size_t size;	   /* of a record, a multiple of 8 */
	uint32_t per_page; /* records, at most 64 * FERRY__POOL_WORDS */
	struct cds_list_head pages;
	struct cds_list_head room;  /* pages with room */
	struct cds_list_head *walk; /* next page of the walk under way */
};

void ferry__pool_init(struct ferry__pool *pool, size_t size);
void ferry__pool_fini(struct ferry__pool *pool);

/* A record of zeros, made when @number markings had begun, or NULL. If its
 * page is new its addresses are as of @flips; if it is older the caller
 * brings it up to date. */
void *ferry__pool_alloc(struct ferry__pool *pool, uint64_t flips,
			uint64_t number);
void ferry__pool_free(struct ferry__pool *pool, void *record);

static inline struct ferry__pool_page *ferry__pool_page_of(const void *record)
{
	return (struct ferry__pool_page *)((uintptr_t)record &
					   ~(uintptr_t)(FERRY__POOL_PAGE - 1));
}

/* The first record in use at or after number *@at, which becomes the number
 * behind it; NULL: no more. */
void *ferry__pool_next(const struct ferry__pool *pool,
		       struct ferry__pool_page *page, uint32_t *at);

/*
 * Walks all pages that exist now and are not freed before their turn: @fn
 * with @lock held, which is let go in between. One walk at a time.
 */
typedef void (*ferry__pool_fn)(void *arg, struct ferry__pool_page *page);
void ferry__pool_walk(struct ferry__pool *pool, pthread_mutex_t *lock,
		      ferry__pool_fn fn, void *arg);

#endif
