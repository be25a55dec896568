/* SPDX-License-Identifier: MIT */
/*
 * hand.h: the smallest fault service one would write by hand, against which
 * the library's is measured.
 */
#ifndef FERRY_BENCH_HAND_H
#define FERRY_BENCH_HAND_H

#include <ferry/uffd.h>

struct hand_params {
	bool thread; /* a handler thread, else SIGBUS */
	bool copy;   /* UFFDIO_COPY, else UFFDIO_MOVE */
	/*
	 * @dst is a shared mapping of a file that has every page:
	 * UFFDIO_CONTINUE, and no @src; with a thread only.
	 */
	bool mapped;
	size_t window; /* bytes supplied per fault, a power of two */
	char *dst;     /* served; aligned to @window */
	char *src;     /* what it gets: @src + offset */
	size_t len;
	/*
	 * NULL; else what is supplied at offset @at is made by this first,
	 * into @window (which is @src) whatever the offset is.
	 */
	void (*make)(void *arg, size_t at, char *window);
	void *arg;
};

/*
 * Begin to serve the range; one at a time. SIGBUS's handler is replaced
 * until hand_stop(). Returns 0 or a negative errno with the reason.
 */
int hand_start(const struct hand_params *p, enum ferry_reason *ret_reason);

/* Returns 0, or the negative errno of the first fault that was not served. */
int hand_stop(void);

#endif
