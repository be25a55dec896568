/* SPDX-License-Identifier: MIT */
/*
 * The mappings of a process with what the kernel counts of each: smaps (or
 * maps, where there is none) and numa_maps, joined by address.
 *
 * Each file is read record by record, the kernel resuming where it stopped,
 * so the two may differ where the process maps memory meanwhile: what
 * numa_maps does not say of a mapping is then told as not known.
 */
#ifndef FERRYCTL_MAPPINGS_H
#define FERRYCTL_MAPPINGS_H

#include "tools/ferryctl/process.h"

/* Bytes, as smaps names them; see proc_pid_smaps(5). */
enum ctl_amount {
	CTL_RSS,
	CTL_PSS,
	CTL_ANON,
	CTL_SWAP,
	CTL_LOCKED,
	CTL_HUGE,    /* in huge pages, of whatever kind */
	CTL_HUGETLB, /* of these, of hugetlbfs; not in CTL_RSS */
	CTL_DIRTY,
	CTL_AMOUNTS
};

extern const char *const ctl_amount_names[CTL_AMOUNTS];

struct ctl_mapping {
	uint64_t start, end;
	char rights[5];	  /* "rw-p" */
	const char *name; /* "" for memory without a name; until the next */
	uint64_t page_size;
	uint64_t amount[CTL_AMOUNTS];
	const char *policy;    /* as numa_maps prints it; "" not known */
	const uint64_t *nodes; /* bytes on each node */
	unsigned int nnodes;
};

/* Called for each; other than 0 ends the walk. */
typedef int (*ctl_mapping_fn)(void *arg, const struct ctl_mapping *mapping);

/*
 * Returns 0, what @fn returned, -ESRCH, -EACCES, -EIO (text that is not
 * understood), -ENOMEM.
 */
int ctl_mappings_walk(const struct ctl_process *process, ctl_mapping_fn fn,
		      void *arg);

#endif
