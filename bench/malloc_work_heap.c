/* SPDX-License-Identifier: MIT */
/*
 * malloc_work_heap.c: heaps beside the malloc: small blocks that come and go
 * in one, which ends with those that are left. Allocator instances of Ferry,
 * manual arenas of jemalloc with a cache of their own, heaps of mimalloc; each
 * through its own functions, found in what is preloaded.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "malloc_work.h"

/* A heap, and what is asked of it. */
struct heap {
	void *(*take)(const struct heap *h, size_t size);
	void *(*take_zeroed)(const struct heap *h, size_t size);
	void (*give)(const struct heap *h, void *p);
	void (*end)(const struct heap *h);
	void *it;
	unsigned int arena, cache;
	int flags; /* of jemalloc's functions */
};

/* The function @name; ISO C has no conversion to one. */
static bool find(const char *name, void *ret_function)
{
	void *p = dlsym(RTLD_DEFAULT, name);

	if (p)
		*(void **)ret_function = p;
	return p;
}

/* --- Ferry ---------------------------------------------------------------- */

static struct {
	int (*create)(const void *params, void **ret);
	void *(*malloc)(void *a, size_t size);
	void *(*calloc)(void *a, size_t n, size_t size);
	void (*free)(void *a, void *p);
	void (*destroy)(void *a);
} ferry;

static void *ferry_take(const struct heap *h, size_t size)
{
	return ferry.malloc(h->it, size);
}

static void *ferry_take_zeroed(const struct heap *h, size_t size)
{
	return ferry.calloc(h->it, 1, size);
}

static void ferry_give(const struct heap *h, void *p)
{
	ferry.free(h->it, p);
}

static void ferry_end(const struct heap *h)
{
	ferry.destroy(h->it);
}

static int ferry_begin(struct heap *h)
{
	if (!find("ferry_allocator_create", &ferry.create) ||
	    !find("ferry_allocator_malloc", &ferry.malloc) ||
	    !find("ferry_allocator_calloc", &ferry.calloc) ||
	    !find("ferry_allocator_free", &ferry.free) ||
	    !find("ferry_allocator_destroy", &ferry.destroy))
		return -ENOTSUP;
	*h = (struct heap){
		.take = ferry_take,
		.take_zeroed = ferry_take_zeroed,
		.give = ferry_give,
		.end = ferry_end,
	};
	return ferry.create(NULL, &h->it);
}

/* --- jemalloc ------------------------------------------------------------- */

static struct {
	int (*mallctl)(const char *name, void *old, size_t *old_len,
		       void *fresh, size_t fresh_len);
	void *(*mallocx)(size_t size, int flags);
	void (*dallocx)(void *p, int flags);
} je;

/* As its header defines them: MALLOCX_ZERO, _ARENA() and _TCACHE(). */
#define JE_ZERO	    0x40
#define JE_ARENA(i) ((int)(((i) + 1u) << 20))
#define JE_CACHE(i) ((int)(((i) + 2u) << 8))

static void *je_take(const struct heap *h, size_t size)
{
	return je.mallocx(size, h->flags);
}

static void *je_take_zeroed(const struct heap *h, size_t size)
{
	return je.mallocx(size, h->flags | JE_ZERO);
}

static void je_give(const struct heap *h, void *p)
{
	je.dallocx(p, h->flags);
}

static void je_end(const struct heap *h)
{
	unsigned int cache = h->cache;
	char name[32];

	je.mallctl("tcache.destroy", NULL, NULL, &cache, sizeof(cache));
	snprintf(name, sizeof(name), "arena.%u.destroy", h->arena);
	je.mallctl(name, NULL, NULL, NULL, 0);
}

static int je_begin(struct heap *h)
{
	size_t len = sizeof(h->arena);
	int rc;

	if (!find("mallctl", &je.mallctl) || !find("mallocx", &je.mallocx) ||
	    !find("dallocx", &je.dallocx))
		return -ENOTSUP;
	*h = (struct heap){
		.take = je_take,
		.take_zeroed = je_take_zeroed,
		.give = je_give,
		.end = je_end,
	};
	rc = je.mallctl("arenas.create", &h->arena, &len, NULL, 0);
	if (!rc)
		rc = je.mallctl("tcache.create", &h->cache, &len, NULL, 0);
	h->flags = JE_ARENA(h->arena) | JE_CACHE(h->cache);
	return -rc;
}

/* --- mimalloc ------------------------------------------------------------- */

static struct {
	void *(*heap_new)(void);
	void *(*malloc)(void *heap, size_t size);
	void *(*zalloc)(void *heap, size_t size);
	void (*free)(void *p);
	void (*destroy)(void *heap);
} mi;

static void *mi_take(const struct heap *h, size_t size)
{
	return mi.malloc(h->it, size);
}

static void *mi_take_zeroed(const struct heap *h, size_t size)
{
	return mi.zalloc(h->it, size);
}

static void mi_give(const struct heap *h, void *p)
{
	(void)h;
	mi.free(p);
}

static void mi_end(const struct heap *h)
{
	mi.destroy(h->it);
}

static int mi_begin(struct heap *h)
{
	if (!find("mi_heap_new", &mi.heap_new) ||
	    !find("mi_heap_malloc", &mi.malloc) ||
	    !find("mi_heap_zalloc", &mi.zalloc) || !find("mi_free", &mi.free) ||
	    !find("mi_heap_destroy", &mi.destroy))
		return -ENOTSUP;
	*h = (struct heap){
		.take = mi_take,
		.take_zeroed = mi_take_zeroed,
		.give = mi_give,
		.end = mi_end,
	};
	h->it = mi.heap_new();
	return h->it ? 0 : -ENOMEM;
}

/* --- the work ------------------------------------------------------------- */

static int begin(struct heap *h)
{
	int (*const begins[])(struct heap *) = { ferry_begin, je_begin,
						 mi_begin };
	int rc = -ENOTSUP;

	for (size_t i = 0; i < BENCH_ARRAY_LEN(begins) && rc == -ENOTSUP; i++)
		rc = begins[i](h);
	return rc;
}

static int block_new(struct malloc_work *w, const struct heap *h,
		     struct malloc_block *b, uint64_t r)
{
	bool zeroed = r >> 60 == 0; /* one in 16 */

	b->size = malloc_small_size(r);
	b->id = r;
	b->p = zeroed ? h->take_zeroed(h, b->size) : h->take(h, b->size);
	if (!b->p)
		return -ENOMEM;
	if (zeroed)
		w->wrong += !malloc_all_zero(b->p, b->size);
	malloc_fill(b->p, b->size, b->id, malloc_ends(b->size));
	return 0;
}

static void block_verify(struct malloc_work *w, const struct malloc_block *b)
{
	w->wrong += !malloc_right(b->p, b->size, b->id, malloc_ends(b->size));
}

static void block_free(struct malloc_work *w, const struct heap *h,
		       struct malloc_block *b)
{
	if (!b->p)
		return;
	block_verify(w, b);
	h->give(h, b->p);
	b->p = NULL;
}

#define HEAP_SLOTS 16384
#define HEAP_STEPS 100000 /* of each heap */

/* One heap, from its beginning to its end. */
static int one_heap(struct malloc_work *w, struct malloc_block *slots,
		    uint64_t steps)
{
	struct heap h;
	int rc = begin(&h);

	if (rc < 0)
		return rc;
	for (uint64_t i = 0; i < steps && rc == 0; i++) {
		uint64_t r = bench_rng_next(&w->rng);
		struct malloc_block *b = &slots[r >> 16 & (HEAP_SLOTS - 1)];

		block_free(w, &h, b);
		rc = block_new(w, &h, b, r);
	}
	for (size_t i = 0; i < HEAP_SLOTS; i++) {
		if (slots[i].p)
			block_verify(w, &slots[i]);
		slots[i].p = NULL;
	}
	h.end(&h);
	return rc;
}

int malloc_work_heap(struct malloc_work *w)
{
	struct malloc_block *slots = bench_alloc(HEAP_SLOTS * sizeof(*slots));
	uint64_t done, steps;
	int rc = 0;

	for (done = 0; done < w->amount && rc == 0; done += steps) {
		steps = w->amount - done;
		if (steps > HEAP_STEPS)
			steps = HEAP_STEPS;
		rc = one_heap(w, slots, steps);
	}
	free(slots);
	return rc;
}
