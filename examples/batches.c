/* SPDX-License-Identifier: MIT */
/*
 * A process that produces batches of numbers hands each, when it is finished,
 * to another process that consumes them. What is in a shared arena changes
 * hands without a byte being copied; the last batch lies in a private arena,
 * and the same call copies it.
 */
#include <ferry/ferry.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN	((size_t)16 << 20)
#define NUMBERS (LEN / sizeof(uint64_t))
#define BATCHES 4

static uint64_t number(uint64_t batch, uint64_t i)
{
	return (batch + 1) * i;
}

/* --- the producer --------------------------------------------------------- */

static int produce(int sock, struct ferry_arena *arena, uint64_t batch)
{
	struct ferry_handover_params params =
		FERRY_INIT(struct ferry_handover_params);
	uint64_t *numbers = ferry_arena_base(arena);
	uint64_t i;
	int r;

	/* After a hand-over nothing is there: the pages are another's. */
	r = ferry_arena_commit(arena, 0, LEN, false);
	if (r < 0)
		return r;
	for (i = 0; i < NUMBERS; i++)
		numbers[i] = number(batch, i);
	params.tag = batch; /* what the consumer is to know of it */
	/* When this fails the batch is still here, and ours. */
	return ferry_handover_send(sock, arena, 0, LEN, &params, NULL);
}

static struct ferry_arena *make_arena(enum ferry_backing backing)
{
	struct ferry_arena_params params =
		FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *arena;
	int r;

	params.reserve = LEN;
	params.backing = backing;
	r = ferry_arena_create(&params, &arena);
	if (r == 0)
		return arena;
	printf("SKIP batches: no arena: %s\n", strerror(-r));
	exit(77);
}

/* Returns the exit status of the process. */
static int producer(int sock)
{
	struct ferry_arena *shared = make_arena(FERRY_BACKING_SHARED);
	struct ferry_arena *private = make_arena(FERRY_BACKING_PRIVATE);
	uint64_t batch;
	int r = 0;

	for (batch = 0; batch < BATCHES && !r; batch++)
		r = produce(sock, batch == BATCHES - 1 ? private : shared,
			    batch);
	if (r < 0)
		fprintf(stderr, "batch not sent: %s\n", strerror(-r));
	ferry_arena_destroy(shared);
	ferry_arena_destroy(private);
	return r < 0;
}

/* --- the consumer --------------------------------------------------------- */

/* Looks at a batch before it is taken. */
static int judge(void *arg, const struct ferry_handover_result *offer)
{
	(void)arg;
	return offer->len == LEN && offer->tag < BATCHES ? 0 : -EINVAL;
}

static uint64_t sum(const uint64_t *numbers)
{
	uint64_t i, s = 0;

	for (i = 0; i < NUMBERS; i++)
		s += numbers[i];
	return s;
}

/* Returns 1 when the batch was right, 0 when not, or a negative errno. */
static int consume(int sock)
{
	struct ferry_handover_accept_params params =
		FERRY_INIT(struct ferry_handover_accept_params);
	struct ferry_handover_result got =
		FERRY_INIT(struct ferry_handover_result);
	struct ferry_arena *arena;
	uint64_t s, wanted;
	int r;

	params.judge = judge;
	r = ferry_handover_accept(sock, &params, &got, &arena);
	if (r < 0)
		return r;
	/* The arena is ours now, to write to, to hand on or to destroy. */
	s = sum((uint64_t *)((char *)ferry_arena_base(arena) + got.offset));
	wanted = (got.tag + 1) * (NUMBERS * (NUMBERS - 1) / 2);
	printf("batch %llu: %zu bytes, way \"%s\", sum %llu: %s\n",
	       (unsigned long long)got.tag, got.len,
	       ferry_handover_way_name(got.way), (unsigned long long)s,
	       s == wanted ? "right" : "wrong");
	ferry_arena_destroy(arena);
	return s == wanted;
}

int main(void)
{
	int sock[2], status = 0, right = 0, r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) < 0)
		return 1;
	pid = fork();
	if (pid == 0) {
		close(sock[0]);
		exit(producer(sock[1]));
	}
	close(sock[1]);
	/* Ends when the producer has hung up, whatever became of it. */
	while ((r = consume(sock[0])) >= 0)
		right += r;
	close(sock[0]);
	waitpid(pid, &status, 0);
	printf("%d of %d batches were right\n", right, BATCHES);
	if (status)
		return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
	return right != BATCHES;
}
