/* SPDX-License-Identifier: MIT */
/* ferryctl reclaim and compact: memory given back, and made huge. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ferryctl/agent.h"
#include "tools/ferryctl/job.h"
#include "tools/ferryctl/kernel.h"
#include "tools/ferryctl/mappings.h"

struct advising {
	const struct ctl_process *process;
	struct ctl_pages pages;
	int advice;
	bool huge; /* count huge pages, not absent ones */
};

/* --- what is there before and after --------------------------------------- */

struct counts {
	uint64_t present, huge;
};

static int count_run(void *arg, const struct ctl_run *run)
{
	struct counts *counts = arg;

	if (run->present)
		counts->present += run->end - run->start;
	if (run->huge)
		counts->huge += run->end - run->start;
	return 0;
}

static int count(struct advising *a, uint64_t start, uint64_t end,
		 struct counts *ret)
{
	*ret = (struct counts){ 0 };
	return ctl_pages_walk(&a->pages, start, end, false, count_run, ret);
}

/* --- one range ------------------------------------------------------------ */

static bool is_fatal(int r)
{
	return r == -ESRCH || r == -EPERM || r == -EACCES || r == -ENOSYS;
}

static const char *why(const struct advising *a, int error)
{
	switch (error) {
	case -ENOMEM:
		return a->huge ? "no huge page is free"
			       : "not all of it is mapped";
	case -EINVAL:
		return a->huge ? "memory that cannot have huge pages, or a "
				 "kernel before 6.1"
			       : "memory that is locked, of hugetlbfs or of a "
				 "device";
	case -EAGAIN:
	case -EBUSY:
		return "pages are in use by the kernel";
	}
	return NULL;
}

/* Pages out or marks as cold. */
static int advise_range(struct advising *a, const struct ctl_range *range,
			struct ctl_result *result)
{
	struct counts before, after;
	uint64_t advised;
	int r;

	r = count(a, range->start, range->end, &before);
	if (r < 0)
		return r;
	result->error = ctl_advise(a->process, range->start, range->end,
				   a->advice, &advised);
	if (is_fatal(result->error))
		return result->error;
	result->why = why(a, result->error);
	if (a->advice == FERRY__MADV_COLD) {
		result->done.done = result->error ? 0 : before.present;
		return 0;
	}
	r = count(a, range->start, range->end, &after);
	if (r < 0)
		return r;
	result->done.done = before.present > after.present
				    ? before.present - after.present
				    : 0;
	result->done.busy = after.present;
	return 0;
}

/* Makes huge pages of the part that can have them. */
static int collapse_range(struct advising *a, const struct ctl_range *range,
			  struct ctl_result *result)
{
	uint64_t huge = a->pages.huge, advised;
	uint64_t start = (range->start + huge - 1) / huge * huge;
	uint64_t end = range->end / huge * huge;
	struct counts after;
	int r;

	/* Near the top of the address space the sum has begun anew. */
	if (start >= end || start < range->start) {
		result->error = -ERANGE;
		result->why = "too small: it holds no whole huge page";
		return 0;
	}
	result->error = ctl_advise(a->process, start, end, a->advice, &advised);
	if (is_fatal(result->error))
		return result->error;
	result->why = why(a, result->error);
	r = count(a, start, end, &after);
	result->done.done = after.huge;
	return r;
}

static int advise_some(void *arg, const struct ctl_range *ranges, size_t n,
		       struct ctl_result *results)
{
	struct advising *a = arg;
	size_t i;
	int r;

	for (i = 0; i < n; i++) {
		r = a->huge ? collapse_range(a, &ranges[i], &results[i])
			    : advise_range(a, &ranges[i], &results[i]);
		if (is_fatal(r))
			return r;
		/* Such as of the kernel's half, which /proc/PID/maps names. */
		if (r < 0 && !results[i].error)
			results[i].error = r;
	}
	return 0;
}

/* --- without ranges: the process's anonymous memory ------------------------ */

struct whole {
	struct advising *a;
	uint64_t left; /* bytes still to be given back */
	uint64_t slice;
	struct ctl_done done;
	uint64_t refused; /* slices */
};

/* Memory of the process alone that could be paged out or made huge. */
static bool is_own(const struct ctl_mapping *m)
{
	return m->amount[CTL_ANON] && m->rights[3] == 'p' &&
	       !m->amount[CTL_LOCKED] && !m->amount[CTL_HUGETLB];
}

static int do_slice(struct whole *whole, uint64_t start, uint64_t end)
{
	struct ctl_range range = { .start = start, .end = end };
	struct ctl_result result = { 0 };
	int r = advise_some(whole->a, &range, 1, &result);

	if (r < 0)
		return r;
	if (result.error)
		whole->refused++;
	ctl_done_add(&whole->done, &result.done);
	whole->left -= result.done.done < whole->left ? result.done.done
						      : whole->left;
	return 0;
}

static int do_mapping(void *arg, const struct ctl_mapping *m)
{
	struct whole *whole = arg;
	uint64_t huge = whole->a->pages.huge, at, end;
	int r;

	if (!is_own(m))
		return 0;
	if (whole->a->huge) /* one of less than a huge page has none */
		return m->end / huge > (m->start + huge - 1) / huge
			       ? do_slice(whole, m->start, m->end)
			       : 0;
	for (at = m->start; at < m->end && whole->left; at = end) {
		end = m->end - at > whole->slice ? at + whole->slice : m->end;
		r = do_slice(whole, at, end);
		if (r < 0)
			return r;
	}
	return 0;
}

static void print_whole(const struct ctl *ctl, const struct whole *whole,
			const char *via, const char *verb)
{
	const struct ctl_process *process = whole->a->process;
	char size[CTL_SIZE_TEXT];

	if (ctl_given(ctl, CTL_JSON))
		printf("{\"pid\":%d,\"command\":\"%s\",\"via\":\"%s\","
		       "\"done\":%llu,\"refused_pieces\":%llu}\n",
		       (int)process->pid, ctl->command->name, via,
		       (unsigned long long)whole->done.done,
		       (unsigned long long)whole->refused);
	else
		printf("%s: %s %s\n", ctl_process_label(process),
		       ctl_size_text(whole->done.done, size), verb);
}

static enum ctl_status run_whole(const struct ctl *ctl, struct advising *a,
				 uint64_t bytes, const char *verb)
{
	/* Small enough to stop near what was asked for. */
	struct whole whole = { .a = a, .left = bytes, .slice = 1 << 20 };
	int r = ctl_mappings_walk(a->process, do_mapping, &whole);

	print_whole(ctl, &whole, "outside", verb);
	if (r < 0)
		return ctl_fail(r, "%s", ctl_process_label(a->process));
	if (!a->huge && bytes != UINT64_MAX && whole.left)
		return CTL_PARTLY;
	return CTL_OK;
}

/* --- by the agent --------------------------------------------------------- */

/* The whole process, or one object, in one request. */
static int ask_whole(struct ctl_client *client, enum ferry_agent_op op,
		     uint64_t object, uint64_t value, uint64_t *done)
{
	const struct ctl_ask ask = { .head.op = (uint16_t)op,
				     .head.object = object,
				     .head.value = value };
	struct ctl_reply reply;
	int r;

	r = ctl_client_ask(client, &ask, &reply);
	if (r < 0)
		return r;
	*done += reply.head.value;
	ctl_reply_fini(&reply);
	return 0;
}

struct compacting {
	struct ctl_client *client;
	uint64_t done;
	unsigned int refused;
};

static int compact_object(void *arg, const struct ferry_agent_object *object)
{
	struct compacting *compacting = arg;
	int r;

	r = ask_whole(compacting->client, FERRY_AGENT_COMPACT, object->id, 0,
		      &compacting->done);
	/* One that cannot be, or is gone by now, is no reason to stop. */
	if (r < 0 && compacting->client->fd >= 0)
		compacting->refused++;
	else if (r < 0)
		return r;
	return 0;
}

static enum ctl_status whole_by_agent(const struct ctl *ctl, struct advising *a,
				      struct ctl_client *client, uint64_t bytes,
				      const char *verb)
{
	struct compacting compacting = { .client = client };
	struct whole whole = { .a = a };
	int r;

	if (a->huge)
		r = ctl_agent_objects(client, compact_object, &compacting);
	else
		r = ask_whole(client, FERRY_AGENT_RECLAIM, 0,
			      bytes == UINT64_MAX ? 0 : bytes,
			      &compacting.done);
	if (r < 0)
		return ctl_fail(r, "the agent of %s",
				ctl_process_label(a->process));
	whole.done.done = compacting.done;
	whole.refused = compacting.refused;
	print_whole(ctl, &whole, "agent", verb);
	if (compacting.refused ||
	    (!a->huge && bytes != UINT64_MAX && compacting.done < bytes))
		return CTL_PARTLY;
	return CTL_OK;
}

static enum ctl_status ranges_by_agent(const struct ctl *ctl,
				       struct advising *a,
				       struct ctl_client *client,
				       const struct ctl_doer *outside)
{
	struct ctl_agent_job job = {
		.client = client,
		.head.op = a->huge ? FERRY_AGENT_COMPACT : FERRY_AGENT_RECLAIM,
		.outside = *outside,
	};
	enum ctl_status status;
	struct ctl_doer doer;
	int r;

	if (a->advice == FERRY__MADV_COLD) {
		job.head.op = FERRY_AGENT_HINT;
		job.head.value = FERRY_AGENT_COLD;
	}
	r = ctl_agent_doer(&job, outside->verb, &doer);
	status = r < 0 ? ctl_fail(r, "the agent of %s",
				  ctl_process_label(a->process))
		       : ctl_job_run(ctl, a->process, &doer);
	ctl_agent_job_fini(&job);
	return status;
}

/* --- commands ------------------------------------------------------------- */

static bool has_swap(void)
{
	FILE *f = fopen("/proc/swaps", "re");
	char line[256];
	int lines = 0;

	while (f && fgets(line, sizeof(line), f))
		lines++;
	if (f)
		fclose(f);
	return lines > 1; /* the first is a heading */
}

/* Marking what is cold without ranges would mark everything: not asked. */
static bool agent_does(const struct ctl *ctl, const struct advising *a)
{
	return ctl_job_has_ranges(ctl) || a->advice != FERRY__MADV_COLD;
}

static enum ctl_status advise_opened(const struct ctl *ctl, struct advising *a,
				     uint64_t bytes, const char *verb)
{
	const struct ctl_doer doer = { .via = "outside",
				       .verb = verb,
				       .batch = 16,
				       .run = advise_some,
				       .arg = a };
	struct ctl_client client;
	enum ctl_status status;

	if (!agent_does(ctl, a) || ctl_agent_open(ctl, a->process, &client) < 0)
		return ctl_job_has_ranges(ctl)
			       ? ctl_job_run(ctl, a->process, &doer)
			       : run_whole(ctl, a, bytes, verb);
	status = ctl_job_has_ranges(ctl)
			 ? ranges_by_agent(ctl, a, &client, &doer)
			 : whole_by_agent(ctl, a, &client, bytes, verb);
	ctl_client_fini(&client);
	return status;
}

static enum ctl_status advise(const struct ctl *ctl, struct advising *a,
			      uint64_t bytes, const char *verb)
{
	struct ctl_process process;
	enum ctl_status status;
	int r;

	status = ctl_process_of(ctl, &process);
	if (status)
		return status;
	a->process = &process;
	r = ctl_pages_open(&a->pages, &process);
	if (r < 0)
		status = ctl_fail(r, "%s", ctl_process_label(&process));
	else
		status = advise_opened(ctl, a, bytes, verb);
	ctl_pages_close(&a->pages);
	ctl_process_close(&process);
	return status;
}

static enum ctl_status reclaim(struct ctl *ctl)
{
	struct advising a = { .advice = ctl_given(ctl, CTL_COLD)
						? FERRY__MADV_COLD
						: FERRY__MADV_PAGEOUT };
	bool cold = ctl_given(ctl, CTL_COLD);
	enum ctl_status status;
	uint64_t bytes;

	if (ctl_number(ctl, CTL_BYTES, true, UINT64_MAX, &bytes) < 0)
		return CTL_USAGE;
	if (!ctl_job_has_ranges(ctl) && !ctl_given(ctl, CTL_BYTES) &&
	    !ctl_given(ctl, CTL_ALL)) {
		ctl_complain("what: a range, --bytes or --all?");
		return CTL_USAGE;
	}
	status = advise(ctl, &a, bytes, cold ? "marked cold" : "paged out");
	if (status == CTL_PARTLY && !cold && !has_swap())
		ctl_complain("this machine has no swap space: only pages of "
			     "files can leave memory");
	return status;
}

const struct ctl_command ctl_cmd_reclaim = {
	.name = "reclaim",
	.operands = "PID [RANGE]...",
	.summary = "have pages leave memory, for swap or a store",
	.options = CTL_TAKES(CTL_ALL) | CTL_TAKES(CTL_BYTES) |
		   CTL_TAKES(CTL_COLD) | CTL_TAKES(CTL_FILE) |
		   CTL_TAKES(CTL_OUTSIDE) | CTL_TAKES(CTL_JSON) |
		   CTL_TAKES(CTL_VERBOSE),
	.least = 1,
	.most = -1,
	.run = reclaim,
};

static enum ctl_status compact(struct ctl *ctl)
{
	struct advising a = { .advice = FERRY__MADV_COLLAPSE, .huge = true };

	return advise(ctl, &a, UINT64_MAX, "in huge pages");
}

const struct ctl_command ctl_cmd_compact = {
	.name = "compact",
	.operands = "PID [RANGE]...",
	.summary = "make huge pages; with an agent, compact heaps",
	.options = CTL_TAKES(CTL_FILE) | CTL_TAKES(CTL_OUTSIDE) |
		   CTL_TAKES(CTL_JSON) | CTL_TAKES(CTL_VERBOSE),
	.least = 1,
	.most = -1,
	.run = compact,
};
