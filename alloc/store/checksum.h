/* SPDX-License-Identifier: MIT */
/* What every store keeps with a page, to know it again. */
#ifndef FERRY_ALLOC_STORE_CHECKSUM_H
#define FERRY_ALLOC_STORE_CHECKSUM_H

#include <stdint.h>

/*
 * Of the page at @page and of @tag, by XXH3. Equal contents under two tags
 * never have the same sum. Signal-safe.
 */
uint64_t ferry__store_checksum(const void *page, uint64_t tag);

/* Of the page alone: on any machine; on one with AVX2. For that and tests. */
uint64_t ferry__checksum_plain(const void *page);
#if defined(__x86_64__)
#define FERRY__CHECKSUM_AVX2 1
uint64_t ferry__checksum_avx2(const void *page);
#endif

#endif
