/* SPDX-License-Identifier: MIT */
/* Slabs of small objects: taking and freeing places. */
#include "alloc/store/slab.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/store/slab-internal.h"
#include "uffd/sys.h"

static size_t unit(void)
{
	return ferry__page_size / FERRY__SLAB_UNITS;
}

static size_t slab_size(void)
{
	return FERRY__SLAB_PAGES * ferry__page_size;
}

/* --- classes -------------------------------------------------------------- */

static uint32_t size_of(uint32_t slots)
{
	return (uint32_t)(slab_size() / slots / unit() * unit());
}

/* The next smaller class than that of @slots objects, by 4 % or a unit. */
static uint32_t next_slots(uint32_t slots)
{
	uint32_t most = size_of(slots) - size_of(slots) / 24;

	if (most > size_of(slots) - unit())
		most = size_of(slots) - (uint32_t)unit();
	while (size_of(slots) > most)
		slots++;
	/* As many as there is room for with that size. */
	return (uint32_t)(slab_size() / size_of(slots));
}

static void make_classes(struct ferry__slabs *slabs)
{
	uint32_t slots = FERRY__SLAB_PAGES, i, u;

	for (i = 0; slots <= FERRY__SLAB_SLOTS; i++) {
		ferry__check(i < FERRY__SLAB_CLASSES);
		slabs->class[i].slots = slots;
		slabs->class[i].size = size_of(slots);
		for (u = 0; u <= size_of(slots) / unit(); u++)
			slabs->class_of[u] = (uint8_t)i;
		if (slots == FERRY__SLAB_SLOTS)
			slots++;
		else
			slots = next_slots(slots);
	}
	slabs->n_classes = i;
}

/* --- lists ---------------------------------------------------------------- */

struct ferry__slab *ferry__slab_info(const struct ferry__slabs *slabs,
				     uint32_t i)
{
	return ferry__table_at(&slabs->info, i);
}

static uint32_t words_of(const struct ferry__slab_class *class)
{
	return (class->slots + 63) / 64;
}

uint32_t ferry__slab_used(const struct ferry__slabs *slabs,
			  const struct ferry__slab *slab)
{
	const struct ferry__slab_class *class = &slabs->class[slab->class];
	uint32_t i, n = 0;

	for (i = 0; i < words_of(class); i++)
		/* S1: acquire, for those who write into free places. */
		n += (uint32_t)__builtin_popcountll(
			__atomic_load_n(&slab->bits[i], __ATOMIC_ACQUIRE));
	return n - (words_of(class) * 64 - class->slots);
}

void ferry__slab_list(struct ferry__slabs *slabs, uint32_t i, uint32_t used)
{
	struct ferry__slab *slab = ferry__slab_info(slabs, i);
	struct ferry__slab_class *class = &slabs->class[slab->class];
	uint32_t group = used * FERRY__SLAB_GROUPS / class->slots;

	if (used == class->slots) {
		slab->state = FERRY__SLAB_FULL;
		return;
	}
	slab->state = FERRY__SLAB_LISTED;
	slab->next = class->group[group];
	class->group[group] = i + 1;
}

static uint32_t pop(struct ferry__slabs *slabs, uint32_t *list)
{
	uint32_t i = *list - 1;
	struct ferry__slab *slab = ferry__slab_info(slabs, i);

	*list = slab->next;
	slab->state = FERRY__SLAB_FULL;
	return i;
}

uint32_t ferry__slab_pop(struct ferry__slabs *slabs, uint32_t *list)
{
	return pop(slabs, list);
}

/*
 * Looks at slabs that something was freed in. One that is listed stays where
 * it is: ferry__slab_regroup() sorts those again.
 */
void ferry__slab_notice(struct ferry__slabs *slabs)
{
	/* S3: acquire; pairs with the push in ferry__slabs_free(). */
	uint32_t i = __atomic_exchange_n(&slabs->noticed, 0, __ATOMIC_ACQUIRE);

	while (i) {
		struct ferry__slab *slab = ferry__slab_info(slabs, i - 1);
		uint32_t next = slab->next_noticed;

		/*
		 * S2: what was freed before somebody found the mark set is
		 * seen below; what is freed later finds it clear.
		 */
		__atomic_exchange_n(&slab->noticed, 0, __ATOMIC_ACQ_REL);
		if (slab->state == FERRY__SLAB_FULL)
			ferry__slab_list(slabs, i - 1,
					 ferry__slab_used(slabs, slab));
		i = next;
	}
}

/* --- taking --------------------------------------------------------------- */

/* Pages that have to have memory for slot @slot. */
static uint32_t pages_for(const struct ferry__slab_class *class, uint32_t slot)
{
	return (uint32_t)(((slot + 1) * (size_t) class->size - 1) /
				  ferry__page_size +
			  1);
}

static bool first_free(const struct ferry__slabs *slabs,
		       const struct ferry__slab *slab, uint32_t *ret_slot)
{
	uint32_t i;

	for (i = 0; i < words_of(&slabs->class[slab->class]); i++) {
		/* S1 */
		uint64_t word =
			__atomic_load_n(&slab->bits[i], __ATOMIC_ACQUIRE);

		if (~word) {
			*ret_slot = i * 64 + (uint32_t)__builtin_ctzll(~word);
			return true;
		}
	}
	return false;
}

/* Takes @slot of @slab if its memory fits into @room bytes. */
static bool take_slot(struct ferry__slabs *slabs, struct ferry__slab *slab,
		      uint32_t slot, uint64_t room)
{
	uint32_t pages = pages_for(&slabs->class[slab->class], slot);

	if (pages > slab->pages) {
		if ((pages - slab->pages) * ferry__page_size > room)
			return false;
		slabs->pages += pages - slab->pages;
		slab->pages = (uint8_t)pages;
	}
	/* S1: only the holder of the lock sets bits: relaxed. */
	__atomic_fetch_or(&slab->bits[slot / 64], (uint64_t)1 << slot % 64,
			  __ATOMIC_RELAXED);
	return true;
}

static int take_in(struct ferry__slabs *slabs, uint32_t i, uint32_t slot,
		   uint64_t room, ferry__place *ret_place)
{
	if (!take_slot(slabs, ferry__slab_info(slabs, i), slot, room))
		return -ENOSPC;
	*ret_place = (ferry__place)i << FERRY__SLAB_SLOT_BITS | slot;
	return 0;
}

/* From the fullest slabs first. -ENOENT: they are all full. */
int ferry__slab_take_listed(struct ferry__slabs *slabs,
			    struct ferry__slab_class *class, uint64_t room,
			    ferry__place *ret_place)
{
	uint32_t slot;
	int g;

	for (g = FERRY__SLAB_GROUPS - 1; g >= 0; g--)
		while (class->group[g]) {
			uint32_t i = class->group[g] - 1;

			if (first_free(slabs, ferry__slab_info(slabs, i),
				       &slot))
				return take_in(slabs, i, slot, room, ret_place);
			pop(slabs, &class->group[g]);
		}
	return -ENOENT;
}

/* Bytes that the table of slabs takes for @n of them. */
static uint64_t info_held(uint64_t n)
{
	uint64_t size = n * sizeof(struct ferry__slab);

	return (size + ferry__page_size - 1) & ~(ferry__page_size - 1);
}

static int make_slab(struct ferry__slabs *slabs, uint64_t room)
{
	if (slabs->n >= 1u << FERRY__SLAB_BITS ||
	    info_held(slabs->n + 1) - info_held(slabs->n) + ferry__page_size >
		    room)
		return -ENOSPC;
	if (ferry__table_grow(&slabs->info, slabs->n) < 0 ||
	    ferry__table_grow(&slabs->data, slabs->n) < 0)
		return -ENOSPC;
	slabs->n++;
	slabs->spare = slabs->n;
	return 0;
}

/* All places free; those beyond the class's number taken for ever. */
void ferry__slab_clear(struct ferry__slabs *slabs, struct ferry__slab *slab)
{
	uint32_t slots = slabs->class[slab->class].slots, i;

	for (i = 0; i < FERRY__SLAB_SLOTS / 64; i++) {
		uint64_t word = ~(uint64_t)0;

		if (slots >= (i + 1) * 64)
			word = 0;
		else if (slots > i * 64)
			word <<= slots % 64;
		/* S1: nobody knows a place in here: relaxed. */
		__atomic_store_n(&slab->bits[i], word, __ATOMIC_RELAXED);
	}
}

/* Makes a spare slab one of @class. */
static int open_slab(struct ferry__slabs *slabs, uint8_t class, uint64_t room)
{
	struct ferry__slab *slab;
	uint64_t before = ferry__slabs_held(slabs), grown;
	uint32_t i;
	int r;

	if (!slabs->spare) {
		r = make_slab(slabs, room);
		if (r < 0)
			return r;
	}
	grown = ferry__slabs_held(slabs) - before;
	slab = ferry__slab_info(slabs, slabs->spare - 1);
	slab->class = class;
	if (pages_for(&slabs->class[class], 0) * ferry__page_size >
	    room - grown + slab->pages * ferry__page_size)
		return -ENOSPC;
	i = pop(slabs, &slabs->spare);
	ferry__slab_clear(slabs, slab);
	ferry__slab_list(slabs, i, 0);
	return 0;
}

int ferry__slabs_take(struct ferry__slabs *slabs, size_t size, uint64_t room,
		      ferry__place *ret_place)
{
	uint8_t c = slabs->class_of[(size + unit() - 1) / unit()];
	struct ferry__slab_class *class = &slabs->class[c];
	uint64_t before = ferry__slabs_held(slabs);
	int r;

	r = ferry__slab_take_listed(slabs, class, room, ret_place);
	if (r != -ENOENT)
		return r;
	ferry__slab_notice(slabs);
	r = ferry__slab_take_listed(slabs, class, room, ret_place);
	if (r != -ENOENT)
		return r;
	r = open_slab(slabs, c, room);
	if (r < 0)
		return r;
	room -= ferry__slabs_held(slabs) - before;
	return ferry__slab_take_listed(slabs, class, room, ret_place);
}

/* --- knowing and freeing -------------------------------------------------- */

size_t ferry__slabs_size(const struct ferry__slabs *slabs, ferry__place place)
{
	uint32_t i = (uint32_t)(place >> FERRY__SLAB_SLOT_BITS);

	return slabs->class[ferry__slab_info(slabs, i)->class].size;
}

void *ferry__slabs_at(const struct ferry__slabs *slabs, ferry__place place)
{
	char *base =
		ferry__table_at(&slabs->data, place >> FERRY__SLAB_SLOT_BITS);

	return base +
	       (place % FERRY__SLAB_SLOTS) * ferry__slabs_size(slabs, place);
}

void ferry__slabs_free(struct ferry__slabs *slabs, ferry__place place)
{
	uint32_t i = (uint32_t)(place >> FERRY__SLAB_SLOT_BITS), top;
	uint32_t slot = place % FERRY__SLAB_SLOTS;
	struct ferry__slab *slab = ferry__slab_info(slabs, i);
	uint64_t bit = (uint64_t)1 << slot % 64, was;

	/* S1: release. */
	was = __atomic_fetch_and(&slab->bits[slot / 64], ~bit,
				 __ATOMIC_RELEASE);
	ferry__check(was & bit);
	/*
	 * S2: who finds the mark set need not push: its setter's push is
	 * still to be popped, and ferry__slab_notice() clears the mark, which
	 * synchronises with this, before it looks at the bits.
	 */
	if (__atomic_exchange_n(&slab->noticed, 1, __ATOMIC_ACQ_REL))
		return;
	/* S3: release; the holder takes the whole stack, so no ABA. */
	top = __atomic_load_n(&slabs->noticed, __ATOMIC_RELAXED);
	do
		slab->next_noticed = top;
	while (!__atomic_compare_exchange_n(&slabs->noticed, &top, i + 1, true,
					    __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED));
}

uint64_t ferry__slabs_held(const struct ferry__slabs *slabs)
{
	return slabs->pages * ferry__page_size + info_held(slabs->n);
}

void ferry__slabs_init(struct ferry__slabs *slabs)
{
	memset(slabs, 0, sizeof(*slabs));
	/* The first segments: a megabyte of slabs, and enough of the other. */
	ferry__table_init(&slabs->data, slab_size(), 5);
	ferry__table_init(&slabs->info, sizeof(struct ferry__slab),
			  (unsigned int)__builtin_ctzl(ferry__page_size / 8));
	make_classes(slabs);
}

void ferry__slabs_fini(struct ferry__slabs *slabs)
{
	ferry__table_fini(&slabs->data);
	ferry__table_fini(&slabs->info);
}
