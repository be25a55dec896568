/* SPDX-License-Identifier: MIT */
/*
 * Fault-around: what of the window is brought, what is left alone, and what
 * becomes of pages that the source does not have.
 */
#include <ferry/fault.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/served.h"

static struct served s;

static const size_t arounds[] = { 1, 16, 64, 512 };

/* --- windows ------------------------------------------------------------- */

static char *middle; /* of s.dst, attached in place of the whole */
static size_t middle_len;

static void inside(struct served *at, const struct ferry_fault *fault,
		   struct ferry_supply *ret)
{
	EXPECT(fault->range.addr == middle);
	EXPECT(fault->range.len == middle_len);
	EXPECT(middle + fault->offset == fault->page);
	EXPECT(fault->window_offset <= fault->offset);
	EXPECT(fault->window_offset + fault->window_len > fault->offset);
	EXPECT(fault->window_offset + fault->window_len <= middle_len);
	EXPECT(ret->offset == fault->window_offset);
	EXPECT(ret->len == fault->window_len);
	ret->src = at->src + (middle - at->dst) + ret->offset;
}

static void beyond(struct served *at, const struct ferry_fault *fault,
		   struct ferry_supply *ret)
{
	inside(at, fault, ret);
	ret->src = at->src + (middle - at->dst);
	ret->offset = 0;
	ret->len = at->len;
}

/* Attaches all but the first 3 and the last 5 pages, and touches those. */
static void touch_middle(enum ferry_fault_mode mode, size_t around)
{
	served_start(&s, mode, 64, around);
	ck_assert_int_eq(ferry_fault_detach(s.service, s.dst, s.len), 0);
	middle = s.dst + 3 * s.page;
	middle_len = s.len - 8 * s.page;
	ck_assert_int_eq(ferry_fault_attach(s.service, middle, middle_len,
					    served_supply, &s, NULL),
			 0);
	touch(middle + middle_len - s.page);
	touch(middle);
	assert_pages(middle, middle_len, 4);
	ck_assert(!page_there(s.dst + 2 * s.page));
	ck_assert(!page_there(middle + middle_len));
	ck_assert(page_there(s.src + 2 * s.page));
	ck_assert(page_there(s.src + s.len - 5 * s.page));
	served_assert_noted();
	ferry_fault_service_destroy(s.service);
}

static void window_stays_in_the_range(enum ferry_fault_mode mode)
{
	size_t i;

	s.change = inside;
	for (i = 0; i < ARRAY_SIZE(arounds); i++)
		touch_middle(mode, arounds[i]);
	touch_middle(mode, 7);
}
BOTH_MODES(window_stays_in_the_range)

static void answer_beyond_the_range_is_clipped(enum ferry_fault_mode mode)
{
	s.change = beyond;
	touch_middle(mode, 16);
	/* It was carried out as far as the range goes. */
	ck_assert_uint_eq(served_asked(&s), 1);
}
BOTH_MODES(answer_beyond_the_range_is_clipped)

static void present_pages_are_passed_over(enum ferry_fault_mode mode,
					  enum ferry_supply_kind kind)
{
	static char other[65536];
	struct ferry_uffd *uffd;
	size_t i;

	memset(other, 'x', sizeof(other));
	s.kind = kind;
	served_start(&s, mode, 64, 64);
	uffd = ferry_fault_service_uffd(s.service);
	for (i = 0; i < 64; i += 3)
		ck_assert_int_eq(ferry_uffd_copy(uffd, s.dst + i * s.page,
						 other, s.page, 0, NULL),
				 0);
	touch(s.dst + s.page);
	for (i = 0; i < 64; i++)
		if (i % 3)
			ck_assert(page_holds(s.dst + i * s.page, 1 + i));
		else
			ck_assert_int_eq(s.dst[i * s.page], 'x');
	ck_assert_uint_eq(served_stop(&s).faults, 1);
}

static void moved_window_keeps_what_is_there(enum ferry_fault_mode mode)
{
	present_pages_are_passed_over(mode, FERRY_SUPPLY_MOVE);
}
BOTH_MODES(moved_window_keeps_what_is_there)

static void copied_window_keeps_what_is_there(enum ferry_fault_mode mode)
{
	present_pages_are_passed_over(mode, FERRY_SUPPLY_COPY);
}
BOTH_MODES(copied_window_keeps_what_is_there)

/* --- holes at the source ------------------------------------------------- */

static void drop(char *addr, size_t len)
{
	ck_assert_int_eq(madvise(addr, len, MADV_DONTNEED), 0);
}

static void holes_of_a_window_stay_absent(enum ferry_fault_mode mode)
{
	size_t i;

	served_start(&s, mode, 64, 64);
	for (i = 0; i < 64; i += 3)
		drop(s.src + i * s.page, s.page);
	touch(s.dst + s.page);
	/* An emulated move wakes page by page: wait for the last one. */
	served_stop(&s);
	for (i = 0; i < 64; i++)
		ck_assert_int_eq(page_there(s.dst + i * s.page), i % 3 != 0);
}
BOTH_MODES(holes_of_a_window_stay_absent)

static void hole_is_zero_where_the_supplier_says_so(enum ferry_fault_mode mode)
{
	s.flags = FERRY_SUPPLY_HOLES;
	served_start(&s, mode, 64, 16);
	drop(s.src, s.len);
	fill_pages(s.src + s.page, s.page, 2);
	ck_assert(is_zero(s.dst, s.page));
	ck_assert(page_holds(s.dst + s.page, 2));
	ck_assert(is_zero(s.dst + 2 * s.page, s.len - 2 * s.page));
	ck_assert_uint_eq(served_stop(&s).pages_zeroed, 63);
}
BOTH_MODES(hole_is_zero_where_the_supplier_says_so)

static void hole_is_refused_otherwise(enum ferry_fault_mode mode)
{
	served_start(&s, mode, 64, 16);
	drop(s.src, s.page);
	ck_assert_int_eq(ferry_fault_resolve(s.service, s.dst), -ENOENT);
	ck_assert(!page_there(s.dst));
	ck_assert_uint_gt(served_asked(&s), 1);
	ck_assert_uint_eq(served_stop(&s).refused, 1);
}
BOTH_MODES(hole_is_refused_otherwise)

static void wrong_at_first(struct served *at, const struct ferry_fault *fault,
			   struct ferry_supply *ret)
{
	(void)fault;
	if (served_asked(at) < 3)
		ret->src = at->src + at->page;
}

static void overtaken_answer_is_asked_anew(enum ferry_fault_mode mode)
{
	s.change = wrong_at_first;
	served_start(&s, mode, 2, 1);
	drop(s.src + s.page, s.page);
	ck_assert(page_holds(s.dst, 1));
	ck_assert_uint_eq(served_asked(&s), 3);
	ck_assert_uint_eq(served_stop(&s).refused, 0);
}
BOTH_MODES(overtaken_answer_is_asked_anew)

static const struct test tests[] = {
	TEST_BOTH(window_stays_in_the_range),
	TEST_BOTH(answer_beyond_the_range_is_clipped),
	TEST_BOTH(moved_window_keeps_what_is_there),
	TEST_BOTH(copied_window_keeps_what_is_there),
	TEST_BOTH(holes_of_a_window_stay_absent),
	TEST_BOTH(hole_is_zero_where_the_supplier_says_so),
	TEST_BOTH(hole_is_refused_otherwise),
	TEST_BOTH(overtaken_answer_is_asked_anew),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
