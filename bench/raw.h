/* SPDX-License-Identifier: MIT */
/*
 * raw.h: the smallest hand-written loops around the kernel's calls, against
 * which the library is measured. Not to be used for anything else: see raw.c.
 */
#ifndef FERRY_BENCH_RAW_H
#define FERRY_BENCH_RAW_H

#include <stdbool.h>
#include <stddef.h>

/*
 * UFFDIO_MOVE until all of @len is moved. A short count and EAGAIN are taken
 * up again; any other error ends it. Nobody else fills the destination, so
 * EEXIST is the answer of Linux 6.18 to 7.1 for a page that it did move, and
 * has not woken anybody for: it is passed over and counted. Returns that
 * count or a negative errno.
 */
int bench_raw_move(int uffd, void *dst, void *src, size_t len, bool holes);

/* UFFDIO_COPY in the same manner. */
int bench_raw_copy(int uffd, void *dst, const void *src, size_t len);

/* UFFDIO_CONTINUE: pages that the mapped file has. */
int bench_raw_continue(int uffd, void *addr, size_t len);

#endif
