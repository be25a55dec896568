/* SPDX-License-Identifier: MIT */
/* What statistics count is what events tell, in every mode. */
#include <stdatomic.h>
#include <string.h>

#include "tests/cells.h"
#include "tests/harness.h"

#define BLOCK ((size_t)64 << 10)

struct told {
	uint64_t of[FERRY_EVENTS];  /* how many events of a kind */
	uint64_t sum[FERRY_EVENTS]; /* of their values */
	uint64_t begun[FERRY_COLLECT_COMPACT + 1];
	uint64_t pauses[FERRY_PAUSES];
};

static void hear(void *arg, const struct ferry_event *event)
{
	struct told *told = arg;

	told->of[event->kind]++;
	told->sum[event->kind] += event->value;
	if (event->kind == FERRY_EVENT_CYCLE_BEGIN)
		told->begun[event->value]++;
	if (event->kind == FERRY_EVENT_PAUSE_END)
		told->pauses[event->value]++;
}

static const struct way {
	enum ferry_gc_mode mode;
	enum ferry_fault_mode fault_mode;
} ways[] = {
	{ FERRY_GC_AUTO, FERRY_FAULT_THREAD },
	{ FERRY_GC_AUTO, FERRY_FAULT_SIGBUS },
	{ FERRY_GC_STOPPED, FERRY_FAULT_THREAD },
};

static struct cells *make(const struct way *way, struct told *told)
{
	struct ferry_heap_params p = cells_params(way->mode);
	struct ferry_listener *listener;
	struct cells *c;

	p.fault_mode = way->fault_mode;
	p.no_compact = true;
	c = cells_open(&p, 2);
	memset(told, 0, sizeof(*told));
	ck_assert_int_eq(ferry_listener_add(c->heap, hear, told, &listener), 0);
	return c;
}

/* Half of it garbage, scattered. */
static void fill(struct cells *c)
{
	cells_list(c, 0, FERRY_KIND_TRACED, 20000, 2, 150);
	cells_list(c, 1, FERRY_KIND_TYPED, 5000, 4, 0);
}

static void live(struct cells *c)
{
	static const enum ferry_collect what[] = {
		FERRY_COLLECT_MINOR, FERRY_COLLECT_FULL,    FERRY_COLLECT_MINOR,
		FERRY_COLLECT_MINOR, FERRY_COLLECT_COMPACT, FERRY_COLLECT_MINOR,
		FERRY_COLLECT_MINOR, FERRY_COLLECT_COMPACT, FERRY_COLLECT_FULL,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(what); i++) {
		fill(c);
		cells_collect(c, what[i]);
	}
}

static void assert_collections(const struct ferry_heap_stats *s,
			       const struct told *told)
{
	uint64_t all = s->minors + s->fulls;

	ck_assert_uint_eq(told->of[FERRY_EVENT_CYCLE_BEGIN], all);
	ck_assert_uint_eq(told->of[FERRY_EVENT_CYCLE_END], all);
	ck_assert_uint_eq(told->begun[FERRY_COLLECT_MINOR], s->minors);
	ck_assert_uint_eq(told->begun[FERRY_COLLECT_FULL] +
				  told->begun[FERRY_COLLECT_COMPACT],
			  s->fulls);
	ck_assert_uint_eq(told->of[FERRY_EVENT_SWEPT], all);
	ck_assert_uint_eq(told->of[FERRY_EVENT_COMPACT_END], s->compactions);
	ck_assert_uint_eq(told->begun[FERRY_COLLECT_COMPACT], s->compactions);
	ck_assert_uint_eq(told->of[FERRY_EVENT_STALL], s->stalls);
	ck_assert_uint_eq(told->of[FERRY_EVENT_MARK_ROUND], s->rounds);
}

/* Each collection has its pauses, and each pause is a sample. */
static void assert_pauses(const struct ferry_heap_stats *s,
			  const struct told *told)
{
	bool stopped = s->mode == FERRY_GC_STOPPED;
	uint64_t all = s->minors + s->fulls, sum = 0;
	int i;

	for (i = 1; i < FERRY_PAUSES; i++) {
		ck_assert_uint_eq(s->pauses[i].count, told->pauses[i]);
		sum += s->pauses[i].count;
	}
	ck_assert_uint_eq(s->pauses[0].count, sum);
	ck_assert_uint_eq(s->to_stop.count, sum);
	ck_assert_uint_eq(told->of[FERRY_EVENT_PAUSE_BEGIN], sum);
	ck_assert_uint_eq(told->of[FERRY_EVENT_PAUSE_STOPPED], sum);
	ck_assert_uint_eq(told->pauses[FERRY_PAUSE_STOPPED], stopped ? all : 0);
	ck_assert_uint_eq(told->pauses[FERRY_PAUSE_START], stopped ? 0 : all);
	ck_assert_uint_eq(told->pauses[FERRY_PAUSE_FINAL], stopped ? 0 : all);
	ck_assert_uint_eq(told->pauses[FERRY_PAUSE_FLIP],
			  stopped ? 0 : told->of[FERRY_EVENT_COMPACT_PLAN]);
}

static void assert_bytes(const struct ferry_heap_stats *s,
			 const struct told *told)
{
	ck_assert_uint_gt(s->copied, 0);
	ck_assert_uint_eq(told->sum[FERRY_EVENT_COMPACT_PLAN], s->copied);
	ck_assert_uint_gt(told->sum[FERRY_EVENT_COMPACT_END], 0);
	ck_assert_uint_ge(s->released, told->sum[FERRY_EVENT_COMPACT_END] +
					       told->sum[FERRY_EVENT_RELEASED]);
	ck_assert_uint_ge(s->dirty_pages, told->sum[FERRY_EVENT_MARK_ROUND]);
	ck_assert_uint_eq(s->faults, s->fault_ns.count);
	ck_assert_uint_eq(s->pinned, 0);
}

START_TEST(counts_agree_with_events)
{
	struct told told;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		struct cells *c = make(&ways[i], &told);
		const struct ferry_heap_stats *s;

		live(c);
		s = cells_stats(c);
		assert_collections(s, &told);
		assert_pauses(s, &told);
		assert_bytes(s, &told);
		cells_close(c);
	}
}
END_TEST

/* A minor collection needs to know of writes: none does, after a flip. */
START_TEST(minor_that_has_to_be_full_is_told_and_counted_as_full)
{
	struct told told;
	struct cells *c = make(&ways[0], &told);
	struct ferry_heap_stats *s;

	if (!cells_concurrent(c)) {
		cells_close(c);
		SKIP("move", "collections are stopped, hence full");
	}
	fill(c);
	cells_collect(c, FERRY_COLLECT_COMPACT);
	cells_collect(c, FERRY_COLLECT_MINOR);
	s = cells_stats(c);
	ck_assert_uint_eq(s->minors, 0);
	ck_assert_uint_eq(s->fulls, 2);
	ck_assert_uint_eq(told.begun[FERRY_COLLECT_FULL], 1);
	cells_collect(c, FERRY_COLLECT_MINOR);
	ck_assert_uint_eq(cells_stats(c)->minors, 1);
	ck_assert_uint_eq(told.begun[FERRY_COLLECT_MINOR], 1);
	cells_close(c);
}
END_TEST

START_TEST(blocks_that_pins_keep_in_place_are_counted)
{
	struct told told;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		struct cells *c = make(&ways[i], &told);
		struct cell *cell;

		fill(c);
		cell = c->root[0];
		ck_assert_int_eq(ferry_pin(c->m, cell), 0);
		cells_collect(c, FERRY_COLLECT_COMPACT);
		ck_assert_uint_eq(cells_stats(c)->pinned, BLOCK);
		ck_assert_ptr_eq(c->root[0], cell);
		ck_assert_int_eq(ferry_unpin(c->m, cell), 0);
		fill(c);
		cells_collect(c, FERRY_COLLECT_COMPACT);
		ck_assert_uint_eq(cells_stats(c)->pinned, 0);
		cells_close(c);
	}
}
END_TEST

static const struct test tests[] = {
	TEST(counts_agree_with_events, NULL),
	TEST(minor_that_has_to_be_full_is_told_and_counted_as_full, NULL),
	TEST(blocks_that_pins_keep_in_place_are_counted, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
