/* SPDX-License-Identifier: MIT */
/*
 * The stopped world: mutators poll a word that is theirs alone, and come here
 * when it is set.
 *
 * A mutator runs or does not; world.running counts those that do. It changes
 * under the world lock alone, so that the lock orders everything a mutator
 * did before it stopped before what the collector does in the pause, and that
 * before what the mutator does afterwards (S1 in DESIGN.md).
 */
#include "runtime/heap-internal.h"

#include <string.h>

static void polls_set(struct ferry_heap *heap, uint32_t value)
{
	struct ferry__mutator *m;

	/* Relaxed: a poll that sees it late stops late; the lock orders. */
	cds_list_for_each_entry (m, &heap->world.mutators, node)
		__atomic_store_n(&m->pub.poll, value, __ATOMIC_RELAXED);
}

bool ferry__world_is_quiet(struct ferry_heap *heap)
{
	bool quiet;

	pthread_mutex_lock(&heap->world.lock);
	/* Relaxed: who stalls has given up running before. */
	quiet = !heap->world.running &&
		(heap->world.stopping ||
		 atomic_load_explicit(&heap->cycle.stalled,
				      memory_order_relaxed));
	pthread_mutex_unlock(&heap->world.lock);
	return quiet;
}

void ferry__world_stop(struct ferry_heap *heap, enum ferry_pause why)
{
	struct ferry__world *world = &heap->world;

	ferry__event_pause_begin(heap, why);
	pthread_mutex_lock(&world->lock);
	ferry__check(!world->stopping);
	world->stopping = true;
	polls_set(heap, 1);
	while (world->running)
		pthread_cond_wait(&world->quiet, &world->lock);
	pthread_mutex_unlock(&world->lock);
	ferry__event_pause_stopped(heap, why);
}

void ferry__world_resume(struct ferry_heap *heap, enum ferry_pause why)
{
	struct ferry__world *world = &heap->world;

	pthread_mutex_lock(&world->lock);
	world->stopping = false;
	polls_set(heap, 0);
	pthread_cond_broadcast(&world->resume);
	pthread_mutex_unlock(&world->lock);
	ferry__event_pause_end(heap, why);
}

/* --- fork ------------------------------------------------------------------- */

void ferry__world_freeze(struct ferry_heap *heap)
{
	struct ferry__world *world = &heap->world;

	ferry__event_pause_begin(heap, FERRY_PAUSE_OTHER);
	pthread_mutex_lock(&world->lock);
	world->stopping = true;
	world->frozen = true;
	polls_set(heap, 1);
	while (world->running != world->parked)
		pthread_cond_wait(&world->quiet, &world->lock);
	pthread_mutex_unlock(&world->lock);
	ferry__event_pause_stopped(heap, FERRY_PAUSE_OTHER);
}

static void thaw_locked(struct ferry_heap *heap)
{
	heap->world.stopping = false;
	heap->world.frozen = false;
	polls_set(heap, 0);
	pthread_cond_broadcast(&heap->world.resume);
}

void ferry__world_thaw(struct ferry_heap *heap)
{
	pthread_mutex_lock(&heap->world.lock);
	thaw_locked(heap);
	pthread_mutex_unlock(&heap->world.lock);
	ferry__event_pause_end(heap, FERRY_PAUSE_OTHER);
}

void ferry__world_park(struct ferry__mutator *m)
{
	struct ferry__world *world = &m->heap->world;

	pthread_mutex_lock(&world->lock);
	m->parked = m->running;
	world->parked += m->parked;
	if (world->stopping)
		pthread_cond_signal(&world->quiet);
	pthread_mutex_unlock(&world->lock);
}

void ferry__world_unpark(struct ferry__mutator *m)
{
	struct ferry__world *world = &m->heap->world;

	pthread_mutex_lock(&world->lock);
	while (world->frozen)
		pthread_cond_wait(&world->resume, &world->lock);
	world->parked -= m->parked;
	m->parked = false;
	pthread_mutex_unlock(&world->lock);
}

static void mutator_forget(struct ferry__mutator *m)
{
	ferry__space_retire(&m->pub);
	cds_list_del(&m->node);
	m->heap->world.len--;
	ferry__meta_free(m, sizeof(*m));
}

void ferry__world_forget(struct ferry_heap *heap)
{
	struct ferry__world *world = &heap->world;
	struct ferry__mutator *m, *next;

	pthread_mutex_lock(&world->lock);
	world->running = 0;
	world->parked = 0;
	cds_list_for_each_entry_safe (m, next, &world->mutators, node)
		if (!pthread_equal(m->thread, pthread_self()))
			mutator_forget(m);
	thaw_locked(heap);
	pthread_mutex_unlock(&world->lock);
}

/* --- leaving and entering ----------------------------------------------------- */

/*
 * Callee-saved registers may hold the only reference to an object while the
 * thread is inside a call that does not save them on the part of the stack
 * that is scanned.
 */
static inline __attribute__((always_inline)) void
regs_save(uintptr_t regs[FERRY__REGS])
{
#if defined(__x86_64__)
	__asm__ volatile("movq %%rbx, 0(%0)\n\t"
			 "movq %%rbp, 8(%0)\n\t"
			 "movq %%r12, 16(%0)\n\t"
			 "movq %%r13, 24(%0)\n\t"
			 "movq %%r14, 32(%0)\n\t"
			 "movq %%r15, 40(%0)\n\t"
			 :
			 : "r"(regs)
			 : "memory");
#elif defined(__aarch64__)
	__asm__ volatile("stp x19, x20, [%0, 0]\n\t"
			 "stp x21, x22, [%0, 16]\n\t"
			 "stp x23, x24, [%0, 32]\n\t"
			 "stp x25, x26, [%0, 48]\n\t"
			 "stp x27, x28, [%0, 64]\n\t"
			 "str x29, [%0, 80]\n\t"
			 :
			 : "r"(regs)
			 : "memory");
#else
	__builtin_unwind_init();
	regs[0] = (uintptr_t)__builtin_frame_address(0);
#endif
}

/* Out of line, so that its frame lies inside of all that is scanned. */
static __attribute__((noinline)) void stack_note(struct ferry__mutator *m)
{
	regs_save(m->regs);
	m->stack_top = __builtin_frame_address(0);
}

void ferry__mutator_leave(struct ferry_mutator *m)
{
	struct ferry__world *world;

	if (!m)
		return;
	world = &ferry__mutator(m)->heap->world;
	ferry__stress_delay(ferry__mutator(m)->heap, FERRY__POINT_SAFEPOINT);
	stack_note(ferry__mutator(m));
	pthread_mutex_lock(&world->lock);
	ferry__check(ferry__mutator(m)->running);
	ferry__mutator(m)->running = false;
	world->running--;
	if (world->stopping)
		pthread_cond_signal(&world->quiet);
	pthread_mutex_unlock(&world->lock);
}

/* World lock, let go meanwhile. */
static void wait_for_resume(struct ferry__mutator *m)
{
	struct ferry__world *world = &m->heap->world;

	pthread_mutex_unlock(&world->lock);
	ferry__thread_park(m);
	pthread_mutex_lock(&world->lock);
	while (world->stopping)
		pthread_cond_wait(&world->resume, &world->lock);
	pthread_mutex_unlock(&world->lock);
	ferry__thread_unpark(m);
	pthread_mutex_lock(&world->lock);
}

void ferry__world_join(struct ferry__mutator *m)
{
	struct ferry__world *world = &m->heap->world;

	while (world->stopping)
		wait_for_resume(m);
	m->running = true;
	world->running++;
}

void ferry__mutator_enter(struct ferry_mutator *m)
{
	struct ferry__world *world;

	if (!m)
		return;
	world = &ferry__mutator(m)->heap->world;
	pthread_mutex_lock(&world->lock);
	ferry__world_join(ferry__mutator(m));
	pthread_mutex_unlock(&world->lock);
	ferry__stress_delay(ferry__mutator(m)->heap, FERRY__POINT_SAFEPOINT);
}

void ferry_safepoint_slow(struct ferry_mutator *m)
{
	ferry__mutator_leave(m);
	ferry__mutator_enter(m);
}

void ferry_blocking_enter(struct ferry_mutator *m)
{
	ferry__mutator_leave(m);
}

void ferry_blocking_leave(struct ferry_mutator *m)
{
	ferry__mutator_enter(m);
}

int ferry__world_init(struct ferry_heap *heap)
{
	struct ferry__world *world = &heap->world;

	pthread_mutex_init(&world->lock, NULL);
	pthread_cond_init(&world->resume, NULL);
	pthread_cond_init(&world->quiet, NULL);
	CDS_INIT_LIST_HEAD(&world->mutators);
	return 0;
}

void ferry__world_fini(struct ferry_heap *heap)
{
	struct ferry__world *world = &heap->world;

	pthread_cond_destroy(&world->quiet);
	pthread_cond_destroy(&world->resume);
	pthread_mutex_destroy(&world->lock);
}
