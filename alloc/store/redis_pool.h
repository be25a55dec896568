/* SPDX-License-Identifier: MIT */
/*
 * The memory of hiredis: mapped, never from malloc(3), whose pages may be
 * just what is asked for over the connection. Blocks of powers of two, kept
 * for reuse; large ones are mappings of their own. One pool for all stores,
 * since hiredis calls it without saying for whom.
 */
#ifndef FERRY_ALLOC_STORE_REDIS_POOL_H
#define FERRY_ALLOC_STORE_REDIS_POOL_H

#include <stddef.h>
#include <stdint.h>

/* As malloc(3) and its like; NULL when there is no memory. Any thread. */
void *ferry__redis_malloc(size_t size);
void *ferry__redis_calloc(size_t n, size_t size);
void *ferry__redis_realloc(void *ptr, size_t size);
char *ferry__redis_strdup(const char *s);
void ferry__redis_free(void *ptr);

/* In the child of a fork(2): nobody is within. */
void ferry__redis_pool_fork_child(void);

/* Bytes that are mapped. */
uint64_t ferry__redis_pool_held(void);

#endif
