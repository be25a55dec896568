/* SPDX-License-Identifier: MIT */
/*
 * Checksums of pages: XXH3 of libxxhash, compiled in, for any machine of the
 * kind and for those with AVX2. Both give the same sums.
 */
#include "alloc/store/checksum.h"

#include <stdbool.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "uffd/sys.h"

uint64_t ferry__checksum_plain(const void *page)
{
	return XXH3_64bits(page, ferry__page_size);
}

#ifdef FERRY__CHECKSUM_AVX2
/* Asked once; relaxed, as whoever asks again gets the same answer. */
static bool has_avx2(void)
{
	enum { UNKNOWN = 0, NO, YES };
	static int known;
	int has = __atomic_load_n(&known, __ATOMIC_RELAXED);

	if (__builtin_expect(has == UNKNOWN, 0)) {
		__builtin_cpu_init();
		has = __builtin_cpu_supports("avx2") ? YES : NO;
		__atomic_store_n(&known, has, __ATOMIC_RELAXED);
	}
	return has == YES;
}

static uint64_t sum(const void *page)
{
	return has_avx2() ? ferry__checksum_avx2(page)
			  : ferry__checksum_plain(page);
}
#else
static uint64_t sum(const void *page)
{
	return ferry__checksum_plain(page);
}
#endif

/*
 * The tag goes in after the contents, by an odd factor: that is one to one,
 * and costs less than a seed, from which XXH3 makes a secret of its own.
 */
uint64_t ferry__store_checksum(const void *page, uint64_t tag)
{
	return sum(page) ^ (tag * 0x9e3779b97f4a7c15u);
}
