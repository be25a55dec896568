/* SPDX-License-Identifier: MIT */
/* The Redis store: on servers that are well, full, hung, killed, unfit. */
#include "tests/store_conform.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/store_redis_bed.h"
#include "tests/stored.h"
#include "uffd/sys.h"

#define PAGES 100

#define START(...) server_start((const char *const[]){ __VA_ARGS__, NULL })

CONFORM_DEFINE(redis_make)

/* --- addresses ------------------------------------------------------------ */

static struct ferry__redis_address parsed(const char *text)
{
	struct ferry__redis_address a;

	ck_assert_int_eq(ferry__redis_address_parse(text, &a), 0);
	return a;
}

static void assert_host(const char *text, uint16_t port)
{
	struct ferry__redis_address a = parsed(text);
	struct sockaddr_in *in = (struct sockaddr_in *)&a.addr;

	ck_assert_int_eq(in->sin_family, AF_INET);
	ck_assert_uint_eq(ntohs(in->sin_port), port);
	ck_assert_uint_eq(ntohl(in->sin_addr.s_addr), INADDR_LOOPBACK);
}

START_TEST(addresses_are_understood)
{
	struct ferry__redis_address a;

	assert_host("127.0.0.1", 6379);
	assert_host("127.0.0.1:7000", 7000);
	assert_host("redis://127.0.0.1", 6379);
	assert_host("redis://127.0.0.1/", 6379);
	assert_host("redis://:a%40b%2Fc@127.0.0.1:7000/3", 7000);
	a = parsed("redis://:a%40b%2Fc@127.0.0.1:7000/3");
	ck_assert_str_eq(a.user, "");
	ck_assert_str_eq(a.password, "a@b/c");
	ck_assert_uint_eq(a.db, 3);
	a = parsed("redis://me:secret@[::1]:7001/12");
	ck_assert_int_eq(a.addr.ss_family, AF_INET6);
	ck_assert_str_eq(a.user, "me");
	ck_assert_str_eq(a.password, "secret");
	ck_assert_uint_eq(a.db, 12);
	a = parsed("unix://me:secret@/run/a@b?db=2");
	ck_assert_str_eq(((struct sockaddr_un *)&a.addr)->sun_path, "/run/a@b");
	ck_assert_str_eq(a.password, "secret");
	ck_assert_uint_eq(a.db, 2);
	a = parsed("/run/redis.sock");
	ck_assert_int_eq(a.addr.ss_family, AF_UNIX);
}
END_TEST

START_TEST(bad_addresses_are_named)
{
	static const struct {
		const char *text;
		int error;
	} bad[] = {
		{ "", -EINVAL },
		{ ":6379", -EINVAL },
		{ "localhost:", -EINVAL },
		{ "localhost:0", -EINVAL },
		{ "localhost:70000", -EINVAL },
		{ "localhost:12x", -EINVAL },
		{ "[::1", -EINVAL },
		{ "::1]:1", -EINVAL },
		{ "redis://127.0.0.1/x", -EINVAL },
		{ "redis://:%4@127.0.0.1", -EINVAL },
		{ "redis://:%zz@127.0.0.1", -EINVAL },
		{ "unix://relative", -EINVAL },
		{ "unix:///a?x=1", -EINVAL },
		{ "rediss://127.0.0.1", -EPROTONOSUPPORT },
		{ "http://127.0.0.1", -EPROTONOSUPPORT },
		{ "no-such-host.invalid", -EHOSTUNREACH },
	};
	struct ferry__store *store = NULL;
	char text[1000] = "/";
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(redis_make_at(bad[i].text, &store),
				 bad[i].error);
	memset(text + 1, 'a', sizeof(text) - 2);
	ck_assert_int_eq(redis_make_at(text, &store), -ENAMETOOLONG);
	ck_assert_ptr_null(store);
}
END_TEST

START_TEST(absent_server_is_named)
{
	struct ferry__store *store = NULL;

	ck_assert_int_eq(redis_make_at(server_path, &store), -ENOENT);
	ck_assert_int_eq(redis_make_at("127.0.0.1:1", &store), -ECONNREFUSED);
	ck_assert_ptr_null(store);
}
END_TEST

/* Somebody else's server, that says @text to whoever comes. */
static int listen_as(const char *text)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), pid, client;

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", server_path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	ck_assert_int_eq(listen(fd, 5), 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		client = accept(fd, NULL, NULL);
		if (write(client, text, strlen(text)) < 0)
			_exit(1);
		pause();
	}
	close(fd);
	return pid;
}

START_TEST(server_of_another_kind_is_named)
{
	static const struct {
		const char *text;
		int error;
	} said[] = {
		{ "HTTP/1.0 400 Bad Request\r\n\r\n", -EPROTO },
		{ "+OK\r\n", -EPROTO },
		{ "$45\r\nmaxmemory:banana\r\nmaxmemory_policy:noeviction\r\n",
		  -EPROTO },
		{ "$160\r\nmaxmemory:0\r\n", -ETIMEDOUT },
		{ "$18\r\n# Memory\r\nno:thing\r\n", -EPROTO },
		{ "", -ETIMEDOUT },
	};
	struct ferry__store *store = NULL;
	size_t i;
	int pid;

	for (i = 0; i < ARRAY_SIZE(said); i++) {
		pid = listen_as(said[i].text);
		ck_assert_int_eq(
			ferry__store_redis_create(server_path, 300, 0, &store),
			said[i].error);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		unlink(server_path);
	}
	ck_assert_ptr_null(store);
}
END_TEST

/* --- fit to keep pages? --------------------------------------------------- */

START_TEST(server_that_may_evict_is_refused)
{
	struct ferry__store *store = NULL;

	START("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru");
	ck_assert_int_eq(redis_make_at(server_path, &store), -EPERM);
	REDIS_ASK("CONFIG", "SET", "maxmemory-policy", "volatile-ttl");
	ck_assert_int_eq(redis_make_at(server_path, &store), -EPERM);
	ck_assert_ptr_null(store);
	REDIS_ASK("CONFIG", "SET", "maxmemory-policy", "noeviction");
	store = redis_make();
	store->ops->destroy(store);
	REDIS_ASK("CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
	REDIS_ASK("CONFIG", "SET", "maxmemory", "0");
	store = redis_make();
	store->ops->destroy(store);
}
END_TEST

START_TEST(server_that_becomes_unfit_gets_no_more)
{
	struct ferry__store *store = redis_make();
	struct conform_page page, more;

	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	REDIS_ASK("CONFIG", "SET", "maxmemory", "100mb");
	REDIS_ASK("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu");
	redis_inner(store)->next_check = 0;
	store->ops->maintain(store);
	ck_assert_int_eq(conform_put(store, 2, &more), -EIO);
	ck_assert_int_eq(conform_get(store, &page), 0);
	store->ops->destroy(store);
}
END_TEST

START_TEST(replica_that_only_reads_is_refused)
{
	struct ferry__store *store = NULL;

	START("--replicaof", "127.0.0.1", "1");
	ck_assert_int_eq(redis_make_at(server_path, &store), -EROFS);
}
END_TEST

START_TEST(password_and_database_are_used)
{
	char address[200];
	struct ferry__store *store = NULL;
	struct conform_page page;

	START("--requirepass", "open sesame");
	ck_assert_int_eq(redis_make_at(server_path, &store), -EACCES);
	snprintf(address, sizeof(address), "unix://:wrong@%s", server_path);
	ck_assert_int_eq(redis_make_at(address, &store), -EACCES);
	snprintf(address, sizeof(address), "unix://:open%%20sesame@%s?db=99999",
		 server_path);
	ck_assert_int_lt(redis_make_at(address, &store), 0);
	ck_assert_ptr_null(store);
	snprintf(address, sizeof(address),
		 "unix://default:open%%20sesame@%s?db=7", server_path);
	ck_assert_int_eq(redis_make_at(address, &store), 0);
	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	ck_assert_int_eq(conform_get(store, &page), 0);
	store->ops->destroy(store);
}
END_TEST

#define LIMIT ((uint64_t)64 << 10)

START_TEST(no_more_than_the_limit_is_on_the_server)
{
	struct ferry__store *store = NULL;
	struct conform_page *pages = calloc(20000, sizeof(*pages)), more;
	size_t n = 0;
	int r = 0;

	ck_assert_int_eq(ferry__store_redis_create(
				 server_path, REDIS_TIMEOUT_MS, LIMIT, &store),
			 0);
	while (n < 20000 && r == 0) {
		r = conform_put(store, n + 1, &pages[n]);
		n += r == 0;
	}
	ck_assert_int_eq(r, -ENOSPC);
	ck_assert_uint_gt(n, 10);
	ck_assert_uint_le(conform_stats(store).elsewhere, LIMIT);
	ck_assert_uint_gt(conform_stats(store).elsewhere,
			  LIMIT - 2 * page_size());
	ck_assert_uint_eq(conform_wrong(store, pages, n), 0);
	/* What was dropped is on the server until that has said otherwise. */
	conform_drop(store, pages, n / 2);
	store->ops->maintain(store);
	ck_assert_int_eq(conform_put(store, 70000, &more), 0);
	ck_assert_uint_eq(conform_wrong(store, pages + n / 2, n - n / 2), 0);
	store->ops->destroy(store);
	ck_assert_int_eq(REDIS_ASK("DBSIZE"), 0);
	free(pages);
}
END_TEST

START_TEST(full_server_loses_nothing)
{
	struct ferry__store *store;
	struct conform_page *pages = calloc(20000, sizeof(*pages));
	size_t n = 0, i;
	int r = 0;

	START("--maxmemory", "8mb", "--maxmemory-policy", "noeviction");
	store = redis_make();
	while (n < 20000 && r == 0) {
		r = conform_put(store, n + 1, &pages[n]);
		n += r == 0;
	}
	ck_assert_int_eq(r, -ENOSPC);
	ck_assert_uint_gt(n, 100);
	ck_assert_uint_eq(conform_wrong(store, pages, n), 0);
	/* Much goes, and there is room again. */
	conform_drop(store, pages, n / 2);
	store->ops->maintain(store);
	for (i = 0; i < n / 4; i++)
		ck_assert_int_eq(conform_put(store, 70000 + i, &pages[i]), 0);
	ck_assert_uint_eq(conform_wrong(store, pages + n / 2, n - n / 2), 0);
	store->ops->destroy(store);
	free(pages);
}
END_TEST

/* --- keys ----------------------------------------------------------------- */

START_TEST(keys_end_with_the_store)
{
	struct ferry__store *store = redis_make(), *other = redis_make();
	struct conform_page pages[PAGES], others[PAGES];

	conform_put_all(store, 1, pages, PAGES);
	conform_put_all(other, 500, others, PAGES);
	ck_assert_int_gt(REDIS_ASK("DBSIZE"), 1);
	store->ops->destroy(store);
	ck_assert_uint_eq(conform_wrong(other, others, PAGES), 0);
	other->ops->destroy(other);
	ck_assert_int_eq(REDIS_ASK("DBSIZE"), 0);
}
END_TEST

START_TEST(dropped_pages_leave_the_server)
{
	struct ferry__store *store = redis_make();
	struct conform_page pages[PAGES];

	conform_put_all(store, 1, pages, PAGES);
	ck_assert_uint_gt(conform_stats(store).elsewhere, 0);
	conform_drop(store, pages, PAGES);
	store->ops->maintain(store);
	ck_assert_int_eq(REDIS_ASK("DBSIZE"), 0);
	ck_assert_uint_eq(conform_stats(store).elsewhere, 0);
	store->ops->destroy(store);
}
END_TEST

START_TEST(keys_are_given_time_again_and_again)
{
	struct ferry__store *store = redis_make();
	struct ferry__redis_name name;
	struct conform_page page;

	ck_assert_int_eq(conform_put(store, 1, &page), 0);
	name = redis_name_of(store, &page);
	ck_assert_int_gt(REDIS_ASK("TTL", name.key), FERRY__REDIS_TTL / 2);
	ck_assert_int_eq(REDIS_ASK("EXPIRE", name.key, "100"), 1);
	store->ops->maintain(store);
	ck_assert_int_le(REDIS_ASK("TTL", name.key), 100);
	redis_inner(store)->next_renewal = 0;
	store->ops->maintain(store);
	ck_assert_int_gt(REDIS_ASK("TTL", name.key), FERRY__REDIS_TTL / 2);
	store->ops->destroy(store);
}
END_TEST

/* Each takes nearly all the time that a request has. */
static void take_long(void *arg)
{
	(void)arg;
	inject_clock_advance(REDIS_TIMEOUT_MS * UINT64_C(900000));
}

#define MANY_KEYS 300
#define PER_KEY	  64

START_TEST(many_keys_are_given_time_by_a_slow_server)
{
	struct inject_rule slow = { .call = INJECT_SEND,
				    .count = INJECT_ALWAYS,
				    .done = INJECT_ALL,
				    .hook = take_long };
	struct ferry__store *store = redis_make();
	struct conform_page *pages =
		calloc(MANY_KEYS * PER_KEY, sizeof(*pages));
	struct ferry__redis_name name;
	size_t i, calls;

	conform_put_all(store, 1, pages, MANY_KEYS * PER_KEY);
	for (i = 0; i < MANY_KEYS; i++) {
		name = redis_name_of(store, &pages[i * PER_KEY]);
		ck_assert_int_eq(REDIS_ASK("EXPIRE", name.key, "100"), 1);
	}
	redis_inner(store)->next_renewal = 0;
	inject_start();
	inject_clock(ferry__sys->now_ns());
	inject_add(&slow);
	for (calls = 0; !redis_inner(store)->next_renewal; calls++)
		store->ops->maintain(store);
	inject_stop();
	/* Nor is it all of them at once, with pages that wait for it. */
	ck_assert_uint_gt(calls, 1);
	for (i = 0; i < MANY_KEYS; i++) {
		name = redis_name_of(store, &pages[i * PER_KEY]);
		ck_assert_int_gt(REDIS_ASK("TTL", name.key),
				 FERRY__REDIS_TTL / 2);
	}
	conform_drop(store, pages, MANY_KEYS * PER_KEY);
	inject_start();
	inject_clock(ferry__sys->now_ns());
	inject_add(&slow);
	while (redis_inner(store)->dropped)
		store->ops->maintain(store);
	inject_stop();
	ck_assert_int_eq(REDIS_ASK("DBSIZE"), 0);
	store->ops->destroy(store);
	free(pages);
}
END_TEST

START_TEST(value_that_is_not_ours_is_noticed)
{
	struct ferry__store *store = redis_make();
	struct ferry__redis_name name;
	struct conform_page pages[4];

	conform_put_all(store, 1, pages, 4);
	name = redis_name_of(store, &pages[0]);
	REDIS_ASK("HSET", name.key, name.field, "short");
	ck_assert_int_eq(conform_get(store, &pages[0]), -EILSEQ);
	name = redis_name_of(store, &pages[1]);
	REDIS_ASK("HSET", name.key, name.field,
		  "long enough for a head, and yet not what was put there");
	ck_assert_int_eq(conform_get(store, &pages[1]), -EILSEQ);
	name = redis_name_of(store, &pages[2]);
	REDIS_ASK("HDEL", name.key, name.field);
	ck_assert_int_eq(conform_get(store, &pages[2]), -EILSEQ);
	ck_assert_int_eq(conform_get(store, &pages[3]), 0);
	store->ops->destroy(store);
}
END_TEST

START_TEST(page_under_another_s_name_is_noticed)
{
	struct ferry__store *store = redis_make();
	struct conform_page pages[65], swapped;

	/* The first and the last are the same field of two keys. */
	conform_put_all(store, 1, pages, 65);
	ck_assert_int_eq(
		REDIS_ASK("EXISTS", redis_name_of(store, &pages[0]).key), 1);
	REDIS_ASK("RENAME", redis_name_of(store, &pages[64]).key,
		  redis_name_of(store, &pages[0]).key);
	swapped = pages[0];
	ck_assert_int_eq(conform_get(store, &swapped), -EILSEQ);
	store->ops->destroy(store);
}
END_TEST

START_TEST(pages_that_do_not_compress_are_kept_whole)
{
	struct ferry__store *store = redis_make();
	unsigned char *out = map_private(page_size());
	unsigned char *in = map_private(page_size());
	ferry__store_handle handle;

	stored_noise(out, 1);
	ck_assert_int_eq(store->ops->put(store, out, 1, &handle), 0);
	ck_assert_uint_gt(conform_stats(store).elsewhere, page_size());
	ck_assert_int_eq(store->ops->get(store, handle, 1, in), 0);
	ck_assert_int_eq(memcmp(in, out, page_size()), 0);
	store->ops->destroy(store);
}
END_TEST

START_TEST(nothing_is_allocated_by_malloc)
{
	struct ferry__store *store = redis_make();
	struct conform_page pages[PAGES];
	size_t before = mallinfo2().uordblks;

	conform_put_all(store, 1, pages, PAGES);
	ck_assert_uint_eq(conform_wrong(store, pages, PAGES), 0);
	store->ops->maintain(store);
	ck_assert_uint_eq(mallinfo2().uordblks, before);
	ck_assert_uint_gt(conform_stats(store).memory, 0);
	store->ops->destroy(store);
}
END_TEST

/* --- forks ---------------------------------------------------------------- */

START_TEST(child_reads_after_its_parent_has_ended)
{
	struct ferry__store *store = redis_make();
	struct conform_page pages[PAGES];
	int pid, ends[2];
	char c;

	ck_assert_int_eq(pipe(ends), 0);
	conform_put_all(store, 1, pages, PAGES);
	pid = conform_fork(store, pages);
	if (!pid) {
		close(ends[1]);
		while (read(ends[0], &c, 1) < 0)
			;
		_exit(conform_wrong(store, pages, PAGES) != 0);
	}
	store->ops->destroy(store);
	close(ends[1]);
	conform_join(pid);
	ck_assert_int_gt(REDIS_ASK("DBSIZE"), 0);
}
END_TEST

START_TEST(child_s_end_leaves_the_parent_s_keys)
{
	struct ferry__store *store = redis_make();
	struct conform_page pages[PAGES], own;
	int pid;

	conform_put_all(store, 1, pages, PAGES);
	pid = conform_fork(store, pages);
	if (!pid) {
		if (conform_put(store, 700, &own))
			_exit(1);
		store->ops->destroy(store);
		_exit(0);
	}
	conform_join(pid);
	ck_assert_uint_eq(conform_wrong(store, pages, PAGES), 0);
	store->ops->maintain(store);
	store->ops->destroy(store);
	ck_assert_int_eq(REDIS_ASK("DBSIZE"), 0);
}
END_TEST

static const struct test tests[] = {
	REDIS_TEST(pages_come_back),
	REDIS_TEST(wrong_tag_is_noticed),
	REDIS_TEST(many_at_once),
	REDIS_TEST(room_is_used_again),
	REDIS_TEST(threads_share_it),
	REDIS_TEST(child_keeps_the_pages),
	REDIS_TEST(parent_goes_on_after_a_fork),
	REDIS_TEST(grandchild_keeps_the_pages),
	REDIS_TEST(goes_on_in_another_table),
	OWN_SERVER_TEST(addresses_are_understood),
	OWN_SERVER_TEST(bad_addresses_are_named),
	OWN_SERVER_TEST(absent_server_is_named),
	OWN_SERVER_TEST(server_of_another_kind_is_named),
	OWN_SERVER_TEST(server_that_may_evict_is_refused),
	REDIS_TEST(server_that_becomes_unfit_gets_no_more),
	OWN_SERVER_TEST(replica_that_only_reads_is_refused),
	OWN_SERVER_TEST(password_and_database_are_used),
	REDIS_TEST(no_more_than_the_limit_is_on_the_server),
	OWN_SERVER_TEST(full_server_loses_nothing),
	REDIS_TEST(keys_end_with_the_store),
	REDIS_TEST(dropped_pages_leave_the_server),
	REDIS_TEST(keys_are_given_time_again_and_again),
	REDIS_TEST(many_keys_are_given_time_by_a_slow_server),
	REDIS_TEST(value_that_is_not_ours_is_noticed),
	REDIS_TEST(page_under_another_s_name_is_noticed),
	REDIS_TEST(pages_that_do_not_compress_are_kept_whole),
	REDIS_TEST(nothing_is_allocated_by_malloc),
	REDIS_TEST(child_reads_after_its_parent_has_ended),
	REDIS_TEST(child_s_end_leaves_the_parent_s_keys),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
