/* SPDX-License-Identifier: MIT */
/*
 * Large blocks that grow (DESIGN E7): jemalloc asks here for address space
 * (engine.sh), behind a block that is to grow where it is, or for a new block.
 *
 * By itself it grows a block into free extents behind it, never beyond the
 * piece that it once had from a hook, and copies it else. Here such a piece
 * grows too, as long as nothing was cut behind it; and a block that has to
 * move is put where nothing is behind it.
 *
 * All runs within jemalloc's calls, in the thread that grows the block; the
 * block is in use, so that nobody else grows it. The little that is read of
 * jemalloc's descriptor is as in holes_layout.h.
 */
#include "alloc/malloc/grow.h"

#include "alloc/malloc/engine.h"
#include "alloc/malloc/holes_layout.h"
#include "alloc/malloc/space.h"

/* Smaller ones are copied as quickly as a place for them is made. */
#define LEAST ((size_t)1 << 20)
/* From here on a block has a region to itself. */
#define APART ((size_t)32 << 20)

#ifdef __x86_64__ /* the layout is known */
#define KNOWN true
#else
#define KNOWN false
#endif

/* What jemalloc says of an extent that is to be had. */
struct place {
	void *tsdn, *pac, *ehooks;
	size_t align;
	bool zero;
};

FERRY__HIDDEN void *ferry__je_extent_grow(void *tsdn, void *pac, void *ehooks,
					  void *cache, void *block, size_t size,
					  size_t align, bool zero,
					  bool guarded);

/* jemalloc's own. */
extern FERRY__HIDDEN void *je_ecache_alloc(void *tsdn, void *pac, void *ehooks,
					   void *cache, void *block,
					   size_t size, size_t align, bool zero,
					   bool guarded);
extern FERRY__HIDDEN void *je_ecache_alloc_grow(void *tsdn, void *pac,
						void *ehooks, void *cache,
						void *block, size_t size,
						size_t align, bool zero,
						bool guarded);
extern FERRY__HIDDEN void *je_extent_alloc_wrapper(void *tsdn, void *pac,
						   void *ehooks, void *addr,
						   size_t size, size_t align,
						   bool zero, bool *commit,
						   bool retained);
extern FERRY__HIDDEN void je_extent_dalloc_wrapper(void *tsdn, void *pac,
						   void *ehooks, void *extent);
extern FERRY__HIDDEN bool
je_extent_merge_wrapper(void *tsdn, void *pac, void *ehooks, void *a, void *b);

/* Of the thread: the size of the block that could not grow just now. */
static _Thread_local size_t wanted __attribute__((tls_model("initial-exec")));
static _Thread_local bool apart __attribute__((tls_model("initial-exec")));

bool ferry__grow_apart(void)
{
	return apart;
}

static size_t size_of(const struct layout_extent *block)
{
	return (size_t)(block->size & LAYOUT_SIZE);
}

static char *end_of(const struct layout_extent *block)
{
	return (char *)(block->addr & LAYOUT_SIZE) + size_of(block);
}

/* At @addr, or where there is room. */
static void *cut(const struct place *p, void *addr, size_t size)
{
	bool commit = true;

	return je_extent_alloc_wrapper(p->tsdn, p->pac, p->ehooks, addr, size,
				       p->align, p->zero, &commit, false);
}

/*
 * The region ends @tail bytes behind the block, and these are free: they and
 * what is cut behind them. @tail is of the block's own piece.
 */
static void *join(const struct place *p, void *tail, void *more)
{
	if (!more) {
		je_extent_dalloc_wrapper(p->tsdn, p->pac, p->ehooks, tail);
		return NULL;
	}
	if (!je_extent_merge_wrapper(p->tsdn, p->pac, p->ehooks, tail, more))
		return tail;
	je_extent_dalloc_wrapper(p->tsdn, p->pac, p->ehooks, tail);
	je_extent_dalloc_wrapper(p->tsdn, p->pac, p->ehooks, more);
	return NULL;
}

static void *grow_behind(const struct place *p, void *cache, void *block,
			 size_t size)
{
	char *end = end_of(block);
	size_t left;
	void *tail;

	if (!ferry__space_left(FERRY__SPACE_HEAP, end, &left) || left >= size)
		return NULL;
	if (!left)
		return cut(p, end, size);
	tail = je_ecache_alloc_grow(p->tsdn, p->pac, p->ehooks, cache, block,
				    left, p->align, p->zero, false);
	return tail ? join(p, tail, cut(p, end + left, size - left)) : NULL;
}

/* What was freed comes first, that address space is not used up. */
static void *move(const struct place *p, void *cache, size_t size)
{
	void *r = je_ecache_alloc(p->tsdn, p->pac, p->ehooks, cache, NULL, size,
				  p->align, p->zero, false);

	if (r)
		return r;
	apart = size >= APART;
	r = cut(p, NULL, size);
	apart = false;
	return r;
}

static bool is_moved(size_t size, bool guarded)
{
	bool r = size == wanted && !guarded;

	wanted = 0;
	return r;
}

void *ferry__je_extent_grow(void *tsdn, void *pac, void *ehooks, void *cache,
			    void *block, size_t size, size_t align, bool zero,
			    bool guarded)
{
	struct place p = { tsdn, pac, ehooks, align, zero };
	void *r = NULL;

	if (!block && is_moved(size, guarded))
		r = move(&p, cache, size);
	if (!r)
		r = je_ecache_alloc_grow(tsdn, pac, ehooks, cache, block, size,
					 align, zero, guarded);
	if (r || !KNOWN || !block || size_of(block) + size < LEAST)
		return r;
	r = grow_behind(&p, cache, block, size);
	if (!r && ferry__space_of(FERRY__SPACE_HEAP, end_of(block) - 1))
		wanted = size_of(block) + size;
	return r;
}
