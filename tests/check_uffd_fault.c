/* SPDX-License-Identifier: MIT */
/* The fault service against the kernel at hand, in both of its modes. */
#include <ferry/fault.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/harness.h"
#include "tests/memory.h"

#define PAGES 1024

static struct ferry_fault_service *service;
static struct ferry_fault_params params;
static char *src, *dst;
static size_t page, len;

/* What the supplier of these tests answers, and what it was asked. */
static struct {
	enum ferry_supply_kind kind;
	uint32_t flags;
	unsigned long asked;
	struct ferry_fault last;
} plan;

static void supply(void *arg, const struct ferry_fault *fault,
		   struct ferry_supply *ret)
{
	ck_assert_ptr_eq(arg, src);
	__atomic_fetch_add(&plan.asked, 1, __ATOMIC_RELAXED);
	plan.last = *fault;
	ret->kind = plan.kind;
	ret->flags = plan.flags;
	ret->src = src + ret->offset;
}

static void start(enum ferry_fault_mode mode, enum ferry_supply_kind kind,
		  size_t around)
{
	page = page_size();
	len = PAGES * page;
	params = (struct ferry_fault_params)FERRY_INIT(
		struct ferry_fault_params);
	params.mode = mode;
	params.around = around;
	plan.kind = kind;
	ck_assert_int_eq(ferry_fault_service_create(&params, NULL, &service),
			 0);
	src = map_anon(len);
	dst = map_anon(len);
	fill_pages(src, len, 1);
	ck_assert_int_eq(
		ferry_fault_attach(service, dst, len, supply, src, NULL), 0);
}

static struct ferry_fault_stats stats(void)
{
	struct ferry_fault_stats s = FERRY_INIT(struct ferry_fault_stats);

	ck_assert_int_eq(ferry_fault_service_stats(service, &s), 0);
	return s;
}

/* Detaches first: a handler counts after it has woken the toucher. */
static struct ferry_fault_stats stop(void)
{
	struct ferry_fault_stats s;

	ck_assert_int_eq(ferry_fault_detach(service, dst, len), 0);
	s = stats();
	ferry_fault_service_destroy(service);
	return s;
}

static void touch_all_and_compare(enum ferry_fault_mode mode,
				  enum ferry_supply_kind kind, size_t around)
{
	struct ferry_fault_stats s;

	start(mode, kind, around);
	assert_pages(dst, len, 1);
	s = stop();
	ck_assert_uint_eq(s.faults, PAGES / around);
	ck_assert_uint_eq(s.refused, 0);
}

static const size_t arounds[] = { 1, 16, 64, 512 };

START_TEST(sigbus_mode_moves_each_page_when_touched)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(arounds); i++)
		touch_all_and_compare(FERRY_FAULT_SIGBUS, FERRY_SUPPLY_MOVE,
				      arounds[i]);
}
END_TEST

START_TEST(thread_mode_moves_each_page_when_touched)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(arounds); i++)
		touch_all_and_compare(FERRY_FAULT_THREAD, FERRY_SUPPLY_MOVE,
				      arounds[i]);
}
END_TEST

START_TEST(sigbus_mode_copies_each_page_when_touched)
{
	touch_all_and_compare(FERRY_FAULT_SIGBUS, FERRY_SUPPLY_COPY, 16);
}
END_TEST

START_TEST(thread_mode_copies_each_page_when_touched)
{
	touch_all_and_compare(FERRY_FAULT_THREAD, FERRY_SUPPLY_COPY, 16);
}
END_TEST

static const struct test tests[] = {
	TEST(sigbus_mode_moves_each_page_when_touched, "sigbus"),
	TEST(thread_mode_moves_each_page_when_touched, "userfaultfd"),
	TEST(sigbus_mode_copies_each_page_when_touched, "sigbus"),
	TEST(thread_mode_copies_each_page_when_touched, "userfaultfd"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
