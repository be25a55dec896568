/* SPDX-License-Identifier: MIT */
/*
 * Somebody for ferryctl to look at: memory that is known, told on standard
 * output as "NAME START-END" lines, and a life until standard input ends.
 *
 *	touched	64 pages, all there
 *	empty	64 pages, never touched
 *	huge	8 MiB, all there, in pages as the kernel gives them
 *	arena	64 pages of an arena, all there
 *
 * With the argument "agent" it has an agent.
 */
#include <ferry/ferry.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char *map(const char *name, size_t len, int advice)
{
	char *p = mmap(NULL, len + ((size_t)2 << 20), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* Aligned. */
	p = (char *)(((uintptr_t)p + ((size_t)2 << 20) - 1) &
		     ~(((uintptr_t)2 << 20) - 1));
	madvise(p, len, advice);
	printf("%s %llx-%llx\n", name, (unsigned long long)(uintptr_t)p,
	       (unsigned long long)(uintptr_t)p + len);
	return p;
}

static struct ferry_arena *make_arena(size_t len)
{
	struct ferry_arena_params params =
		FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *arena;

	params.reserve = (size_t)4 << 20;
	params.name = "known";
	if (ferry_arena_create(&params, &arena) < 0 ||
	    ferry_arena_commit(arena, 0, len, false) < 0)
		return NULL;
	memset(ferry_arena_base(arena), 1, len);
	printf("arena %llx-%llx\n",
	       (unsigned long long)(uintptr_t)ferry_arena_base(arena),
	       (unsigned long long)(uintptr_t)ferry_arena_base(arena) + len);
	return arena;
}

int main(int argc, char **argv)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), huge = (size_t)8 << 20;
	char *touched = map("touched", 64 * page, MADV_NOHUGEPAGE);
	char *empty = map("empty", 64 * page, MADV_NOHUGEPAGE);
	char *large = map("huge", huge, MADV_NORMAL), c;
	struct ferry_arena *arena = make_arena(64 * page);

	if (!touched || !empty || !large || !arena)
		return 1;
	memset(touched, 1, 64 * page);
	memset(large, 1, huge);
	if (argc > 1 && !strcmp(argv[1], "agent") &&
	    ferry_agent_start(NULL) < 0)
		return 2;
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	ferry_agent_stop();
	ferry_arena_destroy(arena);
	return 0;
}
