/* SPDX-License-Identifier: MIT */
/*
 * The dictionaries of a store: made from what it is given, several beside each
 * other, since what was packed by one is read by it for as long as it is kept.
 *
 * Pieces of pages are gathered. When there is a dictionary's worth, one is
 * made of them and tried: some pages are packed by it, too. Where it makes
 * them smaller by a thirty-second than what is in use (another, or none), and
 * would save more than it takes, it is used from then on; else it goes, and
 * it takes twice as many pages until the next is made. Programs that do
 * something else than before get another by that, and nothing has to be known
 * about how good the last one was.
 *
 * Locking. All calls need the owner's lock but ferry__dicts_at() and
 * ferry__dicts_release(), which are signal-safe and wait for nobody. Those who
 * have taken a number keep the dictionary there: who packs by it, and each
 * page that was.
 */
#ifndef FERRY_ALLOC_STORE_DICTS_H
#define FERRY_ALLOC_STORE_DICTS_H

#include <stdbool.h>
#include <stdint.h>

#include "alloc/store/dict.h"

#define FERRY__DICT_BITS 3
#define FERRY__DICTS	 (1u << FERRY__DICT_BITS) /* number 0: none */

struct ferry__dicts {
	bool enabled;
	struct ferry__dict *dict[FERRY__DICTS];
	/* DI1: released by ferry__dicts_release(), acquired before one goes. */
	uint64_t users[FERRY__DICTS];
	uint32_t current, trial; /* numbers; 0: none */
	uint64_t held;		 /* bytes; relaxed: a count */
	/* What the next one is made of, in pieces; NULL: nothing yet. */
	char *sample;
	uint32_t pieces;     /* that are in it */
	uint64_t pages;	     /* seen since the last one was made */
	uint64_t wait;	     /* pages until the next one */
	uint32_t tried;	     /* pages packed by the trial */
	uint64_t now, would; /* bytes by the current one, by the trial */
};

/* Whom to pack by; both are held. */
struct ferry__dict_choice {
	uint32_t use;
	uint32_t trial; /* 0, or: by this one, too */
};

void ferry__dicts_init(struct ferry__dicts *dicts, bool enabled);
void ferry__dicts_fini(struct ferry__dicts *dicts);

void ferry__dicts_choose(struct ferry__dicts *dicts,
			 struct ferry__dict_choice *ret_choice);

/* NULL for number 0. */
const struct ferry__dict *ferry__dicts_at(const struct ferry__dicts *dicts,
					  uint32_t number);
void ferry__dicts_release(struct ferry__dicts *dicts, uint32_t number);

/* A page took @now bytes by the choice, and @would by its trial. */
void ferry__dicts_compare(struct ferry__dicts *dicts,
			  const struct ferry__dict_choice *choice, size_t now,
			  size_t would, uint64_t kept);

/*
 * @page was put beside @kept others. May make a dictionary, if there are
 * @room bytes for it.
 */
void ferry__dicts_learn(struct ferry__dicts *dicts, const void *page,
			uint64_t room);

/* Frees those that nobody uses. */
void ferry__dicts_sweep(struct ferry__dicts *dicts);

/* Those that there are, and the bytes of memory held for all of this. */
uint32_t ferry__dicts_count(const struct ferry__dicts *dicts);
uint64_t ferry__dicts_held(const struct ferry__dicts *dicts);

/* In the child of a fork(2): users are counted anew; nobody packs. */
void ferry__dicts_recount_begin(struct ferry__dicts *dicts);
void ferry__dicts_recount_mark(struct ferry__dicts *dicts, uint32_t number);

#endif
