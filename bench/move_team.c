/* SPDX-License-Identifier: MIT */
/* move_team.c: start threads together, keep a sibling idle or busy. */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "move_team.h"

static void *sibling_main(void *arg)
{
	struct move_sibling_thread *s = arg;
	struct timespec nap = { .tv_nsec = 50000000 };

	/* Relaxed: the flag carries no data; the join orders the rest. */
	while (!atomic_load_explicit(&s->stop, memory_order_relaxed))
		if (s->kind == MOVE_IDLE)
			nanosleep(&nap, NULL);
	return NULL;
}

static void start_thread(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	int rc = pthread_create(thread, NULL, fn, arg);

	if (rc)
		bench_die("no thread to be had: %s", strerror(rc));
}

void move_sibling_start(struct move_sibling_thread *s, enum move_sibling kind)
{
	s->kind = kind;
	atomic_init(&s->stop, false);
	if (kind != MOVE_ALONE)
		start_thread(&s->thread, sibling_main, s);
}

void move_sibling_stop(struct move_sibling_thread *s)
{
	atomic_store_explicit(&s->stop, true, memory_order_relaxed);
	if (s->kind != MOVE_ALONE)
		pthread_join(s->thread, NULL);
}

void move_team_init(struct move_team *t, struct move_bed *bed,
		    enum move_method method, size_t batch, unsigned int n)
{
	size_t part = bed->span / n;

	memset(t, 0, sizeof(*t));
	t->n = n;
	for (unsigned int i = 0; i < n; i++)
		move_work_init(&t->work[i], bed, method, batch, i * part, part);
}

void move_team_fini(struct move_team *t)
{
	for (unsigned int i = 0; i < t->n; i++)
		move_work_fini(&t->work[i]);
}

/*
 * Wait until all have arrived, spinning, so that they begin within a cache
 * line's travel of each other. Relaxed: nothing is handed over here, the
 * work of each thread is its own, and create and join order the rest.
 */
static void meet(struct move_team *t)
{
	atomic_fetch_add_explicit(&t->arrived, 1, memory_order_relaxed);
	while (atomic_load_explicit(&t->arrived, memory_order_relaxed) < t->n)
		sched_yield();
}

struct member {
	struct move_team *team;
	unsigned int i;
};

static void *member_main(void *arg)
{
	struct member *m = arg;
	struct move_team *t = m->team;

	meet(t);
	t->error[m->i] =
		move_work_run(&t->work[m->i], &t->ns[m->i], &t->pages[m->i]);
	return NULL;
}

int move_team_run(void *team, double *ret_v)
{
	struct move_team *t = team;
	struct member member[MOVE_MAX_THREADS];
	pthread_t thread[MOVE_MAX_THREADS];
	size_t pages = 0;
	double ns = 0;
	int rc = 0;

	atomic_store_explicit(&t->arrived, 0, memory_order_relaxed);
	for (unsigned int i = 0; i < t->n; i++)
		member[i] = (struct member){ t, i };
	for (unsigned int i = 1; i < t->n; i++)
		start_thread(&thread[i], member_main, &member[i]);
	member_main(&member[0]);
	for (unsigned int i = 0; i < t->n; i++) {
		if (i > 0)
			pthread_join(thread[i], NULL);
		ns += t->ns[i];
		pages += t->pages[i];
		rc = rc ? rc : t->error[i];
	}
	*ret_v = pages ? ns / (double)pages : 0;
	return rc;
}

struct move_counts move_team_counts(const struct move_team *t)
{
	struct move_counts sum = { 0 };

	for (unsigned int i = 0; i < t->n; i++)
		move_counts_add(&sum, &t->work[i].counts);
	return sum;
}
