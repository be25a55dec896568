/* SPDX-License-Identifier: MIT */
/*
 * Thread caches: one of the engine's explicit ones for each thread and
 * instance that meet.
 *
 * A thread finds the caches of the instances it uses in a small table by the
 * instance's id, which nobody has twice, so that what is left of an instance
 * that is gone is never found. All its caches are in a list of its own, and
 * each is in its instance's list as well; both change under instances.lock.
 * Whoever ends first, thread or instance, empties the cache: of one that is
 * gone, only a note is left to the thread.
 */
#include <errno.h>

#include "alloc/instance/instance.h"

struct ferry__cache {
	uint64_t id;
	unsigned int number; /* the engine's */
	/* Under instances.lock: */
	struct ferry_allocator *owner; /* NULL: the engine's is gone */
	struct ferry__cache *next, **link;
	struct ferry__cache *next_of_thread; /* of the thread alone */
};

_Thread_local struct ferry__cache_self ferry__cache_self;

static pthread_key_t key;
static bool has_key; /* without one, threads go without caches */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void drop(struct ferry__cache *cache)
{
	unsigned int number = cache->number;

	if (!cache->owner)
		return;
	cache->owner = NULL;
	*cache->link = cache->next;
	if (cache->next)
		cache->next->link = cache->link;
	ferry__je_mallctl("tcache.destroy", NULL, NULL, &number,
			  sizeof(number));
}

/* Of a thread that ends. */
static void drop_thread(void *arg)
{
	struct ferry__cache_self *self = arg;
	struct ferry__cache *cache;

	pthread_mutex_lock(&ferry__instances.lock);
	while ((cache = self->caches)) {
		self->caches = cache->next_of_thread;
		drop(cache);
		ferry__je_dallocx(cache, FERRY__INSTANCE_OWN);
	}
	pthread_mutex_unlock(&ferry__instances.lock);
	*self = (struct ferry__cache_self){ 0 };
}

static void make_key(void)
{
	has_key = pthread_key_create(&key, drop_thread) == 0;
}

/*
 * The calling thread's cache of the instance, or NULL. Without the lock: the
 * list is the thread's alone, and as the instance is used it does not end.
 */
static struct ferry__cache *find(const struct ferry_allocator *a)
{
	struct ferry__cache *cache = ferry__cache_self.caches;

	while (cache && (cache->id != a->id || cache->owner != a))
		cache = cache->next_of_thread;
	return cache;
}

/* Notes of caches that are gone are found here, and freed. */
static void sweep(struct ferry__cache_self *self)
{
	struct ferry__cache **p = &self->caches, *cache;

	pthread_mutex_lock(&ferry__instances.lock);
	while ((cache = *p)) {
		if (cache->owner) {
			p = &cache->next_of_thread;
			continue;
		}
		*p = cache->next_of_thread;
		ferry__je_dallocx(cache, FERRY__INSTANCE_OWN);
	}
	pthread_mutex_unlock(&ferry__instances.lock);
}

static void link_to(struct ferry_allocator *a, struct ferry__cache *cache)
{
	cache->owner = a;
	cache->next = a->caches;
	cache->link = &a->caches;
	if (cache->next)
		cache->next->link = &cache->next;
	a->caches = cache;
}

static void add(struct ferry_allocator *a, struct ferry__cache_self *self,
		struct ferry__cache *cache)
{
	cache->id = a->id;
	cache->next_of_thread = self->caches;
	self->caches = cache;
	pthread_mutex_lock(&ferry__instances.lock);
	link_to(a, cache);
	pthread_mutex_unlock(&ferry__instances.lock);
}

/* NULL: the engine has no more of them; one goes without. */
static struct ferry__cache *make(struct ferry_allocator *a,
				 struct ferry__cache_self *self)
{
	struct ferry__cache *cache;
	size_t len = sizeof(cache->number);

	sweep(self);
	pthread_once(&once, make_key);
	if (!has_key || (!self->known && pthread_setspecific(key, self)))
		return NULL;
	self->known = true;
	cache = ferry__je_mallocx(sizeof(*cache), FERRY__INSTANCE_OWN);
	if (!cache)
		return NULL;
	if (ferry__je_mallctl("tcache.create", &cache->number, &len, NULL, 0)) {
		ferry__je_dallocx(cache, FERRY__INSTANCE_OWN);
		return NULL;
	}
	add(a, self, cache);
	return cache;
}

static int flags_of(const struct ferry_allocator *a,
		    const struct ferry__cache *cache)
{
	return FERRY__JE_ARENA(a->arena) |
	       (cache ? FERRY__JE_TCACHE(cache->number)
		      : FERRY__JE_TCACHE_NONE);
}

const struct ferry__cache_entry *ferry__instance_slow(struct ferry_allocator *a)
{
	struct ferry__cache_self *self = &ferry__cache_self;
	struct ferry__cache_entry *e =
		&self->entry[a->id % FERRY__CACHE_ENTRIES];
	struct ferry__cache *cache;
	int saved = errno;

	if (__atomic_load_n(&a->quick, __ATOMIC_RELAXED) != a->id)
		ferry__offload_start(a);
	if (e->id != a->id) {
		cache = find(a);
		if (!cache)
			cache = make(a, self);
		e->bins = cache ? ferry__bins_of(cache->number)
				: ferry__bins.none;
		e->flags = flags_of(a, cache);
		e->id = a->id;
	}
	errno = saved;
	return e;
}

void ferry__cache_destroy_all(struct ferry_allocator *a)
{
	pthread_mutex_lock(&ferry__instances.lock);
	while (a->caches)
		drop(a->caches);
	pthread_mutex_unlock(&ferry__instances.lock);
}

/* It is given up whole: the engine's way to empty one does that, too. */
void ferry__cache_flush(struct ferry_allocator *a)
{
	struct ferry__cache_self *self = &ferry__cache_self;
	struct ferry__cache_entry *e =
		&self->entry[a->id % FERRY__CACHE_ENTRIES];
	struct ferry__cache *cache = find(a);

	if (e->id == a->id)
		e->id = 0;
	if (!cache)
		return;
	pthread_mutex_lock(&ferry__instances.lock);
	drop(cache);
	pthread_mutex_unlock(&ferry__instances.lock);
}

/*
 * Caches of threads that are not in the child may have been in the middle of
 * a change: they are left alone, and what is in them is lost until the
 * instance goes.
 */
void ferry__cache_fork_child(struct ferry_allocator *a)
{
	struct ferry__cache *cache, *own = ferry__cache_self.caches;

	while (own && own->owner != a)
		own = own->next_of_thread;
	while ((cache = a->caches)) {
		a->caches = cache->next;
		cache->owner = NULL;
	}
	if (own)
		link_to(a, own);
}
