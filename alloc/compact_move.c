/* SPDX-License-Identifier: MIT */
/*
 * The movers of a compaction: background steps and faults in transit.
 *
 *	            claim (C1)               all pages dealt with (C3)
 *	 PLANNED ---------------> CLAIMED ------------------------------> MOVED
 *	    ^                        |
 *	    +------------------------+
 *	      stopped (C2): .moved tells how far
 *
 * Whoever wins the claim of a piece owns the transitions out of CLAIMED and
 * is the only provider of its destination pages, so that a page is moved by
 * exactly one thread and a page found present was moved by that thread
 * (FERRY_MOVE_SOLE). A piece in CLAIMED is never waited for with a lock: a
 * fault on it sleeps, or is told to come again.
 *
 * Orders of memory
 *  C1	CAS-acquire of .state PLANNED -> CLAIMED pairs with C2 and makes
 *	.moved and the page tables of an earlier try visible.
 *  C2	store-release of .state CLAIMED -> PLANNED; pairs with C1.
 *  C3	store-release of .state CLAIMED -> MOVED pairs with the load-acquire
 *	in state_of(): who sees MOVED sees the bits in .left.
 *  C5	.next is relaxed: a hint where to look for work. A wrong one costs a
 *	sweep, which ends at .remaining == 0.
 *  C6	.remaining: the release decrement in piece_done() pairs with the
 *	acquire load in remaining(): who sees 0 sees every piece MOVED.
 *  C7	.mover: CAS-acquire in mover_take() pairs with the store-release in
 *	mover_drop(). No data hangs on it; the order keeps the moves of one
 *	holder from running into those of the next.
 *  C8	.wanted is relaxed: a wish that is repeated until it is granted.
 */
#include "alloc/compact-internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

/* Most pieces of a batch: what stands on the stack of a fault handler. */
#define BATCH_PIECES 32u

/* Most small pages of a batch: bounds the time between looks at .wanted. */
#define BATCH_PAGES 512u

/* A huge page moved whole costs about as much as this many small ones. */
#define HUGE_COST 8u

/*
 * A waiting thread sleeps so long between looks. It must sleep, not spin: a
 * processor that runs nothing of this process is spared by the mover's TLB
 * shoot-downs, which are the greater part of moving a single page.
 */
#define WAIT_NS 50000u

struct batch {
	struct ferry__piece *piece[BATCH_PIECES];
	struct ferry_move_range range[BATCH_PIECES];
	size_t len, ranges, cost;
};

/* --- pieces --------------------------------------------------------------- */

static unsigned int state_of(const struct ferry__piece *p)
{
	return __atomic_load_n(&p->state, __ATOMIC_ACQUIRE); /* C3 */
}

static bool piece_claim(struct ferry__piece *p)
{
	uint8_t planned = FERRY__PIECE_PLANNED;

	/* C1; the load first, as a failing CAS costs as much as one that
	 * succeeds. */
	return __atomic_load_n(&p->state, __ATOMIC_RELAXED) == planned &&
	       __atomic_compare_exchange_n(&p->state, &planned,
					   FERRY__PIECE_CLAIMED, false,
					   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static void piece_unclaim(struct ferry__piece *p)
{
	__atomic_store_n(&p->state, FERRY__PIECE_PLANNED,
			 __ATOMIC_RELEASE); /* C2 */
}

static void piece_done(struct ferry_compact *compact, struct ferry__piece *p)
{
	__atomic_store_n(&p->state, FERRY__PIECE_MOVED,
			 __ATOMIC_RELEASE); /* C3 */
	__atomic_fetch_sub(&compact->remaining, p->pages * ferry__page_size,
			   __ATOMIC_RELEASE); /* C6 */
}

static size_t remaining(const struct ferry_compact *compact)
{
	return __atomic_load_n(&compact->remaining, __ATOMIC_ACQUIRE); /* C6 */
}

static struct ferry__piece *piece_at(const struct ferry_compact *compact,
				     size_t index)
{
	return &compact->layout.pieces[compact->layout.order[index]];
}

static void leave_page(struct ferry_compact *compact, uintptr_t to)
{
	size_t page = (to - compact->to) / ferry__page_size;

	/* Relaxed: published by the piece's C3. */
	__atomic_fetch_or(&compact->left[page / 64], 1ull << page % 64,
			  __ATOMIC_RELAXED);
	__atomic_fetch_add(&compact->counts.left, ferry__page_size,
			   __ATOMIC_RELAXED);
}

/* --- counts --------------------------------------------------------------- */

static void add(uint64_t *count, uint64_t n)
{
	if (n)
		__atomic_fetch_add(count, n, __ATOMIC_RELAXED);
}

void ferry__compact_note(struct ferry_compact *compact, int error,
			 enum ferry_reason reason)
{
	int none = 0;

	/* Relaxed: two words for people to read; the first error wins. */
	if (__atomic_compare_exchange_n(&compact->counts.error, &none, error,
					false, __ATOMIC_RELAXED,
					__ATOMIC_RELAXED))
		__atomic_store_n(&compact->counts.reason, (int)reason,
				 __ATOMIC_RELAXED);
}

static void count_result(struct ferry_compact *compact,
			 const struct ferry_move_result *res)
{
	struct ferry__compact_counts *c = &compact->counts;

	/* A hole is a live page that was never written: it moves as it is. */
	add(&c->moved, res->moved + res->holes + res->present);
	add(&c->copied, res->copied);
	add(&c->calls, res->calls);
	add(&c->busy_retries, res->busy_retries);
}

/* --- batches -------------------------------------------------------------- */

static bool batch_full(const struct batch *b)
{
	return b->len == BATCH_PIECES || b->cost >= BATCH_PAGES;
}

/* Adds a claimed piece; neighbours on both sides become one range, but for
 * those in another mapping, which the kernel does not move across. */
static void batch_add(struct batch *b, struct ferry__piece *p)
{
	size_t skip = p->moved * ferry__page_size;
	struct ferry_move_range next = {
		.dst = (void *)(p->to + skip),
		.src = (void *)(p->from + skip),
		.len = p->pages * ferry__page_size - skip,
	};
	struct ferry_move_range *last = b->ranges ? &b->range[b->ranges - 1]
						  : NULL;

	b->piece[b->len++] = p;
	b->cost += p->kind == FERRY__PIECE_HUGE ? HUGE_COST : p->pages;
	if (last && !p->cut && (char *)last->dst + last->len == next.dst &&
	    (char *)last->src + last->len == next.src)
		last->len += next.len;
	else
		b->range[b->ranges++] = next;
}

/* Books @done bytes on the pieces in order; returns the first unfinished. */
static size_t batch_book(struct ferry_compact *compact, struct batch *b,
			 size_t done)
{
	size_t i, pages = done / ferry__page_size, want;
	struct ferry__piece *p;

	for (i = 0; i < b->len; i++) {
		p = b->piece[i];
		want = p->pages - p->moved;
		if (pages < want) {
			p->moved = (uint16_t)(p->moved + pages);
			return i;
		}
		pages -= want;
		p->moved = (uint16_t)p->pages;
		if (p->kind == FERRY__PIECE_HUGE)
			add(&compact->counts.huge, p->pages * ferry__page_size);
		piece_done(compact, p);
	}
	return i;
}

/*
 * Whether an error is of the moment and the whole process, not of a page: it
 * then stops the work, and the same page is tried again later.
 */
static bool passing(int error)
{
	return error == -ECANCELED || error == -ENOMEM || error == -EAGAIN ||
	       error == -EINTR || error == -EBADF || error == -EOPNOTSUPP;
}

/* Moves the page at which @p stands by other rules than those of a batch. */
static int move_page(struct ferry_compact *compact,
		     const struct ferry__piece *p, uint32_t flags,
		     enum ferry_busy busy)
{
	struct ferry_move_params params = compact->move;
	struct ferry_move_result res = FERRY_INIT(struct ferry_move_result);
	size_t skip = p->moved * ferry__page_size;
	int r;

	params.flags |= flags;
	params.busy = busy;
	r = ferry_move(compact->uffd, (void *)(p->to + skip),
		       (void *)(p->from + skip), ferry__page_size, &params,
		       &res);
	count_result(compact, &res);
	return r;
}

/*
 * The page that stopped a batch. A live page that was never written is a
 * hole: batches do not allow for them, because ferry_move() would have to
 * look at the page tables before each call to count them. A range that the
 * kernel does not take as a whole, because somebody has cut the mapping in
 * the middle of it, is gone through page by page. A busy page is copied where
 * that is allowed. What then cannot be moved is left.
 */
static int stopped_page(struct ferry_compact *compact, struct ferry__piece *p,
			int error, enum ferry_reason reason)
{
	size_t skip = p->moved * ferry__page_size;
	int r = error;

	if (error == -ENOENT && reason == FERRY_REASON_HOLE)
		r = move_page(compact, p, FERRY_MOVE_HOLES, compact->move.busy);
	else if (error == -EINVAL)
		r = move_page(compact, p, 0, compact->move.busy);
	if (r == -EBUSY && compact->copy_last)
		r = move_page(compact, p, 0, FERRY_BUSY_COPY);
	if (passing(r))
		return r;
	if (r < 0) {
		ferry__compact_note(compact, error, reason);
		leave_page(compact, p->to + skip);
	}
	if (++p->moved == p->pages)
		piece_done(compact, p);
	return 0;
}

/*
 * Moves a batch and gives up its claims. Returns 0 also when a page had to be
 * left; else the error that stopped it.
 */
static int batch_move(struct ferry_compact *compact, struct batch *b,
		      const volatile bool *cancel)
{
	struct ferry_move_result res = FERRY_INIT(struct ferry_move_result);
	struct ferry_move_params params = compact->move;
	size_t i;
	int r;

	params.cancel = cancel;
	r = ferry_movev(compact->uffd, b->range, b->ranges, &params, &res);
	count_result(compact, &res);
	i = batch_book(compact, b, res.done);
	if (i < b->len && r < 0 && !passing(r))
		r = stopped_page(compact, b->piece[i], r, res.reason);
	else if (r < 0)
		ferry__compact_note(compact, r, res.reason);
	for (; i < b->len; i++)
		if (state_of(b->piece[i]) == FERRY__PIECE_CLAIMED)
			piece_unclaim(b->piece[i]);
	return r;
}

/*
 * Claims pieces from @index on, up to @end and at most @bytes. Returns the
 * index after the last one looked at.
 */
static size_t batch_claim(struct ferry_compact *compact, struct batch *b,
			  size_t index, size_t end, size_t bytes)
{
	struct ferry__piece *p;
	size_t taken = 0;

	b->len = b->ranges = b->cost = 0;
	for (; index < end && !batch_full(b) && taken < bytes; index++) {
		p = piece_at(compact, index);
		if (!piece_claim(p))
			continue;
		taken += (p->pages - p->moved) * ferry__page_size;
		batch_add(b, p);
	}
	return index;
}

/* --- one mover at a time -------------------------------------------------- */

/* What .mover says while there is one. */
enum { MOVER_NONE, MOVER_FAULT, MOVER_STEP };

static bool mover_take(struct ferry_compact *compact, int who)
{
	int none = MOVER_NONE;

	if (!compact->exclusive)
		return true;
	/* C7 */
	return !__atomic_load_n(&compact->mover, __ATOMIC_RELAXED) &&
	       __atomic_compare_exchange_n(&compact->mover, &none, who, false,
					   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static void mover_drop(struct ferry_compact *compact)
{
	if (compact->exclusive)
		__atomic_store_n(&compact->mover, MOVER_NONE,
				 __ATOMIC_RELEASE); /* C7 */
}

/* --- faults --------------------------------------------------------------- */

/* Moves what is not claimed of the window around @to. */
static int move_window(struct ferry_compact *compact, uintptr_t low,
		       uintptr_t high)
{
	size_t index = ferry__layout_find_to(&compact->layout, low);
	size_t end = ferry__layout_find_to(&compact->layout, high - 1) + 1;
	struct batch b;
	int r = 0;

	while (index < end && !r) {
		index = batch_claim(compact, &b, index, end, SIZE_MAX);
		if (b.len)
			r = batch_move(compact, &b, NULL);
	}
	return r;
}

static struct ferry__piece *piece_of_page(const struct ferry_compact *compact,
					  uintptr_t to)
{
	return piece_at(compact, ferry__layout_find_to(&compact->layout, to));
}

/* The window of fault-around about @to, clipped to the destination. */
static void window_about(const struct ferry_compact *compact, uintptr_t to,
			 uintptr_t *ret_low, uintptr_t *ret_high)
{
	size_t len = compact->params.around * ferry__page_size;
	size_t offset = (to - compact->to) / len * len;

	*ret_low = compact->to + offset;
	*ret_high =
		compact->to +
		(offset + len < compact->bytes ? offset + len : compact->bytes);
}

/* What a move costs at least: by the piece, and by the page of it. */
#define PIECE_NS 900u
#define PAGE_NS	 60u

/* How long a step will be at it at least: a guess from what remains. */
static uint64_t rest_ns(const struct ferry_compact *compact)
{
	size_t pages = compact->bytes / ferry__page_size;
	uint64_t each = PAGE_NS + PIECE_NS * compact->layout.len / pages;

	return remaining(compact) / ferry__page_size * each;
}

/*
 * Waits for whoever moves the page: by sleeping, once; if it is a step, for
 * as long as that may take to grant the wish in .wanted. To wake up in
 * between would serve the thread a little earlier now and then, and have its
 * processor interrupted for each page moved while it looks. Near the end the
 * step has less to do than that, and the finish waits for who sleeps here.
 */
static void wait_for_page(struct ferry_compact *compact, uintptr_t to)
{
	uint64_t ns = 0, rest;

	__atomic_store_n(&compact->wanted, to, __ATOMIC_RELAXED); /* C8 */
	/* Relaxed: a guess at how long it takes. */
	if (__atomic_load_n(&compact->mover, __ATOMIC_RELAXED) == MOVER_STEP)
		ns = compact->params.slice_ns;
	rest = rest_ns(compact);
	ns = ns < rest ? ns : rest;
	ferry__sys->sleep_ns(ns > WAIT_NS ? ns : WAIT_NS);
}

/* One try to get the page at @to moved: 0, -EAGAIN (somebody else is at
 * it), or the error of the move. */
static int fault_try(struct ferry_compact *compact, uintptr_t to)
{
	uintptr_t low, high;
	int r;

	if (!mover_take(compact, MOVER_FAULT))
		return -EAGAIN;
	window_about(compact, to, &low, &high);
	r = move_window(compact, low, high);
	mover_drop(compact);
	if (r < 0)
		return r;
	return state_of(piece_of_page(compact, to)) == FERRY__PIECE_MOVED
		       ? 0
		       : -EAGAIN;
}

static enum ferry_supply_kind answer_moved(const struct ferry_compact *compact,
					   uintptr_t to, bool waited)
{
	if (ferry__compact_left_bit(compact, to))
		return FERRY_SUPPLY_NONE;
	/* Present, or a live page that was never written. Which of the two
	 * need not be known: zero pages give way to a page that is there. */
	return waited ? FERRY_SUPPLY_DONE : FERRY_SUPPLY_ZERO;
}

void ferry__compact_supply(void *arg, const struct ferry_fault *fault,
			   struct ferry_supply *supply)
{
	struct ferry_compact *compact = arg;
	uintptr_t to = (uintptr_t)fault->page;
	struct ferry__piece *p = piece_of_page(compact, to);
	bool waited = false;
	int r;

	supply->offset = fault->offset;
	supply->len = ferry__page_size;
	add(&compact->counts.faults, 1);
	while (state_of(p) != FERRY__PIECE_MOVED) {
		waited = true;
		r = fault_try(compact, to);
		if (r == -EAGAIN || r == -ENOMEM) {
			wait_for_page(compact, to);
		} else if (r < 0) {
			supply->kind = FERRY_SUPPLY_NONE;
			return;
		}
	}
	supply->kind = answer_moved(compact, to, waited);
}

void ferry__compact_trap(void *arg, const struct ferry_fault *fault,
			 struct ferry_supply *supply)
{
	const struct ferry_arena *arena = arg;

	supply->offset = fault->offset;
	supply->len = ferry__page_size;
	switch (ferry_arena_page_state(arena, fault->offset)) {
	case FERRY_PAGE_LIVE:
	case FERRY_PAGE_PINNED:
		/* Not of this compaction, and never touched before. */
		supply->kind = FERRY_SUPPLY_ZERO;
		break;
	default:
		supply->kind = FERRY_SUPPLY_NONE;
		break;
	}
}

/* --- background ----------------------------------------------------------- */

/* What one call of ferry_compact_step() does. */
struct step {
	struct ferry_compact *compact;
	const volatile bool *cancel;
	size_t bytes;	     /* still to be moved by it */
	uint64_t wish_since; /* when .wanted was first seen; 0: not seen */
};

/*
 * Grants the wish of a waiting thread once it has waited for the slice. Till
 * then that thread sleeps, and its processor with it, so that moving single
 * pages costs a tenth (DESIGN.md, "One mover").
 */
static int grant_wish(struct step *s)
{
	struct ferry_compact *compact = s->compact;
	uintptr_t low, high, to;
	uint64_t now;

	to = __atomic_load_n(&compact->wanted, __ATOMIC_RELAXED); /* C8 */
	if (!to)
		return 0;
	now = ferry__sys->now_ns();
	if (!s->wish_since)
		s->wish_since = now;
	if (now - s->wish_since < compact->params.slice_ns)
		return 0;
	__atomic_store_n(&compact->wanted, 0, __ATOMIC_RELAXED); /* C8 */
	s->wish_since = 0;
	window_about(compact, to, &low, &high);
	return move_window(compact, low, high);
}

/* What remains is in the hands of other threads. Positive: no errno. */
#define OTHERS_AT_IT 1

/*
 * Moves batches in order while there are any and the step may go on. Returns
 * 0, an error, or OTHERS_AT_IT.
 */
static int step_moves(struct step *s)
{
	struct ferry_compact *compact = s->compact;
	size_t index, len = compact->layout.len;
	size_t before;
	struct batch b;
	int r = 0;

	while (!r && s->bytes && (before = remaining(compact))) {
		if (s->cancel && *s->cancel)
			return -ECANCELED;
		r = grant_wish(s);
		if (r < 0)
			return r;
		index = __atomic_load_n(&compact->next, __ATOMIC_RELAXED);
		index = batch_claim(compact, &b, index, len, s->bytes);
		__atomic_store_n(&compact->next, index < len ? index : 0,
				 __ATOMIC_RELAXED); /* C5 */
		if (!b.len && index == len)
			return OTHERS_AT_IT;
		if (b.len)
			r = batch_move(compact, &b, s->cancel);
		before -= remaining(compact);
		s->bytes -= before < s->bytes ? before : s->bytes;
	}
	return r;
}

static int step_run(struct step *s)
{
	int r;

	do {
		if (s->cancel && *s->cancel)
			return -ECANCELED;
		r = OTHERS_AT_IT;
		if (mover_take(s->compact, MOVER_STEP)) {
			r = step_moves(s);
			mover_drop(s->compact);
		}
		if (r != OTHERS_AT_IT)
			return r;
		ferry__sys->sleep_ns(WAIT_NS);
	} while (remaining(s->compact));
	return 0;
}

/*
 * A mover must not run a signal handler of the host: one that touched a page
 * which this very thread has claimed would wait for itself. The same goes for
 * being cancelled half-way.
 */
static int step_guarded(struct step *s)
{
	sigset_t all, old;
	int r, cancel;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	r = step_run(s);
	pthread_setcancelstate(cancel, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

int ferry_compact_step(struct ferry_compact *compact, size_t bytes,
		       const volatile bool *cancel, size_t *ret_left)
{
	struct step s = {
		.compact = compact,
		.cancel = cancel,
		.bytes = bytes ? bytes : SIZE_MAX,
	};
	int r = 0;

	if (!compact)
		return -EINVAL;
	if (ferry__compact_phase(compact) == FERRY_COMPACT_PLANNED ||
	    ferry__compact_phase(compact) == FERRY__COMPACT_DROPPED)
		return -EINVAL;
	if (ferry__compact_phase(compact) == FERRY_COMPACT_RUNNING)
		r = step_guarded(&s);
	if (ret_left)
		*ret_left = remaining(compact);
	return r;
}

/* --- the end -------------------------------------------------------------- */

static void retry_page(struct ferry_compact *compact, uintptr_t from,
		       uintptr_t to)
{
	struct ferry_move_params params = compact->move;
	struct ferry_move_result res = FERRY_INIT(struct ferry_move_result);
	size_t page = (to - compact->to) / ferry__page_size;

	if (compact->copy_last)
		params.busy = FERRY_BUSY_COPY;
	if (ferry_move(compact->uffd, (void *)to, (void *)from,
		       ferry__page_size, &params, &res) < 0)
		return;
	count_result(compact, &res);
	/* Relaxed: no other thread is at work; published by C4. */
	__atomic_fetch_and(&compact->left[page / 64], ~(1ull << page % 64),
			   __ATOMIC_RELAXED);
	__atomic_fetch_sub(&compact->counts.left, ferry__page_size,
			   __ATOMIC_RELAXED);
}

void ferry__compact_retry_left(struct ferry_compact *compact)
{
	const struct ferry__piece *p;
	size_t i, at;

	if (!__atomic_load_n(&compact->counts.left, __ATOMIC_RELAXED))
		return;
	for (i = 0; i < compact->layout.len; i++) {
		p = &compact->layout.pieces[i];
		for (at = 0; at < p->moved * ferry__page_size;
		     at += ferry__page_size)
			if (ferry__compact_left_bit(compact, p->to + at))
				retry_page(compact, p->from + at, p->to + at);
	}
}

void ferry__compact_leave_rest(struct ferry_compact *compact)
{
	struct ferry__piece *p;
	size_t i;

	for (i = 0; i < compact->layout.len && remaining(compact); i++) {
		p = &compact->layout.pieces[i];
		if (!piece_claim(p))
			continue;
		for (; p->moved < p->pages; p->moved++)
			leave_page(compact,
				   p->to + p->moved * ferry__page_size);
		piece_done(compact, p);
	}
}
