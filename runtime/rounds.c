/* SPDX-License-Identifier: MIT */
/* Marking while the program runs, in rounds over what it writes: see M1, M2
 * and "Rounds" in DESIGN.md. */
#include "runtime/heap-internal.h"

#include <math.h>

/* Rounds of marking before the final pause comes in any case, and of these
 * such that were not clearly shorter than the shortest. */
#define ROUNDS_MAX   30u
#define ROUNDS_WORSE 3u
/* A round that took less, or found fewer dirty pages, is the last. */
#define ROUND_SHORT_NS 300000u
#define ROUND_FEW      256u

/* The program is held back from a round that took longer on. */
#define ROUND_LONG_NS 1000000u

/* Tracking is not worth its faults where more than this is written anyway:
 * while marking; between collections. */
#define HOT_MARKING 0.5
#define HOT_BETWEEN 0.3

static struct ferry__marker *leader(struct ferry_heap *heap)
{
	return &heap->mark.member[0];
}

static uint32_t retired_head(struct ferry_heap *heap)
{
	uint32_t head;

	pthread_mutex_lock(&heap->space.lock);
	head = heap->space.retired.head;
	pthread_mutex_unlock(&heap->space.lock);
	return head;
}

/* Blocks retired between the last look and @head hold black objects never
 * scanned. */
static void scan_retired(struct ferry_heap *heap, uint32_t head)
{
	uint32_t at;

	/* What lies below the head changes no more: it is pushed to only. */
	for (at = head; at != heap->cycle.scanned;
	     at = heap->blocks[at - 1].next) {
		atomic_fetch_and_explicit(&heap->blocks[at - 1].flags,
					  (uint16_t)~FERRY__BLOCK_SCAN,
					  memory_order_relaxed);
		ferry__mark_scan_block(leader(heap), at - 1);
	}
	heap->cycle.scanned = head;
}

void ferry__rounds_retired(struct ferry_heap *heap)
{
	scan_retired(heap, retired_head(heap));
}

void ferry__rounds_drain(struct ferry_heap *heap)
{
	ferry__team_run(heap, ferry__mark_drain);
}

static size_t mark_round(struct ferry_heap *heap)
{
	/* M2: before chunks are looked for, so that what is scanned here once
	 * and not again is tracked from now on. */
	uint32_t retired = retired_head(heap);
	size_t pages;

	ferry__remember_begin(heap, true);
	ferry__team_run(heap, ferry__remember_scan);
	heap->remember.first = false;
	scan_retired(heap, retired);
	ferry__rounds_drain(heap);
	if (ferry__weak_drained(leader(heap)))
		ferry__rounds_drain(heap);
	pages = atomic_load_explicit(&heap->remember.pages,
				     memory_order_relaxed);
	atomic_fetch_add_explicit(&heap->events.count.rounds, 1,
				  memory_order_relaxed);
	ferry__event(heap, FERRY_EVENT_MARK_ROUND, pages);
	return pages;
}

static double pages_used(const struct ferry_heap *heap)
{
	size_t bytes =
		atomic_load_explicit(&heap->space.taken, memory_order_relaxed) +
		atomic_load_explicit(&heap->large.bytes, memory_order_relaxed);

	return (double)(bytes / ferry__page_size) + 1;
}

/*
 * @pages were written in @ns: how many would be while marking takes as long
 * as it did? Pages that are written at random come to 1 - exp(-t).
 */
static void learn_heat(struct ferry_heap *heap, size_t pages, uint64_t ns)
{
	double clean = 1 - (double)pages / pages_used(heap);
	double times = (double)heap->rounds.mark_ns / ((double)ns + 1);

	clean = clean < 0.01 ? 0.01 : clean;
	heap->rounds.hot = 1 - pow(clean, times < 64 ? times : 64);
}

/* The first round marks all there is; returns the time in which what the
 * next finds is written. */
static uint64_t first_round(struct ferry_heap *heap)
{
	uint64_t begin = ferry__sys->now_ns(), marked;
	bool late = heap->cycle.full && heap->rounds.hot > HOT_MARKING;

	if (late) {
		/* Nothing is asked, nor protected, until all is traced: in
		 * the round that comes then all counts as written. */
		ferry__rounds_drain(heap);
		marked = ferry__sys->now_ns();
		heap->rounds.mark_ns = marked - begin;
		begin = marked;
	}
	mark_round(heap);
	if (!late && heap->cycle.full)
		heap->rounds.mark_ns = ferry__sys->now_ns() - begin;
	return ferry__sys->now_ns() - begin;
}

/*
 * Rounds until one takes so little time that the pause, which does the same
 * once more for what is written meanwhile, takes little as well; or until
 * they get no shorter, though the program is held back.
 */
void ferry__rounds_run(struct ferry_heap *heap)
{
	uint64_t begin, took, best = UINT64_MAX, last = first_round(heap);
	unsigned int round, worse = 0;
	size_t pages;

	for (round = 1; round < ROUNDS_MAX && worse < ROUNDS_WORSE; round++) {
		ferry__stress_delay(heap, FERRY__POINT_ROUND);
		begin = ferry__sys->now_ns();
		pages = mark_round(heap);
		took = ferry__sys->now_ns() - begin;
		if (round == 1 && heap->cycle.full)
			learn_heat(heap, pages, last);
		if (took < ROUND_SHORT_NS || pages < ROUND_FEW)
			break;
		if (took > ROUND_LONG_NS)
			ferry__pace_hold(heap);
		if (took > best / 16 * 15)
			worse++;
		if (took < best)
			best = took;
	}
}

bool ferry__rounds_untracked(struct ferry_heap *heap)
{
	return heap->cycle.full && heap->rounds.hot > HOT_BETWEEN &&
	       ferry__policy_next_is_full(heap);
}
