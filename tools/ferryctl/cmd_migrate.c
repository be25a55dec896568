/* SPDX-License-Identifier: MIT */
/* ferryctl mbind, migrate and migrate-phys: where pages are. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/ferryctl/agent.h"
#include "tools/ferryctl/frames.h"
#include "tools/ferryctl/job.h"
#include "tools/ferryctl/nodes.h"

/* Errors that no other range will fare better with. */
static bool is_fatal(int r)
{
	switch (r) {
	case -ESRCH:
	case -EPERM:
	case -EACCES:
	case -ENOSYS:
	case -ENODEV:
		return true;
	}
	return false;
}

/* --- migrate -------------------------------------------------------------- */

static int migrate_some(void *arg, const struct ctl_range *ranges, size_t n,
			struct ctl_result *results)
{
	const struct ctl_placing *placing = arg;
	size_t i;
	int r;

	for (i = 0; i < n; i++) {
		r = ctl_place(placing, ranges[i].start, ranges[i].end,
			      &results[i].done);
		if (is_fatal(r))
			return r;
		results[i].error = r;
	}
	return 0;
}

/* Every node there is, for who does not say where from. */
static const struct bitmask *everywhere(void)
{
	return numa_all_nodes_ptr;
}

static enum ctl_status migrate_all(const struct ctl *ctl,
				   const struct ctl_process *process,
				   const struct ctl_placing *placing)
{
	const struct bitmask *from = placing->from ? placing->from
						   : everywhere();
	uint64_t left;
	int r;

	r = ctl_place_all(process, from, placing->to, &left);
	if (r < 0)
		return ctl_fail(r, "%s", ctl_process_label(process));
	if (ctl_given(ctl, CTL_JSON))
		printf("{\"pid\":%d,\"command\":\"migrate\",\"via\":"
		       "\"outside\",\"left_pages\":%llu}\n",
		       (int)process->pid, (unsigned long long)left);
	else if (left)
		printf("%s: %llu pages stay where they are\n",
		       ctl_process_label(process), (unsigned long long)left);
	return left ? CTL_PARTLY : CTL_OK;
}

/* Bits of the mask up to the highest that is set. */
static unsigned int mask_bits(const struct bitmask *nodes)
{
	unsigned int n = nodes ? (unsigned int)nodes->size : 0;

	while (n && !numa_bitmask_isbitset(nodes, n - 1))
		n--;
	return n;
}

/*
 * Does the ranges by the agent, addresses that are not its own by @outside;
 * without an agent, or where it cannot do what is asked, all by @outside.
 */
static enum ctl_status run_either(const struct ctl *ctl,
				  const struct ctl_process *process,
				  enum ferry_agent_op op,
				  const struct ctl_placing *placing,
				  const struct ctl_doer *outside)
{
	struct ctl_client client;
	struct ctl_agent_job job = { .client = &client,
				     .head.op = (uint16_t)op };
	enum ctl_status status = CTL_FAILED;
	struct ctl_doer doer;
	int r;

	/* The agent takes one node, and pages of its process alone. */
	if (numa_bitmask_weight(placing->to) != 1 || placing->from ||
	    placing->shared || ctl_agent_open(ctl, process, &client) < 0)
		return ctl_job_run(ctl, process, outside);
	job.head.node = (int32_t)mask_bits(placing->to) - 1;
	/* A physical address that is not its own is nobody's in there. */
	if (op == FERRY_AGENT_MIGRATE)
		job.outside = *outside;
	r = ctl_agent_doer(&job, outside->verb, &doer);
	if (r < 0)
		ctl_fail(r, "the agent of %s", ctl_process_label(process));
	else
		status = ctl_job_run(ctl, process, &doer);
	ctl_agent_job_fini(&job);
	ctl_client_fini(&client);
	return status;
}

static enum ctl_status migrate_ranges(const struct ctl *ctl,
				      const struct ctl_process *process,
				      struct ctl_placing *placing)
{
	const struct ctl_doer doer = { .via = "outside",
				       .verb = "placed",
				       .batch = 16,
				       .run = migrate_some,
				       .arg = placing };
	struct ctl_pages pages;
	enum ctl_status status;
	int r;

	r = ctl_pages_open(&pages, process);
	if (r < 0)
		return ctl_fail(r, "%s", ctl_process_label(process));
	placing->pages = &pages;
	status = run_either(ctl, process, FERRY_AGENT_MIGRATE, placing, &doer);
	ctl_pages_close(&pages);
	return status;
}

static enum ctl_status with_process(const struct ctl *ctl,
				    struct ctl_placing *placing)
{
	struct ctl_process process;
	enum ctl_status status;

	status = ctl_process_of(ctl, &process);
	if (status)
		return status;
	status = ctl_job_has_ranges(ctl)
			 ? migrate_ranges(ctl, &process, placing)
			 : migrate_all(ctl, &process, placing);
	ctl_process_close(&process);
	return status;
}

static enum ctl_status missing(const char *option)
{
	ctl_complain("%s is missing", option);
	return CTL_USAGE;
}

static enum ctl_status migrate(struct ctl *ctl)
{
	struct ctl_placing placing = { .shared = ctl_given(ctl, CTL_SHARED) };
	struct bitmask *to = NULL, *from = NULL;
	enum ctl_status status;

	if (!ctl_given(ctl, CTL_NODES))
		return missing("--nodes");
	status = ctl_nodes_option(ctl, CTL_NODES, &to);
	if (!status)
		status = ctl_nodes_option(ctl, CTL_FROM, &from);
	placing.to = to;
	placing.from = from;
	if (!status)
		status = with_process(ctl, &placing);
	if (from)
		numa_free_nodemask(from);
	if (to)
		numa_free_nodemask(to);
	return status;
}

const struct ctl_command ctl_cmd_migrate = {
	.name = "migrate",
	.operands = "PID [RANGE]...",
	.summary = "move pages to other nodes, once",
	.options = CTL_TAKES(CTL_NODES) | CTL_TAKES(CTL_FROM) |
		   CTL_TAKES(CTL_SHARED) | CTL_TAKES(CTL_FILE) |
		   CTL_TAKES(CTL_OUTSIDE) | CTL_TAKES(CTL_JSON) |
		   CTL_TAKES(CTL_VERBOSE),
	.least = 1,
	.most = -1,
	.run = migrate,
};

/* --- migrate-phys --------------------------------------------------------- */

#define FRAMES_AT_ONCE ((size_t)1 << 16)

struct by_frame {
	const struct ctl_process *process;
	struct ctl_placing placing;
	struct ctl_frame *frames; /* FRAMES_AT_ONCE of them */
	uint64_t page;
};

/* All pages of a physical range become frames to look for. */
static int place_frames(struct by_frame *by, size_t n,
			struct ctl_result *results)
{
	struct ctl_done done;
	size_t i;
	int r;

	r = ctl_frames_find(by->process, by->frames, n);
	for (i = 0; i < n && r == 0; i++) {
		if (!by->frames[i].addr) {
			results[by->frames[i].tag].done.absent += by->page;
			continue;
		}
		r = ctl_place(&by->placing, by->frames[i].addr,
			      by->frames[i].addr + by->page, &done);
		ctl_done_add(&results[by->frames[i].tag].done, &done);
	}
	return r;
}

static int place_physical(void *arg, const struct ctl_range *ranges, size_t n,
			  struct ctl_result *results)
{
	struct by_frame *by = arg;
	size_t i, frames = 0;
	uint64_t at;
	int r;

	for (i = 0; i < n; i++) {
		for (at = ranges[i].start; at < ranges[i].end; at += by->page) {
			by->frames[frames++] = (struct ctl_frame){
				.frame = at / by->page,
				.tag = i,
			};
			if (frames < FRAMES_AT_ONCE)
				continue;
			r = place_frames(by, frames, results);
			if (r < 0)
				return r;
			frames = 0;
		}
	}
	r = place_frames(by, frames, results);
	for (i = 0; i < n && r == 0; i++)
		if (results[i].done.absent) {
			results[i].error = -ENOENT;
			results[i].why = "the process has no such page";
		}
	return r;
}

static enum ctl_status run_physical(const struct ctl *ctl, struct by_frame *by)
{
	const struct ctl_doer doer = { .via = "outside",
				       .verb = "placed",
				       .batch = FRAMES_AT_ONCE,
				       .run = place_physical,
				       .arg = by };
	struct ctl_pages pages;
	enum ctl_status status;
	int r;

	r = ctl_pages_open(&pages, by->process);
	if (r < 0)
		return ctl_fail(r, "%s", ctl_process_label(by->process));
	by->placing.pages = &pages;
	status = run_either(ctl, by->process, FERRY_AGENT_MIGRATE_PHYS,
			    &by->placing, &doer);
	ctl_pages_close(&pages);
	if (status == CTL_NOT_PERMITTED)
		ctl_complain("the kernel shows page frames to CAP_SYS_ADMIN "
			     "only");
	return status;
}

static enum ctl_status migrate_phys(struct ctl *ctl)
{
	struct by_frame by = { .page = (uint64_t)sysconf(_SC_PAGESIZE),
			       .placing.shared = ctl_given(ctl, CTL_SHARED) };
	struct ctl_process process;
	struct bitmask *to;
	enum ctl_status status;

	if (!ctl_given(ctl, CTL_NODES))
		return missing("--nodes");
	if (!ctl_job_has_ranges(ctl))
		return missing("an address, - or --file");
	status = ctl_nodes_option(ctl, CTL_NODES, &to);
	if (status)
		return status;
	by.placing.to = to;
	by.frames = calloc(FRAMES_AT_ONCE, sizeof(*by.frames));
	status = by.frames ? ctl_process_of(ctl, &process)
			   : ctl_fail(-ENOMEM, "addresses");
	if (!status) {
		by.process = &process;
		status = run_physical(ctl, &by);
		ctl_process_close(&process);
	}
	free(by.frames);
	numa_free_nodemask(to);
	return status;
}

const struct ctl_command ctl_cmd_migrate_phys = {
	.name = "migrate-phys",
	.operands = "PID [ADDRESS|RANGE]...",
	.summary = "move pages to other nodes, named by physical address",
	.options = CTL_TAKES(CTL_NODES) | CTL_TAKES(CTL_SHARED) |
		   CTL_TAKES(CTL_FILE) | CTL_TAKES(CTL_OUTSIDE) |
		   CTL_TAKES(CTL_JSON) | CTL_TAKES(CTL_VERBOSE),
	.least = 1,
	.most = -1,
	.run = migrate_phys,
};

/* --- mbind ---------------------------------------------------------------- */

static enum ctl_status no_agent(const struct ctl_process *process)
{
	ctl_complain(
		"%s has no agent, and nobody sets the policy of another "
		"process's memory from outside: mbind(2) acts on its caller, "
		"and no kernel has process_mbind(). Start it with "
		"FERRY_AGENT=1, or move the pages it has now by 'ferryctl "
		"migrate'.",
		ctl_process_label(process));
	return CTL_NOT_POSSIBLE;
}

/* The mode of that name, or -1. */
static int mode_of(const char *text)
{
	static const char *const modes[] = {
		[FERRY_NODE_DEFAULT] = "default",
		[FERRY_NODE_BIND] = "bind",
		[FERRY_NODE_PREFERRED] = "preferred",
		[FERRY_NODE_PREFERRED_MANY] = "preferred-many",
		[FERRY_NODE_INTERLEAVE] = "interleave",
		[FERRY_NODE_WEIGHTED_INTERLEAVE] = "weighted-interleave",
	};
	size_t i;

	for (i = 0; i < CTL_ARRAY_LEN(modes); i++)
		if (!strcmp(text, modes[i]))
			return (int)i;
	ctl_complain("'%s' is no mode: try --help", text);
	return -1;
}

static enum ctl_status bind_ranges(const struct ctl *ctl,
				   const struct ctl_process *process,
				   struct ctl_agent_job *job)
{
	enum ctl_status status = CTL_FAILED;
	struct ctl_client client;
	struct ctl_doer doer;
	const char *done;
	int r;

	r = ctl_agent_open(ctl, process, &client);
	if (r < 0)
		return r == -ENOENT ? no_agent(process) : ctl_status_of(r);
	job->client = &client;
	/* What the agent counts. */
	done = ctl_given(ctl, CTL_MOVE) ? "moved" : "under the policy";
	r = ctl_agent_doer(job, done, &doer);
	if (r < 0)
		ctl_fail(r, "the agent of %s", ctl_process_label(process));
	else
		status = ctl_job_run(ctl, process, &doer);
	ctl_agent_job_fini(job);
	ctl_client_fini(&client);
	return status;
}

/* Fills in what the options say. */
static enum ctl_status policy_of(const struct ctl *ctl,
				 struct ferry_agent_request *head)
{
	uint64_t home;
	int mode;

	if (!ctl_given(ctl, CTL_MODE))
		return missing("--mode");
	mode = mode_of(ctl->text[CTL_MODE]);
	if (mode < 0)
		return CTL_USAGE;
	if (ctl_number(ctl, CTL_HOME, false, 0, &home) < 0)
		return CTL_USAGE;
	if (home >= ctl_nodes_count()) {
		ctl_complain("--home: there is no such node");
		return CTL_USAGE;
	}
	head->op = FERRY_AGENT_SET_POLICY;
	head->mode = (uint32_t)mode;
	head->home_node = ctl_given(ctl, CTL_HOME) ? (uint32_t)home + 1 : 0;
	head->flags = (ctl_given(ctl, CTL_MOVE) ? FERRY_AGENT_MOVE : 0) |
		      (ctl_given(ctl, CTL_STRICT) ? FERRY_AGENT_STRICT : 0);
	return CTL_OK;
}

static enum ctl_status mbind_command(struct ctl *ctl)
{
	struct ctl_agent_job job = { 0 };
	struct ctl_process process;
	struct bitmask *nodes;
	enum ctl_status status;

	status = policy_of(ctl, &job.head);
	if (status)
		return status;
	if (!ctl_job_has_ranges(ctl))
		return missing("a range, - or --file");
	status = ctl_nodes_option(ctl, CTL_NODES, &nodes);
	if (status)
		return status;
	if (nodes) {
		job.nodes = nodes->maskp;
		job.head.nodes_len = mask_bits(nodes);
	}
	status = ctl_process_of(ctl, &process);
	if (!status) {
		status = bind_ranges(ctl, &process, &job);
		ctl_process_close(&process);
	}
	if (nodes)
		numa_free_nodemask(nodes);
	return status;
}

const struct ctl_command ctl_cmd_mbind = {
	.name = "mbind",
	.operands = "PID RANGE...",
	.summary = "set on which nodes pages of ranges are to be (agent)",
	.options = CTL_TAKES(CTL_NODES) | CTL_TAKES(CTL_MODE) |
		   CTL_TAKES(CTL_HOME) | CTL_TAKES(CTL_MOVE) |
		   CTL_TAKES(CTL_STRICT) | CTL_TAKES(CTL_FILE) |
		   CTL_TAKES(CTL_JSON) | CTL_TAKES(CTL_VERBOSE),
	.least = 1,
	.most = -1,
	.run = mbind_command,
};
