/* SPDX-License-Identifier: MIT */
/*
 * Compaction and dirty tracking on a kernel that refuses: every call of a
 * kind fails in turn, and the heap is as it was.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/cells.h"
#include "tests/harness.h"
#include "tests/inject.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

#define MIB ((size_t)1 << 20)

/* What strikes: a kind of call, and its answer. */
struct strike {
	enum inject_call call;
	unsigned long request;
	int error;
	uint64_t count; /* in a row; 0 means 1 */
	size_t done;	/* pages that the kernel does really */
};

/* A heap between inject_start() and inject_stop(), and who walks it. */
struct bed {
	struct cells *c;
	struct inject_rule rule;
	_Atomic unsigned int cycles; /* that are over */
};

#define CELLS 3000u

/* Of the heaps to come. */
static const char *heap_options;

static void on_event(void *arg, const struct ferry_event *event)
{
	struct bed *bed = arg;

	if (event->kind == FERRY_EVENT_CYCLE_END)
		bed->cycles++;
}

/* In list 1, slot 1 of each cell refers to the cell of the same number of
 * list 0; every fourth cell of list 2 is dense. */
static void bed_fill(struct cells *c)
{
	struct cell *a, *b;

	cells_list(c, 0, FERRY_KIND_TRACED, CELLS, 2, 150);
	cells_list(c, 1, FERRY_KIND_TYPED, CELLS, 2, 150);
	cells_list(c, 2, FERRY_KIND_TYPED, CELLS, 6, 0);
	for (a = c->root[0], b = c->root[1]; a; a = a->slot[0], b = b->slot[0])
		b->slot[1] = a;
}

static void bed_open(struct bed *bed, enum ferry_fault_mode fault_mode)
{
	struct ferry_heap_params p = cells_params(FERRY_GC_AUTO);
	struct ferry_listener *listener;

	memset(bed, 0, sizeof(*bed));
	inject_start();
	p.fault_mode = fault_mode;
	p.no_compact = true;
	p.options = heap_options;
	bed->c = cells_open(&p, 3);
	ck_assert_int_eq(
		ferry_listener_add(bed->c->heap, on_event, bed, &listener), 0);
	bed_fill(bed->c);
	cells_collect(bed->c, FERRY_COLLECT_FULL);
}

static void bed_close(struct bed *bed)
{
	cells_close(bed->c);
	inject_stop();
}

static void bed_strike(struct bed *bed, const struct strike *s, uint64_t nth)
{
	bed->rule = (struct inject_rule){
		.call = s->call,
		.request = s->request,
		.error = s->error,
		.count = s->count,
		.done = s->done * ferry__page_size,
		.nth = nth,
	};
	inject_add(&bed->rule);
}

static void bed_check(struct bed *bed)
{
	struct cell *a, *b;

	cells_list_check(bed->c, 0, CELLS);
	cells_list_check(bed->c, 1, CELLS);
	cells_list_check(bed->c, 2, CELLS);
	for (a = bed->c->root[0], b = bed->c->root[1]; a;
	     a = a->slot[0], b = b->slot[0])
		ck_assert_ptr_eq(b->slot[1], a);
}

/* A collection; the list is walked and written all the while. */
static void bed_collect(struct bed *bed, enum ferry_collect what)
{
	unsigned int before = bed->cycles;

	if (!cells_concurrent(bed->c)) {
		ck_assert_int_eq(
			ferry_heap_collect(bed->c->heap, bed->c->m, what), 0);
		return;
	}
	ck_assert_int_eq(ferry_heap_request(bed->c->heap, what), 0);
	while (bed->cycles == before) {
		bed_check(bed);
		ferry_safepoint(bed->c->m);
	}
}

/* The heap is sound, or there was no memory to find out. */
static void bed_verify(struct bed *bed)
{
	struct ferry_heap_fault fault = FERRY_INIT(struct ferry_heap_fault);
	int r = ferry_heap_verify(bed->c->heap, bed->c->m, &fault);

	ck_assert_msg(r == 0 || r == -ENOMEM, "nth %u: %d, %s",
		      (unsigned int)bed->rule.nth, r, fault.what);
}

/* New memory is zero, wherever it comes from. */
static void bed_churn(struct bed *bed)
{
	size_t i, k;

	for (i = 0; i < 3000; i++) {
		uint64_t *words =
			ferry_alloc(bed->c->m, 1024,
				    i % 2 ? FERRY_KIND_RAW : FERRY_KIND_LEAF);

		if (!words)
			return;
		for (k = 0; k < 128; k++)
			ck_assert_uint_eq(words[k], 0);
		memset(words, 0xee, 1024);
		words[0] = (uint64_t)1024 << 16;
	}
}

/* One life of a heap, in which the @nth call is struck. Returns how many
 * were. */
static uint64_t live(const struct strike *s, uint64_t nth,
		     enum ferry_fault_mode fault_mode)
{
	struct bed bed;
	uint64_t hits;

	bed_open(&bed, fault_mode);
	bed_strike(&bed, s, nth);
	bed_collect(&bed, FERRY_COLLECT_COMPACT);
	bed_check(&bed);
	bed_verify(&bed);
	bed_churn(&bed);
	bed_fill(bed.c);
	bed_collect(&bed, FERRY_COLLECT_COMPACT);
	bed_collect(&bed, FERRY_COLLECT_MINOR);
	bed_check(&bed);
	bed_churn(&bed);
	bed_verify(&bed);
	hits = inject_hits(&bed.rule);
	bed_close(&bed);
	return hits;
}

/* Every call in turn: all of the first, then fewer and fewer. */
static void sweep(const struct strike *s, enum ferry_fault_mode fault_mode,
		  bool must_hit)
{
	uint64_t nth, hits = 0, dense = harness_scaled(12);
	uint64_t part = harness_scaled(16) > 1 ? 3 : 1;

	for (nth = 1;; nth += nth <= dense ? 1 : nth / part + 1) {
		hits = live(s, nth, fault_mode);
		if (must_hit && nth == 1)
			ck_assert_uint_gt(hits, 0);
		if (!hits || s->count == INJECT_ALWAYS)
			return;
	}
}

static void sweep_all(const struct strike *strikes, size_t n, bool must_hit)
{
	const char *why;
	size_t i;

	must_hit = must_hit && harness_feature("move", &why);
	for (i = 0; i < n; i++) {
		sweep(&strikes[i], FERRY_FAULT_THREAD, must_hit);
		sweep(&strikes[i], FERRY_FAULT_SIGBUS, must_hit);
	}
}

/* Is a strike in vain a failure, where pages can be moved? */
#define MUST_HIT true
#define MAY_HIT	 false

/* A test with each of these strikes. */
#define SWEEP(name, must_hit, ...)                                             \
	START_TEST(name)                                                       \
	{                                                                      \
		static const struct strike strikes[] = { __VA_ARGS__ };        \
                                                                               \
		sweep_all(strikes, ARRAY_SIZE(strikes), must_hit);             \
	}                                                                      \
	END_TEST

/* --- moves --------------------------------------------------------------------- */

#define MOVE INJECT_IOCTL, FERRY__UFFDIO_MOVE

SWEEP(busy_pages_are_taken_across_all_the_same, MUST_HIT, { MOVE, EBUSY, 1, 0 },
      { MOVE, EBUSY, 5, 0 }, { MOVE, EBUSY, INJECT_ALWAYS, 0 })

SWEEP(moves_that_are_to_be_tried_again_are, MUST_HIT, { MOVE, EAGAIN, 1, 0 },
      { MOVE, EAGAIN, 300, 0 })

SWEEP(moves_without_memory_are_waited_out, MUST_HIT, { MOVE, ENOMEM, 1, 0 },
      { MOVE, ENOMEM, 20, 0 })

SWEEP(short_moves_are_gone_on_with, MUST_HIT, { MOVE, EAGAIN, 1, 1 },
      { MOVE, EAGAIN, 8, 2 })

/* As no kernel does that is known: nobody may wait for himself. */
SWEEP(moves_that_did_more_than_they_say_are_gone_on_with, MUST_HIT,
      { MOVE, EINVAL, 1, 1 }, { MOVE, EBUSY, 1, 1 }, { MOVE, ENOMEM, 1, 1 },
      { MOVE, EFAULT, 1, 3 }, { MOVE, EPERM, 1, 2 }, { MOVE, ENOENT, 2, 1 },
      { MOVE, EINTR, 1, 1 })

SWEEP(kernel_that_never_moves_copies, MUST_HIT,
      { MOVE, EINVAL, INJECT_ALWAYS, 0 }, { MOVE, EPERM, INJECT_ALWAYS, 0 })

/* --- the flip --------------------------------------------------------------------- */

/* Strikes from the moment on when the world has stopped for the flip. */
static void on_flip(void *arg, const struct ferry_event *event)
{
	struct bed *bed = arg;

	if (event->kind == FERRY_EVENT_PAUSE_STOPPED &&
	    event->value == FERRY_PAUSE_FLIP && !bed->rule.next)
		inject_add(&bed->rule);
}

static void give_up(enum ferry_fault_mode fault_mode, uint64_t nth)
{
	struct ferry_listener *listener;
	uint64_t moved, copied;
	struct cell *first;
	struct bed bed;

	bed_open(&bed, fault_mode);
	bed.rule = (struct inject_rule){ .call = INJECT_IOCTL,
					 .request = FERRY__UFFDIO_REGISTER,
					 .error = ENOMEM,
					 .nth = nth };
	ck_assert_int_eq(
		ferry_listener_add(bed.c->heap, on_flip, &bed, &listener), 0);
	moved = cells_stats(bed.c)->moved;
	copied = cells_stats(bed.c)->copied;
	first = bed.c->root[0];
	bed_collect(&bed, FERRY_COLLECT_COMPACT);
	ferry_listener_remove(bed.c->heap, listener);
	ck_assert_uint_eq(inject_hits(&bed.rule), 1);
	ck_assert_ptr_eq(bed.c->root[0], first);
	ck_assert_uint_eq(cells_stats(bed.c)->moved, moved);
	ck_assert_uint_eq(cells_stats(bed.c)->copied, copied);
	bed_check(&bed);
	bed_verify(&bed);
	bed_churn(&bed);
	/* The next one succeeds. */
	bed_collect(&bed, FERRY_COLLECT_COMPACT);
	ck_assert_ptr_ne(bed.c->root[0], first);
	bed_check(&bed);
	bed_verify(&bed);
	bed_close(&bed);
}

START_TEST(flip_without_registration_is_given_up)
{
	uint64_t nth;

	for (nth = 1; nth <= 2; nth++) {
		give_up(FERRY_FAULT_THREAD, nth);
		give_up(FERRY_FAULT_SIGBUS, nth);
	}
}
END_TEST

SWEEP(any_registration_may_fail, MUST_HIT,
      { INJECT_IOCTL, FERRY__UFFDIO_REGISTER, ENOMEM, 1, 0 },
      { INJECT_IOCTL, FERRY__UFFDIO_REGISTER, EBUSY, 2, 0 },
      { INJECT_IOCTL, FERRY__UFFDIO_REGISTER, EINVAL, INJECT_ALWAYS, 0 })

SWEEP(any_unregistration_may_fail, MUST_HIT,
      { INJECT_IOCTL, FERRY__UFFDIO_UNREGISTER, ENOMEM, 1, 0 },
      { INJECT_IOCTL, FERRY__UFFDIO_UNREGISTER, ENOMEM, 3, 0 },
      { INJECT_IOCTL, FERRY__UFFDIO_UNREGISTER, EINVAL, 1, 0 },
      { INJECT_IOCTL, FERRY__UFFDIO_UNREGISTER, ENOMEM, INJECT_ALWAYS, 0 })

/* --- memory -------------------------------------------------------------------------- */

SWEEP(plan_without_memory_is_smaller_or_none, MAY_HIT,
      { INJECT_MMAP, 0, ENOMEM, 1, 0 }, { INJECT_MMAP, 0, ENOMEM, 4, 0 },
      { INJECT_MMAP, 0, ENOMEM, INJECT_ALWAYS, 0 })

SWEEP(memory_that_is_not_taken_back_does_no_harm, MAY_HIT,
      { INJECT_MADVISE, 0, ENOMEM, 1, 0 }, { INJECT_MADVISE, 0, EAGAIN, 3, 0 },
      { INJECT_MADVISE, MADV_DONTNEED, EINVAL, INJECT_ALWAYS, 0 },
      { INJECT_MADVISE, 0, EINVAL, INJECT_ALWAYS, 0 },
      { INJECT_PROCESS_MADVISE, 0, EPERM, INJECT_ALWAYS, 0 })

SWEEP(rights_that_cannot_be_changed_do_no_harm, MAY_HIT,
      { INJECT_MPROTECT, 0, ENOMEM, 1, 0 },
      { INJECT_MPROTECT, 0, ENOMEM, INJECT_ALWAYS, 0 },
      { INJECT_MINCORE, 0, EAGAIN, 1, 0 },
      { INJECT_MINCORE, 0, ENOMEM, INJECT_ALWAYS, 0 })

START_TEST(guards_that_cannot_be_set_or_lifted_do_no_harm)
{
	static const struct strike strikes[] = {
		{ INJECT_MPROTECT, 0, ENOMEM, 1, 0 },
	};

	heap_options = "debug:yes";
	sweep_all(strikes, ARRAY_SIZE(strikes), true);
}
END_TEST

SWEEP(other_answers_to_a_fault_may_fail, MAY_HIT,
      { INJECT_IOCTL, FERRY__UFFDIO_WAKE, EAGAIN, 1, 0 },
      { INJECT_IOCTL, FERRY__UFFDIO_COPY, ENOMEM, 3, 0 },
      { INJECT_IOCTL, FERRY__UFFDIO_COPY, EAGAIN, 9, 1 },
      { INJECT_IOCTL, FERRY__UFFDIO_ZEROPAGE, ENOMEM, 3, 0 })

/* --- dirty tracking ---------------------------------------------------------------------- */

/* Minors that depend on every write being known. */
static uint64_t live_minors(const struct strike *s, uint64_t nth)
{
	struct bed bed;
	struct cell *cell, *young;
	uint64_t hits;
	size_t round;

	bed_open(&bed, FERRY_FAULT_THREAD);
	bed_strike(&bed, s, nth);
	for (round = 0; round < 5; round++) {
		for (cell = bed.c->root[2]; cell; cell = cell->slot[0]) {
			if (cell->id % 7 != round)
				continue;
			young = cell_new(bed.c->m, FERRY_KIND_TYPED, 1,
					 cell->id);
			cell->slot[2 + round % 4] = young;
		}
		bed_collect(&bed, round == 2 ? FERRY_COLLECT_FULL
					     : FERRY_COLLECT_MINOR);
		for (cell = bed.c->root[2]; cell; cell = cell->slot[0])
			if (cell->id % 7 == round)
				ck_assert_uint_eq(cell->slot[2 + round % 4]->id,
						  cell->id);
		bed_verify(&bed);
	}
	hits = inject_hits(&bed.rule);
	bed_close(&bed);
	return hits;
}

START_TEST(writes_that_cannot_be_told_are_all_taken_for_written)
{
	static const struct strike strikes[] = {
		{ INJECT_IOCTL, FERRY__PAGEMAP_SCAN, EIO, 1, 0 },
		{ INJECT_IOCTL, FERRY__PAGEMAP_SCAN, ENOMEM, 2, 0 },
		{ INJECT_IOCTL, FERRY__PAGEMAP_SCAN, EIO, INJECT_ALWAYS, 0 },
		{ INJECT_IOCTL, FERRY__UFFDIO_WRITEPROTECT, ENOENT, 1, 0 },
		{ INJECT_IOCTL, FERRY__UFFDIO_WRITEPROTECT, EINVAL,
		  INJECT_ALWAYS, 0 },
		{ INJECT_IOCTL, FERRY__UFFDIO_REGISTER, ENOMEM, 1, 0 },
		{ INJECT_IOCTL, FERRY__UFFDIO_REGISTER, ENOMEM, INJECT_ALWAYS,
		  0 },
		{ INJECT_MPROTECT, 0, ENOMEM, 1, 0 },
		{ INJECT_PREAD, 0, EIO, 1, 0 },
	};
	uint64_t nth, hits;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(strikes); i++)
		for (nth = 1;;
		     nth += nth < harness_scaled(16) ? 1 : nth / 3 + 1) {
			hits = live_minors(&strikes[i], nth);
			if (!hits || strikes[i].count == INJECT_ALWAYS)
				break;
		}
}
END_TEST

static const struct test tests[] = {
	TEST(busy_pages_are_taken_across_all_the_same, NULL),
	TEST(moves_that_are_to_be_tried_again_are, NULL),
	TEST(moves_without_memory_are_waited_out, NULL),
	TEST(short_moves_are_gone_on_with, NULL),
	TEST(moves_that_did_more_than_they_say_are_gone_on_with, NULL),
	TEST(kernel_that_never_moves_copies, NULL),
	TEST(flip_without_registration_is_given_up, "move,sigbus"),
	TEST(any_registration_may_fail, NULL),
	TEST(any_unregistration_may_fail, NULL),
	TEST(plan_without_memory_is_smaller_or_none, NULL),
	TEST(memory_that_is_not_taken_back_does_no_harm, NULL),
	TEST(rights_that_cannot_be_changed_do_no_harm, NULL),
	TEST(guards_that_cannot_be_set_or_lifted_do_no_harm, NULL),
	TEST(other_answers_to_a_fault_may_fail, NULL),
	TEST(writes_that_cannot_be_told_are_all_taken_for_written, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
