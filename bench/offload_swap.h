/* SPDX-License-Identifier: MIT */
/* offload_swap.h: swap space on zram for as long as it is measured. */
#ifndef FERRY_BENCH_OFFLOAD_SWAP_H
#define FERRY_BENCH_OFFLOAD_SWAP_H

#include <stdbool.h>
#include <sys/types.h>

struct offload_swap {
	pid_t keeper; /* 0: there is none */
	int stop;     /* closing it makes the keeper undo everything */
	char why[160];
};

/*
 * Makes /dev/zram0 swap space with lz4, if it is unused and there is no other
 * swap. A keeper process takes it away again when the descriptor @stop is
 * closed, be it by the end of this process, whatever that is.
 * @refuse: why it is not to be tried, or NULL.
 * Returns false with .why.
 */
bool offload_swap_begin(struct offload_swap *s, const char *refuse);

/* Waits until all is as before. */
void offload_swap_end(struct offload_swap *s);

#endif
