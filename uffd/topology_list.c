/* SPDX-License-Identifier: MIT */
/* Lists of numbers as the kernel prints bit maps: "0-1,3\n". */
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "uffd/cgroup.h"
#include "uffd/topology.h"

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A number below FERRY__NODES_MAX; strtol() takes blanks and signs, too. */
static bool number(const char **at, unsigned int *ret)
{
	const char *p = *at;
	unsigned int n = 0;

	if (!digit(*p))
		return false;
	for (; digit(*p); p++) {
		n = n * 10 + (unsigned int)(*p - '0');
		if (n >= FERRY__NODES_MAX)
			return false;
	}
	*at = p;
	*ret = n;
	return true;
}

bool ferry__list_next(const char **list, unsigned int *ret_first,
		      unsigned int *ret_last)
{
	const char *p = *list;

	if (!number(&p, ret_first))
		return false;
	*ret_last = *ret_first;
	if (*p == '-') {
		p++;
		if (!number(&p, ret_last))
			return false;
	}
	if (*p == ',' && digit(p[1]))
		p++;
	*list = p;
	return true;
}

int ferry__list_count(const char *list)
{
	unsigned int first, last, next = 0, n = 0;

	while (ferry__list_next(&list, &first, &last)) {
		if (first < next || last < first)
			return -EBADMSG;
		n += last - first + 1;
		next = last + 1;
	}
	return *list && *list != '\n' ? -EBADMSG : (int)n;
}

bool ferry__list_has(const char *list, unsigned int number)
{
	unsigned int first, last;

	while (ferry__list_next(&list, &first, &last))
		if (number >= first && number <= last)
			return true;
	return false;
}

int ferry__node_list(const char *root, const char *name, char *ret)
{
	char path[PATH_MAX];
	int n;

	ret[0] = '\0';
	snprintf(path, sizeof(path), "%s/devices/system/node/%s", root, name);
	if (!ferry__file_read(path, ret, FERRY__SYSFS_MAX))
		return -ENOENT;
	n = ferry__list_count(ret);
	if (n < 0)
		ret[0] = '\0';
	return n;
}
