/* SPDX-License-Identifier: MIT */
/* The policy agent's operations on arenas: what is told, and what is done. */
#include "tests/harness.h"

#include <ferry/arena.h>

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "alloc/alloc-internal.h"
#include "tests/agent_client.h"
#include "tests/memory.h"
#include "tests/system.h"

#define MIB ((size_t)1 << 20)

static struct ferry_arena *arena;
static char *base;

static struct ferry_arena *make(size_t reserve, const char *name)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *a = NULL;

	p.reserve = reserve;
	p.name = name;
	p.thp = FERRY_THP_NEVER;
	ck_assert_int_eq(ferry_arena_create(&p, &a), 0);
	return a;
}

/* An arena of 16 MiB, of which the first 8 are committed and written. */
static void setup(void)
{
	arena = make(16 * MIB, "of the \"tests\"");
	base = ferry_arena_base(arena);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, 8 * MIB, true), 0);
	fill_pages(base, 8 * MIB, 1);
	agent_start(NULL);
}

static void teardown(void)
{
	agent_stop();
	ferry_arena_destroy(arena);
}

static struct ferry_agent_range range_of(size_t offset, size_t len)
{
	return (struct ferry_agent_range){ (uintptr_t)base + offset, len };
}

static struct answer ask_ranges(enum ferry_agent_op op, uint64_t value,
				const struct ferry_agent_range *ranges,
				size_t n)
{
	struct ferry_agent_request req = agent_request(op);

	req.value = value;
	req.ranges_len = (uint32_t)n;
	return agent_ask(req, ranges, NULL, NULL);
}

/* The status of one range. */
static struct ferry_agent_status ask_one(enum ferry_agent_op op, uint64_t value,
					 struct ferry_agent_range range)
{
	struct answer a = ask_ranges(op, value, &range, 1);
	struct ferry_agent_status status;

	ck_assert_int_eq(a.head.error, 0);
	ck_assert_uint_eq(a.head.items_len, 1);
	status = *answer_status(&a, 0);
	ck_assert_uint_eq(a.head.failed, status.error != 0);
	answer_free(&a);
	return status;
}

static uint64_t id_of_first(void)
{
	struct answer a =
		agent_ask(agent_request(FERRY_AGENT_LIST), NULL, NULL, NULL);
	const struct ferry_agent_object *o = answer_item(&a, 0);
	uint64_t id = o->id;

	answer_free(&a);
	return id;
}

/* --- lists ------------------------------------------------------------------------- */

START_TEST(list_tells_each_arena_once)
{
	struct ferry_arena *other = make(2 * MIB, NULL);
	const struct ferry_agent_object *o;
	struct ferry_agent_request req = agent_request(FERRY_AGENT_LIST);
	struct answer a = agent_ask(req, NULL, NULL, NULL);

	ck_assert_uint_eq(a.head.items_len, 2);
	ck_assert_uint_eq(a.head.item_size, sizeof(*o));
	o = answer_item(&a, 0);
	ck_assert_uint_eq(o->addr, (uintptr_t)base);
	ck_assert_uint_eq(o->len, 16 * MIB);
	ck_assert_uint_eq(o->used, 8 * MIB);
	ck_assert_uint_eq(o->kind, FERRY_AGENT_ARENA);
	ck_assert_str_eq(o->name, "of the \"tests\"");
	/* The kernel may be moving some, or have swapped them. */
	ck_assert_uint_le(o->resident + o->swapped, 8 * MIB);
	ck_assert_uint_gt(o->resident + o->swapped, 0);
	o = answer_item(&a, 1);
	ck_assert_uint_eq(o->addr, (uintptr_t)ferry_arena_base(other));
	req.object = o->id;
	answer_free(&a);
	a = agent_ask(req, NULL, NULL, NULL);
	ck_assert_uint_eq(a.head.items_len, 1);
	answer_free(&a);
	ferry_arena_destroy(other);
	a = agent_ask(req, NULL, NULL, NULL);
	ck_assert_int_eq(a.head.error, -ENOENT);
	answer_free(&a);
}
END_TEST

START_TEST(statistics_are_json)
{
	struct ferry_arena *other = make(2 * MIB, "\x01\xff odd \\ name");
	struct answer a =
		agent_ask(agent_request(FERRY_AGENT_STATS), NULL, NULL, NULL);
	json_t *root = json_loads(answer_text(&a), 0, NULL), *objects;

	ck_assert_ptr_nonnull(root);
	ck_assert_int_eq(json_integer_value(json_object_get(root, "pid")),
			 getpid());
	objects = json_object_get(root, "objects");
	ck_assert_uint_eq(json_array_size(objects), 2);
	ck_assert_str_eq(json_string_value(json_object_get(
				 json_array_get(objects, 0), "name")),
			 "of the \"tests\"");
	ck_assert_int_eq(json_integer_value(json_object_get(
				 json_array_get(objects, 0), "used")),
			 8 * MIB);
	json_decref(root);
	answer_free(&a);
	ferry_arena_destroy(other);
}
END_TEST

START_TEST(map_tells_runs_of_equal_pages)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_MAP);
	struct ferry_agent_range range = range_of(0, 16 * MIB);
	const struct ferry_agent_run *run;
	uint64_t committed = 0, pinned = 0, last = 0;
	struct answer a;
	size_t i;

	ck_assert_int_eq(ferry_arena_pin(arena, MIB, page_size()), 0);
	req.ranges_len = 1;
	a = agent_ask(req, &range, NULL, NULL);
	ck_assert_int_eq(a.head.error, 0);
	ck_assert_uint_eq(a.head.flags, 0);
	for (i = 0; i < a.head.items_len; i++) {
		run = answer_item(&a, i);
		ck_assert_uint_ge(run->addr, last);
		last = run->addr + run->len;
		committed += run->len;
		if (run->flags & FERRY_AGENT_RUN_PINNED)
			pinned += run->len;
		ck_assert(run->flags & FERRY_AGENT_RUN_COMMITTED);
	}
	ck_assert_uint_eq(committed, 8 * MIB);
	ck_assert_uint_eq(pinned, page_size());
	answer_free(&a);
	req.ranges_len = 0;
	req.object = id_of_first();
	a = agent_ask(req, NULL, NULL, NULL);
	ck_assert_uint_ge(a.head.items_len, 3);
	answer_free(&a);
}
END_TEST

/* --- ranges that are not ours ---------------------------------------------------------- */

START_TEST(ranges_of_others_are_refused_each_with_a_reason)
{
	char *others = map_anon(MIB);
	struct ferry_agent_range ranges[] = {
		range_of(0, page_size()),
		{ (uintptr_t)others, page_size() },
		range_of(0, 0),
		range_of(1, page_size()),
		range_of(0, page_size() + 1),
		{ UINT64_MAX - page_size() + 1, 2 * page_size() },
		range_of(15 * MIB, 2 * MIB),
		{ 0, page_size() },
		range_of(page_size(), page_size()),
	};
	static const int error[] = { 0,	      -ENOENT, -EINVAL,
				     -EINVAL, -EINVAL, -EOVERFLOW,
				     -ENOENT, -ENOENT, 0 };
	static const enum ferry_reason reason[] = {
		FERRY_REASON_NONE,	  FERRY_REASON_NOT_MANAGED,
		FERRY_REASON_ZERO_LENGTH, FERRY_REASON_UNALIGNED,
		FERRY_REASON_UNALIGNED,	  FERRY_REASON_OVERFLOW,
		FERRY_REASON_NOT_MANAGED, FERRY_REASON_NOT_MANAGED,
		FERRY_REASON_NONE
	};
	static const enum ferry_agent_op ops[] = { FERRY_AGENT_HINT,
						   FERRY_AGENT_PIN,
						   FERRY_AGENT_UNPIN,
						   FERRY_AGENT_RECLAIM };
	struct answer a;
	size_t i, k;

	for (k = 0; k < ARRAY_SIZE(ops); k++) {
		a = ask_ranges(ops[k],
			       ops[k] == FERRY_AGENT_HINT ? FERRY_AGENT_HOT : 0,
			       ranges, ARRAY_SIZE(ranges));
		ck_assert_uint_eq(a.head.items_len, ARRAY_SIZE(ranges));
		ck_assert_uint_eq(a.head.failed, 7);
		for (i = 0; i < ARRAY_SIZE(ranges); i++) {
			ck_assert_int_eq(answer_status(&a, i)->error, error[i]);
			ck_assert_uint_eq(answer_status(&a, i)->reason,
					  reason[i]);
		}
		answer_free(&a);
	}
	assert_pages(base, 8 * MIB, 1);
	munmap(others, MIB);
}
END_TEST

START_TEST(object_filter_keeps_ranges_of_other_arenas_out)
{
	struct ferry_arena *other = make(2 * MIB, NULL);
	struct ferry_agent_request req = agent_request(FERRY_AGENT_HINT);
	struct ferry_agent_range ranges[2] = { range_of(0, page_size()) };
	struct answer a;

	ranges[1].addr = (uintptr_t)ferry_arena_base(other);
	ranges[1].len = page_size();
	req.object = id_of_first();
	req.value = FERRY_AGENT_COLD;
	req.ranges_len = 2;
	a = agent_ask(req, ranges, NULL, NULL);
	ck_assert_int_eq(answer_status(&a, 0)->error, 0);
	ck_assert_int_eq(answer_status(&a, 1)->error, -ENOENT);
	answer_free(&a);
	ferry_arena_destroy(other);
}
END_TEST

/* --- pins -------------------------------------------------------------------------------- */

START_TEST(pins_of_the_agent_are_a_set_beside_those_of_the_program)
{
	struct ferry_agent_range range = range_of(0, MIB);
	struct ferry_agent_status st;

	ck_assert_int_eq(ferry_arena_pin(arena, MIB / 2, page_size()), 0);
	/* Twice is once. */
	st = ask_one(FERRY_AGENT_PIN, 0, range);
	ck_assert_int_eq(st.error, 0);
	ck_assert_uint_eq(st.done, MIB);
	st = ask_one(FERRY_AGENT_PIN, 0, range_of(MIB / 4, MIB));
	ck_assert_uint_eq(st.done, MIB);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, page_size()), -EBUSY);
	st = ask_one(FERRY_AGENT_UNPIN, 0, range_of(page_size(), page_size()));
	ck_assert_uint_eq(st.done, page_size());
	ck_assert_int_eq(ferry_arena_page_state(arena, page_size()),
			 FERRY_PAGE_LIVE);
	st = ask_one(FERRY_AGENT_UNPIN, 0, range_of(0, 8 * MIB));
	ck_assert_int_eq(st.error, 0);
	ck_assert_uint_eq(st.done, MIB + MIB / 4 - page_size());
	st = ask_one(FERRY_AGENT_UNPIN, 0, range);
	ck_assert_uint_eq(st.done, 0);
	/* The program's own is still there. */
	ck_assert_int_eq(ferry_arena_page_state(arena, MIB / 2),
			 FERRY_PAGE_PINNED);
	ck_assert_int_eq(ferry_arena_unpin(arena, MIB / 2, page_size()), 0);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, 8 * MIB), 0);
}
END_TEST

START_TEST(pages_that_are_not_committed_cannot_be_pinned)
{
	struct ferry_agent_status st;

	st = ask_one(FERRY_AGENT_PIN, 0, range_of(8 * MIB, page_size()));
	ck_assert_int_eq(st.error, -ENOENT);
	ck_assert_uint_eq(st.left, page_size());
}
END_TEST

START_TEST(pins_go_with_the_agent)
{
	ask_one(FERRY_AGENT_PIN, 0, range_of(0, 2 * MIB));
	ferry_agent_stop();
	ck_assert_int_eq(ferry_arena_page_state(arena, 0), FERRY_PAGE_LIVE);
}
END_TEST

/* A pin that the program takes away by mistake costs that page's alone. */
START_TEST(pins_beside_one_that_the_program_took_go_all_the_same)
{
	struct ferry_agent_range range = range_of(0, 16 * page_size());

	ck_assert_int_eq(ask_one(FERRY_AGENT_PIN, 0, range).error, 0);
	ck_assert_int_eq(ferry_arena_unpin(arena, 3 * page_size(), page_size()),
			 0);
	ck_assert_uint_eq(ask_one(FERRY_AGENT_UNPIN, 0, range).done, range.len);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, range.len), 0);
	/* So, too, where the agent ends. */
	range = range_of(MIB, 16 * page_size());
	ck_assert_int_eq(ask_one(FERRY_AGENT_PIN, 0, range).error, 0);
	ck_assert_int_eq(
		ferry_arena_unpin(arena, MIB + 3 * page_size(), page_size()),
		0);
	ferry_agent_stop();
	ck_assert_int_eq(ferry_arena_decommit(arena, MIB, range.len), 0);
}
END_TEST

/* Arenas until one lies in @range, where one was before; how many. */
static size_t make_in(struct ferry_agent_range range, struct ferry_arena **ret,
		      size_t max)
{
	uint64_t at;
	size_t n = 0;

	do {
		ret[n] = make(2 * MIB, NULL);
		at = (uintptr_t)ferry_arena_base(ret[n++]);
	} while (at - range.addr >= range.len && n < max);
	return n;
}

START_TEST(pins_go_with_their_arena)
{
	struct ferry_arena *other = make(32 * MIB, NULL), *next[64];
	struct ferry_agent_range range = { (uintptr_t)ferry_arena_base(other),
					   32 * MIB };
	size_t n;

	ck_assert_int_eq(ferry_arena_commit(other, 0, 32 * MIB, false), 0);
	ck_assert_int_eq(ask_one(FERRY_AGENT_PIN, 0, range).error, 0);
	ferry_arena_destroy(other);
	n = make_in(range, next, ARRAY_SIZE(next));
	other = next[n - 1];
	ck_assert_int_eq(ferry_arena_commit(other, 0, 2 * MIB, false), 0);
	ck_assert_int_eq(ferry_arena_pin(other, 0, page_size()), 0);
	range.addr = (uintptr_t)ferry_arena_base(other);
	range.len = page_size();
	ck_assert_uint_eq(ask_one(FERRY_AGENT_UNPIN, 0, range).done, 0);
	ck_assert_int_eq(ferry_arena_page_state(other, 0), FERRY_PAGE_PINNED);
	while (n)
		ferry_arena_destroy(next[--n]);
}
END_TEST

START_TEST(many_scattered_pins_are_kept_and_taken_back)
{
	struct ferry_agent_range ranges[1024];
	struct answer a;
	size_t i;

	for (i = 0; i < 1024; i++)
		ranges[i] = range_of((i * 389 % 1024) * 2 * page_size(),
				     page_size());
	a = ask_ranges(FERRY_AGENT_PIN, 0, ranges, 1024);
	ck_assert_uint_eq(a.head.failed, 0);
	answer_free(&a);
	for (i = 0; i < 2048; i++)
		ck_assert_int_eq(ferry_arena_page_state(arena, i * page_size()),
				 i % 2 ? FERRY_PAGE_LIVE : FERRY_PAGE_PINNED);
	a = ask_ranges(FERRY_AGENT_UNPIN, 0, ranges, 1024);
	ck_assert_uint_eq(a.head.failed, 0);
	ck_assert_uint_eq(a.head.value, 1024 * page_size());
	answer_free(&a);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, 8 * MIB), 0);
}
END_TEST

/* --- reclaim, huge pages, hints ------------------------------------------------------------ */

START_TEST(reclaim_keeps_contents_whatever_goes)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_RECLAIM);
	struct answer a;

	req.value = 2 * MIB;
	a = agent_ask(req, NULL, NULL, NULL);
	ck_assert_int_eq(a.head.error, 0);
	ck_assert_uint_eq(a.head.items_len, 1);
	ck_assert_uint_eq(a.head.value, answer_status(&a, 0)->done);
	answer_free(&a);
	assert_pages(base, 8 * MIB, 1);
}
END_TEST

START_TEST(reclaim_gives_back_as_much_as_asked_for)
{
	struct ferry_agent_range range = range_of(0, 8 * MIB);
	struct system_hold hold;
	struct answer a;

	if (!system_hold_swap(&hold))
		SKIP("swap", "%s", hold.reason);
	a = ask_ranges(FERRY_AGENT_RECLAIM, MIB, &range, 1);
	ck_assert_int_eq(answer_status(&a, 0)->error, 0);
	ck_assert_uint_ge(a.head.value, 1);
	ck_assert_uint_le(a.head.value, 8 * MIB);
	answer_free(&a);
	assert_pages(base, 8 * MIB, 1);
	system_release(&hold);
}
END_TEST

START_TEST(pinned_pages_are_not_reclaimed)
{
	struct ferry_agent_status st;

	ck_assert_int_eq(ferry_arena_pin(arena, 0, 8 * MIB), 0);
	st = ask_one(FERRY_AGENT_RECLAIM, 0, range_of(0, 8 * MIB));
	ck_assert_int_eq(st.error, 0);
	ck_assert_uint_eq(st.done, 0);
}
END_TEST

static bool is_locked(struct ferry_agent_status st)
{
	return st.error == -EPERM && st.reason == FERRY_REASON_LOCKED;
}

START_TEST(locked_pages_are_not_reclaimed_and_that_is_the_reason)
{
	struct ferry_agent_range range = range_of(MIB, 4 * page_size());

	/* The sanitizers' own does nothing. */
	if (syscall(SYS_mlock, base + MIB, 4 * page_size()) < 0)
		SKIP("mlock", "no memory may be locked");
	ck_assert(
		is_locked(ask_one(FERRY_AGENT_HINT, FERRY_AGENT_COLD, range)));
	/* For a moment the kernel may be moving all of them. */
	AWAIT(is_locked(ask_one(FERRY_AGENT_RECLAIM, 0, range)));
	ck_assert_int_eq(syscall(SYS_munlock, base + MIB, 4 * page_size()), 0);
	ck_assert_int_eq(ask_one(FERRY_AGENT_RECLAIM, 0, range).error, 0);
	assert_pages(base, 8 * MIB, 1);
}
END_TEST

START_TEST(compaction_makes_huge_pages_where_pages_lie)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_agent_request req = agent_request(FERRY_AGENT_COMPACT);
	struct ferry_agent_range range;
	struct ferry_arena *a;
	struct answer answer;
	char *at;

	p.reserve = 4 * MIB;
	ck_assert_int_eq(ferry_arena_create(&p, &a), 0);
	at = ferry_arena_base(a);
	/* Half of the second huge page is not committed: not to be made. */
	ck_assert_int_eq(ferry_arena_commit(a, 0, 3 * MIB, true), 0);
	fill_pages(at, 3 * MIB, 77);
	range = (struct ferry_agent_range){ (uintptr_t)at, 4 * MIB };
	req.ranges_len = 1;
	answer = agent_ask(req, &range, NULL, NULL);
	ck_assert_uint_eq(answer.head.items_len, 1);
	ck_assert_uint_le(answer_status(&answer, 0)->done, 2 * MIB);
	answer_free(&answer);
	assert_pages(at, 3 * MIB, 77);
	ck_assert(!page_there(at + 3 * MIB) || huge_bytes(at, 4 * MIB));
	ferry_arena_destroy(a);
}
END_TEST

START_TEST(hints_are_taken_and_others_refused)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_HINT);
	struct ferry_agent_range range = range_of(0, 8 * MIB);
	struct ferry_agent_status st;
	struct answer a;

	st = ask_one(FERRY_AGENT_HINT, FERRY_AGENT_COLD, range);
	ck_assert_int_eq(st.error, 0);
	ck_assert_uint_eq(st.done, 8 * MIB);
	st = ask_one(FERRY_AGENT_HINT, FERRY_AGENT_HOT, range);
	ck_assert_uint_eq(st.done, 8 * MIB);
	req.value = 3;
	req.ranges_len = 1;
	a = agent_ask(req, &range, NULL, NULL);
	ck_assert_int_eq(a.head.error, -EINVAL);
	answer_free(&a);
	req.value = FERRY_AGENT_COLD;
	req.ranges_len = 0;
	a = agent_ask(req, NULL, NULL, NULL);
	ck_assert_int_eq(a.head.error, -EINVAL);
	answer_free(&a);
}
END_TEST

/* --- configuration, collections ------------------------------------------------------------- */

static int configure(uint64_t object, const char *text)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_CONFIGURE);
	struct answer a;

	req.object = object;
	a = agent_ask(req, NULL, NULL, text);
	answer_free(&a);
	return a.head.error;
}

START_TEST(options_of_an_arena_are_taken_or_refused)
{
	uint64_t id = id_of_first();

	ck_assert_int_eq(configure(id, "thp:never"), 0);
	ck_assert_int_eq(configure(id, "thp:sometimes"), -EINVAL);
	ck_assert_int_eq(configure(id, "limit:1M"), -EINVAL);
	ck_assert_int_eq(configure(id, "thp"), -EINVAL);
	ck_assert_int_eq(configure(id, ""), -EINVAL);
	ck_assert_int_eq(configure(id + 1000, "thp:never"), -ENOENT);
	ck_assert_int_eq(configure(0, "thp:never"), -ENOENT);
}
END_TEST

START_TEST(arenas_are_not_collected)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_COLLECT);
	struct answer a;

	a = agent_ask(req, NULL, NULL, NULL);
	ck_assert_int_eq(a.head.error, -EINVAL);
	answer_free(&a);
	req.value = 2;
	a = agent_ask(req, NULL, NULL, NULL);
	ck_assert_int_eq(a.head.error, 0);
	ck_assert_uint_eq(a.head.value, 0);
	answer_free(&a);
	req.object = id_of_first();
	a = agent_ask(req, NULL, NULL, NULL);
	ck_assert_int_eq(a.head.error, -EOPNOTSUPP);
	answer_free(&a);
}
END_TEST

/* --- beside the program ------------------------------------------------------------------------ */

static void *destroy(void *arg)
{
	ferry_arena_destroy(arg);
	return NULL;
}

/* No new hold is to be had: it has begun to end. */
static bool is_ending(const char *at)
{
	struct ferry_arena *held = ferry__arena_hold_at((uintptr_t)at);

	if (held)
		ferry__arena_let_go(held);
	return !held;
}

START_TEST(arena_that_is_held_does_not_end)
{
	struct ferry_arena *a = make(2 * MIB, NULL);
	char *at = ferry_arena_base(a);
	pthread_t thread;
	size_t i;

	ck_assert_int_eq(ferry_arena_commit(a, 0, MIB, true), 0);
	ck_assert_ptr_eq(ferry__arena_hold_at((uintptr_t)at + MIB), a);
	pthread_create(&thread, NULL, destroy, a);
	AWAIT(is_ending(at));
	for (i = 0; i < 100; i++) {
		harness_pause();
		ck_assert(page_there(at));
	}
	ferry__arena_let_go(a);
	pthread_join(thread, NULL);
	ck_assert(!page_there(at));
}
END_TEST

static bool stop;

/* Arenas come and go, pages are committed, while the agent asks and does. */
static void *churn(void *arg)
{
	struct ferry_arena *a;

	(void)arg;
	/* Relaxed: an end that is seen late is late. */
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		a = make(4 * MIB, "short-lived");
		ferry_arena_commit(a, 0, MIB, true);
		fill_pages(ferry_arena_base(a), MIB, 5);
		assert_pages(ferry_arena_base(a), MIB, 5);
		ferry_arena_destroy(a);
	}
	return NULL;
}

START_TEST(arenas_end_while_the_agent_works_on_them)
{
	static const enum ferry_agent_op ops[] = {
		FERRY_AGENT_LIST, FERRY_AGENT_STATS, FERRY_AGENT_RECLAIM,
		FERRY_AGENT_HINT, FERRY_AGENT_PIN,   FERRY_AGENT_RESIDENCY,
	};
	struct ferry_agent_range range = range_of(-16 * MIB, 16 * MIB);
	struct ferry_agent_request req;
	size_t i, n = harness_scaled(300);
	pthread_t thread[2];
	struct answer a;

	for (i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, churn, NULL);
	for (i = 0; i < n; i++) {
		req = agent_request(ops[i % ARRAY_SIZE(ops)]);
		req.value = req.op == FERRY_AGENT_HINT;
		range.len = (1 + i % 4) * MIB;
		if (req.op >= FERRY_AGENT_PIN ||
		    req.op == FERRY_AGENT_RESIDENCY)
			req.ranges_len = 1;
		a = agent_ask(req, &range, NULL, NULL);
		answer_free(&a);
		range.addr += MIB;
		if (range.addr >= (uintptr_t)base)
			range.addr = (uintptr_t)base - 16 * MIB;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_pages(base, 8 * MIB, 1);
}
END_TEST

#define SERVED(name, needs) TEST_FIXTURE(name, needs, setup, teardown)

static const struct test tests[] = {
	SERVED(list_tells_each_arena_once, NULL),
	SERVED(statistics_are_json, NULL),
	SERVED(map_tells_runs_of_equal_pages, NULL),
	SERVED(ranges_of_others_are_refused_each_with_a_reason, NULL),
	SERVED(object_filter_keeps_ranges_of_other_arenas_out, NULL),
	SERVED(pins_of_the_agent_are_a_set_beside_those_of_the_program, NULL),
	SERVED(pages_that_are_not_committed_cannot_be_pinned, NULL),
	SERVED(pins_go_with_the_agent, NULL),
	SERVED(pins_beside_one_that_the_program_took_go_all_the_same, NULL),
	SERVED(pins_go_with_their_arena, NULL),
	SERVED(many_scattered_pins_are_kept_and_taken_back, NULL),
	SERVED(reclaim_keeps_contents_whatever_goes, NULL),
	SERVED(reclaim_gives_back_as_much_as_asked_for, "swap"),
	SERVED(pinned_pages_are_not_reclaimed, NULL),
	SERVED(locked_pages_are_not_reclaimed_and_that_is_the_reason, NULL),
	SERVED(compaction_makes_huge_pages_where_pages_lie, NULL),
	SERVED(hints_are_taken_and_others_refused, NULL),
	SERVED(options_of_an_arena_are_taken_or_refused, NULL),
	SERVED(arenas_are_not_collected, NULL),
	SERVED(arena_that_is_held_does_not_end, NULL),
	SERVED(arenas_end_while_the_agent_works_on_them, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
