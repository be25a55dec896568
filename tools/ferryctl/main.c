/* SPDX-License-Identifier: MIT */
/* ferryctl: finds the command and runs it. */
#include <errno.h>
#include <ferry/ferry.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ferryctl/ctl.h"

static const struct ctl_command *find(const char *name)
{
	for (size_t i = 0; ctl_commands[i]; i++)
		if (!strcmp(ctl_commands[i]->name, name))
			return ctl_commands[i];
	return NULL;
}

static void usage(void)
{
	printf("usage: ferryctl COMMAND [OPTION]... [OPERAND]...\n\n");
	for (size_t i = 0; ctl_commands[i]; i++)
		printf("  %-13s %s\n", ctl_commands[i]->name,
		       ctl_commands[i]->summary);
	printf("\nferryctl COMMAND --help tells of one; ferryctl(1) of all.\n");
}

static enum ctl_status help(const struct ctl_command *command)
{
	printf("usage: ferryctl %s [OPTION]...%s%s\n%s\n\n", command->name,
	       command->operands[0] ? " " : "", command->operands,
	       command->summary);
	ctl_options_help(command, stdout);
	return CTL_OK;
}

static enum ctl_status usage_error(const char *what, const char *command)
{
	fprintf(stderr, "ferryctl: %s\nTry 'ferryctl %s%s--help'.\n", what,
		command, command[0] ? " " : "");
	return CTL_USAGE;
}

static enum ctl_status start(int argc, char **argv)
{
	const struct ctl_command *command;
	char text[128];
	struct ctl ctl;

	if (argc < 2)
		return usage_error("which command?", "");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
	    !strcmp(argv[1], "help")) {
		usage();
		return CTL_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("ferryctl %s\n", ferry_version());
		return CTL_OK;
	}
	command = find(argv[1]);
	if (!command) {
		snprintf(text, sizeof(text), "unknown command '%s'", argv[1]);
		return usage_error(text, "");
	}
	if (ctl_options_parse(command, argc - 1, argv + 1, &ctl, text,
			      sizeof(text)) < 0)
		return usage_error(text, command->name);
	return ctl_given(&ctl, CTL_HELP) ? help(command) : command->run(&ctl);
}

/* What was printed and could not be written was not told: that is a failure. */
static enum ctl_status end_output(enum ctl_status status)
{
	bool bad = ferror(stdout);

	if (fclose(stdout) || bad) {
		ctl_complain("standard output: %s",
			     strerror(errno ? errno : EIO));
		return status == CTL_OK ? CTL_FAILED : status;
	}
	return status;
}

int main(int argc, char **argv)
{
	return end_output(start(argc, argv));
}
