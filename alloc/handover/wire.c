/* SPDX-License-Identifier: MIT */
/*
 * Messages: whole or not at all, with their descriptors, within a time.
 *
 * What is assumed of the kernel
 *  - Descriptors come with the first byte of what they were sent with, and a
 *    read never goes beyond the end of that (unix(7)).
 *  - Descriptors that find no room are closed by the kernel (MSG_CTRUNC).
 *  - A socket that is closed with messages unread closes their descriptors.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "alloc/handover/handover-internal.h"

#define TIMEOUT_DEFAULT_NS 30000000000u
#define MS_NS		   1000000u
#define HOUR_MS		   3600000

uint64_t ferry__wire_deadline(uint64_t timeout_ns)
{
	uint64_t now = ferry__sys->now_ns();

	if (!timeout_ns)
		timeout_ns = TIMEOUT_DEFAULT_NS;
	return timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
}

/* What is left until @deadline for poll(2), rounded up; never all of it. */
static int left_ms(uint64_t deadline)
{
	uint64_t now = ferry__sys->now_ns(), ms;

	if (now >= deadline)
		return 0;
	ms = (deadline - now - 1) / MS_NS + 1;
	return ms < HOUR_MS ? (int)ms : HOUR_MS;
}

/* Waits until the socket is worth another try, or its end has come. */
static int wait_for(int sock, short events, uint64_t deadline)
{
	struct pollfd p = { .fd = sock, .events = events };
	int r, ms;

	ms = left_ms(deadline);
	if (!ms)
		return -ETIMEDOUT;
	r = ferry__sys->poll(&p, 1, ms);
	return r < 0 && r != -EINTR ? r : 0;
}

/* --- sending -------------------------------------------------------------- */

/* Room for the descriptors of one message, aligned as the kernel wants. */
union ancillary {
	struct cmsghdr head;
	char room[CMSG_SPACE(FERRY__WIRE_FDS * sizeof(int))];
};

static void attach(struct msghdr *msg, union ancillary *a, const int *fds,
		   size_t n)
{
	memset(a, 0, sizeof(*a));
	a->head.cmsg_level = SOL_SOCKET;
	a->head.cmsg_type = SCM_RIGHTS;
	a->head.cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(&a->head), fds, n * sizeof(int));
	msg->msg_control = a;
	msg->msg_controllen = CMSG_SPACE(n * sizeof(int));
}

static ssize_t send_part(int sock, const char *from, size_t len, const int *fds,
			 size_t n)
{
	struct iovec iov = { (void *)from, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union ancillary a;

	if (n)
		attach(&msg, &a, fds, n);
	return ferry__sys->sendmsg(sock, &msg);
}

int ferry__wire_send(int sock, struct ferry__wire *wire, const int *fds,
		     size_t n, uint64_t deadline)
{
	size_t done = 0;
	ssize_t sent;
	int r = 0;

	wire->magic = FERRY__WIRE_MAGIC;
	wire->version = FERRY__WIRE_VERSION;
	while (r == 0 && done < sizeof(*wire)) {
		sent = send_part(sock, (char *)wire + done,
				 sizeof(*wire) - done, fds, done ? 0 : n);
		if (sent > 0)
			done += (size_t)sent;
		else if (sent == -EAGAIN)
			r = wait_for(sock, POLLOUT, deadline);
		else if (sent == -ECONNRESET)
			return -EPIPE;
		else if (sent < 0 && sent != -EINTR)
			return (int)sent;
	}
	return r;
}

/* --- receiving ------------------------------------------------------------ */

void ferry__mail_close(struct ferry__mail *mail)
{
	int i;

	for (i = 0; i < FERRY__WIRE_FDS; i++) {
		if (mail->fd[i] >= 0)
			ferry__sys->close(mail->fd[i]);
		mail->fd[i] = -1;
	}
}

/* Takes the descriptors of @msg over; false: there are too many. */
static bool detach(struct msghdr *msg, struct ferry__mail *mail)
{
	struct cmsghdr *c;
	size_t i, n, got = 0;
	int fd;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < n; i++, got++) {
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (got < FERRY__WIRE_FDS)
				mail->fd[got] = fd;
			else
				ferry__sys->close(fd);
		}
	}
	return got <= FERRY__WIRE_FDS;
}

/* Besides the descriptors a socket may tell whose they are (SO_PASSCRED). */
union received {
	struct cmsghdr head;
	char room[CMSG_SPACE(FERRY__WIRE_FDS * sizeof(int)) +
		  CMSG_SPACE(sizeof(struct ucred))];
};

/* One read; descriptors may come with the first of a message only. */
static ssize_t recv_part(int sock, struct ferry__mail *mail, size_t done)
{
	struct ferry__mail part = { .fd = { -1, -1 } };
	struct iovec iov = { (char *)&mail->wire + done,
			     sizeof(mail->wire) - done };
	union received a;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &a,
		.msg_controllen = sizeof(a.room),
	};
	bool fits;
	ssize_t n;

	n = ferry__sys->recvmsg(sock, &msg);
	if (n < 0)
		return n;
	fits = detach(&msg, done ? &part : mail);
	if (!fits || part.fd[0] >= 0 ||
	    msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		ferry__mail_close(&part);
		return -EPROTO;
	}
	return n;
}

static int recv_whole(int sock, struct ferry__mail *mail, uint64_t deadline)
{
	size_t done = 0;
	ssize_t n;
	int r = 0;

	while (r == 0 && done < sizeof(mail->wire)) {
		n = recv_part(sock, mail, done);
		if (n > 0)
			done += (size_t)n;
		else if (n == -EAGAIN)
			r = wait_for(sock, POLLIN, deadline);
		else if (n == 0 || n == -ECONNRESET)
			return done ? -EPROTO : -EPIPE;
		else if (n != -EINTR)
			return (int)n;
	}
	return r;
}

/* Has it the descriptors that its kind has? */
static bool is_complete(const struct ferry__mail *mail)
{
	bool first = mail->fd[0] >= 0, second = mail->fd[1] >= 0;

	switch (mail->wire.kind) {
	case FERRY__WIRE_OFFER:
		return first &&
		       second == (mail->wire.way == FERRY_HANDOVER_SHARED);
	case FERRY__WIRE_READY:
	case FERRY__WIRE_FILLED:
		return !second;
	case FERRY__WIRE_ANSWER:
		return !first;
	default:
		return false;
	}
}

/* One message, of whatever kind. */
static int recv_any(int sock, struct ferry__mail *mail, uint64_t deadline)
{
	int r;

	memset(mail, 0, sizeof(*mail));
	memset(mail->fd, -1, sizeof(mail->fd));
	r = recv_whole(sock, mail, deadline);
	if (r == 0 &&
	    (mail->wire.magic != FERRY__WIRE_MAGIC ||
	     mail->wire.version != FERRY__WIRE_VERSION || !is_complete(mail)))
		r = -EPROTO;
	if (r < 0)
		ferry__mail_close(mail);
	return r;
}

/* What nobody waits for any more: the word of its offer has been decided. */
static bool is_stale(const struct ferry__mail *mail)
{
	return mail->wire.kind != FERRY__WIRE_OFFER;
}

int ferry__wire_recv(int sock, enum ferry__wire_kind want, uint64_t id,
		     struct ferry__mail *ret_mail, uint64_t deadline)
{
	int r;

	for (;;) {
		r = recv_any(sock, ret_mail, deadline);
		if (r < 0)
			return r;
		if (ret_mail->wire.kind == want &&
		    (!id || ret_mail->wire.id == id))
			return 0;
		ferry__mail_close(ret_mail);
		/* Who waits for an answer looks at the word for himself. */
		if (!is_stale(ret_mail))
			return -EPROTO;
		/* A peer can send such without an end. */
		if (!left_ms(deadline))
			return -ETIMEDOUT;
		if (want == FERRY__WIRE_ANSWER ||
		    (id && ret_mail->wire.kind == FERRY__WIRE_ANSWER))
			return 0;
	}
}
