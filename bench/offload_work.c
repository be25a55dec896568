/* SPDX-License-Identifier: MIT */
/* offload_work.c: a process of ferry-bench offload, and how it reports. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "offload_work.h"

static const struct {
	const char *name;
	offload_work_fn *fn;
} works[] = {
	{ "idle", offload_work_idle },
	{ "zipf", offload_work_zipf },
	{ "zipf-scattered", offload_work_zipf_scattered },
	{ "scan", offload_work_scan },
	{ "fault", offload_work_fault },
	{ "fork", offload_work_fork },
	{ "fork-warm", offload_work_fork_warm },
	{ "swap", offload_work_swap },
	{ "hand-thread", offload_work_hand_thread },
	{ "hand-sigbus", offload_work_hand_sigbus },
};

/* A run that takes longer than this, beyond its rest, has hung. */
#define LIMIT_S 60

static void say(enum offload_record_kind kind, uint32_t index, double value,
		const char *text)
{
	struct offload_record r = { .kind = kind,
				    .index = index,
				    .value = value };

	snprintf(r.text, sizeof(r.text), "%s", text);
	if (!preload_report(&r, sizeof(r)))
		exit(EXIT_FAILURE); /* nobody listens any more */
}

void offload_phase(enum offload_phase phase)
{
	char seen;

	say(OFFLOAD_SAYS_PHASE, phase, 0, "");
	if (read(STDIN_FILENO, &seen, 1) < 0)
		exit(EXIT_FAILURE);
}

void offload_metric(enum offload_metric m, double v)
{
	say(OFFLOAD_SAYS_METRIC, m, v, "");
}

void offload_wrong(uint64_t n)
{
	say(OFFLOAD_SAYS_WRONG, 0, (double)n, "");
}

void offload_absent(const char *fmt, ...)
{
	char text[112];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say(OFFLOAD_SAYS_ABSENT, 0, 0, text);
}

static offload_work_fn *find(const char *name)
{
	for (size_t i = 0; i < BENCH_ARRAY_LEN(works); i++)
		if (!strcmp(works[i].name, name))
			return works[i].fn;
	return NULL;
}

int offload_work_main(int argc, char **argv)
{
	struct offload_work w = { 0 };
	offload_work_fn *fn = argc == 4 ? find(argv[0]) : NULL;
	int rc;

	if (!fn || bench_parse_number(argv[1], true, &w.bytes) < 0 ||
	    bench_parse_number(argv[2], false, &w.ms) < 0 ||
	    bench_parse_number(argv[3], false, &w.rng.state) < 0)
		bench_die("%s wants: WORK BYTES MILLISECONDS SEED",
			  OFFLOAD_WORK_ARGUMENT);
	alarm((unsigned int)(LIMIT_S + w.ms / 1000));
	offload_phase(OFFLOAD_STARTED);
	rc = fn(&w);
	if (rc < 0)
		say(OFFLOAD_SAYS_FAILED, 0, rc, strerror(-rc));
	say(OFFLOAD_SAYS_END, 0, 0, "");
	return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
