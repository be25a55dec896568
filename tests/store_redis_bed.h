/* SPDX-License-Identifier: MIT */
/* Redis stores on a test's own server, and what that has of them. */
#ifndef FERRY_TESTS_STORE_REDIS_BED_H
#define FERRY_TESTS_STORE_REDIS_BED_H

#include "alloc/store/redis.h"
#include "tests/server.h"
#include "tests/store_conform.h"

#define REDIS_TIMEOUT_MS ((unsigned int)(harness_patience(1.0) * 1000))

/* A server with what it is by itself. */
void redis_setup(void);

#define REDIS_TEST(name)                                                       \
	TEST_FIXTURE(name, "redis_server", redis_setup, server_end)
#define OWN_SERVER_TEST(name)                                                  \
	TEST_FIXTURE(name, "redis_server", server_folder, server_end)

/* A store on that server; it must succeed. */
struct ferry__store *redis_make(void);
int redis_make_at(const char *address, struct ferry__store **ret_store);
struct ferry__redis_store *redis_inner(struct ferry__store *store);

/*
 * What a connection of its own is answered: a number, or -1 for the rest; an
 * error must not be.
 */
long long redis_ask(const char *const *words);
#define REDIS_ASK(...) redis_ask((const char *const[]){ __VA_ARGS__, NULL })

/* Where the server has @page. */
struct ferry__redis_name redis_name_of(struct ferry__store *store,
				       const struct conform_page *page);

#endif
