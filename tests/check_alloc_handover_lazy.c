/* SPDX-License-Identifier: MIT */
/* A receiver that starts at once, its pages coming when touched or by steps. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/handover_bed.h"

#define LEN   (2 * MIB)
#define FIRST 400

/* The sender, a thread: a copy needs both sides at once. */
struct sender {
	int sock;
	struct ferry_arena *arena;
	int result;
};

static void *send_all(void *arg)
{
	struct sender *s = arg;

	s->result = ferry_handover_send(s->sock, s->arena, 0, LEN, NULL, NULL);
	return NULL;
}

/* An arena that was accepted lazily. */
static struct ferry_arena *arrive(enum ferry_backing backing)
{
	struct ferry_handover_accept_params p =
		FERRY_INIT(struct ferry_handover_accept_params);
	struct ferry_handover_result r =
		FERRY_INIT(struct ferry_handover_result);
	struct ferry_arena *got = NULL;
	struct sender sender = { .arena = bed_arena(backing, LEN, FIRST) };
	pthread_t thread;
	int sock[2];

	bed_sockets(SOCK_STREAM, sock);
	sender.sock = sock[0];
	ck_assert_int_eq(pthread_create(&thread, NULL, send_all, &sender), 0);
	p.lazy = true;
	ck_assert_int_eq(ferry_handover_accept(sock[1], &p, &r, &got), 0);
	ck_assert_uint_eq(r.installed,
			  r.backing == FERRY_BACKING_PRIVATE ? LEN : 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(sender.result, 0);
	/* It needs the sender no more. */
	ferry_arena_destroy(sender.arena);
	close(sock[0]);
	close(sock[1]);
	return got;
}

static size_t pages_there(struct ferry_arena *arena)
{
	const char *base = ferry_arena_base(arena);
	size_t i, n = 0;

	for (i = 0; i < LEN; i += page_size())
		n += page_there(base + i);
	return n;
}

START_TEST(nothing_is_in_the_page_tables_at_first)
{
	struct ferry_arena *arena = arrive(FERRY_BACKING_SHARED);

	ck_assert_uint_eq(pages_there(arena), 0);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(a_page_comes_when_touched)
{
	struct ferry_arena *arena = arrive(FERRY_BACKING_SHARED);
	char *base = ferry_arena_base(arena);
	size_t page = page_size(), n = LEN / page;

	ck_assert(page_holds(base + (n / 2) * page, FIRST + n / 2));
	ck_assert_uint_lt(pages_there(arena), n);
	base[page * (n - 1)] ^= 1;
	ck_assert(!page_holds(base + (n - 1) * page, FIRST + n - 1));
	base[page * (n - 1)] ^= 1;
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(steps_bring_the_rest_in_order)
{
	struct ferry_arena *arena = arrive(FERRY_BACKING_SHARED);
	const char *base = ferry_arena_base(arena);
	size_t step = LEN / 4, left = 0;

	ck_assert_int_eq(ferry_handover_step(arena, step, &left), 0);
	ck_assert_uint_eq(left, LEN - step);
	ck_assert(page_there(base));
	ck_assert(page_there(base + step - page_size()));
	ck_assert(!page_there(base + LEN - page_size()));
	/* More than there is. */
	ck_assert_int_eq(ferry_handover_step(arena, 2 * LEN, &left), 0);
	ck_assert_uint_eq(left, 0);
	ck_assert_uint_eq(pages_there(arena), LEN / page_size());
	ck_assert_int_eq(ferry_handover_step(arena, step, &left), 0);
	ck_assert_uint_eq(left, 0);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(finishing_brings_all)
{
	struct ferry_arena *arena = arrive(FERRY_BACKING_SHARED);
	size_t left = 1;

	ck_assert_int_eq(ferry_handover_step(arena, page_size(), &left), 0);
	ck_assert_int_eq(ferry_handover_finish(arena), 0);
	ck_assert_uint_eq(pages_there(arena), LEN / page_size());
	ck_assert_int_eq(ferry_handover_finish(arena), 0);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(copied_pages_are_there_at_once)
{
	struct ferry_arena *arena = arrive(FERRY_BACKING_PRIVATE);

	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ck_assert_int_eq(ferry_handover_finish(arena), 0);
	ck_assert_uint_eq(pages_there(arena), LEN / page_size());
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(what_was_decommitted_meanwhile_stays_away)
{
	struct ferry_arena *arena = arrive(FERRY_BACKING_SHARED);
	size_t page = page_size(), n = LEN / page;

	ck_assert_int_eq(ferry_arena_decommit(arena, page, 8 * page), 0);
	ck_assert_int_eq(ferry_handover_finish(arena), 0);
	ck_assert_uint_eq(pages_there(arena), n - 8);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(arenas_that_did_not_come_have_nothing_to_bring)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_PRIVATE, LEN, 1);
	size_t left = 1;

	ck_assert_int_eq(ferry_handover_step(arena, page_size(), &left), 0);
	ck_assert_uint_eq(left, 0);
	ck_assert_int_eq(ferry_handover_step(arena, 0, NULL), -EINVAL);
	ck_assert_int_eq(ferry_handover_step(arena, page_size() + 1, NULL),
			 -EINVAL);
	ferry_arena_destroy(arena);
}
END_TEST

static void *step_on(void *arg)
{
	struct ferry_arena *arena = arg;
	size_t left;

	do
		if (ferry_handover_step(arena, 3 * page_size(), &left))
			return arg;
	while (left);
	return NULL;
}

START_TEST(threads_share_the_steps_beside_the_program)
{
	struct ferry_arena *arena = arrive(FERRY_BACKING_SHARED);
	pthread_t thread[3];
	void *bad;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(thread); i++)
		ck_assert_int_eq(
			pthread_create(&thread[i], NULL, step_on, arena), 0);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	for (i = 0; i < ARRAY_SIZE(thread); i++) {
		ck_assert_int_eq(pthread_join(thread[i], &bad), 0);
		ck_assert_ptr_null(bad);
	}
	ck_assert_uint_eq(pages_there(arena), LEN / page_size());
	ferry_arena_destroy(arena);
}
END_TEST

static const struct test tests[] = {
	TEST(nothing_is_in_the_page_tables_at_first, NULL),
	TEST(a_page_comes_when_touched, NULL),
	TEST(steps_bring_the_rest_in_order, NULL),
	TEST(finishing_brings_all, NULL),
	TEST(copied_pages_are_there_at_once, NULL),
	TEST(what_was_decommitted_meanwhile_stays_away, NULL),
	TEST(arenas_that_did_not_come_have_nothing_to_bring, NULL),
	TEST(threads_share_the_steps_beside_the_program, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
