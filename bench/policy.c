/* SPDX-License-Identifier: MIT */
/*
 * policy.c: ferry-bench policy: NUMA policy of many ranges, set from outside
 * through the agent and from inside; physical addresses; an agent at rest.
 */
#include <errno.h>
#include <numa.h>
#include <stdlib.h>
#include <string.h>

#include "policy.h"

static const struct bench_option options[] = {
	{ "ranges", BENCH_SIZE, "n", "how many ranges get their policy" },
	{ "idle-seconds", BENCH_SIZE, "s", "how long an agent is left alone" },
	{ NULL, BENCH_FLAG, NULL, NULL },
};

#define RANGES_MAX 30000 /* two mappings each, and vm.max_map_count is 65530 */

void policy_target(struct bench *b, const char *name, const char *text,
		   enum bench_sense sense, double limit, const char *unit,
		   const struct bench_stat *got)
{
	struct bench_target t = { .sense = sense, .limit = limit };

	t.name = (char *)(uintptr_t)name;
	t.text = (char *)(uintptr_t)text;
	t.unit = unit;
	t.got = *got;
	bench_target(b, &t);
}

static void show(struct bench *b, const struct bench_case *cases, size_t n)
{
	char *caption = bench_asprintf("Policy of %zu ranges, ns each", n);
	struct bench_table *t =
		bench_table_new(caption, "way", "ns", "min..max", NULL);
	struct bench_plot *p = bench_plot_new("policy", BENCH_DOTS, caption,
					      "ns for each range", "");

	for (unsigned int i = 0; i < POLICY_WAYS; i++) {
		struct bench_stat st = bench_samples_stat(&cases[i].samples);

		bench_cell(t, "%s", policy_way_texts[i]);
		bench_cell_stat(t, &st);
		bench_plot_series(p, policy_way_texts[i], i);
		bench_plot_point(p, 0, &st);
		bench_result(b, &st, "ns", "policy/ranges=%zu/%s", n,
			     policy_way_names[i]);
		if (cases[i].error)
			bench_say(b, "%s: %s.", policy_way_texts[i],
				  strerror(-cases[i].error));
	}
	bench_show(b, t);
	bench_plot(b, p);
	free(caption);
}

static void set_targets(struct bench *b, const struct bench_case *cases)
{
	struct bench_stat inside, requests;

	inside = bench_paired_ratio(&cases[POLICY_VECTOR].samples,
				    &cases[POLICY_MBIND].samples);
	requests = bench_paired_ratio(&cases[POLICY_REQUESTS].samples,
				      &cases[POLICY_VECTOR].samples);
	policy_target(b, "policy/ratio/vector_to_mbind",
		      "one request / the same calls made inside", BENCH_AT_MOST,
		      1.2, "x", &inside);
	policy_target(b, "policy/ratio/requests_to_vector",
		      "a request for each range / one request", BENCH_AT_LEAST,
		      5, "x", &requests);
}

static void measure(struct bench *b, struct policy_bed *bed)
{
	struct bench_case cases[POLICY_WAYS] = { 0 };
	struct policy_way_arg args[POLICY_WAYS];

	for (unsigned int i = 0; i < POLICY_WAYS; i++) {
		args[i] = (struct policy_way_arg){ bed, (enum policy_way)i };
		cases[i].run = policy_way_run;
		cases[i].arg = &args[i];
	}
	bench_progress("setting policies", 0, 1);
	bench_rounds(b, cases, POLICY_WAYS, bench_pick(b, 3, 21, 101),
		     bench_pick(b, 500, 6000, 40000));
	show(b, cases, bed->n);
	set_targets(b, cases);
	bench_cases_fini(cases, POLICY_WAYS);
}

/* The last node with memory: the second, where there are two. */
static int last_node(void)
{
	int node;

	if (numa_available() < 0)
		return -1;
	for (node = numa_max_node(); node > 0; node--)
		if (numa_node_size64(node, NULL) > 0)
			break;
	return node < 64 ? node : 0;
}

static int with_agent(struct bench *b, size_t n, int node)
{
	struct policy_agent agent;
	struct policy_bed bed;
	int rc = policy_bed_init(&bed, n, node);

	if (rc < 0) {
		bench_say(b, "An arena of %zu ranges cannot be made: %s.", n,
			  strerror(-rc));
		return 0;
	}
	rc = policy_agent_start(&agent);
	bed.agent = rc == 0 ? &agent : NULL;
	if (rc < 0)
		bench_say(b, "There is no agent here: %s.", strerror(-rc));
	measure(b, &bed);
	policy_phys(b, &bed);
	if (bed.agent)
		policy_agent_stop(&agent);
	policy_bed_fini(&bed);
	return 0;
}

static int check(const struct bench_options *opt, char *err, size_t err_size)
{
	uint64_t n = bench_option_size(opt, "ranges", 1);

	if (n && n <= RANGES_MAX)
		return 0;
	snprintf(err, err_size, "--ranges: 1 to %d", RANGES_MAX);
	return -EINVAL;
}

static int run(struct bench *b)
{
	size_t n = bench_option_size(&b->opt, "ranges",
				     bench_pick(b, 500, 2000, 10000));
	int node = last_node();

	policy_idle(b, bench_option_size(&b->opt, "idle-seconds",
					 bench_pick(b, 1, 5, 60)));
	policy_inversion(b);
	bench_section(b, "Policy, range by range");
	if (node < 0) {
		bench_say(b, "This kernel was built without NUMA.");
		return 0;
	}
	bench_say(b,
		  "%zu ranges of a page each, with a page between them, are "
		  "bound to node %d: every one splits a mapping. Then all are "
		  "as before, off the clock.",
		  n, node);
	return with_agent(b, n, node);
}

const struct bench_cmd bench_cmd_policy = {
	.name = "policy",
	.summary = "NUMA policy of 10,000 ranges, from outside and inside",
	.options = options,
	.check = check,
	.run = run,
};
