/* SPDX-License-Identifier: MIT */
/*
 * Weak references, and the order in which a collection sees to all that is
 * weak. DESIGN.md, "Weak structures", has the states and why the races are
 * none (W1 to W9).
 */
#include "runtime/heap-internal.h"

#include <errno.h>
#include <string.h>

struct ferry_weak {
	_Atomic uintptr_t object; /* 0: cleared */
};

/* --- addresses --------------------------------------------------------------- */

uintptr_t ferry__weak_load(const struct ferry_heap *heap, void *slot)
{
	uintptr_t addr = ferry__slot_load(heap, slot);

	if (addr && heap->params.interior_slots)
		return ferry__object_find(heap, addr);
	return addr;
}

/*
 * Was the object made since reachability was decided? It has the young colour
 * then, and its block tells as well: the dead stand in blocks that wait to be
 * swept, and nobody allocates in those before (W2).
 */
static bool is_new(const struct ferry_heap *heap, uintptr_t addr)
{
	size_t index = ferry__offset(heap, addr) >> FERRY__BLOCK_SHIFT;

	if (ferry__is_large(heap, addr))
		return ferry__large_is_fresh(heap, addr);
	/* No block comes to this state, or leaves it, in this phase. */
	return !ferry__block_is_unswept(heap, (uint32_t)index);
}

bool ferry__weak_alive(const struct ferry_heap *heap, uintptr_t addr)
{
	return !ferry__in_heap(heap, addr) || ferry__is_marked(heap, addr) ||
	       is_new(heap, addr);
}

bool ferry__weak_is_object(const struct ferry_heap *heap, uintptr_t addr)
{
	if (!addr || !ferry__in_heap(heap, addr))
		return false;
	ferry__reloc_bring(heap, addr);
	return ferry__object_find(heap, addr) == addr;
}

uintptr_t ferry__weak_forward(const struct ferry_heap *heap, uintptr_t addr)
{
	return ferry__in_heap(heap, addr) ? ferry__forward(heap, addr) : addr;
}

/* --- references -------------------------------------------------------------- */

static uint64_t page_flips(const struct ferry__pool_page *page)
{
	/* W10, acquire: pairs with the release in refs_refresh(): who sees the
	 * number sees the addresses. */
	return atomic_load_explicit(&page->flips, memory_order_acquire);
}

/* Relaxed, here and below: a word by itself, ordered by W10, the lock, or W3
 * in ref_load_purging(). */
static uintptr_t ref_load(const struct ferry_weak *weak)
{
	return atomic_load_explicit(&weak->object, memory_order_relaxed);
}

static void ref_store(struct ferry_weak *weak, uintptr_t object)
{
	atomic_store_explicit(&weak->object, object, memory_order_relaxed);
}

/* Brings the addresses of a page up to date. Lock. */
static void refs_refresh(struct ferry_heap *heap, struct ferry__pool_page *page)
{
	struct ferry_weak *weak;
	uint32_t at = 0;

	if (page_flips(page) == heap->weak.flips)
		return;
	while ((weak = ferry__pool_next(&heap->weak.refs, page, &at)))
		ref_store(weak, ferry__weak_forward(heap, ref_load(weak)));
	/* W10, release: pairs with page_flips(). */
	atomic_store_explicit(&page->flips, heap->weak.flips,
			      memory_order_release);
}

struct ferry_weak *ferry_weak_new(struct ferry_mutator *m, void *object)
{
	struct ferry_heap *heap = ferry__mutator(m)->heap;
	struct ferry_weak *weak;

	pthread_mutex_lock(&heap->weak.lock);
	weak = ferry__pool_alloc(&heap->weak.refs, heap->weak.flips,
				 heap->weak.number);
	if (weak) {
		refs_refresh(heap, ferry__pool_page_of(weak));
		ref_store(weak, (uintptr_t)object);
	}
	pthread_mutex_unlock(&heap->weak.lock);
	return weak;
}

void ferry_weak_free(struct ferry_heap *heap, struct ferry_weak *weak)
{
	if (!weak)
		return;
	pthread_mutex_lock(&heap->weak.lock);
	ferry__pool_free(&heap->weak.refs, weak);
	pthread_mutex_unlock(&heap->weak.lock);
}

static uintptr_t ref_load_old(struct ferry_heap *heap,
			      const struct ferry_weak *weak)
{
	uintptr_t object;

	pthread_mutex_lock(&heap->weak.lock);
	refs_refresh(heap, ferry__pool_page_of(weak));
	object = ref_load(weak);
	pthread_mutex_unlock(&heap->weak.lock);
	return object;
}

/* Have all references been cleared in this collection that are to be? */
static bool refs_purged(const struct ferry_heap *heap)
{
	/* W3, acquire: pairs with the release in refs_purge(): who sees the
	 * number sees the references cleared. */
	return atomic_load_explicit(&heap->weak.purged, memory_order_acquire) ==
	       heap->weak.number;
}

/*
 * While references are being cleared, one that is not yet answers as if it
 * were. As long as its page was not purged, nothing has been revived for a
 * finalizer and nothing swept, so that colour and block tell the truth (W3).
 */
static uintptr_t ref_load_purging(struct ferry_heap *heap,
				  const struct ferry_weak *weak)
{
	uintptr_t object;

	if (refs_purged(heap))
		return ref_load(weak);
	pthread_mutex_lock(&heap->weak.lock);
	object = ref_load(weak);
	if (ferry__pool_page_of(weak)->purged != heap->weak.number &&
	    !refs_purged(heap) && !ferry__weak_alive(heap, object))
		object = 0;
	pthread_mutex_unlock(&heap->weak.lock);
	return object;
}

void *ferry_weak_get(struct ferry_mutator *m, const struct ferry_weak *weak)
{
	struct ferry_heap *heap = ferry__mutator(m)->heap;
	/* C1, acquire: who sees the phase behind WEAK sees what it cleared. */
	enum ferry__phase phase =
		atomic_load_explicit(&heap->cycle.phase, memory_order_acquire);

	if (page_flips(ferry__pool_page_of(weak)) != heap->weak.flips)
		return (void *)ref_load_old(heap, weak);
	if (phase == FERRY__PHASE_WEAK)
		return (void *)ref_load_purging(heap, weak);
	return (void *)ref_load(weak);
}

bool ferry__weak_page_due(const struct ferry_heap *heap,
			  const struct ferry__pool_page *page)
{
	return heap->cycle.full || page->made + 1 >= heap->weak.number;
}

static void refs_purge_page(void *arg, struct ferry__pool_page *page)
{
	struct ferry_heap *heap = arg;
	struct ferry_weak *weak;
	uint32_t at = 0;

	page->purged = heap->weak.number;
	if (!ferry__weak_page_due(heap, page))
		return;
	while ((weak = ferry__pool_next(&heap->weak.refs, page, &at)))
		if (!ferry__weak_alive(heap, ref_load(weak)))
			ref_store(weak, 0);
}

static void refs_purge(struct ferry_heap *heap)
{
	ferry__pool_walk(&heap->weak.refs, &heap->weak.lock, refs_purge_page,
			 heap);
	/* W3, release: pairs with the acquire in refs_purged(). */
	atomic_store_explicit(&heap->weak.purged, heap->weak.number,
			      memory_order_release);
}

static void refs_forward_page(void *arg, struct ferry__pool_page *page)
{
	refs_refresh(arg, page);
}

/* --- a collection -------------------------------------------------------------- */

void ferry__weak_mark_begin(struct ferry_heap *heap)
{
	heap->weak.number++;
}

bool ferry__weak_drained(struct ferry__marker *marker)
{
	bool marked = ferry__ephemerons_recheck(marker);

	if (ferry__finalizers_keep(marker))
		marked = true;
	if (ferry__maps_scan(marker))
		marked = true;
	return marked;
}

void ferry__weak_clear(struct ferry_heap *heap)
{
	ferry__ephemerons_clear(heap);
}

void ferry__weak_purge(struct ferry_heap *heap, struct ferry__marker *marker)
{
	ferry__stress_delay(heap, FERRY__POINT_PURGE);
	refs_purge(heap);
	ferry__stress_delay(heap, FERRY__POINT_PURGE);
	ferry__maps_purge(heap);
	ferry__stress_delay(heap, FERRY__POINT_PURGE);
	ferry__ephemerons_reset(heap);
	ferry__finalizers_purge(heap, marker);
}

void ferry__weak_flip(struct ferry_heap *heap)
{
	/* The lock is for a thread that is no mutator and makes a map. */
	pthread_mutex_lock(&heap->weak.lock);
	heap->weak.flips++;
	pthread_mutex_unlock(&heap->weak.lock);
}

void ferry__weak_forward_rest(struct ferry_heap *heap)
{
	ferry__pool_walk(&heap->weak.refs, &heap->weak.lock, refs_forward_page,
			 heap);
	ferry__maps_forward(heap);
	ferry__finalizers_forward(heap);
}

/* --- life ------------------------------------------------------------------------ */

int ferry__weak_init(struct ferry_heap *heap)
{
	struct ferry__weak *weak = &heap->weak;
	int r;

	r = ferry__ephemerons_init(heap);
	if (r < 0)
		return r;
	r = ferry__hash_init(heap);
	if (r < 0)
		goto err_ephemerons;
	pthread_mutex_init(&weak->lock, NULL);
	ferry__pool_init(&weak->refs, sizeof(struct ferry_weak));
	CDS_INIT_LIST_HEAD(&weak->maps);
	ferry__finalizers_init(heap);
	return 0;
err_ephemerons:
	ferry__ephemerons_fini(heap);
	return r;
}

void ferry__weak_fini(struct ferry_heap *heap)
{
	ferry__finalizers_fini(heap);
	ferry__maps_fini(heap);
	ferry__pool_fini(&heap->weak.refs);
	pthread_mutex_destroy(&heap->weak.lock);
	ferry__hash_fini(heap);
	ferry__ephemerons_fini(heap);
}
