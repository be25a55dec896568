/* SPDX-License-Identifier: MIT */
/* Random numbers that a seed repeats, for tests and benchmarks. */
#ifndef FERRY_TESTS_RANDOM_H
#define FERRY_TESTS_RANDOM_H

#include <stdint.h>

/* One generator; not shared between threads. */
struct random {
	uint64_t s[4];
};

/* A generator that repeats the same numbers for the same @seed. */
struct random random_seeded(uint64_t seed);

/* The next 64 random bits. */
uint64_t random_next(struct random *r);

/* A number below @bound, each as likely as the other; 0 for bound 0. */
uint64_t random_below(struct random *r, uint64_t bound);

#endif
