/* SPDX-License-Identifier: MIT */
/*
 * Unix sockets at which this process listens to its own user and root.
 */
#ifndef FERRY_UFFD_LISTEN_H
#define FERRY_UFFD_LISTEN_H

#include <stdbool.h>
#include <sys/un.h>

/* Returns 0; -EINVAL @path is empty; -ENAMETOOLONG. */
int ferry__listen_name(const char *path, struct sockaddr_un *ret_name)
	__attribute__((visibility("hidden")));

/*
 * A socket of mode 0600 that listens at @name, which does not wait. A socket
 * at which nobody listens any more is replaced; anything else is left alone.
 * Returns a descriptor; -EADDRINUSE; errors of socket(2), bind(2).
 */
int ferry__listen_open(const struct sockaddr_un *name, int backlog)
	__attribute__((visibility("hidden")));

/* Is there a socket of that name, listened at or not? */
bool ferry__listen_exists(const struct sockaddr_un *name)
	__attribute__((visibility("hidden")));

/*
 * Is who connected the user of this process, or root? @ret_root tells the
 * latter, and may be NULL.
 */
bool ferry__listen_admits(int fd, bool *ret_root)
	__attribute__((visibility("hidden")));

#endif
