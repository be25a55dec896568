/* SPDX-License-Identifier: MIT */
/* Ranges that come in one by one, are done in batches, and answered for. */
#include "tools/ferryctl/job.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ferryctl/print.h"

struct job {
	const struct ctl *ctl;
	const struct ctl_process *process;
	const struct ctl_doer *doer;
	struct ctl_ranges in;
	struct ctl_range *ranges;
	struct ctl_result *results;
	size_t n; /* ranges that wait to be done */
	struct ctl_sum sum;
	bool json, verbose;
};

const char *ctl_process_label(const struct ctl_process *process)
{
	static char label[96];

	snprintf(label, sizeof(label), "process %d (%s)", (int)process->pid,
		 process->name);
	return label;
}

enum ctl_status ctl_process_of(const struct ctl *ctl,
			       struct ctl_process *ret_process)
{
	pid_t pid;
	int r;

	if (ctl_pid(ctl, &pid) < 0)
		return CTL_USAGE;
	r = ctl_process_open(pid, ret_process);
	switch (r) {
	case 0:
		return CTL_OK;
	case -ESRCH:
		ctl_complain("there is no process %d", (int)pid);
		return CTL_NO_PROCESS;
	case -EINVAL:
		/* 6.9 and later say so of threads; before, -ENOENT. */
	case -ENOENT:
		ctl_complain("%d is a thread, not a process", (int)pid);
		return CTL_NO_PROCESS;
	}
	return ctl_fail(r, "process %d", (int)pid);
}

bool ctl_job_has_ranges(const struct ctl *ctl)
{
	return ctl->noperands > 1 || ctl_given(ctl, CTL_FILE);
}

/* --- what is told --------------------------------------------------------- */

static const char *message(const struct ctl_result *result)
{
	return result->why ? result->why : strerror(-result->error);
}

/* Why bytes were left, in a few words. */
static const char *left_text(const struct ctl_done *done, char *buf,
			     size_t size)
{
	const struct {
		uint64_t bytes;
		const char *what;
	} parts[] = {
		{ done->busy, "busy or pinned" },
		{ done->shared, "also mapped by others" },
		{ done->full, "without room on the node" },
		{ done->failed, "refused" },
	};
	char text[CTL_SIZE_TEXT];
	size_t i, len = 0;

	buf[0] = '\0';
	for (i = 0; i < CTL_ARRAY_LEN(parts) && len < size; i++)
		if (parts[i].bytes)
			len += (size_t)snprintf(
				buf + len, size - len, "%s%s %s",
				len ? ", " : "",
				ctl_size_text(parts[i].bytes, text),
				parts[i].what);
	return buf;
}

static void json_done(json_t *to, const struct ctl_done *done)
{
	ctl_json_bytes(to, "done", done->done);
	ctl_json_bytes(to, "absent", done->absent);
	ctl_json_bytes(to, "busy", done->busy);
	ctl_json_bytes(to, "shared", done->shared);
	ctl_json_bytes(to, "full", done->full);
	ctl_json_bytes(to, "refused", done->failed);
}

static void tell_json(const struct ctl_range *range,
		      const struct ctl_result *result)
{
	json_t *o = json_object();

	ctl_json_range(o, range->start, range->end);
	if (range->line)
		ctl_json_bytes(o, "line", range->line);
	json_done(o, &result->done);
	if (result->error) {
		json_object_set_new(o, "errno", json_integer(-result->error));
		json_object_set_new(o, "message", json_string(message(result)));
	}
	ctl_json_line(o);
}

static void tell(const struct job *job, const struct ctl_range *range,
		 const struct ctl_result *result)
{
	bool bad = result->error || ctl_done_left(&result->done);
	char where[128], left[128], size[CTL_SIZE_TEXT];

	if (!bad && !job->verbose)
		return;
	if (job->json) {
		tell_json(range, result);
		return;
	}
	if (!bad) {
		printf("%llx-%llx: %s %s\n", (unsigned long long)range->start,
		       (unsigned long long)range->end,
		       ctl_size_text(result->done.done, size), job->doer->verb);
		return;
	}
	ctl_complain(
		"%s: %llx-%llx: %s",
		ctl_ranges_where(&job->in, range->line, where, sizeof(where)),
		(unsigned long long)range->start,
		(unsigned long long)range->end,
		result->error ? message(result)
			      : left_text(&result->done, left, sizeof(left)));
}

/* What stands there is somebody's text: only what can be printed is shown. */
static const char *shown(const char *text, char *buf, size_t size)
{
	size_t i;

	for (i = 0; text && text[i] && i + 1 < size; i++)
		buf[i] = text[i] < ' ' || text[i] > '~' ? '?' : text[i];
	buf[i] = '\0';
	return buf;
}

static void tell_wrong(const struct job *job, const struct ctl_range *range)
{
	char where[128], text[48];
	json_t *o;

	shown(job->in.text, text, sizeof(text));
	if (!job->json) {
		ctl_complain("%s: %s%s%s%s",
			     ctl_ranges_where(&job->in, range->line, where,
					      sizeof(where)),
			     job->in.why, text[0] ? ": '" : "", text,
			     text[0] ? "'" : "");
		return;
	}
	o = json_object();
	ctl_json_bytes(o, "line", range->line);
	json_object_set_new(o, "errno", json_integer(EINVAL));
	json_object_set_new(o, "message", json_string(job->in.why));
	json_object_set_new(o, "text", json_string(text));
	ctl_json_line(o);
}

static void sum_up_json(const struct job *job)
{
	json_t *o = json_object();

	json_object_set_new(o, "pid", json_integer(job->process->pid));
	json_object_set_new(o, "command", json_string(job->ctl->command->name));
	json_object_set_new(o, "via", json_string(job->doer->via));
	ctl_json_bytes(o, "ranges", job->sum.ranges);
	ctl_json_bytes(o, "failed", job->sum.failed);
	ctl_json_bytes(o, "wrong_lines", job->sum.wrong);
	json_done(o, &job->sum.done);
	ctl_json_line(o);
}

static void sum_up(const struct job *job)
{
	char size[CTL_SIZE_TEXT], left[128];
	const struct ctl_sum *sum = &job->sum;

	if (job->json) {
		sum_up_json(job);
		return;
	}
	printf("%s: %s %s in %llu range%s", ctl_process_label(job->process),
	       ctl_size_text(sum->done.done, size), job->doer->verb,
	       (unsigned long long)sum->ranges, sum->ranges == 1 ? "" : "s");
	if (ctl_done_left(&sum->done))
		printf("; not %s: %s", job->doer->verb,
		       left_text(&sum->done, left, sizeof(left)));
	if (sum->failed)
		printf("; %llu failed", (unsigned long long)sum->failed);
	if (sum->wrong)
		printf("; %llu wrong line%s", (unsigned long long)sum->wrong,
		       sum->wrong == 1 ? "" : "s");
	putchar('\n');
}

/* --- what is done --------------------------------------------------------- */

static void account(struct job *job)
{
	size_t i;

	for (i = 0; i < job->n; i++) {
		tell(job, &job->ranges[i], &job->results[i]);
		job->sum.failed += job->results[i].error != 0;
		ctl_done_add(&job->sum.done, &job->results[i].done);
	}
	job->sum.ranges += job->n;
	job->n = 0;
	fflush(stdout);
}

static int flush(struct job *job)
{
	int r = 0;

	if (!job->n)
		return 0;
	memset(job->results, 0, job->n * sizeof(*job->results));
	r = job->doer->run(job->doer->arg, job->ranges, job->n, job->results);
	if (r == 0)
		account(job);
	return r;
}

/* Nobody reads what is told: there is no use in going on. */
static bool is_deaf(void)
{
	return ferror(stdout);
}

static int read_and_do(struct job *job)
{
	struct ctl_range range;
	int r;

	for (;;) {
		if (job->n == job->doer->batch ||
		    (job->n && ctl_ranges_would_wait(&job->in))) {
			r = flush(job);
			if (r < 0)
				return r;
			if (is_deaf())
				return -EPIPE;
		}
		r = ctl_ranges_next(&job->in, &range);
		if (r == -EINVAL) {
			job->sum.wrong++;
			tell_wrong(job, &range);
			continue;
		}
		if (r <= 0)
			break;
		job->ranges[job->n++] = range;
	}
	return r < 0 ? r : flush(job);
}

/* A wrong range on the command line is wrong usage: nothing is done then. */
static bool operands_hold(const struct ctl *ctl)
{
	struct ctl_range range;
	const char *why = "no range";
	int i;

	for (i = 1; i < ctl->noperands; i++) {
		if (!strcmp(ctl->operands[i], "-") ||
		    ctl_range_parse(ctl->operands[i], &range, &why) == 0)
			continue;
		ctl_complain("'%s': %s", ctl->operands[i], why);
		return false;
	}
	return true;
}

static enum ctl_status ending(const struct job *job)
{
	const struct ctl_sum *sum = &job->sum;

	return sum->failed || sum->wrong || ctl_done_left(&sum->done)
		       ? CTL_PARTLY
		       : CTL_OK;
}

static enum ctl_status run(struct job *job)
{
	int r = read_and_do(job);

	if (r == -EPIPE && is_deaf())
		return CTL_FAILED; /* told at the end of main() */
	sum_up(job);
	if (r == -ESRCH) {
		ctl_complain("%s has ended", ctl_process_label(job->process));
		return CTL_NO_PROCESS;
	}
	if (r < 0)
		return ctl_fail(r, "%s", ctl_process_label(job->process));
	return ending(job);
}

enum ctl_status ctl_job_run(const struct ctl *ctl,
			    const struct ctl_process *process,
			    const struct ctl_doer *doer)
{
	struct job job = { .ctl = ctl,
			   .process = process,
			   .doer = doer,
			   .json = ctl_given(ctl, CTL_JSON),
			   .verbose = ctl_given(ctl, CTL_VERBOSE) };
	enum ctl_status status = CTL_FAILED;
	int r;

	if (!operands_hold(ctl))
		return CTL_USAGE;
	r = ctl_ranges_open(&job.in, ctl->operands + 1, ctl->noperands - 1,
			    ctl->text[CTL_FILE]);
	if (r == -EINVAL && job.in.why) {
		ctl_complain("%s", job.in.why);
		return CTL_USAGE;
	}
	if (r < 0)
		return ctl_fail(r, "%s", job.in.name);
	job.ranges = calloc(doer->batch, sizeof(*job.ranges));
	job.results = calloc(doer->batch, sizeof(*job.results));
	if (job.ranges && job.results)
		status = run(&job);
	else
		ctl_complain("not enough memory");
	free(job.results);
	free(job.ranges);
	ctl_ranges_close(&job.in);
	return status;
}
