/* SPDX-License-Identifier: MIT */
/*
 * What of an arena is in memory, from the kernel's page tables.
 *
 * PAGEMAP_SCAN (6.7) tells it by runs. Older kernels have
 * /proc/self/pagemap, a word a page, which knows neither huge pages (those
 * come from AnonHugePages and ShmemPmdMapped of /proc/self/smaps) nor the zero page: such pages
 * count as resident there. Sources: PAGEMAP_SCAN(2const),
 * proc_pid_pagemap(5), proc_pid_smaps(5).
 */
#include "alloc/alloc-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "uffd/pagemap.h"
#include "uffd/uapi.h"

#define REGIONS 128

/* --- PAGEMAP_SCAN --------------------------------------------------------- */

static void add_region(struct ferry_arena_stats *st,
		       const struct ferry__page_region *region)
{
	size_t len = region->end - region->start;

	if (region->categories & FERRY__PAGE_IS_SWAPPED)
		st->swapped += len;
	if (!(region->categories & FERRY__PAGE_IS_PRESENT))
		return;
	/* The huge zero page is no memory of the arena's either. */
	if (region->categories & FERRY__PAGE_IS_PFNZERO) {
		st->zero += len;
		return;
	}
	st->resident += len;
	if (region->categories & FERRY__PAGE_IS_HUGE)
		st->huge += len;
}

static int scan(int fd, const char *base, size_t len,
		struct ferry_arena_stats *st)
{
	const uint64_t categories =
		FERRY__PAGE_IS_PRESENT | FERRY__PAGE_IS_SWAPPED |
		FERRY__PAGE_IS_PFNZERO | FERRY__PAGE_IS_HUGE;
	struct ferry__page_region region[REGIONS];
	struct ferry__pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)base,
		.end = (uintptr_t)base + len,
		.vec = (uintptr_t)region,
		.vec_len = REGIONS,
		.category_anyof_mask = FERRY__PAGE_IS_PRESENT |
				       FERRY__PAGE_IS_SWAPPED,
		.return_mask = categories,
	};
	int i, n;

	do {
		n = ferry__sys->ioctl(fd, FERRY__PAGEMAP_SCAN, &arg);
		if (n < 0)
			return n;
		for (i = 0; i < n; i++)
			add_region(st, &region[i]);
		/*
		 * walk_end can stay behind the last region when the kernel
		 * flushed its buffer in between; resuming there would count
		 * twice.
		 */
		if (n && region[n - 1].end > arg.walk_end)
			arg.walk_end = region[n - 1].end;
		arg.start = arg.walk_end;
	} while (n == REGIONS && arg.start < arg.end);
	return 0;
}

/* --- older kernels -------------------------------------------------------- */

static int read_pagemap(int fd, const char *base, size_t len,
			struct ferry_arena_stats *st)
{
	uint64_t word[FERRY__WORDS];
	size_t left = len / ferry__page_size;
	int i, n;

	for (; left; left -= (size_t)n) {
		n = ferry__pagemap_read(fd, (uintptr_t)base, left, word);
		if (n < 0)
			return n;
		for (i = 0; i < n; i++) {
			if (word[i] & FERRY__PM_PRESENT)
				st->resident += ferry__page_size;
			else if (word[i] & FERRY__PM_SWAP)
				st->swapped += ferry__page_size;
		}
		base += (size_t)n * ferry__page_size;
	}
	return 0;
}

/* Only committed parts, so that a huge reservation costs nothing. */
static int read_committed(int fd, const struct ferry_arena *arena,
			  struct ferry_arena_stats *st)
{
	size_t end = ferry_arena_reserved(arena) / ferry__page_size;
	size_t page, stop = 0;
	int r;

	for (;;) {
		page = ferry__pages_find(&arena->pages, stop, end,
					 FERRY__CODE(FERRY_PAGE_ABSENT), false);
		if (page >= end)
			return 0;
		stop = ferry__pages_find(&arena->pages, page, end,
					 FERRY__CODE(FERRY_PAGE_ABSENT), true);
		r = read_pagemap(fd, arena->base + page * ferry__page_size,
				 (stop - page) * ferry__page_size, st);
		if (r < 0)
			return r;
	}
}

/* State of the line reader over /proc/self/smaps. */
struct smaps {
	uintptr_t base, end;
	bool inside; /* the mapping being read lies in the arena */
	size_t huge;
};

static bool starts(const char *line, const char *field)
{
	return !strncmp(line, field, strlen(field));
}

static void smaps_line(struct smaps *s, const char *line)
{
	char *next;
	uintptr_t from, to;

	if (starts(line, "AnonHugePages:") || starts(line, "ShmemPmdMapped:")) {
		if (s->inside)
			s->huge += strtoull(strchr(line, ':') + 1, NULL, 10) *
				   1024;
		return;
	}
	from = strtoull(line, &next, 16);
	if (next == line || *next != '-')
		return;
	to = strtoull(next + 1, &next, 16);
	s->inside = from < s->end && to > s->base;
}

/* Feeds whole lines to smaps_line(); longer ones are cut, which harms none. */
static int read_lines(int fd, struct smaps *s)
{
	char buf[4096], *line, *nl;
	size_t have = 0;
	ssize_t n;

	for (;;) {
		n = ferry__sys->read(fd, buf + have, sizeof(buf) - 1 - have);
		if (n <= 0)
			return (int)n;
		have += (size_t)n;
		buf[have] = '\0';
		line = buf;
		while ((nl = strchr(line, '\n'))) {
			*nl = '\0';
			smaps_line(s, line);
			line = nl + 1;
		}
		have = (size_t)(buf + have - line);
		if (have == sizeof(buf) - 1)
			have = 0;
		memmove(buf, line, have);
	}
}

static int read_huge(const struct ferry_arena *arena,
		     struct ferry_arena_stats *st)
{
	struct smaps s = { .base = (uintptr_t)arena->base,
			   .end = (uintptr_t)arena->base + arena->reserved };
	int fd, r;

	fd = ferry__sys->open("/proc/self/smaps", O_RDONLY);
	if (fd < 0)
		return fd;
	r = read_lines(fd, &s);
	ferry__sys->close(fd);
	st->huge = s.huge < st->resident ? s.huge : st->resident;
	return r;
}

/* --- both ----------------------------------------------------------------- */

int ferry__arena_resident(const struct ferry_arena *arena,
			  struct ferry_arena_stats *st)
{
	size_t reserved = ferry_arena_reserved(arena);
	int fd, r;

	fd = ferry__sys->open("/proc/self/pagemap", O_RDONLY);
	if (fd < 0)
		return fd;
	r = scan(fd, arena->base, reserved, st);
	if (r == -ENOTTY || r == -EINVAL) {
		r = read_committed(fd, arena, st);
		if (r == 0)
			r = read_huge(arena, st);
	}
	ferry__sys->close(fd);
	return r;
}

int ferry_arena_stats(struct ferry_arena *arena,
		      struct ferry_arena_stats *ret_stats)
{
	struct ferry_arena_stats st = { 0 };
	size_t size;
	int r, i;

	if (!ret_stats)
		return -EINVAL;
	r = ferry__params_copy(&st, sizeof(st), ret_stats,
			       offsetof(struct ferry_arena_stats, resident));
	if (r < 0)
		return r;
	size = st.size;
	memset(&st, 0, sizeof(st));
	r = ferry__arena_range(arena, 0, ferry_arena_reserved(arena));
	if (r < 0)
		return r;
	pthread_mutex_lock(&arena->lock);
	r = ferry__arena_resident(arena, &st);
	st.reserved = arena->reserved;
	for (i = 0; i < FERRY_PAGE_STATES; i++)
		st.pages[i] =
			ferry__pages_count(&arena->pages, i) * ferry__page_size;
	st.commits = arena->commits;
	st.decommits = arena->decommits;
	st.grows = arena->grows;
	pthread_mutex_unlock(&arena->lock);
	if (r < 0)
		return r;
	st.size = size;
	memcpy(ret_stats, &st, size < sizeof(st) ? size : sizeof(st));
	return 0;
}
