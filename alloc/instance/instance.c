/* SPDX-License-Identifier: MIT */
/* Allocator instances: creation, blocks, the end. */
#include "alloc/instance/instance.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "alloc/store/map.h"
#include "uffd/sys.h"

/*
 * jemalloc's options: as those of the malloc (alloc/malloc/engine.c). Its one
 * automatic arena holds what the engine and this library need; blocks of
 * instances are in manual arenas.
 */
FERRY__HIDDEN extern const char *ferry__je_malloc_conf;
const char *ferry__je_malloc_conf =
	"narenas:1,retain:true,tcache_max:32768,"
	"dirty_decay_ms:10000,muzzy_decay_ms:0,abort_conf:false,"
	"dss:disabled,trust_madvise:true";

struct ferry__instances ferry__instances = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

__attribute__((constructor)) static void begin(void)
{
	ferry__instances_fork_init();
}

/* --- the arena ------------------------------------------------------------ */

static int set(struct ferry_allocator *a, const char *what, void *value,
	       size_t len)
{
	char name[64];

	snprintf(name, sizeof(name), "arena.%u.%s", a->arena, what);
	return -ferry__je_mallctl(name, NULL, NULL, value, len);
}

/* What jemalloc reads in experimental.arenas_create_ext. */
struct create {
	struct ferry__hooks *hooks;
	bool metadata_use_hooks;
};

static void destroy_arena(struct ferry_allocator *a)
{
	a->dying = true;
	set(a, "destroy", NULL, 0);
}

static int create_arena(struct ferry_allocator *a)
{
	struct create create = { .hooks = &a->hooks };
	size_t len = sizeof(a->arena), never = SIZE_MAX;
	int r;

	r = -ferry__je_mallctl("experimental.arenas_create_ext", &a->arena,
			       &len, &create, sizeof(create));
	if (r)
		return r;
	/* Large pieces are purged in time, as all others (DESIGN E6). */
	r = set(a, "oversize_threshold", &never, sizeof(never));
	if (r)
		destroy_arena(a);
	return r;
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

/* Descriptors, and what the malloc prints, are not an instance's. */
static int read_conf(struct ferry__conf *conf, const char *text)
{
	size_t i;
	int r = ferry__conf_read(conf, text);

	if (r)
		return r;
	if (conf->stats_file || conf->stats_exit || conf->stats_signal ||
	    conf->stats_interval_ns)
		r = -EINVAL;
	for (i = 0; i < conf->n_tiers; i++)
		if (conf->tiers[i].kind != FERRY__CONF_MEMORY)
			r = -EINVAL;
	if (r)
		ferry__conf_fini(conf);
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
	r = create_arena(a);
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
	r = read_conf(&a->conf, p.conf);
	if (r)
		goto err_unmap;
	r = set_up(a, &p);
	ferry__conf_fini(&a->conf);
	if (r)
		goto err_unmap;
	list(a);
	if (!a->conf.min_heap)
		ferry__offload_wanted(a);
	*ret_allocator = a;
	return 0;

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
	ferry__store_unmap(a, sizeof(*a));
}

/* --- blocks --------------------------------------------------------------- */

static void *out_of_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

/* The engine knows no size of 0, and does not set errno. */
static void *take(struct ferry_allocator *a, size_t size, int flags)
{
	void *p;

	if (__builtin_expect(size > PTRDIFF_MAX, 0))
		return out_of_memory();
	p = ferry__je_mallocx(size ? size : 1,
			      ferry__instance_flags(a) | flags);
	return __builtin_expect(p != NULL, 1) ? p : out_of_memory();
}

void *ferry_allocator_malloc(struct ferry_allocator *a, size_t size)
{
	return take(a, size, 0);
}

void *ferry_allocator_calloc(struct ferry_allocator *a, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return out_of_memory();
	return take(a, bytes, FERRY__JE_ZERO);
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

void ferry_allocator_free(struct ferry_allocator *a, void *ptr)
{
	if (ptr)
		ferry__je_dallocx(ptr, ferry__instance_flags(a));
}

void *ferry_allocator_realloc(struct ferry_allocator *a, void *ptr, size_t size)
{
	void *p;

	if (!ptr)
		return take(a, size, 0);
	if (!size) {
		ferry_allocator_free(a, ptr);
		return NULL;
	}
	if (size > PTRDIFF_MAX)
		return out_of_memory();
	p = ferry__je_rallocx(ptr, size, ferry__instance_flags(a));
	return p ? p : out_of_memory();
}

size_t ferry_allocator_usable_size(struct ferry_allocator *a, const void *ptr)
{
	(void)a;
	return ptr ? ferry__je_malloc_usable_size((void *)(uintptr_t)ptr) : 0;
}
