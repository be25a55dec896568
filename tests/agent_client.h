/* SPDX-License-Identifier: MIT */
/*
 * A client of the policy agent, for tests: it can say what no honest one would.
 * Each function asserts its own success unless it returns one.
 */
#ifndef FERRY_TESTS_AGENT_CLIENT_H
#define FERRY_TESTS_AGENT_CLIENT_H

#include <ferry/agent.h>

/* Makes a folder of this test's own and starts the agent in it. */
void agent_start(const struct ferry_agent_params *params);
/* Stops it and removes the folder. */
void agent_stop(void);
/* The folder; "" before agent_start(). */
const char *agent_folder(void);

/* A connection to the agent of this process. */
int agent_dial(void);

/* A request of this version, all else zero. */
struct ferry_agent_request agent_request(enum ferry_agent_op op);

struct answer {
	struct ferry_agent_reply head;
	char *body; /* items, then text, then a NUL */
};

/* Sends a request with its length filled in. False: hung up on. */
bool agent_send(int fd, struct ferry_agent_request req,
		const struct ferry_agent_range *ranges, const uint64_t *nodes,
		const char *text);
bool agent_send_bytes(int fd, const void *bytes, size_t len);

/* The next reply, to be freed. False: the agent has hung up. */
bool agent_hear(int fd, struct answer *ret);
void answer_free(struct answer *a);

/* One request over a connection of its own. */
struct answer agent_ask(struct ferry_agent_request req,
			const struct ferry_agent_range *ranges,
			const uint64_t *nodes, const char *text);

/* Item @i of the answer, as it is laid out in this version. */
const struct ferry_agent_status *answer_status(const struct answer *a,
					       size_t i);
const void *answer_item(const struct answer *a, size_t i);
const char *answer_text(const struct answer *a);

#endif
