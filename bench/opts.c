/* SPDX-License-Identifier: MIT */
/* opts.c: read the options of a subcommand; say clearly what is wrong. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "opts.h"
#include "util.h"

static const struct bench_option common[] = {
	{ "quick", BENCH_FLAG, NULL,
	  "measure for under 20 seconds; twice: a few" },
	{ "json", BENCH_TEXT, "FILE",
	  "write the results as JSON (- is standard output)" },
	{ "plot", BENCH_TEXT, "DIR", "write plots as SVG files, by gnuplot" },
	{ "seed", BENCH_TEXT, "N", "seed of all that is random (default: 1)" },
	{ "help", BENCH_FLAG, NULL, "show this help" },
};

#define NCOMMON BENCH_ARRAY_LEN(common)

static size_t own_count(const struct bench_option *own)
{
	size_t n = 0;

	while (own && own[n].name)
		n++;
	return n;
}

static int suffix_shift(char c)
{
	switch (c) {
	case '\0':
		return 0;
	case 'k':
	case 'K':
		return 10;
	case 'm':
	case 'M':
		return 20;
	case 'g':
	case 'G':
		return 30;
	}
	return -1;
}

int bench_parse_number(const char *s, bool suffix, uint64_t *ret_n)
{
	unsigned long long n;
	char *end;
	int shift;

	if (*s < '0' || *s > '9') /* strtoull() takes "-1" and " 1" */
		return -EINVAL;
	errno = 0;
	n = strtoull(s, &end, 0);
	if (errno)
		return -errno;
	shift = suffix_shift(*end);
	if (shift < 0 || (*end && (end[1] || !suffix)))
		return -EINVAL;
	if (n > UINT64_MAX >> shift)
		return -ERANGE;
	*ret_n = (uint64_t)n << shift;
	return 0;
}

static void set_common(struct bench_options *opt, size_t i, const char *arg)
{
	switch (i) {
	case 0:
		opt->effort = opt->effort == BENCH_FULL ? BENCH_QUICK
							: BENCH_TINY;
		break;
	case 1:
		opt->json = arg;
		break;
	case 2:
		opt->plot_dir = arg;
		break;
	case 3:
		opt->seed_given = true;
		break;
	case 4:
		opt->help = true;
		break;
	}
}

static int set_option(struct bench_options *opt, size_t i, const char *arg,
		      char *err, size_t err_size)
{
	const struct bench_option *o;
	uint64_t n;

	o = i < NCOMMON ? &common[i] : &opt->own[i - NCOMMON];
	if (i < NCOMMON)
		set_common(opt, i, arg);
	else
		opt->own_text[i - NCOMMON] = arg ? arg : "";
	if (i < NCOMMON && !strcmp(o->name, "seed")) {
		if (!bench_parse_number(arg, false, &opt->seed))
			return 0;
	} else if (o->kind != BENCH_SIZE ||
		   !bench_parse_number(arg, true, &n)) {
		return 0;
	}
	snprintf(err, err_size, "--%s wants a number, not '%s'", o->name, arg);
	return -EINVAL;
}

static struct option *long_options(const struct bench_option *own, size_t nown)
{
	struct option *v = bench_alloc((NCOMMON + nown + 1) * sizeof(*v));

	for (size_t i = 0; i < NCOMMON + nown; i++) {
		const struct bench_option *o = i < NCOMMON ? &common[i]
							   : &own[i - NCOMMON];

		v[i].name = o->name;
		v[i].has_arg = o->kind == BENCH_FLAG ? no_argument
						     : required_argument;
		v[i].val = 256 + (int)i; /* above every character */
	}
	return v;
}

static int parse_error(int c, char **argv, char *err, size_t err_size)
{
	const char *what = argv[optind - 1];

	if (c == ':')
		snprintf(err, err_size, "%s wants an argument", what);
	else if (optopt > 255)
		snprintf(err, err_size, "%s takes no argument", what);
	else if (optopt)
		snprintf(err, err_size, "unknown option '-%c'", optopt);
	else
		snprintf(err, err_size, "unknown option '%s'", what);
	return -EINVAL;
}

static int parse_all(struct bench_options *opt, const struct option *lo,
		     int argc, char **argv, char *err, size_t err_size)
{
	int c, rc;

	opterr = 0;
	optind = 0; /* restart: the tour parses more than once */
	while ((c = getopt_long(argc, argv, ":", lo, NULL)) != -1) {
		if (c < 256)
			return parse_error(c, argv, err, err_size);
		rc = set_option(opt, (size_t)c - 256, optarg, err, err_size);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int bench_options_parse(const struct bench_option *own, bool operands, int argc,
			char **argv, struct bench_options *ret_opt, char *err,
			size_t err_size)
{
	size_t nown = own_count(own);
	struct option *lo = long_options(own, nown);
	struct bench_options *opt = ret_opt;
	int rc;

	memset(opt, 0, sizeof(*opt));
	opt->effort = BENCH_FULL;
	opt->seed = 1;
	opt->own = own;
	opt->own_text = bench_alloc((nown + 1) * sizeof(*opt->own_text));
	rc = parse_all(opt, lo, argc, argv, err, err_size);
	free(lo);
	if (rc < 0)
		return rc;
	opt->operands = argv + optind;
	opt->noperands = (size_t)(argc - optind);
	if (opt->noperands && !operands) {
		snprintf(err, err_size, "unexpected operand '%s'",
			 opt->operands[0]);
		return -EINVAL;
	}
	return 0;
}

void bench_options_fini(struct bench_options *opt)
{
	free(opt->own_text);
	opt->own_text = NULL;
}

const char *bench_option_text(const struct bench_options *opt, const char *name)
{
	for (size_t i = 0; i < own_count(opt->own); i++)
		if (!strcmp(opt->own[i].name, name))
			return opt->own_text[i];
	return NULL;
}

uint64_t bench_option_size(const struct bench_options *opt, const char *name,
			   uint64_t fallback)
{
	const char *text = bench_option_text(opt, name);
	uint64_t n;

	if (!text || bench_parse_number(text, true, &n) < 0)
		return fallback;
	return n;
}

static void help_line(const struct bench_option *o, FILE *f)
{
	char left[64];

	snprintf(left, sizeof(left), "--%s %s", o->name, o->arg ? o->arg : "");
	fprintf(f, "  %-16s %s\n", left, o->help);
}

void bench_options_help(const struct bench_option *own, FILE *f)
{
	for (size_t i = 0; i < own_count(own); i++)
		help_line(&own[i], f);
	for (size_t i = 0; i < NCOMMON; i++)
		help_line(&common[i], f);
}
