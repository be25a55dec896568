/* SPDX-License-Identifier: MIT */
/* Paths of the configuration. */
#include "alloc/malloc/path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "uffd/sys.h"

int ferry__path_absolute(const char *name, size_t len, char *buf, size_t size)
{
	size_t n = 0;

	if (*name != '/') {
		if (!getcwd(buf, size))
			return -errno;
		n = strlen(buf);
		buf[n++] = '/';
	}
	if (n + len >= size) {
		buf[0] = '\0';
		return -ENAMETOOLONG;
	}
	memcpy(buf + n, name, len);
	buf[n + len] = '\0';
	return 0;
}

int ferry__path_of(const char *path, const char *suffix, char *buf, size_t size)
{
	const char *mark = strstr(path, "%p");
	int n;

	if (!mark)
		n = snprintf(buf, size, "%s%s", path, suffix);
	else
		n = snprintf(buf, size, "%.*s%d%s%s", (int)(mark - path), path,
			     ferry__sys->getpid(), mark + 2, suffix);
	return n > 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}
