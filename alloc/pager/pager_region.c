/* SPDX-License-Identifier: MIT */
/*
 * Regions: their tables, their limbo, and what of them is registered.
 *
 * Tables and limbo are reserved without access for the whole region and made
 * usable as the region grows, so that strict accounting of memory sees what
 * is used. Limbo never has other rights than the region where pages move.
 */
#include <sys/mman.h>

#include "alloc/pager/pager-internal.h"
#include "uffd/reserve.h"
#include "uffd/uapi.h"

/* Tables grow by this much of a region at least. */
#define COVER_STEP ((size_t)32 << 20)

/* Pieces in which a region is registered, at most about so many. */
#define MAX_PIECES 512

void *ferry__pager_map(size_t size)
{
	void *p;

	return ferry__sys->mmap(NULL, size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &p)
		       ? NULL
		       : p;
}

void ferry__pager_unmap(void *p, size_t size)
{
	if (p)
		ferry__sys->munmap(p, size);
}

struct ferry__pager_region *ferry__region_first(struct ferry__pager *pager)
{
	return __atomic_load_n(&pager->regions, __ATOMIC_ACQUIRE); /* R4 */
}

struct ferry__pager_region *ferry__region_next(struct ferry__pager_region *r)
{
	return __atomic_load_n(&r->next, __ATOMIC_ACQUIRE); /* R4 */
}

struct ferry__pager_region *ferry__region_find(struct ferry__pager *pager,
					       uintptr_t addr)
{
	struct ferry__pager_region *r = ferry__region_first(pager);

	while (r && addr - r->addr >= r->len)
		r = ferry__region_next(r);
	return r;
}

/* --- tables -------------------------------------------------------------- */

static size_t words_size(size_t len)
{
	return len / ferry__page_size * sizeof(uint64_t);
}

static size_t blocks_size(size_t len)
{
	return (len / ferry__page_size / FERRY__BLOCK_PAGES + 1) *
	       sizeof(struct ferry__pager_block);
}

static size_t units_size(size_t len)
{
	return len / FERRY__UNIT_SIZE + 1;
}

static size_t up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

/* Limbo keeps its pages' place within huge pages. */
static int reserve_limbo(size_t len, uintptr_t *ret_addr)
{
	uintptr_t start, end, at;
	void *p;
	int r;

	r = ferry__reserve(NULL, len + FERRY__UNIT_SIZE, &p);
	if (r)
		return r;
	start = (uintptr_t)p;
	end = start + len + FERRY__UNIT_SIZE;
	at = up(start, FERRY__UNIT_SIZE);
	if (at > start)
		ferry__sys->munmap(p, at - start);
	if (end > at + len)
		ferry__sys->munmap((void *)(at + len), end - at - len);
	*ret_addr = at;
	return 0;
}

static void free_region(struct ferry__pager_region *r)
{
	if (r->shadow)
		ferry__sys->munmap((void *)r->shadow, r->len);
	if (r->words)
		ferry__sys->munmap(r->words, words_size(r->len));
	if (r->blocks)
		ferry__sys->munmap(r->blocks, blocks_size(r->len));
	if (r->units)
		ferry__sys->munmap(r->units, units_size(r->len));
	ferry__pager_unmap(r, sizeof(*r));
}

static int reserve_tables(struct ferry__pager_region *r)
{
	void *p;
	int e;

	e = reserve_limbo(r->len, &r->shadow);
	if (e)
		return e;
	e = ferry__reserve(NULL, words_size(r->len), &p);
	if (e)
		return e;
	r->words = p;
	e = ferry__reserve(NULL, blocks_size(r->len), &p);
	if (e)
		return e;
	r->blocks = p;
	r->units = ferry__pager_map(units_size(r->len));
	return r->units ? 0 : -ENOMEM;
}

int ferry__pager_add_region(struct ferry__pager *pager, void *addr, size_t len)
{
	struct ferry__pager_region *r;
	int e;

	if (!len || ((uintptr_t)addr | len) & (FERRY__UNIT_SIZE - 1) ||
	    (uintptr_t)addr + len < len)
		return -EINVAL;
	r = ferry__pager_map(sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->addr = (uintptr_t)addr;
	r->len = len;
	e = reserve_tables(r);
	if (e) {
		free_region(r);
		return e;
	}
	pthread_mutex_lock(&pager->cover);
	__atomic_store_n(pager->last, r, __ATOMIC_RELEASE); /* R4 */
	pager->last = &r->next;
	pthread_mutex_unlock(&pager->cover);
	return 0;
}

void ferry__pager_grow(struct ferry__pager *pager, void *addr, size_t used)
{
	struct ferry__pager_region *r =
		ferry__region_find(pager, (uintptr_t)addr);
	size_t old;

	if (!r)
		return;
	if (used > r->len)
		used = r->len;
	old = __atomic_load_n(&r->used, __ATOMIC_RELAXED); /* R1 */
	while (old < used &&
	       !__atomic_compare_exchange_n(&r->used, &old, used, false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

void ferry__region_free_all(struct ferry__pager *pager)
{
	struct ferry__pager_region *r = pager->regions, *next;

	for (; r; r = next) {
		next = r->next;
		free_region(r);
	}
	pager->regions = NULL;
	pager->last = &pager->regions;
}

static int usable(void *addr, size_t len)
{
	return ferry__reserve_open(addr, up(len, ferry__page_size));
}

static int cover_locked(struct ferry__pager_region *r, size_t used)
{
	size_t to = up(used, COVER_STEP);
	int e;

	if (to > r->len)
		to = r->len;
	if (to <= r->covered)
		return 0;
	e = usable(r->words, words_size(to));
	if (!e)
		e = usable(r->blocks, blocks_size(to));
	if (!e)
		e = usable((void *)r->shadow, to);
	if (e)
		return e;
	ferry__sys->madvise((void *)r->shadow, to, MADV_NOHUGEPAGE);
	__atomic_store_n(&r->covered, to, __ATOMIC_RELEASE); /* R2 */
	return 0;
}

int ferry__region_cover(struct ferry__pager *pager,
			struct ferry__pager_region *region, size_t used)
{
	int r;

	if (used <= ferry__region_covered(region))
		return 0;
	pthread_mutex_lock(&pager->cover);
	r = cover_locked(region, used);
	pthread_mutex_unlock(&pager->cover);
	return r;
}

void ferry__region_clear_limbo(struct ferry__pager_region *region)
{
	/* Locked memory as well. */
	ferry__sys->madvise((void *)region->shadow,
			    ferry__region_covered(region),
			    FERRY__MADV_DONTNEED_LOCKED);
}

/* --- registration -------------------------------------------------------- */

bool ferry__region_out(const struct ferry__pager_region *region, size_t page)
{
	size_t unit = page * ferry__page_size / FERRY__UNIT_SIZE;

	/* R3: after memory was given back, see pager_discard.c. */
	return __atomic_load_n(&region->units[unit], __ATOMIC_SEQ_CST);
}

/*
 * Not ferry_uffd_register(), which looks at the mappings where it is refused:
 * the bell's is in a child, and the program may serve faults of its own in
 * memory of the heap. Gaps are passed over.
 */
int ferry__pager_register(struct ferry__pager *pager, uintptr_t addr,
			  size_t len)
{
	struct ferry__uffdio_register reg = {
		.range = { .start = addr, .len = len },
		.mode = FERRY__REGISTER_MISSING,
	};
	int r;

	r = ferry__sys->ioctl(ferry_uffd_fd(pager->uffd),
			      FERRY__UFFDIO_REGISTER, &reg);
	return r < 0 ? r : 0;
}

static int register_units(struct ferry__pager *pager,
			  struct ferry__pager_region *region, size_t first,
			  size_t n)
{
	size_t offset = first * FERRY__UNIT_SIZE, len = n * FERRY__UNIT_SIZE;
	size_t i;
	int r;

	/* Huge pages would be built anew from what was just taken apart. */
	ferry__sys->madvise((void *)(region->addr + offset), len,
			    MADV_NOHUGEPAGE);
	r = ferry__pager_register(pager, region->shadow + offset, len);
	if (r)
		return r;
	r = pager->service
		    ? ferry__sigbus_attach(pager, region->addr + offset, len)
		    : ferry__pager_register(pager, region->addr + offset, len);
	if (r) {
		ferry_uffd_unregister(pager->uffd,
				      (void *)(region->shadow + offset), len);
		return r;
	}
	for (i = first; i < first + n; i++)
		__atomic_store_n(&region->units[i], 1,
				 __ATOMIC_SEQ_CST); /* R3 */
	return 0;
}

void ferry__region_forget(struct ferry__pager_region *region)
{
	size_t i;

	for (i = 0; i < ferry__region_covered(region) / FERRY__UNIT_SIZE; i++)
		__atomic_store_n(&region->units[i], 0,
				 __ATOMIC_SEQ_CST); /* R3 */
}

/* Few mappings: the bigger the heap, the coarser. */
static size_t piece_units(const struct ferry__pager_region *region)
{
	size_t used = __atomic_load_n(&region->used, __ATOMIC_RELAXED);
	size_t piece = 1;

	while (piece * MAX_PIECES < used / FERRY__UNIT_SIZE)
		piece *= 2;
	return piece;
}

/* Calls @fn for runs of units in [first, end) whose flag is @flag. */
static int each_run(struct ferry__pager *pager,
		    struct ferry__pager_region *region, size_t first,
		    size_t end, uint8_t flag,
		    int (*fn)(struct ferry__pager *,
			      struct ferry__pager_region *, size_t, size_t))
{
	size_t from;
	int r = 0;

	while (!r && first < end) {
		while (first < end && region->units[first] != flag)
			first++;
		from = first;
		while (first < end && region->units[first] == flag)
			first++;
		if (first > from)
			r = fn(pager, region, from, first - from);
	}
	return r;
}

int ferry__region_register(struct ferry__pager *pager,
			   struct ferry__pager_region *region, size_t offset,
			   size_t len)
{
	size_t piece = piece_units(region);
	size_t first = offset / FERRY__UNIT_SIZE / piece * piece;
	size_t end =
		up((offset + len + FERRY__UNIT_SIZE - 1) / FERRY__UNIT_SIZE,
		   piece);
	size_t last = ferry__region_covered(region) / FERRY__UNIT_SIZE;

	return each_run(pager, region, first, end < last ? end : last, 0,
			register_units);
}

int ferry__region_reregister(struct ferry__pager *pager,
			     struct ferry__pager_region *region)
{
	return each_run(pager, region, 0,
			ferry__region_covered(region) / FERRY__UNIT_SIZE, 1,
			register_units);
}
