/* SPDX-License-Identifier: MIT */
/* Becomes itself again and again, each time with a heap that is cold. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/programs/heap.h"

#define LINKS "8"

int main(int argc, char **argv)
{
	int left = atoi(argc > 1 ? argv[1] : LINKS);
	struct heap *heap = heap_make(2 << 20, (uint32_t)left);
	char *next = malloc(16);

	check(next != NULL, "malloc");
	snprintf(next, 16, "%d", left - 1);
	printf("%d to go\n", left);
	fflush(stdout);
	heap_rest(heap);
	if (left > 0)
		execl("/proc/self/exe", argv[0], next, (char *)NULL);
	heap_report(heap, "the last");
	return left > 0;
}
