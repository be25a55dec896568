/* SPDX-License-Identifier: MIT */
/* From a range of a request to a piece of an arena, or a reason why not. */
#include <errno.h>
#include <string.h>

#include "alloc/agent/work-internal.h"

int ferry__agent_check_range(const struct ferry_agent_range *range,
			     enum ferry_reason *ret_reason)
{
	uint64_t end;

	*ret_reason = FERRY_REASON_NONE;
	if (!range->len) {
		*ret_reason = FERRY_REASON_ZERO_LENGTH;
		return -EINVAL;
	}
	if ((range->addr | range->len) & (ferry__page_size - 1)) {
		*ret_reason = FERRY_REASON_UNALIGNED;
		return -EINVAL;
	}
	if (__builtin_add_overflow(range->addr, range->len, &end)) {
		*ret_reason = FERRY_REASON_OVERFLOW;
		return -EOVERFLOW;
	}
	return 0;
}

/* Does all of the range lie in the arena, which is held? */
static bool holds_range(const struct ferry_arena *arena,
			const struct ferry_agent_range *range)
{
	uint64_t offset = range->addr - (uintptr_t)arena->base;
	size_t reserved = ferry_arena_reserved(arena);

	return offset < reserved && range->len <= reserved - offset;
}

static bool wanted(const struct ferry__agent_job *job,
		   const struct ferry_arena *arena)
{
	return !job->req.object || job->req.object == arena->id;
}

bool ferry__agent_lies_in(const struct ferry__agent_job *job, size_t i,
			  const struct ferry_arena *arena)
{
	enum ferry_reason why;

	return ferry__agent_check_range(&job->ranges[i], &why) == 0 &&
	       holds_range(arena, &job->ranges[i]) && wanted(job, arena);
}

int ferry__agent_target(const struct ferry__agent_job *job, size_t i,
			struct ferry_arena *held, struct ferry__target *ret,
			enum ferry_reason *ret_reason)
{
	const struct ferry_agent_range *range = &job->ranges[i];
	int r;

	r = ferry__agent_check_range(range, ret_reason);
	if (held && (r < 0 || !holds_range(held, range))) {
		ferry__arena_let_go(held);
		held = NULL;
	}
	if (r < 0)
		return r;
	if (!held)
		held = ferry__arena_hold_at(range->addr);
	if (held && holds_range(held, range) && wanted(job, held)) {
		ret->arena = held;
		ret->offset = range->addr - (uintptr_t)held->base;
		ret->len = range->len;
		return 0;
	}
	if (held)
		ferry__arena_let_go(held);
	*ret_reason = FERRY_REASON_NOT_MANAGED;
	return -ENOENT;
}

struct ferry_agent_status *ferry__agent_status(struct ferry__agent_job *job,
					       size_t i)
{
	char *items = job->out.mem + sizeof(job->reply);

	return (struct ferry_agent_status *)(void *)items + i;
}

void ferry__agent_status_set(struct ferry__agent_job *job,
			     struct ferry_agent_status *status, int error,
			     enum ferry_reason reason)
{
	if (error && !status->error)
		job->reply.failed++;
	if (!error || status->error)
		return;
	status->error = error;
	status->reason = reason;
}
