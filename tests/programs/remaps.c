/* SPDX-License-Identifier: MIT */
/*
 * Memory from malloc that gets another mapping, or none in children: moved
 * elsewhere, replaced, taken away for a while, wiped at fork. Whatever was put
 * there is found; that it was not used for a while is no reason.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/programs/heap.h"

#define BLOCK ((size_t)1 << 20)
#define PART  ((size_t)64 << 10)

static struct heap *heap;

static char *block(int value)
{
	char *p = aligned_alloc(PART, BLOCK);

	check(p, "aligned_alloc");
	memset(p, value, BLOCK);
	return p;
}

static bool is_all(const char *p, size_t len, int value)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i] != value)
			return false;
	return true;
}

/* Everything has been left alone for a while. */
static void report(const char *what, bool right)
{
	heap_rest(heap);
	printf("%s: %s\n", what, right ? "right" : "wrong");
	heap_report(heap, what);
}

static void moves(void)
{
	char *p = block(1), *q;

	heap_rest(heap);
	q = mremap(p, PART, PART, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	check(q != MAP_FAILED, "mremap");
	report("moved", is_all(q, PART, 1) && is_all(p, PART, 0) &&
				is_all(p + PART, BLOCK - PART, 1));
	munmap(q, PART);
	free(p);
}

static void replaces(void)
{
	char *p = block(2), *q;

	heap_rest(heap);
	q = mmap(p + PART, PART, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	check(q == p + PART, "mmap");
	memset(q, 3, PART);
	heap_rest(heap);
	report("replaced", is_all(p, PART, 2) && is_all(q, PART, 3) &&
				   is_all(q + PART, BLOCK - 2 * PART, 2));
	free(p);
	p = block(9);
	report("allocated again", is_all(p, BLOCK, 9));
	free(p);
}

static void shares(void)
{
	int fd = memfd_create("remaps", 0), pid;
	char *p = block(4), *q;

	check(fd >= 0 && !ftruncate(fd, PART), "memfd_create");
	heap_rest(heap);
	q = mmap(p + PART, PART, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 fd, 0);
	check(q == p + PART, "mmap");
	pid = fork_clean();
	if (pid == 0) {
		memset(q, 5, PART);
		report("shared, in the child", is_all(p, PART, 4));
		fflush(stdout);
		_exit(0);
	}
	report_child(pid, "child");
	report("shared", is_all(p, PART, 4) && is_all(q, PART, 5) &&
				 is_all(q + PART, BLOCK - 2 * PART, 4));
}

static void takes_away(void)
{
	char *p = block(6), *q;

	heap_rest(heap);
	check(!munmap(p + PART, PART), "munmap");
	heap_rest(heap);
	q = mmap(p + PART, PART, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	check(q == p + PART, "mmap");
	report("taken away", is_all(p, PART, 6) && is_all(q, PART, 0));
	free(p);
}

static void wipes(void)
{
	char *p = block(7);
	int pid;

	heap_rest(heap);
	check(!madvise(p, BLOCK, MADV_WIPEONFORK), "madvise");
	heap_rest(heap);
	pid = fork_clean();
	if (pid == 0) {
		report("wiped", is_all(p, BLOCK, 0));
		fflush(stdout);
		_exit(0);
	}
	report_child(pid, "child");
	report("not wiped", is_all(p, BLOCK, 7));
	check(!madvise(p, BLOCK, MADV_KEEPONFORK), "madvise");
	free(p);
}

static void leaves_out(void)
{
	char *p = block(8);
	int pid;

	heap_rest(heap);
	check(!madvise(p, BLOCK, MADV_DONTFORK), "madvise");
	pid = fork_clean();
	if (pid == 0) {
		report("left out", true);
		fflush(stdout);
		_exit(0);
	}
	report_child(pid, "child");
	report("not left out", is_all(p, BLOCK, 8));
}

int main(void)
{
	heap = heap_make((size_t)8 << 20, 11);
	moves();
	replaces();
	takes_away();
	wipes();
	shares();
	leaves_out();
	return 0;
}
