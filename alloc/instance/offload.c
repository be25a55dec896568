/* SPDX-License-Identifier: MIT */
/* The stores and the pager of an instance. */
#include <errno.h>
#include <stdio.h>

#include "alloc/instance/instance.h"
#include "alloc/malloc/holes.h"
#include "alloc/store/map.h"
#include "uffd/handle.h"
#include "uffd/sys.h"

/* What the engine knows of pages: one engine, one answer. */
static struct ferry__holes holes;
static pthread_once_t holes_once = PTHREAD_ONCE_INIT;

static void start_holes(void)
{
	ferry__holes_start(&holes, &ferry__holes_jemalloc);
	if (!ferry__holes_reason(&holes))
		ferry__bins_start();
}

/* --- what the pager asks --------------------------------------------------- */

static struct ferry_allocator *of_tiers(void *tiers)
{
	return (struct ferry_allocator *)((char *)tiers -
					  offsetof(struct ferry_allocator,
						   tiers));
}

static void call(const size_t *mib)
{
	ferry__je_mallctlbymib(mib, 3, NULL, NULL, NULL, 0);
}

/* An idle program frees nothing that would make the engine look. */
static void tick(void *arg, uint64_t now_ns, bool idle)
{
	struct ferry_allocator *a = of_tiers(arg);

	(void)now_ns;
	(void)idle;
	call(a->decay_mib);
}

/* --- in and out ------------------------------------------------------------ */

static int find_calls(struct ferry_allocator *a)
{
	size_t len = 3;
	char name[64];
	int r;

	snprintf(name, sizeof(name), "arena.%u.decay", a->arena);
	r = ferry__je_mallctlnametomib(name, a->decay_mib, &len);
	if (r)
		return -r;
	snprintf(name, sizeof(name), "arena.%u.purge", a->arena);
	return -ferry__je_mallctlnametomib(name, a->purge_mib, &len);
}

static int make_pager(struct ferry_allocator *a)
{
	struct ferry__pager_params params;
	int r = ferry__tiers_init(&a->tiers, &a->conf, &holes);

	if (r)
		return r;
	ferry__tiers_params(&a->tiers, &params);
	params.tick = tick;
	return ferry__pager_create(&params, &a->pager);
}

int ferry__offload_open(struct ferry_allocator *a)
{
	int r;

	pthread_once(&holes_once, start_holes);
	r = find_calls(a);
	if (!r)
		r = make_pager(a);
	if (r)
		ferry__offload_close(a);
	return r;
}

void ferry__offload_close(struct ferry_allocator *a)
{
	ferry__pager_destroy(a->pager);
	a->pager = NULL;
	ferry__tiers_fini(&a->tiers);
}

/* --- starting -------------------------------------------------------------- */

void ferry__offload_wanted(struct ferry_allocator *a)
{
	/* Relaxed: whoever finds it starts the pager, who does not need not. */
	if (a->conf.offload != FERRY__OFFLOAD_OFF &&
	    !__atomic_load_n(&a->starts, __ATOMIC_RELAXED))
		__atomic_store_n(&a->quick, FERRY__INSTANCE_NOBODY,
				 __ATOMIC_RELAXED);
}

int ferry__offload_start(struct ferry_allocator *a)
{
	if (a->conf.offload == FERRY__OFFLOAD_OFF)
		return -EOPNOTSUPP;
	/* Relaxed, both: the pager's own lock orders what it does. */
	__atomic_store_n(&a->starts, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&a->quick, a->id, __ATOMIC_RELAXED);
	/* A filter that we came into may kill for what we would call. */
	if (a->conf.offload == FERRY__OFFLOAD_AUTO && ferry__filtered())
		return -EPERM;
	return ferry__pager_start(a->pager, NULL);
}

/* If nothing was out, the pager waits to be started again. */
void ferry__offload_fork_child(struct ferry_allocator *a)
{
	if (!__atomic_load_n(&a->starts, __ATOMIC_RELAXED))
		return;
	__atomic_store_n(&a->starts, 0, __ATOMIC_RELAXED);
	ferry__offload_wanted(a);
}

/* --- on demand ------------------------------------------------------------- */

int ferry_allocator_trim(struct ferry_allocator *a)
{
	int r;

	ferry__cache_flush(a);
	call(a->purge_mib);
	r = ferry__offload_start(a);
	return r ? r : ferry__pager_run(a->pager, true);
}

int ferry_allocator_hint(struct ferry_allocator *a, const void *addr,
			 size_t len, enum ferry_allocator_hint hint)
{
	static const enum ferry__pager_hint hints[] = {
		[FERRY_ALLOCATOR_HINT_NONE] = FERRY__HINT_NONE,
		[FERRY_ALLOCATOR_HINT_COLD] = FERRY__HINT_COLD,
		[FERRY_ALLOCATOR_HINT_HOT] = FERRY__HINT_HOT,
		[FERRY_ALLOCATOR_HINT_PIN] = FERRY__HINT_PIN,
	};

	if ((unsigned int)hint >= sizeof(hints) / sizeof(hints[0]) ||
	    (uintptr_t)addr + len < (uintptr_t)addr)
		return -EINVAL;
	/* Who wants it out wants a pager, however small the instance. */
	if (hint == FERRY_ALLOCATOR_HINT_COLD)
		ferry__offload_start(a);
	return ferry__pager_hint(a->pager, (void *)(uintptr_t)addr, len,
				 hints[hint]);
}

int ferry_allocator_restore(struct ferry_allocator *a)
{
	return ferry__pager_restore_all(a->pager);
}

void ferry_allocator_resume(struct ferry_allocator *a)
{
	ferry__pager_resume(a->pager);
}
