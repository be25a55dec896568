/* SPDX-License-Identifier: MIT */
/*
 * A collection: the phases in their order, and who runs them.
 *
 *	 request
 *	    |	 [pause START]	colours change, roots are queued
 *	  MARK	 rounds: dirty pages are traced again, while there are fewer
 *	    |	 [pause FINAL]	the last of them, roots again: all is marked
 *	  WEAK	 tables of weak references are purged
 *	  SWEEP	 blocks are swept here and by who allocates
 *	  PLAN	 (full, if worth it) sparse blocks get new addresses
 *	    |	 [pause FLIP]	roots get them
 *	 COMPACT pages are produced as they are touched, and one by one
 *	  IDLE
 *
 * In mode STOPPED all of it is one pause.
 */
#include "runtime/heap-internal.h"

#include <errno.h>
#include <time.h>

/* Collections that an allocation asks for before it gives up. */
#define EXHAUSTED_TRIES 24u
/* After so many, others may not take what it waits for. */
#define CLAIM_TRIES 3u

void ferry__cycle_phase_set(struct ferry_heap *heap, enum ferry__phase phase)
{
	/* C1: release pairs with the acquire in the readers of weak*.c; for
	 * mutators the world lock orders it as well. */
	atomic_store_explicit(&heap->cycle.phase, phase, memory_order_release);
}

uint64_t ferry__cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Of all threads that collect: the caller's, and its team's, which is idle. */
static uint64_t gc_cpu_ns(const struct ferry_heap *heap)
{
	return ferry__cpu_ns() + heap->mark.cpu_ns;
}

/* --- colours ------------------------------------------------------------------- */

/* World stopped. */
static void colours_change(struct ferry_heap *heap, bool full)
{
	struct ferry__cycle *cycle = &heap->cycle;
	struct ferry__mutator *m;

	if (full)
		cycle->colour ^= FERRY__COLOUR_A | FERRY__COLOUR_B;
	cycle->young ^= FERRY__COLOUR_YOUNG | FERRY__COLOUR_OTHER;
	cds_list_for_each_entry (m, &heap->world.mutators, node)
		m->pub.colour = cycle->young;
}

void ferry__cycle_retire_all(struct ferry_heap *heap)
{
	struct ferry__mutator *m;

	cds_list_for_each_entry (m, &heap->world.mutators, node)
		ferry__space_retire(&m->pub);
}

/* --- marking --------------------------------------------------------------------- */

static struct ferry__marker *leader(struct ferry_heap *heap)
{
	return &heap->mark.member[0];
}

static void ambiguous_word(void *arg, uintptr_t word)
{
	ferry__mark_word(arg, word);
}

static void mark_roots(struct ferry_heap *heap)
{
	struct ferry_visitor *v = &leader(heap)->visitor;

	ferry__roots_visit(heap, v);
	if (v->n)
		v->flush(v);
	ferry__roots_ambiguous(heap, ambiguous_word, leader(heap));
	ferry__pins_each(heap, ambiguous_word, leader(heap));
}

void ferry__mark_overflowed(struct ferry_heap *heap)
{
	_Atomic bool *overflow = &heap->mark.overflow;
	uintptr_t small = heap->base;
	size_t len = (size_t)ferry__space_end(&heap->space)
		     << FERRY__BLOCK_SHIFT;

	while (atomic_load_explicit(overflow, memory_order_relaxed)) {
		atomic_store_explicit(overflow, false, memory_order_relaxed);
		ferry__mark_scan(leader(heap), small, len);
		ferry__mark_scan(leader(heap), small + heap->half, len);
		ferry__mark_scan(leader(heap), small + 2 * heap->half,
				 heap->half);
		ferry__rounds_drain(heap);
	}
}

/* What is allocated from here on, in blocks taken before, is marked. */
static void owned_marked(struct ferry_heap *heap)
{
	struct ferry__mutator *m;
	unsigned int i;

	cds_list_for_each_entry (m, &heap->world.mutators, node) {
		for (i = 0; i < 2; i++) {
			if (m->span[i].block)
				ferry__block_marked(heap, m->span[i].block - 1);
			if (m->spare_span[i].block)
				ferry__block_marked(heap,
						    m->spare_span[i].block - 1);
		}
	}
}

/* World stopped. */
static void mark_begin(struct ferry_heap *heap, bool full)
{
	colours_change(heap, full);
	heap->cycle.full = full;
	heap->cycle.scanned = heap->space.retired.head;
	atomic_store_explicit(&heap->space.since, 0, memory_order_relaxed);
	ferry__mark_begin(heap);
	ferry__remember_turn(heap);
	ferry__weak_mark_begin(heap);
	ferry__cycle_phase_set(heap, FERRY__PHASE_MARK);
	owned_marked(heap);
}

/* World stopped, all mutators retired: nothing reachable is left unmarked. */
static void mark_finish(struct ferry_heap *heap)
{
	mark_roots(heap);
	ferry__mark_scan_news(leader(heap));
	if (heap->mode == FERRY_GC_CONCURRENT) {
		ferry__remember_begin(heap, false);
		ferry__team_run(heap, ferry__remember_scan);
	}
	/* After the dirty pages, which pass over it while it has SCAN. */
	ferry__rounds_retired(heap);
	do {
		ferry__rounds_drain(heap);
		ferry__mark_overflowed(heap);
	} while (ferry__weak_drained(leader(heap)));
	ferry__weak_clear(heap);
	ferry__sweep_begin(heap, heap->cycle.full);
	ferry__large_sweep_begin(heap);
	ferry__cycle_phase_set(heap, FERRY__PHASE_WEAK);
}

/* --- after marking ------------------------------------------------------------------ */

/* Who waits for memory can sweep some for itself from here on. */
static void reclaimable(struct ferry_heap *heap)
{
	struct ferry__cycle *cycle = &heap->cycle;

	ferry__pace_end(heap);
	pthread_mutex_lock(&cycle->lock);
	cycle->marked =
		atomic_load_explicit(&cycle->number, memory_order_relaxed);
	pthread_cond_broadcast(&cycle->done);
	pthread_mutex_unlock(&cycle->lock);
}

static void sweep(struct ferry_heap *heap)
{
	size_t live, in_holes;

	ferry__weak_purge(heap, leader(heap));
	ferry__mark_end(heap);
	ferry__cycle_phase_set(heap, FERRY__PHASE_SWEEP);
	ferry__sweep_open(heap);
	reclaimable(heap);
	while (ferry__sweep_step(heap))
		;
	ferry__sweep_finish(heap);
	ferry__large_sweep(heap, heap->cycle.colour, heap->cycle.young);
	ferry__space_expect(heap);
	ferry__space_sums(heap, &live, &in_holes);
	ferry__event(heap, FERRY_EVENT_SWEPT, in_holes);
}

static size_t used_now(const struct ferry_heap *heap)
{
	return atomic_load_explicit(&heap->space.taken, memory_order_relaxed) +
	       atomic_load_explicit(&heap->large.bytes, memory_order_relaxed);
}

static void report_fill(struct ferry_heap *heap,
			struct ferry__cycle_report *report)
{
	ferry__space_sums(heap, &report->live, &report->free_in_used);
	report->live +=
		atomic_load_explicit(&heap->large.live, memory_order_relaxed);
	report->used = used_now(heap);
	report->allocated_during =
		atomic_load_explicit(&heap->space.since, memory_order_relaxed);
}

/* Blocks with fewer live granules are worth emptying: when asked to compact,
 * all that would give an eighth of their memory back. */
static uint32_t sparse_below(const struct ferry_heap *heap,
			     enum ferry_collect what)
{
	if (heap->stress.move_all)
		return FERRY__BLOCK_GRANULES;
	if (what == FERRY_COLLECT_COMPACT)
		return FERRY__BLOCK_GRANULES / 8 * 7;
	return FERRY__BLOCK_GRANULES / 2;
}

static void compact(struct ferry_heap *heap, enum ferry_collect what,
		    struct ferry__cycle_report *report)
{
	size_t gained;

	report_fill(heap, report);
	if (!heap->cycle.full)
		return;
	if (what != FERRY_COLLECT_COMPACT && !heap->stress.move_all &&
	    (heap->params.no_compact ||
	     !ferry__policy_wants_compaction(heap, report)))
		return;
	ferry__cycle_phase_set(heap, FERRY__PHASE_PLAN);
	/* What moves leaves its bits behind; the next one is a full one. */
	ferry__mark_drop(heap);
	gained = ferry__reloc_run(heap, sparse_below(heap, what));
	ferry__event(heap, FERRY_EVENT_COMPACT_END, gained);
	atomic_fetch_add_explicit(&heap->events.count.compactions, 1,
				  memory_order_relaxed);
	report_fill(heap, report);
}

static void give_back(struct ferry_heap *heap)
{
	size_t keep = ferry__policy_keep(heap);
	size_t bytes = ferry__space_release(heap, keep);

	bytes += ferry__large_release(heap, keep);
	if (bytes)
		ferry__event(heap, FERRY_EVENT_RELEASED, bytes);
}

/* --- one collection ------------------------------------------------------------------- */

static void run_concurrent(struct ferry_heap *heap, bool full)
{
	ferry__reloc_tidy(heap);
	ferry__world_stop(heap, FERRY_PAUSE_START);
	mark_begin(heap, full);
	mark_roots(heap);
	ferry__pace_begin(heap);
	ferry__world_resume(heap, FERRY_PAUSE_START);
	ferry__rounds_run(heap);
	ferry__stress_delay(heap, FERRY__POINT_FINAL);
	ferry__world_stop(heap, FERRY_PAUSE_FINAL);
	ferry__cycle_retire_all(heap);
	mark_finish(heap);
	ferry__world_resume(heap, FERRY_PAUSE_FINAL);
	heap->remember.whole = true;
}

static void count_kind(struct ferry_heap *heap, bool full)
{
	atomic_fetch_add_explicit(full ? &heap->events.count.fulls
				       : &heap->events.count.minors,
				  1, memory_order_relaxed);
}

static void run(struct ferry_heap *heap, enum ferry_collect what)
{
	struct ferry__cycle_report report = { .what = what };
	uint64_t begin = ferry__sys->now_ns(), cpu = gc_cpu_ns(heap);
	bool stopped = heap->mode == FERRY_GC_STOPPED;
	/* M9: without minors nothing is noted, even if one is asked for. */
	bool full = what != FERRY_COLLECT_MINOR || stopped ||
		    heap->params.no_minor || !heap->remember.whole;

	report.since_ns = begin - heap->cycle.last_end_ns;
	report.allocated =
		atomic_load_explicit(&heap->space.since, memory_order_relaxed);
	if (full && what == FERRY_COLLECT_MINOR)
		report.what = FERRY_COLLECT_FULL;
	ferry__event(heap, FERRY_EVENT_CYCLE_BEGIN, report.what);
	if (full)
		ferry__mark_forget(heap);
	if (stopped) {
		ferry__world_stop(heap, FERRY_PAUSE_STOPPED);
		mark_begin(heap, true);
		ferry__cycle_retire_all(heap);
		mark_finish(heap);
	} else {
		run_concurrent(heap, full);
	}
	report.mark_ns = gc_cpu_ns(heap) - cpu;
	sweep(heap);
	compact(heap, what, &report);
	ferry__cycle_phase_set(heap, FERRY__PHASE_IDLE);
	if (stopped)
		ferry__world_resume(heap, FERRY_PAUSE_STOPPED);
	count_kind(heap, full);
	heap->cycle.last_end_ns = ferry__sys->now_ns();
	report.wall_ns = heap->cycle.last_end_ns - begin;
	atomic_fetch_add_explicit(&heap->events.count.gc_cpu_ns,
				  gc_cpu_ns(heap) - cpu, memory_order_relaxed);
	ferry__policy_update(heap, &report);
	if (ferry__rounds_untracked(heap))
		ferry__remember_relax(heap);
	ferry__verify_after(heap);
	give_back(heap);
	ferry__event(heap, FERRY_EVENT_CYCLE_END, report.live);
}

/* --- requests ---------------------------------------------------------------------------- */

/* The most thorough of what is wanted serves all who wait. Cycle lock. */
static enum ferry_collect take_want(struct ferry__cycle *cycle)
{
	unsigned int want = cycle->want;

	cycle->want = 0;
	atomic_store_explicit(&cycle->under_way, true, memory_order_relaxed);
	/* Release pairs with the acquire in ferry__cycle_poll(): who sees that
	 * nothing is wanted any more sees that it is under way. */
	atomic_store_explicit(&cycle->asked, false, memory_order_release);
	if (want & 1u << FERRY_COLLECT_COMPACT)
		return FERRY_COLLECT_COMPACT;
	if (want & 1u << FERRY_COLLECT_FULL)
		return FERRY_COLLECT_FULL;
	return FERRY_COLLECT_MINOR;
}

/* Cycle lock; let go while it runs. */
static void run_wanted(struct ferry_heap *heap)
{
	struct ferry__cycle *cycle = &heap->cycle;
	enum ferry_collect what = take_want(cycle);

	cycle->active = true;
	atomic_fetch_add_explicit(&cycle->number, 1, memory_order_relaxed);
	pthread_mutex_unlock(&cycle->lock);
	run(heap, what);
	pthread_mutex_lock(&cycle->lock);
	cycle->active = false;
	/* Relaxed: seen late, the next one is asked for at the next hole. */
	atomic_store_explicit(&cycle->under_way, false, memory_order_relaxed);
	cycle->finished++;
	pthread_cond_broadcast(&cycle->done);
}

static void *collector_main(void *arg)
{
	struct ferry_heap *heap = arg;
	struct ferry__cycle *cycle = &heap->cycle;

	pthread_mutex_lock(&cycle->lock);
	for (;;) {
		while ((!cycle->want || cycle->active || cycle->excluders) &&
		       !cycle->quit)
			pthread_cond_wait(&cycle->request, &cycle->lock);
		if (cycle->quit)
			break;
		run_wanted(heap);
	}
	pthread_mutex_unlock(&cycle->lock);
	return NULL;
}

/* In the child of a fork: makes up for what is missing. */
static void revive(struct ferry_heap *heap)
{
	if (__builtin_expect(ferry__is_orphan(heap), 0))
		ferry__revive_slow(heap);
}

uint64_t ferry__cycle_request(struct ferry_heap *heap, enum ferry_collect what)
{
	struct ferry__cycle *cycle = &heap->cycle;
	uint64_t number;

	revive(heap);
	pthread_mutex_lock(&cycle->lock);
	cycle->want |= 1u << what;
	atomic_store_explicit(&cycle->asked, true, memory_order_relaxed);
	/* One under way began before what was asked for now. */
	number = atomic_load_explicit(&cycle->number, memory_order_relaxed) + 1;
	pthread_cond_signal(&cycle->request);
	pthread_mutex_unlock(&cycle->lock);
	return number;
}

/* Until *@count (cycle lock) is @number: collections over, or marked; runs
 * what is wanted where there is no thread. */
static void wait_for(struct ferry_heap *heap, const uint64_t *count,
		     uint64_t number)
{
	struct ferry__cycle *cycle = &heap->cycle;

	pthread_mutex_lock(&cycle->lock);
	while (*count < number) {
		if (cycle->has_thread || cycle->active || cycle->excluders ||
		    !cycle->want)
			pthread_cond_wait(&cycle->done, &cycle->lock);
		else if (ferry__is_orphan(heap))
			ferry__revive(heap);
		else
			run_wanted(heap);
	}
	pthread_mutex_unlock(&cycle->lock);
}

static void collect(struct ferry_heap *heap, struct ferry_mutator *m,
		    enum ferry_collect what)
{
	uint64_t number = ferry__cycle_request(heap, what);

	ferry__mutator_leave(m);
	wait_for(heap, &heap->cycle.finished, number);
	ferry__mutator_enter(m);
}

/* For memory to be reclaimed by the collection under way, or the one that is
 * about to begin, if there is one. */
static bool await_reclaim(struct ferry_heap *heap, struct ferry_mutator *m)
{
	struct ferry__cycle *cycle = &heap->cycle;
	uint64_t number;
	bool active;

	pthread_mutex_lock(&cycle->lock);
	number = atomic_load_explicit(&cycle->number, memory_order_relaxed);
	active = cycle->active && cycle->marked < number;
	if (!cycle->active && cycle->want) {
		/* The thread did not get round to it yet. */
		number++;
		active = true;
	}
	pthread_mutex_unlock(&cycle->lock);
	if (!active)
		return false;
	ferry__mutator_leave(m);
	wait_for(heap, &cycle->marked, number);
	ferry__mutator_enter(m);
	return true;
}

void ferry__cycle_exclude(struct ferry_heap *heap, struct ferry_mutator *m)
{
	struct ferry__cycle *cycle = &heap->cycle;

	ferry__mutator_leave(m);
	pthread_mutex_lock(&cycle->lock);
	/* Or a program in haste would begin the next one before we wake. */
	cycle->excluders++;
	while (cycle->active)
		pthread_cond_wait(&cycle->done, &cycle->lock);
	cycle->excluders--;
	cycle->active = true;
	pthread_mutex_unlock(&cycle->lock);
}

void ferry__cycle_admit(struct ferry_heap *heap, struct ferry_mutator *m)
{
	struct ferry__cycle *cycle = &heap->cycle;

	pthread_mutex_lock(&cycle->lock);
	cycle->active = false;
	pthread_cond_broadcast(&cycle->done);
	pthread_cond_signal(&cycle->request);
	pthread_mutex_unlock(&cycle->lock);
	ferry__mutator_enter(m);
}

int ferry_heap_collect(struct ferry_heap *heap, struct ferry_mutator *mutator,
		       enum ferry_collect what)
{
	if (what < FERRY_COLLECT_MINOR || what > FERRY_COLLECT_COMPACT)
		return -EINVAL;
	if (heap->pid != ferry__sys->getpid())
		return -ECHILD;
	collect(heap, mutator, what);
	return ferry__fault_pending(heap) ? -EILSEQ : 0;
}

int ferry_heap_request(struct ferry_heap *heap, enum ferry_collect what)
{
	if (what < FERRY_COLLECT_MINOR || what > FERRY_COLLECT_COMPACT)
		return -EINVAL;
	if (heap->pid != ferry__sys->getpid())
		return -ECHILD;
	ferry__cycle_request(heap, what);
	return 0;
}

void ferry__cycle_poll(struct ferry_heap *heap, struct ferry_mutator *m)
{
	size_t since =
		atomic_load_explicit(&heap->space.since, memory_order_relaxed);
	/* Acquire: pairs with take_want(). */
	bool asked =
		atomic_load_explicit(&heap->cycle.asked, memory_order_acquire);

	/* Relaxed: a trigger seen late is met at the next hole. */
	if (!asked && since < atomic_load_explicit(&heap->policy.trigger,
						   memory_order_relaxed))
		return;
	revive(heap);
	if (ferry__mode(heap) == FERRY_GC_STOPPED)
		collect(heap, m, FERRY_COLLECT_FULL);
	else if (!asked &&
		 !atomic_load_explicit(&heap->cycle.under_way,
				       memory_order_relaxed) &&
		 ferry__policy_due(heap))
		ferry__cycle_request(heap, ferry__policy_next(heap));
}

/*
 * There is room now, or there is by what the last collection found alive,
 * and other threads were quicker: what they took they will drop again.
 */
static bool has_room(struct ferry_heap *heap, size_t size)
{
	size_t limit =
		atomic_load_explicit(&heap->policy.limit, memory_order_relaxed);
	struct ferry__cycle_report report = { 0 };

	report_fill(heap, &report);
	if (size < limit && used_now(heap) < limit - size)
		return true;
	limit -= limit / 16;
	return size < limit && report.live < limit - size;
}

/* A full collection, up to where its memory can be swept: not through the
 * compaction that somebody else may have asked for. */
static void reclaim(struct ferry_heap *heap, struct ferry_mutator *m)
{
	uint64_t number = ferry__cycle_request(heap, FERRY_COLLECT_FULL);

	ferry__mutator_leave(m);
	wait_for(heap, &heap->cycle.marked, number);
	ferry__mutator_enter(m);
}

/*
 * First what is being reclaimed anyway; then a full collection, then ones
 * that compact, as long as they make room (which others may take first).
 */
static bool make_room(struct ferry_heap *heap, struct ferry_mutator *m,
		      size_t size, unsigned int tries)
{
	if (tries == 0 && await_reclaim(heap, m))
		return true;
	if (tries <= 1) {
		reclaim(heap, m);
		return true;
	}
	if (tries > EXHAUSTED_TRIES)
		return false;
	collect(heap, m,
		heap->params.no_compact ? FERRY_COLLECT_FULL
					: FERRY_COLLECT_COMPACT);
	return has_room(heap, size + FERRY__BLOCK_SIZE);
}

bool ferry__cycle_exhausted(struct ferry_heap *heap, struct ferry_mutator *m,
			    size_t size, unsigned int tries)
{
	uint64_t begin = ferry__sys->now_ns();
	size_t claim = tries < CLAIM_TRIES ? 0 : size;
	bool room;

	/* Relaxed, both: who sees it late is a little too early, or late. */
	atomic_fetch_add_explicit(&heap->policy.claimed, claim,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&heap->cycle.stalled, 1,
				  memory_order_relaxed);
	room = make_room(heap, m, size, tries);
	atomic_fetch_sub_explicit(&heap->cycle.stalled, 1,
				  memory_order_relaxed);
	atomic_fetch_sub_explicit(&heap->policy.claimed, claim,
				  memory_order_relaxed);
	ferry__event_stall(heap, ferry__sys->now_ns() - begin);
	return room || ferry__policy_ask(heap, size);
}

/* --- beginning and end ---------------------------------------------------------------------- */

int ferry__cycle_start(struct ferry_heap *heap)
{
	struct ferry__cycle *cycle = &heap->cycle;
	int r;

	r = ferry__team_start(heap);
	if (r < 0)
		return r;
	r = ferry__thread_start(&cycle->thread, NULL, collector_main, heap);
	if (r < 0)
		ferry__team_stop(heap);
	else
		cycle->has_thread = true;
	return r;
}

int ferry__cycle_init(struct ferry_heap *heap)
{
	struct ferry__cycle *cycle = &heap->cycle;
	int r = 0;

	pthread_mutex_init(&cycle->lock, NULL);
	pthread_cond_init(&cycle->request, NULL);
	pthread_cond_init(&cycle->done, NULL);
	cycle->colour = FERRY__COLOUR_A;
	cycle->young = FERRY__COLOUR_YOUNG;
	cycle->last_end_ns = ferry__sys->now_ns();
	if (heap->mode != FERRY_GC_STOPPED)
		r = ferry__cycle_start(heap);
	if (r < 0)
		pthread_mutex_destroy(&cycle->lock);
	return r;
}

void ferry__cycle_fini(struct ferry_heap *heap)
{
	struct ferry__cycle *cycle = &heap->cycle;

	if (cycle->has_thread) {
		pthread_mutex_lock(&cycle->lock);
		cycle->quit = true;
		pthread_cond_signal(&cycle->request);
		pthread_mutex_unlock(&cycle->lock);
		pthread_join(cycle->thread, NULL);
		ferry__team_stop(heap);
	}
	pthread_cond_destroy(&cycle->done);
	pthread_cond_destroy(&cycle->request);
	pthread_mutex_destroy(&cycle->lock);
}
