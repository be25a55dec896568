/* SPDX-License-Identifier: MIT */
/*
 * A pager over one region of pages whose contents say which page they are,
 * and a store that keeps plain copies and fails on order.
 */
#ifndef FERRY_TESTS_PAGER_BED_H
#define FERRY_TESTS_PAGER_BED_H

#include <pthread.h>

#include "alloc/pager/pager.h"
#include "tests/harness.h"
#include "tests/memory.h"

/* Needed by every test that takes pages out. */
#define PAGER_NEEDS "move,kernel_faults"

struct fake_slot {
	uint64_t tag;
	uint64_t next; /* of the free ones; 0 ends */
	bool used;
};

/* Keeps plain copies. Orders are relaxed words that any thread may change. */
struct fake_store {
	struct ferry__store store;
	pthread_mutex_t lock; /* of the free list */
	unsigned char *copies;
	struct fake_slot *slots; /* 1 .. limit - 1; the handle is the index */
	uint64_t limit, fresh, free;
	uint64_t pages, puts, gets, drops, refused, wrong_drops;
	/* Orders. */
	int put_error, get_error;
	uint64_t get_fails; /* so many gets fail, then none */
	uint64_t put_delay_ns;
	bool hold;	   /* puts last for as long */
	uint64_t hold_get; /* gets under this tag do, too */
	uint64_t held;	   /* those that began, or went on, under it; release */
	bool corrupt;	   /* gets answer EILSEQ */
	bool forking;	   /* no put and no drop may come */
	uint64_t while_forking;
	uint64_t kept_when_left; /* pages, at leave() */
};

/* Orders and counts, while threads run; relaxed, tests wait by other means. */
#define fake_order(f, what, value)                                             \
	__atomic_store_n(&(f)->what, (value), __ATOMIC_RELAXED)
#define fake_count(f, what) __atomic_load_n(&(f)->what, __ATOMIC_RELAXED)

struct fake_store *fake_store_create(uint64_t pages);

/* Waits until a put is under way that the order "hold" does not let end. */
void fake_await_held(struct fake_store *f);

#define BED_TIERS 2

struct bed {
	struct ferry__pager *pager;
	struct ferry__pager_params params;
	struct ferry__pager_tier tier[BED_TIERS];
	struct fake_store *fake[BED_TIERS];
	char *addr;
	size_t page, pages, len;
};

/* Of the defaults; a program built with SIGBUS_MODE sets it. */
extern enum ferry__pager_service bed_service;

/* Defaults: nothing is cold by itself; one fake store. To be changed. */
void bed_params(struct bed *bed);

/* A started pager over @pages pages, filled from number 1. */
void bed_start(struct bed *bed, size_t pages);
/* The same with the defaults. */
void bed_begin(struct bed *bed, size_t pages);

/* What the host's fork handlers call, for the bed that was started last. */
void bed_fork_prepare(void);
void bed_fork_parent(void);
void bed_fork_child(void);
/* Makes them the process's. */
void bed_at_fork(void);
void bed_end(struct bed *bed);

struct ferry__pager_stats bed_stats(const struct bed *bed);

/* Takes out what can be taken now. */
void bed_run(struct bed *bed);

/*
 * Takes out until @cond holds. One run may leave pages: those that the handler
 * has just brought and still has in hand, and those that the kernel holds for
 * a moment, which are busy.
 */
#define BED_RUN_UNTIL(bed, cond)                                               \
	do {                                                                   \
		bed_run(bed);                                                  \
		while (!(cond)) {                                              \
			harness_pause();                                       \
			bed_run(bed);                                          \
		}                                                              \
	} while (0)

/* Takes all out, until nothing is here. */
void bed_all_out(struct bed *bed);

/* Takes all, of which the store is to be full, to limbo. */
void bed_all_in_limbo(struct bed *bed);

/* Says that a range is cold, until @pages pages are stored. */
void bed_hint_out(struct bed *bed, void *addr, size_t len, size_t pages);

/* Waits until so many pages are stored. */
void bed_await_stored(const struct bed *bed, size_t pages);

/* Pages of the bed that have memory at their address. */
size_t bed_here(const struct bed *bed);

#endif
