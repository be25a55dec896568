/* SPDX-License-Identifier: MIT */
/* The layout of a compaction: pure, so checked on random arenas by itself. */
#include <stdlib.h>

#include "alloc/compact-internal.h"
#include "tests/harness.h"

#define PAGE ((size_t)4096)
#define HUGE ((size_t)2 << 20)
#define BASE ((uintptr_t)1 << 40)
#define TO   ((uintptr_t)1 << 44)

struct sample {
	struct ferry__live *live;
	size_t n;
	struct ferry__layout layout;
};

/* A run of @pages pages behind a gap, or of whole huge pages. */
static struct ferry__live random_run(struct random *r, uintptr_t at)
{
	struct ferry__live run = { .from = at };

	run.from += PAGE * (1 + random_below(r, 40));
	run.len = PAGE * (1 + random_below(r, 12));
	switch (random_below(r, 8)) {
	case 0:
		run.from = (run.from + HUGE - 1) & ~(HUGE - 1);
		run.len = HUGE * (1 + random_below(r, 3));
		run.huge = true;
		break;
	case 1:
		run.len = PAGE * (1 + random_below(r, 2000));
		break;
	}
	return run;
}

static struct sample make_sample(struct random *r, size_t n)
{
	struct sample s = { .live = calloc(n + 1, sizeof(*s.live)), .n = n };
	uintptr_t at = BASE;

	for (size_t i = 0; i < n; i++) {
		s.live[i] = random_run(r, at);
		at = s.live[i].from + s.live[i].len;
	}
	ferry__layout_measure(s.live, n, PAGE, HUGE, &s.layout);
	ck_assert_int_eq(
		ferry__layout_fill(&s.layout, s.live, n, PAGE, HUGE, TO), 0);
	return s;
}

static void drop_sample(struct sample *s)
{
	ferry__layout_fini(&s->layout);
	free(s->live);
}

static void for_samples(void (*check)(const struct sample *s))
{
	struct random r = harness_random();
	struct sample s;

	for (size_t i = 0; i < harness_scaled(60); i++) {
		s = make_sample(&r, random_below(&r, 300));
		check(&s);
		drop_sample(&s);
	}
}

static const struct ferry__piece *by_to(const struct sample *s, size_t i)
{
	return &s->layout.pieces[s->layout.order[i]];
}

static void check_dense(const struct sample *s)
{
	uintptr_t to = TO;

	for (size_t i = 0; i < s->layout.len; i++) {
		ck_assert_uint_eq(by_to(s, i)->to, to);
		to += by_to(s, i)->pages * PAGE;
	}
	ck_assert_uint_eq(to - TO, ferry__layout_bytes(&s->layout));
}

START_TEST(destination_has_no_gap_and_no_overlap)
{
	for_samples(check_dense);
}
END_TEST

static void check_complete(const struct sample *s)
{
	const struct ferry__piece *p = s->layout.pieces;
	uintptr_t at;

	for (size_t i = 0; i < s->n; i++)
		for (at = s->live[i].from;
		     at < s->live[i].from + s->live[i].len; p++) {
			ck_assert_uint_eq(p->from, at);
			at += p->pages * PAGE;
		}
	ck_assert_ptr_eq(p, s->layout.pieces + s->layout.len);
}

START_TEST(every_live_page_is_in_one_piece_in_order)
{
	for_samples(check_complete);
}
END_TEST

static void check_kinds(const struct sample *s)
{
	const struct ferry__piece *p, *last = NULL;

	for (size_t i = 0; i < s->layout.len; i++, last = p) {
		p = by_to(s, i);
		if (p->kind != FERRY__PIECE_SMALL) {
			ck_assert_uint_eq(p->pages * PAGE, HUGE);
			ck_assert_uint_eq(p->from % HUGE, 0);
			ck_assert_uint_eq(p->to % HUGE, 0);
		} else {
			ck_assert_uint_le(p->pages, FERRY__PIECE_PAGES);
		}
		if (!last)
			continue;
		ck_assert_uint_ge(p->kind, last->kind);
		if (p->kind == last->kind)
			ck_assert_uint_gt(p->from, last->from);
	}
}

START_TEST(huge_pages_come_first_then_blocks_each_in_address_order)
{
	for_samples(check_kinds);
}
END_TEST

static void check_searches(const struct sample *s)
{
	const struct ferry__layout *l = &s->layout;
	struct ferry__piece *p;

	for (size_t i = 0; i < l->len; i++) {
		p = &l->pieces[i];
		ck_assert_ptr_eq(ferry__layout_find_from(l, p->from, PAGE), p);
		ck_assert_ptr_eq(
			ferry__layout_find_from(
				l, p->from + p->pages * PAGE - 1, PAGE),
			p);
		ck_assert_uint_eq(ferry__layout_after(l, p->from, PAGE), i);
		p = &l->pieces[l->order[i]];
		ck_assert_uint_eq(ferry__layout_find_to(l, p->to), i);
		ck_assert_uint_eq(
			ferry__layout_find_to(l, p->to + p->pages * PAGE - 1),
			i);
	}
	for (size_t i = 0; i < s->n; i++) {
		ck_assert_ptr_null(
			ferry__layout_find_from(l, s->live[i].from - 1, PAGE));
	}
	ck_assert_ptr_null(ferry__layout_find_from(l, BASE - 1, PAGE));
	ck_assert_ptr_null(ferry__layout_find_from(l, UINTPTR_MAX, PAGE));
	ck_assert_uint_eq(ferry__layout_after(l, UINTPTR_MAX, PAGE), l->len);
	ck_assert_uint_eq(ferry__layout_after(l, 0, PAGE), 0);
}

START_TEST(searches_find_each_piece_and_nothing_between)
{
	for_samples(check_searches);
}
END_TEST

START_TEST(a_machine_without_huge_pages_gets_small_pieces_only)
{
	struct ferry__live live = { .from = BASE, .len = 4 * HUGE };
	struct ferry__layout l;

	ferry__layout_measure(&live, 1, PAGE, 0, &l);
	ck_assert_int_eq(ferry__layout_fill(&l, &live, 1, PAGE, 0, TO), 0);
	ck_assert_uint_eq(l.count[FERRY__PIECE_SMALL], l.len);
	ck_assert_uint_eq(l.len, 4 * HUGE / PAGE / FERRY__PIECE_PAGES);
	ferry__layout_fini(&l);
}
END_TEST

static const struct test tests[] = {
	TEST(destination_has_no_gap_and_no_overlap, NULL),
	TEST(every_live_page_is_in_one_piece_in_order, NULL),
	TEST(huge_pages_come_first_then_blocks_each_in_address_order, NULL),
	TEST(searches_find_each_piece_and_nothing_between, NULL),
	TEST(a_machine_without_huge_pages_gets_small_pieces_only, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
