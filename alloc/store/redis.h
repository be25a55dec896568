/* SPDX-License-Identifier: MIT */
/*
 * The Redis store, within: redis.c is the store, redis_server.c what is asked
 * of the server beside pages, redis_fork.c what children share, redis_link.c
 * connections.
 *
 * A page is a field of a hash; hashes have 64 fields (a word of the slots'
 * bitmap), so that keys are few: time to live is a key's, and has to be
 * renewed before it ends. Keys begin with a random prefix of the store.
 *
 *	HSET <prefix><slot / 64> <slot % 64>.<epoch> <head, page or compressed
 *	page>
 *
 * R1. A slot is used again only when the server has said that its field is
 *     gone: what is dropped, and what was sent without an answer, waits in a
 *     stack for maintain(). So pages that were dropped do not pile up.
 *     A connection that is given up (a time-out) may have commands on their
 *     way that the server does long after those of the next. The epoch, the
 *     number of the connection for going out, keeps them apart: a field is
 *     written by the connection that it is named after and by no other. What
 *     comes late from an earlier one sets and deletes fields of earlier names
 *     only: pages that were dropped, or were never taken. Nor does anything
 *     else that is said under a prefix in use delete: keys go as a whole when
 *     the prefix is given up. A field that comes late stays until then.
 * R2. The head of a value says what it is; the checksum is known here, too, so
 *     that a server cannot give another page back.
 * R3. Two connections, so that a fault does not wait for pages going out.
 * R4. Only maintain() connects anew for going out, ever less often; get() tries
 *     until its time is over. Nothing is taken without a connection.
 * R5. A child of a fork(2) reads its parent's keys, by connections of its own,
 *     and renews their time; what it puts has a prefix of its own. The parent
 *     holds slots that it may need (generations.h), and where children live,
 *     destroy leaves the keys to their end.
 *
 * Locks, in the order in which they are taken:
 *	calls	shared: put, drop and maintain; alone: around a fork
 *	out	the connection for going out, growth of the slots
 *	in	the connection for coming back
 *	(the pool's)
 */
#ifndef FERRY_ALLOC_STORE_REDIS_H
#define FERRY_ALLOC_STORE_REDIS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alloc/store/codec.h"
#include "alloc/store/parts.h"
#include "alloc/store/redis_link.h"
#include "alloc/store/gate.h"
#include "alloc/store/slots.h"
#include "alloc/store/store.h"

#define FERRY__REDIS_PREFIX 48
/*
 * Seconds that keys live after they were last renewed. Long, because a process
 * that was stopped for longer has lost its pages; what one leaves behind that
 * is killed stays for as long.
 */
#define FERRY__REDIS_TTL 86400u

/* In front of each value. Of this machine's byte order: nobody else reads it. */
struct ferry__redis_head {
	uint64_t sum; /* ferry__store_checksum() of the page and .tag */
	uint64_t tag;
	uint32_t packed; /* 1: lz4 */
	uint32_t len;	 /* bytes that follow */
};

/* Of each slot, since its field was last sent. */
struct ferry__redis_sent {
	uint32_t epoch; /* in the field's name */
	uint32_t len;	/* of the value */
};

/* Pages under the keys of a process that this one descends from. */
struct ferry__redis_part {
	struct ferry__part part;
	char prefix[FERRY__REDIS_PREFIX];
};

struct ferry__redis_channel {
	pthread_mutex_t lock;
	struct ferry__redis_link link;
};

struct ferry__redis_store {
	struct ferry__store base;
	struct ferry__redis_address address;
	uint64_t timeout_ns;
	uint64_t limit; /* most of .stored; 0: any */
	char prefix[FERRY__REDIS_PREFIX];
	struct ferry__slots slots;
	struct ferry__table sent; /* struct ferry__redis_sent */
	struct ferry__parts parts;
	struct ferry__coder coder;
	struct ferry__gate calls;
	struct ferry__redis_channel out, in;
	void *value; /* head and contents of one page; under .out.lock */
	/* Times of now_ns(); under .out.lock. */
	uint64_t next_try, delay, next_renewal, next_check;
	uint64_t renewed; /* up to this slot, by a renewal that goes on */
	uint32_t epoch;	  /* R1: of .out.link */
	bool fresh;	  /* the child has not connected yet; under .out.lock */
	bool stopped;	  /* RS2: relaxed: takes no more pages, ever */
	uint64_t dropped; /* stack of slots whose fields are to go, see R1 */
	/* Relaxed: nothing hangs on them. */
	uint64_t live;	 /* pages */
	uint64_t stored; /* bytes of values that may be on the server */
	uint64_t puts, gets, refused, failed;
};

/* Rooms for names. */
struct ferry__redis_name {
	char key[FERRY__REDIS_PREFIX + 20];
	char field[16];
};

/* The names of the slot @i, of this process or of an ancestor. */
void ferry__redis_name(const struct ferry__redis_store *store, uint64_t i,
		       struct ferry__redis_name *ret);

static inline struct ferry__redis_sent *
ferry__redis_sent_at(const struct ferry__redis_store *store, uint64_t i)
{
	return ferry__table_at(&store->sent, i);
}

/* Of a request that begins now. */
uint64_t ferry__redis_deadline(const struct ferry__redis_store *store);

/* --- the server ----------------------------------------------------------- */

/*
 * May the server throw keys away, or does it not keep what it is told? Returns
 * 0; -EPERM it may evict; -EPROTO its answers make no sense; -EROFS, -EACCES,
 * -ENOSPC; errors of the link. With @thorough a key is written and read.
 */
int ferry__redis_check_server(struct ferry__redis_store *store,
			      struct ferry__redis_link *link, bool thorough,
			      uint64_t deadline);

/*
 * These ask for much, a pipeline at a time, each of which has the time of a
 * request.
 */

/*
 * Removes fields of .dropped and frees their slots, as long as the time of one
 * request is not over; what is left stays in .dropped.
 */
void ferry__redis_remove_dropped(struct ferry__redis_store *store);

/*
 * Renews the time of all keys, of this process and of its ancestors. Returns 0;
 * -EAGAIN when the time of one request is over, or the server refuses for now:
 * the next call goes on with what is left; errors of the link: likewise.
 */
int ferry__redis_renew(struct ferry__redis_store *store);

/* Removes all keys of this process. */
int ferry__redis_remove_all(struct ferry__redis_store *store);

/* --- forks ---------------------------------------------------------------- */

/* What forks need. Returns 0 or -ENOMEM. */
int ferry__redis_fork_init(struct ferry__redis_store *store);
void ferry__redis_fork_fini(struct ferry__redis_store *store);
/* No pages: what children have is theirs from here on. */
void ferry__redis_fork_leave(struct ferry__redis_store *store);

void ferry__redis_new_prefix(struct ferry__redis_store *store);
void ferry__redis_locks_init(struct ferry__redis_store *store);

/*
 * The prefix of the slot @i, below slots.first; NULL: nobody needs its key, as
 * all pages that were inherited with it are dropped.
 */
const char *
ferry__redis_inherited_prefix(const struct ferry__redis_store *store,
			      uint64_t i);

void ferry__redis_fork_prepare(struct ferry__store *store);
void ferry__redis_fork_parent(struct ferry__store *store);
void ferry__redis_fork_child(struct ferry__store *store);

#endif
