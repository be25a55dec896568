/* SPDX-License-Identifier: MIT */
/*
 * Whatever the kernel refuses, on either side and at each step: one owner, a
 * clear error, nothing left behind, and the next hand-over succeeds.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "alloc/handover/handover-internal.h"
#include "tests/handover_bed.h"
#include "tests/inject.h"
#include "uffd/uapi.h"

#define LEN   (2 * MIB)
#define FIRST 77

static const struct {
	enum inject_call call;
	int error;
} failures[] = {
	{ INJECT_SENDMSG, ENOBUFS },	 { INJECT_RECVMSG, ENOMEM },
	{ INJECT_POLL, ENOMEM },	 { INJECT_MEMFD_CREATE, EMFILE },
	{ INJECT_FTRUNCATE, ENOMEM },	 { INJECT_FCNTL, ENOMEM },
	{ INJECT_MMAP, ENOMEM },	 { INJECT_MADVISE, ENOMEM },
	{ INJECT_PWRITEV, ENOSPC },	 { INJECT_FSTAT, ENOMEM },
	{ INJECT_GETSOCKOPT, ENOTSOCK }, { INJECT_GETRANDOM, EAGAIN },
	{ INJECT_USERFAULTFD, EPERM },	 { INJECT_OPEN, EACCES },
	{ INJECT_IOCTL, ENOMEM },	 { INJECT_MUNMAP, ENOMEM },
	{ INJECT_FALLOCATE, ENOMEM },
};

/* The receiver, a thread: a copy needs both sides at once. */
struct taker {
	int sock;
	int result;
	struct ferry_arena *got;
};

static void *take(void *arg)
{
	struct taker *taker = arg;

	taker->result =
		ferry_handover_accept(taker->sock, NULL, NULL, &taker->got);
	/* An answer that could not be sent is not waited for. */
	close(taker->sock);
	return NULL;
}

/* One hand-over inside this process: the owner's arena in @ret_owner. */
static void hand_over(struct ferry_arena *arena, struct ferry_arena **ret_owner)
{
	struct taker taker = { 0 };
	pthread_t thread;
	int sock[2], r;

	bed_sockets(SOCK_STREAM, sock);
	taker.sock = sock[1];
	ck_assert_int_eq(pthread_create(&thread, NULL, take, &taker), 0);
	r = ferry_handover_send(sock[0], arena, 0, LEN, NULL, NULL);
	close(sock[0]);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(taker.result == 0, taker.got != NULL);
	ck_assert_int_eq(r == 0, taker.result == 0);
	*ret_owner = r == 0 ? taker.got : arena;
}

/*
 * With the 1st, 2nd ... @call failing until none is left to fail. Returns how
 * many there were.
 */
static int fail_each(enum ferry_backing backing, enum inject_call call,
		     int error)
{
	struct ferry_arena *arena, *owner;
	struct inject_rule rule;
	struct bed_state before;
	int n;

	for (n = 1;; n++) {
		before = bed_state();
		arena = bed_arena(backing, LEN, FIRST);
		rule = (struct inject_rule){ .call = call,
					     .nth = (uint64_t)n,
					     .error = error };
		inject_start();
		inject_add(&rule);
		hand_over(arena, &owner);
		inject_stop();
		ck_assert(bed_holds(owner, 0, LEN, FIRST));
		if (owner != arena) {
			ck_assert(bed_absent(arena, 0, LEN));
			/* Its next pages are not those that it gave away. */
			ck_assert_int_eq(
				ferry_arena_commit(arena, 0, LEN, false), 0);
			memset(ferry_arena_base(arena), 1, LEN);
			ck_assert_int_eq(ferry_arena_decommit(arena, 0, LEN),
					 0);
			ck_assert(bed_holds(owner, 0, LEN, FIRST));
			ferry__arena_check(owner);
			ferry_arena_destroy(owner);
		}
		ferry__arena_check(arena);
		ferry_arena_destroy(arena);
		/* A mapping that the kernel would not take away stays. */
		if (call == INJECT_MUNMAP)
			ck_assert_uint_eq(bed_state().fds, before.fds);
		else
			bed_assert_no_leak(before);
		if (!rule.hits)
			return n - 1;
	}
}

static int fail_all(enum ferry_backing backing)
{
	size_t i;
	int n = 0;

	for (i = 0; i < ARRAY_SIZE(failures); i++)
		n += fail_each(backing, failures[i].call, failures[i].error);
	return n;
}

START_TEST(shared_pages_have_one_owner_whatever_fails)
{
	ck_assert_int_gt(fail_all(FERRY_BACKING_SHARED), 20);
}
END_TEST

START_TEST(copied_pages_have_one_owner_whatever_fails)
{
	ck_assert_int_gt(fail_all(FERRY_BACKING_PRIVATE), 20);
}
END_TEST

/* --- without a userfaultfd -------------------------------------------------- */

START_TEST(without_a_userfaultfd_the_copy_comes_in_a_segment)
{
	struct inject_rule call = { .call = INJECT_USERFAULTFD,
				    .count = INJECT_ALWAYS,
				    .error = EPERM };
	struct inject_rule device = { .call = INJECT_OPEN,
				      .path = "/dev/userfaultfd",
				      .count = INJECT_ALWAYS,
				      .error = EACCES };
	struct ferry_arena *arena =
		bed_arena(FERRY_BACKING_PRIVATE, LEN, FIRST);
	struct ferry_arena *owner;

	inject_start();
	inject_add(&call);
	inject_add(&device);
	hand_over(arena, &owner);
	inject_stop();
	ck_assert_ptr_ne(owner, arena);
	ck_assert_int_eq(owner->backing, FERRY_BACKING_SHARED);
	ck_assert(bed_holds(owner, 0, LEN, FIRST));
	ferry_arena_destroy(owner);
	ferry_arena_destroy(arena);
}
END_TEST

static void count_up(void *arg)
{
	++*(int *)arg;
}

START_TEST(a_move_into_the_other_process_is_tried)
{
	int tried = 0;
	struct inject_rule move = { .call = INJECT_IOCTL,
				    .request = FERRY__UFFDIO_MOVE,
				    .done = INJECT_ALL,
				    .hook = count_up,
				    .arg = &tried };
	struct ferry_arena *arena =
		bed_arena(FERRY_BACKING_PRIVATE, LEN, FIRST);
	struct ferry_arena *owner;

	/* Here both sides are one address space, so it succeeds. */
	inject_start();
	inject_add(&move);
	hand_over(arena, &owner);
	inject_stop();
	ck_assert_int_eq(tried, 1);
	ck_assert_ptr_ne(owner, arena);
	ck_assert(bed_holds(owner, 0, LEN, FIRST));
	ferry_arena_destroy(owner);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(with_one_it_goes_where_it_stays)
{
	struct ferry_arena *arena =
		bed_arena(FERRY_BACKING_PRIVATE, LEN, FIRST);
	struct ferry_arena *owner;

	hand_over(arena, &owner);
	ck_assert_ptr_ne(owner, arena);
	ck_assert_int_eq(owner->backing, FERRY_BACKING_PRIVATE);
	/* No longer watched: what is dropped reads as zero. */
	ck_assert_int_eq(ferry_arena_decommit(owner, 0, LEN), 0);
	ck_assert_int_eq(ferry_arena_commit(owner, 0, LEN, false), 0);
	ck_assert_int_eq(*(char *)ferry_arena_base(owner), 0);
	ferry_arena_destroy(owner);
	ferry_arena_destroy(arena);
}
END_TEST

/* --- answers without an end -------------------------------------------------- */

static void answer_once_more(void *arg)
{
	struct ferry__wire wire = { .kind = FERRY__WIRE_ANSWER, .id = 1 };

	ferry__wire_send(*(int *)arg, &wire, NULL, 0, 0);
}

START_TEST(a_peer_that_never_stops_is_not_listened_to_forever)
{
	struct ferry_handover_accept_params a =
		FERRY_INIT(struct ferry_handover_accept_params);
	struct ferry_handover_params p =
		FERRY_INIT(struct ferry_handover_params);
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_arena *got = NULL;
	struct inject_rule rule = { .call = INJECT_RECVMSG,
				    .count = INJECT_ALWAYS,
				    .done = INJECT_ALL,
				    .hook = answer_once_more };
	int sock[2];

	bed_sockets(SOCK_STREAM, sock);
	rule.arg = &sock[1];
	p.timeout_ns = a.timeout_ns = 1000000;
	inject_start();
	/* Whenever the socket is read there is something in it. */
	inject_add(&rule);
	ck_assert_int_eq(ferry_handover_send(sock[0], arena, 0, LEN, &p, NULL),
			 -ETIMEDOUT);
	ck_assert_int_eq(ferry_handover_accept(sock[0], &a, NULL, &got),
			 -ETIMEDOUT);
	inject_stop();
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
	close(sock[0]);
	close(sock[1]);
}
END_TEST

/* --- messages in pieces, and signals ---------------------------------------- */

static void still_arrives(struct inject_rule rule)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct ferry_arena *owner;

	inject_start();
	inject_add(&rule);
	hand_over(arena, &owner);
	inject_stop();
	ck_assert_uint_gt(rule.hits, 0);
	ck_assert_ptr_ne(owner, arena);
	ck_assert(bed_holds(owner, 0, LEN, FIRST));
	ferry_arena_destroy(owner);
	ferry_arena_destroy(arena);
}

START_TEST(messages_may_come_in_pieces)
{
	still_arrives((struct inject_rule){
		.call = INJECT_SENDMSG, .count = INJECT_ALWAYS, .done = 7 });
	still_arrives((struct inject_rule){
		.call = INJECT_RECVMSG, .count = INJECT_ALWAYS, .done = 5 });
}
END_TEST

START_TEST(signals_end_no_wait)
{
	still_arrives((struct inject_rule){
		.call = INJECT_SENDMSG, .count = 3, .error = EINTR });
	still_arrives((struct inject_rule){
		.call = INJECT_RECVMSG, .count = 3, .error = EINTR });
	still_arrives((struct inject_rule){
		.call = INJECT_GETRANDOM, .count = 3, .error = EINTR });
}
END_TEST

START_TEST(a_socket_that_is_full_is_waited_for)
{
	still_arrives((struct inject_rule){
		.call = INJECT_SENDMSG, .count = 2, .error = EAGAIN });
}
END_TEST

START_TEST(page_tables_that_cannot_be_filled_are_no_failure)
{
	still_arrives(
		(struct inject_rule){ .call = INJECT_MADVISE,
				      .request = FERRY__MADV_POPULATE_READ,
				      .count = INJECT_ALWAYS,
				      .error = ENOMEM });
	/* Before 5.14. */
	still_arrives(
		(struct inject_rule){ .call = INJECT_MADVISE,
				      .request = FERRY__MADV_POPULATE_READ,
				      .count = INJECT_ALWAYS,
				      .error = EINVAL });
}
END_TEST

/* --- a segment that cannot be replaced at once ------------------------------ */

START_TEST(pages_given_away_stay_so_when_nothing_can_be_mapped)
{
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct inject_rule rule = { .call = INJECT_MMAP,
				    .at = (uintptr_t)ferry_arena_base(arena),
				    .count = INJECT_ALWAYS,
				    .error = ENOMEM };
	struct ferry_arena *owner;

	inject_start();
	inject_add(&rule);
	hand_over(arena, &owner);
	ck_assert_ptr_ne(owner, arena);
	ck_assert_uint_gt(rule.hits, 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, LEN, false), -ENOMEM);
	ck_assert(bed_absent(arena, 0, LEN));
	inject_stop();
	ck_assert_int_eq(ferry_arena_commit(arena, 0, LEN, false), 0);
	ck_assert_int_eq(*(char *)ferry_arena_base(arena), 0);
	memset(ferry_arena_base(arena), 1, LEN);
	ck_assert(bed_holds(owner, 0, LEN, FIRST));
	ferry_arena_destroy(owner);
	ferry_arena_destroy(arena);
}
END_TEST

static const struct test tests[] = {
	TEST(shared_pages_have_one_owner_whatever_fails, NULL),
	TEST(copied_pages_have_one_owner_whatever_fails, NULL),
	TEST(without_a_userfaultfd_the_copy_comes_in_a_segment, NULL),
	TEST(a_move_into_the_other_process_is_tried, "userfaultfd,move"),
	TEST(with_one_it_goes_where_it_stays, "userfaultfd"),
	TEST(a_peer_that_never_stops_is_not_listened_to_forever, NULL),
	TEST(messages_may_come_in_pieces, NULL),
	TEST(signals_end_no_wait, NULL),
	TEST(a_socket_that_is_full_is_waited_for, NULL),
	TEST(page_tables_that_cannot_be_filled_are_no_failure, NULL),
	TEST(pages_given_away_stay_so_when_nothing_can_be_mapped, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
