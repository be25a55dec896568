/* SPDX-License-Identifier: MIT */
/*
 * Control groups: which ones hold this process, and their memory limits.
 * OS assumptions: /proc/self/cgroup as in cgroups(7); hierarchies mounted
 * where systemd and container runtimes mount them.
 */
#include "uffd/cgroup.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "uffd/sys.h"

bool ferry__file_read(const char *path, char *buf, size_t size)
{
	ssize_t n;
	int fd;

	fd = ferry__sys->open(path, O_RDONLY);
	if (fd < 0)
		return false;
	n = ferry__sys->read(fd, buf, size - 1);
	ferry__sys->close(fd);
	if (n < 0)
		return false;
	buf[n] = '\0';
	return true;
}

/* --- where the groups are ---------------------------------------------------- */

/* A hierarchy: how its line in /proc/self/cgroup begins behind the number, and
 * where it is mounted. */
struct hierarchy {
	const char *line;
	const char *mount;
};

/* The memory controller of version 1 first: where it is in use, version 2
 * has none, though it may be mounted beside it. */
static const struct hierarchy hierarchies[] = {
	{ ":memory:", "/sys/fs/cgroup/memory" },
	{ "::", "/sys/fs/cgroup" },
	{ "::", "/sys/fs/cgroup/unified" },
};

/* The path in the line of @groups that is about @line; *ret_len bytes. */
static const char *find_path(const char *groups, const char *line,
			     size_t *ret_len)
{
	const char *p;

	for (p = groups; p && *p; p = strchr(p, '\n')) {
		p += *p == '\n';
		p += strspn(p, "0123456789");
		if (strncmp(p, line, strlen(line)))
			continue;
		p += strlen(line);
		*ret_len = strcspn(p, "\n");
		return p;
	}
	return NULL;
}

/* Asks for the folder, then for those above it down to @root bytes. */
static bool walk_up(char *folder, size_t root,
		    bool (*fn)(void *arg, const char *folder), void *arg)
{
	char *slash;

	for (;;) {
		if (fn(arg, folder))
			return true;
		slash = strrchr(folder + root, '/');
		if (!slash)
			return false;
		*slash = '\0';
	}
}

static bool walk_hierarchy(const struct hierarchy *h, const char *groups,
			   bool (*fn)(void *arg, const char *folder), void *arg)
{
	char folder[FERRY__CGROUP_PATH + 64];
	const char *path;
	size_t len;

	path = find_path(groups, h->line, &len);
	if (!path)
		return false;
	while (len && path[len - 1] == '/')
		len--;
	snprintf(folder, sizeof(folder), "%s%.*s", h->mount, (int)len, path);
	return walk_up(folder, strlen(h->mount), fn, arg);
}

bool ferry__cgroup_walk(bool (*fn)(void *arg, const char *folder), void *arg)
{
	char groups[FERRY__CGROUP_PATH];
	size_t i;

	if (!ferry__file_read("/proc/self/cgroup", groups, sizeof(groups)))
		return false;
	for (i = 0; i < sizeof(hierarchies) / sizeof(hierarchies[0]); i++)
		if (walk_hierarchy(&hierarchies[i], groups, fn, arg))
			return true;
	return false;
}

/* --- limits -------------------------------------------------------------------- */

/* "max", or a number of bytes; version 1 says a huge number for "max". */
static size_t read_limit(const char *folder, const char *file)
{
	char path[FERRY__CGROUP_PATH + 128], buf[32], *end;
	unsigned long long n;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	if (!ferry__file_read(path, buf, sizeof(buf)))
		return SIZE_MAX;
	n = strtoull(buf, &end, 10);
	return end == buf || n > SIZE_MAX ? SIZE_MAX : (size_t)n;
}

static bool note_limits(void *arg, const char *folder)
{
	static const char *const files[] = { "memory.max", "memory.high",
					     "memory.limit_in_bytes" };
	size_t *least = arg;
	size_t i, n;

	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		n = read_limit(folder, files[i]);
		if (n < *least)
			*least = n;
	}
	return false; /* those above may be tighter */
}

size_t ferry__memory_allowed(void)
{
	long pages = sysconf(_SC_PHYS_PAGES);
	size_t least = pages > 0 ? (size_t)pages * ferry__page_size : SIZE_MAX;

	ferry__cgroup_walk(note_limits, &least);
	return least;
}
