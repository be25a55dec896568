/* SPDX-License-Identifier: MIT */
/*
 * Two processes and a socket, for tests of hand-over: the peer is a child,
 * which asserts nothing but ends with the line that it was unhappy about.
 *
 * Each function asserts its own success, in the test's process.
 */
#ifndef FERRY_TESTS_HANDOVER_BED_H
#define FERRY_TESTS_HANDOVER_BED_H

#include <ferry/handover.h>
#include <sys/types.h>

#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/system.h"

#define MIB ((size_t)1 << 20)

/* In the peer: leaves its function when @cond does not hold. */
#define EXPECT(cond)                                                           \
	do {                                                                   \
		if (!(cond))                                                   \
			return __LINE__;                                       \
	} while (0)

/* What a peer does; 0, or the line of EXPECT(). */
typedef int (*bed_fn)(int sock, void *arg);

/* A pair of connected sockets of SOCK_STREAM or SOCK_SEQPACKET. */
void bed_sockets(int type, int ret[2]);

/* The peer at the end sock[1]; this process keeps sock[0]. */
pid_t bed_peer(int sock[2], bed_fn fn, void *arg);

/* Waits for it; it must have been happy (or, killed, have met SIGKILL). */
void bed_join(pid_t pid);
bool bed_join_killed(pid_t pid);

/* Memory that peers and the test share, zeroed. */
void *bed_shared(size_t len);

/* An arena of @len bytes, all committed; its pages are filled from
 * @number on. */
struct ferry_arena *bed_arena(enum ferry_backing backing, size_t len,
			      uint64_t number);

/* Is all of the range LIVE, with the contents of bed_arena()? */
bool bed_holds(struct ferry_arena *arena, size_t offset, size_t len,
	       uint64_t number);

/* Is all of it ABSENT? */
bool bed_absent(struct ferry_arena *arena, size_t offset, size_t len);

/*
 * Pages of 2 MiB in hugetlbfs's pool, while @hold lasts. Returns false, with
 * the reason in it, when there is none to be had.
 */
bool bed_hold_pool(struct system_hold *hold);

/* What this process has open and mapped, as far as hand-overs go. */
struct bed_state {
	size_t fds;
	size_t segments; /* mappings of memfds */
};

struct bed_state bed_state(void);

/* Nothing is open or mapped that was not there before. */
void bed_assert_no_leak(struct bed_state before);

#endif
