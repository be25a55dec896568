/* SPDX-License-Identifier: MIT */
/* Lines of a file of /proc, in a buffer that grows with the longest one. */
#ifndef FERRYCTL_LINES_H
#define FERRYCTL_LINES_H

#include <stddef.h>

struct ctl_lines {
	int fd; /* the reader's; -1: nothing to read */
	char *buf;
	size_t size, pos, fill;
};

/* Takes @fd over. */
void ctl_lines_init(struct ctl_lines *lines, int fd);
void ctl_lines_fini(struct ctl_lines *lines);

/*
 * The next line without its end, good until the next call.
 * Returns 1, 0 at the end, or a negative errno.
 */
int ctl_lines_next(struct ctl_lines *lines, char **ret_line);

#endif
