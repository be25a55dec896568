/* SPDX-License-Identifier: MIT */
/* Roots of every kind, handles and pins, on a heap that collects. */
#include "tests/harness.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/heap-internal.h"

#define MIB ((size_t)1 << 20)

static struct ferry_heap *heap;
static struct ferry_mutator *m;

/* {type, next, number}: what all tests allocate. */
struct object {
	const struct ferry_type *type;
	struct object *next;
	uint64_t number;
};

static const struct ferry_type type = { .size = sizeof(struct object),
					.refs = 2 };

static void open_heap(enum ferry_stack_scan stacks)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);

	p.mode = FERRY_GC_STOPPED;
	p.stacks = stacks;
	p.max_bytes = 64 * MIB;
	ck_assert_int_eq(ferry_heap_create(&p, NULL, &heap), 0);
	ck_assert_int_eq(ferry_mutator_attach(heap, NULL, &m), 0);
}

static void open_precise(void)
{
	open_heap(FERRY_STACK_PRECISE);
}

static void open_ambiguous(void)
{
	open_heap(FERRY_STACK_AMBIGUOUS);
}

static void close_heap(void)
{
	ferry_mutator_detach(m);
	ck_assert_int_eq(ferry_heap_destroy(heap), 0);
}

static struct object *make(uint64_t number)
{
	struct object *o = ferry_alloc(m, sizeof(*o), FERRY_KIND_TYPED);

	ck_assert_ptr_nonnull(o);
	o->type = &type;
	o->number = number;
	return o;
}

static void collect(enum ferry_collect what)
{
	ck_assert_int_eq(ferry_heap_collect(heap, m, what), 0);
}

/* An object's address, kept from ambiguous stacks. */
static uintptr_t hide(const void *object)
{
	return ~(uintptr_t)object;
}

static bool is_there(uintptr_t hidden)
{
	return ferry_object_kind(heap, (void *)~hidden) == FERRY_KIND_TYPED;
}

/* --- what the host registers ----------------------------------------------- */

struct list {
	struct object *head;
	unsigned int calls;
};

static void list_roots(void *arg, struct ferry_visitor *v)
{
	struct list *list = arg;

	list->calls++;
	ferry_visit(v, &list->head);
}

START_TEST(callback_keeps_what_it_reports)
{
	struct list list = { make(1), 0 };
	struct ferry_root *root;
	uintptr_t hidden = hide(list.head);

	list.head->next = make(2);
	ck_assert_int_eq(
		ferry_root_add_callback(heap, list_roots, &list, &root), 0);
	collect(FERRY_COLLECT_FULL);
	ck_assert_uint_gt(list.calls, 0);
	ck_assert_uint_eq(list.head->number, 1);
	ck_assert_uint_eq(list.head->next->number, 2);
	ferry_root_remove(heap, root);
	list.calls = 0;
	collect(FERRY_COLLECT_FULL);
	ck_assert_uint_eq(list.calls, 0);
	ck_assert(!is_there(hidden));
}
END_TEST

START_TEST(callback_of_a_mutator_is_asked)
{
	struct ferry_mutator_params p = FERRY_INIT(struct ferry_mutator_params);
	struct list list = { NULL, 0 };

	ferry_mutator_detach(m);
	p.roots = list_roots;
	p.roots_arg = &list;
	ck_assert_int_eq(ferry_mutator_attach(heap, &p, &m), 0);
	list.head = make(7);
	collect(FERRY_COLLECT_COMPACT);
	ck_assert_uint_gt(list.calls, 0);
	ck_assert_uint_eq(list.head->number, 7);
}
END_TEST

START_TEST(range_keeps_all_of_its_slots)
{
	struct ferry_root *root;
	void *slots[100];
	uintptr_t hidden[100];
	size_t i;

	memset(slots, 0, sizeof(slots));
	ck_assert_int_eq(ferry_root_add_range(heap, slots, 100, &root), 0);
	for (i = 0; i < 100; i += 3) {
		slots[i] = make(i);
		make(1000); /* garbage between */
	}
	collect(FERRY_COLLECT_COMPACT);
	for (i = 0; i < 100; i += 3) {
		ck_assert_uint_eq(((struct object *)slots[i])->number, i);
		hidden[i] = hide(slots[i]);
	}
	ferry_root_remove(heap, root);
	collect(FERRY_COLLECT_FULL);
	for (i = 0; i < 100; i += 3)
		ck_assert(!is_there(hidden[i]));
}
END_TEST

START_TEST(frames_keep_slots_while_pushed)
{
	struct ferry_frame outer, inner;
	void *a[2] = { NULL, NULL }, *b[1] = { NULL };
	uintptr_t hidden;

	ferry_frame_push(m, &outer, a, 2);
	a[0] = make(1);
	a[1] = make(2);
	ferry_frame_push(m, &inner, b, 1);
	b[0] = make(3);
	hidden = hide(b[0]);
	collect(FERRY_COLLECT_FULL);
	ck_assert_uint_eq(((struct object *)a[0])->number, 1);
	ck_assert_uint_eq(((struct object *)a[1])->number, 2);
	ck_assert_uint_eq(((struct object *)b[0])->number, 3);
	ferry_frame_pop(m, &inner);
	collect(FERRY_COLLECT_FULL);
	ck_assert(!is_there(hidden));
	ck_assert_uint_eq(((struct object *)a[1])->number, 2);
	ferry_frame_pop(m, &outer);
}
END_TEST

START_TEST(wrong_roots_are_refused)
{
	struct ferry_root *root = NULL;
	void *slots[2];

	ck_assert_int_eq(ferry_root_add_callback(heap, NULL, NULL, &root),
			 -EINVAL);
	ck_assert_int_eq(ferry_root_add_callback(heap, list_roots, NULL, NULL),
			 -EINVAL);
	ck_assert_int_eq(ferry_root_add_range(heap, NULL, 2, &root), -EINVAL);
	ck_assert_int_eq(ferry_root_add_range(
				 heap, (void **)((char *)slots + 1), 1, &root),
			 -EINVAL);
	ck_assert_int_eq(
		ferry_root_add_ambiguous(heap, (char *)slots + 4, 8, &root),
		-EINVAL);
	ck_assert_int_eq(ferry_root_add_ambiguous(heap, NULL, 8, &root),
			 -EINVAL);
	ck_assert_ptr_null(root);
	ck_assert_int_eq(ferry_root_add_range(heap, NULL, 0, &root), 0);
	ferry_root_remove(heap, root);
	ferry_root_remove(heap, NULL);
}
END_TEST

/* --- ambiguous words ---------------------------------------------------------- */

START_TEST(ambiguous_words_keep_objects_where_they_are)
{
	static const uintptr_t inside[] = { 0, 1, 8, 23 };
	struct ferry_root *root;
	uintptr_t words[4] = { 0 }, addr[4];
	size_t i, j;

	ck_assert_int_eq(
		ferry_root_add_ambiguous(heap, words, sizeof(words), &root), 0);
	for (i = 0; i < 4; i++) {
		addr[i] = (uintptr_t)make(i);
		words[i] = addr[i] + inside[i];
		for (j = 0; j < 5000; j++)
			make(1000);
	}
	collect(FERRY_COLLECT_COMPACT);
	for (i = 0; i < 4; i++) {
		ck_assert(is_there(~addr[i]));
		ck_assert_uint_eq(((struct object *)addr[i])->number, i);
		words[i] = 0;
	}
	collect(FERRY_COLLECT_FULL);
	for (i = 0; i < 4; i++)
		ck_assert(!is_there(~addr[i]));
	ferry_root_remove(heap, root);
}
END_TEST

/* The only reference is a local of this frame, or a register. */
static __attribute__((noinline)) uint64_t keep_in_local(uint64_t number)
{
	struct object *volatile o = make(number);

	collect(FERRY_COLLECT_COMPACT);
	return o->number;
}

START_TEST(locals_are_roots_of_ambiguous_stacks)
{
	ck_assert_uint_eq(keep_in_local(42), 42);
}
END_TEST

static __attribute__((noinline)) void make_some(uintptr_t *hidden, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		hidden[i] = hide(make(i));
}

START_TEST(locals_are_no_roots_of_precise_stacks)
{
	struct object *volatile o = make(1);
	uintptr_t hidden = hide(o);

	collect(FERRY_COLLECT_FULL);
	ck_assert(!is_there(hidden));
}
END_TEST

/* Remains of dead frames may keep a few, not many. */
START_TEST(ambiguous_stacks_let_most_garbage_go)
{
	uintptr_t hidden[1000];
	size_t i, left = 0;

	make_some(hidden, 1000);
	collect(FERRY_COLLECT_FULL);
	for (i = 0; i < 1000; i++)
		left += is_there(hidden[i]);
	ck_assert_uint_lt(left, 20);
}
END_TEST

struct blocked {
	pthread_t thread;
	pthread_barrier_t barrier;
	uint64_t number;
};

static void *blocked_main(void *arg)
{
	struct blocked *b = arg;
	struct ferry_mutator *self;
	struct object *volatile o;

	ck_assert_int_eq(ferry_mutator_attach(heap, NULL, &self), 0);
	o = ferry_alloc(self, sizeof(*o), FERRY_KIND_TYPED);
	o->type = &type;
	o->number = 77;
	ferry_blocking_enter(self);
	pthread_barrier_wait(&b->barrier);
	pthread_barrier_wait(&b->barrier);
	ferry_blocking_leave(self);
	b->number = o->number;
	ferry_mutator_detach(self);
	return NULL;
}

START_TEST(stack_of_a_blocked_thread_is_scanned)
{
	struct blocked b = { .number = 0 };

	pthread_barrier_init(&b.barrier, NULL, 2);
	ck_assert_int_eq(pthread_create(&b.thread, NULL, blocked_main, &b), 0);
	ferry_blocking_enter(m);
	pthread_barrier_wait(&b.barrier);
	ferry_blocking_leave(m);
	collect(FERRY_COLLECT_COMPACT);
	pthread_barrier_wait(&b.barrier);
	pthread_join(b.thread, NULL);
	ck_assert_uint_eq(b.number, 77);
}
END_TEST

/* --- handles --------------------------------------------------------------------- */

START_TEST(handle_keeps_its_object)
{
	void **handle = ferry_handle_new(m, make(5));
	uintptr_t hidden;

	ck_assert_ptr_nonnull(handle);
	collect(FERRY_COLLECT_COMPACT);
	ck_assert_uint_eq(((struct object *)*handle)->number, 5);
	*handle = make(6);
	collect(FERRY_COLLECT_FULL);
	ck_assert_uint_eq(((struct object *)*handle)->number, 6);
	hidden = hide(*handle);
	ferry_handle_free(heap, handle);
	ferry_handle_free(heap, NULL);
	collect(FERRY_COLLECT_FULL);
	ck_assert(!is_there(hidden));
}
END_TEST

/* A visitor that only counts and adds up. */
struct counter {
	struct ferry_visitor v;
	void *slots[16];
	size_t n;
	uintptr_t sum;
};

static void counter_flush(struct ferry_visitor *v)
{
	struct counter *c = (struct counter *)v;
	uint32_t i;

	for (i = 0; i < v->n; i++)
		c->sum += *(uintptr_t *)v->slots[i];
	c->n += v->n;
	v->n = 0;
}

static struct counter count_roots(void)
{
	struct counter c = { .v = { .max = 16, .flush = counter_flush } };

	c.v.slots = c.slots;
	ferry__roots_visit(heap, &c.v);
	counter_flush(&c.v);
	return c;
}

START_TEST(only_handles_in_use_are_visited_whatever_they_hold)
{
	struct random rng = harness_random();
	void **handle[3000];
	struct counter c;
	size_t i, n = 0, step;
	uintptr_t sum = 0;

	for (step = 0; step < 20000; step++) {
		i = random_below(&rng, 3000);
		if (i < n) {
			sum -= (uintptr_t)*handle[i];
			ferry_handle_free(heap, handle[i]);
			handle[i] = handle[--n];
		} else if (n < 3000) {
			handle[n] = ferry_handle_new(m, NULL);
			ck_assert_ptr_null(*handle[n]);
			/* Any bits: an encoding may use them all. */
			*handle[n] = (void *)(uintptr_t)random_next(&rng);
			sum += (uintptr_t)*handle[n++];
		}
		if (step % 1000)
			continue;
		c = count_roots();
		ck_assert_uint_eq(c.n, n);
		ck_assert_uint_eq(c.sum, sum);
	}
	while (n)
		ferry_handle_free(heap, handle[--n]);
	ck_assert_uint_eq(count_roots().n, 0);
}
END_TEST

START_TEST(pages_of_handles_are_given_back)
{
	void **handle[5000];
	size_t i;

	for (i = 0; i < 5000; i++)
		handle[i] = ferry_handle_new(m, NULL);
	for (i = 0; i < 5000; i++)
		ferry_handle_free(heap, handle[i]);
	ck_assert(cds_list_empty(&heap->roots.full));
	/* One page is kept. */
	ck_assert(!cds_list_empty(&heap->roots.room));
	ck_assert_ptr_eq(heap->roots.room.next, heap->roots.room.prev);
}
END_TEST

START_TEST(handle_freed_twice_is_free_once)
{
	void **a = ferry_handle_new(m, NULL), **b;

	ferry_handle_free(heap, a);
	ferry_handle_free(heap, a);
	a = ferry_handle_new(m, NULL);
	b = ferry_handle_new(m, NULL);
	ck_assert_ptr_ne(a, b);
	ferry_handle_free(heap, a);
	ferry_handle_free(heap, b);
}
END_TEST

/* --- pins -------------------------------------------------------------------------- */

START_TEST(pinned_object_stays_and_lives)
{
	struct object *o = make(9);
	uintptr_t addr = (uintptr_t)o;
	size_t i;

	ck_assert_int_eq(ferry_pin(m, o), 0);
	ck_assert_int_eq(ferry_pin(m, o), 0);
	for (i = 0; i < 10000; i++)
		make(i);
	collect(FERRY_COLLECT_COMPACT);
	ck_assert(is_there(~addr));
	ck_assert_uint_eq(((struct object *)addr)->number, 9);
	ck_assert_int_eq(ferry_unpin(m, (void *)addr), 0);
	collect(FERRY_COLLECT_COMPACT);
	ck_assert(is_there(~addr));
	ck_assert_int_eq(ferry_unpin(m, (void *)addr), 0);
	ck_assert_int_eq(ferry_unpin(m, (void *)addr), -ENOENT);
	collect(FERRY_COLLECT_FULL);
	ck_assert(!is_there(~addr));
}
END_TEST

START_TEST(pinned_object_keeps_what_it_refers_to)
{
	struct object *o = make(1);

	ck_assert_int_eq(ferry_pin(m, o), 0);
	o->next = make(2);
	collect(FERRY_COLLECT_COMPACT);
	ck_assert_uint_eq(o->next->number, 2);
	ck_assert_int_eq(ferry_unpin(m, o), 0);
}
END_TEST

START_TEST(only_objects_can_be_pinned)
{
	struct object *o = make(1);

	ck_assert_int_eq(ferry_pin(m, NULL), -EINVAL);
	ck_assert_int_eq(ferry_pin(m, &o), -EINVAL);
	ck_assert_int_eq(ferry_pin(m, (char *)o + 16), -EINVAL);
	ck_assert_int_eq(ferry_pin(m, (char *)o + 1), -EINVAL);
	ck_assert_int_eq(ferry_unpin(m, o), -ENOENT);
}
END_TEST

static void add_up(void *arg, uintptr_t addr)
{
	*(uintptr_t *)arg += addr;
}

START_TEST(many_pins_are_counted_right)
{
	struct random rng = harness_random();
	enum { OBJECTS = 2000 };
	struct object **o = calloc(OBJECTS, sizeof(*o));
	unsigned int *count = calloc(OBJECTS, sizeof(*count));
	uintptr_t sum, expected;
	size_t i, step, pinned = 0;

	for (i = 0; i < OBJECTS; i++)
		o[i] = make(i);
	for (step = 0; step < 50000; step++) {
		/* Up, then down. */
		bool more = random_below(&rng, 50000) > step;

		i = random_below(&rng, OBJECTS);
		if (more) {
			ck_assert_int_eq(ferry_pin(m, o[i]), 0);
			pinned += !count[i]++;
		} else {
			ck_assert_int_eq(ferry_unpin(m, o[i]),
					 count[i] ? 0 : -ENOENT);
			if (count[i])
				pinned -= !--count[i];
		}
		ck_assert_uint_eq(heap->roots.pins_len, pinned);
	}
	for (expected = 0, i = 0; i < OBJECTS; i++)
		expected += count[i] ? (uintptr_t)o[i] : 0;
	sum = 0;
	ferry__pins_each(heap, add_up, &sum);
	ck_assert_uint_eq(sum, expected);
	for (i = 0; i < OBJECTS; i++)
		for (; count[i]; count[i]--)
			ck_assert_int_eq(ferry_unpin(m, o[i]), 0);
	ck_assert_uint_eq(heap->roots.pins_len, 0);
	ck_assert_uint_le(heap->roots.pins_max, 16);
	free(o);
	free(count);
}
END_TEST

START_TEST(prefault_takes_ranges_of_the_heap_alone)
{
	struct object *o = make(1);
	char *base = (char *)heap->base;

	ck_assert_int_eq(ferry_pin(m, o), 0);
	ck_assert_int_eq(ferry_heap_prefault(m, o, sizeof(*o)), 0);
	ck_assert_int_eq(ferry_heap_prefault(m, o, 0), 0);
	ck_assert_int_eq(ferry_heap_prefault(m, &o, 8), -EINVAL);
	ck_assert_int_eq(ferry_heap_prefault(m, &o, 0), -EINVAL);
	ck_assert_int_eq(ferry_heap_prefault(m, base - 1, 8), -EINVAL);
	ck_assert_int_eq(ferry_heap_prefault(m, base + 4 * heap->half - 4, 8),
			 -EINVAL);
	ck_assert_int_eq(ferry_heap_prefault(m, o, SIZE_MAX), -EINVAL);
	ck_assert_int_eq(ferry_unpin(m, o), 0);
}
END_TEST

/* --- many threads -------------------------------------------------------------------- */

static _Atomic bool stop;

/* Threads that have been round once. */
static _Atomic unsigned int under_way;

/* Not a mutator: it may add and remove roots at any time. */
static void *adder_main(void *arg)
{
	void *slots[4] = { NULL };
	struct list list = { NULL, 0 };
	struct ferry_root *root[3];
	size_t rounds;

	(void)arg;
	for (rounds = 0; !atomic_load(&stop); rounds++) {
		if (rounds == 1)
			atomic_fetch_add(&under_way, 1);
		ck_assert_int_eq(ferry_root_add_range(heap, slots, 4, &root[0]),
				 0);
		ck_assert_int_eq(ferry_root_add_ambiguous(
					 heap, slots, sizeof(slots), &root[1]),
				 0);
		ck_assert_int_eq(ferry_root_add_callback(heap, list_roots,
							 &list, &root[2]),
				 0);
		ferry_root_remove(heap, root[1]);
		ferry_root_remove(heap, root[2]);
		ferry_root_remove(heap, root[0]);
	}
	return NULL;
}

static void *holder_main(void *arg)
{
	struct ferry_mutator *self;
	struct object *o;
	void **handle;
	size_t rounds;

	(void)arg;
	ck_assert_int_eq(ferry_mutator_attach(heap, NULL, &self), 0);
	for (rounds = 0; !atomic_load(&stop); rounds++) {
		if (rounds == 1)
			atomic_fetch_add(&under_way, 1);
		o = ferry_alloc(self, sizeof(*o), FERRY_KIND_TYPED);
		o->type = &type;
		o->number = 3;
		handle = ferry_handle_new(self, o);
		ferry_safepoint(self);
		ck_assert_uint_eq(((struct object *)*handle)->number, 3);
		o = *handle;
		ck_assert_int_eq(ferry_pin(self, o), 0);
		ferry_handle_free(heap, handle);
		ferry_safepoint(self);
		ck_assert_uint_eq(o->number, 3);
		ck_assert_int_eq(ferry_unpin(self, o), 0);
	}
	ferry_mutator_detach(self);
	return NULL;
}

START_TEST(roots_come_and_go_while_collections_run)
{
	pthread_t thread[4];
	size_t i;

	for (i = 0; i < 4; i++)
		ck_assert_int_eq(
			pthread_create(&thread[i], NULL,
				       i % 2 ? adder_main : holder_main, NULL),
			0);
	/* On a busy machine all would be over before they ran. */
	ferry_blocking_enter(m);
	while (atomic_load(&under_way) < 4)
		sched_yield();
	ferry_blocking_leave(m);
	for (i = 0; i < harness_scaled(100); i++)
		collect(FERRY_COLLECT_MINOR + (int)(i % 3));
	atomic_store(&stop, true);
	ferry_blocking_enter(m);
	for (i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	ferry_blocking_leave(m);
}
END_TEST

#define PRECISE(name)	TEST_FIXTURE(name, NULL, open_precise, close_heap)
#define AMBIGUOUS(name) TEST_FIXTURE(name, NULL, open_ambiguous, close_heap)

static const struct test tests[] = {
	PRECISE(callback_keeps_what_it_reports),
	PRECISE(callback_of_a_mutator_is_asked),
	PRECISE(range_keeps_all_of_its_slots),
	PRECISE(frames_keep_slots_while_pushed),
	PRECISE(wrong_roots_are_refused),
	PRECISE(ambiguous_words_keep_objects_where_they_are),
	AMBIGUOUS(locals_are_roots_of_ambiguous_stacks),
	PRECISE(locals_are_no_roots_of_precise_stacks),
	AMBIGUOUS(ambiguous_stacks_let_most_garbage_go),
	AMBIGUOUS(stack_of_a_blocked_thread_is_scanned),
	PRECISE(handle_keeps_its_object),
	PRECISE(only_handles_in_use_are_visited_whatever_they_hold),
	PRECISE(pages_of_handles_are_given_back),
	PRECISE(handle_freed_twice_is_free_once),
	PRECISE(pinned_object_stays_and_lives),
	PRECISE(pinned_object_keeps_what_it_refers_to),
	PRECISE(only_objects_can_be_pinned),
	PRECISE(many_pins_are_counted_right),
	PRECISE(prefault_takes_ranges_of_the_heap_alone),
	PRECISE(roots_come_and_go_while_collections_run),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
