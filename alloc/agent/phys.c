/* SPDX-License-Identifier: MIT */
/*
 * Migration by physical address: the page map of all arenas, inverted, kept
 * between requests, and made anew when it does not know an address - once in a
 * request at most, as an address may be nobody's.
 *
 * The map says where a frame was mapped when it was asked; what is migrated is
 * what lies there now, if it is in an arena still, which is held for that
 * time. Memory of others is never touched.
 */
#include <errno.h>
#include <string.h>

#include "alloc/agent/work-internal.h"
#include "uffd/node_apply.h"
#include "uffd/physmap.h"

#define BATCH FERRY__NODE_BATCH

/* The thread's. */
static struct ferry__physmap *map;

/* Pages of one step; pages of the job's own. */
struct batch {
	bool built; /* in this job */
	size_t n;
	uint64_t phys[BATCH];
	size_t range[BATCH]; /* of the request */
	struct ferry__phys_result found[BATCH];
};

void ferry__agent_phys_drop(void)
{
	ferry__physmap_destroy(map);
	map = NULL;
}

/* --- the map ------------------------------------------------------------------------- */

/* Address space of all arenas; in a frame that the caller frees. */
static int all_arenas(struct ferry__agent_buffer *ret)
{
	struct ferry__span *span;
	struct ferry_arena *arena;
	uint64_t id = 0;

	ret->max = SIZE_MAX / 4;
	while ((arena = ferry__arena_hold_next(id))) {
		id = arena->id;
		span = ferry__agent_extend(ret, sizeof(*span));
		if (span)
			*span = (struct ferry__span){
				(uintptr_t)arena->base,
				ferry_arena_reserved(arena),
			};
		ferry__arena_let_go(arena);
		if (!span)
			return -ENOMEM;
	}
	return 0;
}

static int build(void)
{
	struct ferry__agent_buffer spans = { 0 };
	int r;

	r = all_arenas(&spans);
	if (r == 0)
		r = ferry__physmap_build(
			map, (const struct ferry__span *)(void *)spans.mem,
			spans.len / sizeof(struct ferry__span));
	ferry__agent_free(spans.mem, spans.cap);
	return r;
}

/* --- a step ------------------------------------------------------------------------------ */

/* The next pages of the request: frames that ranges reach into. */
static void gather(struct ferry__agent_job *job, struct batch *b)
{
	const struct ferry_agent_range *range;
	uint64_t page, at, end;

	for (b->n = 0; b->n < BATCH && job->next < job->req.ranges_len;) {
		range = &job->ranges[job->next];
		page = ferry__page_size - 1;
		at = (range->addr & ~page) + job->offset;
		if (!range->len ||
		    __builtin_add_overflow(range->addr, range->len, &end)) {
			ferry__agent_status_set(
				job, ferry__agent_status(job, job->next),
				range->len ? -EOVERFLOW : -EINVAL,
				range->len ? FERRY_REASON_OVERFLOW
					   : FERRY_REASON_ZERO_LENGTH);
			end = at;
		}
		if (at < end) {
			b->phys[b->n] = at;
			b->range[b->n++] = job->next;
			job->offset += ferry__page_size;
		}
		if (at >= end || end - at <= ferry__page_size) {
			job->next++;
			job->offset = 0;
		}
	}
}

static bool all_found(const struct batch *b)
{
	size_t i;

	for (i = 0; i < b->n; i++)
		if (b->found[i].state != FERRY__PHYS_FOUND)
			return false;
	return true;
}

static int find(struct batch *b)
{
	long r = 0;

	if (!map)
		r = ferry__physmap_create(0, &map);
	if (r < 0)
		return (int)r;
	r = ferry__physmap_find(map, b->phys, b->n, b->found);
	if (r < 0 || all_found(b) || b->built)
		return r < 0 ? (int)r : 0;
	b->built = true;
	r = build();
	if (r == 0)
		r = ferry__physmap_find(map, b->phys, b->n, b->found);
	return r < 0 ? (int)r : 0;
}

static void settle(struct ferry__agent_job *job, const struct batch *b,
		   size_t i, int state)
{
	struct ferry_agent_status *status =
		ferry__agent_status(job, b->range[i]);

	if (state == FERRY__PAGE_MOVED || state == FERRY__PAGE_THERE) {
		status->done += ferry__page_size;
		job->reply.value += ferry__page_size;
		return;
	}
	if (state == FERRY__PAGE_ABSENT)
		state = -ENOENT;
	status->left += ferry__page_size;
	ferry__agent_status_set(job, status, state,
				state == -ENOENT   ? FERRY_REASON_NOT_MANAGED
				: state == -EBUSY  ? FERRY_REASON_BUSY
				: state == -EACCES ? FERRY_REASON_SHARED
						   : FERRY_REASON_NO_MEMORY);
}

/* Migrates pages of the batch from @i on that lie in one arena; how many are
 * dealt with. */
static int migrate_some(struct ferry__agent_job *job, const struct batch *b,
			size_t i, size_t *ret_n)
{
	struct ferry_arena *arena;
	void *page[BATCH];
	int state[BATCH], r;
	size_t n = 0, k;

	*ret_n = 1;
	arena = b->found[i].state == FERRY__PHYS_FOUND
			? ferry__arena_hold_at(b->found[i].addr)
			: NULL;
	if (!arena) {
		settle(job, b, i, -ENOENT);
		return 0;
	}
	while (i + n < b->n && b->found[i + n].state == FERRY__PHYS_FOUND &&
	       b->found[i + n].addr - (uintptr_t)arena->base <
		       ferry_arena_reserved(arena)) {
		page[n] = (void *)(uintptr_t)b->found[i + n].addr;
		n++;
	}
	r = ferry__node_migrate_pages(page, n, job->req.node, state);
	ferry__arena_let_go(arena);
	if (r < 0)
		return r;
	for (k = 0; k < n; k++)
		settle(job, b, i + k, state[k]);
	*ret_n = n;
	return 0;
}

static int work(struct ferry__agent_job *job, struct batch *b)
{
	size_t i, n;
	int r;

	gather(job, b);
	r = find(b);
	for (i = 0; r == 0 && i < b->n; i += n)
		r = migrate_some(job, b, i, &n);
	return r;
}

static void note_generation(struct ferry__agent_job *job)
{
	struct ferry__physmap_stats stats;

	ferry__physmap_stats(map, &stats);
	job->reply.generation = stats.builds;
}

bool ferry__agent_phys_step(struct ferry__agent_job *job)
{
	int r = 0;

	if (!job->own) {
		job->own_bytes = sizeof(struct batch);
		r = ferry__agent_alloc(job->own_bytes, &job->own);
	}
	if (r == 0)
		r = work(job, job->own);
	if (r < 0) {
		ferry__agent_fail(job, r,
				  r == -EPERM ? FERRY_REASON_NO_PERMISSION
					      : FERRY_REASON_NONE);
		return false;
	}
	note_generation(job);
	return job->next < job->req.ranges_len;
}
