/* SPDX-License-Identifier: MIT */
/*
 * One fault: the question to the supplier, and the answer carried out.
 *
 * The window around the page is a favour, the page itself a duty. Each kind
 * of answer therefore tries the window with as few system calls as it can,
 * and only when that leaves doubt about the page does a second step for the
 * page alone decide. What is done to a page:
 *
 *	there already	somebody else was quicker; counted as raced
 *	busy		by the service's policy, and copied at last
 *	hole at source	see hole(): never silently a zero page
 *	changing	mappings change: touched again after a pause
 *	not registered	the host unmapped or detached it: touched again
 *
 * No step waits for another thread's progress for longer than some 20 ms: a
 * thread that stops the world by signal must find this one back in its own
 * code.
 */
#include <string.h>

#include "uffd/fault.h"

_Thread_local struct ferry__fault_self ferry__fault_self
	__attribute__((tls_model("initial-exec")));

/* For how long one move waits on busy pages and changing mappings. */
#define MOVE_NS 2000000u

/*
 * How often the supplier is asked in a row about a page whose source is a
 * hole, or for which there is no memory, before the fault is given up. With
 * the pauses between this takes some 20 ms.
 */
#define TRIES 40

/* An answer being carried out. Offsets are those of the range. */
struct job {
	struct ferry__fault_case *c;
	struct ferry_fault_service *service;
	enum ferry_supply_kind kind;
	uint32_t flags;
	unsigned char *dst; /* address of offset 0 */
	uintptr_t src;	    /* what corresponds to offset 0 at the source */
	size_t start, end;  /* of the window */
};

/* --- filling: copy and zero ---------------------------------------------- */

static int fill(const struct job *job, size_t offset, size_t len,
		size_t *ret_done)
{
	struct ferry_uffd *uffd = job->service->uffd;
	int r;

	if (job->kind == FERRY_SUPPLY_COPY) {
		r = ferry_uffd_copy(uffd, job->dst + offset,
				    (void *)(job->src + offset), len, 0,
				    ret_done);
		ferry__fault_count(job->service, pages_copied,
				   *ret_done / ferry__page_size);
	} else {
		r = ferry_uffd_zero(uffd, job->dst + offset, len, 0, ret_done);
		ferry__fault_count(job->service, pages_zeroed,
				   *ret_done / ferry__page_size);
	}
	return r;
}

/* The page alone: this result is the result of the fault. */
static int fill_page(struct job *job)
{
	size_t done;
	int r;

	r = fill(job, job->c->page, ferry__page_size, &done);
	if (r == -EEXIST) {
		ferry__fault_count(job->service, raced, 1);
		return 0;
	}
	job->c->woken = !r;
	return r == -ENOENT ? -ESTALE : r;
}

/* Fills the window, passing over what is there, up to the first error. */
static int fill_window(struct job *job)
{
	size_t offset = job->start, done;
	int r = 0;

	while (offset < job->end && (!r || r == -EEXIST)) {
		r = fill(job, offset, job->end - offset, &done);
		offset += done;
		if (r == -EEXIST)
			offset += ferry__page_size;
	}
	/* Beyond the page: it was filled, or found there. */
	return offset > job->c->page ? 0 : fill_page(job);
}

/* --- moving -------------------------------------------------------------- */

/*
 * Pages that were found moved are of another thread far more often than of a
 * kernel that forgot to count them: several threads fault on one window.
 */
static void count_move(const struct job *job,
		       const struct ferry_move_result *result)
{
	ferry__fault_count(job->service, pages_moved,
			   result->moved / ferry__page_size -
				   result->false_exist);
	ferry__fault_count(job->service, raced, result->false_exist);
	ferry__fault_count(job->service, pages_copied,
			   result->copied / ferry__page_size);
}

static int move(const struct job *job, size_t offset, size_t len,
		uint32_t flags, enum ferry_busy busy,
		struct ferry_move_result *result)
{
	struct ferry_move_params params = FERRY_INIT(struct ferry_move_params);
	int r;

	params.flags = flags;
	params.busy = busy;
	params.deadline_ns = MOVE_NS;
	memset(result, 0, sizeof(*result));
	result->size = sizeof(*result);
	r = ferry_move(job->service->uffd, job->dst + offset,
		       (void *)(job->src + offset), len, &params, result);
	count_move(job, result);
	return r;
}

/*
 * The source has nothing for the page, and the destination had nothing
 * either. Where the supplier says that holes are zero pages, so be it. Else
 * the answer was overtaken: the page came and went again between answer and
 * move, its contents are elsewhere, and a zero page would lose them. The
 * supplier is asked again.
 */
static int hole(struct job *job)
{
	if (!(job->flags & FERRY_SUPPLY_HOLES))
		return -ENOENT;
	job->kind = FERRY_SUPPLY_ZERO;
	return fill_page(job);
}

static int move_page(struct job *job)
{
	struct ferry_move_result result;
	enum ferry_busy busy = job->service->busy;
	int r;

	if (busy == FERRY_BUSY_SKIP)
		busy = FERRY_BUSY_COPY;
	r = move(job, job->c->page, ferry__page_size, 0, busy, &result);
	if (r == -EBUSY)
		r = move(job, job->c->page, ferry__page_size, 0,
			 FERRY_BUSY_COPY, &result);
	switch (r) {
	case 0:
		job->c->woken = result.moved || result.copied;
		return 0;
	case -EEXIST:
		ferry__fault_count(job->service, raced, 1);
		return 0;
	case -ENOENT:
		return result.reason == FERRY_REASON_HOLE ? hole(job) : r;
	case -EINTR: /* the thread is about to be killed */
		return -EAGAIN;
	case -EINVAL:
		return result.reason == FERRY_REASON_NOT_REGISTERED ? -ESTALE
								    : r;
	default:
		return r;
	}
}

#define WINDOW_FLAGS (FERRY_MOVE_PASS_PRESENT | FERRY_MOVE_SPLIT_BUSY)

/* The rest of a window in which a hole was met; the page decides. */
static int move_sparse(struct job *job, size_t offset)
{
	struct ferry_move_result result;

	move(job, offset, job->end - offset, WINDOW_FLAGS | FERRY_MOVE_HOLES,
	     job->service->busy, &result);
	return move_page(job);
}

static int move_window(struct job *job)
{
	struct ferry_move_result result;
	size_t len = job->end - job->start;
	int r;

	if (len == ferry__page_size)
		return move_page(job);
	r = move(job, job->start, len, WINDOW_FLAGS, job->service->busy,
		 &result);
	if (r == -ENOENT && result.reason == FERRY_REASON_HOLE)
		return move_sparse(job, job->start + result.done);
	if (r || result.skipped)
		return move_page(job);
	/* Every page of the window is there; woken if all of them moved. */
	job->c->woken = !result.present;
	if (result.present == len)
		ferry__fault_count(job->service, raced, 1);
	return 0;
}

/* --- question and answer ------------------------------------------------- */

/* The window: aligned in the address space, clipped to the range. */
static void propose(const struct ferry__fault_case *c,
		    struct ferry_fault *ret_fault)
{
	const struct ferry__fault_range *range = c->range;
	size_t around = c->protect ? ferry__page_size : range->service->around;
	size_t before = (range->addr + c->page) % around;
	size_t start = c->page > before ? c->page - before : 0;
	size_t end = c->page - before + around;

	/* The window began below the range: so does its end come earlier. */
	if (before > c->page)
		end = around - (before - c->page);
	ret_fault->page = (void *)(range->addr + c->page);
	ret_fault->write = c->write;
	ret_fault->protect = c->protect;
	ret_fault->range.addr = (void *)range->addr;
	ret_fault->range.len = range->len;
	ret_fault->offset = c->page;
	ret_fault->window_offset = start;
	ret_fault->window_len = (end < range->len ? end : range->len) - start;
}

static void ask(struct ferry__fault_case *c, struct ferry_supply *ret_supply)
{
	struct ferry_fault fault;

	memset(&fault, 0, sizeof(fault));
	propose(c, &fault);
	memset(ret_supply, 0, sizeof(*ret_supply));
	ret_supply->offset = fault.window_offset;
	ret_supply->len = fault.window_len;
	ferry__fault_self.supplying++;
	c->range->supply(c->range->arg, &fault, ret_supply);
	ferry__fault_self.supplying--;
}

/* Takes the supplier's window over; it may not leave the range. */
static int take_window(struct job *job, const struct ferry_supply *supply)
{
	const struct ferry__fault_range *range = job->c->range;
	size_t page = job->c->page, room;

	if ((supply->offset | supply->len) & (ferry__page_size - 1) ||
	    supply->offset > page)
		return -EINVAL;
	room = range->len - supply->offset;
	job->start = supply->offset;
	job->end = supply->offset + (supply->len < room ? supply->len : room);
	if (job->end <= page)
		return -EINVAL;
	job->dst = (unsigned char *)range->addr;
	job->src = (uintptr_t)supply->src - supply->offset;
	return 0;
}

static int unprotect(struct ferry__fault_case *c)
{
	int r = ferry_uffd_writeprotect(c->range->service->uffd,
					(void *)(c->range->addr + c->page),
					ferry__page_size, false, 0);

	c->woken = !r;
	return r == -ENOENT ? -ESTALE : r;
}

static int done(struct ferry__fault_case *c)
{
	return c->protect ? unprotect(c) : 0;
}

static int carry_out(struct ferry__fault_case *c,
		     const struct ferry_supply *supply)
{
	struct job job = {
		.c = c,
		.service = c->range->service,
		.kind = supply->kind,
		.flags = supply->flags,
	};
	int r;

	if (c->protect)
		return -EINVAL;
	r = take_window(&job, supply);
	if (r)
		return r;
	return supply->kind == FERRY_SUPPLY_MOVE ? move_window(&job)
						 : fill_window(&job);
}

static int ask_and_do(struct ferry__fault_case *c)
{
	struct ferry_supply supply;

	ask(c, &supply);
	switch ((int)supply.kind) {
	case FERRY_SUPPLY_MOVE:
	case FERRY_SUPPLY_COPY:
	case FERRY_SUPPLY_ZERO:
		return carry_out(c, &supply);
	case FERRY_SUPPLY_DONE:
		return done(c);
	case FERRY_SUPPLY_AGAIN:
		ferry__fault_count(c->range->service, again, 1);
		return -EAGAIN;
	case FERRY__SUPPLY_POISONED:
		c->refused = true;
		return -ENODATA;
	case FERRY_SUPPLY_NONE:
		return -ENODATA;
	default:
		return -EINVAL;
	}
}

/* Does asking again help? */
static bool passes(int r)
{
	return r == -ENOENT || r == -ENOMEM;
}

static void count_outcome(struct ferry_fault_service *service, int r)
{
	if (!r)
		ferry__fault_count(service, faults, 1);
	else if (r != -EAGAIN && r != -ESTALE)
		ferry__fault_count(service, refused, 1);
}

int ferry__fault_serve(struct ferry__fault_case *c)
{
	struct ferry__backoff backoff = { .limit_ns = UINT64_MAX };
	unsigned int tries;
	int r;

	for (tries = 1;; tries++) {
		r = ask_and_do(c);
		if (!passes(r) || tries == TRIES)
			break;
		ferry__backoff_wait(&backoff);
	}
	count_outcome(c->range->service, r);
	return r;
}

void ferry__fault_pace(uintptr_t page)
{
	struct ferry__fault_self *self = &ferry__fault_self;
	struct ferry__backoff backoff = { .limit_ns = UINT64_MAX };

	if (self->paced_page != page) {
		self->paced_page = page;
		self->paced = 0;
	}
	backoff.tries = self->paced++;
	ferry__backoff_wait(&backoff);
}
