/* SPDX-License-Identifier: MIT */
/*
 * Threads that come and go, each with memory that others free, beside a heap
 * that goes out and comes back all the time.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/programs/heap.h"

#define WAVES	40
#define THREADS 6
#define LEN	3000

static void *give(void *arg)
{
	size_t n = (size_t)arg;
	char **blocks = malloc(200 * sizeof(*blocks));

	for (size_t i = 0; i < 200; i++) {
		blocks[i] = malloc(LEN);
		check(blocks[i] != NULL, "malloc");
		memset(blocks[i], (int)(n + i), LEN);
	}
	return blocks;
}

static void take(char **blocks, size_t n)
{
	for (size_t i = 0; i < 200; i++) {
		for (size_t j = 0; j < LEN; j++)
			check(blocks[i][j] == (char)(n + i), "a byte is wrong");
		free(blocks[i]);
	}
	free(blocks);
}

static void wave(void)
{
	pthread_t threads[THREADS];
	void *blocks[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		check(pthread_create(&threads[i], NULL, give, (void *)i) == 0,
		      "pthread_create");
	for (size_t i = 0; i < THREADS; i++)
		check(pthread_join(threads[i], &blocks[i]) == 0, "join");
	sleep_ms(20);
	for (size_t i = 0; i < THREADS; i++)
		take(blocks[i], i);
}

int main(void)
{
	struct heap *heap = heap_make(8 << 20, 18);

	for (int i = 0; i < WAVES; i++) {
		wave();
		if (i % 8 == 0) {
			heap_rest(heap);
			heap_report(heap, "wave");
		}
	}
	heap_free(heap);
	return 0;
}
