/* SPDX-License-Identifier: MIT */
/*
 * The memory of an instance: extent hooks over regions of its own.
 *
 * As those of the malloc (alloc/malloc/hooks.c), but each instance has its
 * own, found by the table of hooks that it begins with. jemalloc calls them
 * with locks held; true is its word for "no".
 */
#include <errno.h>

#include "alloc/instance/instance.h"

static struct ferry_allocator *allocator_of(struct ferry__hooks *hooks)
{
	return (struct ferry_allocator *)hooks;
}

/* --- growing -------------------------------------------------------------- */

/* The pager learns of each region once. */
static int tell_regions(struct ferry_allocator *a)
{
	struct ferry__space *r;
	int e;

	r = a->told ? ferry__space_next(a->told) : &a->regions;
	for (; r; r = ferry__space_next(r)) {
		e = ferry__pager_add_region(a->pager, (void *)r->base, r->len);
		if (e)
			return e;
		a->told = r;
	}
	return 0;
}

static void tell(struct ferry_allocator *a, void *p)
{
	struct ferry__space *r = ferry__spaces_of(&a->regions, p);

	/* A region that the pager could not take is not paged. */
	if (tell_regions(a))
		return;
	ferry__pager_grow(a->pager, (void *)r->base, ferry__space_used(r));
	if (a->used >= a->conf.min_heap)
		ferry__offload_wanted(a);
}

static int cut(struct ferry_allocator *a, size_t size, size_t align,
	       void **ret_addr)
{
	int r;

	pthread_mutex_lock(&a->grow);
	r = ferry__spaces_cut(&a->regions, &a->plan, size, align, ret_addr);
	if (!r) {
		/* Relaxed: a count that statistics read. */
		__atomic_store_n(&a->used, a->used + size, __ATOMIC_RELAXED);
		tell(a, *ret_addr);
	}
	pthread_mutex_unlock(&a->grow);
	return r;
}

/* --- hooks ---------------------------------------------------------------- */

static void *hook_alloc(struct ferry__hooks *hooks, void *addr, size_t size,
			size_t align, bool *zero, bool *commit,
			unsigned int arena)
{
	int saved = errno, r = -ENOSPC;
	void *p;

	(void)arena;
	if (!addr)
		r = cut(allocator_of(hooks), size, align, &p);
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
	struct ferry_allocator *a = allocator_of(hooks);
	int saved = errno, r = 0;

	(void)size;
	(void)arena;
	if (!a->dying)
		r = ferry__pager_discard(a->pager, (char *)addr + off, len);
	errno = saved;
	return r != 0;
}

/* Regions that happen to be neighbours are two mappings. */
static bool hook_merge(struct ferry__hooks *hooks, void *addr_a, size_t size_a,
		       void *addr_b, size_t size_b, bool committed,
		       unsigned int arena)
{
	(void)size_a;
	(void)size_b;
	(void)committed;
	(void)arena;
	return ferry__hook_merge_in(&allocator_of(hooks)->regions, addr_a,
				    addr_b);
}

static const struct ferry__hooks instance_hooks = {
	.alloc = hook_alloc,
	.dalloc = ferry__hook_dalloc,
	.purge_forced = hook_purge,
	.split = ferry__hook_split,
	.merge = hook_merge,
};

/* --- in and out ----------------------------------------------------------- */

int ferry__space_open(struct ferry_allocator *a, size_t reserve)
{
	a->hooks = instance_hooks;
	a->plan = (struct ferry__space_plan){
		.first_len = reserve ? reserve : (size_t)1 << 30,
		.part = 64,
		.name = a->name,
	};
	pthread_mutex_init(&a->grow, NULL);
	return ferry__spaces_init(&a->regions, &a->plan) ? -ENOMEM : 0;
}

void ferry__space_discard(struct ferry_allocator *a)
{
	struct ferry__space *r;

	for (r = &a->regions; r; r = ferry__space_next(r))
		if (ferry__space_used(r))
			ferry__pager_discard(a->pager, (void *)r->base,
					     ferry__space_used(r));
}

void ferry__space_close(struct ferry_allocator *a)
{
	ferry__spaces_fini(&a->regions);
	pthread_mutex_destroy(&a->grow);
}
