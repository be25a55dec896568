/* SPDX-License-Identifier: MIT */
/* policy.h: what the files of ferry-bench policy share. */
#ifndef FERRY_BENCH_POLICY_H
#define FERRY_BENCH_POLICY_H

#include <ferry/ferry.h>

#include "bench.h"
#include "uffd/node_apply.h"

/* --- the agent of this program (policy_client.c) --------------------------- */

/* It, in a folder of its own, and a connection to it. */
struct policy_agent {
	char dir[32];
	int fd;
	char *reply; /* as many bytes as the last one had */
	size_t room;
};

/* Returns 0 or a negative errno; then nothing is left. */
int policy_agent_start(struct policy_agent *agent);
void policy_agent_stop(struct policy_agent *agent);

/*
 * Asks and waits: .size, .length and .ranges_len are filled in. Returns 0, a
 * negative errno of the connection or of the agent's, or -EIO when an item of
 * the reply has an error.
 */
int policy_agent_ask(struct policy_agent *agent, struct ferry_agent_request req,
		     const struct ferry_agent_range *ranges, size_t n,
		     const uint64_t *mask);

/* --- ranges (policy_work.c) ------------------------------------------------- */

/* @n ranges of one page each, with a page between them, in an arena. */
struct policy_bed {
	struct policy_agent *agent; /* NULL: cannot be had */
	struct ferry_arena *arena;
	size_t n;
	struct ferry_agent_range *range;
	struct ferry__span *span; /* the same, as the engine takes them */
	struct ferry__node_result *result;
	void **page;
	int *nodes, *status;
	int node; /* that they are to be on */
	uint64_t mask;
};

/* Ends the program when there is no memory. Returns 0 or a negative errno. */
int policy_bed_init(struct policy_bed *bed, size_t n, int node);
void policy_bed_fini(struct policy_bed *bed);

enum policy_way {
	POLICY_MBIND,	 /* mbind(2), range by range */
	POLICY_INSIDE,	 /* the engine behind the agent, called */
	POLICY_ARENA,	 /* ferry_arena_set_node(), range by range */
	POLICY_VECTOR,	 /* one request to the agent */
	POLICY_REQUESTS, /* a request for each range */
	POLICY_MOVE,	 /* move_pages(2) of all at once */
	POLICY_WAYS
};

extern const char *const policy_way_names[POLICY_WAYS]; /* of results */
extern const char *const policy_way_texts[POLICY_WAYS];

struct policy_way_arg {
	struct policy_bed *bed;
	enum policy_way way;
};

/* For a bench_case: ns for each range. */
int policy_way_run(void *arg, double *ret_v);

/* --- physical addresses (policy_phys.c), rest (policy_idle.c) --------------- */

void policy_phys(struct bench *b, struct policy_bed *bed);
void policy_inversion(struct bench *b);
void policy_idle(struct bench *b, uint64_t seconds);

/* Records @t with @name and @text, and frees neither. */
void policy_target(struct bench *b, const char *name, const char *text,
		   enum bench_sense sense, double limit, const char *unit,
		   const struct bench_stat *got);

#endif
