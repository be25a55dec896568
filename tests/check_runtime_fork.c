/* SPDX-License-Identifier: MIT */
/*
 * Heaps in the child of a fork. What a child finds it says by its exit
 * status, in bits; assertions stand in the parent.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/heap-internal.h"
#include "tests/harness.h"
#include "tests/inject.h"

#define MIB ((size_t)1 << 20)

/*
 * ThreadSanitizer dies of "dup thread with used id" when a thread of the child
 * has its stack where one of the parent's was, which the C library gives it
 * out of its cache. Bigger stacks are not in the cache; and where a stack is
 * ours, as those of handler threads are, there is to be none.
 */
static void child_begins(void)
{
	pthread_attr_t attr;
	size_t size;

	if (!harness_thread_sanitized())
		return;
	pthread_getattr_default_np(&attr);
	pthread_attr_getstacksize(&attr, &size);
	pthread_attr_setstacksize(&attr, size + MIB);
	pthread_setattr_default_np(&attr);
	pthread_attr_destroy(&attr);
}

/* --- a list on a heap ------------------------------------------------------------ */

struct node {
	const struct ferry_type *type;
	struct node *next;
	uint64_t number; /* in the list, from its end */
	uint64_t check;	 /* of the number */
};

static const struct ferry_type node_type = {
	.size = sizeof(struct node),
	.refs = 2,
	.name = "node",
};

static uint64_t check_of(uint64_t number)
{
	return number * 0x9e3779b97f4a7c15u ^ 0x5bd1e995u;
}

static bool list_push(struct ferry_mutator *m, struct node **root)
{
	struct node *node = ferry_alloc(m, sizeof(*node), FERRY_KIND_TYPED);

	if (!node)
		return false;
	node->type = &node_type;
	node->number = *root ? (*root)->number + 1 : 0;
	node->check = check_of(node->number);
	node->next = *root;
	/* What the list is reached by is a root: a plain word. */
	__atomic_store_n(root, node, __ATOMIC_RELAXED);
	return true;
}

static bool list_grow(struct ferry_mutator *m, struct node **root, size_t n)
{
	while (n--)
		if (!list_push(m, root))
			return false;
	return true;
}

/* All nodes are there, down to number 0. */
static bool list_is_whole(const struct node *node)
{
	uint64_t left = node ? node->number + 1 : 0;

	for (; node; node = node->next, left--)
		if (!left || node->number != left - 1 ||
		    node->check != check_of(node->number))
			return false;
	return !left;
}

static bool litter(struct ferry_mutator *m, size_t bytes)
{
	for (; bytes >= 256; bytes -= 256)
		if (!ferry_alloc(m, 256, FERRY_KIND_RAW))
			return false;
	return true;
}

/* --- the heap ---------------------------------------------------------------------- */

static struct ferry_heap *heap;
static struct ferry_mutator *mutator;
static struct node *lists[4];

static void make_with(struct ferry_heap_params *p)
{
	struct ferry_root *root;

	p->max_bytes = 128 * MIB;
	p->min_bytes = 4 * MIB;
	p->no_environment = true;
	if (harness_thread_sanitized())
		p->fault_mode = FERRY_FAULT_SIGBUS;
	ck_assert_int_eq(ferry_heap_create(p, NULL, &heap), 0);
	ck_assert_int_eq(ferry_root_add_range(heap, (void **)lists,
					      ARRAY_SIZE(lists), &root),
			 0);
	ck_assert_int_eq(ferry_mutator_attach(heap, NULL, &mutator), 0);
}

static void make(enum ferry_gc_mode mode)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);

	p.mode = mode;
	make_with(&p);
}

static void unmake(void)
{
	ferry_mutator_detach(mutator);
	ck_assert_int_eq(ferry_heap_destroy(heap), 0);
}

static struct ferry_heap_stats *stats(void)
{
	static struct ferry_heap_stats s;

	s.size = sizeof(s);
	memset((char *)&s + sizeof(s.size), 0, sizeof(s) - sizeof(s.size));
	ferry_heap_stats(heap, &s);
	return &s;
}

static int entries_of(const char *path)
{
	DIR *dir = opendir(path);
	int n = 0;

	if (!dir)
		return -1;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int threads_now(void)
{
	return entries_of("/proc/self/task") - 2;
}

/* What a child found wrong. */
#define BAD_LIST    1
#define BAD_ALLOC   2
#define BAD_COLLECT 4
#define BAD_MODE    8
#define BAD_THREADS 16
#define BAD_END	    32
#define BAD_OTHER   64

/* Uses the heap as any program would. */
static int use_in_child(void)
{
	int bad = 0;

	if (!list_is_whole(lists[0]))
		bad |= BAD_LIST;
	if (!list_grow(mutator, &lists[0], 20000) || !litter(mutator, 32 * MIB))
		bad |= BAD_ALLOC;
	if (ferry_heap_collect(heap, mutator, FERRY_COLLECT_FULL) ||
	    ferry_heap_collect(heap, mutator, FERRY_COLLECT_MINOR) ||
	    ferry_heap_collect(heap, mutator, FERRY_COLLECT_COMPACT))
		bad |= BAD_COLLECT;
	if (!list_is_whole(lists[0]) || lists[0]->number < 20000)
		bad |= BAD_LIST;
	if (ferry_heap_verify(heap, mutator, NULL))
		bad |= BAD_OTHER;
	return bad;
}

static int end_in_child(void)
{
	ferry_mutator_detach(mutator);
	return ferry_heap_destroy(heap) ? BAD_END : 0;
}

/* Runs @fn in a child; returns what it found. */
static int in_child(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid) {
		child_begins();
		_exit(fn());
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "child died by signal %d",
		      WTERMSIG(status));
	return WEXITSTATUS(status);
}

/* --- one thread ---------------------------------------------------------------------- */

static int use_and_end(void)
{
	return use_in_child() | end_in_child();
}

static void child_and_parent_go_on(enum ferry_gc_mode mode)
{
	make(mode);
	ck_assert(list_grow(mutator, &lists[0], 50000));
	ck_assert_int_eq(in_child(use_and_end), 0);
	ck_assert_int_eq(use_in_child(), 0); /* the parent */
	ck_assert_int_eq(in_child(use_and_end), 0);
	unmake();
}

START_TEST(stopped_heap_goes_on_in_child_and_parent)
{
	child_and_parent_go_on(FERRY_GC_STOPPED);
}
END_TEST

START_TEST(concurrent_heap_goes_on_in_child_and_parent)
{
	child_and_parent_go_on(FERRY_GC_CONCURRENT);
}
END_TEST

static int look_at_threads(void)
{
	int bad = 0;

	if (threads_now() != 1)
		bad |= BAD_THREADS;
	if (ferry_heap_collect(heap, mutator, FERRY_COLLECT_FULL))
		bad |= BAD_COLLECT;
	if (threads_now() < 2)
		bad |= BAD_THREADS;
	if (stats()->mode != FERRY_GC_CONCURRENT)
		bad |= BAD_MODE;
	if (!list_is_whole(lists[0]))
		bad |= BAD_LIST;
	return bad | end_in_child();
}

START_TEST(child_has_no_threads_before_its_first_collection)
{
	make(FERRY_GC_CONCURRENT);
	ck_assert(list_grow(mutator, &lists[0], 1000));
	ck_assert_int_eq(in_child(look_at_threads), 0);
	unmake();
}
END_TEST

static int only_end(void)
{
	return end_in_child();
}

START_TEST(child_can_destroy_what_it_never_used)
{
	make(FERRY_GC_CONCURRENT);
	ck_assert(list_grow(mutator, &lists[0], 1000));
	ck_assert_int_eq(in_child(only_end), 0);
	ck_assert_int_eq(use_in_child(), 0);
	unmake();
}
END_TEST

static int fork_once_more(void)
{
	int status, bad = use_in_child();
	pid_t pid = fork();

	if (pid < 0)
		return BAD_OTHER;
	if (!pid) {
		child_begins();
		_exit(use_and_end());
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return BAD_OTHER;
	return bad | WEXITSTATUS(status) | use_and_end();
}

START_TEST(grandchild_goes_on_as_well)
{
	make(FERRY_GC_CONCURRENT);
	ck_assert(list_grow(mutator, &lists[0], 10000));
	ck_assert_int_eq(in_child(fork_once_more), 0);
	unmake();
}
END_TEST

/* --- generations --------------------------------------------------------------------- */

#define GENERATIONS 6

/* What a process has: counted at the same moment of each generation's life. */
struct holdings {
	int fds;
	int mappings;
	long pages; /* of address space */
};

static int lines_of(const char *path)
{
	FILE *file = fopen(path, "r");
	int c, n = 0;

	if (!file)
		return -1;
	while ((c = getc(file)) != EOF)
		n += c == '\n';
	fclose(file);
	return n;
}

static long pages_now(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	long pages = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%ld", &pages) != 1)
		pages = -1;
	fclose(file);
	return pages;
}

static int live_and_fork(struct holdings *mine, unsigned int left)
{
	int status = 0, bad = 0;
	pid_t pid = 0;

	if (ferry_heap_collect(heap, mutator, FERRY_COLLECT_FULL) ||
	    ferry_heap_collect(heap, mutator, FERRY_COLLECT_COMPACT) ||
	    ferry_heap_collect(heap, mutator, FERRY_COLLECT_FULL))
		bad |= BAD_COLLECT;
	if (!list_is_whole(lists[0]))
		bad |= BAD_LIST;
	mine->fds = entries_of("/proc/self/fd");
	mine->mappings = lines_of("/proc/self/maps");
	mine->pages = pages_now();
	if (left)
		pid = fork();
	if (pid < 0)
		return BAD_OTHER;
	if (left && !pid)
		_exit(live_and_fork(mine + 1, left - 1));
	if (left && waitpid(pid, &status, 0) != pid)
		return BAD_OTHER;
	return bad | (WIFEXITED(status) ? WEXITSTATUS(status) : BAD_OTHER);
}

static void generations_hold_no_more(enum ferry_fault_mode fault_mode)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);
	struct holdings *of = mmap(NULL, GENERATIONS * sizeof(*of),
				   PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int i;

	ck_assert_ptr_ne(of, MAP_FAILED);
	p.mode = FERRY_GC_CONCURRENT;
	p.fault_mode = fault_mode;
	lists[0] = NULL;
	make_with(&p);
	ck_assert(list_grow(mutator, &lists[0], 1000));
	ck_assert_int_eq(live_and_fork(of, GENERATIONS - 1), 0);
	for (i = 2; i < GENERATIONS; i++) {
		ck_assert_int_eq(of[i].fds, of[1].fds);
#ifndef FERRY_SANITIZE /* which has mappings of its own */
		ck_assert_int_eq(of[i].pages, of[1].pages);
#endif
	}
#ifndef FERRY_SANITIZE
	/* Which neighbours the kernel joins to one mapping differs from
	 * generation to generation; not that each has one more. */
	ck_assert_int_lt(of[GENERATIONS - 1].mappings,
			 of[1].mappings + GENERATIONS - 2);
#endif
	ck_assert_int_eq(of[1].fds, of[0].fds);
	munmap(of, GENERATIONS * sizeof(*of));
	unmake();
}

START_TEST(generations_of_children_hold_no_more_than_the_first)
{
	if (!harness_thread_sanitized())
		generations_hold_no_more(FERRY_FAULT_THREAD);
	generations_hold_no_more(FERRY_FAULT_SIGBUS);
}
END_TEST

static unsigned int fallbacks;

static void hear(void *arg, const struct ferry_event *event)
{
	(void)arg;
	if (event->kind == FERRY_EVENT_FALLBACK && event->value)
		fallbacks++;
}

static struct inject_rule no_ways[] = {
	{ .call = INJECT_USERFAULTFD, .error = EPERM, .count = INJECT_ALWAYS },
	{ .call = INJECT_OPEN,
	  .path = "/dev/userfaultfd",
	  .error = ENOENT,
	  .count = INJECT_ALWAYS },
};

static int without_userfaultfd(void)
{
	int bad;

	inject_start();
	inject_add(&no_ways[0]);
	inject_add(&no_ways[1]);
	bad = use_in_child();
	if (stats()->mode != FERRY_GC_STOPPED || !stats()->why)
		bad |= BAD_MODE;
	if (fallbacks != 1)
		bad |= BAD_OTHER;
	if (threads_now() != 1)
		bad |= BAD_THREADS;
	return bad | end_in_child();
}

START_TEST(child_without_userfaultfd_is_stopped_and_says_so)
{
	struct ferry_listener *listener;

	make(FERRY_GC_CONCURRENT);
	ck_assert_int_eq(ferry_listener_add(heap, hear, NULL, &listener), 0);
	ck_assert(list_grow(mutator, &lists[0], 10000));
	ck_assert_int_eq(in_child(without_userfaultfd), 0);
	ck_assert_int_eq(stats()->mode, FERRY_GC_CONCURRENT);
	unmake();
}
END_TEST

static int attach_anew(void)
{
	int bad;

	if (ferry_mutator_attach(heap, NULL, &mutator))
		return BAD_OTHER;
	bad = use_in_child();
	return bad | end_in_child();
}

START_TEST(thread_that_is_no_mutator_can_fork)
{
	make(FERRY_GC_CONCURRENT);
	ck_assert(list_grow(mutator, &lists[0], 10000));
	ferry_mutator_detach(mutator);
	ck_assert_int_eq(in_child(attach_anew), 0);
	ck_assert_int_eq(ferry_heap_destroy(heap), 0);
}
END_TEST

static int leave_bracket(void)
{
	ferry_blocking_leave(mutator);
	return use_and_end();
}

START_TEST(thread_inside_a_blocking_bracket_can_fork)
{
	int bad;

	make(FERRY_GC_CONCURRENT);
	ck_assert(list_grow(mutator, &lists[0], 10000));
	ferry_blocking_enter(mutator);
	bad = in_child(leave_bracket);
	ferry_blocking_leave(mutator);
	ck_assert_int_eq(bad, 0);
	unmake();
}
END_TEST

/* Round the C library: no handler runs. */
static int refused(void)
{
	struct ferry_mutator *m;
	int bad = 0;

	if (ferry_heap_collect(heap, mutator, FERRY_COLLECT_FULL) != -ECHILD ||
	    ferry_heap_request(heap, FERRY_COLLECT_FULL) != -ECHILD)
		bad |= BAD_COLLECT;
	if (ferry_mutator_attach(heap, NULL, &m) != -ECHILD)
		bad |= BAD_OTHER;
	return bad;
}

START_TEST(child_of_a_raw_fork_is_told_so)
{
	int status;
	long pid;

	make(FERRY_GC_STOPPED);
	pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	ck_assert_int_ge(pid, 0);
	if (!pid)
		_exit(refused());
	ck_assert_int_eq(waitpid((pid_t)pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	unmake();
}
END_TEST

/* --- beside other threads ------------------------------------------------------------- */

static _Atomic bool stop;

/* Threads that are under way, so that forks are beside them. */
static _Atomic unsigned int under_way;

static void await_threads(unsigned int n)
{
	while (atomic_load(&under_way) < n)
		sched_yield();
}

/* Grows a list, drops it, again and again. */
static void *churn(void *arg)
{
	struct node **root = arg;
	struct ferry_mutator *m;

	if (ferry_mutator_attach(heap, NULL, &m))
		return (void *)"attach";
	atomic_fetch_add(&under_way, 1);
	while (!atomic_load(&stop)) {
		if (!list_grow(m, root, 200) || !litter(m, 64 << 10))
			return (void *)"alloc";
		if ((*root)->number > 20000)
			__atomic_store_n(root, NULL, __ATOMIC_RELAXED);
	}
	ferry_mutator_detach(m);
	return NULL;
}

static int check_all_lists(void)
{
	int bad = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lists); i++)
		if (!list_is_whole(lists[i]))
			bad |= BAD_LIST;
	if (ferry_mutator_attach(heap, NULL, &mutator))
		return BAD_OTHER;
	return bad | use_in_child() | end_in_child();
}

static void fork_beside_churn(enum ferry_gc_mode mode, size_t forks)
{
	pthread_t thread[3];
	void *result;
	size_t i;

	make(mode);
	ck_assert(list_grow(mutator, &lists[0], 1000));
	ferry_mutator_detach(mutator);
	for (i = 0; i < ARRAY_SIZE(thread); i++)
		ck_assert_int_eq(
			pthread_create(&thread[i], NULL, churn, &lists[i + 1]),
			0);
	await_threads(ARRAY_SIZE(thread));
	for (i = 0; i < forks; i++)
		ck_assert_int_eq(in_child(check_all_lists), 0);
	atomic_store(&stop, true);
	for (i = 0; i < ARRAY_SIZE(thread); i++) {
		pthread_join(thread[i], &result);
		ck_assert_msg(!result, "%s", (char *)result);
	}
	ck_assert_int_eq(ferry_heap_destroy(heap), 0);
}

START_TEST(child_sees_one_moment_of_other_threads)
{
	fork_beside_churn(FERRY_GC_STOPPED, harness_scaled(20));
}
END_TEST

START_TEST(fork_waits_for_a_collection_under_way)
{
	fork_beside_churn(FERRY_GC_CONCURRENT, harness_scaled(20));
}
END_TEST

static void *compact_on(void *arg)
{
	(void)arg;
	atomic_fetch_add(&under_way, 1);
	while (!atomic_load(&stop))
		if (ferry_heap_collect(heap, NULL, FERRY_COLLECT_COMPACT))
			return (void *)"collect";
	return NULL;
}

START_TEST(fork_waits_for_a_compaction_under_way)
{
	size_t i, n = harness_scaled(20);
	pthread_t thread;
	void *result;

	make(FERRY_GC_CONCURRENT);
	ck_assert(list_grow(mutator, &lists[0], 50000));
	ck_assert_int_eq(pthread_create(&thread, NULL, compact_on, NULL), 0);
	await_threads(1);
	for (i = 0; i < n; i++) {
		ck_assert_int_eq(in_child(use_and_end), 0);
		ck_assert(litter(mutator, MIB));
	}
	atomic_store(&stop, true);
	ferry_blocking_enter(mutator);
	pthread_join(thread, &result);
	ferry_blocking_leave(mutator);
	ck_assert_ptr_null(result);
	unmake();
}
END_TEST

/* --- the first request, in a pause ---------------------------------------------------- */

static _Atomic bool attached;

/* Asks for the first collection while it holds up a pause. */
static void *request_in_pause(void *arg)
{
	struct ferry_mutator *m;
	int r;

	(void)arg;
	if (ferry_mutator_attach(heap, NULL, &m))
		return (void *)"attach";
	atomic_store(&attached, true);
	while (!__atomic_load_n(&m->poll, __ATOMIC_RELAXED))
		sched_yield();
	r = ferry_heap_request(heap, FERRY_COLLECT_FULL);
	ferry_mutator_detach(m);
	return r ? (void *)"request" : NULL;
}

static int verify_meanwhile(void)
{
	pthread_t thread;
	void *result;
	int bad = 0;

	/* Where it did, it would wait for ever. */
	alarm((unsigned int)harness_patience(100));
	if (pthread_create(&thread, NULL, request_in_pause, NULL))
		return BAD_THREADS;
	while (!atomic_load(&attached))
		ferry_safepoint(mutator);
	if (ferry_heap_verify(heap, mutator, NULL))
		bad |= BAD_OTHER;
	ferry_blocking_enter(mutator);
	pthread_join(thread, &result);
	ferry_blocking_leave(mutator);
	if (result)
		bad |= BAD_COLLECT;
	return bad | use_and_end();
}

START_TEST(first_request_of_a_child_does_not_hold_up_a_pause)
{
	make(FERRY_GC_CONCURRENT);
	ck_assert(list_grow(mutator, &lists[0], 50000));
	ck_assert_int_eq(in_child(verify_meanwhile), 0);
	unmake();
}
END_TEST

/* --- several heaps ------------------------------------------------------------------------ */

static struct ferry_heap *other;

/* A mutator of both heaps, at safepoints of one, then the other. */
static void *live_in_both(void *arg)
{
	struct ferry_mutator *a, *b;

	(void)arg;
	if (ferry_mutator_attach(heap, NULL, &a) ||
	    ferry_mutator_attach(other, NULL, &b))
		return (void *)"attach";
	while (!atomic_load(&stop)) {
		ferry_safepoint(a);
		ferry_safepoint(b);
	}
	ferry_mutator_detach(b);
	ferry_mutator_detach(a);
	return NULL;
}

/* Heaps come and go meanwhile. */
static void *make_heaps(void *arg)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);
	struct ferry_mutator *m;
	struct ferry_heap *h;

	(void)arg;
	p.mode = FERRY_GC_STOPPED;
	p.max_bytes = 8 * MIB;
	if (ferry_mutator_attach(heap, NULL, &m))
		return (void *)"attach";
	while (!atomic_load(&stop)) {
		if (ferry_heap_create(&p, NULL, &h) || ferry_heap_destroy(h))
			return (void *)"heap";
		ferry_safepoint(m);
	}
	ferry_mutator_detach(m);
	return NULL;
}

/* Collections of the other heap, one behind the other. */
static void *collect_other(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop))
		if (ferry_heap_collect(other, NULL, FERRY_COLLECT_FULL))
			return (void *)"collect";
	return NULL;
}

static int end_both(void)
{
	return end_in_child() | (ferry_heap_destroy(other) ? BAD_END : 0);
}

/* Forks beside a thread of two heaps and one that does what @beside does. */
static void fork_beside(enum ferry_gc_mode mode, void *(*beside)(void *arg),
			int (*fn)(void), size_t n)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);
	pthread_t thread[2];
	void *result;
	size_t i;

	make(mode);
	ck_assert(list_grow(mutator, &lists[0], 1000));
	p.mode = mode;
	p.max_bytes = 8 * MIB;
	ck_assert_int_eq(ferry_heap_create(&p, NULL, &other), 0);
	ck_assert_int_eq(pthread_create(&thread[0], NULL, live_in_both, NULL),
			 0);
	ck_assert_int_eq(pthread_create(&thread[1], NULL, beside, NULL), 0);
	for (i = 0; i < n; i++)
		ck_assert_int_eq(in_child(fn), 0);
	atomic_store(&stop, true);
	ferry_blocking_enter(mutator);
	for (i = 0; i < ARRAY_SIZE(thread); i++) {
		pthread_join(thread[i], &result);
		ck_assert_msg(!result, "%s", (char *)result);
	}
	ferry_blocking_leave(mutator);
	ck_assert_int_eq(ferry_heap_destroy(other), 0);
	unmake();
}

START_TEST(threads_of_several_heaps_do_not_hold_up_a_fork)
{
#ifdef __SANITIZE_ADDRESS__
	SKIP("asan-fork", "AddressSanitizer's allocator keeps its lock in the "
			  "child when another thread allocates");
#endif
	fork_beside(FERRY_GC_STOPPED, make_heaps, use_and_end,
		    harness_scaled(60));
}
END_TEST

START_TEST(fork_waits_for_collections_of_several_heaps)
{
	fork_beside(FERRY_GC_CONCURRENT, collect_other, end_both,
		    harness_scaled(60));
}
END_TEST

static const struct test tests[] = {
	TEST(stopped_heap_goes_on_in_child_and_parent, NULL),
	TEST(concurrent_heap_goes_on_in_child_and_parent, "move"),
	TEST(child_has_no_threads_before_its_first_collection, "move"),
	TEST(child_can_destroy_what_it_never_used, "move"),
	TEST(grandchild_goes_on_as_well, "move"),
	TEST(generations_of_children_hold_no_more_than_the_first, "move"),
	TEST(child_without_userfaultfd_is_stopped_and_says_so, "move"),
	TEST(thread_that_is_no_mutator_can_fork, "move"),
	TEST(thread_inside_a_blocking_bracket_can_fork, "move"),
	TEST(child_of_a_raw_fork_is_told_so, NULL),
	TEST(child_sees_one_moment_of_other_threads, NULL),
	TEST(fork_waits_for_a_collection_under_way, "move"),
	TEST(fork_waits_for_a_compaction_under_way, "move"),
	TEST(first_request_of_a_child_does_not_hold_up_a_pause, "move"),
	TEST(threads_of_several_heaps_do_not_hold_up_a_fork, NULL),
	TEST(fork_waits_for_collections_of_several_heaps, "move"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
