/* SPDX-License-Identifier: MIT */
/* Where a Redis server is, and how to be let in. */
#ifndef FERRY_ALLOC_STORE_REDIS_ADDRESS_H
#define FERRY_ALLOC_STORE_REDIS_ADDRESS_H

#include <sys/socket.h>

#define FERRY__REDIS_TEXT 256

struct ferry__redis_address {
	struct sockaddr_storage addr;
	socklen_t len;
	char user[FERRY__REDIS_TEXT];	  /* empty: the default user */
	char password[FERRY__REDIS_TEXT]; /* empty: none is asked for */
	unsigned int db;
};

/*
 * Understands
 *	host, host:port, [v6-address]:port, /path/of/socket
 *	redis://[[user]:password@]host[:port][/db]
 *	unix://[[user]:password@]/path[?db=N]
 * with %-escapes in user and password, and resolves the host: one address,
 * for good. Allocates (getaddrinfo(3)) and may wait for name servers.
 * Returns 0; -EINVAL not understood; -ENAMETOOLONG; -EPROTONOSUPPORT for TLS
 * (rediss://); -EHOSTUNREACH no such host.
 */
int ferry__redis_address_parse(const char *text,
			       struct ferry__redis_address *ret);

#endif
