/* SPDX-License-Identifier: MIT */
/*
 * Ranges of addresses as people and programs write them, from the command
 * line, a file or a pipe, one by one: memory is bounded by the longest line
 * that is understood, however many there are.
 *
 *	START-END	as /proc/PID/maps prints it; END is the first address
 *			behind
 *	START+LENGTH	LENGTH decimal or 0x..., K, M, G or T behind it
 *	ADDRESS		the page that holds it
 *
 * Addresses are hexadecimal, with or without 0x. Behind # is comment. A line
 * of /proc/PID/maps is a range, too: what stands behind its access rights is
 * passed over.
 */
#ifndef FERRYCTL_RANGES_H
#define FERRYCTL_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ctl_range {
	uint64_t start, end;
	uint64_t line; /* where it stood; 0: on the command line */
};

/*
 * Reads one range (without comment) of @text.
 * Returns 0; -ENODATA: there is nothing but blanks and comment; -EINVAL with
 * a sentence in @ret_why (static).
 */
int ctl_range_parse(const char *text, struct ctl_range *ret_range,
		    const char **ret_why);

/* Longest line that is read, its end included. */
#define CTL_LINE_MAX 4096

struct ctl_ranges {
	char **operands; /* ranges of the command line, first */
	int noperands;
	const char *name; /* of the file, for messages */
	int fd;		  /* -1: no file, or at its end */
	bool own_fd;
	bool skipping; /* within a line that is too long */
	uint64_t line;
	size_t pos, fill;
	char buf[CTL_LINE_MAX];
	const char *why;  /* after -EINVAL */
	const char *text; /* the range that was refused, or NULL */
};

/*
 * @operands: "-" among them is standard input. @file: one more, or NULL.
 * Returns 0, -EINVAL (standard input twice, or beside a file: ->why) or what
 * opening the file said.
 */
int ctl_ranges_open(struct ctl_ranges *in, char **operands, int noperands,
		    const char *file);
void ctl_ranges_close(struct ctl_ranges *in);

/*
 * The next range. Returns 1; 0 at the end; -EINVAL for what is no range, with
 * ->why, after which reading goes on behind it; or what reading said.
 */
int ctl_ranges_next(struct ctl_ranges *in, struct ctl_range *ret_range);

/* Would ctl_ranges_next() wait for whoever writes into the pipe? */
bool ctl_ranges_would_wait(const struct ctl_ranges *in);

/* Where the range stood, such as "pipe:17"; @buf of @size bytes. */
const char *ctl_ranges_where(const struct ctl_ranges *in, uint64_t line,
			     char *buf, size_t size);

#endif
