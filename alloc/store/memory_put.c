/* SPDX-License-Identifier: MIT */
/* Pages into compressed memory: entries, places and dictionaries for them. */
#include "alloc/store/memory.h"

#include <errno.h>
#include <string.h>

#include "alloc/store/checksum.h"
#include "alloc/store/map.h"
#include "uffd/sys.h"

/* --- memory and entries ---------------------------------------------------- */

/* Bytes that the entries take when there are @n of them. */
static uint64_t entries_held(uint64_t n)
{
	return ferry__store_round(n * sizeof(uint64_t));
}

uint64_t ferry__memory_held(const struct ferry__store_memory *mem)
{
	return ferry__store_round(sizeof(*mem)) + entries_held(mem->n_entries) +
	       ferry__slabs_held(&mem->slabs) + ferry__coder_held(&mem->coder) +
	       ferry__dicts_held(&mem->dicts);
}

static uint64_t room(const struct ferry__store_memory *mem)
{
	uint64_t now = ferry__memory_held(mem);

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

void ferry__memory_push_entry(struct ferry__store_memory *mem, uint64_t entry)
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

/* --- put ------------------------------------------------------------------ */

static bool is_same(const void *page, uint64_t *ret_word)
{
	size_t size = sizeof(*ret_word);

	if (memcmp(page, (const char *)page + size, ferry__page_size - size))
		return false;
	memcpy(ret_word, page, size);
	return true;
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
		      uint32_t dict, ferry__store_handle *ret_handle)
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
		ferry__memory_push_entry(mem, entry);
		return r;
	}
	object = ferry__slabs_at(&mem->slabs, place);
	*object = *head;
	object->entry = (uint32_t)entry;
	memcpy(object + 1, contents, head->len);
	/* M1: release; pairs with get() and with the mover. */
	__atomic_store_n(ferry__memory_entry(mem, entry),
			 ferry__memory_word(place, dict), __ATOMIC_RELEASE);
	ferry__memory_count(&mem->objects, 1);
	ferry__memory_count(&mem->payload, head->len);
	*ret_handle = entry;
	return 0;
}

static int put_word(struct ferry__store_memory *mem, const void *page,
		    uint64_t tag, uint64_t word,
		    ferry__store_handle *ret_handle)
{
	struct ferry__object head = {
		.sum = ferry__store_checksum(page, tag),
		.len = sizeof(word),
		.plain = true,
	};
	int r;

	if (word >> 32 == (uint32_t)word) {
		*ret_handle = ferry__memory_same_handle((uint32_t)word, tag);
		ferry__memory_count(&mem->in_handle, 1);
		return 0;
	}
	pthread_mutex_lock(&mem->lock);
	r = put_locked(mem, &head, &word, 0, ret_handle);
	pthread_mutex_unlock(&mem->lock);
	if (r == 0)
		ferry__memory_count(&mem->words, 1);
	return r;
}

static void choose_dict(struct ferry__store_memory *mem,
			struct ferry__dict_choice *ret_choice)
{
	*ret_choice = (struct ferry__dict_choice){ 0 };
	if (!mem->dicts.enabled)
		return;
	pthread_mutex_lock(&mem->lock);
	ferry__dicts_choose(&mem->dicts, ret_choice);
	pthread_mutex_unlock(&mem->lock);
}

static size_t most_packed(void)
{
	return ferry__page_size - ferry__page_size / 8;
}

/* Bytes of the page by the dictionary that is on trial; as many as it can be
 * where that fails. */
static size_t try_dict(struct ferry__store_memory *mem, uint32_t dict,
		       const void *page)
{
	struct ferry__work *work;
	int n;

	n = ferry__coder_pack(&mem->coder, ferry__dicts_at(&mem->dicts, dict),
			      page, most_packed(), &work);
	if (n < 0)
		return ferry__page_size;
	ferry__coder_done(work);
	return (size_t)n;
}

/* What is packed, by the first of @choice: its users are then one more. */
static int put_object(struct ferry__store_memory *mem, const void *page,
		      const struct ferry__object *head, const void *contents,
		      const struct ferry__dict_choice *choice,
		      ferry__store_handle *ret_handle)
{
	size_t would = 0;
	int r;

	if (choice->trial)
		would = try_dict(mem, choice->trial, page);
	pthread_mutex_lock(&mem->lock);
	r = put_locked(mem, head, contents, choice->use, ret_handle);
	if (r == 0)
		ferry__dicts_learn(&mem->dicts, page, room(mem));
	if (choice->trial)
		ferry__dicts_compare(&mem->dicts, choice, head->len, would,
				     ferry__memory_counted(&mem->objects));
	pthread_mutex_unlock(&mem->lock);
	return r;
}

static int put_chosen(struct ferry__store_memory *mem, const void *page,
		      uint64_t tag, const struct ferry__dict_choice *choice,
		      ferry__store_handle *ret_handle)
{
	struct ferry__object head = { .plain = false };
	struct ferry__work *work;
	int n, r;

	n = ferry__coder_pack(&mem->coder,
			      ferry__dicts_at(&mem->dicts, choice->use), page,
			      most_packed(), &work);
	if (n < 0)
		return n == -ENOMEM ? -ENOSPC : n;
	head.sum = ferry__store_checksum(page, tag);
	head.len = (uint16_t)n;
	r = put_object(mem, page, &head, work->out, choice, ret_handle);
	ferry__coder_done(work);
	return r;
}

static int put_packed(struct ferry__store_memory *mem, const void *page,
		      uint64_t tag, ferry__store_handle *ret_handle)
{
	struct ferry__dict_choice choice;
	int r;

	choose_dict(mem, &choice);
	r = put_chosen(mem, page, tag, &choice, ret_handle);
	if (r < 0)
		ferry__dicts_release(&mem->dicts, choice.use);
	ferry__dicts_release(&mem->dicts, choice.trial);
	return r;
}

int ferry__memory_put(struct ferry__store *store, const void *page,
		      uint64_t tag, ferry__store_handle *ret_handle)
{
	struct ferry__store_memory *mem = ferry__memory_of(store);
	uint64_t word;
	int r;

	if (is_same(page, &word))
		r = put_word(mem, page, tag, word, ret_handle);
	else
		r = put_packed(mem, page, tag, ret_handle);
	ferry__memory_count(r == 0 ? &mem->puts : &mem->refused, 1);
	return r;
}
