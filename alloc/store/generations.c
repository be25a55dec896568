/* SPDX-License-Identifier: MIT */
/* Slots that children of a fork go on using. */
#include "alloc/store/generations.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "alloc/store/map.h"
#include "uffd/sys.h"

/* MFD_NOEXEC_SEAL (6.3), which implies that it can be sealed. */
#define NOT_EXECUTABLE 0x8u

/* Forks from one check to the next. */
struct ferry__generation {
	struct ferry__generation *next; /* older */
	uint32_t number;
	bool forked;
	int fd;	    /* of the shared page; -1: there is none */
	void *page; /* mapped until the generation ends, then NULL */
};

static int shared_page(void **ret_page)
{
	int r, fd = ferry__sys->memfd_create("ferry-fork",
					     MFD_CLOEXEC | NOT_EXECUTABLE);

	if (fd == -EINVAL)
		fd = ferry__sys->memfd_create("ferry-fork",
					      MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return fd;
	r = ferry__sys->mmap(NULL, ferry__page_size, PROT_READ | PROT_WRITE,
			     MAP_SHARED, fd, 0, ret_page);
	if (r == 0)
		return fd;
	ferry__sys->close(fd);
	return r;
}

static int generation_start(struct ferry__generations *all, uint32_t number)
{
	struct ferry__generation *generation;
	void *mem;
	int r;

	r = ferry__store_map(sizeof(*generation), &mem);
	if (r < 0)
		return r;
	generation = mem;
	generation->number = number;
	generation->fd = shared_page(&generation->page);
	/* Of a later one that is asked for, the next look will do (G3). */
	if (generation->fd < 0 && all->newest) {
		r = generation->fd;
		ferry__store_unmap(mem, sizeof(*generation));
		return r;
	}
	generation->next = all->newest;
	all->newest = generation;
	/*
	 * G4: relaxed: who still reads the number before holds the slot for
	 * children that do not know it; forks are kept apart by the owner.
	 */
	__atomic_store_n(&all->number, number, __ATOMIC_RELAXED);
	return 0;
}

void ferry__generation_page_free(void *page)
{
	if (page)
		ferry__sys->munmap(page, ferry__page_size);
}

static void unmap_page(struct ferry__generation *generation)
{
	ferry__generation_page_free(generation->page);
	generation->page = NULL;
}

/* In a child @close is false: the descriptor is in another table. */
static void generation_free(struct ferry__generation *generation, bool close)
{
	unmap_page(generation);
	if (close && generation->fd >= 0)
		ferry__sys->close(generation->fd);
	ferry__store_unmap(generation, sizeof(*generation));
}

static void generations_free(struct ferry__generations *all, bool close)
{
	struct ferry__generation *generation;

	while (all->newest) {
		generation = all->newest;
		all->newest = generation->next;
		generation_free(generation, close);
	}
}

/* G2: can it be sealed, then nobody has it mapped. */
static bool extinct(const struct ferry__generation *generation)
{
	return !generation->page && generation->fd >= 0 &&
	       ferry__sys->fcntl(generation->fd, F_ADD_SEALS, F_SEAL_WRITE) ==
		       0;
}

/* Forgets those that died out; returns whether there were any. */
static bool bury(struct ferry__generations *all)
{
	struct ferry__generation **link = &all->newest;
	struct ferry__generation *generation;
	bool any = false;

	while (*link) {
		generation = *link;
		if (!extinct(generation)) {
			link = &generation->next;
			continue;
		}
		*link = generation->next;
		generation_free(generation, true);
		any = true;
	}
	return any;
}

static void find_living(struct ferry__generations *all)
{
	struct ferry__generation *generation = all->newest;

	while (generation && !generation->forked)
		generation = generation->next;
	/*
	 * G5: relaxed: a drop that still reads the older, greater number
	 * holds a slot until the next look; it grows around forks only.
	 */
	__atomic_store_n(&all->living, generation ? generation->number + 1 : 0,
			 __ATOMIC_RELAXED);
}

/* --- slots ---------------------------------------------------------------- */

/*
 * Of a slot that is held, .sum is the newest generation that lived when it
 * was dropped: later ones never knew it.
 */
static bool needed(const struct ferry__generations *all,
		   const struct ferry__slot *slot)
{
	const struct ferry__generation *generation;

	for (generation = all->newest; generation;
	     generation = generation->next)
		if (generation->forked && generation->number >= slot->born &&
		    generation->number <= slot->sum)
			return true;
	return false;
}

static void let_go(struct ferry__generations *all)
{
	uint64_t i, next = ferry__slots_take_stack(&all->held);

	while (next) {
		i = next - 1;
		next = ferry__slots_at(all->slots, i)->next;
		if (needed(all, ferry__slots_at(all->slots, i)))
			ferry__slots_push(all->slots, &all->held, i);
		else
			all->free(all->arg, i);
	}
}

uint32_t ferry__generations_now(const struct ferry__generations *all)
{
	/* G4 */
	return __atomic_load_n(&all->number, __ATOMIC_RELAXED);
}

void ferry__generations_drop(struct ferry__generations *all, uint64_t i)
{
	struct ferry__slot *slot = ferry__slots_at(all->slots, i);
	/* G5 */
	uint32_t living = __atomic_load_n(&all->living, __ATOMIC_RELAXED);

	if (slot->born >= living) {
		all->free(all->arg, i);
		return;
	}
	slot->sum = living - 1;
	ferry__slots_push(all->slots, &all->held, i);
}

/* --- the owner's calls ---------------------------------------------------- */

int ferry__generations_start(struct ferry__generations *all)
{
	return generation_start(all, 0);
}

void ferry__generations_fini(struct ferry__generations *all)
{
	generations_free(all, true);
}

void ferry__generations_check(struct ferry__generations *all)
{
	struct ferry__generation *newest = all->newest;

	if (!newest)
		return;
	if (newest->forked && generation_start(all, newest->number + 1) == 0)
		unmap_page(newest);
	if (!bury(all))
		return;
	find_living(all);
	let_go(all);
}

bool ferry__generations_any(const struct ferry__generations *all)
{
	/* G5 */
	return __atomic_load_n(&all->living, __ATOMIC_RELAXED);
}

void ferry__generations_forked(struct ferry__generations *all)
{
	all->newest->forked = true;
	find_living(all);
}

void *ferry__generations_inherit(struct ferry__generations *all)
{
	void *page = NULL;

	if (all->newest) {
		page = all->newest->page;
		all->newest->page = NULL;
	}
	generations_free(all, false);
	all->number = 0;
	all->living = 0;
	all->held = 0;
	return page;
}
