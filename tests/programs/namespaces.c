/* SPDX-License-Identifier: MIT */
/*
 * Namespaces: those of users and mounts want a process of one thread, which
 * one that never allocated much still is; the others can be had at any time.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/programs/heap.h"

static void in_child(int (*body)(void), const char *what)
{
	pid_t pid;

	pid = fork_clean();
	if (pid == 0)
		exit(body());
	report_child(pid, what);
}

/* Before anything was allocated. */
static int user_namespace(void)
{
	if (unshare(CLONE_NEWUSER) == 0)
		return 0;
	return errno == EPERM || errno == ENOSPC ? 2 : 1;
}

/* After it had threads and cold memory. */
static int user_namespace_later(void)
{
	struct heap *heap = heap_make(4 << 20, 19);
	int ret;

	heap_rest(heap);
	ret = user_namespace();
	heap_report(heap, "apart from other users");
	heap_churn(heap);
	sleep_ms(200);
	heap_report(heap, "later apart from other users");
	return ret;
}

/* Nothing that comes after it can be a thread; a child is in it. */
static int process_namespace(void)
{
	struct heap *heap = heap_make(4 << 20, 20);
	pid_t pid;

	check(unshare(CLONE_NEWPID) == 0, "unshare");
	heap_rest(heap);
	pid = fork_clean();
	if (pid == 0) {
		printf("process %d\n", (int)getpid());
		heap_churn(heap);
		heap_rest(heap);
		heap_report(heap, "first process");
		exit(0);
	}
	report_child(pid, "first process");
	heap_report(heap, "beside it");
	return 0;
}

static int set_own(const char *name, int kind)
{
	int fd = open(name, O_RDONLY), ret;

	check(fd >= 0, name);
	ret = setns(fd, kind);
	close(fd);
	return ret;
}

static int other_namespaces(void)
{
	struct heap *heap = heap_make(4 << 20, 7);

	heap_rest(heap);
	check(unshare(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET) == 0,
	      "unshare");
	heap_report(heap, "apart");
	heap_churn(heap);
	heap_rest(heap);
	check(set_own("/proc/self/ns/net", CLONE_NEWNET) == 0, "setns");
	check(set_own("/proc/self/ns/uts", CLONE_NEWUTS) == 0, "setns");
	check(set_own("/proc/self/ns/mnt", CLONE_NEWNS) == 0, "setns");
	heap_report(heap, "together");
	return 0;
}

/* Descriptors and working folder of its own, for this thread alone. */
static int files_apart(void)
{
	struct heap *heap = heap_make(4 << 20, 8);

	heap_rest(heap);
	check(unshare(CLONE_FILES | CLONE_FS) == 0, "unshare");
	heap_report(heap, "files apart");
	heap_churn(heap);
	heap_rest(heap);
	heap_report(heap, "files apart, cold");
	return 0;
}

int main(void)
{
	in_child(user_namespace, "user namespace");
	in_child(user_namespace_later, "user namespace, later");
	if (getuid() == 0) {
		in_child(other_namespaces, "other namespaces");
		in_child(process_namespace, "process namespace");
	}
	in_child(files_apart, "files apart");
	return 0;
}
