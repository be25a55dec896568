/* SPDX-License-Identifier: MIT */
/*
 * Extent hooks over the regions of the heap (DESIGN E5).
 *
 * jemalloc calls them with locks held: none allocates, and none touches memory
 * that is served. True is jemalloc's word for "no".
 */
#include "alloc/malloc/hooks.h"

#include <errno.h>

#include "alloc/malloc/grow.h"
#include "alloc/malloc/offload.h"
#include "alloc/malloc/space.h"

/* At @addr only what is cut next there. */
static int cut(void *addr, size_t size, size_t align, void **ret_addr)
{
	if (addr) {
		*ret_addr = addr;
		return ferry__space_extend(FERRY__SPACE_HEAP, addr, size);
	}
	if (ferry__grow_apart() &&
	    !ferry__space_cut_apart(FERRY__SPACE_HEAP, size, align, ret_addr))
		return 0;
	return ferry__space_cut(FERRY__SPACE_HEAP, size, align, ret_addr);
}

static void *hook_alloc(struct ferry__hooks *hooks, void *addr, size_t size,
			size_t align, bool *zero, bool *commit,
			unsigned int arena)
{
	int saved = errno, r;
	void *p;

	(void)hooks;
	(void)arena;
	r = cut(addr, size, align, &p);
	if (!r)
		ferry__offload_grown(p, size);
	errno = saved;
	if (r)
		return NULL;
	*zero = true;
	*commit = true;
	return p;
}

static bool hook_purge(struct ferry__hooks *hooks, void *addr, size_t size,
		       size_t off, size_t len, unsigned int arena)
{
	int saved = errno, r;

	(void)hooks;
	(void)size;
	(void)arena;
	r = ferry__offload_discard((char *)addr + off, len);
	errno = saved;
	return r != 0;
}

/* Regions that happen to be neighbours are two mappings. */
static bool hook_merge(struct ferry__hooks *hooks, void *addr_a, size_t size_a,
		       void *addr_b, size_t size_b, bool committed,
		       unsigned int arena)
{
	(void)hooks;
	(void)size_a;
	(void)size_b;
	(void)committed;
	(void)arena;
	return ferry__hook_merge_in(&ferry__space_first[FERRY__SPACE_HEAP],
				    addr_a, addr_b);
}

struct ferry__hooks ferry__hooks = {
	.alloc = hook_alloc,
	.dalloc = ferry__hook_dalloc,
	.purge_forced = hook_purge,
	.split = ferry__hook_split,
	.merge = hook_merge,
};
