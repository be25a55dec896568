/* SPDX-License-Identifier: MIT */
/*
 * Texts of /proc, line by line: nothing is kept on the heap, a line of any
 * length has an end, and all of it is async-signal-safe.
 */
#ifndef FERRY_UFFD_LINES_H
#define FERRY_UFFD_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Longest part of a line that is looked at. A header of smaps holds at most
 * 75 characters before the name, of which 63 are kept; VmFlags at most 64
 * flags of three characters. The rest of a longer line is skipped.
 */
#define FERRY__LINE_MAX 320

struct ferry__line {
	char text[FERRY__LINE_MAX + 1]; /* without newline, NUL-terminated */
	size_t len;			/* kept */
	bool cut;			/* more was there */
};

struct ferry__lines {
	int fd;
	char *buf; /* the user's, @size bytes */
	size_t size, fill, pos;
};

/* @buf: any size above zero; one page is best for what /proc prints. */
void ferry__lines_init(struct ferry__lines *lines, int fd, char *buf,
		       size_t size);

/*
 * Returns 1 and the next line, 0 at the end, -EIO when the last line has no
 * end, or the error of read(2).
 */
int ferry__lines_next(struct ferry__lines *lines, struct ferry__line *line);

/* Parses 1 to 16 digits of @base (10 or 16) and steps @s past them. */
bool ferry__number_parse(const char **s, unsigned int base, uint64_t *ret);

/* The rest of @text behind @key, or NULL when it begins otherwise. */
const char *ferry__text_after(const char *text, const char *key);

#endif
