/* SPDX-License-Identifier: MIT */
/* Threads that run, and system calls of theirs, beside compactions. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/ways.h"

#define KIB ((size_t)1 << 10)

/* --- while the program runs -------------------------------------------------------------------- */

struct runner {
	struct ferry_heap *heap;
	_Atomic bool *quit;
	const char *wrong;
	unsigned int number;
	/* Set by the runner once it has made a list, or has given up; read by
	 * await_runners(). */
	_Atomic bool began;
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
			runner->began = true;
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
	} else {
		run_in(runner, m);
		ferry_mutator_detach(m);
	}
	runner->began = true;
	return NULL;
}

/* On a busy machine all would be over before they ran. */
static void await_runners(struct cells *c, const struct runner *runner,
			  size_t n)
{
	size_t i;

	ferry_blocking_enter(c->m);
	for (i = 0; i < n; i++)
		while (!runner[i].began)
			sched_yield();
	ferry_blocking_leave(c->m);
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
		runner[i] = (struct runner){ .heap = c->heap,
					     .quit = &quit,
					     .number = (unsigned int)i };
		ck_assert_int_eq(
			pthread_create(&thread[i], NULL, run, &runner[i]), 0);
	}
	await_runners(c, runner, RUNNERS);
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

/* In each way of being served, with these options and stacks. */
static void run_beside_each(const char *options, enum ferry_stack_scan stacks,
			    size_t rounds)
{
	size_t w;

	for (w = 0; w < WAYS; w++) {
		struct ferry_heap_params p = way_params(&ways[w]);

		p.options = options;
		p.stacks = stacks;
		run_beside(&p, rounds);
	}
}

START_TEST(threads_allocate_and_write_while_pages_are_produced)
{
	run_beside_each(NULL, FERRY_STACK_PRECISE, harness_scaled(15));
}
END_TEST

START_TEST(threads_allocate_and_write_while_production_is_delayed)
{
	run_beside_each("delay-seed:11,poison:true,move-all:true",
			FERRY_STACK_PRECISE, harness_scaled(10));
}
END_TEST

START_TEST(threads_with_ambiguous_stacks_run_beside_compactions)
{
	run_beside_each(NULL, FERRY_STACK_AMBIGUOUS, harness_scaled(20));
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
		struct cells *c = way_open(&ways[w], 1);
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
	struct cells *c = way_open(&ways[0], 1);
	char *raw = ferry_alloc(c->m, 100, FERRY_KIND_RAW);

	ck_assert_int_eq(ferry_heap_prefault(c->m, raw, 100), 0);
	ck_assert_int_eq(ferry_heap_prefault(c->m, c, 8), -EINVAL);
	ck_assert_int_eq(ferry_heap_prefault(c->m, raw, SIZE_MAX), -EINVAL);
	cells_close(c);
}
END_TEST

static const struct test tests[] = {
	TEST(threads_allocate_and_write_while_pages_are_produced, NULL),
	TEST(threads_allocate_and_write_while_production_is_delayed, NULL),
	TEST(threads_with_ambiguous_stacks_run_beside_compactions, NULL),
	TEST(system_calls_on_pinned_buffers_meet_no_fault, NULL),
	TEST(prefault_refuses_what_is_not_the_heaps, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
