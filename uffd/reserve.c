/* SPDX-License-Identifier: MIT */
/* See reserve.h. */
#include "uffd/reserve.h"

#include <sys/mman.h>

#include "uffd/sys.h"

int ferry__reserve(void *near, size_t len, void **ret_addr)
{
	int r;

	r = ferry__sys->mmap(near, len, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0,
			     ret_addr);
	/* Refused, it costs who writes a core file time and disk. */
	if (!r)
		ferry__sys->madvise(*ret_addr, len, MADV_DONTDUMP);
	return r;
}

int ferry__reserve_open(void *addr, size_t len)
{
	/*
	 * First: the other way round there would be a moment with a mapping
	 * more within usable memory, and no move goes across two.
	 */
	ferry__sys->madvise(addr, len, MADV_DODUMP);
	return ferry__sys->mprotect(addr, len, PROT_READ | PROT_WRITE);
}
