/* SPDX-License-Identifier: MIT */
/*
 * NUMA policy, migration and residency of many ranges of this process in one
 * call each: what process_mbind(2) would have been, had it been merged, from
 * the inside.
 *
 * A call takes a vector of ranges and answers for each of them apart, so that
 * one bad range of ten thousand costs none of the others. It works on any
 * memory of the process; whose memory it is the caller has to know.
 *
 * All functions: any thread; not signal-safe; no lock is held; nothing is
 * allocated; at most 32 KiB of stack. Ranges that come and go meanwhile answer
 * for themselves. Time grows with the vector: who must not be away for long
 * hands it over in parts.
 *
 * Sources: mbind(2), set_mempolicy_home_node(2), move_pages(2).
 */
#ifndef FERRY_UFFD_NODE_APPLY_H
#define FERRY_UFFD_NODE_APPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A range of addresses, in bytes: whole pages, not empty. */
struct ferry__span {
	uint64_t addr;
	uint64_t len;
};

/* Is it one? It must not reach beyond the last address either. */
bool ferry__span_check(const struct ferry__span *span);

/* How pages are placed; numbers of the kernel (MPOL_*), which has others. */
enum ferry__node_mode {
	FERRY__NODE_DEFAULT = 0,
	FERRY__NODE_PREFERRED = 1,
	FERRY__NODE_BIND = 2,
	FERRY__NODE_INTERLEAVE = 3,
	FERRY__NODE_PREFERRED_MANY = 5,	     /* 5.15 */
	FERRY__NODE_WEIGHTED_INTERLEAVE = 6, /* 6.9 */
};

#define FERRY__NODE_NONE (-1)

struct ferry__node_policy {
	enum ferry__node_mode mode;
	/*
	 * The nodes as a bit mask, lowest first, and how many bits it has.
	 * Of any length: zeros behind the last node mean nothing. None for
	 * DEFAULT, at most one for PREFERRED (none: the node that runs), at
	 * least one for the others.
	 */
	const unsigned long *nodes;
	size_t nodes_len;
	/* BIND, PREFERRED_MANY: node to begin with, or FERRY__NODE_NONE. */
	int home_node;
	bool move;   /* migrate pages that are there (MPOL_MF_MOVE) */
	bool strict; /* -EIO where pages lie outside the nodes (MPOL_MF_STRICT) */
	/*
	 * Fill in moved and failed of the results. The kernel does not tell:
	 * each page is asked for its node before and after, about 0.1 us.
	 * A policy without nodes leaves both 0.
	 */
	bool count;
};

/* Why a range was not served in full. */
enum ferry__node_reason {
	FERRY__NODE_OK = 0,
	FERRY__NODE_RANGE,    /* not whole pages, empty, or beyond the end */
	FERRY__NODE_UNMAPPED, /* nothing is mapped there, or not everywhere */
	FERRY__NODE_STAYED,   /* pages stayed: pinned, shared or in use */
	FERRY__NODE_SHARED,   /* pages stayed: other processes have them too */
	FERRY__NODE_MEMORY,   /* no room on the node, or for the tables */
	FERRY__NODE_HOME,     /* policy in force, but not the home node */
	FERRY__NODE_REFUSED,  /* the kernel did, see error */
	FERRY__NODE_REASONS
};

struct ferry__node_result {
	int error; /* 0 or a negative errno */
	enum ferry__node_reason reason;
	uint64_t moved;	 /* bytes that came to a node where they should be */
	uint64_t failed; /* bytes that are elsewhere */
};

/* A reason in words; never NULL, never freed. Signal-safe. */
const char *ferry__node_reason_text(enum ferry__node_reason reason);

/*
 * Is @policy one that can be? Returns 0 or -EINVAL. Whether the nodes have
 * memory and the kernel knows the mode comes out when it is applied.
 */
int ferry__node_policy_check(const struct ferry__node_policy *policy);

/*
 * Sets the policy of @n ranges. @ret has @n entries and is written for all of
 * them, unless the call fails as a whole. Neighbours in the vector that adjoin
 * go to the kernel as one; where that one fails, each for itself, so that
 * results are those of single calls.
 *
 * Errors of a range:
 *  -EINVAL	RANGE
 *  -EFAULT	UNMAPPED; its policy is as it was
 *  -EIO	STAYED: strict; the policy is in force with move, else it is
 *		as it was
 *  -ENOMEM	MEMORY: also a process at vm.max_map_count. The policy may be
 *		in force for a first part
 *  others	HOME, REFUSED
 * Without strict, pages that stay are no error; @count tells them.
 *
 * Returns how many ranges have an error, or, with nothing done,
 *  -EINVAL	see ferry__node_policy_check(); no node of the mask has memory
 *		that this process may use (cpuset), or one cannot exist; the
 *		home node is none
 *  -EOPNOTSUPP	a kernel without NUMA, or without this mode or home nodes
 *  -EPERM	a filter (seccomp) forbids it
 */
long ferry__node_apply_spans(const struct ferry__span *v, size_t n,
			     const struct ferry__node_policy *policy,
			     struct ferry__node_result *ret);

/*
 * Migrates the pages of @n ranges that are in memory to @node. Pages that are
 * not there (absent, swapped out, the zero page) and those on the node already
 * count neither as moved nor as failed.
 *
 * Errors of a range: -EINVAL RANGE; -EBUSY STAYED; -EACCES SHARED;
 * -ENOMEM MEMORY. What is not mapped has no pages, and is no error.
 *
 * Returns how many ranges have an error, or a failure of the whole: @ret is
 * then written for all ranges, with what was done before.
 *  -EINVAL	no such node, or it has no memory
 *  -EOPNOTSUPP	a kernel without NUMA or page migration
 *  -EPERM	a filter (seccomp) forbids it, or a cpuset does
 */
long ferry__node_migrate_spans(const struct ferry__span *v, size_t n, int node,
			       struct ferry__node_result *ret);

/* Bytes in memory on one node. */
struct ferry__node_bytes {
	uint64_t base; /* in base pages */
	uint64_t huge; /* mapped by PMDs: huge pages, also hugetlb */
};

/*
 * Adds up where the pages of @n ranges are, by node and by size of page, into
 * @ret, which has @nodes entries; what lies on nodes beyond goes into none.
 * Ranges that overlap count twice. Before 6.7 (no PAGEMAP_SCAN) and without
 * /proc all pages count as base pages.
 * Returns 0; -EINVAL a range that is none; -EOPNOTSUPP without NUMA; -EPERM.
 */
int ferry__node_residency_spans(const struct ferry__span *v, size_t n,
				struct ferry__node_bytes *ret,
				unsigned int nodes);

/* --- single pages --------------------------------------------------------- */

/* Most pages that ferry__node_migrate_pages() takes in one call. */
#define FERRY__NODE_BATCH 512

/* What became of a page: one of these or a negative errno. */
#define FERRY__PAGE_MOVED  1 /* went to the node */
#define FERRY__PAGE_THERE  0 /* was there already */
#define FERRY__PAGE_ABSENT 2 /* not in memory */

/*
 * Migrates @n pages (at most FERRY__NODE_BATCH) of this process to @node. The
 * same page may be named twice. @ret is written for all @n: MOVED, THERE,
 * ABSENT, -EBUSY (pinned or in use), -EACCES (shared with another process),
 * -ENOMEM.
 * Returns 0, or as ferry__node_migrate_spans(); then @ret is undefined.
 */
int ferry__node_migrate_pages(void **pages, size_t n, int node, int *ret);

/* The reason behind one of these; OK for what is no errno. Signal-safe. */
enum ferry__node_reason ferry__node_reason_of(int status);

#endif
