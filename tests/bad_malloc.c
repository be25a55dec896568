/* SPDX-License-Identifier: MIT */
/*
 * A malloc that now and then changes a byte of a block that is in use, to be
 * preloaded: a benchmark that verifies has to notice. For one thread.
 */
#include <stdint.h>
#include <stdlib.h>

/* The C library's own, under their other names. */
void *__libc_malloc(size_t size);
void *__libc_realloc(void *p, size_t size);
void __libc_free(void *p);

/* A program that is starting is left alone. */
#define FIRST 20000
#define EVERY 1000

static unsigned char *victim;
static uint64_t calls;

#pragma GCC visibility push(default)

void *malloc(size_t size)
{
	unsigned char *p = __libc_malloc(size);

	if (victim)
		victim[0] ^= 1;
	victim = NULL;
	if (p && ++calls > FIRST && calls % EVERY == 0 && size >= 8)
		victim = p;
	return p;
}

void *realloc(void *p, size_t size)
{
	if (p == victim)
		victim = NULL;
	return __libc_realloc(p, size);
}

void free(void *p)
{
	if (p == victim)
		victim = NULL;
	__libc_free(p);
}
