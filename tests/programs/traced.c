/* SPDX-License-Identifier: MIT */
/* A program with a heap that is cold, for a debugger to look at. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/programs/heap.h"

struct node {
	struct node *next;
	char name[2000];
};

struct node *list;
int nodes;
static struct heap *heap;

void stop_here(const struct node *first);

__attribute__((noinline)) void stop_here(const struct node *first)
{
	__asm__ volatile("" : : "r"(first) : "memory");
}

static void make_list(void)
{
	struct node *node;

	for (int i = 0; i < 500; i++) {
		node = calloc(1, sizeof(*node));
		check(node != NULL, "calloc");
		snprintf(node->name, sizeof(node->name), "node %d", i);
		node->next = list;
		list = node;
		nodes++;
	}
}

/* Waits for a line of input where it is to be attached to. */
static void wait_for_word(void)
{
	char line[16];

	printf("pid %d\n", (int)getpid());
	fflush(stdout);
	check(read(0, line, sizeof(line)) > 0, "nobody said a word");
}

int main(int argc, char **argv)
{
	(void)argv;
	heap = heap_make(4 << 20, 16);
	make_list();
	/* What a debugger started it leaves in memory. */
	sleep_ms(400);
	if (argc > 1) {
		heap_rest(heap);
		wait_for_word();
	}
	stop_here(list);
	heap_report(heap, "afterwards");
	return 0;
}
