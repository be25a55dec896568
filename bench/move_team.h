/* SPDX-License-Identifier: MIT */
/* move_team.h: threads that do one work together, and siblings beside them. */
#ifndef FERRY_BENCH_MOVE_TEAM_H
#define FERRY_BENCH_MOVE_TEAM_H

#include <pthread.h>
#include <stdatomic.h>

#include "move_bed.h"

#define MOVE_MAX_THREADS 2

/* Another thread of the process, beside those that move. */
enum move_sibling { MOVE_ALONE, MOVE_IDLE, MOVE_BUSY };

struct move_sibling_thread {
	enum move_sibling kind;
	pthread_t thread;
	atomic_bool stop;
};

void move_sibling_start(struct move_sibling_thread *s, enum move_sibling kind);
void move_sibling_stop(struct move_sibling_thread *s);

/* One method, done by @n threads on equal parts of the bed. */
struct move_team {
	unsigned int n;
	struct move_work work[MOVE_MAX_THREADS];
	double ns[MOVE_MAX_THREADS];
	size_t pages[MOVE_MAX_THREADS];
	int error[MOVE_MAX_THREADS];
	atomic_uint arrived;
};

void move_team_init(struct move_team *t, struct move_bed *bed,
		    enum move_method method, size_t batch, unsigned int n);
void move_team_fini(struct move_team *t);

/* For struct bench_case: nanoseconds of thread time per live page. */
int move_team_run(void *team, double *ret_v);

/* The sum over the threads. */
struct move_counts move_team_counts(const struct move_team *t);

#endif
