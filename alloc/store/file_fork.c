/* SPDX-License-Identifier: MIT */
/* What children of a fork share with the file store of their parent. */
#include "alloc/store/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/store/map.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

/* MFD_NOEXEC_SEAL (6.3), which implies that it can be sealed. */
#define NOT_EXECUTABLE 0x8u

/* --- generations ---------------------------------------------------------- */

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

static int generation_start(struct ferry__file_store *store, uint32_t number)
{
	struct ferry__file_generation *generation;
	void *mem;
	int r;

	r = ferry__store_map(sizeof(*generation), &mem);
	if (r < 0)
		return r;
	generation = mem;
	generation->number = number;
	generation->fd = shared_page(&generation->page);
	generation->next = store->generations;
	store->generations = generation;
	/*
	 * FK1: relaxed: who still reads the number before holds the slot for
	 * children that do not know it; forks are kept apart by .calls.
	 */
	__atomic_store_n(&store->generation, number, __ATOMIC_RELAXED);
	return 0;
}

static void unmap_page(struct ferry__file_generation *generation)
{
	if (generation->page)
		ferry__sys->munmap(generation->page, ferry__page_size);
	generation->page = NULL;
}

/* In a child @close is false: the descriptor is in another table. */
static void generation_free(struct ferry__file_generation *generation,
			    bool close)
{
	unmap_page(generation);
	if (close && generation->fd >= 0)
		ferry__sys->close(generation->fd);
	ferry__store_unmap(generation, sizeof(*generation));
}

static void generations_free(struct ferry__file_store *store, bool close)
{
	struct ferry__file_generation *generation;

	while (store->generations) {
		generation = store->generations;
		store->generations = generation->next;
		generation_free(generation, close);
	}
}

/* FF3: can it be sealed, then nobody has it mapped. */
static bool extinct(const struct ferry__file_generation *generation)
{
	return !generation->page && generation->fd >= 0 &&
	       ferry__sys->fcntl(generation->fd, F_ADD_SEALS, F_SEAL_WRITE) ==
		       0;
}

/* Forgets those that died out; returns whether there were any. */
static bool bury(struct ferry__file_store *store)
{
	struct ferry__file_generation **link = &store->generations;
	struct ferry__file_generation *generation;
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

static void find_living(struct ferry__file_store *store)
{
	struct ferry__file_generation *generation = store->generations;

	while (generation && !generation->forked)
		generation = generation->next;
	/*
	 * FK2: relaxed: a drop that still reads the older, greater number
	 * holds a slot until the next look; it grows under .calls only.
	 */
	__atomic_store_n(&store->living,
			 generation ? generation->number + 1 : 0,
			 __ATOMIC_RELAXED);
}

/* --- slots that are held for children ------------------------------------- */

/* FK4: the release that who takes the stack as a whole acquires. */
static void hold(struct ferry__file_store *store, uint64_t i)
{
	struct ferry__slot *slot = ferry__slots_at(&store->slots, i);
	uint64_t top = __atomic_load_n(&store->held, __ATOMIC_RELAXED);

	do
		slot->next = (uint32_t)top;
	while (!__atomic_compare_exchange_n(&store->held, &top, i + 1, true,
					    __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED));
}

/*
 * Of a slot that is held, .sum is the newest generation that lived when it
 * was dropped: later ones never knew it.
 */
static bool needed(const struct ferry__file_store *store,
		   const struct ferry__slot *slot)
{
	const struct ferry__file_generation *generation;

	for (generation = store->generations; generation;
	     generation = generation->next)
		if (generation->forked && generation->number >= slot->born &&
		    generation->number <= slot->sum)
			return true;
	return false;
}

static void let_go(struct ferry__file_store *store)
{
	/* FK4 */
	uint64_t i,
		next = __atomic_exchange_n(&store->held, 0, __ATOMIC_ACQUIRE);

	while (next) {
		i = next - 1;
		next = ferry__slots_at(&store->slots, i)->next;
		if (needed(store, ferry__slots_at(&store->slots, i)))
			hold(store, i);
		else
			ferry__slots_free(&store->slots, i);
	}
}

void ferry__file_release(struct ferry__file_store *store, uint64_t i)
{
	struct ferry__slot *slot = ferry__slots_at(&store->slots, i);
	/* FK2 */
	uint32_t living = __atomic_load_n(&store->living, __ATOMIC_RELAXED);

	if (slot->born >= living) {
		ferry__slots_free(&store->slots, i);
		return;
	}
	slot->sum = living - 1;
	hold(store, i);
}

void ferry__file_generation_check(struct ferry__file_store *store)
{
	struct ferry__file_generation *newest = store->generations;

	if (!newest)
		return;
	if (newest->forked && generation_start(store, newest->number + 1) == 0)
		unmap_page(newest);
	if (!bury(store))
		return;
	find_living(store);
	let_go(store);
}

/* --- what is inherited ---------------------------------------------------- */

struct ferry__file_inherited *
ferry__file_inherited_of(struct ferry__file_store *store, uint64_t i)
{
	struct ferry__file_inherited *part = store->inherited;

	while (part && (i < part->first || i >= part->end))
		part = part->next;
	ferry__check(part);
	return part;
}

int ferry__file_inherited_get(const struct ferry__file_inherited *part,
			      uint64_t i, void *page)
{
	char *from = (char *)part->map + (i - part->first) * ferry__page_size;

	/*
	 * Read in before it is touched: where the device fails, that is an
	 * error instead of SIGBUS. Too old a kernel for it is none.
	 */
	int r = ferry__sys->madvise(from, ferry__page_size,
				    FERRY__MADV_POPULATE_READ);

	if (r < 0 && r != -EINVAL)
		return -EIO;
	memcpy(page, from, ferry__page_size);
	return 0;
}

static void inherited_unmap(struct ferry__file_inherited *part)
{
	if (part->map)
		ferry__sys->munmap((void *)part->map, part->map_len);
	if (part->page)
		ferry__sys->munmap(part->page, ferry__page_size);
	part->map = NULL;
	part->page = NULL;
}

void ferry__file_inherited_drop(struct ferry__file_inherited *part)
{
	/* FK3: acq_rel: the last comes after what others read there. */
	if (__atomic_sub_fetch(&part->live, 1, __ATOMIC_ACQ_REL) == 0)
		inherited_unmap(part);
}

int ferry__file_fork_init(struct ferry__file_store *store)
{
	void *mem;
	int r;

	r = ferry__store_map(sizeof(*store->spare), &mem);
	if (r < 0)
		return r;
	r = generation_start(store, 0);
	if (r < 0) {
		ferry__store_unmap(mem, sizeof(*store->spare));
		return r;
	}
	store->spare = mem;
	return 0;
}

void ferry__file_fork_fini(struct ferry__file_store *store)
{
	generations_free(store, true);
	ferry__store_unmap(store->spare, sizeof(*store->spare));
	store->spare = NULL;
}

void ferry__file_inherited_free(struct ferry__file_store *store)
{
	struct ferry__file_inherited *part;

	while (store->inherited) {
		part = store->inherited;
		store->inherited = part->next;
		inherited_unmap(part);
		ferry__store_unmap(part, sizeof(*part));
	}
}

/* --- around fork(2) ------------------------------------------------------- */

static struct ferry__file_store *of(struct ferry__store *base)
{
	return (struct ferry__file_store *)base;
}

void ferry__file_fork_prepare(struct ferry__store *base)
{
	pthread_rwlock_wrlock(&of(base)->calls);
}

void ferry__file_fork_parent(struct ferry__store *base)
{
	struct ferry__file_store *store = of(base);

	if (store->live) {
		store->generations->forked = true;
		find_living(store);
	}
	pthread_rwlock_unlock(&store->calls);
}

/* The parent's file becomes a part that is read only. */
static void inherit(struct ferry__file_store *store)
{
	struct ferry__file_inherited *part = store->spare;

	*part = (struct ferry__file_inherited){
		.next = store->inherited,
		.first = store->slots.first,
		.end = store->slots.n,
		.live = store->live,
		.map = store->io.map,
		.map_len = store->io.map_len,
		.page = store->generations->page,
	};
	store->generations->page = NULL;
	store->inherited = part;
	store->spare = NULL;
}

void ferry__file_fork_child(struct ferry__store *base)
{
	struct ferry__file_store *store = of(base);

	if (store->live)
		inherit(store);
	else if (store->io.map)
		ferry__sys->munmap(store->io.map, store->io.map_len);
	generations_free(store, false);
	ferry__store_unmap(store->spare, sizeof(*store->spare));
	store->spare = NULL;
	ferry__file_forget(&store->io);
	ferry__slots_close(&store->slots);
	store->generation = 0;
	store->living = 0;
	store->held = 0;
	store->live = 0;
	store->full = false;
	store->broken = false;
	/* Threads that had them are not here; unlocking knows them by number. */
	ferry__file_locks_init(store);
}
