/* SPDX-License-Identifier: MIT */
/*
 * Becomes a daemon with a heap that is cold: by daemon(3) and by forking
 * twice. The daemon's words come back through a pipe.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/programs/heap.h"

static void by_daemon(void)
{
	check(daemon(1, 1) == 0, "daemon");
}

static void by_two_forks(void)
{
	pid_t pid = fork();

	check(pid >= 0, "fork");
	if (pid > 0)
		_exit(0);
	check(setsid() > 0, "setsid");
	pid = fork_clean();
	if (pid > 0)
		_exit(0);
}

static void be_daemon(struct heap *heap, void (*way)(void), int out)
{
	way();
	check(dup2(out, 1) == 1, "dup2");
	heap_report(heap, "as a daemon");
	heap_churn(heap);
	heap_rest(heap);
	heap_report(heap, "cold as a daemon");
	exit(0);
}

/* Until the last writer, the daemon, is gone. */
static void copy_words(int in)
{
	char text[512];
	ssize_t n;

	while ((n = read(in, text, sizeof(text))) > 0)
		check(write(1, text, (size_t)n) == n, "write");
}

static void run(struct heap *heap, void (*way)(void))
{
	int pipes[2];
	pid_t pid;

	check(pipe(pipes) == 0, "pipe");
	pid = fork_clean();
	if (pid == 0) {
		close(pipes[0]);
		be_daemon(heap, way, pipes[1]);
	}
	close(pipes[1]);
	copy_words(pipes[0]);
	close(pipes[0]);
	report_child(pid, "who started it");
}

int main(void)
{
	struct heap *heap = heap_make(4 << 20, 2);

	heap_rest(heap);
	run(heap, by_daemon);
	heap_rest(heap);
	run(heap, by_two_forks);
	heap_report(heap, "afterwards");
	heap_free(heap);
	return 0;
}
