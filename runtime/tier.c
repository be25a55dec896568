/* SPDX-License-Identifier: MIT */
/*
 * The heap's cold units go to slower memory, and come up when they are
 * written; see alloc/DESIGN-tiers.md.
 *
 * A step keeps collections away, so that blocks stay where they are and hold
 * what they hold. Mutators run: they allocate, which makes a unit young, and
 * write, which the next collection finds.
 */
#include <ferry/tier.h>

#include <errno.h>

#include "alloc/tier-internal.h"
#include "runtime/heap-internal.h"

/* Of a stamp: a collection's number above these. */
#define LOW	   0x1u /* seen on a slower tier */
#define SETTLED	   0x2u /* as far down as there is a way */
#define WRITTEN	   0x4u /* since it was looked at */
#define NUMBER	   3u	/* bits for the above */
#define MOST_AGE   1000u
#define USUAL_AGE  4u
#define UNIT_SHIFT FERRY__BLOCK_SHIFT
#define UNIT_SIZE  FERRY__BLOCK_SIZE
#define UNITS	   64u /* of a batch, at most */

static size_t all_units(const struct ferry_heap *heap)
{
	return 2 * heap->half >> UNIT_SHIFT;
}

/* Blocks have one wherever they are; behind them the large space. */
static size_t unit_of(const struct ferry_heap *heap, uintptr_t addr)
{
	return (ferry__offset(heap, addr) +
		(ferry__is_large(heap, addr) ? heap->half : 0)) >>
	       UNIT_SHIFT;
}

static _Atomic uint32_t *stamps_of(const struct ferry_heap *heap)
{
	return atomic_load_explicit(&heap->tier.stamps,
				    memory_order_acquire); /* T1 */
}

static uint32_t known(const struct ferry_heap *heap)
{
	return atomic_load_explicit(&heap->tier.known, memory_order_relaxed);
}

void ferry__tier_turn(struct ferry_heap *heap, bool is_known)
{
	/* Relaxed: a clock. */
	if (is_known)
		atomic_fetch_add_explicit(&heap->tier.known, 1,
					  memory_order_relaxed);
}

void ferry__tier_written(struct ferry_heap *heap, uintptr_t addr, size_t len)
{
	_Atomic uint32_t *stamps = stamps_of(heap);
	size_t unit, end;
	uint32_t old;

	if (!stamps)
		return;
	unit = unit_of(heap, addr);
	end = unit_of(heap, addr + len - 1);
	for (; unit <= end; unit++) {
		old = atomic_load_explicit(&stamps[unit], memory_order_relaxed);
		atomic_store_explicit(&stamps[unit],
				      known(heap) << NUMBER | (old & LOW) |
					      WRITTEN,
				      memory_order_relaxed);
	}
}

void ferry__tier_fini(struct ferry_heap *heap)
{
	ferry__meta_free(stamps_of(heap), all_units(heap) * sizeof(uint32_t));
}

/* --- a step --------------------------------------------------------------- */

/* Units that are to move one way. */
struct batch {
	struct ferry_heap *heap;
	const struct ferry_topology *topology;
	bool slower;
	size_t n, left; /* in it; how many more may come */
	uintptr_t addr[UNITS];
	uint32_t stamp[UNITS]; /* as it was */
	struct ferry__tier_counts counts;
};

struct step {
	struct ferry_heap_tier_params params;
	struct batch down, up;
	int error; /* the first */
};

static size_t unit_pages(void)
{
	return UNIT_SIZE / ferry__page_size;
}

/* What fits one call for moves. */
static size_t batch_units(void)
{
	size_t n = FERRY__TIER_BATCH / unit_pages();

	return n < UNITS ? n : UNITS;
}

/* What is known of a unit after its pages were asked to move. */
static uint32_t stamp_of(const struct batch *b, const int *nodes)
{
	uint32_t flags = SETTLED;
	size_t i;

	for (i = 0; i < unit_pages(); i++) {
		if (nodes[i] < 0)
			continue;
		if (ferry__tier_beyond(b->topology, false, nodes[i]))
			flags |= LOW;
		if (ferry__tier_beyond(b->topology, true, nodes[i]))
			flags &= ~SETTLED;
	}
	return known(b->heap) << NUMBER | flags;
}

static int flush(struct batch *b)
{
	void *pages[FERRY__TIER_BATCH];
	int nodes[FERRY__TIER_BATCH];
	size_t i, per = unit_pages(), n = b->n * per;
	int r;

	if (!n)
		return 0;
	for (i = 0; i < n; i++)
		pages[i] =
			(void *)(b->addr[i / per] + i % per * ferry__page_size);
	r = ferry__tier_shift(b->topology, b->slower, pages, n, nodes, NULL,
			      &b->counts);
	/* One that was allocated in meanwhile is young, and stays so. */
	for (i = 0; r == 0 && i < b->n; i++)
		atomic_compare_exchange_strong_explicit(
			&stamps_of(b->heap)[unit_of(b->heap, b->addr[i])],
			&b->stamp[i], stamp_of(b, nodes + i * per),
			memory_order_relaxed, memory_order_relaxed);
	b->n = 0;
	return r;
}

static int add(struct batch *b, uintptr_t addr, uint32_t stamp)
{
	if (!b->left)
		return 0;
	b->left--;
	b->addr[b->n] = addr;
	b->stamp[b->n++] = stamp;
	return b->n == batch_units() ? flush(b) : 0;
}

/* The stamp of a unit; one that had none is as young as can be. */
static uint32_t look_at(struct ferry_heap *heap, size_t unit)
{
	_Atomic uint32_t *at = &stamps_of(heap)[unit];
	uint32_t stamp = atomic_load_explicit(at, memory_order_relaxed);
	uint32_t now = known(heap) << NUMBER;

	if (stamp)
		return stamp;
	/* It may be written just now: then it is what that made it. */
	return atomic_compare_exchange_strong_explicit(at, &stamp, now,
						       memory_order_relaxed,
						       memory_order_relaxed)
		       ? now
		       : stamp;
}

/* A unit that holds objects, and in which nobody allocates. */
static void consider(struct step *step, struct ferry_heap *heap, uintptr_t addr)
{
	uint32_t stamp = look_at(heap, unit_of(heap, addr));
	uint32_t age = (known(heap) - (stamp >> NUMBER)) & (~0u >> NUMBER);
	int r = 0;

	if ((stamp & LOW) && (stamp & WRITTEN))
		r = add(&step->up, addr, stamp);
	else if (age >= step->params.cold_after && !(stamp & SETTLED))
		r = add(&step->down, addr, stamp);
	if (!step->error)
		step->error = r;
}

static void step_blocks(struct step *step, struct ferry_heap *heap)
{
	uint32_t i, end = ferry__space_end(&heap->space);

	for (i = 0; i < end && !step->error; i++)
		switch (atomic_load_explicit(&heap->blocks[i].state,
					     memory_order_relaxed)) {
		case FERRY__BLOCK_UNSWEPT:
		case FERRY__BLOCK_HOLES:
		case FERRY__BLOCK_FULL:
			consider(step, heap, ferry__block_addr(heap, i));
			break;
		default:
			break;
		}
}

/* Objects ascend: several in one unit come one after the other. */
static void step_large(struct step *step, struct ferry_heap *heap)
{
	uintptr_t addr, at, done = 0;
	size_t bytes, page = 0;

	while (!step->error && ferry__large_next(heap, page, &addr, &bytes)) {
		page = (ferry__offset(heap, addr) + bytes) >>
		       FERRY__LARGE_SHIFT;
		at = addr & ~(uintptr_t)(UNIT_SIZE - 1);
		if (at < done)
			at = done;
		for (; at < addr + bytes && !step->error; at += UNIT_SIZE)
			consider(step, heap, at);
		done = at;
	}
}

static int make_stamps(struct ferry_heap *heap)
{
	void *mem;
	int r;

	if (stamps_of(heap))
		return 0;
	r = ferry__meta_alloc(all_units(heap) * sizeof(uint32_t), &mem);
	if (r < 0)
		return r;
	atomic_store_explicit(&heap->tier.stamps, mem,
			      memory_order_release); /* T1 */
	return 0;
}

static int step_excluded(struct step *step, struct ferry_heap *heap)
{
	int r = make_stamps(heap), later;

	if (r < 0)
		return r;
	step_blocks(step, heap);
	step_large(step, heap);
	r = step->error;
	later = flush(&step->up);
	if (!r)
		r = later;
	later = flush(&step->down);
	return r ? r : later;
}

static void set_up(struct step *step, struct ferry_heap *heap)
{
	size_t most = step->params.step_max;

	if (!step->params.cold_after)
		step->params.cold_after = USUAL_AGE;
	step->down = (struct batch){
		.heap = heap,
		.topology = step->params.topology,
		.slower = true,
		.left = most ? (most + UNIT_SIZE - 1) / UNIT_SIZE : SIZE_MAX,
	};
	step->up = step->down;
	step->up.slower = false;
}

static int check(const struct ferry_heap *heap,
		 const struct ferry_heap_tier_params *p)
{
	if (!p->topology || p->cold_after > MOST_AGE)
		return -EINVAL;
	if (heap->pid != ferry__sys->getpid())
		return -ECHILD;
	if (ferry_topology_tiers(p->topology) < 2 ||
	    ferry__mode(heap) == FERRY_GC_STOPPED ||
	    ferry__page_size > UNIT_SIZE)
		return -EOPNOTSUPP;
	return 0;
}

int ferry_heap_tier(struct ferry_heap *heap, struct ferry_mutator *mutator,
		    const struct ferry_heap_tier_params *params,
		    struct ferry_tier_result *ret_down,
		    struct ferry_tier_result *ret_up)
{
	struct step step = { .error = 0 };
	int r = ferry__params_copy(&step.params, sizeof(step.params), params,
				   sizeof(step.params.size));

	if (r == 0)
		r = ferry__tier_result_check(ret_down);
	if (r == 0)
		r = ferry__tier_result_check(ret_up);
	if (r == 0)
		r = check(heap, &step.params);
	if (r < 0)
		return r;
	set_up(&step, heap);
	ferry__cycle_exclude(heap, mutator);
	r = step_excluded(&step, heap);
	ferry__cycle_admit(heap, mutator);
	ferry__tier_result_fill(ret_down, &step.down.counts);
	ferry__tier_result_fill(ret_up, &step.up.counts);
	return r;
}
