/* SPDX-License-Identifier: MIT */
/*
 * handover_work.h: the two processes of a run of ferry-bench handover. The
 * receiver forks the sender before either has any memory to speak of:
 *
 *	receiver			sender
 *	ready				fill
 *			   <- filled
 *			   go ->
 *	take			<->	give		(on the clock)
 *	first accesses, the rest	(of lazy ways, on the clock)
 *			   <- when it began and ended
 *	a pass over all pages, all contents verified
 *	done				done
 */
#ifndef FERRY_BENCH_HANDOVER_WORK_H
#define FERRY_BENCH_HANDOVER_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "handover.h"

struct ferry_arena;

/* "--handover-work WAY BYTES PAGES SEED". */
#define HANDOVER_WORK_ARGUMENT "--handover-work"
int handover_work_main(int argc, char **argv);

/* One side of a run. */
struct handover_work {
	enum handover_way_id id;
	size_t size;
	bool huge;
	uint64_t seed; /* of the contents */
	int sock;      /* to the other side, for the way alone */
	int pipe[2];   /* the same; both ends, of which each has its one */
	pid_t sender;  /* the receiver's child */
	char *addr;    /* where it is, was, or is to be */
	int file;      /* of the ways by hand: what is sent */
	struct ferry_arena *arena;
	char why[120]; /* what is to be known, or why it failed */
};

/* A way. All return 0 or a negative errno; NULL: nothing to do. */
struct handover_way {
	/* Of the receiver, before the clock. */
	int (*ready)(struct handover_work *w);
	/* Of the sender: present memory of w->size at w->addr, to be filled. */
	int (*make)(struct handover_work *w);
	/* Each to its end: the sender needs not go on, the receiver can use
	 * what is at w->addr. */
	int (*give)(struct handover_work *w);
	int (*take)(struct handover_work *w);
	/* Lazy ways: brings what has not been touched. NULL: by touching. */
	int (*rest)(struct handover_work *w);
	/* Of the receiver. */
	int (*done)(struct handover_work *w);
};

extern const struct handover_way handover_way_eager;
extern const struct handover_way handover_way_lazy;
extern const struct handover_way handover_way_copy;
extern const struct handover_way handover_way_loop;
extern const struct handover_way handover_way_map;
extern const struct handover_way handover_way_pipe;
extern const struct handover_way handover_way_vm_warm;
extern const struct handover_way handover_way_vm_new;

/* Sets w->why; returns @rc. */
__attribute__((format(printf, 3, 4))) int
handover_because(struct handover_work *w, int rc, const char *fmt, ...);

/* All of @len through w->sock. 0, negative errno, -EPIPE at its end. */
int handover_write(int fd, const void *data, size_t len);
int handover_read(int fd, void *data, size_t len);

#endif
