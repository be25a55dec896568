/* SPDX-License-Identifier: MIT */
/* The calls of ferry/malloc.h. */
#include <ferry/malloc.h>

#include <errno.h>

#include "alloc/malloc/offload.h"
#include "alloc/malloc/space.h"
#include "alloc/malloc/stats.h"
#include "uffd/sys.h"

/*
 * To whole pages: those that the range touches, or (@inner) those that it
 * covers, which may be none.
 */
static int to_pages(const void *addr, size_t len, bool inner, uintptr_t *from,
		    uintptr_t *to)
{
	uintptr_t mask = ferry__page_size - 1, end;

	if (__builtin_add_overflow((uintptr_t)addr, len, &end) ||
	    end > UINTPTR_MAX - mask)
		return -EINVAL;
	*from = (uintptr_t)addr;
	*to = end;
	if (inner) {
		*from = (*from + mask) & ~mask;
		*to &= ~mask;
	} else {
		*from &= ~mask;
		*to = (*to + mask) & ~mask;
	}
	return 0;
}

/* Who gives hints wants a pager, however small the heap. */
static int hint(const void *addr, size_t len, enum ferry__pager_hint what)
{
	struct ferry__pager *pager;
	uintptr_t from, to;
	int r;

	r = to_pages(addr, len, what == FERRY__HINT_COLD, &from, &to);
	if (r)
		return r;
	if (!ferry__space_of(FERRY__SPACE_HEAP, addr))
		return -ENOENT;
	ferry__offload_start();
	pager = ferry__offload_pager();
	if (!pager || ferry__offload_reason())
		return -EOPNOTSUPP;
	if (from >= to)
		return 0;
	return ferry__pager_hint(pager, (void *)from, to - from, what);
}

int ferry_hint_cold(const void *addr, size_t len)
{
	return hint(addr, len, FERRY__HINT_COLD);
}

int ferry_hint_hot(const void *addr, size_t len)
{
	return hint(addr, len, FERRY__HINT_HOT);
}

int ferry_hint_pin(const void *addr, size_t len)
{
	return hint(addr, len, FERRY__HINT_PIN);
}

int ferry_hint_none(const void *addr, size_t len)
{
	return hint(addr, len, FERRY__HINT_NONE);
}

int ferry_malloc_restore(void)
{
	return ferry__offload_restore() ? -EIO : 0;
}

void ferry_malloc_resume(void)
{
	ferry__offload_resume();
}

static void add_pager(struct ferry_malloc_stats *all,
		      struct ferry__pager *pager)
{
	struct ferry__pager_stats stats;

	ferry__pager_stats(pager, &stats);
	all->resident = stats.resident;
	all->limbo = stats.limbo;
	all->stored = stats.stored;
	all->store_memory = stats.store_memory;
	all->store_elsewhere = stats.store_elsewhere;
	all->faults_limbo = stats.faults_limbo;
	all->faults_stored = stats.faults_stored;
	all->pages_out = stats.pages_out;
	all->pages_back = stats.pages_back;
	all->pages_dropped = stats.pages_dropped;
	all->busy = stats.busy;
	all->stalled_ns = stats.stalled_ns;
}

int ferry_malloc_stats(struct ferry_malloc_stats *ret_stats)
{
	struct ferry_malloc_stats all = FERRY_INIT(struct ferry_malloc_stats);
	struct ferry__pager *pager = ferry__offload_pager();
	struct ferry__stats heap;
	size_t size = ret_stats->size;

	if (size < sizeof(size))
		return -EINVAL;
	if (size > sizeof(all))
		return -E2BIG;
	ferry__stats_get(&heap);
	all.size = size;
	all.allocated = heap.allocated;
	all.mapped = heap.mapped;
	all.dirty = heap.dirty;
	all.metadata = heap.metadata;
	all.resident = heap.resident;
	all.reason = ferry__offload_reason();
	if (pager)
		add_pager(&all, pager);
	__builtin_memcpy(ret_stats, &all, size);
	return 0;
}
