/* SPDX-License-Identifier: MIT */
/* opts.h: options of ferry-bench: those of all subcommands and their own. */
#ifndef FERRY_BENCH_OPTS_H
#define FERRY_BENCH_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* How long a subcommand may take. */
enum bench_effort {
	BENCH_TINY,  /* a few seconds: --quick --quick, a leg of tour --quick */
	BENCH_QUICK, /* under 20 seconds: --quick, and each leg of the tour */
	BENCH_FULL,  /* a minute or two */
};

enum bench_option_kind {
	BENCH_FLAG, /* takes no argument */
	BENCH_TEXT,
	BENCH_SIZE, /* number with an optional K, M or G (powers of 1024) */
};

/* An option of one subcommand; a table of these ends with name == NULL. */
struct bench_option {
	const char *name; /* without the dashes */
	enum bench_option_kind kind;
	const char *arg; /* what the argument is called in the help */
	const char *help;
};

/* What was asked for. Strings point into argv. */
struct bench_options {
	bool help;
	enum bench_effort effort;
	const char *json;     /* NULL: none; "-": standard output */
	const char *plot_dir; /* NULL: no plots */
	uint64_t seed;
	bool seed_given;
	char **operands;
	size_t noperands;
	const struct bench_option *own; /* NULL: no options of its own */
	const char **own_text; /* beside own: what was given, or NULL */
};

/*
 * Read the arguments after the subcommand's name: argv[0] is the name.
 * @own: options of the subcommand, or NULL
 * @operands: whether it takes operands
 * Returns 0, or -EINVAL with a sentence in @err that names what is wrong.
 * Permutes argv. Undo with bench_options_fini(), also after an error.
 */
int bench_options_parse(const struct bench_option *own, bool operands, int argc,
			char **argv, struct bench_options *ret_opt, char *err,
			size_t err_size);
void bench_options_fini(struct bench_options *opt);

/* What was given for the subcommand's own option @name, or NULL ("" = flag). */
const char *bench_option_text(const struct bench_options *opt,
			      const char *name);

/* The number given for a BENCH_SIZE option, or @fallback. */
uint64_t bench_option_size(const struct bench_options *opt, const char *name,
			   uint64_t fallback);

/*
 * A decimal, octal or hexadecimal number, with K, M or G behind it if
 * @suffix. Returns 0, -EINVAL (not a number) or -ERANGE.
 */
int bench_parse_number(const char *s, bool suffix, uint64_t *ret_n);

/* The lines of the help that describe the common options and @own. */
void bench_options_help(const struct bench_option *own, FILE *f);

#endif
