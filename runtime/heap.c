/* SPDX-License-Identifier: MIT */
/*
 * A heap's beginning and end.
 */
#include "runtime/heap-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A half is at least this, so that chunks of dirty tracking divide it. */
#define HALF_MIN ((size_t)64 << 20)

/*
 * A power of two with room for the limit and a quarter more: blocks that are
 * evacuated into have numbers of their own while their sources still do, and
 * large objects leave gaps.
 */
static size_t half_for(size_t max_bytes)
{
	size_t half = HALF_MIN;

	while (half - half / 5 < max_bytes)
		half *= 2;
	return half;
}

static int reserve(struct ferry_heap *heap)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	int r;

	heap->half = half_for(heap->params.max_bytes);
	p.reserve = FERRY__PARTS * heap->half;
	p.thp = heap->params.thp;
	p.node = heap->params.node;
	p.name = heap->params.name;
	r = ferry_arena_create(&p, &heap->arena);
	if (r == 0)
		heap->base = (uintptr_t)ferry_arena_base(heap->arena);
	return r;
}

/* What a concurrent collection needs of the kernel. */
static int probe(const struct ferry_heap_params *p, enum ferry_reason *ret_why)
{
	struct ferry_features f = FERRY_INIT(struct ferry_features);
	uint64_t need = FERRY_FEATURE_MOVE_WORKS;
	int r;

	*ret_why = FERRY_REASON_NONE;
	if (p->fault_mode == FERRY_FAULT_SIGBUS)
		need |= FERRY_FEATURE_SIGBUS;
	r = ferry_features_get(&f);
	if (r < 0)
		return r;
	if ((f.features & need) == need)
		return 0;
	*ret_why = f.move_reason ? f.move_reason : FERRY_REASON_NOT_SUPPORTED;
	return -EOPNOTSUPP;
}

static int choose_mode(struct ferry_heap *heap, enum ferry_reason *ret_why)
{
	int r;

	*ret_why = FERRY_REASON_NONE;
	heap->mode = heap->params.mode;
	if (heap->mode == FERRY_GC_STOPPED)
		return 0;
	r = probe(&heap->params, ret_why);
	if (r < 0 && heap->mode == FERRY_GC_CONCURRENT)
		return r;
	heap->mode = r < 0 ? FERRY_GC_STOPPED : FERRY_GC_CONCURRENT;
	return 0;
}

/*
 * One part of a heap and how it is taken down again, in the order they are
 * made. The collector's threads come last, so that they find all the rest.
 */
struct part {
	int (*init)(struct ferry_heap *heap);
	void (*fini)(struct ferry_heap *heap);
};

static const struct part parts[] = {
	{ ferry__events_init, ferry__events_fini },
	{ ferry__space_init, ferry__space_fini },
	{ ferry__large_init, ferry__large_fini },
	{ ferry__world_init, ferry__world_fini },
	{ ferry__roots_init, ferry__roots_fini },
	{ ferry__weak_init, ferry__weak_fini },
	{ ferry__mark_init, ferry__mark_fini },
	{ ferry__remember_init, ferry__remember_fini },
	{ ferry__reloc_init, ferry__reloc_fini },
	{ ferry__policy_init, ferry__policy_fini },
	{ ferry__cycle_init, ferry__cycle_fini },
	{ ferry__pressure_init, ferry__pressure_fini },
	{ ferry__survive_init, ferry__survive_fini },
	{ ferry__agent_init, ferry__agent_fini },
};

#define PARTS (sizeof(parts) / sizeof(parts[0]))

static void parts_fini(struct ferry_heap *heap, size_t n)
{
	while (n--)
		parts[n].fini(heap);
}

static int parts_init(struct ferry_heap *heap)
{
	size_t i;
	int r;

	for (i = 0; i < PARTS; i++) {
		r = parts[i].init(heap);
		if (r < 0) {
			parts_fini(heap, i);
			return r;
		}
	}
	return 0;
}

static int params_take(const struct ferry_heap_params *params,
		       struct ferry_heap *heap)
{
	struct ferry_heap_params none = FERRY_INIT(struct ferry_heap_params);
	int r;

	if (!params)
		params = &none;
	r = ferry__params_copy(&heap->params, sizeof(heap->params), params,
			       sizeof(params->size));
	return r ? r : ferry__conf_resolve(&heap->params, &heap->stress);
}

int ferry_heap_create(const struct ferry_heap_params *params,
		      enum ferry_reason *ret_reason,
		      struct ferry_heap **ret_heap)
{
	enum ferry_reason dummy, *why = ret_reason ? ret_reason : &dummy;
	struct ferry_heap *heap;
	void *mem;
	int r;

	*why = FERRY_REASON_NONE;
	r = ferry__meta_alloc(sizeof(*heap), &mem);
	if (r < 0)
		return r;
	heap = mem;
	heap->pid = ferry__sys->getpid();
	r = params_take(params, heap);
	if (r == 0)
		r = choose_mode(heap, why);
	if (r < 0)
		goto err_heap;
	heap->why = *why;
	r = reserve(heap);
	if (r < 0)
		goto err_heap;
	r = parts_init(heap);
	if (r < 0)
		goto err_arena;
	*ret_heap = heap;
	return 0;
err_arena:
	ferry_arena_destroy(heap->arena);
err_heap:
	ferry__meta_free(heap, sizeof(*heap));
	return r;
}

static bool has_mutators(struct ferry_heap *heap)
{
	bool any;

	pthread_mutex_lock(&heap->world.lock);
	any = heap->world.len != 0;
	pthread_mutex_unlock(&heap->world.lock);
	return any;
}

int ferry_heap_destroy(struct ferry_heap *heap)
{
	if (!heap)
		return 0;
	if (has_mutators(heap))
		return -EBUSY;
	parts_fini(heap, PARTS);
	ferry_arena_destroy(heap->arena);
	ferry__meta_free(heap, sizeof(*heap));
	return 0;
}

bool ferry_heap_contains(const struct ferry_heap *heap, const void *addr)
{
	return ferry__in_heap(heap, (uintptr_t)addr);
}
