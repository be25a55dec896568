/* SPDX-License-Identifier: MIT */
/* Lines of a file of /proc. */
#include "tools/ferryctl/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "tools/ferryctl/kernel.h"

#define LEAST ((size_t)16 << 10)

void ctl_lines_init(struct ctl_lines *lines, int fd)
{
	*lines = (struct ctl_lines){ .fd = fd };
}

void ctl_lines_fini(struct ctl_lines *lines)
{
	free(lines->buf);
	if (lines->fd >= 0)
		ctl_kernel->close(lines->fd);
	ctl_lines_init(lines, -1);
}

/* Room for more behind what is there, and for one byte besides. */
static int make_room(struct ctl_lines *lines)
{
	size_t size = lines->size ? 2 * lines->size : LEAST;
	char *buf;

	if (lines->pos) {
		memmove(lines->buf, lines->buf + lines->pos,
			lines->fill - lines->pos);
		lines->fill -= lines->pos;
		lines->pos = 0;
	}
	if (lines->fill + 1 < lines->size)
		return 0;
	buf = realloc(lines->buf, size);
	if (!buf)
		return -ENOMEM;
	lines->buf = buf;
	lines->size = size;
	return 0;
}

static ssize_t fill(struct ctl_lines *lines)
{
	ssize_t n = make_room(lines);

	if (n < 0)
		return n;
	n = ctl_kernel->read(lines->fd, lines->buf + lines->fill,
			     lines->size - 1 - lines->fill);
	if (n > 0)
		lines->fill += (size_t)n;
	return n;
}

int ctl_lines_next(struct ctl_lines *lines, char **ret_line)
{
	char *newline = NULL;
	ssize_t n;

	if (lines->fd < 0)
		return 0;
	for (;;) {
		if (lines->fill > lines->pos)
			newline = memchr(lines->buf + lines->pos, '\n',
					 lines->fill - lines->pos);
		if (newline)
			break;
		n = fill(lines);
		if (n < 0)
			return (int)n;
		if (n == 0 && lines->fill == lines->pos)
			return 0;
		if (n == 0) /* a last line without its end */
			lines->buf[lines->fill++] = '\n';
	}
	*newline = '\0';
	*ret_line = lines->buf + lines->pos;
	lines->pos = (size_t)(newline - lines->buf) + 1;
	return 1;
}
