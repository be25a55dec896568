/* SPDX-License-Identifier: MIT */
/*
 * Memory for tests of moves: mappings of a known alignment, pages whose
 * contents say which page they were, and what the page tables say.
 *
 * Each function asserts its own success.
 */
#ifndef FERRY_TESTS_MEMORY_H
#define FERRY_TESTS_MEMORY_H

#include <ferry/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HUGE_SIZE ((size_t)2 << 20)

/* Bytes of a base page. */
size_t page_size(void);

/* Private anonymous memory as the kernel gives it. */
void *map_private(size_t len);

/* What ferry_range_eligible() says of a range, with an explanation. */
enum ferry_reason range_verdict(const void *p, size_t len);

/* Private anonymous memory, untouched, aligned to 2 MiB, no huge pages. */
char *map_anon(size_t len);

/* The same, where huge pages are wanted. */
char *map_huge(size_t len);

/* Word @k of a page that fill_pages() gave the number @number. */
uint64_t page_word(uint64_t number, size_t k);

/* Fills each page with what page_number @first + its index would hold. */
void fill_pages(char *addr, size_t len, uint64_t first);

/* Asserts that fill_pages() has been at work there. */
void assert_pages(const char *addr, size_t len, uint64_t first);

/* The same for one page, as an answer. */
bool page_holds(const char *addr, uint64_t number);

/* The word of /proc/self/pagemap for a page. */
uint64_t pagemap_word(const char *addr);

/* Is there a page, swapped out or not? Does not touch it. */
bool page_there(const char *addr);

/* Bytes of the range that are mapped by huge pages. */
size_t huge_bytes(const char *addr, size_t len);

#endif
