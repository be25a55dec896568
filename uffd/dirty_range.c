/* SPDX-License-Identifier: MIT */
/* Armed ranges, sets of them, and the runs that a collection hands out. */
#include "uffd/dirty.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "uffd/sys.h"

int ferry__dirty_alloc(size_t size, void **ret_p)
{
	return ferry__sys->mmap(NULL, size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, ret_p);
}

void ferry__dirty_free(void *p, size_t size)
{
	if (p)
		ferry__sys->munmap(p, size);
}

int ferry__dirty_register(struct ferry_dirty *dirty, void *addr, size_t len,
			  enum ferry_reason *reason)
{
	int r = ferry_uffd_register(dirty->uffd, addr, len, FERRY_REGISTER_WP,
				    reason);

	if (r != -EEXIST)
		return r;
	r = ferry_uffd_unregister(dirty->uffd, addr, len);
	if (r) {
		*reason = FERRY_REASON_NO_MEMORY;
		return r;
	}
	return ferry_uffd_register(dirty->uffd, addr, len, FERRY_REGISTER_WP,
				   reason);
}

int ferry__dirty_set_alloc(size_t n, struct ferry__dirty_set **ret_set)
{
	size_t size = sizeof(struct ferry__dirty_set) +
		      n * sizeof(struct ferry__dirty_range *);
	void *p;
	int r;

	r = ferry__dirty_alloc(size, &p);
	if (r)
		return r;
	*ret_set = p;
	(*ret_set)->mapped = size;
	return 0;
}

/* Index of the first range that ends above @addr. */
static size_t set_index(const struct ferry__dirty_set *set, uintptr_t addr)
{
	size_t low = 0, high = set ? set->n : 0, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (set->at[mid]->end > addr)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

struct ferry__dirty_range *
ferry__dirty_set_find(const struct ferry__dirty_set *set, uintptr_t addr)
{
	size_t i = set_index(set, addr);

	return set && i < set->n ? set->at[i] : NULL;
}

int ferry__dirty_set_with(const struct ferry__dirty_set *set,
			  struct ferry__dirty_range *range,
			  struct ferry__dirty_set **ret_set)
{
	size_t i, n = set ? set->n : 0, place = set_index(set, range->start);
	struct ferry__dirty_set *copy;
	int r;

	r = ferry__dirty_set_alloc(n + 1, &copy);
	if (r)
		return r;
	for (i = 0; i < place; i++)
		copy->at[i] = set->at[i];
	copy->at[place] = range;
	for (i = place; i < n; i++)
		copy->at[i + 1] = set->at[i];
	copy->n = n + 1;
	*ret_set = copy;
	return 0;
}

void ferry__dirty_set_without(const struct ferry__dirty_set *set,
			      const struct ferry__dirty_range *range,
			      struct ferry__dirty_set *to)
{
	size_t i, k = 0;

	for (i = 0; i < set->n; i++)
		if (set->at[i] != range)
			to->at[k++] = set->at[i];
	to->n = k;
}

void ferry__dirty_set_free(struct ferry__dirty_set *set)
{
	if (set)
		ferry__dirty_free(set, set->mapped);
}

static bool touches(const struct ferry__dirty_scan *scan, uintptr_t start)
{
	const struct ferry_range *last;

	if (!scan->n)
		return false;
	last = &scan->runs[scan->n - 1];
	return (uintptr_t)last->addr + last->len == start;
}

bool ferry__dirty_emit(struct ferry__dirty_scan *scan, uintptr_t start,
		       uintptr_t end)
{
	if (touches(scan, start)) {
		scan->runs[scan->n - 1].len += end - start;
		return true;
	}
	if (scan->n == scan->max)
		return false;
	scan->runs[scan->n].addr = (void *)start;
	scan->runs[scan->n].len = end - start;
	scan->n++;
	return true;
}

int ferry__dirty_refused(int error)
{
	switch (error) {
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
	case -EAGAIN:
	case -EBUSY:
		return error;
	default:
		return -EOPNOTSUPP;
	}
}

int ferry__dirty_pagemap(enum ferry_reason *reason)
{
	int fd = ferry__sys->open("/proc/self/pagemap", O_RDONLY);

	if (fd == -EACCES || fd == -EPERM)
		*reason = FERRY_REASON_NO_PERMISSION;
	else if (fd == -EMFILE || fd == -ENFILE)
		*reason = FERRY_REASON_DESCRIPTOR_LIMIT;
	else if (fd < 0)
		*reason = FERRY_REASON_NOT_SUPPORTED;
	return fd;
}

int ferry__dirty_words(const struct ferry_dirty *dirty, uintptr_t addr,
		       size_t n, uint64_t *words)
{
	ssize_t got;

	do {
		got = ferry__sys->pread(
			dirty->pagemap, words, n * sizeof(*words),
			(off_t)(addr / ferry__page_size * sizeof(*words)));
	} while (got == -EINTR);
	if (got < 0)
		return (int)got;
	/* The end of the file lies above all user memory: the mm is gone. */
	return got < (ssize_t)sizeof(*words)
		       ? -EIO
		       : (int)(got / (ssize_t)sizeof(*words));
}
