/* SPDX-License-Identifier: MIT */
/*
 * Is this the jemalloc whose layout holes.c knows? Its version says so, its
 * public interface names the same classes, and descriptors and bitmaps agree
 * with objects that are allocated and freed here. Each function that checks
 * returns why not, or NULL.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jemalloc/jemalloc.h>

#include "alloc/malloc/holes.h"
#include "alloc/malloc/holes_layout.h"

enum {
	OBJECTS = 70,	 /* most of a class: more than a word of bits */
	CLASS_STEP = 8,	 /* one class in so many is tried */
	LARGE_PAGES = 5, /* of an object that is not in a slab */
};

#define WRONG_CLASSES "its size classes are not those of jemalloc 5.3.0"
#define WRONG_SMALL   "its slabs are not laid out as those of jemalloc 5.3.0"
#define WRONG_LARGE   "its extents are not laid out as those of jemalloc 5.3.0"
#define NO_OBJECTS    "no objects to find out its layout with"

/* What jemalloc says itself of the extent of an object. */
struct utilization {
	size_t nfree, nregs, size;
};

/* --- asking in public ---------------------------------------------------- */

static bool get(const struct ferry__holes_engine *engine, const char *name,
		void *ret, size_t size)
{
	size_t len = size;

	return !engine->mallctl(name, ret, &len, NULL, 0) && len == size;
}

static bool get_of_bin(const struct ferry__holes_engine *engine, unsigned int i,
		       const char *what, void *ret, size_t size)
{
	char name[48];

	snprintf(name, sizeof(name), "arenas.bin.%u.%s", i, what);
	return get(engine, name, ret, size);
}

static bool utilization(const struct ferry__holes_engine *engine, void *object,
			struct utilization *ret)
{
	size_t len = sizeof(*ret);

	return !engine->mallctl("experimental.utilization.batch_query", ret,
				&len, &object, sizeof(object));
}

static const char *check_version(const struct ferry__holes_engine *engine)
{
	const char *version;
	size_t page;

	if (!engine->emap || !engine->lookup)
		return "its extent map is not to be had";
	if (!get(engine, "version", &version, sizeof(version)) ||
	    strncmp(version, LAYOUT_VERSION, strlen(LAYOUT_VERSION)))
		return "it is another version than jemalloc 5.3.0";
	if (!get(engine, "arenas.page", &page, sizeof(page)) ||
	    page != FERRY__HOLES_PAGE)
		return "its pages are not of 4 KiB";
	return NULL;
}

static bool read_class(const struct ferry__holes_engine *engine, unsigned int i,
		       struct ferry__holes_class *ret)
{
	size_t region, slab;
	uint32_t n;

	if (!get_of_bin(engine, i, "size", &region, sizeof(region)) ||
	    !get_of_bin(engine, i, "slab_size", &slab, sizeof(slab)) ||
	    !get_of_bin(engine, i, "nregs", &n, sizeof(n)))
		return false;
	*ret = (struct ferry__holes_class){
		.region = region,
		.slab = slab,
		.n = n,
	};
	return region && !(slab % FERRY__HOLES_PAGE) && slab <= UINT32_MAX &&
	       n && n <= 512 && n * region <= slab;
}

static const char *read_classes(struct ferry__holes *holes, unsigned int *ret_n)
{
	unsigned int n;

	if (!get(holes->engine, "arenas.nbins", &n, sizeof(n)) || !n ||
	    n >= sizeof(holes->classes) / sizeof(holes->classes[0]))
		return WRONG_CLASSES;
	for (unsigned int i = 0; i < n; i++) {
		if (!read_class(holes->engine, i, &holes->classes[i]))
			return WRONG_CLASSES;
	}
	*ret_n = n;
	return NULL;
}

/* --- looking for oneself ------------------------------------------------- */

/* The word that the map has for @addr, which is in use. */
static const struct layout_extent *look_up(const struct ferry__holes *holes,
					   uintptr_t addr)
{
	uint64_t context[LAYOUT_CONTEXT_WORDS] = { 0 };
	const uint64_t *word;

	word = holes->engine->lookup(NULL, holes->engine->emap, context, addr,
				     false, false);
	if (!word)
		return NULL;
	return (const struct layout_extent *)(*word & LAYOUT_WORD_ADDR);
}

static unsigned int field(const struct layout_extent *at, uint64_t mask)
{
	return (at->bits & mask) / (mask & -mask);
}

/* Objects of a class, allocated in order; NULL: freed again. */
struct objects {
	unsigned int index; /* of the class */
	size_t n;
	char *at[OBJECTS];
};

/* Bytes of the objects that live which lie in the page at @addr. */
static size_t live_bytes(const struct objects *objects, size_t size,
			 uintptr_t addr)
{
	size_t live = 0;

	for (size_t i = 0; i < objects->n; i++) {
		uintptr_t from = (uintptr_t)objects->at[i];
		uintptr_t to = from + size;

		if (!from || to <= addr || from >= addr + FERRY__HOLES_PAGE)
			continue;
		if (from < addr)
			from = addr;
		if (to > addr + FERRY__HOLES_PAGE)
			to = addr + FERRY__HOLES_PAGE;
		live += to - from;
	}
	return live;
}

/* Does the descriptor found for an object describe the slab it is in? */
static bool slab_agrees(const struct ferry__holes *holes, unsigned int index,
			char *object)
{
	const struct ferry__holes_class *class = &holes->classes[index];
	const struct layout_extent *at = look_up(holes, (uintptr_t)object);
	struct utilization used;
	unsigned int free = 0;
	size_t offset;

	if (!at || !utilization(holes->engine, object, &used))
		return false;
	offset = (uintptr_t)object - at->addr;
	for (unsigned int i = 0; i < class->n; i++)
		free += at->regions[i / 64] >> (i % 64) & 1;
	return at->addr % FERRY__HOLES_PAGE == 0 && offset < class->slab &&
	       offset % class->region == 0 &&
	       (at->size & LAYOUT_SIZE) == class->slab &&
	       (at->bits & LAYOUT_SLAB) &&
	       field(at, LAYOUT_STATE) == LAYOUT_ACTIVE &&
	       field(at, LAYOUT_CLASS) == index &&
	       field(at, LAYOUT_NFREE) == free && used.nfree == free &&
	       used.nregs == class->n && used.size == class->slab;
}

/* Each object that lives, and each page that holds one. */
static bool objects_agree(struct ferry__holes *holes,
			  const struct objects *objects)
{
	size_t size = holes->classes[objects->index].region;

	for (size_t i = 0; i < objects->n; i++) {
		char *object = objects->at[i];
		uintptr_t page = (uintptr_t)object & LAYOUT_SIZE;

		if (!object)
			continue;
		if (!slab_agrees(holes, objects->index, object))
			return false;
		if (ferry__holes_scrub(holes, page, NULL) !=
		    live_bytes(objects, size, page))
			return false;
	}
	return true;
}

/* --- trying it ----------------------------------------------------------- */

static void release(const struct ferry__holes_engine *engine, int flags,
		    struct objects *objects, size_t i, size_t step)
{
	for (; i < objects->n; i += step) {
		if (objects->at[i])
			engine->dallocx(objects->at[i], flags);
		objects->at[i] = NULL;
	}
}

static const char *try_class(struct ferry__holes *holes, unsigned int index,
			     int flags)
{
	const struct ferry__holes_engine *engine = holes->engine;
	size_t most = index == 0 ? OBJECTS : 4;
	struct objects objects = { .index = index };
	const char *reason = NULL;

	while (objects.n < most) {
		char *object =
			engine->mallocx(holes->classes[index].region, flags);

		if (!object)
			reason = NO_OBJECTS;
		objects.at[objects.n++] = object;
	}
	if (!reason && !objects_agree(holes, &objects))
		reason = WRONG_SMALL;
	release(engine, flags, &objects, 0, 2);
	if (!reason && !objects_agree(holes, &objects))
		reason = WRONG_SMALL;
	release(engine, flags, &objects, 1, 2);
	return reason;
}

/* The pages of the extent of a large object, which may begin within one. */
static bool large_agrees(struct ferry__holes *holes, char *object,
			 uintptr_t *ret_addr, size_t *ret_pages)
{
	uintptr_t addr = (uintptr_t)object & LAYOUT_SIZE;
	const struct layout_extent *at = look_up(holes, addr);
	size_t pages;

	if (!at || at->addr != (uintptr_t)object || (at->bits & LAYOUT_SLAB) ||
	    field(at, LAYOUT_STATE) != LAYOUT_ACTIVE)
		return false;
	pages = (at->size & LAYOUT_SIZE) / FERRY__HOLES_PAGE;
	if (pages != LARGE_PAGES && pages != LARGE_PAGES + 1)
		return false;
	for (size_t i = 1; i < pages; i++) {
		if (look_up(holes, addr + i * FERRY__HOLES_PAGE) !=
		    (i == pages - 1 ? at : NULL))
			return false;
	}
	*ret_addr = addr;
	*ret_pages = pages;
	return true;
}

static bool pages_have(struct ferry__holes *holes, uintptr_t addr, size_t n,
		       size_t live)
{
	for (size_t i = 0; i < n; i++, addr += FERRY__HOLES_PAGE) {
		if (ferry__holes_scrub(holes, addr, NULL) != live)
			return false;
	}
	return true;
}

static const char *try_large(struct ferry__holes *holes, int flags)
{
	const struct ferry__holes_engine *engine = holes->engine;
	uintptr_t addr;
	size_t n;
	char *object;
	bool agrees;

	object =
		engine->mallocx((size_t)LARGE_PAGES * FERRY__HOLES_PAGE, flags);
	if (!object)
		return NO_OBJECTS;
	agrees = large_agrees(holes, object, &addr, &n) &&
		 pages_have(holes, addr, n, FERRY__HOLES_PAGE);
	engine->dallocx(object, flags);
	agrees = agrees && pages_have(holes, addr, n, 0);
	return agrees ? NULL : WRONG_LARGE;
}

static const char *try_objects(struct ferry__holes *holes, unsigned int n,
			       int flags)
{
	const char *reason = try_large(holes, flags);

	for (unsigned int i = 0; i < n && !reason; i += CLASS_STEP)
		reason = try_class(holes, i, flags);
	if (!reason)
		reason = try_class(holes, n - 1, flags);
	return reason;
}

/*
 * An arena of its own, so that nobody else allocates where this looks. Space
 * for it comes from the system, by the engine's own means.
 */
static const char *try_in_arena(struct ferry__holes *holes, unsigned int n)
{
	const struct ferry__holes_engine *engine = holes->engine;
	const char *reason;
	unsigned int arena;
	char name[32];

	if (!get(engine, "arenas.create", &arena, sizeof(arena)))
		return NO_OBJECTS;
	reason = try_objects(holes, n,
			     MALLOCX_ARENA(arena) | MALLOCX_TCACHE_NONE);
	snprintf(name, sizeof(name), "arena.%u.destroy", arena);
	engine->mallctl(name, NULL, NULL, NULL, 0);
	return reason;
}

static const char *find_out(struct ferry__holes *holes)
{
	unsigned int n = 0;
	const char *reason = check_version(holes->engine);

	if (!reason)
		reason = read_classes(holes, &n);
	if (!reason)
		reason = try_in_arena(holes, n);
	return reason;
}

int ferry__holes_start(struct ferry__holes *holes,
		       const struct ferry__holes_engine *engine)
{
	const char *reason;

	memset(holes, 0, sizeof(*holes));
	holes->engine = engine;
#ifdef __x86_64__
	reason = find_out(holes);
#else
	/* Stores become visible in order on x86-64 (L1). */
	reason = "its layout is known on x86-64 only";
#endif
	holes->reason = reason;
	atomic_store_explicit(&holes->head, 0, memory_order_relaxed);
	return !reason ? 0 : -ENOTSUP;
}
