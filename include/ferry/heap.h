/* SPDX-License-Identifier: MIT */
/*
 * The heap: garbage-collected memory that is marked and compacted while the
 * program runs, with no read barrier and no write barrier.
 *
 *	object.h   what an object is: kinds, trace callback, descriptors
 *	mutator.h  threads: attach, allocate, safepoints, blocking calls
 *	root.h	   where references are outside the heap; pins
 *	weak.h	   weak references, ephemerons, finalizers, identity hash
 *	event.h	   what the collector does: listeners, statistics
 *
 * Rules for a host
 *  - Every thread that touches objects is attached, and polls a safepoint or
 *    allocates every now and then, or is inside a blocking bracket.
 *  - At a safepoint or an allocation, every reference that is used later is
 *    in a root or, with ambiguous stacks, in a register or on the stack.
 *  - An object is fit to be traced at its thread's next safepoint or
 *    allocation.
 *  - References are stored as whole aligned words by plain stores. Where
 *    threads share objects they synchronise as C asks for.
 *  - A thread that is a mutator of several heaps brackets, for the others, a
 *    call on one of them that collects or waits for the limit callback.
 *  - Addresses are not compared across safepoints for order, nor hashed: see
 *    ferry_identity_hash().
 *
 * fork(2) is a safepoint of the calling thread and waits until a collection
 * under way is over and all mutators have stopped, so it is not for callbacks
 * of the heap. Parent and child then each have the heap as of that moment; in
 * the child the thread that forked is the only mutator. A concurrent heap
 * gets threads and dirty tracking anew with the child's first collection,
 * which is full, and is STOPPED from then on where they are not to be had: an
 * event and the statistics say so. A child made round the C library
 * (clone(2)) has no use of the heap: -ECHILD, where the call can say it.
 *
 * doc/ferry-heap(7) explains the collector, runtime/DESIGN.md its proofs.
 */
#ifndef FERRY_HEAP_H
#define FERRY_HEAP_H

#include <ferry/arena.h>
#include <ferry/object.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ferry_heap;
struct ferry_mutator;

/* How collections run. */
enum ferry_gc_mode {
	FERRY_GC_AUTO = 0,   /* CONCURRENT where the kernel allows, else
				STOPPED; statistics say which and why */
	FERRY_GC_CONCURRENT, /* or creation fails */
	FERRY_GC_STOPPED,    /* everything inside pauses; needs no
				userfaultfd, no dirty tracking, no thread */
};

enum ferry_sizing {
	FERRY_SIZING_ADAPTIVE = 0, /* by allocation rate and cost of marking:
				      MemBalancer (Kirisame, Shenoy, Panchekha,
				      OOPSLA 2022) */
	FERRY_SIZING_GROWABLE,	   /* growth_percent of what is live */
	FERRY_SIZING_FIXED,	   /* max_bytes from the start */
};

enum ferry_stack_scan {
	FERRY_STACK_PRECISE = 0, /* roots are what root.h was told */
	FERRY_STACK_AMBIGUOUS,	 /* stacks and registers as well, any word of
				    which may be a reference; what is hit
				    keeps its address for that collection */
};

enum ferry_collect {
	FERRY_COLLECT_MINOR = 1, /* objects allocated since the last one */
	FERRY_COLLECT_FULL,
	FERRY_COLLECT_COMPACT, /* full, then move all that is sparse */
};

/*
 * Called when an allocation would exceed max_bytes and a full collection did
 * not help. Returns how many bytes more the heap may have from now on; 0: the
 * allocation returns NULL. In the allocating thread, outside of pauses; may
 * not allocate from the heap.
 */
typedef size_t (*ferry_limit_fn)(void *arg, size_t size, size_t used);

struct ferry_heap_params {
	size_t size;
	/* Objects. trace is required unless no TRACED or LEAF object is ever
	 * made. */
	ferry_trace_fn trace;
	ferry_load_fn load; /* with @store; NULL: slots are plain */
	ferry_store_fn store;
	bool interior_slots; /* what slots hold may point into objects */
	void *arg;	     /* for callbacks; in visitors too */
	/* Size. */
	enum ferry_sizing sizing;
	size_t min_bytes;	     /* not collected below; default 8 MiB */
	size_t max_bytes;	     /* limit; default: half of memory */
	unsigned int growth_percent; /* GROWABLE: of live; default 200 */
	ferry_limit_fn limit;
	/* Collector. */
	enum ferry_gc_mode mode;
	enum ferry_stack_scan stacks;
	enum ferry_fault_mode fault_mode; /* default THREAD: no signals */
	unsigned int threads;	    /* that mark while the program runs; default
				 half the processors */
	unsigned int pause_threads; /* while it is stopped, or waits; default
				       the processors; @threads at least */
	bool no_minor;		    /* full ones, whatever is asked for */
	bool no_compact;	    /* only when asked for */
	bool no_pressure;	    /* do not watch memory pressure (PSI) */
	bool no_pace; /* do not slow down who allocates quicker than a
			 collection gets on: it waits when all is full */
	bool debug;   /* costly checks of the host's callbacks; a
				 stale pointer to what was moved is fatal until
				 the place is used again, or the next flip */
	/*
	 * Memory. In mode CONCURRENT, SYSTEM is NEVER for small objects: each
	 * compaction needs memory with nothing in it, and with ALWAYS it has to
	 * look, in its pause (up to 4 ms for each GiB).
	 */
	enum ferry_thp thp;
	struct ferry_node_policy node;
	const char *name; /* as in arena.h; copied */
	/*
	 * Further options as "key:value,key:value", see ferry-heap(7); then,
	 * unless @no_environment, those of FERRY_HEAP_CONF. Later ones win.
	 */
	const char *options;
	bool no_environment;
};

/*
 * Makes a heap. Reserves address space (four to eight times max_bytes) and no
 * memory to speak of. In mode CONCURRENT it starts a collector thread, and
 * helpers by params.threads, with all signals blocked; SIGBUS mode installs
 * the handler of fault.h. Otherwise no thread, no signal, nothing global.
 *
 * @ret_reason: why it failed or, on success in mode AUTO, why collections are
 * STOPPED (NONE: they are concurrent). May be NULL; written always.
 * Returns 0 or
 *  -EINVAL	a field out of range, or an option: unknown key, bad value
 *  -E2BIG	see base.h
 *  -ENOMEM, -EAGAIN (no thread), -EMFILE
 *  -EOPNOTSUPP, -EPERM, -ENOSYS   CONCURRENT is not to be had
 * Any thread; a safepoint of the heaps it is a mutator of. Not signal-safe.
 */
FERRY_EXPORT int ferry_heap_create(const struct ferry_heap_params *params,
				   enum ferry_reason *ret_reason,
				   struct ferry_heap **ret_heap);

/*
 * Ends the collector, unmaps everything. All mutators must be detached, and
 * nobody may touch objects any more; finalizers that are due do not run.
 * NULL is allowed. Returns 0; -EBUSY a mutator is attached (nothing is done).
 * Not from a callback of the heap. A safepoint of other heaps that the thread
 * is a mutator of.
 */
FERRY_EXPORT int ferry_heap_destroy(struct ferry_heap *heap);

/*
 * Collects, and returns when it is over (COMPACT: when the last page is in
 * place). A collection under way is finished first. The caller is @mutator,
 * which is at a safepoint for that time, or an unattached thread (NULL).
 * In a heap whose memory of writes is lost MINOR does FULL.
 * Returns 0; -EINVAL; -ECHILD; -EILSEQ: the collection is over, and in a heap
 * with params.debug (or the option verify) a mistake of the host's was found
 * in passing, such as a trace callback that lies about a size:
 * ferry_heap_verify() tells which. Not from a callback of the heap.
 */
FERRY_EXPORT int ferry_heap_collect(struct ferry_heap *heap,
				    struct ferry_mutator *mutator,
				    enum ferry_collect what);

/* The same, without waiting. Any thread; not signal-safe. */
FERRY_EXPORT int ferry_heap_request(struct ferry_heap *heap,
				    enum ferry_collect what);

/*
 * Does collection work for up to @budget_ns in a moment when the program is
 * idle: sweeping, returning of free memory, and, when enough was allocated to
 * be worth it, a collection ahead of its time. Returns true if there is more.
 */
FERRY_EXPORT bool ferry_heap_idle(struct ferry_heap *heap,
				  struct ferry_mutator *mutator,
				  uint64_t budget_ns);

/* Changes the limit; below what is used it holds for new allocations.
 * Returns 0; -EINVAL zero, or beyond the reservation. Any thread. */
FERRY_EXPORT int ferry_heap_set_limit(struct ferry_heap *heap,
				      size_t max_bytes);

/* Is @addr in the heap's reservation? Any thread; signal-safe. */
FERRY_EXPORT bool ferry_heap_contains(const struct ferry_heap *heap,
				      const void *addr);

/* What is wrong with a heap, found by ferry_heap_verify(). */
struct ferry_heap_fault {
	size_t size;
	const char *what;   /* English sentence, static storage */
	const void *object; /* in which it was found; NULL: a root */
	const void *slot;
	const void *value;
};

/*
 * Stops the world and checks all of the heap: re-traces it from the roots and
 * compares with the side table; sizes told by callbacks against sizes
 * allocated; every reference against the object it should hit; block and
 * free-space accounts. For tests: takes as long as a stopped collection.
 * A fault that a collection found in passing is reported first, and once.
 * Returns 0 when all is well; -EILSEQ and *ret_fault (may be NULL) what was
 * found first; -ENOMEM; -ECHILD. Not from a callback of the heap.
 */
FERRY_EXPORT int ferry_heap_verify(struct ferry_heap *heap,
				   struct ferry_mutator *mutator,
				   struct ferry_heap_fault *ret_fault);

#ifdef __cplusplus
}
#endif

#endif
