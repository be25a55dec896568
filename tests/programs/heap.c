/* SPDX-License-Identifier: MIT */
/* A heap whose contents are known: see heap.h. */
#include "tests/programs/heap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE	((uintptr_t)4096)
#define REST_MS 10

struct block {
	uint8_t *data;
	size_t len;
	uint32_t seed;
};

struct heap {
	struct block *blocks;
	size_t n;
	size_t bytes;
	uint32_t seed;
};

void fail(const char *what)
{
	int e = errno;

	fprintf(stderr, "%s (errno %d: %s)\n", what, e, strerror(e));
	exit(1);
}

void skip(const char *feature, const char *why)
{
	printf("SKIP %s: %s\n", feature, why);
	exit(77);
}

void check(bool holds, const char *what)
{
	if (!holds)
		fail(what);
}

void sleep_ms(unsigned int ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		;
}

int fork_clean(void)
{
	int pid;

	fflush(stdout);
	pid = fork();
	check(pid >= 0, "fork");
	return pid;
}

void report_child(int pid, const char *what)
{
	int status = 0;

	fflush(stdout);
	while (waitpid(pid, &status, 0) < 0)
		check(errno == EINTR, "waitpid");
	if (WIFSIGNALED(status))
		printf("%s: signal %d\n", what, WTERMSIG(status));
	else
		printf("%s: exit %d\n", what, WEXITSTATUS(status));
	fflush(stdout);
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

/* Mostly small, and each power of two up to 256 KiB now and then. */
static size_t random_len(uint32_t *state)
{
	unsigned int shift = next_random(state) % 8;

	if (next_random(state) % 8 == 0)
		shift = next_random(state) % 15;
	return 16 + next_random(state) % ((size_t)16 << shift);
}

/* Compresses about as well as text: one byte in four is random. */
static uint8_t byte_at(uint32_t seed, size_t offset)
{
	uint32_t x = seed + (uint32_t)(offset / 4) * 2654435761u;

	return offset % 4 ? (uint8_t)(seed >> 3) : (uint8_t)(x ^ (x >> 15));
}

static void block_make(struct block *block, uint32_t *state)
{
	block->len = random_len(state);
	block->seed = next_random(state);
	block->data = malloc(block->len);
	check(block->data != NULL, "malloc");
	for (size_t i = 0; i < block->len; i++)
		block->data[i] = byte_at(block->seed, i);
}

struct heap *heap_make(size_t bytes, uint32_t seed)
{
	struct heap *heap = calloc(1, sizeof(*heap));
	size_t room = 0;

	check(heap != NULL, "calloc");
	heap->seed = seed;
	while (heap->bytes < bytes) {
		if (heap->n == room) {
			room = room ? 2 * room : 64;
			heap->blocks = realloc(heap->blocks,
					       room * sizeof(*heap->blocks));
			check(heap->blocks != NULL, "realloc");
		}
		block_make(&heap->blocks[heap->n], &heap->seed);
		heap->bytes += heap->blocks[heap->n++].len;
	}
	return heap;
}

bool heap_goes_out(void)
{
	return getenv("PROGRAMS_COLD") != NULL;
}

static size_t resident_of(const struct block *block)
{
	uintptr_t begin = (uintptr_t)block->data & ~(PAGE - 1);
	uintptr_t end = ((uintptr_t)block->data + block->len + PAGE - 1) &
			~(PAGE - 1);
	unsigned char there[80];
	size_t present = 0, pages = (end - begin) / PAGE;

	check(pages <= sizeof(there), "a block is larger than expected");
	check(mincore((void *)begin, end - begin, there) == 0, "mincore");
	for (size_t i = 0; i < pages; i++)
		present += there[i] & 1;
	return block->len * present / pages;
}

size_t heap_resident(const struct heap *heap)
{
	size_t bytes = 0;

	for (size_t i = 0; i < heap->n; i++)
		bytes += resident_of(&heap->blocks[i]);
	return bytes;
}

void heap_rest(const struct heap *heap)
{
	if (!heap_goes_out()) {
		sleep_ms(REST_MS);
		return;
	}
	/* The list of blocks is warm meanwhile. */
	while (heap_resident(heap) > heap->bytes / 4)
		sleep_ms(REST_MS);
}

static bool block_is_whole(const struct block *block)
{
	for (size_t i = 0; i < block->len; i++)
		if (block->data[i] != byte_at(block->seed, i))
			return false;
	return true;
}

bool heap_is_whole(const struct heap *heap)
{
	for (size_t i = 0; i < heap->n; i++)
		if (!block_is_whole(&heap->blocks[i]))
			return false;
	return true;
}

void heap_churn(struct heap *heap)
{
	for (size_t i = 0; i < heap->n; i += 2) {
		heap->bytes -= heap->blocks[i].len;
		free(heap->blocks[i].data);
	}
	for (size_t i = 0; i < heap->n; i += 2) {
		block_make(&heap->blocks[i], &heap->seed);
		heap->bytes += heap->blocks[i].len;
	}
}

void *heap_block(const struct heap *heap, size_t i, size_t *ret_len)
{
	const struct block *block = &heap->blocks[i % heap->n];

	*ret_len = block->len;
	return block->data;
}

uint8_t heap_byte(const struct heap *heap, size_t i, size_t offset)
{
	return byte_at(heap->blocks[i % heap->n].seed, offset);
}

void heap_free(struct heap *heap)
{
	for (size_t i = 0; i < heap->n; i++)
		free(heap->blocks[i].data);
	free(heap->blocks);
	free(heap);
}

void heap_report(const struct heap *heap, const char *what)
{
	if (!heap_is_whole(heap)) {
		fprintf(stderr, "%s: the heap is not whole\n", what);
		exit(1);
	}
	printf("%s: %zu blocks are whole\n", what, heap->n);
	fflush(stdout);
}
