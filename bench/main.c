/* SPDX-License-Identifier: MIT */
/* main.c: ferry-bench: find the subcommand, run it, write what was asked. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <ferry/ferry.h>

#include "bench.h"
#include "gc.h"
#include "handover_work.h"
#include "malloc_work.h"
#include "offload_work.h"
#include "output.h"
#include "preload.h"

#define EXIT_USAGE 2

/* In the order of the tour. One line each, so that changes do not collide. */
/* clang-format off */
const struct bench_cmd *const bench_commands[] = {
	&bench_cmd_features,
	&bench_cmd_move,
	&bench_cmd_fault,
	&bench_cmd_dirty,
	&bench_cmd_lookup,
	&bench_cmd_compact,
	&bench_cmd_gc,
	&bench_cmd_malloc,
	&bench_cmd_offload,
	&bench_cmd_policy,
	&bench_cmd_handover,
	&bench_cmd_tour,
	NULL,
};
/* clang-format on */

const struct bench_cmd *bench_find_command(const char *name)
{
	for (size_t i = 0; bench_commands[i]; i++)
		if (!strcmp(bench_commands[i]->name, name))
			return bench_commands[i];
	return NULL;
}

uint64_t bench_pick(const struct bench *b, uint64_t tiny, uint64_t quick,
		    uint64_t full)
{
	switch (b->opt.effort) {
	case BENCH_TINY:
		return tiny;
	case BENCH_QUICK:
		return quick;
	case BENCH_FULL:
		break;
	}
	return full;
}

/* Run b->cmd, then show the targets that it left. */
static int run_shown(struct bench *b)
{
	size_t from = b->doc.ntargets;
	struct bench_table *targets;
	int rc;

	b->rng.state = b->opt.seed;
	rc = b->cmd->run(b);
	bench_progress_end();
	bench_pool_drain();
	targets = bench_targets_table(&b->doc, from);
	if (targets && !b->cmd->composite)
		bench_doc_targets(&b->doc, targets);
	else
		bench_table_free(targets);
	return rc;
}

int bench_run_command(struct bench *b, const struct bench_cmd *cmd,
		      enum bench_effort effort)
{
	const struct bench_cmd *outer = b->cmd;
	struct bench_options opt = b->opt;
	int rc;

	b->cmd = cmd;
	b->opt.effort = effort;
	b->opt.operands = NULL;
	b->opt.noperands = 0;
	b->opt.own = NULL;
	b->opt.own_text = NULL;
	rc = run_shown(b);
	b->opt = opt;
	b->cmd = outer;
	return rc;
}

static void usage(FILE *f)
{
	fputs("usage: ferry-bench SUBCOMMAND [OPTION]...\n\n", f);
	for (size_t i = 0; bench_commands[i]; i++)
		fprintf(f, "  %-10s %s\n", bench_commands[i]->name,
			bench_commands[i]->summary);
	fputs("\nOptions of every subcommand (--help of each shows its own)\n",
	      f);
	bench_options_help(NULL, f);
}

static void command_help(const struct bench_cmd *c)
{
	printf("usage: ferry-bench %s [OPTION]...%s%s\n%s\n\n", c->name,
	       c->operands ? " " : "", c->operands ? c->operands : "",
	       c->summary);
	bench_options_help(c->options, stdout);
}

static int usage_error(const char *what, const char *command)
{
	fprintf(stderr, "ferry-bench: %s\nTry 'ferry-bench %s%s--help'.\n",
		what, command, command[0] ? " " : "");
	return EXIT_USAGE;
}

static int complain(const char *path, int rc)
{
	if (rc < 0)
		fprintf(stderr, "ferry-bench: %s: %s\n", path, strerror(-rc));
	return rc;
}

/* Find out before measuring, not after, that a file cannot be written. */
static int check_files(const struct bench *b)
{
	const char *json = b->opt.json;
	FILE *f;

	if (b->opt.plot_dir &&
	    complain(b->opt.plot_dir, bench_make_dirs(b->opt.plot_dir)) < 0)
		return -EIO;
	if (!json || !strcmp(json, "-"))
		return 0;
	f = fopen(json, "ae");
	if (!f)
		return complain(json, -errno);
	fclose(f);
	return 0;
}

static int write_files(struct bench *b)
{
	int rc = 0;

	if (b->opt.json)
		rc = complain(b->opt.json, bench_write_json(b, b->opt.json));
	if (!b->opt.plot_dir)
		return rc;
	if (!bench_plot_possible()) {
		fputs("ferry-bench: no plots: gnuplot cannot be run\n", stderr);
		return rc;
	}
	return complain(b->opt.plot_dir, bench_write_plots(b, b->opt.plot_dir));
}

static void say_machine(struct bench *b)
{
	char *line = bench_machine_line(&b->machine);

	bench_print_wrapped(line, b->doc.out);
	free(line);
	if (bench_machine_busy(&b->machine))
		bench_print_wrapped("Others are using this machine: expect "
				    "wide spreads, and distrust what is close "
				    "to its limit.",
				    b->doc.out);
}

static int run(struct bench *b)
{
	bool json_to_stdout = b->opt.json && !strcmp(b->opt.json, "-");
	int rc;

	b->doc.out = json_to_stdout ? stderr : stdout;
	if (check_files(b) < 0)
		return EXIT_FAILURE;
	setvbuf(b->doc.out, NULL, _IOLBF, 0);
	b->results = json_array();
	bench_machine_get(&b->machine);
	say_machine(b);
	rc = run_shown(b);
	if (write_files(b) < 0 && rc == 0)
		rc = -1;
	json_decref(b->results);
	bench_doc_fini(&b->doc);
	return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int start(const struct bench_cmd *cmd, int argc, char **argv)
{
	struct bench b = { .cmd = cmd };
	char err[256];
	int status;

	if (bench_options_parse(cmd->options, cmd->operands != NULL, argc, argv,
				&b.opt, err, sizeof(err)) < 0) {
		status = usage_error(err, cmd->name);
	} else if (b.opt.help) {
		command_help(cmd);
		status = EXIT_SUCCESS;
	} else if (cmd->check && cmd->check(&b.opt, err, sizeof(err)) < 0) {
		status = usage_error(err, cmd->name);
	} else {
		status = run(&b);
	}
	bench_options_fini(&b.opt);
	return status;
}

int main(int argc, char **argv)
{
	const struct bench_cmd *cmd;
	char text[128];

	if (argc < 2)
		return usage_error("which subcommand?", "");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		usage(stdout);
		return EXIT_SUCCESS;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("ferry-bench %s\n", ferry_version());
		return EXIT_SUCCESS;
	}
	if (!strcmp(argv[1], GC_CELL_ARGUMENT))
		return gc_cell_main();
	if (!strcmp(argv[1], PRELOAD_PROBE_ARGUMENT))
		return preload_probe_main();
	if (!strcmp(argv[1], MALLOC_WORK_ARGUMENT))
		return malloc_work_main(argc - 2, argv + 2);
	if (!strcmp(argv[1], OFFLOAD_WORK_ARGUMENT))
		return offload_work_main(argc - 2, argv + 2);
	if (!strcmp(argv[1], HANDOVER_WORK_ARGUMENT))
		return handover_work_main(argc - 2, argv + 2);
	cmd = bench_find_command(argv[1]);
	if (cmd)
		return start(cmd, argc - 1, argv + 1);
	snprintf(text, sizeof(text), "unknown subcommand '%s'", argv[1]);
	return usage_error(text, "");
}
