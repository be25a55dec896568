/* SPDX-License-Identifier: MIT */
/*
 * What ferry_move() does at a page that the kernel refused.
 */
#include <string.h>
#include <sys/mman.h>

#include "uffd/mover.h"
#include "uffd/pagemap.h"
#include "uffd/uapi.h"

/* --- EEXIST, true and false ---------------------------------------------- */

enum sighting {
	SIGHTING_MOVED,	  /* destination has a page, source has none */
	SIGHTING_PRESENT, /* both have one */
	SIGHTING_GONE,	  /* the destination is empty again */
};

static enum sighting sight(uint64_t dst, uint64_t src)
{
	if (!ferry__pagemap_occupied(dst))
		return SIGHTING_GONE;
	return ferry__pagemap_occupied(src) ? SIGHTING_PRESENT : SIGHTING_MOVED;
}

int ferry__mover_words(const struct ferry__mover *m, uint64_t *dst,
		       uint64_t *src)
{
	size_t want = ferry__mover_left(m) / ferry__page_size;
	int n;

	/*
	 * Sliding down, the destination further on is the source itself. That
	 * does no harm to a run of equal pages: page k of the destination is
	 * the page at the position of the source, then the one behind it, and
	 * these are in the run.
	 */
	n = ferry__pagemap_read(m->uffd->pagemap, m->dst + m->pos, want, dst);
	if (n <= 0)
		return n;
	return ferry__pagemap_read(m->uffd->pagemap, m->src + m->pos, (size_t)n,
				   src);
}

/*
 * Looks at both sides from the position on: what is there, and for how many
 * bytes is it the same? Returns 0 or a negative errno.
 */
static int look(const struct ferry__mover *m, enum sighting *ret_what,
		size_t *ret_len)
{
	uint64_t dst[FERRY__WORDS], src[FERRY__WORDS];
	int i, n = ferry__mover_words(m, dst, src);

	if (n < 0)
		return n;
	*ret_what = sight(dst[0], src[0]);
	for (i = 1; i < n; i++)
		if (sight(dst[i], src[i]) != *ret_what)
			break;
	*ret_len = (size_t)i * ferry__page_size;
	return 0;
}

/* The kernel did not wake who waits for pages that it forgot to count. */
static void wake(const struct ferry__mover *m, size_t len)
{
	struct ferry__uffdio_range range = { m->dst + m->pos, len };

	if (!ferry__mover_wants(m, FERRY_MOVE_NO_WAKE))
		ferry__sys->ioctl(m->uffd->fd, FERRY__UFFDIO_WAKE, &range);
}

static void book_false_exist(struct ferry__mover *m, size_t len)
{
	wake(m, len);
	m->result->false_exist += len / ferry__page_size;
	m->result->method = FERRY_METHOD_MOVE;
	ferry__mover_book(m, &m->result->moved, len);
}

int ferry__mover_present(struct ferry__mover *m, size_t len)
{
	if (!ferry__mover_wants(m, FERRY_MOVE_PASS_PRESENT))
		return ferry__mover_stop(m, -EEXIST, FERRY_REASON_PRESENT);
	ferry__mover_book(m, &m->result->present, len);
	return 0;
}

/*
 * EEXIST: 6.18 to 7.1 answer so for pages that this very call has moved, when
 * the kernel had to try them twice. The source tells: a page that did not
 * move is still there. Where the source may have holes, an empty one proves
 * nothing unless nobody else fills the destination (FERRY_MOVE_SOLE).
 */
static int at_present(struct ferry__mover *m)
{
	bool emptiness_proves = ferry__mover_wants(m, FERRY_MOVE_SOLE) ||
				!ferry__mover_wants(m, FERRY_MOVE_HOLES);
	enum sighting what;
	size_t len;

	if (look(m, &what, &len))
		return ferry__mover_present(m, ferry__page_size);
	if (what == SIGHTING_MOVED && emptiness_proves) {
		book_false_exist(m, len);
		return 0;
	}
	if (what != SIGHTING_GONE)
		return ferry__mover_present(m, len);
	/* Moved on by somebody since: ask again, but not for ever. */
	if (ferry__mover_wait(m))
		return 0;
	return ferry__mover_stop(m, -EEXIST, FERRY_REASON_PRESENT);
}

/* --- EBUSY --------------------------------------------------------------- */

/* What the policy applies to: the huge page at the position, or one page. */
static size_t busy_unit(const struct ferry__mover *m)
{
	uintptr_t at = m->src + m->pos, start, end;
	size_t huge = m->uffd->huge_size;

	if (!huge || at & (huge - 1) || ferry__mover_left(m) < huge ||
	    ferry__mover_wants(m, FERRY_MOVE_SPLIT_BUSY))
		return ferry__page_size;
	if (ferry__pagemap_find(m->uffd->pagemap, at, at + huge,
				FERRY__PAGE_IS_HUGE, &start, &end) > 0 &&
	    start == at && end == at + huge)
		return huge;
	return ferry__page_size;
}

static int still_busy(struct ferry__mover *m)
{
	m->result->busy_retries++;
	if (ferry__mover_wait(m))
		return 0;
	return ferry__mover_stop(m, -EBUSY, FERRY_REASON_BUSY);
}

/* Bytes at the position that are pages in memory, at most @max. */
static size_t present_run(const struct ferry__mover *m, size_t max)
{
	uint64_t words[FERRY__WORDS];
	int i, n;

	if (max > ferry__mover_left(m))
		max = ferry__mover_left(m);
	n = ferry__pagemap_read(m->uffd->pagemap, m->src + m->pos,
				max / ferry__page_size, words);
	for (i = 0; i < n; i++)
		if (!(words[i] & FERRY__PM_PRESENT))
			break;
	return i > 0 ? (size_t)i * ferry__page_size : ferry__page_size;
}

/*
 * How much to make exclusive. After a fork all pages are shared: the window
 * doubles where one busy page follows right behind the last window, over
 * pages that are in memory (a hole must not be filled).
 */
static size_t exclusive_window(const struct ferry__mover *m, size_t unit)
{
	size_t len;

	if (m->src + m->pos != m->exclusive_end)
		return unit;
	len = present_run(m, 2 * m->exclusive_len);
	return len > unit ? len : unit;
}

/* Writes pages back to themselves. */
static int make_exclusive(struct ferry__mover *m, size_t unit)
{
	size_t len = exclusive_window(m, unit);
	int r;

	r = ferry__sys->madvise((void *)(m->src + m->pos), len,
				FERRY__MADV_POPULATE_WRITE);
	if (r) {
		m->exclusive_end = 0;
		return r;
	}
	m->result->made_exclusive += len / ferry__page_size;
	m->exclusive_len = len;
	m->exclusive_end = m->src + m->pos + len;
	return 0;
}

/*
 * Why a page stays busy that was made exclusive: it is in memory, nobody else
 * has it mapped, and neither fork nor KSM could be the reason any more. What
 * remains is that it is pinned, or that its huge page cannot be split because
 * the kernel holds it.
 */
static enum ferry_reason busy_reason(const struct ferry__mover *m)
{
	const uint64_t own = FERRY__PM_PRESENT | FERRY__PM_EXCLUSIVE;
	uint64_t word;

	if (m->src + m->pos >= m->exclusive_end ||
	    ferry__pagemap_read(m->uffd->pagemap, m->src + m->pos, 1, &word) !=
		    1)
		return FERRY_REASON_BUSY;
	return (word & own) == own ? FERRY_REASON_PINNED : FERRY_REASON_BUSY;
}

static int at_busy_exclusive(struct ferry__mover *m)
{
	int r;

	/* Once helps; more than that only against forks going on. */
	if (m->tries_here++ && !ferry__mover_wait(m))
		return ferry__mover_stop(m, -EBUSY, busy_reason(m));
	r = make_exclusive(m, busy_unit(m));
	if (r == -ENOMEM)
		return ferry__mover_stop(m, r, FERRY_REASON_NO_MEMORY);
	m->result->busy_retries++;
	return 0;
}

/*
 * A page that is to be copied, or made exclusive, is read: if it is gone, that
 * would raise a fault which this very thread may be the one to answer.
 */
static bool is_gone(const struct ferry__mover *m)
{
	enum ferry_busy busy = m->params->busy;
	uint64_t word;

	return (busy == FERRY_BUSY_COPY || busy == FERRY_BUSY_EXCLUSIVE) &&
	       ferry__pagemap_read(m->uffd->pagemap, m->src + m->pos, 1,
				   &word) == 1 &&
	       !ferry__pagemap_occupied(word);
}

static int at_busy(struct ferry__mover *m)
{
	/* Moved before the kernel said so: it says EEXIST when asked again. */
	if (is_gone(m))
		return still_busy(m);
	switch (m->params->busy) {
	case FERRY_BUSY_RETRY:
		return still_busy(m);
	case FERRY_BUSY_EXCLUSIVE:
		return at_busy_exclusive(m);
	case FERRY_BUSY_COPY:
		return ferry__mover_copy(m, busy_unit(m));
	case FERRY_BUSY_SKIP:
		ferry__mover_book(m, &m->result->skipped, busy_unit(m));
		return 0;
	default:
		return ferry__mover_stop(m, -EBUSY, FERRY_REASON_BUSY);
	}
}

/* --- all of them --------------------------------------------------------- */

static int at_changing(struct ferry__mover *m)
{
	m->result->idle_retries++;
	if (ferry__mover_wait(m))
		return 0;
	return ferry__mover_stop(m, -EAGAIN, FERRY_REASON_CHANGING);
}

int ferry__mover_obstacle(struct ferry__mover *m, int error)
{
	switch (error) {
	case -EAGAIN:
		return at_changing(m);
	case -EEXIST:
		return at_present(m);
	case -EBUSY:
		return at_busy(m);
	case -EFAULT:
		return ferry__mover_stop(m, error, FERRY_REASON_GUARD);
	case -ENOMEM:
		return ferry__mover_stop(m, error, FERRY_REASON_NO_MEMORY);
	case -EINVAL:
	case -ENOENT:
		return ferry__mover_stop(m, error,
					 ferry__mover_explain(m, error));
	case -EINTR:
		return ferry__mover_stop(m, error, FERRY_REASON_CANCELLED);
	default:
		return ferry__mover_stop(m, error, FERRY_REASON_NOT_SUPPORTED);
	}
}
