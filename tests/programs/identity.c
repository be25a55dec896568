/* SPDX-License-Identifier: MIT */
/*
 * A program of several threads gives up root, with a heap that is cold: the C
 * library makes every thread do it, and ends the program where one cannot.
 */
#include <grp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/programs/heap.h"

#define NOBODY	65534
#define THREADS 4

static pthread_barrier_t before, after;

static void *look(void *arg)
{
	const struct heap *heap = arg;

	pthread_barrier_wait(&before);
	pthread_barrier_wait(&after);
	check(syscall(SYS_getuid) == NOBODY, "a thread has another user");
	check(syscall(SYS_getgid) == NOBODY, "a thread has another group");
	check(heap_is_whole(heap), "the heap is not whole in a thread");
	return NULL;
}

static void become_nobody(void)
{
	check(setgroups(0, NULL) == 0, "setgroups");
	check(setgid(NOBODY) == 0, "setgid");
	check(setuid(NOBODY) == 0, "setuid");
	check(setuid(0) != 0, "root came back");
}

static void lose_root(struct heap *heap)
{
	pthread_t threads[THREADS];

	pthread_barrier_init(&before, NULL, THREADS + 1);
	pthread_barrier_init(&after, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		check(pthread_create(&threads[i], NULL, look, heap) == 0,
		      "pthread_create");
	pthread_barrier_wait(&before);
	heap_rest(heap);
	become_nobody();
	pthread_barrier_wait(&after);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	heap_report(heap, "as nobody");
	heap_churn(heap);
	sleep_ms(200);
	heap_report(heap, "later as nobody");
}

/* What it forks now has no right to a userfaultfd of its own. */
static void fork_as_nobody(struct heap *heap)
{
	pid_t pid;

	sleep_ms(200);
	pid = fork_clean();
	if (pid == 0) {
		heap_report(heap, "child of nobody");
		heap_churn(heap);
		sleep_ms(200);
		heap_report(heap, "later in it");
		exit(0);
	}
	report_child(pid, "child of nobody");
}

int main(void)
{
	struct heap *heap = heap_make(4 << 20, 6);

	if (getuid() != 0)
		skip("root", "only root can become somebody else");
	lose_root(heap);
	fork_as_nobody(heap);
	heap_report(heap, "afterwards");
	heap_free(heap);
	return 0;
}
