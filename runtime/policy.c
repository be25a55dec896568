/* SPDX-License-Identifier: MIT */
/* The policy of a heap: its model, kept under a lock, and what is asked of it. */
#include <errno.h>

#include "runtime/heap-internal.h"

#define load(word) atomic_load_explicit(&(word), memory_order_relaxed)
#define store(word, value)                                                     \
	atomic_store_explicit(&(word), value, memory_order_relaxed)

static struct ferry__rule rule_of(struct ferry_heap *heap)
{
	const struct ferry_heap_params *p = &heap->params;
	bool concurrent = ferry__mode(heap) != FERRY_GC_STOPPED;

	return (struct ferry__rule){
		.sizing = p->sizing,
		.min = p->min_bytes,
		.limit = load(heap->policy.limit),
		.growth = p->growth_percent,
		.concurrent = concurrent,
		/* Minor ones stand on dirty tracking. */
		.minors = concurrent && !p->no_minor,
		.compacts = !p->no_compact,
		.pressed = load(heap->policy.pressed),
	};
}

/* Publishes the goal; tells whom it concerns if it changed. Unlocks. */
static void publish_unlock(struct ferry_heap *heap)
{
	struct ferry__policy *policy = &heap->policy;
	size_t target = policy->model.goal.target;
	bool changed = target != load(policy->target);

	store(policy->target, target);
	store(policy->trigger, policy->model.goal.trigger);
	pthread_mutex_unlock(&policy->lock);
	if (changed)
		ferry__event(heap, FERRY_EVENT_RESIZE, target);
}

int ferry__policy_init(struct ferry_heap *heap)
{
	struct ferry__policy *policy = &heap->policy;
	struct ferry__rule rule;

	pthread_mutex_init(&policy->lock, NULL);
	store(policy->limit, heap->params.max_bytes);
	rule = rule_of(heap);
	pthread_mutex_lock(&policy->lock);
	ferry__model_init(&policy->model, &rule);
	publish_unlock(heap);
	return 0;
}

void ferry__policy_fini(struct ferry_heap *heap)
{
	pthread_mutex_destroy(&heap->policy.lock);
}

bool ferry__policy_due(struct ferry_heap *heap)
{
	struct ferry__policy *policy = &heap->policy;
	struct ferry__rule rule = rule_of(heap);
	uint64_t now = ferry__sys->now_ns();
	bool due;

	pthread_mutex_lock(&policy->lock);
	due = ferry__model_due(&policy->model, &rule, load(heap->space.since),
			       now - policy->end_ns);
	publish_unlock(heap);
	return due;
}

enum ferry_collect ferry__policy_next(struct ferry_heap *heap)
{
	struct ferry__rule rule = rule_of(heap);
	enum ferry_collect what;

	pthread_mutex_lock(&heap->policy.lock);
	what = ferry__model_next(&heap->policy.model, &rule,
				 load(heap->space.since));
	pthread_mutex_unlock(&heap->policy.lock);
	return what;
}

bool ferry__policy_next_is_full(struct ferry_heap *heap)
{
	struct ferry__rule rule = rule_of(heap);
	bool full;

	pthread_mutex_lock(&heap->policy.lock);
	full = ferry__model_next(&heap->policy.model, &rule,
				 heap->policy.model.start) !=
	       FERRY_COLLECT_MINOR;
	pthread_mutex_unlock(&heap->policy.lock);
	return full;
}

void ferry__policy_update(struct ferry_heap *heap,
			  const struct ferry__cycle_report *report)
{
	struct ferry__policy *policy = &heap->policy;
	uint64_t stalls = load(heap->events.count.stalls);
	struct ferry__rule rule = rule_of(heap);

	pthread_mutex_lock(&policy->lock);
	ferry__model_update(&policy->model, &rule, report,
			    stalls != policy->stalls);
	policy->stalls = stalls;
	policy->end_ns = ferry__sys->now_ns();
	store(policy->live, report->live);
	publish_unlock(heap);
}

bool ferry__policy_wants_compaction(struct ferry_heap *heap,
				    const struct ferry__cycle_report *report)
{
	struct ferry__rule rule = rule_of(heap);
	bool wants;

	pthread_mutex_lock(&heap->policy.lock);
	wants = ferry__model_wants_compaction(&heap->policy.model, &rule,
					      report);
	pthread_mutex_unlock(&heap->policy.lock);
	return wants || heap->stress.move_all;
}

size_t ferry__policy_keep(struct ferry_heap *heap)
{
	struct ferry__rule rule = rule_of(heap);
	size_t keep;

	pthread_mutex_lock(&heap->policy.lock);
	keep = ferry__model_keep(&heap->policy.model, &rule);
	pthread_mutex_unlock(&heap->policy.lock);
	return keep;
}

bool ferry__policy_idle(struct ferry_heap *heap)
{
	return load(heap->space.since) >= load(heap->policy.trigger) / 2;
}

uint64_t ferry__policy_expect_ns(struct ferry_heap *heap)
{
	double ns;

	pthread_mutex_lock(&heap->policy.lock);
	ns = heap->policy.model.wall_ns[1];
	pthread_mutex_unlock(&heap->policy.lock);
	return ns < 1e18 ? (uint64_t)ns : UINT64_MAX;
}

/* --- the limit ----------------------------------------------------------------- */

static void aim_again(struct ferry_heap *heap)
{
	struct ferry__rule rule = rule_of(heap);

	pthread_mutex_lock(&heap->policy.lock);
	/* Before the first collection the goal is the beginning's. */
	if (heap->policy.model.last)
		ferry__model_aim(&heap->policy.model, &rule);
	else
		ferry__model_init(&heap->policy.model, &rule);
	publish_unlock(heap);
}

/*
 * Objects of either size lie in one half of their space at a time: no more
 * than a half can be had, whatever the limit.
 */
int ferry_heap_set_limit(struct ferry_heap *heap, size_t max_bytes)
{
	if (!max_bytes || max_bytes > heap->half)
		return -EINVAL;
	store(heap->policy.limit, max_bytes);
	aim_again(heap);
	return 0;
}

bool ferry__policy_allows(const struct ferry_heap *heap, size_t size)
{
	size_t limit = load(heap->policy.limit);
	size_t claimed = load(heap->policy.claimed);
	size_t used = load(heap->space.taken) + load(heap->large.bytes);

	limit = claimed < limit ? limit - claimed : 0;
	return size <= limit && used <= limit - size;
}

/* Raises the limit by up to @more bytes. Returns false if it is at its end. */
static bool limit_raise(struct ferry_heap *heap, size_t more)
{
	size_t old = load(heap->policy.limit), new;

	do {
		if (old >= heap->half)
			return false;
		new = more < heap->half - old ? old + more : heap->half;
	} while (!atomic_compare_exchange_weak_explicit(
		&heap->policy.limit, &old, new, memory_order_relaxed,
		memory_order_relaxed));
	return true;
}

bool ferry__policy_ask(struct ferry_heap *heap, size_t size)
{
	size_t used = load(heap->space.taken) + load(heap->large.bytes);
	size_t more;

	if (!heap->params.limit)
		return false;
	more = heap->params.limit(heap->params.arg, size, used);
	if (!more || !limit_raise(heap, more))
		return false;
	aim_again(heap);
	return true;
}

/* --- memory pressure ------------------------------------------------------------- */

void ferry__policy_press(struct ferry_heap *heap, bool pressed)
{
	bool was = atomic_exchange_explicit(&heap->policy.pressed, pressed,
					    memory_order_relaxed);

	if (!pressed) {
		if (was)
			aim_again(heap);
		return;
	}
	ferry__event(heap, FERRY_EVENT_PRESSURE, 0);
	ferry_heap_request(heap, heap->params.no_compact
					 ? FERRY_COLLECT_FULL
					 : FERRY_COLLECT_COMPACT);
}
