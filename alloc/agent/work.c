/* SPDX-License-Identifier: MIT */
/*
 * What libferry's agent does: operations on the arenas and heaps of the
 * process, cut into steps of a few milliseconds.
 *
 * An arena is held while a step works on it, and no longer: its end waits for
 * that long at most. Between two steps it may go; the rest of a range
 * then answers that nothing is there.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <ferry/version.h>

#include "alloc/agent/work-internal.h"

/* --- vectors -------------------------------------------------------------------- */

typedef int (*piece_fn)(const struct ferry__agent_job *job,
			const struct ferry__target *t,
			struct ferry_agent_status *status);

/* Errors that the other pieces of a range would give, too. */
static bool is_final(int error)
{
	return error == -EINVAL || error == -EOPNOTSUPP || error == -ENOSPC ||
	       error == -EPERM;
}

static enum ferry_reason reason_of(int error)
{
	switch (error) {
	case 0:
		return FERRY_REASON_NONE;
	case -EBUSY:
		return FERRY_REASON_BUSY;
	case -EACCES:
		return FERRY_REASON_SHARED;
	case -EPERM:
		return FERRY_REASON_NO_PERMISSION;
	case -EOPNOTSUPP:
		return FERRY_REASON_NOT_SUPPORTED;
	case -ENOMEM:
		return FERRY_REASON_NO_MEMORY;
	case -ENOENT:
		return FERRY_REASON_HOLE;
	default:
		return FERRY_REASON_NONE;
	}
}

/* What a request may still give back; UINT64_MAX: no limit. */
static uint64_t budget(const struct ferry__agent_job *job)
{
	if (job->req.op != FERRY_AGENT_RECLAIM || !job->req.value)
		return UINT64_MAX;
	return job->req.value > job->reply.value
		       ? job->req.value - job->reply.value
		       : 0;
}

/*
 * One piece of the target @t, from .offset of the job on. True: the target is
 * done with.
 */
static bool piece(struct ferry__agent_job *job, piece_fn fn,
		  struct ferry__target t, struct ferry_agent_status *status)
{
	uint64_t left = t.len - job->offset, most = budget(job);
	uint64_t before = status->done;
	int r;

	most = most < FERRY__AGENT_STEP_BYTES ? most : FERRY__AGENT_STEP_BYTES;
	most = (most + ferry__page_size - 1) & ~(ferry__page_size - 1);
	if (!left)
		return true;
	t.offset += job->offset;
	t.len = left < most ? left : most;
	r = fn(job, &t, status);
	/* It may know the reason better. */
	ferry__agent_status_set(job, status, r,
				status->reason ? status->reason : reason_of(r));
	job->reply.value += status->done - before;
	job->offset += t.len;
	return left == t.len || is_final(r);
}

static bool vector_step(struct ferry__agent_job *job, piece_fn fn)
{
	struct ferry_agent_status *status;
	struct ferry_arena *held = NULL;
	struct ferry__target t;
	enum ferry_reason why;
	uint64_t from = job->next, bytes = 0;
	int r;

	while (job->next < job->req.ranges_len && budget(job) &&
	       job->next - from < FERRY__AGENT_STEP_RANGES &&
	       bytes < FERRY__AGENT_STEP_BYTES) {
		status = ferry__agent_status(job, job->next);
		r = ferry__agent_target(job, job->next, held, &t, &why);
		held = r < 0 ? NULL : t.arena;
		if (r < 0)
			ferry__agent_status_set(job, status, r, why);
		else
			bytes += FERRY__AGENT_STEP_BYTES < t.len
					 ? FERRY__AGENT_STEP_BYTES
					 : t.len;
		if (r < 0 || piece(job, fn, t, status)) {
			job->next++;
			job->offset = 0;
		}
	}
	if (held)
		ferry__arena_let_go(held);
	return job->next < job->req.ranges_len && budget(job);
}

/* --- whole arenas ----------------------------------------------------------------- */

/* A heap is asked to compact itself; nobody waits. */
static bool ask_owner(struct ferry_arena *arena, int *ret)
{
	const struct ferry__owner *owner;
	void *arg;

	owner = ferry__arena_owner(arena, &arg);
	if (owner)
		*ret = owner->collect(arg, 0);
	return owner;
}

static void next_object(struct ferry__agent_job *job)
{
	job->next = job->object;
	job->offset = 0;
}

/* A huge reservation has little in it: to the next committed page at once. */
static void skip_absent(struct ferry__agent_job *job,
			const struct ferry__target *t)
{
	size_t page = (t->offset + job->offset) / ferry__page_size;
	size_t end = (t->offset + t->len) / ferry__page_size;

	page = ferry__pages_find(&t->arena->pages, page, end,
				 FERRY__CODE(FERRY_PAGE_ABSENT), false);
	job->offset = page * ferry__page_size - t->offset;
}

/* A piece of the object that is next, or of all in turn. */
static bool whole_step(struct ferry__agent_job *job, piece_fn fn)
{
	struct ferry_agent_status *status = ferry__agent_status(job, 0);
	struct ferry__target t = { .offset = 0 };
	int r = 0;

	t.arena = ferry__arena_hold_next(job->next);
	if (!t.arena)
		return false;
	if (t.arena->id != job->object)
		job->offset = 0;
	job->object = t.arena->id;
	t.len = ferry_arena_reserved(t.arena);
	skip_absent(job, &t);
	if (job->req.object && job->req.object != t.arena->id)
		next_object(job);
	else if (ask_owner(t.arena, &r) || piece(job, fn, t, status))
		next_object(job);
	if (r < 0)
		ferry__agent_status_set(job, status, r, reason_of(r));
	ferry__arena_let_go(t.arena);
	return budget(job);
}

static bool ranges_or_whole(struct ferry__agent_job *job, piece_fn fn)
{
	return job->req.ranges_len ? vector_step(job, fn) : whole_step(job, fn);
}

/* --- heaps --------------------------------------------------------------------------- */

static bool is_object(const struct ferry__agent_job *job,
		      const struct ferry_arena *arena)
{
	return !job->req.object || job->req.object == arena->id;
}

static int collect_one(struct ferry__agent_job *job, struct ferry_arena *arena)
{
	const struct ferry__owner *owner;
	void *arg;
	int r;

	owner = ferry__arena_owner(arena, &arg);
	if (!owner)
		return job->req.object ? -EOPNOTSUPP : 0;
	r = owner->collect(arg, (unsigned int)job->req.value);
	job->reply.value += r == 0;
	return r;
}

static bool collect_step(struct ferry__agent_job *job)
{
	struct ferry_arena *arena;
	int r = 0;

	if (job->req.value < 1 || job->req.value > 3) {
		ferry__agent_fail(job, -EINVAL, FERRY_REASON_NONE);
		return false;
	}
	while (r == 0 && (arena = ferry__arena_hold_next(job->next))) {
		job->next = arena->id;
		if (is_object(job, arena))
			r = collect_one(job, arena);
		ferry__arena_let_go(arena);
	}
	if (r < 0)
		ferry__agent_fail(job, r, reason_of(r));
	return false;
}

/* --- configuration --------------------------------------------------------------------- */

#define OPTION_MAX 64

static int set_thp(struct ferry_arena *arena, const char *value, bool check)
{
	enum ferry_thp thp;

	if (!strcmp(value, "always"))
		thp = FERRY_THP_ALWAYS;
	else if (!strcmp(value, "never"))
		thp = FERRY_THP_NEVER;
	else
		return -EINVAL;
	if (check)
		return 0;
	return ferry_arena_set_thp(arena, 0, ferry_arena_reserved(arena), thp);
}

static int set_option(struct ferry_arena *arena, const char *key,
		      const char *value, bool check)
{
	const struct ferry__owner *owner;
	void *arg;

	owner = ferry__arena_owner(arena, &arg);
	if (owner)
		return owner->configure(arg, key, value, check);
	return strcmp(key, "thp") ? -EINVAL : set_thp(arena, value, check);
}

/* "key:value", @len bytes. */
static int set_item(struct ferry_arena *arena, const char *item, size_t len,
		    bool check)
{
	char copy[OPTION_MAX], *colon;

	if (len >= sizeof(copy) || memchr(item, '\0', len))
		return -EINVAL;
	memcpy(copy, item, len);
	copy[len] = '\0';
	colon = strchr(copy, ':');
	if (!colon)
		return -EINVAL;
	*colon = '\0';
	return set_option(arena, copy, colon + 1, check);
}

static int set_items(struct ferry_arena *arena, const char *text, size_t len,
		     bool check)
{
	const char *comma;
	size_t n;
	int r = len ? 0 : -EINVAL;

	while (r == 0 && len) {
		comma = memchr(text, ',', len);
		n = comma ? (size_t)(comma - text) : len;
		r = set_item(arena, text, n, check);
		n += comma != NULL;
		text += n;
		len -= n;
	}
	return r;
}

static bool configure_step(struct ferry__agent_job *job)
{
	struct ferry_arena *arena;
	int r = -ENOENT;

	arena = job->req.object ? ferry__arena_hold_next(job->req.object - 1)
				: NULL;
	/* An error means that nothing was done: all of it is checked first. */
	if (arena && arena->id == job->req.object)
		r = set_items(arena, job->text, job->req.text_len, true);
	if (r == 0)
		r = set_items(arena, job->text, job->req.text_len, false);
	if (arena)
		ferry__arena_let_go(arena);
	if (r < 0)
		ferry__agent_fail(job, r, reason_of(r));
	return false;
}

/* --- the host ------------------------------------------------------------------------------ */

static bool is_hint(uint64_t value)
{
	return value == FERRY_AGENT_COLD || value == FERRY_AGENT_HOT;
}

/* What cannot be right whatever the ranges are. */
static int check_request(const struct ferry_agent_request *req)
{
	bool needs_ranges = req->op == FERRY_AGENT_SET_POLICY ||
			    req->op == FERRY_AGENT_MIGRATE ||
			    req->op == FERRY_AGENT_MIGRATE_PHYS ||
			    req->op == FERRY_AGENT_PIN ||
			    req->op == FERRY_AGENT_UNPIN ||
			    req->op == FERRY_AGENT_HINT;

	if (needs_ranges && !req->ranges_len)
		return -EINVAL;
	if (req->op == FERRY_AGENT_HINT && !is_hint(req->value))
		return -EINVAL;
	if (req->op == FERRY_AGENT_COMPACT && !req->ranges_len && !req->object)
		return -EINVAL;
	return 0;
}

static bool gives_statuses(unsigned int op)
{
	return op >= FERRY_AGENT_SET_POLICY && op <= FERRY_AGENT_HINT;
}

/* The first step: false when the reply is ready. */
static bool start(struct ferry__agent_job *job)
{
	size_t n = job->req.ranges_len ? job->req.ranges_len : 1;
	int r = check_request(&job->req);

	job->phase = 1;
	if (r < 0) {
		ferry__agent_fail(job, r, FERRY_REASON_NONE);
		return false;
	}
	if (!gives_statuses(job->req.op) ||
	    ferry__agent_items(job, n, sizeof(struct ferry_agent_status)))
		return true;
	ferry__agent_fail(job, -ENOMEM, FERRY_REASON_NO_MEMORY);
	return false;
}

static bool step(struct ferry__agent_job *job)
{
	if (!job->phase && !start(job))
		return false;
	switch (job->req.op) {
	case FERRY_AGENT_LIST:
		return ferry__agent_list_step(job);
	case FERRY_AGENT_STATS:
		return ferry__agent_stats_step(job);
	case FERRY_AGENT_MAP:
		return ferry__agent_map_step(job);
	case FERRY_AGENT_RESIDENCY:
		return ferry__agent_residency_step(job);
	case FERRY_AGENT_SET_POLICY:
		return ferry__agent_place_step(job);
	case FERRY_AGENT_MIGRATE:
		return vector_step(job, ferry__agent_migrate);
	case FERRY_AGENT_MIGRATE_PHYS:
		return ferry__agent_phys_step(job);
	case FERRY_AGENT_RECLAIM:
		return ranges_or_whole(job, ferry__agent_reclaim);
	case FERRY_AGENT_COMPACT:
		return ranges_or_whole(job, ferry__agent_compact);
	case FERRY_AGENT_PIN:
		return vector_step(job, ferry__agent_pin);
	case FERRY_AGENT_UNPIN:
		return vector_step(job, ferry__agent_unpin);
	case FERRY_AGENT_HINT:
		return vector_step(job, ferry__agent_hint);
	case FERRY_AGENT_COLLECT:
		return collect_step(job);
	default:
		return configure_step(job);
	}
}

static void end(void)
{
	ferry__agent_pins_end();
	ferry__agent_phys_drop();
}

#define TEXT_OF(n)    #n
#define TEXT(a, b, c) TEXT_OF(a) "." TEXT_OF(b) "." TEXT_OF(c)
#define VERSION_TEXT                                                           \
	TEXT(FERRY_VERSION_MAJOR, FERRY_VERSION_MINOR, FERRY_VERSION_PATCH)

const struct ferry__agent_host ferry__agent_host = {
	.version = VERSION_TEXT,
	.ops = ((uint64_t)1 << FERRY_AGENT_OPS) - 2,
	.step = step,
	.idle = ferry__agent_phys_drop,
	.end = end,
	.prepare = ferry__fork_init,
	.fork_prepare = ferry__agent_pins_fork_prepare,
	.fork_parent = ferry__agent_pins_fork_parent,
	.fork_child = ferry__agent_pins_fork_child,
};
