/* SPDX-License-Identifier: MIT */
/* gc_cell.c: a run in a process of its own, and what comes back from it. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gc.h"

extern char **environ;

const struct gc_metric_info gc_metrics[GC_METRICS] = {
	[GC_WALL] = { "wall_s", "s", GC_FOLD_MEDIAN },
	[GC_CPU] = { "cpu_s", "s", GC_FOLD_MEDIAN },
	[GC_OPS_PER_S] = { "ops_per_s", "1/s", GC_FOLD_MEDIAN },
	[GC_COLLECTIONS] = { "collections", "collections", GC_FOLD_MEDIAN },
	[GC_PAUSES] = { "pauses", "pauses", GC_FOLD_MEDIAN },
	[GC_PAUSE_P50] = { "pause_p50_us", "us", GC_FOLD_P50 },
	[GC_PAUSE_P99] = { "pause_p99_us", "us", GC_FOLD_P99 },
	[GC_PAUSE_MAX] = { "pause_max_us", "us", GC_FOLD_MOST },
	[GC_HICCUP_MAX] = { "hiccup_max_us", "us", GC_FOLD_MOST },
	[GC_LOST] = { "lost_share", "ratio", GC_FOLD_MEDIAN },
	[GC_WRITE_LOST] = { "write_lost_share", "ratio", GC_FOLD_MEDIAN },
	[GC_MMU + 0] = { "mmu_1ms", "ratio", GC_FOLD_LEAST },
	[GC_MMU + 1] = { "mmu_2ms", "ratio", GC_FOLD_LEAST },
	[GC_MMU + 2] = { "mmu_5ms", "ratio", GC_FOLD_LEAST },
	[GC_MMU + 3] = { "mmu_10ms", "ratio", GC_FOLD_LEAST },
	[GC_MMU + 4] = { "mmu_20ms", "ratio", GC_FOLD_LEAST },
	[GC_MMU + 5] = { "mmu_50ms", "ratio", GC_FOLD_LEAST },
	[GC_MMU + 6] = { "mmu_100ms", "ratio", GC_FOLD_LEAST },
	[GC_PEAK_RSS] = { "peak_rss_bytes", "bytes", GC_FOLD_MOST },
	[GC_FAULTS] = { "faults", "faults", GC_FOLD_MEDIAN },
	[GC_DEMAND_FAULTS] = { "demand_faults", "faults", GC_FOLD_MEDIAN },
	[GC_STALLS] = { "stalls", "stalls", GC_FOLD_MEDIAN },
	[GC_BYTES_COPIED] = { "bytes_copied", "bytes", GC_FOLD_MOST },
	[GC_BYTES_MOVED] = { "bytes_moved", "bytes", GC_FOLD_MEDIAN },
	[GC_ALLOC_MEDIAN] = { "alloc_ns", "ns", GC_FOLD_MEDIAN },
	[GC_ALLOC_MEAN] = { "alloc_mean_ns", "ns", GC_FOLD_MEDIAN },
	[GC_RETURNED] = { "returned_share", "ratio", GC_FOLD_LEAST },
	[GC_RETURN_CPU] = { "return_cpu_s", "s", GC_FOLD_MEDIAN },
	[GC_RSS_OVER] = { "rss_over_share", "ratio", GC_FOLD_MOST },
	[GC_PER_EPHEMERON] = { "ephemeron_ns", "ns", GC_FOLD_MEDIAN },
};

struct bench_stat gc_cell_stat(const struct gc_cell *c, enum gc_metric m)
{
	struct bench_stat st = bench_samples_stat(&c->metric[m]);

	switch (gc_metrics[m].fold) {
	case GC_FOLD_MEDIAN:
		break;
	case GC_FOLD_MOST:
		st.value = st.max;
		break;
	case GC_FOLD_LEAST:
		st.value = st.min;
		break;
	case GC_FOLD_P50:
		st.value = bench_samples_quantile(&c->pauses, 0.5);
		break;
	case GC_FOLD_P99:
		st.value = bench_samples_quantile(&c->pauses, 0.99);
		break;
	}
	/* A quantile of few may lie outside those of fewer. */
	st.min = fmin(st.min, st.value);
	st.max = fmax(st.max, st.value);
	return st;
}

void gc_cell_fini(struct gc_cell *c)
{
	for (size_t i = 0; i < GC_METRICS; i++)
		bench_samples_fini(&c->metric[i]);
	bench_samples_fini(&c->pauses);
	free(c->moments);
}

/* --- the process ---------------------------------------------------------- */

struct child {
	pid_t pid;
	int to;	  /* its standard input */
	int from; /* its standard output */
};

static int spawn(const int in[2], const int out[2], pid_t *ret_pid)
{
	char *argv[] = { (char *)"ferry-bench", (char *)GC_CELL_ARGUMENT,
			 NULL };
	posix_spawn_file_actions_t fa;
	int rc;

	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, in[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&fa, out[1], STDOUT_FILENO);
	rc = posix_spawn(ret_pid, "/proc/self/exe", &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	return -rc;
}

static int start(struct child *c)
{
	int in[2], out[2];
	int rc;

	if (pipe2(in, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(out, O_CLOEXEC) < 0) {
		rc = -errno;
		goto err_in;
	}
	rc = spawn(in, out, &c->pid);
	close(in[0]);
	close(out[1]);
	c->to = in[1];
	c->from = out[0];
	if (rc == 0)
		return 0;
	close(out[0]);
	close(in[1]);
	return rc;

err_in:
	close(in[0]);
	close(in[1]);
	return rc;
}

static bool read_all(int fd, void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool read_pauses(int fd, struct gc_cell *c)
{
	double us;

	for (size_t i = 0; i < c->last.npauses; i++) {
		if (!read_all(fd, &us, sizeof(us)))
			return false;
		bench_samples_add(&c->pauses, us);
	}
	return true;
}

static bool read_moments(int fd, struct gc_cell *c)
{
	size_t n = c->last.nmoments;

	c->moments = bench_grow(c->moments, n + 1, sizeof(*c->moments));
	return read_all(fd, c->moments, n * sizeof(*c->moments));
}

static bool read_report(int fd, struct gc_cell *c)
{
	struct gc_outcome *o = &c->last;

	return read_all(fd, o, sizeof(*o)) &&
	       (o->error || (read_pauses(fd, c) && read_moments(fd, c)));
}

/* How it ended that has not reported. */
static void explain_end(struct gc_outcome *o, int status)
{
	o->error = -EPROTO;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(o->why, sizeof(o->why), "it took too long");
	else if (WIFSIGNALED(status))
		snprintf(o->why, sizeof(o->why), "it was ended by: %s",
			 strsignal(WTERMSIG(status)));
	else
		snprintf(o->why, sizeof(o->why),
			 "it ended with status %d before it had reported",
			 WEXITSTATUS(status));
}

static int run_child(struct gc_cell *c)
{
	struct child child;
	bool whole;
	int status = 0;
	int rc = start(&child);

	if (rc < 0)
		return rc;
	memset(&c->last, 0, sizeof(c->last));
	whole = write(child.to, &c->spec, sizeof(c->spec)) ==
			(ssize_t)sizeof(c->spec) &&
		read_report(child.from, c);
	close(child.to);
	close(child.from);
	while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!whole)
		explain_end(&c->last, status);
	return c->last.error;
}

void gc_cell_run(struct gc_cell *c)
{
	if (c->error)
		return;
	c->error = run_child(c);
	c->wrong += c->last.wrong;
	if (c->error)
		return;
	for (size_t i = 0; i < GC_METRICS; i++)
		if (!isnan(c->last.metric[i]))
			bench_samples_add(&c->metric[i], c->last.metric[i]);
}
