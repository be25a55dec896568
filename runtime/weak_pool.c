/* SPDX-License-Identifier: MIT */
/* Pools of records, in pages that the collector walks one at a time. */
#include "runtime/weak_pool.h"

#include <stdlib.h>
#include <string.h>

#define RECORDS_AT ((sizeof(struct ferry__pool_page) + 15) / 16 * 16)

void ferry__pool_init(struct ferry__pool *pool, size_t size)
{
	pool->size = size;
	pool->per_page = (uint32_t)((FERRY__POOL_PAGE - RECORDS_AT) / size);
	if (pool->per_page > 64 * FERRY__POOL_WORDS)
		pool->per_page = 64 * FERRY__POOL_WORDS;
	CDS_INIT_LIST_HEAD(&pool->pages);
	CDS_INIT_LIST_HEAD(&pool->room);
	pool->walk = NULL;
}

void ferry__pool_fini(struct ferry__pool *pool)
{
	struct ferry__pool_page *page, *next;

	cds_list_for_each_entry_safe (page, next, &pool->pages, node)
		free(page);
}

static struct ferry__pool_page *page_new(struct ferry__pool *pool,
					 uint64_t flips)
{
	struct ferry__pool_page *page;

	page = aligned_alloc(FERRY__POOL_PAGE, FERRY__POOL_PAGE);
	if (!page)
		return NULL;
	memset(page, 0, RECORDS_AT);
	atomic_init(&page->flips, flips);
	cds_list_add(&page->node, &pool->pages);
	cds_list_add(&page->room, &pool->room);
	return page;
}

/* A walk that is under way goes on behind it. */
static void page_free(struct ferry__pool *pool, struct ferry__pool_page *page)
{
	if (pool->walk == &page->node)
		pool->walk = page->node.next;
	cds_list_del(&page->node);
	cds_list_del(&page->room);
	free(page);
}

static void *record_at(const struct ferry__pool *pool,
		       struct ferry__pool_page *page, uint32_t i)
{
	return (char *)page + RECORDS_AT + i * pool->size;
}

static uint32_t unused(const struct ferry__pool_page *page)
{
	uint32_t word = 0;

	while (page->map[word] == UINT64_MAX)
		word++;
	return word * 64 + (uint32_t)__builtin_ctzll(~page->map[word]);
}

void *ferry__pool_alloc(struct ferry__pool *pool, uint64_t flips,
			uint64_t number)
{
	struct ferry__pool_page *page;
	uint32_t i;

	if (!cds_list_empty(&pool->room))
		page = cds_list_first_entry(&pool->room,
					    struct ferry__pool_page, room);
	else
		page = page_new(pool, flips);
	if (!page)
		return NULL;
	i = unused(page);
	page->map[i / 64] |= 1ull << i % 64;
	page->made = number;
	if (++page->used == pool->per_page)
		cds_list_del_init(&page->room);
	return memset(record_at(pool, page, i), 0, pool->size);
}

void ferry__pool_free(struct ferry__pool *pool, void *record)
{
	struct ferry__pool_page *page = ferry__pool_page_of(record);
	uint32_t i =
		(uint32_t)(((uintptr_t)record - (uintptr_t)page - RECORDS_AT) /
			   pool->size);

	page->map[i / 64] &= ~(1ull << i % 64);
	if (page->used-- == pool->per_page)
		cds_list_add(&page->room, &pool->room);
	/* One page stays, for who makes and frees a record in turn. */
	if (!page->used && pool->pages.next->next != &pool->pages)
		page_free(pool, page);
}

void *ferry__pool_next(const struct ferry__pool *pool,
		       struct ferry__pool_page *page, uint32_t *at)
{
	uint32_t word = *at / 64;
	uint64_t bits;

	if (word >= FERRY__POOL_WORDS)
		return NULL;
	bits = page->map[word] & UINT64_MAX << *at % 64;
	while (!bits) {
		if (++word == FERRY__POOL_WORDS)
			return NULL;
		bits = page->map[word];
	}
	*at = word * 64 + (uint32_t)__builtin_ctzll(bits) + 1;
	return record_at(pool, page, *at - 1);
}

void ferry__pool_walk(struct ferry__pool *pool, pthread_mutex_t *lock,
		      ferry__pool_fn fn, void *arg)
{
	struct ferry__pool_page *page;

	pthread_mutex_lock(lock);
	pool->walk = pool->pages.next;
	while (pool->walk != &pool->pages) {
		page = cds_list_entry(pool->walk, struct ferry__pool_page,
				      node);
		pool->walk = page->node.next;
		fn(arg, page);
		pthread_mutex_unlock(lock);
		pthread_mutex_lock(lock);
	}
	pool->walk = NULL;
	pthread_mutex_unlock(lock);
}
