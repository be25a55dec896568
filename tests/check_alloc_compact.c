/* SPDX-License-Identifier: MIT */
/* Page compaction: what plan, start, step, faults and finish promise. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/alloc-internal.h"
#include "tests/compact_heap.h"
#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "uffd/uapi.h"

static struct ferry_compact_result result_of(const struct ferry_compact *c)
{
	struct ferry_compact_result res =
		FERRY_INIT(struct ferry_compact_result);

	ck_assert_int_eq(ferry_compact_progress(c, &res), 0);
	return res;
}

static size_t resident(struct ferry_arena *arena)
{
	char *base = ferry_arena_base(arena);
	size_t n = 0, i;

	for (i = 0; i < ferry_arena_reserved(arena); i += page_size())
		n += page_there(base + i) ? page_size() : 0;
	return n;
}

static size_t bytes_in(struct ferry_arena *arena, enum ferry_page_state state)
{
	size_t at = 0, len, sum = 0;

	for (; ferry_arena_next_run(arena, at, state, &at, &len); at += len)
		sum += len;
	return sum;
}

/* Compacts @heaps whole and checks all there is to check. */
static void compact_and_check(struct heap *heaps, size_t n,
			      struct ferry_compact_params params)
{
	struct ferry_compact *c = heap_plan(heaps, n, params);
	struct ferry_arena *dst;
	struct ferry_compact_result res;
	size_t live = 0, left = 1, i;

	for (i = 0; i < n; i++)
		live += heap_live(&heaps[i]);
	ck_assert_uint_eq(result_of(c).planned, live);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	dst = ferry_compact_destination(c);
	ck_assert_int_eq(ferry_compact_step(c, 0, NULL, &left), 0);
	ck_assert_uint_eq(left, 0);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	res = result_of(c);
	ck_assert_int_eq(res.phase, FERRY_COMPACT_DONE);
	ck_assert_uint_eq(res.moved + res.copied, live);
	ck_assert_uint_eq(res.left, 0);
	for (i = 0; i < n; i++) {
		heap_assert_moved(&heaps[i], c);
		ck_assert_uint_eq(bytes_in(heaps[i].arena, FERRY_PAGE_ABSENT),
				  ferry_arena_reserved(heaps[i].arena));
		ck_assert_uint_eq(resident(heaps[i].arena), 0);
	}
	ck_assert_uint_eq(bytes_in(dst, FERRY_PAGE_LIVE), live);
	ck_assert_uint_eq(resident(dst), live);
	ferry_compact_destroy(c);
	if (!params.destination)
		ferry_arena_destroy(dst);
}

static void sparse_arena(size_t mean, struct ferry_compact_params params)
{
	struct random r = harness_random();
	struct heap heap = heap_make(4096, 1000, FERRY_THP_NEVER);

	heap_thin(&heap, &r, mean);
	compact_and_check(&heap, 1, params);
	heap_fini(&heap);
}

START_TEST(single_pages_arrive_whole)
{
	sparse_arena(1, (struct ferry_compact_params){ 0 });
}
END_TEST

START_TEST(runs_arrive_whole)
{
	sparse_arena(8, (struct ferry_compact_params){ 0 });
}
END_TEST

START_TEST(long_runs_arrive_whole)
{
	sparse_arena(300, (struct ferry_compact_params){ 0 });
}
END_TEST

START_TEST(runs_arrive_whole_with_handler_threads)
{
	sparse_arena(
		8, (struct ferry_compact_params){ .mode = FERRY_FAULT_THREAD });
}
END_TEST

/* A filter that denies MOVE has ferry_move() fall back on copying. */
START_TEST(runs_arrive_whole_by_emulation)
{
	static struct inject_rule deny = {
		.call = INJECT_IOCTL,
		.request = FERRY__UFFDIO_MOVE,
		.count = INJECT_ALWAYS,
		.error = EPERM,
	};

	inject_start();
	inject_add(&deny);
	sparse_arena(8, (struct ferry_compact_params){ 0 });
	inject_stop();
}
END_TEST

/* Policies of ranges cut the mapping of an arena, and moves do not cross. */
START_TEST(sources_cut_by_policies_arrive_whole)
{
	struct random r = harness_random();
	struct heap heap = heap_make(4096, 1000, FERRY_THP_NEVER);
	size_t i;

	heap_thin(&heap, &r, 100);
	for (i = 0; i < 30; i++)
		ck_assert_int_eq(
			ferry_arena_set_thp(
				heap.arena,
				random_below(&r, 4000) * page_size(),
				(1 + random_below(&r, 90)) * page_size(),
				i % 2 ? FERRY_THP_ALWAYS : FERRY_THP_NEVER),
			0);
	compact_and_check(&heap, 1, (struct ferry_compact_params){ 0 });
	heap_fini(&heap);
}
END_TEST

/* The same where the arena does not know of the cut. */
START_TEST(sources_cut_behind_our_back_arrive_whole)
{
	struct heap heap = heap_make(512, 1000, FERRY_THP_NEVER);

	ck_assert_int_eq(madvise(heap.base + 100 * page_size(),
				 50 * page_size(), MADV_DONTDUMP),
			 0);
	compact_and_check(&heap, 1, (struct ferry_compact_params){ 0 });
	heap_fini(&heap);
}
END_TEST

static void supply_sevens(void *arg, const struct ferry_fault *fault,
			  struct ferry_supply *supply)
{
	(void)fault;
	supply->kind = FERRY_SUPPLY_COPY;
	supply->src = arg;
}

START_TEST(pages_that_a_service_has_yet_to_bring_are_brought)
{
	struct ferry_fault_params sp = FERRY_INIT(struct ferry_fault_params);
	struct ferry_arena_params ap = FERRY_INIT(struct ferry_arena_params);
	struct ferry_compact_params p = FERRY_INIT(struct ferry_compact_params);
	char *sevens = map_anon(page_size()), *now;
	struct ferry_arena *dst;
	struct ferry_compact *c;

	memset(sevens, 7, page_size());
	sp.mode = FERRY_FAULT_SIGBUS;
	ck_assert_int_eq(ferry_fault_service_create(&sp, NULL, &ap.service), 0);
	ap.reserve = 2 << 20;
	ap.supply = supply_sevens;
	ap.supply_arg = sevens;
	ck_assert_int_eq(ferry_arena_create(&ap, &dst), 0);
	ck_assert_int_eq(ferry_arena_commit(dst, 0, 64 * page_size(), false),
			 0);
	p.sources = &dst;
	p.sources_len = 1;
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), 0);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	ck_assert_uint_eq(result_of(c).left, 0);
	for (size_t i = 0; i < 64; i++) {
		now = ferry_compact_map(c, (char *)ferry_arena_base(dst) +
						   i * page_size());
		ck_assert_int_eq(now[1000], 7);
	}
	ferry_arena_destroy(ferry_compact_destination(c));
	ferry_compact_destroy(c);
	/* Nor may a destination be under a service. */
	p.destination = dst;
	p.sources = &p.destination;
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), -EINVAL);
	ferry_arena_destroy(dst);
	ferry_fault_service_destroy(ap.service);
}
END_TEST

START_TEST(several_sources_become_one_arena)
{
	struct random r = harness_random();
	struct heap heaps[5];
	size_t i;

	for (i = 0; i < 5; i++) {
		heaps[i] = heap_make(512 * (i + 1), 10000 * i, FERRY_THP_NEVER);
		heap_thin(&heaps[i], &r, 1 + i * 3);
	}
	compact_and_check(heaps, 5, (struct ferry_compact_params){ 0 });
	for (i = 0; i < 5; i++)
		heap_fini(&heaps[i]);
}
END_TEST

START_TEST(an_arena_with_nothing_live_compacts_to_nothing)
{
	struct heap heap = heap_make(512, 0, FERRY_THP_NEVER);

	heap_free(&heap, 0, 512);
	compact_and_check(&heap, 1, (struct ferry_compact_params){ 0 });
	heap_fini(&heap);
}
END_TEST

/* --- destination ---------------------------------------------------------- */

static struct ferry_arena *arena_of(size_t reserve)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *arena;

	p.reserve = reserve;
	p.thp = FERRY_THP_NEVER;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	return arena;
}

START_TEST(a_destination_that_is_given_is_used)
{
	struct ferry_compact_params p = { .destination = arena_of(32 << 20) };

	sparse_arena(8, p);
	ferry_arena_destroy(p.destination);
}
END_TEST

/* As huge pages do, by a fault beside it or by khugepaged. */
START_TEST(pages_that_grow_into_the_destination_are_dropped)
{
	struct ferry_compact_params p = { .destination = arena_of(32 << 20) };
	struct random r = harness_random();
	struct heap heap = heap_make(1024, 0, FERRY_THP_NEVER);
	struct ferry_compact *c;

	heap_thin(&heap, &r, 4);
	c = heap_plan(&heap, 1, p);
	memset(ferry_arena_base(p.destination), 0x5a, 50 * page_size());
	ck_assert_int_eq(ferry_compact_start(c), 0);
	heap_assert_moved(&heap, c);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	heap_assert_moved(&heap, c);
	ck_assert_uint_eq(result_of(c).left, 0);
	ferry_compact_destroy(c);
	heap_fini(&heap);
	ferry_arena_destroy(p.destination);
}
END_TEST

START_TEST(a_destination_too_small_or_in_use_is_refused)
{
	struct ferry_compact_params p = FERRY_INIT(struct ferry_compact_params);
	struct heap heap = heap_make(1024, 0, FERRY_THP_NEVER);
	struct ferry_compact *c = NULL;

	p.sources = &heap.arena;
	p.sources_len = 1;
	p.destination = arena_of(2 << 20);
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), -ENOSPC);
	ferry_arena_destroy(p.destination);
	p.destination = arena_of(8 << 20);
	ck_assert_int_eq(
		ferry_arena_commit(p.destination, 0, page_size(), false), 0);
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), -EBUSY);
	ck_assert_ptr_null(c);
	ck_assert_uint_eq(bytes_in(heap.arena, FERRY_PAGE_LIVE), 4 << 20);
	ferry_arena_destroy(p.destination);
	heap_fini(&heap);
}
END_TEST

START_TEST(bad_parameters_are_refused)
{
	struct ferry_compact_params p = FERRY_INIT(struct ferry_compact_params);
	struct heap heap = heap_make(512, 0, FERRY_THP_NEVER);
	struct ferry_arena *twice[] = { heap.arena, heap.arena };
	struct ferry_compact *c = NULL;

	ck_assert_int_eq(ferry_compact_plan(NULL, NULL, &c), -EINVAL);
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), -EINVAL);
	p.sources = twice;
	p.sources_len = 2;
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), -EINVAL);
	p.sources_len = 1;
	p.destination = heap.arena;
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), -EINVAL);
	p.destination = NULL;
	p.flags = 1u << 30;
	ck_assert_int_eq(ferry_compact_plan(&p, NULL, &c), -EINVAL);
	ck_assert_ptr_null(c);
	ck_assert_uint_eq(bytes_in(heap.arena, FERRY_PAGE_LIVE), 2 << 20);
	heap_fini(&heap);
}
END_TEST

/* --- the map -------------------------------------------------------------- */

START_TEST(the_map_is_known_before_anything_moves)
{
	struct random r = harness_random();
	struct heap heap = heap_make(2048, 0, FERRY_THP_NEVER);
	struct ferry_compact *c;
	struct ferry_relocation run;
	char *at = NULL;
	size_t sum = 0;

	heap_thin(&heap, &r, 5);
	c = heap_plan(&heap, 1, (struct ferry_compact_params){ 0 });
	heap_assert_unmoved(&heap);
	for (; ferry_compact_relocation(c, at, &run);
	     at = (char *)run.from + run.len) {
		ck_assert((char *)run.from >= at);
		ck_assert_ptr_eq(ferry_compact_map(c, run.from), run.to);
		ck_assert_ptr_eq(
			ferry_compact_map(c, (char *)run.from + run.len - 1),
			(char *)run.to + run.len - 1);
		sum += run.len;
	}
	ck_assert_uint_eq(sum, heap_live(&heap));
	ck_assert_ptr_null(ferry_compact_map(c, &sum));
	ferry_compact_destroy(c);
	heap_assert_unmoved(&heap);
	heap_fini(&heap);
}
END_TEST

START_TEST(a_plan_dropped_before_its_start_changes_nothing)
{
	struct heap heap = heap_make(1024, 7, FERRY_THP_NEVER);
	struct ferry_compact *c =
		heap_plan(&heap, 1, (struct ferry_compact_params){ 0 });

	ck_assert_int_eq(ferry_compact_step(c, 0, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ferry_arena_pin(heap.arena, 0, page_size()), -EBUSY);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	ck_assert_int_eq(result_of(c).phase, FERRY_COMPACT_PLANNED);
	ck_assert_ptr_null(ferry_compact_destination(c));
	ck_assert_ptr_null(ferry_compact_map(c, heap.base));
	ck_assert_int_eq(ferry_compact_start(c), -EALREADY);
	ck_assert_uint_eq(bytes_in(heap.arena, FERRY_PAGE_LIVE),
			  heap_live(&heap));
	heap_assert_unmoved(&heap);
	ferry_compact_destroy(c);
	heap_fini(&heap);
}
END_TEST

START_TEST(a_second_start_is_refused)
{
	struct heap heap = heap_make(512, 7, FERRY_THP_NEVER);
	struct ferry_compact *c =
		heap_plan(&heap, 1, (struct ferry_compact_params){ 0 });
	struct ferry_arena *dst = ferry_compact_destination(c);

	ck_assert_int_eq(ferry_compact_start(c), 0);
	ck_assert_int_eq(ferry_compact_start(c), -EALREADY);
	ferry_compact_destroy(c);
	ck_assert_uint_eq(bytes_in(dst, FERRY_PAGE_LIVE), heap_live(&heap));
	ferry_arena_destroy(dst);
	heap_fini(&heap);
}
END_TEST

START_TEST(pinned_pages_stay_and_are_counted)
{
	struct random r = harness_random();
	struct heap heap = heap_make(2048, 3, FERRY_THP_NEVER);
	struct ferry_compact *c;
	struct ferry_arena *dst;
	size_t pinned = 0, i;

	heap_thin(&heap, &r, 4);
	for (i = 0; i < heap.pages; i += 97)
		if (heap.live[i] &&
		    !ferry_arena_pin(heap.arena, i * page_size(), page_size()))
			pinned += page_size();
	c = heap_plan(&heap, 1, (struct ferry_compact_params){ 0 });
	dst = ferry_compact_destination(c);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	ck_assert_uint_eq(result_of(c).pinned, pinned);
	ck_assert_uint_eq(result_of(c).planned, heap_live(&heap) - pinned);
	for (i = 0; i < heap.pages; i += 97)
		if (heap.live[i])
			ck_assert_ptr_null(ferry_compact_map(
				c, heap.base + i * page_size()));
	heap_assert_moved(&heap, c);
	ck_assert_uint_eq(resident(heap.arena), pinned);
	ferry_compact_destroy(c);
	ferry_arena_destroy(dst);
	heap_fini(&heap);
}
END_TEST

START_TEST(live_pages_never_written_stay_zero)
{
	struct heap heap = heap_make(1024, 50, FERRY_THP_NEVER);
	struct ferry_compact *c;
	struct ferry_arena *dst;
	char *now;

	heap_free(&heap, 100, 30);
	ck_assert_int_eq(ferry_arena_commit(heap.arena, 100 * page_size(),
					    30 * page_size(), false),
			 0);
	c = heap_plan(&heap, 1, (struct ferry_compact_params){ 0 });
	dst = ferry_compact_destination(c);
	ck_assert_int_eq(ferry_compact_start(c), 0);
	now = ferry_compact_map(c, heap.base + 110 * page_size());
	ck_assert_int_eq(*now, 0);
	ck_assert_int_eq(ferry_compact_finish(c, NULL), 0);
	for (size_t i = 100; i < 130; i++) {
		now = ferry_compact_map(c, heap.base + i * page_size());
		ck_assert_int_eq(now[17], 0);
		heap.live[i] = false;
	}
	ck_assert_uint_eq(result_of(c).left, 0);
	ferry_compact_destroy(c);
	ferry_arena_destroy(dst);
	heap_fini(&heap);
}
END_TEST

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
	ck_assert_uint_eq(result_of(c).moved + result_of(c).copied,
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
	ck_assert_uint_eq(result_of(c).left, 0);
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
	ck_assert_int_eq(result_of(c).phase, FERRY_COMPACT_PARTIAL);
	ck_assert_int_eq(result_of(c).error, -EBUSY);
	ck_assert_uint_eq(result_of(c).left, heap_live(&heap));
	heap_assert_unmoved(&heap);
	heap_assert_moved(&heap, c);
	ck_assert_uint_eq(bytes_in(heap.arena, FERRY_PAGE_LIVE),
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
	ck_assert_uint_eq(result_of(c).huge_moved, HUGES / 2 * HUGE_SIZE);
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
	ck_assert_uint_eq(result_of(c).collapsed,
			  heap_live(&heap) / HUGE_SIZE * HUGE_SIZE);
	huge = huge_bytes(ferry_arena_base(dst), ferry_arena_reserved(dst));
	ck_assert_uint_gt(huge, 0);
	/* Linux 6.1 has been seen to say that it made a huge page, and not to
	 * have it mapped as one. */
	if (harness_feature("pagemap_scan", &why))
		ck_assert_uint_eq(huge, result_of(c).collapsed);
	heap_assert_moved(&heap, c);
	ferry_compact_destroy(c);
	ferry_arena_destroy(dst);
	heap_fini(&heap);
}
END_TEST

static const struct test tests[] = {
	TEST(single_pages_arrive_whole, "sigbus"),
	TEST(runs_arrive_whole, "sigbus"),
	TEST(long_runs_arrive_whole, "sigbus"),
	TEST(runs_arrive_whole_with_handler_threads, "userfaultfd"),
	TEST(runs_arrive_whole_by_emulation, "sigbus"),
	TEST(sources_cut_by_policies_arrive_whole, "sigbus,thp"),
	TEST(sources_cut_behind_our_back_arrive_whole, "sigbus"),
	TEST(pages_that_a_service_has_yet_to_bring_are_brought, "sigbus"),
	TEST(several_sources_become_one_arena, "sigbus"),
	TEST(an_arena_with_nothing_live_compacts_to_nothing, "sigbus"),
	TEST(a_destination_that_is_given_is_used, "sigbus"),
	TEST(pages_that_grow_into_the_destination_are_dropped, "sigbus,move"),
	TEST(a_destination_too_small_or_in_use_is_refused, "sigbus"),
	TEST(bad_parameters_are_refused, "sigbus"),
	TEST(the_map_is_known_before_anything_moves, "sigbus"),
	TEST(a_plan_dropped_before_its_start_changes_nothing, "sigbus"),
	TEST(a_second_start_is_refused, "sigbus"),
	TEST(pinned_pages_stay_and_are_counted, "sigbus"),
	TEST(live_pages_never_written_stay_zero, "sigbus"),
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
