/* SPDX-License-Identifier: MIT */
/* What children of a fork share with the file store of their parent. */
#include "alloc/store/file.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/store/map.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

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
	ferry__generation_page_free(part->page);
	part->map = NULL;
	part->page = NULL;
}

void ferry__file_inherited_drop(struct ferry__file_inherited *part)
{
	/* FK1: acq_rel: the last comes after what others read there. */
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
	r = ferry__generations_start(&store->generations);
	if (r < 0) {
		ferry__store_unmap(mem, sizeof(*store->spare));
		return r;
	}
	store->spare = mem;
	return 0;
}

void ferry__file_fork_fini(struct ferry__file_store *store)
{
	ferry__generations_fini(&store->generations);
	ferry__store_unmap(store->spare, sizeof(*store->spare));
	store->spare = NULL;
}

void ferry__file_fork_leave(struct ferry__file_store *store)
{
	ferry__file_fork_fini(store);
	ferry__generations_inherit(&store->generations);
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
	ferry__gate_close(&of(base)->calls);
}

void ferry__file_fork_parent(struct ferry__store *base)
{
	struct ferry__file_store *store = of(base);

	if (store->live)
		ferry__generations_forked(&store->generations);
	ferry__gate_open(&store->calls);
}

/* The parent's file becomes a part that is read only. */
static void inherit(struct ferry__file_store *store, void *page)
{
	struct ferry__file_inherited *part = store->spare;

	*part = (struct ferry__file_inherited){
		.next = store->inherited,
		.first = store->slots.first,
		.end = store->slots.n,
		.live = store->live,
		.map = store->io.map,
		.map_len = store->io.map_len,
		.page = page,
	};
	store->inherited = part;
	store->spare = NULL;
}

static void inherit_nothing(struct ferry__file_store *store, void *page)
{
	ferry__generation_page_free(page);
	if (store->io.map)
		ferry__sys->munmap(store->io.map, store->io.map_len);
	ferry__store_unmap(store->spare, sizeof(*store->spare));
	store->spare = NULL;
}

void ferry__file_fork_child(struct ferry__store *base)
{
	struct ferry__file_store *store = of(base);
	void *page = ferry__generations_inherit(&store->generations);

	(store->live ? inherit : inherit_nothing)(store, page);
	ferry__file_forget(&store->io);
	ferry__slots_close(&store->slots);
	store->live = 0;
	store->full = false;
	store->broken = false;
	/* Threads that had them are not here. */
	ferry__file_locks_init(store);
	ferry__gate_fork_child(&store->calls);
}
