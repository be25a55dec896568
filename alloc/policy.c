/* SPDX-License-Identifier: MIT */
/*
 * Policies of an arena and of its ranges, and the pieces they cut it into.
 *
 * Every policy of a range splits a mapping of the kernel's, whose number is
 * limited (vm.max_map_count) and across which no move can go. So the arena
 * keeps a list that mirrors its mappings, merges equal neighbours as the
 * kernel does, and refuses a policy that would cut it into more pieces than
 * its owner allows.
 *
 * What is assumed of the kernel
 *  - madvise() and mbind() split a mapping at the range's ends and merge
 *    neighbours that have become equal.
 *  - Advice on huge pages can be changed but not taken back: after
 *    MADV_HUGEPAGE or MADV_NOHUGEPAGE nothing restores the system's default.
 */
#include "alloc/alloc-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static bool same(const struct ferry__stretch *a, const struct ferry__stretch *b)
{
	return a->thp == b->thp && a->place == b->place;
}

static const struct ferry__stretch *pieces(const struct ferry_arena *arena,
					   size_t *ret_len)
{
	*ret_len = arena->pieces ? arena->pieces_len : 1;
	return arena->pieces ? arena->pieces : &arena->whole;
}

/* --- the list ------------------------------------------------------------- */

/* Adds a piece at the end, unless it is like the one before it. */
static void append(struct ferry__plan *plan, struct ferry__stretch piece)
{
	if (plan->len && same(&plan->v[plan->len - 1], &piece))
		return;
	plan->v[plan->len++] = piece;
}

static int plan_alloc(size_t len, struct ferry__plan *ret_plan)
{
	size_t bytes = len * sizeof(struct ferry__stretch);
	void *mem = NULL;
	int r;

	r = ferry__meta_alloc(bytes, &mem);
	if (r < 0)
		return r;
	*ret_plan = (struct ferry__plan){ .v = mem, .bytes = bytes };
	return 0;
}

/*
 * Appends [@from, @to), all of it in one old piece that is @old, with the
 * parts that lie in cuts changed to @new. @cut: the first one that ends above
 * @from; moved on.
 */
static void append_piece(struct ferry__plan *plan, size_t from, size_t to,
			 const struct ferry__cut **cut,
			 const struct ferry__cut *end,
			 struct ferry__stretch old, struct ferry__stretch new)
{
	size_t stop;
	bool in;

	for (; from < to; from = stop) {
		while (*cut < end && (*cut)->offset + (*cut)->len <= from)
			++*cut;
		in = *cut < end && (*cut)->offset <= from;
		stop = to;
		if (in)
			stop = (*cut)->offset + (*cut)->len;
		else if (*cut < end)
			stop = (*cut)->offset;
		stop = stop < to ? stop : to;
		old.offset = new.offset = from;
		append(plan, in ? new : old);
	}
}

int ferry__policy_plan(struct ferry_arena *arena, const struct ferry__cut *cuts,
		       size_t n, const enum ferry_thp *thp, bool set_place,
		       const struct ferry__placement *place,
		       struct ferry__plan *ret_plan)
{
	const struct ferry__cut *cut = cuts;
	size_t i, stop, len;
	const struct ferry__stretch *old = pieces(arena, &len);
	struct ferry__stretch new;
	struct ferry__plan plan;
	int r;

	/* Where a cut begins or ends a piece may begin; and one to spare for
	 * ferry__policy_grow(). */
	r = plan_alloc(len + 2 * n + 1, &plan);
	if (r < 0)
		return r;
	for (i = 0; i < len; i++) {
		stop = i + 1 < len ? old[i + 1].offset : arena->reserved;
		new = old[i];
		new.thp = thp ? *thp : new.thp;
		new.place = set_place ? place : new.place;
		append_piece(&plan, old[i].offset, stop, &cut, cuts + n, old[i],
			     new);
	}
	if (plan.len > arena->pieces_max) {
		ferry__policy_drop(&plan);
		return -ENOSPC;
	}
	*ret_plan = plan;
	return 0;
}

void ferry__policy_adopt(struct ferry_arena *arena, struct ferry__plan *plan)
{
	ferry__meta_free(arena->pieces, arena->pieces_bytes);
	arena->pieces = plan->v;
	arena->pieces_len = plan->len;
	arena->pieces_bytes = plan->bytes;
}

void ferry__policy_drop(struct ferry__plan *plan)
{
	ferry__meta_free(plan->v, plan->bytes);
}

void ferry__policy_grow(struct ferry_arena *arena, size_t old_reserved)
{
	struct ferry__plan plan = { .v = arena->pieces,
				    .len = arena->pieces_len };

	if (!arena->pieces)
		return;
	/* The list has one slot to spare; once it is used the last piece is
	 * like the whole, and further growth is merged with it. */
	append(&plan, (struct ferry__stretch){ .offset = old_reserved,
					       .thp = arena->whole.thp,
					       .place = arena->whole.place });
	arena->pieces_len = plan.len;
}

void ferry__policies_reset(struct ferry_arena *arena)
{
	ferry__meta_free(arena->pieces, arena->pieces_bytes);
	arena->pieces = NULL;
	arena->pieces_len = 0;
	arena->pieces_bytes = 0;
}

void ferry__policies_free(struct ferry_arena *arena)
{
	struct ferry__placement *place = arena->places, *next;

	ferry__meta_free(arena->pieces, arena->pieces_bytes);
	for (; place; place = next) {
		next = place->next;
		ferry__meta_free(place, place->bytes);
	}
}

const struct ferry__placement *
ferry__policy_place(const struct ferry_arena *arena, size_t offset)
{
	size_t n, low = 0, mid;
	const struct ferry__stretch *v = pieces(arena, &n);

	/* The last piece that begins at or below. */
	while (n - low > 1) {
		mid = low + (n - low) / 2;
		if (v[mid].offset <= offset)
			low = mid;
		else
			n = mid;
	}
	return v[low].place;
}

size_t ferry__arena_piece_end(struct ferry_arena *arena, size_t offset)
{
	const struct ferry__stretch *v;
	size_t i, n, end;

	pthread_mutex_lock(&arena->lock);
	v = pieces(arena, &n);
	end = arena->reserved;
	for (i = n; i-- > 0 && v[i].offset > offset;)
		end = v[i].offset;
	pthread_mutex_unlock(&arena->lock);
	return end;
}

/* --- huge pages ----------------------------------------------------------- */

static int advise_thp(char *addr, size_t len, enum ferry_thp thp)
{
	int r;

	if (thp == FERRY_THP_SYSTEM)
		return 0;
	r = ferry__sys->madvise(addr, len,
				thp == FERRY_THP_ALWAYS ? MADV_HUGEPAGE
							: MADV_NOHUGEPAGE);
	if (r != -EINVAL)
		return r;
	/* The kernel has no huge pages; it never makes any. */
	return thp == FERRY_THP_NEVER ? 0 : -EOPNOTSUPP;
}

int ferry__policy_apply(const struct ferry_arena *arena, char *addr, size_t len)
{
	int r;

	r = advise_thp(addr, len, arena->whole.thp);
	if (r == 0 && arena->no_fork)
		r = ferry__sys->madvise(addr, len, MADV_DONTFORK);
	if (r == 0 && arena->whole.place)
		r = ferry__node_apply(addr, len, arena->whole.place, 0);
	/* A name is a convenience: kernels before 5.17 have none to give. */
	if (r == 0 && arena->name[0])
		ferry__sys->name_memory(addr, len, arena->name);
	return r;
}

/*
 * A huge page obeys one advice. Encouraging one concerns only those that lie
 * whole in the range; forbidding concerns every one that reaches into it.
 */
static void round_huge(size_t reserved, enum ferry_thp thp, size_t *offset,
		       size_t *len)
{
	size_t huge = ferry__huge_size(), end = *offset + *len;

	if (!huge || huge > FERRY__GRANULE)
		return;
	if (thp == FERRY_THP_NEVER) {
		*offset &= ~(huge - 1);
		end = (end + huge - 1) & ~(huge - 1);
		*len = (end < reserved ? end : reserved) - *offset;
		return;
	}
	*offset = (*offset + huge - 1) & ~(huge - 1);
	end &= ~(huge - 1);
	*len = end > *offset ? end - *offset : 0;
}

/* Is every piece of the range left to the system already? */
static bool all_system(const struct ferry_arena *arena, size_t offset,
		       size_t len)
{
	size_t i, n, stop;
	const struct ferry__stretch *v = pieces(arena, &n);

	for (i = 0; i < n; i++) {
		stop = i + 1 < n ? v[i + 1].offset : arena->reserved;
		if (v[i].thp != FERRY_THP_SYSTEM &&
		    v[i].offset < offset + len && stop > offset)
			return false;
	}
	return true;
}

static int set_thp_locked(struct ferry_arena *arena, size_t offset, size_t len,
			  enum ferry_thp thp)
{
	const struct ferry__cut cut = { offset, len };
	struct ferry__plan plan;
	int r;

	if (thp == FERRY_THP_SYSTEM)
		return all_system(arena, offset, len) ? 0 : -EOPNOTSUPP;
	r = ferry__policy_plan(arena, &cut, 1, &thp, false, NULL, &plan);
	if (r < 0)
		return r;
	r = advise_thp(arena->base + offset, len, thp);
	if (r < 0) {
		ferry__policy_drop(&plan);
		return r;
	}
	ferry__policy_adopt(arena, &plan);
	return 0;
}

int ferry_arena_set_thp(struct ferry_arena *arena, size_t offset, size_t len,
			enum ferry_thp thp)
{
	int r;

	r = ferry__arena_range(arena, offset, len);
	if (r < 0)
		return r;
	if (thp < 0 || thp > FERRY_THP_NEVER)
		return -EINVAL;
	round_huge(ferry_arena_reserved(arena), thp, &offset, &len);
	if (!len)
		return 0;
	pthread_mutex_lock(&arena->lock);
	r = set_thp_locked(arena, offset, len, thp);
	ferry__arena_debug_check(arena);
	pthread_mutex_unlock(&arena->lock);
	return r;
}
