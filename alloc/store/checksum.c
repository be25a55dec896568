/* SPDX-License-Identifier: MIT */
/* Checksums of pages: XXH3 of libxxhash, compiled in. */
#include "alloc/store/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "uffd/sys.h"

/*
 * The tag goes in after the contents, by an odd factor: that is one to one,
 * and costs less than a seed, from which XXH3 makes a secret of its own.
 */
uint64_t ferry__store_checksum(const void *page, uint64_t tag)
{
	return XXH3_64bits(page, ferry__page_size) ^
	       (tag * 0x9e3779b97f4a7c15u);
}
