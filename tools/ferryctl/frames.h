/* SPDX-License-Identifier: MIT */
/*
 * From physical addresses to those of a process: its page map, inverted for
 * a batch of addresses at a time.
 *
 * Hardware that samples accesses speaks of physical memory; move_pages(2)
 * wants addresses of the process. (move_phys_pages(2) was proposed in 2023 and
 * not taken into the kernel.) A batch is sorted, all of the process is walked
 * once, and each page frame looked for in the batch: memory is that of the
 * batch, time that of the process, so batches are large.
 */
#ifndef FERRYCTL_FRAMES_H
#define FERRYCTL_FRAMES_H

#include "tools/ferryctl/pages.h"

struct ctl_frame {
	uint64_t frame; /* its number: physical address / page size */
	uint64_t addr;	/* of the process; 0: not found, or not looked for */
	uint64_t tag;	/* the caller's */
};

/*
 * Looks for the @n frames, sorting them by number. Returns 0; -EPERM: the
 * kernel shows page frames to CAP_SYS_ADMIN only; -ESRCH...
 */
int ctl_frames_find(const struct ctl_process *process, struct ctl_frame *frames,
		    size_t n);

#endif
