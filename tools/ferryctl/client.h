/* SPDX-License-Identifier: MIT */
/*
 * A client of the policy agent (ferry/agent.h, doc/agent-protocol.md).
 *
 * Nothing that comes over the socket is believed: lengths must add up, memory
 * grows with the bytes that have come and not with those that are promised,
 * and an agent that says less than it announced is not waited for. A broken
 * connection stays broken: every later call answers -EPIPE.
 */
#ifndef FERRYCTL_CLIENT_H
#define FERRYCTL_CLIENT_H

#include <ferry/agent.h>

struct ctl_client {
	int fd; /* the client's; -1: broken or closed */
	uint64_t id;
	/* Without a byte for so long, a reply that has begun is given up. */
	int patience_ms;
	struct ferry_agent_limits limits;
};

struct ctl_reply {
	struct ferry_agent_reply head; /* fields this program does not know
					  are cut off */
	char *body;		       /* items, then the text */
};

/* Most bytes of one reply that are taken. */
#define CTL_REPLY_MAX ((uint64_t)256 << 20)

#define CTL_PATIENCE_MS 10000

/*
 * Takes @fd over and says hello. Returns 0; -EPROTO: what answers is no agent
 * or not a sound one; -EPROTONOSUPPORT: it speaks another version;
 * -ETIMEDOUT; -ECONNRESET: it hung up; -ENOMEM.
 */
int ctl_client_init(struct ctl_client *client, int fd, int patience_ms);
void ctl_client_fini(struct ctl_client *client);

/* Is operation @op offered? */
bool ctl_client_offers(const struct ctl_client *client, enum ferry_agent_op op);

/* Ranges that fit into one request with a mask of @nodes bits; 0: none. */
size_t ctl_client_batch(const struct ctl_client *client, unsigned int nodes);

/* What stands behind a request; each may be absent. */
struct ctl_ask {
	struct ferry_agent_request head; /* op and its fields; lengths, id
					    and size are filled in */
	const struct ferry_agent_range *ranges;
	const unsigned long *nodes;
	const char *text;
};

/*
 * Asks and waits for the reply: for its first byte as long as it takes, as
 * moving much memory does. A reply with .error is one, too: that is looked at
 * here, and returned. Returns 0, the agent's error, or those of
 * ctl_client_init(). Undo with ctl_reply_fini() after 0.
 */
int ctl_client_ask(struct ctl_client *client, const struct ctl_ask *ask,
		   struct ctl_reply *ret_reply);
void ctl_reply_fini(struct ctl_reply *reply);

/* Item @i, as far as both sides know its fields; the rest is zero. */
void ctl_reply_item(const struct ctl_reply *reply, uint64_t i, void *ret_item,
		    size_t size);

/* The text as a string; static storage is "". */
const char *ctl_reply_text(const struct ctl_reply *reply);

#endif
