/* SPDX-License-Identifier: MIT */
/* Addresses of Redis servers. */
#include "alloc/store/redis_address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define PORT "6379"

static bool starts(const char *text, const char *with, const char **ret_rest)
{
	size_t len = strlen(with);

	if (strncmp(text, with, len))
		return false;
	*ret_rest = text + len;
	return true;
}

static int copy(char *to, size_t size, const char *from, size_t len)
{
	if (len >= size)
		return -ENAMETOOLONG;
	memcpy(to, from, len);
	to[len] = '\0';
	return 0;
}

static int number(const char *text, unsigned int *ret)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (end == text || *end || n > INT32_MAX || *text == '-')
		return -EINVAL;
	*ret = (unsigned int)n;
	return 0;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Replaces %XX in place. */
static int unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (*text != '%') {
			*to++ = *text;
			continue;
		}
		if (hex(text[1]) < 0 || hex(text[2]) < 0)
			return -EINVAL;
		*to++ = (char)(hex(text[1]) << 4 | hex(text[2]));
		text += 2;
	}
	*to = '\0';
	return 0;
}

/* "[user]:password@" or "password@" in front; @text goes on after it. */
static int parse_login(const char **text, const char *end,
		       struct ferry__redis_address *ret)
{
	const char *at = memrchr(*text, '@', (size_t)(end - *text));
	const char *colon, *password = *text;
	int r = 0;

	if (!at)
		return 0;
	colon = memchr(*text, ':', (size_t)(at - *text));
	if (colon) {
		r = copy(ret->user, sizeof(ret->user), *text,
			 (size_t)(colon - *text));
		password = colon + 1;
	}
	if (r == 0)
		r = copy(ret->password, sizeof(ret->password), password,
			 (size_t)(at - password));
	if (r == 0)
		r = unescape(ret->user);
	if (r == 0)
		r = unescape(ret->password);
	*text = at + 1;
	return r;
}

static int at_path(const char *path, size_t len,
		   struct ferry__redis_address *ret)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&ret->addr;

	un->sun_family = AF_UNIX;
	ret->len = sizeof(*un);
	return len ? copy(un->sun_path, sizeof(un->sun_path), path, len)
		   : -EINVAL;
}

static int resolve(const char *host, const char *port,
		   struct ferry__redis_address *ret)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;

	if (getaddrinfo(host, port, &hints, &found))
		return -EHOSTUNREACH;
	memcpy(&ret->addr, found->ai_addr, found->ai_addrlen);
	ret->len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

/* "host", "host:port", "[host]:port" in [@text, @end). */
static int at_host(const char *text, const char *end,
		   struct ferry__redis_address *ret)
{
	char host[FERRY__REDIS_TEXT], port[16] = PORT;
	const char *close = memchr(text, ']', (size_t)(end - text));
	const char *after = close ? close : text;
	const char *colon = memchr(after, ':', (size_t)(end - after));
	const char *host_end = close ? close : colon ? colon : end;
	unsigned int n;
	int r;

	if (close && (*text++ != '[' || (close + 1 != end && !colon)))
		return -EINVAL;
	if (colon) {
		r = copy(port, sizeof(port), colon + 1,
			 (size_t)(end - colon - 1));
		if (r < 0 || number(port, &n) < 0 || !n || n > UINT16_MAX)
			return -EINVAL;
	}
	if (host_end == text)
		return -EINVAL;
	r = copy(host, sizeof(host), text, (size_t)(host_end - text));
	return r < 0 ? r : resolve(host, port, ret);
}

static int parse_redis(const char *text, struct ferry__redis_address *ret)
{
	const char *slash = strrchr(text, '/');
	const char *at = strrchr(text, '@');
	const char *end;
	int r;

	if (slash && at && slash < at)
		slash = NULL;
	end = slash ? slash : text + strlen(text);
	r = slash && slash[1] ? number(slash + 1, &ret->db) : 0;
	if (r == 0)
		r = parse_login(&text, end, ret);
	return r < 0 ? r : at_host(text, end, ret);
}

static int parse_unix(const char *text, struct ferry__redis_address *ret)
{
	const char *end = text + strcspn(text, "?"), *db;
	int r = 0;

	if (*end)
		r = starts(end, "?db=", &db) ? number(db, &ret->db) : -EINVAL;
	/* A path may have an @, too. */
	if (r == 0 && *text != '/')
		r = parse_login(&text, text + strcspn(text, "/"), ret);
	if (r == 0 && *text != '/')
		r = -EINVAL;
	return r < 0 ? r : at_path(text, (size_t)(end - text), ret);
}

int ferry__redis_address_parse(const char *text,
			       struct ferry__redis_address *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (starts(text, "rediss://", &text))
		return -EPROTONOSUPPORT;
	if (starts(text, "redis://", &text))
		return parse_redis(text, ret);
	if (starts(text, "unix://", &text))
		return parse_unix(text, ret);
	if (*text == '/')
		return at_path(text, strlen(text), ret);
	if (strstr(text, "://"))
		return -EPROTONOSUPPORT;
	return at_host(text, text + strlen(text), ret);
}
