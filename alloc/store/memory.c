/* SPDX-License-Identifier: MIT */
/* Pages in compressed memory: putting, getting and dropping them. */
#include "alloc/store/memory.h"

#include <errno.h>
#include <string.h>

#include "alloc/store/checksum.h"
#include "alloc/store/map.h"
#include "uffd/sys.h"

static struct ferry__store_memory *memory_of(struct ferry__store *store)
{
	return (struct ferry__store_memory *)store;
}

/* Counts order nothing: relaxed. */
static void count(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static uint64_t counted(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

uint64_t *ferry__memory_entry(const struct ferry__store_memory *mem,
			      ferry__store_handle handle)
{
	return ferry__table_at(&mem->entries, handle);
}

struct ferry__object *
ferry__memory_object(const struct ferry__store_memory *mem, uint64_t word)
{
	return ferry__slabs_at(&mem->slabs, word >> FERRY__PLACE_SHIFT);
}

/* --- pages of one word ---------------------------------------------------- */

static bool is_same(const void *page, uint64_t *ret_word)
{
	size_t size = sizeof(*ret_word);

	if (memcmp(page, (const char *)page + size, ferry__page_size - size))
		return false;
	memcpy(ret_word, page, size);
	return true;
}

static void fill(void *page, uint64_t word)
{
	uint64_t *p = page;
	size_t i;

	for (i = 0; i < ferry__page_size / sizeof(word); i++)
		p[i] = word;
}

/* Such a page and its tag have one handle only. */
static ferry__store_handle same_handle(uint32_t word, uint64_t tag)
{
	uint64_t h = (tag ^ word) * 0x9e3779b97f4a7c15u;

	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9u;
	return FERRY__HANDLE_SAME | (h >> 53) << 32 | word;
}

static int get_same(ferry__store_handle handle, uint64_t tag, void *page)
{
	uint32_t word = (uint32_t)handle;

	if (handle != same_handle(word, tag))
		return -EILSEQ;
	fill(page, (uint64_t)word << 32 | word);
	return 0;
}

/* --- put ------------------------------------------------------------------ */

/* Bytes that the entries take when there are @n of them. */
static uint64_t entries_held(uint64_t n)
{
	return ferry__store_round(n * sizeof(uint64_t));
}

static uint64_t held(const struct ferry__store_memory *mem)
{
	return ferry__store_round(sizeof(*mem)) + entries_held(mem->n_entries) +
	       ferry__slabs_held(&mem->slabs) + ferry__coder_held(&mem->coder);
}

static uint64_t room(const struct ferry__store_memory *mem)
{
	uint64_t now = held(mem);

	if (!mem->limit)
		return UINT64_MAX / 2;
	return mem->limit > now ? mem->limit - now : 0;
}

/* Only the lock's holder pops, so an entry that is on top stays in there. */
static bool pop_entry(struct ferry__store_memory *mem, uint64_t *ret_entry)
{
	/* M3: acquire. */
	uint64_t top = __atomic_load_n(&mem->free_entry, __ATOMIC_ACQUIRE);
	uint64_t next;

	do {
		if (!top)
			return false;
		/* M3: written before it was pushed: relaxed. */
		next = __atomic_load_n(ferry__memory_entry(mem, top - 1),
				       __ATOMIC_RELAXED) >>
		       1;
	} while (!__atomic_compare_exchange_n(&mem->free_entry, &top, next,
					      true, __ATOMIC_ACQUIRE,
					      __ATOMIC_ACQUIRE));
	*ret_entry = top - 1;
	return true;
}

static void push_entry(struct ferry__store_memory *mem, uint64_t entry)
{
	uint64_t *word = ferry__memory_entry(mem, entry);
	uint64_t top = __atomic_load_n(&mem->free_entry, __ATOMIC_RELAXED);

	/* M3: release; the word is read through the top alone. */
	do
		__atomic_store_n(word, top << 1, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&mem->free_entry, &top, entry + 1,
					    true, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED));
}

static int take_entry(struct ferry__store_memory *mem, uint64_t *ret_entry)
{
	uint64_t n = mem->n_entries;

	if (pop_entry(mem, ret_entry))
		return 0;
	if (n >= UINT32_MAX ||
	    entries_held(n + 1) - entries_held(n) > room(mem) ||
	    ferry__table_grow(&mem->entries, n) < 0)
		return -ENOSPC;
	mem->n_entries = n + 1;
	*ret_entry = n;
	return 0;
}

/* A place for an object, from slabs that became empty if need be. */
static int take_place(struct ferry__store_memory *mem, size_t size,
		      ferry__place *ret_place)
{
	int r = ferry__slabs_take(&mem->slabs, size, room(mem), ret_place);

	if (r == 0)
		return 0;
	ferry__slabs_release(&mem->slabs);
	return ferry__slabs_take(&mem->slabs, size, room(mem), ret_place);
}

static int put_locked(struct ferry__store_memory *mem,
		      const struct ferry__object *head, const void *contents,
		      ferry__store_handle *ret_handle)
{
	struct ferry__object *object;
	ferry__place place;
	uint64_t entry;
	int r;

	r = take_entry(mem, &entry);
	if (r < 0)
		return r;
	r = take_place(mem, sizeof(*head) + head->len, &place);
	if (r < 0) {
		push_entry(mem, entry);
		return r;
	}
	object = ferry__slabs_at(&mem->slabs, place);
	*object = *head;
	object->entry = (uint32_t)entry;
	memcpy(object + 1, contents, head->len);
	/* M1: release; pairs with get() and with the mover. */
	__atomic_store_n(ferry__memory_entry(mem, entry),
			 place << FERRY__PLACE_SHIFT | FERRY__ENTRY_STORED,
			 __ATOMIC_RELEASE);
	count(&mem->objects, 1);
	count(&mem->payload, head->len);
	*ret_handle = entry;
	return 0;
}

static int put_object(struct ferry__store_memory *mem, const void *page,
		      uint64_t tag, const void *contents, size_t len,
		      bool plain, ferry__store_handle *ret_handle)
{
	struct ferry__object head = {
		.sum = ferry__store_checksum(page, tag),
		.len = (uint16_t)len,
		.plain = plain,
	};
	int r;

	pthread_mutex_lock(&mem->lock);
	r = put_locked(mem, &head, contents, ret_handle);
	pthread_mutex_unlock(&mem->lock);
	return r;
}

static int put_word(struct ferry__store_memory *mem, const void *page,
		    uint64_t tag, uint64_t word,
		    ferry__store_handle *ret_handle)
{
	int r;

	if (word >> 32 == (uint32_t)word) {
		*ret_handle = same_handle((uint32_t)word, tag);
		count(&mem->in_handle, 1);
		return 0;
	}
	r = put_object(mem, page, tag, &word, sizeof(word), true, ret_handle);
	if (r == 0)
		count(&mem->words, 1);
	return r;
}

static int put_packed(struct ferry__store_memory *mem, const void *page,
		      uint64_t tag, ferry__store_handle *ret_handle)
{
	size_t most = ferry__page_size - ferry__page_size / 8;
	struct ferry__work *work;
	int n, r;

	n = ferry__coder_pack(&mem->coder, page, most, &work);
	if (n < 0)
		return n == -ENOMEM ? -ENOSPC : n;
	r = put_object(mem, page, tag, work->out, (size_t)n, false, ret_handle);
	ferry__coder_done(work);
	return r;
}

static int memory_put(struct ferry__store *store, const void *page,
		      uint64_t tag, ferry__store_handle *ret_handle)
{
	struct ferry__store_memory *mem = memory_of(store);
	uint64_t word;
	int r;

	if (is_same(page, &word))
		r = put_word(mem, page, tag, word, ret_handle);
	else
		r = put_packed(mem, page, tag, ret_handle);
	count(r == 0 ? &mem->puts : &mem->refused, 1);
	return r;
}

/* --- get ------------------------------------------------------------------ */

/* Is the object at @place what entry @entry means, as far as it says? */
static bool is_sound(const struct ferry__store_memory *mem,
		     const struct ferry__object *object, ferry__place place,
		     uint64_t entry)
{
	size_t len = object->plain ? sizeof(uint64_t) : object->len;

	return object->entry == entry && object->len == len &&
	       len <= ferry__slabs_size(&mem->slabs, place) - sizeof(*object);
}

static int read_contents(struct ferry__store_memory *mem,
			 const struct ferry__object *object, void *page)
{
	uint64_t word;

	if (!object->plain)
		return ferry__coder_unpack(&mem->coder, object + 1, object->len,
					   page);
	memcpy(&word, object + 1, sizeof(word));
	fill(page, word);
	return 0;
}

static int read_object(struct ferry__store_memory *mem, ferry__place place,
		       uint64_t entry, uint64_t tag, void *page)
{
	const struct ferry__object *object;
	int r;

	object = ferry__slabs_at(&mem->slabs, place);
	if (!is_sound(mem, object, place, entry))
		return -EILSEQ;
	r = read_contents(mem, object, page);
	if (r == 0 && ferry__store_checksum(page, tag) != object->sum)
		r = -EILSEQ;
	return r;
}

static int get_object(struct ferry__store_memory *mem,
		      ferry__store_handle handle, uint64_t tag, void *page)
{
	uint64_t *entry = ferry__memory_entry(mem, handle), word;
	int r;

	/* M1, M2: acquire: the object is there before the word says so. */
	word = __atomic_fetch_add(entry, FERRY__ENTRY_PIN, __ATOMIC_ACQUIRE);
	ferry__check(word & FERRY__ENTRY_STORED);
	r = read_object(mem, word >> FERRY__PLACE_SHIFT, handle, tag, page);
	/* M2: release: it is read before it may be moved. */
	__atomic_fetch_sub(entry, FERRY__ENTRY_PIN, __ATOMIC_RELEASE);
	return r;
}

static int memory_get(struct ferry__store *store, ferry__store_handle handle,
		      uint64_t tag, void *page)
{
	struct ferry__store_memory *mem = memory_of(store);
	int r;

	if (handle & FERRY__HANDLE_SAME)
		r = get_same(handle, tag, page);
	else
		r = get_object(mem, handle, tag, page);
	count(r == 0 ? &mem->gets : &mem->failed, 1);
	return r;
}

/* --- drop ----------------------------------------------------------------- */

static void drop_object(struct ferry__store_memory *mem,
			ferry__store_handle handle)
{
	const struct ferry__object *object;
	uint64_t word;

	/*
	 * M2: the mover's exchange comes before this or fails after it, so
	 * that one of the two frees each of the places. Acquire for what
	 * the mover wrote.
	 */
	word = __atomic_exchange_n(ferry__memory_entry(mem, handle), 0,
				   __ATOMIC_ACQ_REL);
	ferry__check(word & FERRY__ENTRY_STORED);
	object = ferry__memory_object(mem, word);
	count(&mem->payload, -(uint64_t)object->len);
	count(&mem->words, -(uint64_t)(object->plain != 0));
	count(&mem->objects, -(uint64_t)1);
	ferry__slabs_free(&mem->slabs, word >> FERRY__PLACE_SHIFT);
	push_entry(mem, handle);
}

static void memory_drop(struct ferry__store *store, ferry__store_handle handle)
{
	struct ferry__store_memory *mem = memory_of(store);

	if (handle & FERRY__HANDLE_SAME)
		count(&mem->in_handle, -(uint64_t)1);
	else
		drop_object(mem, handle);
}

/* --- housekeeping --------------------------------------------------------- */

static bool move_object(void *arg, ferry__place from, ferry__place to)
{
	struct ferry__store_memory *mem = arg;
	const struct ferry__object *object = ferry__slabs_at(&mem->slabs, from);
	uint64_t word = from << FERRY__PLACE_SHIFT | FERRY__ENTRY_STORED;

	if (object->entry >= mem->n_entries ||
	    !is_sound(mem, object, from, object->entry))
		return false;
	/* Places are taken under our lock: who drops this changes nothing. */
	memcpy(ferry__slabs_at(&mem->slabs, to), object,
	       sizeof(*object) + object->len);
	/*
	 * M2: release, for those who get() it from there; acquire: those who
	 * pinned it have read it. It fails where it is pinned or dropped. It
	 * cannot have come back here since: places are taken under our lock.
	 */
	return __atomic_compare_exchange_n(
		ferry__memory_entry(mem, object->entry), &word,
		to << FERRY__PLACE_SHIFT | FERRY__ENTRY_STORED, false,
		__ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static uint32_t survey(struct ferry__store_memory *mem, uint32_t c)
{
	uint32_t n;

	pthread_mutex_lock(&mem->lock);
	n = ferry__slabs_survey(&mem->slabs, c);
	pthread_mutex_unlock(&mem->lock);
	return n;
}

static bool compact(struct ferry__store_memory *mem, uint32_t c)
{
	bool done;

	pthread_mutex_lock(&mem->lock);
	done = ferry__slabs_compact(&mem->slabs, c, move_object, mem);
	pthread_mutex_unlock(&mem->lock);
	return done;
}

/* With the lock held for one slab at a time: others are putting. */
static void memory_maintain(struct ferry__store *store)
{
	struct ferry__store_memory *mem = memory_of(store);
	uint32_t c, n;

	for (c = 0; c < mem->slabs.n_classes; c++) {
		n = survey(mem, c);
		while (n && compact(mem, c))
			n--;
	}
}

static void memory_stats(struct ferry__store *store,
			 struct ferry__store_stats *ret)
{
	struct ferry__store_memory *mem = memory_of(store);

	pthread_mutex_lock(&mem->lock);
	*ret = (struct ferry__store_stats){
		.pages = counted(&mem->objects) + counted(&mem->in_handle),
		.memory = held(mem),
		.payload = counted(&mem->payload),
		.same = counted(&mem->words) + counted(&mem->in_handle),
		.puts = counted(&mem->puts),
		.gets = counted(&mem->gets),
		.refused = counted(&mem->refused),
		.failed = counted(&mem->failed),
	};
	pthread_mutex_unlock(&mem->lock);
}

/* --- fork ----------------------------------------------------------------- */

static void memory_fork_prepare(struct ferry__store *store)
{
	pthread_mutex_lock(&memory_of(store)->lock);
}

static void memory_fork_parent(struct ferry__store *store)
{
	pthread_mutex_unlock(&memory_of(store)->lock);
}

/* The only thread: relaxed. What needs no change is not written: it is shared. */
static void recount_object(struct ferry__store_memory *mem, uint64_t *entry)
{
	uint64_t word = __atomic_load_n(entry, __ATOMIC_RELAXED);

	if (word & FERRY__PIN_MASK)
		__atomic_store_n(entry, word & ~FERRY__PIN_MASK,
				 __ATOMIC_RELAXED);
	ferry__slabs_recount_mark(&mem->slabs, word >> FERRY__PLACE_SHIFT);
	mem->objects++;
}

/*
 * The lock was held, so no page was half put in or half moved. But get() and
 * drop() wait for nobody: threads that are not in the child may have been
 * anywhere in them, and of what they wrote the child may have the second and
 * not the first, since its pages were copied one after the other. What the
 * entries say counts; places and lists are made anew from them, without a
 * look at objects, which would take ten times as long. (.payload and .words
 * stay as they were: off by objects that were being dropped.)
 */
static void memory_fork_child(struct ferry__store *store)
{
	struct ferry__store_memory *mem = memory_of(store);
	uint64_t i, *entry;

	mem->free_entry = 0;
	mem->objects = 0;
	ferry__slabs_recount_begin(&mem->slabs);
	for (i = mem->n_entries; i-- > 0;) {
		entry = ferry__memory_entry(mem, i);
		if (__atomic_load_n(entry, __ATOMIC_RELAXED) &
		    FERRY__ENTRY_STORED)
			recount_object(mem, entry);
		else
			push_entry(mem, i);
	}
	ferry__slabs_recount_end(&mem->slabs);
	ferry__coder_fork_child(&mem->coder);
	pthread_mutex_unlock(&mem->lock);
}

/* --- in and out ----------------------------------------------------------- */

static void memory_destroy(struct ferry__store *store)
{
	struct ferry__store_memory *mem = memory_of(store);

	ferry__table_fini(&mem->entries);
	ferry__slabs_fini(&mem->slabs);
	ferry__coder_fini(&mem->coder);
	pthread_mutex_destroy(&mem->lock);
	ferry__store_unmap(mem, sizeof(*mem));
}

static const struct ferry__store_ops memory_ops = {
	.name = "memory",
	.signal_safe = true,
	.put = memory_put,
	.get = memory_get,
	.drop = memory_drop,
	.maintain = memory_maintain,
	.fork_prepare = memory_fork_prepare,
	.fork_parent = memory_fork_parent,
	.fork_child = memory_fork_child,
	.stats = memory_stats,
	.destroy = memory_destroy,
};

int ferry__store_memory_create(enum ferry__codec codec, uint64_t limit,
			       struct ferry__store **ret_store)
{
	struct ferry__store_memory *mem;
	void *base;
	int r;

	r = ferry__store_map(sizeof(*mem), &base);
	if (r < 0)
		return r;
	mem = base;
	r = ferry__coder_init(&mem->coder, codec);
	if (r < 0) {
		ferry__store_unmap(mem, sizeof(*mem));
		return r;
	}
	mem->base.ops = &memory_ops;
	mem->limit = limit;
	pthread_mutex_init(&mem->lock, NULL);
	ferry__slabs_init(&mem->slabs);
	ferry__table_init(&mem->entries, sizeof(uint64_t),
			  (unsigned int)__builtin_ctzl(ferry__page_size / 8) +
				  3);
	*ret_store = &mem->base;
	return 0;
}
