/* SPDX-License-Identifier: MIT */
/*
 * raw.c: what one would write by hand around UFFDIO_MOVE, UFFDIO_COPY and
 * UFFDIO_CONTINUE.
 *
 * This file calls ioctl(2) itself, as no other outside uffd/ does: the point
 * of the comparison is what ferry_move() adds to the bare call. The loops do
 * no more than the kernel's contract asks of a caller with one thread and
 * quiet memory.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "raw.h"
#include "uffd/uapi.h"

/* One page after EEXIST, else what the count says. Returns pages passed. */
static int pass_over(struct ferry__uffdio_move *m, int error)
{
	uint64_t done = m->move > 0 ? (uint64_t)m->move : 0;

	if (error == EEXIST)
		done = (uint64_t)sysconf(_SC_PAGESIZE);
	m->dst += done;
	m->src += done;
	m->len -= done;
	m->move = 0;
	return error == EEXIST;
}

int bench_raw_move(int uffd, void *dst, void *src, size_t len, bool holes)
{
	int passed = 0;
	struct ferry__uffdio_move m = {
		.dst = (uintptr_t)dst,
		.src = (uintptr_t)src,
		.len = len,
		.mode = holes ? FERRY__MOVE_ALLOW_SRC_HOLES : 0,
	};

	while (m.len && ioctl(uffd, FERRY__UFFDIO_MOVE, &m) < 0) {
		if (errno != EAGAIN && errno != EEXIST)
			return -errno;
		passed += pass_over(&m, errno);
	}
	return passed;
}

int bench_raw_copy(int uffd, void *dst, const void *src, size_t len)
{
	struct ferry__uffdio_copy c = {
		.dst = (uintptr_t)dst,
		.src = (uintptr_t)src,
		.len = len,
	};

	while (ioctl(uffd, FERRY__UFFDIO_COPY, &c) < 0) {
		if (errno != EAGAIN)
			return -errno;
		if (c.copy > 0) {
			c.dst += (uint64_t)c.copy;
			c.src += (uint64_t)c.copy;
			c.len -= (uint64_t)c.copy;
		}
		c.copy = 0;
	}
	return 0;
}

int bench_raw_continue(int uffd, void *addr, size_t len)
{
	struct ferry__uffdio_continue c = {
		.range = { .start = (uintptr_t)addr, .len = len },
	};

	while (ioctl(uffd, FERRY__UFFDIO_CONTINUE, &c) < 0) {
		if (errno != EAGAIN)
			return -errno;
		if (c.mapped > 0) {
			c.range.start += (uint64_t)c.mapped;
			c.range.len -= (uint64_t)c.mapped;
		}
		c.mapped = 0;
	}
	return 0;
}
