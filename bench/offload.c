/* SPDX-License-Identifier: MIT */
/*
 * offload.c: ferry-bench offload: memory that nobody uses, under several
 * allocators: what is held of it, and what it costs to use it again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gc_plan.h"
#include "offload_work.h"

static const struct bench_option options[] = {
	{ "part", BENCH_TEXT, "LIST", "idle,zipf,scan,fault,fork,redis" },
	PRELOAD_OPTIONS,
	{ "conf", BENCH_TEXT, "SETTINGS",
	  "more settings of ferry's malloc, such as cold_after:5s" },
	{ "scattered", BENCH_FLAG, NULL,
	  "zipf: hot values lie anywhere, not together" },
	{ 0 },
};

static int read_options(const struct bench_options *opt,
			struct offload_bench *o, char *err, size_t err_size)
{
	const char *names = bench_option_text(opt, "part");

	memset(o->part, true, sizeof(o->part));
	o->part[OFFLOAD_REDIS] = opt->effort == BENCH_FULL;
	o->conf = bench_option_text(opt, "conf");
	o->scattered = bench_option_text(opt, "scattered") != NULL;
	if (names && gc_parse_names(names, offload_part_names, OFFLOAD_PARTS,
				    o->part) < 0) {
		snprintf(err, err_size, "--part wants names of parts, not '%s'",
			 names);
		return -EINVAL;
	}
	return preload_read(opt, &o->set, err, err_size);
}

static int check_options(const struct bench_options *opt, char *err,
			 size_t err_size)
{
	struct offload_bench o = { 0 };
	int rc = read_options(opt, &o, err, err_size);

	preload_fini(&o.set);
	return rc;
}

/* --- runs ----------------------------------------------------------------- */

char *offload_setting(const struct offload_bench *o, const char *own)
{
	const char *env = getenv("FERRY_MALLOC_CONF");
	const char *all[] = { own, o->conf, env };
	char *line = bench_strdup("FERRY_MALLOC_CONF=");
	const char *comma = "";

	for (size_t i = 0; i < BENCH_ARRAY_LEN(all); i++) {
		char *longer;

		if (!all[i] || !*all[i])
			continue;
		longer = bench_asprintf("%s%s%s", line, comma, all[i]);
		free(line);
		line = longer;
		comma = ",";
	}
	return line;
}

static void make_run(const struct offload_bench *o,
		     const struct offload_case *c, uint64_t bytes, uint64_t ms,
		     struct offload_run *r)
{
	memset(r, 0, sizeof(*r));
	r->name = c->name;
	r->allocator = &o->set.v[c->allocator];
	if (c->allocator == PRELOAD_FERRY)
		r->setting = offload_setting(o, c->conf);
	else if (c->setting)
		r->setting = bench_strdup(c->setting);
	r->argv[0] = (char *)"/proc/self/exe";
	r->argv[1] = (char *)OFFLOAD_WORK_ARGUMENT;
	r->argv[2] = bench_strdup(c->work);
	r->argv[3] = bench_asprintf("%llu", (unsigned long long)bytes);
	r->argv[4] = bench_asprintf("%llu", (unsigned long long)ms);
	r->argv[5] = bench_asprintf("%llu", (unsigned long long)o->b->opt.seed);
}

size_t offload_runs(const struct offload_bench *o,
		    const struct offload_case *cases, size_t n, uint64_t bytes,
		    uint64_t ms, struct offload_run **ret_v)
{
	struct offload_run *v = bench_alloc(n * sizeof(*v));
	size_t made = 0;

	for (size_t i = 0; i < n; i++)
		if (preload_usable(&o->set.v[cases[i].allocator]))
			make_run(o, &cases[i], bytes, ms, &v[made++]);
	*ret_v = v;
	return made;
}

void offload_runs_fini(struct offload_run *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		offload_run_fini(&v[i]);
	free(v);
}

const struct offload_run *offload_find(const struct offload_run *v, size_t n,
				       const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(v[i].name, name))
			return &v[i];
	return NULL;
}

struct bench_stat offload_ratio(const struct offload_run *v, size_t n,
				enum offload_metric m, const char *name,
				const char *base)
{
	const struct offload_run *a = offload_find(v, n, name);
	const struct offload_run *b = offload_find(v, n, base);
	struct bench_stat none = { 0 };

	if (!a || !b || a->error || b->error)
		return none;
	return bench_paired_ratio(&a->metric[m], &b->metric[m]);
}

/* --- all of it ------------------------------------------------------------ */

static void explain(struct offload_bench *o)
{
	bench_section(o->b, "Memory that nobody uses");
	bench_say(o->b,
		  "Programs whose memory is mostly not used, under several "
		  "allocators. What a process holds is what is resident, the "
		  "copies that stores keep in memory included, and what the "
		  "kernel has swapped out; it is watched from outside. All "
		  "contents are read and verified at the end.");
	for (size_t i = 0; i < o->set.n; i++)
		if (o->set.v[i].why)
			bench_say(o->b, "%s is left out: %s.", o->set.v[i].name,
				  o->set.v[i].why);
}

static void run_parts(struct offload_bench *o)
{
	static void (*const parts[OFFLOAD_PARTS])(struct offload_bench *) = {
		[OFFLOAD_ZIPF] = offload_zipf,	 [OFFLOAD_SCAN] = offload_scan,
		[OFFLOAD_FAULT] = offload_fault, [OFFLOAD_FORK] = offload_fork,
		[OFFLOAD_REDIS] = offload_redis,
	};
	bool alone = o->b->opt.effort == BENCH_FULL;

	if (o->part[OFFLOAD_IDLE])
		offload_idle_begin(o);
	if (o->idle && alone)
		offload_idle_end(o);
	for (size_t i = 0; i < OFFLOAD_PARTS; i++) {
		bench_progress(offload_part_names[i], i, OFFLOAD_PARTS);
		if (o->part[i] && parts[i])
			parts[i](o);
	}
	if (o->idle)
		offload_idle_end(o);
}

static int run(struct bench *b)
{
	struct offload_bench o = { .b = b };
	char err[256];

	o.rc = read_options(&b->opt, &o, err, sizeof(err));
	if (o.rc == 0) { /* else not to be had: options were checked */
		preload_probe(&o.set);
		explain(&o);
		run_parts(&o);
	}
	preload_fini(&o.set);
	return o.rc;
}

const struct bench_cmd bench_cmd_offload = {
	.name = "offload",
	.summary = "memory that nobody uses, under several allocators",
	.options = options,
	.check = check_options,
	.run = run,
};
