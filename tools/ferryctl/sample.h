/* SPDX-License-Identifier: MIT */
/* One look at a process, cheap enough for every second and every process. */
#ifndef FERRYCTL_SAMPLE_H
#define FERRYCTL_SAMPLE_H

#include "tools/ferryctl/process.h"

/* What of Ferry a process has mapped. */
enum ctl_uses {
	CTL_USES_NOTHING,
	CTL_USES_LIBRARY, /* libferry or libferry-alloc */
	CTL_USES_MALLOC,  /* libferry-malloc */
};

struct ctl_sample {
	pid_t pid;
	uint32_t uid;
	char name[64];
	enum ctl_uses uses;
	bool agent;
	uint64_t threads;
	/* Bytes. */
	uint64_t resident, anonymous, swapped, locked, hugetlb;
	/* Since it began. */
	uint64_t minor, major; /* faults */
	uint64_t cpu_ms;
	uint64_t at_ns; /* when the look was taken */
};

/* Takes a look. Returns 0, or -ESRCH, -EACCES... */
int ctl_sample_take(const struct ctl_process *process,
		    struct ctl_sample *ret_sample);

const char *ctl_uses_text(enum ctl_uses uses);

/*
 * Calls @fn for each process there is but this one, in no order; those that
 * end meanwhile are left out. Returns 0, what @fn returned if that is not 0, or an error of
 * reading /proc.
 */
int ctl_sample_all(int (*fn)(void *arg, const struct ctl_sample *sample),
		   void *arg);

#endif
