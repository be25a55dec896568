/* SPDX-License-Identifier: MIT */
/* A client of the policy agent, for tests. */
#include "tests/agent_client.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/harness.h"

static char folder[64];

void agent_start(const struct ferry_agent_params *params)
{
	struct ferry_agent_params p = FERRY_INIT(struct ferry_agent_params);

	if (params)
		p = *params;
	strcpy(folder, "/tmp/ferry-agent-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	p.dir = folder;
	ck_assert_int_eq(setenv("FERRY_AGENT_DIR", folder, 1), 0);
	ck_assert_int_eq(ferry_agent_start(&p), 0);
}

void agent_stop(void)
{
	ferry_agent_stop();
	ck_assert_int_eq(rmdir(folder), 0);
	folder[0] = '\0';
}

const char *agent_folder(void)
{
	return folder;
}

int agent_dial(void)
{
	int fd = ferry_agent_connect(0);

	ck_assert_int_ge(fd, 0);
	return fd;
}

struct ferry_agent_request agent_request(enum ferry_agent_op op)
{
	static uint64_t id;

	return (struct ferry_agent_request){
		.size = sizeof(struct ferry_agent_request),
		.version = FERRY_AGENT_VERSION,
		.op = (uint16_t)op,
		.id = ++id,
	};
}

bool agent_send_bytes(int fd, const void *bytes, size_t len)
{
	const char *p = bytes;
	ssize_t n;

	for (; len; p += n, len -= (size_t)n) {
		n = send(fd, p, len, MSG_NOSIGNAL);
		if (n < 0)
			return false;
	}
	return true;
}

bool agent_send(int fd, struct ferry_agent_request req,
		const struct ferry_agent_range *ranges, const uint64_t *nodes,
		const char *text)
{
	size_t masks = (req.nodes_len + 63) / 64 * sizeof(uint64_t);
	size_t vector = req.ranges_len * sizeof(*ranges);

	if (text)
		req.text_len = (uint32_t)strlen(text);
	req.length = sizeof(req) + vector + masks + req.text_len;
	return agent_send_bytes(fd, &req, sizeof(req)) &&
	       agent_send_bytes(fd, ranges, vector) &&
	       agent_send_bytes(fd, nodes, masks) &&
	       agent_send_bytes(fd, text, req.text_len);
}

static bool hear_bytes(int fd, void *bytes, size_t len)
{
	char *p = bytes;
	ssize_t n;

	for (; len; p += n, len -= (size_t)n) {
		n = recv(fd, p, len, 0);
		if (n <= 0)
			return false;
	}
	return true;
}

bool agent_hear(int fd, struct answer *ret)
{
	size_t len;

	if (!hear_bytes(fd, &ret->head, sizeof(ret->head)))
		return false;
	ck_assert_uint_eq(ret->head.size, sizeof(ret->head));
	ck_assert_uint_eq(ret->head.length,
			  sizeof(ret->head) +
				  ret->head.items_len * ret->head.item_size +
				  ret->head.text_len);
	len = ret->head.length - sizeof(ret->head);
	ret->body = calloc(1, len + 1);
	if (hear_bytes(fd, ret->body, len))
		return true;
	answer_free(ret);
	return false;
}

void answer_free(struct answer *a)
{
	free(a->body);
	a->body = NULL;
}

struct answer agent_ask(struct ferry_agent_request req,
			const struct ferry_agent_range *ranges,
			const uint64_t *nodes, const char *text)
{
	struct answer a = { .body = NULL };
	int fd = agent_dial();

	ck_assert(agent_send(fd, req, ranges, nodes, text));
	ck_assert(agent_hear(fd, &a));
	ck_assert_uint_eq(a.head.id, req.id);
	ck_assert_uint_eq(a.head.op, req.op);
	close(fd);
	return a;
}

const void *answer_item(const struct answer *a, size_t i)
{
	ck_assert_uint_lt(i, a->head.items_len);
	return a->body + i * a->head.item_size;
}

const struct ferry_agent_status *answer_status(const struct answer *a, size_t i)
{
	ck_assert_uint_eq(a->head.item_size, sizeof(struct ferry_agent_status));
	return answer_item(a, i);
}

const char *answer_text(const struct answer *a)
{
	return a->body + a->head.items_len * a->head.item_size;
}

/*
 * ThreadSanitizer knows descriptors by their numbers alone. The agent's thread
 * has a table of its own, in which the same numbers are other files.
 */
FERRY_EXPORT const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:linux_accept\nrace:linux_recv\nrace:linux_send\n"
	       "race:linux_poll\nrace:linux_close\nrace:linux_socket\n"
	       "race:linux_signalfd\nrace:linux_connect\nrace:linux_read\n";
}
