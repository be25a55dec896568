/* SPDX-License-Identifier: MIT */
/* ferryctl watch: one line about a process every so often, until it ends. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "tools/ferryctl/job.h"
#include "tools/ferryctl/kernel.h"
#include "tools/ferryctl/print.h"
#include "tools/ferryctl/sample.h"

#include <poll.h>

/* Sleeps, but wakes when the process ends. */
static void wait_for(const struct ctl_process *process, double seconds)
{
	struct pollfd p = { .fd = process->pidfd, .events = POLLIN };

	poll(&p, 1, (int)(seconds * 1000));
}

static double per_second(uint64_t now, uint64_t before, double seconds)
{
	return seconds > 0 && now >= before ? (double)(now - before) / seconds
					    : 0;
}

static double between(const struct ctl_sample *a, const struct ctl_sample *b)
{
	return (double)(b->at_ns - a->at_ns) / 1e9;
}

static void print_json(const struct ctl_sample *s,
		       const struct ctl_sample *before)
{
	double seconds = between(before, s);
	json_t *o = json_object();

	json_object_set_new(o, "time", json_integer(time(NULL)));
	json_object_set_new(o, "pid", json_integer(s->pid));
	ctl_json_bytes(o, "resident", s->resident);
	ctl_json_bytes(o, "anonymous", s->anonymous);
	ctl_json_bytes(o, "swapped", s->swapped);
	json_object_set_new(
		o, "minor_per_s",
		json_real(per_second(s->minor, before->minor, seconds)));
	json_object_set_new(
		o, "major_per_s",
		json_real(per_second(s->major, before->major, seconds)));
	json_object_set_new(
		o, "cpu",
		json_real(per_second(s->cpu_ms, before->cpu_ms, seconds) /
			  1000));
	ctl_json_line(o);
}

static void print_text(const struct ctl_sample *s,
		       const struct ctl_sample *before)
{
	char resident[CTL_SIZE_TEXT], anon[CTL_SIZE_TEXT], swap[CTL_SIZE_TEXT];
	double seconds = between(before, s);

	printf("%9s %9s %9s %10.0f %10.0f %6.1f\n",
	       ctl_size_text(s->resident, resident),
	       ctl_size_text(s->anonymous, anon),
	       ctl_size_text(s->swapped, swap),
	       per_second(s->minor, before->minor, seconds),
	       per_second(s->major, before->major, seconds),
	       per_second(s->cpu_ms, before->cpu_ms, seconds) / 10);
}

static int look(const struct ctl *ctl, const struct ctl_process *process,
		struct ctl_sample *last)
{
	struct ctl_sample s;
	int r = ctl_sample_take(process, &s);

	if (r < 0)
		return r;
	if (!last->at_ns)
		*last = s;
	if (ctl_given(ctl, CTL_JSON))
		print_json(&s, last);
	else
		print_text(&s, last);
	*last = s;
	return fflush(stdout) ? -EPIPE : 0;
}

static enum ctl_status watch(const struct ctl *ctl,
			     const struct ctl_process *process, uint64_t count,
			     double interval)
{
	struct ctl_sample last = { 0 };
	uint64_t i;
	int r = 0;

	if (!ctl_given(ctl, CTL_JSON))
		printf("%9s %9s %9s %10s %10s %6s\n", "RESIDENT", "ANONYMOUS",
		       "SWAPPED", "FAULTS/s", "MAJOR/s", "CPU%");
	for (i = 0; r == 0 && (!count || i < count); i++) {
		if (i)
			wait_for(process, interval);
		r = look(ctl, process, &last);
	}
	if (r == -ESRCH && i > 1) {
		ctl_complain("%s has ended", ctl_process_label(process));
		return CTL_OK; /* it was watched to its end */
	}
	if (r == -EPIPE)
		return CTL_FAILED; /* told at the end of main() */
	return r < 0 ? ctl_fail(r, "%s", ctl_process_label(process)) : CTL_OK;
}

static enum ctl_status watch_command(struct ctl *ctl)
{
	struct ctl_process process;
	enum ctl_status status;
	uint64_t count;
	double interval;

	if (ctl_number(ctl, CTL_COUNT, false, 0, &count) < 0 ||
	    ctl_seconds(ctl, CTL_INTERVAL, 1, &interval) < 0)
		return CTL_USAGE;
	status = ctl_process_of(ctl, &process);
	if (status)
		return status;
	status = watch(ctl, &process, count, interval);
	ctl_process_close(&process);
	return status;
}

const struct ctl_command ctl_cmd_watch = {
	.name = "watch",
	.operands = "PID",
	.summary = "a line about a process every second, until it ends",
	.options = CTL_TAKES(CTL_COUNT) | CTL_TAKES(CTL_INTERVAL) |
		   CTL_TAKES(CTL_JSON),
	.least = 1,
	.most = 1,
	.run = watch_command,
};
