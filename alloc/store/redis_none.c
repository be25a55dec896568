/* SPDX-License-Identifier: MIT */
/* In place of the Redis store, where it could not be built. */
#include "alloc/store/store.h"

#include <errno.h>

int ferry__store_redis_create(const char *address, unsigned int timeout_ms,
			      uint64_t limit, struct ferry__store **ret_store)
{
	(void)address;
	(void)timeout_ms;
	(void)limit;
	(void)ret_store;
	return -EOPNOTSUPP;
}
