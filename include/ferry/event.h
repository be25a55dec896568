/* SPDX-License-Identifier: MIT */
/*
 * What the collector does: events as they happen, and statistics.
 */
#ifndef FERRY_EVENT_H
#define FERRY_EVENT_H

#include <ferry/heap.h>

#ifdef __cplusplus
extern "C" {
#endif

enum ferry_event_kind {
	FERRY_EVENT_CYCLE_BEGIN = 1, /* value: enum ferry_collect */
	FERRY_EVENT_CYCLE_END,	     /* value: bytes live */
	FERRY_EVENT_PAUSE_BEGIN,     /* value: enum ferry_pause; asked for */
	FERRY_EVENT_PAUSE_STOPPED,   /* the last mutator has stopped */
	FERRY_EVENT_PAUSE_END,
	FERRY_EVENT_MARK_ROUND,	  /* value: dirty pages of this round */
	FERRY_EVENT_SWEPT,	  /* value: bytes free in blocks that live */
	FERRY_EVENT_COMPACT_PLAN, /* value: bytes that will be copied */
	FERRY_EVENT_COMPACT_END,  /* value: bytes given back */
	FERRY_EVENT_RESIZE,	  /* value: new target of the heap's size */
	FERRY_EVENT_RELEASED,	  /* value: bytes given back to the system */
	FERRY_EVENT_STALL,	  /* an allocation waited; value: nanoseconds */
	FERRY_EVENT_PRESSURE,	  /* memory is short in the system */
	FERRY_EVENT_FALLBACK,	  /* value: enum ferry_reason; STOPPED now */
	FERRY_EVENTS
};

enum ferry_pause {
	FERRY_PAUSE_START = 1, /* roots read, marking begins */
	FERRY_PAUSE_FINAL,     /* last dirty pages, roots again */
	FERRY_PAUSE_FLIP,      /* roots get the new addresses */
	FERRY_PAUSE_EVACUATE,  /* some blocks evacuated in the pause */
	FERRY_PAUSE_STOPPED,   /* a whole collection */
	FERRY_PAUSE_OTHER,     /* verification, fork */
	FERRY_PAUSES
};

struct ferry_event {
	enum ferry_event_kind kind;
	uint64_t time_ns; /* CLOCK_MONOTONIC */
	uint64_t value;
	uint64_t cycle; /* number of the collection */
};

/*
 * Runs in the thread where the event happens, often inside a pause: it must
 * be quick, not allocate from the heap, not call it, not wait for a mutator.
 */
typedef void (*ferry_event_fn)(void *arg, const struct ferry_event *event);

struct ferry_listener;

/* Any number. Returns 0; -ENOMEM. Remove waits for calls under way; not from
 * a listener. Names: the same events are USDT probes, provider "ferry". */
FERRY_EXPORT int ferry_listener_add(struct ferry_heap *heap, ferry_event_fn fn,
				    void *arg,
				    struct ferry_listener **ret_listener);
FERRY_EXPORT void ferry_listener_remove(struct ferry_heap *heap,
					struct ferry_listener *listener);

/* "cycle-begin", "mark-round", ...; "start", "final", "flip", ... Never
 * NULL. Signal-safe. */
FERRY_EXPORT const char *ferry_event_name(enum ferry_event_kind kind);
FERRY_EXPORT const char *ferry_pause_name(enum ferry_pause pause);

/*
 * Durations, in buckets that grow by powers of two with four steps each:
 * relative error under 19 %. Bucket i begins at ferry_histogram_floor(i).
 */
#define FERRY_HISTOGRAM_BUCKETS 160
struct ferry_histogram {
	uint64_t count;
	uint64_t sum_ns;
	uint64_t max_ns;
	uint64_t bucket[FERRY_HISTOGRAM_BUCKETS];
};

/* Nanoseconds at which bucket @i begins. */
FERRY_EXPORT uint64_t ferry_histogram_floor(unsigned int i);

/* The value below which @permille of the samples lie, from above; 0 if there
 * are none; the exact maximum at 1000. */
FERRY_EXPORT uint64_t ferry_histogram_quantile(const struct ferry_histogram *h,
					       unsigned int permille);

struct ferry_heap_stats {
	size_t size;
	enum ferry_gc_mode mode; /* in force */
	enum ferry_reason why;	 /* of STOPPED in mode AUTO */
	int dirty_provider;	 /* enum ferry_dirty_provider; 0: none */
	/* Now, in bytes. */
	size_t used;   /* in blocks and large objects that are not free */
	size_t live;   /* found by the last collection */
	size_t target; /* size at which the next collection ends, by policy */
	size_t limit;  /* max_bytes */
	size_t committed; /* of memory the heap has not given back */
	size_t large;	  /* of used, in large objects */
	size_t pinned;	  /* in blocks that keep their address */
	/* Since the beginning. */
	uint64_t minors, fulls, compactions;
	uint64_t allocated;   /* bytes, as blocks and holes were taken */
	uint64_t copied;      /* bytes of objects copied */
	uint64_t moved;	      /* bytes moved by page table */
	uint64_t released;    /* bytes given back to the system */
	uint64_t faults;      /* faults served of mutators in compactions */
	uint64_t dirty_pages; /* reported by dirty tracking */
	uint64_t rounds;      /* of marking */
	uint64_t stalls;      /* allocations that waited */
	uint64_t gc_cpu_ns;   /* of collector threads */
	struct ferry_histogram pauses[FERRY_PAUSES]; /* [0]: all of them */
	struct ferry_histogram to_stop;	 /* of each pause: until all stopped */
	struct ferry_histogram fault_ns; /* what a fault took its thread */
	struct ferry_histogram stall_ns;
};

/* Any thread; @ret_stats: set .size first. Returns 0; -EINVAL, -E2BIG. */
FERRY_EXPORT int ferry_heap_stats(struct ferry_heap *heap,
				  struct ferry_heap_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
