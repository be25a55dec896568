/* SPDX-License-Identifier: MIT */
/* Pages for tests of stores: what is in one follows from its number. */
#ifndef FERRY_TESTS_STORED_H
#define FERRY_TESTS_STORED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Compressible to 7/8 by any codec, each number by another degree. */
void stored_fill(void *page, uint64_t number);
bool stored_holds(const void *page, uint64_t number);

/* As random as can be. */
void stored_noise(void *page, uint64_t number);

/* A tag that goes with a number. */
uint64_t stored_tag(uint64_t number);

#endif
