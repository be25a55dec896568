/* SPDX-License-Identifier: MIT */
/* policy_client.c: the agent of this program, asked over its socket. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "policy.h"

int policy_agent_start(struct policy_agent *agent)
{
	struct ferry_agent_params p = FERRY_INIT(struct ferry_agent_params);
	int rc;

	*agent = (struct policy_agent){ .fd = -1 };
	strcpy(agent->dir, "/tmp/ferry-bench-XXXXXX");
	if (!mkdtemp(agent->dir))
		return -errno;
	p.dir = agent->dir;
	setenv("FERRY_AGENT_DIR", agent->dir, 1);
	rc = ferry_agent_start(&p);
	if (rc < 0)
		goto err_dir;
	agent->fd = ferry_agent_connect(0);
	if (agent->fd >= 0)
		return 0;
	rc = agent->fd;
	ferry_agent_stop();
err_dir:
	rmdir(agent->dir);
	return rc;
}

void policy_agent_stop(struct policy_agent *agent)
{
	close(agent->fd);
	ferry_agent_stop();
	rmdir(agent->dir);
	free(agent->reply);
}

static int send_all(int fd, struct iovec *iov, size_t n)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	ssize_t sent;

	while (msg.msg_iovlen) {
		sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		for (; msg.msg_iovlen && (size_t)sent >= msg.msg_iov->iov_len;
		     msg.msg_iov++, msg.msg_iovlen--)
			sent -= (ssize_t)msg.msg_iov->iov_len;
		if (msg.msg_iovlen) {
			msg.msg_iov->iov_base =
				(char *)msg.msg_iov->iov_base + sent;
			msg.msg_iov->iov_len -= (size_t)sent;
		}
	}
	return 0;
}

/* At least @want bytes of the reply, of which @have are there. */
static int receive(struct policy_agent *agent, size_t *have, size_t want)
{
	ssize_t got;

	if (agent->room < want) {
		agent->reply = bench_grow(agent->reply, want, 1);
		agent->room = want;
	}
	while (*have < want) {
		got = recv(agent->fd, agent->reply + *have, agent->room - *have,
			   0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -ECONNRESET;
		*have += (size_t)got;
	}
	return 0;
}

static int hear(struct policy_agent *agent)
{
	struct ferry_agent_reply head;
	size_t have = 0;
	int rc;

	rc = receive(agent, &have, sizeof(head));
	if (rc < 0)
		return rc;
	memcpy(&head, agent->reply, sizeof(head));
	rc = receive(agent, &have, head.length);
	if (rc < 0 || head.error)
		return rc < 0 ? rc : head.error;
	return head.failed ? -EIO : 0;
}

int policy_agent_ask(struct policy_agent *agent, struct ferry_agent_request req,
		     const struct ferry_agent_range *ranges, size_t n,
		     const uint64_t *mask)
{
	struct iovec iov[3] = {
		{ &req, sizeof(req) },
		{ (void *)(uintptr_t)ranges, n * sizeof(*ranges) },
		{ (void *)(uintptr_t)mask,
		  (req.nodes_len + 63) / 64 * sizeof(*mask) },
	};
	int rc;

	req.size = sizeof(req);
	req.version = FERRY_AGENT_VERSION;
	req.ranges_len = (uint32_t)n;
	req.length = iov[0].iov_len + iov[1].iov_len + iov[2].iov_len;
	rc = send_all(agent->fd, iov, BENCH_ARRAY_LEN(iov));
	return rc < 0 ? rc : hear(agent);
}
