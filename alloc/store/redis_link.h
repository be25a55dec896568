/* SPDX-License-Identifier: MIT */
/*
 * A connection to a Redis server. hiredis writes and reads the protocol; the
 * socket is ours, since hiredis knows time-outs for a single read only, and
 * asks malloc(3) and name servers while it connects.
 *
 * For one thread at a time. A link is open or closed; what fails closes it,
 * as nobody could say which reply is whose.
 */
#ifndef FERRY_ALLOC_STORE_REDIS_LINK_H
#define FERRY_ALLOC_STORE_REDIS_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hiredis/hiredis.h>

#include "alloc/store/redis_address.h"

struct ferry__redis_link {
	int fd;		     /* -1: closed */
	redisReader *reader; /* while it is open */
	char *out;	     /* commands that are not sent yet */
	size_t out_len, out_size;
};

/* A word of a command. */
struct ferry__redis_word {
	const void *at;
	size_t len;
};

/*
 * Connects and logs in; @deadline is a time of ferry__sys->now_ns(). Returns
 * 0; errors of connect(2); -ETIMEDOUT; -EACCES not let in; -EPROTO no Redis.
 */
int ferry__redis_link_open(struct ferry__redis_link *link,
			   const struct ferry__redis_address *address,
			   uint64_t deadline);
void ferry__redis_link_close(struct ferry__redis_link *link);

/* In the child of a fork(2): closed, and the parent's is left alone. */
void ferry__redis_link_forget(struct ferry__redis_link *link);

/* Adds a command of @n words. Returns 0 or -ENOMEM: then the link is closed. */
int ferry__redis_link_add(struct ferry__redis_link *link,
			  const struct ferry__redis_word *words, size_t n);

/* The same of strings; NULL ends. */
int ferry__redis_link_say(struct ferry__redis_link *link, const char *first,
			  ...) __attribute__((sentinel));

/*
 * Sends what was added. Returns 0, or -ETIMEDOUT, -EPIPE and the like: then
 * the link is closed.
 */
int ferry__redis_link_send(struct ferry__redis_link *link, uint64_t deadline);

/*
 * The next reply, for ferry__redis_reply_free(). An error that the server
 * answers is a reply. Returns 0, or as above: then the link is closed.
 */
int ferry__redis_link_reply(struct ferry__redis_link *link, uint64_t deadline,
			    redisReply **ret_reply);
void ferry__redis_reply_free(redisReply *reply);

/* Sends, and awaits one reply. */
int ferry__redis_link_ask(struct ferry__redis_link *link, uint64_t deadline,
			  redisReply **ret_reply);

/*
 * What an error reply means here; 0 for any other: -ENOSPC memory is short;
 * -EROFS a replica, which it may be for a moment; -EAGAIN it loads, a script
 * runs, its disk is full, its replicas or its master are out of reach, ...;
 * -EACCES not allowed; -EPROTO all else.
 */
int ferry__redis_reply_error(const redisReply *reply);

/* Is it one that may pass, so that the same is asked again later? */
bool ferry__redis_error_passes(int error);

#endif
