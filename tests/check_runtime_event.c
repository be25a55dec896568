/* SPDX-License-Identifier: MIT */
/* Events, histograms and the snapshot, on a heap of which nothing else runs. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/heap-internal.h"
#include "tests/harness.h"
#include "tests/inject.h"

static struct ferry_heap *heap;

static void setup(void)
{
	heap = calloc(1, sizeof(*heap));
	ck_assert_ptr_nonnull(heap);
	pthread_mutex_init(&heap->space.lock, NULL);
	ck_assert_int_eq(ferry__events_init(heap), 0);
}

static void teardown(void)
{
	ferry__events_fini(heap);
	free(heap);
}

/* What a listener heard. */
struct heard {
	unsigned int calls;
	struct ferry_event last;
};

static void hear(void *arg, const struct ferry_event *event)
{
	struct heard *heard = arg;

	heard->calls++;
	heard->last = *event;
}

START_TEST(every_kind_and_pause_has_its_own_name)
{
	int i, j;

	for (i = 1; i < FERRY_EVENTS; i++) {
		ck_assert_str_ne(ferry_event_name(i), "unknown");
		for (j = 1; j < i; j++)
			ck_assert_str_ne(ferry_event_name(i),
					 ferry_event_name(j));
	}
	for (i = 1; i < FERRY_PAUSES; i++) {
		ck_assert_str_ne(ferry_pause_name(i), "unknown");
		for (j = 1; j < i; j++)
			ck_assert_str_ne(ferry_pause_name(i),
					 ferry_pause_name(j));
	}
}
END_TEST

START_TEST(names_of_what_is_not_known_are_never_null)
{
	ck_assert_str_eq(ferry_event_name(0), "unknown");
	ck_assert_str_eq(ferry_event_name(FERRY_EVENTS), "unknown");
	ck_assert_str_eq(ferry_event_name(-1), "unknown");
	ck_assert_str_eq(ferry_pause_name(0), "unknown");
	ck_assert_str_eq(ferry_pause_name(FERRY_PAUSES), "unknown");
}
END_TEST

START_TEST(listener_hears_kind_value_time_and_cycle)
{
	struct ferry_listener *listener;
	struct heard heard = { 0 };

	inject_start();
	inject_clock(12345);
	ck_assert_int_eq(ferry_listener_add(heap, hear, &heard, &listener), 0);
	heap->cycle.number = 7;
	ferry__event(heap, FERRY_EVENT_SWEPT, 4096);
	ck_assert_uint_eq(heard.calls, 1);
	ck_assert_int_eq(heard.last.kind, FERRY_EVENT_SWEPT);
	ck_assert_uint_eq(heard.last.value, 4096);
	ck_assert_uint_eq(heard.last.time_ns, 12345);
	ck_assert_uint_eq(heard.last.cycle, 7);
	ferry_listener_remove(heap, listener);
	inject_stop();
}
END_TEST

START_TEST(removed_listener_hears_nothing_more)
{
	struct ferry_listener *one, *two;
	struct heard a = { 0 }, b = { 0 };

	ck_assert_int_eq(ferry_listener_add(heap, hear, &a, &one), 0);
	ck_assert_int_eq(ferry_listener_add(heap, hear, &b, &two), 0);
	ferry__event(heap, FERRY_EVENT_PRESSURE, 0);
	ferry_listener_remove(heap, one);
	ferry__event(heap, FERRY_EVENT_PRESSURE, 0);
	ck_assert_uint_eq(a.calls, 1);
	ck_assert_uint_eq(b.calls, 2);
	ferry_listener_remove(heap, two);
	ferry_listener_remove(heap, NULL);
	ferry__event(heap, FERRY_EVENT_PRESSURE, 0);
	ck_assert_uint_eq(b.calls, 2);
}
END_TEST

static void note_a(void *arg, const struct ferry_event *event)
{
	(void)event;
	strcat(arg, "a");
}

static void note_b(void *arg, const struct ferry_event *event)
{
	(void)event;
	strcat(arg, "b");
}

START_TEST(listeners_are_called_in_the_order_of_adding)
{
	struct ferry_listener *a, *b;
	char order[8] = "";

	ck_assert_int_eq(ferry_listener_add(heap, note_a, order, &a), 0);
	ck_assert_int_eq(ferry_listener_add(heap, note_b, order, &b), 0);
	ferry__event(heap, FERRY_EVENT_RELEASED, 1);
	ck_assert_str_eq(order, "ab");
}
END_TEST

START_TEST(listener_without_a_function_is_refused)
{
	struct ferry_listener *listener;

	ck_assert_int_eq(ferry_listener_add(heap, NULL, NULL, &listener),
			 -EINVAL);
}
END_TEST

START_TEST(pause_is_counted_from_the_request_to_the_end)
{
	struct ferry_heap_stats s = FERRY_INIT(struct ferry_heap_stats);

	inject_start();
	inject_clock(1000);
	ferry__event_pause_begin(heap, FERRY_PAUSE_FINAL);
	inject_clock_advance(300);
	ferry__event_pause_stopped(heap, FERRY_PAUSE_FINAL);
	inject_clock_advance(500);
	ferry__event_pause_end(heap, FERRY_PAUSE_FINAL);
	ck_assert_int_eq(ferry_heap_stats(heap, &s), 0);
	ck_assert_uint_eq(s.to_stop.max_ns, 300);
	ck_assert_uint_eq(s.pauses[0].max_ns, 800);
	ck_assert_uint_eq(s.pauses[FERRY_PAUSE_FINAL].sum_ns, 800);
	ck_assert_uint_eq(s.pauses[FERRY_PAUSE_FINAL].count, 1);
	ck_assert_uint_eq(s.pauses[FERRY_PAUSE_START].count, 0);
	inject_stop();
}
END_TEST

START_TEST(stall_is_event_and_sample)
{
	struct ferry_heap_stats s = FERRY_INIT(struct ferry_heap_stats);
	struct ferry_listener *listener;
	struct heard heard = { 0 };

	ck_assert_int_eq(ferry_listener_add(heap, hear, &heard, &listener), 0);
	ferry__event_stall(heap, 77);
	ck_assert_int_eq(heard.last.kind, FERRY_EVENT_STALL);
	ck_assert_uint_eq(heard.last.value, 77);
	ck_assert_int_eq(ferry_heap_stats(heap, &s), 0);
	ck_assert_uint_eq(s.stalls, 1);
	ck_assert_uint_eq(s.stall_ns.sum_ns, 77);
}
END_TEST

/* --- histograms -------------------------------------------------------------- */

static unsigned int bucket_that_has_it(uint64_t ns)
{
	struct ferry_histogram h = { 0 };
	unsigned int i;

	ferry__histogram_add(&h, ns);
	for (i = 0; i < FERRY_HISTOGRAM_BUCKETS; i++)
		if (h.bucket[i])
			return i;
	return i;
}

START_TEST(sample_lands_in_the_bucket_whose_bounds_hold_it)
{
	struct random r = harness_random();
	unsigned int i, k;
	uint64_t ns;

	for (k = 0; k < 100000; k++) {
		ns = random_next(&r) >> random_below(&r, 64);
		i = bucket_that_has_it(ns);
		ck_assert_uint_lt(i, FERRY_HISTOGRAM_BUCKETS);
		ck_assert_uint_ge(ns, ferry_histogram_floor(i));
		if (i + 1 < FERRY_HISTOGRAM_BUCKETS)
			ck_assert_uint_lt(ns, ferry_histogram_floor(i + 1));
	}
}
END_TEST

START_TEST(bucket_is_an_eighth_wide_at_most)
{
	uint64_t floor, next;
	unsigned int i;

	ck_assert_uint_eq(ferry_histogram_floor(0), 0);
	for (i = 1; i + 1 < FERRY_HISTOGRAM_BUCKETS; i++) {
		floor = ferry_histogram_floor(i);
		next = ferry_histogram_floor(i + 1);
		ck_assert_uint_gt(next, floor);
		ck_assert_uint_le(next - floor, floor < 8 ? 1 : floor / 8);
	}
	ck_assert_uint_eq(ferry_histogram_floor(FERRY_HISTOGRAM_BUCKETS),
			  UINT64_MAX);
}
END_TEST

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

START_TEST(quantile_is_from_above_and_near)
{
	static uint64_t sample[5000];
	static const unsigned int permille[] = {
		0, 1, 100, 500, 900, 990, 999
	};
	struct random r = harness_random();
	struct ferry_histogram h = { 0 };
	size_t n = ARRAY_SIZE(sample), i, rank;
	uint64_t exact, q;

	for (i = 0; i < n; i++) {
		sample[i] = random_next(&r) >> (30 + random_below(&r, 30));
		ferry__histogram_add(&h, sample[i]);
	}
	h.count = n;
	qsort(sample, n, sizeof(sample[0]), by_value);
	for (i = 0; i < ARRAY_SIZE(permille); i++) {
		rank = (n * permille[i] + 999) / 1000;
		exact = sample[rank ? rank - 1 : 0];
		q = ferry_histogram_quantile(&h, permille[i]);
		ck_assert_uint_ge(q, exact);
		ck_assert_uint_le(q, exact + exact / 8);
	}
	ck_assert_uint_eq(ferry_histogram_quantile(&h, 1000), sample[n - 1]);
	ck_assert_uint_eq(ferry_histogram_quantile(&h, 5000), sample[n - 1]);
}
END_TEST

START_TEST(quantile_of_nothing_is_zero)
{
	struct ferry_histogram h = { 0 };

	ck_assert_uint_eq(ferry_histogram_quantile(&h, 500), 0);
	ck_assert_uint_eq(ferry_histogram_quantile(&h, 1000), 0);
}
END_TEST

#define ADDERS 4

static void *add_samples(void *arg)
{
	size_t i, n = harness_scaled(100000);

	for (i = 0; i < n; i++)
		ferry__event_fault(arg, i);
	return NULL;
}

START_TEST(faults_of_many_threads_are_all_counted)
{
	struct ferry_heap_stats s = FERRY_INIT(struct ferry_heap_stats);
	uint64_t n = harness_scaled(100000);
	pthread_t thread[ADDERS];
	int i;

	for (i = 0; i < ADDERS; i++)
		ck_assert_int_eq(
			pthread_create(&thread[i], NULL, add_samples, heap), 0);
	ck_assert_int_eq(ferry_heap_stats(heap, &s), 0);
	ck_assert_uint_le(s.fault_ns.count, ADDERS * n);
	for (i = 0; i < ADDERS; i++)
		pthread_join(thread[i], NULL);
	ck_assert_int_eq(ferry_heap_stats(heap, &s), 0);
	ck_assert_uint_eq(s.fault_ns.count, ADDERS * n);
	ck_assert_uint_eq(s.fault_ns.sum_ns, ADDERS * (n * (n - 1) / 2));
	ck_assert_uint_eq(s.fault_ns.max_ns, n - 1);
}
END_TEST

/* --- the snapshot -------------------------------------------------------------- */

START_TEST(snapshot_has_the_heaps_accounts)
{
	struct ferry_heap_stats s = FERRY_INIT(struct ferry_heap_stats);

	heap->space.taken = 10 << 16;
	heap->space.free.len = 2;
	heap->large.bytes = 8192;
	heap->large.kept = 4096;
	heap->policy.live = 5000;
	heap->policy.limit = 1 << 20;
	heap->events.count.fulls = 3;
	ck_assert_int_eq(ferry_heap_stats(heap, &s), 0);
	ck_assert_uint_eq(s.used, (10 << 16) + 8192);
	ck_assert_uint_eq(s.committed, (12 << 16) + 8192 + 4096);
	ck_assert_uint_eq(s.large, 8192);
	ck_assert_uint_eq(s.live, 5000);
	ck_assert_uint_eq(s.limit, 1 << 20);
	ck_assert_uint_eq(s.fulls, 3);
}
END_TEST

START_TEST(older_callers_get_what_they_know_of)
{
	struct ferry_heap_stats s;

	memset(&s, 0xa5, sizeof(s));
	s.size = offsetof(struct ferry_heap_stats, minors);
	ck_assert_int_eq(ferry_heap_stats(heap, &s), 0);
	ck_assert_uint_eq(s.size, offsetof(struct ferry_heap_stats, minors));
	ck_assert_uint_eq(s.used, 0);
	ck_assert_uint_eq(s.minors, 0xa5a5a5a5a5a5a5a5u);
	s.size = 0;
	ck_assert_int_eq(ferry_heap_stats(heap, &s), -EINVAL);
}
END_TEST

#define T(name) TEST_FIXTURE(name, NULL, setup, teardown)

static const struct test tests[] = {
	T(every_kind_and_pause_has_its_own_name),
	T(names_of_what_is_not_known_are_never_null),
	T(listener_hears_kind_value_time_and_cycle),
	T(removed_listener_hears_nothing_more),
	T(listeners_are_called_in_the_order_of_adding),
	T(listener_without_a_function_is_refused),
	T(pause_is_counted_from_the_request_to_the_end),
	T(stall_is_event_and_sample),
	T(sample_lands_in_the_bucket_whose_bounds_hold_it),
	T(bucket_is_an_eighth_wide_at_most),
	T(quantile_is_from_above_and_near),
	T(quantile_of_nothing_is_zero),
	T(faults_of_many_threads_are_all_counted),
	T(snapshot_has_the_heaps_accounts),
	T(older_callers_get_what_they_know_of),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
