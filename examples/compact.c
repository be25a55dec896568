/* SPDX-License-Identifier: MIT */
/*
 * A sparse arena made dense while another thread goes on reading: notes of a
 * page each, most of which have been thrown away.
 *
 *	cc compact.c $(pkg-config --cflags --libs ferry) -lpthread
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <ferry/ferry.h>

#define NOTES 4096
#define KEPT  (NOTES / 4)

/* The program's own pointers: what has to follow when pages move. */
static char *note[KEPT];

static int fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-error));
	return 1;
}

/* Every fourth page is kept; the others go back to the system. */
static int make_notes(struct ferry_arena *arena, size_t page)
{
	char *base = ferry_arena_base(arena);
	int r;

	r = ferry_arena_commit(arena, 0, NOTES * page, false);
	for (size_t i = 0; i < NOTES && r == 0; i++) {
		snprintf(base + i * page, page, "note %zu", i);
		if (i % 4 == 0)
			note[i / 4] = base + i * page;
		else
			r = ferry_arena_decommit(arena, i * page, page);
	}
	return r;
}

static void *read_notes(void *arg)
{
	bool *right = arg;
	char want[32];

	/* A page that has not moved yet is moved when it is touched. */
	for (size_t i = 0; i < KEPT; i++) {
		snprintf(want, sizeof(want), "note %zu", i * 4);
		*right &= !strcmp(note[i], want);
	}
	return NULL;
}

static int compact(struct ferry_compact *c)
{
	struct ferry_compact_result result =
		FERRY_INIT(struct ferry_compact_result);
	bool right = true;
	pthread_t reader;
	size_t left;
	int r;

	/*
	 * The change-over. Nobody may be using a note just now: here there is
	 * only this thread; a collector would have stopped the others.
	 */
	for (size_t i = 0; i < KEPT; i++)
		note[i] = ferry_compact_map(c, note[i]);
	r = ferry_compact_start(c);
	if (r < 0)
		return fail("start", r);

	/* From here on others may run. Move the rest, 256 KiB at a time. */
	if (pthread_create(&reader, NULL, read_notes, &right))
		return fail("thread", -EAGAIN);
	do {
		r = ferry_compact_step(c, 256 << 10, NULL, &left);
	} while (r == 0 && left);
	pthread_join(reader, NULL);
	if (r < 0)
		return fail("step", r);

	r = ferry_compact_finish(c, &result);
	if (r < 0)
		return fail("finish", r);
	printf("%zu KiB moved in %llu calls, %zu bytes copied, %llu faults\n",
	       result.moved / 1024, (unsigned long long)result.calls,
	       result.copied, (unsigned long long)result.faults);
	return right ? 0 : fail("reading", -EBADMSG);
}

int main(void)
{
	struct ferry_arena_params ap = FERRY_INIT(struct ferry_arena_params);
	struct ferry_compact_params cp =
		FERRY_INIT(struct ferry_compact_params);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	enum ferry_reason reason;
	struct ferry_arena *arena, *dense;
	struct ferry_compact *c;
	int r;

	ap.reserve = NOTES * page;
	r = ferry_arena_create(&ap, &arena);
	if (r == 0)
		r = make_notes(arena, page);
	if (r < 0)
		return fail("arena", r);

	cp.sources = &arena;
	cp.sources_len = 1;
	r = ferry_compact_plan(&cp, &reason, &c);
	if (r < 0) {
		fprintf(stderr, "plan: %s\n", ferry_reason_string(reason));
		/* No userfaultfd here: nothing that could be shown. */
		return reason == FERRY_REASON_NO_PERMISSION ||
				       reason == FERRY_REASON_SECCOMP ||
				       reason == FERRY_REASON_NOT_SUPPORTED
			       ? 77
			       : 1;
	}
	dense = ferry_compact_destination(c);
	r = compact(c);

	ferry_compact_destroy(c);
	ferry_arena_destroy(arena); /* empty by now */
	ferry_arena_destroy(dense);
	return r;
}
