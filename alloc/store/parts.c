/* SPDX-License-Identifier: MIT */
/* What is left of the pages of processes that this one descends from. */
#include "alloc/store/parts.h"

#include "alloc/store/map.h"
#include "uffd/sys.h"

int ferry__parts_start(struct ferry__parts *parts, size_t size)
{
	void *mem;
	int r;

	r = ferry__store_map(size, &mem);
	if (r < 0)
		return r;
	r = ferry__generations_start(&parts->generations);
	if (r < 0) {
		ferry__store_unmap(mem, size);
		return r;
	}
	parts->spare = mem;
	return 0;
}

static void drop_spare(struct ferry__parts *parts, size_t size)
{
	ferry__store_unmap(parts->spare, size);
	parts->spare = NULL;
}

void ferry__parts_stop(struct ferry__parts *parts, size_t size)
{
	ferry__generations_fini(&parts->generations);
	drop_spare(parts, size);
}

void ferry__parts_leave(struct ferry__parts *parts, size_t size)
{
	ferry__parts_stop(parts, size);
	ferry__generations_inherit(&parts->generations);
}

void ferry__parts_free(struct ferry__parts *parts, size_t size)
{
	struct ferry__part *part;

	while (parts->list) {
		part = parts->list;
		parts->list = part->next;
		ferry__generation_page_free(part->page);
		ferry__store_unmap(part, size);
	}
}

struct ferry__part *ferry__parts_inherit(struct ferry__parts *parts,
					 size_t size,
					 const struct ferry__slots *slots,
					 uint64_t live)
{
	void *page = ferry__generations_inherit(&parts->generations);
	struct ferry__part *part = parts->spare;

	if (!live) {
		ferry__generation_page_free(page);
		drop_spare(parts, size);
		return NULL;
	}
	*part = (struct ferry__part){
		.next = parts->list,
		.first = slots->first,
		.end = slots->n,
		.live = live,
		.page = page,
	};
	parts->list = part;
	parts->spare = NULL;
	return part;
}

struct ferry__part *ferry__parts_find(const struct ferry__parts *parts,
				      uint64_t i)
{
	struct ferry__part *part = parts->list;

	while (part && (i < part->first || i >= part->end))
		part = part->next;
	return part;
}

bool ferry__part_drop(struct ferry__part *part)
{
	ferry__check(part);
	if (__atomic_sub_fetch(&part->live, 1, __ATOMIC_ACQ_REL)) /* PA1 */
		return false;
	ferry__generation_page_free(part->page);
	part->page = NULL;
	return true;
}

uint64_t ferry__parts_live(const struct ferry__parts *parts)
{
	const struct ferry__part *part;
	uint64_t sum = 0;

	for (part = parts->list; part; part = part->next)
		sum += __atomic_load_n(&part->live, __ATOMIC_RELAXED);
	return sum;
}
