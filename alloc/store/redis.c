/* SPDX-License-Identifier: MIT */
/* Pages on a Redis server; see redis.h. */
#include "alloc/store/redis.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "alloc/store/checksum.h"
#include "alloc/store/map.h"
#include "alloc/store/redis_pool.h"
#include "uffd/sys.h"

#define BATCH	    32u	  /* pages that are on their way at a time */
#define STEP	    1024u /* slots by which their number grows */
#define MOST_SLOTS  (UINT32_MAX - STEP) /* numbers + 1 fit .next */
#define SECOND	    1000000000ull
#define FIRST_DELAY (SECOND / 10)
#define MOST_DELAY  (30 * SECOND)
#define CHECK_EVERY (60 * SECOND)
#define RENEW_EVERY (FERRY__REDIS_TTL / 8 * SECOND)
#define RETRY_AFTER (SECOND / 200)
#define TIMEOUT_MS  1000u

static struct ferry__redis_store *of(struct ferry__store *base)
{
	return (struct ferry__redis_store *)base;
}

static void count(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static uint64_t value_of(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* RS2: a flag alone, that nothing hangs on. */
static void stop(struct ferry__redis_store *store)
{
	__atomic_store_n(&store->stopped, true, __ATOMIC_RELAXED);
}

static bool stopped(const struct ferry__redis_store *store)
{
	return __atomic_load_n(&store->stopped, __ATOMIC_RELAXED);
}

uint64_t ferry__redis_deadline(const struct ferry__redis_store *store)
{
	return ferry__sys->now_ns() + store->timeout_ns;
}

/* --- the way out ---------------------------------------------------------- */

static int open_out(struct ferry__redis_store *store, bool thorough)
{
	struct ferry__redis_link *link = &store->out.link;
	uint64_t deadline = ferry__redis_deadline(store);
	int r;

	if (!store->parts.spare) {
		r = ferry__redis_fork_init(store);
		if (r < 0)
			return r;
	}
	/* R1: were they used up, names would come again. */
	if (store->epoch == UINT32_MAX)
		return -EIO;
	store->epoch++;
	r = ferry__redis_link_open(link, &store->address, deadline);
	if (r == 0)
		r = ferry__redis_check_server(store, link, thorough, deadline);
	if (r < 0)
		ferry__redis_link_close(link);
	if (r == -EPERM)
		stop(store);
	return r;
}

/* Tries again after a time that doubles. */
static int reopen(struct ferry__redis_store *store)
{
	int r = open_out(store, false);

	if (r == 0)
		store->delay = 0;
	else if (!store->delay)
		store->delay = FIRST_DELAY;
	else if (store->delay < MOST_DELAY)
		store->delay *= 2;
	store->next_try = ferry__sys->now_ns() + store->delay;
	return r;
}

/* Can pages be sent? -ENOSPC: not now. */
static int ready(struct ferry__redis_store *store)
{
	if (store->fresh) {
		store->fresh = false;
		reopen(store);
	}
	if (stopped(store))
		return -EIO;
	return store->out.link.fd < 0 ? -ENOSPC : 0;
}

/* --- pages out ------------------------------------------------------------ */

struct batch {
	uint64_t slot[BATCH];
	size_t page[BATCH]; /* which of those to be put */
	size_t n;
};

static int take(struct ferry__redis_store *store, uint64_t *ret_slot)
{
	uint64_t n = store->slots.n;

	if (ferry__slots_take(&store->slots, 1, ret_slot))
		return 0;
	if (n > MOST_SLOTS ||
	    ferry__table_grow(&store->sent, n + STEP - 1) < 0 ||
	    ferry__slots_grow(&store->slots, n + STEP) < 0 ||
	    !ferry__slots_take(&store->slots, 1, ret_slot))
		return -ENOSPC;
	return 0;
}

/* Makes the value in the store's room; returns its length. */
static size_t make_value(struct ferry__redis_store *store, const void *page,
			 uint64_t tag)
{
	struct ferry__redis_head *head = store->value;
	struct ferry__work *work;
	int len = ferry__coder_pack(&store->coder, NULL, page, ferry__page_size,
				    &work);

	head->sum = ferry__store_checksum(page, tag);
	head->tag = tag;
	head->packed = len >= 0;
	if (len >= 0) {
		memcpy(head + 1, work->out, (size_t)len);
		ferry__coder_done(work);
	} else {
		/* It does not compress, or there is no memory for that. */
		len = (int)ferry__page_size;
		memcpy(head + 1, page, ferry__page_size);
	}
	head->len = (uint32_t)len;
	return sizeof(*head) + (size_t)len;
}

/* A key that begins to be gets a time to live with each batch it is in. */
static int add_expiry(struct ferry__redis_store *store, uint64_t slot)
{
	struct ferry__redis_name name;
	char ttl[16];

	ferry__redis_name(store, slot, &name);
	snprintf(ttl, sizeof(ttl), "%u", FERRY__REDIS_TTL);
	return ferry__redis_link_say(&store->out.link, "EXPIRE", name.key, ttl,
				     NULL);
}

static bool ends_key(const struct batch *b, size_t i)
{
	return i + 1 == b->n || b->slot[i] / 64 != b->slot[i + 1] / 64;
}

/* The value in the store's room, @len bytes, to the field of the slot @i. */
static int add_value(struct ferry__redis_store *store, uint64_t i, size_t len)
{
	struct ferry__redis_name name;
	struct ferry__redis_word words[4] = {
		{ "HSET", 4 },
		{ name.key, 0 },
		{ name.field, 0 },
		{ store->value, len },
	};

	ferry__redis_name(store, i, &name);
	words[1].len = strlen(name.key);
	words[2].len = strlen(name.field);
	return ferry__redis_link_add(&store->out.link, words, 4);
}

static void describe(struct ferry__redis_store *store, uint64_t i, size_t len)
{
	struct ferry__slot *slot = ferry__slots_at(&store->slots, i);

	slot->sum = ((struct ferry__redis_head *)store->value)->sum;
	slot->born = ferry__generations_now(&store->parts.generations);
	*ferry__redis_sent_at(store, i) = (struct ferry__redis_sent){
		.epoch = store->epoch,
		.len = (uint32_t)len,
	};
	count(&store->stored, len);
}

static bool fits(const struct ferry__redis_store *store, size_t len)
{
	uint64_t stored = value_of(&store->stored);

	return !store->limit ||
	       (stored <= store->limit && len <= store->limit - stored);
}

/* Page number @k: to a slot, and to what is sent. -ENOSPC: it is not. */
static int add_page(struct ferry__redis_store *store, struct batch *b, size_t k,
		    const void *page, uint64_t tag)
{
	size_t len = make_value(store, page, tag);
	uint64_t i;
	int r;

	if (!fits(store, len))
		return -ENOSPC;
	r = take(store, &i);
	if (r < 0)
		return r;
	describe(store, i, len);
	b->slot[b->n] = i;
	b->page[b->n++] = k;
	r = b->n > 1 && ends_key(b, b->n - 2)
		    ? add_expiry(store, b->slot[b->n - 2])
		    : 0;
	if (r == 0)
		add_value(store, i, len);
	return 0;
}

/* What came of it is not known: the field has to go before the slot is used. */
static void forget(struct ferry__redis_store *store, uint64_t i)
{
	ferry__slots_push(&store->slots, &store->dropped, i);
}

/* The error that the pager shall see for what the server answered. */
static int put_error(struct ferry__redis_store *store, int error)
{
	if (ferry__redis_error_passes(error))
		return -ENOSPC;
	stop(store);
	return -EIO;
}

/* The replies that belong to page @i. */
static int read_reply(struct ferry__redis_store *store, const struct batch *b,
		      size_t i, uint64_t deadline)
{
	struct ferry__redis_link *link = &store->out.link;
	redisReply *reply, *expiry;
	int r = ferry__redis_link_reply(link, deadline, &reply);

	if (r < 0)
		return -ENOSPC;
	r = reply->type == REDIS_REPLY_INTEGER
		    ? 0
		    : ferry__redis_reply_error(reply) ?: -EPROTO;
	ferry__redis_reply_free(reply);
	if (ends_key(b, i) &&
	    ferry__redis_link_reply(link, deadline, &expiry) == 0)
		ferry__redis_reply_free(expiry);
	return r < 0 ? put_error(store, r) : 0;
}

/* The link is closed where this does not end well. */
static void send_batch(struct ferry__redis_store *store, const struct batch *b,
		       uint64_t deadline)
{
	if (store->out.link.fd >= 0 &&
	    add_expiry(store, b->slot[b->n - 1]) == 0)
		ferry__redis_link_send(&store->out.link, deadline);
}

/* What became of the page at @k of the batch. */
static int end_page(struct ferry__redis_store *store, const struct batch *b,
		    size_t k, uint64_t deadline)
{
	int error = store->out.link.fd < 0 ? -ENOSPC
					   : read_reply(store, b, k, deadline);

	if (error) {
		forget(store, b->slot[k]);
		return error;
	}
	count(&store->live, 1);
	count(&store->puts, 1);
	return 0;
}

static void put_locked(struct ferry__redis_store *store,
		       const void *const *pages, const uint64_t *tags, size_t n,
		       ferry__store_handle *ret_handles, int *ret_errors)
{
	uint64_t deadline = ferry__redis_deadline(store);
	struct batch b = { .n = 0 };
	size_t i, k;

	for (i = 0; i < n; i++)
		ret_errors[i] =
			ready(store)
				?: add_page(store, &b, i, pages[i], tags[i]);
	if (b.n)
		send_batch(store, &b, deadline);
	for (k = 0; k < b.n; k++) {
		ret_handles[b.page[k]] = b.slot[k];
		ret_errors[b.page[k]] = end_page(store, &b, k, deadline);
	}
}

static void count_errors(struct ferry__redis_store *store, const int *errors,
			 size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (errors[i])
			count(errors[i] == -ENOSPC ? &store->refused
						   : &store->failed,
			      1);
}

static size_t batch_of(size_t left)
{
	return left < BATCH ? left : BATCH;
}

static void redis_put_many(struct ferry__store *base, const void *const *pages,
			   const uint64_t *tags, size_t n,
			   ferry__store_handle *ret_handles, int *ret_errors)
{
	struct ferry__redis_store *store = of(base);
	size_t i, k;

	ferry__gate_enter(&store->calls);
	pthread_mutex_lock(&store->out.lock);
	for (i = 0; i < n; i += k) {
		k = batch_of(n - i);
		put_locked(store, pages + i, tags + i, k, ret_handles + i,
			   ret_errors + i);
	}
	pthread_mutex_unlock(&store->out.lock);
	ferry__gate_leave(&store->calls);
	count_errors(store, ret_errors, n);
}

static int redis_put(struct ferry__store *base, const void *page, uint64_t tag,
		     ferry__store_handle *ret_handle)
{
	int error;

	redis_put_many(base, &page, &tag, 1, ret_handle, &error);
	return error;
}

/* --- pages back ----------------------------------------------------------- */

static int add_get(struct ferry__redis_store *store, uint64_t i)
{
	struct ferry__redis_name name;

	ferry__redis_name(store, i, &name);
	return ferry__redis_link_say(&store->in.link, "HGET", name.key,
				     name.field, NULL);
}

/* The page in the value at @str, if it is the one that was put. */
static int open_value(struct ferry__redis_store *store, uint64_t i,
		      uint64_t tag, const char *str, size_t len, void *page)
{
	uint64_t sum = ferry__slots_at(&store->slots, i)->sum;
	struct ferry__redis_head head;

	if (len < sizeof(head))
		return -EILSEQ;
	memcpy(&head, str, sizeof(head));
	if (head.sum != sum || head.tag != tag ||
	    head.len != len - sizeof(head))
		return -EILSEQ;
	str += sizeof(head);
	if (head.packed) {
		int r = ferry__coder_unpack(&store->coder, NULL, str, head.len,
					    page);

		if (r < 0)
			return r;
	} else if (head.len == ferry__page_size) {
		memcpy(page, str, ferry__page_size);
	} else {
		return -EILSEQ;
	}
	return ferry__store_checksum(page, tag) == sum ? 0 : -EILSEQ;
}

/*
 * -EAGAIN: it was not to be had yet. A server that answers and does not have
 * it has lost it.
 */
static int read_page(struct ferry__redis_store *store, uint64_t i, uint64_t tag,
		     void *page, uint64_t deadline)
{
	redisReply *reply;
	int r = ferry__redis_link_reply(&store->in.link, deadline, &reply);

	if (r < 0)
		return -EAGAIN;
	if (reply->type == REDIS_REPLY_STRING)
		r = open_value(store, i, tag, reply->str, reply->len, page);
	else if (reply->type == REDIS_REPLY_NIL)
		r = -EILSEQ;
	else if (ferry__redis_error_passes(ferry__redis_reply_error(reply)))
		r = -EAGAIN;
	else
		r = -EIO;
	ferry__redis_reply_free(reply);
	return r;
}

/* One attempt for all that are at -EAGAIN. Returns how many still are. */
static size_t try_pages(struct ferry__redis_store *store,
			const ferry__store_handle *handles,
			const uint64_t *tags, size_t n, void *const *pages,
			int *errors, uint64_t deadline)
{
	struct ferry__redis_link *link = &store->in.link;
	size_t i, left = 0;
	int r = 0;

	if (link->fd < 0)
		r = ferry__redis_link_open(link, &store->address, deadline);
	for (i = 0; i < n && r == 0; i++)
		if (errors[i] == -EAGAIN)
			r = add_get(store, handles[i]);
	if (r == 0)
		r = ferry__redis_link_send(link, deadline);
	for (i = 0; i < n; i++) {
		if (errors[i] != -EAGAIN)
			continue;
		if (link->fd >= 0 && r == 0)
			errors[i] = read_page(store, handles[i], tags[i],
					      pages[i], deadline);
		left += errors[i] == -EAGAIN;
	}
	return left;
}

static void get_locked(struct ferry__redis_store *store,
		       const ferry__store_handle *handles, const uint64_t *tags,
		       size_t n, void *const *pages, int *ret_errors)
{
	uint64_t deadline = ferry__redis_deadline(store);
	size_t i;

	for (i = 0; i < n; i++)
		ret_errors[i] = -EAGAIN;
	while (try_pages(store, handles, tags, n, pages, ret_errors,
			 deadline) &&
	       ferry__sys->now_ns() < deadline)
		ferry__sys->sleep_ns(RETRY_AFTER);
	for (i = 0; i < n; i++) {
		if (ret_errors[i] == -EAGAIN)
			ret_errors[i] = -ETIMEDOUT;
		count(ret_errors[i] ? &store->failed : &store->gets, 1);
	}
}

static void redis_get_many(struct ferry__store *base,
			   const ferry__store_handle *handles,
			   const uint64_t *tags, size_t n, void *const *pages,
			   int *ret_errors)
{
	struct ferry__redis_store *store = of(base);
	size_t i, k;

	for (i = 0; i < n; i += k) {
		k = batch_of(n - i);
		pthread_mutex_lock(&store->in.lock);
		get_locked(store, handles + i, tags + i, k, pages + i,
			   ret_errors + i);
		pthread_mutex_unlock(&store->in.lock);
	}
}

static int redis_get(struct ferry__store *base, ferry__store_handle handle,
		     uint64_t tag, void *page)
{
	int error;

	redis_get_many(base, &handle, &tag, 1, &page, &error);
	return error;
}

static void redis_drop(struct ferry__store *base, ferry__store_handle handle)
{
	struct ferry__redis_store *store = of(base);

	ferry__gate_enter(&store->calls);
	if (handle < store->slots.first) {
		ferry__part_drop(ferry__parts_find(&store->parts, handle));
	} else {
		count(&store->live, -1ull);
		ferry__generations_drop(&store->parts.generations, handle);
	}
	ferry__gate_leave(&store->calls);
}

/* --- housekeeping --------------------------------------------------------- */

static void check_again(struct ferry__redis_store *store)
{
	int r = ferry__redis_check_server(store, &store->out.link, false,
					  ferry__redis_deadline(store));

	if (r == -EPERM)
		stop(store);
	if (r == 0)
		store->next_check = ferry__sys->now_ns() + CHECK_EVERY;
}

static void renew(struct ferry__redis_store *store)
{
	if (ferry__redis_renew(store) == 0)
		store->next_renewal = ferry__sys->now_ns() + RENEW_EVERY;
}

/* Is anybody there? So that the next put need not find out. */
static void ping(struct ferry__redis_store *store)
{
	struct ferry__redis_link *link = &store->out.link;
	redisReply *reply;

	if (ferry__redis_link_say(link, "PING", NULL) == 0 &&
	    ferry__redis_link_ask(link, ferry__redis_deadline(store), &reply) ==
		    0)
		ferry__redis_reply_free(reply);
}

static void maintain_locked(struct ferry__redis_store *store)
{
	const struct ferry__redis_link *link = &store->out.link;
	uint64_t now = ferry__sys->now_ns();

	ferry__generations_check(&store->parts.generations);
	if (link->fd < 0 && now >= store->next_try) {
		store->fresh = false;
		reopen(store);
	}
	if (link->fd >= 0)
		ping(store);
	if (link->fd >= 0)
		ferry__redis_remove_dropped(store);
	if (link->fd >= 0 && now >= store->next_renewal)
		renew(store);
	if (link->fd >= 0 && now >= store->next_check)
		check_again(store);
}

static void redis_maintain(struct ferry__store *base)
{
	struct ferry__redis_store *store = of(base);

	ferry__gate_enter(&store->calls);
	pthread_mutex_lock(&store->out.lock);
	maintain_locked(store);
	pthread_mutex_unlock(&store->out.lock);
	ferry__gate_leave(&store->calls);
}

static void redis_stats(struct ferry__store *base,
			struct ferry__store_stats *ret)
{
	struct ferry__redis_store *store = of(base);

	*ret = (struct ferry__store_stats){
		.pages = value_of(&store->live) +
			 ferry__parts_live(&store->parts),
		.memory = sizeof(*store) + ferry__redis_pool_held() +
			  ferry__coder_held(&store->coder) +
			  ferry__slots_bytes(&store->slots) +
			  ferry__slots_count(&store->slots) *
				  sizeof(struct ferry__redis_sent),
		.elsewhere = value_of(&store->stored),
		.puts = value_of(&store->puts),
		.gets = value_of(&store->gets),
		.refused = value_of(&store->refused),
		.failed = value_of(&store->failed),
	};
}

static size_t value_room(void)
{
	return sizeof(struct ferry__redis_head) + ferry__page_size;
}

static void free_all(struct ferry__redis_store *store)
{
	ferry__redis_link_close(&store->out.link);
	ferry__redis_link_close(&store->in.link);
	ferry__redis_fork_fini(store);
	ferry__coder_fini(&store->coder);
	ferry__slots_fini(&store->slots);
	ferry__table_fini(&store->sent);
	ferry__store_unmap(store->value, value_room());
	pthread_mutex_destroy(&store->out.lock);
	pthread_mutex_destroy(&store->in.lock);
	ferry__store_unmap(store, sizeof(*store));
}

/* Unless children read them. */
static void remove_keys(struct ferry__redis_store *store)
{
	ferry__generations_check(&store->parts.generations);
	if (!ferry__generations_any(&store->parts.generations) &&
	    (store->out.link.fd >= 0 || open_out(store, false) == 0))
		ferry__redis_remove_all(store);
}

static void redis_destroy(struct ferry__store *base)
{
	struct ferry__redis_store *store = of(base);

	if (!store->fresh)
		remove_keys(store);
	free_all(store);
}

/* As a child begins: under keys of its own, when the first page comes. */
static void begin_anew(struct ferry__redis_store *store)
{
	ferry__redis_fork_leave(store);
	ferry__slots_close(&store->slots);
	ferry__redis_new_prefix(store);
	store->dropped = 0;
	store->renewed = 0;
	__atomic_store_n(&store->stored, 0, __ATOMIC_RELAXED);
	store->fresh = true;
}

static void redis_leave(struct ferry__store *base)
{
	struct ferry__redis_store *store = of(base);

	ferry__gate_enter(&store->calls);
	pthread_mutex_lock(&store->out.lock);
	if (!store->fresh) {
		ferry__check(!value_of(&store->live));
		remove_keys(store);
		begin_anew(store);
	}
	ferry__redis_link_close(&store->out.link);
	pthread_mutex_unlock(&store->out.lock);
	pthread_mutex_lock(&store->in.lock);
	ferry__redis_link_close(&store->in.link);
	pthread_mutex_unlock(&store->in.lock);
	ferry__gate_leave(&store->calls);
}

static const struct ferry__store_ops redis_ops = {
	.name = "redis",
	.put = redis_put,
	.put_many = redis_put_many,
	.get = redis_get,
	.get_many = redis_get_many,
	.drop = redis_drop,
	.maintain = redis_maintain,
	.fork_prepare = ferry__redis_fork_prepare,
	.fork_parent = ferry__redis_fork_parent,
	.fork_child = ferry__redis_fork_child,
	.stats = redis_stats,
	.leave = redis_leave,
	.destroy = redis_destroy,
};

/* A slot that nobody needs: its field is to go first. */
static void slot_unused(void *arg, uint64_t i)
{
	forget(arg, i);
}

static int init(struct ferry__redis_store *store, unsigned int timeout_ms,
		uint64_t limit)
{
	int r;

	store->base.ops = &redis_ops;
	store->timeout_ns =
		(timeout_ms ? timeout_ms : TIMEOUT_MS) * (SECOND / 1000);
	store->limit = limit;
	store->out.link.fd = -1;
	store->in.link.fd = -1;
	ferry__slots_init(&store->slots);
	ferry__table_init(&store->sent, sizeof(struct ferry__redis_sent),
			  (unsigned int)__builtin_ctzll(ferry__page_size) - 3);
	store->parts.generations.slots = &store->slots;
	store->parts.generations.free = slot_unused;
	store->parts.generations.arg = store;
	ferry__redis_locks_init(store);
	ferry__redis_new_prefix(store);
	r = ferry__coder_init(&store->coder, FERRY__CODEC_LZ4);
	return r < 0 ? r : ferry__store_map(value_room(), &store->value);
}

int ferry__store_redis_create(const char *address, unsigned int timeout_ms,
			      uint64_t limit, struct ferry__store **ret_store)
{
	struct ferry__redis_store *store;
	void *mem;
	int r;

	r = ferry__store_map(sizeof(*store), &mem);
	if (r < 0)
		return r;
	store = mem;
	r = init(store, timeout_ms, limit);
	if (r == 0)
		r = ferry__redis_address_parse(address, &store->address);
	if (r == 0)
		r = open_out(store, true);
	if (r < 0) {
		free_all(store);
		return r;
	}
	store->next_renewal = ferry__sys->now_ns() + RENEW_EVERY;
	store->next_check = ferry__sys->now_ns() + CHECK_EVERY;
	*ret_store = &store->base;
	return 0;
}
