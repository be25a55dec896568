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
	FERRY_EVENT_CYCLE_BEGIN = 1, /* value: enum ferry_collect, as it is
					run, which may be more than asked */
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
 * be quick, not allocate from the heap, not call it, not wait for a mutator
 * nor for a lock that one may hold. Calls for one heap come one at a time.
 */
typedef void (*ferry_event_fn)(void *arg, const struct ferry_event *event);

struct ferry_listener;

/*
 * Adds a listener, any number of them; they are called in the order in which
 * they were added. A collection that is under way is heard from its next
 * event on. Where the library was built with sys/sdt.h the same events are
 * USDT probes of provider "ferry", named as by ferry_event_name() with '_'
 * for '-', with arguments heap, value, cycle: they need no listener.
 * Returns 0; -EINVAL no function; -ENOMEM. Any thread, not from a listener;
 * not signal-safe.
 */
FERRY_EXPORT int ferry_listener_add(struct ferry_heap *heap, ferry_event_fn fn,
				    void *arg,
				    struct ferry_listener **ret_listener);

/*
 * Takes it away and frees it; waits for a call of it under way. NULL is
 * allowed. What is left when the heap is destroyed goes with the heap.
 * Any thread, not from a listener; not signal-safe.
 */
FERRY_EXPORT void ferry_listener_remove(struct ferry_heap *heap,
					struct ferry_listener *listener);

/* "cycle-begin", "mark-round", ...; "start", "final", "flip", ... Never
 * NULL: what is not known is "unknown". Any thread; signal-safe. */
FERRY_EXPORT const char *ferry_event_name(enum ferry_event_kind kind);
FERRY_EXPORT const char *ferry_pause_name(enum ferry_pause pause);

/*
 * Durations, in buckets of powers of two with eight equal steps each: what
 * falls into one bucket differs by an eighth at most. Bucket i begins at
 * ferry_histogram_floor(i); the last takes all from there on (17 minutes).
 * @count is the sum of the buckets; @sum_ns and @max_ns of a snapshot may
 * miss, or have, samples that are being added just then.
 */
#define FERRY_HISTOGRAM_BUCKETS 304
struct ferry_histogram {
	uint64_t count;
	uint64_t sum_ns;
	uint64_t max_ns;
	uint64_t bucket[FERRY_HISTOGRAM_BUCKETS];
};

/* Nanoseconds at which bucket @i begins; UINT64_MAX from
 * FERRY_HISTOGRAM_BUCKETS on. Any thread; signal-safe. */
FERRY_EXPORT uint64_t ferry_histogram_floor(unsigned int i);

/*
 * The value that @permille of the samples do not exceed, at most an eighth
 * too high; the exact maximum from 1000 on; 0 if there are no samples.
 * Any thread; signal-safe.
 */
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
	size_t pinned;	  /* in blocks of small objects that pins and ambiguous
			     words kept in place in the last compaction */
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
	uint64_t paced_ns;    /* that threads slept, see no_pace in heap.h */
	uint64_t gc_cpu_ns;   /* of collector threads */
	/* From the request to stop until all may go on; [0]: all of them. */
	struct ferry_histogram pauses[FERRY_PAUSES];
	struct ferry_histogram to_stop;	 /* of each pause: until all stopped */
	struct ferry_histogram fault_ns; /* what a fault took its thread */
	struct ferry_histogram stall_ns;
};

/*
 * Fills @ret_stats, whose size the caller has set. Numbers are read one after
 * the other while the program runs, hence true of about the same moment. The
 * struct has some 25 KiB: mind small stacks.
 * Returns 0; -EINVAL, -E2BIG see base.h. Any thread, not from a listener; not
 * signal-safe.
 */
FERRY_EXPORT int ferry_heap_stats(struct ferry_heap *heap,
				  struct ferry_heap_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
