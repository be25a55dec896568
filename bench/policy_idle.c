/* SPDX-License-Identifier: MIT */
/* policy_idle.c: what an agent costs that nobody asks anything. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "policy.h"

/* CPU time of all threads but this one. */
static double others_ms(void)
{
	struct timespec all, mine;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &all);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mine);
	return (double)(all.tv_sec - mine.tv_sec) * 1e3 +
	       (double)(all.tv_nsec - mine.tv_nsec) * 1e-6;
}

/* Memory that is this process's alone, in KiB; -1: cannot be told. */
static double private_kib(void)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "re");
	char line[256];
	double sum = 0;
	long kib;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "Private_Clean: %ld kB", &kib) == 1 ||
		    sscanf(line, "Private_Dirty: %ld kB", &kib) == 1)
			sum += (double)kib;
	fclose(f);
	return sum;
}

static void rest(uint64_t seconds)
{
	struct timespec left = { .tv_sec = (time_t)seconds };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

static void show(struct bench *b, uint64_t seconds, struct bench_stat ms,
		 struct bench_stat kib)
{
	char *caption = bench_asprintf("An agent that rests for %lu s",
				       (unsigned long)seconds);
	struct bench_table *t =
		bench_table_new(caption, "of it", "measured", NULL);

	bench_cell(t, "processor time, ms in a minute");
	bench_cell(t, "%.3f", ms.value);
	bench_cell(t, "memory of its own, KiB");
	bench_cell(t, kib.n ? "%.0f" : "-", kib.value);
	bench_show(b, t);
	bench_result(b, &ms, "ms/min", "policy/idle/cpu");
	bench_result(b, &kib, "KiB", "policy/idle/resident");
	free(caption);
}

void policy_idle(struct bench *b, uint64_t seconds)
{
	struct bench_stat ms = { 0 }, kib = { 0 };
	struct ferry_agent_request hello = { .op = FERRY_AGENT_HELLO };
	struct policy_agent agent;
	double before, cpu;
	int rc;

	bench_section(b, "An agent that nobody asks");
	private_kib(); /* what the C library keeps for it */
	before = private_kib();
	rc = policy_agent_start(&agent);
	if (rc == 0) {
		policy_agent_ask(&agent, hello, NULL, 0, NULL);
		cpu = others_ms();
		rest(seconds);
		cpu = others_ms() - cpu;
		if (seconds)
			ms = bench_stat_of(cpu * 60 / (double)seconds);
		if (before >= 0)
			kib = bench_stat_of(private_kib() - before);
		policy_agent_stop(&agent);
		show(b, seconds, ms, kib);
	} else {
		bench_say(b, "There is no agent here: %s.", strerror(-rc));
	}
	policy_target(b, "policy/idle/cpu/target",
		      "agent at rest, processor time in a minute",
		      BENCH_AT_MOST, 1, "ms/min", &ms);
	policy_target(b, "policy/idle/resident/target",
		      "agent at rest, memory of its own", BENCH_AT_MOST, 256,
		      "KiB", &kib);
}
