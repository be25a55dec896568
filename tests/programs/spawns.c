/* SPDX-License-Identifier: MIT */
/*
 * The ways to start a program that share the parent's memory with the child
 * for a while, with arguments and environment in a heap that is cold:
 * posix_spawn(3), vfork(2), clone(2) with CLONE_VM.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/programs/heap.h"

#define ARGS 2000

extern char **environ;

static char **arguments;

/* "sh -c 'echo $#' sh a a a ...": all of it on the heap. */
static char **make_arguments(void)
{
	char **args = calloc(ARGS + 5, sizeof(*args));
	int n = 0;

	check(args != NULL, "calloc");
	args[n++] = strdup("/bin/sh");
	args[n++] = strdup("-c");
	args[n++] = strdup("echo $# arguments");
	args[n++] = strdup("sh");
	for (int i = 0; i < ARGS; i++)
		args[n++] = strdup("an argument among many others");
	return args;
}

static void by_posix_spawn(void)
{
	pid_t pid;

	check(posix_spawn(&pid, arguments[0], NULL, NULL, arguments, environ) ==
		      0,
	      "posix_spawn");
	report_child(pid, "posix_spawn");
}

static void by_vfork(void)
{
	pid_t pid;

	fflush(stdout);
	pid = vfork();
	check(pid >= 0, "vfork");
	if (pid == 0) {
		execv(arguments[0], arguments);
		_exit(127);
	}
	report_child(pid, "vfork");
}

static int run_clone(void *arg)
{
	const struct heap *heap = arg;

	if (!heap_is_whole(heap))
		_exit(1);
	execv(arguments[0], arguments);
	_exit(127);
}

static void by_clone(const struct heap *heap, int flags, const char *what)
{
	char *stack = malloc(1 << 20);
	pid_t pid;

	check(stack != NULL, "malloc");
	fflush(stdout);
	pid = clone(run_clone, stack + (1 << 20), flags | SIGCHLD,
		    (void *)heap);
	check(pid >= 0, "clone");
	report_child(pid, what);
	free(stack);
}

int main(void)
{
	struct heap *heap = heap_make(4 << 20, 9);

	arguments = make_arguments();
	for (int i = 0; i < 3; i++) {
		heap_rest(heap);
		by_posix_spawn();
		heap_rest(heap);
		by_vfork();
		heap_rest(heap);
		by_clone(heap, CLONE_VM, "clone, memory shared");
		by_clone(heap, CLONE_VM | CLONE_VFORK, "clone, as vfork");
		heap_report(heap, "afterwards");
		heap_churn(heap);
	}
	heap_free(heap);
	return 0;
}
