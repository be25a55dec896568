/* SPDX-License-Identifier: MIT */
/*
 * Marking: from slots to objects to their slots, until nothing is left.
 *
 * A marker gathers slots, then looks at the side-table bytes of all of them
 * with their prefetches overlapping, and queues what was not marked; objects
 * are prefetched a few ahead of being traced. (Cher, Hosking, Vitek, Software
 * Prefetching for Mark-Sweep Garbage Collection, ASPLOS 2004.)
 *
 * Colours are written by plain relaxed stores. Two markers that meet at one
 * object write the same byte; both may queue it, and it is traced twice,
 * which finds nothing new (M3 in DESIGN.md).
 *
 * The program writes slots while they are read here. Nothing is concluded
 * from a value except that what it refers to is kept; what is overwritten
 * later lies on a page that is dirty (M1). ThreadSanitizer is kept from
 * seeing these reads, which are meant.
 */
#include "runtime/trace.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* Chunks of a slab: what one mmap(2) brings. */
#define SLAB_CHUNKS 63u
/* Slabs kept from one collection to the next, at least. */
#define SLABS_KEPT 4u
/* A chunk with fewer objects is not worth handing over. */
#define SHARE_MIN 32u

struct ferry__mark_slab {
	struct ferry__mark_slab *next;
	char pad[FERRY__MARK_CHUNK_SIZE - sizeof(void *)];
	struct ferry__mark_chunk chunk[SLAB_CHUNKS];
};

_Static_assert(sizeof(struct ferry__mark_chunk) == FERRY__MARK_CHUNK_SIZE,
	       "a chunk is a page");
#define CHUNK_MAX                                                              \
	(sizeof(((struct ferry__mark_chunk *)0)->object) / sizeof(uintptr_t))

/* --- chunks; mark lock ----------------------------------------------------------- */

static void chunk_push(struct ferry__mark_chunk **list,
		       struct ferry__mark_chunk *chunk)
{
	chunk->next = *list;
	*list = chunk;
}

static struct ferry__mark_chunk *chunk_pop(struct ferry__mark_chunk **list)
{
	struct ferry__mark_chunk *chunk = *list;

	if (chunk)
		*list = chunk->next;
	return chunk;
}

static bool slab_add(struct ferry__mark *mark)
{
	struct ferry__mark_slab *slab;
	void *mem;
	unsigned int i;

	if (ferry__meta_alloc(sizeof(*slab), &mem) < 0)
		return false;
	slab = mem;
	slab->next = mark->slabs;
	mark->slabs = slab;
	for (i = SLAB_CHUNKS; i--;)
		chunk_push(&mark->empty, &slab->chunk[i]);
	return true;
}

static struct ferry__mark_chunk *chunk_empty(struct ferry__mark *mark)
{
	struct ferry__mark_chunk *chunk;

	if (!mark->empty && !slab_add(mark))
		return NULL;
	chunk = chunk_pop(&mark->empty);
	chunk->n = 0;
	return chunk;
}

static void slabs_free(struct ferry__mark *mark, unsigned int keep)
{
	struct ferry__mark_slab *slab, **at = &mark->slabs;

	for (; *at && keep; keep--)
		at = &(*at)->next;
	while ((slab = *at)) {
		*at = slab->next;
		ferry__meta_free(slab, sizeof(*slab));
	}
	/* The list of empty chunks is made anew from what is left. */
	mark->empty = NULL;
	for (slab = mark->slabs; slab; slab = slab->next)
		for (keep = SLAB_CHUNKS; keep--;)
			chunk_push(&mark->empty, &slab->chunk[keep]);
}

/*
 * The marker's chunk is full, or somebody is hungry: others may have it, and
 * it goes on with another.
 */
static bool chunk_share(struct ferry__marker *marker)
{
	struct ferry__mark *mark = &marker->heap->mark;
	struct ferry__mark_chunk *chunk;

	pthread_mutex_lock(&mark->lock);
	chunk = chunk_empty(mark);
	if (chunk) {
		chunk_push(&mark->full, marker->chunk);
		marker->chunk = chunk;
		/* Relaxed: a hint; the lock orders the list. */
		atomic_store_explicit(&mark->hungry, false,
				      memory_order_relaxed);
		pthread_cond_signal(&mark->work);
	}
	pthread_mutex_unlock(&mark->lock);
	return chunk != NULL;
}

/* An object waits with its kind in the low bits of its address. */
#define KIND_BITS ((uintptr_t)FERRY_META_KIND)

static void push(struct ferry__marker *marker, uintptr_t addr,
		 unsigned int kind)
{
	struct ferry__mark *mark = &marker->heap->mark;
	struct ferry__mark_chunk *chunk = marker->chunk;

	if (chunk->n == CHUNK_MAX ||
	    (chunk->n >= SHARE_MIN &&
	     atomic_load_explicit(&mark->hungry, memory_order_relaxed)))
		if (!chunk_share(marker) && chunk->n == CHUNK_MAX) {
			/* Relaxed: read when all markers have joined. */
			atomic_store_explicit(&mark->overflow, true,
					      memory_order_relaxed);
			return;
		}
	marker->chunk->object[marker->chunk->n++] = addr | kind;
}

/* --- objects ---------------------------------------------------------------------- */

/* @offset of @addr in the reservation, and its side-table byte. */
static inline bool mark_at(struct ferry__marker *marker, uintptr_t addr,
			   size_t offset, uint8_t *meta)
{
	struct ferry_heap *heap = marker->heap;
	uint8_t byte = ferry__meta_load(meta);
	unsigned int kind = byte & FERRY_META_KIND;

	/* Without a kind it is an object being made, which is kept. */
	if (!kind || ferry__is_kept(heap, byte))
		return false;
	ferry__meta_store(meta, (uint8_t)((byte & (uint8_t)~FERRY_META_COLOUR) |
					  heap->cycle.colour));
	if (offset < 2 * heap->half) {
		uint8_t *seen = ferry__seen_at(heap, offset);

		ferry__block_marked(heap, (offset & (heap->half - 1)) >>
						  FERRY__BLOCK_SHIFT);
		ferry__meta_store(seen, ferry__meta_load(seen) |
						ferry__seen_bit(offset));
	}
	if (kind < FERRY_KIND_LEAF)
		push(marker, addr, kind);
	if (__builtin_expect(atomic_load_explicit(&heap->weak.watching,
						  memory_order_relaxed),
			     0))
		ferry__ephemeron_marked(marker, addr);
	return true;
}

bool ferry__mark_object(struct ferry__marker *marker, uintptr_t addr)
{
	struct ferry_heap *heap = marker->heap;

	return mark_at(marker, addr, addr - heap->base,
		       ferry__meta(heap, addr));
}

/* M9: @slot refers to the object with this side-table byte. If that is young
 * the next collection comes back to the slot. */
static inline void note_young(struct ferry__marker *marker, const void *slot,
			      uint8_t byte)
{
	struct ferry_heap *heap = marker->heap;

	if (ferry__is_young(heap, byte) || !(byte & FERRY_META_KIND))
		ferry__remember_note(heap, (uintptr_t)slot);
}

void ferry__mark_note(struct ferry__marker *marker, const void *slot,
		      uintptr_t addr)
{
	note_young(marker, slot,
		   ferry__meta_load(ferry__meta(marker->heap, addr)));
}

/* @addr is 0 where the slot hits nothing that can be seen: it may be an object
 * being made as well. */
static void mark_from(struct ferry__marker *marker, const void *slot,
		      uintptr_t addr)
{
	if (!addr)
		ferry__remember_note(marker->heap, (uintptr_t)slot);
	else if (!ferry__mark_object(marker, addr))
		ferry__mark_note(marker, slot, addr);
}

void ferry__mark_word(struct ferry__marker *marker, uintptr_t word)
{
	uintptr_t addr = ferry__object_find(marker->heap, word);

	if (addr)
		ferry__mark_object(marker, addr);
}

/* --- slots ------------------------------------------------------------------------- */

/*
 * What is gathered is looked at: first which of it was seen before, of which
 * there is a bit each; then the side-table bytes of the rest.
 */
FERRY__NO_TSAN static void flush_plain(struct ferry_visitor *v)
{
	struct ferry__marker *marker = ferry__marker_of(v);
	const struct ferry_heap *heap = marker->heap;
	uintptr_t target[FERRY__MARK_SLOTS];
	void *slot[FERRY__MARK_SLOTS];
	uint32_t i, n = 0, left = 0;

	for (i = 0; i < v->n; i++) {
		uintptr_t word = ferry__load_plain(v->slots[i]);

		if (!ferry__in_heap(heap, word))
			continue;
		__builtin_prefetch(ferry__seen_at(heap, word - heap->base), 1);
		slot[n] = v->slots[i];
		target[n++] = word;
	}
	v->n = 0;
	for (i = 0; i < n; i++) {
		uintptr_t word = target[i];

		if (!ferry__is_large(heap, word) &&
		    ferry__is_seen(heap, word - heap->base))
			continue;
		__builtin_prefetch(ferry__meta(heap, word), 1);
		slot[left] = slot[i];
		target[left++] = word;
	}
	for (i = 0; i < left; i++) {
		uint8_t *meta = ferry__meta(heap, target[i]);

		if (!mark_at(marker, target[i], target[i] - heap->base, meta))
			note_young(marker, slot[i], ferry__meta_load(meta));
	}
}

static void flush_encoded(struct ferry_visitor *v)
{
	struct ferry__marker *marker = ferry__marker_of(v);
	struct ferry_heap *heap = marker->heap;
	uint32_t i, n = v->n;

	v->n = 0;
	for (i = 0; i < n; i++) {
		uintptr_t addr = ferry__slot_load(heap, v->slots[i]);

		if (!addr)
			continue;
		if (heap->params.interior_slots)
			addr = ferry__object_find(heap, addr);
		mark_from(marker, v->slots[i], addr);
	}
}

static void visit_weak(struct ferry_visitor *v, void *slot)
{
	ferry__weak_slot(ferry__marker_of(v), slot);
}

static void visit_ephemeron(struct ferry_visitor *v, void *key, void *value)
{
	ferry__ephemeron(ferry__marker_of(v), key, value);
}

/* --- tracing ------------------------------------------------------------------------ */

static void trace_typed(struct ferry_visitor *v, void *object)
{
	ferry__visit_typed(v, object, false);
}

FERRY__NO_TSAN void ferry__trace(const struct ferry_heap *heap,
				 struct ferry_visitor *v, void *object,
				 enum ferry_kind kind)
{
	if (kind == FERRY_KIND_TYPED)
		trace_typed(v, object);
	else
		heap->params.trace(object, v);
}

FERRY__NO_TSAN static void trace_ambiguous(struct ferry__marker *marker,
					   uintptr_t addr)
{
	size_t n = ferry__object_bytes(marker->heap, addr) / sizeof(uintptr_t);
	const uintptr_t *word = (const uintptr_t *)addr;

	for (; n; n--, word++) {
		uintptr_t value = ferry__load_plain(word);

		if (ferry__in_heap(marker->heap, value))
			mark_from(marker, word,
				  ferry__object_find(marker->heap, value));
	}
}

void ferry__mark_trace(struct ferry__marker *marker, uintptr_t addr,
		       enum ferry_kind kind)
{
	marker->objects++;
	if (kind == FERRY_KIND_TYPED)
		trace_typed(&marker->visitor, (void *)addr);
	else if (kind == FERRY_KIND_TRACED)
		marker->heap->params.trace((void *)addr, &marker->visitor);
	else if (kind == FERRY_KIND_AMBIGUOUS)
		trace_ambiguous(marker, addr);
	if (__builtin_expect(marker->heap->params.debug, 0))
		ferry__verify_traced(marker->heap, addr);
}

void ferry__mark_retrace(struct ferry__marker *marker, uintptr_t addr)
{
	uint8_t byte = ferry__meta_load(ferry__meta(marker->heap, addr));

	ferry__mark_trace(marker, addr, byte & FERRY_META_KIND);
}

/* --- draining ------------------------------------------------------------------------- */

/* The next object to trace: what came in some pops ago, prefetched since. */
static uintptr_t pop(struct ferry__marker *marker)
{
	struct ferry__mark_chunk *chunk = marker->chunk;
	unsigned int tries;

	for (tries = 0; tries <= FERRY__MARK_AHEAD; tries++) {
		unsigned int at = marker->ahead_at++ % FERRY__MARK_AHEAD;
		uintptr_t addr = marker->ahead[at];

		marker->ahead[at] = 0;
		if (chunk->n) {
			marker->ahead[at] = chunk->object[--chunk->n];
			__builtin_prefetch(
				(void *)(marker->ahead[at] & ~KIND_BITS));
		}
		if (addr)
			return addr;
		if (chunk->n)
			tries = 0;
	}
	return 0;
}

static void drain_own(struct ferry__marker *marker)
{
	uintptr_t addr;

	for (;;) {
		while ((addr = pop(marker)))
			ferry__mark_trace(marker, addr & ~KIND_BITS,
					  addr & KIND_BITS);
		if (!marker->visitor.n)
			return;
		marker->visitor.flush(&marker->visitor);
	}
}

/* Waits for a chunk of another marker's; false when all are without. */
static bool take_over(struct ferry__marker *marker)
{
	struct ferry__mark *mark = &marker->heap->mark;
	struct ferry__mark_chunk *chunk;

	pthread_mutex_lock(&mark->lock);
	mark->idle++;
	while (!mark->full && mark->idle < mark->markers) {
		atomic_store_explicit(&mark->hungry, true,
				      memory_order_relaxed);
		pthread_cond_wait(&mark->work, &mark->lock);
	}
	chunk = chunk_pop(&mark->full);
	if (chunk) {
		mark->idle--;
		chunk_push(&mark->empty, marker->chunk);
		marker->chunk = chunk;
	} else {
		atomic_store_explicit(&mark->hungry, false,
				      memory_order_relaxed);
		pthread_cond_broadcast(&mark->work);
	}
	pthread_mutex_unlock(&mark->lock);
	return chunk != NULL;
}

void ferry__mark_drain(struct ferry__marker *marker)
{
	struct ferry__mark *mark = &marker->heap->mark;

	do
		drain_own(marker);
	while (take_over(marker));
	/* Alone, the count starts anew with the next drain. */
	pthread_mutex_lock(&mark->lock);
	if (mark->markers == 1)
		mark->idle = 0;
	pthread_mutex_unlock(&mark->lock);
}

int ferry__mark_note_large(struct ferry_heap *heap, uintptr_t addr)
{
	struct ferry__mark *mark = &heap->mark;
	int r = 0;

	pthread_mutex_lock(&mark->lock);
	if (!mark->news || mark->news->n == CHUNK_MAX) {
		struct ferry__mark_chunk *chunk = chunk_empty(mark);

		if (chunk)
			chunk_push(&mark->news, chunk);
		else
			r = -ENOMEM;
	}
	if (r == 0)
		mark->news->object[mark->news->n++] = addr;
	pthread_mutex_unlock(&mark->lock);
	return r;
}

void ferry__mark_scan_news(struct ferry__marker *marker)
{
	struct ferry__mark *mark = &marker->heap->mark;
	struct ferry__mark_chunk *chunk;

	while ((chunk = chunk_pop(&mark->news))) {
		while (chunk->n) {
			uintptr_t addr = chunk->object[--chunk->n];
			uint8_t *meta = ferry__meta(marker->heap, addr);

			ferry__meta_store(meta,
					  ferry__meta_load(meta) &
						  (uint8_t)~FERRY__META_NEW);
			ferry__mark_retrace(marker, addr);
		}
		pthread_mutex_lock(&mark->lock);
		chunk_push(&mark->empty, chunk);
		pthread_mutex_unlock(&mark->lock);
	}
}

/* --- beginning and end ------------------------------------------------------------------------ */

static size_t seen_bytes(const struct ferry_heap *heap)
{
	return heap->half / FERRY_GRANULE / 8;
}

/* M7: before the colours change, so that the pause does not. */
void ferry__mark_forget(struct ferry_heap *heap)
{
	if (!heap->mark.seen_clean)
		memset(heap->mark.seen, 0,
		       (size_t)ferry__space_end(&heap->space) *
			       FERRY__BLOCK_GRANULES / 8);
}

void ferry__mark_drop(struct ferry_heap *heap)
{
	heap->mark.seen_clean = ferry__sys->madvise(heap->mark.seen,
						    seen_bytes(heap),
						    MADV_DONTNEED) == 0;
}

void ferry__mark_begin(struct ferry_heap *heap)
{
	unsigned int i;

	for (i = 0; i < heap->params.pause_threads; i++)
		heap->mark.member[i].objects = 0;
	heap->mark.seen_clean = false;
}

void ferry__mark_end(struct ferry_heap *heap)
{
	struct ferry__mark *mark = &heap->mark;
	unsigned int i;

	pthread_mutex_lock(&mark->lock);
	ferry__check(!mark->full && !mark->news);
	/* With those that hold the members' own chunks: it cannot fail. */
	slabs_free(mark, SLABS_KEPT + heap->params.pause_threads / SLAB_CHUNKS);
	for (i = 0; i < heap->params.pause_threads; i++)
		mark->member[i].chunk = chunk_empty(mark);
	pthread_mutex_unlock(&mark->lock);
}

static void member_init(struct ferry_heap *heap, struct ferry__marker *marker)
{
	struct ferry_visitor *v = &marker->visitor;

	marker->heap = heap;
	v->slots = marker->slots;
	v->max = FERRY__MARK_SLOTS;
	marker->plain = !heap->params.load && !heap->params.interior_slots;
	v->flush = marker->plain ? flush_plain : flush_encoded;
	v->weak = visit_weak;
	v->ephemeron = visit_ephemeron;
	v->arg = heap->params.arg;
}

int ferry__mark_init(struct ferry_heap *heap)
{
	struct ferry__mark *mark = &heap->mark;
	size_t n = heap->params.pause_threads;
	void *mem;
	size_t i;
	int r;

	r = ferry__meta_alloc(seen_bytes(heap), &mem);
	if (r < 0)
		return r;
	mark->seen = mem;
	(void)ferry__sys->madvise(mem, seen_bytes(heap), MADV_HUGEPAGE);
	r = ferry__meta_alloc(n * sizeof(*mark->member), &mem);
	if (r < 0)
		goto err_seen;
	mark->member = mem;
	r = ferry__meta_alloc(n * sizeof(*mark->thread), &mem);
	if (r < 0)
		goto err_member;
	mark->thread = mem;
	pthread_mutex_init(&mark->lock, NULL);
	pthread_cond_init(&mark->work, NULL);
	pthread_cond_init(&mark->job, NULL);
	pthread_cond_init(&mark->joined, NULL);
	mark->markers = 1;
	for (i = 0; i < n; i++) {
		member_init(heap, &mark->member[i]);
		mark->member[i].chunk = chunk_empty(mark);
		if (!mark->member[i].chunk)
			goto err_slabs;
	}
	return 0;
err_slabs:
	slabs_free(mark, 0);
	ferry__meta_free(mark->thread, n * sizeof(*mark->thread));
	r = -ENOMEM;
err_member:
	ferry__meta_free(mark->member, n * sizeof(*mark->member));
err_seen:
	ferry__meta_free(mark->seen, seen_bytes(heap));
	return r;
}

void ferry__mark_fini(struct ferry_heap *heap)
{
	struct ferry__mark *mark = &heap->mark;
	size_t n = heap->params.pause_threads;

	slabs_free(mark, 0);
	pthread_cond_destroy(&mark->joined);
	pthread_cond_destroy(&mark->job);
	pthread_cond_destroy(&mark->work);
	pthread_mutex_destroy(&mark->lock);
	ferry__meta_free(mark->thread, n * sizeof(*mark->thread));
	ferry__meta_free(mark->member, n * sizeof(*mark->member));
	ferry__meta_free(mark->seen, seen_bytes(heap));
}
