/* SPDX-License-Identifier: MIT */
/* From physical addresses to those of a process. */
#include "tools/ferryctl/frames.h"

#include <stdlib.h>

#include "tools/ferryctl/mappings.h"

struct search {
	struct ctl_pages pages;
	struct ctl_frame *frames;
	size_t n;
};

static int by_frame(const void *a, const void *b)
{
	const struct ctl_frame *x = a, *y = b;

	return (x->frame > y->frame) - (x->frame < y->frame);
}

/* The first that has at least @frame. */
static size_t lower_bound(const struct search *search, uint64_t frame)
{
	size_t from = 0, to = search->n, middle;

	while (from < to) {
		middle = from + (to - from) / 2;
		if (search->frames[middle].frame < frame)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

static int look_for(void *arg, uint64_t frame, uint64_t addr)
{
	struct search *search = arg;
	size_t i = lower_bound(search, frame);

	/* The same frame may be asked for more than once. */
	for (; i < search->n && search->frames[i].frame == frame; i++)
		search->frames[i].addr = addr;
	return 0;
}

static int search_mapping(void *arg, const struct ctl_mapping *mapping)
{
	struct search *search = arg;

	/* Of memory that is mapped by frames alone smaps counts nothing. */
	if (!mapping->amount[CTL_RSS] && !mapping->amount[CTL_HUGETLB])
		return 0;
	return ctl_pages_frames(&search->pages, mapping->start, mapping->end,
				look_for, search);
}

int ctl_frames_find(const struct ctl_process *process, struct ctl_frame *frames,
		    size_t n)
{
	struct search search = { .frames = frames, .n = n };
	size_t i;
	int r;

	for (i = 0; i < n; i++)
		frames[i].addr = 0;
	qsort(frames, n, sizeof(*frames), by_frame);
	r = ctl_pages_open(&search.pages, process);
	if (r < 0)
		return r;
	r = ctl_mappings_walk(process, search_mapping, &search);
	ctl_pages_close(&search.pages);
	return r;
}
