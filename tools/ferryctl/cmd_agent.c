/* SPDX-License-Identifier: MIT */
/*
 * ferryctl pin, unpin, hint, collect and configure: what only an agent can do,
 * since only the process knows what its memory is for.
 */
#include <errno.h>
#include <ferry/heap.h>
#include <string.h>

#include "tools/ferryctl/agent.h"
#include "tools/ferryctl/job.h"

static enum ctl_status no_agent(const struct ctl_process *process,
				const char *what)
{
	ctl_complain("%s has no agent, and %s is not possible from outside. "
		     "Start it with FERRY_AGENT=1.",
		     ctl_process_label(process), what);
	return CTL_NOT_POSSIBLE;
}

/* Opens both; complains. */
static enum ctl_status open_both(const struct ctl *ctl,
				 struct ctl_process *process,
				 struct ctl_client *client)
{
	enum ctl_status status = ctl_process_of(ctl, process);
	int r;

	if (status)
		return status;
	r = ctl_agent_open(ctl, process, client);
	if (r == 0)
		return CTL_OK;
	status = r == -ENOENT ? no_agent(process, ctl->command->name)
			      : ctl_status_of(r);
	ctl_process_close(process);
	return status;
}

/* --- ranges --------------------------------------------------------------- */

static enum ctl_status on_ranges(const struct ctl *ctl, enum ferry_agent_op op,
				 uint64_t value, const char *verb)
{
	struct ctl_client client;
	struct ctl_agent_job job = { .client = &client,
				     .head.op = (uint16_t)op,
				     .head.value = value };
	struct ctl_process process;
	enum ctl_status status;
	struct ctl_doer doer;
	int r;

	if (!ctl_job_has_ranges(ctl)) {
		ctl_complain("a range, - or --file is missing");
		return CTL_USAGE;
	}
	status = open_both(ctl, &process, &client);
	if (status)
		return status;
	r = ctl_agent_doer(&job, verb, &doer);
	status = r < 0 ? ctl_fail(r, "the agent of %s",
				  ctl_process_label(&process))
		       : ctl_job_run(ctl, &process, &doer);
	ctl_agent_job_fini(&job);
	ctl_client_fini(&client);
	ctl_process_close(&process);
	return status;
}

static enum ctl_status pin(struct ctl *ctl)
{
	return on_ranges(ctl, FERRY_AGENT_PIN, 0, "pinned");
}

static enum ctl_status unpin(struct ctl *ctl)
{
	return on_ranges(ctl, FERRY_AGENT_UNPIN, 0, "unpinned");
}

static enum ctl_status hint(struct ctl *ctl)
{
	bool cold = ctl_given(ctl, CTL_COLD);

	if (cold == ctl_given(ctl, CTL_HOT)) {
		ctl_complain("one of --hot and --cold");
		return CTL_USAGE;
	}
	return on_ranges(ctl, FERRY_AGENT_HINT,
			 cold ? FERRY_AGENT_COLD : FERRY_AGENT_HOT,
			 cold ? "cold" : "hot");
}

#define RANGE_OPTIONS                                                          \
	(CTL_TAKES(CTL_FILE) | CTL_TAKES(CTL_JSON) | CTL_TAKES(CTL_VERBOSE))

const struct ctl_command ctl_cmd_pin = {
	.name = "pin",
	.operands = "PID RANGE...",
	.summary = "keep pages where they are (agent)",
	.options = RANGE_OPTIONS,
	.least = 1,
	.most = -1,
	.run = pin,
};

const struct ctl_command ctl_cmd_unpin = {
	.name = "unpin",
	.operands = "PID RANGE...",
	.summary = "take away pins that were set by pin (agent)",
	.options = RANGE_OPTIONS,
	.least = 1,
	.most = -1,
	.run = unpin,
};

const struct ctl_command ctl_cmd_hint = {
	.name = "hint",
	.operands = "PID RANGE...",
	.summary = "say that pages are needed soon, or not (agent)",
	.options = RANGE_OPTIONS | CTL_TAKES(CTL_COLD) | CTL_TAKES(CTL_HOT),
	.least = 1,
	.most = -1,
	.run = hint,
};

/* --- objects -------------------------------------------------------------- */

/* One request that is answered by a number; prints it. */
static enum ctl_status ask_once(const struct ctl *ctl,
				const struct ctl_ask *ask, const char *what)
{
	struct ctl_process process;
	struct ctl_client client;
	enum ctl_status status;
	struct ctl_reply reply;
	int r;

	status = open_both(ctl, &process, &client);
	if (status)
		return status;
	r = ctl_client_ask(&client, ask, &reply);
	if (r < 0) {
		status = ctl_fail(r, "the agent of %s",
				  ctl_process_label(&process));
	} else {
		if (what)
			printf("%s: %llu %s\n", ctl_process_label(&process),
			       (unsigned long long)reply.head.value, what);
		ctl_reply_fini(&reply);
	}
	ctl_client_fini(&client);
	ctl_process_close(&process);
	return status;
}

static int collection_of(const char *text)
{
	if (!strcmp(text, "minor"))
		return FERRY_COLLECT_MINOR;
	if (!strcmp(text, "full"))
		return FERRY_COLLECT_FULL;
	if (!strcmp(text, "compact"))
		return FERRY_COLLECT_COMPACT;
	return -1;
}

static enum ctl_status collect(struct ctl *ctl)
{
	struct ctl_ask ask = { .head.op = FERRY_AGENT_COLLECT };
	int what = ctl->noperands > 1 ? collection_of(ctl->operands[1])
				      : FERRY_COLLECT_FULL;

	if (what < 0) {
		ctl_complain("'%s' is none of minor, full and compact",
			     ctl->operands[1]);
		return CTL_USAGE;
	}
	if (ctl_number(ctl, CTL_OBJECT, false, 0, &ask.head.object) < 0)
		return CTL_USAGE;
	ask.head.value = (uint64_t)what;
	return ask_once(ctl, &ask, "heaps asked");
}

const struct ctl_command ctl_cmd_collect = {
	.name = "collect",
	.operands = "PID [minor|full|compact]",
	.summary = "ask for a collection of heaps (agent)",
	.options = CTL_TAKES(CTL_OBJECT),
	.least = 1,
	.most = 2,
	.run = collect,
};

static enum ctl_status configure(struct ctl *ctl)
{
	struct ctl_ask ask = { .head.op = FERRY_AGENT_CONFIGURE,
			       .text = ctl->operands[1] };

	if (ctl_number(ctl, CTL_OBJECT, false, 0, &ask.head.object) < 0)
		return CTL_USAGE;
	return ask_once(ctl, &ask, NULL);
}

const struct ctl_command ctl_cmd_configure = {
	.name = "configure",
	.operands = "PID KEY:VALUE[,KEY:VALUE]...",
	.summary = "change settings of an arena or a heap (agent)",
	.options = CTL_TAKES(CTL_OBJECT),
	.least = 2,
	.most = 2,
	.run = configure,
};
