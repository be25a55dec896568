/* SPDX-License-Identifier: MIT */
/* Reads the texts of /proc, line by line. */
#include "uffd/lines.h"

#include <errno.h>
#include <string.h>

#include "uffd/sys.h"

void ferry__lines_init(struct ferry__lines *lines, int fd, char *buf,
		       size_t size)
{
	*lines = (struct ferry__lines){ .fd = fd, .buf = buf, .size = size };
}

/* Returns 1 when the buffer has a byte, 0 at the end of the file. */
static int fill(struct ferry__lines *lines)
{
	ssize_t n;

	if (lines->pos < lines->fill)
		return 1;
	do {
		n = ferry__sys->read(lines->fd, lines->buf, lines->size);
	} while (n == -EINTR);
	if (n <= 0)
		return (int)n;
	lines->pos = 0;
	lines->fill = (size_t)n;
	return 1;
}

static void line_append(struct ferry__line *line, const char *text, size_t len)
{
	size_t room = FERRY__LINE_MAX - line->len;

	if (len > room) {
		line->cut = true;
		len = room;
	}
	memcpy(line->text + line->len, text, len);
	line->len += len;
	line->text[line->len] = '\0';
}

int ferry__lines_next(struct ferry__lines *lines, struct ferry__line *line)
{
	const char *from, *newline;
	size_t left;
	int r;

	line->len = 0;
	line->cut = false;
	line->text[0] = '\0';
	while ((r = fill(lines)) > 0) {
		from = lines->buf + lines->pos;
		left = lines->fill - lines->pos;
		newline = memchr(from, '\n', left);
		if (newline) {
			line_append(line, from, (size_t)(newline - from));
			lines->pos += (size_t)(newline - from) + 1;
			return 1;
		}
		line_append(line, from, left);
		lines->pos = lines->fill;
	}
	return r < 0 ? r : line->len ? -EIO : 0;
}

bool ferry__number_parse(const char **s, unsigned int base, uint64_t *ret)
{
	uint64_t value = 0;
	unsigned int digit, n;

	for (n = 0;; n++, (*s)++) {
		if (**s >= '0' && **s <= '9')
			digit = (unsigned int)(**s - '0');
		else if (base == 16 && **s >= 'a' && **s <= 'f')
			digit = (unsigned int)(**s - 'a') + 10;
		else
			break;
		if (value > (UINT64_MAX - digit) / base)
			return false;
		value = value * base + digit;
	}
	*ret = value;
	return n > 0;
}

const char *ferry__text_after(const char *text, const char *key)
{
	size_t n = strlen(key);

	return strncmp(text, key, n) ? NULL : text + n;
}
