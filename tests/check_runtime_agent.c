/* SPDX-License-Identifier: MIT */
/* What the policy agent tells of heaps, and does with them. */
#include "tests/harness.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/agent_client.h"
#include "tests/cells.h"

#define MIB ((size_t)1 << 20)

static struct cells *cells;

static void setup(void)
{
	cells = cells_make(FERRY_GC_AUTO, 2);
	agent_start(NULL);
}

static void teardown(void)
{
	agent_stop();
	cells_close(cells);
}

static struct ferry_agent_object describe(void)
{
	struct answer a =
		agent_ask(agent_request(FERRY_AGENT_LIST), NULL, NULL, NULL);
	struct ferry_agent_object o;

	ck_assert_int_eq(a.head.error, 0);
	ck_assert_uint_eq(a.head.items_len, 1);
	o = *(const struct ferry_agent_object *)answer_item(&a, 0);
	answer_free(&a);
	return o;
}

START_TEST(heap_is_listed_as_a_heap)
{
	struct ferry_agent_object o;

	cells_list(cells, 0, FERRY_KIND_TRACED, 20000, 2, 0);
	cells_collect(cells, FERRY_COLLECT_FULL);
	o = describe();
	ck_assert_uint_eq(o.kind, FERRY_AGENT_HEAP);
	ck_assert_uint_eq(o.live, cells_stats(cells)->live);
	ck_assert_uint_ge(o.used, o.live);
	ck_assert_uint_eq(o.limit, cells_stats(cells)->limit);
	ck_assert(ferry_heap_contains(cells->heap, (void *)(uintptr_t)o.addr));
}
END_TEST

START_TEST(statistics_of_a_heap_are_json)
{
	struct answer a;
	json_t *root, *heap;

	cells_collect(cells, FERRY_COLLECT_FULL);
	a = agent_ask(agent_request(FERRY_AGENT_STATS), NULL, NULL, NULL);
	root = json_loads(answer_text(&a), 0, NULL);
	ck_assert_ptr_nonnull(root);
	heap = json_array_get(json_object_get(root, "objects"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(heap, "kind")),
			 "heap");
	ck_assert_int_ge(json_integer_value(json_object_get(heap, "fulls")), 1);
	ck_assert(json_is_object(json_object_get(heap, "pauses")));
	json_decref(root);
	answer_free(&a);
}
END_TEST

static struct answer ask_for(enum ferry_agent_op op, uint64_t value)
{
	struct ferry_agent_request req = agent_request(op);

	req.object = describe().id;
	req.value = value;
	return agent_ask(req, NULL, NULL, NULL);
}

static uint64_t fulls(void)
{
	return cells_stats(cells)->fulls;
}

/* Where no thread collects, the next allocation that looks does. */
static bool has_collected(uint64_t before)
{
	cells_list(cells, 1, FERRY_KIND_TRACED, 1000, 2, 0);
	return fulls() > before;
}

START_TEST(collection_is_started_and_not_waited_for)
{
	uint64_t before = fulls();
	struct answer a = ask_for(FERRY_AGENT_COLLECT, FERRY_COLLECT_FULL);

	ck_assert_int_eq(a.head.error, 0);
	ck_assert_uint_eq(a.head.value, 1);
	answer_free(&a);
	AWAIT(has_collected(before));
	a = ask_for(FERRY_AGENT_COLLECT, 17);
	ck_assert_int_eq(a.head.error, -EINVAL);
	answer_free(&a);
}
END_TEST

START_TEST(compaction_and_reclaim_ask_the_heap)
{
	static const enum ferry_agent_op ops[] = { FERRY_AGENT_COMPACT,
						   FERRY_AGENT_RECLAIM };
	uint64_t before;
	struct answer a;
	size_t i;

	cells_list(cells, 0, FERRY_KIND_TRACED, 20000, 2, 300);
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		before = fulls();
		a = ask_for(ops[i], 0);
		ck_assert_int_eq(a.head.error, 0);
		ck_assert_uint_eq(a.head.failed, 0);
		answer_free(&a);
		AWAIT(has_collected(before));
	}
	cells_list_check(cells, 0, 20000);
}
END_TEST

static int configure(const char *text)
{
	struct ferry_agent_request req = agent_request(FERRY_AGENT_CONFIGURE);
	struct answer a;

	req.object = describe().id;
	a = agent_ask(req, NULL, NULL, text);
	answer_free(&a);
	return a.head.error;
}

START_TEST(limit_can_be_changed)
{
	ck_assert_int_eq(configure("limit:100M"), 0);
	ck_assert_uint_eq(cells_stats(cells)->limit, 100 * MIB);
	ck_assert_uint_eq(describe().limit, 100 * MIB);
	ck_assert_int_eq(configure("limit:0"), -EINVAL);
	ck_assert_int_eq(configure("limit:many"), -EINVAL);
	ck_assert_int_eq(configure("thp:never"), -EINVAL);
	/* All of it or nothing. */
	ck_assert_int_eq(configure("limit:50M,limit:0"), -EINVAL);
	ck_assert_int_eq(configure("limit:50M,thp:never"), -EINVAL);
	ck_assert_uint_eq(cells_stats(cells)->limit, 100 * MIB);
}
END_TEST

/* What becomes of one range; a machine without nodes has no policy. */
static int ask_range(enum ferry_agent_op op, uint64_t addr, uint64_t len)
{
	struct ferry_agent_request req = agent_request(op);
	struct ferry_agent_range range = { addr, len };
	struct answer a;
	int r;

	req.ranges_len = 1;
	a = agent_ask(req, &range, NULL, NULL);
	r = a.head.error ? a.head.error : answer_status(&a, 0)->error;
	answer_free(&a);
	return r;
}

START_TEST(what_would_break_a_heap_is_refused)
{
	struct ferry_agent_object o = describe();
	int r;

	ck_assert_int_eq(ask_range(FERRY_AGENT_PIN, o.addr, 65536),
			 -EOPNOTSUPP);
	ck_assert_int_eq(ask_range(FERRY_AGENT_COMPACT, o.addr, 65536),
			 -EOPNOTSUPP);
	/* A policy for a part would cut the space it moves pages in. */
	ck_assert_int_eq(ask_range(FERRY_AGENT_SET_POLICY, o.addr, 65536),
			 -EOPNOTSUPP);
	r = ask_range(FERRY_AGENT_SET_POLICY, o.addr, o.len);
	ck_assert(r == 0 || r == -EOPNOTSUPP);
	cells_list(cells, 0, FERRY_KIND_TRACED, 20000, 2, 300);
	cells_collect(cells, FERRY_COLLECT_COMPACT);
	cells_list_check(cells, 0, 20000);
}
END_TEST

/* Statistics, lists and collections, as quick as they go. */
static void ask_without_end(pid_t pid)
{
	static const enum ferry_agent_op ops[] = { FERRY_AGENT_LIST,
						   FERRY_AGENT_STATS,
						   FERRY_AGENT_COLLECT };
	struct ferry_agent_request req;
	struct answer a;
	unsigned int i;
	int fd = ferry_agent_connect(pid);

	if (fd < 0)
		_exit(1);
	for (i = 0;; i++) {
		req = agent_request(ops[i % 3]);
		req.value = req.op == FERRY_AGENT_COLLECT ? 1 + i % 3 : 0;
		if (!agent_send(fd, req, NULL, NULL, NULL) ||
		    !agent_hear(fd, &a))
			_exit(0);
		answer_free(&a);
	}
}

START_TEST(heaps_come_and_go_while_somebody_asks)
{
	size_t i, n = harness_scaled(40);
	struct cells *c;
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid)
		ask_without_end(getppid());
	for (i = 0; i < n; i++) {
		c = cells_make(i % 2 ? FERRY_GC_AUTO : FERRY_GC_STOPPED, 1);
		cells_list(c, 0, FERRY_KIND_TRACED, 2000, 2, 100);
		cells_list_check(c, 0, 2000);
		cells_close(c);
	}
	ferry_agent_stop();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
}
END_TEST

#define SERVED(name) TEST_FIXTURE(name, NULL, setup, teardown)

static const struct test tests[] = {
	SERVED(heap_is_listed_as_a_heap),
	SERVED(statistics_of_a_heap_are_json),
	SERVED(collection_is_started_and_not_waited_for),
	SERVED(compaction_and_reclaim_ask_the_heap),
	SERVED(limit_can_be_changed),
	SERVED(what_would_break_a_heap_is_refused),
	SERVED(heaps_come_and_go_while_somebody_asks),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
