/* SPDX-License-Identifier: MIT */
/* Gathering, trying and keeping the dictionaries of a store. */
#include "alloc/store/dicts.h"

#include <string.h>

#include "alloc/store/map.h"
#include "uffd/sys.h"

#define PIECE	 1024
#define PIECES	 ((uint32_t)(FERRY__DICT_SIZE / PIECE))
#define WAIT_MIN 1024  /* pages from which one is made */
#define WAIT_MAX 65536 /* 256 MiB */
#define TRIES	 32
#define TRY_EACH 4 /* pages: of those that come */
/* It has to be better by so much of a part. */
#define BETTER 32

void ferry__dicts_init(struct ferry__dicts *dicts, bool enabled)
{
	*dicts = (struct ferry__dicts){
		.enabled = enabled && ferry__dict_useful(),
		.wait = WAIT_MIN,
	};
}

static void set_held(struct ferry__dicts *dicts, uint64_t by)
{
	/* A count of its own: relaxed. */
	__atomic_fetch_add(&dicts->held, by, __ATOMIC_RELAXED);
}

static void forget(struct ferry__dicts *dicts, uint32_t number)
{
	set_held(dicts, -(uint64_t)dicts->dict[number]->held);
	ferry__dict_destroy(dicts->dict[number]);
	dicts->dict[number] = NULL;
}

void ferry__dicts_fini(struct ferry__dicts *dicts)
{
	uint32_t i;

	for (i = 1; i < FERRY__DICTS; i++)
		if (dicts->dict[i])
			forget(dicts, i);
	ferry__store_unmap(dicts->sample, FERRY__DICT_SIZE);
}

/* --- using them ----------------------------------------------------------- */

/* The number is in an entry or held: what made it so orders this, too. */
const struct ferry__dict *ferry__dicts_at(const struct ferry__dicts *dicts,
					  uint32_t number)
{
	return __atomic_load_n(&dicts->dict[number], __ATOMIC_RELAXED);
}

static void hold(struct ferry__dicts *dicts, uint32_t number)
{
	/* DI1: one goes under the lock, which we have: relaxed. */
	if (number)
		__atomic_fetch_add(&dicts->users[number], 1, __ATOMIC_RELAXED);
}

void ferry__dicts_release(struct ferry__dicts *dicts, uint32_t number)
{
	/* DI1: release: it was read before it may go. */
	if (number)
		__atomic_fetch_sub(&dicts->users[number], 1, __ATOMIC_RELEASE);
}

void ferry__dicts_choose(struct ferry__dicts *dicts,
			 struct ferry__dict_choice *ret_choice)
{
	ret_choice->use = dicts->current;
	ret_choice->trial = dicts->pages % TRY_EACH ? 0 : dicts->trial;
	hold(dicts, ret_choice->use);
	hold(dicts, ret_choice->trial);
}

void ferry__dicts_sweep(struct ferry__dicts *dicts)
{
	uint32_t i;

	for (i = 1; i < FERRY__DICTS; i++)
		/* DI1: acquire. */
		if (dicts->dict[i] && i != dicts->current &&
		    i != dicts->trial &&
		    !__atomic_load_n(&dicts->users[i], __ATOMIC_ACQUIRE))
			forget(dicts, i);
}

uint32_t ferry__dicts_count(const struct ferry__dicts *dicts)
{
	uint32_t i, n = 0;

	for (i = 1; i < FERRY__DICTS; i++)
		n += dicts->dict[i] && i != dicts->trial;
	return n;
}

uint64_t ferry__dicts_held(const struct ferry__dicts *dicts)
{
	return __atomic_load_n(&dicts->held, __ATOMIC_RELAXED);
}

/* --- making them ---------------------------------------------------------- */

static bool ready_to_sample(struct ferry__dicts *dicts, uint64_t room)
{
	void *base;

	if (dicts->sample)
		return true;
	if (room < FERRY__DICT_SIZE ||
	    ferry__store_map(FERRY__DICT_SIZE, &base) < 0)
		return false;
	dicts->sample = base;
	set_held(dicts, FERRY__DICT_SIZE);
	return true;
}

/* From as many pages, and from each part of a page as often as the others. */
static void sample(struct ferry__dicts *dicts, const void *page)
{
	size_t at = dicts->pieces % (ferry__page_size / PIECE) * PIECE;

	memcpy(dicts->sample + (size_t)dicts->pieces * PIECE,
	       (const char *)page + at, PIECE);
	dicts->pieces++;
}

static uint32_t free_number(struct ferry__dicts *dicts)
{
	uint32_t i;

	ferry__dicts_sweep(dicts);
	for (i = FERRY__DICTS - 1; i && dicts->dict[i]; i--)
		;
	return i;
}

static void begin_again(struct ferry__dicts *dicts)
{
	dicts->pieces = 0;
	dicts->pages = 0;
	dicts->tried = 0;
	dicts->now = 0;
	dicts->would = 0;
}

static void wait_longer(struct ferry__dicts *dicts)
{
	if (dicts->wait < WAIT_MAX)
		dicts->wait *= 2;
}

/* Where none can be had now, those there are stay in use. */
static void make(struct ferry__dicts *dicts, uint64_t room)
{
	uint32_t number = free_number(dicts);
	struct ferry__dict *dict;

	begin_again(dicts);
	if (!number || room < ferry__dict_held() ||
	    ferry__dict_create(dicts->sample, &dict) < 0) {
		wait_longer(dicts);
		return;
	}
	dicts->users[number] = 0;
	/* Read by those who are told of the number under this lock. */
	__atomic_store_n(&dicts->dict[number], dict, __ATOMIC_RELAXED);
	dicts->trial = number;
	set_held(dicts, dict->held);
}

void ferry__dicts_learn(struct ferry__dicts *dicts, const void *page,
			uint64_t room)
{
	if (!dicts->enabled || !ready_to_sample(dicts, room))
		return;
	dicts->pages++;
	if (dicts->trial)
		return;
	if (dicts->pieces < PIECES &&
	    dicts->pages % (dicts->wait / PIECES) == 0)
		sample(dicts, page);
	if (dicts->pages >= dicts->wait && dicts->pieces == PIECES)
		make(dicts, room);
}

/* Is the trial worth its memory, if as much comes as there is now? */
static bool is_better(const struct ferry__dicts *dicts, uint64_t kept)
{
	uint64_t saved;

	if (dicts->would >= dicts->now - dicts->now / BETTER)
		return false;
	saved = (dicts->now - dicts->would) / TRIES;
	return saved * kept > ferry__dict_held();
}

void ferry__dicts_compare(struct ferry__dicts *dicts,
			  const struct ferry__dict_choice *choice, size_t now,
			  size_t would, uint64_t kept)
{
	uint32_t trial = dicts->trial;

	/* Others may have come to an end of it, or to another. */
	if (!trial || choice->trial != trial || choice->use != dicts->current)
		return;
	dicts->now += now;
	dicts->would += would;
	if (++dicts->tried < TRIES)
		return;
	dicts->trial = 0;
	if (is_better(dicts, kept)) {
		dicts->current = trial;
		dicts->wait = 4 * WAIT_MIN;
	} else {
		wait_longer(dicts);
	}
	begin_again(dicts);
	ferry__dicts_sweep(dicts);
}

/* --- fork ----------------------------------------------------------------- */

void ferry__dicts_recount_begin(struct ferry__dicts *dicts)
{
	memset(dicts->users, 0, sizeof(dicts->users));
}

void ferry__dicts_recount_mark(struct ferry__dicts *dicts, uint32_t number)
{
	hold(dicts, number);
}
