/* SPDX-License-Identifier: MIT */
/*
 * The life of a compaction: planning it, the change-over, the end.
 *
 *	plan                start                    finish
 *	----> PLANNED -----------> RUNNING ---------------------> DONE
 *	         |                                        or PARTIAL
 *	         +-- finish or destroy: pages are LIVE again, as before
 *
 * A plan takes its pages: they are in TRANSIT from the plan on, so that no
 * commit, decommit or pin of another thread can make it untrue.
 *
 * Orders of memory
 *  C4	.phase: the store-releases here pair with the load-acquire in
 *	ferry__compact_phase(): who sees RUNNING sees the service attached,
 *	who sees DONE or PARTIAL sees the left list complete.
 */
#include "alloc/compact-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "uffd/handle.h"
#include "uffd/pagemap.h"
#include "uffd/uapi.h"

#define AROUND_DEFAULT	 64u
#define SLICE_DEFAULT_NS 500000u

/* Mean length of runs, in pages, below which one mover at a time is best. */
#define EXCLUSIVE_BELOW 32u

/* --- parameters ----------------------------------------------------------- */

static bool sources_good(const struct ferry_compact_params *p)
{
	size_t i;

	if (!p->sources || !p->sources_len)
		return false;
	for (i = 0; i < p->sources_len; i++)
		if (!p->sources[i] || p->sources[i] == p->destination)
			return false;
	return true;
}

static int params_read(const struct ferry_compact_params *params,
		       struct ferry_compact_params *ret)
{
	int r;

	if (!params)
		return -EINVAL;
	r = ferry__params_copy(ret, sizeof(*ret), params, sizeof(ret->size));
	if (r < 0)
		return r;
	if (ret->flags & ~FERRY_COMPACT_COLLAPSE || !sources_good(ret))
		return -EINVAL;
	if (!ret->mode)
		ret->mode = FERRY_FAULT_SIGBUS;
	if (!ret->around)
		ret->around = AROUND_DEFAULT;
	if (!ret->slice_ns)
		ret->slice_ns = SLICE_DEFAULT_NS;
	if ((unsigned int)ret->busy > FERRY_BUSY_SKIP ||
	    ret->mode > FERRY_FAULT_THREAD ||
	    (unsigned int)ret->thp > FERRY_THP_NEVER ||
	    (ret->destination && ret->destination->service))
		return -EINVAL;
	if (ret->destination && ret->destination->backing)
		return -EOPNOTSUPP;
	return 0;
}

static int by_base(const void *a, const void *b)
{
	const struct ferry__source *x = a, *y = b;

	return (x->arena->base > y->arena->base) -
	       (x->arena->base < y->arena->base);
}

static int sources_copy(struct ferry_compact *compact)
{
	size_t i, n = compact->params.sources_len;
	void *mem;
	int r;

	r = ferry__meta_alloc(n * sizeof(*compact->sources), &mem);
	if (r < 0)
		return r;
	compact->sources = mem;
	for (i = 0; i < n; i++) {
		if (compact->params.sources[i]->backing)
			return -EOPNOTSUPP;
		compact->sources[i].arena = compact->params.sources[i];
		compact->sources[i].len =
			ferry_arena_reserved(compact->params.sources[i]);
	}
	qsort(mem, n, sizeof(*compact->sources), by_base);
	for (i = 1; i < n; i++)
		if (compact->sources[i].arena == compact->sources[i - 1].arena)
			return -EINVAL;
	return 0;
}

struct ferry_arena *ferry__compact_source(const struct ferry_compact *compact,
					  uintptr_t from)
{
	size_t low = 0, n = compact->params.sources_len, half;

	for (; n > 1; n -= half) {
		half = n / 2;
		if ((uintptr_t)compact->sources[low + half].arena->base <= from)
			low += half;
	}
	return compact->sources[low].arena;
}

/* How busy pages are met: in every move, and in the last resort. */
static void policy_set(struct ferry_compact *compact)
{
	struct ferry_move_params *m = &compact->move;

	m->size = sizeof(*m);
	m->flags = FERRY_MOVE_SOLE;
	/* In SIGBUS mode nobody sleeps in the kernel for a page. */
	if (compact->params.mode == FERRY_FAULT_SIGBUS)
		m->flags |= FERRY_MOVE_NO_WAKE;
	m->deadline_ns = compact->params.deadline_ns;
	switch (compact->params.busy) {
	case FERRY_BUSY_REPORT:
		m->busy = FERRY_BUSY_EXCLUSIVE;
		compact->copy_last = true;
		break;
	case FERRY_BUSY_SKIP:
		/* The move stops there, so that it is known which page. */
		m->busy = FERRY_BUSY_REPORT;
		break;
	default:
		m->busy = compact->params.busy;
		break;
	}
}

/* --- taking the live runs ------------------------------------------------- */

/*
 * A growing array of runs. It starts with address space for so many that few
 * plans have to copy it, and the kernel to find its pages, twice.
 */
#define RUNS_ROOM ((size_t)1 << 18)

struct runs {
	struct ferry__live *v;
	size_t len, room;
};

/* Room for @room runs in all: addresses, which cost nothing till touched. */
static int runs_room(struct runs *runs, size_t room)
{
	void *mem;
	int r;

	r = ferry__meta_alloc(room * sizeof(*runs->v), &mem);
	if (r < 0)
		return r;
	if (runs->len)
		memcpy(mem, runs->v, runs->len * sizeof(*runs->v));
	ferry__meta_free(runs->v, runs->room * sizeof(*runs->v));
	runs->v = mem;
	runs->room = room;
	return 0;
}

static int runs_add(struct runs *runs, struct ferry__live run)
{
	int r;

	if (runs->len == runs->room) {
		r = runs_room(runs, 2 * runs->room);
		if (r < 0)
			return r;
	}
	runs->v[runs->len++] = run;
	return 0;
}

static void runs_fini(struct runs *runs)
{
	ferry__meta_free(runs->v, runs->room * sizeof(*runs->v));
}

/*
 * The next stretch of [@start, @end) that is mapped by whole huge pages; an
 * empty one at @end if there is none, or if the kernel does not tell.
 */
static void next_huge(const struct ferry_compact *compact, uintptr_t start,
		      uintptr_t end, uintptr_t *ret_start, uintptr_t *ret_end)
{
	uintptr_t mask = ferry__huge_size() - 1;

	*ret_start = *ret_end = end;
	if (!(mask + 1) || end - start <= mask)
		return;
	if (ferry__pagemap_find(compact->uffd->pagemap, start, end,
				FERRY__PAGE_IS_PRESENT | FERRY__PAGE_IS_HUGE,
				ret_start, ret_end) <= 0)
		goto none;
	*ret_start = (*ret_start + mask) & ~mask;
	*ret_end &= ~mask;
	if (*ret_start < *ret_end)
		return;
none:
	*ret_start = *ret_end = end;
}

/* Adds the run, with its whole huge pages as runs of their own. */
static int add_run(const struct ferry_compact *compact, struct runs *runs,
		   struct ferry__live run)
{
	uintptr_t from = run.from, end = from + run.len, start, stop;
	int r = 0;

	while (!r && from < end) {
		next_huge(compact, from, end, &start, &stop);
		if (from < start)
			r = runs_add(runs,
				     (struct ferry__live){
					     .from = from,
					     .len = start - from,
					     .cut = run.cut && from == run.from,
				     });
		if (!r && start < stop)
			r = runs_add(runs, (struct ferry__live){
						   .from = start,
						   .len = stop - start,
						   .huge = true,
						   .cut = run.cut &&
							  start == run.from,
					   });
		from = stop;
	}
	return r;
}

static void put_back(struct ferry_arena *arena, uintptr_t from, size_t len)
{
	ferry__arena_settle(arena, from - (uintptr_t)arena->base, len,
			    FERRY_PAGE_LIVE);
}

/*
 * Adds the claimed pages [@at, @at + @len), cut where a policy of the arena
 * has cut its mapping. @cut_at: end of the mapping that was looked at last.
 */
static int add_claimed(const struct ferry_compact *compact,
		       struct ferry_arena *arena, struct runs *runs, size_t at,
		       size_t len, size_t *cut_at)
{
	size_t end = at + len, stop;
	bool cut;
	int r;

	for (; at < end; at = stop) {
		cut = at >= *cut_at;
		if (cut)
			*cut_at = ferry__arena_piece_end(arena, at);
		stop = *cut_at < end ? *cut_at : end;
		r = add_run(compact, runs,
			    (struct ferry__live){
				    .from = (uintptr_t)arena->base + at,
				    .len = stop - at,
				    .cut = cut });
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * Takes the live pages of a source. One with a service of its own brings
 * those first that were never touched: what they hold only its supply knows.
 */
static int take_arena(const struct ferry_compact *compact,
		      struct ferry_arena *arena, struct runs *runs)
{
	size_t at = 0, cut_at = 0, len, got, had;
	int r = 0;

	while (ferry_arena_next_run(arena, at, FERRY_PAGE_LIVE, &at, &len)) {
		if (arena->service)
			r = ferry__service_populate(arena, at, len);
		if (r < 0)
			return r;
		got = ferry__arena_claim(arena, at, len);
		if (!got)
			continue; /* lost it just now */
		had = runs->len;
		r = add_claimed(compact, arena, runs, at, got, &cut_at);
		if (r < 0) {
			runs->len = had;
			put_back(arena, (uintptr_t)arena->base + at, got);
			return r;
		}
		at += got;
	}
	return 0;
}

static void put_back_runs(const struct ferry_compact *compact,
			  const struct runs *runs)
{
	size_t i;

	for (i = 0; i < runs->len; i++)
		put_back(ferry__compact_source(compact, runs->v[i].from),
			 runs->v[i].from, runs->v[i].len);
}

static int take_sources(struct ferry_compact *compact, struct runs *runs)
{
	struct ferry_arena *arena;
	size_t i;
	int r;

	r = runs_room(runs, RUNS_ROOM);
	for (i = 0; i < compact->params.sources_len && !r; i++) {
		arena = compact->sources[i].arena;
		compact->pinned +=
			ferry__pages_count(&arena->pages, FERRY_PAGE_PINNED) *
			ferry__page_size;
		r = take_arena(compact, arena, runs);
	}
	return r;
}

/* --- destination ---------------------------------------------------------- */

static int destination_make(struct ferry_compact *compact)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	int r;

	p.reserve = compact->bytes ? compact->bytes : ferry__page_size;
	p.thp = compact->params.thp;
	p.name = "compacted";
	r = ferry_arena_create(&p, &compact->destination);
	compact->destination_ours = r == 0;
	return r;
}

static int destination_take(struct ferry_compact *compact)
{
	int r = 0;

	if (compact->params.destination)
		compact->destination = compact->params.destination;
	else
		r = destination_make(compact);
	if (r < 0)
		return r;
	if (ferry_arena_reserved(compact->destination) < compact->bytes)
		return -ENOSPC;
	compact->to = (uintptr_t)ferry_arena_base(compact->destination);
	if (!compact->bytes)
		return 0;
	return ferry__arena_claim_absent(compact->destination, 0,
					 compact->bytes);
}

static void destination_drop(struct ferry_compact *compact)
{
	if (compact->destination_ours)
		ferry_arena_destroy(compact->destination);
	compact->destination_ours = false;
	compact->destination = NULL;
}

static void destination_give_up(struct ferry_compact *compact)
{
	if (compact->bytes)
		ferry__arena_settle(compact->destination, 0, compact->bytes,
				    FERRY_PAGE_ABSENT);
	destination_drop(compact);
}

/* --- plan ----------------------------------------------------------------- */

static size_t left_bytes(const struct ferry_compact *compact)
{
	return (compact->bytes / ferry__page_size / 64 + 1) * sizeof(uint64_t);
}

static int plan_arrays(struct ferry_compact *compact, const struct runs *runs)
{
	void *left;
	int r;

	r = ferry__meta_alloc(left_bytes(compact), &left);
	if (r < 0)
		return r;
	r = ferry__layout_fill(&compact->layout, runs->v, runs->len,
			       ferry__page_size, ferry__huge_size(),
			       compact->to);
	if (r < 0)
		ferry__meta_free(left, left_bytes(compact));
	else
		compact->left = left;
	return r;
}

static int plan_layout(struct ferry_compact *compact, const struct runs *runs)
{
	int r;

	ferry__layout_measure(runs->v, runs->len, ferry__page_size,
			      ferry__huge_size(), &compact->layout);
	compact->bytes = ferry__layout_bytes(&compact->layout);
	compact->remaining = compact->bytes;
	compact->exclusive = compact->bytes <
			     EXCLUSIVE_BELOW * ferry__page_size * runs->len;
	r = destination_take(compact);
	if (r < 0) {
		destination_drop(compact);
		return r;
	}
	r = plan_arrays(compact, runs);
	if (r < 0)
		destination_give_up(compact);
	return r;
}

static int plan_runs(struct ferry_compact *compact)
{
	struct runs runs = { 0 };
	int r;

	r = take_sources(compact, &runs);
	if (r == 0)
		r = plan_layout(compact, &runs);
	if (r < 0)
		put_back_runs(compact, &runs);
	runs_fini(&runs);
	return r;
}

static int service_make(struct ferry_compact *compact,
			enum ferry_reason *ret_reason)
{
	struct ferry_fault_params p = FERRY_INIT(struct ferry_fault_params);
	int r;

	p.mode = compact->params.mode;
	p.around = compact->params.around;
	r = ferry_fault_service_create(&p, ret_reason, &compact->service);
	if (r < 0)
		return r;
	compact->uffd = ferry_fault_service_uffd(compact->service);
	return 0;
}

static void service_drop(struct ferry_compact *compact)
{
	ferry_fault_service_destroy(compact->service);
	compact->service = NULL;
	compact->uffd = NULL;
}

static void compact_free(struct ferry_compact *compact)
{
	ferry__meta_free(compact->sources, compact->params.sources_len *
						   sizeof(*compact->sources));
	ferry__meta_free(compact->left, left_bytes(compact));
	if (compact->layout.pieces)
		ferry__layout_fini(&compact->layout);
	compact->magic = 0;
	ferry__meta_free(compact, sizeof(*compact));
}

int ferry_compact_plan(const struct ferry_compact_params *params,
		       enum ferry_reason *ret_reason,
		       struct ferry_compact **ret_compact)
{
	enum ferry_reason ignored, *reason = ret_reason ? ret_reason : &ignored;
	struct ferry_compact_params p;
	struct ferry_compact *compact;
	void *mem;
	int r;

	*reason = FERRY_REASON_NONE;
	r = params_read(params, &p);
	if (r < 0)
		return r;
	r = ferry__meta_alloc(sizeof(*compact), &mem);
	if (r < 0)
		return r;
	compact = mem;
	compact->params = p;
	policy_set(compact);
	r = sources_copy(compact);
	if (r < 0)
		goto err_free;
	r = service_make(compact, reason);
	if (r < 0)
		goto err_free;
	r = plan_runs(compact);
	if (r < 0)
		goto err_service;
	compact->magic = FERRY__COMPACT_MAGIC;
	*ret_compact = compact;
	return 0;

err_service:
	service_drop(compact);
err_free:
	compact_free(compact);
	return r;
}

struct ferry_arena *
ferry_compact_destination(const struct ferry_compact *compact)
{
	return compact->destination;
}

/* --- change-over ---------------------------------------------------------- */

/*
 * Old addresses of pages that have moved raise a fault instead of reading as
 * zero. A source that another userfaultfd serves cannot be watched as well;
 * its own service answers then.
 */
static void trap_sources(struct ferry_compact *compact)
{
	struct ferry__source *s;
	size_t i;

	for (i = 0; i < compact->params.sources_len; i++) {
		s = &compact->sources[i];
		s->trapped = !ferry_fault_attach(
			compact->service, s->arena->base, s->len,
			ferry__compact_trap, s->arena, NULL);
	}
}

static void untrap_sources(struct ferry_compact *compact)
{
	struct ferry__source *s;
	size_t i;

	for (i = 0; i < compact->params.sources_len; i++) {
		s = &compact->sources[i];
		if (s->trapped)
			ferry_fault_detach(compact->service, s->arena->base,
					   s->len);
		s->trapped = false;
	}
}

/*
 * The destination had no pages when it was claimed. Since then huge pages may
 * have grown into it, by a fault beside it or by khugepaged; who read one of
 * those would read zeros. Registered memory they leave alone, so it is emptied
 * once more.
 */
static int serve_destination(struct ferry_compact *compact,
			     enum ferry_reason *reason)
{
	char *to = (char *)compact->to;
	int r = ferry_fault_attach(compact->service, to, compact->bytes,
				   ferry__compact_supply, compact, reason);

	if (r < 0)
		return r;
	r = ferry__dontneed(to, compact->bytes);
	if (r < 0) {
		*reason = FERRY_REASON_PRESENT;
		ferry_fault_detach(compact->service, to, compact->bytes);
	}
	return r;
}

int ferry_compact_start(struct ferry_compact *compact)
{
	enum ferry_reason reason;
	int r;

	if (!compact)
		return -EINVAL;
	if (ferry__compact_phase(compact) != FERRY_COMPACT_PLANNED)
		return -EALREADY;
	if (compact->bytes) {
		r = serve_destination(compact, &reason);
		if (r < 0) {
			ferry__compact_note(compact, r, reason);
			return r;
		}
		trap_sources(compact);
	}
	compact->destination_ours = false;
	__atomic_store_n(&compact->phase, FERRY_COMPACT_RUNNING,
			 __ATOMIC_RELEASE); /* C4 */
	return 0;
}

/* --- the end -------------------------------------------------------------- */

/* Before the start: everything is as it was before the plan. */
static void drop_plan(struct ferry_compact *compact)
{
	const struct ferry__layout *l = &compact->layout;
	size_t i;

	__atomic_store_n(&compact->phase, FERRY__COMPACT_DROPPED,
			 __ATOMIC_RELEASE); /* C4 */
	for (i = 0; i < l->len; i++)
		put_back(ferry__compact_source(compact, l->pieces[i].from),
			 l->pieces[i].from,
			 l->pieces[i].pages * ferry__page_size);
	destination_give_up(compact);
	service_drop(compact);
}

static int finish_running(struct ferry_compact *compact)
{
	bool partial;

	ferry_compact_step(compact, 0, NULL, NULL);
	ferry__compact_retry_left(compact);
	/*
	 * What was not moved by now is refused while faults are served, or a
	 * thread could find a zero page in its place after the detach. The
	 * detach waits for faults in flight, which may give up a claim.
	 */
	ferry__compact_leave_rest(compact);
	if (compact->bytes)
		ferry_fault_detach(compact->service, (void *)compact->to,
				   compact->bytes);
	ferry__compact_leave_rest(compact);
	untrap_sources(compact);
	service_drop(compact);
	ferry__compact_release(compact);
	/* Relaxed: movers have ended. */
	partial = __atomic_load_n(&compact->counts.left, __ATOMIC_RELAXED);
	__atomic_store_n(&compact->phase,
			 partial ? FERRY_COMPACT_PARTIAL : FERRY_COMPACT_DONE,
			 __ATOMIC_RELEASE); /* C4 */
	return partial ? -EUCLEAN : 0;
}

int ferry_compact_finish(struct ferry_compact *compact,
			 struct ferry_compact_result *ret)
{
	int r = 0;

	if (!compact)
		return -EINVAL;
	switch (ferry__compact_phase(compact)) {
	case FERRY_COMPACT_PLANNED:
		drop_plan(compact);
		break;
	case FERRY_COMPACT_RUNNING:
		r = finish_running(compact);
		break;
	case FERRY_COMPACT_PARTIAL:
		r = -EUCLEAN;
		break;
	default:
		break;
	}
	if (ret)
		ferry_compact_progress(compact, ret);
	return r;
}

void ferry_compact_destroy(struct ferry_compact *compact)
{
	if (!compact)
		return;
	ferry__check(compact->magic == FERRY__COMPACT_MAGIC);
	ferry_compact_finish(compact, NULL);
	compact_free(compact);
}
