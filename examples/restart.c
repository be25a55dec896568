/* SPDX-License-Identifier: MIT */
/*
 * A process restarts into a new version of itself by exec(2), under the same
 * process number, and keeps its data: records in an arena, linked by
 * pointers. It offers the arena to itself over a socket pair that survives the
 * exec, and the new version takes it from there.
 *
 * The segment may come to lie elsewhere, so pointers are corrected by how far
 * it moved. Who has structures that cannot be corrected sets keep_address in
 * the parameters of the receiver; as something can lie there already, the old
 * version should then live on until the new one, its child, has taken over.
 */
#include <ferry/ferry.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LEN	 ((size_t)32 << 20)
#define EACH	 10000 /* records that a version adds */
#define VERSIONS 3

struct record {
	struct record *next;
	uint64_t id;
};

/* The first thing in the arena: where all else is found. */
struct root {
	struct record *newest;
	uint64_t n;
	pid_t pid; /* of the first version */
};

static struct ferry_arena *arena;
static struct root *root;

static void add_records(void)
{
	struct record *records = (struct record *)(root + 1);
	int i;

	for (i = 0; i < EACH; i++) {
		struct record *r = &records[root->n];

		r->id = root->n++;
		r->next = root->newest;
		root->newest = r;
	}
}

/* Follows the pointers; whether everything is there. */
static int all_there(void)
{
	const struct record *r;
	uint64_t n = root->n;

	for (r = root->newest; r; r = r->next)
		if (r->id != --n)
			return 0;
	return n == 0;
}

static struct record *moved(struct record *r, ptrdiff_t by)
{
	return r ? (struct record *)((char *)r + by) : NULL;
}

static void correct_pointers(ptrdiff_t by)
{
	struct record *r;

	root->newest = moved(root->newest, by);
	for (r = root->newest; r; r = r->next)
		r->next = moved(r->next, by);
}

static int begin(void)
{
	struct ferry_arena_params params =
		FERRY_INIT(struct ferry_arena_params);
	int r;

	params.reserve = LEN;
	params.backing = FERRY_BACKING_SHARED;
	r = ferry_arena_create(&params, &arena);
	if (r == 0)
		r = ferry_arena_commit(arena, 0, LEN, false);
	if (r < 0)
		return r;
	root = ferry_arena_base(arena);
	root->pid = getpid();
	return 0;
}

/* What the version before has left in @sock. */
static int take_over(int sock)
{
	struct ferry_handover_result got =
		FERRY_INIT(struct ferry_handover_result);
	int r = ferry_handover_accept(sock, NULL, &got, &arena);

	if (r < 0)
		return r;
	root = (struct root *)((char *)ferry_arena_base(arena) + got.offset);
	correct_pointers((char *)root - (char *)got.address);
	printf("taken over: %zu bytes, way \"%s\"\n", got.len,
	       ferry_handover_way_name(got.way));
	close(sock);
	return 0;
}

/* Returns only if that was not possible; the data is still ours then. */
static int become(int version)
{
	struct ferry_handover *offer;
	char number[16], fd[16];
	int sock[2], r;

	/* The offer waits in the socket while the program is exchanged. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) < 0 ||
	    fcntl(sock[1], F_SETFD, 0) < 0)
		return -1;
	r = ferry_handover_offer(sock[0], arena, 0, LEN, NULL, &offer);
	if (r == 0) {
		snprintf(number, sizeof(number), "%d", version);
		snprintf(fd, sizeof(fd), "%d", sock[1]);
		fflush(stdout);
		execl("/proc/self/exe", "restart", number, fd, (char *)NULL);
		ferry_handover_withdraw(offer);
	}
	close(sock[0]);
	close(sock[1]);
	return -1;
}

int main(int argc, char **argv)
{
	int version = argc == 3 ? atoi(argv[1]) : 1;
	int r = argc == 3 ? take_over(atoi(argv[2])) : begin();

	if (r < 0) {
		printf("version %d has no arena: %s\n", version, strerror(-r));
		return r == -EOPNOTSUPP ? 77 : 1;
	}
	add_records();
	printf("version %d, %s process: %llu records, %s\n", version,
	       root->pid == getpid() ? "the same" : "another",
	       (unsigned long long)root->n,
	       all_there() ? "all there" : "not all there");
	if (!all_there() || root->pid != getpid())
		return 1;
	if (version < VERSIONS)
		return become(version + 1) < 0;
	ferry_arena_destroy(arena);
	return 0;
}
