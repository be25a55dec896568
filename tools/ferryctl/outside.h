/* SPDX-License-Identifier: MIT */
/*
 * What can be done to the memory of a process that does not help: its pages
 * moved once, advised, and made huge, by move_pages(2), migrate_pages(2) and
 * process_madvise(2).
 *
 * What cannot: setting the policy of its ranges. mbind(2) and
 * set_mempolicy_home_node(2) act on the caller, and process_mbind() was
 * proposed (2023) and not taken into the kernel. Pages that the process makes
 * later go by its own policy, therefore. Nor can pins of pages, objects or
 * free blocks be seen, or a page be kept from being moved.
 */
#ifndef FERRYCTL_OUTSIDE_H
#define FERRYCTL_OUTSIDE_H

#include <numa.h>

#include "tools/ferryctl/pages.h"
#include "tools/ferryctl/ranges.h"

/* What became of the pages of one range or of many; bytes. */
struct ctl_done {
	uint64_t done;	 /* are now as was asked for */
	uint64_t busy;	 /* in use by the kernel, pinned, or locked */
	uint64_t shared; /* mapped by others, too, and not asked for */
	uint64_t full;	 /* no room on the node */
	uint64_t failed; /* for another reason */
	uint64_t absent; /* not in memory: nothing to be done */
};

/* Bytes that should have been done and were not. */
uint64_t ctl_done_left(const struct ctl_done *done);
void ctl_done_add(struct ctl_done *sum, const struct ctl_done *part);

struct ctl_placing {
	struct ctl_pages *pages;
	const struct bitmask *to;
	const struct bitmask *from; /* NULL: from anywhere */
	bool shared;		    /* pages of several processes, too */
};

/*
 * Moves the pages of the range that are in memory to the nodes .to: with
 * several, page by page in turn, by address, so that doing it again moves
 * nothing. Returns 0 and what became of them, also when not all moved; -ESRCH;
 * -EPERM (another's process); -EACCES (a node its cpuset does not have);
 * -ENODEV (a node without memory).
 */
int ctl_place(const struct ctl_placing *placing, uint64_t start, uint64_t end,
	      struct ctl_done *ret_done);

/*
 * migrate_pages(2): all pages of the process on nodes @from to nodes @to, as
 * far as it has them alone. @ret_left is the number of pages that stayed.
 */
int ctl_place_all(const struct ctl_process *process, const struct bitmask *from,
		  const struct bitmask *to, uint64_t *ret_left);

/*
 * Gives advice on the range. @ret_done is how many bytes of it the kernel
 * took. Returns 0; -ENOMEM (not all of it is mapped), -EINVAL (memory that
 * this advice is not for, or advice that this kernel does not know), -EPERM,
 * -ESRCH, -ENOSYS (before 5.10), -EBUSY, -EAGAIN.
 */
int ctl_advise(const struct ctl_process *process, uint64_t start, uint64_t end,
	       int advice, uint64_t *ret_done);

#endif
