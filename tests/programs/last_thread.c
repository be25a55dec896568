/* SPDX-License-Identifier: MIT */
/*
 * A process that nobody ends: main() leaves by pthread_exit(3), or by the
 * system call alone, and the process is over with its last thread. Threads of
 * a library must not keep it.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/programs/heap.h"

static struct heap *heap;

static void *look(void *arg)
{
	sleep_ms(100);
	heap_report(heap, arg);
	fflush(stdout);
	return NULL;
}

static pthread_t start(void *(*fn)(void *), const char *what)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, fn, (void *)(uintptr_t)what))
		fail("pthread_create");
	return thread;
}

/* Before the others, which take longer. */
static void leaves_first(void)
{
	start(look, "thread that is left");
	pthread_exit(NULL);
}

static void leaves_alone(void)
{
	pthread_join(start(look, "thread before"), NULL);
	pthread_exit(NULL);
}

static void leaves_by_system_call(void)
{
	start(look, "thread that is left by a system call");
	syscall(SYS_exit, 0);
}

static void *forks(void *arg);

/* The child's first thread is none that ran main(). */
static void leaves_a_fork(void)
{
	pthread_join(start(forks, NULL), NULL);
	_exit(0);
}

static void says(void)
{
	puts("exit handlers run");
}

static void in_child(const char *what, void (*leave)(void))
{
	pid_t pid = fork_clean();

	if (pid == 0) {
		heap_rest(heap);
		leave();
	}
	report_child(pid, what);
}

static void *forks(void *arg)
{
	in_child("forked by a thread", leaves_first);
	return arg;
}

int main(void)
{
	heap = heap_make((size_t)8 << 20, 7);
	atexit(says);
	heap_rest(heap);
	in_child("first of two", leaves_first);
	in_child("alone", leaves_alone);
	in_child("system call", leaves_by_system_call);
	in_child("thread", leaves_a_fork);
	fflush(stdout);
	leaves_first();
}
