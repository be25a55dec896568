/* SPDX-License-Identifier: MIT */
/*
 * ferry_move(): the checks, and the loop that turns the kernel's answers
 * into progress.
 *
 * What this file takes for granted of the kernel (UFFDIO_MOVE(2const),
 * fs/userfaultfd.c, mm/userfaultfd.c of 6.8 to 7.2):
 *  - success means that all bytes were moved, or were holes;
 *  - EAGAIN with a positive count: so many bytes were moved, the reason for
 *    stopping is told when the rest is asked for;
 *  - EAGAIN with another count: nothing was moved, mappings are changing;
 *  - the count is not written at all for EINVAL of the request, nor, before
 *    6.15, for EAGAIN: so it is set to zero first, and never read as a count
 *    unless it is positive and the answer was EAGAIN;
 *  - any other error: nothing was moved, and the page at the start is why
 *    (but see the false EEXIST in move_obstacle.c).
 */
#include <string.h>

#include "uffd/mover.h"
#include "uffd/pagemap.h"
#include "uffd/uapi.h"

/* Without a deadline of the caller's. */
#define PATIENCE_NS 1000000000u

#define KNOWN_FLAGS                                                            \
	(FERRY_MOVE_HOLES | FERRY_MOVE_NO_WAKE | FERRY_MOVE_SOLE |             \
	 FERRY_MOVE_PASS_PRESENT | FERRY_MOVE_EMULATE | FERRY_MOVE_NATIVE |    \
	 FERRY_MOVE_KEEP_HUGE | FERRY_MOVE_SPLIT_BUSY)

/* --- checks -------------------------------------------------------------- */

static enum ferry_reason check_range(uintptr_t dst, uintptr_t src, size_t len)
{
	uintptr_t mask = ferry__page_size - 1;

	if ((dst | src | len) & mask)
		return FERRY_REASON_UNALIGNED;
	if (!len)
		return FERRY_REASON_ZERO_LENGTH;
	if (dst + len <= dst || src + len <= src)
		return FERRY_REASON_OVERFLOW;
	/* Upward the pages would run over sources not yet moved. */
	if (dst >= src && dst - src < len)
		return FERRY_REASON_OVERLAP;
	return FERRY_REASON_NONE;
}

static int check_error(enum ferry_reason reason)
{
	if (!reason)
		return 0;
	return reason == FERRY_REASON_OVERLAP ? -EEXIST : -EINVAL;
}

static bool good_params(const struct ferry_move_params *p)
{
	const uint32_t both = FERRY_MOVE_EMULATE | FERRY_MOVE_NATIVE;

	return !(p->flags & ~(uint32_t)KNOWN_FLAGS) &&
	       (p->flags & both) != both &&
	       (unsigned int)p->busy <= FERRY_BUSY_SKIP;
}

/* --- one ioctl ----------------------------------------------------------- */

/*
 * Asks the kernel once. Returns 0 or a negative errno; @ret_moved: bytes that
 * moved, whatever it says.
 */
static inline __attribute__((always_inline)) int
ask(const struct ferry_uffd *uffd, uintptr_t dst, uintptr_t src, size_t len,
    uint32_t flags, size_t *ret_moved)
{
	struct ferry__uffdio_move arg = {
		.dst = dst,
		.src = src,
		.len = len,
		.mode = (flags & FERRY_MOVE_NO_WAKE ? FERRY__MOVE_DONTWAKE
						    : 0) |
			(flags & FERRY_MOVE_HOLES ? FERRY__MOVE_ALLOW_SRC_HOLES
						  : 0),
		.move = 0,
	};
	int r = ferry__sys->ioctl(uffd->fd, FERRY__UFFDIO_MOVE, &arg);

	if (r >= 0) {
		*ret_moved = len;
		return 0;
	}
	*ret_moved = 0;
	if (r == -EAGAIN && arg.move > 0 && (uint64_t)arg.move < len)
		*ret_moved = (size_t)arg.move;
	return r;
}

/* The same for @len bytes from the position on, or what was said before. */
static int issue(struct ferry__mover *m, size_t len, size_t *ret_moved)
{
	struct ferry__first *first = m->first;

	m->result->calls++;
	m->first = NULL;
	if (!first)
		return ask(m->uffd, m->dst + m->pos, m->src + m->pos, len,
			   m->params->flags, ret_moved);
	*ret_moved = first->moved;
	return first->error;
}

/* Pages that both sides could hold as one huge page, in the next @len. */
static size_t whole_pieces(const struct ferry_uffd *uffd, uintptr_t dst,
			   uintptr_t src, size_t len)
{
	size_t huge = uffd->huge_size;
	uintptr_t start = src, end = src + len;

	if (len < huge || !huge || (dst ^ src) & (huge - 1))
		return 0;
	start = (start + huge - 1) & ~(huge - 1);
	return end > start ? (end - start) / huge : 0;
}

static void book_moved(struct ferry__mover *m, size_t bytes, size_t holes)
{
	struct ferry_move_result *res = m->result;

	res->huge_whole +=
		whole_pieces(m->uffd, m->dst + m->pos, m->src + m->pos, bytes);
	if (holes < bytes)
		res->method = FERRY_METHOD_MOVE;
	ferry__mover_book(m, &res->holes, holes);
	ferry__mover_book(m, &res->moved, bytes - holes);
}

/*
 * Asks once for @len bytes and books what moved. The kernel counts holes as
 * moved; they are told apart by the pages that the source holds before.
 */
static int advance(struct ferry__mover *m, size_t len)
{
	uintptr_t from = m->src + m->pos;
	size_t moved, before = 0, after = 0;
	bool holes = ferry__mover_wants(m, FERRY_MOVE_HOLES);
	int r;

	if (holes)
		holes = !ferry__pagemap_count(m->uffd->pagemap, from,
					      from + len, true, &before);
	r = issue(m, len, &moved);
	if (!moved)
		return r;
	if (holes && moved < len)
		holes = !ferry__pagemap_count(m->uffd->pagemap, from + moved,
					      from + len, true, &after);
	if (!holes || before - after > moved)
		after = before - moved;
	if (r)
		m->result->short_moves++;
	book_moved(m, moved, moved - (before - after));
	return 0;
}

/* --- the loop ------------------------------------------------------------ */

/* A filter answers for the kernel: MOVE itself knows none of these. */
static bool filter_denied(int error)
{
	return error == -EPERM || error == -ENOSYS || error == -EACCES;
}

static bool can_move(const struct ferry__mover *m)
{
	return !ferry__mover_wants(m, FERRY_MOVE_EMULATE) &&
	       m->uffd->features & FERRY_FEATURE_MOVE &&
	       !__atomic_load_n(&m->uffd->move_denied, __ATOMIC_RELAXED);
}

static int cannot_move(struct ferry__mover *m)
{
	if (!ferry__mover_wants(m, FERRY_MOVE_NATIVE))
		return ferry__mover_emulate(m);
	return ferry__mover_stop(
		m, -EOPNOTSUPP,
		__atomic_load_n(&m->uffd->move_denied, __ATOMIC_RELAXED)
			? FERRY_REASON_SECCOMP
			: FERRY_REASON_NOT_SUPPORTED);
}

static int step(struct ferry__mover *m)
{
	size_t len = ferry__mover_left(m);
	int r;

	if (!can_move(m))
		return cannot_move(m);
	if (m->uffd->huge_zero_unsafe ||
	    ferry__mover_wants(m, FERRY_MOVE_KEEP_HUGE)) {
		r = ferry__mover_huge_piece(m, &len);
		if (r)
			return r;
	}
	r = advance(m, len);
	if (!r)
		return ferry__mover_huge_done(m);
	if (filter_denied(r)) {
		/* H3: only a hint. */
		__atomic_store_n(&m->uffd->move_denied, true, __ATOMIC_RELAXED);
		return 0;
	}
	return ferry__mover_obstacle(m, r);
}

static int move_range(struct ferry__mover *m,
		      const struct ferry_move_range *range)
{
	int r = 0;

	m->dst = (uintptr_t)range->dst;
	m->src = (uintptr_t)range->src;
	m->len = range->len;
	m->pos = 0;
	m->mappings_checked = false;
	m->dst_whole = false;
	while (!r && m->pos < m->len) {
		if (m->params->cancel && *m->params->cancel)
			return ferry__mover_stop(m, -ECANCELED,
						 FERRY_REASON_CANCELLED);
		r = step(m);
	}
	return r;
}

static int move_ranges(struct ferry__mover *m,
		       const struct ferry_move_range *ranges, size_t n)
{
	size_t i;
	int r = 0;

	for (i = 0; i < n && !r; i++) {
		r = move_range(m, &ranges[i]);
		m->result->stop_range = i;
		m->result->stop_offset = m->pos;
	}
	return r;
}

static int check_ranges(const struct ferry_move_range *ranges, size_t n,
			struct ferry_move_result *result)
{
	enum ferry_reason reason;
	size_t i;

	for (i = 0; i < n; i++) {
		reason = check_range((uintptr_t)ranges[i].dst,
				     (uintptr_t)ranges[i].src, ranges[i].len);
		if (!reason)
			continue;
		result->reason = reason;
		result->stop_range = i;
		return check_error(reason);
	}
	return 0;
}

static int enter_and_move(struct ferry_uffd *uffd,
			  const struct ferry_move_range *ranges, size_t n,
			  const struct ferry_move_params *params,
			  struct ferry__first *first,
			  struct ferry_move_result *result)
{
	struct ferry__mover m = {
		.uffd = uffd,
		.params = params,
		.first = first,
		.result = result,
		.backoff.limit_ns = params->deadline_ns ? params->deadline_ns
							: PATIENCE_NS,
	};
	struct ferry__stripe *stripe = first ? first->stripe : NULL;
	int r = 0;

	if (!stripe)
		r = ferry__uffd_enter(uffd, &stripe);
	if (r)
		return ferry__mover_stop(&m, r,
					 r == -ECHILD
						 ? FERRY_REASON_FOREIGN_PROCESS
						 : FERRY_REASON_CLOSED);
	r = move_ranges(&m, ranges, n);
	ferry__uffd_leave(stripe);
	ferry__debug_check(result->done ==
			   result->moved + result->copied + result->holes +
				   result->present + result->skipped);
	return r;
}

static const struct ferry_move_params defaults;

static int movev(struct ferry_uffd *uffd, const struct ferry_move_range *ranges,
		 size_t n, const struct ferry_move_params *params,
		 struct ferry__first *first, struct ferry_move_result *result)
{
	struct ferry_move_params p = defaults;
	int r = 0;

	if (params)
		r = ferry__params_copy(&p, sizeof(p), params, sizeof(p.size));
	if (!r && !good_params(&p))
		r = -EINVAL;
	if (r) {
		result->reason = FERRY_REASON_BAD_FLAGS;
		return r;
	}
	r = check_ranges(ranges, n, result);
	return r ? r : enter_and_move(uffd, ranges, n, &p, first, result);
}

/*
 * Hands the result out in the size that the caller knows. Kept out of line:
 * its frame would be set up in ferry_move() for nothing.
 */
static __attribute__((noinline)) int
movev_from(struct ferry_uffd *uffd, const struct ferry_move_range *ranges,
	   size_t n, const struct ferry_move_params *params,
	   struct ferry__first *first, struct ferry_move_result *result)
{
	struct ferry_move_result res = { 0 };
	size_t size = result ? result->size : 0;
	int r;

	if (result && size < sizeof(size))
		return -EINVAL;
	r = movev(uffd, ranges, n, params, first, &res);
	if (!result)
		return r;
	memcpy(result, &res, size < sizeof(res) ? size : sizeof(res));
	result->size = size;
	return r;
}

int ferry_movev(struct ferry_uffd *uffd, const struct ferry_move_range *ranges,
		size_t n, const struct ferry_move_params *params,
		struct ferry_move_result *result)
{
	return movev_from(uffd, ranges, n, params, NULL, result);
}

/* --- the quick way ------------------------------------------------------- */

/*
 * Most moves are one range, without wishes, and succeed at once. For these
 * the work around the ioctl is kept to a few instructions; whatever is
 * unusual takes the way above, with the kernel's first answer if there is one.
 */

/* Flags that matter only after a refusal, or are the ioctl's own. */
#define PLAIN_FLAGS                                                            \
	((uint32_t)(FERRY_MOVE_NO_WAKE | FERRY_MOVE_SOLE |                     \
		    FERRY_MOVE_PASS_PRESENT | FERRY_MOVE_NATIVE |              \
		    FERRY_MOVE_SPLIT_BUSY))

static bool plain_params(const struct ferry_move_params *p)
{
	return p->size == sizeof(*p) && !(p->flags & ~PLAIN_FLAGS) &&
	       !p->cancel && (unsigned int)p->busy <= FERRY_BUSY_SKIP;
}

/* Can one ioctl be all, with nothing to look at before? */
static bool plain_handle(const struct ferry_uffd *uffd)
{
	return uffd->features & FERRY_FEATURE_MOVE && !uffd->huge_zero_unsafe &&
	       !__atomic_load_n(&uffd->move_denied, __ATOMIC_RELAXED);
}

/*
 * Returns whether the kernel was asked; what it said is in @first, and where
 * it was not success, the handle stays entered. Inlined,
 * as a return that follows a system call is dear: the processor has lost
 * track of where it goes.
 */
static inline __attribute__((always_inline)) bool
ask_quickly(struct ferry_uffd *uffd, const struct ferry_move_range *range,
	    uint32_t flags, struct ferry__first *first)
{
	if (ferry__uffd_enter(uffd, &first->stripe))
		return false;
	if (!plain_handle(uffd)) {
		ferry__uffd_leave(first->stripe);
		return false;
	}
	first->error = ask(uffd, (uintptr_t)range->dst, (uintptr_t)range->src,
			   range->len, flags, &first->moved);
	if (!first->error)
		ferry__uffd_leave(first->stripe);
	return true;
}

static void write_whole(const struct ferry_uffd *uffd,
			const struct ferry_move_range *range,
			struct ferry_move_result *result)
{
	*result = (struct ferry_move_result){
		.size = sizeof(*result),
		.done = range->len,
		.moved = range->len,
		.method = FERRY_METHOD_MOVE,
		.stop_offset = range->len,
		.calls = 1,
		.huge_whole = whole_pieces(uffd, (uintptr_t)range->dst,
					   (uintptr_t)range->src, range->len),
	};
}

int ferry_move(struct ferry_uffd *uffd, void *dst, void *src, size_t len,
	       const struct ferry_move_params *params,
	       struct ferry_move_result *result)
{
	struct ferry_move_range range = { .dst = dst, .src = src, .len = len };
	struct ferry__first first;

	if ((params && !plain_params(params)) ||
	    (result && result->size != sizeof(*result)) ||
	    check_range((uintptr_t)dst, (uintptr_t)src, len) ||
	    !ask_quickly(uffd, &range, params ? params->flags : 0, &first))
		return movev_from(uffd, &range, 1, params, NULL, result);
	if (first.error)
		return movev_from(uffd, &range, 1, params, &first, result);
	if (result)
		write_whole(uffd, &range, result);
	return 0;
}
