/* SPDX-License-Identifier: MIT */
/*
 * Extents of the large space: boundary tags, so that an extent that becomes
 * free finds its neighbours (D. Knuth, The Art of Computer Programming 1,
 * 2.5), and segregated bins, so that one of a size is found at once.
 */
#include "runtime/extent.h"

#include "runtime/heap-internal.h"

/* So many extents of a bin are compared before a bigger one is split. */
#define BIN_LOOK 32u

/* --- tags ----------------------------------------------------------------- */

static void tag_extent(struct ferry__large *large, struct ferry__extent e,
		       uint64_t flags)
{
	ferry__extent_set_tag(large, e.first, e.n | flags);
	ferry__extent_set_tag(large, e.first + e.n - 1, e.n | flags);
}

/* L2: release, for ferry__large_next(): pages below are in order. */
static void set_used_end(struct ferry__large *large, size_t page)
{
	atomic_store_explicit(&large->used_end, page, memory_order_release);
}

/* --- bins ----------------------------------------------------------------- */

unsigned int ferry__extent_bin(size_t n)
{
	unsigned int e;

	if (n < 16)
		return (unsigned int)n;
	e = 63u - (unsigned int)__builtin_clzll(n);
	return 16 + (e - 4) * 4 + (unsigned int)(n >> (e - 2) & 3);
}

static struct ferry__large_bins *bins_of(struct ferry__large *large,
					 uint64_t tag)
{
	return &large->bins[(tag & FERRY__EXTENT_DIRTY) != 0];
}

static void bin_insert(struct ferry__large *large, struct ferry__extent e,
		       uint64_t tag)
{
	struct ferry__large_bins *bins = bins_of(large, tag);
	unsigned int bin = ferry__extent_bin(e.n);
	uint32_t head = bins->head[bin];
	uint32_t self = (uint32_t)e.first + 1;

	large->link[e.first] = (struct ferry__large_link){ .next = head };
	if (head)
		large->link[head - 1].prev = self;
	bins->head[bin] = self;
	bins->some[bin / 64] |= 1ull << bin % 64;
}

static void bin_remove(struct ferry__large *large, struct ferry__extent e,
		       uint64_t tag)
{
	struct ferry__large_bins *bins = bins_of(large, tag);
	struct ferry__large_link link = large->link[e.first];
	unsigned int bin = ferry__extent_bin(e.n);

	if (link.next)
		large->link[link.next - 1].prev = link.prev;
	if (link.prev)
		large->link[link.prev - 1].next = link.next;
	else
		bins->head[bin] = link.next;
	if (!bins->head[bin])
		bins->some[bin / 64] &= ~(1ull << bin % 64);
}

/* The best of the first @look extents in @bin for @n pages; first + 1 or 0. */
static uint32_t bin_best(const struct ferry__large *large,
			 const struct ferry__large_bins *bins, unsigned int bin,
			 size_t n, unsigned int look)
{
	uint32_t at, best = 0;
	size_t have, least = SIZE_MAX;

	for (at = bins->head[bin]; at && look; look--) {
		have = ferry__extent_tag(large, at - 1) & FERRY__EXTENT_PAGES;
		if (have >= n && have < least) {
			least = have;
			best = at;
		}
		at = large->link[at - 1].next;
	}
	return best;
}

/* The lowest bin at or above @bin that has extents; FERRY__LARGE_BINS. */
static unsigned int bin_some(const struct ferry__large_bins *bins,
			     unsigned int bin)
{
	unsigned int word = bin / 64;
	uint64_t bits;

	if (bin >= FERRY__LARGE_BINS)
		return FERRY__LARGE_BINS;
	bits = bins->some[word] & ~0ull << bin % 64;
	while (!bits && ++word < FERRY__LARGE_WORDS)
		bits = bins->some[word];
	if (!bits)
		return FERRY__LARGE_BINS;
	return word * 64 + (unsigned int)__builtin_ctzll(bits);
}

/* An extent of @n pages at least: first + 1, or 0. Everything in a higher
 * bin is big enough. */
static uint32_t bins_find(const struct ferry__large *large,
			  const struct ferry__large_bins *bins, size_t n,
			  unsigned int look)
{
	unsigned int bin = ferry__extent_bin(n);
	uint32_t at = bin_best(large, bins, bin, n, look);

	if (at)
		return at;
	bin = bin_some(bins, bin + 1);
	return bin < FERRY__LARGE_BINS ? bins->head[bin] : 0;
}

/* --- free extents --------------------------------------------------------- */

static void take_out(struct ferry__large *large, struct ferry__extent e)
{
	bin_remove(large, e, ferry__extent_tag(large, e.first));
}

/* The free extent that ends before @page, if there is one. Lock. */
static bool free_before(const struct ferry__large *large, size_t page,
			struct ferry__extent *ret_e)
{
	uint64_t tag;

	if (!page)
		return false;
	tag = ferry__extent_tag(large, page - 1);
	if (!(tag & FERRY__EXTENT_FREE))
		return false;
	ret_e->n = tag & FERRY__EXTENT_PAGES;
	ret_e->first = page - ret_e->n;
	return true;
}

/* The one that begins at @page. Lock. */
static bool free_at(const struct ferry__large *large, size_t page,
		    struct ferry__extent *ret_e)
{
	uint64_t tag;

	if (page >= ferry__extent_end(large))
		return false;
	tag = ferry__extent_tag(large, page);
	if (!(tag & FERRY__EXTENT_FREE))
		return false;
	*ret_e = (struct ferry__extent){ page, tag & FERRY__EXTENT_PAGES };
	return true;
}

static bool is_dirty(const struct ferry__large *large, size_t page)
{
	return ferry__extent_tag(large, page) & FERRY__EXTENT_DIRTY;
}

static void file_free(struct ferry__large *large, struct ferry__extent e,
		      bool dirty)
{
	uint64_t flags = FERRY__EXTENT_FREE;

	if (dirty)
		flags |= FERRY__EXTENT_DIRTY;
	tag_extent(large, e, flags);
	bin_insert(large, e, flags);
}

void ferry__extent_put(struct ferry__large *large, struct ferry__extent e,
		       bool dirty)
{
	struct ferry__extent near;

	if (free_before(large, e.first, &near)) {
		dirty |= is_dirty(large, near.first);
		take_out(large, near);
		e.first = near.first;
		e.n += near.n;
	}
	if (free_at(large, e.first + e.n, &near)) {
		dirty |= is_dirty(large, near.first);
		take_out(large, near);
		e.n += near.n;
	}
	if (!dirty && e.first + e.n == ferry__extent_end(large)) {
		set_used_end(large, e.first);
		return;
	}
	file_free(large, e, dirty);
}

/*
 * Makes the last extent free and of @n pages at least, by moving the end of
 * the space. Returns its first page + 1, or 0. Lock.
 */
static uint32_t extend(struct ferry__large *large, size_t n)
{
	size_t end = ferry__extent_end(large);
	struct ferry__extent e = { end, 0 };
	bool dirty = false;

	if (free_before(large, end, &e))
		dirty = is_dirty(large, e.first);
	if (e.n >= n) /* further back in its bin than was looked */
		return (uint32_t)e.first + 1;
	if (n - e.n > large->pages - end)
		return 0;
	if (e.n)
		take_out(large, e);
	e.n = n;
	set_used_end(large, e.first + n);
	file_free(large, e, dirty);
	return (uint32_t)e.first + 1;
}

/*
 * A free extent of @n pages at least. Objects that are cleared by hand look
 * where memory is, others where none is.
 */
static uint32_t find_free(struct ferry__large *large, size_t n)
{
	unsigned int first = n <= FERRY__LARGE_KEEP;
	unsigned int i, look = BIN_LOOK;
	uint32_t at = 0;

	for (i = 0; !at && i < 2; i++)
		at = bins_find(large, &large->bins[first ^ i], n, look);
	if (!at)
		at = extend(large, n);
	for (i = 0; !at && i < 2; i++)
		at = bins_find(large, &large->bins[i], n, UINT32_MAX);
	return at;
}

/* The extent that is free at @at - 1, taken out of its bin. */
static struct ferry__extent take_at(struct ferry__large *large, uint32_t at)
{
	struct ferry__extent e = { .first = at - 1 };

	e.n = ferry__extent_tag(large, e.first) & FERRY__EXTENT_PAGES;
	take_out(large, e);
	return e;
}

bool ferry__extent_take(struct ferry__large *large, size_t n, size_t align,
			struct ferry__extent *ret_e, bool *ret_dirty)
{
	uint32_t at = find_free(large, n + align - 1);
	struct ferry__extent before, got, after;
	bool dirty;

	if (!at)
		return false;
	dirty = is_dirty(large, at - 1);
	before = take_at(large, at);
	got.first = (before.first + align - 1) & ~(align - 1);
	got.n = n;
	after.first = got.first + n;
	after.n = before.first + before.n - after.first;
	before.n = got.first - before.first;
	/* First what is taken: its neighbours look at it. */
	tag_extent(large, got, large->fresh);
	if (before.n)
		ferry__extent_put(large, before, dirty);
	if (after.n)
		ferry__extent_put(large, after, dirty);
	*ret_e = got;
	*ret_dirty = dirty;
	return true;
}

bool ferry__extent_take_dirty(struct ferry__large *large,
			      struct ferry__extent *ret_e)
{
	const struct ferry__large_bins *bins = &large->bins[1];
	unsigned int bin, last = FERRY__LARGE_BINS;

	for (bin = bin_some(bins, 0); bin < FERRY__LARGE_BINS;
	     bin = bin_some(bins, bin + 1))
		last = bin;
	if (last == FERRY__LARGE_BINS)
		return false;
	*ret_e = take_at(large, bins->head[last]);
	/* Nobody's until it is put back; not an object, having no kind. */
	tag_extent(large, *ret_e, 0);
	return true;
}
