/* SPDX-License-Identifier: MIT */
/*
 * raw.c: what one would write by hand around UFFDIO_MOVE and UFFDIO_COPY.
 *
 * This file calls ioctl(2) itself, as no other outside uffd/ does: the point
 * of the comparison is what ferry_move() adds to the bare call. The loops do
 * no more than the kernel's contract asks of a caller with one thread and
 * quiet memory.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "raw.h"
#include "uffd/uapi.h"

int bench_raw_move(int uffd, void *dst, void *src, size_t len, bool holes)
{
	struct ferry__uffdio_move m = {
		.dst = (uintptr_t)dst,
		.src = (uintptr_t)src,
		.len = len,
		.mode = holes ? FERRY__MOVE_ALLOW_SRC_HOLES : 0,
	};

	while (ioctl(uffd, FERRY__UFFDIO_MOVE, &m) < 0) {
		if (errno != EAGAIN)
			return -errno;
		if (m.move > 0) {
			m.dst += (uint64_t)m.move;
			m.src += (uint64_t)m.move;
			m.len -= (uint64_t)m.move;
		}
		m.move = 0;
	}
	return 0;
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
