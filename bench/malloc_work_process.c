/* SPDX-License-Identifier: MIT */
/* malloc_work_process.c: what an allocator costs exec() and fork(). */
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "malloc_work.h"

extern char **environ;

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status == 0 ? 0 : -ECHILD;
}

/* The allocator is preloaded into them as it is into this process. */
int malloc_work_start(struct malloc_work *w)
{
	char *argv[] = { (char *)"true", NULL };
	int rc = 0;

	for (uint64_t i = 0; i < w->amount && rc == 0; i++) {
		pid_t pid;

		rc = -posix_spawnp(&pid, "true", NULL, NULL, argv, environ);
		if (rc == 0)
			rc = wait_for(pid);
	}
	return rc;
}

/* --- fork ----------------------------------------------------------------- */

#define HEAP ((size_t)256 << 20)

/* A block of the heap, linked to the one before it. */
struct item {
	struct item *next;
	uint64_t size;
	uint64_t id;
};

static void free_heap(struct malloc_work *w, struct item *list)
{
	while (list) {
		struct item *next = list->next;

		w->wrong += !malloc_right(list + 1, list->size, list->id, 8);
		free(list);
		list = next;
	}
}

static int make_heap(struct malloc_work *w, struct item **ret_list)
{
	struct item *list = NULL;

	for (size_t bytes = 0; bytes < HEAP;) {
		uint64_t r = bench_rng_next(&w->rng);
		size_t size = 512 + (size_t)(r >> 32) % 448 * 8;
		struct item *item = malloc(sizeof(*item) + size);

		if (!item) {
			free_heap(w, list);
			return -ENOMEM;
		}
		item->size = size;
		item->id = r;
		item->next = list;
		malloc_fill(item + 1, size, r, 8);
		list = item;
		bytes += sizeof(*item) + size;
	}
	*ret_list = list;
	return 0;
}

static int fork_once(void)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(0);
	return wait_for(pid);
}

int malloc_work_fork(struct malloc_work *w)
{
	struct item *heap = NULL;
	int rc = make_heap(w, &heap);

	if (rc < 0)
		return rc;
	malloc_work_begin();
	for (uint64_t i = 0; i < w->amount && rc == 0; i++)
		rc = fork_once();
	malloc_work_end();
	free_heap(w, heap);
	return rc;
}
