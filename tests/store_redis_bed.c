/* SPDX-License-Identifier: MIT */
#include "tests/store_redis_bed.h"

#include <string.h>

#include "uffd/sys.h"

#define MOST_WORDS 8

void redis_setup(void)
{
	server_folder();
	server_start((const char *const[]){ NULL });
}

int redis_make_at(const char *address, struct ferry__store **ret_store)
{
	return ferry__store_redis_create(address, REDIS_TIMEOUT_MS, 0,
					 ret_store);
}

struct ferry__store *redis_make(void)
{
	struct ferry__store *store = NULL;

	ck_assert_int_eq(redis_make_at(server_path, &store), 0);
	return store;
}

struct ferry__redis_store *redis_inner(struct ferry__store *store)
{
	return (struct ferry__redis_store *)store;
}

/* What a connection of its own is answered: a number, or -1 for the rest. */
long long redis_ask(const char *const *words)
{
	struct ferry__redis_link link = { .fd = -1 };
	struct ferry__redis_word list[MOST_WORDS];
	struct ferry__redis_address address;
	redisReply *reply = NULL;
	uint64_t deadline;
	long long number;
	size_t n = 0;

	deadline = ferry__sys->now_ns() + REDIS_TIMEOUT_MS * 1000000ull;
	for (; words[n]; n++)
		list[n] = (struct ferry__redis_word){ words[n],
						      strlen(words[n]) };
	ck_assert_int_eq(ferry__redis_address_parse(server_path, &address), 0);
	ck_assert_int_eq(ferry__redis_link_open(&link, &address, deadline), 0);
	ck_assert_int_eq(ferry__redis_link_add(&link, list, n), 0);
	ck_assert_int_eq(ferry__redis_link_ask(&link, deadline, &reply), 0);
	number = reply->type == REDIS_REPLY_INTEGER ? reply->integer : -1;
	ck_assert_int_ne(reply->type, REDIS_REPLY_ERROR);
	ferry__redis_reply_free(reply);
	ferry__redis_link_close(&link);
	return number;
}

struct ferry__redis_name redis_name_of(struct ferry__store *store,
				       const struct conform_page *page)
{
	struct ferry__redis_name name;

	ferry__redis_name(redis_inner(store), page->handle, &name);
	return name;
}
