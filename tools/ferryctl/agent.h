/* SPDX-License-Identifier: MIT */
/* What ferryctl asks of an agent: ranges done by it, objects, their pages. */
#ifndef FERRYCTL_AGENT_H
#define FERRYCTL_AGENT_H

#include "tools/ferryctl/client.h"
#include "tools/ferryctl/job.h"

/*
 * Connects to the agent of the process. Returns 0; -ENOENT: it has none, or
 * --outside was given; after any other error, which is complained of, it is
 * done from outside, too.
 */
int ctl_agent_open(const struct ctl *ctl, const struct ctl_process *process,
		   struct ctl_client *ret_client);

/* Ranges that an agent does. */
struct ctl_agent_job {
	struct ctl_client *client;
	struct ferry_agent_request head; /* op and its fields */
	const unsigned long *nodes;
	/*
	 * Who does what is no memory of the agent's objects (-ENOENT); run is
	 * NULL: nobody.
	 */
	struct ctl_doer outside;
	/* Scratch, for ctl_agent_doer() to make. */
	struct ferry_agent_range *ranges;
};

/*
 * Makes a doer of @job. Returns 0, -EPROTO (its limits leave no room), or
 * -ENOMEM. Undo with ctl_agent_job_fini().
 */
int ctl_agent_doer(struct ctl_agent_job *job, const char *verb,
		   struct ctl_doer *ret_doer);
void ctl_agent_job_fini(struct ctl_agent_job *job);

typedef int (*ctl_object_fn)(void *arg, const struct ferry_agent_object *o);
typedef int (*ctl_agent_run_fn)(void *arg, const struct ferry_agent_run *run);

/* Calls @fn for each object. Returns 0, what @fn returned, or an error. */
int ctl_agent_objects(struct ctl_client *client, ctl_object_fn fn, void *arg);

/*
 * Calls @fn for each run of pages of [@addr, @addr + @len), which lies in one
 * object, ascending. Returns as above.
 */
int ctl_agent_runs(struct ctl_client *client, uint64_t addr, uint64_t len,
		   ctl_agent_run_fn fn, void *arg);

const char *ctl_agent_kind_text(uint32_t kind);

#endif
