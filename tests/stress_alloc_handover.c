/* SPDX-License-Identifier: MIT */
/*
 * Batches of pages wander through a chain of processes, each of which checks
 * and changes every page; offers are withdrawn at random and made again. At
 * the end each batch has come through once. Then receivers that are killed at
 * random moments.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/handover_bed.h"

#define PROCESSES 3
#define BATCHES	  48

/* Word 0 of each page of batch @tag after @hops processes. */
static uint64_t stamp_of(uint64_t tag, uint64_t hops, size_t page)
{
	return page_word(tag * 1000 + hops, page);
}

static void stamp(struct ferry_arena *arena, size_t offset, size_t len,
		  uint64_t tag, uint64_t hops)
{
	char *base = (char *)ferry_arena_base(arena) + offset;
	size_t i;

	for (i = 0; i < len / page_size(); i++)
		*(uint64_t *)(base + i * page_size()) = stamp_of(tag, hops, i);
}

static bool is_stamped(struct ferry_arena *arena, size_t offset, size_t len,
		       uint64_t tag, uint64_t hops)
{
	const char *base = (char *)ferry_arena_base(arena) + offset;
	size_t i;

	for (i = 0; i < len / page_size(); i++)
		if (*(uint64_t *)(base + i * page_size()) !=
		    stamp_of(tag, hops, i))
			return false;
	return true;
}

/* Offers until it is gone: withdrawing now and then. */
static int pass_on(struct random *rng, int sock, struct ferry_arena *arena,
		   size_t offset, size_t len, uint64_t tag)
{
	struct ferry_handover_params p =
		FERRY_INIT(struct ferry_handover_params);
	struct ferry_handover *h;
	int r;

	p.tag = tag;
	/* However slow the machine is. */
	p.timeout_ns = UINT64_MAX;
	do {
		r = ferry_handover_offer(sock, arena, offset, len, &p, &h);
		if (r < 0)
			return r;
		if (random_below(rng, 4))
			return ferry_handover_await(h, NULL);
	} while (ferry_handover_withdraw(h) != -EALREADY);
	return 0;
}

/* --- the chain ------------------------------------------------------------ */

struct link {
	int in, out;
	uint64_t hops; /* that a batch has behind it when it comes */
	struct random rng;
	size_t seen;
	int line;
};

#define FAIL_AT(link)                                                          \
	do {                                                                   \
		(link)->line = __LINE__;                                       \
		return NULL;                                                   \
	} while (0)

static bool lazily(struct random *rng, struct ferry_handover_accept_params *ret)
{
	ret->size = sizeof(*ret);
	ret->timeout_ns = UINT64_MAX;
	ret->lazy = random_below(rng, 2);
	return ret->lazy;
}

/* The next batch; NULL with .line 0: there are no more. */
static struct ferry_arena *next_batch(struct link *link,
				      struct ferry_handover_result *ret)
{
	struct ferry_handover_accept_params p = { 0 };
	struct ferry_arena *arena = NULL;
	bool lazy;
	int r;

	do {
		lazy = lazily(&link->rng, &p);
		*ret = (struct ferry_handover_result)FERRY_INIT(
			struct ferry_handover_result);
		r = ferry_handover_accept(link->in, &p, ret, &arena);
	} while (r == -ECANCELED);
	if (r == -EPIPE)
		return NULL;
	if (r < 0)
		FAIL_AT(link);
	if (lazy && random_below(&link->rng, 2) &&
	    ferry_handover_finish(arena) < 0)
		FAIL_AT(link);
	if (!is_stamped(arena, ret->offset, ret->len, ret->tag, link->hops))
		FAIL_AT(link);
	link->seen++;
	return arena;
}

static int be_link(struct link *link)
{
	struct ferry_handover_result r;
	struct ferry_arena *arena;

	while ((arena = next_batch(link, &r))) {
		stamp(arena, r.offset, r.len, r.tag, link->hops + 1);
		EXPECT(pass_on(&link->rng, link->out, arena, r.offset, r.len,
			       r.tag) == 0);
		ferry_arena_destroy(arena);
	}
	return link->line;
}

static void *be_last(void *arg)
{
	struct ferry_handover_result r;
	struct link *link = arg;
	struct ferry_arena *arena;

	while ((arena = next_batch(link, &r)))
		ferry_arena_destroy(arena);
	return NULL;
}

/* A batch of any size and backing; part of its arena, or all of it. */
static void send_batch(struct random *rng, int sock, uint64_t tag)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	size_t pages = 1 + random_below(rng, 700), first;
	size_t len = pages * page_size();
	struct ferry_arena *arena = NULL;

	first = random_below(rng, 600) * page_size();
	p.reserve = first + len;
	p.backing = random_below(rng, 3) ? FERRY_BACKING_SHARED
					 : FERRY_BACKING_PRIVATE;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, first, len, false), 0);
	/* A page more, and it is but a part. */
	if (first && random_below(rng, 4) == 0)
		ck_assert_int_eq(
			ferry_arena_commit(arena, 0, page_size(), false), 0);
	stamp(arena, first, len, tag, 0);
	ck_assert_int_eq(pass_on(rng, sock, arena, first, len, tag), 0);
	ferry_arena_destroy(arena);
}

/* The sockets between one process and the next: [0] to write, [1] to read. */
struct chain {
	int pair[PROCESSES + 1][2];
	struct link link[PROCESSES + 1];
	pid_t pid[PROCESSES];
};

static void make_chain(struct chain *c, struct random *rng)
{
	size_t i;

	for (i = 0; i <= PROCESSES; i++)
		bed_sockets(random_below(rng, 2) ? SOCK_STREAM : SOCK_SEQPACKET,
			    c->pair[i]);
	for (i = 0; i <= PROCESSES; i++)
		c->link[i] = (struct link){
			.in = c->pair[i][1],
			.out = i < PROCESSES ? c->pair[i + 1][0] : -1,
			.hops = i,
			.rng = random_seeded(random_next(rng)),
		};
}

/* Only its own ends are open in a process, or nobody would ever hang up. */
static void keep_ends(const struct chain *c, int in, int out)
{
	size_t i;

	for (i = 0; i <= PROCESSES; i++) {
		if (c->pair[i][1] != in)
			close(c->pair[i][1]);
		if (c->pair[i][0] != out)
			close(c->pair[i][0]);
	}
}

static void start_link(struct chain *c, size_t i)
{
	fflush(stdout);
	c->pid[i] = fork();
	ck_assert_int_ge(c->pid[i], 0);
	if (c->pid[i])
		return;
	keep_ends(c, c->link[i].in, c->link[i].out);
	_exit(be_link(&c->link[i]) != 0);
}

START_TEST(every_batch_comes_through_once)
{
	size_t i, n = harness_scaled(BATCHES);
	struct random rng = harness_random();
	struct bed_state before;
	struct chain c = { 0 };
	struct link *last = &c.link[PROCESSES];
	pthread_t thread;
	int first;

	before = bed_state();
	make_chain(&c, &rng);
	first = c.pair[0][0];
	for (i = 0; i < PROCESSES; i++)
		start_link(&c, i);
	keep_ends(&c, last->in, first);
	ck_assert_int_eq(pthread_create(&thread, NULL, be_last, last), 0);
	for (i = 0; i < n; i++)
		send_batch(&rng, first, i);
	close(first);
	for (i = 0; i < PROCESSES; i++)
		bed_join(c.pid[i]);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(last->line, 0);
	ck_assert_uint_eq(last->seen, n);
	close(last->in);
	bed_assert_no_leak(before);
}
END_TEST

/* --- killed at any moment -------------------------------------------------- */

struct fate {
	bool owned; /* it has seen the pages */
};

static int take_and_wait(int sock, void *arg)
{
	struct fate *fate = arg;
	struct ferry_arena *arena = NULL;

	EXPECT(ferry_handover_accept(sock, NULL, NULL, &arena) == 0);
	__atomic_store_n(&fate->owned, true, __ATOMIC_RELEASE);
	for (;;)
		pause();
	return 0;
}

START_TEST(a_receiver_killed_at_any_moment_has_the_pages_or_not)
{
	size_t i, n = harness_scaled(100), given = 0;
	struct ferry_arena *arena = bed_arena(FERRY_BACKING_SHARED, 2 * MIB, 1);
	struct fate *fate = bed_shared(sizeof(*fate));
	struct random rng = harness_random();
	struct bed_state before;
	int sock[2], r;
	pid_t pid;

	before = bed_state();
	for (i = 0; i < n; i++) {
		struct ferry_handover *h = NULL;
		struct timespec moment = { .tv_nsec = (long)random_below(
						   &rng, 2000000) };

		fate->owned = false;
		bed_sockets(SOCK_STREAM, sock);
		pid = bed_peer(sock, take_and_wait, fate);
		ck_assert_int_eq(ferry_handover_offer(sock[0], arena, 0,
						      2 * MIB, NULL, &h),
				 0);
		nanosleep(&moment, NULL);
		kill(pid, SIGKILL);
		r = ferry_handover_await(h, NULL);
		ck_assert(bed_join_killed(pid));
		close(sock[0]);
		ck_assert(r == 0 || r == -EPIPE);
		/* Who has seen them has had them. */
		ck_assert(r == 0 || !fate->owned);
		if (r == 0) {
			given++;
			ck_assert(bed_absent(arena, 0, 2 * MIB));
			ck_assert_int_eq(
				ferry_arena_commit(arena, 0, 2 * MIB, false),
				0);
			fill_pages(ferry_arena_base(arena), 2 * MIB, 1);
		}
		ck_assert(bed_holds(arena, 0, 2 * MIB, 1));
		bed_assert_no_leak(before);
	}
	printf("# %zu of %zu had been taken\n", given, n);
	ferry_arena_destroy(arena);
}
END_TEST

static const struct test tests[] = {
	TEST(every_batch_comes_through_once, NULL),
	TEST(a_receiver_killed_at_any_moment_has_the_pages_or_not, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
