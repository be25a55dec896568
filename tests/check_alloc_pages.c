/* SPDX-License-Identifier: MIT */
/* The table of page states: against a plain array, and from many threads. */
#include "tests/harness.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "alloc/alloc-internal.h"

#define PAGES 1500

static unsigned char model[PAGES];

static void expect_model(const struct ferry__pages *pages)
{
	size_t i, n[FERRY__PAGE_CODES] = { 0 };

	for (i = 0; i < PAGES; i++) {
		ck_assert_uint_eq(ferry__pages_get(pages, i), model[i]);
		n[model[i]]++;
	}
	n[FERRY_PAGE_TRANSIT] += n[FERRY__PAGE_COMMITTING];
	n[FERRY_PAGE_TRANSIT] += n[FERRY__PAGE_DROPPING];
	for (i = 0; i < FERRY_PAGE_STATES; i++)
		ck_assert_uint_eq(ferry__pages_count(pages, i), n[i]);
}

static size_t model_change(size_t first, size_t n, unsigned int from,
			   unsigned int to, bool as_prefix)
{
	size_t i, done = 0;

	for (i = first; i < first + n; i++) {
		if (model[i] == from) {
			model[i] = (unsigned char)to;
			done++;
		} else if (as_prefix) {
			break;
		}
	}
	return done;
}

static size_t model_find(size_t first, size_t end, unsigned int codes, bool in)
{
	for (; first < end; first++)
		if (!!(FERRY__CODE(model[first]) & codes) == in)
			break;
	return first;
}

static void random_step(struct ferry__pages *pages, struct random *rng)
{
	size_t first = random_below(rng, PAGES);
	size_t n = 1 + random_below(rng, random_below(rng, 8) ? 40 : PAGES);
	unsigned int from = (unsigned int)random_below(rng, FERRY__PAGE_CODES);
	unsigned int to = (unsigned int)random_below(rng, FERRY__PAGE_CODES);
	unsigned int codes = (unsigned int)random_below(rng, 128);
	bool flag = random_below(rng, 2);

	if (n > PAGES - first)
		n = PAGES - first;
	if (from != to && flag)
		ck_assert_uint_eq(ferry__pages_claim(pages, first, n, from, to),
				  model_change(first, n, from, to, true));
	else if (from != to)
		ck_assert_uint_eq(
			ferry__pages_replace(pages, first, n, from, to),
			model_change(first, n, from, to, false));
	ck_assert_uint_eq(
		ferry__pages_find(pages, first, first + n, codes, flag),
		model_find(first, first + n, codes, flag));
}

START_TEST(random_changes_agree_with_a_plain_array)
{
	struct random rng = harness_random();
	size_t i, n = harness_scaled(20000);
	struct ferry__pages pages;

	ck_assert_int_eq(ferry__pages_init(&pages, PAGES), 0);
	ck_assert_int_eq(ferry__pages_ensure(&pages, 0, PAGES), 0);
	for (i = 0; i < n; i++) {
		random_step(&pages, &rng);
		if (i % 64 == 0)
			expect_model(&pages);
	}
	expect_model(&pages);
	ferry__pages_fini(&pages);
}
END_TEST

START_TEST(tables_come_only_where_pages_are_committed)
{
	const size_t len = (size_t)FERRY__SEGMENT_PAGES * 100;
	struct ferry__pages pages;
	size_t far = len - 5;

	ck_assert_int_eq(ferry__pages_init(&pages, len), 0);
	ck_assert_uint_eq(ferry__pages_get(&pages, far), FERRY_PAGE_ABSENT);
	ck_assert_uint_eq(ferry__pages_get(&pages, len + 7), FERRY_PAGE_ABSENT);
	ck_assert_uint_eq(ferry__pages_claim(&pages, far, 2, FERRY_PAGE_LIVE,
					     FERRY_PAGE_TRANSIT),
			  0);
	ck_assert_int_eq(ferry__pages_ensure(&pages, far, 3), 0);
	ck_assert_uint_eq(ferry__pages_replace(&pages, far, 3,
					       FERRY_PAGE_ABSENT,
					       FERRY_PAGE_LIVE),
			  3);
	ck_assert_uint_eq(ferry__pages_find(&pages, 0, len,
					    FERRY__CODE(FERRY_PAGE_LIVE), true),
			  far);
	ck_assert_uint_eq(ferry__pages_find(&pages, 0, len,
					    FERRY__CODE(FERRY_PAGE_ABSENT),
					    false),
			  far);
	ck_assert_uint_eq(ferry__pages_find(&pages, far, len,
					    FERRY__CODE(FERRY_PAGE_ABSENT),
					    true),
			  far + 3);
	ck_assert_uint_eq(ferry__pages_segments(&pages), 1);
	ferry__pages_fini(&pages);
}
END_TEST

START_TEST(run_across_segments_is_one_run)
{
	const size_t seam = FERRY__SEGMENT_PAGES;
	struct ferry__pages pages;

	ck_assert_int_eq(ferry__pages_init(&pages, 2 * seam), 0);
	ck_assert_int_eq(ferry__pages_ensure(&pages, seam - 20, 40), 0);
	ck_assert_uint_eq(ferry__pages_replace(&pages, seam - 20, 40,
					       FERRY_PAGE_ABSENT,
					       FERRY_PAGE_LIVE),
			  40);
	ck_assert_uint_eq(ferry__pages_find(&pages, seam - 20, 2 * seam,
					    FERRY__CODE(FERRY_PAGE_LIVE),
					    false),
			  seam + 20);
	ck_assert_uint_eq(ferry__pages_claim(&pages, seam - 20, 40,
					     FERRY_PAGE_LIVE,
					     FERRY_PAGE_TRANSIT),
			  40);
	ferry__pages_fini(&pages);
}
END_TEST

START_TEST(growing_keeps_states)
{
	struct ferry__pages pages;
	size_t len = 100, i;

	ck_assert_int_eq(ferry__pages_init(&pages, len), 0);
	for (i = 0; i < 12; i++) {
		ck_assert_int_eq(ferry__pages_ensure(&pages, len - 1, 1), 0);
		ck_assert_uint_eq(ferry__pages_replace(&pages, len - 1, 1,
						       FERRY_PAGE_ABSENT,
						       FERRY_PAGE_LIVE),
				  1);
		len *= 3;
		ck_assert_int_eq(ferry__pages_grow(&pages, len), 0);
	}
	for (len = 100, i = 0; i < 12; i++, len *= 3)
		ck_assert_uint_eq(ferry__pages_get(&pages, len - 1),
				  FERRY_PAGE_LIVE);
	ck_assert_uint_eq(ferry__pages_count(&pages, FERRY_PAGE_LIVE), 12);
	ck_assert_uint_eq(ferry__pages_count(&pages, FERRY_PAGE_ABSENT),
			  len - 12);
	ferry__pages_fini(&pages);
}
END_TEST

START_TEST(failed_pin_of_a_range_leaves_counts_alone)
{
	struct ferry__pages pages;

	ck_assert_int_eq(ferry__pages_init(&pages, 64), 0);
	ck_assert_int_eq(ferry__pages_ensure(&pages, 0, 64), 0);
	ferry__pages_replace(&pages, 0, 40, FERRY_PAGE_ABSENT, FERRY_PAGE_LIVE);
	ck_assert_int_eq(ferry__pages_pin(&pages, 10, 20), 0);
	ck_assert_int_eq(ferry__pages_pin(&pages, 0, 41), -ENOENT);
	ferry__pages_replace(&pages, 39, 1, FERRY_PAGE_LIVE, FERRY_PAGE_OUT);
	ck_assert_int_eq(ferry__pages_pin(&pages, 0, 40), -EBUSY);
	ck_assert_uint_eq(ferry__pages_count(&pages, FERRY_PAGE_PINNED), 20);
	ck_assert_int_eq(ferry__pages_unpin(&pages, 10, 20), 0);
	ck_assert_uint_eq(ferry__pages_count(&pages, FERRY_PAGE_PINNED), 0);
	ck_assert_int_eq(ferry__pages_unpin(&pages, 10, 1), -ENOENT);
	ferry__pages_fini(&pages);
}
END_TEST

/* --- many threads --------------------------------------------------------- */

#define THREADS 4

static struct ferry__pages shared;
static unsigned char owner[PAGES]; /* written by who claimed the page */

struct claimer {
	pthread_t thread;
	struct random rng;
	size_t claimed;
};

/* Claims runs, marks them as its own, checks that they stay so, settles. */
static void *claim_and_settle(void *arg)
{
	struct claimer *c = arg;
	unsigned char me = (unsigned char)(uintptr_t)c | 1;
	size_t i, j, first, n, rounds = harness_scaled(40000);

	for (i = 0; i < rounds; i++) {
		first = random_below(&c->rng, PAGES - 40);
		n = ferry__pages_claim(&shared, first,
				       1 + random_below(&c->rng, 40),
				       FERRY_PAGE_LIVE, FERRY_PAGE_TRANSIT);
		for (j = first; j < first + n; j++) {
			ck_assert_uint_eq(owner[j], 0);
			owner[j] = me;
		}
		for (j = first; j < first + n; j++) {
			ck_assert_uint_eq(owner[j], me);
			owner[j] = 0;
		}
		ck_assert_uint_eq(ferry__pages_replace(&shared, first, n,
						       FERRY_PAGE_TRANSIT,
						       FERRY_PAGE_LIVE),
				  n);
		c->claimed += n;
	}
	return NULL;
}

START_TEST(a_page_has_one_claimer_at_a_time)
{
	struct random rng = harness_random();
	struct claimer c[THREADS];
	size_t i, claimed = 0;

	ck_assert_int_eq(ferry__pages_init(&shared, PAGES), 0);
	ck_assert_int_eq(ferry__pages_ensure(&shared, 0, PAGES), 0);
	ferry__pages_replace(&shared, 0, PAGES, FERRY_PAGE_ABSENT,
			     FERRY_PAGE_LIVE);
	for (i = 0; i < THREADS; i++) {
		c[i].rng = random_seeded(random_next(&rng));
		c[i].claimed = 0;
		pthread_create(&c[i].thread, NULL, claim_and_settle, &c[i]);
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(c[i].thread, NULL);
		claimed += c[i].claimed;
	}
	ck_assert_uint_gt(claimed, 0);
	ck_assert_uint_eq(ferry__pages_count(&shared, FERRY_PAGE_LIVE), PAGES);
	ck_assert_uint_eq(ferry__pages_count(&shared, FERRY_PAGE_TRANSIT), 0);
	ferry__pages_fini(&shared);
}
END_TEST

static const struct test tests[] = {
	TEST(random_changes_agree_with_a_plain_array, NULL),
	TEST(tables_come_only_where_pages_are_committed, NULL),
	TEST(run_across_segments_is_one_run, NULL),
	TEST(growing_keeps_states, NULL),
	TEST(failed_pin_of_a_range_leaves_counts_alone, NULL),
	TEST(a_page_has_one_claimer_at_a_time, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
