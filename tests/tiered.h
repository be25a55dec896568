/* SPDX-License-Identifier: MIT */
/*
 * A machine of several classes of memory, made up on any: which node a page
 * is on is kept by what the page holds, so that it stays with the page when
 * that is moved to another address. Pages are those of fill_pages().
 */
#ifndef FERRY_TESTS_TIERED_H
#define FERRY_TESTS_TIERED_H

#include <ferry/topology.h>

/* Orders and counts; the first are set while nobody moves pages. */
struct tiered {
	int error;	   /* what move_pages() answers; negative */
	int ask_error;	   /* the same when it only asks */
	size_t stuck;	   /* of every so many pages one stays; 0: none */
	size_t ends_after; /* a call goes no further than so many; 0: any */
	bool by_address;   /* pages do not move: kept by where they are */
	uint64_t calls;	   /* that were to move; atomic */
};

extern struct tiered tiered;

/*
 * Nodes 0 to @tiers - 1, each slower than the one before; pages are on node 0
 * until they are moved. Puts a table of system calls in force. For the test's
 * own process; tiered_end() removes its files.
 */
struct ferry_topology *tiered_start(unsigned int tiers);
void tiered_end(struct ferry_topology *topology);

/* How many pages of a range are in memory and on @node. */
size_t tiered_on(const char *addr, size_t len, int node);

/* Says that they are there. */
void tiered_place(const char *addr, size_t len, int node);

#endif
