/* SPDX-License-Identifier: MIT */
/*
 * Marking: markers, their stacks, the team that works side by side.
 */
#ifndef FERRY_RUNTIME_MARK_H
#define FERRY_RUNTIME_MARK_H

#include <ferry/object.h>

#include <pthread.h>
#include <stdatomic.h>

#include "runtime/weak.h"

/* Slots that a marker gathers before it looks at any: enough that the
 * prefetches of one batch overlap, few enough to stay in the first cache. */
#define FERRY__MARK_SLOTS 128u

/* Objects on their way from the stack to being traced, prefetched. */
#define FERRY__MARK_AHEAD 8u

/* A piece of mark stack: one page, handed between markers as a whole. */
#define FERRY__MARK_CHUNK_SIZE 4096u
struct ferry__mark_chunk {
	struct ferry__mark_chunk *next;
	size_t n;
	uintptr_t object[(FERRY__MARK_CHUNK_SIZE - 16) / sizeof(uintptr_t)];
};

/* Memory for chunks, kept from cycle to cycle. */
struct ferry__mark_slab;

struct ferry__marker {
	struct ferry_visitor visitor; /* first: ferry__marker_of() */
	struct ferry_heap *heap;
	bool plain; /* slots hold addresses of objects' starts */
	struct ferry__mark_chunk *chunk; /* pushed to and popped from */
	uintptr_t ahead[FERRY__MARK_AHEAD];
	unsigned int ahead_at;
	uint64_t objects; /* traced in this cycle */
	void *slots[FERRY__MARK_SLOTS];
	struct ferry__weak_local weak;
};

typedef void (*ferry__team_fn)(struct ferry__marker *marker);

struct ferry__mark {
	pthread_mutex_t lock; /* rank 25 */
	pthread_cond_t work;  /* a chunk was handed over, or all are idle */
	struct ferry__mark_chunk *full;
	struct ferry__mark_chunk *empty;
	struct ferry__mark_chunk *news; /* large objects made while marking */
	struct ferry__mark_slab *slabs;
	unsigned int idle;     /* markers without work */
	unsigned int markers;  /* that drain together now */
	uint8_t *seen;	       /* M7: a bit a granule of a half: marked, no
				  need to look further */
	bool seen_clean;       /* there is no bit set */
	_Atomic bool hungry;   /* somebody waits for work: hand over */
	_Atomic bool overflow; /* no memory for a chunk: something marked was
				  not queued */
	/* The team. Member 0 is who runs the collection. */
	struct ferry__marker *member; /* params.pause_threads of them */
	pthread_t *thread;	      /* of members from 1 on */
	unsigned int threads;	      /* that were started */
	pthread_cond_t job;
	pthread_cond_t joined;
	ferry__team_fn fn;
	uint64_t job_number;
	unsigned int busy; /* members that work on it */
	uint64_t cpu_ns;   /* of members from 1 on, ever */
	bool quit;
};

/* The marker a visitor is part of. */
static inline struct ferry__marker *ferry__marker_of(struct ferry_visitor *v)
{
	return (struct ferry__marker *)v;
}

int ferry__mark_init(struct ferry_heap *heap);
void ferry__mark_fini(struct ferry_heap *heap);

/* The helper threads: started with the collector's, ended before it. */
int ferry__team_start(struct ferry_heap *heap);
void ferry__team_stop(struct ferry_heap *heap);

/*
 * Runs @fn in params.threads members, the caller as number 0, or in all of them
 * while no mutator runs; and in those below one that has work left. Returns
 * when they have.
 */
void ferry__team_run(struct ferry_heap *heap, ferry__team_fn fn);

/*
 * Before a full collection, nobody marking: nothing was seen. drop: the same,
 * and gives the memory back.
 */
void ferry__mark_forget(struct ferry_heap *heap);
void ferry__mark_drop(struct ferry_heap *heap);

/* Marking begins (world stopped), and is over (memory of stacks is let go). */
void ferry__mark_begin(struct ferry_heap *heap);
void ferry__mark_end(struct ferry_heap *heap);

/*
 * Marks the object at @addr, which is an object's start, and queues it for
 * tracing if it may have references. Returns true if it was not marked.
 */
bool ferry__mark_object(struct ferry__marker *marker, uintptr_t addr);

/* The slot, of an object or a root, refers to @addr: if that is young the next
 * collection looks at the slot again (M9). */
void ferry__mark_note(struct ferry__marker *marker, const void *slot,
		      uintptr_t addr);

/* Marks what an ambiguous word hits, if anything. */
void ferry__mark_word(struct ferry__marker *marker, uintptr_t word);

/* Traces a marked object of that kind; of the kind that the side table says. */
void ferry__mark_trace(struct ferry__marker *marker, uintptr_t addr,
		       enum ferry_kind kind);
void ferry__mark_retrace(struct ferry__marker *marker, uintptr_t addr);

/* Traces what is queued until no marker that drains has anything left. */
void ferry__mark_drain(struct ferry__marker *marker);

/* Queues nothing: traces the marked objects that reach into
 * [@addr, @addr + @len), in the small or the large space. */
void ferry__mark_scan(struct ferry__marker *marker, uintptr_t addr, size_t len);

/* Traces all marked objects of a block. */
void ferry__mark_scan_block(struct ferry__marker *marker, uint32_t index);

/* A large object was made while marking: it is scanned in the final pause. */
int ferry__mark_note_large(struct ferry_heap *heap, uintptr_t addr);
void ferry__mark_scan_news(struct ferry__marker *marker);

/*
 * Calls the visitor for the slots of the object at @addr of the given kind
 * (not AMBIGUOUS), which may be a copy of it that lies elsewhere.
 */
void ferry__trace(const struct ferry_heap *heap, struct ferry_visitor *v,
		  void *object, enum ferry_kind kind);

#endif
