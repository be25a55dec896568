/* SPDX-License-Identifier: MIT */
/*
 * The way back: pages in limbo are moved, or copied where they are shared by
 * a fork (P9); pages in stores are got into a buffer of the calling thread
 * and copied in, several at once.
 *
 * The page is there before its word says so, and the store's copy goes after
 * that (P5): whoever forks, fails or asks in between finds the contents.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/pager/pager-internal.h"
#include "alloc/pager/probe.h"
#include "uffd/uapi.h"

/* How long a store may fail to give a page before it counts as lost. */
#define PATIENCE_NS 10000000000u
/* After so long without a try by who waits, others are waiting. */
#define FORGET_NS (6 * PATIENCE_NS)
/* Between two tries. */
#define RETRY_NS 1000000u

/* Waiting for mappings that change, within one move: others can do it. */
#define MOVE_WAIT_NS 1000000u

/* --- the end ------------------------------------------------------------- */

/*
 * A copy kept from the start would keep pipes open whose reader waits for
 * their end.
 */
int ferry__pager_stderr(void)
{
	int pid = ferry__sys->getpid(), pidfd, fd;
	char path[32];

	pidfd = ferry__sys->pidfd_open(pid);
	fd = pidfd < 0 ? pidfd : ferry__sys->pidfd_getfd(pidfd, 2);
	if (pidfd >= 0)
		ferry__sys->close(pidfd);
	if (fd >= 0)
		return fd;
	snprintf(path, sizeof(path), "/proc/%d/fd/2", pid);
	return ferry__sys->open(path, 1 /* O_WRONLY */);
}

_Noreturn void ferry__pager_lost(struct ferry__pager *pager, uint64_t word,
				 uintptr_t addr, int error)
{
	const char *name = "limbo";
	char text[160];
	int n, fd;

	if (word & FERRY__WORD_PLACE)
		name = pager->tiers[ferry__word_tier(word)].store->ops->name;
	n = snprintf(text, sizeof(text),
		     "ferry: the page at %#lx is lost: store \"%s\" answers "
		     "error %d; the program cannot go on\n",
		     (unsigned long)addr, name, -error);
	fd = ferry__pager_stderr();
	if (fd < 0 || ferry__sys->write(fd, text, (size_t)n) < 0)
		abort();
	abort();
}

bool ferry__pager_given_up(struct ferry__pager *pager, uint64_t word)
{
	struct ferry__pager_tier_state *tier =
		&pager->tiers[ferry__word_tier(word)];
	uint64_t now = ferry__sys->now_ns(), from, last;

	/* T1 */
	last = __atomic_exchange_n(&tier->asked_at, now, __ATOMIC_RELAXED);
	from = __atomic_load_n(&tier->failing_for, __ATOMIC_RELAXED);
	/* Who waited then may be gone: its page was discarded, or it ended. */
	if (from && now - last <= FORGET_NS)
		return now - from > PATIENCE_NS;
	__atomic_store_n(&tier->failing_for, now, __ATOMIC_RELAXED);
	return false;
}

/* --- stores -------------------------------------------------------------- */

/* T1: relaxed, a clock that who waits starts and any page stops. */
static void note_get(struct ferry__pager *pager, size_t t, uintptr_t addr,
		     int r)
{
	struct ferry__pager_tier_state *tier = &pager->tiers[t];

	if (!r && __atomic_load_n(&tier->failing_for, __ATOMIC_RELAXED))
		__atomic_store_n(&tier->failing_for, 0, __ATOMIC_RELAXED);
	if (r)
		FERRY__PROBE3(store_error, t, r, addr);
}

int ferry__pager_get(struct ferry__pager *pager, uint64_t word, uintptr_t addr,
		     void *to)
{
	size_t t = ferry__word_tier(word);
	struct ferry__store *store = pager->tiers[t].store;
	int r = store->ops->get(store, ferry__word_handle(word), addr, to);

	note_get(pager, t, addr, r);
	return r;
}

void ferry__pager_get_surely(struct ferry__pager *pager, uint64_t word,
			     uintptr_t addr, void *to)
{
	int r;

	while ((r = ferry__pager_get(pager, word, addr, to))) {
		if ((r != -EIO && r != -ETIMEDOUT) ||
		    ferry__pager_given_up(pager, word))
			ferry__pager_lost(pager, word, addr, r);
		ferry__sys->sleep_ns(RETRY_NS);
	}
}

void ferry__pager_drop_stored(struct ferry__pager *pager, uint64_t word)
{
	struct ferry__store *store = pager->tiers[ferry__word_tier(word)].store;

	store->ops->drop(store, ferry__word_handle(word));
}

/* A run of pages that are on their way back, all from one place. */
struct run {
	struct ferry__pager *pager;
	struct ferry__pager_region *region;
	size_t page, n;
	uint64_t *old; /* their words before */
	struct ferry__pager_hand *hand;
	/*
	 * In a fork's window: who waits is woken when the words are settled.
	 * It may fork next, and in the child nobody would settle them.
	 */
	bool late;
};

static void get_many(struct run *run, struct ferry__store *store, int *errors)
{
	ferry__store_handle handles[FERRY__BLOCK_PAGES];
	uint64_t tags[FERRY__BLOCK_PAGES];
	void *pages[FERRY__BLOCK_PAGES];
	size_t i;

	for (i = 0; i < run->n; i++) {
		handles[i] = ferry__word_handle(run->old[i]);
		tags[i] = ferry__page_at(run->region, run->page + i);
		pages[i] = run->hand->staging + i * ferry__page_size;
	}
	store->ops->get_many(store, handles, tags, run->n, pages, errors);
}

static bool same_tier(const struct run *run)
{
	size_t i;

	for (i = 1; i < run->n; i++)
		if (ferry__word_tier(run->old[i]) !=
		    ferry__word_tier(run->old[0]))
			return false;
	return true;
}

/* Gets the pages; cuts the run where one is not to be had. */
static int get_run(struct run *run)
{
	size_t t = ferry__word_tier(run->old[0]);
	struct ferry__store *store = run->pager->tiers[t].store;
	int errors[FERRY__BLOCK_PAGES];
	bool many = run->n > 1 && store->ops->get_many && same_tier(run);
	size_t i;

	if (many)
		get_many(run, store, errors);
	for (i = 0; i < run->n; i++) {
		if (many)
			note_get(run->pager, t,
				 ferry__page_at(run->region, run->page + i),
				 errors[i]);
		else
			errors[i] = ferry__pager_get(
				run->pager, run->old[i],
				ferry__page_at(run->region, run->page + i),
				run->hand->staging + i * ferry__page_size);
		if (errors[i])
			break;
	}
	run->n = i;
	return i ? 0 : errors[0];
}

/* --- installing ---------------------------------------------------------- */

void ferry__pager_wake(struct ferry__pager *pager, uintptr_t addr)
{
	ferry_uffd_wake(pager->uffd, (void *)addr, ferry__page_size);
}

/*
 * One UFFDIO_COPY. Not ferry_uffd_copy(): that waits for mappings which
 * change, and the change may be a fork that waits for this thread to read of
 * it. Returns bytes done or a negative errno.
 */
static int64_t copy_once(struct ferry__pager *pager, uintptr_t dst,
			 const void *src, size_t len, bool wake)
{
	struct ferry__uffdio_copy copy = {
		.dst = dst,
		.src = (uintptr_t)src,
		.len = len,
		.mode = wake ? 0 : FERRY__COPY_DONTWAKE,
	};
	int r = ferry__sys->ioctl(ferry_uffd_fd(pager->uffd),
				  FERRY__UFFDIO_COPY, &copy);

	if (r >= 0)
		return (int64_t)len;
	return r == -EAGAIN && copy.copy > 0 ? copy.copy : r;
}

/* Does trying again later help? */
static bool passes(int64_t r)
{
	return r == -EAGAIN || r == -ENOMEM || r == -EINTR || r == -ESRCH;
}

/*
 * Copies pages to their place. One that is there already came with the fork
 * of a process, or by a copy that was counted short: it is as good. A range
 * over several mappings, which the host has made of one, is refused as a
 * whole: then page by page.
 */
static int copy_pages(struct ferry__pager *pager, uintptr_t at,
		      const unsigned char *src, size_t len, bool wake,
		      size_t *ret_done)
{
	size_t done = 0, piece = len;
	int64_t r = 0;

	while (done < len) {
		if (piece > len - done)
			piece = len - done;
		r = copy_once(pager, at + done, src + done, piece, wake);
		if (r == -EEXIST) {
			if (wake)
				ferry__pager_wake(pager, at + done);
			r = (int64_t)ferry__page_size;
		}
		if (r < 0 && !passes(r) && piece > ferry__page_size) {
			piece = ferry__page_size;
			continue;
		}
		if (r <= 0)
			break;
		done += (size_t)r;
	}
	*ret_done = done / ferry__page_size;
	return done == len ? 0 : (int)r;
}

static int copy_run(struct run *run, size_t *ret_done)
{
	return copy_pages(run->pager, ferry__page_at(run->region, run->page),
			  run->hand->staging, run->n * ferry__page_size,
			  !run->late, ret_done);
}

/*
 * A move that is refused ends in a copy (P9): the host may have protected or
 * locked its memory meanwhile, or split the mapping.
 */
static int copy_from_limbo(struct run *run, size_t from, size_t *ret_done)
{
	const unsigned char *src =
		(void *)ferry__limbo_at(run->region, run->page + from);
	size_t done;
	int r;

	r = copy_pages(run->pager,
		       ferry__page_at(run->region, run->page + from), src,
		       (run->n - from) * ferry__page_size, !run->late, &done);
	if (done)
		ferry__pager_free_limbo(run->region, run->page + from,
					~0ull >> (FERRY__BLOCK_PAGES - done));
	ferry__pager_count(run->pager, copied, done);
	*ret_done = from + done;
	return r;
}

/* The kernel wakes who waits for a page that it moves. */
static int move_run(struct run *run, size_t *ret_done)
{
	struct ferry_move_params params = FERRY_INIT(struct ferry_move_params);
	struct ferry_move_result res = FERRY_INIT(struct ferry_move_result);
	int r;

	params.flags = FERRY_MOVE_NATIVE | FERRY_MOVE_SOLE;
	if (run->late)
		params.flags |= FERRY_MOVE_NO_WAKE;
	params.busy = FERRY_BUSY_COPY;
	params.deadline_ns = MOVE_WAIT_NS;
	r = ferry_move(run->pager->uffd,
		       (void *)ferry__page_at(run->region, run->page),
		       (void *)ferry__limbo_at(run->region, run->page),
		       run->n * ferry__page_size, &params, &res);
	ferry__pager_count(run->pager, copied, res.copied / ferry__page_size);
	*ret_done = res.done / ferry__page_size;
	/* A page that is not in limbo is lost: no copy of nothing. */
	if (!r || passes(r) || res.reason == FERRY_REASON_HOLE)
		return r;
	return copy_from_limbo(run, *ret_done, ret_done);
}

/* --- words --------------------------------------------------------------- */

static void put_back(struct run *run, size_t from, size_t n)
{
	size_t i;

	for (i = from; i < n; i++)
		if (ferry__word_finish(&run->region->words[run->page + i],
				       run->old[i]))
			ferry__pager_wake(
				run->pager,
				ferry__page_at(run->region, run->page + i));
}

/* In a fork's window the store may not change: the copy is dropped later. */
static void settle_stored(struct run *run, size_t i)
{
	uint64_t kept = run->old[i] & FERRY__WORD_KEPT;
	uint64_t *word = &run->region->words[run->page + i];

	if (__atomic_load_n(&run->pager->forking, __ATOMIC_RELAXED)) {
		__atomic_store_n(&run->pager->spent, true, __ATOMIC_RELAXED);
		ferry__word_finish(word, (run->old[i] & FERRY__WORD_PLACE) |
						 kept | FERRY__WORD_SPENT);
		return;
	}
	ferry__word_finish(word, kept);
	ferry__pager_drop_stored(run->pager, run->old[i]);
}

static void settle(struct run *run, size_t done, bool stored)
{
	size_t i;

	for (i = 0; i < done; i++)
		if (stored)
			settle_stored(run, i);
		else
			ferry__word_finish(&run->region->words[run->page + i],
					   run->old[i] & FERRY__WORD_KEPT);
	ferry__pager_add(stored ? &run->pager->stored : &run->pager->limbo,
			 -(uint64_t)done);
	ferry__pager_count(run->pager, pages_back, stored ? done : 0);
	run->hand->came += done;
	run->hand->from_store += stored ? done : 0;
}

/*
 * A signal handler has its own table of descriptors and may have interrupted
 * anything: the rest is the helper's, see pager_sigbus.c.
 */
static bool may_get(const struct run *run, uint64_t word)
{
	return !run->hand->in_signal ||
	       run->pager->tiers[ferry__word_tier(word)]
		       .store->ops->signal_safe;
}

/* Claims pages from @page on that are where the first of them is. */
static size_t claim(struct run *run, size_t max, bool *ret_stored)
{
	uint64_t *words = run->region->words + run->page, w;
	enum ferry__word_state from = FERRY__WORD_RESIDENT;
	size_t n;

	for (n = 0; n < max; n++) {
		w = ferry__word_load(&words[n]);
		if (ferry__word_state(w) != FERRY__WORD_LIMBO &&
		    ferry__word_state(w) != FERRY__WORD_STORED)
			break;
		if (n && ferry__word_state(w) != from)
			break;
		if (ferry__word_state(w) == FERRY__WORD_STORED &&
		    !may_get(run, w))
			break;
		from = ferry__word_state(w);
		if (!ferry__word_claim(
			    &words[n], w,
			    (w & ~FERRY__WORD_STATE) | FERRY__WORD_INCOMING |
				    (from == FERRY__WORD_STORED
					     ? FERRY__WORD_IN_STORE
					     : FERRY__WORD_IN_LIMBO)))
			break;
		run->old[n] = w;
	}
	*ret_stored = from == FERRY__WORD_STORED;
	return n;
}

/* The contents are there: to their place, and the words say so. */
static int install_run(struct run *run, bool stored, size_t *ret_done)
{
	pthread_mutex_t *gate = run->hand->try_gate;
	int r;

	if (gate && !ferry__ahead_gate(gate))
		return -EAGAIN;
	r = stored ? copy_run(run, ret_done) : move_run(run, ret_done);
	settle(run, *ret_done, stored);
	if (gate)
		pthread_mutex_unlock(gate);
	return r;
}

/* A claimed run comes; what of it cannot is as it was before. */
static int bring_run(struct run *run, bool stored, size_t *ret_done)
{
	size_t n = run->n, done = 0;
	int r = 0;

	if (stored)
		r = get_run(run);
	if (!r)
		r = install_run(run, stored, &done);
	put_back(run, done, n);
	if (run->late && done)
		ferry_uffd_wake(run->pager->uffd,
				(void *)ferry__page_at(run->region, run->page),
				done * ferry__page_size);
	*ret_done = done;
	return done ? 0 : r;
}

/* Pages of one run: they fit the buffer, and lie in one unit. */
static size_t most(size_t page, size_t end)
{
	const size_t unit = FERRY__UNIT_SIZE / ferry__page_size;
	size_t n = end - page;

	if (n > FERRY__BLOCK_PAGES)
		n = FERRY__BLOCK_PAGES;
	return n < unit - page % unit ? n : unit - page % unit;
}

static int bring(struct ferry__pager *pager, struct ferry__pager_region *region,
		 size_t page, size_t n, bool all,
		 struct ferry__pager_hand *hand)
{
	uint64_t old[FERRY__BLOCK_PAGES];
	struct run run = {
		.pager = pager,
		.region = region,
		.page = page,
		.old = old,
		.hand = hand,
		.late = __atomic_load_n(&pager->forking, __ATOMIC_RELAXED),
	};
	size_t end = page + n, done, total = 0;
	bool stored;
	int r;

	while (run.page < end) {
		run.n = claim(&run, most(run.page, end), &stored);
		if (!run.n && !all && !total)
			break;
		if (!run.n) {
			run.page++;
			continue;
		}
		done = 0;
		r = bring_run(&run, stored, &done);
		if (r && (all || !total))
			return r;
		if (r)
			break;
		total += done;
		run.page += done;
	}
	return (int)total;
}

int ferry__pager_bring(struct ferry__pager *pager,
		       struct ferry__pager_region *region, size_t page,
		       size_t n, bool all, struct ferry__pager_hand *hand)
{
	int r;

	if (hand->gate)
		pthread_mutex_lock(hand->gate);
	r = bring(pager, region, page, n, all, hand);
	if (hand->gate)
		pthread_mutex_unlock(hand->gate);
	return r;
}
