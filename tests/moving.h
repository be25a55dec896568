/* SPDX-License-Identifier: MIT */
/*
 * What tests of ferry_move() share: a handle, a full source, an empty
 * registered destination, and the accounts checked after every move.
 */
#ifndef FERRY_TESTS_MOVING_H
#define FERRY_TESTS_MOVING_H

#include <ferry/move.h>

#include "tests/harness.h"
#include "tests/memory.h"

#define MOVING_PAGES 16

struct moving {
	struct ferry_uffd *uffd;
	char *src; /* MOVING_PAGES pages, filled from number 1 */
	char *dst; /* as many, registered for missing faults */
	size_t page, len;
	uint32_t flags; /* of every move: FERRY_MOVE_EMULATE or 0 */
	struct ferry_move_params params;
	struct ferry_move_result res;
};

extern struct moving moving;

/*
 * Fixture: fills in moving; the pages are small ones. In a program built with
 * EMULATED all moves are emulated.
 */
void moving_setup_with(uint32_t flags);
static inline void moving_setup(void)
{
#ifdef EMULATED
	moving_setup_with(FERRY_MOVE_EMULATE);
#else
	moving_setup_with(0);
#endif
}
void moving_teardown(void);

/* Registers for missing faults, asserting success. */
void moving_register(void *addr, size_t len);

/*
 * ferry_move() with moving.params and .flags; asserts that the accounts in
 * moving.res add up and agree with the answer.
 */
int moving_move(void *dst, void *src, size_t len);

/* The whole source to the whole destination. */
int moving_move_all(void);

/* Asserts that a move fails so, that nothing was done and nothing is lost. */
void moving_assert_refused(void *dst, void *src, size_t len, int error,
			   enum ferry_reason reason);

/* Forks a child that ends at once: afterwards pages are shared no more, but
 * not exclusive either. */
void moving_fork(void);

#endif
