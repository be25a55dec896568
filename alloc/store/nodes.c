/* SPDX-License-Identifier: MIT */
/*
 * NUMA nodes from sysfs. libnuma would do for the first question, but is one
 * shared object more in front of every program, and does not know tiers.
 */
#include "alloc/store/nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "uffd/sys.h"

#define NODES	"/sys/devices/system/node/"
#define TIERS	"/sys/devices/virtual/memory_tiering"
#define TIER	"memory_tier"
#define LIST	4096 /* a page: as much as sysfs shows */
#define NO_TIER (-1)

static int read_list(const char *path, char *buf)
{
	int fd = ferry__sys->open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = ferry__sys->read(fd, buf, LIST - 1);
	ferry__sys->close(fd);
	if (n < 0)
		return (int)n;
	buf[n] = '\0';
	return 0;
}

/* The next range of a list like "0-1,3"; false at its end. */
static bool next_range(const char **list, long *ret_first, long *ret_last)
{
	char *end;

	*ret_first = strtol(*list, &end, 10);
	if (end == *list)
		return false;
	*ret_last = *end == '-' ? strtol(end + 1, &end, 10) : *ret_first;
	*list = *end == ',' ? end + 1 : end;
	return true;
}

static bool in_list(const char *list, long node)
{
	long first, last;

	while (next_range(&list, &first, &last))
		if (node >= first && node <= last)
			return true;
	return false;
}

int ferry__node_check(int node)
{
	char memory[LIST];

	if (read_list(NODES "has_memory", memory) < 0)
		return -EOPNOTSUPP;
	return node >= 0 && in_list(memory, node) ? 0 : -EINVAL;
}

/* --- the slowest ---------------------------------------------------------- */

struct tiers {
	int n;
	long slowest;
};

/* Tiers are numbered by distance: larger is slower. Empty ones are gone. */
static void see_tier(void *arg, const char *name)
{
	struct tiers *tiers = arg;
	long number;

	if (strncmp(name, TIER, strlen(TIER)))
		return;
	number = strtol(name + strlen(TIER), NULL, 10);
	tiers->n++;
	if (number > tiers->slowest)
		tiers->slowest = number;
}

/* The first node of the slowest tier, of several. */
static int by_tier(void)
{
	struct tiers tiers = { .slowest = NO_TIER };
	char path[sizeof(TIERS) + 64], nodes[LIST];
	const char *list = nodes;
	long first, last;

	if (ferry__sys->list(TIERS, see_tier, &tiers) < 0 || tiers.n < 2)
		return -ENOENT;
	snprintf(path, sizeof(path), TIERS "/" TIER "%ld/nodelist",
		 tiers.slowest);
	if (read_list(path, nodes) < 0 || !next_range(&list, &first, &last))
		return -ENOENT;
	return (int)first;
}

static int by_processors(void)
{
	char memory[LIST], processors[LIST];
	const char *list = memory;
	long first, last;

	if (read_list(NODES "has_memory", memory) < 0 ||
	    read_list(NODES "has_cpu", processors) < 0)
		return -ENOENT;
	while (next_range(&list, &first, &last))
		for (; first <= last; first++)
			if (!in_list(processors, first))
				return (int)first;
	return -ENOENT;
}

int ferry__node_slowest(void)
{
	int node = by_tier();

	return node >= 0 ? node : by_processors();
}
