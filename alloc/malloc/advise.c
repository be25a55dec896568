/* SPDX-License-Identifier: MIT */
/*
 * madvise(2) on memory of the heap: a program that takes its pages away wants
 * zeroes, also where their contents are in a store by now.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ferry/base.h>

#include "alloc/malloc/offload.h"
#include "alloc/malloc/space.h"
#include "uffd/sys.h"

static bool takes_away(int advice)
{
	return advice == MADV_DONTNEED || advice == MADV_FREE;
}

/* What the kernel would refuse is not touched. */
static void forget(void *addr, size_t len)
{
	size_t mask = ferry__page_size - 1;
	struct ferry__space *space = ferry__space_of(FERRY__SPACE_HEAP, addr);
	uintptr_t at = (uintptr_t)addr;

	if (!space || at & mask || !len || len > SIZE_MAX - mask)
		return;
	len = (len + mask) & ~mask;
	if (len <= space->base + ferry__space_used(space) - at)
		ferry__offload_discard(addr, len);
}

/* Only what is from us can be out, and only once there is a pager. */
FERRY_EXPORT int madvise(void *addr, size_t len, int advice)
{
	int r;

	if (takes_away(advice) && ferry__offload_pager())
		forget(addr, len);
	r = ferry__sys->madvise(addr, len, advice);
	if (!r)
		return 0;
	errno = -r;
	return -1;
}
