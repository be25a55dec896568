/* SPDX-License-Identifier: MIT */
/*
 * Tiers by age: how many steps each page of an arena has not been written,
 * from the kernel's track of writes.
 *
 * A byte a page: the steps, and whether the page was seen on a slower tier.
 * SETTLED is a page that went as far down as there is a way; it is asked
 * about again once it was written. Bytes are of whoever has the lock.
 */
#include "alloc/tier-internal.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include <ferry/dirty.h>

#include "alloc/alloc-internal.h"

#define LOW	  0x80u /* on a slower tier */
#define AGE	  0x7fu
#define SETTLED	  AGE
#define MOST_AGE  (SETTLED - 1)
#define USUAL_AGE 8
#define RUNS	  64
#define COMMITTED                                                              \
	(FERRY__CODE(FERRY_PAGE_LIVE) | FERRY__CODE(FERRY_PAGE_PINNED))

struct ferry_tiering {
	struct ferry_tiering_params params;
	struct ferry_dirty *dirty;
	pthread_mutex_t step;
	int pid;
	size_t armed; /* bytes of the arena; it may grow */
	uint8_t *ages;
	size_t ages_len; /* pages */
};

/* Pages that are to move one way. */
struct batch {
	struct ferry_tiering *tiering;
	bool slower;
	size_t n, left; /* in it; how many more may come; pages */
	size_t page[FERRY__TIER_BATCH];
	struct ferry__tier_counts counts;
};

static struct batch batch_of(struct ferry_tiering *tiering, bool slower)
{
	size_t most = tiering->params.step_max;

	return (struct batch){
		.tiering = tiering,
		.slower = slower,
		.left = most ? (most + ferry__page_size - 1) / ferry__page_size
			     : SIZE_MAX,
	};
}

/* --- moving --------------------------------------------------------------- */

/* How old a page is after it was asked to move and is on @node now. */
static uint8_t age_on(const struct ferry_topology *t, bool slower, int node)
{
	unsigned int low;

	if (node < 0)
		return 0; /* not in memory: as a fresh one */
	low = ferry__tier_beyond(t, false, node) ? LOW : 0;
	if (slower && !ferry__tier_beyond(t, true, node))
		return (uint8_t)(low | SETTLED);
	return (uint8_t)low;
}

static int flush(struct batch *b)
{
	struct ferry_tiering *t = b->tiering;
	const struct ferry_topology *top = t->params.topology;
	void *pages[FERRY__TIER_BATCH];
	int nodes[FERRY__TIER_BATCH];
	size_t i, n = b->n;
	int r;

	if (!n)
		return 0;
	b->n = 0;
	for (i = 0; i < n; i++)
		pages[i] =
			t->params.arena->base + b->page[i] * ferry__page_size;
	r = ferry__tier_shift(top, b->slower, pages, n, nodes, NULL,
			      &b->counts);
	if (r < 0)
		return r;
	for (i = 0; i < n; i++)
		t->ages[b->page[i]] = age_on(top, b->slower, nodes[i]);
	return 0;
}

/* What is beyond the step's measure keeps its age, and comes first next time
 * round. */
static int add(struct batch *b, size_t page)
{
	if (!b->left)
		return 0;
	b->left--;
	b->page[b->n++] = page;
	return b->n == FERRY__TIER_BATCH ? flush(b) : 0;
}

/* --- ages ----------------------------------------------------------------- */

static void grow_older(struct ferry_tiering *t)
{
	size_t page;

	for (page = 0; page < t->armed / ferry__page_size; page++)
		if ((t->ages[page] & AGE) < MOST_AGE)
			t->ages[page]++;
}

/* Written: young, and on its way up if it was down. */
static int note_written(struct batch *up, const struct ferry_range *run)
{
	struct ferry_tiering *t = up->tiering;
	size_t page = (size_t)((char *)run->addr - t->params.arena->base) /
		      ferry__page_size;
	size_t end = page + run->len / ferry__page_size;
	int r = 0;

	for (; page < end; page++) {
		t->ages[page] &= LOW;
		if (t->ages[page] && r == 0)
			r = add(up, page);
	}
	return r;
}

static int collect(struct batch *up)
{
	struct ferry_tiering *t = up->tiering;
	char *at = t->params.arena->base, *end = at + t->armed;
	struct ferry_range runs[RUNS];
	int r = 0, failed = 0;
	size_t i, n;
	void *next;

	while (at < end && r == 0) {
		r = ferry_dirty_collect(t->dirty, at, (size_t)(end - at), runs,
					RUNS, &n, &next);
		for (i = 0; r == 0 && i < n; i++)
			if (!failed)
				failed = note_written(up, &runs[i]);
		if (r == 0)
			at = next;
	}
	return r ? r : failed;
}

static int sink(struct batch *down)
{
	struct ferry_tiering *t = down->tiering;
	const struct ferry__pages *states = &t->params.arena->pages;
	size_t end = t->armed / ferry__page_size, page = 0;
	unsigned int age;
	int r = 0;

	for (; r == 0; page++) {
		page = ferry__pages_find(states, page, end, COMMITTED, true);
		if (page >= end)
			break;
		age = t->ages[page] & AGE;
		if (age >= t->params.cold_after && age != SETTLED)
			r = add(down, page);
	}
	return r;
}

/* --- arming --------------------------------------------------------------- */

/* New ages are zero. */
static int room_for_ages(struct ferry_tiering *t, size_t len)
{
	void *mem;
	int r;

	r = ferry__meta_alloc(len, &mem);
	if (r < 0)
		return r;
	if (t->ages) {
		memcpy(mem, t->ages, t->ages_len);
		ferry__meta_free(t->ages, t->ages_len);
	}
	t->ages = mem;
	t->ages_len = len;
	return 0;
}

/* All that the arena has by now, as one range: what was armed of it before is
 * armed anew. */
static int arm(struct ferry_tiering *t, size_t reserved,
	       enum ferry_reason *ret_reason)
{
	char *base = t->params.arena->base;
	int r;

	if (reserved / ferry__page_size > t->ages_len) {
		r = room_for_ages(t, reserved / ferry__page_size);
		if (r < 0)
			return r;
	}
	if (t->armed)
		ferry_dirty_disarm(t->dirty, base, t->armed);
	t->armed = 0;
	r = ferry_dirty_arm(t->dirty, base, reserved, ret_reason);
	if (r == 0)
		t->armed = reserved;
	return r;
}

/* --- a step --------------------------------------------------------------- */

/* @up gets what was written, @down what has grown cold. */
static int step_locked(struct ferry_tiering *t, struct batch *down,
		       struct batch *up)
{
	size_t reserved = ferry_arena_reserved(t->params.arena);
	enum ferry_reason reason;
	int r, later;

	/* It grew: what was written in this step is not known. */
	if (t->armed != reserved)
		return arm(t, reserved, &reason);
	grow_older(t);
	r = collect(up);
	later = flush(up);
	if (r < 0 || later < 0)
		return r < 0 ? r : later;
	r = sink(down);
	later = flush(down);
	return r < 0 ? r : later;
}

int ferry_tiering_step(struct ferry_tiering *tiering,
		       struct ferry_tier_result *ret_down,
		       struct ferry_tier_result *ret_up)
{
	struct batch down = batch_of(tiering, true);
	struct batch up = batch_of(tiering, false);
	int r = ferry__tier_result_check(ret_down);

	if (r == 0)
		r = ferry__tier_result_check(ret_up);
	if (r < 0)
		return r;
	if (tiering->params.arena->gone || tiering->pid != ferry__sys->getpid())
		return -ECHILD;
	pthread_mutex_lock(&tiering->step);
	r = step_locked(tiering, &down, &up);
	pthread_mutex_unlock(&tiering->step);
	ferry__tier_result_fill(ret_down, &down.counts);
	ferry__tier_result_fill(ret_up, &up.counts);
	return r;
}

/* --- its life ------------------------------------------------------------- */

static int check(const struct ferry_tiering_params *p)
{
	if (!p->arena || !p->topology || p->cold_after > MOST_AGE)
		return -EINVAL;
	if (ferry_topology_tiers(p->topology) < 2)
		return -EOPNOTSUPP;
	return p->arena->gone ? -ECHILD : 0;
}

static int open_tracker(struct ferry_tiering *t, enum ferry_reason *ret_reason)
{
	struct ferry_dirty_params params =
		FERRY_INIT(struct ferry_dirty_params);
	int r;

	/* The others stop writers, or need signals. */
	params.provider = FERRY_DIRTY_WP_ASYNC;
	r = ferry_dirty_open(&params, ret_reason, &t->dirty);
	if (r == 0)
		r = arm(t, ferry_arena_reserved(t->params.arena), ret_reason);
	return r;
}

static int make(const struct ferry_tiering_params *p,
		enum ferry_reason *ret_reason,
		struct ferry_tiering **ret_tiering)
{
	struct ferry_tiering *t;
	void *mem;
	int r;

	r = ferry__meta_alloc(sizeof(*t), &mem);
	if (r < 0)
		return r;
	t = mem;
	t->params = *p;
	if (!p->cold_after)
		t->params.cold_after = USUAL_AGE;
	t->pid = ferry__sys->getpid();
	pthread_mutex_init(&t->step, NULL);
	r = open_tracker(t, ret_reason);
	if (r < 0)
		ferry_tiering_destroy(t);
	else
		*ret_tiering = t;
	return r;
}

int ferry_tiering_create(const struct ferry_tiering_params *params,
			 enum ferry_reason *ret_reason,
			 struct ferry_tiering **ret_tiering)
{
	enum ferry_reason reason = FERRY_REASON_NONE;
	struct ferry_tiering_params p;
	int r;

	r = ferry__params_copy(&p, sizeof(p), params, sizeof(p.size));
	if (r == 0)
		r = check(&p);
	if (r == 0)
		r = make(&p, &reason, ret_tiering);
	if (ret_reason)
		*ret_reason = reason;
	return r;
}

void ferry_tiering_destroy(struct ferry_tiering *tiering)
{
	if (!tiering)
		return;
	ferry_dirty_close(tiering->dirty);
	ferry__meta_free(tiering->ages, tiering->ages_len);
	pthread_mutex_destroy(&tiering->step);
	ferry__meta_free(tiering, sizeof(*tiering));
}
