/* SPDX-License-Identifier: MIT */
/*
 * Closes every descriptor but the first three, in three ways, as daemons do,
 * opens others in their place and goes on with a heap that was cold.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/programs/heap.h"

#define DESCRIPTORS 1024

static void close_by_range(void)
{
	check(syscall(SYS_close_range, 3, ~0u, 0) == 0 || errno == ENOSYS,
	      "close_range");
}

static void close_one_by_one(void)
{
	struct rlimit limit;

	check(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
	if (limit.rlim_cur > 65536)
		limit.rlim_cur = 65536;
	for (int fd = 3; fd < (int)limit.rlim_cur; fd++)
		close(fd);
}

static void close_what_is_listed(void)
{
	DIR *dir = opendir("/proc/self/fd");

	check(dir != NULL, "opendir");
	for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
		if (atoi(e->d_name) > 2 && atoi(e->d_name) != dirfd(dir))
			close(atoi(e->d_name));
	closedir(dir);
}

static int count_listed(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	check(dir != NULL, "opendir");
	for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
		n += e->d_name[0] != '.' && atoi(e->d_name) != dirfd(dir);
	closedir(dir);
	return n;
}

/* Whoever held a number of a closed descriptor would now use these. */
static void take_their_places(void)
{
	for (int i = 0; i < DESCRIPTORS / 2; i++)
		open("/dev/null", O_RDONLY);
}

int main(void)
{
	static void (*const ways[])(void) = { close_by_range, close_one_by_one,
					      close_what_is_listed };
	struct rlimit limit = { DESCRIPTORS, DESCRIPTORS };
	struct heap *heap;

	check(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
	heap = heap_make(4 << 20, 1);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		heap_rest(heap);
		ways[i]();
		printf("%d descriptors\n", count_listed());
		take_their_places();
		heap_report(heap, "closed");
		heap_churn(heap);
	}
	close_by_range();
	heap_rest(heap);
	heap_report(heap, "closed before");
	heap_free(heap);
	return 0;
}
