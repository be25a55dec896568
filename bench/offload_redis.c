/* SPDX-License-Identifier: MIT */
/*
 * offload_redis.c: redis-server with many values of which a twentieth is
 * asked for, with ferry's malloc before it and as it is installed.
 */
#include <errno.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hist.h"
#include "offload_work.h"

#define MIB	 ((uint64_t)1 << 20)
#define HOT	 20  /* one in so many values is asked for: the newest */
#define PIPELINE 16  /* requests under way while it is measured */
#define BULK	 256 /* while all is written or read */

/* A server, and what is asked of it. */
struct redis {
	struct offload_run *run;
	struct preload_child child;
	redisContext *context;
	char folder[32];
	uint64_t n; /* values */
	uint64_t begin;
};

/* --- requests ------------------------------------------------------------- */

static void append_set(struct redis *s, uint64_t id)
{
	uint64_t value[OFFLOAD_WORDS];
	char key[32];
	const char *argv[] = { "SET", key, (const char *)value };
	size_t len[] = { 3, 0, OFFLOAD_VALUE };

	len[1] = (size_t)snprintf(key, sizeof(key), "key:%llu",
				  (unsigned long long)id);
	offload_value_make(value, id);
	redisAppendCommandArgv(s->context, 3, argv, len);
}

static void append_get(struct redis *s, uint64_t id)
{
	redisAppendCommand(s->context, "GET key:%llu", (unsigned long long)id);
}

static bool value_right(const redisReply *r, uint64_t id)
{
	uint64_t value[OFFLOAD_WORDS];

	if (r->type != REDIS_REPLY_STRING || r->len != OFFLOAD_VALUE)
		return false;
	memcpy(value, r->str, OFFLOAD_VALUE);
	return offload_value_right(value, id);
}

/* The next answer; what is wrong with it counts. Returns 0 or -EIO. */
static int take(struct redis *s, bool is_value, uint64_t id)
{
	redisReply *r = NULL;

	if (redisGetReply(s->context, (void **)&r) != REDIS_OK) {
		snprintf(s->run->why, sizeof(s->run->why), "redis: %.100s",
			 s->context->errstr);
		return -EIO;
	}
	if (is_value ? !value_right(r, id) : r->type != REDIS_REPLY_STATUS)
		s->run->wrong++;
	freeReplyObject(r);
	return 0;
}

/* --- phases --------------------------------------------------------------- */

static void phase(struct redis *s, enum offload_phase phase)
{
	bench_samples_add(&s->run->metric[OFFLOAD_HELD + phase],
			  offload_look(s->run, s->child.pid, s->begin, true));
}

/* Writes all values, or reads them. */
static int go_through(struct redis *s, bool reading)
{
	int rc = 0;

	for (uint64_t i = 0; i < s->n && rc == 0; i += BULK) {
		uint64_t end = i + BULK < s->n ? i + BULK : s->n;

		for (uint64_t id = i; id < end; id++)
			reading ? append_get(s, id) : append_set(s, id);
		for (uint64_t id = i; id < end && rc == 0; id++)
			rc = take(s, reading, id);
	}
	return rc;
}

static int ask_batch(struct redis *s, struct bench_rng *rng,
		     struct bench_hist *ns)
{
	uint64_t hot = s->n / HOT ? s->n / HOT : 1;
	uint64_t id[PIPELINE];
	uint64_t then;
	int rc = 0;

	for (size_t i = 0; i < PIPELINE; i++) {
		id[i] = s->n - 1 - bench_rng_below(rng, hot);
		append_get(s, id[i]);
	}
	then = bench_now();
	for (size_t i = 0; i < PIPELINE && rc == 0; i++)
		rc = take(s, true, id[i]);
	bench_hist_add(ns, bench_now() - then);
	return rc;
}

static int ask(struct redis *s, uint64_t ms, struct bench_rng *rng)
{
	struct bench_hist *ns = bench_alloc(sizeof(*ns));
	uint64_t begin = bench_now(), end = begin + ms * 1000000;
	uint64_t now = begin, next = begin;
	struct bench_samples *metric = s->run->metric;
	int rc = 0;

	while (rc == 0 && now < end) {
		if (now >= next) {
			offload_look(s->run, s->child.pid, s->begin, false);
			next = now + 200000000;
		}
		rc = ask_batch(s, rng, ns);
		now = bench_now();
	}
	bench_samples_add(&metric[OFFLOAD_OPS], (double)ns->n * PIPELINE * 1e9 /
							(double)(now - begin));
	bench_samples_add(&metric[OFFLOAD_OP_P50],
			  bench_hist_quantile(ns, 0.5) * 1e-3);
	bench_samples_add(&metric[OFFLOAD_OP_P99],
			  bench_hist_quantile(ns, 0.99) * 1e-3);
	free(ns);
	return rc;
}

/* --- the server ----------------------------------------------------------- */

static int start_server(struct redis *s, const char *socket)
{
	const char *const argv[] = {
		"redis-server", "--port",      "0",	  "--unixsocket",
		socket,		"--save",      "",	  "--appendonly",
		"no",		"--loglevel",  "warning", "--logfile",
		"/dev/null",	"--maxmemory", "0",	  "--dir",
		s->folder,	NULL,
	};

	return preload_start(s->run->allocator, argv, s->run->setting, false,
			     &s->child);
}

/* Until it answers, for at most ten seconds. */
static int connect_to(struct redis *s, const char *socket)
{
	static const struct timeval patience = { 30, 0 };

	for (int i = 0; i < 1000; i++) {
		s->context = redisConnectUnix(socket);
		if (s->context && !s->context->err) {
			redisSetTimeout(s->context, patience);
			return 0;
		}
		redisFree(s->context);
		s->context = NULL;
		usleep(10000);
	}
	snprintf(s->run->why, sizeof(s->run->why),
		 "redis-server does not answer");
	return -ECONNREFUSED;
}

static void stop_server(struct redis *s)
{
	struct rusage whole;
	int status;

	if (s->context) {
		/* There is no answer to it. */
		freeReplyObject(redisCommand(s->context, "SHUTDOWN NOSAVE"));
		redisFree(s->context);
	} else {
		kill(s->child.pid, SIGKILL);
	}
	status = preload_wait(&s->child, &whole);
	bench_samples_add(&s->run->metric[OFFLOAD_WHOLE_CPU],
			  preload_cpu(&whole));
	if (status && !s->run->error) {
		char *text = preload_end_text(status);

		s->run->error = -EPROTO;
		snprintf(s->run->why, sizeof(s->run->why), "redis-server: %s",
			 text);
		free(text);
	}
}

static int use_server(struct redis *s, uint64_t ms, uint64_t seed)
{
	struct bench_rng rng = { seed };
	int rc = go_through(s, false);

	bench_samples_add(&s->run->metric[OFFLOAD_LIVE],
			  (double)s->n * OFFLOAD_VALUE);
	if (rc == 0) {
		phase(s, OFFLOAD_FILLED);
		rc = ask(s, ms, &rng);
	}
	if (rc == 0) {
		phase(s, OFFLOAD_RESTED);
		rc = go_through(s, true);
	}
	if (rc == 0)
		phase(s, OFFLOAD_CHECKED);
	return rc;
}

static void run_server(struct offload_run *r, uint64_t bytes, uint64_t ms,
		       uint64_t seed)
{
	struct redis s = { .run = r,
			   .folder = "/tmp/ferry-bench.XXXXXX",
			   .n = bytes / OFFLOAD_VALUE,
			   .begin = bench_now() };
	char *socket;

	if (!mkdtemp(s.folder)) {
		r->error = -errno;
		return;
	}
	socket = bench_asprintf("%s/socket", s.folder);
	r->error = start_server(&s, socket);
	if (r->error == 0) {
		r->error = connect_to(&s, socket);
		if (r->error == 0)
			r->error = use_server(&s, ms, seed);
		stop_server(&s);
	}
	if (r->error && !r->why[0])
		snprintf(r->why, sizeof(r->why), "%s", strerror(-r->error));
	unlink(socket);
	rmdir(s.folder);
	free(socket);
}

/* --- the part ------------------------------------------------------------- */

static bool is_installed(const struct offload_bench *o)
{
	static const char *const argv[] = { "redis-server", "--version", NULL };
	struct preload_child c;
	char said;

	if (preload_start(&o->set.v[PRELOAD_GLIBC], argv, NULL, true, &c) < 0)
		return false;
	while (preload_read_report(&c, &said, 1))
		;
	return preload_wait(&c, NULL) == 0;
}

static void set_targets(struct offload_bench *o, const struct offload_run *v,
			size_t n)
{
	struct bench_stat st = offload_ratio(
		v, n, OFFLOAD_HELD + OFFLOAD_RESTED, "ferry", "without");

	offload_target(o->b, OFFLOAD_REDIS, "held",
		       "redis, 5 % of the values used: held, ferry / without",
		       BENCH_AT_MOST, 0.4, "x", &st);
	st = offload_ratio(v, n, OFFLOAD_OPS, "ferry", "without");
	offload_target(o->b, OFFLOAD_REDIS, "ops",
		       "redis: requests a second, ferry / without",
		       BENCH_AT_LEAST, 0.97, "x", &st);
	st = offload_ratio(v, n, OFFLOAD_OP_P99, "ferry", "without");
	offload_target(o->b, OFFLOAD_REDIS, "p99",
		       "redis: p99 of 16 requests, ferry / without",
		       BENCH_AT_MOST, 1.2, "x", &st);
}

static void show(struct bench *b, const struct offload_run *v, size_t n,
		 uint64_t bytes, uint64_t ms)
{
	static const struct offload_column columns[] = {
		{ "live MiB", OFFLOAD_LIVE, MIB },
		{ "held before", OFFLOAD_HELD + OFFLOAD_FILLED, MIB },
		{ "held at the end", OFFLOAD_HELD + OFFLOAD_RESTED, MIB },
		{ "1000 requests/s", OFFLOAD_OPS, 1e3 },
		{ "p50 us", OFFLOAD_OP_P50, 1 },
		{ "p99 us", OFFLOAD_OP_P99, 1 },
		{ "CPU s", OFFLOAD_WHOLE_CPU, 1 },
	};
	char *caption = bench_asprintf(
		"redis: %llu MiB of values, a twentieth asked for in batches "
		"of %d for %.3g s",
		(unsigned long long)(bytes / MIB), PIPELINE, (double)ms * 1e-3);

	offload_show(b, caption, v, n, columns, BENCH_ARRAY_LEN(columns));
	free(caption);
}

void offload_redis(struct offload_bench *o)
{
	bool full = o->b->opt.effort == BENCH_FULL;
	const struct offload_case cases[] = {
		{ "without", PRELOAD_GLIBC, NULL, NULL, "" },
		{ "ferry", PRELOAD_FERRY,
		  full ? NULL : "cold_after:500ms,min_heap:0", NULL, "" },
	};
	uint64_t bytes = bench_pick(o->b, 8, 64, 1024) * MIB;
	uint64_t ms = bench_pick(o->b, 1000, 4000, 60000);
	struct offload_run *v;
	size_t n;

	if (!is_installed(o)) {
		bench_say(o->b, "redis is left out: redis-server is not "
				"installed.");
		return;
	}
	n = offload_runs(o, cases, BENCH_ARRAY_LEN(cases), bytes, ms, &v);
	for (size_t i = 0; i < n; i++)
		run_server(&v[i], bytes, ms, o->b->opt.seed);
	show(o->b, v, n, bytes, ms);
	offload_plot(o->b, "offload-redis",
		     "Memory of redis, a twentieth of whose values are used", v,
		     n);
	offload_finish(o, OFFLOAD_REDIS, v, n);
	set_targets(o, v, n);
	offload_runs_fini(v, n);
}
