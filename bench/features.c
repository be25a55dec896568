/* SPDX-License-Identifier: MIT */
/* features.c: ferry-bench features: what this kernel gives this process. */
#include <stdlib.h>
#include <string.h>

#include <ferry/ferry.h>

#include "bench.h"

/* What one gains by a feature; those without a line need no explanation. */
static const struct {
	uint64_t bit;
	const char *what;
} uses[] = {
	{ FERRY_FEATURE_MOVE, "named by UFFDIO_API: pages move by page table" },
	{ FERRY_FEATURE_MOVE_WORKS, "a real page was moved just now" },
	{ FERRY_FEATURE_WP, "write protection by userfaultfd" },
	{ FERRY_FEATURE_WP_ASYNC, "dirty tracking without faults to serve" },
	{ FERRY_FEATURE_WP_UNPOP, "protection of pages that are absent" },
	{ FERRY_FEATURE_PAGEMAP_SCAN, "which pages were written, in one call" },
	{ FERRY_FEATURE_SOFT_DIRTY, "dirty tracking by page-table bits" },
	{ FERRY_FEATURE_SIGBUS, "faults served in the faulting thread" },
	{ FERRY_FEATURE_KERNEL_FAULTS, "faults of system calls are served" },
	{ FERRY_FEATURE_THREAD_ID, "faults name their thread" },
	{ FERRY_FEATURE_MINOR_SHMEM, "hand-over of shared memory" },
	{ FERRY_FEATURE_POISON, "pages that may not be touched" },
	{ FERRY_FEATURE_THP, "huge pages" },
	{ FERRY_FEATURE_COLLAPSE, "huge pages made from small ones" },
	{ FERRY_FEATURE_POPULATE, "pages made exclusive again after a fork" },
	{ FERRY_FEATURE_DONTUNMAP, "emulation of moves by mremap" },
	{ FERRY_FEATURE_PROCMAP_QUERY, "mappings classified without text" },
	{ FERRY_FEATURE_GUARD, "guard pages without a mapping of their own" },
	{ FERRY_FEATURE_VECTOR_ADVICE, "many ranges given back in one call" },
	{ FERRY_FEATURE_EVENT_FORK, "descriptor follows a fork" },
};

static const char *use_of(uint64_t bit)
{
	for (size_t i = 0; i < BENCH_ARRAY_LEN(uses); i++)
		if (uses[i].bit == bit)
			return uses[i].what;
	return "";
}

static void show_features(struct bench *b, const struct ferry_features *f)
{
	struct bench_table *t = bench_table_new(
		"Features of this kernel", "feature", "<here", "<gives", NULL);

	for (unsigned int bit = 0; bit < 64; bit++) {
		const char *name = ferry_feature_name(bit);
		struct bench_stat st;
		bool here = f->features >> bit & 1;

		if (!name)
			continue;
		st = bench_stat_of(here);
		bench_cell(t, "%s", name);
		bench_cell(t, "%s", here ? "yes" : "no");
		bench_cell(t, "%s", use_of(UINT64_C(1) << bit));
		bench_result(b, &st, "bool", "features/%s", name);
	}
	bench_show(b, t);
}

static void show_ways(struct bench *b, const struct ferry_features *f)
{
	struct bench_table *t = bench_table_new(
		"Ways to open a userfaultfd", "way", "<error", "<reason", NULL);

	for (size_t i = FERRY_UFFD_ANY + 1; i < FERRY_UFFD_WAYS; i++) {
		int error = f->way[i].error;
		struct bench_stat st = bench_stat_of(error);
		const char *name = ferry_uffd_way_name((enum ferry_uffd_way)i);
		json_t *r;

		bench_cell(t, "%s", name);
		bench_cell(t, "%s", error ? strerror(-error) : "-");
		bench_cell(t, "%s",
			   error ? ferry_reason_string(f->way[i].reason)
				 : "works");
		r = bench_result(b, &st, "errno", "features/way=%s", name);
		bench_field_text(r, "reason",
				 ferry_reason_string(f->way[i].reason));
	}
	bench_cell(t, "real move of a page");
	bench_cell(t, "%s", f->move_error ? strerror(-f->move_error) : "-");
	bench_cell(t, "%s",
		   f->move_error ? ferry_reason_string(f->move_reason)
				 : "works");
	bench_show(b, t);
}

static void number(struct bench *b, struct bench_table *t, const char *name,
		   const char *text, long v, const char *unit)
{
	struct bench_stat st = bench_stat_of((double)v);

	bench_cell(t, "%s", text);
	if (v < 0)
		bench_cell(t, "unknown");
	else
		bench_cell(t, "%ld %s", v, unit);
	if (v >= 0)
		bench_result(b, &st, unit[0] ? unit : "count", "features/%s",
			     name);
}

static void show_numbers(struct bench *b, const struct ferry_features *f)
{
	struct bench_table *t =
		bench_table_new("Sizes and settings", "what", "<value", NULL);

	number(b, t, "page_size", "page", (long)f->page_size, "bytes");
	number(b, t, "huge_size", "huge page", (long)f->huge_size, "bytes");
	bench_cell(t, "transparent huge pages");
	bench_cell(t, "%s", f->thp[0] ? f->thp : "not there");
	number(b, t, "unprivileged_userfaultfd", "vm.unprivileged_userfaultfd",
	       f->unprivileged_sysctl, "");
	number(b, t, "max_map_count", "vm.max_map_count", f->max_map_count, "");
	number(b, t, "nodes", "memory nodes", f->nodes, "");
	bench_cell(t, "kernel");
	bench_cell(t, "%s", f->kernel);
	bench_show(b, t);
}

static void say_consequences(struct bench *b, const struct ferry_features *f)
{
	bool faults = f->features & FERRY_FEATURE_KERNEL_FAULTS;

	if (f->features & FERRY_FEATURE_MOVE_WORKS)
		bench_say(b, "Pages can be moved by page table here.");
	else
		bench_say(b,
			  "Pages cannot be moved by page table here: %s. "
			  "ferry_move() works all the same, by mremap or by "
			  "copying, and says so in its result.",
			  ferry_reason_string(f->move_reason));
	if (!faults)
		bench_say(b,
			  "System calls that touch an absent page fail with "
			  "EFAULT: only faults of user mode are served to "
			  "this user. Root, CAP_SYS_PTRACE, read and write "
			  "access to /dev/userfaultfd, or the sysctl "
			  "vm.unprivileged_userfaultfd=1 would change that.");
	if (f->huge_zero_page_unsafe)
		bench_say(b, "This kernel's release is in the range of "
			     "CVE-2026-31397: moving the huge zero page would "
			     "corrupt memory. Ferry takes care not to.");
}

/* Name what is not there; all of it is in the table. */
static void say_missing(struct bench *b, const struct ferry_features *f)
{
	unsigned int here = 0, all = 0;
	char *text = bench_strdup("");

	for (unsigned int bit = 0; bit < 64; bit++) {
		const char *name = ferry_feature_name(bit);
		char *longer;

		if (!name)
			continue;
		all++;
		if (f->features >> bit & 1) {
			here++;
			continue;
		}
		longer = bench_asprintf("%s%s%s", text, text[0] ? ", " : "",
					name);
		free(text);
		text = longer;
	}
	bench_say(b, "%u of %u features are here%s%s.", here, all,
		  text[0] ? "; missing: " : "", text);
	free(text);
}

static int run(struct bench *b)
{
	struct ferry_features f = FERRY_INIT(struct ferry_features);
	int rc = ferry_features_get(&f);

	bench_section(b, "What this kernel offers");
	if (rc < 0) {
		bench_say(b, "The probe failed: %s.", strerror(-rc));
		return rc;
	}
	bench_say(b, "Features are found by trying them, never by the "
		     "kernel's version: a backport or a seccomp filter shows.");
	show_features(b, &f);
	show_ways(b, &f);
	show_numbers(b, &f);
	say_missing(b, &f);
	say_consequences(b, &f);
	return 0;
}

const struct bench_cmd bench_cmd_features = {
	.name = "features",
	.summary = "what this kernel gives this process, with reasons",
	.run = run,
};
