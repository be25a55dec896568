/* SPDX-License-Identifier: MIT */
/* Allocator instances: creation, blocks, the end. */
#include "alloc/instance/instance.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "alloc/store/map.h"
#include "uffd/sys.h"

struct ferry__instances ferry__instances = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

__attribute__((constructor)) static void begin(void)
{
	ferry__instances_fork_init();
}

/* --- the arena ------------------------------------------------------------ */

static void destroy_arena(struct ferry_allocator *a)
{
	a->dying = true;
	ferry__arena_call(a->arena, "destroy", NULL, 0);
}

/* --- creation ------------------------------------------------------------- */

static void list(struct ferry_allocator *a)
{
	pthread_mutex_lock(&ferry__instances.lock);
	a->next = ferry__instances.first;
	a->link = &ferry__instances.first;
	if (a->next)
		a->next->link = &a->next;
	ferry__instances.first = a;
	pthread_mutex_unlock(&ferry__instances.lock);
}

static void unlist(struct ferry_allocator *a)
{
	pthread_mutex_lock(&ferry__instances.lock);
	*a->link = a->next;
	if (a->next)
		a->next->link = a->link;
	pthread_mutex_unlock(&ferry__instances.lock);
}

/* What the malloc prints and answers is not an instance's. */
static bool is_foreign(const struct ferry__conf *conf)
{
	return conf->stats_file || conf->stats_exit || conf->stats_signal ||
	       conf->stats_interval_ns || conf->control;
}

/* Stores are opened by another thread, some time: from no folder of ours. */
static bool has_relative_path(const struct ferry__conf *conf)
{
	size_t i;

	for (i = 0; i < conf->n_tiers; i++)
		if (conf->tiers[i].kind == FERRY__CONF_FILE &&
		    *conf->tiers[i].where != '/')
			return true;
	return false;
}

static void fini_conf(struct ferry_allocator *a)
{
	ferry__conf_fini(&a->conf);
	ferry__store_unmap(a->conf_text, a->conf_size);
}

/* .conf points into a copy of the string. */
static int read_conf(struct ferry_allocator *a, const char *text)
{
	void *copy;
	int r;

	text = text ? text : "";
	a->conf_size = strlen(text) + 1;
	if (ferry__store_map(a->conf_size, &copy))
		return -ENOMEM;
	a->conf_text = memcpy(copy, text, a->conf_size);
	r = ferry__conf_read(&a->conf, a->conf_text);
	if (!r && (is_foreign(&a->conf) || has_relative_path(&a->conf)))
		r = -EINVAL;
	if (!r && a->conf.offload != FERRY__OFFLOAD_OFF)
		r = ferry__tiers_try(&a->conf);
	if (r)
		fini_conf(a);
	return r;
}

static int set_up(struct ferry_allocator *a,
		  const struct ferry_allocator_params *params)
{
	/* Relaxed: a number that nobody else gets. */
	static uint64_t ids;
	int r;

	a->id = __atomic_add_fetch(&ids, 1, __ATOMIC_RELAXED);
	a->quick = a->id;
	snprintf(a->name, sizeof(a->name), "%s",
		 params->name ? params->name : "ferry allocator");
	r = ferry__space_open(a, params->reserve);
	if (r)
		return r;
	r = ferry__arena_create(&a->hooks, &a->arena);
	if (r)
		goto err_space;
	r = ferry__offload_open(a);
	if (r)
		goto err_arena;
	return 0;

err_arena:
	destroy_arena(a);
err_space:
	ferry__space_close(a);
	return r;
}

int ferry_allocator_create(const struct ferry_allocator_params *params,
			   struct ferry_allocator **ret_allocator)
{
	struct ferry_allocator_params p =
		FERRY_INIT(struct ferry_allocator_params);
	struct ferry_allocator *a;
	void *base;
	int r = 0;

	if (params)
		r = ferry__params_copy(&p, sizeof(p), params, sizeof(p));
	if (r)
		return r;
	if (ferry__store_map(sizeof(*a), &base))
		return -ENOMEM;
	a = base;
	r = read_conf(a, p.conf);
	if (r)
		goto err_unmap;
	r = set_up(a, &p);
	if (r)
		goto err_conf;
	list(a);
	if (!a->conf.min_heap)
		ferry__offload_wanted(a);
	*ret_allocator = a;
	return 0;

err_conf:
	fini_conf(a);
err_unmap:
	ferry__store_unmap(a, sizeof(*a));
	return r;
}

/*
 * Contents first, so that nothing is brought back for nobody; then those who
 * look at the arena, then the arena, then its memory.
 */
void ferry_allocator_destroy(struct ferry_allocator *a)
{
	if (!a)
		return;
	unlist(a);
	ferry__space_discard(a);
	ferry__cache_destroy_all(a);
	ferry__offload_close(a);
	destroy_arena(a);
	ferry__space_close(a);
	fini_conf(a);
	ferry__store_unmap(a, sizeof(*a));
}

/* --- blocks --------------------------------------------------------------- */

static void *out_of_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

/* The engine knows no size of 0, and does not set errno. */
__attribute__((noinline)) static void *take(struct ferry_allocator *a,
					    size_t size, int flags)
{
	void *p;

	if (__builtin_expect(size > PTRDIFF_MAX, 0))
		return out_of_memory();
	p = ferry__je_mallocx(size ? size : 1,
			      ferry__instance_entry(a)->flags | flags);
	return __builtin_expect(p != NULL, 1) ? p : out_of_memory();
}

/* From the thread's cache, or NULL. The quick ways call nothing. */
static inline void *take_quickly(const struct ferry_allocator *a, size_t size)
{
	const struct ferry__cache_entry *e = ferry__instance_known(a);

	if (__builtin_expect(size > FERRY__BINS_LARGEST || !e, 0))
		return NULL;
	return ferry__bin_take(&e->bins[ferry__bins_class(size)]);
}

void *ferry_allocator_malloc(struct ferry_allocator *a, size_t size)
{
	void *p = take_quickly(a, size);

	return __builtin_expect(p != NULL, 1) ? p : take(a, size, 0);
}

void *ferry_allocator_calloc(struct ferry_allocator *a, size_t n, size_t size)
{
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(n, size, &bytes))
		return out_of_memory();
	p = take_quickly(a, bytes);
	return p ? memset(p, 0, bytes) : take(a, bytes, FERRY__JE_ZERO);
}

void *ferry_allocator_aligned(struct ferry_allocator *a, size_t align,
			      size_t size)
{
	if (!align || align & (align - 1)) {
		errno = EINVAL;
		return NULL;
	}
	return take(a, size, FERRY__JE_ALIGN(__builtin_ctzl(align)));
}

/* Looks for the class further than the quick way does. */
static int class_of(const void *ptr)
{
	struct ferry__bins_row *row =
		ferry__bins_row_of(ferry__cache_self.rows, ptr);

	if (row->key != ferry__bins_key(ptr) &&
	    !ferry__bins_find_row((uintptr_t)ptr, row))
		return FERRY__BINS_NO_CLASS;
	return ferry__bins_class_in(row, ptr);
}

__attribute__((noinline)) static void give_back(struct ferry_allocator *a,
						void *ptr)
{
	const struct ferry__cache_entry *e;
	int class;

	if (!ptr)
		return;
	e = ferry__instance_entry(a);
	class = class_of(ptr);
	if (class == FERRY__BINS_NO_CLASS ||
	    !ferry__bin_put(&e->bins[class], ptr))
		ferry__je_dallocx(ptr, e->flags);
}

/* NULL, too: it lies in no row that is remembered, or not in a slab. */
void ferry_allocator_free(struct ferry_allocator *a, void *ptr)
{
	const struct ferry__cache_entry *e = ferry__instance_known(a);
	int class = ferry__bins_class_in(
		ferry__bins_row_of(ferry__cache_self.rows, ptr), ptr);

	if (__builtin_expect(!e || class == FERRY__BINS_NO_CLASS, 0) ||
	    !ferry__bin_put(&e->bins[class], ptr))
		give_back(a, ptr);
}

static void *resize(struct ferry_allocator *a, void *ptr, size_t size)
{
	void *p = ferry__je_rallocx(ptr, size, ferry__instance_entry(a)->flags);

	return p ? p : out_of_memory();
}

/* Of a small block: to another class, or nowhere. NULL: the engine does it. */
static void *resize_quickly(struct ferry_allocator *a, void *ptr, size_t size)
{
	int class = class_of(ptr);
	size_t old;
	void *p;

	if (class == FERRY__BINS_NO_CLASS || size > FERRY__BINS_LARGEST)
		return NULL;
	if ((int)ferry__bins_class(size) == class)
		return ptr;
	p = take_quickly(a, size);
	if (!p)
		return NULL;
	old = ferry__bins.size_of[class];
	memcpy(p, ptr, old < size ? old : size);
	give_back(a, ptr);
	return p;
}

void *ferry_allocator_realloc(struct ferry_allocator *a, void *ptr, size_t size)
{
	void *p;

	if (!ptr)
		return ferry_allocator_malloc(a, size);
	if (!size) {
		ferry_allocator_free(a, ptr);
		return NULL;
	}
	if (size > PTRDIFF_MAX)
		return out_of_memory();
	p = resize_quickly(a, ptr, size);
	return p ? p : resize(a, ptr, size);
}

size_t ferry_allocator_usable_size(struct ferry_allocator *a, const void *ptr)
{
	(void)a;
	return ptr ? ferry__je_malloc_usable_size((void *)(uintptr_t)ptr) : 0;
}
