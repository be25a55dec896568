/* SPDX-License-Identifier: MIT */
/* What ferryctl asks of an agent. */
#include "tools/ferryctl/agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ferryctl/kernel.h"

int ctl_agent_open(const struct ctl *ctl, const struct ctl_process *process,
		   struct ctl_client *ret_client)
{
	int fd, r;

	if (ctl_given(ctl, CTL_OUTSIDE))
		return -ENOENT;
	fd = ctl_kernel->agent_connect(process->pid);
	/* A socket that nobody listens at is left by a process that died. */
	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return -ENOENT;
	r = fd < 0 ? fd : ctl_client_init(ret_client, fd, CTL_PATIENCE_MS);
	if (r < 0)
		ctl_fail(r, "the agent of %s", ctl_process_label(process));
	return r;
}

/* --- ranges --------------------------------------------------------------- */

/* Bytes that stayed, by why. */
static uint64_t *where_left(struct ctl_done *done,
			    const struct ferry_agent_status *s)
{
	switch (s->error) {
	case 0:
	case -EIO: /* strict: some page is elsewhere, and none said why */
	case -EBUSY:
		return &done->busy;
	case -ENOMEM:
		return &done->full;
	case -EACCES:
		return &done->shared;
	}
	return &done->failed;
}

static void take_status(const struct ferry_agent_status *s,
			struct ctl_result *result)
{
	/* Positive or huge, it would not be an errno. */
	result->error = s->error <= 0 && s->error > -4096 ? s->error : -EPROTO;
	result->why = NULL;
	if (result->error == -ENOENT)
		result->why = "no memory of Ferry's is there";
	else if (result->error && s->reason != FERRY_REASON_NONE)
		result->why = ferry_reason_string(s->reason);
	result->done.done = s->done;
	*where_left(&result->done, s) = s->left;
}

static int ask_for_ranges(struct ctl_agent_job *job, size_t n,
			  struct ctl_reply *ret_reply)
{
	struct ctl_ask ask = { .head = job->head,
			       .ranges = job->ranges,
			       .nodes = job->nodes };
	int r;

	ask.head.ranges_len = (uint32_t)n;
	r = ctl_client_ask(job->client, &ask, ret_reply);
	if (r < 0)
		return r;
	if (ret_reply->head.items_len == n)
		return 0;
	ctl_reply_fini(ret_reply);
	return -EPROTO;
}

/* What is not the agent's goes the other way, range by range. */
static int retry_outside(struct ctl_agent_job *job,
			 const struct ctl_range *ranges, size_t n,
			 struct ctl_result *results)
{
	size_t i;
	int r = 0;

	for (i = 0; i < n && r == 0; i++) {
		if (results[i].error != -ENOENT)
			continue;
		results[i] = (struct ctl_result){ 0 };
		r = job->outside.run(job->outside.arg, &ranges[i], 1,
				     &results[i]);
	}
	return r;
}

static int run(void *arg, const struct ctl_range *ranges, size_t n,
	       struct ctl_result *results)
{
	struct ctl_agent_job *job = arg;
	struct ferry_agent_status status;
	struct ctl_reply reply;
	size_t i;
	int r;

	for (i = 0; i < n; i++)
		job->ranges[i] = (struct ferry_agent_range){
			.addr = ranges[i].start,
			.len = ranges[i].end - ranges[i].start,
		};
	r = ask_for_ranges(job, n, &reply);
	if (r < 0)
		return r;
	for (i = 0; i < n; i++) {
		ctl_reply_item(&reply, i, &status, sizeof(status));
		take_status(&status, &results[i]);
	}
	ctl_reply_fini(&reply);
	return job->outside.run ? retry_outside(job, ranges, n, results) : 0;
}

int ctl_agent_doer(struct ctl_agent_job *job, const char *verb,
		   struct ctl_doer *ret_doer)
{
	size_t batch = ctl_client_batch(job->client, job->head.nodes_len);

	if (!batch)
		return -EPROTO;
	job->ranges = calloc(batch, sizeof(*job->ranges));
	if (!job->ranges)
		return -ENOMEM;
	*ret_doer = (struct ctl_doer){ .via = "agent",
				       .verb = verb,
				       .batch = batch,
				       .run = run,
				       .arg = job };
	return 0;
}

void ctl_agent_job_fini(struct ctl_agent_job *job)
{
	free(job->ranges);
	job->ranges = NULL;
}

/* --- objects -------------------------------------------------------------- */

/* The name is the program's to choose: it must not drive the terminal. */
static void clean_name(struct ferry_agent_object *object)
{
	char *c;

	object->name[sizeof(object->name) - 1] = '\0';
	for (c = object->name; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

/* Hands out the objects of one reply. */
static int take_objects(const struct ctl_reply *reply, ctl_object_fn fn,
			void *arg)
{
	struct ferry_agent_object object;
	uint64_t i;
	int r = 0;

	for (i = 0; i < reply->head.items_len && r == 0; i++) {
		ctl_reply_item(reply, i, &object, sizeof(object));
		clean_name(&object);
		if (object.len > UINT64_MAX - object.addr)
			return -EPROTO;
		r = fn(arg, &object);
	}
	return r;
}

int ctl_agent_objects(struct ctl_client *client, ctl_object_fn fn, void *arg)
{
	struct ctl_ask ask = { .head.op = FERRY_AGENT_LIST };
	struct ctl_reply reply;
	bool more;
	int r;

	do {
		r = ctl_client_ask(client, &ask, &reply);
		if (r < 0)
			return r;
		more = reply.head.flags & FERRY_AGENT_MORE;
		r = take_objects(&reply, fn, arg);
		/* One that does not get on would be asked forever. */
		if (r == 0 && more && reply.head.value <= ask.head.value)
			r = -EPROTO;
		ask.head.value = reply.head.value;
		ctl_reply_fini(&reply);
	} while (r == 0 && more);
	return r;
}

/* Hands out the runs of one reply: ascending in @range. */
static int take_runs(const struct ctl_reply *reply,
		     const struct ferry_agent_range *range, ctl_agent_run_fn fn,
		     void *arg)
{
	uint64_t floor = range->addr, end = range->addr + range->len, i;
	struct ferry_agent_run one;
	int r = 0;

	for (i = 0; i < reply->head.items_len && r == 0; i++) {
		ctl_reply_item(reply, i, &one, sizeof(one));
		if (one.addr < floor || one.addr > end || !one.len ||
		    one.len > end - one.addr)
			return -EPROTO;
		floor = one.addr + one.len;
		r = fn(arg, &one);
	}
	return r;
}

int ctl_agent_runs(struct ctl_client *client, uint64_t addr, uint64_t len,
		   ctl_agent_run_fn fn, void *arg)
{
	struct ferry_agent_range range = { .addr = addr, .len = len };
	const struct ctl_ask ask = { .head.op = FERRY_AGENT_MAP,
				     .head.ranges_len = 1,
				     .ranges = &range };
	uint64_t end = addr + len, next;
	struct ctl_reply reply;
	int r;

	while (range.len) {
		r = ctl_client_ask(client, &ask, &reply);
		if (r < 0)
			return r;
		next = reply.head.flags & FERRY_AGENT_MORE ? reply.head.value
							   : end;
		r = take_runs(&reply, &range, fn, arg);
		ctl_reply_fini(&reply);
		if (r)
			return r;
		if (next <= range.addr || next > end)
			return -EPROTO;
		range.addr = next;
		range.len = end - next;
	}
	return 0;
}

const char *ctl_agent_kind_text(uint32_t kind)
{
	switch (kind) {
	case FERRY_AGENT_ARENA:
		return "arena";
	case FERRY_AGENT_HEAP:
		return "heap";
	case FERRY_AGENT_MALLOC:
		return "malloc";
	}
	return "object";
}
