/* SPDX-License-Identifier: MIT */
/*
 * The pages of a process, as runs of equal ones: from the pagemap, which
 * tells where there is anything, and move_pages(2), which tells the node.
 *
 * Where the kernel has PAGEMAP_SCAN (6.7), holes cost nothing and pages of a
 * PMD-mapped huge page are asked about once; else every word is read.
 */
#ifndef FERRYCTL_PAGES_H
#define FERRYCTL_PAGES_H

#include "tools/ferryctl/process.h"

#define CTL_NODE_UNKNOWN (-1)

struct ctl_run {
	uint64_t start, end;
	int node;     /* CTL_NODE_UNKNOWN: not asked, or not told */
	bool present; /* else it is swapped out */
	bool huge;    /* mapped by a huge page, where the kernel tells */
};

typedef int (*ctl_run_fn)(void *arg, const struct ctl_run *run);

struct ctl_pages {
	const struct ctl_process *process;
	int pagemap;
	bool no_scan; /* this kernel has no PAGEMAP_SCAN */
	uint64_t page, huge;
};

/* Returns 0, -ESRCH, -EACCES or -EOPNOTSUPP (no pagemap in this kernel). */
int ctl_pages_open(struct ctl_pages *pages, const struct ctl_process *process);
void ctl_pages_close(struct ctl_pages *pages);

/*
 * Calls @fn for each run of pages in [@start, @end), ascending; with @nodes
 * it has its node. Returns 0, what @fn returned, or a negative errno.
 */
int ctl_pages_walk(struct ctl_pages *pages, uint64_t start, uint64_t end,
		   bool nodes, ctl_run_fn fn, void *arg);

/* A page frame's number and the address it is mapped at. */
typedef int (*ctl_frame_fn)(void *arg, uint64_t frame, uint64_t addr);

/*
 * Calls @fn for each page of [@start, @end) that is in memory. Returns 0, what
 * @fn returned, or a negative errno; -EPERM: the kernel hides page frames.
 */
int ctl_pages_frames(struct ctl_pages *pages, uint64_t start, uint64_t end,
		     ctl_frame_fn fn, void *arg);

#endif
