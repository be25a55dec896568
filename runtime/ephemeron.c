/* SPDX-License-Identifier: MIT */
/*
 * Weak slots and ephemerons inside objects, and ephemerons that wait for
 * their key.
 *
 * An ephemeron whose key is not marked when it is traced waits in a table by
 * the key's address. A bit in a side map says of an address that something
 * waits for it, so that marking any other object costs one test of that bit,
 * and not even that while nothing waits. When the key is marked, what waits
 * is taken out of the table, once, and its values are marked. Values that are
 * keys themselves are queued with the marker rather than marked in depth: a
 * chain of a million ephemerons needs no stack and, in whatever order, a
 * step each for waiting and for being taken out.
 *
 * Registering and marking can miss each other: the marker tests the bit
 * before it is set, and who registers looked at the colour before it was
 * written. A fence in the marker would close that for each object marked.
 * Instead all that has registered since is looked at once more when the mark
 * stacks are empty and the markers have joined (E3): again one step each.
 */
#include "runtime/heap-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/alloc-internal.h"

#define BUCKETS_MIN ((size_t)64)
/* Buckets of a stripe kept from one collection to the next. */
#define BUCKETS_KEPT ((size_t)1024)

#define FIRED ((uintptr_t)1)

/* An ephemeron that waits, or has waited. */
struct ferry__wait {
	struct ferry__wait *next; /* in its bucket; then in marker's ready */
	uintptr_t key;		  /* | FIRED when it was taken out */
	void *key_slot;		  /* NULL: kept outside the heap */
	uintptr_t value; /* address of the slot; without @key_slot, value */
};

#define WAIT_CHUNK     ((size_t)16384)
#define WAITS_IN_CHUNK ((WAIT_CHUNK - 24) / sizeof(struct ferry__wait))
#define SLOTS_IN_CHUNK ((4096 - 24) / sizeof(void *))

struct ferry__wait_chunk {
	struct ferry__wait_chunk *next;
	uint32_t n;
	uint32_t checked;	 /* of these, by ferry__ephemerons_recheck() */
	_Atomic uint32_t inside; /* of these, in objects and still waiting */
	struct ferry__wait wait[WAITS_IN_CHUNK];
};

struct ferry__note_chunk {
	struct ferry__note_chunk *next;
	size_t n;
	size_t checked; /* of these: their referents were not marked then */
	void *slot[SLOTS_IN_CHUNK];
};

_Static_assert(sizeof(struct ferry__wait_chunk) <= WAIT_CHUNK,
	       "the chunk of an entry is found by its address");

static void step(struct ferry_heap *heap)
{
	/* Relaxed: a sum that only tests read. */
	atomic_fetch_add_explicit(&heap->weak.steps, 1, memory_order_relaxed);
}

static void mark(struct ferry__marker *marker, uintptr_t addr)
{
	if (addr && ferry__mark_object(marker, addr))
		marker->weak.marked = true;
}

/* --- what a marker notes -------------------------------------------------------- */

/* The marker's own notes, empty if they are from before the last reset. */
static struct ferry__weak_local *local_of(struct ferry__marker *marker)
{
	struct ferry__weak_local *local = &marker->weak;

	if (local->notes != marker->heap->weak.notes) {
		local->notes = marker->heap->weak.notes;
		local->slots = NULL;
		local->waits = NULL;
	}
	return local;
}

static struct ferry__note_chunk *note_chunk_new(struct ferry__weak *weak)
{
	struct ferry__note_chunk *chunk = malloc(sizeof(*chunk));

	if (!chunk)
		return NULL;
	chunk->n = 0;
	chunk->checked = 0;
	pthread_mutex_lock(&weak->notes_lock);
	chunk->next = weak->slots;
	weak->slots = chunk;
	pthread_mutex_unlock(&weak->notes_lock);
	return chunk;
}

/* Has the slot a referent that is not marked? */
static bool unmarked(const struct ferry_heap *heap, void *slot)
{
	uintptr_t addr = ferry__weak_load(heap, slot);

	return addr && !ferry__is_marked(heap, addr);
}

/*
 * What is marked stays so, and a slot that is written later is met again
 * (E2): so only slots are noted that may have to be cleared. Without memory
 * to note it, its referent is kept.
 */
void ferry__weak_slot(struct ferry__marker *marker, void *slot)
{
	struct ferry__weak_local *local = local_of(marker);
	uintptr_t addr = ferry__weak_load(marker->heap, slot);

	if (!addr)
		return;
	if (ferry__is_marked(marker->heap, addr)) {
		ferry__mark_note(marker, slot, addr);
		return;
	}
	if (!local->slots || local->slots->n == SLOTS_IN_CHUNK)
		local->slots = note_chunk_new(&marker->heap->weak);
	if (local->slots)
		local->slots->slot[local->slots->n++] = slot;
	else
		mark(marker, ferry__weak_load(marker->heap, slot));
}

static struct ferry__wait_chunk *wait_chunk_new(struct ferry__weak *weak)
{
	struct ferry__wait_chunk *chunk = aligned_alloc(WAIT_CHUNK, WAIT_CHUNK);

	if (!chunk)
		return NULL;
	chunk->n = 0;
	chunk->checked = 0;
	atomic_init(&chunk->inside, 0);
	pthread_mutex_lock(&weak->notes_lock);
	chunk->next = weak->waits;
	weak->waits = chunk;
	pthread_mutex_unlock(&weak->notes_lock);
	return chunk;
}

/* Relaxed: read when the markers have joined. */
static void inside_add(struct ferry__wait *wait, uint32_t n)
{
	struct ferry__wait_chunk *chunk =
		(void *)((uintptr_t)wait & ~(uintptr_t)(WAIT_CHUNK - 1));

	if (wait->key_slot)
		atomic_fetch_add_explicit(&chunk->inside, n,
					  memory_order_relaxed);
}

static struct ferry__wait *wait_new(struct ferry__marker *marker)
{
	struct ferry__weak_local *local = local_of(marker);

	if (!local->waits || local->waits->n == WAITS_IN_CHUNK)
		local->waits = wait_chunk_new(&marker->heap->weak);
	return local->waits ? &local->waits->wait[local->waits->n++] : NULL;
}

/* --- the table ------------------------------------------------------------------- */

static size_t granule(const struct ferry_heap *heap, uintptr_t addr)
{
	size_t offset = ferry__offset(heap, addr);

	if (ferry__is_large(heap, addr))
		return heap->half / FERRY_GRANULE +
		       (offset >> FERRY__LARGE_SHIFT);
	return offset / FERRY_GRANULE;
}

static uint64_t mix(uintptr_t key)
{
	uint64_t x = key / FERRY_GRANULE * 0x9e3779b97f4a7c15ull;

	return x ^ x >> 32;
}

static struct ferry__wait_stripe *stripe_of(struct ferry_heap *heap,
					    uintptr_t key)
{
	return &heap->weak.stripe[(mix(key) >> 48) % FERRY__WAIT_STRIPES];
}

static struct ferry__wait **bucket_of(const struct ferry__wait_stripe *stripe,
				      uintptr_t key)
{
	return &stripe->bucket[mix(key) & (stripe->max - 1)];
}

static void chain(struct ferry__wait **head, struct ferry__wait *wait)
{
	wait->next = *head;
	*head = wait;
}

/* Without memory for more buckets, chains grow longer. False: no bucket. */
static bool stripe_grow(struct ferry__wait_stripe *stripe)
{
	struct ferry__wait **old = stripe->bucket;
	size_t i, old_max = stripe->max;
	size_t max = old_max ? old_max * 4 : BUCKETS_MIN;
	struct ferry__wait *wait;

	stripe->bucket = calloc(max, sizeof(struct ferry__wait *));
	if (!stripe->bucket) {
		stripe->bucket = old;
		return old != NULL;
	}
	stripe->max = max;
	for (i = 0; i < old_max; i++)
		while ((wait = old[i])) {
			old[i] = wait->next;
			chain(bucket_of(stripe, wait->key), wait);
		}
	free(old);
	return true;
}

static bool stripe_add(struct ferry__wait_stripe *stripe,
		       struct ferry__wait *wait)
{
	if (stripe->len >= stripe->max && !stripe_grow(stripe))
		return false;
	stripe->len++;
	chain(bucket_of(stripe, wait->key), wait);
	return true;
}

static void watch(struct ferry_heap *heap, uintptr_t key)
{
	size_t at = granule(heap, key);

	/* Relaxed: E3 closes the race with the test in a marker. */
	atomic_fetch_or_explicit(&heap->weak.watched[at / 64], 1ull << at % 64,
				 memory_order_relaxed);
	atomic_store_explicit(&heap->weak.watching, true, memory_order_relaxed);
}

static bool watched(const struct ferry_heap *heap, uintptr_t addr)
{
	size_t at = granule(heap, addr);

	/* Relaxed: E3. */
	return atomic_load_explicit(&heap->weak.watched[at / 64],
				    memory_order_relaxed) >>
		       at % 64 &
	       1;
}

/* --- firing ------------------------------------------------------------------------ */

/* Takes out of the table all that waits for @key, into @ready. */
static void take_out(struct ferry_heap *heap, uintptr_t key,
		     struct ferry__wait **ready)
{
	struct ferry__wait_stripe *stripe = stripe_of(heap, key);
	struct ferry__wait *wait, **at;

	pthread_mutex_lock(&stripe->lock);
	at = stripe->max ? bucket_of(stripe, key) : NULL;
	while (at && (wait = *at)) {
		step(heap);
		if (wait->key != key) {
			at = &wait->next;
			continue;
		}
		*at = wait->next;
		stripe->len--;
		wait->key |= FIRED;
		inside_add(wait, (uint32_t)-1);
		chain(ready, wait);
	}
	pthread_mutex_unlock(&stripe->lock);
}

/*
 * The key is marked: so is the value. Of an ephemeron in an object the slots
 * are read now: if the key is another meanwhile, the program has written to
 * the object, which will be traced again (E2).
 */
static void fire(struct ferry__marker *marker, const struct ferry__wait *wait)
{
	struct ferry_heap *heap = marker->heap;

	if (!wait->key_slot)
		mark(marker, wait->value);
	else if (ferry__weak_load(heap, wait->key_slot) == (wait->key & ~FIRED))
		mark(marker, ferry__weak_load(heap, (void *)wait->value));
}

/* Marking values may make more ready, in calls below this one: these leave
 * it to this loop, so that the stack stays flat. */
static void fire_ready(struct ferry__marker *marker)
{
	struct ferry__weak_local *local = &marker->weak;
	struct ferry__wait *wait;

	if (local->firing)
		return;
	local->firing = true;
	while ((wait = local->ready)) {
		local->ready = wait->next;
		fire(marker, wait);
	}
	local->firing = false;
}

void ferry__ephemeron_marked(struct ferry__marker *marker, uintptr_t addr)
{
	if (!watched(marker->heap, addr))
		return;
	take_out(marker->heap, addr, &marker->weak.ready);
	fire_ready(marker);
}

/* --- registering --------------------------------------------------------------------- */

/* No memory to let it wait: both are kept. */
static void keep_both(struct ferry__marker *marker, uintptr_t key,
		      const void *key_slot, uintptr_t value)
{
	mark(marker, key);
	if (key_slot)
		value = ferry__weak_load(marker->heap, (void *)value);
	mark(marker, value);
}

void ferry__ephemeron_wait(struct ferry__marker *marker, uintptr_t key,
			   void *key_slot, uintptr_t value)
{
	struct ferry_heap *heap = marker->heap;
	struct ferry__wait_stripe *stripe = stripe_of(heap, key);
	struct ferry__wait *wait = wait_new(marker);
	bool added;

	if (!wait) {
		keep_both(marker, key, key_slot, value);
		return;
	}
	*wait = (struct ferry__wait){ NULL, key, key_slot, value };
	step(heap);
	pthread_mutex_lock(&stripe->lock);
	watch(heap, key);
	added = stripe_add(stripe, wait);
	if (added)
		inside_add(wait, 1);
	else
		wait->key |= FIRED;
	pthread_mutex_unlock(&stripe->lock);
	if (!added)
		keep_both(marker, key, key_slot, value);
	else if (ferry__is_marked(heap, key))
		ferry__ephemeron_marked(marker, key);
}

/* Read while the program may write it, which is meant. */
__attribute__((no_sanitize("thread"))) static uintptr_t word_of(void *slot)
{
	return __atomic_load_n((const uintptr_t *)slot, __ATOMIC_RELAXED);
}

/* What a key slot holds: an object of the heap, NULL (a number, say), or
 * something outside, which never dies. */
static uintptr_t key_load(const struct ferry_heap *heap, void *slot,
			  bool *ret_eternal)
{
	uintptr_t key = ferry__weak_load(heap, slot);
	uintptr_t word;

	*ret_eternal = false;
	if (key)
		return key;
	if (heap->params.load)
		word = (uintptr_t)heap->params.load(slot);
	else
		word = word_of(slot);
	*ret_eternal = word && !ferry__in_heap(heap, word);
	return 0;
}

void ferry__ephemeron(struct ferry__marker *marker, void *key, void *value)
{
	struct ferry_heap *heap = marker->heap;
	bool eternal;
	uintptr_t addr = key_load(heap, key, &eternal);
	uintptr_t kept = ferry__weak_load(heap, value);

	step(heap);
	/* Whichever of them is young: the next collection comes back. */
	if (addr)
		ferry__mark_note(marker, key, addr);
	if (kept)
		ferry__mark_note(marker, key, kept);
	if (eternal || (addr && ferry__is_marked(heap, addr)))
		mark(marker, kept);
	else if (addr)
		ferry__ephemeron_wait(marker, addr, key, (uintptr_t)value);
	else
		/* It keeps nothing, but must not be left dangling. */
		ferry__weak_slot(marker, value);
}

/* --- when the mark stacks are empty ---------------------------------------------------- */

static void recheck_chunk(struct ferry__marker *marker,
			  struct ferry__wait_chunk *chunk)
{
	for (; chunk->checked < chunk->n; chunk->checked++) {
		uintptr_t key = chunk->wait[chunk->checked].key;

		step(marker->heap);
		if (!(key & FIRED) && ferry__is_marked(marker->heap, key))
			ferry__ephemeron_marked(marker, key);
	}
}

/* Of slots noted since the last time, those are forgotten whose referents
 * are marked meanwhile: the pause has the less to look at. */
static void forget_marked(const struct ferry_heap *heap,
			  struct ferry__note_chunk *slots)
{
	size_t i;

	for (i = slots->checked; i < slots->n; i++)
		if (unmarked(heap, slots->slot[i]))
			slots->slot[slots->checked++] = slots->slot[i];
	slots->n = slots->checked;
}

bool ferry__ephemerons_recheck(struct ferry__marker *marker)
{
	struct ferry__note_chunk *slots;
	struct ferry__wait_chunk *chunk;

	for (slots = marker->heap->weak.slots; slots; slots = slots->next)
		forget_marked(marker->heap, slots);
	marker->weak.marked = false;
	for (chunk = marker->heap->weak.waits; chunk; chunk = chunk->next)
		recheck_chunk(marker, chunk);
	return marker->weak.marked;
}

/* --- when reachability is decided -------------------------------------------------------- */

/* After finalizers the program runs, and its slots may be among those noted
 * if marking ran out of memory: what is new is not dead (F2). */
static bool dead(const struct ferry_heap *heap, void *slot)
{
	return unmarked(heap, slot) &&
	       (atomic_load_explicit(&heap->cycle.phase,
				     memory_order_relaxed) !=
			FERRY__PHASE_WEAK ||
		!ferry__weak_alive(heap, ferry__weak_load(heap, slot)));
}

static void clear_waits(struct ferry_heap *heap,
			const struct ferry__wait_chunk *chunk)
{
	const struct ferry__wait *wait = chunk->wait;
	const struct ferry__wait *end = wait + chunk->n;

	/* Relaxed: the markers have joined. */
	if (!atomic_load_explicit(&chunk->inside, memory_order_relaxed))
		return;
	for (; wait < end; wait++) {
		if (!wait->key_slot || wait->key & FIRED ||
		    !dead(heap, wait->key_slot))
			continue;
		ferry__slot_store(heap, wait->key_slot, 0);
		ferry__slot_store(heap, (void *)wait->value, 0);
	}
}

void ferry__ephemerons_clear(struct ferry_heap *heap)
{
	struct ferry__note_chunk *slots = heap->weak.slots;
	struct ferry__wait_chunk *waits = heap->weak.waits;
	size_t i;

	for (; waits; waits = waits->next)
		clear_waits(heap, waits);
	for (; slots; slots = slots->next)
		for (i = 0; i < slots->n; i++)
			if (dead(heap, slots->slot[i]))
				ferry__slot_store(heap, slots->slot[i], 0);
}

static void stripe_reset(struct ferry__wait_stripe *stripe)
{
	if (stripe->max > BUCKETS_KEPT) {
		free(stripe->bucket);
		stripe->bucket = NULL;
		stripe->max = 0;
	}
	if (stripe->max)
		memset(stripe->bucket, 0,
		       stripe->max * sizeof(*stripe->bucket));
	stripe->len = 0;
}

/* Nobody marks, so whole words of the map can go. */
static void unwatch(struct ferry_heap *heap,
		    const struct ferry__wait_chunk *chunk)
{
	uint32_t i;

	for (i = 0; i < chunk->n; i++)
		atomic_store_explicit(
			&heap->weak.watched[granule(heap, chunk->wait[i].key &
								  ~FIRED) /
					    64],
			0, memory_order_relaxed);
}

void ferry__ephemerons_reset(struct ferry_heap *heap)
{
	struct ferry__weak *weak = &heap->weak;
	struct ferry__wait_chunk *waits;
	struct ferry__note_chunk *slots;
	bool waited = weak->waits != NULL;
	unsigned int i;

	weak->notes++;
	while ((slots = weak->slots)) {
		weak->slots = slots->next;
		free(slots);
	}
	while ((waits = weak->waits)) {
		weak->waits = waits->next;
		unwatch(heap, waits);
		free(waits);
	}
	atomic_store_explicit(&weak->watching, false, memory_order_relaxed);
	for (i = 0; waited && i < FERRY__WAIT_STRIPES; i++)
		stripe_reset(&weak->stripe[i]);
}

/* --- life --------------------------------------------------------------------------------- */

static size_t watched_bytes(const struct ferry_heap *heap)
{
	size_t granules = heap->half / FERRY_GRANULE;
	size_t pages = heap->half >> FERRY__LARGE_SHIFT;

	return (granules + pages) / 8;
}

int ferry__ephemerons_init(struct ferry_heap *heap)
{
	struct ferry__weak *weak = &heap->weak;
	void *map = NULL;
	unsigned int i;
	int r;

	weak->notes = 1;
	r = ferry__meta_alloc(watched_bytes(heap), &map);
	if (r < 0)
		return r;
	weak->watched = map;
	weak->stripe = calloc(FERRY__WAIT_STRIPES, sizeof(*weak->stripe));
	if (!weak->stripe) {
		ferry__meta_free(map, watched_bytes(heap));
		return -ENOMEM;
	}
	pthread_mutex_init(&weak->notes_lock, NULL);
	for (i = 0; i < FERRY__WAIT_STRIPES; i++)
		pthread_mutex_init(&weak->stripe[i].lock, NULL);
	return 0;
}

void ferry__ephemerons_fini(struct ferry_heap *heap)
{
	struct ferry__weak *weak = &heap->weak;
	unsigned int i;

	ferry__ephemerons_reset(heap);
	for (i = 0; i < FERRY__WAIT_STRIPES; i++) {
		free(weak->stripe[i].bucket);
		pthread_mutex_destroy(&weak->stripe[i].lock);
	}
	free(weak->stripe);
	pthread_mutex_destroy(&weak->notes_lock);
	ferry__meta_free((void *)weak->watched, watched_bytes(heap));
}
