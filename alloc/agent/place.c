/* SPDX-License-Identifier: MIT */
/*
 * Node policies of many ranges: as ferry_arena_set_node() for each, but with one
 * plan of the arena's pieces for all ranges of a step, so that ten thousand
 * ranges cost ten thousand mbind(2) and little besides.
 *
 *	phase 1  SET	 the policy of some ranges of one arena, under its lock: no
 *			 page moves, so it takes a microsecond or two each
 *	phase 2  MOVE	 pages that are elsewhere, 2 MiB at a time, without the
 *			 lock; where the program has set another policy
 *			 meanwhile the program's holds, and is put back
 *
 * Phase 2 is there if MOVE or STRICT ask for it.
 */
#include <errno.h>
#include <string.h>

#include "alloc/agent/work-internal.h"
#include "uffd/node_apply.h"

enum { SET = 1, MOVE = 2 };

/* Ranges of one arena that are set together; pages of the job's own. */
struct group {
	size_t n;
	size_t index[FERRY__AGENT_STEP_RANGES]; /* of the request */
	struct ferry__span span[FERRY__AGENT_STEP_RANGES];
	struct ferry__node_result result[FERRY__AGENT_STEP_RANGES];
	struct ferry__cut cut[FERRY__AGENT_STEP_RANGES];
};

/* --- the policy ------------------------------------------------------------------- */

static struct ferry_node_policy asked(const struct ferry__agent_job *job)
{
	return (struct ferry_node_policy){
		.mode = (enum ferry_node_mode)job->req.mode,
		.nodes = (const unsigned long *)(const void *)job->nodes,
		.nodes_len = job->req.nodes_len,
		.home_node = (int)job->req.home_node,
	};
}

_Static_assert(sizeof(unsigned long) == sizeof(uint64_t), "node mask words");

static struct ferry__node_policy
in_kernel_terms(const struct ferry__agent_job *job)
{
	return (struct ferry__node_policy){
		.mode = (enum ferry__node_mode)ferry__node_kernel_mode(
			(enum ferry_node_mode)job->req.mode),
		.nodes = (const unsigned long *)(const void *)job->nodes,
		.nodes_len = job->req.nodes_len,
		.home_node = job->req.home_node ? (int)job->req.home_node - 1
						: FERRY__NODE_NONE,
	};
}

static enum ferry_reason reason_of(const struct ferry__node_result *result)
{
	switch (result->reason) {
	case FERRY__NODE_OK:
		return FERRY_REASON_NONE;
	case FERRY__NODE_UNMAPPED:
		return FERRY_REASON_UNMAPPED;
	case FERRY__NODE_STAYED:
		return FERRY_REASON_BUSY;
	case FERRY__NODE_SHARED:
		return FERRY_REASON_SHARED;
	case FERRY__NODE_MEMORY:
		return FERRY_REASON_NO_MEMORY;
	default:
		return FERRY_REASON_NOT_SUPPORTED;
	}
}

/* --- phase 1 ------------------------------------------------------------------------- */

static void swap(struct ferry__cut *a, struct ferry__cut *b)
{
	struct ferry__cut c = *a;

	*a = *b;
	*b = c;
}

/* Lets v[i] sink to its place in the heap of @n. */
static void sink(struct ferry__cut *v, size_t i, size_t n)
{
	size_t child;

	while ((child = 2 * i + 1) < n) {
		if (child + 1 < n && v[child + 1].offset > v[child].offset)
			child++;
		if (v[i].offset >= v[child].offset)
			return;
		swap(&v[i], &v[child]);
		i = child;
	}
}

/* Heapsort: qsort(3) may allocate. */
static void sort(struct ferry__cut *v, size_t n)
{
	size_t i;

	for (i = n / 2; i-- > 0;)
		sink(v, i, n);
	while (n-- > 1) {
		swap(&v[0], &v[n]);
		sink(v, 0, n);
	}
}

/*
 * The ranges without an error, sorted and merged; how many. Sorted already is
 * what most callers send.
 */
static size_t make_cuts(const struct ferry_arena *arena, struct group *g)
{
	size_t i, n = 0, len = 0, end;
	bool sorted = true;

	for (i = 0; i < g->n; i++) {
		if (g->result[i].error)
			continue;
		g->cut[n].offset = g->span[i].addr - (uintptr_t)arena->base;
		g->cut[n].len = g->span[i].len;
		sorted &= !n || g->cut[n - 1].offset <= g->cut[n].offset;
		n++;
	}
	if (!sorted)
		sort(g->cut, n);
	for (i = 0; i < n; i++) {
		end = len ? g->cut[len - 1].offset + g->cut[len - 1].len : 0;
		if (!len || g->cut[i].offset > end) {
			g->cut[len++] = g->cut[i];
			continue;
		}
		if (g->cut[i].offset + g->cut[i].len > end)
			g->cut[len - 1].len = g->cut[i].offset + g->cut[i].len -
					      g->cut[len - 1].offset;
	}
	return len;
}

static int make_plan(struct ferry_arena *arena, struct group *g,
		     const struct ferry__placement *place,
		     struct ferry__plan *ret_plan)
{
	size_t n = make_cuts(arena, g);

	return ferry__policy_plan(arena, g->cut, n, NULL, true, place,
				  ret_plan);
}

static void restore_failed(struct ferry_arena *arena, const struct group *g,
			   bool all)
{
	size_t i;

	for (i = 0; i < g->n; i++)
		if (all || g->result[i].error)
			ferry__node_restore(
				arena, g->span[i].addr - (uintptr_t)arena->base,
				g->span[i].len);
}

/* Some failed: the plan was made for all of them. */
static int plan_again(struct ferry_arena *arena, struct group *g,
		      const struct ferry__placement *place,
		      struct ferry__plan *plan)
{
	int r;

	restore_failed(arena, g, false);
	ferry__policy_drop(plan);
	r = make_plan(arena, g, place, plan);
	if (r < 0)
		restore_failed(arena, g, true);
	return r;
}

/* Returns 0, or why none of the group was set. Arena lock. */
static int set_locked(const struct ferry__agent_job *job,
		      struct ferry_arena *arena, struct group *g)
{
	struct ferry__node_policy kernel = in_kernel_terms(job);
	struct ferry_node_policy policy = asked(job);
	const struct ferry__placement *place;
	struct ferry__plan plan;
	long failed;
	int r;

	r = ferry__node_intern(arena, &policy, &place);
	if (r < 0)
		return r;
	r = make_plan(arena, g, place, &plan);
	if (r < 0)
		return r;
	failed = ferry__node_apply_spans(g->span, g->n, &kernel, g->result);
	if (failed < 0) {
		ferry__policy_drop(&plan);
		return (int)failed;
	}
	if (failed)
		r = plan_again(arena, g, place, &plan);
	if (r == 0)
		ferry__policy_adopt(arena, &plan);
	return r;
}

static enum ferry_reason whole_reason(int error)
{
	if (error == -ENOMEM)
		return FERRY_REASON_NO_MEMORY;
	return error == -ENOSPC ? FERRY_REASON_SPLIT
				: FERRY_REASON_NOT_SUPPORTED;
}

static void set_group(struct ferry__agent_job *job, struct ferry_arena *arena,
		      struct group *g)
{
	struct ferry_agent_status *status;
	size_t i;
	int r;

	memset(g->result, 0, g->n * sizeof(g->result[0]));
	pthread_mutex_lock(&arena->lock);
	r = set_locked(job, arena, g);
	ferry__arena_debug_check(arena);
	pthread_mutex_unlock(&arena->lock);
	for (i = 0; i < g->n; i++) {
		status = ferry__agent_status(job, g->index[i]);
		if (r < 0)
			ferry__agent_status_set(job, status, r,
						whole_reason(r));
		else
			ferry__agent_status_set(job, status, g->result[i].error,
						reason_of(&g->result[i]));
		if (!status->error && !(job->req.flags & FERRY_AGENT_MOVE)) {
			status->done = g->span[i].len;
			job->reply.value += status->done;
		}
	}
}

/*
 * A heap moves its pages about in a space that must be one mapping: it has
 * one policy or none.
 */
static bool may_cut(struct ferry_arena *arena, size_t len)
{
	void *arg;

	return len == ferry_arena_reserved(arena) ||
	       !ferry__arena_owner(arena, &arg);
}

/*
 * Finds and holds the arena of the first range of a group. False: the range is
 * none, and has its status.
 */
static bool find_arena(struct ferry__agent_job *job, struct ferry_arena **ret)
{
	struct ferry__target t;
	enum ferry_reason why;
	int r;

	r = ferry__agent_target(job, job->next, NULL, &t, &why);
	if (r == 0)
		*ret = t.arena;
	else
		ferry__agent_status_set(
			job, ferry__agent_status(job, job->next), r, why);
	return r == 0;
}

static void add_range(struct ferry__agent_job *job, struct ferry_arena *arena,
		      struct group *g)
{
	const struct ferry_agent_range *range = &job->ranges[job->next];

	if (!may_cut(arena, range->len)) {
		ferry__agent_status_set(job,
					ferry__agent_status(job, job->next),
					-EOPNOTSUPP, FERRY_REASON_SPLIT);
		return;
	}
	g->index[g->n] = job->next;
	g->span[g->n++] = (struct ferry__span){ range->addr, range->len };
}

/* Takes the next range; false: it is not of the group's arena. */
static bool gather(struct ferry__agent_job *job, struct ferry_arena **held,
		   struct group *g)
{
	if (*held && !ferry__agent_lies_in(job, job->next, *held))
		return false;
	if (*held || find_arena(job, held))
		add_range(job, *held, g);
	job->next++;
	return true;
}

static void set_step(struct ferry__agent_job *job)
{
	struct ferry_arena *held = NULL;
	struct group *g = job->own;
	uint64_t from = job->next;

	g->n = 0;
	while (job->next < job->req.ranges_len &&
	       job->next - from < FERRY__AGENT_STEP_RANGES &&
	       gather(job, &held, g))
		;
	if (held && g->n)
		set_group(job, held, g);
	if (held)
		ferry__arena_let_go(held);
}

/* --- phase 2 ------------------------------------------------------------------------------ */

/* Is what phase 1 set there still in force? 1, 0, or a negative errno. */
static int still_ours(const struct ferry__agent_job *job,
		      struct ferry_arena *arena, size_t offset)
{
	struct ferry_node_policy policy = asked(job);
	const struct ferry__placement *place;
	int r;

	pthread_mutex_lock(&arena->lock);
	r = ferry__node_intern(arena, &policy, &place);
	if (r == 0)
		r = ferry__policy_place(arena, offset) == place;
	pthread_mutex_unlock(&arena->lock);
	return r;
}

/*
 * Moves without the lock, as pages are copied, which the program shall not
 * wait for. It sets the policy, too: where the program did so since it was
 * looked at, it was overwritten, and what is noted is put in force again.
 */
static long move_span(struct ferry_arena *arena, const struct ferry__span *span,
		      const struct ferry__node_policy *kernel,
		      struct ferry__node_result *ret)
{
	long r = ferry__node_apply_spans(span, 1, kernel, ret);

	pthread_mutex_lock(&arena->lock);
	ferry__node_restore(arena, span->addr - (uintptr_t)arena->base,
			    span->len);
	pthread_mutex_unlock(&arena->lock);
	return r;
}

static int move_piece(struct ferry__agent_job *job, struct ferry_arena *arena,
		      size_t offset, size_t len,
		      struct ferry_agent_status *status)
{
	struct ferry__node_policy kernel = in_kernel_terms(job);
	struct ferry__span span = { (uintptr_t)arena->base + offset, len };
	struct ferry__node_result result = { .error = 0 };
	long r;

	kernel.move = job->req.flags & FERRY_AGENT_MOVE;
	kernel.strict = job->req.flags & FERRY_AGENT_STRICT;
	kernel.count = true;
	r = still_ours(job, arena, offset);
	if (r > 0)
		r = move_span(arena, &span, &kernel, &result);
	if (r < 0)
		return (int)r;
	status->done += result.moved;
	status->left += result.failed;
	job->reply.value += result.moved;
	ferry__agent_status_set(job, status, result.error, reason_of(&result));
	return 0;
}

/* A piece of the range that is next. */
static void move_next(struct ferry__agent_job *job, size_t *bytes)
{
	struct ferry_agent_status *status = ferry__agent_status(job, job->next);
	uint64_t left = job->ranges[job->next].len - job->offset, len;
	struct ferry__target t;
	enum ferry_reason why;
	int r = status->error;

	len = left < FERRY__GRANULE ? left : FERRY__GRANULE;
	if (!r || job->offset) {
		r = ferry__agent_target(job, job->next, NULL, &t, &why);
		if (r < 0) {
			ferry__agent_status_set(job, status, r, why);
		} else {
			r = move_piece(job, t.arena, t.offset + job->offset,
				       len, status);
			ferry__agent_status_set(job, status, r,
						whole_reason(r));
			ferry__arena_let_go(t.arena);
		}
		*bytes += len;
	}
	job->offset += len;
	if (r < 0 || len == left) {
		job->next++;
		job->offset = 0;
	}
}

static void move_step(struct ferry__agent_job *job)
{
	uint64_t from = job->next;
	size_t bytes = 0;

	while (job->next < job->req.ranges_len &&
	       bytes < FERRY__AGENT_STEP_BYTES &&
	       job->next - from < FERRY__AGENT_STEP_RANGES)
		move_next(job, &bytes);
}

/* --- both ----------------------------------------------------------------------------------- */

/* A long mask that says no more than a short one is not read to its end for
 * each range, with the program waiting. */
static void trim_mask(struct ferry__agent_job *job)
{
	uint64_t words = ((uint64_t)job->req.nodes_len + 63) / 64;

	while (words && !job->nodes[words - 1])
		words--;
	if (words * 64 < job->req.nodes_len)
		job->req.nodes_len = (uint32_t)(words * 64);
}

static bool begin(struct ferry__agent_job *job)
{
	struct ferry_node_policy policy;
	int r;

	trim_mask(job);
	policy = asked(job);
	if (job->req.mode > FERRY_NODE_WEIGHTED_INTERLEAVE ||
	    job->req.home_node > INT32_MAX)
		r = -EINVAL;
	else
		r = ferry__node_check(&policy);
	if (r == 0)
		r = ferry__agent_alloc(sizeof(struct group), &job->own);
	if (r == 0) {
		job->own_bytes = sizeof(struct group);
		return true;
	}
	ferry__agent_fail(job, r,
			  r == -EOPNOTSUPP ? FERRY_REASON_NOT_SUPPORTED
					   : FERRY_REASON_NONE);
	return false;
}

bool ferry__agent_place_step(struct ferry__agent_job *job)
{
	if (!job->own && !begin(job))
		return false;
	if (job->phase == SET)
		set_step(job);
	else
		move_step(job);
	if (job->next < job->req.ranges_len)
		return true;
	if (job->phase == MOVE ||
	    !(job->req.flags & (FERRY_AGENT_MOVE | FERRY_AGENT_STRICT)))
		return false;
	job->phase = MOVE;
	job->next = 0;
	return true;
}
