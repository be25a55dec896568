/* SPDX-License-Identifier: MIT */
/* offload_run.c: processes that are watched while they run. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "offload.h"

const struct offload_metric_info offload_metrics[OFFLOAD_METRICS] = {
	[OFFLOAD_LIVE] = { "live_bytes", "bytes" },
	[OFFLOAD_OPS] = { "ops_per_s", "1/s" },
	[OFFLOAD_OP_P50] = { "op_p50_us", "us" },
	[OFFLOAD_OP_P99] = { "op_p99_us", "us" },
	[OFFLOAD_PAGE_NS] = { "page_ns", "ns" },
	[OFFLOAD_FAULT_P50] = { "fault_p50_us", "us" },
	[OFFLOAD_FAULT_P99] = { "fault_p99_us", "us" },
	[OFFLOAD_FORK_US] = { "fork_us", "us" },
	[OFFLOAD_PEAK] = { "peak_held_bytes", "bytes" },
	[OFFLOAD_HELD + OFFLOAD_STARTED] = { "started_held_bytes", "bytes" },
	[OFFLOAD_HELD + OFFLOAD_FILLED] = { "filled_held_bytes", "bytes" },
	[OFFLOAD_HELD + OFFLOAD_RESTED] = { "rested_held_bytes", "bytes" },
	[OFFLOAD_HELD + OFFLOAD_CHECKED] = { "checked_held_bytes", "bytes" },
	[OFFLOAD_WHOLE_CPU] = { "whole_cpu_s", "s" },
};

/* A run that is under way. */
struct watched {
	struct offload_run *run;
	struct preload_child child;
	uint64_t begin;
	double value[OFFLOAD_METRICS]; /* of this round */
	bool has[OFFLOAD_METRICS];
	bool checked; /* it only cleans up now */
	bool over;
};

/*
 * Stores in memory are resident, as are pages that were taken away but not
 * stored yet: both are within this, as is what the kernel has swapped out.
 */
static double held(pid_t pid, bool exactly)
{
	char *path = bench_asprintf("/proc/%d/%s", (int)pid,
				    exactly ? "smaps_rollup" : "status");
	FILE *f = fopen(path, "re");
	unsigned long kb, sum = 0;
	char line[128];

	free(path);
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, exactly ? "Rss: %lu" : "VmRSS: %lu", &kb) ==
			    1 ||
		    sscanf(line, exactly ? "Swap: %lu" : "VmSwap: %lu", &kb) ==
			    1)
			sum += kb;
	fclose(f);
	return (double)sum * 1024;
}

double offload_look(struct offload_run *r, pid_t pid, uint64_t begin,
		    bool exactly)
{
	struct offload_moment *m;

	r->moments = bench_grow(r->moments, r->nmoments + 1, sizeof(*m));
	m = &r->moments[r->nmoments++];
	m->s = (double)(bench_now() - begin) * 1e-9;
	m->held = held(pid, exactly);
	return m->held;
}

static void set(struct watched *w, size_t m, double v)
{
	w->value[m] = v;
	w->has[m] = true;
}

static double look(struct watched *w, bool exactly)
{
	double v = offload_look(w->run, w->child.pid, w->begin, exactly);

	if (v > w->value[OFFLOAD_PEAK])
		set(w, OFFLOAD_PEAK, v);
	return v;
}

static void set_filled(struct offload_run *r)
{
	atomic_store_explicit(&r->filled, true, memory_order_relaxed);
}

static void fail(struct offload_run *r, int error, const char *why)
{
	r->error = error;
	snprintf(r->why, sizeof(r->why), "%s", why);
}

static void hear(struct watched *w, const struct offload_record *said)
{
	switch (said->kind) {
	case OFFLOAD_SAYS_PHASE:
		if (said->index < OFFLOAD_PHASES)
			set(w, OFFLOAD_HELD + said->index, look(w, true));
		w->checked = said->index == OFFLOAD_CHECKED;
		if (said->index == OFFLOAD_FILLED)
			set_filled(w->run);
		preload_nudge(&w->child); /* a dead one is noticed anyway */
		break;
	case OFFLOAD_SAYS_METRIC:
		if (said->index < OFFLOAD_METRICS)
			set(w, said->index, said->value);
		break;
	case OFFLOAD_SAYS_WRONG:
		w->run->wrong += (uint64_t)said->value;
		break;
	case OFFLOAD_SAYS_FAILED:
		fail(w->run, (int)said->value, said->text);
		break;
	case OFFLOAD_SAYS_ABSENT:
		snprintf(w->run->absent, sizeof(w->run->absent), "%s",
			 said->text);
		break;
	}
}

static void end(struct watched *w, bool properly)
{
	struct rusage whole;
	int status = preload_wait(&w->child, &whole);

	w->over = true;
	set_filled(w->run);
	if (w->run->error)
		return;
	if (!properly || status) {
		char *text = preload_end_text(status);

		fail(w->run, -EPROTO, text);
		free(text);
		return;
	}
	set(w, OFFLOAD_WHOLE_CPU, preload_cpu(&whole));
	for (size_t i = 0; i < OFFLOAD_METRICS; i++)
		if (w->has[i])
			bench_samples_add(&w->run->metric[i], w->value[i]);
}

/* What it has said; its end. */
static void listen_to(struct watched *w)
{
	struct offload_record said;

	if (!preload_read_report(&w->child, &said, sizeof(said)))
		end(w, false);
	else if (said.kind == OFFLOAD_SAYS_END)
		end(w, true);
	else
		hear(w, &said);
}

static void begin(struct watched *w, struct offload_run *r)
{
	int rc;

	w->run = r;
	w->over = true;
	if (r->error) {
		set_filled(r);
		return;
	}
	r->nmoments = 0;
	w->begin = bench_now();
	rc = preload_start(r->allocator, (const char *const *)r->argv,
			   r->setting, false, &w->child);
	if (rc == 0) {
		w->over = false;
		return;
	}
	fail(r, rc, strerror(-rc));
	set_filled(r);
}

/* Waits until one says something, or for as long as nobody has. */
static void wait_and_listen(struct watched *v, size_t n, int ms)
{
	struct pollfd *fds = bench_alloc(n * sizeof(*fds));

	for (size_t i = 0; i < n; i++) {
		fds[i].fd = v[i].over ? -1 : v[i].child.from;
		fds[i].events = POLLIN;
	}
	if (poll(fds, n, ms) > 0)
		for (size_t i = 0; i < n; i++)
			if (!v[i].over && fds[i].revents)
				listen_to(&v[i]);
	free(fds);
}

static bool all_over(const struct watched *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!v[i].over)
			return false;
	return true;
}

void offload_watch(struct offload_run *v, size_t n, unsigned int period_ms)
{
	struct watched *w = bench_alloc(n * sizeof(*w));
	uint64_t next = bench_now();

	for (size_t i = 0; i < n; i++)
		begin(&w[i], &v[i]);
	while (!all_over(w, n)) {
		uint64_t now = bench_now();

		if (now < next) {
			wait_and_listen(w, n,
					(int)((next - now) / 1000000) + 1);
			continue;
		}
		for (size_t i = 0; i < n; i++)
			if (!w[i].over && !w[i].checked)
				look(&w[i], false);
		next = now + (uint64_t)period_ms * 1000000;
	}
	free(w);
}

void offload_run_fini(struct offload_run *r)
{
	for (size_t i = 0; i < OFFLOAD_METRICS; i++)
		bench_samples_fini(&r->metric[i]);
	free(r->moments);
	for (size_t i = 2; i < BENCH_ARRAY_LEN(r->argv); i++)
		free(r->argv[i]);
	free(r->setting);
}

struct bench_stat offload_stat(const struct offload_run *r,
			       enum offload_metric m)
{
	return bench_samples_stat(&r->metric[m]);
}
