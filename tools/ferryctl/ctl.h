/* SPDX-License-Identifier: MIT */
/*
 * What all of ferryctl shares: its commands and their options, how a run
 * ends, and how it speaks.
 */
#ifndef FERRYCTL_CTL_H
#define FERRYCTL_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define CTL_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* How a run ends, as ferryctl(1) says; scripts depend on the numbers. */
enum ctl_status {
	CTL_OK = 0,
	CTL_FAILED = 1,	    /* it could not be done */
	CTL_USAGE = 2,	    /* the command line is wrong */
	CTL_PARTLY = 3,	    /* done but for what was told */
	CTL_NO_PROCESS = 4, /* there is none of that number, or it ended */
	CTL_NOT_PERMITTED = 5,
	CTL_NOT_POSSIBLE = 6, /* not from outside, or not on this kernel */
};

enum ctl_option {
	CTL_ALL,
	CTL_BYTES,
	CTL_COLD,
	CTL_COUNT,
	CTL_FILE,
	CTL_FROM,
	CTL_HOME,
	CTL_HOT,
	CTL_INTERVAL,
	CTL_JSON,
	CTL_MODE,
	CTL_MOVE,
	CTL_NODES,
	CTL_OBJECT,
	CTL_OUTSIDE,
	CTL_SHARED,
	CTL_STRICT,
	CTL_SVG,
	CTL_VERBOSE,
	CTL_WIDTH,
	CTL_HELP,
	CTL_OPTIONS
};

#define CTL_TAKES(option) (1u << (option))

struct ctl;

struct ctl_command {
	const char *name;
	const char *operands; /* as the help shows them */
	const char *summary;
	uint32_t options; /* CTL_TAKES() of each, --help left out */
	int least, most;  /* number of operands; most -1: no limit */
	enum ctl_status (*run)(struct ctl *ctl);
};

/* One run of a command. Strings are those of argv. */
struct ctl {
	const struct ctl_command *command;
	const char *text[CTL_OPTIONS]; /* "" of a flag; NULL: not given */
	char **operands;
	int noperands;
};

extern const struct ctl_command *const ctl_commands[];

extern const struct ctl_command ctl_cmd_classify;
extern const struct ctl_command ctl_cmd_collect;
extern const struct ctl_command ctl_cmd_compact;
extern const struct ctl_command ctl_cmd_configure;
extern const struct ctl_command ctl_cmd_hint;
extern const struct ctl_command ctl_cmd_list;
extern const struct ctl_command ctl_cmd_maps;
extern const struct ctl_command ctl_cmd_mbind;
extern const struct ctl_command ctl_cmd_migrate;
extern const struct ctl_command ctl_cmd_migrate_phys;
extern const struct ctl_command ctl_cmd_pin;
extern const struct ctl_command ctl_cmd_reclaim;
extern const struct ctl_command ctl_cmd_stat;
extern const struct ctl_command ctl_cmd_top;
extern const struct ctl_command ctl_cmd_unpin;
extern const struct ctl_command ctl_cmd_watch;

/*
 * Reads the arguments behind the command's name; argv[0] is the name.
 * Returns 0, or -EINVAL with a sentence in @err. Permutes argv.
 */
int ctl_options_parse(const struct ctl_command *command, int argc, char **argv,
		      struct ctl *ret_ctl, char *err, size_t err_size);

/* The lines of the help on the command's options. */
void ctl_options_help(const struct ctl_command *command, FILE *f);

static inline bool ctl_given(const struct ctl *ctl, enum ctl_option option)
{
	return ctl->text[option] != NULL;
}

/*
 * The number given for @option, or @fallback; with @suffix K, M, G or T may
 * stand behind it. On a wrong one complains and returns -EINVAL.
 */
int ctl_number(const struct ctl *ctl, enum ctl_option option, bool suffix,
	       uint64_t fallback, uint64_t *ret);

/* Seconds such as 0.5; complains as ctl_number() does. */
int ctl_seconds(const struct ctl *ctl, enum ctl_option option, double fallback,
		double *ret);

/* The first operand as the number of a process; complains. */
int ctl_pid(const struct ctl *ctl, pid_t *ret_pid);

/* "ferryctl: ..." on standard error. */
void ctl_complain(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

/* The same with what the negative errno @r means; returns its status. */
enum ctl_status ctl_fail(int r, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

enum ctl_status ctl_status_of(int r);

/* @bytes for a person, such as 1.5G; @buf of CTL_SIZE_TEXT bytes. */
#define CTL_SIZE_TEXT 16
const char *ctl_size_text(uint64_t bytes, char *buf);

/*
 * A decimal or, behind 0x, hexadecimal number, with K, M, G or T behind it
 * if @suffix. Returns 0, -EINVAL (no number) or -ERANGE.
 */
int ctl_parse_number(const char *text, bool suffix, uint64_t *ret);

#endif
