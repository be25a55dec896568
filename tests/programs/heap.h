/* SPDX-License-Identifier: MIT */
/*
 * What the programs of this folder share: a heap whose contents are known,
 * and the time that it takes to become cold. They are plain programs: nothing
 * here knows of Ferry.
 *
 * Output is the same in every run, so that two runs can be compared. What
 * fails is said on standard error and ends the program with status 1.
 */
#ifndef FERRY_TESTS_PROGRAMS_HEAP_H
#define FERRY_TESTS_PROGRAMS_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap;

/* At least @bytes in blocks of 16 bytes to 256 KiB, all of them written. */
struct heap *heap_make(size_t bytes, uint32_t seed);

/*
 * Leaves the heap alone. Where pages are expected to go out (PROGRAMS_COLD in
 * the environment) until most of it is not in memory, which only the limit of
 * the case ends (FERRY_PROGRAMS_SECONDS); else a moment.
 */
void heap_rest(const struct heap *heap);

/* Whether it is expected that pages go out. */
bool heap_goes_out(void);

/* Bytes of the blocks whose pages are in memory. */
size_t heap_resident(const struct heap *heap);

/* Every byte of every block is looked at. */
bool heap_is_whole(const struct heap *heap);

/* Frees every second block, and allocates as many again. */
void heap_churn(struct heap *heap);

/* The @i-th block, and how long it is. */
void *heap_block(const struct heap *heap, size_t i, size_t *ret_len);

/* One byte of block @i as it should be. */
uint8_t heap_byte(const struct heap *heap, size_t i, size_t offset);

void heap_free(struct heap *heap);

/* Says @what and whether the heap is whole; not whole ends the program. */
void heap_report(const struct heap *heap, const char *what);

/* Prints @what on standard error, errno too, and ends the program. */
_Noreturn void fail(const char *what);

/* The program cannot show anything here, for want of @feature. */
_Noreturn void skip(const char *feature, const char *why);

void check(bool holds, const char *what);

/* Waits for @pid and says "@what: exit N" or "@what: signal N". */
/* fork(2), with nothing left in stdio's buffers to be printed twice. */
int fork_clean(void);
void report_child(int pid, const char *what);

void sleep_ms(unsigned int ms);

#endif
