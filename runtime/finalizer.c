/* SPDX-License-Identifier: MIT */
/*
 * Finalizers: objects that are handed to the host when they were found dead.
 *
 *	WAITING -> DYING -> DUE -> freed, by ferry_finalizer_next()
 *	   ^	     |
 *	   +---------+ what is due before it refers to it
 *
 * A request waits in an index by the identity hash of its object. When
 * reachability is decided, the requests whose objects are dead are taken out
 * and sorted by priority; for each priority in turn, those whose objects are
 * still not marked become due, and these objects and all they refer to are
 * marked. What was marked by an earlier priority goes back to wait.
 *
 * What becomes due is shown to mutators only at the very end: until then no
 * mutator can reach the objects that are brought back, which is why weak
 * slots in them can be cleared while mutators run (F2). The queue is a
 * pairing heap of the requests themselves (Fredman, Sedgewick, Sleator,
 * Tarjan, Algorithmica 1, 1986): becoming due needs no memory.
 */
#include "runtime/heap-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_MIN ((size_t)64)
/* Requests that are put in the queue before the lock is let go. */
#define BATCH 256u

enum state {
	WAITING = 1,
	DYING,
	DUE,
};

struct ferry__request {
	void *slot; /* the object, as the host's slots have it */
	void *arg;
	uint64_t hash;
	uint64_t order;		      /* of adding */
	struct ferry__request *next;  /* index chain; list; heap: sibling */
	struct ferry__request *child; /* heap */
	unsigned int priority;
	enum state state;
};

typedef struct ferry__request request;

static uintptr_t object_of(const struct ferry_heap *heap, request *r)
{
	return ferry__slot_load(heap, &r->slot);
}

static bool before(const request *a, const request *b)
{
	if (a->priority != b->priority)
		return a->priority < b->priority;
	return a->order < b->order;
}

/* --- the queue: a pairing heap, the first to be due at its root ----------------- */

static request *meld(request *a, request *b)
{
	if (!a || !b)
		return a ? a : b;
	if (before(b, a)) {
		request *t = a;

		a = b;
		b = t;
	}
	b->next = a->child;
	a->child = b;
	return a;
}

/* Melds a list of siblings: in pairs from the left, then from the right. */
static request *meld_all(request *list)
{
	request *pairs = NULL, *root = NULL, *a, *b;

	while ((a = list)) {
		b = a->next;
		list = b ? b->next : NULL;
		a->next = NULL;
		if (b)
			b->next = NULL;
		a = meld(a, b);
		a->next = pairs;
		pairs = a;
	}
	while ((a = pairs)) {
		pairs = a->next;
		a->next = NULL;
		root = meld(root, a);
	}
	return root;
}

/* --- the index; lock ---------------------------------------------------------------- */

static request **bucket(struct ferry__weak *weak, uint64_t hash)
{
	return &weak->index[hash & (weak->index_max - 1)];
}

static void index_add(struct ferry__weak *weak, request *r)
{
	request **head = bucket(weak, r->hash);

	r->state = WAITING;
	r->next = *head;
	*head = r;
}

static void index_take_out(struct ferry__weak *weak, const request *r)
{
	request **at = bucket(weak, r->hash);

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
}

/* Twice the buckets, when there are more requests than that. */
static int index_grow(struct ferry__weak *weak)
{
	size_t i, old_max = weak->index_max;
	request **old = weak->index, *r;

	weak->index_max = old_max ? old_max * 2 : INDEX_MIN;
	weak->index = calloc(weak->index_max, sizeof(request *));
	if (!weak->index) {
		weak->index = old;
		weak->index_max = old_max;
		return -ENOMEM;
	}
	for (i = 0; i < old_max; i++)
		while ((r = old[i])) {
			old[i] = r->next;
			index_add(weak, r);
		}
	free(old);
	return 0;
}

/* --- pages of requests; lock ---------------------------------------------------------- */

/* Brings the addresses of a page up to date. */
static void refresh(struct ferry_heap *heap, struct ferry__pool_page *page)
{
	uintptr_t addr;
	uint32_t at = 0;
	request *r;

	/* Relaxed: read and written under the lock. */
	if (atomic_load_explicit(&page->flips, memory_order_relaxed) ==
	    heap->weak.flips)
		return;
	while ((r = ferry__pool_next(&heap->weak.requests, page, &at))) {
		addr = object_of(heap, r);
		if (addr)
			ferry__slot_store(heap, &r->slot,
					  ferry__forward(heap, addr));
	}
	atomic_store_explicit(&page->flips, heap->weak.flips,
			      memory_order_relaxed);
}

static uintptr_t object_now(struct ferry_heap *heap, request *r)
{
	refresh(heap, ferry__pool_page_of(r));
	return object_of(heap, r);
}

/* --- what the host calls ---------------------------------------------------------------- */

static request *request_new(struct ferry_heap *heap, uintptr_t object)
{
	struct ferry__weak *weak = &heap->weak;
	request *r;

	if (weak->requests_len >= weak->index_max && index_grow(weak) < 0 &&
	    !weak->index_max)
		return NULL;
	r = ferry__pool_alloc(&weak->requests, weak->flips, weak->number);
	if (!r)
		return NULL;
	refresh(heap, ferry__pool_page_of(r));
	weak->requests_len++;
	r->order = weak->added++;
	ferry__slot_store(heap, &r->slot, object);
	return r;
}

static void request_free(struct ferry__weak *weak, request *r)
{
	weak->requests_len--;
	ferry__pool_free(&weak->requests, r);
}

int ferry_finalizer_add(struct ferry_mutator *m, void *object,
			unsigned int priority, void *arg)
{
	struct ferry_heap *heap = ferry__mutator(m)->heap;
	uintptr_t addr = (uintptr_t)object;
	uint64_t hash;
	request *r;

	if (!ferry__weak_is_object(heap, addr))
		return -EINVAL;
	hash = ferry__hash_get(heap, addr);
	pthread_mutex_lock(&heap->weak.lock);
	r = request_new(heap, addr);
	if (r) {
		r->arg = arg;
		r->hash = hash;
		r->priority = priority;
		index_add(&heap->weak, r);
	}
	pthread_mutex_unlock(&heap->weak.lock);
	return r ? 0 : -ENOMEM;
}

/* The request of @object with @arg that was made last. Lock. */
static request *find(struct ferry_heap *heap, uint64_t hash, uintptr_t object,
		     const void *arg)
{
	request *r = NULL;

	if (heap->weak.index_max)
		r = *bucket(&heap->weak, hash);
	while (r && (r->hash != hash || r->arg != arg ||
		     object_now(heap, r) != object))
		r = r->next;
	return r;
}

int ferry_finalizer_remove(struct ferry_mutator *m, void *object, void *arg)
{
	struct ferry_heap *heap = ferry__mutator(m)->heap;
	uint64_t hash;
	request *r;

	if (!ferry__hash_peek(heap, (uintptr_t)object, &hash))
		return -ENOENT;
	pthread_mutex_lock(&heap->weak.lock);
	r = find(heap, hash, (uintptr_t)object, arg);
	if (r) {
		index_take_out(&heap->weak, r);
		request_free(&heap->weak, r);
	}
	pthread_mutex_unlock(&heap->weak.lock);
	return r ? 0 : -ENOENT;
}

/* Relaxed: changes under the lock; who only counts wants any value. */
static void due_add(struct ferry__weak *weak, size_t n)
{
	atomic_fetch_add_explicit(&weak->due_len, n, memory_order_relaxed);
}

int ferry_finalizer_next(struct ferry_mutator *m, void **ret_object,
			 void **ret_arg)
{
	struct ferry_heap *heap = ferry__mutator(m)->heap;
	struct ferry__weak *weak = &heap->weak;
	request *r;

	if (!ferry_finalizer_due(heap))
		return -ENOENT;
	pthread_mutex_lock(&weak->lock);
	r = weak->due;
	if (r) {
		weak->due = meld_all(r->child);
		due_add(weak, (size_t)-1);
		*ret_object = (void *)object_now(heap, r);
		if (ret_arg)
			*ret_arg = r->arg;
		request_free(weak, r);
	}
	pthread_mutex_unlock(&weak->lock);
	return r ? 0 : -ENOENT;
}

size_t ferry_finalizer_due(const struct ferry_heap *heap)
{
	return atomic_load_explicit(&heap->weak.due_len, memory_order_relaxed);
}

/* --- the queue keeps its objects alive ----------------------------------------------------- */

static void keep_page(void *arg, struct ferry__pool_page *page)
{
	struct ferry__marker *marker = arg;
	struct ferry_heap *heap = marker->heap;
	uint32_t at = 0;
	request *r;

	while ((r = ferry__pool_next(&heap->weak.requests, page, &at)))
		if (r->state == DUE &&
		    ferry__mark_object(marker, object_of(heap, r)))
			marker->weak.marked = true;
}

/* Once in a full collection: between collections the queue only loses
 * requests, and what it has is old in a minor one. */
bool ferry__finalizers_keep(struct ferry__marker *marker)
{
	struct ferry_heap *heap = marker->heap;
	struct ferry__weak *weak = &heap->weak;

	if (!heap->cycle.full || weak->kept_due == weak->number)
		return false;
	weak->kept_due = weak->number;
	if (!ferry_finalizer_due(heap))
		return false;
	marker->weak.marked = false;
	ferry__pool_walk(&weak->requests, &weak->lock, keep_page, marker);
	return marker->weak.marked;
}

void ferry__weak_roots(struct ferry_heap *heap, struct ferry_visitor *v)
{
	struct ferry__pool *pool = &heap->weak.requests;
	struct ferry__pool_page *page;
	uint32_t at;
	request *r;

	pthread_mutex_lock(&heap->weak.lock);
	cds_list_for_each_entry (page, &pool->pages, node)
		for (at = 0; (r = ferry__pool_next(pool, page, &at));)
			if (r->state == DUE)
				ferry_visit(v, &r->slot);
	pthread_mutex_unlock(&heap->weak.lock);
}

/* --- finding who is due ---------------------------------------------------------------------- */

struct dying {
	struct ferry_heap *heap;
	request *list;
};

static void collect_page(void *arg, struct ferry__pool_page *page)
{
	struct dying *dying = arg;
	struct ferry_heap *heap = dying->heap;
	uint32_t at = 0;
	request *r;

	if (!ferry__weak_page_due(heap, page))
		return;
	while ((r = ferry__pool_next(&heap->weak.requests, page, &at))) {
		if (r->state != WAITING ||
		    ferry__weak_alive(heap, object_of(heap, r)))
			continue;
		index_take_out(&heap->weak, r);
		r->state = DYING;
		r->next = dying->list;
		dying->list = r;
	}
}

static request *merge(request *a, request *b)
{
	request *list = NULL, **tail = &list;

	while (a && b) {
		request **first = before(b, a) ? &b : &a;

		*tail = *first;
		tail = &(*first)->next;
		*first = *tail;
	}
	*tail = a ? a : b;
	return list;
}

/* By priority and order: run i of @run has 2^i requests, or none. */
static request *sort(request *list)
{
	request *run[64] = { NULL }, *r;
	unsigned int i;

	while ((r = list)) {
		list = r->next;
		r->next = NULL;
		for (i = 0; run[i]; i++) {
			r = merge(run[i], r);
			run[i] = NULL;
		}
		run[i] = r;
	}
	for (i = 0, r = NULL; i < 64; i++)
		r = merge(run[i], r);
	return r;
}

/* Those of the list's first priority whose objects are not marked, in order;
 * the others wait again. */
static request *take_priority(struct ferry_heap *heap, request **list)
{
	unsigned int priority = (*list)->priority;
	request *due = NULL, **tail = &due, *r;

	while ((r = *list) && r->priority == priority) {
		*list = r->next;
		if (ferry__is_marked(heap, object_of(heap, r))) {
			pthread_mutex_lock(&heap->weak.lock);
			index_add(&heap->weak, r);
			pthread_mutex_unlock(&heap->weak.lock);
			continue;
		}
		*tail = r;
		tail = &r->next;
	}
	*tail = NULL;
	return due;
}

/* A mark stack for which there is no memory: all that is marked is traced
 * again, which may mark what is new. Who was taken for old by that is not
 * known to be remembered, so that the next collection is a full one. */
static void trace(struct ferry_heap *heap, struct ferry__marker *marker)
{
	ferry__mark_drain(marker);
	/* Relaxed: the markers have joined. */
	if (!atomic_load_explicit(&heap->mark.overflow, memory_order_relaxed))
		return;
	heap->remember.whole = false;
	ferry__mark_overflowed(heap);
}

/* Marks the objects of @due and what they refer to. */
static void revive(struct ferry__marker *marker, request *due)
{
	struct ferry_heap *heap = marker->heap;

	for (; due; due = due->next)
		ferry__mark_object(marker, object_of(heap, due));
	do
		trace(heap, marker);
	while (ferry__ephemerons_recheck(marker));
}

/* The first to be due first: who takes one meanwhile takes the right one. */
static void publish(struct ferry_heap *heap, request *due)
{
	struct ferry__weak *weak = &heap->weak;
	request *r;
	size_t n;

	while (due) {
		pthread_mutex_lock(&weak->lock);
		for (n = 0; n < BATCH && (r = due); n++) {
			due = r->next;
			r->next = NULL;
			r->child = NULL;
			r->state = DUE;
			weak->due = meld(weak->due, r);
		}
		due_add(weak, n);
		pthread_mutex_unlock(&weak->lock);
	}
}

void ferry__finalizers_purge(struct ferry_heap *heap,
			     struct ferry__marker *marker)
{
	struct dying dying = { .heap = heap };
	request *due = NULL, **tail = &due, *list;

	ferry__pool_walk(&heap->weak.requests, &heap->weak.lock, collect_page,
			 &dying);
	list = sort(dying.list);
	while (list) {
		*tail = take_priority(heap, &list);
		revive(marker, *tail);
		while (*tail)
			tail = &(*tail)->next;
	}
	if (!due)
		return;
	ferry__ephemerons_clear(heap);
	ferry__ephemerons_reset(heap);
	publish(heap, due);
}

/* --- after a flip ------------------------------------------------------------------------------ */

static void forward_page(void *arg, struct ferry__pool_page *page)
{
	refresh(arg, page);
}

void ferry__finalizers_forward(struct ferry_heap *heap)
{
	ferry__pool_walk(&heap->weak.requests, &heap->weak.lock, forward_page,
			 heap);
}

/* --- life ---------------------------------------------------------------------------------------- */

void ferry__finalizers_init(struct ferry_heap *heap)
{
	ferry__pool_init(&heap->weak.requests, sizeof(request));
}

void ferry__finalizers_fini(struct ferry_heap *heap)
{
	free(heap->weak.index);
	ferry__pool_fini(&heap->weak.requests);
}
