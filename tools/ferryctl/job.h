/* SPDX-License-Identifier: MIT */
/*
 * What mbind, migrate, reclaim and compact have in common: ranges come in one
 * by one, are done in batches, and each is answered for.
 *
 * A batch is done when it is full or when the next range would have to be
 * waited for, so that a daemon that writes into a pipe and waits sees its
 * ranges done. A line that is no range is told of and passed over.
 */
#ifndef FERRYCTL_JOB_H
#define FERRYCTL_JOB_H

#include "tools/ferryctl/ctl.h"
#include "tools/ferryctl/outside.h"
#include "tools/ferryctl/ranges.h"

/* What became of one range. */
struct ctl_result {
	int error;	 /* 0 or a negative errno */
	const char *why; /* static; NULL: the errno says all */
	struct ctl_done done;
};

/* Who does it. */
struct ctl_doer {
	const char *via;  /* "outside", "agent" */
	const char *verb; /* for the summary: "moved" */
	size_t batch;	  /* ranges at once */
	/*
	 * Does @n ranges and fills @results, in order. Returns 0 or a negative
	 * errno that ends the run: the process is gone, nothing is permitted,
	 * nothing works.
	 */
	int (*run)(void *arg, const struct ctl_range *ranges, size_t n,
		   struct ctl_result *results);
	void *arg;
};

/* What it came to, for who wants to add to the summary. */
struct ctl_sum {
	uint64_t ranges, wrong, failed;
	struct ctl_done done;
};

/*
 * Does all ranges of the command line (operands behind the first) and of
 * --file by @doer, tells of each that was not done and of the sum, and returns
 * how it ended.
 */
enum ctl_status ctl_job_run(const struct ctl *ctl,
			    const struct ctl_process *process,
			    const struct ctl_doer *doer);

/* Were any ranges given? */
bool ctl_job_has_ranges(const struct ctl *ctl);

/* "PID (name)" in a sentence, for complaints; static, until the next call. */
const char *ctl_process_label(const struct ctl_process *process);

/* Opens the process of the first operand; complains. */
enum ctl_status ctl_process_of(const struct ctl *ctl,
			       struct ctl_process *ret_process);

#endif
