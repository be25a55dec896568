/* SPDX-License-Identifier: MIT */
/*
 * Page compaction while pages are in transit: faults, steps and readers at
 * once, and pages that do not want to move.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/alloc-internal.h"
#include "tests/compact_heap.h"
#include "tests/harness.h"
#include "tests/memory.h"

/* --- in transit ----------------------------------------------------------- */

struct reader {
	const struct heap *heap;
	const struct ferry_compact *compact;
	struct random random;
	size_t looks;
	bool wrong;
	pthread_t thread;
};

static void *read_pages(void *arg)
{
	struct reader *r = arg;
	size_t i, n;

	for (n = 0; n < r->looks && !r->wrong; n++) {
		i = random_below(&r->random, r->heap->pages);
		r->wrong = !heap_page_right(r->heap, r->compact, i);
	}
	return NULL;
}

static void readers_start(struct reader *readers, size_t n,
			  const struct heap *heap,
			  const struct ferry_compact *c, struct random *r)
{
	for (size_t i = 0; i < n; i++) {
		readers[i] = (struct reader){
			.heap = heap,
			.compact = c,
			.random = random_seeded(random_next(r)),
			.looks = harness_scaled(20000),
		};
		ck_assert_int_eq(pthread_create(&readers[i].thread, NULL,
						read_pages, &readers[i]),
				 0);
	}
}

static void readers_join(struct reader *readers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		pthread_join(readers[i].thread, NULL);
		ck_assert(!readers[i].wrong);
	}
}

static void *step_all(void *arg)
{
	size_t left = 1;

	while (left)
		ck_assert_int_eq(ferry_compact_step(arg, 64 << 10, NULL, &left),
				 0);
	return NULL;
}

static void readers_during(size_t mean, enum ferry_fault_mode mode,
			   size_t steppers)
{
	struct random r = harness_random();
	struct heap heap = heap_make(8192, 1, FERRY_THP_NEVER);
	struct reader readers[3];
	pthread_t stepper[2];
	struct ferry_compact *c;
	struct ferry_arena *dst;
	size_t i;

	heap_thin(&heap, &r, mean);
	c = heap_plan(&heap, 1, (struct ferry_compact_params){ .mode = mode });
	dst = ferry_compact_destination(c);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	readers_start(readers, 3, &heap, c, &r);
	for (i = 0; i < steppers; i++)
		ck_assert_int_eq(pthread_create(&stepper[i], NULL, step_all, c),
				 0);
	for (i = 0; i < steppers; i++)
		pthread_join(stepper[i], NULL);
	readers_join(readers, 3);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	ck_assert_uint_eq(heap_result(c).moved + heap_result(c).copied,
			  heap_live(&heap));
	heap_assert_moved(&heap, c);
	ferry_compact_destroy(c);
	ferry_arena_destroy(dst);
	heap_fini(&heap);
}

START_TEST(faults_alone_move_what_is_touched)
{
	readers_during(4, FERRY_FAULT_SIGBUS, 0);
}
END_TEST

START_TEST(faults_and_two_steppers_move_single_pages_once)
{
	readers_during(1, FERRY_FAULT_SIGBUS, 2);
}
END_TEST

START_TEST(faults_and_two_steppers_move_long_runs_once)
{
	readers_during(100, FERRY_FAULT_SIGBUS, 2);
}
END_TEST

START_TEST(handler_threads_and_two_steppers_move_runs_once)
{
	readers_during(4, FERRY_FAULT_THREAD, 2);
}
END_TEST

START_TEST(handler_threads_alone_move_what_is_touched)
{
	readers_during(4, FERRY_FAULT_THREAD, 0);
}
END_TEST

START_TEST(finish_ends_while_readers_fault)
{
	struct random r = harness_random();
	struct heap heap = heap_make(8192, 1, FERRY_THP_NEVER);
	struct reader readers[3];
	struct ferry_compact *c;
	struct ferry_arena *dst;

	heap_thin(&heap, &r, 8);
	c = heap_plan(&heap, 1, (struct ferry_compact_params){ 0 });
	dst = ferry_compact_destination(c);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	readers_start(readers, 3, &heap, c, &r);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	readers_join(readers, 3);
	ferry_compact_destroy(c);
	ferry_arena_destroy(dst);
	heap_fini(&heap);
}
END_TEST

START_TEST(a_cancelled_step_can_be_resumed)
{
	struct heap heap = heap_make(4096, 9, FERRY_THP_NEVER);
	struct random r = harness_random();
	struct ferry_compact *c;
	struct ferry_arena *dst;
	volatile bool cancel = true;
	size_t left;

	heap_thin(&heap, &r, 2);
	c = heap_plan(&heap, 1, (struct ferry_compact_params){ 0 });
	dst = ferry_compact_destination(c);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	ck_assert_int_eq(ferry_compact_step(c, 1 << 20, NULL, &left), 0);
	ck_assert_uint_lt(left, heap_live(&heap));
	ck_assert_uint_gt(left, 0);
	ck_assert_int_eq(ferry_compact_step(c, 0, &cancel, &left), -ECANCELED);
	ck_assert_uint_gt(left, 0);
	cancel = false;
	ck_assert_int_eq(ferry_compact_step(c, 0, &cancel, &left), 0);
	ck_assert_uint_eq(left, 0);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	heap_assert_moved(&heap, c);
	ferry_compact_destroy(c);
	ferry_arena_destroy(dst);
	heap_fini(&heap);
}
END_TEST

/* --- old addresses -------------------------------------------------------- */

static sigjmp_buf escape;

static void on_sigbus(int sig)
{
	siglongjmp(escape, sig);
}

/* Does reading there raise SIGBUS? */
static bool traps(const volatile char *addr)
{
	if (sigsetjmp(escape, 1))
		return true;
	(void)*addr;
	return false;
}

START_TEST(an_old_address_raises_sigbus_once_its_page_has_moved)
{
	struct heap heap = heap_make(1024, 9, FERRY_THP_NEVER);
	struct ferry_compact *c;
	struct ferry_arena *dst;

	signal(SIGBUS, on_sigbus);
	heap_free(&heap, 1, 7);
	c = heap_plan(&heap, 1, (struct ferry_compact_params){ 0 });
	dst = ferry_compact_destination(c);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	ck_assert_int_eq(ferry_compact_step(c, 0, NULL, NULL), 0);
	ck_assert(traps(heap.base));
	ck_assert(traps(heap.base + 100 * page_size()));
	/* What is committed there later is the owner's own. */
	ck_assert_int_eq(
		ferry_arena_commit(heap.arena, page_size(), page_size(), false),
		0);
	ck_assert(!traps(heap.base + page_size()));
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	ferry_compact_destroy(c);
	ferry_arena_destroy(dst);
	heap_fini(&heap);
}
END_TEST

/* --- pages that do not want to move --------------------------------------- */

static int child_that_waits(int *ret_pipe)
{
	int fd[2], pid;
	char c;

	ck_assert_int_eq(pipe(fd), 0);
	pid = fork();
	if (!pid) {
		close(fd[1]);
		if (read(fd[0], &c, 1))
			_exit(1);
		_exit(0);
	}
	close(fd[0]);
	*ret_pipe = fd[1];
	return pid;
}

/* Compacts an arena that a child shares; returns what finish says. */
static int compact_shared(struct heap *heap, enum ferry_busy busy,
			  struct ferry_compact **ret)
{
	struct ferry_compact *c;
	int fd, pid, r;

	pid = child_that_waits(&fd);
	c = heap_plan(heap, 1, (struct ferry_compact_params){ .busy = busy });
	ck_assert_int_eq(ferry_compact_start(c), 0);
	ck_assert_int_eq(ferry_compact_step(c, 0, NULL, NULL), 0);
	r = ferry_compact_finish(c, NULL);
	close(fd);
	waitpid(pid, NULL, 0);
	*ret = c;
	return r;
}

static void shared_pages_move(enum ferry_busy busy)
{
	struct heap heap = heap_make(512, 5, FERRY_THP_NEVER);
	struct ferry_compact *c;

	ck_assert_int_eq(compact_shared(&heap, busy, &c), 0);
	ck_assert_uint_eq(heap_result(c).left, 0);
	heap_assert_moved(&heap, c);
	ferry_arena_destroy(ferry_compact_destination(c));
	ferry_compact_destroy(c);
	heap_fini(&heap);
}

START_TEST(pages_shared_by_fork_are_made_exclusive)
{
	shared_pages_move(FERRY_BUSY_REPORT);
}
END_TEST

START_TEST(pages_shared_by_fork_are_copied_on_demand)
{
	shared_pages_move(FERRY_BUSY_COPY);
}
END_TEST

START_TEST(pages_left_stay_and_are_listed)
{
	struct heap heap = heap_make(512, 5, FERRY_THP_NEVER);
	struct ferry_compact *c;
	struct ferry_range left;
	size_t sum = 0;
	char *at = NULL;

	heap_free(&heap, 3, 5);
	ck_assert_int_eq(compact_shared(&heap, FERRY_BUSY_SKIP, &c), -EUCLEAN);
	ck_assert_int_eq(heap_result(c).phase, FERRY_COMPACT_PARTIAL);
	ck_assert_int_eq(heap_result(c).error, -EBUSY);
	ck_assert_uint_eq(heap_result(c).left, heap_live(&heap));
	heap_assert_unmoved(&heap);
	heap_assert_moved(&heap, c);
	ck_assert_uint_eq(heap_bytes_in(heap.arena, FERRY_PAGE_LIVE),
			  heap_live(&heap));
	for (; ferry_compact_left(c, at, &left);
	     at = (char *)left.addr + left.len)
		sum += left.len;
	ck_assert_uint_eq(sum, heap_live(&heap));
	ferry_arena_destroy(ferry_compact_destination(c));
	ferry_compact_destroy(c);
	heap_fini(&heap);
}
END_TEST

/* --- huge pages ----------------------------------------------------------- */

#define HUGES 8

static struct heap huge_heap(void)
{
	struct heap heap =
		heap_make(HUGES * HUGE_SIZE / page_size(), 1, FERRY_THP_ALWAYS);

	/* Every second huge page is broken, its pages thinned. */
	for (size_t i = 1; i < HUGES; i += 2)
		for (size_t j = 0; j < 500; j += 10)
			heap_free(&heap, i * HUGE_SIZE / page_size() + j, 9);
	return heap;
}

START_TEST(whole_huge_pages_are_moved_whole)
{
	struct heap heap = huge_heap();
	struct ferry_compact *c;
	struct ferry_arena *dst;

	if (huge_bytes(heap.base, HUGES * HUGE_SIZE) < HUGES / 2 * HUGE_SIZE)
		SKIP("thp", "the kernel gave no huge pages just now");
	c = heap_plan(&heap, 1,
		      (struct ferry_compact_params){ .thp = FERRY_THP_ALWAYS });
	dst = ferry_compact_destination(c);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	ck_assert_uint_eq(heap_result(c).huge_moved, HUGES / 2 * HUGE_SIZE);
	ck_assert_uint_eq(huge_bytes(ferry_arena_base(dst), HUGES * HUGE_SIZE),
			  HUGES / 2 * HUGE_SIZE);
	heap_assert_moved(&heap, c);
	ferry_compact_destroy(c);
	ferry_arena_destroy(dst);
	heap_fini(&heap);
}
END_TEST

START_TEST(huge_pages_are_made_again_on_demand)
{
	struct random r = harness_random();
	struct heap heap = heap_make(8192, 1, FERRY_THP_NEVER);
	struct ferry_compact_params p = {
		.flags = FERRY_COMPACT_COLLAPSE,
		.thp = FERRY_THP_ALWAYS,
	};
	struct ferry_compact *c;
	struct ferry_arena *dst;
	const char *why;
	size_t huge;

	heap_thin(&heap, &r, 8);
	c = heap_plan(&heap, 1, p);
	dst = ferry_compact_destination(c);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	ck_assert_uint_eq(heap_result(c).collapsed,
			  heap_live(&heap) / HUGE_SIZE * HUGE_SIZE);
	huge = huge_bytes(ferry_arena_base(dst), ferry_arena_reserved(dst));
	ck_assert_uint_gt(huge, 0);
	/* Linux 6.1 has been seen to say that it made a huge page, and not to
	 * have it mapped as one. */
	if (harness_feature("pagemap_scan", &why))
		ck_assert_uint_eq(huge, heap_result(c).collapsed);
	heap_assert_moved(&heap, c);
	ferry_compact_destroy(c);
	ferry_arena_destroy(dst);
	heap_fini(&heap);
}
END_TEST

static const struct test tests[] = {
	TEST(faults_alone_move_what_is_touched, "sigbus"),
	TEST(faults_and_two_steppers_move_single_pages_once, "sigbus"),
	TEST(faults_and_two_steppers_move_long_runs_once, "sigbus"),
	TEST(handler_threads_alone_move_what_is_touched, "userfaultfd"),
	TEST(handler_threads_and_two_steppers_move_runs_once, "userfaultfd"),
	TEST(finish_ends_while_readers_fault, "sigbus"),
	TEST(a_cancelled_step_can_be_resumed, "sigbus"),
	TEST(an_old_address_raises_sigbus_once_its_page_has_moved, "sigbus"),
	TEST(pages_shared_by_fork_are_made_exclusive, "sigbus"),
	TEST(pages_shared_by_fork_are_copied_on_demand, "sigbus"),
	TEST(pages_left_stay_and_are_listed, "sigbus,move"),
	TEST(whole_huge_pages_are_moved_whole, "sigbus,move,thp"),
	TEST(huge_pages_are_made_again_on_demand, "sigbus,thp"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
