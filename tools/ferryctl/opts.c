/* SPDX-License-Identifier: MIT */
/* The options of ferryctl: reads them, shows them, says what is wrong. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ferryctl/ctl.h"

static const struct {
	const char *name;
	char letter;	 /* of the short form, or 0 */
	const char *arg; /* NULL: a flag */
	const char *help;
} options[CTL_OPTIONS] = {
	[CTL_ALL] = { "all", 'a', NULL, "everything, not only Ferry's" },
	[CTL_BYTES] = { "bytes", 'b', "SIZE",
			"how much, such as 64M (K, M, G, T)" },
	[CTL_COLD] = { "cold", 0, NULL,
		       "only mark as cold: not needed for a while" },
	[CTL_COUNT] = { "count", 'c', "N", "how often; without end if 0" },
	[CTL_FILE] = { "file", 'f', "FILE",
		       "take ranges from FILE, too (-: standard input)" },
	[CTL_FROM] = { "from", 0, "NODES", "only pages that are on these" },
	[CTL_HOME] = { "home", 0, "NODE",
		       "node that bind and preferred-many begin with" },
	[CTL_HOT] = { "hot", 0, NULL, "needed soon" },
	[CTL_INTERVAL] = { "interval", 'i', "SECONDS",
			   "time between two looks (1)" },
	[CTL_JSON] = { "json", 'j', NULL, "for programs to read" },
	[CTL_MODE] = { "mode", 'm', "MODE",
		       "default, bind, preferred, preferred-many, interleave "
		       "or weighted-interleave" },
	[CTL_MOVE] = { "move", 0, NULL,
		       "move the pages that are there already" },
	[CTL_NODES] = { "nodes", 'n', "NODES",
			"such as 0-2,4 or all, as numactl(8) has them" },
	[CTL_OBJECT] = { "object", 'o', "ID",
			 "only this arena or heap, as stat numbers them" },
	[CTL_OUTSIDE] = { "outside", 0, NULL,
			  "do not ask the agent of the process" },
	[CTL_SHARED] = { "shared", 0, NULL,
			 "also pages that other processes have mapped" },
	[CTL_STRICT] = { "strict", 0, NULL,
			 "an error where a page stays elsewhere" },
	[CTL_SVG] = { "svg", 0, NULL, "draw it as SVG" },
	[CTL_VERBOSE] = { "verbose", 'v', NULL, "tell of each range" },
	[CTL_WIDTH] = { "width", 'w', "N", "cells in a line of the picture" },
	[CTL_HELP] = { "help", 'h', NULL, "show this help" },
};

#define FIRST 256 /* values of getopt_long() above every character */

static bool takes(const struct ctl_command *command, size_t i)
{
	return i == CTL_HELP || command->options & CTL_TAKES(i);
}

/* @ret_short: room for a colon, three characters an option, and the end. */
static void tables(const struct ctl_command *command, struct option *ret_long,
		   char *ret_short)
{
	*ret_short++ = ':';
	for (size_t i = 0; i < CTL_OPTIONS; i++) {
		if (!takes(command, i))
			continue;
		*ret_long++ = (struct option){
			.name = options[i].name,
			.has_arg = options[i].arg ? required_argument
						  : no_argument,
			.val = FIRST + (int)i,
		};
		if (options[i].letter)
			*ret_short++ = options[i].letter;
		if (options[i].letter && options[i].arg)
			*ret_short++ = ':';
	}
	*ret_long = (struct option){ 0 };
	*ret_short = '\0';
}

/* The option that getopt_long() returned as @c, or CTL_OPTIONS. */
static size_t option_of(int c)
{
	if (c >= FIRST)
		return (size_t)(c - FIRST);
	for (size_t i = 0; i < CTL_OPTIONS; i++)
		if (options[i].letter == c)
			return i;
	return CTL_OPTIONS;
}

static int wrong(int c, char **argv, char *err, size_t size)
{
	const char *what = argv[optind - 1];

	if (c == ':')
		snprintf(err, size, "%s wants an argument", what);
	else if (optopt >= FIRST)
		snprintf(err, size, "%s takes no argument", what);
	else if (optopt)
		snprintf(err, size, "unknown option '-%c'", optopt);
	else
		snprintf(err, size, "unknown option '%s'", what);
	return -EINVAL;
}

static int check_operands(const struct ctl *ctl, char *err, size_t size)
{
	const struct ctl_command *command = ctl->command;

	if (ctl_given(ctl, CTL_HELP))
		return 0;
	if (ctl->noperands < command->least) {
		snprintf(err, size, "%s wants %s", command->name,
			 command->operands);
		return -EINVAL;
	}
	if (command->most >= 0 && ctl->noperands > command->most) {
		snprintf(err, size, "unexpected operand '%s'",
			 ctl->operands[command->most]);
		return -EINVAL;
	}
	return 0;
}

int ctl_options_parse(const struct ctl_command *command, int argc, char **argv,
		      struct ctl *ret_ctl, char *err, size_t err_size)
{
	struct option longs[CTL_OPTIONS + 1];
	char shorts[3 * CTL_OPTIONS + 2];
	struct ctl *ctl = ret_ctl;
	size_t i;
	int c;

	*ctl = (struct ctl){ .command = command };
	tables(command, longs, shorts);
	opterr = 0;
	optind = 0; /* from the start: tests parse more than once */
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		i = c == '?' || c == ':' ? CTL_OPTIONS : option_of(c);
		if (i == CTL_OPTIONS)
			return wrong(c, argv, err, err_size);
		ctl->text[i] = options[i].arg ? optarg : "";
	}
	ctl->operands = argv + optind;
	ctl->noperands = argc - optind;
	return check_operands(ctl, err, err_size);
}

void ctl_options_help(const struct ctl_command *command, FILE *f)
{
	char left[32], letter[8];

	for (size_t i = 0; i < CTL_OPTIONS; i++) {
		if (!takes(command, i))
			continue;
		snprintf(letter, sizeof(letter), "-%c, ", options[i].letter);
		snprintf(left, sizeof(left), "--%s%s%s", options[i].name,
			 options[i].arg ? " " : "",
			 options[i].arg ? options[i].arg : "");
		fprintf(f, "  %4s%-19s %s\n", options[i].letter ? letter : "",
			left, options[i].help);
	}
}

static int shift_of(char suffix)
{
	switch (suffix) {
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
	case 't':
	case 'T':
		return 40;
	}
	return -1;
}

int ctl_parse_number(const char *text, bool suffix, uint64_t *ret)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	unsigned long long n;
	char *end;
	int shift;

	if (hex)
		text += 2;
	/* strtoull() would pass over blanks, a sign and a second 0x. */
	if (strspn(text, hex ? "0123456789abcdefABCDEF" : "0123456789") == 0)
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, hex ? 16 : 10);
	if (errno)
		return -errno;
	shift = shift_of(*end);
	if (shift < 0 || (*end && (end[1] || !suffix)))
		return -EINVAL;
	if (n > UINT64_MAX >> shift)
		return -ERANGE;
	*ret = (uint64_t)n << shift;
	return 0;
}

int ctl_number(const struct ctl *ctl, enum ctl_option option, bool suffix,
	       uint64_t fallback, uint64_t *ret)
{
	*ret = fallback;
	if (!ctl_given(ctl, option) ||
	    ctl_parse_number(ctl->text[option], suffix, ret) == 0)
		return 0;
	ctl_complain("--%s wants a number%s, not '%s'", options[option].name,
		     suffix ? " such as 64M" : "", ctl->text[option]);
	return -EINVAL;
}

int ctl_seconds(const struct ctl *ctl, enum ctl_option option, double fallback,
		double *ret)
{
	const char *text = ctl->text[option];
	char *end;

	*ret = fallback;
	if (!text)
		return 0;
	*ret = *text >= '0' && *text <= '9' ? strtod(text, &end) : -1;
	/* A day is enough for anybody, and keeps sums in range. */
	if (*ret >= 0.01 && *ret <= 86400 && !*end)
		return 0;
	ctl_complain("--%s wants seconds from 0.01 to 86400, not '%s'",
		     options[option].name, text);
	return -EINVAL;
}

int ctl_pid(const struct ctl *ctl, pid_t *ret_pid)
{
	const char *text = ctl->operands[0];
	uint64_t n;

	if (ctl_parse_number(text, false, &n) || n == 0 || n > INT32_MAX) {
		ctl_complain("'%s' is not the number of a process", text);
		return -EINVAL;
	}
	*ret_pid = (pid_t)n;
	return 0;
}
