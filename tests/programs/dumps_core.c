/* SPDX-License-Identifier: MIT */
/*
 * Dies with a heap that is cold and one that is hot; the case looks at the
 * core file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/programs/heap.h"

char *hot;

int main(void)
{
	struct rlimit limit;
	struct heap *heap = heap_make(8 << 20, 15);

	check(getrlimit(RLIMIT_CORE, &limit) == 0, "getrlimit");
	limit.rlim_cur = limit.rlim_max;
	check(setrlimit(RLIMIT_CORE, &limit) == 0, "setrlimit");
	hot = malloc(8000);
	check(hot != NULL, "malloc");
	heap_rest(heap);
	memset(hot, 'h', 8000);
	strcpy(hot, "this was written just before the end");
	abort();
}
