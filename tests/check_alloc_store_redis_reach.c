/* SPDX-License-Identifier: MIT */
/* The Redis store: when its server cannot be reached, stalls or refuses. */
#include "tests/store_conform.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "tests/inject.h"
#include "tests/relay.h"
#include "tests/store_redis_bed.h"
#include "uffd/sys.h"

#define PAGES 100

/* --- out of reach --------------------------------------------------------- */

/* Housekeeping until a page is taken again. */
static void wait_until_taken(struct ferry__store *store,
			     struct conform_page *ret_page)
{
	int r;

	while ((r = conform_put(store, 77, ret_page)) == -ENOSPC) {
		store->ops->maintain(store);
		usleep(10000);
	}
	ck_assert_int_eq(r, 0);
}

START_TEST(killed_server_is_left_alone_until_it_is_back)
{
	struct ferry__store *store = redis_make();
	struct conform_page pages[PAGES], more;
	uint64_t start;

	conform_put_all(store, 1, pages, PAGES);
	server_kill();
	ck_assert_int_eq(conform_put(store, 500, &more), -ENOSPC);
	start = ferry__sys->now_ns();
	ck_assert_int_eq(conform_get(store, &pages[0]), -ETIMEDOUT);
	ck_assert_uint_ge(ferry__sys->now_ns() - start,
			  REDIS_TIMEOUT_MS * 1000000ull);
	store->ops->maintain(store);
	ck_assert_int_eq(conform_put(store, 500, &more), -ENOSPC);
	server_start((const char *const[]){ NULL });
	wait_until_taken(store, &more);
	ck_assert_int_eq(conform_get(store, &more), 0);
	/* It kept nothing: the pages are lost, and said to be. */
	ck_assert_int_eq(conform_get(store, &pages[0]), -EILSEQ);
	store->ops->destroy(store);
}
END_TEST

START_TEST(hung_server_is_waited_for_in_vain_only_so_long)
{
	struct ferry__store *store = redis_make();
	struct conform_page pages[PAGES], more;

	conform_put_all(store, 1, pages, PAGES);
	kill(server_pid, SIGSTOP);
	ck_assert_int_eq(conform_put(store, 500, &more), -ENOSPC);
	ck_assert_int_eq(conform_get(store, &pages[0]), -ETIMEDOUT);
	/* Now without a connection: at once. */
	ck_assert_int_eq(conform_put(store, 500, &more), -ENOSPC);
	ck_assert_uint_eq(conform_stats(store).pages, PAGES);
	kill(server_pid, SIGCONT);
	ck_assert_uint_eq(conform_wrong(store, pages, PAGES), 0);
	wait_until_taken(store, &more);
	ck_assert_int_eq(conform_get(store, &more), 0);
	ck_assert_uint_eq(conform_wrong(store, pages, PAGES), 0);
	store->ops->destroy(store);
	ck_assert_int_eq(REDIS_ASK("DBSIZE"), 0);
}
END_TEST

START_TEST(cut_connections_are_made_again)
{
	struct ferry__store *store = redis_make();
	struct conform_page pages[PAGES], more;

	conform_put_all(store, 1, pages, PAGES);
	ck_assert_int_eq(conform_get(store, &pages[0]), 0);
	REDIS_ASK("CLIENT", "KILL", "TYPE", "normal");
	ck_assert_uint_eq(conform_wrong(store, pages, PAGES), 0);
	wait_until_taken(store, &more);
	ck_assert_int_eq(conform_get(store, &more), 0);
	store->ops->destroy(store);
	ck_assert_int_eq(REDIS_ASK("DBSIZE"), 0);
}
END_TEST

/* --- a connection that was given up, and what it still says --------------- */

#define PER_KEY 64

static struct ferry__store *make_behind_relay(void)
{
	struct ferry__store *store = NULL;

	relay_start();
	ck_assert_int_eq(redis_make_at(relay_path, &store), 0);
	return store;
}

/* All that was said has been done by now. */
static void end_behind_relay(struct ferry__store *store)
{
	store->ops->destroy(store);
	relay_end();
	ck_assert_int_eq(REDIS_ASK("DBSIZE"), 0);
}

START_TEST(pages_of_a_connection_given_up_overwrite_none)
{
	struct ferry__store *store = make_behind_relay();
	struct conform_page pages[PER_KEY], late;

	relay_hold();
	ck_assert_int_eq(conform_put(store, 500, &late), -ENOSPC);
	wait_until_taken(store, &pages[0]);
	conform_put_all(store, 1, pages + 1, PER_KEY - 1);
	relay_release();
	ck_assert_uint_eq(conform_wrong(store, pages + 1, PER_KEY - 1), 0);
	ck_assert_int_eq(conform_get(store, &pages[0]), 0);
	end_behind_relay(store);
}
END_TEST

static void hold(void *arg)
{
	(void)arg;
	relay_hold();
}

START_TEST(drops_of_a_connection_given_up_remove_none)
{
	/* Of what maintain() sends the first is whether anybody is there. */
	struct inject_rule second = {
		.call = INJECT_SEND, .nth = 2, .done = INJECT_ALL, .hook = hold
	};
	struct ferry__store *store = make_behind_relay();
	struct conform_page pages[PER_KEY];

	conform_put_all(store, 1, pages, PER_KEY);
	conform_drop(store, pages, PER_KEY);
	inject_start();
	inject_add(&second);
	store->ops->maintain(store);
	inject_stop();
	ck_assert_uint_eq(second.hits, 1);
	wait_until_taken(store, &pages[0]);
	conform_drop(store, pages, 1);
	store->ops->maintain(store);
	conform_put_all(store, 1, pages, PER_KEY);
	relay_release();
	ck_assert_uint_eq(conform_wrong(store, pages, PER_KEY), 0);
	end_behind_relay(store);
}
END_TEST

/* --- errors that pass ----------------------------------------------------- */

START_TEST(errors_are_told_apart)
{
	static const struct {
		const char *text;
		int error;
	} said[] = {
		{ "MISCONF Errors writing to the disk", -EAGAIN },
		{ "NOREPLICAS Not enough good replicas to write.", -EAGAIN },
		{ "LOADING Redis is loading the dataset in memory", -EAGAIN },
		{ "BUSY Redis is busy running a script.", -EAGAIN },
		{ "TRYAGAIN Multiple keys request", -EAGAIN },
		{ "CLUSTERDOWN Hash slot not served", -EAGAIN },
		{ "CLUSTERDOWN", -EAGAIN },
		{ "MASTERDOWN Link with MASTER is down", -EAGAIN },
		{ "OOM command not allowed", -ENOSPC },
		{ "READONLY You can't write", -EROFS },
		{ "NOPERM this user has no permissions", -EACCES },
		{ "NOAUTH Authentication required.", -EACCES },
		{ "BUSYKEY Target key name already exists.", -EPROTO },
		{ "WRONGTYPE Operation", -EPROTO },
		{ "ERR unknown command", -EPROTO },
		{ "", -EPROTO },
	};
	redisReply reply = { .type = REDIS_REPLY_ERROR };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(said); i++) {
		reply.str = (char *)said[i].text;
		ck_assert_int_eq(ferry__redis_reply_error(&reply),
				 said[i].error);
	}
	reply.type = REDIS_REPLY_STATUS;
	ck_assert_int_eq(ferry__redis_reply_error(&reply), 0);
}
END_TEST

START_TEST(server_without_replicas_gets_pages_when_it_has_them)
{
	struct ferry__store *store = redis_make();
	struct conform_page page, more;

	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	REDIS_ASK("CONFIG", "SET", "min-replicas-to-write", "1");
	ck_assert_int_eq(conform_put(store, 2, &more), -ENOSPC);
	ck_assert_int_eq(conform_put(store, 2, &more), -ENOSPC);
	ck_assert_int_eq(conform_get(store, &page), 0);
	REDIS_ASK("CONFIG", "SET", "min-replicas-to-write", "0");
	ck_assert_int_eq(conform_put(store, 2, &more), 0);
	ck_assert_int_eq(conform_get(store, &more), 0);
	store->ops->destroy(store);
	ck_assert_int_eq(REDIS_ASK("DBSIZE"), 0);
}
END_TEST

START_TEST(replica_for_a_moment_is_asked_again)
{
	struct ferry__store *store = redis_make();
	struct conform_page page, more;

	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	REDIS_ASK("REPLICAOF", "127.0.0.1", "1");
	ck_assert_int_eq(conform_put(store, 2, &more), -ENOSPC);
	ck_assert_int_eq(conform_get(store, &page), 0);
	REDIS_ASK("CONFIG", "SET", "replica-serve-stale-data", "no");
	ck_assert_int_eq(conform_put(store, 2, &more), -ENOSPC);
	ck_assert_int_eq(conform_get(store, &page), -ETIMEDOUT);
	REDIS_ASK("REPLICAOF", "NO", "ONE");
	ck_assert_int_eq(conform_get(store, &page), 0);
	ck_assert_int_eq(conform_put(store, 2, &more), 0);
	ck_assert_int_eq(conform_get(store, &more), 0);
	store->ops->destroy(store);
}
END_TEST

START_TEST(what_the_server_refuses_is_asked_for_again)
{
	struct ferry__store *store = redis_make();
	struct conform_page pages[2];
	struct ferry__redis_name name;

	conform_put_all(store, 1, pages, 2);
	name = redis_name_of(store, &pages[0]);
	ck_assert_int_eq(REDIS_ASK("EXPIRE", name.key, "100"), 1);
	REDIS_ASK("CONFIG", "SET", "min-replicas-to-write", "1");
	redis_inner(store)->next_renewal = 0;
	conform_drop(store, &pages[1], 1);
	store->ops->maintain(store);
	ck_assert_int_eq(REDIS_ASK("HLEN", name.key), 2);
	ck_assert_int_le(REDIS_ASK("TTL", name.key), 100);
	REDIS_ASK("CONFIG", "SET", "min-replicas-to-write", "0");
	store->ops->maintain(store);
	ck_assert_int_eq(REDIS_ASK("HLEN", name.key), 1);
	ck_assert_int_gt(REDIS_ASK("TTL", name.key), FERRY__REDIS_TTL / 2);
	ck_assert_int_eq(conform_get(store, &pages[0]), 0);
	store->ops->destroy(store);
}
END_TEST

START_TEST(poor_sockets_do_not_matter)
{
	struct inject_rule sends = { .call = INJECT_SEND,
				     .count = 200,
				     .done = 7 };
	struct inject_rule recvs = { .call = INJECT_RECV,
				     .count = 2000,
				     .done = 5 };
	struct inject_rule breaks[] = {
		{ .call = INJECT_SEND, .nth = 3, .error = EINTR },
		{ .call = INJECT_RECV, .nth = 3, .error = EINTR },
		{ .call = INJECT_SEND, .nth = 9, .error = EAGAIN },
		{ .call = INJECT_RECV, .nth = 9, .error = EAGAIN },
	};
	struct ferry__store *store = redis_make();
	struct conform_page pages[20];
	size_t i;

	inject_start();
	inject_add(&sends);
	inject_add(&recvs);
	for (i = 0; i < ARRAY_SIZE(breaks); i++)
		inject_add(&breaks[i]);
	conform_put_all(store, 1, pages, ARRAY_SIZE(pages));
	ck_assert_uint_eq(conform_wrong(store, pages, ARRAY_SIZE(pages)), 0);
	for (i = 0; i < ARRAY_SIZE(breaks); i++)
		ck_assert_uint_eq(breaks[i].hits, 1);
	ck_assert_uint_gt(sends.hits + recvs.hits, 300);
	store->ops->destroy(store);
}
END_TEST

static const struct test tests[] = {
	REDIS_TEST(killed_server_is_left_alone_until_it_is_back),
	REDIS_TEST(hung_server_is_waited_for_in_vain_only_so_long),
	REDIS_TEST(cut_connections_are_made_again),
	REDIS_TEST(pages_of_a_connection_given_up_overwrite_none),
	REDIS_TEST(drops_of_a_connection_given_up_remove_none),
	OWN_SERVER_TEST(errors_are_told_apart),
	REDIS_TEST(server_without_replicas_gets_pages_when_it_has_them),
	REDIS_TEST(replica_for_a_moment_is_asked_again),
	REDIS_TEST(what_the_server_refuses_is_asked_for_again),
	REDIS_TEST(poor_sockets_do_not_matter),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
