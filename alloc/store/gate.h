/* SPDX-License-Identifier: MIT */
/*
 * Many pass at once; one closes it when all have left, around a fork(2).
 *
 * Not pthread_rwlock_t: in the child that could not be opened by its number
 * of thread, which has changed, and ThreadSanitizer does not forget it. A
 * gate is a word, and open in the child when that is zero.
 */
#ifndef FERRY_ALLOC_STORE_GATE_H
#define FERRY_ALLOC_STORE_GATE_H

#include <stdint.h>

/* Zeroes: open, nobody within. */
struct ferry__gate {
	/*
	 * GA1: how many are within, and whether it is closed. Entering and
	 * closing acquire what leaving and opening release.
	 */
	uint32_t word;
};

/* Waits while it is closed. Not for who is within already. */
void ferry__gate_enter(struct ferry__gate *gate);
void ferry__gate_leave(struct ferry__gate *gate);

/* Lets nobody in and waits until all have left. One thread at a time. */
void ferry__gate_close(struct ferry__gate *gate);
void ferry__gate_open(struct ferry__gate *gate);

/* In the child of who closed it: open, nobody within. */
void ferry__gate_fork_child(struct ferry__gate *gate);

#endif
