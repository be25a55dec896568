/* SPDX-License-Identifier: MIT */
/*
 * Compaction: addresses change, what is at them does not, and memory comes
 * back; whatever keeps its address keeps it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cells.h"
#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "uffd/uapi.h"

#define KIB   ((size_t)1 << 10)
#define MIB   ((size_t)1 << 20)
#define BLOCK (64 * KIB)

/* Every way in which a compaction can run. */
static const struct way {
	enum ferry_gc_mode mode;
	enum ferry_fault_mode fault_mode;
	enum ferry_thp thp;
} ways[] = {
	{ FERRY_GC_AUTO, FERRY_FAULT_THREAD, FERRY_THP_SYSTEM },
	{ FERRY_GC_AUTO, FERRY_FAULT_SIGBUS, FERRY_THP_NEVER },
	{ FERRY_GC_AUTO, FERRY_FAULT_SIGBUS, FERRY_THP_ALWAYS },
	{ FERRY_GC_STOPPED, FERRY_FAULT_THREAD, FERRY_THP_SYSTEM },
};

#define WAYS ARRAY_SIZE(ways)

/* Compactions come when they are asked for. */
static struct ferry_heap_params params_of(const struct way *way)
{
	struct ferry_heap_params p = cells_params(way->mode);

	p.fault_mode = way->fault_mode;
	p.thp = way->thp;
	p.no_compact = true;
	return p;
}

static struct cells *make(const struct way *way, size_t roots)
{
	struct ferry_heap_params p = params_of(way);

	return cells_open(&p, roots);
}

/* The addresses of a list's cells. */
static uintptr_t *addresses(const struct cell *cell, size_t n)
{
	uintptr_t *addr = calloc(n, sizeof(*addr));
	size_t i;

	ck_assert_ptr_nonnull(addr);
	for (i = 0; i < n; i++, cell = cell->slot[0])
		addr[i] = (uintptr_t)cell;
	return addr;
}

/* How many of them are elsewhere than at @addr. */
static size_t elsewhere(const struct cell *cell, const uintptr_t *addr,
			size_t n)
{
	size_t i, count = 0;

	for (i = 0; i < n; i++, cell = cell->slot[0])
		count += (uintptr_t)cell != addr[i];
	return count;
}

/* --- what moves ------------------------------------------------------------------- */

START_TEST(graph_is_the_same_at_other_addresses)
{
	static const enum ferry_kind kinds[] = { FERRY_KIND_TRACED,
						 FERRY_KIND_TYPED };
	size_t w, k, n = 8000, moved;

	for (w = 0; w < WAYS; w++)
		for (k = 0; k < ARRAY_SIZE(kinds); k++) {
			struct cells *c = make(&ways[w], 1);
			uintptr_t *addr;

			cells_list(c, 0, kinds[k], n, 2, 96);
			addr = addresses(c->root[0], n);
			cells_collect(c, FERRY_COLLECT_COMPACT);
			cells_list_check(c, 0, n);
			moved = elsewhere(c->root[0], addr, n);
			/* In pauses, those of sparse blocks do; all are. */
			ck_assert_uint_ge(moved, n - n / 20);
			ck_assert_uint_eq(cells_stats(c)->compactions, 1);
			ck_assert_uint_eq(cells_live(c), n * cell_bytes(2));
			free(addr);
			cells_close(c);
		}
}
END_TEST

/* A debugger, or a scanner of all memory: it leaves zero pages behind. */
START_TEST(reading_where_nothing_is_does_no_harm)
{
	size_t w, i, n = 4000;

	for (w = 0; w < WAYS; w++) {
		struct ferry_heap_params p = params_of(&ways[w]);
		struct cells *c;
		uintptr_t *addr;

		p.options = "move-all:true";
		c = cells_open(&p, 1);
		cells_list(c, 0, FERRY_KIND_TRACED, n, 2, 0);
		addr = addresses(c->root[0], n);
		cells_collect(c, FERRY_COLLECT_COMPACT);
		for (i = 0; i < n; i++)
			*(volatile char *)addr[i];
		cells_collect(c, FERRY_COLLECT_COMPACT);
		cells_list_check(c, 0, n);
		free(addr);
		cells_close(c);
	}
}
END_TEST

START_TEST(sparse_blocks_give_their_memory_back)
{
	static const enum ferry_kind kinds[] = { FERRY_KIND_TRACED,
						 FERRY_KIND_LEAF,
						 FERRY_KIND_RAW };
	size_t w, k, i;

	for (w = 0; w < WAYS; w++)
		for (k = 0; k < ARRAY_SIZE(kinds); k++) {
			struct cells *c = make(&ways[w], 2000);

			for (i = 0; i < 40000; i++) {
				struct cell *cell =
					cell_new(c->m, kinds[k], 60, i);

				if (i % 20 == 0)
					c->root[i / 20] = cell;
			}
			cells_collect(c, FERRY_COLLECT_FULL);
			ck_assert_uint_ge(cells_stats(c)->used, 18 * MIB);
			cells_collect(c, FERRY_COLLECT_COMPACT);
			ck_assert_uint_eq(cells_live(c), 2000 * cell_bytes(60));
			ck_assert_uint_le(cells_stats(c)->used,
					  cells_live(c) + 4 * BLOCK);
			for (i = 0; i < 2000; i++)
				ck_assert_uint_eq(c->root[i]->id, i * 20);
			cells_close(c);
		}
}
END_TEST

START_TEST(alignment_is_kept_by_compactions)
{
	static const enum ferry_kind kinds[] = { FERRY_KIND_TYPED,
						 FERRY_KIND_RAW };
	enum { N = 400 };
	size_t w, k, i;

	for (w = 0; w < WAYS; w++)
		for (k = 0; k < ARRAY_SIZE(kinds); k++) {
			struct cells *c = make(&ways[w], N);

			for (i = 0; i < N * 8; i++) {
				void *object = ferry_alloc_aligned(
					c->m, 48, 32u << i / 8 % 8, kinds[k]);

				ck_assert_ptr_nonnull(object);
				if (i % 8 == 0)
					c->root[i / 8] = object;
			}
			for (i = 0; i < 3; i++)
				cells_collect(c, FERRY_COLLECT_COMPACT);
			for (i = 0; i < N; i++)
				ck_assert_uint_eq((uintptr_t)c->root[i] %
							  (32u << i % 8),
						  0);
			cells_close(c);
		}
}
END_TEST

START_TEST(survivors_hold_through_many_compactions)
{
	size_t w, i, n = 3000, rounds = harness_scaled(50);

	for (w = 0; w < WAYS; w++) {
		struct cells *c = make(&ways[w], 3);
		size_t peak = 0;

		for (i = 0; i < rounds; i++) {
			cells_list(c, i % 3,
				   i % 2 ? FERRY_KIND_TRACED : FERRY_KIND_TYPED,
				   n, 1 + i % 5, 16 + i % 4 * 48);
			cells_collect(c, FERRY_COLLECT_COMPACT);
			cells_list_check(c, i % 3, n);
			if (i >= 2)
				cells_list_check(c, (i + 1) % 3, n);
			if (i == 5)
				peak = cells_stats(c)->used;
			if (i > 5)
				ck_assert_uint_le(cells_stats(c)->used,
						  2 * peak + 8 * BLOCK);
		}
		cells_close(c);
	}
}
END_TEST

START_TEST(every_other_collection_works_between_compactions)
{
	static const enum ferry_collect what[] = {
		FERRY_COLLECT_FULL,  FERRY_COLLECT_COMPACT, FERRY_COLLECT_MINOR,
		FERRY_COLLECT_MINOR, FERRY_COLLECT_COMPACT,
	};
	size_t w, i, n = 2000;

	for (w = 0; w < WAYS; w++) {
		struct cells *c = make(&ways[w], 2);

		cells_list(c, 0, FERRY_KIND_TRACED, n, 2, 64);
		for (i = 0; i < harness_scaled(30); i++) {
			cells_list(c, 1, FERRY_KIND_TYPED, i * 10, 2, 64);
			/* An old object refers to a young one. */
			c->root[0]->slot[1] = c->root[1];
			cells_collect(c, what[i % ARRAY_SIZE(what)]);
			cells_list_check(c, 0, n);
			cells_list_check(c, 1, i * 10);
			ck_assert_ptr_eq(c->root[0]->slot[1], c->root[1]);
		}
		cells_close(c);
	}
}
END_TEST

START_TEST(everything_movable_moves_when_told_to)
{
	size_t w, i, n = 2000;

	for (w = 0; w < WAYS; w++) {
		struct ferry_heap_params p = params_of(&ways[w]);
		struct cells *c;

		p.options = "move-all:true,poison:true";
		c = cells_open(&p, 2);
		cells_list(c, 0, FERRY_KIND_TYPED, n, 2, 0);
		for (i = 0; i < harness_scaled(20); i++) {
			uintptr_t *addr = addresses(c->root[0], n);

			cells_list(c, 1, FERRY_KIND_TRACED, n, 2, 300);
			cells_collect(c, FERRY_COLLECT_FULL);
			cells_list_check(c, 0, n);
			cells_list_check(c, 1, n);
			if (cells_concurrent(c))
				ck_assert_uint_eq(
					elsewhere(c->root[0], addr, n), n);
			free(addr);
		}
		cells_close(c);
	}
}
END_TEST

/* --- what stays ----------------------------------------------------------------------- */

START_TEST(pinned_objects_keep_their_address)
{
	size_t w, i, n = 4000;

	for (w = 0; w < WAYS; w++) {
		struct cells *c = make(&ways[w], 2);
		uintptr_t *addr;
		struct cell *cell;

		cells_list(c, 0, FERRY_KIND_TRACED, n, 2, 96);
		addr = addresses(c->root[0], n);
		for (cell = c->root[0], i = 0; cell; cell = cell->slot[0], i++)
			if (i % 2000 == 7)
				ck_assert_int_eq(ferry_pin(c->m, cell), 0);
		for (i = 0; i < 3; i++)
			cells_collect(c, FERRY_COLLECT_COMPACT);
		cells_list_check(c, 0, n);
		for (cell = c->root[0], i = 0; cell; cell = cell->slot[0], i++)
			if (i % 2000 == 7)
				ck_assert_uint_eq((uintptr_t)cell, addr[i]);
		ck_assert_uint_gt(elsewhere(c->root[0], addr, n), 0);
		for (i = 7; i < n; i += 2000)
			ck_assert_int_eq(ferry_unpin(c->m, (void *)addr[i]), 0);
		cells_collect(c, FERRY_COLLECT_COMPACT);
		if (cells_concurrent(c))
			ck_assert_uint_eq(elsewhere(c->root[0], addr, n), n);
		cells_list_check(c, 0, n);
		free(addr);
		cells_close(c);
	}
}
END_TEST

static void *ambiguous_words[4];

START_TEST(ambiguous_roots_keep_addresses)
{
	size_t w, n = 3000;

	for (w = 0; w < WAYS; w++) {
		struct cells *c = make(&ways[w], 1);
		struct ferry_root *root;
		struct cell *cell;

		ck_assert_int_eq(ferry_root_add_ambiguous(
					 c->heap, ambiguous_words,
					 sizeof(ambiguous_words), &root),
				 0);
		cells_list(c, 0, FERRY_KIND_TRACED, n, 2, 96);
		cell = c->root[0]->slot[0]->slot[0];
		/* An inner address will do. */
		ambiguous_words[2] = (char *)cell + 9;
		cells_collect(c, FERRY_COLLECT_COMPACT);
		cells_list_check(c, 0, n);
		ck_assert_ptr_eq(c->root[0]->slot[0]->slot[0], cell);
		ambiguous_words[2] = NULL;
		cells_close(c);
	}
}
END_TEST

START_TEST(ambiguous_stacks_keep_addresses)
{
	size_t w, n = 3000;

	for (w = 0; w < WAYS; w++) {
		struct ferry_heap_params p = params_of(&ways[w]);
		struct cell *volatile local;
		struct cells *c;

		p.stacks = FERRY_STACK_AMBIGUOUS;
		c = cells_open(&p, 1);
		cells_list(c, 0, FERRY_KIND_TYPED, n, 2, 96);
		local = c->root[0]->slot[0];
		cells_collect(c, FERRY_COLLECT_COMPACT);
		ck_assert_ptr_eq(c->root[0]->slot[0], local);
		ck_assert_uint_eq(local->id, 1);
		cells_list_check(c, 0, n);
		cells_close(c);
	}
}
END_TEST

START_TEST(what_ambiguous_objects_refer_to_keeps_its_address)
{
	size_t w, i, large, n = 600;

	for (w = 0; w < WAYS; w++)
		for (large = 0; large < 2; large++) {
			struct cells *c = make(&ways[w], 2);
			size_t bytes = large ? 20000 : cell_bytes(100);
			uintptr_t addr[100];
			struct cell *holder;

			cells_list(c, 0, FERRY_KIND_TRACED, n, 2, 900);
			holder = cell_try(c->m, FERRY_KIND_AMBIGUOUS, 100,
					  bytes, 1);
			c->root[1] = holder;
			for (i = 0; i < 100; i++) {
				struct cell *cell =
					cell_new(c->m, FERRY_KIND_TRACED, 2, i);

				c->root[1]->slot[i] = cell;
				addr[i] = (uintptr_t)cell;
				cell->slot[0] = c->root[0];
			}
			cells_collect(c, FERRY_COLLECT_COMPACT);
			cells_list_check(c, 0, n);
			for (i = 0; i < 100; i++) {
				struct cell *cell = c->root[1]->slot[i];

				ck_assert_uint_eq((uintptr_t)cell, addr[i]);
				ck_assert_uint_eq(cell->id, i);
				ck_assert_ptr_eq(cell->slot[0], c->root[0]);
			}
			cells_close(c);
		}
}
END_TEST

START_TEST(dense_blocks_without_references_are_neither_copied_nor_moved)
{
	size_t w, i, n = 500;

	for (w = 0; w < WAYS; w++) {
		struct cells *c = make(&ways[w], n);
		struct cell *cell;

		for (i = 0; i < n; i++)
			c->root[i] =
				cell_try(c->m, FERRY_KIND_LEAF, 0, 4096, i);
		cell = c->root[3];
		cells_collect(c, FERRY_COLLECT_COMPACT);
		ck_assert_uint_eq(cells_stats(c)->copied, 0);
		ck_assert_uint_eq(cells_stats(c)->moved, 0);
		ck_assert_ptr_eq(c->root[3], cell);
		cells_close(c);
	}
}
END_TEST

START_TEST(large_objects_stay_and_their_slots_are_put_right)
{
	size_t w, i;

	for (w = 0; w < WAYS; w++) {
		struct cells *c = make(&ways[w], 2);
		struct cell *large, *raw;

		large = cell_try(c->m, FERRY_KIND_TRACED, 5000, 50000, 1);
		ck_assert_ptr_nonnull(large);
		c->root[0] = large;
		raw = ferry_alloc(c->m, 3 * MIB, FERRY_KIND_RAW);
		c->root[1] = raw;
		memset(raw, 0x77, 3 * MIB);
		for (i = 0; i < 5000; i++) {
			struct cell *cell =
				cell_new(c->m, FERRY_KIND_TRACED, 1, i);

			cell_new(c->m, FERRY_KIND_TRACED, 20, i);
			large->slot[i] = cell;
			cell->slot[0] = large;
		}
		cells_collect(c, FERRY_COLLECT_COMPACT);
		ck_assert_ptr_eq(c->root[0], large);
		ck_assert_ptr_eq(c->root[1], raw);
		for (i = 0; i < 5000; i++) {
			ck_assert_uint_eq(large->slot[i]->id, i);
			ck_assert_ptr_eq(large->slot[i]->slot[0], large);
		}
		for (i = 0; i < 3 * MIB; i += 4096)
			ck_assert_uint_eq(((char *)raw)[i], 0x77);
		cells_close(c);
	}
}
END_TEST

/* --- what is put right ---------------------------------------------------------------------- */

static void visit_one(void *arg, struct ferry_visitor *v)
{
	ferry_visit(v, arg);
}

START_TEST(every_sort_of_root_gets_the_new_address)
{
	size_t w, n = 3000;

	for (w = 0; w < WAYS; w++) {
		struct cells *c = make(&ways[w], 2);
		void *by_callback, *by_range[3] = { NULL }, **handle;
		struct ferry_root *callback, *range;
		struct ferry_frame inner;
		void *local[1];
		uintptr_t old;

		cells_list(c, 0, FERRY_KIND_TRACED, n, 2, 96);
		old = (uintptr_t)c->root[0];
		c->root[1] = c->root[0];
		by_callback = by_range[1] = local[0] = c->root[0];
		ck_assert_int_eq(ferry_root_add_callback(c->heap, visit_one,
							 &by_callback,
							 &callback),
				 0);
		ck_assert_int_eq(
			ferry_root_add_range(c->heap, by_range, 3, &range), 0);
		handle = ferry_handle_new(c->m, c->root[0]);
		ferry_frame_push(c->m, &inner, local, 1);
		cells_collect(c, FERRY_COLLECT_COMPACT);
		ferry_frame_pop(c->m, &inner);
		ck_assert_uint_ne((uintptr_t)c->root[0], old);
		ck_assert_ptr_eq(c->root[1], c->root[0]);
		ck_assert_ptr_eq(by_callback, c->root[0]);
		ck_assert_ptr_eq(by_range[1], c->root[0]);
		ck_assert_ptr_eq(local[0], c->root[0]);
		ck_assert_ptr_eq(*handle, c->root[0]);
		cells_list_check(c, 0, n);
		ferry_handle_free(c->heap, handle);
		ferry_root_remove(c->heap, callback);
		ferry_root_remove(c->heap, range);
		cells_close(c);
	}
}
END_TEST

START_TEST(interior_references_keep_their_offset)
{
	size_t w, i, n = 3000;

	for (w = 0; w < WAYS; w++) {
		struct ferry_heap_params p = params_of(&ways[w]);
		struct cell *cell, *next;
		struct cells *c;

		p.interior_slots = true;
		c = cells_open(&p, 1);
		cells_list(c, 0, FERRY_KIND_TRACED, n, 4, 96);
		for (cell = c->root[0]; cell; cell = next) {
			next = cell->slot[0];
			if (next)
				cell->slot[0] =
					(void *)((char *)next + next->id % 48);
		}
		cells_collect(c, FERRY_COLLECT_COMPACT);
		for (cell = c->root[0], i = 0; cell->slot[0];
		     i++, cell = next) {
			next = (void *)((char *)cell->slot[0] - (i + 1) % 48);
			ck_assert_uint_eq(next->id, i + 1);
		}
		ck_assert_uint_eq(i, n - 1);
		cells_close(c);
	}
}
END_TEST

/* --- while the program runs -------------------------------------------------------------------- */

struct runner {
	struct ferry_heap *heap;
	_Atomic bool *quit;
	const char *wrong;
	unsigned int number;
};

/* Makes a list of cells that tell the sum of their ids, changes it, checks
 * it, all the time. */
#define RUN_CELLS 400u

static void run_make(struct runner *runner, struct ferry_mutator *m,
		     struct cell **root)
{
	unsigned int i;

	for (i = RUN_CELLS, *root = NULL; i--;) {
		struct cell *cell = cell_try(
			m, i % 2 ? FERRY_KIND_TRACED : FERRY_KIND_TYPED, 3,
			cell_bytes(3), i);

		if (!cell) {
			runner->wrong = "no memory";
			return;
		}
		cell->slot[0] = *root;
		*root = cell;
		if (!cell_try(m, FERRY_KIND_RAW, 0, 16 + i % 64 * 16, 0))
			runner->wrong = "no memory";
	}
}

/* Every cell's slot 1 refers to a cell @step further on. */
static void run_link(struct ferry_mutator *m, struct cell *const *root,
		     unsigned int step)
{
	struct cell *ahead = *root, *cell = *root;

	(void)m;
	for (; step && ahead; step--)
		ahead = ahead->slot[0];
	for (; cell; cell = cell->slot[0]) {
		cell->slot[1] = ahead;
		ahead = ahead ? ahead->slot[0] : NULL;
	}
}

static void run_check(struct runner *runner, const struct cell *root,
		      unsigned int step)
{
	const struct cell *cell;
	unsigned int i = 0;

	for (cell = root; cell; cell = cell->slot[0], i++) {
		if (cell->id != i)
			runner->wrong = "a cell has another's place";
		else if (!cell->slot[1] != (i + step >= RUN_CELLS))
			runner->wrong = "a link is missing";
		else if (cell->slot[1] && cell->slot[1]->id != i + step)
			runner->wrong = "a link hits another cell";
	}
	if (i != RUN_CELLS)
		runner->wrong = "the list has another length";
}

static void run_in(struct runner *runner, struct ferry_mutator *m)
{
	struct cell *root = NULL;
	void *slots[1] = { NULL };
	struct ferry_frame frame;
	unsigned int round, step = 0;

	ferry_frame_push(m, &frame, slots, 1);
	for (round = 0; !*runner->quit && !runner->wrong; round++) {
		if (round % 8 == 0) {
			run_make(runner, m, (struct cell **)slots);
			step = 0;
			run_link(m, (struct cell **)slots, step);
		}
		root = slots[0];
		if (!runner->wrong)
			run_check(runner, root, step);
		ferry_safepoint(m);
		step = 1 + (round + runner->number) % 37;
		run_link(m, (struct cell **)slots, step);
		ferry_safepoint(m);
		if (round % 64 == 0)
			sched_yield();
	}
	ferry_frame_pop(m, &frame);
}

static void *run(void *arg)
{
	struct runner *runner = arg;
	struct ferry_mutator *m;

	if (ferry_mutator_attach(runner->heap, NULL, &m) < 0) {
		runner->wrong = "no mutator";
		return NULL;
	}
	run_in(runner, m);
	ferry_mutator_detach(m);
	return NULL;
}

#define RUNNERS 3

static void run_beside(const struct ferry_heap_params *p, size_t rounds)
{
	struct cells *c = cells_open(p, 1);
	_Atomic bool quit = false;
	struct runner runner[RUNNERS];
	pthread_t thread[RUNNERS];
	size_t i;

	cells_list(c, 0, FERRY_KIND_TRACED, 5000, 2, 96);
	for (i = 0; i < RUNNERS; i++) {
		runner[i] = (struct runner){ c->heap, &quit, NULL,
					     (unsigned int)i };
		ck_assert_int_eq(
			pthread_create(&thread[i], NULL, run, &runner[i]), 0);
	}
	for (i = 0; i < rounds; i++) {
		cells_collect(c, FERRY_COLLECT_COMPACT);
		cells_list_check(c, 0, 5000);
	}
	quit = true;
	ferry_blocking_enter(c->m);
	for (i = 0; i < RUNNERS; i++)
		pthread_join(thread[i], NULL);
	ferry_blocking_leave(c->m);
	for (i = 0; i < RUNNERS; i++)
		ck_assert_msg(!runner[i].wrong, "%s", runner[i].wrong);
	cells_verify(c);
	cells_close(c);
}

START_TEST(threads_allocate_and_write_while_pages_are_produced)
{
	size_t w;

	for (w = 0; w < WAYS; w++) {
		struct ferry_heap_params p = params_of(&ways[w]);

		run_beside(&p, harness_scaled(15));
	}
}
END_TEST

START_TEST(threads_allocate_and_write_while_production_is_delayed)
{
	size_t w;

	for (w = 0; w < WAYS; w++) {
		struct ferry_heap_params p = params_of(&ways[w]);

		p.options = "delay-seed:11,poison:true,move-all:true";
		run_beside(&p, harness_scaled(10));
	}
}
END_TEST

START_TEST(threads_with_ambiguous_stacks_run_beside_compactions)
{
	size_t w;

	for (w = 0; w < WAYS; w++) {
		struct ferry_heap_params p = params_of(&ways[w]);

		p.stacks = FERRY_STACK_AMBIGUOUS;
		run_beside(&p, harness_scaled(20));
	}
}
END_TEST

/* --- system calls on buffers ---------------------------------------------------------------------- */

struct piper {
	struct ferry_heap *heap;
	_Atomic bool *quit;
	const char *wrong;
	int error;
	_Atomic size_t calls;
	_Atomic bool over;
};

/*
 * What a mutator must do to hand an object to the kernel: all of its bytes
 * but the header, which may be traced meanwhile. How many there were.
 */
static ssize_t call_on(struct ferry_mutator *m, struct cell *cell, size_t len,
		       int fd, bool writes)
{
	char *buffer = (char *)cell->slot;
	ssize_t n;

	if (ferry_pin(m, cell) < 0 || ferry_heap_prefault(m, buffer, len) < 0)
		return -EINVAL;
	ferry_blocking_enter(m);
	n = writes ? write(fd, buffer, len) : read(fd, buffer, len);
	if (n < 0)
		n = -errno;
	ferry_blocking_leave(m);
	return ferry_unpin(m, cell) < 0 ? -ENOENT : n;
}

static void pipe_once(struct piper *piper, struct ferry_mutator *m,
		      struct cell **at, const int *fd)
{
	size_t len = ferry_object_size(piper->heap, at[0]) - sizeof(**at), k;
	ssize_t n;

	if (len > 32 * KIB)
		len = 32 * KIB;
	for (k = 0; k < len / 8; k++)
		((uint64_t *)at[0]->slot)[k] = piper->calls + k;
	ferry_safepoint(m);
	n = call_on(m, at[0], len, fd[1], true);
	if (n == (ssize_t)len)
		n = call_on(m, at[1], len, fd[0], false);
	if (n != (ssize_t)len) {
		piper->error = (int)n;
		piper->wrong = "the call came back short";
		return;
	}
	for (k = 0; k < len / 8; k++)
		if (((uint64_t *)at[1]->slot)[k] != piper->calls + k)
			piper->wrong = "other bytes came back";
	piper->calls++;
}

static void pipe_in(struct piper *piper, struct ferry_mutator *m, const int *fd)
{
	static const struct {
		enum ferry_kind kind;
		size_t bytes;
	} buffer[] = {
		{ FERRY_KIND_TRACED, 5000 },
		{ FERRY_KIND_RAW, 3000 },
		{ FERRY_KIND_TRACED, 40000 },
		{ FERRY_KIND_LEAF, 8192 },
	};
	void *slots[2] = { NULL, NULL };
	struct ferry_frame frame;
	size_t i, k, b;

	ferry_frame_push(m, &frame, slots, 2);
	for (i = 0; !*piper->quit && !piper->wrong; i++) {
		b = i / 16 % ARRAY_SIZE(buffer);
		for (k = 0; i % 16 == 0 && k < 2; k++)
			slots[k] = cell_try(m, buffer[b].kind, 0,
					    buffer[b].bytes, 0);
		if (!slots[0] || !slots[1])
			piper->wrong = "no memory";
		else
			pipe_once(piper, m, (struct cell **)slots, fd);
		ferry_safepoint(m);
	}
	ferry_frame_pop(m, &frame);
}

static void *pipes(void *arg)
{
	struct piper *piper = arg;
	struct ferry_mutator *m;
	int fd[2];

	if (pipe(fd) < 0 || ferry_mutator_attach(piper->heap, NULL, &m) < 0) {
		piper->wrong = "no pipe, or no mutator";
		piper->over = true;
		return NULL;
	}
	pipe_in(piper, m, fd);
	ferry_mutator_detach(m);
	piper->over = true;
	close(fd[0]);
	close(fd[1]);
	return NULL;
}

START_TEST(system_calls_on_pinned_buffers_meet_no_fault)
{
	size_t w, i;

	for (w = 0; w < WAYS; w++) {
		struct cells *c = make(&ways[w], 1);
		_Atomic bool quit = false;
		struct piper piper = { .heap = c->heap, .quit = &quit };
		pthread_t thread;

		cells_list(c, 0, FERRY_KIND_TRACED, 20000, 2, 96);
		ck_assert_int_eq(pthread_create(&thread, NULL, pipes, &piper),
				 0);
		/* At least until the thread has come to make a call. */
		for (i = 0;
		     i < harness_scaled(40) || (!piper.calls && !piper.over);
		     i++) {
			cells_list(c, 0, FERRY_KIND_TRACED, 5000, 2, 96);
			cells_collect(c, FERRY_COLLECT_COMPACT);
		}
		quit = true;
		ferry_blocking_enter(c->m);
		pthread_join(thread, NULL);
		ferry_blocking_leave(c->m);
		ck_assert_msg(!piper.wrong, "%s: %d", piper.wrong, piper.error);
		ck_assert_uint_gt(piper.calls, 0);
		cells_close(c);
	}
}
END_TEST

START_TEST(prefault_refuses_what_is_not_the_heaps)
{
	struct cells *c = make(&ways[0], 1);
	char *raw = ferry_alloc(c->m, 100, FERRY_KIND_RAW);

	ck_assert_int_eq(ferry_heap_prefault(c->m, raw, 100), 0);
	ck_assert_int_eq(ferry_heap_prefault(c->m, c, 8), -EINVAL);
	ck_assert_int_eq(ferry_heap_prefault(c->m, raw, SIZE_MAX), -EINVAL);
	cells_close(c);
}
END_TEST

/* --- stale references ------------------------------------------------------------------------------ */

#define STALE 20000u
static uintptr_t *stale;

static bool died_of_memory(int status)
{
	return WIFSIGNALED(status) &&
	       (WTERMSIG(status) == SIGBUS || WTERMSIG(status) == SIGSEGV);
}

/* While pages are put in place: where some were, there is nothing now. What
 * is still there may be read. */
static void touch_stale(void *arg)
{
	volatile uint64_t *sink = arg;
	size_t i;

	for (i = 0; i < STALE; i += 16)
		*sink = *(const volatile uint64_t *)stale[i];
}

static _Noreturn void compact_and_touch(enum ferry_fault_mode fault_mode)
{
	static volatile uint64_t sink;
	struct inject_rule rule = { .call = INJECT_IOCTL,
				    .request = FERRY__UFFDIO_MOVE,
				    .count = INJECT_ALWAYS,
				    .hook = touch_stale,
				    .arg = (void *)&sink };
	struct way way = { FERRY_GC_CONCURRENT, fault_mode, FERRY_THP_SYSTEM };
	struct rlimit no_core = { 0, 0 };
	struct cells *c;

	/* A sanitizer's handlers would end the process in another way. */
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	setrlimit(RLIMIT_CORE, &no_core);
	inject_start();
	c = make(&way, 2);
	cells_list(c, 0, FERRY_KIND_TRACED, STALE, 2, 0);
	cells_list(c, 1, FERRY_KIND_TRACED, 5000, 2, 96);
	cells_collect(c, FERRY_COLLECT_FULL);
	stale = addresses(c->root[0], STALE);
	inject_add(&rule);
	ferry_heap_collect(c->heap, c->m, FERRY_COLLECT_COMPACT);
	_exit(rule.hits ? 1 : 2);
}

START_TEST(stale_references_are_fatal_while_pages_are_produced)
{
	static const enum ferry_fault_mode modes[] = { FERRY_FAULT_SIGBUS,
						       FERRY_FAULT_THREAD };
	const char *why;
	int status;
	size_t i;
	pid_t pid;

	if (!harness_feature("sigbus", &why))
		SKIP("sigbus", "%s", why);
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (!pid)
			compact_and_touch(modes[i]);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_msg(died_of_memory(status), "mode %zu: status %#x", i,
			      (unsigned int)status);
	}
}
END_TEST

/* The places of a dense list, and of a sparse one, before a compaction: all
 * have moved, or in mode STOPPED the sparse ones. */
static struct cells *leave_places(const struct way *way, const char *options)
{
	struct ferry_heap_params p = params_of(way);
	struct cells *c;

	p.options = options;
	c = cells_open(&p, 2);
	cells_list(c, 0, FERRY_KIND_TRACED, STALE, 2, 0);
	cells_list(c, 1, FERRY_KIND_TRACED, STALE, 2, 300);
	cells_collect(c, FERRY_COLLECT_FULL);
	stale = addresses(c->root[cells_concurrent(c) ? 0 : 1], STALE);
	cells_collect(c, FERRY_COLLECT_COMPACT);
	return c;
}

/* How many of the places left can be read, each tried by a child. */
static size_t readable_places(void)
{
	volatile uint64_t *sink = stale;
	struct rlimit no_core = { 0, 0 };
	size_t i, n = 0;
	int status;
	pid_t pid;

	for (i = 0; i < STALE; i += STALE / 20) {
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (!pid) {
			setrlimit(RLIMIT_CORE, &no_core);
			/* A sanitizer has handlers of its own. */
			signal(SIGSEGV, SIG_DFL);
			signal(SIGBUS, SIG_DFL);
			*sink = *(const volatile uint64_t *)stale[i];
			_exit(0);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		if (!status)
			n++;
		else
			ck_assert(died_of_memory(status));
	}
	return n;
}

START_TEST(stale_references_are_fatal_afterwards_in_debug_heaps)
{
	static const char *const options[] = { "debug:yes", "poison:yes" };
	size_t w, k;

	for (w = 0; w < WAYS; w++)
		for (k = 0; k < 2; k++) {
			struct cells *c = leave_places(&ways[w], options[k]);

			ck_assert_msg(!readable_places(), "way %zu, %s", w,
				      options[k]);
			/* Places are taken again, and left again. */
			cells_list(c, 1, FERRY_KIND_TRACED, 3 * STALE, 2, 300);
			cells_collect(c, FERRY_COLLECT_MINOR);
			cells_collect(c, FERRY_COLLECT_COMPACT);
			cells_list(c, 0, FERRY_KIND_TRACED, STALE, 2, 0);
			cells_collect(c, FERRY_COLLECT_COMPACT);
			cells_list_check(c, 0, STALE);
			cells_list_check(c, 1, 3 * STALE);
			cells_close(c);
			free(stale);
		}
}
END_TEST

/* Every other page gets other rights, until there are no more mappings. */
static void use_up_mappings(void)
{
	size_t page = page_size(), len = (size_t)64 << 30, at = page;
	char *mem = mmap(NULL, len, PROT_READ,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ck_assert_ptr_ne(mem, MAP_FAILED);
	while (at < len && !mprotect(mem + at, page, PROT_NONE))
		at += 2 * page;
	ck_assert_int_eq(errno, ENOMEM);
}

START_TEST(debug_heap_has_memory_where_guards_used_up_mappings)
{
	struct cells *c = leave_places(&ways[0], "debug:yes");

	use_up_mappings();
	cells_list(c, 1, FERRY_KIND_TRACED, 3 * STALE, 2, 300);
	cells_list_check(c, 0, STALE);
	cells_list_check(c, 1, 3 * STALE);
	cells_close(c);
	free(stale);
}
END_TEST

/* A debugging aid only: it costs mappings. */
START_TEST(places_left_are_ordinary_memory_without_debug)
{
	size_t w;

	for (w = 0; w < WAYS; w++) {
		struct cells *c = leave_places(&ways[w], NULL);

		ck_assert_uint_gt(readable_places(), 0);
		cells_close(c);
		free(stale);
	}
}
END_TEST

static const struct test tests[] = {
	TEST(graph_is_the_same_at_other_addresses, NULL),
	TEST(reading_where_nothing_is_does_no_harm, NULL),
	TEST(sparse_blocks_give_their_memory_back, NULL),
	TEST(alignment_is_kept_by_compactions, NULL),
	TEST(survivors_hold_through_many_compactions, NULL),
	TEST(every_other_collection_works_between_compactions, NULL),
	TEST(everything_movable_moves_when_told_to, NULL),
	TEST(pinned_objects_keep_their_address, NULL),
	TEST(ambiguous_roots_keep_addresses, NULL),
	TEST(ambiguous_stacks_keep_addresses, NULL),
	TEST(what_ambiguous_objects_refer_to_keeps_its_address, NULL),
	TEST(dense_blocks_without_references_are_neither_copied_nor_moved,
	     NULL),
	TEST(large_objects_stay_and_their_slots_are_put_right, NULL),
	TEST(every_sort_of_root_gets_the_new_address, NULL),
	TEST(interior_references_keep_their_offset, NULL),
	TEST(threads_allocate_and_write_while_pages_are_produced, NULL),
	TEST(threads_allocate_and_write_while_production_is_delayed, NULL),
	TEST(threads_with_ambiguous_stacks_run_beside_compactions, NULL),
	TEST(system_calls_on_pinned_buffers_meet_no_fault, NULL),
	TEST(prefault_refuses_what_is_not_the_heaps, NULL),
	TEST(stale_references_are_fatal_afterwards_in_debug_heaps, NULL),
	TEST(places_left_are_ordinary_memory_without_debug, NULL),
	TEST(debug_heap_has_memory_where_guards_used_up_mappings, NULL),
	TEST(stale_references_are_fatal_while_pages_are_produced, "move"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
