/* SPDX-License-Identifier: MIT */
/*
 * What a child of fork(2) sees of heaps: all of them, as of one moment at
 * which no collection was under way and every mutator had stopped.
 *
 *	prepare		in all heaps a collection under way is finished; then
 *			all worlds stop; then all locks are taken, by rank
 *	parent		they are let go, the world goes on
 *	child		the same; mutators of threads that are not here are
 *			taken away, the thread that forked goes on as one
 *
 * The world must stop: the kernel copies page tables piece by piece, so that a
 * thread that went on might be seen to have stored a reference, but not what
 * it had written before into the object.
 *
 * Threads, userfaultfd and dirty tracking are the parent's. A child that only
 * calls exec(2) must not pay for new ones: its heap is an orphan until it
 * wants a collection. That one is full, as nothing is known of writes; if the
 * threads or the tracking are not to be had, it is STOPPED, as are all after
 * it (X3).
 *
 * A fork that goes round the C library (clone(2)) leaves locks as they were:
 * calls on the heap answer -ECHILD there, where they can.
 */
#include "runtime/fork.h"

#include <string.h>

#include "alloc/alloc-internal.h"
#include "runtime/heap-internal.h"

/* Rank 1: held from prepare to parent or child. */
static pthread_mutex_t heaps_lock = PTHREAD_MUTEX_INITIALIZER;
static CDS_LIST_HEAD(heaps);
/* The process that forks; heaps of others (they came through clone(2)) are
 * left alone. */
static int forking_pid;

/* --- locks, in order ----------------------------------------------------------- */

static void locks_take(struct ferry_heap *heap)
{
	pthread_mutex_lock(&heap->cycle.lock);
	pthread_mutex_lock(&heap->world.lock);
	/* Never one inside the other elsewhere. */
	pthread_mutex_lock(&heap->roots.lock);
	pthread_mutex_lock(&heap->roots.pins_lock);
	pthread_mutex_lock(&heap->weak.lock);
	pthread_mutex_lock(&heap->mark.lock);
	pthread_mutex_lock(&heap->space.lock);
	pthread_mutex_lock(&heap->large.lock);
	pthread_mutex_lock(&heap->policy.lock);
	pthread_mutex_lock(&heap->events.lock);
}

static void locks_release(struct ferry_heap *heap)
{
	pthread_mutex_unlock(&heap->events.lock);
	pthread_mutex_unlock(&heap->policy.lock);
	pthread_mutex_unlock(&heap->large.lock);
	pthread_mutex_unlock(&heap->space.lock);
	pthread_mutex_unlock(&heap->mark.lock);
	pthread_mutex_unlock(&heap->weak.lock);
	pthread_mutex_unlock(&heap->roots.pins_lock);
	pthread_mutex_unlock(&heap->roots.lock);
	pthread_mutex_unlock(&heap->world.lock);
	pthread_mutex_unlock(&heap->cycle.lock);
}

/* --- before, and in the parent ------------------------------------------------- */

static void exclude(struct ferry_heap *heap)
{
	ferry__cycle_exclude(heap, NULL);
}

static void let_go(struct ferry_heap *heap)
{
	ferry__world_thaw(heap);
	ferry__cycle_admit(heap, NULL);
}

static void each_heap(void (*fn)(struct ferry_heap *heap))
{
	struct ferry_heap *heap;

	cds_list_for_each_entry (heap, &heaps, fork.node)
		if (heap->pid == forking_pid)
			fn(heap);
}

static void prepare(void)
{
	ferry__thread_leave();
	pthread_mutex_lock(&heaps_lock);
	forking_pid = ferry__sys->getpid();
	/* X1: collections of all heaps before any world, as a thread that
	 * waits in a frozen one would keep a collection of another from its
	 * pause; all worlds before any lock: a thread must get through to
	 * where it waits in one of them to be counted in another. */
	each_heap(exclude);
	each_heap(ferry__world_freeze);
	each_heap(locks_take);
}

static void parent(void)
{
	each_heap(locks_release);
	each_heap(let_go);
	pthread_mutex_unlock(&heaps_lock);
	ferry__thread_enter();
}

/* --- in the child ------------------------------------------------------------------ */

/* Who waited is not here, and the words may say otherwise. */
static void conditions_forget(struct ferry_heap *heap)
{
	pthread_cond_init(&heap->cycle.request, NULL);
	pthread_cond_init(&heap->cycle.done, NULL);
	pthread_cond_init(&heap->world.resume, NULL);
	pthread_cond_init(&heap->world.quiet, NULL);
	pthread_cond_init(&heap->mark.work, NULL);
	pthread_cond_init(&heap->mark.job, NULL);
	pthread_cond_init(&heap->mark.joined, NULL);
	pthread_cond_init(&heap->space.swept, NULL);
}

static void threads_forget(struct ferry_heap *heap)
{
	heap->mark.threads = 0;
	/* Relaxed: nobody else is here. */
	atomic_store_explicit(&heap->cycle.stalled, 0, memory_order_relaxed);
	atomic_store_explicit(&heap->policy.claimed, 0, memory_order_relaxed);
	if (heap->cycle.has_thread)
		atomic_store_explicit(&heap->fork.orphan, true,
				      memory_order_relaxed);
	heap->cycle.has_thread = false;
	ferry__pressure_forget(heap);
}

static void let_go_in_child(struct ferry_heap *heap)
{
	conditions_forget(heap);
	threads_forget(heap);
	ferry__world_forget(heap);
	ferry__cycle_admit(heap, NULL);
	heap->pid = ferry__sys->getpid();
}

static void child(void)
{
	each_heap(locks_release);
	each_heap(let_go_in_child);
	pthread_mutex_unlock(&heaps_lock);
	ferry__thread_enter();
}

/* --- a new life ---------------------------------------------------------------------- */

/* What the parent's tracking and demand left here is freed, no more: the
 * kernel's side of them did not come along. */
static void belongings_forget(struct ferry_heap *heap)
{
	ferry__remember_fini(heap);
	memset(&heap->remember, 0, sizeof(heap->remember));
	ferry__reloc_fini(heap);
	memset(&heap->reloc, 0, sizeof(heap->reloc));
}

static int belongings_make(struct ferry_heap *heap)
{
	int r;

	heap->why = FERRY_REASON_NO_MEMORY; /* for threads */
	r = ferry__remember_init(heap);
	if (r < 0)
		return r;
	r = ferry__reloc_init(heap);
	if (r < 0)
		goto err_remember;
	r = ferry__cycle_start(heap);
	if (r < 0)
		goto err_reloc;
	heap->why = FERRY_REASON_NONE;
	return 0;

err_reloc:
	ferry__reloc_fini(heap);
	memset(&heap->reloc, 0, sizeof(heap->reloc));
err_remember:
	ferry__remember_fini(heap);
	memset(&heap->remember, 0, sizeof(heap->remember));
	return r;
}

bool ferry__is_orphan(const struct ferry_heap *heap)
{
	return atomic_load_explicit(&heap->fork.orphan, memory_order_relaxed);
}

void ferry__revive(struct ferry_heap *heap)
{
	belongings_forget(heap);
	if (belongings_make(heap) < 0) {
		ferry__mode_set(heap, FERRY_GC_STOPPED);
		ferry__event(heap, FERRY_EVENT_FALLBACK, heap->why);
	}
	ferry__pressure_init(heap);
	atomic_store_explicit(&heap->fork.orphan, false, memory_order_relaxed);
}

void ferry__revive_slow(struct ferry_heap *heap)
{
	struct ferry__cycle *cycle = &heap->cycle;

	pthread_mutex_lock(&cycle->lock);
	if (!cycle->active && ferry__is_orphan(heap))
		ferry__revive(heap);
	pthread_mutex_unlock(&cycle->lock);
}

/* --- beginning and end ------------------------------------------------------------------ */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_result;

/*
 * Handlers that prepare run last registered first: ours must come before
 * those of the arenas, whose locks a collection takes that we wait for.
 */
static void register_handlers(void)
{
	once_result = ferry__fork_init();
	if (!once_result)
		once_result = -pthread_atfork(prepare, parent, child);
}

/*
 * A thread that waits for the lock may be a mutator of a heap that a fork
 * waits for: hence it leaves them meanwhile.
 */
static void heaps_lock_take(void)
{
	ferry__thread_leave();
	pthread_mutex_lock(&heaps_lock);
}

static void heaps_lock_release(void)
{
	pthread_mutex_unlock(&heaps_lock);
	ferry__thread_enter();
}

int ferry__survive_init(struct ferry_heap *heap)
{
	pthread_once(&once, register_handlers);
	if (once_result)
		return once_result;
	heaps_lock_take();
	cds_list_add_tail(&heap->fork.node, &heaps);
	heaps_lock_release();
	return 0;
}

void ferry__survive_fini(struct ferry_heap *heap)
{
	heaps_lock_take();
	cds_list_del(&heap->fork.node);
	heaps_lock_release();
}
