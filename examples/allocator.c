/* SPDX-License-Identifier: MIT */
/*
 * An allocator instance of one's own: a table of texts that is read a little
 * at a time. What is not read goes out of memory by itself; here it is told
 * to, so that there is something to see.
 */
#include <ferry/alloc.h>

#include <stdio.h>
#include <string.h>

#define TEXTS 50000
#define MIB   ((double)(1 << 20))

static char *texts[TEXTS];

static int write_texts(struct ferry_allocator *a)
{
	size_t i;

	for (i = 0; i < TEXTS; i++) {
		texts[i] = ferry_allocator_malloc(a, 400);
		if (!texts[i])
			return -1;
		memset(texts[i], 'a' + (int)(i % 26), 399);
		texts[i][399] = '\0';
	}
	return 0;
}

static size_t read_texts(size_t first, size_t n)
{
	size_t i, wrong = 0;

	for (i = first; i < first + n; i++)
		wrong += texts[i][0] != 'a' + (char)(i % 26) ||
			 strlen(texts[i]) != 399;
	return wrong;
}

static void report(struct ferry_allocator *a, const char *when)
{
	struct ferry_allocator_stats s =
		FERRY_INIT(struct ferry_allocator_stats);

	ferry_allocator_stats(a, &s);
	printf("%-18s %5.1f MiB in memory, %5.1f MiB out in %4.1f MiB\n", when,
	       (double)s.resident / MIB, (double)s.stored / MIB,
	       (double)s.store_memory / MIB);
}

int main(void)
{
	struct ferry_allocator_params params =
		FERRY_INIT(struct ferry_allocator_params);
	struct ferry_allocator *a;
	size_t wrong;

	params.conf = "cold_after:10s,rate:0,refault_limit:0";
	params.name = "texts";
	if (ferry_allocator_create(&params, &a) || write_texts(a))
		return 1;
	report(a, "written:");
	if (ferry_allocator_trim(a))
		printf("this system lets nothing be taken out\n");
	report(a, "taken out:");
	wrong = read_texts(1000, 2000);
	report(a, "a few are read:");
	wrong += read_texts(0, TEXTS);
	report(a, "all are read:");
	ferry_allocator_destroy(a); /* and every text with it */
	return wrong != 0;
}
