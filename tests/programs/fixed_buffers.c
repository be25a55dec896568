/* SPDX-License-Identifier: MIT */
/*
 * io_uring with registered buffers in a heap that was cold: their pages are
 * pinned, and the kernel writes to them past every page table. Then plain
 * reads into buffers that are cold, submitted and done by a kernel thread.
 */
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/programs/heap.h"

#define BUFFERS 16
#define LEN	((size_t)65536)
#define ROUNDS	20

static struct io_uring ring;
static struct iovec buffers[BUFFERS];

static uint8_t file_byte(int round, size_t offset)
{
	return (uint8_t)(offset * 7 + offset / 4096 + (size_t)round);
}

static void write_file(int fd, int round)
{
	static uint8_t bytes[BUFFERS * LEN];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = file_byte(round, i);
	check(pwrite(fd, bytes, sizeof(bytes), 0) == sizeof(bytes), "pwrite");
}

static void submit_reads(int fd, bool fixed)
{
	struct io_uring_sqe *sqe;

	for (unsigned int i = 0; i < BUFFERS; i++) {
		sqe = io_uring_get_sqe(&ring);
		check(sqe != NULL, "io_uring_get_sqe");
		if (fixed)
			io_uring_prep_read_fixed(sqe, fd, buffers[i].iov_base,
						 LEN, i * LEN, (int)i);
		else
			io_uring_prep_read(sqe, fd, buffers[i].iov_base, LEN,
					   i * LEN);
		io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
	}
	check(io_uring_submit(&ring) == BUFFERS, "io_uring_submit");
}

static void reap_reads(void)
{
	struct io_uring_cqe *cqe;

	for (unsigned int i = 0; i < BUFFERS; i++) {
		check(io_uring_wait_cqe(&ring, &cqe) == 0, "io_uring_wait_cqe");
		if (cqe->res != (int)LEN) {
			fprintf(stderr, "a read gave %d\n", cqe->res);
			exit(1);
		}
		io_uring_cqe_seen(&ring, cqe);
	}
}

static void verify(int round)
{
	const uint8_t *bytes;

	for (size_t i = 0; i < BUFFERS; i++) {
		bytes = buffers[i].iov_base;
		for (size_t j = 0; j < LEN; j++)
			check(bytes[j] == file_byte(round, i * LEN + j),
			      "a byte is wrong");
	}
}

static void rounds(int fd, bool fixed, const struct heap *heap)
{
	for (int round = 0; round < ROUNDS; round++) {
		write_file(fd, round);
		if (round % 5 == 0)
			heap_rest(heap);
		submit_reads(fd, fixed);
		reap_reads();
		verify(round);
	}
	printf("%s: %d rounds are right\n", fixed ? "fixed" : "plain", ROUNDS);
}

static void make_buffers(void)
{
	for (size_t i = 0; i < BUFFERS; i++) {
		buffers[i].iov_base = aligned_alloc(4096, LEN);
		buffers[i].iov_len = LEN;
		check(buffers[i].iov_base != NULL, "aligned_alloc");
		memset(buffers[i].iov_base, (int)i + 1, LEN);
	}
}

static void free_buffers(void)
{
	for (size_t i = 0; i < BUFFERS; i++)
		free(buffers[i].iov_base);
}

int main(void)
{
	struct heap *heap = heap_make(4 << 20, 5);
	int fd = open("fixed.data", O_RDWR | O_CREAT | O_TRUNC, 0600);

	check(fd >= 0, "open");
	if (io_uring_queue_init(2 * BUFFERS, &ring, 0) != 0)
		skip("io_uring", "there is no io_uring here");
	make_buffers();
	rounds(fd, false, heap);
	heap_rest(heap);
	check(io_uring_register_buffers(&ring, buffers, BUFFERS) == 0,
	      "io_uring_register_buffers");
	rounds(fd, true, heap);
	heap_report(heap, "beside them");
	check(io_uring_unregister_buffers(&ring) == 0, "unregister");
	rounds(fd, false, heap);
	free_buffers();
	io_uring_queue_exit(&ring);
	heap_report(heap, "afterwards");
	heap_free(heap);
	return 0;
}
