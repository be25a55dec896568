/* SPDX-License-Identifier: MIT */
/* Events: listeners, probes, and the histograms that events feed. */
#include <errno.h>
#include <stdlib.h>

#include "runtime/heap-internal.h"
#include "runtime/probe.h"

struct ferry_listener {
	struct cds_list_head node;
	ferry_event_fn fn;
	void *arg;
};

/* --- names ----------------------------------------------------------------- */

const char *ferry_event_name(enum ferry_event_kind kind)
{
	static const char *const names[FERRY_EVENTS] = {
		[FERRY_EVENT_CYCLE_BEGIN] = "cycle-begin",
		[FERRY_EVENT_CYCLE_END] = "cycle-end",
		[FERRY_EVENT_PAUSE_BEGIN] = "pause-begin",
		[FERRY_EVENT_PAUSE_STOPPED] = "pause-stopped",
		[FERRY_EVENT_PAUSE_END] = "pause-end",
		[FERRY_EVENT_MARK_ROUND] = "mark-round",
		[FERRY_EVENT_SWEPT] = "swept",
		[FERRY_EVENT_COMPACT_PLAN] = "compact-plan",
		[FERRY_EVENT_COMPACT_END] = "compact-end",
		[FERRY_EVENT_RESIZE] = "resize",
		[FERRY_EVENT_RELEASED] = "released",
		[FERRY_EVENT_STALL] = "stall",
		[FERRY_EVENT_PRESSURE] = "pressure",
		[FERRY_EVENT_FALLBACK] = "fallback",
	};

	if ((unsigned int)kind >= FERRY_EVENTS || !names[kind])
		return "unknown";
	return names[kind];
}

const char *ferry_pause_name(enum ferry_pause pause)
{
	static const char *const names[FERRY_PAUSES] = {
		[FERRY_PAUSE_START] = "start",
		[FERRY_PAUSE_FINAL] = "final",
		[FERRY_PAUSE_FLIP] = "flip",
		[FERRY_PAUSE_EVACUATE] = "evacuate",
		[FERRY_PAUSE_STOPPED] = "stopped",
		[FERRY_PAUSE_OTHER] = "other",
	};

	if ((unsigned int)pause >= FERRY_PAUSES || !names[pause])
		return "unknown";
	return names[pause];
}

/* --- listeners --------------------------------------------------------------- */

int ferry__events_init(struct ferry_heap *heap)
{
	pthread_mutex_init(&heap->events.lock, NULL);
	CDS_INIT_LIST_HEAD(&heap->events.listeners);
	return 0;
}

void ferry__events_fini(struct ferry_heap *heap)
{
	struct ferry_listener *listener, *next;

	cds_list_for_each_entry_safe (listener, next, &heap->events.listeners,
				      node)
		free(listener);
	pthread_mutex_destroy(&heap->events.lock);
}

int ferry_listener_add(struct ferry_heap *heap, ferry_event_fn fn, void *arg,
		       struct ferry_listener **ret_listener)
{
	struct ferry__events *events = &heap->events;
	struct ferry_listener *listener;

	if (!fn)
		return -EINVAL;
	listener = malloc(sizeof(*listener));
	if (!listener)
		return -ENOMEM;
	listener->fn = fn;
	listener->arg = arg;
	pthread_mutex_lock(&events->lock);
	cds_list_add_tail(&listener->node, &events->listeners);
	/* Relaxed, also below: who reads 0 late misses events that happened
	 * while the listener was being added. The list has the lock. */
	atomic_fetch_add_explicit(&events->listening, 1, memory_order_relaxed);
	pthread_mutex_unlock(&events->lock);
	*ret_listener = listener;
	return 0;
}

void ferry_listener_remove(struct ferry_heap *heap,
			   struct ferry_listener *listener)
{
	struct ferry__events *events = &heap->events;

	if (!listener)
		return;
	pthread_mutex_lock(&events->lock);
	cds_list_del(&listener->node);
	atomic_fetch_sub_explicit(&events->listening, 1, memory_order_relaxed);
	pthread_mutex_unlock(&events->lock);
	free(listener);
}

static void tell(struct ferry__events *events, const struct ferry_event *event)
{
	struct ferry_listener *listener;

	pthread_mutex_lock(&events->lock);
	cds_list_for_each_entry (listener, &events->listeners, node)
		listener->fn(listener->arg, event);
	pthread_mutex_unlock(&events->lock);
}

static void event_at(struct ferry_heap *heap, enum ferry_event_kind kind,
		     uint64_t value, uint64_t now_ns)
{
	struct ferry_event event = {
		.kind = kind,
		.time_ns = now_ns,
		.value = value,
		/* Relaxed: a label; orders nothing. */
		.cycle = atomic_load_explicit(&heap->cycle.number,
					      memory_order_relaxed),
	};

	ferry__probe(heap, kind, value, event.cycle);
	if (atomic_load_explicit(&heap->events.listening, memory_order_relaxed))
		tell(&heap->events, &event);
}

void ferry__event(struct ferry_heap *heap, enum ferry_event_kind kind,
		  uint64_t value)
{
	event_at(heap, kind, value, ferry__sys->now_ns());
}

/* --- histograms -------------------------------------------------------------- */

#define STEPS_SHIFT 3u
#define STEPS	    (1u << STEPS_SHIFT)

/*
 * Values below eight have a bucket each. Beyond, the highest set bit names a
 * group of eight buckets and the three bits below it the bucket:
 *
 *	value 0 .. 7	bucket 0 .. 7
 *	1xxx		8 + xxx
 *	1xxxy		16 + xxx ...
 */
static unsigned int bucket_of(uint64_t ns)
{
	unsigned int top, i;

	if (ns < STEPS)
		return (unsigned int)ns;
	top = 63 - (unsigned int)__builtin_clzll(ns);
	i = (top - STEPS_SHIFT + 1) * STEPS +
	    (unsigned int)(ns >> (top - STEPS_SHIFT) & (STEPS - 1));
	return i < FERRY_HISTOGRAM_BUCKETS ? i : FERRY_HISTOGRAM_BUCKETS - 1;
}

uint64_t ferry_histogram_floor(unsigned int i)
{
	if (i < STEPS)
		return i;
	if (i >= FERRY_HISTOGRAM_BUCKETS)
		return UINT64_MAX;
	return (uint64_t)(STEPS + i % STEPS) << (i / STEPS - 1);
}

/*
 * T1: relaxed throughout: each word is a sum, or a maximum, from which
 * nothing about other memory is concluded; read by histogram_read().
 */
void ferry__histogram_add(struct ferry_histogram *h, uint64_t ns)
{
	uint64_t max = __atomic_load_n(&h->max_ns, __ATOMIC_RELAXED);

	__atomic_fetch_add(&h->bucket[bucket_of(ns)], 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&h->sum_ns, ns, __ATOMIC_RELAXED);
	while (ns > max &&
	       !__atomic_compare_exchange_n(&h->max_ns, &max, ns, true,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* --- the moments of a pause, stalls, faults ---------------------------------- */

void ferry__event_pause_begin(struct ferry_heap *heap, enum ferry_pause why)
{
	heap->events.pause_asked_ns = ferry__sys->now_ns();
	event_at(heap, FERRY_EVENT_PAUSE_BEGIN, why,
		 heap->events.pause_asked_ns);
}

void ferry__event_pause_stopped(struct ferry_heap *heap, enum ferry_pause why)
{
	uint64_t now_ns = ferry__sys->now_ns();

	ferry__histogram_add(&heap->events.to_stop,
			     now_ns - heap->events.pause_asked_ns);
	event_at(heap, FERRY_EVENT_PAUSE_STOPPED, why, now_ns);
}

void ferry__event_pause_end(struct ferry_heap *heap, enum ferry_pause why)
{
	uint64_t now_ns = ferry__sys->now_ns();
	uint64_t ns = now_ns - heap->events.pause_asked_ns;

	ferry__histogram_add(&heap->events.pauses[0], ns);
	ferry__histogram_add(&heap->events.pauses[why], ns);
	event_at(heap, FERRY_EVENT_PAUSE_END, why, now_ns);
}

void ferry__event_stall(struct ferry_heap *heap, uint64_t ns)
{
	ferry__histogram_add(&heap->events.stall, ns);
	atomic_fetch_add_explicit(&heap->events.count.stalls, 1,
				  memory_order_relaxed);
	ferry__event(heap, FERRY_EVENT_STALL, ns);
}

void ferry__event_fault(struct ferry_heap *heap, uint64_t ns)
{
	ferry__histogram_add(&heap->events.fault, ns);
}
