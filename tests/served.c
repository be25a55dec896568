/* SPDX-License-Identifier: MIT */
/* A range under a fault service, for tests. */
#include "tests/served.h"

#include <string.h>

#include "tests/memory.h"

char touch(const char *addr)
{
	return *(const volatile char *)addr;
}

bool is_zero(const char *addr, size_t len)
{
	return !addr[0] && !memcmp(addr, addr + 1, len - 1);
}

static struct {
	const char *what; /* NULL until something is noted */
	const char *file;
	int line;
	bool taken;
} noted;

void served_note(const char *file, int line, const char *what)
{
	/* The first one stays. */
	if (__atomic_exchange_n(&noted.taken, true, __ATOMIC_RELAXED))
		return;
	noted.file = file;
	noted.line = line;
	/* Release, pairs with the acquire in served_assert_noted(). */
	__atomic_store_n(&noted.what, what, __ATOMIC_RELEASE);
}

void served_assert_noted(void)
{
	const char *what = __atomic_load_n(&noted.what, __ATOMIC_ACQUIRE);

	if (what)
		ck_abort_msg("%s:%d: expected %s", noted.file, noted.line,
			     what);
}

bool served_pages_hold(const char *addr, size_t len, uint64_t first)
{
	size_t size = page_size(), i;

	for (i = 0; i < len; i += size)
		if (!page_holds(addr + i, first + i / size))
			return false;
	return true;
}

void served_supply(void *arg, const struct ferry_fault *fault,
		   struct ferry_supply *ret)
{
	struct served *s = arg;

	/* Relaxed: a count; what was asked last is for lone threads. */
	__atomic_fetch_add(&s->asked, 1, __ATOMIC_RELAXED);
	ret->kind = __atomic_load_n(&s->kind, __ATOMIC_RELAXED);
	ret->flags = s->flags;
	ret->src = s->src + ret->offset;
	if (s->change)
		s->change(s, fault, ret);
}

static void make_range(struct served *s, size_t pages)
{
	s->page = page_size();
	s->len = pages * s->page;
	s->src = map_anon(s->len);
	s->dst = map_anon(s->len);
	if (!s->kind)
		s->kind = FERRY_SUPPLY_MOVE;
	fill_pages(s->src, s->len, 1);
	ck_assert_int_eq(ferry_fault_attach(s->service, s->dst, s->len,
					    served_supply, s, NULL),
			 0);
}

void served_start_with(struct served *s,
		       const struct ferry_fault_params *params, size_t pages)
{
	ck_assert_int_eq(ferry_fault_service_create(params, NULL, &s->service),
			 0);
	make_range(s, pages);
}

void served_start(struct served *s, enum ferry_fault_mode mode, size_t pages,
		  size_t around)
{
	struct ferry_fault_params params =
		FERRY_INIT(struct ferry_fault_params);

	params.mode = mode;
	params.around = around;
	served_start_with(s, &params, pages);
}

void served_add(struct served *s, const struct served *other, size_t pages)
{
	s->service = other->service;
	make_range(s, pages);
}

struct ferry_fault_stats served_stats(const struct served *s)
{
	struct ferry_fault_stats stats = FERRY_INIT(struct ferry_fault_stats);

	ck_assert_int_eq(ferry_fault_service_stats(s->service, &stats), 0);
	return stats;
}

void served_answer(struct served *s, enum ferry_supply_kind kind)
{
	/* Relaxed: a test touches afterwards, and that asks in the kernel. */
	__atomic_store_n(&s->kind, kind, __ATOMIC_RELAXED);
}

unsigned long served_asked(const struct served *s)
{
	return __atomic_load_n(&s->asked, __ATOMIC_RELAXED);
}

struct ferry_fault_stats served_detach(struct served *s)
{
	/* A handler thread counts after it has woken who waited. */
	ck_assert_int_eq(ferry_fault_detach(s->service, s->dst, s->len), 0);
	served_assert_noted();
	return served_stats(s);
}

struct ferry_fault_stats served_stop(struct served *s)
{
	struct ferry_fault_stats stats = served_detach(s);

	ferry_fault_service_destroy(s->service);
	return stats;
}
