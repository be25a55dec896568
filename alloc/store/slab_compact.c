/* SPDX-License-Identifier: MIT */
/* Slabs of small objects: what is empty or sparse goes back. */
#include <string.h>
#include <sys/mman.h>

#include "alloc/store/slab-internal.h"
#include "uffd/sys.h"

/* Slab @i has no object and is in no list. */
static void release(struct ferry__slabs *slabs, uint32_t i)
{
	struct ferry__slab *slab = ferry__slab_info(slabs, i);
	void *base = ferry__table_at(&slabs->data, i);

	/* Where the kernel refuses, the slab is spare but keeps its pages. */
	if (ferry__sys->madvise(base, slab->pages * ferry__page_size,
				MADV_DONTNEED) == 0) {
		slabs->pages -= slab->pages;
		slab->pages = 0;
	}
	slab->state = FERRY__SLAB_SPARE;
	slab->next = slabs->spare;
	slabs->spare = i + 1;
}

/* Into the groups where the slabs of @class belong now; empty ones go back. */
static uint32_t regroup(struct ferry__slabs *slabs,
			struct ferry__slab_class *class)
{
	uint32_t all[FERRY__SLAB_GROUPS], room = 0, g, i, used;

	memcpy(all, class->group, sizeof(all));
	memset(class->group, 0, sizeof(all));
	for (g = 0; g < FERRY__SLAB_GROUPS; g++)
		while (all[g]) {
			i = ferry__slab_pop(slabs, &all[g]);
			used = ferry__slab_used(slabs,
						ferry__slab_info(slabs, i));
			if (!used) {
				release(slabs, i);
				continue;
			}
			room += class->slots - used;
			ferry__slab_list(slabs, i, used);
		}
	return room;
}

void ferry__slabs_release(struct ferry__slabs *slabs)
{
	uint32_t c;

	ferry__slab_notice(slabs);
	for (c = 0; c < slabs->n_classes; c++)
		regroup(slabs, &slabs->class[c]);
}

/* The slab of the sparsest group, popped; false: none is sparse. */
static bool pop_sparsest(struct ferry__slabs *slabs,
			 struct ferry__slab_class *class, uint32_t *ret_i)
{
	uint32_t g;

	for (g = 0; g < FERRY__SLAB_GROUPS * 3 / 4; g++)
		if (class->group[g]) {
			*ret_i = ferry__slab_pop(slabs, &class->group[g]);
			return true;
		}
	return false;
}

static void move_out(struct ferry__slabs *slabs, uint32_t i,
		     ferry__slab_mover mover, void *arg)
{
	struct ferry__slab *slab = ferry__slab_info(slabs, i);
	struct ferry__slab_class *class = &slabs->class[slab->class];
	ferry__place from, to;
	uint32_t slot;

	for (slot = 0; slot < class->slots; slot++) {
		/* S1: acquire, as in all looks at places. */
		if (!(__atomic_load_n(&slab->bits[slot / 64],
				      __ATOMIC_ACQUIRE) >>
			      slot % 64 &
		      1))
			continue;
		if (ferry__slab_take_listed(slabs, class, UINT64_MAX, &to))
			return;
		from = (ferry__place)i << FERRY__SLAB_SLOT_BITS | slot;
		if (mover(arg, from, to))
			ferry__slabs_free(slabs, from);
		else
			ferry__slabs_free(slabs, to);
	}
}

uint32_t ferry__slabs_survey(struct ferry__slabs *slabs, uint32_t c)
{
	struct ferry__slab_class *class = &slabs->class[c];

	ferry__slab_notice(slabs);
	return regroup(slabs, class) / class->slots;
}

bool ferry__slabs_compact(struct ferry__slabs *slabs, uint32_t c,
			  ferry__slab_mover mover, void *arg)
{
	uint32_t i, used;

	if (!pop_sparsest(slabs, &slabs->class[c], &i))
		return false;
	move_out(slabs, i, mover, arg);
	used = ferry__slab_used(slabs, ferry__slab_info(slabs, i));
	if (used) {
		ferry__slab_list(slabs, i, used);
		return false;
	}
	release(slabs, i);
	return true;
}

/* --- after fork(2) -------------------------------------------------------- */

void ferry__slabs_recount_begin(struct ferry__slabs *slabs)
{
	uint32_t i;

	/* S3, S2: the only thread there is. */
	__atomic_store_n(&slabs->noticed, 0, __ATOMIC_RELAXED);
	for (i = 0; i < slabs->n; i++) {
		struct ferry__slab *slab = ferry__slab_info(slabs, i);

		__atomic_store_n(&slab->noticed, 0, __ATOMIC_RELAXED);
		if (slab->state != FERRY__SLAB_SPARE)
			ferry__slab_clear(slabs, slab);
	}
}

void ferry__slabs_recount_mark(struct ferry__slabs *slabs, ferry__place place)
{
	struct ferry__slab *slab = ferry__slab_info(
		slabs, (uint32_t)(place >> FERRY__SLAB_SLOT_BITS));
	uint32_t slot = place % FERRY__SLAB_SLOTS;
	uint64_t *word = &slab->bits[slot / 64];

	/* S1: the only thread: two steps will do. */
	__atomic_store_n(word,
			 __atomic_load_n(word, __ATOMIC_RELAXED) |
				 (uint64_t)1 << slot % 64,
			 __ATOMIC_RELAXED);
}

void ferry__slabs_recount_end(struct ferry__slabs *slabs)
{
	uint32_t i;

	for (i = 0; i < slabs->n_classes; i++)
		memset(slabs->class[i].group, 0, sizeof(slabs->class[i].group));
	for (i = 0; i < slabs->n; i++) {
		struct ferry__slab *slab = ferry__slab_info(slabs, i);

		if (slab->state != FERRY__SLAB_SPARE)
			ferry__slab_list(slabs, i,
					 ferry__slab_used(slabs, slab));
	}
}
