/* SPDX-License-Identifier: MIT */
/*
 * What the agent does to pieces of arenas: migration, reclaim, huge pages,
 * hints. Addresses and contents stay; page states are only read.
 *
 * Sources: move_pages(2), madvise(2) (MADV_PAGEOUT, MADV_COLD, MADV_WILLNEED,
 * MADV_COLLAPSE).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "alloc/agent/work-internal.h"
#include "uffd/mapping.h"
#include "uffd/node_apply.h"
#include "uffd/pagemap.h"
#include "uffd/uapi.h"

#define CODES_LIVE FERRY__CODE(FERRY_PAGE_LIVE)
#define CODES_COMMITTED                                                        \
	(FERRY__CODE(FERRY_PAGE_LIVE) | FERRY__CODE(FERRY_PAGE_PINNED))

/* --- runs of pages in a state -------------------------------------------------- */

struct run {
	char *addr;
	size_t len;
};

/* The next run of pages of @codes in @t from *@page on; false: none. */
static bool next_run(const struct ferry__target *t, unsigned int codes,
		     size_t *page, struct run *ret)
{
	size_t end = (t->offset + t->len) / ferry__page_size, first;

	first = ferry__pages_find(&t->arena->pages, *page, end, codes, true);
	if (first >= end)
		return false;
	*page = ferry__pages_find(&t->arena->pages, first, end, codes, false);
	ret->addr = t->arena->base + first * ferry__page_size;
	ret->len = (*page - first) * ferry__page_size;
	return true;
}

static size_t first_page(const struct ferry__target *t)
{
	return t->offset / ferry__page_size;
}

/* --- migration ------------------------------------------------------------------- */

int ferry__agent_migrate(const struct ferry__agent_job *job,
			 const struct ferry__target *t,
			 struct ferry_agent_status *status)
{
	struct ferry__span span = { (uintptr_t)t->arena->base + t->offset,
				    t->len };
	struct ferry__node_result result;
	long r;

	r = ferry__node_migrate_spans(&span, 1, job->req.node, &result);
	if (r < 0)
		return (int)r;
	status->done += result.moved;
	status->left += result.failed;
	return result.error;
}

/*
 * What a refusal of advice comes from: memory that is locked, which the
 * status then says, or a kernel that does not know the advice.
 */
static int advice_error(const struct run *run, int error,
			struct ferry_agent_status *status)
{
	struct ferry__mapping m;

	if (error != -EINVAL)
		return error;
	if (ferry__mapping_query(run->addr, run->len, &m) < 0 ||
	    ferry__mapping_unpageable(&m) != FERRY_REASON_LOCKED)
		return -EOPNOTSUPP;
	if (!status->error)
		status->reason = FERRY_REASON_LOCKED;
	return -EPERM;
}

/* --- reclaim ----------------------------------------------------------------------- */

static int resident(int pagemap, const struct run *run, size_t *ret_bytes)
{
	uintptr_t start = (uintptr_t)run->addr;

	return ferry__pagemap_count(pagemap, start, start + run->len, false,
				    ret_bytes);
}

static int page_out(int pagemap, const struct run *run,
		    struct ferry_agent_status *status)
{
	size_t before, after;
	int r;

	r = resident(pagemap, run, &before);
	if (r < 0 || !before)
		return r;
	r = ferry__sys->madvise(run->addr, run->len, FERRY__MADV_PAGEOUT);
	if (r < 0) {
		status->left += before;
		return advice_error(run, r, status);
	}
	r = resident(pagemap, run, &after);
	if (r < 0)
		return r;
	after = after < before ? after : before;
	status->done += before - after;
	status->left += after;
	return 0;
}

int ferry__agent_reclaim(const struct ferry__agent_job *job,
			 const struct ferry__target *t,
			 struct ferry_agent_status *status)
{
	size_t page = first_page(t);
	struct run run;
	int fd, r = 0;

	(void)job;
	fd = ferry__sys->open("/proc/self/pagemap", O_RDONLY);
	if (fd < 0)
		return fd;
	while (r == 0 && next_run(t, CODES_LIVE, &page, &run))
		r = page_out(fd, &run, status);
	ferry__sys->close(fd);
	return r;
}

/* --- huge pages ------------------------------------------------------------------------ */

static bool all_committed(const struct ferry__target *t, size_t offset,
			  size_t len)
{
	size_t first = offset / ferry__page_size;
	size_t end = first + len / ferry__page_size;

	return ferry__pages_find(&t->arena->pages, first, end, CODES_COMMITTED,
				 false) == end;
}

static size_t huge_part(int pagemap, uintptr_t start, uintptr_t end)
{
	const uint64_t mask = FERRY__PAGE_IS_PRESENT | FERRY__PAGE_IS_HUGE;
	uintptr_t from, to;

	if (ferry__pagemap_find(pagemap, start, end, mask, &from, &to) != 1)
		return 0;
	return to - from;
}

/* Makes a huge page of what is not one yet. */
static int collapse(int pagemap, char *addr, size_t huge,
		    struct ferry_agent_status *status)
{
	uintptr_t start = (uintptr_t)addr;
	size_t there;
	int r;

	if (huge_part(pagemap, start, start + huge) == huge)
		return 0;
	r = ferry__pagemap_count(pagemap, start, start + huge, true, &there);
	if (r < 0 || !there)
		return r; /* nothing is there: nothing to gain */
	r = ferry__sys->madvise(addr, huge, FERRY__MADV_COLLAPSE);
	if (r < 0)
		status->left += huge;
	else
		status->done += huge;
	return r == -EINVAL ? -EOPNOTSUPP : r;
}

/* Huge pages that lie whole in the piece, where all of it is committed. */
int ferry__agent_compact(const struct ferry__agent_job *job,
			 const struct ferry__target *t,
			 struct ferry_agent_status *status)
{
	size_t huge = ferry__huge_size(), at, end = t->offset + t->len;
	int fd, one, r = 0;
	void *arg;

	(void)job;
	/* A heap compacts itself, as a whole: that is asked for elsewhere. */
	if (!huge || huge > FERRY__GRANULE ||
	    ferry__arena_owner(t->arena, &arg))
		return -EOPNOTSUPP;
	fd = ferry__sys->open("/proc/self/pagemap", O_RDONLY);
	if (fd < 0)
		return fd;
	at = (t->offset + huge - 1) & ~(huge - 1);
	for (; at + huge <= end; at += huge) {
		if (!all_committed(t, at, huge))
			continue;
		one = collapse(fd, t->arena->base + at, huge, status);
		r = r ? r : one;
	}
	ferry__sys->close(fd);
	return r;
}

/* --- hints -------------------------------------------------------------------------------- */

int ferry__agent_hint(const struct ferry__agent_job *job,
		      const struct ferry__target *t,
		      struct ferry_agent_status *status)
{
	int advice = job->req.value == FERRY_AGENT_COLD ? FERRY__MADV_COLD
							: MADV_WILLNEED;
	size_t page = first_page(t);
	struct run run;
	int r = 0;

	while (r == 0 && next_run(t, CODES_COMMITTED, &page, &run)) {
		r = ferry__sys->madvise(run.addr, run.len, advice);
		if (r == 0)
			status->done += run.len;
		else
			status->left += run.len;
	}
	return r < 0 ? advice_error(&run, r, status) : 0;
}
