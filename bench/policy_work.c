/* SPDX-License-Identifier: MIT */
/* policy_work.c: one policy for each of many ranges, in several ways. */
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "policy.h"

#define HUGE_SIZE ((size_t)2 << 20)

const char *const policy_way_names[POLICY_WAYS] = {
	[POLICY_MBIND] = "mbind",	[POLICY_INSIDE] = "inside",
	[POLICY_ARENA] = "arena",	[POLICY_VECTOR] = "vector",
	[POLICY_REQUESTS] = "requests", [POLICY_MOVE] = "move_pages",
};

const char *const policy_way_texts[POLICY_WAYS] = {
	[POLICY_MBIND] = "mbind(2), a call for each",
	[POLICY_INSIDE] = "inside: one call of the engine",
	[POLICY_ARENA] = "ferry_arena_set_node(), a call for each",
	[POLICY_VECTOR] = "agent: one request",
	[POLICY_REQUESTS] = "agent: a request for each",
	[POLICY_MOVE] = "move_pages(2), one call",
};

/* --- the ranges ----------------------------------------------------------- */

static void lay_out(struct policy_bed *bed)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *base = ferry_arena_base(bed->arena);

	for (size_t i = 0; i < bed->n; i++) {
		bed->page[i] = base + 2 * i * page;
		bed->nodes[i] = bed->node;
		bed->range[i].addr = (uintptr_t)bed->page[i];
		bed->range[i].len = page;
		bed->span[i].addr = (uintptr_t)bed->page[i];
		bed->span[i].len = page;
		memset(bed->page[i], 1, page);
	}
}

int policy_bed_init(struct policy_bed *bed, size_t n, int node)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	size_t len = 2 * n * (size_t)sysconf(_SC_PAGESIZE);
	int rc;

	*bed = (struct policy_bed){ .n = n, .node = node };
	p.reserve = (len + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1);
	p.thp = FERRY_THP_NEVER;
	p.pieces_max = (unsigned int)(2 * n + 8);
	rc = ferry_arena_create(&p, &bed->arena);
	if (rc < 0)
		return rc;
	rc = ferry_arena_commit(bed->arena, 0, len, true);
	if (rc < 0) {
		ferry_arena_destroy(bed->arena);
		return rc;
	}
	bed->mask = (uint64_t)1 << node;
	bed->range = bench_alloc(n * sizeof(*bed->range));
	bed->span = bench_alloc(n * sizeof(*bed->span));
	bed->result = bench_alloc(n * sizeof(*bed->result));
	bed->page = bench_alloc(n * sizeof(*bed->page));
	bed->nodes = bench_alloc(n * sizeof(*bed->nodes));
	bed->status = bench_alloc(n * sizeof(*bed->status));
	lay_out(bed);
	return 0;
}

void policy_bed_fini(struct policy_bed *bed)
{
	ferry_arena_destroy(bed->arena);
	free(bed->range);
	free(bed->span);
	free(bed->result);
	free(bed->page);
	free(bed->nodes);
	free(bed->status);
}

/* --- the ways ------------------------------------------------------------- */

static int by_mbind(struct policy_bed *bed)
{
	unsigned long mask = bed->mask;

	for (size_t i = 0; i < bed->n; i++)
		if (syscall(SYS_mbind, bed->page[i], bed->range[i].len,
			    MPOL_BIND, &mask, 64ul, 0))
			return -errno;
	return 0;
}

static int inside(struct policy_bed *bed)
{
	unsigned long mask = bed->mask;
	struct ferry__node_policy policy = {
		.mode = FERRY__NODE_BIND,
		.nodes = &mask,
		.nodes_len = 64,
		.home_node = FERRY__NODE_NONE,
	};
	long failed = ferry__node_apply_spans(bed->span, bed->n, &policy,
					      bed->result);

	return failed > 0 ? -EIO : (int)failed;
}

static int by_arena(struct policy_bed *bed)
{
	unsigned long mask = bed->mask;
	struct ferry_node_policy policy = {
		.mode = FERRY_NODE_BIND,
		.nodes = &mask,
		.nodes_len = 64,
	};
	char *base = ferry_arena_base(bed->arena);
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < bed->n; i++)
		rc = ferry_arena_set_node(bed->arena,
					  (size_t)((char *)bed->page[i] - base),
					  bed->range[i].len, &policy);
	return rc;
}

static int by_agent(struct policy_bed *bed, size_t each)
{
	struct ferry_agent_request req = {
		.op = FERRY_AGENT_SET_POLICY,
		.mode = FERRY_NODE_BIND,
		.nodes_len = 64,
	};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < bed->n; i += each)
		rc = policy_agent_ask(bed->agent, req, &bed->range[i], each,
				      &bed->mask);
	return rc;
}

static int by_move_pages(struct policy_bed *bed)
{
	return syscall(SYS_move_pages, 0, bed->n, bed->page, bed->nodes,
		       bed->status, MPOL_MF_MOVE) < 0
		       ? -errno
		       : 0;
}

static int do_all(struct policy_bed *bed, enum policy_way way)
{
	switch (way) {
	case POLICY_MBIND:
		return by_mbind(bed);
	case POLICY_INSIDE:
		return inside(bed);
	case POLICY_ARENA:
		return by_arena(bed);
	case POLICY_VECTOR:
		return bed->agent ? by_agent(bed, bed->n) : -ENOTCONN;
	case POLICY_REQUESTS:
		return bed->agent ? by_agent(bed, 1) : -ENOTCONN;
	case POLICY_MOVE:
		return by_move_pages(bed);
	case POLICY_WAYS:
		break;
	}
	return -EINVAL;
}

/* One mapping again, as before: told to the kernel, too. */
static int restore(struct policy_bed *bed)
{
	struct ferry_node_policy none = { .mode = FERRY_NODE_DEFAULT };

	return ferry_arena_set_node(bed->arena, 0,
				    ferry_arena_reserved(bed->arena), &none);
}

int policy_way_run(void *arg, double *ret_v)
{
	const struct policy_way_arg *a = arg;
	uint64_t ns = bench_now();
	int rc = do_all(a->bed, a->way);
	int restored;

	ns = bench_now() - ns;
	restored = restore(a->bed);
	*ret_v = (double)ns / (double)a->bed->n;
	return rc < 0 ? rc : restored;
}
