/* SPDX-License-Identifier: MIT */
/* tour.c: ferry-bench tour: a walk through all subcommands, and a report. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "output.h"
#include "report.h"

#define DEFAULT_REPORT "ferry-report"

static const struct bench_option options[] = {
	{ "report", BENCH_TEXT, "DIR",
	  "where to write index.html and results.json (default: " DEFAULT_REPORT
	  ")" },
	{ 0 },
};

static int run_leg(struct bench *b, const struct bench_cmd *cmd)
{
	enum bench_effort effort = b->opt.effort == BENCH_QUICK ? BENCH_TINY
								: BENCH_QUICK;
	int rc = bench_run_command(b, cmd, effort);

	if (rc < 0)
		bench_say(b, "%s could not be measured to the end: %s.",
			  cmd->name, strerror(-rc));
	return rc;
}

static void draw_plots(struct bench *b)
{
	if (!bench_plot_possible()) {
		bench_say(b, "gnuplot cannot be run here, so the report has "
			     "tables and no plots.");
		return;
	}
	for (size_t i = 0; i < b->doc.nblocks; i++) {
		struct bench_plot *p = b->doc.blocks[i].plot;

		if (!p)
			continue;
		bench_progress("drawing plots", i, b->doc.nblocks);
		if (bench_plot_draw(p, false) == -EIO)
			bench_say(b, "The plot %s could not be drawn.",
				  p->name);
	}
	bench_progress_end();
}

static int write_report(struct bench *b, const char *dir)
{
	char *page = bench_asprintf("%s/index.html", dir);
	char *json = bench_asprintf("%s/results.json", dir);
	int rc = bench_write_json(b, json);

	if (rc == 0)
		rc = bench_report_write(b, page);
	if (rc < 0)
		fprintf(stderr, "ferry-bench: %s: %s\n", dir, strerror(-rc));
	else if (b->doc.out)
		fprintf(b->doc.out, "Results: %s\nReport: %s\n", json, page);
	free(page);
	free(json);
	return rc;
}

static void show_all_targets(struct bench *b)
{
	struct bench_table *t = bench_targets_table(&b->doc, 0);

	if (!t || !b->doc.out)
		return;
	fputs("\n== All targets ==\n\n", b->doc.out);
	bench_table_print(t, b->doc.out);
	bench_table_free(t);
}

static int run(struct bench *b)
{
	const char *dir = bench_option_text(&b->opt, "report");
	int rc, first = 0;

	dir = dir ? dir : DEFAULT_REPORT;
	rc = bench_make_dirs(dir);
	if (rc < 0) {
		fprintf(stderr, "ferry-bench: %s: %s\n", dir, strerror(-rc));
		return rc;
	}
	if (b->doc.out)
		bench_print_wrapped("A walk through what Ferry does, measured "
				    "on this machine. It takes about two "
				    "minutes and ends with a report.",
				    b->doc.out);
	for (size_t i = 0; bench_commands[i]; i++) {
		if (bench_commands[i]->composite)
			continue;
		rc = run_leg(b, bench_commands[i]);
		first = first ? first : rc;
	}
	draw_plots(b);
	show_all_targets(b);
	rc = write_report(b, dir);
	return first ? first : rc;
}

const struct bench_cmd bench_cmd_tour = {
	.name = "tour",
	.summary = "a walk through all of these, and a report",
	.composite = true,
	.options = options,
	.run = run,
};
