/* SPDX-License-Identifier: MIT */
/*
 * Pages that are pinned as a fixed buffer of io_uring; tests that pin need the
 * feature "io_uring". Each function asserts its own success.
 */
#ifndef FERRY_TESTS_PIN_H
#define FERRY_TESTS_PIN_H

#include <stddef.h>

/* Pins the pages of a range; returns the ring. */
int pin_pages(void *addr, size_t len);

/* Lets go of them and closes the ring. The kernel lets go a little later. */
void unpin_pages(int ring);

#endif
