/* SPDX-License-Identifier: MIT */
/* Pages in compressed memory: getting, dropping and keeping them. */
#include "alloc/store/memory.h"

#include <errno.h>
#include <string.h>

#include "alloc/store/checksum.h"
#include "alloc/store/map.h"
#include "uffd/sys.h"

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

static void fill(void *page, uint64_t word)
{
	uint64_t *p = page;
	size_t i;

	for (i = 0; i < ferry__page_size / sizeof(word); i++)
		p[i] = word;
}

/* Such a page and its tag have one handle only. */
ferry__store_handle ferry__memory_same_handle(uint32_t word, uint64_t tag)
{
	uint64_t h = (tag ^ word) * 0x9e3779b97f4a7c15u;

	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9u;
	return FERRY__HANDLE_SAME | (h >> 53) << 32 | word;
}

static int get_same(ferry__store_handle handle, uint64_t tag, void *page)
{
	uint32_t word = (uint32_t)handle;

	if (handle != ferry__memory_same_handle(word, tag))
		return -EILSEQ;
	fill(page, (uint64_t)word << 32 | word);
	return 0;
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
			 const struct ferry__object *object, uint32_t dict,
			 void *page)
{
	uint64_t word;

	if (!object->plain)
		return ferry__coder_unpack(&mem->coder,
					   ferry__dicts_at(&mem->dicts, dict),
					   object + 1, object->len, page);
	memcpy(&word, object + 1, sizeof(word));
	fill(page, word);
	return 0;
}

static int read_object(struct ferry__store_memory *mem, uint64_t word,
		       uint64_t entry, uint64_t tag, void *page)
{
	ferry__place place = word >> FERRY__PLACE_SHIFT;
	const struct ferry__object *object;
	int r;

	object = ferry__slabs_at(&mem->slabs, place);
	if (!is_sound(mem, object, place, entry))
		return -EILSEQ;
	r = read_contents(mem, object, ferry__memory_dict(word), page);
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
	r = read_object(mem, word, handle, tag, page);
	/* M2: release: it is read before it may be moved. */
	__atomic_fetch_sub(entry, FERRY__ENTRY_PIN, __ATOMIC_RELEASE);
	return r;
}

static int memory_get(struct ferry__store *store, ferry__store_handle handle,
		      uint64_t tag, void *page)
{
	struct ferry__store_memory *mem = ferry__memory_of(store);
	int r;

	if (handle & FERRY__HANDLE_SAME)
		r = get_same(handle, tag, page);
	else
		r = get_object(mem, handle, tag, page);
	ferry__memory_count(r == 0 ? &mem->gets : &mem->failed, 1);
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
	ferry__memory_count(&mem->payload, -(uint64_t)object->len);
	ferry__memory_count(&mem->words, -(uint64_t)(object->plain != 0));
	ferry__memory_count(&mem->objects, -(uint64_t)1);
	ferry__slabs_free(&mem->slabs, word >> FERRY__PLACE_SHIFT);
	ferry__dicts_release(&mem->dicts, ferry__memory_dict(word));
	ferry__memory_push_entry(mem, handle);
}

static void memory_drop(struct ferry__store *store, ferry__store_handle handle)
{
	struct ferry__store_memory *mem = ferry__memory_of(store);

	if (handle & FERRY__HANDLE_SAME)
		ferry__memory_count(&mem->in_handle, -(uint64_t)1);
	else
		drop_object(mem, handle);
}

/* --- housekeeping --------------------------------------------------------- */

static bool move_object(void *arg, ferry__place from, ferry__place to)
{
	struct ferry__store_memory *mem = arg;
	const struct ferry__object *object = ferry__slabs_at(&mem->slabs, from);
	uint64_t word;
	uint32_t dict;

	if (object->entry >= mem->n_entries ||
	    !is_sound(mem, object, from, object->entry))
		return false;
	/* What it is packed by stays; all else is compared below: relaxed. */
	dict = ferry__memory_dict(__atomic_load_n(
		ferry__memory_entry(mem, object->entry), __ATOMIC_RELAXED));
	word = ferry__memory_word(from, dict);
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
		ferry__memory_word(to, dict), false, __ATOMIC_ACQ_REL,
		__ATOMIC_RELAXED);
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
	struct ferry__store_memory *mem = ferry__memory_of(store);
	uint32_t c, n;

	for (c = 0; c < mem->slabs.n_classes; c++) {
		n = survey(mem, c);
		while (n && compact(mem, c))
			n--;
	}
	pthread_mutex_lock(&mem->lock);
	ferry__dicts_sweep(&mem->dicts);
	pthread_mutex_unlock(&mem->lock);
}

static void memory_stats(struct ferry__store *store,
			 struct ferry__store_stats *ret)
{
	struct ferry__store_memory *mem = ferry__memory_of(store);

	pthread_mutex_lock(&mem->lock);
	*ret = (struct ferry__store_stats){
		.pages = ferry__memory_counted(&mem->objects) +
			 ferry__memory_counted(&mem->in_handle),
		.memory = ferry__memory_held(mem),
		.payload = ferry__memory_counted(&mem->payload),
		.dictionaries = ferry__dicts_count(&mem->dicts),
		.dictionary_memory = ferry__dicts_held(&mem->dicts),
		.same = ferry__memory_counted(&mem->words) +
			ferry__memory_counted(&mem->in_handle),
		.puts = ferry__memory_counted(&mem->puts),
		.gets = ferry__memory_counted(&mem->gets),
		.refused = ferry__memory_counted(&mem->refused),
		.failed = ferry__memory_counted(&mem->failed),
	};
	pthread_mutex_unlock(&mem->lock);
}

/* --- fork ----------------------------------------------------------------- */

static void memory_fork_prepare(struct ferry__store *store)
{
	pthread_mutex_lock(&ferry__memory_of(store)->lock);
}

static void memory_fork_parent(struct ferry__store *store)
{
	pthread_mutex_unlock(&ferry__memory_of(store)->lock);
}

/* The only thread: relaxed. What needs no change is not written: it is shared. */
static void recount_object(struct ferry__store_memory *mem, uint64_t *entry)
{
	uint64_t word = __atomic_load_n(entry, __ATOMIC_RELAXED);

	if (word & FERRY__PIN_MASK)
		__atomic_store_n(entry, word & ~FERRY__PIN_MASK,
				 __ATOMIC_RELAXED);
	ferry__slabs_recount_mark(&mem->slabs, word >> FERRY__PLACE_SHIFT);
	ferry__dicts_recount_mark(&mem->dicts, ferry__memory_dict(word));
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
	struct ferry__store_memory *mem = ferry__memory_of(store);
	uint64_t i, *entry;

	mem->free_entry = 0;
	mem->objects = 0;
	ferry__slabs_recount_begin(&mem->slabs);
	ferry__dicts_recount_begin(&mem->dicts);
	for (i = mem->n_entries; i-- > 0;) {
		entry = ferry__memory_entry(mem, i);
		if (__atomic_load_n(entry, __ATOMIC_RELAXED) &
		    FERRY__ENTRY_STORED)
			recount_object(mem, entry);
		else
			ferry__memory_push_entry(mem, i);
	}
	ferry__slabs_recount_end(&mem->slabs);
	ferry__coder_fork_child(&mem->coder);
	pthread_mutex_unlock(&mem->lock);
}

/* --- in and out ----------------------------------------------------------- */

static void memory_destroy(struct ferry__store *store)
{
	struct ferry__store_memory *mem = ferry__memory_of(store);

	ferry__table_fini(&mem->entries);
	ferry__slabs_fini(&mem->slabs);
	ferry__dicts_fini(&mem->dicts);
	ferry__coder_fini(&mem->coder);
	pthread_mutex_destroy(&mem->lock);
	ferry__store_unmap(mem, sizeof(*mem));
}

static const struct ferry__store_ops memory_ops = {
	.name = "memory",
	.signal_safe = true,
	.put = ferry__memory_put,
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
	ferry__dicts_init(&mem->dicts, codec == FERRY__CODEC_ZSTD);
	ferry__table_init(&mem->entries, sizeof(uint64_t),
			  (unsigned int)__builtin_ctzl(ferry__page_size / 8) +
				  3);
	*ret_store = &mem->base;
	return 0;
}
