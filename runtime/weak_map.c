/* SPDX-License-Identifier: MIT */
/*
 * Maps from objects by identity, outside the heap; each entry an ephemeron.
 *
 * Linear probing by identity hash, with tombstones. Entries stand in chunks,
 * each with a head that says of which flip its addresses are and in which
 * marking it was last looked at. A flip touches no map: a chunk is brought up
 * to date when it is probed or when its turn comes. A minor collection looks
 * only at chunks that were written since the last collection: all other keys
 * and values are old (W6).
 *
 * The collector holds a map's lock for some chunks at a time. When the map
 * grows or shrinks in between, its walk starts anew.
 */
#include "runtime/heap-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 64u
/* Chunks that the collector looks at before it lets go of the lock. */
#define BATCH	  64u
#define SLOTS_MIN ((size_t)16)

#define KEY_NONE ((uintptr_t)0)
#define KEY_GONE ((uintptr_t)1)

struct entry {
	uint64_t hash;
	uintptr_t key; /* or KEY_NONE, KEY_GONE */
	uintptr_t value;
};

/* Written since it was looked at: @scanned 0, and on a list. */
struct chunk_head {
	uint64_t flips;	  /* its addresses are as of so many */
	uint64_t scanned; /* number of the marking that looked at it last */
	uint32_t next;	  /* in a list: index + 1; LAST; 0: in none */
};

#define LAST UINT32_MAX

struct table {
	struct entry *slot;
	struct chunk_head *head;
	size_t max; /* slots, a power of two */
};

struct ferry_weak_map {
	struct cds_list_head node; /* in heap->weak.maps; heap's weak lock */
	struct ferry_heap *heap;
	bool walked; /* by the collector; heap's weak lock */
	bool doomed; /* destroyed while walked; heap's weak lock */
	bool raw;    /* values are not references; constant */
	_Atomic unsigned int waiting; /* threads that want the lock */
	pthread_mutex_t lock;	      /* rank 21: all below */
	struct table table;
	size_t used; /* slots that are not KEY_NONE */
	_Atomic size_t len;
	uint32_t touched; /* chunks written, linked by head.next; or LAST */
	uint32_t pending; /* the same, being looked at */
	bool whole;	  /* all chunks are to be looked at: cursor */
	size_t cursor;	  /* chunk at which the collector's walk goes on */
	uint64_t seen;	  /* number of the marking that looked last */
	uint64_t begun;	  /* number of the full marking last begun */
};

static bool in_use(const struct entry *e)
{
	return e->key > KEY_GONE;
}

static size_t chunks(const struct table *t)
{
	return (t->max + CHUNK - 1) / CHUNK;
}

static size_t chunk_slots(const struct table *t)
{
	return t->max < CHUNK ? t->max : CHUNK;
}

/* --- tables ------------------------------------------------------------------- */

static int table_init(struct table *t, size_t max, uint64_t flips)
{
	size_t i;

	t->max = max;
	t->slot = calloc(max, sizeof(*t->slot));
	t->head = calloc(chunks(t), sizeof(*t->head));
	if (!t->slot || !t->head) {
		free(t->slot);
		free(t->head);
		return -ENOMEM;
	}
	for (i = 0; i < chunks(t); i++)
		t->head[i].flips = flips;
	return 0;
}

static void table_fini(struct table *t)
{
	free(t->slot);
	free(t->head);
}

static void table_put(struct table *t, const struct entry *e)
{
	size_t i = e->hash & (t->max - 1);

	while (t->slot[i].key != KEY_NONE)
		i = (i + 1) & (t->max - 1);
	t->slot[i] = *e;
}

/* Brings the addresses of chunk @c up to date. Lock. */
static void refresh(struct ferry_weak_map *map, size_t c)
{
	struct chunk_head *head = &map->table.head[c];
	struct entry *e = &map->table.slot[c * CHUNK];
	size_t n = chunk_slots(&map->table);

	if (head->flips == map->heap->weak.flips)
		return;
	head->flips = map->heap->weak.flips;
	for (; n; n--, e++) {
		if (!in_use(e))
			continue;
		e->key = ferry__weak_forward(map->heap, e->key);
		if (!map->raw)
			e->value = ferry__weak_forward(map->heap, e->value);
	}
}

/* Chunk @c was written. Lock. */
static void touch(struct ferry_weak_map *map, size_t c)
{
	struct chunk_head *head = &map->table.head[c];

	head->scanned = 0;
	if (head->next)
		return;
	head->next = map->touched;
	map->touched = (uint32_t)c + 1;
}

static size_t fitting(size_t len)
{
	size_t max = SLOTS_MIN;

	while (max < len * 2)
		max *= 2;
	return max;
}

/* A table that fits @len entries, without tombstones. Lock. */
static int resize(struct ferry_weak_map *map, size_t len)
{
	struct table fresh;
	size_t c, i;
	int r = table_init(&fresh, fitting(len), map->heap->weak.flips);

	if (r < 0)
		return r;
	for (c = 0; c < chunks(&map->table); c++)
		refresh(map, c);
	for (i = 0; i < map->table.max; i++)
		if (in_use(&map->table.slot[i]))
			table_put(&fresh, &map->table.slot[i]);
	table_fini(&map->table);
	map->table = fresh;
	map->used = atomic_load_explicit(&map->len, memory_order_relaxed);
	map->touched = LAST;
	map->pending = LAST;
	map->whole = true;
	map->cursor = 0;
	return 0;
}

/* --- entries ------------------------------------------------------------------- */

/* The entry of @key; else NULL and, in @ret_free (may be NULL), where it would
 * stand. Lock. */
static struct entry *find(struct ferry_weak_map *map, uint64_t hash,
			  uintptr_t key, struct entry **ret_free)
{
	size_t mask = map->table.max - 1, i = hash & mask;
	struct entry *e, *gone = NULL;

	refresh(map, i / CHUNK);
	for (;; i = (i + 1) & mask) {
		if (i % CHUNK == 0)
			refresh(map, i / CHUNK);
		e = &map->table.slot[i];
		if (e->key == key)
			return e;
		if (e->key == KEY_NONE)
			break;
		if (e->key == KEY_GONE && !gone)
			gone = e;
	}
	if (ret_free)
		*ret_free = gone ? gone : e;
	return NULL;
}

static size_t chunk_of(const struct ferry_weak_map *map, const struct entry *e)
{
	return (size_t)(e - map->table.slot) / CHUNK;
}

/* Relaxed: written under the lock; ferry_weak_map_len() wants any value. */
static size_t len_get(const struct ferry_weak_map *map)
{
	return atomic_load_explicit(&map->len, memory_order_relaxed);
}

static void len_set(struct ferry_weak_map *map, size_t len)
{
	atomic_store_explicit(&map->len, len, memory_order_relaxed);
}

static void take_out(struct ferry_weak_map *map, struct entry *e)
{
	*e = (struct entry){ .key = KEY_GONE };
	len_set(map, len_get(map) - 1);
}

/* Without memory the big table does as well. */
static void shrink(struct ferry_weak_map *map)
{
	if (map->table.max > SLOTS_MIN && len_get(map) < map->table.max / 8)
		resize(map, len_get(map));
}

/* For who uses the map; the collector is told when it keeps them waiting. */
static void lock_for_use(struct ferry_weak_map *map)
{
	if (pthread_mutex_trylock(&map->lock) == 0)
		return;
	/* Relaxed: a hint for let_others(). */
	atomic_fetch_add_explicit(&map->waiting, 1, memory_order_relaxed);
	pthread_mutex_lock(&map->lock);
	atomic_fetch_sub_explicit(&map->waiting, 1, memory_order_relaxed);
}

static int set_locked(struct ferry_weak_map *map, uint64_t hash, uintptr_t key,
		      uintptr_t value)
{
	struct entry *at = NULL, *e = find(map, hash, key, &at);
	int r;

	if (!e && at->key == KEY_NONE &&
	    map->used + 1 > map->table.max / 4 * 3) {
		r = resize(map, len_get(map) + 1);
		if (r < 0)
			return r;
		find(map, hash, key, &at);
	}
	if (!e) {
		map->used += at->key == KEY_NONE;
		len_set(map, len_get(map) + 1);
		e = at;
	}
	*e = (struct entry){ hash, key, value };
	touch(map, chunk_of(map, e));
	return 0;
}

int ferry_weak_map_set(struct ferry_mutator *m, struct ferry_weak_map *map,
		       void *key, void *value)
{
	struct ferry_heap *heap = ferry__mutator(m)->heap;
	uintptr_t addr = (uintptr_t)key;
	uint64_t hash;
	int r;

	if (!map || map->heap != heap || !ferry__weak_is_object(heap, addr))
		return -EINVAL;
	hash = ferry__hash_get(heap, addr);
	lock_for_use(map);
	r = set_locked(map, hash, addr, (uintptr_t)value);
	pthread_mutex_unlock(&map->lock);
	return r;
}

/* An object that was never asked for its hash is in no map. */
static int look_up(struct ferry_weak_map *map, const void *key, bool remove,
		   void **ret_value)
{
	uintptr_t addr = (uintptr_t)key, value = 0;
	struct entry *e;
	uint64_t hash;

	if (!ferry__hash_peek(map->heap, addr, &hash))
		return -ENOENT;
	lock_for_use(map);
	e = find(map, hash, addr, NULL);
	if (e)
		value = e->value;
	if (e && remove) {
		take_out(map, e);
		shrink(map);
	}
	pthread_mutex_unlock(&map->lock);
	if (!e)
		return -ENOENT;
	if (ret_value)
		*ret_value = (void *)value;
	return 0;
}

int ferry_weak_map_get(struct ferry_mutator *m, struct ferry_weak_map *map,
		       void *key, void **ret_value)
{
	(void)m;
	return look_up(map, key, false, ret_value);
}

int ferry_weak_map_remove(struct ferry_mutator *m, struct ferry_weak_map *map,
			  void *key, void **ret_value)
{
	(void)m;
	return look_up(map, key, true, ret_value);
}

size_t ferry_weak_map_len(const struct ferry_weak_map *map)
{
	return len_get(map);
}

/* --- all maps of a heap ---------------------------------------------------------- */

static void map_free(struct ferry_weak_map *map)
{
	table_fini(&map->table);
	pthread_mutex_destroy(&map->lock);
	free(map);
}

int ferry_weak_map_create(struct ferry_heap *heap, unsigned int flags,
			  struct ferry_weak_map **ret_map)
{
	struct ferry_weak_map *map;

	if (!heap || !ret_map || flags & ~FERRY_WEAK_MAP_RAW_VALUES)
		return -EINVAL;
	map = calloc(1, sizeof(*map));
	if (!map)
		return -ENOMEM;
	map->heap = heap;
	map->raw = flags & FERRY_WEAK_MAP_RAW_VALUES;
	map->touched = LAST;
	map->pending = LAST;
	pthread_mutex_init(&map->lock, NULL);
	/* The lock keeps the count of flips from changing, too: the caller may
	 * be no mutator, and not be stopped. */
	pthread_mutex_lock(&heap->weak.lock);
	if (table_init(&map->table, SLOTS_MIN, heap->weak.flips) < 0) {
		pthread_mutex_unlock(&heap->weak.lock);
		pthread_mutex_destroy(&map->lock);
		free(map);
		return -ENOMEM;
	}
	cds_list_add(&map->node, &heap->weak.maps);
	pthread_mutex_unlock(&heap->weak.lock);
	*ret_map = map;
	return 0;
}

/* If the collector is at it, it frees it. */
void ferry_weak_map_destroy(struct ferry_weak_map *map)
{
	struct ferry_heap *heap;
	bool walked;

	if (!map)
		return;
	heap = map->heap;
	pthread_mutex_lock(&heap->weak.lock);
	walked = map->walked;
	map->doomed = true;
	if (!walked)
		cds_list_del(&map->node);
	pthread_mutex_unlock(&heap->weak.lock);
	if (!walked)
		map_free(map);
}

void ferry__maps_fini(struct ferry_heap *heap)
{
	struct ferry_weak_map *map, *next;

	cds_list_for_each_entry_safe (map, next, &heap->weak.maps, node)
		map_free(map);
}

typedef void (*map_fn)(struct ferry_weak_map *map, void *arg);

/* A map in use by the walk is neither taken off the list nor freed. */
static void each(struct ferry_heap *heap, map_fn fn, void *arg)
{
	struct ferry_weak_map *map, *next;

	pthread_mutex_lock(&heap->weak.lock);
	cds_list_for_each_entry_safe (map, next, &heap->weak.maps, node) {
		map->walked = true;
		pthread_mutex_unlock(&heap->weak.lock);
		fn(map, arg);
		pthread_mutex_lock(&heap->weak.lock);
		map->walked = false;
		next = cds_list_entry(map->node.next, struct ferry_weak_map,
				      node);
		if (map->doomed) {
			cds_list_del(&map->node);
			map_free(map);
		}
	}
	pthread_mutex_unlock(&heap->weak.lock);
}

/* Who waits for the lock gets it, which an unfair lock would not give. Nobody
 * does in a pause. */
static void let_others(struct ferry_weak_map *map)
{
	/* Relaxed: a hint. */
	if (!atomic_load_explicit(&map->waiting, memory_order_relaxed))
		return;
	pthread_mutex_unlock(&map->lock);
	ferry__sys->sched_yield();
	pthread_mutex_lock(&map->lock);
}

typedef void (*chunk_fn)(struct ferry_weak_map *map, size_t c, void *arg);

/* Calls @fn for all chunks from the cursor on, letting others at the map in
 * between. Starts anew when the table is another. */
static void walk(struct ferry_weak_map *map, chunk_fn fn, void *arg)
{
	size_t end = 0;

	pthread_mutex_lock(&map->lock);
	while (map->cursor < chunks(&map->table)) {
		for (end = map->cursor + BATCH;
		     map->cursor < end && map->cursor < chunks(&map->table);)
			fn(map, map->cursor++, arg);
		let_others(map);
	}
	pthread_mutex_unlock(&map->lock);
}

static void rewind_to_start(struct ferry_weak_map *map)
{
	pthread_mutex_lock(&map->lock);
	map->cursor = 0;
	pthread_mutex_unlock(&map->lock);
}

/* --- marking ----------------------------------------------------------------------- */

/* Values of keys that are marked are; the others wait for their keys. */
static void scan_chunk(struct ferry_weak_map *map, size_t c, void *arg)
{
	struct ferry__marker *marker = arg;
	struct ferry_heap *heap = map->heap;
	struct entry *e = &map->table.slot[c * CHUNK];
	struct chunk_head *head = &map->table.head[c];
	size_t n;

	if (head->scanned == heap->weak.number)
		return;
	head->scanned = heap->weak.number;
	map->seen = heap->weak.number;
	for (n = map->raw ? 0 : chunk_slots(&map->table); n; n--, e++) {
		uintptr_t value = e->value;

		if (!in_use(e) || !ferry__in_heap(heap, value))
			continue;
		if (heap->params.interior_slots)
			value = ferry__object_find(heap, value);
		if (!value || ferry__is_marked(heap, value))
			continue;
		if (!ferry__is_marked(heap, e->key))
			ferry__ephemeron_wait(marker, e->key, NULL, value);
		else if (ferry__mark_object(marker, value))
			marker->weak.marked = true;
	}
}

static size_t pop_pending(struct ferry_weak_map *map)
{
	size_t c = map->pending - 1;

	map->pending = map->table.head[c].next;
	map->table.head[c].next = 0;
	return c;
}

/* Those written until now: what is written meanwhile is for the next time, or
 * a busy program would keep the collector here. */
static void scan_touched(struct ferry_weak_map *map,
			 struct ferry__marker *marker)
{
	unsigned int n;

	pthread_mutex_lock(&map->lock);
	map->pending = map->touched;
	map->touched = LAST;
	while (map->pending != LAST) {
		for (n = 0; n < BATCH && map->pending != LAST; n++)
			scan_chunk(map, pop_pending(map), marker);
		let_others(map);
	}
	pthread_mutex_unlock(&map->lock);
}

/* Must all chunks be looked at? In a full collection once, and after the
 * table was made anew. */
static bool begin_whole(struct ferry_weak_map *map)
{
	struct ferry_heap *heap = map->heap;
	bool whole;

	pthread_mutex_lock(&map->lock);
	if (heap->cycle.full && map->begun != heap->weak.number) {
		map->begun = heap->weak.number;
		map->whole = true;
	}
	whole = map->whole;
	if (whole)
		map->cursor = 0;
	map->whole = false;
	pthread_mutex_unlock(&map->lock);
	return whole;
}

static void scan(struct ferry_weak_map *map, void *marker)
{
	if (begin_whole(map))
		walk(map, scan_chunk, marker);
	scan_touched(map, marker);
}

bool ferry__maps_scan(struct ferry__marker *marker)
{
	marker->weak.marked = false;
	each(marker->heap, scan, marker);
	return marker->weak.marked;
}

/* --- clearing ------------------------------------------------------------------------ */

/* Has it what the next collection may find dead, though it is kept by this
 * one? */
static bool is_young_word(const struct ferry_heap *heap, uintptr_t word)
{
	if (!ferry__in_heap(heap, word))
		return false;
	if (heap->params.interior_slots)
		word = ferry__object_find(heap, word);
	return word &&
	       ferry__is_young(heap, ferry__meta_load(ferry__meta(heap, word)));
}

static bool is_young_entry(const struct ferry_weak_map *map,
			   const struct entry *e)
{
	return is_young_word(map->heap, e->key) ||
	       (!map->raw && is_young_word(map->heap, e->value));
}

static void purge_chunk(struct ferry_weak_map *map, size_t c, void *arg)
{
	struct ferry_heap *heap = map->heap;
	struct entry *e = &map->table.slot[c * CHUNK];
	const struct chunk_head *head = &map->table.head[c];
	size_t n = chunk_slots(&map->table);
	bool young = false;

	(void)arg;
	if (!heap->cycle.full && head->scanned &&
	    head->scanned != heap->weak.number)
		return;
	for (; n; n--, e++) {
		if (!in_use(e))
			continue;
		if (!ferry__weak_alive(heap, e->key))
			take_out(map, e);
		else
			young = young || is_young_entry(map, e);
	}
	/* M9: a minor collection looks at what was touched only. */
	if (young)
		touch(map, c);
}

static void purge(struct ferry_weak_map *map, void *arg)
{
	if (!map->heap->cycle.full && map->seen != map->heap->weak.number)
		return;
	rewind_to_start(map);
	walk(map, purge_chunk, arg);
	pthread_mutex_lock(&map->lock);
	shrink(map);
	pthread_mutex_unlock(&map->lock);
}

void ferry__maps_purge(struct ferry_heap *heap)
{
	each(heap, purge, NULL);
}

/* --- after a flip ----------------------------------------------------------------------- */

static void forward_chunk(struct ferry_weak_map *map, size_t c, void *arg)
{
	(void)arg;
	refresh(map, c);
}

static void forward(struct ferry_weak_map *map, void *arg)
{
	rewind_to_start(map);
	walk(map, forward_chunk, arg);
}

void ferry__maps_forward(struct ferry_heap *heap)
{
	each(heap, forward, NULL);
}
