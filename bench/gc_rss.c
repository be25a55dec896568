/* SPDX-License-Identifier: MIT */
/* gc_rss.c: memory and CPU time of the process of a run, also over time. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gc_run.h"

#define PERIOD_NS 2000000

static double clock_seconds(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts) != 0)
		return 0;
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

double gc_cpu_now(void)
{
	return clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
}

double gc_thread_cpu(pthread_t thread)
{
	clockid_t clock;

	return pthread_getcpuclockid(thread, &clock) ? 0 : clock_seconds(clock);
}

/* The number behind "@key:" in kB, as bytes. */
static size_t kilobytes(const char *path, const char *key)
{
	FILE *f = fopen(path, "re");
	size_t len = strlen(key);
	char line[128];
	size_t kb = 0;

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, key, len) && line[len] == ':')
			kb = strtoul(line + len + 1, NULL, 10);
	fclose(f);
	return kb * 1024;
}

size_t gc_rss_now(void)
{
	return kilobytes("/proc/self/smaps_rollup", "Rss");
}

size_t gc_rss_peak(void)
{
	return kilobytes("/proc/self/status", "VmHWM");
}

void gc_rss_reset(void)
{
	FILE *f = fopen("/proc/self/clear_refs", "we");

	if (!f)
		return;
	fputs("5\n", f);
	fclose(f);
}

struct gc_sampler {
	struct gc_run *run;
	pthread_t thread;
	atomic_bool stop; /* relaxed: the join orders the rest */
	size_t room;
	uint64_t begin;
	double mark_ms; /* of the time that becomes 0 */
	double cpu_begin;
	double work_begin; /* of the mutators */
};

/* Pages resident, by counters that lag behind a little. */
static double quick_rss(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long pages = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%*u %lu", &pages) != 1)
		pages = 0;
	fclose(f);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/*
 * What the mutators' work took: CPU of their threads, but no more than their
 * operations normally take, as a fault that they serve, or a collection that
 * runs in them, is not their work.
 */
static double work_cpu(const struct gc_run *run)
{
	double sum = 0;

	for (uint64_t i = 0; i < run->spec.mutators; i++) {
		const struct gc_thread *t = &run->threads[i];
		double normal = (double)atomic_load_explicit(
					&t->normal, memory_order_relaxed) *
				1e-9;
		double cpu = gc_thread_cpu(t->thread);

		sum += normal < cpu ? normal : cpu;
	}
	return sum;
}

static void sample(struct gc_sampler *s)
{
	struct gc_run *run = s->run;
	struct gc_moment *m;

	if (run->nmoments == s->room) {
		s->room = s->room ? 2 * s->room : 4096;
		run->moments = bench_grow(run->moments, s->room, sizeof(*m));
	}
	m = &run->moments[run->nmoments++];
	m->ms = (double)(bench_now() - s->begin) * 1e-6;
	m->rss = quick_rss();
	m->gc_cpu = gc_cpu_now() - s->cpu_begin -
		    (work_cpu(run) - s->work_begin) -
		    gc_thread_cpu(pthread_self());
}

static void *sampler_main(void *arg)
{
	static const struct timespec period = { 0, PERIOD_NS };
	struct gc_sampler *s = arg;

	do {
		sample(s);
		nanosleep(&period, NULL);
	} while (!atomic_load_explicit(&s->stop, memory_order_relaxed));
	sample(s);
	return NULL;
}

struct gc_sampler *gc_sampler_start(struct gc_run *run)
{
	struct gc_sampler *s = bench_alloc(sizeof(*s));

	s->run = run;
	s->begin = bench_now();
	s->cpu_begin = gc_cpu_now();
	s->work_begin = work_cpu(run);
	if (pthread_create(&s->thread, NULL, sampler_main, s))
		bench_die("no thread to sample memory");
	return s;
}

void gc_sampler_mark(struct gc_sampler *s)
{
	s->mark_ms = (double)(bench_now() - s->begin) * 1e-6;
}

void gc_sampler_stop(struct gc_sampler *s)
{
	atomic_store_explicit(&s->stop, true, memory_order_relaxed);
	pthread_join(s->thread, NULL);
	for (size_t i = 0; i < s->run->nmoments; i++)
		s->run->moments[i].ms -= s->mark_ms;
	free(s);
}
