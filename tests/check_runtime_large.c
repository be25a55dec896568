/* SPDX-License-Identifier: MIT */
/*
 * The space of large objects by itself: a heap made by hand that has an arena
 * and nothing else.
 */
#include "tests/harness.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/alloc-internal.h"
#include "runtime/extent.h"
#include "runtime/heap-internal.h"
#include "runtime/verify.h"
#include "tests/inject.h"
#include "tests/memory.h"

#define KIB  ((size_t)1 << 10)
#define MIB  ((size_t)1 << 20)
#define PAGE ((size_t)4096)
#define HALF (64 * MIB)

static struct ferry_heap *heap_new(size_t half)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_heap *heap = calloc(1, sizeof(*heap));

	ck_assert_ptr_nonnull(heap);
	p.reserve = FERRY__PARTS * half;
	ck_assert_int_eq(ferry_arena_create(&p, &heap->arena), 0);
	heap->base = (uintptr_t)ferry_arena_base(heap->arena);
	heap->half = half;
	ck_assert_int_eq(ferry__large_init(heap), 0);
	return heap;
}

static void heap_free(struct ferry_heap *heap)
{
	ferry__large_fini(heap);
	ferry_arena_destroy(heap->arena);
	free(heap);
}

static void expect_sound(struct ferry_heap *heap)
{
	struct ferry_heap_fault fault = FERRY_INIT(struct ferry_heap_fault);
	int r = ferry__large_check(heap, &fault);

	ck_assert_msg(r == 0, "%s (object %p, value %p)", fault.what,
		      fault.object, fault.value);
}

static uintptr_t make(struct ferry_heap *heap, size_t size)
{
	return ferry__large_alloc(heap, size, PAGE, FERRY_KIND_LEAF,
				  FERRY__COLOUR_YOUNG);
}

static void mark(struct ferry_heap *heap, uintptr_t addr)
{
	uint8_t *meta = ferry__meta(heap, addr);

	ferry__meta_store(
		meta, (uint8_t)((ferry__meta_load(meta) & ~FERRY_META_COLOUR) |
				FERRY__COLOUR_A));
}

static void unmark(struct ferry_heap *heap, uintptr_t addr)
{
	*ferry__meta(heap, addr) &= (uint8_t)~FERRY_META_COLOUR;
}

/* A collection that marks nothing more than is marked. */
static size_t sweep(struct ferry_heap *heap)
{
	ferry__large_sweep_begin(heap);
	return ferry__large_sweep(heap, FERRY__COLOUR_A, FERRY__COLOUR_OTHER);
}

static size_t kept(const struct ferry_heap *heap)
{
	return atomic_load(&heap->large.kept);
}

static bool is_zero(uintptr_t addr, size_t len)
{
	const char *p = (const char *)addr;

	return !p[0] && memcmp(p, p + 1, len - 1) == 0;
}

START_TEST(object_is_zeroed_and_tagged)
{
	struct ferry_heap *heap = heap_new(HALF);
	static const size_t sizes[] = { 1,	8193,	 12288,	  12289,
					100000, MIB + 1, 5 * MIB, 20 * MIB };
	size_t i, pages;
	uintptr_t addr;
	uint8_t *meta;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		addr = ferry__large_alloc(heap, sizes[i], PAGE,
					  FERRY_KIND_TRACED, FERRY__COLOUR_B);
		pages = (sizes[i] + PAGE - 1) / PAGE;
		ck_assert(ferry__in_heap(heap, addr));
		ck_assert(ferry__is_large(heap, addr));
		ck_assert_uint_eq(addr % PAGE, 0);
		ck_assert(is_zero(addr, sizes[i]));
		memset((void *)addr, 0x5a, sizes[i]);
		meta = ferry__meta(heap, addr);
		ck_assert_uint_eq(meta[0],
				  FERRY_KIND_TRACED | FERRY__COLOUR_B |
					  (pages == 1 ? FERRY_META_END : 0));
		ck_assert(meta[pages - 1] & FERRY_META_END);
		ck_assert_uint_eq(ferry__large_bytes(heap, addr), pages * PAGE);
	}
	expect_sound(heap);
	heap_free(heap);
}
END_TEST

START_TEST(inner_addresses_find_their_object)
{
	struct ferry_heap *heap = heap_new(HALF);
	uintptr_t a = make(heap, 3 * PAGE), b = make(heap, 40 * PAGE);
	uintptr_t c = make(heap, 10 * MIB);
	size_t i;

	for (i = 0; i < 3 * PAGE; i += 8)
		ck_assert_uint_eq(ferry__large_find(heap, a + i), a);
	for (i = 0; i < 40 * PAGE; i += 100)
		ck_assert_uint_eq(ferry__large_find(heap, b + i), b);
	for (i = 0; i < 10 * MIB; i += PAGE - 1)
		ck_assert_uint_eq(ferry__large_find(heap, c + i), c);
	ck_assert_uint_eq(ferry__large_find(heap, c + 10 * MIB), 0);
	ck_assert_uint_eq(ferry__large_find(heap, heap->base + 3 * HALF - 1),
			  0);
	heap_free(heap);
}
END_TEST

START_TEST(what_stood_there_before_is_not_found)
{
	struct ferry_heap *heap = heap_new(HALF);
	uintptr_t a = make(heap, 100 * PAGE), wall = make(heap, PAGE), b, c;
	size_t i;

	mark(heap, wall);
	ck_assert_uint_eq(sweep(heap), 100 * PAGE);
	for (i = 0; i < 100; i++)
		ck_assert_uint_eq(ferry__large_find(heap, a + i * PAGE), 0);
	b = make(heap, 10 * PAGE);
	c = make(heap, 20 * PAGE);
	ck_assert_uint_eq(b, a);
	ck_assert_uint_eq(c, a + 10 * PAGE);
	for (i = 0; i < 100; i++)
		ck_assert_uint_eq(ferry__large_find(heap, a + i * PAGE),
				  i < 10   ? b
				  : i < 30 ? c
					   : 0);
	expect_sound(heap);
	heap_free(heap);
}
END_TEST

START_TEST(reused_memory_is_zero)
{
	struct ferry_heap *heap = heap_new(HALF);
	size_t round, i, size;
	uintptr_t addr[20];

	for (round = 0; round < 5; round++) {
		for (i = 0; i < 20; i++) {
			size = (i * 37 + round * 11) % 200 * 1000 + 9000;
			addr[i] = make(heap, size);
			ck_assert(is_zero(addr[i], size));
			memset((void *)addr[i], 0xff, size);
		}
		sweep(heap);
		expect_sound(heap);
		ck_assert_uint_gt(kept(heap), 0);
	}
	heap_free(heap);
}
END_TEST

START_TEST(big_objects_give_their_memory_back_at_once)
{
	struct ferry_heap *heap = heap_new(HALF);
	uintptr_t a = make(heap, 8 * MIB), b = make(heap, 100 * KIB);

	memset((void *)a, 1, 8 * MIB);
	memset((void *)b, 1, 100 * KIB);
	ck_assert_uint_eq(sweep(heap), 8 * MIB + 100 * KIB);
	ck_assert_uint_eq(kept(heap), 100 * KIB);
	ck_assert_int_eq(ferry_arena_page_state(heap->arena, a - heap->base),
			 FERRY_PAGE_ABSENT);
	expect_sound(heap);
	heap_free(heap);
}
END_TEST

START_TEST(release_stops_at_what_is_to_be_kept)
{
	struct ferry_heap *heap = heap_new(HALF);
	size_t i, got;

	for (i = 0; i < 64; i++) {
		make(heap, 64 * KIB);
		if (i % 2)
			mark(heap, make(heap, 64 * KIB));
	}
	sweep(heap);
	ck_assert_uint_eq(kept(heap), 4 * MIB);
	got = ferry__large_release(heap, MIB);
	ck_assert_uint_eq(got, 3 * MIB);
	ck_assert_uint_eq(kept(heap), MIB);
	expect_sound(heap);
	ck_assert_uint_eq(ferry__large_release(heap, 0), MIB);
	ck_assert_uint_eq(kept(heap), 0);
	ck_assert_uint_eq(ferry__large_release(heap, 0), 0);
	expect_sound(heap);
	heap_free(heap);
}
END_TEST

START_TEST(refused_release_keeps_the_accounts)
{
	struct inject_rule rule = { .call = INJECT_MADVISE,
				    .count = INJECT_ALWAYS,
				    .error = ENOMEM };
	struct ferry_heap *heap = heap_new(HALF);

	make(heap, 8 * MIB);
	make(heap, 64 * KIB);
	inject_start();
	inject_add(&rule);
	ck_assert_uint_eq(sweep(heap), 8 * MIB + 64 * KIB);
	ck_assert_uint_eq(kept(heap), 8 * MIB + 64 * KIB);
	ck_assert_uint_eq(ferry__large_release(heap, 0), 0);
	inject_stop();
	expect_sound(heap);
	ck_assert_uint_eq(ferry__large_release(heap, 0), 8 * MIB + 64 * KIB);
	expect_sound(heap);
	heap_free(heap);
}
END_TEST

START_TEST(free_neighbours_are_one)
{
	struct random rng = harness_random();
	struct ferry_heap *heap = heap_new(HALF);
	uintptr_t addr[200];
	size_t i, n = 200;

	for (i = 0; i < n; i++)
		addr[i] = make(heap, (3 + random_below(&rng, 50)) * PAGE);
	/* Each sweep frees one of them. */
	while (n) {
		size_t gone = random_below(&rng, n);

		for (i = 0; i < n; i++)
			if (i != gone)
				mark(heap, addr[i]);
		sweep(heap);
		for (i = 0; i < n; i++)
			if (i != gone)
				unmark(heap, addr[i]);
		addr[gone] = addr[--n];
		expect_sound(heap);
	}
	ck_assert_uint_eq(atomic_load(&heap->large.bytes), 0);
	ferry__large_release(heap, 0);
	ck_assert_uint_eq(atomic_load(&heap->large.used_end), 0);
	ck_assert_uint_ne(make(heap, HALF), 0);
	heap_free(heap);
}
END_TEST

START_TEST(sweep_frees_what_has_another_colour)
{
	struct ferry_heap *heap = heap_new(HALF);
	uintptr_t young = make(heap, 3 * PAGE), kept_one = make(heap, 3 * PAGE);
	uintptr_t younger = ferry__large_alloc(
		heap, 3 * PAGE, PAGE, FERRY_KIND_LEAF, FERRY__COLOUR_OTHER);
	uintptr_t old = ferry__large_alloc(heap, 3 * PAGE, PAGE,
					   FERRY_KIND_LEAF, FERRY__COLOUR_B);

	mark(heap, kept_one);
	ck_assert_uint_eq(sweep(heap), 6 * PAGE);
	ck_assert_uint_eq(ferry__large_find(heap, young), 0);
	ck_assert_uint_eq(ferry__large_find(heap, old), 0);
	ck_assert_uint_eq(ferry__large_find(heap, kept_one), kept_one);
	ck_assert_uint_eq(ferry__large_find(heap, younger), younger);
	heap_free(heap);
}
END_TEST

START_TEST(what_came_after_marking_is_not_swept)
{
	struct ferry_heap *heap = heap_new(HALF);
	uintptr_t before = make(heap, 3 * PAGE), after;
	unsigned int round;

	for (round = 0; round < 5; round++) {
		ferry__large_sweep_begin(heap);
		after = make(heap, 3 * PAGE);
		ck_assert_uint_eq(ferry__large_sweep(heap, FERRY__COLOUR_A,
						     FERRY__COLOUR_OTHER),
				  3 * PAGE);
		ck_assert_uint_eq(ferry__large_find(heap, before), 0);
		ck_assert_uint_eq(ferry__large_find(heap, after), after);
		before = after;
		expect_sound(heap);
	}
	heap_free(heap);
}
END_TEST

START_TEST(survivors_can_die_in_any_later_sweep)
{
	struct ferry_heap *heap = heap_new(HALF);
	unsigned int lives, round;

	for (lives = 0; lives < 5; lives++) {
		uintptr_t addr = make(heap, 5 * PAGE);

		for (round = 0; round < lives; round++) {
			mark(heap, addr);
			ck_assert_uint_eq(sweep(heap), 0);
		}
		ferry__large_sweep_begin(heap);
		/* The colours have changed places: it is not marked. */
		ck_assert_uint_eq(ferry__large_sweep(heap, FERRY__COLOUR_B,
						     FERRY__COLOUR_OTHER),
				  5 * PAGE);
	}
	heap_free(heap);
}
END_TEST

START_TEST(alignment_is_kept_up_to_a_huge_page)
{
	struct random rng = harness_random();
	struct ferry_heap *heap = heap_new(HALF);
	size_t i, align, size;
	uintptr_t addr;

	for (i = 0; i < 30; i++) {
		align = PAGE << random_below(&rng, 10);
		size = 1 + random_below(&rng, MIB);
		addr = ferry__large_alloc(heap, size, align, FERRY_KIND_RAW,
					  FERRY__COLOUR_YOUNG);
		if (!addr) {
			sweep(heap);
			continue;
		}
		ck_assert_uint_eq(addr % align, 0);
		memset((void *)addr, 1, size);
		expect_sound(heap);
	}
	heap_free(heap);
}
END_TEST

START_TEST(full_space_returns_null_and_recovers)
{
	struct ferry_heap *heap = heap_new(HALF);
	size_t n = 0;

	ck_assert_uint_eq(make(heap, HALF + 1), 0);
	ck_assert_uint_eq(make(heap, SIZE_MAX), 0);
	while (make(heap, 5 * MIB))
		n++;
	ck_assert_uint_eq(n, 12);
	ck_assert_uint_ne(make(heap, 4 * MIB), 0);
	ck_assert_uint_eq(make(heap, PAGE), 0);
	ck_assert_uint_eq(sweep(heap), HALF);
	expect_sound(heap);
	ck_assert_uint_ne(make(heap, HALF), 0);
	heap_free(heap);
}
END_TEST

/* Free extents lie so that the best is far down its bin. */
START_TEST(last_extent_that_fits_is_found)
{
	struct ferry_heap *heap = heap_new(HALF);
	uintptr_t first = make(heap, 79 * PAGE), addr;
	size_t i;

	mark(heap, make(heap, PAGE));
	for (i = 0; i < 150; i++) {
		make(heap, 64 * PAGE);
		mark(heap, make(heap, PAGE));
	}
	do {
		addr = make(heap, 65 * PAGE);
		if (addr)
			mark(heap, addr);
	} while (addr);
	ck_assert_uint_gt(sweep(heap), 150 * 64 * PAGE);
	expect_sound(heap);
	ck_assert_uint_eq(make(heap, 79 * PAGE), first);
	ck_assert_uint_eq(make(heap, 79 * PAGE), 0);
	heap_free(heap);
}
END_TEST

START_TEST(failed_commit_returns_null_and_keeps_the_accounts)
{
	struct inject_rule rule = { .call = INJECT_MMAP,
				    .count = INJECT_ALWAYS,
				    .error = ENOMEM };
	struct ferry_heap *heap = heap_new(HALF);

	inject_start();
	inject_add(&rule);
	ck_assert_uint_eq(make(heap, 5 * PAGE), 0);
	inject_stop();
	expect_sound(heap);
	ck_assert_uint_eq(atomic_load(&heap->large.bytes), 0);
	ck_assert_uint_ne(make(heap, 5 * PAGE), 0);
	heap_free(heap);
}
END_TEST

START_TEST(poison_is_left_in_what_was_freed)
{
	struct ferry_heap *heap = heap_new(HALF);
	uintptr_t a = make(heap, 3 * PAGE);

	heap->stress.poison = true;
	sweep(heap);
	ck_assert_uint_eq(*(uint64_t *)a, 0xdbdbdbdbdbdbdbdbull);
	ck_assert_uint_eq(make(heap, 3 * PAGE), a);
	ck_assert(is_zero(a, 3 * PAGE));
	heap_free(heap);
}
END_TEST

/* --- planted damage -------------------------------------------------------- */

static const char *check(struct ferry_heap *heap)
{
	struct ferry_heap_fault fault = FERRY_INIT(struct ferry_heap_fault);

	if (ferry__large_check(heap, &fault) == 0)
		return "";
	return fault.what;
}

START_TEST(damage_is_found)
{
	struct ferry_heap *heap = heap_new(HALF);
	struct ferry__large *large = &heap->large;
	uintptr_t a = make(heap, 10 * PAGE);
	uint64_t tag;

	mark(heap, make(heap, 10 * PAGE)); /* pages 10 to 19 */
	make(heap, 10 * PAGE);
	mark(heap, make(heap, 10 * PAGE));
	sweep(heap);
	expect_sound(heap);

	heap->large_meta[5] = FERRY_META_END;
	ck_assert_str_eq(check(heap),
			 "a free page has an entry in the side table");
	heap->large_meta[5] = 0;
	heap->large_meta[15] = FERRY_META_END;
	ck_assert_str_eq(check(heap), "an entry inside a large object");
	heap->large_meta[15] = 0;
	heap->large_meta[19] = 0;
	ck_assert_str_eq(check(heap), "a large object without an end");
	heap->large_meta[19] = FERRY_META_END;
	large->start[12] = 3;
	ck_assert_str_eq(check(heap), "a page with the wrong start");
	large->start[12] = 10;
	tag = large->tag[19];
	large->tag[19] = tag - 1;
	ck_assert_str_eq(check(heap), "an extent's tags differ");
	large->tag[19] = tag;
	tag = large->tag[0];
	large->tag[0] = tag + 1000;
	ck_assert_str_eq(check(heap), "an extent of a wrong length");
	large->tag[0] = large->tag[9] = tag & ~FERRY__EXTENT_DIRTY;
	ck_assert_str_eq(check(heap), "a clean extent has memory");
	large->tag[0] = large->tag[9] = tag;
	large->bytes += PAGE;
	ck_assert_str_eq(check(heap), "bytes of large objects are miscounted");
	large->bytes -= PAGE;
	large->kept += PAGE;
	ck_assert_str_eq(check(heap), "kept memory is miscounted");
	large->kept -= PAGE;
	large->link[0].prev = 21;
	large->link[20].next = 0;
	ck_assert_str_ne(check(heap), "");
	ck_assert_uint_eq(ferry__large_find(heap, a), 0);
	heap_free(heap);
}
END_TEST

/* --- at random ------------------------------------------------------------- */

struct piece {
	uintptr_t addr;
	size_t size;
	uint64_t number;
};

static void piece_make(struct ferry_heap *heap, struct random *rng,
		       struct piece *piece)
{
	piece->size =
		FERRY_SMALL_MAX + 1 +
		random_below(rng, random_below(rng, 20) ? 100 * KIB : 4 * MIB);
	piece->addr = make(heap, piece->size);
	if (!piece->addr)
		return;
	ck_assert(is_zero(piece->addr, piece->size));
	piece->number = random_next(rng);
	memset((void *)piece->addr, (int)piece->number, piece->size);
}

static void piece_check(struct ferry_heap *heap, const struct piece *piece,
			struct random *rng)
{
	size_t at = random_below(rng, piece->size);

	if (!piece->addr)
		return;
	ck_assert_uint_eq(*(uint8_t *)(piece->addr + at),
			  (uint8_t)piece->number);
	ck_assert_uint_eq(ferry__large_find(heap, piece->addr + at),
			  piece->addr);
}

START_TEST(random_pieces_keep_their_contents)
{
	struct random rng = harness_random();
	struct ferry_heap *heap = heap_new(HALF);
	struct piece piece[100] = { 0 };
	size_t i, step;

	for (step = 0; step < harness_scaled(3000); step++) {
		i = random_below(&rng, ARRAY_SIZE(piece));
		piece_check(heap, &piece[i], &rng);
		piece_make(heap, &rng, &piece[i]); /* forgets what was there */
		if (!piece[i].addr || random_below(&rng, 50) == 0) {
			for (i = 0; i < ARRAY_SIZE(piece); i++) {
				piece_check(heap, &piece[i], &rng);
				if (random_below(&rng, 3) == 0)
					piece[i].addr = 0;
				else if (piece[i].addr)
					mark(heap, piece[i].addr);
			}
			sweep(heap);
			expect_sound(heap);
			/* All are young again. */
			for (i = 0; i < ARRAY_SIZE(piece); i++)
				if (piece[i].addr)
					unmark(heap, piece[i].addr);
		}
		if (random_below(&rng, 20) == 0)
			ferry__large_release(heap, random_below(&rng, MIB));
	}
	heap_free(heap);
}
END_TEST

/* Several mutators, a sweeper that stops them, one that releases. */
struct crowd {
	struct ferry_heap *heap;
	pthread_rwlock_t world; /* shared: a running mutator */
	_Atomic bool stop;
	_Atomic size_t sweeps;
	struct piece piece[3][40];
	size_t id;
};

static void *mutator_main(void *arg)
{
	struct crowd *crowd = arg;
	struct random rng = harness_random();
	size_t i, steps = harness_scaled(4000), id;

	pthread_rwlock_wrlock(&crowd->world);
	id = crowd->id++;
	pthread_rwlock_unlock(&crowd->world);
	for (i = 0; i < id; i++)
		random_next(&rng);
	/* Until there was something beside them. */
	for (; steps || atomic_load(&crowd->sweeps) < 3; steps -= !!steps) {
		struct piece *piece = &crowd->piece[id][random_below(&rng, 40)];

		pthread_rwlock_rdlock(&crowd->world);
		piece_check(crowd->heap, piece, &rng);
		piece_make(crowd->heap, &rng, piece);
		pthread_rwlock_unlock(&crowd->world);
		if (steps % 16 == 0)
			sched_yield();
	}
	return NULL;
}

static void *sweeper_main(void *arg)
{
	struct crowd *crowd = arg;
	struct ferry_heap *heap = crowd->heap;
	uint8_t keep = FERRY__COLOUR_A;
	size_t i, j;

	while (!atomic_load(&crowd->stop)) {
		pthread_rwlock_wrlock(&crowd->world);
		for (i = 0; i < 3; i++)
			for (j = 0; j < 40; j++) {
				uintptr_t addr = crowd->piece[i][j].addr;
				uint8_t *meta;

				if (!addr)
					continue;
				meta = ferry__meta(heap, addr);
				ferry__meta_store(
					meta,
					(uint8_t)((*meta & ~FERRY_META_COLOUR) |
						  keep));
			}
		ferry__large_sweep_begin(heap);
		expect_sound(heap);
		pthread_rwlock_unlock(&crowd->world);
		ferry__large_sweep(heap, keep, FERRY__COLOUR_OTHER);
		ferry__large_release(heap, MIB);
		keep ^= FERRY_META_COLOUR;
		atomic_fetch_add(&crowd->sweeps, 1);
	}
	return NULL;
}

/* The sweeper gets its turn, however many mutators run. */
static void world_init(pthread_rwlock_t *world)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(
		&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(world, &attr);
	pthread_rwlockattr_destroy(&attr);
}

START_TEST(allocation_and_sweep_run_at_once)
{
	struct crowd crowd = { .heap = heap_new(HALF) };
	pthread_t mutator[3], sweeper;
	size_t i;

	world_init(&crowd.world);
	ck_assert_int_eq(pthread_create(&sweeper, NULL, sweeper_main, &crowd),
			 0);
	for (i = 0; i < 3; i++)
		ck_assert_int_eq(
			pthread_create(&mutator[i], NULL, mutator_main, &crowd),
			0);
	for (i = 0; i < 3; i++)
		pthread_join(mutator[i], NULL);
	atomic_store(&crowd.stop, true);
	pthread_join(sweeper, NULL);
	expect_sound(crowd.heap);
	heap_free(crowd.heap);
}
END_TEST

static const struct test tests[] = {
	TEST(object_is_zeroed_and_tagged, NULL),
	TEST(inner_addresses_find_their_object, NULL),
	TEST(what_stood_there_before_is_not_found, NULL),
	TEST(reused_memory_is_zero, NULL),
	TEST(big_objects_give_their_memory_back_at_once, NULL),
	TEST(release_stops_at_what_is_to_be_kept, NULL),
	TEST(refused_release_keeps_the_accounts, NULL),
	TEST(free_neighbours_are_one, NULL),
	TEST(sweep_frees_what_has_another_colour, NULL),
	TEST(what_came_after_marking_is_not_swept, NULL),
	TEST(survivors_can_die_in_any_later_sweep, NULL),
	TEST(alignment_is_kept_up_to_a_huge_page, NULL),
	TEST(full_space_returns_null_and_recovers, NULL),
	TEST(last_extent_that_fits_is_found, NULL),
	TEST(failed_commit_returns_null_and_keeps_the_accounts, NULL),
	TEST(poison_is_left_in_what_was_freed, NULL),
	TEST(damage_is_found, NULL),
	TEST(random_pieces_keep_their_contents, NULL),
	TEST(allocation_and_sweep_run_at_once, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
