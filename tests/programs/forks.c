/* SPDX-License-Identifier: MIT */
/*
 * fork(2) with a heap that is cold: by the C library, while other threads
 * allocate, by the bare system call, twice in a row, many at a time.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/programs/heap.h"

#define CHILDREN 6
#define ROUNDS	 30

static atomic_bool stop;

static void plain(struct heap *heap)
{
	pid_t pid;

	pid = fork_clean();
	if (pid == 0) {
		heap_report(heap, "child");
		heap_churn(heap);
		heap_rest(heap);
		heap_report(heap, "cold child");
		exit(0);
	}
	heap_churn(heap);
	report_child(pid, "fork");
	heap_report(heap, "parent");
}

/* No handler runs: all that the child can do is read, and end. */
static void bare(const struct heap *heap)
{
	pid_t pid;

	fflush(stdout);
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	check(pid >= 0, "clone");
	if (pid == 0)
		_exit(heap_is_whole(heap) ? 0 : 1);
	report_child(pid, "bare clone");
	heap_report(heap, "parent");
	heap_rest(heap);
	pid = (pid_t)syscall(SYS_fork);
	check(pid >= 0, "fork");
	if (pid == 0)
		_exit(heap_is_whole(heap) ? 0 : 1);
	report_child(pid, "bare fork");
	heap_report(heap, "parent");
	heap_rest(heap);
	pid = _Fork();
	check(pid >= 0, "_Fork");
	if (pid == 0)
		_exit(heap_is_whole(heap) ? 0 : 1);
	report_child(pid, "_Fork");
}

static void grandchild(struct heap *heap)
{
	pid_t pid;

	pid = fork_clean();
	if (pid == 0) {
		pid = fork_clean();
		if (pid == 0) {
			heap_report(heap, "grandchild");
			exit(0);
		}
		report_child(pid, "grandchild");
		exit(0);
	}
	report_child(pid, "child");
}

static void many(struct heap *heap)
{
	pid_t pids[CHILDREN];
	int status;

	for (int i = 0; i < CHILDREN; i++) {
		pids[i] = fork_clean();
		if (pids[i] == 0) {
			heap_churn(heap);
			heap_rest(heap);
			_exit(heap_is_whole(heap) ? 0 : 1);
		}
	}
	for (int i = 0; i < CHILDREN; i++) {
		check(waitpid(pids[i], &status, 0) == pids[i], "waitpid");
		check(status == 0, "a child ended badly");
	}
	heap_report(heap, "parent of many");
}

static void *allocate(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	struct heap *heap = heap_make(256 << 10, seed);

	while (!atomic_load(&stop)) {
		heap_churn(heap);
		check(heap_is_whole(heap), "a thread's heap is not whole");
	}
	heap_free(heap);
	return NULL;
}

/* Forks follow each other while two threads allocate and free. */
static void beside_threads(struct heap *heap)
{
	pthread_t threads[2];
	int status;
	pid_t pid;

	for (uintptr_t i = 0; i < 2; i++)
		check(pthread_create(&threads[i], NULL, allocate,
				     (void *)(i + 10)) == 0,
		      "pthread_create");
	for (int i = 0; i < ROUNDS; i++) {
		pid = fork_clean();
		if (pid == 0) {
			heap_churn(heap);
			_exit(heap_is_whole(heap) ? 0 : 1);
		}
		check(waitpid(pid, &status, 0) == pid, "waitpid");
		check(status == 0, "a child ended badly");
		if (i % 4 == 0)
			sleep_ms(100);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	heap_report(heap, "beside threads");
}

int main(void)
{
	struct heap *heap = heap_make(4 << 20, 10);

	heap_rest(heap);
	plain(heap);
	heap_rest(heap);
	bare(heap);
	heap_rest(heap);
	grandchild(heap);
	heap_rest(heap);
	many(heap);
	heap_rest(heap);
	beside_threads(heap);
	heap_free(heap);
	return 0;
}
