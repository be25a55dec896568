/* SPDX-License-Identifier: MIT */
/*
 * Either side killed at every system call that it makes: the pages have one
 * owner, or the survivor is told, and the survivor has leaked nothing.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/handover_bed.h"
#include "tests/inject.h"
#include "uffd/sys.h"

#define LEN   (2 * MIB)
#define FIRST 5

/* Every kind of call that a hand-over makes. */
static const enum inject_call kinds[] = {
	INJECT_SENDMSG,	   INJECT_RECVMSG,     INJECT_POLL,
	INJECT_CLOSE,	   INJECT_FCNTL,       INJECT_FTRUNCATE,
	INJECT_MMAP,	   INJECT_MUNMAP,      INJECT_MADVISE,
	INJECT_FSTAT,	   INJECT_PWRITEV,     INJECT_FALLOCATE,
	INJECT_GETSOCKOPT, INJECT_GETRANDOM,   INJECT_MEMFD_CREATE,
	INJECT_OPEN,	   INJECT_USERFAULTFD, INJECT_IOCTL,
};

/* What the victim does, and what it has told before it died. */
struct victim {
	enum inject_call kind;
	uint64_t nth;
	enum ferry_backing backing;
	/* Messages that it began to send. */
	unsigned int spoke;
};

static void die(void *arg)
{
	(void)arg;
	kill(getpid(), SIGKILL);
}

static void note(void *arg)
{
	__atomic_fetch_add((unsigned int *)arg, 1, __ATOMIC_RELEASE);
}

static void die_speaking(void *arg)
{
	note(arg);
	die(NULL);
}

/* The rules live as long as the process. */
static void arm(struct victim *v)
{
	static struct inject_rule speaking, last;
	bool sending = v->kind == INJECT_SENDMSG;

	speaking = (struct inject_rule){ .call = INJECT_SENDMSG,
					 .count = INJECT_ALWAYS,
					 .done = INJECT_ALL,
					 .hook = note,
					 .arg = &v->spoke };
	last = (struct inject_rule){ .call = v->kind,
				     .nth = v->nth,
				     .done = INJECT_ALL,
				     .hook = sending ? die_speaking : die,
				     .arg = &v->spoke };
	inject_start();
	inject_add(&speaking);
	inject_add(&last);
}

/* A copy takes two messages of either side, pages that go whole one. */
static bool has_said_all(const struct victim *v, unsigned int unsent)
{
	unsigned int all = v->backing == FERRY_BACKING_PRIVATE ? 2 : 1;

	return __atomic_load_n(&v->spoke, __ATOMIC_ACQUIRE) - unsent >= all;
}

/* --- the receiver dies ---------------------------------------------------- */

static int receive_and_die(int sock, void *arg)
{
	struct ferry_arena *arena = NULL;

	arm(arg);
	EXPECT(ferry_handover_accept(sock, NULL, NULL, &arena) == 0);
	EXPECT(bed_holds(arena, 0, LEN, FIRST));
	return 0;
}

/* Returns whether it died. */
static bool receiver_dies(struct victim *v, struct ferry_arena *arena)
{
	struct ferry_handover_result result =
		FERRY_INIT(struct ferry_handover_result);
	int sock[2], r;
	bool killed;
	pid_t pid;

	v->spoke = 0;
	bed_sockets(SOCK_STREAM, sock);
	pid = bed_peer(sock, receive_and_die, v);
	r = ferry_handover_send(sock[0], arena, 0, LEN, NULL, &result);
	killed = bed_join_killed(pid);
	close(sock[0]);
	/* It owns from just before it answers. */
	if (has_said_all(v, 0)) {
		ck_assert_int_eq(r, 0);
		ck_assert(bed_absent(arena, 0, LEN));
		ck_assert_int_eq(ferry_arena_commit(arena, 0, LEN, false), 0);
		fill_pages(ferry_arena_base(arena), LEN, FIRST);
	} else {
		ck_assert(killed);
		ck_assert_int_eq(r, -EPIPE);
		ck_assert_int_eq(result.way, FERRY_HANDOVER_NONE);
	}
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	return killed;
}

static void kill_receiver(enum ferry_backing backing)
{
	struct victim *v = bed_shared(sizeof(*v));
	struct ferry_arena *arena = bed_arena(backing, LEN, FIRST);
	size_t i, deaths = 0;
	struct bed_state before;

	v->backing = backing;
	before = bed_state();
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		v->kind = kinds[i];
		for (v->nth = 1; receiver_dies(v, arena); v->nth++)
			deaths++;
		bed_assert_no_leak(before);
	}
	ck_assert_uint_gt(deaths, 10);
	ferry_arena_destroy(arena);
}

START_TEST(a_receiver_of_shared_pages_dies_anywhere)
{
	kill_receiver(FERRY_BACKING_SHARED);
}
END_TEST

START_TEST(a_receiver_of_copied_pages_dies_anywhere)
{
	kill_receiver(FERRY_BACKING_PRIVATE);
}
END_TEST

/* --- the sender dies ------------------------------------------------------ */

static int send_and_die(int sock, void *arg)
{
	struct victim *v = arg;
	struct ferry_arena *arena = bed_arena(v->backing, LEN, FIRST);

	arm(v);
	EXPECT(ferry_handover_send(sock, arena, 0, LEN, NULL, NULL) == 0);
	return 0;
}

static bool sender_dies(struct victim *v)
{
	struct ferry_arena *arena = NULL;
	int sock[2], r;
	bool killed;
	pid_t pid;

	v->spoke = 0;
	bed_sockets(SOCK_STREAM, sock);
	pid = bed_peer(sock, send_and_die, v);
	r = ferry_handover_accept(sock[0], NULL, NULL, &arena);
	killed = bed_join_killed(pid);
	close(sock[0]);
	/* Dead before its last message, or while it sent that. */
	if (!has_said_all(v, killed && v->kind == INJECT_SENDMSG)) {
		ck_assert(killed);
		ck_assert_int_eq(r, -EPIPE);
		ck_assert_ptr_null(arena);
		return true;
	}
	ck_assert_int_eq(r, 0);
	ck_assert(bed_holds(arena, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
	return killed;
}

static void kill_sender(enum ferry_backing backing)
{
	struct victim *v = bed_shared(sizeof(*v));
	size_t i, deaths = 0;
	struct bed_state before;

	v->backing = backing;
	before = bed_state();
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		v->kind = kinds[i];
		for (v->nth = 1; sender_dies(v); v->nth++)
			deaths++;
		bed_assert_no_leak(before);
	}
	ck_assert_uint_gt(deaths, 10);
}

START_TEST(a_sender_of_shared_pages_dies_anywhere)
{
	kill_sender(FERRY_BACKING_SHARED);
}
END_TEST

START_TEST(a_sender_of_copied_pages_dies_anywhere)
{
	kill_sender(FERRY_BACKING_PRIVATE);
}
END_TEST

/* --- both at the same moment ---------------------------------------------- */

/* Withdraws while the other side takes: one of them owns. */
static int take_or_not(int sock, void *arg)
{
	struct ferry_arena *arena = NULL;
	bool *took = arg;
	int r = ferry_handover_accept(sock, NULL, NULL, &arena);

	EXPECT(r == 0 || r == -ECANCELED);
	*took = r == 0;
	if (*took)
		EXPECT(bed_holds(arena, 0, LEN, FIRST));
	ferry_arena_destroy(arena);
	return 0;
}

START_TEST(taking_and_withdrawing_never_both_succeed)
{
	size_t i, n = harness_scaled(200), taken = 0;
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, LEN, FIRST);
	struct random random = harness_random();
	bool *took = bed_shared(page_size());
	struct ferry_handover *h;
	int sock[2], r;
	pid_t pid;

	for (i = 0; i < n; i++) {
		bed_sockets(SOCK_SEQPACKET, sock);
		pid = bed_peer(sock, take_or_not, took);
		ck_assert_int_eq(
			ferry_handover_offer(sock[0], arena, 0, LEN, NULL, &h),
			0);
		ferry__sys->sleep_ns(random_below(&random, 1000000));
		r = ferry_handover_withdraw(h);
		bed_join(pid);
		close(sock[0]);
		ck_assert_int_eq(r, *took ? -EALREADY : 0);
		if (*took) {
			taken++;
			ck_assert(bed_absent(arena, 0, LEN));
			ck_assert_int_eq(
				ferry_arena_commit(arena, 0, LEN, false), 0);
			fill_pages(ferry_arena_base(arena), LEN, FIRST);
		}
		ck_assert(bed_holds(arena, 0, LEN, FIRST));
	}
	printf("# %zu of %zu were taken\n", taken, n);
	ferry_arena_destroy(arena);
}
END_TEST

static const struct test tests[] = {
	TEST(a_receiver_of_shared_pages_dies_anywhere, NULL),
	TEST(a_receiver_of_copied_pages_dies_anywhere, NULL),
	TEST(a_sender_of_shared_pages_dies_anywhere, NULL),
	TEST(a_sender_of_copied_pages_dies_anywhere, NULL),
	TEST(taking_and_withdrawing_never_both_succeed, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
