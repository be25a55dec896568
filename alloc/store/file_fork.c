/* SPDX-License-Identifier: MIT */
/* What children of a fork share with the file store of their parent. */
#include "alloc/store/file.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "uffd/sys.h"
#include "uffd/uapi.h"

#define PART_SIZE sizeof(struct ferry__file_inherited)

static struct ferry__file_inherited *of_part(struct ferry__part *part)
{
	return (struct ferry__file_inherited *)part;
}

int ferry__file_inherited_get(struct ferry__file_store *store, uint64_t i,
			      void *page)
{
	const struct ferry__part *part = ferry__parts_find(&store->parts, i);
	const struct ferry__file_inherited *file =
		(const struct ferry__file_inherited *)part;
	char *from;
	int r;

	ferry__check(part);
	from = (char *)file->map + (i - part->first) * ferry__page_size;
	/*
	 * Read in before it is touched: where the device fails, that is an
	 * error instead of SIGBUS. Too old a kernel for it is none.
	 */
	r = ferry__sys->madvise(from, ferry__page_size,
				FERRY__MADV_POPULATE_READ);
	if (r < 0 && r != -EINVAL)
		return -EIO;
	memcpy(page, from, ferry__page_size);
	return 0;
}

static void unmap_file(struct ferry__file_inherited *file)
{
	if (file->map)
		ferry__sys->munmap((void *)file->map, file->map_len);
	file->map = NULL;
}

void ferry__file_inherited_drop(struct ferry__file_store *store, uint64_t i)
{
	struct ferry__part *part = ferry__parts_find(&store->parts, i);

	if (ferry__part_drop(part))
		unmap_file(of_part(part));
}

int ferry__file_fork_init(struct ferry__file_store *store)
{
	return ferry__parts_start(&store->parts, PART_SIZE);
}

void ferry__file_fork_fini(struct ferry__file_store *store)
{
	ferry__parts_stop(&store->parts, PART_SIZE);
}

void ferry__file_fork_leave(struct ferry__file_store *store)
{
	ferry__parts_leave(&store->parts, PART_SIZE);
}

void ferry__file_inherited_free(struct ferry__file_store *store)
{
	struct ferry__part *part;

	for (part = store->parts.list; part; part = part->next)
		unmap_file(of_part(part));
	ferry__parts_free(&store->parts, PART_SIZE);
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
		ferry__generations_forked(&store->parts.generations);
	ferry__gate_open(&store->calls);
}

/* The parent's file becomes a part that is read only. */
static void inherit(struct ferry__file_store *store)
{
	struct ferry__part *part = ferry__parts_inherit(
		&store->parts, PART_SIZE, &store->slots, store->live);

	if (part) {
		of_part(part)->map = store->io.map;
		of_part(part)->map_len = store->io.map_len;
	} else if (store->io.map) {
		ferry__sys->munmap(store->io.map, store->io.map_len);
	}
}

void ferry__file_fork_child(struct ferry__store *base)
{
	struct ferry__file_store *store = of(base);

	inherit(store);
	ferry__file_forget(&store->io);
	ferry__slots_close(&store->slots);
	store->live = 0;
	store->full = false;
	store->broken = false;
	/* Threads that had them are not here. */
	ferry__file_locks_init(store);
	ferry__gate_fork_child(&store->calls);
}
