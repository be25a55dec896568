/* SPDX-License-Identifier: MIT */
/* Ranges of addresses, read one by one. */
#include "tools/ferryctl/ranges.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/ferryctl/ctl.h"
#include "tools/ferryctl/kernel.h"

/* --- one range ------------------------------------------------------------ */

static const char hex_digits[] = "0123456789abcdefABCDEF";

static unsigned int digit(char c)
{
	if (c <= '9')
		return (unsigned int)(c - '0');
	return (unsigned int)((c | 0x20) - 'a') + 10;
}

/* Reads an address and steps @s behind it. */
static bool parse_address(const char **s, uint64_t *ret, const char **ret_why)
{
	uint64_t value = 0;
	const char *from;

	if ((*s)[0] == '0' && ((*s)[1] == 'x' || (*s)[1] == 'X'))
		*s += 2;
	for (from = *s; **s && strchr(hex_digits, **s); (*s)++) {
		if (value >> 60) {
			*ret_why = "an address of more than 64 bits";
			return false;
		}
		value = value << 4 | digit(**s);
	}
	*ret_why = "no hexadecimal address";
	*ret = value;
	return *s > from;
}

/* Reads a length of @n characters. */
static bool parse_length(const char *s, size_t n, uint64_t *ret,
			 const char **ret_why)
{
	char word[32];
	int r;

	*ret_why = "no length behind '+'";
	if (n >= sizeof(word))
		return false;
	memcpy(word, s, n);
	word[n] = '\0';
	r = ctl_parse_number(word, true, ret);
	if (r == -ERANGE)
		*ret_why = "a length of more than 64 bits";
	return r == 0;
}

/* "rw-p", as the second word of a line of /proc/PID/maps. */
static bool is_rights(const char *s)
{
	return strspn(s, "rwxsp-") == 4 && strchr("r-", s[0]) &&
	       strchr("w-", s[1]) && strchr("x-", s[2]) && strchr("sp", s[3]) &&
	       strchr(" \t", s[4]);
}

static const char blanks[] = " \t\r";

/* May @rest stand behind a range? */
static bool is_rest(const char *rest)
{
	rest += strspn(rest, blanks);
	return !*rest || *rest == '#' || is_rights(rest);
}

static const char *check(const struct ctl_range *range)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (range->end == range->start)
		return "the range is empty";
	if (range->end < range->start)
		return "the end is below the start";
	if (range->start % page || range->end % page)
		return "not in whole pages";
	return NULL;
}

/* The page that holds range->start. */
static const char *take_page(struct ctl_range *range)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	range->start -= range->start % page;
	range->end = range->start + page;
	return range->end ? NULL : "the last page has no end";
}

/* What stands behind the first address: -END, +LENGTH or nothing. */
static const char *parse_end(const char **s, struct ctl_range *range)
{
	const char *why = NULL;
	uint64_t len;
	size_t n;

	if (**s == '-') {
		(*s)++;
		if (!parse_address(s, &range->end, &why))
			return why;
		return check(range);
	}
	if (**s != '+')
		return take_page(range);
	(*s)++;
	n = strcspn(*s, " \t\r#");
	if (!parse_length(*s, n, &len, &why))
		return why;
	*s += n;
	if (len > UINT64_MAX - range->start)
		return "the range ends beyond the address space";
	range->end = range->start + len;
	return check(range);
}

int ctl_range_parse(const char *text, struct ctl_range *ret_range,
		    const char **ret_why)
{
	struct ctl_range range = { 0 };
	const char *s = text + strspn(text, blanks);

	if (!*s || *s == '#')
		return -ENODATA;
	if (!parse_address(&s, &range.start, ret_why))
		return -EINVAL;
	*ret_why = parse_end(&s, &range);
	if (*ret_why)
		return -EINVAL;
	*ret_why = "text behind the range";
	if (*s && !strchr(" \t\r#", *s))
		return -EINVAL;
	if (!is_rest(s))
		return -EINVAL;
	ret_range->start = range.start;
	ret_range->end = range.end;
	return 0;
}

/* --- many ----------------------------------------------------------------- */

static int open_file(struct ctl_ranges *in, const char *file)
{
	if (in->fd >= 0) {
		in->why = "ranges come from one file or pipe only";
		return -EINVAL;
	}
	in->name = file;
	if (!strcmp(file, "-")) {
		in->name = "standard input";
		in->fd = STDIN_FILENO;
		return 0;
	}
	in->fd = ctl_kernel->open(AT_FDCWD, file, 0);
	in->own_fd = in->fd >= 0;
	return in->fd < 0 ? in->fd : 0;
}

int ctl_ranges_open(struct ctl_ranges *in, char **operands, int noperands,
		    const char *file)
{
	int i, r = 0;

	*in = (struct ctl_ranges){ .operands = operands,
				   .noperands = noperands,
				   .fd = -1 };
	for (i = 0; i < noperands && r == 0; i++)
		if (!strcmp(operands[i], "-"))
			r = open_file(in, "-");
	if (r == 0 && file)
		r = open_file(in, file);
	if (r < 0)
		ctl_ranges_close(in);
	return r;
}

void ctl_ranges_close(struct ctl_ranges *in)
{
	if (in->own_fd)
		ctl_kernel->close(in->fd);
	in->own_fd = false;
	in->fd = -1;
}

/* The range on the command line, if there is one left. */
static int next_operand(struct ctl_ranges *in, struct ctl_range *ret)
{
	int r;

	while (in->noperands && !strcmp(*in->operands, "-")) {
		in->operands++;
		in->noperands--;
	}
	if (!in->noperands)
		return 0;
	in->text = *in->operands++;
	in->noperands--;
	ret->line = 0;
	r = ctl_range_parse(in->text, ret, &in->why);
	if (r == -ENODATA) {
		in->why = "no range";
		r = -EINVAL;
	}
	return r < 0 ? r : 1;
}

/* Reads more behind what is there. Returns 0 at the end. */
static ssize_t fill(struct ctl_ranges *in)
{
	ssize_t n;

	memmove(in->buf, in->buf + in->pos, in->fill - in->pos);
	in->fill -= in->pos;
	in->pos = 0;
	n = ctl_kernel->read(in->fd, in->buf + in->fill,
			     sizeof(in->buf) - in->fill);
	if (n > 0)
		in->fill += (size_t)n;
	return n;
}

/* Takes the line of @len characters at pos, behind which stands its end. */
static int take_line(struct ctl_ranges *in, size_t len, struct ctl_range *ret)
{
	char *text = in->buf + in->pos;

	in->pos += len + 1;
	ret->line = ++in->line;
	in->text = NULL;
	if (in->skipping) {
		in->skipping = false;
		return -ENODATA;
	}
	text[len] = '\0';
	if (strlen(text) != len) {
		in->why = "a byte 0 in the line";
		return -EINVAL;
	}
	in->text = text;
	return ctl_range_parse(text, ret, &in->why);
}

/* A line that fills the buffer is told of once, then skipped to its end. */
static int too_long(struct ctl_ranges *in, struct ctl_range *ret)
{
	bool first = !in->skipping;

	in->pos = in->fill = 0;
	in->skipping = true;
	in->why = "the line is too long";
	in->text = NULL;
	ret->line = in->line + 1;
	return first ? -EINVAL : -ENODATA;
}

#define END 1

/* The next line: 0 and a range, END, -ENODATA for an empty one, or an error. */
static int next_line(struct ctl_ranges *in, struct ctl_range *ret)
{
	const char *from, *newline;
	ssize_t n;

	for (;;) {
		from = in->buf + in->pos;
		newline = memchr(from, '\n', in->fill - in->pos);
		if (newline)
			return take_line(in, (size_t)(newline - from), ret);
		if (in->fill - in->pos == sizeof(in->buf))
			return too_long(in, ret);
		n = fill(in);
		if (n < 0)
			return (int)n;
		if (n > 0)
			continue;
		if (in->fill == in->pos)
			return END;
		in->buf[in->fill++] = '\n'; /* a last line without */
	}
}

int ctl_ranges_next(struct ctl_ranges *in, struct ctl_range *ret_range)
{
	int r = next_operand(in, ret_range);

	if (r || in->fd < 0)
		return r;
	do
		r = next_line(in, ret_range);
	while (r == -ENODATA);
	if (r == END)
		return 0;
	return r < 0 ? r : 1;
}

bool ctl_ranges_would_wait(const struct ctl_ranges *in)
{
	struct pollfd p = { .fd = in->fd, .events = POLLIN };

	if (in->noperands || in->fd < 0 ||
	    memchr(in->buf + in->pos, '\n', in->fill - in->pos))
		return false;
	return poll(&p, 1, 0) == 0;
}

const char *ctl_ranges_where(const struct ctl_ranges *in, uint64_t line,
			     char *buf, size_t size)
{
	if (line)
		snprintf(buf, size, "%s:%llu", in->name,
			 (unsigned long long)line);
	else
		snprintf(buf, size, "command line");
	return buf;
}
