/* SPDX-License-Identifier: MIT */
/*
 * Regions: lists of reservations, each cut from its beginning on.
 *
 * Lock-free: a cut is a compare-and-swap of `used`, a new region is appended
 * by a compare-and-swap of the last one's `next`. Who loses the latter gives
 * his reservation back and uses the winner's.
 */
#include "alloc/malloc/space.h"

#include <errno.h>
#include <sys/mman.h>

#include "alloc/pager/probe.h"
#include "uffd/reserve.h"
#include "uffd/sys.h"

#define ALIGN	 ((size_t)2 << 20) /* a huge page: moves keep their place */
#define LARGEST	 ((size_t)1 << 46)
#define SMALLEST ((size_t)2 << 20)
/* A block with a region to itself may grow to so many times its size. */
#define ROOM 16

static const struct ferry__space_plan plans[2] = {
	[FERRY__SPACE_HEAP] = { .first_len = (size_t)1 << FERRY__SPACE_SHIFT,
				.part = 8,
				.name = "ferry heap" },
	[FERRY__SPACE_OWN] = { .first_len = (size_t)4 << 30,
			       .part = 32,
			       .name = "ferry malloc" },
};

struct ferry__space ferry__space_first[2];
uintptr_t ferry__space_tag = UINTPTR_MAX;

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

static size_t wish(const struct ferry__space_plan *plan,
		   const struct ferry__space *last)
{
	uint64_t limit = ferry__sys->address_limit();
	size_t len;

	if (limit / plan->part < plan->first_len)
		len = (size_t)limit / plan->part;
	else
		len = last && last->len > plan->first_len / 2 ? last->len * 2
							      : plan->first_len;
	len = round_up(len, ALIGN);
	return len < LARGEST ? len : LARGEST;
}

static void trim(uintptr_t from, uintptr_t to)
{
	if (from < to)
		ferry__sys->munmap((void *)from, to - from);
}

/*
 * Where there is no room for more than @len: the kernel maps downwards, so
 * that what lies right before the first place it finds is likely to be free.
 */
static int reserve_tightly(size_t len, size_t align, uintptr_t *ret_base)
{
	void *p = NULL;
	int r, tries;

	for (tries = 0; tries < 2; tries++) {
		r = ferry__reserve(p, len, &p);
		if (r)
			return r;
		*ret_base = (uintptr_t)p;
		if (!(*ret_base & (align - 1)))
			return 0;
		ferry__sys->munmap(p, len);
		p = (void *)(*ret_base & ~(align - 1));
	}
	return -ENOMEM;
}

/* With more than that the kernel need not be guessed at. */
static int reserve_loosely(size_t len, size_t align, uintptr_t *ret_base)
{
	uintptr_t base;
	void *p;
	int r;

	r = ferry__reserve(NULL, len + align, &p);
	if (r)
		return r;
	base = round_up((uintptr_t)p, align);
	trim((uintptr_t)p, base);
	trim(base + len, (uintptr_t)p + len + align);
	*ret_base = base;
	return 0;
}

/* @len bytes of address space, whole ALIGNs, aligned to @align. */
static int reserve_exactly(const char *name, size_t len, size_t align,
			   uintptr_t *ret_base)
{
	int r;

	r = reserve_loosely(len, align, ret_base);
	if (r)
		r = reserve_tightly(len, align, ret_base);
	if (!r)
		ferry__sys->name_memory((void *)*ret_base, len, name);
	return r;
}

/* As near to @len as can be had, @least at any rate. */
static int reserve(const char *name, size_t len, size_t least,
		   struct ferry__space *region)
{
	int r;

	if (len < least)
		len = least;
	while ((r = reserve_exactly(name, len, ALIGN, &region->base)) &&
	       len > least) {
		len = round_up(len / 2, ALIGN);
		if (len < least)
			len = least;
	}
	if (!r)
		region->len = len;
	return r;
}

int ferry__spaces_init(struct ferry__space *first,
		       const struct ferry__space_plan *plan)
{
	return reserve(plan->name, wish(plan, NULL), SMALLEST, first);
}

int ferry__space_init(enum ferry__space_kind kind)
{
	const struct ferry__space_plan *plan = &plans[kind];
	struct ferry__space *r = &ferry__space_first[kind];
	size_t len = wish(plan, NULL);

	if (kind == FERRY__SPACE_HEAP && len == plan->first_len &&
	    !reserve_exactly(plan->name, len, len, &r->base)) {
		r->len = len;
		ferry__space_tag = r->base >> FERRY__SPACE_SHIFT;
		return 0;
	}
	return ferry__spaces_init(r, plan);
}

struct ferry__space *ferry__space_next(const struct ferry__space *r)
{
	/* N1 pairs with N2 in append(): base and len are there to see. */
	return __atomic_load_n(&r->next, __ATOMIC_ACQUIRE);
}

size_t ferry__space_used(const struct ferry__space *r)
{
	/* Relaxed: a count; whoever got the bytes orders what is in them. */
	return __atomic_load_n(&r->used, __ATOMIC_RELAXED);
}

struct ferry__space *ferry__spaces_of(struct ferry__space *first, const void *p)
{
	struct ferry__space *r = first;

	for (; r; r = ferry__space_next(r))
		if ((uintptr_t)p - r->base < r->len)
			return r;
	return NULL;
}

struct ferry__space *ferry__space_of(enum ferry__space_kind kind, const void *p)
{
	return ferry__spaces_of(&ferry__space_first[kind], p);
}

/*
 * Makes [@from, @to) of @r usable. What lies before it down to the last cut
 * is made so by who cut it, at the same time maybe.
 */
static int open_up(const struct ferry__space *r, size_t from, size_t to)
{
	return ferry__reserve_open((void *)(r->base + from), to - from);
}

/*
 * Takes what lies from @from on back, unless something was cut behind it
 * meanwhile: then it is lost, as address space.
 */
static void uncut(struct ferry__space *r, size_t from, size_t to)
{
	/* Relaxed: see ferry__space_used(). */
	__atomic_compare_exchange_n(&r->used, &to, from, false,
				    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* -ENOSPC: the region has no room for it. */
static int cut_from(struct ferry__space *r, size_t size, size_t align,
		    void **ret_addr)
{
	size_t used = ferry__space_used(r), at;
	int e;

	do {
		at = round_up(r->base + used, align) - r->base;
		if (at > r->len || size > r->len - at)
			return -ENOSPC;
		/* Relaxed: see ferry__space_used(). */
	} while (!__atomic_compare_exchange_n(&r->used, &used, at + size, true,
					      __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	/* The gap before an aligned piece too: it stays one mapping. */
	e = open_up(r, used, at + size);
	if (e) {
		uncut(r, used, at + size);
		return e;
	}
	*ret_addr = (void *)(r->base + at);
	return 0;
}

/* Behind @last, or behind what another thread has put there. */
static void link_last(struct ferry__space *last, struct ferry__space *fresh)
{
	struct ferry__space *none = NULL;

	/* N2 pairs with N1 in ferry__space_next(). */
	while (!__atomic_compare_exchange_n(&last->next, &none, fresh, false,
					    __ATOMIC_RELEASE,
					    __ATOMIC_ACQUIRE)) {
		last = none;
		none = NULL;
	}
}

static int make_region(const struct ferry__space_plan *plan, size_t len,
		       size_t least, struct ferry__space **ret_fresh)
{
	void *p;
	int r;

	r = ferry__sys->mmap(NULL, ferry__page_size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &p);
	if (r)
		return r;
	r = reserve(plan->name, len, least, p);
	if (r)
		ferry__sys->munmap(p, ferry__page_size);
	else
		*ret_fresh = p;
	return r;
}

static void free_region(struct ferry__space *fresh)
{
	ferry__sys->munmap((void *)fresh->base, fresh->len);
	ferry__sys->munmap(fresh, ferry__page_size);
}

static int append(const struct ferry__space_plan *plan,
		  struct ferry__space *last, size_t least)
{
	struct ferry__space *fresh, *none = NULL;
	int r;

	r = make_region(plan, wish(plan, last), least, &fresh);
	if (r)
		return r;
	/* N2 pairs with N1 in ferry__space_next(). */
	if (!__atomic_compare_exchange_n(&last->next, &none, fresh, false,
					 __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		/* Another thread was quicker: his will do. */
		free_region(fresh);
	return 0;
}

int ferry__spaces_cut(struct ferry__space *first,
		      const struct ferry__space_plan *plan, size_t size,
		      size_t align, void **ret_addr)
{
	struct ferry__space *r = first, *next;
	size_t least;
	int e;

	if (size > LARGEST || align > LARGEST)
		return -ENOMEM;
	least = round_up(size + (align > ALIGN ? align : 0), ALIGN);
	for (;;) {
		e = cut_from(r, size, align, ret_addr);
		if (!e)
			FERRY__PROBE2(heap_grown, *ret_addr, size);
		if (e != -ENOSPC)
			return e ? -ENOMEM : 0;
		next = ferry__space_next(r);
		if (!next && append(plan, r, least))
			return -ENOMEM;
		if (next)
			r = next;
	}
}

int ferry__space_cut(enum ferry__space_kind kind, size_t size, size_t align,
		     void **ret_addr)
{
	return ferry__spaces_cut(&ferry__space_first[kind], &plans[kind], size,
				 align, ret_addr);
}

int ferry__space_extend(enum ferry__space_kind kind, void *addr, size_t size)
{
	struct ferry__space *r = ferry__space_of(kind, (char *)addr - 1);
	size_t at, used;
	int e;

	if (!r)
		return -ENOENT;
	at = (uintptr_t)addr - r->base;
	used = at;
	if (size > r->len - at)
		return -ENOSPC;
	/* Relaxed: see ferry__space_used(). */
	if (!__atomic_compare_exchange_n(&r->used, &used, at + size, false,
					 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return -ENOENT;
	e = open_up(r, at, at + size);
	if (e)
		uncut(r, at, at + size);
	return e ? -ENOMEM : 0;
}

bool ferry__space_left(enum ferry__space_kind kind, const void *addr,
		       size_t *ret_left)
{
	struct ferry__space *r = ferry__space_of(kind, (const char *)addr - 1);

	if (!r)
		return false;
	*ret_left = ferry__space_used(r) - ((uintptr_t)addr - r->base);
	return true;
}

int ferry__space_cut_apart(enum ferry__space_kind kind, size_t size,
			   size_t align, void **ret_addr)
{
	const struct ferry__space_plan *plan = &plans[kind];
	struct ferry__space *fresh;
	size_t room;
	int r;

	if (size > LARGEST / ROOM || align > ALIGN ||
	    size > ferry__sys->address_limit() / plan->part / ROOM)
		return -ENOMEM;
	room = round_up(size * ROOM, ALIGN);
	r = make_region(plan, room, room, &fresh);
	if (r)
		return r;
	r = cut_from(fresh, size, ALIGN, ret_addr);
	if (r)
		free_region(fresh);
	else
		link_last(&ferry__space_first[kind], fresh);
	return r;
}

void ferry__space_uncut(enum ferry__space_kind kind, void *addr, size_t size)
{
	struct ferry__space *r = ferry__space_of(kind, addr);

	if (r)
		uncut(r, (uintptr_t)addr - r->base,
		      (uintptr_t)addr - r->base + size);
}

void ferry__spaces_fini(struct ferry__space *first)
{
	struct ferry__space *r = first, *next;

	for (; r; r = next) {
		next = r->next;
		if (r->len)
			ferry__sys->munmap((void *)r->base, r->len);
		if (r != first)
			ferry__sys->munmap(r, ferry__page_size);
	}
	*first = (struct ferry__space){ 0 };
}
