/* SPDX-License-Identifier: MIT */
/*
 * The space of large objects: extents of whole pages with boundary tags, free
 * ones in segregated bins. runtime/DESIGN.md, "Large objects", has the
 * invariants L1 to L5.
 *
 * Whose memory is there is the arena's to know: LIVE pages of a free extent
 * hold leftovers, ABSENT ones come back as zeros. Small extents keep their
 * memory when they are freed, since writing zeros is cheaper than faults;
 * big ones give it back at once.
 */
#include "runtime/heap-internal.h"

#include <errno.h>
#include <string.h>

#include "alloc/alloc-internal.h"
#include "runtime/extent.h"

#define PAGE ((size_t)1 << FERRY__LARGE_SHIFT)

/* --- memory --------------------------------------------------------------- */

/* Offset of a page in the arena. */
static size_t arena_offset(const struct ferry_heap *heap, size_t page)
{
	return 2 * heap->half + page * PAGE;
}

static void *page_addr(const struct ferry_heap *heap, size_t page)
{
	return (void *)(heap->base + arena_offset(heap, page));
}

/*
 * The next run of memory at or after @offset in an extent. The extent is the
 * caller's, so its pages do not change.
 */
static bool live_run(const struct ferry_heap *heap, size_t offset, size_t end,
		     size_t *ret_offset, size_t *ret_len)
{
	const struct ferry__pages *pages = &heap->arena->pages;
	unsigned int live = FERRY__CODE(FERRY_PAGE_LIVE);
	size_t stop = end / ferry__page_size, at;

	at = ferry__pages_find(pages, offset / ferry__page_size, stop, live,
			       true);
	if (at >= stop)
		return false;
	stop = ferry__pages_find(pages, at, stop, live, false);
	*ret_offset = at * ferry__page_size;
	*ret_len = (stop - at) * ferry__page_size;
	return true;
}

static size_t live_bytes(const struct ferry_heap *heap, struct ferry__extent e)
{
	size_t at = arena_offset(heap, e.first);
	size_t end = at + e.n * PAGE, len, sum = 0;

	for (; live_run(heap, at, end, &at, &len); at += len)
		sum += len;
	return sum;
}

/*
 * Gives back memory of an extent, @max bytes at most; what the kernel refuses
 * stays. Returns bytes.
 */
static size_t drop(struct ferry_heap *heap, struct ferry__extent e, size_t max)
{
	size_t at = arena_offset(heap, e.first);
	size_t end = at + e.n * PAGE, len, sum = 0;

	for (; sum < max && live_run(heap, at, end, &at, &len); at += len) {
		if (len > max - sum)
			len = (max - sum + ferry__page_size - 1) &
			      ~(ferry__page_size - 1);
		if (ferry_arena_decommit(heap->arena, at, len) == 0)
			sum += len;
	}
	/* Relaxed: a statistic. */
	atomic_fetch_add_explicit(&heap->events.count.released, sum,
				  memory_order_relaxed);
	return sum;
}

static void clear(struct ferry_heap *heap, struct ferry__extent e)
{
	size_t at = arena_offset(heap, e.first);
	size_t end = at + e.n * PAGE, len;

	for (; live_run(heap, at, end, &at, &len); at += len)
		memset((char *)heap->base + at, 0, len);
}

/* Makes leftovers in a dirty extent zeros. */
static void reuse(struct ferry_heap *heap, struct ferry__extent e)
{
	/* Relaxed: accounts that nothing is concluded from. */
	atomic_fetch_sub_explicit(&heap->large.kept, live_bytes(heap, e),
				  memory_order_relaxed);
	if (e.n > FERRY__LARGE_KEEP)
		drop(heap, e, SIZE_MAX);
	clear(heap, e);
}

/* --- allocation ----------------------------------------------------------- */

static uint8_t *meta_of(const struct ferry_heap *heap, size_t page)
{
	return heap->large_meta + page;
}

/* L3: all that readers may look at, then the kind (release, pairs with
 * kind_of()). */
static void publish(struct ferry_heap *heap, struct ferry__extent e,
		    uint8_t byte)
{
	struct ferry__large *large = &heap->large;
	size_t i, last = e.first + e.n - 1;

	for (i = e.first; i <= last; i++)
		__atomic_store_n(&large->start[i], (uint32_t)e.first,
				 __ATOMIC_RELAXED);
	if (e.n > 1)
		ferry__meta_store(meta_of(heap, last), FERRY_META_END);
	else
		byte |= FERRY_META_END;
	__atomic_store_n(meta_of(heap, e.first), byte, __ATOMIC_RELEASE);
}

/* L3: acquire. 0: no object starts here. */
static unsigned int kind_of(const struct ferry_heap *heap, size_t page)
{
	return __atomic_load_n(meta_of(heap, page), __ATOMIC_ACQUIRE) &
	       FERRY_META_KIND;
}

static void put_back(struct ferry_heap *heap, struct ferry__extent e,
		     bool dirty)
{
	pthread_mutex_lock(&heap->large.lock);
	ferry__extent_put(&heap->large, e, dirty);
	pthread_mutex_unlock(&heap->large.lock);
}

/* Memory of zeros for an extent; 0, or the errno of the arena. */
static int prepare(struct ferry_heap *heap, struct ferry__extent e, bool dirty)
{
	int r;

	if (dirty)
		reuse(heap, e);
	r = ferry_arena_commit(heap->arena, arena_offset(heap, e.first),
			       e.n * PAGE, false);
	if (r < 0) {
		/* What it had is zeros now and counts as kept again. */
		atomic_fetch_add_explicit(&heap->large.kept,
					  live_bytes(heap, e),
					  memory_order_relaxed);
		put_back(heap, e, dirty);
	}
	return r;
}

/* Pages of an object: the kernel's may be bigger than ours. */
static size_t pages_of(size_t size)
{
	size_t unit = ferry__page_size > PAGE ? ferry__page_size : PAGE;

	return (size + unit - 1) / unit * (unit / PAGE);
}

uintptr_t ferry__large_alloc(struct ferry_heap *heap, size_t size, size_t align,
			     enum ferry_kind kind, uint8_t colour)
{
	struct ferry__large *large = &heap->large;
	struct ferry__extent e;
	bool dirty, got;

	if (size > large->pages * PAGE)
		return 0;
	if (align < ferry__page_size)
		align = ferry__page_size;
	pthread_mutex_lock(&large->lock);
	got = ferry__extent_take(large, pages_of(size), align / PAGE, &e,
				 &dirty);
	pthread_mutex_unlock(&large->lock);
	if (!got || prepare(heap, e, dirty) < 0)
		return 0;
	atomic_fetch_add_explicit(&large->bytes, e.n * PAGE,
				  memory_order_relaxed);
	ferry__tier_written(heap, (uintptr_t)page_addr(heap, e.first),
			    e.n * PAGE);
	publish(heap, e, (uint8_t)(kind | colour));
	/* K10: after it is published; pairs with large_prepare() in flip.c. */
	if (kind < FERRY_KIND_LEAF)
		atomic_fetch_add_explicit(&large->made, 1,
					  memory_order_release);
	return (uintptr_t)page_addr(heap, e.first);
}

/* --- finding -------------------------------------------------------------- */

static size_t page_of(const struct ferry_heap *heap, uintptr_t addr)
{
	return ferry__offset(heap, addr) >> FERRY__LARGE_SHIFT;
}

/*
 * What stands in the table of starts for a page that is free may be anything
 * that stood there before: the object there now, if there is one, tells by
 * its length whether it reaches so far.
 */
uintptr_t ferry__large_find(const struct ferry_heap *heap, uintptr_t addr)
{
	const struct ferry__large *large = &heap->large;
	size_t page = page_of(heap, addr), first;
	uint64_t tag;

	first = __atomic_load_n(&large->start[page], __ATOMIC_RELAXED);
	if (!kind_of(heap, first))
		return 0;
	tag = ferry__extent_tag(large, first);
	if (page - first >= (tag & FERRY__EXTENT_PAGES))
		return 0;
	return (uintptr_t)page_addr(heap, first);
}

size_t ferry__large_bytes(const struct ferry_heap *heap, uintptr_t addr)
{
	return (ferry__extent_tag(&heap->large, page_of(heap, addr)) &
		FERRY__EXTENT_PAGES) *
	       PAGE;
}

/* The first page at or after @page with a byte in the side table; @end. */
static size_t meta_next(const struct ferry_heap *heap, size_t page, size_t end)
{
	const uint8_t *meta = heap->large_meta;

	for (; page < end && page % 8; page++)
		if (ferry__meta_load(meta + page))
			return page;
	for (; page + 8 <= end; page += 8)
		if (__atomic_load_n(
			    (const uint64_t *)(const void *)(meta + page),
			    __ATOMIC_RELAXED))
			break;
	for (; page < end; page++)
		if (ferry__meta_load(meta + page))
			break;
	return page;
}

/* The first page at or after @page at which an object starts; @end. */
static size_t object_next(const struct ferry_heap *heap, size_t page,
			  size_t end)
{
	page = meta_next(heap, page, end);
	while (page < end && !kind_of(heap, page))
		page = meta_next(heap, page + 1, end);
	return page;
}

bool ferry__large_next(struct ferry_heap *heap, size_t page,
		       uintptr_t *ret_addr, size_t *ret_bytes)
{
	size_t end = ferry__extent_end(&heap->large);

	page = object_next(heap, page, end);
	if (page >= end)
		return false;
	*ret_addr = (uintptr_t)page_addr(heap, page);
	*ret_bytes = ferry__large_bytes(heap, *ret_addr);
	return true;
}

/* --- sweeping ------------------------------------------------------------- */

void ferry__large_sweep_begin(struct ferry_heap *heap)
{
	struct ferry__large *large = &heap->large;

	pthread_mutex_lock(&large->lock);
	large->fresh ^= FERRY__EXTENT_FRESH;
	pthread_mutex_unlock(&large->lock);
}

bool ferry__large_is_fresh(const struct ferry_heap *heap, uintptr_t addr)
{
	return ferry__extent_tag(&heap->large, page_of(heap, addr)) &
	       heap->large.fresh;
}

/* No object any more: its memory, then its pages. Returns bytes. */
static size_t object_free(struct ferry_heap *heap, size_t first, uint64_t tag)
{
	struct ferry__extent e = { first, tag & FERRY__EXTENT_PAGES };
	size_t bytes = e.n * PAGE, left = bytes;

	ferry__meta_store(meta_of(heap, first), 0);
	ferry__meta_store(meta_of(heap, first + e.n - 1), 0);
	if (e.n > FERRY__LARGE_KEEP)
		left -= drop(heap, e, SIZE_MAX);
	else
		ferry__stress_poison(heap, (uintptr_t)page_addr(heap, first),
				     bytes);
	atomic_fetch_add_explicit(&heap->large.kept, left,
				  memory_order_relaxed);
	atomic_fetch_sub_explicit(&heap->large.bytes, bytes,
				  memory_order_relaxed);
	put_back(heap, e, left != 0);
	return bytes;
}

/* What becomes of an object. Returns bytes freed. */
static size_t object_sweep(struct ferry_heap *heap, size_t page, uint64_t tag,
			   uint8_t keep, uint8_t young, size_t *live)
{
	uint8_t colour = ferry__meta_load(meta_of(heap, page)) &
			 FERRY_META_COLOUR;

	if (tag & heap->large.fresh)
		return 0;
	if (colour != keep && colour != young)
		return object_free(heap, page, tag);
	if (colour == keep)
		*live += (tag & FERRY__EXTENT_PAGES) << FERRY__LARGE_SHIFT;
	if (tag &
	    FERRY__EXTENT_FRESH) /* is not so by the time the flag is used again */
		ferry__extent_set_tag(&heap->large, page,
				      tag & ~FERRY__EXTENT_FRESH);
	return 0;
}

size_t ferry__large_sweep(struct ferry_heap *heap, uint8_t keep, uint8_t young)
{
	size_t end = ferry__extent_end(&heap->large), sum = 0, live = 0;
	size_t page = object_next(heap, 0, end);

	while (page < end) {
		uint64_t tag = ferry__extent_tag(&heap->large, page);

		sum += object_sweep(heap, page, tag, keep, young, &live);
		ferry__stress_delay(heap, FERRY__POINT_SWEEP);
		page = object_next(heap, page + (tag & FERRY__EXTENT_PAGES),
				   end);
	}
	/* Relaxed: for the policy. */
	atomic_store_explicit(&heap->large.live, live, memory_order_relaxed);
	return sum;
}

/* --- giving memory back --------------------------------------------------- */

/*
 * Gives back @want bytes, or all, of the biggest free extent that has memory;
 * adds them to *@sum. False when there is none, or the kernel refuses.
 */
static bool release_one(struct ferry_heap *heap, size_t want, size_t *sum)
{
	struct ferry__large *large = &heap->large;
	struct ferry__extent e;
	size_t gone;
	bool got, left;

	pthread_mutex_lock(&large->lock);
	got = ferry__extent_take_dirty(large, &e);
	pthread_mutex_unlock(&large->lock);
	if (!got)
		return false;
	gone = drop(heap, e, want);
	atomic_fetch_sub_explicit(&large->kept, gone, memory_order_relaxed);
	left = live_bytes(heap, e) != 0;
	put_back(heap, e, left);
	*sum += gone;
	return gone || !left;
}

size_t ferry__large_release(struct ferry_heap *heap, size_t keep)
{
	size_t kept, sum = 0;

	do {
		/* Relaxed: any recent value will do. */
		kept = atomic_load_explicit(&heap->large.kept,
					    memory_order_relaxed);
	} while (kept > keep && release_one(heap, kept - keep, &sum));
	return sum;
}

/* --- life ----------------------------------------------------------------- */

static void tables_free(struct ferry_heap *heap)
{
	struct ferry__large *large = &heap->large;

	ferry__meta_free(heap->large_meta, large->pages);
	ferry__meta_free(large->tag, large->pages * sizeof(*large->tag));
	ferry__meta_free(large->start, large->pages * sizeof(*large->start));
	ferry__meta_free(large->link, large->pages * sizeof(*large->link));
}

static int table_alloc(size_t bytes, void *ret_table)
{
	void *mem;
	int r = ferry__meta_alloc(bytes, &mem);

	if (r == 0)
		memcpy(ret_table, &mem, sizeof(mem));
	return r;
}

static int tables_alloc(struct ferry_heap *heap)
{
	struct ferry__large *large = &heap->large;
	size_t n = large->pages;
	int r;

	r = table_alloc(n, &heap->large_meta);
	if (r == 0)
		r = table_alloc(n * sizeof(*large->tag), &large->tag);
	if (r == 0)
		r = table_alloc(n * sizeof(*large->start), &large->start);
	if (r == 0)
		r = table_alloc(n * sizeof(*large->link), &large->link);
	return r;
}

int ferry__large_init(struct ferry_heap *heap)
{
	struct ferry__large *large = &heap->large;
	int r;

	memset(large, 0, sizeof(*large));
	large->pages = heap->half / PAGE;
	large->fresh = FERRY__EXTENT_FRESH0;
	if (large->pages > UINT32_MAX)
		return -ENOMEM;
	r = tables_alloc(heap);
	if (r < 0) {
		tables_free(heap);
		return r;
	}
	pthread_mutex_init(&large->lock, NULL);
	return 0;
}

void ferry__large_fini(struct ferry_heap *heap)
{
	pthread_mutex_destroy(&heap->large.lock);
	tables_free(heap);
}
