/* SPDX-License-Identifier: MIT */
/* util.h: small helpers of ferry-bench: fatal errors, clock, random numbers. */
#ifndef FERRY_BENCH_UTIL_H
#define FERRY_BENCH_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define BENCH_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Print "ferry-bench: ..." on stderr and exit with status 1. */
__attribute__((noreturn, format(printf, 1, 2))) void bench_die(const char *fmt,
							       ...);

/* Memory for the program's own bookkeeping: never NULL, the program ends. */
void *bench_alloc(size_t size);
void *bench_grow(void *old, size_t count, size_t size);
char *bench_strdup(const char *s);
__attribute__((format(printf, 1, 2))) char *bench_asprintf(const char *fmt,
							   ...);

/*
 * The clock of every measurement. CLOCK_MONOTONIC is read in user space on
 * all machines of interest (20 ns here); the cycle counter would save half of
 * that and need a calibration of its own.
 */
static inline uint64_t bench_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* splitmix64 (Steele, Lea, Flood 2014): every 64-bit seed is a good one. */
struct bench_rng {
	uint64_t state;
};

uint64_t bench_rng_next(struct bench_rng *rng);

/* A number below @bound, which must not be 0. */
uint64_t bench_rng_below(struct bench_rng *rng, uint64_t bound);

/* Shuffle the numbers of @v (Fisher-Yates). */
void bench_rng_shuffle(struct bench_rng *rng, uint32_t *v, size_t n);

/* Keep the compiler from leaving out work whose result nobody uses. */
static inline void bench_use(const void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

#endif
