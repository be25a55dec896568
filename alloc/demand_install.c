/* SPDX-License-Identifier: MIT */
/*
 * How produced units get to their place: by UFFDIO_MOVE, by UFFDIO_COPY where
 * the kernel refuses that, or in place while nobody looks.
 *
 * The thread that installs a unit is the only one to do so (N2), so a page
 * found present there whose source is gone was moved by it, in this try or an
 * earlier one: every way here can be gone again from the start.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/demand-internal.h"
#include "uffd/pagemap.h"

/* For how long one move waits for mappings that change. */
#define MOVE_NS 2000000u

/* A run of units on its way. */
struct job {
	struct ferry_demand *demand;
	uintptr_t dst, src;
	size_t len;
	unsigned int answer; /* enum ferry_demand_answer */
};

static size_t pages(size_t bytes)
{
	return bytes / ferry__page_size;
}

static void installed_by(struct ferry_demand *demand, int method)
{
	/* Relaxed: for people. */
	if (__atomic_load_n(&demand->method, __ATOMIC_RELAXED) != method)
		__atomic_store_n(&demand->method, method, __ATOMIC_RELAXED);
}

/*
 * What is left of the source is staging memory again. Not all of it need be
 * there: a try before this one may have moved some pages.
 */
static void source_kept(const struct job *job)
{
	if (job->answer == FERRY_DEMAND_MOVE)
		ferry__demand_give_up(job->demand, job->src,
				      job->src + job->len);
	ferry__staging_recycle(job->demand, job->src, pages(job->len));
}

static void source_spent(const struct job *job)
{
	if (job->answer == FERRY_DEMAND_STAGED)
		ferry__staging_spent(
			job->demand,
			(struct ferry__run){ job->src, pages(job->len) });
}

/* In SIGBUS mode nobody sleeps in the kernel for a page. */
static bool nobody_sleeps(const struct ferry_demand *demand)
{
	return demand->mode == FERRY_DEMAND_SIGBUS;
}

/* --- copying ------------------------------------------------------------- */

/*
 * Is there anything at @addr, and for how many bytes of @len is it so? The
 * page tables are asked, as to read a hole raises a fault which this thread
 * may be the one to answer. Without pagemap all is taken to be there.
 */
static bool is_there(const struct ferry_demand *demand, uintptr_t addr,
		     size_t len, size_t *ret_len)
{
	uint64_t words[FERRY__WORDS];
	int i, n = ferry__pagemap_read(demand->uffd->pagemap, addr, pages(len),
				       words);
	bool there;

	*ret_len = len;
	if (n <= 0)
		return true;
	there = ferry__pagemap_occupied(words[0]);
	for (i = 1; i < n; i++)
		if (ferry__pagemap_occupied(words[i]) != there)
			break;
	*ret_len = (size_t)i * ferry__page_size;
	return there;
}

/* Nothing, and nothing mapped? @len: at most FERRY__WORDS pages. */
static bool is_mapped(uintptr_t addr, size_t len)
{
	unsigned char there[FERRY__WORDS];

	return !ferry__sys->mincore((void *)addr, len, there);
}

/* Copies @len bytes from @from on, all of them there; what is at their place
 * already is passed. */
static int copy_run(const struct job *job, size_t from, size_t len)
{
	unsigned int flags = nobody_sleeps(job->demand) ? FERRY_OP_NO_WAKE : 0;
	size_t end = from + len, done;
	int r;

	while (from < end) {
		r = ferry_uffd_copy(
			job->demand->uffd, (void *)(job->dst + from),
			(void *)(job->src + from), end - from, flags, &done);
		from += done;
		ferry__demand_count(job->demand, pages_copied, pages(done));
		if (r && r != -EEXIST)
			return r;
		if (r)
			from += ferry__page_size;
	}
	return 0;
}

/*
 * Copies from @from on to the end; holes are passed: they were holes, or a
 * move has been there, whatever the kernel said of it.
 */
static int copy_from(const struct job *job, size_t from)
{
	size_t len;
	int r = 0;

	for (; from < job->len && !r; from += len) {
		if (is_there(job->demand, job->src + from, job->len - from,
			     &len))
			r = copy_run(job, from, len);
		else if (!is_mapped(job->src + from, len))
			r = -EFAULT;
	}
	return r;
}

static int copy(const struct job *job)
{
	int r = copy_from(job, 0);

	if (r)
		return r;
	installed_by(job->demand, FERRY_DEMAND_BY_COPY);
	source_kept(job);
	return 0;
}

/* --- moving -------------------------------------------------------------- */

static int move_from(const struct job *job, size_t from, uint32_t flags,
		     struct ferry_move_result *res)
{
	struct ferry_move_params params = FERRY_INIT(struct ferry_move_params);
	int r;

	params.flags = flags | FERRY_MOVE_NATIVE | FERRY_MOVE_SOLE |
		       FERRY_MOVE_PASS_PRESENT | FERRY_MOVE_SPLIT_BUSY;
	if (nobody_sleeps(job->demand))
		params.flags |= FERRY_MOVE_NO_WAKE;
	/* The source is quiescent: that is the contract of MOVE and STAGED. */
	params.busy = FERRY_BUSY_COPY;
	params.deadline_ns = MOVE_NS;
	r = ferry_move(job->demand->uffd, (void *)(job->dst + from),
		       (void *)(job->src + from), job->len - from, &params,
		       res);
	ferry__demand_count(job->demand, pages_moved, pages(res->moved));
	ferry__demand_count(job->demand, pages_copied, pages(res->copied));
	return r;
}

/* Mappings that do not suit, or a page that cannot be moved: copied. */
static int move_refused(const struct job *job, size_t done, int error,
			enum ferry_reason reason)
{
	int r;

	if (error == -EAGAIN || error == -ENOMEM || error == -EINTR)
		return error;
	r = copy_from(job, done);
	if (r) {
		ferry__demand_note(job->demand, error, reason);
		return r;
	}
	source_kept(job);
	return 0;
}

static int move(const struct job *job)
{
	struct ferry_move_result res = FERRY_INIT(struct ferry_move_result);
	size_t done;
	int r;

	r = move_from(job, 0, 0, &res);
	done = res.done;
	if (r == -ENOENT && res.reason == FERRY_REASON_HOLE) {
		r = move_from(job, done, FERRY_MOVE_HOLES, &res);
		done += res.done;
	}
	if (r == -EOPNOTSUPP) {
		/* Relaxed: who does not see it yet asks once more. */
		__atomic_store_n(&job->demand->copying, true, __ATOMIC_RELAXED);
		return copy(job);
	}
	if (r)
		return move_refused(job, done, r, res.reason);
	installed_by(job->demand, FERRY_DEMAND_BY_MOVE);
	source_spent(job);
	return 0;
}

/* --- zero pages, and in place -------------------------------------------- */

static int zero(const struct job *job)
{
	unsigned int flags = nobody_sleeps(job->demand) ? FERRY_OP_NO_WAKE : 0;
	size_t at = 0, done;
	int r;

	while (at < job->len) {
		r = ferry_uffd_zero(job->demand->uffd, (void *)(job->dst + at),
				    job->len - at, flags, &done);
		at += done;
		ferry__demand_count(job->demand, pages_zeroed, pages(done));
		if (!r)
			break;
		if (r != -EEXIST)
			return r;
		at += ferry__page_size;
	}
	return 0;
}

/* Absent pages read as zero; but there may be some (N15), and such that cannot
 * be dropped. */
static void zero_in_place(const struct job *job)
{
	if (ferry__dontneed((char *)job->dst, job->len))
		memset((void *)job->dst, 0, job->len);
}

/* Staging was the place itself. */
static int in_place(const struct job *job)
{
	installed_by(job->demand, FERRY_DEMAND_IN_PLACE);
	if (job->answer == FERRY_DEMAND_ZERO)
		zero_in_place(job);
	if (job->answer != FERRY_DEMAND_MOVE)
		return 0;
	memcpy((void *)job->dst, (void *)job->src, job->len);
	ferry__demand_count(job->demand, pages_copied, pages(job->len));
	ferry__staging_recycle(job->demand, job->src, pages(job->len));
	return 0;
}

int ferry__demand_install(struct ferry_demand *demand,
			  const struct ferry__place *at, size_t n,
			  uint64_t word)
{
	const struct job job = {
		.demand = demand,
		.dst = ferry__unit_addr(at),
		.src = FERRY__UNIT_SRC(word),
		.len = n << at->range->shift,
		.answer = FERRY__UNIT_ANSWER(word),
	};

	if (demand->mode == FERRY_DEMAND_STOPPED)
		return in_place(&job);
	if (job.answer == FERRY_DEMAND_ZERO)
		return zero(&job);
	/* Relaxed: a hint. */
	if (__atomic_load_n(&demand->copying, __ATOMIC_RELAXED))
		return copy(&job);
	return move(&job);
}
