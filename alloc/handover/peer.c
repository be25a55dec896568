/* SPDX-License-Identifier: MIT */
/* Who is at the other end of a socket. */
#include <errno.h>
#include <unistd.h>

#include "alloc/handover/handover-internal.h"

static int option(int sock, int name, int *ret)
{
	socklen_t len = sizeof(*ret);

	return ferry__sys->getsockopt(sock, SOL_SOCKET, name, ret, &len);
}

static int check_kind(int sock)
{
	int domain = 0, type = 0, r;

	r = option(sock, SO_DOMAIN, &domain);
	if (r == 0)
		r = option(sock, SO_TYPE, &type);
	if (r < 0)
		return r;
	if (domain != AF_UNIX)
		return -EPROTOTYPE;
	return type == SOCK_STREAM || type == SOCK_SEQPACKET ? 0 : -EPROTOTYPE;
}

bool ferry__peer_is_trusted(const struct ferry_handover_result *peer)
{
	return !peer->peer_uid || peer->peer_uid == geteuid();
}

int ferry__peer_check(int sock, bool any, struct ferry_handover_result *ret)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int r;

	r = check_kind(sock);
	if (r == 0)
		r = ferry__sys->getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred,
					   &len);
	if (r < 0)
		return r;
	/* Not connected: the kernel knows no peer. */
	if (cred.pid == 0 && cred.uid == (uid_t)-1)
		return -EPROTOTYPE;
	ret->peer_pid = cred.pid;
	ret->peer_uid = cred.uid;
	ret->peer_gid = cred.gid;
	return any || ferry__peer_is_trusted(ret) ? 0 : -EPERM;
}
