/* SPDX-License-Identifier: MIT */
/* Memory that stores keep for themselves. */
#ifndef FERRY_ALLOC_STORE_MAP_H
#define FERRY_ALLOC_STORE_MAP_H

#include <stddef.h>

/* @len bytes in pages. */
size_t ferry__store_round(size_t len);

/*
 * Fresh memory that reads as zero: private, without huge pages (a page given
 * back would not be free), not counted against overcommit before it is used,
 * and named where the kernel can. Signal-safe; keeps errno.
 * Returns 0 or the error of mmap(2).
 */
int ferry__store_map(size_t len, void **ret_addr);

void ferry__store_unmap(void *addr, size_t len);

#endif
