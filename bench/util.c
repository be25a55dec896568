/* SPDX-License-Identifier: MIT */
/* util.c: fatal errors, allocation and random numbers of ferry-bench. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

void bench_die(const char *fmt, ...)
{
	va_list ap;

	fputs("ferry-bench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void *bench_alloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		bench_die("out of memory (%zu bytes)", size);
	return p;
}

void *bench_grow(void *old, size_t count, size_t size)
{
	void *p = reallocarray(old, count, size);

	if (!p)
		bench_die("out of memory (%zu times %zu bytes)", count, size);
	return p;
}

char *bench_strdup(const char *s)
{
	char *p = strdup(s);

	if (!p)
		bench_die("out of memory");
	return p;
}

char *bench_asprintf(const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0)
		bench_die("out of memory");
	return s;
}

uint64_t bench_rng_next(struct bench_rng *rng)
{
	uint64_t z = rng->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t bench_rng_below(struct bench_rng *rng, uint64_t bound)
{
	return (uint64_t)(((unsigned __int128)bench_rng_next(rng) * bound) >>
			  64);
}

void bench_rng_shuffle(struct bench_rng *rng, uint32_t *v, size_t n)
{
	while (n > 1) {
		size_t j = bench_rng_below(rng, n--);
		uint32_t t = v[n];

		v[n] = v[j];
		v[j] = t;
	}
}
