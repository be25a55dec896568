/* SPDX-License-Identifier: MIT */
/*
 * An incremental snapshot: a buffer is copied once, and from then on only the
 * pages that were written since the last copy.
 */
#include <ferry/ferry.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SIZE ((size_t)16 << 20)
#define RUNS 64

/* Brings @copy up to date; returns the bytes copied, or a negative errno. */
static ssize_t update(struct ferry_dirty *dirty, char *buffer, char *copy)
{
	struct ferry_range runs[RUNS];
	char *pos = buffer;
	ssize_t copied = 0;
	size_t i, n;
	void *next;
	int r;

	/* There may be more runs than fit: go on from where it stopped. */
	while (pos < buffer + SIZE) {
		r = ferry_dirty_collect(dirty, pos, SIZE - (pos - buffer), runs,
					RUNS, &n, &next);
		if (r)
			return r;
		for (i = 0; i < n; i++) {
			/*
			 * Collected first, copied then: what is written
			 * meanwhile is in the next report.
			 */
			memcpy(copy + ((char *)runs[i].addr - buffer),
			       runs[i].addr, runs[i].len);
			copied += (ssize_t)runs[i].len;
		}
		pos = next;
	}
	return copied;
}

/* A program at work: some words here and there. */
static void work(char *buffer)
{
	size_t i;

	for (i = 0; i < 200; i++)
		buffer[(size_t)random() % SIZE]++;
}

static int run(struct ferry_dirty *dirty, char *buffer, char *copy)
{
	ssize_t n = 0;
	int i;

	memcpy(copy, buffer, SIZE);
	for (i = 0; i < 5; i++) {
		work(buffer);
		n = update(dirty, buffer, copy);
		if (n < 0)
			break;
		printf("snapshot %d: %zd KiB copied of %zu\n", i, n >> 10,
		       SIZE >> 10);
	}
	if (n < 0)
		printf("collecting failed: errno %zd\n", -n);
	else if (memcmp(buffer, copy, SIZE))
		printf("the snapshot differs\n");
	else
		return 0;
	return 1;
}

int main(void)
{
	struct ferry_dirty *dirty;
	enum ferry_reason reason;
	char *buffer, *copy;
	int r;

	buffer = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	copy = malloc(SIZE);
	if (buffer == MAP_FAILED || !copy)
		return 1;

	/* The best provider of this kernel; NULL stands for the defaults. */
	r = ferry_dirty_open(NULL, &reason, &dirty);
	if (r) {
		printf("no dirty tracking: %s\n", ferry_reason_string(reason));
		return 1;
	}
	printf("provider: %s\n",
	       ferry_dirty_provider_name(ferry_dirty_provider(dirty)));

	/* Armed before the first copy: no write falls between the two. */
	r = ferry_dirty_arm(dirty, buffer, SIZE, &reason);
	if (r)
		printf("not armed: %s\n", ferry_reason_string(reason));
	else
		r = run(dirty, buffer, copy);
	ferry_dirty_close(dirty);
	free(copy);
	return r != 0;
}
