/* SPDX-License-Identifier: MIT */
/* Shows which mappings of a process Ferry could manage, and why not others. */
#include <ferry/ferry.h>

#include <stdio.h>
#include <stdlib.h>

static int show(void *arg, const struct ferry_mapping *mapping)
{
	size_t *eligible = arg;

	printf("%14p %8zu KiB  %-28.28s  %s\n", mapping->range.addr,
	       mapping->range.len >> 10, mapping->name,
	       mapping->reason ? mapping->explanation : "may be managed");
	if (!mapping->reason)
		*eligible += mapping->range.len;
	return 0;
}

int main(int argc, char **argv)
{
	pid_t pid = argc > 1 ? (pid_t)atoi(argv[1]) : 0;
	size_t eligible = 0;
	int r;

	r = ferry_mappings_walk(pid, NULL, 0, show, &eligible);
	if (r < 0) {
		printf("cannot be read: errno %d\n", -r);
		return 1;
	}
	printf("%zu KiB may be managed\n", eligible >> 10);
	return 0;
}
