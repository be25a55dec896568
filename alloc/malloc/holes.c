/* SPDX-License-Identifier: MIT */
/*
 * Which bytes of a page belong to an object, read from jemalloc's map of
 * extents and from its slabs' bitmaps while other threads change them.
 *
 * The proof that what is named dead may be dropped:
 *
 * A page p is moved away (M), then it is asked about (Q), then its contents,
 * or the bytes that Q named dead, are given up (D). p is absent from M to D.
 * An object O on p is *bound* if somebody wrote to p for it before M and it
 * is not freed before the end of Q. Only bytes of bound objects matter:
 *
 *  - An object freed by the end of Q has no contents.
 *  - One that nobody wrote to before M has none yet: who writes to it after M
 *    faults, waits for D, and then finds zeroes. It may find what it likes:
 *    memory fresh from malloc() holds anything. calloc() of a small object
 *    and of an extent not known to be zeroed writes its zeroes, as any
 *    writer; of an extent known to be zeroed it relies on them, and zeroes
 *    are what a page gives that was dropped.
 *
 * L1. What describes a bound object is visible to Q. Its allocator wrote the
 * map, the descriptor and the bit before it gave the object out, and that
 * happened before the write to p. The move took p's entry out of the page
 * table and flushed it from every CPU's TLB; the kernel may free the page
 * after that, so that no store through an old entry is still on its way. On
 * x86-64 stores of a CPU become visible in order (and locks carry them from
 * one CPU to the next), hence those to the map, the descriptor and the bit
 * did so before the store to p, which was before the end of M.
 *
 * L2. It does not change from M to the end of Q. O is allocated all the time,
 * so its extent X stays in use: state, descriptor, address, the map's words
 * of X. If X is a slab, its class and size stay too, and O's bit stays
 * cleared (other bits of the word change, each by whole words, under the
 * bin's lock). If X is of one large object, it is not a slab all the time;
 * reallocation in place changes its end only, and O's bytes that are cut off
 * are dead.
 *
 * L3. So each word that Q reads of X is right, however the reads are spread:
 *  - X a slab: p's word leads to X, and O's region is found in use.
 *  - X large, p its first or last page: p's word leads to X, not a slab, in
 *    use: p lives.
 *  - X large, p within: p's word is 0, and so are all back to the first page
 *    of X, whose word leads to X, in use: p lives.
 *
 * Where there is no bound object, anything may be read: words of an extent
 * that is being made, merged or handed over, a descriptor that has become
 * another's, link pointers where a bitmap was. Any answer is right there. It
 * only must be had without a fault and in bounded time: rows of the map stay
 * for ever, descriptors as long as their arena, and what is read is used as
 * an index only after it was found in bounds.
 *
 * The same without M and absence is a guess.
 *
 * Contents of free extents are dead whatever their state: dirty and muzzy
 * ones are never taken for zeroed, retained ones are either not, or purged
 * and hence zero already. Space that no extent covers is not ours to name.
 */
#include "alloc/malloc/holes.h"

#include <string.h>

#include "alloc/malloc/holes_layout.h"

enum {
	/* Pages beyond this in a free extent are not known to be dead. */
	BACK_LIMIT = (64 << 20) / FERRY__HOLES_PAGE,
};

/* --- reading ------------------------------------------------------------- */

/* Where in the map somebody reads. */
struct map {
	const struct ferry__holes *holes;
	uintptr_t index;     /* of the row below; NO_ROW: none yet */
	const uint64_t *row; /* NULL: jemalloc has nothing there */
};

#define NO_ROW UINTPTR_MAX

/* What was read of an extent: not of one moment, see L3. */
struct extent {
	const struct layout_extent *at; /* NULL: none */
	uint64_t bits;
	uintptr_t addr;
	size_t size;
};

/* R1: relaxed, as L1 and L2 order what matters by the move. */
static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void map_find_row(struct map *map, uintptr_t index)
{
	const struct ferry__holes_engine *engine = map->holes->engine;
	uint64_t context[LAYOUT_CONTEXT_WORDS] = { 0 };

	map->index = index;
	map->row = engine->lookup(NULL, engine->emap, context,
				  index << LAYOUT_ROW_SHIFT, false, false);
}

/* The descriptor that the map has for the page at @addr, or NULL. */
static const struct layout_extent *map_read(struct map *map, uintptr_t addr)
{
	uint64_t word;

	if (map->index != addr >> LAYOUT_ROW_SHIFT)
		map_find_row(map, addr >> LAYOUT_ROW_SHIFT);
	if (!map->row)
		return NULL;
	addr %= 1ul << LAYOUT_ROW_SHIFT;
	/*
	 * R2 pairs with jemalloc's release of the word: the descriptor's
	 * memory, if not its contents, is what it was made to be.
	 */
	word = __atomic_load_n(&map->row[addr / FERRY__HOLES_PAGE],
			       __ATOMIC_ACQUIRE);
	return (const struct layout_extent *)(word & LAYOUT_WORD_ADDR);
}

static void extent_read(const struct layout_extent *at, struct extent *ret)
{
	*ret = (struct extent){ .at = at };
	if (!at)
		return;
	ret->bits = load(&at->bits);
	ret->addr = load(&at->addr);
	ret->size = load(&at->size) & LAYOUT_SIZE;
}

static bool extent_covers(const struct extent *extent, uintptr_t addr)
{
	return addr - extent->addr < extent->size;
}

static unsigned int extent_state(const struct extent *extent)
{
	return (extent->bits & LAYOUT_STATE) >> LAYOUT_STATE_SHIFT;
}

/* The class of a slab in use that is all there; else NULL. */
static const struct ferry__holes_class *
extent_class(const struct ferry__holes *holes, const struct extent *extent)
{
	const struct ferry__holes_class *class;

	if (!extent->at || !(extent->bits & LAYOUT_SLAB) ||
	    extent_state(extent) != LAYOUT_ACTIVE)
		return NULL;
	class = &holes->classes[(extent->bits & LAYOUT_CLASS) >>
				LAYOUT_CLASS_SHIFT];
	if (!class->slab || class->slab != extent->size)
		return NULL;
	return class;
}

/* --- pages of slabs ------------------------------------------------------ */

/* The regions that a page overlaps: [first, end). */
struct regions {
	unsigned int first, end;
};

/* @offset: of the page in the slab. */
static struct regions page_regions(const struct ferry__holes_class *class,
				   size_t offset)
{
	size_t past = offset + FERRY__HOLES_PAGE;
	struct regions regions;

	regions.first = offset / class->region;
	regions.end = (past + class->region - 1) / class->region;
	if (regions.end > class->n)
		regions.end = class->n;
	return regions;
}

static bool region_is_free(const struct layout_extent *at, unsigned int i)
{
	return load(&at->regions[i / 64]) >> (i % 64) & 1;
}

static bool page_is_hole(const struct ferry__holes_class *class,
			 const struct extent *extent, uintptr_t addr)
{
	struct regions r = page_regions(class, addr - extent->addr);

	for (unsigned int i = r.first; i < r.end; i++) {
		if (!region_is_free(extent->at, i))
			return false;
	}
	return true;
}

/* Where in the page at @offset the region @i begins, if it begins there. */
static size_t region_begin(const struct ferry__holes_class *class,
			   size_t offset, unsigned int i)
{
	size_t from = (size_t)i * class->region;

	from = from > offset ? from - offset : 0;
	return from < FERRY__HOLES_PAGE ? from : FERRY__HOLES_PAGE;
}

static void zero(char *copy, size_t from, size_t to)
{
	if (copy && from < to)
		memset(copy + from, 0, to - from);
}

/*
 * Zeroes what lies between living regions, in one go each. What a slab has
 * behind its last object is nobody's, too.
 */
static size_t scrub_slab(const struct ferry__holes_class *class,
			 const struct extent *extent, uintptr_t addr,
			 char *copy)
{
	size_t offset = addr - extent->addr;
	struct regions r = page_regions(class, offset);
	size_t dead_from = 0, live = 0;

	for (unsigned int i = r.first; i < r.end; i++) {
		size_t from, to;

		if (region_is_free(extent->at, i))
			continue;
		from = region_begin(class, offset, i);
		to = region_begin(class, offset, i + 1);
		zero(copy, dead_from, from);
		live += to - from;
		dead_from = to;
	}
	zero(copy, dead_from, FERRY__HOLES_PAGE);
	return live;
}

void ferry__holes_empty_pages(const struct ferry__holes *holes, uintptr_t addr,
			      size_t len, uint64_t *ret)
{
	struct map map = { .holes = holes, .index = NO_ROW };
	const struct ferry__holes_class *class = NULL;
	struct extent extent = { .at = NULL };
	size_t pages = len / FERRY__HOLES_PAGE;

	memset(ret, 0, (pages + 63) / 64 * sizeof(*ret));
	if (holes->reason)
		return;
	for (size_t i = 0; i < pages; i++, addr += FERRY__HOLES_PAGE) {
		const struct layout_extent *at = map_read(&map, addr);

		if (at != extent.at) {
			extent_read(at, &extent);
			class = extent_class(holes, &extent);
		}
		if (class && extent_covers(&extent, addr) &&
		    page_is_hole(class, &extent, addr))
			ret[i / 64] |= 1ull << (i % 64);
	}
}

/* --- other extents ------------------------------------------------------- */

/*
 * S1: the extent found last is asked first, so that the pages of one big
 * object are not each looked up from its beginning. It may only say that a
 * page lives, which is never wrong to say.
 */
static bool head_lives(const struct ferry__holes *holes, struct map *map,
		       uintptr_t addr)
{
	uintptr_t head =
		atomic_load_explicit(&holes->head, memory_order_relaxed);
	struct extent extent;

	if (!head)
		return false;
	extent_read(map_read(map, head), &extent);
	return extent.at && extent_covers(&extent, addr) &&
	       extent_state(&extent) == LAYOUT_ACTIVE;
}

/* Walks back from a page to the extent that it can lie within (L3). */
static void find_head(struct map *map, uintptr_t addr, struct extent *ret)
{
	const struct layout_extent *at = NULL;

	for (size_t i = 0; i < BACK_LIMIT && addr && !at; i++) {
		at = map_read(map, addr);
		addr -= FERRY__HOLES_PAGE;
	}
	extent_read(at, ret);
}

/* Does the page lie in a free extent, by the descriptor found for it? */
static bool extent_is_dead(const struct extent *extent, uintptr_t addr)
{
	unsigned int state = extent_state(extent);

	return extent->at && extent_covers(extent, addr) &&
	       (state == LAYOUT_DIRTY || state == LAYOUT_MUZZY ||
		state == LAYOUT_RETAINED);
}

static bool page_is_dead(struct ferry__holes *holes, struct map *map,
			 uintptr_t addr)
{
	struct extent extent;

	if (head_lives(holes, map, addr))
		return false;
	find_head(map, addr, &extent);
	if (extent.at)
		atomic_store_explicit(&holes->head, extent.addr,
				      memory_order_relaxed);
	return extent_is_dead(&extent, addr);
}

size_t ferry__holes_scrub(struct ferry__holes *holes, uintptr_t addr,
			  void *copy)
{
	struct map map = { .holes = holes, .index = NO_ROW };
	const struct ferry__holes_class *class;
	struct extent extent;

	if (holes->reason)
		return FERRY__HOLES_PAGE;
	extent_read(map_read(&map, addr), &extent);
	class = extent_class(holes, &extent);
	if (class && extent_covers(&extent, addr))
		return scrub_slab(class, &extent, addr, copy);
	if (!page_is_dead(holes, &map, addr))
		return FERRY__HOLES_PAGE;
	if (copy)
		memset(copy, 0, FERRY__HOLES_PAGE);
	return 0;
}

const char *ferry__holes_reason(const struct ferry__holes *holes)
{
	return holes->reason;
}
