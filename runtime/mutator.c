/* SPDX-License-Identifier: MIT */
/*
 * Mutators: attaching and detaching threads, and allocation off the inline
 * path.
 */
#include "runtime/heap-internal.h"

#include <errno.h>
#include <string.h>

/* Bigger than this, an object that does not fit the hole at hand goes to the
 * spare block instead of using up the holes behind. */
#define MEDIUM (512u / FERRY_GRANULE)

/* --- attaching --------------------------------------------------------------- */

/*
 * The mutators of a thread, one a heap. The key's destructor detaches a
 * thread that ends without having done so.
 */
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int key_error;

static void thread_ends(void *first)
{
	struct ferry__mutator *m = first, *next;

	/* The slot is empty while this runs, and detaching looks there. */
	pthread_setspecific(key, first);
	for (; m; m = next) {
		next = m->all;
		ferry_mutator_detach(&m->pub);
	}
}

static void key_make(void)
{
	key_error = -pthread_key_create(&key, thread_ends);
}

static struct ferry__mutator *find(const struct ferry_heap *heap)
{
	struct ferry__mutator *m;

	pthread_once(&key_once, key_make);
	if (key_error)
		return NULL;
	for (m = pthread_getspecific(key); m; m = m->all)
		if (m->heap == heap)
			return m;
	return NULL;
}

struct ferry_mutator *ferry_mutator_self(const struct ferry_heap *heap)
{
	struct ferry__mutator *m = find(heap);

	return m ? &m->pub : NULL;
}

struct ferry_heap *ferry_mutator_heap(const struct ferry_mutator *mutator)
{
	return ferry__mutator(mutator)->heap;
}

/* The outer end of the calling thread's stack. */
static int stack_base(char **ret_base)
{
	pthread_attr_t attr;
	void *addr;
	size_t len;
	int r = -pthread_getattr_np(pthread_self(), &attr);

	if (r < 0)
		return r;
	r = -pthread_attr_getstack(&attr, &addr, &len);
	pthread_attr_destroy(&attr);
	if (r < 0)
		return r;
	*ret_base = (char *)addr + len;
	return 0;
}

static int key_add(struct ferry__mutator *m)
{
	m->all = pthread_getspecific(key);
	return -pthread_setspecific(key, m);
}

static void key_remove(struct ferry__mutator *m)
{
	struct ferry__mutator *first = pthread_getspecific(key);
	struct ferry__mutator **at = &first;

	while (*at != m)
		at = &(*at)->all;
	*at = m->all;
	/* Cannot fail: the slot is there already. */
	pthread_setspecific(key, first);
}

void ferry__thread_leave(void)
{
	struct ferry__mutator *m;

	pthread_once(&key_once, key_make);
	for (m = key_error ? NULL : pthread_getspecific(key); m; m = m->all) {
		/* Nobody else changes it. */
		m->left = m->running;
		if (m->left)
			ferry__mutator_leave(&m->pub);
	}
}

void ferry__thread_enter(void)
{
	struct ferry__mutator *m;

	for (m = key_error ? NULL : pthread_getspecific(key); m; m = m->all) {
		if (m->left)
			ferry__mutator_enter(&m->pub);
		m->left = false;
	}
}

void ferry__thread_park(struct ferry__mutator *self)
{
	struct ferry__mutator *m;

	for (m = pthread_getspecific(key); m; m = m->all)
		if (m != self)
			ferry__world_park(m);
}

void ferry__thread_unpark(struct ferry__mutator *self)
{
	struct ferry__mutator *m;

	for (m = pthread_getspecific(key); m; m = m->all)
		if (m != self)
			ferry__world_unpark(m);
}

static void world_add(struct ferry__mutator *m)
{
	struct ferry_heap *heap = m->heap;
	struct ferry__world *world = &heap->world;

	pthread_mutex_lock(&world->lock);
	ferry__world_join(m);
	m->pub.colour = heap->cycle.young;
	world->len++;
	cds_list_add_tail(&m->node, &world->mutators);
	pthread_mutex_unlock(&world->lock);
}

int ferry_mutator_attach(struct ferry_heap *heap,
			 const struct ferry_mutator_params *params,
			 struct ferry_mutator **ret_mutator)
{
	struct ferry_mutator_params p = FERRY_INIT(struct ferry_mutator_params);
	struct ferry__mutator *m;
	void *mem;
	int r;

	r = params ? ferry__params_copy(&p, sizeof(p), params,
					sizeof(params->size))
		   : 0;
	if (r < 0)
		return r;
	if (heap->pid != ferry__sys->getpid())
		return -ECHILD;
	if (find(heap))
		return -EEXIST;
	if (key_error)
		return key_error;
	r = ferry__meta_alloc(sizeof(*m), &mem);
	if (r < 0)
		return r;
	m = mem;
	m->heap = heap;
	m->thread = pthread_self();
	m->roots = p.roots;
	m->roots_arg = p.roots_arg;
	m->stack_base = p.stack_base;
	if (!m->stack_base)
		r = stack_base(&m->stack_base);
	if (r == 0)
		r = key_add(m);
	if (r < 0)
		goto err_free;
	world_add(m);
	*ret_mutator = &m->pub;
	return 0;
err_free:
	ferry__meta_free(m, sizeof(*m));
	return r;
}

void ferry_mutator_detach(struct ferry_mutator *mutator)
{
	struct ferry__mutator *m = ferry__mutator(mutator);
	struct ferry__world *world;

	if (!m)
		return;
	world = &m->heap->world;
	/* A thread may end where it blocks. What it leaves behind changes what
	 * a pause goes by: its blocks, and the list of mutators (R1). */
	if (!m->running)
		ferry__mutator_enter(mutator);
	ferry__space_retire(mutator);
	key_remove(m);
	pthread_mutex_lock(&world->lock);
	cds_list_del(&m->node);
	world->len--;
	if (!--world->running && world->stopping)
		pthread_cond_signal(&world->quiet);
	pthread_mutex_unlock(&world->lock);
	ferry__meta_free(m, sizeof(*m));
}

/* --- allocation ----------------------------------------------------------------- */

static bool bump_fits(const struct ferry_bump *b, size_t granules)
{
	return b->limit - b->cursor >= granules * FERRY_GRANULE;
}

/* As the inline path, with room known to be there. */
static void *bump_take(struct ferry_mutator *m, struct ferry_bump *b,
		       size_t granules, enum ferry_kind kind)
{
	uintptr_t p = b->cursor;
	uint8_t *meta = b->meta + p / FERRY_GRANULE;

	b->cursor = p + granules * FERRY_GRANULE;
	ferry__meta_store(&meta[granules - 1], FERRY_META_END);
	ferry__meta_store(&meta[0],
			  (uint8_t)(kind | m->colour |
				    (granules == 1 ? FERRY_META_END : 0)));
	return (void *)p;
}

/* Blocks with objects of a sort that matters to compactions are known by a
 * flag. Relaxed: the lock orders it, when the block is retired. */
static void note(struct ferry_heap *heap, const void *object, uint16_t flag)
{
	size_t offset = ferry__offset(heap, (uintptr_t)object);

	atomic_fetch_or_explicit(
		&heap->blocks[offset >> FERRY__BLOCK_SHIFT].flags, flag,
		memory_order_relaxed);
}

static struct ferry_bump *refill(struct ferry_mutator *m, unsigned int leaf,
				 size_t granules, int *ret_error)
{
	struct ferry__mutator *mutator = ferry__mutator(m);

	if (granules <= MEDIUM) {
		*ret_error = ferry__space_refill(m, leaf, granules);
		return &m->bump[leaf];
	}
	*ret_error = 0;
	if (!bump_fits(&mutator->spare[leaf], granules))
		*ret_error = ferry__space_refill_spare(m, leaf);
	return &mutator->spare[leaf];
}

static void *alloc_small(struct ferry_mutator *m, size_t granules,
			 enum ferry_kind kind)
{
	struct ferry_heap *heap = ferry__mutator(m)->heap;
	unsigned int leaf = kind >= FERRY_KIND_LEAF;
	struct ferry_bump *b = &m->bump[leaf];
	unsigned int tries = 0;
	void *object;
	int r = 0;

	while (!bump_fits(b, granules)) {
		b = refill(m, leaf, granules, &r);
		if (r < 0 &&
		    !ferry__cycle_exhausted(heap, m, granules * FERRY_GRANULE,
					    tries++))
			return NULL;
	}
	object = bump_take(m, b, granules, kind);
	if (kind == FERRY_KIND_AMBIGUOUS)
		note(heap, object, FERRY__BLOCK_AMBIG);
	return object;
}

/* One that may have references, made while marking, is scanned in the final
 * pause: until then nobody knows whether it is written yet. */
static uintptr_t large_take(struct ferry_mutator *m, size_t size, size_t align,
			    enum ferry_kind kind)
{
	struct ferry_heap *heap = ferry__mutator(m)->heap;
	bool news = ferry__cycle_is_marking(heap) && kind < FERRY_KIND_LEAF;
	uintptr_t addr =
		ferry__large_alloc(heap, size, align, kind,
				   m->colour | (news ? FERRY__META_NEW : 0));

	if (addr && news && ferry__mark_note_large(heap, addr) < 0) {
		/* It stays behind as garbage of no kind with references. */
		ferry__meta_store(ferry__meta(heap, addr),
				  (uint8_t)(FERRY_KIND_RAW | m->colour));
		return 0;
	}
	return addr;
}

static void *alloc_large(struct ferry_mutator *m, size_t size, size_t align,
			 enum ferry_kind kind)
{
	struct ferry_heap *heap = ferry__mutator(m)->heap;
	unsigned int tries = 0;
	uintptr_t addr = 0;

	for (;;) {
		if (ferry__policy_allows(heap, size))
			addr = large_take(m, size, align, kind);
		if (addr)
			break;
		if (!ferry__cycle_exhausted(heap, m, size, tries++))
			return NULL;
	}
	atomic_fetch_add_explicit(&heap->space.allocated, size,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&heap->space.since, size,
				  memory_order_relaxed);
	return (void *)addr;
}

/* Every slow allocation is a safepoint, and where collections are started. */
static void alloc_point(struct ferry_mutator *m)
{
	ferry__stress_alloc(m);
	ferry__cycle_poll(ferry__mutator(m)->heap, m);
	ferry__pace(m);
	ferry_safepoint(m);
}

void *ferry_alloc_slow(struct ferry_mutator *m, size_t size,
		       enum ferry_kind kind)
{
	if (kind < FERRY_KIND_TRACED || kind >= FERRY_KINDS)
		return NULL;
	alloc_point(m);
	if (size > FERRY_SMALL_MAX)
		return alloc_large(m, size, ferry__page_size, kind);
	return alloc_small(
		m, size ? (size + FERRY_GRANULE - 1) / FERRY_GRANULE : 1, kind);
}

/* Skips to the alignment within the spare block; what is skipped is a hole. */
static void *alloc_small_aligned(struct ferry_mutator *m, size_t granules,
				 size_t align, enum ferry_kind kind)
{
	struct ferry__mutator *mutator = ferry__mutator(m);
	unsigned int leaf = kind >= FERRY_KIND_LEAF;
	struct ferry_bump *b = &mutator->spare[leaf];
	unsigned int tries = 0;
	void *object;

	for (;;) {
		uintptr_t at = (b->cursor + align - 1) & ~(align - 1);

		if (b->limit && at <= b->limit &&
		    b->limit - at >= granules * FERRY_GRANULE) {
			b->cursor = at;
			break;
		}
		if (ferry__space_refill_spare(m, leaf) < 0 &&
		    !ferry__cycle_exhausted(mutator->heap, m, FERRY__BLOCK_SIZE,
					    tries++))
			return NULL;
	}
	object = bump_take(m, b, granules, kind);
	note(mutator->heap, object, FERRY__BLOCK_ALIGNED);
	if (kind == FERRY_KIND_AMBIGUOUS)
		note(mutator->heap, object, FERRY__BLOCK_AMBIG);
	return object;
}

void *ferry_alloc_aligned(struct ferry_mutator *m, size_t size, size_t align,
			  enum ferry_kind kind)
{
	bool small = size <= FERRY_SMALL_MAX;

	if (kind < FERRY_KIND_TRACED || kind >= FERRY_KINDS)
		return NULL;
	if (!align || align & (align - 1) || align > (small ? 4096u : 2u << 20))
		return NULL;
	if (align <= FERRY_GRANULE && small)
		return ferry_alloc(m, size, kind);
	alloc_point(m);
	if (!small)
		return alloc_large(m, size,
				   align < ferry__page_size ? ferry__page_size
							    : align,
				   kind);
	return alloc_small_aligned(
		m, size ? (size + FERRY_GRANULE - 1) / FERRY_GRANULE : 1, align,
		kind);
}

/* --- what the side table says ------------------------------------------------------ */

size_t ferry_object_size(const struct ferry_heap *heap, const void *object)
{
	ferry__reloc_bring(heap, (uintptr_t)object);
	return ferry__object_bytes(heap, (uintptr_t)object);
}

enum ferry_kind ferry_object_kind(const struct ferry_heap *heap,
				  const void *addr)
{
	uintptr_t word = (uintptr_t)addr;

	if (!ferry__in_heap(heap, word) || word % FERRY_GRANULE)
		return 0;
	if (ferry__is_large(heap, word) &&
	    ferry__offset(heap, word) & ((1u << FERRY__LARGE_SHIFT) - 1))
		return 0;
	ferry__reloc_bring(heap, word);
	return ferry__meta_load(ferry__meta(heap, word)) & FERRY_META_KIND;
}
