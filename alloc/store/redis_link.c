/* SPDX-License-Identifier: MIT */
/* Connections to Redis servers. */
#include "alloc/store/redis_link.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "alloc/store/redis_pool.h"
#include "uffd/sys.h"

#define MOST_WORDS 8
#define PIECE	   8192 /* read at a time, on the stack */
#define NS_PER_MS  1000000u

/* The names that hiredis.sh gives them. */
int ferry__hi_redisFormatCommandArgv(char **target, int argc, const char **argv,
				     const size_t *lens);
redisReader *ferry__hi_redisReaderCreate(void);
void ferry__hi_redisReaderFree(redisReader *reader);
int ferry__hi_redisReaderFeed(redisReader *reader, const char *buf, size_t len);
int ferry__hi_redisReaderGetReply(redisReader *reader, void **reply);
void ferry__hi_freeReplyObject(void *reply);

/* --- the socket ----------------------------------------------------------- */

/* Waits for @events, at least once looks. Returns 0 or -ETIMEDOUT. */
static int wait_for(int fd, short events, uint64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };
	uint64_t now, ms;
	int r;

	for (;;) {
		now = ferry__sys->now_ns();
		ms = now < deadline ? (deadline - now) / NS_PER_MS + 1 : 0;
		r = ferry__sys->poll(&p, 1, ms < INT_MAX ? (int)ms : INT_MAX);
		if (r > 0)
			return 0;
		if (r < 0 && r != -EINTR && r != -EAGAIN)
			return r;
		if (ferry__sys->now_ns() >= deadline)
			return -ETIMEDOUT;
	}
}

static int finish_connect(int fd, const struct ferry__redis_address *address,
			  uint64_t deadline)
{
	const struct sockaddr *addr = (const struct sockaddr *)&address->addr;
	int r;

	do
		r = ferry__sys->connect(fd, addr, address->len);
	while (r == -EINTR);
	/* A socket in the file system says EAGAIN where its queue is full. */
	if (r != -EINPROGRESS)
		return r == -EAGAIN ? -ETIMEDOUT : r;
	r = wait_for(fd, POLLOUT, deadline);
	return r < 0 ? r : ferry__sys->socket_error(fd);
}

static int open_socket(const struct ferry__redis_address *address,
		       uint64_t deadline)
{
	int r, fd = ferry__sys->socket(address->addr.ss_family,
				       SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return fd;
	if (address->addr.ss_family != AF_UNIX) {
		/* A get is one small packet, which nothing follows. */
		ferry__sys->setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
		ferry__sys->setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	}
	r = finish_connect(fd, address, deadline);
	if (r < 0) {
		ferry__sys->close(fd);
		return r;
	}
	return fd;
}

void ferry__redis_link_forget(struct ferry__redis_link *link)
{
	if (link->reader)
		ferry__hi_redisReaderFree(link->reader);
	link->reader = NULL;
	ferry__redis_free(link->out);
	link->out = NULL;
	link->out_len = 0;
	link->out_size = 0;
	link->fd = -1;
}

void ferry__redis_link_close(struct ferry__redis_link *link)
{
	if (link->fd >= 0)
		ferry__sys->close(link->fd);
	ferry__redis_link_forget(link);
}

static int fail(struct ferry__redis_link *link, int error)
{
	ferry__redis_link_close(link);
	return error;
}

/* --- commands ------------------------------------------------------------- */

static int make_room(struct ferry__redis_link *link, size_t len)
{
	size_t size = link->out_size ? link->out_size : PIECE;
	char *out;

	while (size - link->out_len < len)
		size *= 2;
	if (size == link->out_size)
		return 0;
	out = ferry__redis_realloc(link->out, size);
	if (!out)
		return -ENOMEM;
	link->out = out;
	link->out_size = size;
	return 0;
}

static int add_formatted(struct ferry__redis_link *link, const char *command,
			 size_t len)
{
	int r = make_room(link, len);

	if (r == 0) {
		memcpy(link->out + link->out_len, command, len);
		link->out_len += len;
	}
	return r;
}

int ferry__redis_link_add(struct ferry__redis_link *link,
			  const struct ferry__redis_word *words, size_t n)
{
	const char *argv[MOST_WORDS];
	size_t lens[MOST_WORDS], i;
	char *command;
	int r;

	ferry__check(n <= MOST_WORDS);
	for (i = 0; i < n; i++) {
		argv[i] = words[i].at;
		lens[i] = words[i].len;
	}
	r = ferry__hi_redisFormatCommandArgv(&command, (int)n, argv, lens);
	if (r < 0)
		return fail(link, -ENOMEM);
	r = add_formatted(link, command, (size_t)r);
	ferry__redis_free(command);
	return r < 0 ? fail(link, r) : 0;
}

int ferry__redis_link_say(struct ferry__redis_link *link, const char *first,
			  ...)
{
	struct ferry__redis_word words[MOST_WORDS];
	const char *word;
	va_list list;
	size_t n = 0;

	va_start(list, first);
	for (word = first; word; word = va_arg(list, const char *)) {
		ferry__check(n < MOST_WORDS);
		words[n++] = (struct ferry__redis_word){ word, strlen(word) };
	}
	va_end(list);
	return ferry__redis_link_add(link, words, n);
}

int ferry__redis_link_send(struct ferry__redis_link *link, uint64_t deadline)
{
	size_t done = 0;
	ssize_t r = 0;

	while (done < link->out_len) {
		r = ferry__sys->send(link->fd, link->out + done,
				     link->out_len - done);
		if (r == -EAGAIN)
			r = wait_for(link->fd, POLLOUT, deadline);
		if (r < 0 && r != -EINTR)
			return fail(link, (int)r);
		done += r > 0 ? (size_t)r : 0;
	}
	link->out_len = 0;
	return 0;
}

/* --- replies -------------------------------------------------------------- */

/* Some more bytes for the reader. */
static int feed(struct ferry__redis_link *link, uint64_t deadline)
{
	char buf[PIECE];
	ssize_t n;

	for (;;) {
		n = ferry__sys->recv(link->fd, buf, sizeof(buf));
		if (n == -EAGAIN)
			n = wait_for(link->fd, POLLIN, deadline) ?: -EINTR;
		if (n != -EINTR)
			break;
	}
	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return (int)n;
	return ferry__hi_redisReaderFeed(link->reader, buf, (size_t)n) ==
			       REDIS_OK
		       ? 0
		       : -ENOMEM;
}

int ferry__redis_link_reply(struct ferry__redis_link *link, uint64_t deadline,
			    redisReply **ret_reply)
{
	void *reply = NULL;
	int r;

	for (;;) {
		if (ferry__hi_redisReaderGetReply(link->reader, &reply) !=
		    REDIS_OK)
			return fail(link, -EPROTO);
		if (reply)
			break;
		r = feed(link, deadline);
		if (r < 0)
			return fail(link, r);
	}
	*ret_reply = reply;
	return 0;
}

void ferry__redis_reply_free(redisReply *reply)
{
	if (reply)
		ferry__hi_freeReplyObject(reply);
}

int ferry__redis_link_ask(struct ferry__redis_link *link, uint64_t deadline,
			  redisReply **ret_reply)
{
	int r = ferry__redis_link_send(link, deadline);

	return r < 0 ? r : ferry__redis_link_reply(link, deadline, ret_reply);
}

int ferry__redis_reply_error(const redisReply *reply)
{
	static const struct {
		const char *word;
		int error;
	} known[] = {
		{ "OOM", -ENOSPC },	    { "NOAUTH", -EACCES },
		{ "WRONGPASS", -EACCES },   { "NOPERM", -EACCES },
		{ "READONLY", -EROFS },	    { "LOADING", -EAGAIN },
		{ "BUSY", -EAGAIN },	    { "TRYAGAIN", -EAGAIN },
		{ "MISCONF", -EAGAIN },	    { "NOREPLICAS", -EAGAIN },
		{ "CLUSTERDOWN", -EAGAIN }, { "MASTERDOWN", -EAGAIN },
	};
	size_t i, len;

	if (reply->type != REDIS_REPLY_ERROR)
		return 0;
	len = strcspn(reply->str, " ");
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (len == strlen(known[i].word) &&
		    !memcmp(reply->str, known[i].word, len))
			return known[i].error;
	return -EPROTO;
}

bool ferry__redis_error_passes(int error)
{
	return error == -EAGAIN || error == -ENOSPC || error == -EROFS;
}

/* --- opening -------------------------------------------------------------- */

/* One command whose reply has only to be no error. */
static int expect_ok(struct ferry__redis_link *link, uint64_t deadline)
{
	redisReply *reply;
	int r = ferry__redis_link_ask(link, deadline, &reply);

	if (r < 0)
		return r;
	r = ferry__redis_reply_error(reply);
	ferry__redis_reply_free(reply);
	return r < 0 ? fail(link, r) : 0;
}

static int log_in(struct ferry__redis_link *link,
		  const struct ferry__redis_address *address, uint64_t deadline)
{
	int r;

	if (!*address->password)
		return 0;
	r = *address->user ? ferry__redis_link_say(link, "AUTH", address->user,
						   address->password, NULL)
			   : ferry__redis_link_say(link, "AUTH",
						   address->password, NULL);
	if (r == 0)
		r = expect_ok(link, deadline);
	/* Older servers have no word for a wrong password. */
	return r == -EPROTO && link->fd < 0 ? -EACCES : r;
}

static int select_db(struct ferry__redis_link *link,
		     const struct ferry__redis_address *address,
		     uint64_t deadline)
{
	char number[16];
	int r;

	if (!address->db)
		return 0;
	snprintf(number, sizeof(number), "%u", address->db);
	r = ferry__redis_link_say(link, "SELECT", number, NULL);
	return r < 0 ? r : expect_ok(link, deadline);
}

int ferry__redis_link_open(struct ferry__redis_link *link,
			   const struct ferry__redis_address *address,
			   uint64_t deadline)
{
	int r;

	link->fd = open_socket(address, deadline);
	if (link->fd < 0) {
		r = link->fd;
		link->fd = -1;
		return r;
	}
	link->reader = ferry__hi_redisReaderCreate();
	if (!link->reader)
		return fail(link, -ENOMEM);
	r = log_in(link, address, deadline);
	return r < 0 ? r : select_db(link, address, deadline);
}
