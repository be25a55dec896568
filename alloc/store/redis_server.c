/* SPDX-License-Identifier: MIT */
/* What is asked of the Redis server beside pages. */
#include "alloc/store/redis.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "uffd/sys.h"

#define PIPELINE 128u /* commands that are sent before a reply is read */

/* --- may it be trusted? --------------------------------------------------- */

/* The text after "@name:" at the beginning of a line of @info, or NULL. */
static const char *find_field(const char *info, const char *name)
{
	size_t len = strlen(name);

	while (info && (strncmp(info, name, len) || info[len] != ':')) {
		info = strchr(info, '\n');
		info += info != NULL;
	}
	return info ? info + len + 1 : NULL;
}

static int check_info(const redisReply *reply)
{
	const char *memory, *policy;
	unsigned long long limit;
	char *end;

	if (reply->type != REDIS_REPLY_STRING)
		return ferry__redis_reply_error(reply) ?: -EPROTO;
	memory = find_field(reply->str, "maxmemory");
	policy = find_field(reply->str, "maxmemory_policy");
	if (!memory || !policy)
		return -EPROTO;
	limit = strtoull(memory, &end, 10);
	if (end == memory)
		return -EPROTO;
	return limit && strncmp(policy, "noeviction\r", 11) ? -EPERM : 0;
}

static int check_memory(struct ferry__redis_link *link, uint64_t deadline)
{
	redisReply *reply;
	int r = ferry__redis_link_say(link, "INFO", "memory", NULL);

	if (r == 0)
		r = ferry__redis_link_ask(link, deadline, &reply);
	if (r < 0)
		return r;
	r = check_info(reply);
	ferry__redis_reply_free(reply);
	return r;
}

/* A step of the trial answers one, or with the text again. */
static int check_answer(const redisReply *reply, const char *text)
{
	int r = ferry__redis_reply_error(reply);

	if (r < 0)
		return r;
	if (text)
		return reply->type == REDIS_REPLY_STRING &&
				       !strcmp(reply->str, text)
			       ? 0
			       : -EPROTO;
	return reply->type == REDIS_REPLY_INTEGER && reply->integer == 1
		       ? 0
		       : -EPROTO;
}

static int check_step(struct ferry__redis_link *link, const char *text,
		      uint64_t deadline)
{
	redisReply *reply;
	int r = ferry__redis_link_reply(link, deadline, &reply);

	if (r < 0)
		return r;
	r = check_answer(reply, text);
	ferry__redis_reply_free(reply);
	return r;
}

/* A key is written, kept for a while, read and removed. */
static int try_key(struct ferry__redis_store *store,
		   struct ferry__redis_link *link, uint64_t deadline)
{
	const char *text = store->prefix;
	char key[FERRY__REDIS_PREFIX + 8];
	int r, i;

	snprintf(key, sizeof(key), "%strial", store->prefix);
	r = ferry__redis_link_say(link, "HSET", key, "0", text, NULL);
	if (r == 0)
		r = ferry__redis_link_say(link, "EXPIRE", key, "60", NULL);
	if (r == 0)
		r = ferry__redis_link_say(link, "HGET", key, "0", NULL);
	if (r == 0)
		r = ferry__redis_link_say(link, "UNLINK", key, NULL);
	if (r == 0)
		r = ferry__redis_link_send(link, deadline);
	for (i = 0; i < 4 && r == 0; i++)
		r = check_step(link, i == 2 ? text : NULL, deadline);
	return r;
}

int ferry__redis_check_server(struct ferry__redis_store *store,
			      struct ferry__redis_link *link, bool thorough,
			      uint64_t deadline)
{
	int r = check_memory(link, deadline);

	if (r < 0 || !thorough)
		return r;
	r = try_key(store, link, deadline);
	/* Replies may be left over. */
	if (r < 0)
		ferry__redis_link_close(link);
	return r;
}

/* --- many keys ------------------------------------------------------------ */

static const char *prefix_of(const struct ferry__redis_store *store, uint64_t i)
{
	return i >= store->slots.first
		       ? store->prefix
		       : ferry__redis_inherited_prefix(store, i);
}

static bool name_of(const struct ferry__redis_store *store, uint64_t i,
		    struct ferry__redis_name *ret)
{
	const char *prefix = prefix_of(store, i);

	if (!prefix)
		return false;
	snprintf(ret->key, sizeof(ret->key), "%s%llx", prefix,
		 (unsigned long long)i / 64);
	snprintf(ret->field, sizeof(ret->field), "%x.%x",
		 (unsigned int)(i % 64), ferry__redis_sent_at(store, i)->epoch);
	return true;
}

void ferry__redis_name(const struct ferry__redis_store *store, uint64_t i,
		       struct ferry__redis_name *ret)
{
	ferry__check(name_of(store, i, ret));
}

/* The error of a reply that may be another when it is asked again, or 0. */
static int passing(const redisReply *reply)
{
	int error = ferry__redis_reply_error(reply);

	return ferry__redis_error_passes(error) ? -EAGAIN : 0;
}

/*
 * Sends what was added and reads @n replies. Returns -EAGAIN for errors that
 * pass; others do not count: keys are not theirs.
 */
static int finish(struct ferry__redis_store *store, unsigned int n)
{
	struct ferry__redis_link *link = &store->out.link;
	uint64_t deadline = ferry__redis_deadline(store);
	redisReply *reply;
	int r = ferry__redis_link_send(link, deadline), error = 0;

	while (n-- && r == 0) {
		r = ferry__redis_link_reply(link, deadline, &reply);
		if (r < 0)
			break;
		error = error ?: passing(reply);
		ferry__redis_reply_free(reply);
	}
	return r ?: error;
}

/* Up to a pipeline of the stack @next. Returns how many, or an error. */
static int remove_some(struct ferry__redis_store *store, uint64_t next)
{
	struct ferry__redis_link *link = &store->out.link;
	struct ferry__redis_name name;
	unsigned int n = 0;
	int r = 0;

	while (next && n < PIPELINE && r == 0) {
		ferry__redis_name(store, next - 1, &name);
		r = ferry__redis_link_say(link, "HDEL", name.key, name.field,
					  NULL);
		next = ferry__slots_at(&store->slots, next - 1)->next;
		n++;
	}
	if (r == 0)
		r = finish(store, n);
	return r < 0 ? r : (int)n;
}

/* Its field is gone. */
static void free_slot(struct ferry__redis_store *store, uint64_t i)
{
	__atomic_fetch_sub(&store->stored, ferry__redis_sent_at(store, i)->len,
			   __ATOMIC_RELAXED);
	ferry__slots_free(&store->slots, i);
}

void ferry__redis_remove_dropped(struct ferry__redis_store *store)
{
	uint64_t i, next = ferry__slots_take_stack(&store->dropped);
	uint64_t until = ferry__redis_deadline(store);
	int n = 0;

	while (next && n >= 0 && ferry__sys->now_ns() < until) {
		n = remove_some(store, next);
		for (; n > 0; n--) {
			i = next - 1;
			next = ferry__slots_at(&store->slots, i)->next;
			free_slot(store, i);
		}
	}
	while (next) {
		i = next - 1;
		next = ferry__slots_at(&store->slots, i)->next;
		ferry__slots_push(&store->slots, &store->dropped, i);
	}
}

/*
 * One command for each of up to a pipeline of keys from the slot *@at on, which
 * then is where to go on. Keys without a page are no exception, since there may
 * be fields that came late.
 */
static int for_some_keys(struct ferry__redis_store *store, const char *command,
			 const char *argument, uint64_t *at)
{
	struct ferry__redis_name name;
	unsigned int n = 0;
	uint64_t i;
	int r = 0;

	for (i = *at; i < store->slots.n && n < PIPELINE && r == 0; i += 64) {
		if (!name_of(store, i, &name))
			continue;
		r = ferry__redis_link_say(&store->out.link, command, name.key,
					  argument, NULL);
		n++;
	}
	if (r == 0)
		r = finish(store, n);
	if (r == 0)
		*at = i;
	return r;
}

int ferry__redis_renew(struct ferry__redis_store *store)
{
	uint64_t until = ferry__redis_deadline(store);
	char ttl[16];
	int r = 0;

	snprintf(ttl, sizeof(ttl), "%u", FERRY__REDIS_TTL);
	while (store->renewed < store->slots.n && r == 0) {
		if (ferry__sys->now_ns() >= until)
			return -EAGAIN;
		r = for_some_keys(store, "EXPIRE", ttl, &store->renewed);
	}
	if (r == 0)
		store->renewed = 0;
	return r;
}

int ferry__redis_remove_all(struct ferry__redis_store *store)
{
	uint64_t at = store->slots.first;
	int r = 0;

	while (at < store->slots.n && r == 0)
		r = for_some_keys(store, "UNLINK", NULL, &at);
	return r;
}
