/* SPDX-License-Identifier: MIT */
/*
 * Staging memory: where producers write units before these are moved to their
 * place.
 *
 * A unit of staging memory is used up by each unit installed: its pages go
 * away, and the address is left. What keeps it going are pages that the host
 * recycles; where there are none, fresh pages at addresses of our own. Pages
 * beyond params.keep are dropped, so that what is recycled never adds to the
 * memory of the process.
 *
 *	 recycle                take, fill, install
 *	 ----------> stock ------------------------> (host's address: a hole)
 *	               ^                    |
 *	       populate|                    | ours
 *	               +------ blank <------+
 *
 * What is taken for granted of the kernel: MADV_POPULATE_WRITE (5.14)
 * reports want of memory instead of a signal; mincore(2) says of anonymous
 * private memory whether a page is there.
 */
#include <errno.h>
#include <sys/mman.h>

#include "alloc/demand-internal.h"
#include "uffd/uapi.h"

/* Pages asked about in one mincore(2): an array on a handler's stack. */
#define ASK_PAGES 256u

/* Most pages dropped by one step of trimming. */
#define TRIM_PAGES FERRY__RUN_PAGES

/* Runs have this many pages on average, at least: bounds the slots. */
#define RUN_MEAN  4u
#define SLOTS_MIN 1024u

/* Least pages of a chunk that is added when all addresses are in use. */
#define CHUNK_PAGES 256u

/* Looks at the stock while waiting for recycled memory. Without sleep, which
 * takes several times what is to be waited. */
#define YIELDS 32

static size_t whole(size_t pages)
{
	return pages < FERRY__RUN_PAGES ? pages : FERRY__RUN_PAGES;
}

/* --- chunks: memory of our own ------------------------------------------- */

/* Puts addresses that hold no pages aside, in runs. */
static void blank_put(struct ferry_demand *demand, uintptr_t addr, size_t pages)
{
	struct ferry__run run = { .addr = addr };

	for (; pages; pages -= run.pages) {
		run.pages = whole(pages);
		/* No slot: these addresses rest until the end; relaxed, as
		 * nobody else is at work then. */
		if (!ferry__runs_put(&demand->blank, run))
			__atomic_store_n(&demand->blank_lost, true,
					 __ATOMIC_RELAXED);
		run.addr += run.pages * ferry__page_size;
	}
}

/* Chunks are added and never taken off: readers need no protection. */
static void chunk_link(struct ferry_demand *demand, struct ferry__chunk *chunk)
{
	/* D9: release, pairs with chunk_first(). */
	chunk->next = __atomic_load_n(&demand->chunks, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&demand->chunks, &chunk->next,
					    chunk, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
}

static struct ferry__chunk *chunk_first(const struct ferry_demand *demand)
{
	return __atomic_load_n(&demand->chunks, __ATOMIC_ACQUIRE); /* D9 */
}

/*
 * A chunk of @pages pages for staging, none of which is there; a first one for
 * its own record, and a last one that is not used: runs of the host's must
 * not adjoin ours, or they would become one.
 */
static int chunk_add(struct ferry_demand *demand, size_t pages,
		     struct ferry__run *ret)
{
	size_t len = (pages + 2) * ferry__page_size;
	struct ferry__chunk *chunk;
	void *mem;
	int r;

	r = ferry__meta_alloc(len, &mem);
	if (r)
		return r;
	/* Moving a page out of a huge one would split that first. */
	ferry__sys->madvise(mem, len, MADV_NOHUGEPAGE);
	chunk = mem;
	chunk->addr = mem;
	chunk->len = len;
	chunk_link(demand, chunk);
	ret->addr = (uintptr_t)mem + ferry__page_size;
	ret->pages = pages;
	return 0;
}

static bool is_ours(const struct ferry_demand *demand, uintptr_t addr)
{
	const struct ferry__chunk *chunk = chunk_first(demand);

	while (chunk && addr - (uintptr_t)chunk->addr >= chunk->len)
		chunk = chunk->next;
	return chunk;
}

static int populate(struct ferry__run run)
{
	size_t at, len = run.pages * ferry__page_size;
	volatile char *p = (volatile char *)run.addr;
	int r;

	r = ferry__sys->madvise((void *)run.addr, len,
				FERRY__MADV_POPULATE_WRITE);
	if (r != -EINVAL)
		return r ? -ENOMEM : 0;
	for (at = 0; at < len; at += ferry__page_size)
		p[at] = 0;
	return 0;
}

/* Addresses without pages: those of moved units, else new ones. */
static int take_blank(struct ferry_demand *demand, size_t pages,
		      struct ferry__run *ret)
{
	struct ferry__run all;
	int r;

	if (ferry__runs_take(&demand->blank, pages, pages, ret))
		return 0;
	r = chunk_add(demand, pages > CHUNK_PAGES ? pages : CHUNK_PAGES, &all);
	if (r)
		return r;
	ret->addr = all.addr;
	ret->pages = pages;
	blank_put(demand, all.addr + pages * ferry__page_size,
		  all.pages - pages);
	return 0;
}

static int take_fresh(struct ferry_demand *demand, size_t pages,
		      struct ferry__run *pen)
{
	struct ferry__run run;
	int r;

	r = take_blank(demand, pages, &run);
	if (r)
		return r;
	r = populate(run);
	if (r) {
		blank_put(demand, run.addr, run.pages);
		return r;
	}
	ferry__demand_count(demand, fresh, run.pages);
	*pen = run;
	return 0;
}

/* --- taking and giving back ---------------------------------------------- */

/*
 * Others may be about to recycle: that costs less than pages which the kernel
 * has to find and to clear. But not long, as they may be waiting for us.
 */
static bool wait_recycled(struct ferry_demand *demand, size_t min, size_t max,
			  struct ferry__run *pen)
{
	uint64_t since;
	int i;

	/* Relaxed: a hint. */
	if (!__atomic_load_n(&demand->recycling, __ATOMIC_RELAXED))
		return false;
	since = ferry__sys->now_ns();
	for (i = 0; i < YIELDS; i++) {
		if (ferry__sys->now_ns() - since >=
		    demand->params.staging_wait_ns)
			break;
		ferry__sys->sched_yield();
		if (ferry__runs_take(&demand->stock, min, max, pen))
			return true;
	}
	return false;
}

int ferry__staging_take(struct ferry_demand *demand, size_t min, size_t max,
			struct ferry__run *pen)
{
	if (pen->pages >= min)
		return 0;
	ferry__staging_return(demand, *pen);
	pen->pages = 0;
	max = whole(max);
	if (ferry__runs_take(&demand->stock, min, max, pen) ||
	    wait_recycled(demand, min, max, pen))
		return 0;
	return take_fresh(demand, min, pen);
}

static void drop(struct ferry_demand *demand, struct ferry__run run)
{
	ferry__dontneed((char *)run.addr, run.pages * ferry__page_size);
	ferry__demand_count(demand, dropped, run.pages);
	ferry__staging_spent(demand, run);
}

/*
 * A fault does not drop, which costs more than producing a unit: as much
 * again may be kept until a step trims it.
 */
static size_t room(const struct ferry_demand *demand)
{
	size_t keep = demand->keep << (ferry__fault_self.supplying ? 1 : 0);
	size_t have = ferry__runs_pages(&demand->stock);

	return keep > have ? keep - have : 0;
}

void ferry__staging_return(struct ferry_demand *demand, struct ferry__run run)
{
	if (run.pages &&
	    (room(demand) < run.pages || !ferry__runs_put(&demand->stock, run)))
		drop(demand, run);
}

void ferry__staging_spent(struct ferry_demand *demand, struct ferry__run run)
{
	if (is_ours(demand, run.addr))
		blank_put(demand, run.addr, run.pages);
}

/* --- recycling ----------------------------------------------------------- */

/* How many pages from the first on are as the first one is. */
static size_t same(const unsigned char *there, size_t n)
{
	size_t i = 1;

	while (i < n && (there[i] & 1) == (there[0] & 1))
		i++;
	return i;
}

static void recycle_run(struct ferry_demand *demand, struct ferry__run run,
			bool present)
{
	if (present && room(demand) >= run.pages &&
	    ferry__runs_put(&demand->stock, run))
		ferry__demand_count(demand, recycled, run.pages);
	else
		drop(demand, run);
}

/* At most ASK_PAGES. A page that is not in memory is not worth fetching. */
static void recycle_some(struct ferry_demand *demand, struct ferry__run all)
{
	unsigned char there[ASK_PAGES] = { 0 };
	struct ferry__run run = { .addr = all.addr };
	size_t at;

	ferry__sys->mincore((void *)all.addr, all.pages * ferry__page_size,
			    there);
	for (at = 0; at < all.pages; at += run.pages) {
		run.addr = all.addr + at * ferry__page_size;
		run.pages = same(there + at, all.pages - at);
		recycle_run(demand, run, there[at] & 1);
	}
}

void ferry__staging_recycle(struct ferry_demand *demand, uintptr_t addr,
			    size_t pages)
{
	struct ferry__run run = { .addr = addr };

	__atomic_store_n(&demand->recycling, true, __ATOMIC_RELAXED);
	if (!room(demand)) {
		run.pages = pages;
		drop(demand, run);
		return;
	}
	for (; pages; pages -= run.pages) {
		run.pages = pages < ASK_PAGES ? pages : ASK_PAGES;
		recycle_some(demand, run);
		run.addr += run.pages * ferry__page_size;
	}
}

/* --- bounds and the end -------------------------------------------------- */

void ferry__staging_trim(struct ferry_demand *demand)
{
	struct ferry__run run;

	while (ferry__runs_pages(&demand->stock) > demand->keep &&
	       ferry__runs_take(&demand->stock, 1, TRIM_PAGES, &run))
		drop(demand, run);
}

/* Ours are kept for the next time, as many as there were at first. */
struct sift {
	struct ferry_demand *demand;
	size_t kept, keep; /* pages */
};

static bool unwanted(void *arg, struct ferry__run run)
{
	struct sift *sift = arg;

	if (!is_ours(sift->demand, run.addr) ||
	    sift->kept + run.pages > sift->keep)
		return true;
	sift->kept += run.pages;
	return false;
}

static void chunks_free(struct ferry_demand *demand)
{
	struct ferry__chunk *chunk = demand->chunks, *next;

	for (; chunk; chunk = next) {
		next = chunk->next;
		ferry__meta_free(chunk->addr, chunk->len);
	}
	demand->chunks = NULL;
}

/* Addresses have come to rest: all of them are given back, to begin anew. */
static void start_anew(struct ferry_demand *demand)
{
	struct ferry__run run;

	while (ferry__runs_take(&demand->blank, 1, FERRY__RUN_PAGES, &run))
		;
	chunks_free(demand);
	demand->blank_lost = false;
}

void ferry__staging_settle(struct ferry_demand *demand)
{
	struct ferry__run run;
	struct sift sift = {
		.demand = demand,
		.keep = demand->blank_lost
				? 0
				: demand->params.reserve / ferry__page_size,
	};

	while (ferry__runs_sift(&demand->stock, unwanted, &sift, &run)) {
		drop(demand, run);
		sift.kept = 0;
	}
	if (demand->blank_lost)
		start_anew(demand);
	__atomic_store_n(&demand->recycling, false, __ATOMIC_RELAXED);
}

static int reserve(struct ferry_demand *demand, size_t pages)
{
	struct ferry__run run;
	int r = 0;

	for (; pages && !r; pages -= run.pages) {
		r = take_fresh(demand, whole(pages), &run);
		if (!r)
			ferry__runs_put(&demand->stock, run);
	}
	return r;
}

int ferry__staging_init(struct ferry_demand *demand)
{
	size_t pages = demand->params.reserve / ferry__page_size;
	size_t slots = (demand->keep + pages) / RUN_MEAN;
	int r;

	slots = slots > SLOTS_MIN ? slots : SLOTS_MIN;

	r = ferry__runs_init(&demand->stock, slots);
	if (!r)
		r = ferry__runs_init(&demand->blank, slots);
	return r ? r : reserve(demand, pages);
}

void ferry__staging_fini(struct ferry_demand *demand)
{
	chunks_free(demand);
	ferry__runs_fini(&demand->stock);
	ferry__runs_fini(&demand->blank);
}
