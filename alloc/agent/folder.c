/* SPDX-License-Identifier: MIT */
/*
 * Where agents listen: a folder in which nobody else can put a socket of that
 * name, and the way there for who asks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/agent/agent-internal.h"
#include "uffd/listen.h"
#include "uffd/sys.h"

#define NAME "ferry-agent"

/* Room for a folder; a longer one is too long for a socket in it. */
#define FOLDER_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

static int socket_name(const char *dir, pid_t pid, struct sockaddr_un *ret_name)
{
	char path[2 * FOLDER_MAX];
	int n = snprintf(path, sizeof(path), "%s/" NAME ".%d", dir, (int)pid);

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	return ferry__listen_name(path, ret_name);
}

/* --- for the agent ------------------------------------------------------------ */

static bool is_safe(const struct stat *st)
{
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return false;
	return !(st->st_mode & (S_IWGRP | S_IWOTH)) || st->st_mode & S_ISVTX;
}

/* Is it a folder in which others cannot replace what is ours? */
static int check_folder(const char *dir, int more_flags)
{
	struct stat st;
	int fd, r;

	fd = ferry__sys->open(dir, O_PATH | O_DIRECTORY | more_flags);
	if (fd < 0)
		return fd;
	r = ferry__sys->fstat(fd, &st);
	ferry__sys->close(fd);
	if (r < 0)
		return r;
	return is_safe(&st) ? 0 : -EACCES;
}

/* In /tmp others may have been first: neither a link nor theirs will do. */
static int make_own(char *dir, size_t size)
{
	int r;

	snprintf(dir, size, "/tmp/ferry-%u", (unsigned int)geteuid());
	r = ferry__sys->mkdir(dir, 0700);
	return r < 0 && r != -EEXIST ? r : check_folder(dir, O_NOFOLLOW);
}

static int take(const char *from, char *dir, size_t size)
{
	if (*from != '/')
		return -EINVAL;
	if (strlen(from) >= size)
		return -ENAMETOOLONG;
	strcpy(dir, from);
	return check_folder(dir, 0);
}

/* The environment of a setuid program is not believed. */
static int choose(const char *wish, char *dir, size_t size)
{
	if (!wish)
		wish = secure_getenv("FERRY_AGENT_DIR");
	if (wish)
		return take(wish, dir, size);
	wish = secure_getenv("XDG_RUNTIME_DIR");
	if (wish && take(wish, dir, size) == 0)
		return 0;
	if (take("/run/ferry", dir, size) == 0 && access(dir, W_OK) == 0)
		return 0;
	return make_own(dir, size);
}

int ferry__agent_name(const char *dir, struct sockaddr_un *ret_name)
{
	char chosen[FOLDER_MAX];
	int r;

	r = choose(dir, chosen, sizeof(chosen));
	if (r < 0)
		return r;
	return socket_name(chosen, ferry__sys->getpid(), ret_name);
}

/* --- for who asks -------------------------------------------------------------- */

/* The user whose process it is. */
static int owner_of(pid_t pid, uid_t *ret_uid)
{
	char path[32];
	struct stat st;
	int fd, r;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	fd = ferry__sys->open(path, O_PATH | O_DIRECTORY);
	if (fd < 0)
		return fd == -ENOENT ? -ESRCH : fd;
	r = ferry__sys->fstat(fd, &st);
	ferry__sys->close(fd);
	if (r == 0)
		*ret_uid = st.st_uid;
	return r;
}

static bool there_in(const char *dir, pid_t pid, struct sockaddr_un *ret_name)
{
	return dir && socket_name(dir, pid, ret_name) == 0 &&
	       ferry__listen_exists(ret_name);
}

static int find(pid_t pid, struct sockaddr_un *ret_name)
{
	char run[32], tmp[32];
	uid_t uid = 0;
	int r;

	if (pid < 0)
		return -EINVAL;
	if (!pid)
		pid = ferry__sys->getpid();
	r = owner_of(pid, &uid);
	if (r < 0)
		return r;
	snprintf(run, sizeof(run), "/run/user/%u", (unsigned int)uid);
	snprintf(tmp, sizeof(tmp), "/tmp/ferry-%u", (unsigned int)uid);
	if (there_in(secure_getenv("FERRY_AGENT_DIR"), pid, ret_name) ||
	    there_in(secure_getenv("XDG_RUNTIME_DIR"), pid, ret_name) ||
	    there_in(run, pid, ret_name) ||
	    there_in("/run/ferry", pid, ret_name) ||
	    there_in(tmp, pid, ret_name))
		return 0;
	return -ENOENT;
}

int ferry_agent_path(pid_t pid, char *buf, size_t size)
{
	struct sockaddr_un name;
	size_t len;
	int r;

	if (!buf)
		return -EINVAL;
	r = find(pid, &name);
	if (r < 0)
		return r;
	len = strlen(name.sun_path) + 1;
	if (len > size)
		return -ENAMETOOLONG;
	memcpy(buf, name.sun_path, len);
	return 0;
}

/* The process that called listen(2) is the peer of who connects. */
static int check_peer(int fd, pid_t pid)
{
	struct ucred peer;
	int r = ferry__sys->peer(fd, &peer);

	if (r < 0)
		return r;
	return peer.pid == (pid ? pid : ferry__sys->getpid()) ? 0 : -EPERM;
}

int ferry_agent_connect(pid_t pid)
{
	struct sockaddr_un name;
	int fd, r;

	r = find(pid, &name);
	if (r < 0)
		return r;
	fd = ferry__sys->socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0)
		return fd;
	r = ferry__sys->connect(fd, (const struct sockaddr *)&name,
				sizeof(name));
	if (r == 0)
		r = check_peer(fd, pid);
	if (r == 0)
		return fd;
	ferry__sys->close(fd);
	return r;
}
