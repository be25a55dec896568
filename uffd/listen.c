/* SPDX-License-Identifier: MIT */
/*
 * Unix sockets at which this process listens to its own user and root.
 *
 * What is assumed of the kernel
 *  - The mode of a socket's descriptor, less the umask, becomes that of its
 *    file at bind(2): there is no moment at which others may connect.
 *  - connect(2) to the file of a socket that is closed answers ECONNREFUSED.
 *  - SO_PEERCRED holds who called connect(2), as of then; later changes of the
 *    peer's ids are not in it. Ids are translated to this process's namespaces.
 *
 * Sources: unix(7), bind(2).
 */
#include "uffd/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "uffd/sys.h"

int ferry__listen_name(const char *path, struct sockaddr_un *ret_name)
{
	size_t len = strlen(path);

	if (!len)
		return -EINVAL;
	if (len >= sizeof(ret_name->sun_path))
		return -ENAMETOOLONG;
	memset(ret_name, 0, sizeof(*ret_name));
	ret_name->sun_family = AF_UNIX;
	memcpy(ret_name->sun_path, path, len);
	return 0;
}

static int open_stream(void)
{
	return ferry__sys->socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
}

bool ferry__listen_exists(const struct sockaddr_un *name)
{
	struct stat st;
	int fd, r;

	fd = ferry__sys->open(name->sun_path, O_PATH | O_NOFOLLOW);
	if (fd < 0)
		return false;
	r = ferry__sys->fstat(fd, &st);
	ferry__sys->close(fd);
	return r == 0 && S_ISSOCK(st.st_mode);
}

/* Does nobody listen at the socket of this name any more? */
static bool is_left_over(const struct sockaddr_un *name)
{
	int fd, r;

	if (!ferry__listen_exists(name))
		return false;
	fd = open_stream();
	if (fd < 0)
		return false;
	r = ferry__sys->connect(fd, (const struct sockaddr *)name,
				sizeof(*name));
	ferry__sys->close(fd);
	return r == -ECONNREFUSED;
}

static int bind_at(int fd, const struct sockaddr_un *name)
{
	const struct sockaddr *addr = (const struct sockaddr *)name;
	int r;

	r = ferry__sys->fchmod(fd, 0600);
	if (r < 0)
		return r;
	r = ferry__sys->bind(fd, addr, sizeof(*name));
	if (r != -EADDRINUSE || !is_left_over(name))
		return r;
	ferry__sys->unlink(name->sun_path);
	return ferry__sys->bind(fd, addr, sizeof(*name));
}

int ferry__listen_open(const struct sockaddr_un *name, int backlog)
{
	int fd, r;

	fd = open_stream();
	if (fd < 0)
		return fd;
	r = bind_at(fd, name);
	if (r < 0)
		goto err_close;
	r = ferry__sys->listen(fd, backlog);
	if (r < 0)
		goto err_unlink;
	return fd;

err_unlink:
	ferry__sys->unlink(name->sun_path);
err_close:
	ferry__sys->close(fd);
	return r;
}

bool ferry__listen_admits(int fd, bool *ret_root)
{
	struct ucred peer;

	if (ferry__sys->peer(fd, &peer) < 0)
		return false;
	if (ret_root)
		*ret_root = peer.uid == 0;
	return peer.uid == 0 || peer.uid == geteuid();
}
