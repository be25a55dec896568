/* SPDX-License-Identifier: MIT */
/*
 * XXH3 with the wider instructions that most machines have, in half the time.
 * Its own source, as all functions of a header are compiled for them here;
 * nothing else may be defined that others could be linked to.
 */
#include "alloc/store/checksum.h"

#ifdef FERRY__CHECKSUM_AVX2

#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#include "uffd/sys.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))),                  \
			     apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif

#define XXH_VECTOR 2 /* XXH_AVX2, which is not defined yet */
#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t ferry__checksum_avx2(const void *page)
{
	return XXH3_64bits(page, ferry__page_size);
}

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
