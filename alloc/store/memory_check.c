/* SPDX-License-Identifier: MIT */
/* What must hold in a compressed-memory store while nobody uses it. */
#include "alloc/store/memory.h"
#include "alloc/store/slab-internal.h"
#include "uffd/sys.h"

static void check_entry(const struct ferry__store_memory *mem, uint64_t i,
			uint64_t word)
{
	ferry__place place = word >> FERRY__PLACE_SHIFT;
	uint32_t slot = place % FERRY__SLAB_SLOTS;
	const struct ferry__slab *slab = ferry__slab_info(
		&mem->slabs, (uint32_t)(place >> FERRY__SLAB_SLOT_BITS));

	ferry__check(slab->bits[slot / 64] >> slot % 64 & 1);
	ferry__check(ferry__memory_object(mem, word)->entry == i);
}

static void check_dicts(const struct ferry__dicts *dicts, const uint64_t *users)
{
	uint32_t i;

	for (i = 1; i < FERRY__DICTS; i++) {
		ferry__check(dicts->users[i] == users[i]);
		ferry__check(dicts->dict[i] || !users[i]);
	}
}

static uint64_t places_taken(const struct ferry__slabs *slabs)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < slabs->n; i++) {
		const struct ferry__slab *slab = ferry__slab_info(slabs, i);

		if (slab->state != FERRY__SLAB_SPARE)
			n += ferry__slab_used(slabs, slab);
	}
	return n;
}

void ferry__memory_check(struct ferry__store *store)
{
	struct ferry__store_memory *mem = (struct ferry__store_memory *)store;
	uint64_t users[FERRY__DICTS] = { 0 }, i, word, stored = 0;

	for (i = 0; i < mem->n_entries; i++) {
		word = *ferry__memory_entry(mem, i);
		if (!(word & FERRY__ENTRY_STORED))
			continue;
		stored++;
		ferry__check(!(word & FERRY__PIN_MASK));
		check_entry(mem, i, word);
		users[ferry__memory_dict(word)]++;
	}
	check_dicts(&mem->dicts, users);
	ferry__check(stored == mem->objects);
	ferry__check(stored == places_taken(&mem->slabs));
}
