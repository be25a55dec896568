/* SPDX-License-Identifier: MIT */
/* The pages of a process, as runs of equal ones. */
#include "tools/ferryctl/pages.h"

#include <errno.h>
#include <unistd.h>

#include "tools/ferryctl/kernel.h"

#define REGIONS 256
#define WORDS	1024
#define BATCH	512

#define FRAME_MASK ((1ull << 55) - 1)

/* Where the kernel does not say: the PMD size of x86-64 and most of arm64. */
#define HUGE_SIZE ((uint64_t)2 << 20)

int ctl_pages_open(struct ctl_pages *pages, const struct ctl_process *process)
{
	int fd = ctl_process_file(process, "pagemap");

	*pages = (struct ctl_pages){ .process = process,
				     .pagemap = fd,
				     .page = (uint64_t)sysconf(_SC_PAGESIZE),
				     .huge = HUGE_SIZE };
	return fd < 0 ? fd : 0;
}

void ctl_pages_close(struct ctl_pages *pages)
{
	if (pages->pagemap >= 0)
		ctl_kernel->close(pages->pagemap);
	pages->pagemap = -1;
}

/* --- runs of the pagemap -------------------------------------------------- */

static bool same(const struct ctl_run *a, const struct ctl_run *b)
{
	return a->node == b->node && a->present == b->present &&
	       a->huge == b->huge;
}

/* Joins neighbours before they reach the caller. */
struct joiner {
	struct ctl_run run; /* empty: nothing is held back */
	ctl_run_fn fn;
	void *arg;
};

static int join_flush(struct joiner *joiner)
{
	struct ctl_run run = joiner->run;

	joiner->run.start = joiner->run.end = 0;
	return run.end > run.start ? joiner->fn(joiner->arg, &run) : 0;
}

static int join(struct joiner *joiner, const struct ctl_run *run)
{
	int r;

	if (joiner->run.end == run->start && same(&joiner->run, run) &&
	    joiner->run.end > joiner->run.start) {
		joiner->run.end = run->end;
		return 0;
	}
	r = join_flush(joiner);
	joiner->run = *run;
	return r;
}

/*
 * The zero page and markers (guards, of write protection) are nothing that
 * could be moved or given back, and have no place.
 */
static bool is_nothing(uint64_t categories)
{
	return categories & (FERRY__PAGE_IS_PFNZERO | FERRY__PAGE_IS_GUARD);
}

static int scan_some(struct ctl_pages *pages, uint64_t start, uint64_t end,
		     struct ferry__page_region *regions)
{
	const uint64_t any = FERRY__PAGE_IS_PRESENT | FERRY__PAGE_IS_SWAPPED;
	struct ferry__pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (uintptr_t)regions,
		.vec_len = REGIONS,
		.category_anyof_mask = any,
		.return_mask = any | FERRY__PAGE_IS_PFNZERO |
			       FERRY__PAGE_IS_HUGE,
	};

	return ctl_kernel->scan(pages->pagemap, &arg);
}

static int scan(struct ctl_pages *pages, uint64_t start, uint64_t end,
		struct joiner *joiner)
{
	struct ferry__page_region regions[REGIONS];
	struct ctl_run run = { .node = CTL_NODE_UNKNOWN };
	int i, n, r;

	do {
		n = scan_some(pages, start, end, regions);
		if (n < 0)
			return n;
		for (i = 0; i < n; i++) {
			/*
			 * A full vector may end before the range does;
			 * walk_end can lie behind the last region returned.
			 */
			start = regions[i].end;
			if (is_nothing(regions[i].categories))
				continue;
			run.start = regions[i].start;
			run.end = regions[i].end;
			run.present = regions[i].categories &
				      FERRY__PAGE_IS_PRESENT;
			run.huge = run.present &&
				   regions[i].categories & FERRY__PAGE_IS_HUGE;
			r = join(joiner, &run);
			if (r)
				return r;
		}
	} while (n == REGIONS && start < end);
	return 0;
}

/* Up to WORDS words for the pages from @addr on; how many, or an error. */
static ssize_t read_words(struct ctl_pages *pages, uint64_t addr, uint64_t end,
			  uint64_t *words)
{
	uint64_t n = (end - addr) / pages->page;
	ssize_t r;

	if (n > WORDS)
		n = WORDS;
	r = ctl_kernel->pread(pages->pagemap, words, n * sizeof(*words),
			      (off_t)(addr / pages->page * sizeof(*words)));
	return r < 0 ? r : r / (ssize_t)sizeof(*words);
}

static int read_runs(struct ctl_pages *pages, uint64_t start, uint64_t end,
		     struct joiner *joiner)
{
	struct ctl_run run = { .node = CTL_NODE_UNKNOWN };
	uint64_t words[WORDS];
	ssize_t i, n;
	int r;

	for (; start < end; start += (uint64_t)n * pages->page) {
		n = read_words(pages, start, end, words);
		if (n <= 0) /* 0: above the highest mapping */
			return (int)n;
		for (i = 0; i < n; i++) {
			if (!(words[i] & (FERRY__PM_PRESENT | FERRY__PM_SWAP)))
				continue;
			run.start = start + (uint64_t)i * pages->page;
			run.end = run.start + pages->page;
			run.present = words[i] & FERRY__PM_PRESENT;
			r = join(joiner, &run);
			if (r)
				return r;
		}
	}
	return 0;
}

static int walk_plain(struct ctl_pages *pages, uint64_t start, uint64_t end,
		      ctl_run_fn fn, void *arg)
{
	struct joiner joiner = { .fn = fn, .arg = arg };
	int r = -ENOTTY;

	if (!pages->no_scan)
		r = scan(pages, start, end, &joiner);
	if (r == -ENOTTY || r == -EINVAL) {
		pages->no_scan = true;
		r = read_runs(pages, start, end, &joiner);
	}
	if (r)
		return r;
	r = join_flush(&joiner);
	return r ? r : ctl_process_check(pages->process);
}

/* --- with nodes ----------------------------------------------------------- */

struct asker {
	struct ctl_pages *pages;
	struct joiner joiner;
};

/* Asks for the nodes of @n pages, @step bytes apart, from @addr on. */
static int ask(struct asker *asker, const struct ctl_run *whole, uint64_t addr,
	       uint64_t step, size_t n)
{
	struct ctl_run run = *whole;
	void *addrs[BATCH];
	int status[BATCH], r;
	size_t i;
	long asked;

	for (i = 0; i < n; i++) {
		addrs[i] = (void *)(uintptr_t)(addr + i * step);
		status[i] = CTL_NODE_UNKNOWN;
	}
	asked = ctl_kernel->move_pages(asker->pages->process->pid, n, addrs,
				       NULL, status, 0);
	/* Older kernels say so when not one page is there any more. */
	if (asked < 0 && asked != -ENOENT)
		return (int)asked;
	for (i = 0; i < n; i++) {
		run.start = addr + i * step;
		run.end = run.start + step;
		if (run.end > whole->end)
			run.end = whole->end;
		run.node = status[i] >= 0 ? status[i] : CTL_NODE_UNKNOWN;
		r = join(&asker->joiner, &run);
		if (r)
			return r;
	}
	return 0;
}

/* Bytes from @addr on that one answer is good for. */
static uint64_t step_of(const struct asker *asker, const struct ctl_run *run,
			uint64_t addr)
{
	uint64_t huge = asker->pages->huge;

	if (run->huge && addr % huge == 0 && run->end - addr >= huge)
		return huge;
	return asker->pages->page;
}

static int ask_run(void *arg, const struct ctl_run *run)
{
	struct asker *asker = arg;
	uint64_t step, n, addr;
	int r;

	if (!run->present)
		return join(&asker->joiner, run);
	for (addr = run->start; addr < run->end; addr += n * step) {
		step = step_of(asker, run, addr);
		n = (run->end - addr) / step;
		/* Up to where huge pages begin, they one by one. */
		if (run->huge && step < asker->pages->huge)
			n = (asker->pages->huge - addr % asker->pages->huge) /
			    step;
		if (n > (run->end - addr) / step)
			n = (run->end - addr) / step;
		if (n > BATCH)
			n = BATCH;
		r = ask(asker, run, addr, step, n);
		if (r)
			return r;
	}
	return 0;
}

int ctl_pages_walk(struct ctl_pages *pages, uint64_t start, uint64_t end,
		   bool nodes, ctl_run_fn fn, void *arg)
{
	struct asker asker = { .pages = pages,
			       .joiner = { .fn = fn, .arg = arg } };
	int r;

	if (!nodes)
		return walk_plain(pages, start, end, fn, arg);
	r = walk_plain(pages, start, end, ask_run, &asker);
	return r ? r : join_flush(&asker.joiner);
}

/* --- page frames ---------------------------------------------------------- */

struct framer {
	struct ctl_pages *pages;
	ctl_frame_fn fn;
	void *arg;
};

static int frame_run(void *arg, const struct ctl_run *run)
{
	struct framer *framer = arg;
	uint64_t words[WORDS], addr, page = framer->pages->page;
	ssize_t i, n;
	int r;

	if (!run->present)
		return 0;
	for (addr = run->start; addr < run->end; addr += (uint64_t)n * page) {
		n = read_words(framer->pages, addr, run->end, words);
		if (n <= 0)
			return (int)n;
		for (i = 0; i < n; i++) {
			if (!(words[i] & FERRY__PM_PRESENT))
				continue;
			if (!(words[i] & FRAME_MASK))
				return -EPERM;
			r = framer->fn(framer->arg, words[i] & FRAME_MASK,
				       addr + (uint64_t)i * page);
			if (r)
				return r;
		}
	}
	return 0;
}

int ctl_pages_frames(struct ctl_pages *pages, uint64_t start, uint64_t end,
		     ctl_frame_fn fn, void *arg)
{
	struct framer framer = { .pages = pages, .fn = fn, .arg = arg };

	return walk_plain(pages, start, end, frame_run, &framer);
}
