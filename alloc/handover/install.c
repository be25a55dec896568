/* SPDX-License-Identifier: MIT */
/*
 * Bringing received pages into the page tables: all at once, or piece by
 * piece beside a program that has begun to use them and brings others by
 * touching them.
 *
 * MADV_POPULATE_READ maps what the page cache has by fault-around, sixteen
 * pages a fault, and writable, as a shared mapping of a memfd is. The figures
 * of the other ways are in DESIGN.md.
 *
 *  N1	the cursor of an arena is a relaxed counter: each step takes its piece
 *	by one addition, and no data hangs on it.
 */
#include <errno.h>
#include <unistd.h>

#include "alloc/handover/handover-internal.h"
#include "uffd/uapi.h"

/* A piece of one call, so that others get the mappings' lock in between. */
#define PIECE ((size_t)64 << 20)

static int populate_read(char *addr, size_t len)
{
	int r;

	do {
		r = ferry__sys->madvise(addr, len, FERRY__MADV_POPULATE_READ);
	} while (r == -EINTR || r == -EAGAIN);
	return r == -EINVAL ? ferry__populate(addr, len) : r;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/*
 * Is there memory behind all of the segment's committed pages? A hole must
 * stay one: reading it would take memory, as much as a sender cares to offer.
 * Looking for them is dear, so the sum is looked at first.
 */
static bool is_dense(const struct ferry_arena *arena, size_t len)
{
	struct stat st;

	return ferry__sys->fstat(arena->segment, &st) == 0 &&
	       (uint64_t)st.st_blocks * 512 >= len;
}

/* The next run of data in [@at, @end); false: there is none. */
static bool next_data(const struct ferry_arena *arena, size_t at, size_t end,
		      size_t *ret_at, size_t *ret_end)
{
	off_t data, hole;

	data = ferry__sys->seek(arena->segment, (off_t)at, SEEK_DATA);
	if (data < 0 || (size_t)data >= end)
		return false;
	hole = ferry__sys->seek(arena->segment, data, SEEK_HOLE);
	if (hole <= data)
		return false;
	*ret_at = (size_t)data & ~(ferry__page_size - 1);
	*ret_end = least((size_t)hole, end);
	return true;
}

static int install_data(struct ferry_arena *arena, size_t at, size_t len)
{
	size_t end = at + len, stop;
	int r = 0;

	while (r == 0 && next_data(arena, at, end, &at, &stop)) {
		r = populate_read(arena->base + at, stop - at);
		at = stop;
	}
	return r;
}

/* What there is of a range, into the page tables. */
static int install_piece(struct ferry_arena *arena, size_t at, size_t len,
			 bool dense)
{
	return dense ? populate_read(arena->base + at, len)
		     : install_data(arena, at, len);
}

size_t ferry__install(struct ferry_arena *arena, size_t offset, size_t len)
{
	bool dense = is_dense(arena, len);
	size_t done, n;

	for (done = 0; done < len; done += n) {
		n = least(len - done, PIECE);
		if (install_piece(arena, offset + done, n, dense) < 0)
			break;
	}
	return done;
}

void ferry__install_later(struct ferry_arena *arena, size_t offset, size_t len)
{
	arena->arriving_dense = is_dense(arena, len);
	arena->arriving = offset;
	arena->arriving_end = offset + len;
}

/* --- lazily --------------------------------------------------------------- */

/* The next piece that nobody else brings; false: there is none. */
static bool next_piece(struct ferry_arena *arena, size_t bytes, size_t *ret_at,
		       size_t *ret_len)
{
	size_t end = arena->arriving_end, at;

	at = __atomic_load_n(&arena->arriving, __ATOMIC_RELAXED); /* N1 */
	do {
		if (at >= end)
			return false;
		*ret_len = least(bytes, end - at);
	} while (!__atomic_compare_exchange_n(
		&arena->arriving, &at, at + *ret_len, true, __ATOMIC_RELAXED,
		__ATOMIC_RELAXED));
	*ret_at = at;
	return true;
}

static size_t still_to_come(const struct ferry_arena *arena)
{
	return arena->arriving_end -
	       __atomic_load_n(&arena->arriving, __ATOMIC_RELAXED); /* N1 */
}

/* The committed pages of a piece: touching others would bring memory. */
static int bring(struct ferry_arena *arena, size_t at, size_t len)
{
	size_t page = at / ferry__page_size, stop;
	size_t end = (at + len) / ferry__page_size;
	int r = 0;

	while (r == 0) {
		page = ferry__pages_find(&arena->pages, page, end,
					 FERRY__CODE(FERRY_PAGE_ABSENT), false);
		if (page >= end)
			break;
		stop = ferry__pages_find(&arena->pages, page, end,
					 FERRY__CODE(FERRY_PAGE_ABSENT), true);
		r = install_piece(arena, page * ferry__page_size,
				  (stop - page) * ferry__page_size,
				  arena->arriving_dense);
		page = stop;
	}
	return r;
}

int ferry_handover_step(struct ferry_arena *arena, size_t bytes,
			size_t *ret_left)
{
	size_t at, len;
	int r = 0;

	if (ret_left)
		*ret_left = still_to_come(arena);
	if (!bytes || bytes % ferry__page_size)
		return -EINVAL;
	if (arena->gone)
		return -ECHILD;
	if (next_piece(arena, bytes, &at, &len))
		r = bring(arena, at, len);
	if (ret_left)
		*ret_left = still_to_come(arena);
	return r;
}

int ferry_handover_finish(struct ferry_arena *arena)
{
	size_t left;
	int r;

	do
		r = ferry_handover_step(arena, PIECE, &left);
	while (r == 0 && left);
	return r;
}
