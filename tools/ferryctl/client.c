/* SPDX-License-Identifier: MIT */
/* A client of the policy agent. */
#include "tools/ferryctl/client.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Of version 1: no later struct is shorter. */
#define REPLY_MIN sizeof(struct ferry_agent_reply)

/* Grown by at most this, however long the reply says it is. */
#define STEP ((size_t)1 << 20)

_Static_assert(sizeof(struct ferry_agent_request) == 72, "version 1");
_Static_assert(sizeof(struct ferry_agent_reply) == 80, "version 1");
_Static_assert(sizeof(struct ferry_agent_range) == 16, "version 1");
_Static_assert(sizeof(struct ferry_agent_status) == 24, "version 1");

/* --- bytes ---------------------------------------------------------------- */

static int broken(struct ctl_client *client, int r)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	return r;
}

/* Waits for @events; @patience_ms -1: as long as it takes. */
static int wait_for(int fd, short events, int patience_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	int r;

	do
		r = poll(&p, 1, patience_ms);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return r ? 0 : -ETIMEDOUT;
}

static int send_all(struct ctl_client *client, const void *data, size_t len)
{
	const char *from = data;
	ssize_t n;
	int r;

	while (len) {
		r = wait_for(client->fd, POLLOUT, client->patience_ms);
		if (r < 0)
			return r;
		n = send(client->fd, from, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return errno == EPIPE ? -ECONNRESET : -errno;
		from += n;
		len -= (size_t)n;
	}
	return 0;
}

static int receive(struct ctl_client *client, void *data, size_t len,
		   int first_ms)
{
	int r, patience = first_ms;
	char *to = data;
	ssize_t n;

	while (len) {
		r = wait_for(client->fd, POLLIN, patience);
		if (r < 0)
			return r;
		n = recv(client->fd, to, len, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ECONNRESET;
		to += n;
		len -= (size_t)n;
		patience = client->patience_ms;
	}
	return 0;
}

/* --- requests ------------------------------------------------------------- */

#define LONG_BITS (CHAR_BIT * sizeof(unsigned long))

static size_t mask_words(unsigned int bits)
{
	return (bits + 63) / 64;
}

/* Masks travel in words of 64 bits, whatever a long has. */
static int send_mask(struct ctl_client *client, const unsigned long *nodes,
		     unsigned int bits)
{
	uint64_t word = 0;
	unsigned int i;
	int r = 0;

	for (i = 0; i < bits && r == 0; i++) {
		if (nodes[i / LONG_BITS] >> i % LONG_BITS & 1)
			word |= (uint64_t)1 << i % 64;
		if (i % 64 < 63 && i + 1 < bits)
			continue;
		r = send_all(client, &word, sizeof(word));
		word = 0;
	}
	return r;
}

static int send_request(struct ctl_client *client, const struct ctl_ask *ask)
{
	struct ferry_agent_request head = ask->head;
	size_t text_len = ask->text ? strlen(ask->text) : 0;
	int r;

	head.size = sizeof(head);
	head.version = FERRY_AGENT_VERSION;
	head.id = ++client->id;
	head.text_len = (uint32_t)text_len;
	head.length = sizeof(head) +
		      head.ranges_len * sizeof(struct ferry_agent_range) +
		      mask_words(head.nodes_len) * sizeof(uint64_t) + text_len;
	r = send_all(client, &head, sizeof(head));
	if (r == 0)
		r = send_all(client, ask->ranges,
			     head.ranges_len *
				     sizeof(struct ferry_agent_range));
	if (r == 0)
		r = send_mask(client, ask->nodes, head.nodes_len);
	return r ? r : send_all(client, ask->text, text_len);
}

/* --- replies -------------------------------------------------------------- */

/* Do the parts add up to the whole? */
static bool adds_up(const struct ferry_agent_reply *head)
{
	uint64_t rest, items;

	if (head->size < REPLY_MIN || head->length < head->size ||
	    head->length > CTL_REPLY_MAX)
		return false;
	rest = head->length - head->size;
	if (!head->item_size && head->items_len)
		return false;
	if (head->item_size && head->items_len > rest / head->item_size)
		return false;
	items = head->items_len * head->item_size;
	return head->text_len == rest - items;
}

static int check_head(const struct ctl_client *client,
		      const struct ctl_ask *ask,
		      const struct ferry_agent_reply *head)
{
	if (head->version != FERRY_AGENT_VERSION)
		return -EPROTONOSUPPORT;
	if (head->op != ask->head.op || head->id != client->id ||
	    head->error > 0 || head->error < -4095 || !adds_up(head))
		return -EPROTO;
	return 0;
}

/* Reads over what a longer head has that is not known here. */
static int skip(struct ctl_client *client, uint64_t len)
{
	char buf[256];
	size_t n;
	int r = 0;

	for (; len && r == 0; len -= n) {
		n = len < sizeof(buf) ? (size_t)len : sizeof(buf);
		r = receive(client, buf, n, client->patience_ms);
	}
	return r;
}

/* One byte more than @len, for the end of a text. */
static int receive_body(struct ctl_client *client, uint64_t len,
			char **ret_body)
{
	size_t have = 0, size = 0, n;
	char *body = NULL, *grown;
	int r = 0;

	do {
		n = len - have < STEP ? (size_t)(len - have) : STEP;
		if (have + n + 1 > size) {
			size = 2 * (have + n) + 1;
			size = size > len + 1 ? (size_t)len + 1 : size;
			grown = realloc(body, size);
			if (!grown) {
				r = -ENOMEM;
				break;
			}
			body = grown;
		}
		r = receive(client, body + have, n, client->patience_ms);
		have += n;
	} while (r == 0 && have < len);
	if (r < 0) {
		free(body);
		return r;
	}
	body[len] = '\0';
	*ret_body = body;
	return 0;
}

static int receive_reply(struct ctl_client *client, const struct ctl_ask *ask,
			 int first_ms, struct ctl_reply *reply)
{
	int r;

	r = receive(client, &reply->head, sizeof(reply->head), first_ms);
	if (r == 0)
		r = check_head(client, ask, &reply->head);
	if (r == 0)
		r = skip(client, reply->head.size - sizeof(reply->head));
	if (r < 0)
		return r;
	return receive_body(client, reply->head.length - reply->head.size,
			    &reply->body);
}

static int ask_within(struct ctl_client *client, const struct ctl_ask *ask,
		      int first_ms, struct ctl_reply *ret_reply)
{
	struct ctl_reply reply = { 0 };
	int r;

	if (client->fd < 0)
		return -EPIPE;
	r = send_request(client, ask);
	if (r == 0)
		r = receive_reply(client, ask, first_ms, &reply);
	if (r < 0)
		return broken(client, r);
	if (reply.head.error) {
		ctl_reply_fini(&reply);
		return reply.head.error;
	}
	*ret_reply = reply;
	return 0;
}

int ctl_client_ask(struct ctl_client *client, const struct ctl_ask *ask,
		   struct ctl_reply *ret_reply)
{
	return ask_within(client, ask, -1, ret_reply);
}

void ctl_reply_fini(struct ctl_reply *reply)
{
	free(reply->body);
	reply->body = NULL;
}

void ctl_reply_item(const struct ctl_reply *reply, uint64_t i, void *ret_item,
		    size_t size)
{
	size_t have = reply->head.item_size;

	memset(ret_item, 0, size);
	memcpy(ret_item, reply->body + i * have, have < size ? have : size);
}

const char *ctl_reply_text(const struct ctl_reply *reply)
{
	return reply->body + reply->head.items_len * reply->head.item_size;
}

/* --- connections ---------------------------------------------------------- */

int ctl_client_init(struct ctl_client *client, int fd, int patience_ms)
{
	const struct ctl_ask hello = { .head.op = FERRY_AGENT_HELLO };
	struct ctl_reply reply;
	int r;

	*client = (struct ctl_client){ .fd = fd, .patience_ms = patience_ms };
	r = ask_within(client, &hello, patience_ms, &reply);
	if (r < 0)
		return broken(client, r);
	if (reply.head.items_len == 1)
		ctl_reply_item(&reply, 0, &client->limits,
			       sizeof(client->limits));
	else
		r = broken(client, -EPROTO);
	ctl_reply_fini(&reply);
	return r;
}

void ctl_client_fini(struct ctl_client *client)
{
	broken(client, 0);
}

bool ctl_client_offers(const struct ctl_client *client, enum ferry_agent_op op)
{
	return client->limits.ops >> op & 1;
}

size_t ctl_client_batch(const struct ctl_client *client, unsigned int nodes)
{
	uint64_t fixed = sizeof(struct ferry_agent_request) +
			 mask_words(nodes) * sizeof(uint64_t);
	uint64_t n = client->limits.ranges_max;

	if (client->limits.request_max < fixed)
		return 0;
	fixed = (client->limits.request_max - fixed) /
		sizeof(struct ferry_agent_range);
	n = n < fixed ? n : fixed;
	/* More gain nothing, and are told of later. */
	return n < 4096 ? (size_t)n : 4096;
}
