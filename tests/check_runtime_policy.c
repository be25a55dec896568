/* SPDX-License-Identifier: MIT */
/* The policy of real heaps: limits, the host's callback, what is published. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/heap-internal.h"
#include "tests/harness.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

static struct ferry_heap *heap;
static struct ferry_mutator *mutator;

static void make(struct ferry_heap_params *p)
{
	p->no_environment = true;
	ck_assert_int_eq(ferry_heap_create(p, NULL, &heap), 0);
	ck_assert_int_eq(ferry_mutator_attach(heap, NULL, &mutator), 0);
}

static void make_stopped(void)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);

	p.mode = FERRY_GC_STOPPED;
	p.max_bytes = 64 * MIB;
	p.min_bytes = 4 * MIB;
	make(&p);
}

static void unmake(void)
{
	ferry_mutator_detach(mutator);
	ck_assert_int_eq(ferry_heap_destroy(heap), 0);
}

/* Allocates @bytes of garbage; returns how many were to be had. */
static size_t litter(size_t bytes)
{
	size_t done;

	for (done = 0; done < bytes; done += 4096)
		if (!ferry_alloc(mutator, 4096, FERRY_KIND_RAW))
			break;
	return done;
}

/* Allocates @bytes that stay; the head of a list of pairs keeps them. */
static void *kept[2];

static size_t hoard(size_t bytes, size_t size)
{
	size_t done;
	void **link;

	for (done = 0; done < bytes; done += size) {
		link = ferry_alloc(mutator, size, FERRY_KIND_AMBIGUOUS);
		if (!link)
			break;
		*link = kept[0];
		kept[0] = link;
	}
	return done;
}

static struct ferry_heap_stats stats(void)
{
	static struct ferry_heap_stats s;

	s = (struct ferry_heap_stats)FERRY_INIT(struct ferry_heap_stats);
	ck_assert_int_eq(ferry_heap_stats(heap, &s), 0);
	return s;
}

START_TEST(garbage_is_collected_at_the_target)
{
	struct ferry_heap_stats s;

	make_stopped();
	ck_assert_uint_eq(litter(40 * MIB), 40 * MIB);
	s = stats();
	ck_assert_uint_ge(s.fulls, 2);
	ck_assert_uint_ge(s.target, 4 * MIB);
	ck_assert_uint_le(s.used, 16 * MIB);
	unmake();
}
END_TEST

START_TEST(small_programs_are_not_collected)
{
	make_stopped();
	ck_assert_uint_eq(litter(3 * MIB), 3 * MIB);
	ck_assert_uint_eq(stats().fulls, 0);
	unmake();
}
END_TEST

START_TEST(limit_is_kept_and_allocation_returns_null)
{
	struct ferry_root *root;

	make_stopped();
	ck_assert_int_eq(
		ferry_root_add_ambiguous(heap, kept, sizeof(kept), &root), 0);
	ck_assert_uint_lt(hoard(200 * MIB, 4096), 64 * MIB + 1);
	ck_assert_uint_le(stats().used, 64 * MIB);
	ferry_root_remove(heap, root);
	unmake();
}
END_TEST

static size_t asked, gives;

static size_t more(void *arg, size_t size, size_t used)
{
	ck_assert_ptr_eq(arg, &asked);
	ck_assert_uint_gt(size, 0);
	ck_assert_uint_gt(used, 30 * MIB);
	asked++;
	return gives;
}

static void make_asking(void)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);
	struct ferry_root *root;

	p.mode = FERRY_GC_STOPPED;
	p.max_bytes = 40 * MIB;
	p.limit = more;
	p.arg = &asked;
	make(&p);
	ck_assert_int_eq(
		ferry_root_add_ambiguous(heap, kept, sizeof(kept), &root), 0);
}

START_TEST(host_is_asked_at_the_limit_and_its_no_is_final)
{
	make_asking();
	ck_assert_uint_le(hoard(100 * MIB, 4096), 40 * MIB);
	ck_assert_uint_eq(asked, 1);
	ck_assert_uint_eq(stats().limit, 40 * MIB);
	ck_assert_ptr_null(ferry_alloc(mutator, 4096, FERRY_KIND_RAW));
	ck_assert_uint_eq(asked, 2);
	unmake();
}
END_TEST

START_TEST(host_that_gives_more_is_asked_again_when_that_is_gone)
{
	make_asking();
	gives = 4 * MIB;
	ck_assert_uint_eq(hoard(48 * MIB, 4096), 48 * MIB);
	ck_assert_uint_ge(asked, 2);
	ck_assert_uint_le(asked, 4);
	ck_assert_uint_eq(stats().limit, 40 * MIB + asked * gives);
	unmake();
}
END_TEST

START_TEST(limit_ends_with_the_reservation)
{
	make_asking();
	gives = SIZE_MAX;
	hoard(48 * MIB, 4096);
	ck_assert_uint_eq(stats().limit, heap->half);
	unmake();
}
END_TEST

START_TEST(limit_can_be_changed)
{
	struct ferry_root *root;

	make_stopped();
	ck_assert_int_eq(
		ferry_root_add_ambiguous(heap, kept, sizeof(kept), &root), 0);
	ck_assert_int_eq(ferry_heap_set_limit(heap, 0), -EINVAL);
	ck_assert_int_eq(ferry_heap_set_limit(heap, heap->half + 1), -EINVAL);
	ck_assert_int_eq(ferry_heap_set_limit(heap, 8 * MIB), 0);
	ck_assert_uint_le(stats().target, 8 * MIB);
	ck_assert_uint_le(hoard(20 * MIB, 4096), 8 * MIB);
	ck_assert_int_eq(ferry_heap_set_limit(heap, 32 * MIB), 0);
	ck_assert_uint_eq(hoard(16 * MIB, 4096), 16 * MIB);
	/* Below what is used: nothing more, and nothing is lost. */
	ck_assert_int_eq(ferry_heap_set_limit(heap, MIB), 0);
	ck_assert_ptr_null(ferry_alloc(mutator, 8192, FERRY_KIND_RAW));
	unmake();
}
END_TEST

static size_t resized;

static void hear(void *arg, const struct ferry_event *event)
{
	(void)arg;
	if (event->kind == FERRY_EVENT_RESIZE)
		resized = event->value;
}

START_TEST(new_targets_are_events)
{
	struct ferry_listener *listener;

	make_stopped();
	ck_assert_int_eq(ferry_listener_add(heap, hear, NULL, &listener), 0);
	ck_assert_int_eq(ferry_heap_set_limit(heap, 2 * MIB), 0);
	ck_assert_uint_eq(resized, 2 * MIB);
	ck_assert_uint_eq(stats().target, 2 * MIB);
	unmake();
}
END_TEST

START_TEST(pressure_asks_for_a_collection_that_keeps_nothing)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);
	struct ferry_heap_stats s;

	p.mode = FERRY_GC_CONCURRENT;
	p.no_pressure = true; /* of this machine's */
	p.max_bytes = 256 * MIB;
	p.min_bytes = 64 * MIB;
	make(&p);
	litter(32 * MIB);
	ferry__policy_press(heap, true);
	/* The request is served before this one is over. */
	ck_assert_int_eq(ferry_heap_collect(heap, mutator, FERRY_COLLECT_FULL),
			 0);
	s = stats();
	ck_assert_uint_ge(s.fulls, 1);
	ck_assert_uint_le(s.committed, 4 * MIB);
	ck_assert_uint_ge(s.released, 24 * MIB);
	ferry__policy_press(heap, false);
	ck_assert(!heap->policy.pressed);
	unmake();
}
END_TEST

static size_t used_now(void)
{
	return atomic_load(&heap->space.taken) +
	       atomic_load(&heap->large.bytes);
}

/* Was a collection asked for, ever? */
static bool is_asked(void)
{
	return atomic_load(&heap->cycle.number) ||
	       atomic_load(&heap->cycle.asked);
}

/*
 * How long a collection takes depends on what else the machine does, and so
 * does whether the program overtakes it. When it is asked for does not, nor
 * that there must be a reason to wait.
 */
START_TEST(concurrent_program_waits_at_the_limit_only)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);
	size_t i, n = harness_scaled(2048) * (MIB / 4096), used;
	uint64_t stalls;

	p.mode = FERRY_GC_CONCURRENT;
	p.no_pressure = true;
	p.no_compact = true; /* it takes blocks beside the program */
	p.max_bytes = 512 * MIB;
	make(&p);
	for (i = 0; i < n && !is_asked(); i++)
		ck_assert_ptr_nonnull(
			ferry_alloc(mutator, 4096, FERRY_KIND_RAW));
	ck_assert(is_asked());
	ck_assert_uint_le(i * 4096, 64 * MIB);
	for (; i < n; i++) {
		used = used_now();
		stalls = atomic_load(&heap->events.count.stalls);
		ck_assert_ptr_nonnull(
			ferry_alloc(mutator, 4096, FERRY_KIND_RAW));
		if (atomic_load(&heap->events.count.stalls) != stalls)
			ck_assert_uint_gt(used + FERRY__BLOCK_SIZE, 512 * MIB);
	}
	/* It comes by itself, in its time. */
	while (!stats().fulls)
		ferry_safepoint(mutator);
	unmake();
}
END_TEST

static _Atomic size_t refused;

static void *litter_beside(void *arg)
{
	size_t i, n = harness_scaled(100000);
	struct ferry_mutator *m;

	(void)arg;
	if (ferry_mutator_attach(heap, NULL, &m))
		return (void *)"attach";
	for (i = 0; i < n; i++)
		if (!ferry_alloc(m, 4096, FERRY_KIND_RAW))
			atomic_fetch_add(&refused, 1);
	ferry_mutator_detach(m);
	return NULL;
}

static void *large_litter(void *arg)
{
	struct random rng = random_seeded(harness_seed() + (uintptr_t)arg);
	struct ferry_mutator *m;
	size_t i, n = harness_scaled(2000);

	if (ferry_mutator_attach(heap, NULL, &m))
		return (void *)"attach";
	for (i = 0; i < n; i++)
		if (!ferry_alloc(m, 65536 + random_below(&rng, 512) * 1024,
				 FERRY_KIND_LEAF))
			atomic_fetch_add(&refused, 1);
	ferry_mutator_detach(m);
	return NULL;
}

#define CROWD_MAX 6u

/* @n threads, of numbers from 0 on, allocate at once; none is refused. */
static void crowd(struct ferry_heap_params *p, void *(*allocate)(void *arg),
		  size_t n)
{
	pthread_t thread[CROWD_MAX];
	void *wrong;
	uintptr_t i;

	make(p);
	ferry_blocking_enter(mutator);
	for (i = 0; i < n; i++)
		ck_assert_int_eq(
			pthread_create(&thread[i], NULL, allocate, (void *)i),
			0);
	for (i = 0; i < n; i++) {
		ck_assert_int_eq(pthread_join(thread[i], &wrong), 0);
		ck_assert_msg(!wrong, "%s", (char *)wrong);
	}
	ferry_blocking_leave(mutator);
	ck_assert_uint_eq(refused, 0);
	unmake();
}

START_TEST(null_means_full_and_not_that_others_were_quicker)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);

	p.mode = FERRY_GC_STOPPED;
	p.max_bytes = MIB; /* sixteen blocks for six threads */
	crowd(&p, litter_beside, CROWD_MAX);
}
END_TEST

/* Garbage in large objects alone, nearly up to the limit at any time. */
START_TEST(garbage_of_others_is_not_taken_for_alive)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);

	p.no_pressure = true;
	p.max_bytes = 5 * MIB;
	crowd(&p, large_litter, 2);
}
END_TEST

START_TEST(idle_time_is_used_for_a_collection_ahead)
{
	make_stopped();
	ck_assert(!ferry_heap_idle(heap, mutator, 1));
	litter(3 * MIB);
	ck_assert(!ferry_heap_idle(heap, mutator, UINT64_MAX / 2));
	ck_assert_uint_eq(stats().fulls, 1);
	/* Now it is known that it takes longer than that. */
	litter(3 * MIB);
	ck_assert(ferry_heap_idle(heap, mutator, 1));
	ck_assert_uint_eq(stats().fulls, 1);
	unmake();
}
END_TEST

START_TEST(idle_time_asks_the_collector_and_gives_memory_back)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);

	p.mode = FERRY_GC_CONCURRENT;
	p.no_pressure = true;
	p.max_bytes = 64 * MIB;
	make(&p);
	/* Less than what begins a collection by itself, more than half. */
	litter(3 * MIB);
	while (ferry_heap_idle(heap, mutator, 1000000))
		ferry_safepoint(mutator);
	ck_assert_uint_ge(stats().fulls, 1);
	ck_assert_uint_le(stats().used, MIB);
	unmake();
}
END_TEST

static const struct test tests[] = {
	TEST(garbage_is_collected_at_the_target, NULL),
	TEST(small_programs_are_not_collected, NULL),
	TEST(limit_is_kept_and_allocation_returns_null, NULL),
	TEST(host_is_asked_at_the_limit_and_its_no_is_final, NULL),
	TEST(host_that_gives_more_is_asked_again_when_that_is_gone, NULL),
	TEST(limit_ends_with_the_reservation, NULL),
	TEST(limit_can_be_changed, NULL),
	TEST(new_targets_are_events, NULL),
	TEST(pressure_asks_for_a_collection_that_keeps_nothing, "move"),
	TEST(concurrent_program_waits_at_the_limit_only, "move"),
	TEST(null_means_full_and_not_that_others_were_quicker, NULL),
	TEST(garbage_of_others_is_not_taken_for_alive, NULL),
	TEST(idle_time_is_used_for_a_collection_ahead, NULL),
	TEST(idle_time_asks_the_collector_and_gives_memory_back, "move"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
